/* SPDX-License-Identifier: Apache-2.0 */
#include "resync/diverge.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/vec.h"
#include "resync/map_path.h"
#include "resync/past.h"

/* One thing that one side did. */
struct deed {
	char *path;
	char *own_path; /* what.path, to be freed */
	unsigned int side;
	struct diverge_side what;
};

struct diverge {
	const struct diverge_ask *ask;
	struct past past;
	VEC(struct deed) deeds;
};

/* ---- nodes ---- */

static int row_of(struct meta_reader *rd, uint64_t id, struct meta_node *ret)
{
	int r = meta_node_get(rd, id, ret);

	return r == -ENOENT ? 0 : r < 0 ? r : 1;
}

/* From before, by what either side knows of it? */
static int is_old_anywhere(struct diverge *d, unsigned int side,
			   const struct meta_node *row)
{
	struct meta_node theirs;
	int r = past_has(&d->past, side, row);

	if (r != 0)
		return r;
	r = row_of(d->past.rd[!side], row->id, &theirs);
	if (r <= 0 || theirs.kind != row->kind)
		return MIN(r, 0);
	r = past_has(&d->past, !side, &theirs);
	return r != 0 ? r : past_shared(&d->past, side, row->id);
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
	int r = map_path(d->past.rd[teller], name, &path);

	return r <= 0 ? r : deed_add(d, side, path, what);
}

/*
 * Something came to lie under this name.  A name keeps its cookie when it is
 * given to something else: with an old one something lay there before, whatever
 * the other side has done with it.
 */
static int deed_came(struct diverge *d, unsigned int side,
		     const struct meta_dentry *name,
		     const struct diverge_side *what)
{
	struct diverge_side gone = {.what = DIVERGE_GONE};
	struct diverge_side came = *what;
	struct meta_dentry theirs;
	int r;

	if (name->cookie > d->past.from)
		return deed_at(d, side, side, name, what);
	came.what = DIVERGE_REPLACED;
	r = deed_at(d, side, side, name, &came);
	if (r == 0)
		r = meta_dentry_get(d->past.rd[!side], name->parent, name->name,
				    name->name_len, &theirs);
	return r == -ENOENT ? deed_at(d, !side, side, name, &gone) : r;
}

static int deed_made(struct diverge *d, unsigned int side,
		     const struct diverge_side *what)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_dentry name;
	int r = meta_iter_names(d->past.rd[side], what->node, &it);

	while (r == 0 && (r = meta_next_dentry(&it, &name)) > 0)
		r = deed_came(d, side, &name, what);
	return r;
}

/* The last deed's node lies elsewhere on its own side. */
static int deed_look_at(struct diverge *d, unsigned int side, uint64_t node)
{
	struct deed *deed = d->deeds.count ? vec_last(&d->deeds) : NULL;
	struct meta_dentry name;
	int r = meta_dentry_of(d->past.rd[side], node, &name);

	if (r == 0 && deed && deed->what.node == node && deed->side == side)
		r = map_path(d->past.rd[side], &name, &deed->own_path);
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
	r = meta_dentry_of(d->past.rd[0], what->node, &name);
	if (r == -ENOENT) {
		teller = 1;
		r = meta_dentry_of(d->past.rd[1], what->node, &name);
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
	int r = meta_iter_extents(d->past.rd[side], node, 0, META_RANGE_MAX,
				  &it);

	*ret = 0;
	while (r == 0 && (r = meta_next_extent(&it, &e)) > 0) {
		if (e.seq > d->past.from)
			*ret += e.end - e.start;
		r = 0;
	}
	return r;
}

/* ---- the names of what is from before ---- */

struct names {
	bool old;   /* one that both had */
	bool fresh; /* one that this side gave it */
	bool lost;  /* an old one, which the other side has given up */
};

static int names_of(struct diverge *d, unsigned int side, uint64_t node,
		    struct names *ret)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_dentry theirs;
	struct meta_dentry name;
	int r = meta_iter_names(d->past.rd[side], node, &it);

	*ret = (struct names){0};
	while (r == 0 && (r = meta_next_dentry(&it, &name)) > 0) {
		r = 0;
		if (name.parent == META_LIMBO_ID)
			continue;
		r = past_shares_name(&d->past, side, &name);
		ret->fresh |= r == 0;
		if (r <= 0)
			continue;
		ret->old = true;
		r = meta_dentry_get(d->past.rd[!side], name.parent, name.name,
				    name.name_len, &theirs);
		ret->lost |= r == -ENOENT || (r == 0 && theirs.node != node);
		r = r == -ENOENT ? 0 : r;
	}
	return r;
}

