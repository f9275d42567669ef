/* SPDX-License-Identifier: Apache-2.0 */
#include "resync/diverge.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/vec.h"
#include "resync/map_path.h"

/* One thing that one side did. */
struct deed {
	char *path;
	char *own_path; /* what.path, to be freed */
	unsigned int side;
	struct diverge_side what;
};

struct diverge {
	const struct diverge_ask *ask;
	struct meta_reader *rd[2];
	uint64_t from;
	uint64_t parted;      /* lower numbers mean the same on both sides */
	uint64_t old_through; /* ids up to this are from before */
	VEC(struct deed) deeds;
};

/* ---- the parting ---- */

static bool has_epoch(const struct lineage_view *v, const char *id)
{
	for (size_t i = 0; i < v->count; i++)
		if (!strcmp(v->epochs[i].id, id))
			return true;
	return false;
}

static uint64_t lowest_first(const struct lineage_view *own,
			     const struct lineage_view *other, uint64_t lowest)
{
	for (size_t i = 0; i < own->count; i++)
		if (!has_epoch(other, own->epochs[i].id))
			lowest = MIN(lowest, own->epochs[i].first_seq);
	return lowest;
}

static int parted_at(struct diverge *d, struct meta *a, struct meta *b)
{
	struct lineage_of of[2] = {0};
	int r = lineage_load(a, d->rd[0], NULL, &of[0]);

	if (r == 0)
		r = lineage_load(b, d->rd[1], NULL, &of[1]);
	if (r == 0) {
		d->parted = lowest_first(&of[0].view, &of[1].view, INT64_MAX);
		d->parted = lowest_first(&of[1].view, &of[0].view, d->parted);
	}
	lineage_done(&of[0]);
	lineage_done(&of[1]);
	return r;
}

/* Is @seq, which one side has somewhere, known there to the other as well? */
static bool is_shared_seq(const struct diverge *d, uint64_t seq, uint64_t other)
{
	return seq <= d->from || (seq < d->parted && other >= seq);
}

/*
 * ---- nodes from before the parting ----
 *
 * Told by numbers alone, since stores that share all epochs are compared too: a
 * node is from before if either side has a number at or below `from` for its
 * attributes, which are set at birth, or for one of its names.  Ids rise, so
 * all ids below such a one are.
 */

static int row_of(struct meta_reader *rd, uint64_t id, struct meta_node *ret)
{
	int r = meta_node_get(rd, id, ret);

	return r == -ENOENT ? 0 : r < 0 ? r : 1;
}

static int is_old(struct diverge *d, unsigned int side,
		  const struct meta_node *row)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_dentry name;
	bool old = row->id <= d->old_through || row->attr_seq <= d->from;
	int r = 0;

	if (!old)
		r = meta_iter_names(d->rd[side], row->id, &it);
	while (!old && r == 0 && (r = meta_next_dentry(&it, &name)) > 0) {
		old = name.parent != META_LIMBO_ID && name.seq <= d->from;
		r = 0;
	}
	if (old)
		d->old_through = MAX(d->old_through, row->id);
	return r < 0 ? r : old;
}

/* The same by what the other side knows of it. */
static int is_old_anywhere(struct diverge *d, unsigned int side,
			   const struct meta_node *row)
{
	struct meta_node theirs;
	int r = is_old(d, side, row);

	if (r == 0)
		r = row_of(d->rd[!side], row->id, &theirs);
	else
		return r;
	return r > 0 && theirs.kind == row->kind ? is_old(d, !side, &theirs)
						 : MIN(r, 0);
}

/* Both sides have the node, and it is one. */
static int is_same(struct diverge *d, const struct meta_node *a,
		   const struct meta_node *b)
{
	if (a->id == META_ROOT_ID)
		return 1;
	return a->kind == b->kind ? is_old_anywhere(d, 0, a) : 0;
}

/* ---- deeds ---- */

