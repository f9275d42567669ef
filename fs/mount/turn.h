/* SPDX-License-Identifier: Apache-2.0 */
/*
 * turn - who waits for the next request, and how.
 *
 * Threads that sleep in read(2) on /dev/fuse are woken one for each request:
 * on an idle processor, which has to wake up itself, 10 to 30 us on a virtual
 * machine.  One client that does one small thing after the other (tar, rm,
 * git) waits for that with each of its requests.
 *
 * So there are two ways.
 *
 *   All: every thread sleeps in read(2), as without this file.
 *
 *   One: a single thread, the leader, answers one request after the other, and
 *   before it sleeps it looks for SPIN_NS whether the next one is there.  All
 *   others wait here.  One of them, the watcher, looks once in a millisecond
 *   whether the leader is still at the request it was at before: then that one
 *   waits for something, and all threads read again.  So a request is held up
 *   by another one for two milliseconds at most, and only the first time.
 *
 * It begins with all.  It becomes one when ENTER requests in a row came while
 * no other was being worked on, each soon after the last one was answered.  It
 * becomes all again when the leader finds requests waiting (there is more than
 * one client), none to come, or such as take long (an fsync) too often; when it
 * is at one request for a millisecond; and when there were none for some.
 * Whoever sleeps in read(2) when it becomes one takes one request yet and waits
 * here afterwards.
 *
 * No request is lost either way: each is read by whoever gets it from the
 * kernel, the leader included; being the leader is only a reason to look
 * before sleeping.
 *
 * Cancellation: threads may be cancelled in turn_read(), as in read(2).
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/lock.h"

struct turn {
	struct mutex lock;
	struct cond changed; /* one */
	atomic_bool one;     /* written under the lock */
	bool watched;	     /* under the lock */
	bool off;	     /* a single processor; set at init */
	/* Which time that it became one: whose thread has it is the leader. */
	_Atomic uint64_t reign;

	atomic_uint under_way; /* requests that were read and not worked off */
	_Atomic uint64_t ended_ns; /* when the last one was */
	atomic_int score;

	/* The leader's; the watcher looks at the first two. One that was
	 * leader until now may yet be at them beside the next. */
	_Atomic uint64_t count;
	atomic_bool busy;
	atomic_int luck;
};

void turn_init(struct turn *t);
/** turn_done - no thread is in it any more. */
void turn_done(struct turn *t);

/**
 * turn_read - the next request, as read(2) on @fd, which blocks; it may be
 * called by a thread only when it has worked off the one that it got before.
 * Return: as read(2), with errno.
 */
ssize_t turn_read(struct turn *t, int fd, void *buf, size_t len);
/**
 * turn_answer - the request that this thread got last is about to be answered:
 * the next one may come before it asks for it. May be left out.
 */
void turn_answer(struct turn *t);