/* Given a new name: beside those that it had, or in place of one? */
static int came_how(struct diverge *d, unsigned int side, uint64_t node,
		    const struct names *theirs, enum diverge_what *ret)
{
	struct names own;
	int r = names_of(d, side, node, &own);
	bool kept = theirs->old ? !theirs->lost : own.old;

	*ret = kept ? DIVERGE_LINKED_HERE : DIVERGE_MOVED_HERE;
	return r;
}

/*
 * @side has it under the new name @e.  The other one may have removed it, or
 * have given it another name in place of the one that both had: neither shows
 * where @side has it no more.
 */
static int deed_named(struct diverge *d, unsigned int side,
		      const struct meta_dentry *e, struct diverge_side *what)
{
	struct diverge_side other = {.what = DIVERGE_REMOVED, .node = e->node};
	struct meta_dentry there;
	struct names theirs;
	int r = names_of(d, !side, e->node, &theirs);

	if (r == 0)
		r = came_how(d, side, e->node, &theirs, &what->what);
	if (r == 0)
		r = deed_came(d, side, e, what);
	if (r < 0 || theirs.old)
		return r;
	if (theirs.fresh) {
		other.what = DIVERGE_MOVED_AWAY;
		r = meta_dentry_get(d->past.rd[!side], e->parent, e->name,
				    e->name_len, &there);
		if (r != -ENOENT && (r < 0 || there.node == e->node))
			return r;
	}
	return deed_at(d, !side, side, e, &other);
}

/* ---- directories ---- */

/* An entry that @side numbered since: a new name of something older? */
static int entry_here(struct diverge *d, unsigned int side,
		      const struct meta_dentry *e)
{
	struct diverge_side what = {.node = e->node, .seq = e->seq};
	struct meta_dentry theirs;
	struct meta_node row;
	int r = meta_dentry_get(d->past.rd[!side], e->parent, e->name,
				e->name_len, &theirs);

	if (r == 0 && theirs.node == e->node)
		return 0;
	if (r < 0 && r != -ENOENT)
		return r;
	r = row_of(d->past.rd[side], e->node, &row);
	if (r > 0)
		r = is_old_anywhere(d, side, &row);
	if (r <= 0)
		return r;
	what.kind = row.kind;
	return deed_named(d, side, e, &what);
}

/* An entry from before that the other side has: is it still here? */
static int entry_gone(struct diverge *d, unsigned int side, uint64_t dir_seq,
		      const struct meta_dentry *theirs)
{
	struct diverge_side what = {
		.what = DIVERGE_REMOVED, .node = theirs->node, .seq = dir_seq};
	struct meta_dentry own;
	struct names names;
	int r;

	r = meta_dentry_get(d->past.rd[side], theirs->parent, theirs->name,
			    theirs->name_len, &own);
	if (r == 0 && own.node == theirs->node)
		return 0;
	if (r < 0 && r != -ENOENT)
		return r;
	r = names_of(d, side, theirs->node, &names);
	if (r < 0)
		return r;
	/* One of its names may be removed and it be there under others. */
	if (names.fresh)
		what.what = DIVERGE_MOVED_AWAY;
	return deed_at(d, side, !side, theirs, &what);
}

static int entries_here(struct diverge *d, unsigned int side, uint64_t dir,
			bool *ret_any)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_dentry e;
	int r = meta_iter_dentries(d->past.rd[side], dir, 0, &it);

	*ret_any = false;
	while (r == 0 && (r = meta_next_dentry(&it, &e)) > 0) {
		r = 0;
		if (e.seq <= d->past.from)
			continue;
		*ret_any = true;
		r = entry_here(d, side, &e);
	}
	return r;
}