static int deed_add(struct diverge *d, unsigned int side, char *path,
		    const struct diverge_side *what)
{
	struct deed deed = {.path = path, .side = side, .what = *what};
	int r = vec_push(&d->deeds, deed);

	if (r < 0)
		free(path);
	return r;
}

/* Under a name that the map of @teller has. */
static int deed_at(struct diverge *d, unsigned int side, unsigned int teller,
		   const struct meta_dentry *name,
		   const struct diverge_side *what)
{
	char *path;
	int r = map_path(d->rd[teller], name, &path);

	return r <= 0 ? r : deed_add(d, side, path, what);
}

static int deed_made(struct diverge *d, unsigned int side,
		     const struct diverge_side *what)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_dentry name;
	int r = meta_iter_names(d->rd[side], what->node, &it);

	while (r == 0 && (r = meta_next_dentry(&it, &name)) > 0)
		r = deed_at(d, side, side, &name, what);
	return r;
}

/* The last deed's node lies elsewhere on its own side. */
static int deed_look_at(struct diverge *d, unsigned int side, uint64_t node)
{
	struct deed *deed = d->deeds.count ? vec_last(&d->deeds) : NULL;
	struct meta_dentry name;
	int r = meta_dentry_of(d->rd[side], node, &name);

	if (r == 0 && deed && deed->what.node == node && deed->side == side)
		r = map_path(d->rd[side], &name, &deed->own_path);
	if (r > 0)
		deed->what.path = deed->own_path;
	return r == -ENOENT ? 0 : MIN(r, 0);
}

/* A node that both have: one path for both, the first side's. */
static int deed_changed(struct diverge *d, unsigned int side,
			const struct diverge_side *what)
{
	struct meta_dentry name;
	unsigned int teller = 0;
	int r;

	if (what->node == META_ROOT_ID) {
		char *dot = strdup(".");

		return dot ? deed_add(d, side, dot, what) : -ENOMEM;
	}
	r = meta_dentry_of(d->rd[0], what->node, &name);
	if (r == -ENOENT) {
		teller = 1;
		r = meta_dentry_of(d->rd[1], what->node, &name);
	}
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	r = deed_at(d, side, teller, &name, what);
	return r < 0 || teller == side ? r : deed_look_at(d, side, what->node);
}

static int bytes_since(struct diverge *d, unsigned int side, uint64_t node,
		       uint64_t *ret)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_extent e;
	int r = meta_iter_extents(d->rd[side], node, 0, META_RANGE_MAX, &it);

	*ret = 0;
	while (r == 0 && (r = meta_next_extent(&it, &e)) > 0) {
		if (e.seq > d->from)
			*ret += e.end - e.start;
		r = 0;
	}
	return r;
}

/* ---- directories that both have ---- */

/* An entry that @side numbered since: a new name of something older? */
static int entry_here(struct diverge *d, unsigned int side,
		      const struct meta_dentry *e)
{
	struct diverge_side what = {
		.what = DIVERGE_MOVED_HERE, .node = e->node, .seq = e->seq};
	struct meta_dentry theirs;
	struct meta_node row;
	int r = meta_dentry_get(d->rd[!side], e->parent, e->name, e->name_len,
				&theirs);

	if (r == 0 && theirs.node == e->node &&
	    is_shared_seq(d, e->seq, theirs.seq))
		return 0;
	if (r < 0 && r != -ENOENT)
		return r;
	r = row_of(d->rd[side], e->node, &row);
	if (r > 0)
		r = is_old_anywhere(d, side, &row);
	if (r <= 0)
		return r;
	what.kind = row.kind;
	return deed_at(d, side, side, e, &what);
}

/* An entry from before that the other side has: is it still here? */
static int entry_gone(struct diverge *d, unsigned int side, uint64_t dir_seq,
		      const struct meta_dentry *theirs)
{
	struct diverge_side what = {
		.what = DIVERGE_REMOVED, .node = theirs->node, .seq = dir_seq};
	struct meta_dentry own;
	int r;

	r = meta_dentry_get(d->rd[side], theirs->parent, theirs->name,
			    theirs->name_len, &own);
	if (r == 0 && own.node == theirs->node)
		return 0;
	if (r < 0 && r != -ENOENT)
		return r;
	r = meta_dentry_of(d->rd[side], theirs->node, &own);
	if (r == 0)
		what.what = DIVERGE_MOVED_AWAY;
	else if (r != -ENOENT)
		return r;
	return deed_at(d, side, !side, theirs, &what);
}

