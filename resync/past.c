/* SPDX-License-Identifier: Apache-2.0 */
#include "resync/past.h"

#include <errno.h>
#include <string.h>

/* ---- the parting ---- */

static bool has_epoch(const struct lineage_view *v, const char *id)
{
	for (size_t i = 0; i < v->count; i++)
		if (!strcmp(v->epochs[i].id, id))
			return true;
	return false;
}

static struct parting first_alone(const struct lineage_view *own,
				  const struct lineage_view *other)
{
	struct parting p = {.first_seq = INT64_MAX};

	for (size_t i = 0; i < own->count; i++) {
		const struct meta_epoch *e = &own->epochs[i];

		if (!has_epoch(other, e->id) && e->first_seq < p.first_seq)
			p = (struct parting){e->first_seq, e->first_node,
					     e->base};
	}
	return p;
}

int past_open(struct past *p, struct meta *a, struct meta *b)
{
	struct lineage_of of[2] = {0};
	int r = lineage_load(a, p->rd[0], NULL, &of[0]);

	if (r == 0)
		r = lineage_load(b, p->rd[1], NULL, &of[1]);
	if (r == 0) {
		p->parting[0] = first_alone(&of[0].view, &of[1].view);
		p->parting[1] = first_alone(&of[1].view, &of[0].view);
		p->parted =
			MIN(p->parting[0].first_seq, p->parting[1].first_seq);
	}
	lineage_done(&of[0]);
	lineage_done(&of[1]);
	return r;
}

bool past_shares_seq(const struct past *p, uint64_t seq, uint64_t other)
{
	return seq <= p->from || (seq < p->parted && other >= seq);
}

int past_shares_name(const struct past *p, unsigned int side,
		     const struct meta_dentry *name)
{
	struct meta_dentry theirs;
	int r;

	if (name->seq <= p->from || name->seq >= p->parted)
		return name->seq <= p->from;
	r = meta_dentry_get(p->rd[!side], name->parent, name->name,
			    name->name_len, &theirs);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	return theirs.node == name->node && theirs.seq >= name->seq;
}

/*
 * ---- nodes from before the parting ----
 *
 * Told by numbers first, since stores that share all epochs are compared too: a
 * node is from before if either side has a number at or below `from` for its
 * attributes, which are set at birth, for one of its names, or for some of its
 * contents.  Ids rise, so all ids below such a one are.
 */

static int has_old_name(const struct past *p, unsigned int side, uint64_t id)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_dentry name;
	int r = meta_iter_names(p->rd[side], id, &it);

	while (r == 0 && (r = meta_next_dentry(&it, &name)) > 0) {
		if (name.parent != META_LIMBO_ID && name.seq <= p->from)
			return 1;
		r = 0;
	}
	return r;
}

static int has_old_contents(const struct past *p, unsigned int side,
			    uint64_t id)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_extent e;
	int r = meta_iter_extents(p->rd[side], id, 0, META_RANGE_MAX, &it);

	while (r == 0 && (r = meta_next_extent(&it, &e)) > 0) {
		if (e.seq <= p->from)
			return 1;
		r = 0;
	}
	return r;
}

static int is_old_by_number(struct past *p, unsigned int side,
			    const struct meta_node *row)
{
	int r = row->id <= p->old_through || row->attr_seq <= p->from;

	if (r == 0)
		r = has_old_name(p, side, row->id);
	if (r == 0 && row->kind == META_FILE)
		r = has_old_contents(p, side, row->id);
	if (r > 0)
		p->old_through = MAX(p->old_through, row->id);
	return r;
}

/*
 * All of it is numbered anew, but its id was given out before this side went on
 * alone.  So are those of what was in flight then, which the other side may
 * never have had; such a thing has the name under which it came to be, or lies
 * where an older one lay.
 */
static int is_old_by_id(const struct past *p, unsigned int side,
			const struct meta_node *row)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	const struct parting *alone = &p->parting[side];
	struct meta_dentry name;
	bool named = false;
	int r;

	if (row->id >= alone->first_node || alone->base != p->from)
		return 0;
	r = meta_iter_names(p->rd[side], row->id, &it);
	while (r == 0 && (r = meta_next_dentry(&it, &name)) > 0) {
		if (name.cookie < alone->first_seq)
			return 0;
		named = true;
		r = 0;
	}
	return r < 0 ? r : named;
}

int past_has(struct past *p, unsigned int side, const struct meta_node *row)
{
	int r = is_old_by_number(p, side, row);

	return r != 0 ? r : is_old_by_id(p, side, row);
}

int past_shared(const struct past *p, unsigned int side, uint64_t id)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_dentry name;
	bool alone = false;
	int r;

	for (unsigned int i = 0; i < 2; i++) {
		alone |= p->parting[i].first_node != 0;
		if (p->parting[i].first_node && id >= p->parting[i].first_node)
			return 0;
	}
	if (!alone)
		return 0;
	r = meta_iter_names(p->rd[side], id, &it);
	while (r == 0 && (r = meta_next_dentry(&it, &name)) > 0) {
		if (name.parent != META_LIMBO_ID && name.cookie <= p->from)
			return 1;
		r = 0;
	}
	return r;
}

/* The highest id that is known to be old serves all below it; above it are but
 * those that changed. */
int past_learn(struct past *p, unsigned int side)
{
	struct meta_node row = {.id = UINT64_MAX};
	int r = 0;

	while (r == 0 && row.id > p->old_through) {
		r = meta_node_below(p->rd[side], row.id, &row);
		if (r == 0)
			r = is_old_by_number(p, side, &row);
	}
	return r == -ENOENT ? 0 : MIN(r, 0);
}
