/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/mount/relist.h"

#include <string.h>

/* Ids are given out one after the other: neighbours do not collide. */
static struct relist_place *place_of(struct relist *r, uint64_t dir)
{
	return &r->place[dir % RELIST_PLACES];
}

void relist_init(struct relist *relist)
{
	memset(relist, 0, sizeof(*relist));
	mutex_init(&relist->lock, LOCK_RANK_LEAF);
}

void relist_done(struct relist *relist)
{
	mutex_done(&relist->lock);
}

/* The place of @dir, taken from whoever else has it. */
static struct relist_place *place_take(struct relist *r, uint64_t dir)
{
	struct relist_place *p = place_of(r, dir);

	if (p->dir != dir)
		*p = (struct relist_place){.dir = dir};
	return p;
}

/* From now on it is listed with attributes. Return: whether that is new. */
static bool place_begin(struct relist_place *p)
{
	if (p->times)
		return false;
	p->asked = 0;
	p->times = RELIST_TIMES;
	return true;
}

bool relist_asked(struct relist *relist, uint64_t dir)
{
	struct relist_place *p;
	bool drop = false;

	if (!dir)
		return false;
	mutex_lock(&relist->lock);
	p = place_take(relist, dir);
	if (!p->times && ++p->asked >= RELIST_ASKED)
		drop = place_begin(p);
	mutex_unlock(&relist->lock);
	return drop;
}

bool relist_along(struct relist *relist, uint64_t dir)
{
	bool drop;

	mutex_lock(&relist->lock);
	drop = place_begin(place_take(relist, dir));
	mutex_unlock(&relist->lock);
	return drop;
}

bool relist_ended(struct relist *relist, uint64_t dir)
{
	struct relist_place *p;
	bool drop = false;

	mutex_lock(&relist->lock);
	p = place_of(relist, dir);
	if (p->dir == dir && p->times) {
		p->times--;
		drop = p->times != 0;
	}
	mutex_unlock(&relist->lock);
	return drop;
}
