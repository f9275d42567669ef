/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/mirror/scrub.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "fs/mirror/scrub_internal.h"

/* Clocks are read in different places. */
#define SLACK_NS (2 * CLOCK_NS_PER_SEC)

/* A store with more in one scrub is not worth trusting. */
#define UNREAD_MAX 64u

/* ---- who is right ---- */

bool scrub_agrees(const struct scrub_votes *v)
{
	int first = -1;

	if (v->unreadable)
		return false;
	for_each_slot(i, v->all)
	{
		if (first < 0)
			first = (int)i;
		if (v->group[i] != v->group[first])
			return false;
	}
	return true;
}

static slot_mask group_mask(const struct scrub_votes *v, unsigned int of)
{
	slot_mask mask = 0;

	for_each_slot(i,
		      v->all & ~v->unreadable) if (v->group[i] == v->group[of])
		mask |= SLOT_BIT(i);
	return mask;
}

static int majority_slot(const struct scrub_votes *v, slot_mask usable)
{
	int count = __builtin_popcount(usable);

	if (count < 3)
		return -1;
	for_each_slot(i, usable) if (2 * __builtin_popcount(group_mask(v, i)) >
				     count) return (int)i;
	return -1;
}

/* The one group that no map speaks against, if one speaks against the rest. */
static int unsuspected_slot(const struct scrub_votes *v, slot_mask usable)
{
	slot_mask clean = usable & ~v->edited;
	unsigned int first;

	if (!clean || !v->edited)
		return -1;
	first = (unsigned int)__builtin_ctz(clean);
	return (group_mask(v, first) & ~v->edited) == clean &&
			       !(group_mask(v, first) & v->edited)
		       ? (int)first
		       : -1;
}

void scrub_judge(const struct scan *c, const struct scrub_votes *v,
		 struct scrub_finding *f)
{
	slot_mask usable = v->all & ~v->unreadable;
	int winner = c->s->prefer;
	unsigned int first;

	f->by = SCRUB_BY_NOBODY;
	f->losers = v->all;
	if (!usable)
		return;
	first = (unsigned int)__builtin_ctz(usable);
	if (winner >= 0 && (usable & SLOT_BIT(winner))) {
		f->by = SCRUB_BY_PREFERENCE;
	} else if (group_mask(v, first) == usable) {
		winner = (int)first;
		f->by = SCRUB_BY_READING;
	} else if ((winner = majority_slot(v, usable)) >= 0) {
		f->by = SCRUB_BY_MAJORITY;
	} else if ((winner = unsuspected_slot(v, usable)) >= 0) {
		f->by = SCRUB_BY_MAP;
	} else {
		return;
	}
	f->losers = v->all & ~group_mask(v, (unsigned int)winner);
}

/* ---- what the maps and memory say ---- */

slot_mask scrub_online(const struct scan *c)
{
	slot_mask online;

	mutex_lock(&c->m->lock);
	online = c->mask & c->m->online;
	mutex_unlock(&c->m->lock);
	return online;
}

int mirror_scrub_map(struct mirror *m, struct mirror_scrub *s,
		     unsigned int slot, int err)
{
	struct mirror_slot_info info;

	if (map_blame(m, slot, err))
		return 0;
	mirror_slot_info(m, slot, &info);
	(void)snprintf(s->why, sizeof(s->why),
		       "the map of store %s cannot be read: %s", info.name,
		       strerror(-err));
	return err;
}

int scrub_map(struct scan *c, unsigned int i, int r)
{
	if (r >= 0 || r == -ENOENT)
		return 0;
	r = mirror_scrub_map(c->m, c->s, i, r);
	c->map_error = r ? r : -EAGAIN;
	return c->map_error;
}

bool scrub_blame(struct scan *c, unsigned int i, int err)
{
	if (scrub_online(c) & SLOT_BIT(i))
		slot_blame(c->m, i, c->n, err, "scrub");
	return !(scrub_online(c) & SLOT_BIT(i));
}

