/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The processors that this process was started on (taskset(1), CPUAffinity= of
 * systemd.exec(5)).  A thread that was bound to one of them hands that on to each
 * thread it makes, so those take back what is theirs as their first act.
 *
 * Ref: sched_setaffinity(2), cpuset(7)
 */
#pragma once

#include <stdbool.h>

/** affinity_reset - let this thread run on all of them. */
void affinity_reset(void);

/** affinity_bind - keep this thread on processor @cpu. Return: false if it is
 * none of them; the thread stays as it was. */
bool affinity_bind(unsigned int cpu);
