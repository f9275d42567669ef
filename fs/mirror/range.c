/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Byte ranges of a node in use: overlapping changes reach all stores in the
 * same order because the second waits here for the first.  Reads take none.
 * They are whole blocks, since a block has one seq: of two changes inside it
 * the one with the higher number must be noted last.
 */
#include "fs/mirror/internal.h"

#include <assert.h>

#define WHOLE_FILE ((struct range){0, META_RANGE_MAX})

static bool is_free(const struct node *n, struct range r)
{
	for (const struct range_hold *h = n->held; h; h = h->next)
		if (range_overlaps(h->range, r))
			return false;
	return true;
}

void range_lock(struct node *n, struct range_hold *hold, uint64_t start,
		uint64_t end)
{
	*hold = (struct range_hold){
		.range =
			range_align_out((struct range){start, end}, META_BLOCK),
	};
	mutex_lock(&n->ranges);
	while (!is_free(n, hold->range))
		cond_wait(&n->ranges_freed, &n->ranges);
	hold->next = n->held;
	n->held = hold;
	mutex_unlock(&n->ranges);
}

/* All others have left, or wait here as well and touch nothing any more. */
static bool is_alone(const struct node *n, const struct range_hold *hold)
{
	for (const struct range_hold *h = n->held; h; h = h->next)
		if (h != hold && (!h->widens || h->wide))
			return false;
	return true;
}

void range_widen(struct node *n, struct range_hold *hold)
{
	mutex_lock(&n->ranges);
	hold->range = WHOLE_FILE; /* nobody new comes in */
	hold->widens = true;
	cond_broadcast(&n->ranges_freed);
	while (!is_alone(n, hold))
		cond_wait(&n->ranges_freed, &n->ranges);
	hold->wide = true;
	mutex_unlock(&n->ranges);
}

void range_unlock(struct node *n, struct range_hold *hold)
{
	struct range_hold **at;

	mutex_lock(&n->ranges);
	for (at = &n->held; *at != hold; at = &(*at)->next)
		assert(*at);
	*at = hold->next;
	cond_broadcast(&n->ranges_freed);
	mutex_unlock(&n->ranges);
}