static int dir_entries(struct diverge *d, unsigned int side,
		       const struct meta_node *row, bool *ret_any)
{
	_cleanup_meta_iter_ struct meta_iter own = {0};
	_cleanup_meta_iter_ struct meta_iter theirs = {0};
	size_t before = d->deeds.count;
	struct meta_dentry e;
	bool made = false;
	int r = meta_iter_dentries(d->rd[side], row->id, 0, &own);

	while (r == 0 && (r = meta_next_dentry(&own, &e)) > 0) {
		r = 0;
		if (e.seq <= d->from)
			continue;
		made = true;
		r = entry_here(d, side, &e);
	}
	if (r == 0)
		r = meta_iter_dentries(d->rd[!side], row->id, 0, &theirs);
	while (r == 0 && (r = meta_next_dentry(&theirs, &e)) > 0) {
		r = 0;
		if (e.seq > d->from)
			continue;
		r = entry_gone(d, side, row->seq, &e);
	}
	*ret_any = made || d->deeds.count > before;
	return r;
}

/*
 * An entry that comes or goes numbers its directory as a chmod does: whether
 * there was more than entries, only the files can say.
 */
static int dir_differs(struct diverge *d, uint64_t node)
{
	_cleanup_free_ char *a = NULL;
	_cleanup_free_ char *b = NULL;
	int r = map_node_path(d->rd[0], node, &a);

	if (r > 0)
		r = map_node_path(d->rd[1], node, &b);
	return r <= 0 ? r : d->ask->dirs_differ(d->ask->arg, a, b);
}

/* ---- one node of the delta ---- */

static int both_have(struct diverge *d, unsigned int side,
		     const struct meta_node *own,
		     const struct meta_node *theirs, struct diverge_side *what)
{
	bool told = false;
	int r = 0;

	if (is_shared_seq(d, own->seq, theirs->seq))
		return 0;
	if (own->kind == META_DIR)
		r = dir_entries(d, side, own, &told);
	if (r == 0 && told)
		r = dir_differs(d, own->id);
	if (r < 0 || (r == 0 && told))
		return r;
	what->what = DIVERGE_CHANGED;
	return deed_changed(d, side, what);
}

/* The other side has it no more, and it is older than the parting. */
static int other_removed(struct diverge *d, unsigned int side,
			 const struct diverge_side *changed)
{
	struct diverge_side gone = {.what = DIVERGE_REMOVED,
				    .node = changed->node};
	struct diverge_side what = *changed;
	struct meta_dentry name;
	int r = meta_dentry_of(d->rd[side], changed->node, &name);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	what.what = DIVERGE_CHANGED;
	r = deed_at(d, side, side, &name, &what);
	return r < 0 ? r : deed_at(d, !side, side, &name, &gone);
}

static int node_deeds(struct diverge *d, unsigned int side,
		      const struct meta_node *own)
{
	struct diverge_side what = {
		.what = DIVERGE_MADE,
		.kind = own->kind,
		.node = own->id,
		.seq = own->seq,
	};
	struct meta_node theirs;
	int r = own->kind == META_FILE
			? bytes_since(d, side, own->id, &what.bytes)
			: 0;
	int same = 0;

	if (r == 0)
		r = row_of(d->rd[!side], own->id, &theirs);
	if (r < 0)
		return r;
	if (r > 0) {
		same = is_same(d, side ? &theirs : own, side ? own : &theirs);
		if (same != 0)
			return same < 0 ? same
					: both_have(d, side, own, &theirs,
						    &what);
	} else {
		same = is_old(d, side, own);
		if (same < 0)
			return same;
		/* Its directory has told of the removal; of one that this
		 * side made into another, it has too. */
		if (same > 0)
			return own->kind == META_DIR
				       ? 0
				       : other_removed(d, side, &what);
	}
	return deed_made(d, side, &what);
}

