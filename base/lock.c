/* SPDX-License-Identifier: Apache-2.0 */
#include "base/lock.h"

/* The run-time check of the lock order; see the head of base/lock.h. Without
 * the option lock_debug this file is empty. */
#ifdef SEQMIRROR_LOCK_DEBUG

#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"

enum {
	/* More than the ranks: rename holds several nodes. */
	HELD_MAX = 32,
};

struct held {
	const void *lock;
	enum lock_rank rank;
};

/* The locks of this thread in the order they were taken. */
static _Thread_local struct {
	struct held locks[HELD_MAX];
	size_t count;
} held;

static const char *const rank_names[] = {
	[LOCK_RANK_CONTROL] = "CONTROL", [LOCK_RANK_STORES] = "STORES",
	[LOCK_RANK_NAMES] = "NAMES",	 [LOCK_RANK_NODE] = "NODE",
	[LOCK_RANK_RANGE] = "RANGE",	 [LOCK_RANK_ARM] = "ARM",
	[LOCK_RANK_META] = "META",	 [LOCK_RANK_TABLE] = "TABLE",
	[LOCK_RANK_LEAF] = "LEAF",	 [LOCK_RANK_GUARD] = "GUARD",
};

/* Not through the log: the program is known to be wrong here. */
__attribute__((__noreturn__)) static void lock_broken(const char *what,
						      enum lock_rank wanted,
						      enum lock_rank present)
{
	(void)fprintf(stderr, "seqmirror: lock order: %s %s while %s is held\n",
		      what, rank_names[wanted], rank_names[present]);
	abort();
}

void lock_rank_note(const void *lock, enum lock_rank rank)
{
	assert(rank >= LOCK_RANK_CONTROL && rank <= LOCK_RANK_GUARD);
	assert(held.count < HELD_MAX);
	held.locks[held.count++] = (struct held){lock, rank};
}

void lock_rank_take(const void *lock, enum lock_rank rank)
{
	for (size_t i = 0; i < held.count; i++) {
		const struct held *h = &held.locks[i];

		if (h->lock == lock)
			lock_broken("takes again", rank, h->rank);
		if (h->rank > rank ||
		    (h->rank == rank && rank != LOCK_RANK_NODE))
			lock_broken("takes", rank, h->rank);
	}
	lock_rank_note(lock, rank);
}

void lock_rank_drop(const void *lock)
{
	for (size_t i = held.count; i-- > 0;) {
		if (held.locks[i].lock != lock)
			continue;
		held.count--;
		for (; i < held.count; i++)
			held.locks[i] = held.locks[i + 1];
		return;
	}
	(void)fprintf(stderr,
		      "seqmirror: lock order: unlocks %p, which this "
		      "thread does not hold\n",
		      lock);
	abort();
}

#endif
