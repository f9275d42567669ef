/* SPDX-License-Identifier: Apache-2.0 */
/*
 * latency - while requests come one after the other, idle processors do not
 * halt.
 *
 * Each request wakes who serves it and its answer wakes who asked. On a machine
 * with two things to do in turns, one processor is idle at any time, and waking
 * it is what costs most: a processor of a virtual machine that halted is run
 * again by the hypervisor, 20 to 50 us later. A processor that polls while it
 * is idle begins at once. The kernel has a word for that, the latency that
 * whoever holds /dev/cpu_dma_latency open can bear with: 0 us means polling.
 *
 * It holds for all processors of the machine and costs what they would have
 * saved. So it is asked for only while requests come fast: a thread counts them
 * 4 ms at a time, asks for it after 12 of them (3,000 a second) and takes that
 * back after 20 ms with fewer than 4 in each (1,000 a second). It sleeps while there are none. The kernel takes it back
 * as well when this process ends, in whatever way; not while it is stopped, and
 * nothing else can: whoever else holds the device open only adds a wish.
 *
 * What is asked for: /dev/cpu_dma_latency may be opened by root alone. Where
 * the kernel's idle driver is another one than that of virtual machines
 * (haltpoll), auto leaves it alone: real processors have states of idleness
 * that cost less.
 *
 * Ref: Documentation/admin-guide/pm/cpuidle.rst "Power Management Quality of
 * Service for CPUs", Documentation/virt/guest-halt-polling.rst
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/lock.h"
#include "fs/mount/mount.h"

struct latency {
	int fd;		   /* /dev/cpu_dma_latency; -1: not used */
	struct mutex lock; /* LOCK_RANK_LEAF */
	struct cond changed;
	bool ending GUARDED_BY(lock);
	pthread_t thread;
	bool running; /* of the thread that serves the session */
	bool held;    /* of the thread */

	_Atomic uint64_t count; /* of requests */
	atomic_bool asleep;	/* the next one is to be told to the thread */
};

void latency_init(struct latency *l);
/** latency_done - no thread runs. */
void latency_done(struct latency *l);

/** latency_open - use it if it is wanted and can be had; else nothing is done. */
void latency_open(struct latency *l, enum mount_choice wanted);

/** latency_start - does nothing if it is not to be used. Return: 0, -EAGAIN */
MUST_CHECK int latency_start(struct latency *l);
void latency_stop(struct latency *l);

/** latency_wake - see latency_request(). */
void latency_wake(struct latency *l);

/** latency_request - a request came. By any thread. */
static inline void latency_request(struct latency *l)
{
	if (l->fd < 0)
		return;
	atomic_fetch_add(&l->count, 1);
	if (atomic_load(&l->asleep))
		latency_wake(l);
}
