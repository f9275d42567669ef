/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/mirror/walks.h"

void walks_init(struct walks *w)
{
	mutex_init(&w->lock, LOCK_RANK_LEAF);
}

void walks_done(struct walks *w)
{
	mutex_done(&w->lock);
}

unsigned int walks_begin(struct walks *w, uint64_t seq)
{
	unsigned int walk;

	mutex_lock(&w->lock);
	if (!w->newest || w->limit[w->newest] < seq) {
		w->newest = w->newest % (WALKS_MAX - 1) + 1;
		w->limit[w->newest] = seq;
	}
	walk = w->newest;
	mutex_unlock(&w->lock);
	return walk;
}

uint64_t walks_limit(struct walks *w, uint64_t walk)
{
	uint64_t limit = 0;

	mutex_lock(&w->lock);
	if (walk < WALKS_MAX)
		limit = w->limit[walk];
	mutex_unlock(&w->lock);
	return limit ? limit : UINT64_MAX;
}