static int side_deeds(struct diverge *d, unsigned int side)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_node row;
	int r = meta_iter_nodes_since(d->rd[side], d->from, INT64_MAX, &it);

	while (r == 0 && (r = meta_next_node(&it, &row)) > 0)
		r = node_deeds(d, side, &row);
	return r;
}

/* Every id that is known to be old serves those below it. */
static int learn_old(struct diverge *d, unsigned int side)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_node row;
	int r = meta_iter_nodes_since(d->rd[side], d->from, INT64_MAX, &it);

	while (r == 0 && (r = meta_next_node(&it, &row)) > 0)
		r = MIN(is_old(d, side, &row), 0);
	return r;
}

/* ---- together ---- */

static int by_path(const void *a, const void *b)
{
	const struct deed *x = a, *y = b;
	int order = strcmp(x->path, y->path);

	if (order == 0)
		order = (x->side > y->side) - (x->side < y->side);
	return order ? order
		     : (x->what.what > y->what.what) -
			       (x->what.what < y->what.what);
}

/* Several deeds of one side at one path, the later enumerators later. */
static void side_merge(struct diverge_side *to, const struct diverge_side *more)
{
	bool went = to->what == DIVERGE_REMOVED ||
		    to->what == DIVERGE_MOVED_AWAY;
	bool came = more->what == DIVERGE_MADE ||
		    more->what == DIVERGE_MOVED_HERE;
	uint64_t bytes = MAX(to->bytes, more->bytes);
	uint64_t seq = MAX(to->seq, more->seq);

	*to = *more;
	if (went && came)
		to->what = DIVERGE_REPLACED;
	to->bytes = bytes;
	to->seq = seq;
}

static unsigned int group_of(const struct diverge_item *item)
{
	if (item->side[0].what && item->side[1].what)
		return 2;
	return item->side[0].what ? 0 : 1;
}

static int tell_group(const struct diverge *d, unsigned int group)
{
	const struct deed *v = d->deeds.data;
	size_t count = d->deeds.count;
	int r = 0;

	for (size_t i = 0; r == 0 && i < count;) {
		struct diverge_item item = {.path = v[i].path};
		size_t k = i;

		for (; k < count && !strcmp(v[k].path, item.path); k++)
			side_merge(&item.side[v[k].side], &v[k].what);
		if (group_of(&item) == group)
			r = d->ask->item(d->ask->arg, &item);
		i = k;
	}
	return r;
}

static void diverge_done(struct diverge *d)
{
	vec_for_each (deed, &d->deeds) {
		free(deed->path);
		free(deed->own_path);
	}
	vec_done(&d->deeds);
	for (unsigned int i = 0; i < 2; i++)
		if (d->rd[i])
			meta_reader_put(d->rd[i]);
}

static int collect(struct diverge *d)
{
	int r = 0;

	for (unsigned int side = 0; r == 0 && side < 2; side++)
		r = learn_old(d, side);
	for (unsigned int side = 0; r == 0 && side < 2; side++)
		r = side_deeds(d, side);
	if (r == 0 && d->deeds.count)
		qsort(d->deeds.data, d->deeds.count, sizeof(*d->deeds.data),
		      by_path);
	return r;
}

int diverge_walk(struct meta *a, struct meta *b, uint64_t from,
		 const struct diverge_ask *ask)
{
	struct diverge d = {.ask = ask, .from = from};
	int r = 0;

	d.rd[0] = meta_reader_get(a);
	d.rd[1] = meta_reader_get(b);
	if (!d.rd[0] || !d.rd[1])
		r = -ENOMEM;
	if (r == 0)
		r = parted_at(&d, a, b);
	if (r == 0)
		r = collect(&d);
	for (unsigned int group = 0; r == 0 && group < 3; group++)
		r = tell_group(&d, group);
	diverge_done(&d);
	return r;
}
