/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of a daemon that cannot end: a thread that is stuck in a call on a
 * store which hangs is never joined, and without `timeout=` it may hold locks
 * that the last checkpoint needs.
 */
#pragma once

#include <sys/types.h>

#include "base/cleanup.h"

/**
 * ending_watch - once the connection on @fuse_fd is cut (the volume is
 * unmounted), the process ends when no call on any store has ended for
 * @wait_ms, with what is not done yet left to the next mount, as after a kill.
 *
 * Descriptors are closed before, so that the stores which do answer are free.
 * Return: 0, -errno
 */
MUST_CHECK int ending_watch(int fuse_fd, unsigned int wait_ms);

/** ending_now - the same at once, after @waited_ms: somebody who uses the volume
 * is stuck. Does not return. */
void ending_now(unsigned int waited_ms) __attribute__((__noreturn__));
