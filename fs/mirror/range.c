/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Byte ranges of a node in use: overlapping changes reach all stores in the
 * same order because the second waits here for the first.  Reads take none.
 */
#include "fs/mirror/internal.h"

#include <assert.h>

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
	hold->range = (struct range){start, end};
	mutex_lock(&n->ranges);
	while (!is_free(n, hold->range))
		cond_wait(&n->ranges_freed, &n->ranges);
	hold->next = n->held;
	n->held = hold;
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
