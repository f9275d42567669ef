/* SPDX-License-Identifier: Apache-2.0 */
/*
 * walks - how far walks through directories go.
 *
 * A walk shows no name that came after it began, or one that makes a name for
 * each that it reads would never end.  There is no state for a walk (OPENDIR is
 * not served): the kernel gets, and brings back, a place in a ring where the
 * highest number of that moment is kept.  When the ring has come round, or after
 * a restart, a later one is found there: then the walk shows some of what came
 * since, and ends there.
 */
#pragma once

#include <stdint.h>

#include "base/lock.h"

enum {
	WALKS_MAX = 4096,
};

struct walks {
	struct mutex lock; /* LOCK_RANK_LEAF */
	/* 1 to WALKS_MAX - 1; 0: none as yet */
	unsigned int newest GUARDED_BY(lock);
	/* the highest seq when it began; 0: none */
	uint64_t limit[WALKS_MAX] GUARDED_BY(lock);
};

void walks_init(struct walks *w);
void walks_done(struct walks *w);

/** walks_begin - a walk begins, after number @seq. Return: its place; those that
 * begin between two changes share one. */
unsigned int walks_begin(struct walks *w, uint64_t seq);

/** walks_limit - the highest number that belongs to the walk; UINT64_MAX where
 * it is not known. @walk may be anything. */
uint64_t walks_limit(struct walks *w, uint64_t walk);
