/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rings and this machine: what it has, and what it allows.
 *
 * Ref: Documentation/ABI/testing/sysfs-devices-system-cpu "possible",
 * Documentation/admin-guide/cputopology.rst
 */
#pragma once

#include <stddef.h>

#include "base/cleanup.h"

#define URING_SWITCH "/sys/module/fuse/parameters/enable_uring"

/**
 * uring_cpus_possible - how many processors the kernel makes queues for, absent
 * ones that may come included.
 * Return: 0, -errno of /sys, -EINVAL (it says something else)
 */
MUST_CHECK int uring_cpus_possible(unsigned int *ret_count);
