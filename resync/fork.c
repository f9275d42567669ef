/* SPDX-License-Identifier: Apache-2.0 */
/*
 * After a fork both sides went on giving node ids, each from what it had
 * reserved, and may have given the same id to two different nodes.  Such ids
 * must not match.
 *
 * Each epoch says which id was the first that nobody had given before it, so
 * from the lowest of those that the sides do not share on (args->fork_node) an
 * id may mean two nodes, and below it only one.
 *
 * Every id from there on that both sides have is taken for two nodes.  The
 * target's gets a number that the source cannot have, in one change of its
 * map, and is removed as any node that the source does not know.
 */
#include <errno.h>

#include "resync/lap.h"

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

/* An id that neither side has: a lap that was cut has left some behind, and
 * nodes of the source under ids that were free then. */
static int free_id(struct lap *lap, uint64_t id, uint64_t *ret_id)
{
	struct meta_node row;
	int r = 0;

	for (uint64_t k = 0; r == 0 && k < LAP_FOREIGN_TRIES; k++) {
		*ret_id = LAP_FOREIGN_ID + k * LAP_FOREIGN_STEP + id;
		r = meta_node_get(lap->t, *ret_id, &row);
	}
	return r == -ENOENT ? 0 : r < 0 ? r : -EOVERFLOW;
}

static int renumber(struct lap *lap, const struct meta_node *own)
{
	struct meta *meta = lap->dst->meta;
	struct meta_node row = *own;
	struct meta_dentry d;
	int r;

	r = free_id(lap, own->id, &row.id);
	if (r == 0)
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
		r = doubt_renumbered(lap, own->id, row.id);
	if (r == 0)
		r = meta_node_del(meta, own->id);
	if (r == 0)
		r = idmap_set(&lap->renumbered, own->id, row.id);
	if (r == 0)
		r = idmap_set(&lap->renumbered_from, row.id, own->id);
	return r;
}

/* The target's nodes from there on. */
static int born_nodes(struct lap *lap, struct idvec *out)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	uint64_t first = MAX(lap->args->fork_node, (uint64_t)META_FIRST_ID);
	struct meta_node row;
	int r;

	if (first >= LAP_FOREIGN_ID)
		return 0;
	r = meta_iter_nodes(lap->t, first - 1, &it);
	while (r == 0 && (r = meta_next_node(&it, &row)) > 0)
		r = row.id < LAP_FOREIGN_ID ? vec_push(&out->v, row.id) : 0;
	return r;
}

int tree_renumber(struct lap *lap)
{
	struct idvec ids = {0};
	struct meta_node theirs, own;
	int r = born_nodes(lap, &ids);

	for (size_t i = 0; r == 0 && i < ids.v.count; i++) {
		r = lap_source_row(lap, ids.v.data[i], &theirs);
		if (r > 0)
			r = lap_target_row(lap, ids.v.data[i], &own);
		if (r > 0)
			r = renumber(lap, &own);
	}
	vec_done(&ids.v);
	return r;
}