static int dir_entries(struct diverge *d, unsigned int side,
		       const struct meta_node *row, bool *ret_any)
{
	_cleanup_meta_iter_ struct meta_iter theirs = {0};
	size_t before = d->deeds.count;
	struct meta_dentry e;
	bool made = false;
	int r = entries_here(d, side, row->id, &made);

	if (r == 0)
		r = meta_iter_dentries(d->past.rd[!side], row->id, 0, &theirs);
	while (r == 0 && (r = meta_next_dentry(&theirs, &e)) > 0) {
		r = 0;
		if (e.seq > d->past.from)
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
	int r = map_node_path(d->past.rd[0], node, &a);

	if (r > 0)
		r = map_node_path(d->past.rd[1], node, &b);
	return r <= 0 ? r : d->ask->dirs_differ(d->ask->arg, a, b);
}

/* ---- one node of the delta ---- */

static int both_have(struct diverge *d, unsigned int side,
		     const struct meta_node *own,
		     const struct meta_node *theirs, struct diverge_side *what)
{
	bool told = false;
	int r = 0;

	if (past_shares_seq(&d->past, own->seq, theirs->seq))
		return 0;
	if (own->kind == META_DIR) {
		r = dir_entries(d, side, own, &told);
		/* Of an entry that both took away neither map tells; one that
		 * the other has elsewhere is told there. */
		told |= theirs->seq > d->past.from;
	}
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
	int r = meta_dentry_of(d->past.rd[side], changed->node, &name);

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
	int same = 0;
	bool any;
	int r = own->kind == META_FILE
			? bytes_since(d, side, own->id, &what.bytes)
			: 0;

	if (r == 0)
		r = row_of(d->past.rd[!side], own->id, &theirs);
	if (r < 0)
		return r;
	if (r > 0) {
		same = is_same(d, side ? &theirs : own, side ? own : &theirs);
		if (same != 0)
			return same < 0 ? same
					: both_have(d, side, own, &theirs,
						    &what);
	} else {
		same = past_has(&d->past, side, own);
		if (same < 0)
			return same;
	}
	/* What was moved into it is in no directory that both have. */
	r = own->kind == META_DIR ? entries_here(d, side, own->id, &any) : 0;
	if (r < 0)
		return r;
	return same > 0 ? other_removed(d, side, &what)
			: deed_made(d, side, &what);
}

static int side_deeds(struct diverge *d, unsigned int side)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_node row;
	int r = meta_iter_nodes_since(d->past.rd[side], d->past.from, INT64_MAX,
				      &it);

	while (r == 0 && (r = meta_next_node(&it, &row)) > 0)
		r = node_deeds(d, side, &row);
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
	bool went = to->what == DIVERGE_REMOVED || to->what == DIVERGE_GONE ||
		    to->what == DIVERGE_MOVED_AWAY;
	bool came = more->what == DIVERGE_MADE ||
		    more->what == DIVERGE_MOVED_HERE ||
		    more->what == DIVERGE_LINKED_HERE;
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
		if (d->past.rd[i])
			meta_reader_put(d->past.rd[i]);
}

static int collect(struct diverge *d)
{
	int r = 0;

	for (unsigned int side = 0; r == 0 && side < 2; side++)
		r = past_learn(&d->past, side);
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
	struct diverge d = {.ask = ask, .past.from = from};
	int r = 0;

	d.past.rd[0] = meta_reader_get(a);
	d.past.rd[1] = meta_reader_get(b);
	if (!d.past.rd[0] || !d.past.rd[1])
		r = -ENOMEM;
	if (r == 0)
		r = past_open(&d.past, a, b);
	if (r == 0)
		r = collect(&d);
	for (unsigned int group = 0; r == 0 && group < 3; group++)
		r = tell_group(&d, group);
	diverge_done(&d);
	return r;
}