bool scrub_blame_range(struct scan *c, unsigned int i)
{
	int device = store_alive(c->m->slot[i].store);

	if (!(scrub_online(c) & SLOT_BIT(i)))
		return true;
	atomic_fetch_add(&c->m->slot[i].errors_read, 1);
	if (device == -EIO || store_error_is_fatal(device))
		(void)slot_put_out(c->m, i, "scrub", device);
	else if (++c->s->unread[i] >= UNREAD_MAX)
		(void)slot_put_out(c->m, i, "scrub", -EIO);
	return !(scrub_online(c) & SLOT_BIT(i));
}

static int settled_on(struct scan *c, unsigned int i, uint64_t *ret_ns)
{
	struct meta_reader *rd = meta_reader_get(c->m->slot[i].meta);
	struct meta_node row;
	int r;

	if (!rd)
		return mirror_reader_error();
	r = meta_node_get(rd, c->n->id, &row);
	if (!r)
		r = meta_moment_from(rd, row.seq, ret_ns);
	meta_reader_put(rd);
	return r;
}

int scrub_settled_ns(struct scan *c, uint64_t *ret_ns)
{
	int result = -ENOENT;
	uint64_t ns;

	/* Each map has a bound; one that came back by a resync a late one. */
	for_each_slot(i, scrub_online(c))
	{
		int r = settled_on(c, i, &ns);

		if (scrub_map(c, i, r))
			return c->map_error;
		if (r)
			continue;
		*ret_ns = result ? ns : MIN(ns, *ret_ns);
		result = 0;
	}
	return result;
}

bool scrub_is_later(const struct timespec *t, uint64_t settled_ns)
{
	uint64_t s = t->tv_sec > 0 ? (uint64_t)t->tv_sec : 0;
	uint64_t ns = s * CLOCK_NS_PER_SEC + (uint64_t)t->tv_nsec;

	return ns > settled_ns + SLACK_NS;
}

bool scrub_is_settled(struct node *n, struct range r)
{
	struct range_map_item item;
	bool settled = true;

	mutex_lock(&n->ranges);
	for (unsigned int p = 0; p < 2; p++) {
		const struct node_dirty *d = &n->dirty[p];

		if (range_is_empty(r)
			    ? d->listed
			    : range_map_next(&d->data, r.start, &item) &&
				      item.range.start < r.end)
			settled = false;
	}
	mutex_unlock(&n->ranges);
	return settled;
}

/* ---- one node ---- */

/* Its row, in every map: so that what is asked later fails for the file's sake
 * only. */
static int node_rows(struct scan *c)
{
	struct meta_backing b;

	for_each_slot(i, c->mask)
	{
		int r = node_backing_load(c->m, c->n, i, &b);

		if (!scrub_is_answer(r) && scrub_map(c, i, r))
			return c->map_error;
	}
	return 0;
}

static int node_parts(struct scan *c, uint64_t *offset)
{
	int r = node_rows(c);

	if (!r && !*offset) { /* else they were looked at before it was ended */
		r = scrub_attr(c);
		if (!r && c->n->kind == META_DIR)
			r = scrub_names(c);
	}
	if (!r && c->n->kind == META_FILE)
		r = scrub_data(c, offset);
	return r;
}

int mirror_scrub_node(struct mirror *m, struct mirror_scrub *s, uint64_t node,
		      uint64_t *offset)
{
	struct scan c = {.m = m, .s = s};
	int r = node_get(m, node, &c.n);

	if (r)
		return r == -ENOENT ? 0 : r;
	if (node_is_unlinked(m, c.n)) {
		node_put(m, c.n);
		return 0;
	}
	c.mask = slots_pin(m, NULL);
	r = node_parts(&c, offset);
	if (!r)
		s->missed |= ~scrub_online(&c);
	slots_unpin(m, c.mask);
	if (!r)
		s->nodes++;
	if (!node_is_unlinked(m, c.n)) {
		s->unseen += c.unseen;
		s->busy += c.restless;
	}
	node_put(m, c.n);
	return r;
}

void mirror_scrub_done(struct mirror_scrub *s)
{
	for (unsigned int i = 0; i < META_STORE_MAX; i++) {
		free(s->buffer[i]);
		s->buffer[i] = NULL;
	}
}
