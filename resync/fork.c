/* SPDX-License-Identifier: Apache-2.0 */
/*
 * After a fork both sides went on giving node ids, each from what it had
 * reserved, and may have given the same id to two different nodes.  Such ids
 * must not match.
 *
 * A node that was there before the fork is the same on both sides.  It shows
 * by any number at or below `from` that either side has for it: its attributes
 * (set at birth) or one of its names.  Ids are given in rising order and never
 * twice, so every id below one that is known to be from before the fork is
 * from before it, too.
 *
 * Every other id that both sides have is taken for two nodes, even if all that
 * is true of one is that everything about it was changed on both sides: then
 * it is copied anew, which costs time and harms nothing.  The target's node
 * gets a number that the source cannot have, in one change of its map, and is
 * removed as any node that the source does not know.
 */
#include <errno.h>

#include "resync/lap.h"

/* Has this side a name of the node from before the fork? */
static int old_name(struct lap *lap, struct meta_reader *rd, uint64_t node)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_dentry d;
	int r = meta_iter_names(rd, node, &it);

	while (r == 0 && (r = meta_next_dentry(&it, &d)) > 0) {
		if (d.parent != META_LIMBO_ID && d.seq <= lap->args->from)
			return 1;
		r = 0;
	}
	return r;
}

static int is_shared(struct lap *lap, const struct meta_node *theirs,
		     const struct meta_node *own)
{
	int r;

	if (own->id == META_ROOT_ID || own->id <= lap->shared_through)
		return 1;
	if (theirs->kind != own->kind)
		return 0;
	r = theirs->attr_seq <= lap->args->from ||
	    own->attr_seq <= lap->args->from;
	if (r == 0)
		r = old_name(lap, lap->s, own->id);
	if (r == 0)
		r = old_name(lap, lap->t, own->id);
	if (r > 0)
		lap->shared_through = own->id;
	return r;
}

static int move_entries(struct lap *lap, uint64_t dir, uint64_t to)
{
	struct meta *meta = lap->dst->meta;
	struct meta_dentry d;
	int r;

	for (;;) {
		do {
			_cleanup_meta_iter_ struct meta_iter it = {0};

			r = meta_iter_dentries(lap->t, dir, 0, &it);
			if (r == 0)
				r = meta_next_dentry(&it, &d);
		} while (0);
		if (r <= 0)
			return r;
		r = meta_dentry_del(meta, dir, d.name, d.name_len);
		d.parent = to;
		if (r >= 0)
			r = meta_dentry_put(meta, &d);
		if (r < 0)
			return r;
	}
}

static int renumber(struct lap *lap, const struct meta_node *own)
{
	struct meta *meta = lap->dst->meta;
	struct meta_node row = *own;
	struct meta_dentry d;
	int r;

	row.id |= LAP_FOREIGN_ID;
	r = meta_node_put(meta, &row);
	while (r == 0) {
		r = meta_dentry_of(lap->t, own->id, &d);
		if (r < 0)
			break;
		d.node = row.id;
		if (d.parent == META_LIMBO_ID) {
			r = meta_dentry_del(meta, d.parent, d.name, d.name_len);
			r = r < 0 ? r : 0;
			continue;
		}
		r = meta_dentry_put(meta, &d);
	}
	if (r == -ENOENT)
		r = move_entries(lap, own->id, row.id);
	if (r == 0)
		r = meta_node_del(meta, own->id);
	if (r == 0)
		r = idmap_set(&lap->renumbered, own->id, 1);
	return r;
}

/* The target's nodes that it numbered above from. */
static int changed_nodes(struct lap *lap, struct idvec *out)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_node row;
	int r;

	r = meta_iter_nodes_since(lap->t, lap->args->from, UINT64_MAX, &it);
	while (r == 0 && (r = meta_next_node(&it, &row)) > 0)
		r = row.id < LAP_FOREIGN_ID ? vec_push(&out->v, row.id) : 0;
	return r;
}

/* The answer for one id serves all below it. */
static int descending(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a;
	uint64_t y = *(const uint64_t *)b;

	return x > y ? -1 : x < y;
}

int tree_renumber(struct lap *lap)
{
	struct idvec ids = {0};
	struct meta_node theirs, own;
	int r = changed_nodes(lap, &ids);

	if (ids.v.count > 0)
		qsort(ids.v.data, ids.v.count, sizeof(uint64_t), descending);
	for (size_t i = 0; r == 0 && i < ids.v.count; i++) {
		r = lap_source_row(lap, ids.v.data[i], &theirs);
		if (r > 0)
			r = lap_target_row(lap, ids.v.data[i], &own);
		if (r <= 0)
			continue;
		r = is_shared(lap, &theirs, &own);
		if (r == 0)
			r = renumber(lap, &own);
		else if (r > 0)
			r = 0;
	}
	vec_done(&ids.v);
	return r;
}
