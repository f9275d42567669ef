/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The second half of the names: what the source has and the target lacks is
 * put where it belongs.
 *
 * A node that the target has is renamed there from limbo, or gets a further
 * link, or is renamed from wherever it still is.  A new directory is made and
 * joins the work list.  New files are left to fill.c.
 *
 * The directory is read in chunks by the cookies of its entries, each chunk in
 * a short snapshot: names that come meanwhile have higher ones.  What was given
 * to a name since the lap began is the next lap's.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "resync/lap.h"

/* An entry that the source has and the target lacks. */
struct want {
	struct meta_dentry d;
	struct meta_node row; /* the source's */
};

#define WANT_CHUNK 512u
/* So many names that stay are looked at for one that goes away. */
#define STAY_LOOKS 64u

struct place {
	struct lap *lap;
	size_t index;	/* in lap->dirs, which may grow */
	int dirfd;	/* of the target's directory; -1 in a dry run */
	uint64_t after; /* in the directory, by cookies */
	uint64_t since; /* with seqs above this one */
	bool end;
	size_t count;
	struct want want[WANT_CHUNK];
};

static int remember_incomplete(struct place *p, const char *what)
{
	return lap_incomplete(p->lap, &p->lap->dirs.data[p->index], what);
}

static int rename_or_later(struct place *p, int r, const char *what)
{
	/* Moved about while we looked: below itself, or not there. */
	if (r == -EINVAL || r == -ENOENT || r == -ENOTEMPTY || r == -EEXIST)
		return remember_incomplete(p, what);
	return r;
}

/*
 * Is the name free on the target?  0: it is now; 1: the node itself has it
 * already, as another link; what is not ours goes to found/.
 */
static int make_room(struct place *p, const struct meta_dentry *d,
		     const struct meta_node *row)
{
	struct lap *lap = p->lap;
	struct meta_dentry have;
	struct store_stat st;
	int r;

	r = lap_entry(lap->t, d->parent, d->name, d->name_len, &have);
	if (r > 0)
		r = limbo_evacuate(lap, p->dirfd, &have);
	if (r < 0 || lap->dry)
		return r;
	r = side_stat_entry(lap->dst, p->dirfd, d->name, row, &st);
	if (r == -ENOENT)
		return 0;
	if (r != 0)
		return r;
	return limbo_found(lap, p->dirfd, d->name);
}

/* 1: in limbo, 0: not. */
static int find_in_limbo(struct lap *lap, uint64_t node,
			 struct meta_dentry *ret)
{
	struct meta_dentry name;

	limbo_name(node, &name);
	return lap_entry(lap->t, META_LIMBO_ID, name.name, name.name_len, ret);
}

/* Has the source that name for the same node? */
static int does_stay(struct lap *lap, const struct meta_dentry *d)
{
	struct meta_dentry theirs;
	int r = lap_entry(lap->s, d->parent, d->name, d->name_len, &theirs);

	if (r < 0)
		return lap_source_err(lap, r);
	return r > 0 && theirs.node == d->node;
}

/*
 * Where the target has the node: limbo before anything else, then a place
 * that goes away, then one that stays. 1 and the entry, 0: nowhere.
 *
 * A place that goes away spares a link, and is left in its turn if it is not
 * met: a file may have thousands of names, and each new one asks here.
 */
static int find_place(struct lap *lap, const struct meta_node *row,
		      struct meta_dentry *ret, bool *ret_stays)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_dentry d;
	unsigned int looks = 0;
	int r;

	*ret_stays = false;
	r = find_in_limbo(lap, row->id, ret);
	if (r != 0)
		return r;
	r = meta_iter_names(lap->t, row->id, &it);
	while (r == 0 && looks < STAY_LOOKS &&
	       (r = meta_next_dentry(&it, &d)) > 0) {
		r = does_stay(lap, &d);
		if (r < 0)
			return r;
		*ret_stays = r > 0;
		if (!looks++ || !*ret_stays)
			*ret = d;
		if (!*ret_stays)
			return 1;
		r = 0;
	}
	return r < 0 ? r : looks > 0;
}

/* Is the file there? 1; 0 and the row of that name is gone. */
static int check_place(struct lap *lap, int dirfd, const struct meta_dentry *at,
		       struct meta_node *row)
{
	struct store_stat st;
	int r;

	if (lap->dry)
		return 1;
	if (side_is_unproved(lap->dst, at->parent, row))
		r = -ESTALE;
	else
		r = dirfd < 0 ? dirfd
			      : side_stat_entry(lap->dst, dirfd, at->name, row,
						&st);
	if (r == -ENOENT || r == -ESTALE)
		r = 0;
	if (r < 0)
		return r;
	if (r > 0 && row->backing.ino == 0) {
		row->backing.ino = (uint64_t)st.st.st_ino;
		row->backing.gen = st.gen;
		r = meta_node_set_backing(lap->dst->meta, row->id,
					  row->backing);
		return r < 0 ? r : 1;
	}
	if (r > 0)
		return 1;
	r = meta_dentry_del(lap->dst->meta, at->parent, at->name, at->name_len);
	return r < 0 ? r : 0;
}

static int place_rename(struct place *p, const struct meta_dentry *to,
			const struct meta_dentry *from, int from_fd, bool there)
{
	struct lap *lap = p->lap;
	int r = 0;

	if (from->parent != META_LIMBO_ID)
		r = tree_arm(lap, from->parent);
	/* Renaming onto another link of the same file does nothing. */
	if (r == 0 && !lap->dry)
		r = there ? store_unlink(lap->dst->store, from_fd, from->name)
			  : store_rename(lap->dst->store, from_fd, from->name,
					 p->dirfd, to->name, 0);
	if (r < 0)
		return rename_or_later(
			p, misfit_at(lap, r, from_fd, from->name), "rename");
	r = ctime_moved(lap, to->node);
	if (r < 0)
		return r;
	lap->n->entries_renamed++;
	r = meta_dentry_del(lap->dst->meta, from->parent, from->name,
			    from->name_len);
	return r < 0 ? r : meta_dentry_put(lap->dst->meta, to);
}

static int place_link(struct place *p, const struct meta_dentry *to,
		      const struct meta_dentry *from, int from_fd, bool there)
{
	struct lap *lap = p->lap;
	int r = 0;

	if (!lap->dry && !there)
		r = misfit_name(lap,
				store_link(lap->dst->store, from_fd, from->name,
					   p->dirfd, to->name),
				to, "one more link");
	if (r < 0)
		return rename_or_later(p, r, "link");
	r = ctime_moved(lap, to->node);
	if (r < 0)
		return r;
	lap->n->entries_created++;
	return meta_dentry_put(lap->dst->meta, to);
}

/* A node that the target has. 0: it turned out to be nowhere, 1 placed. */
static int place_known(struct place *p, const struct want *w,
		       struct meta_node *row)
{
	struct lap *lap = p->lap;
	struct meta_dentry from;
	bool stays = false;
	int r;

	while ((r = find_place(lap, row, &from, &stays)) > 0) {
		_cleanup_close_ int from_fd = -1;

		if (row->kind == META_DIR)
			stays = false;
		if (!lap->dry)
			from_fd = side_open_dir(lap->dst, lap->t, from.parent);
		r = check_place(lap, from_fd, &from, row);
		if (r < 0)
			return r;
		if (r == 0)
			continue;
		r = make_room(p, &w->d, row);
		if (r < 0)
			return r;
		r = stays ? place_link(p, &w->d, &from, from_fd, r > 0)
			  : place_rename(p, &w->d, &from, from_fd, r > 0);
		return r < 0 ? r : 1;
	}
	if (r < 0)
		return r;
	return meta_node_del(lap->dst->meta, row->id);
}

static int make_dir(struct place *p, const struct meta_dentry *d,
		    struct meta_backing *ret)
{
	struct lap *lap = p->lap;
	struct store_stat st;
	int r;

	*ret = (struct meta_backing){0};
	if (lap->dry)
		return 0;
	r = misfit_new(
		lap,
		store_mkdir(lap->dst->store, p->dirfd, d->name, 0700, NULL), d);
	if (r == 0)
		r = store_statat(lap->dst->store, p->dirfd, d->name,
				 STORE_STAT_GEN, &st);
	if (r < 0)
		return r;
	ret->ino = (uint64_t)st.st.st_ino;
	ret->gen = st.gen;
	return 0;
}

static int place_new_dir(struct place *p, const struct want *w)
{
	struct lap *lap = p->lap;
	struct meta_node row = {.id = w->row.id, .kind = META_DIR};
	struct work_dir wd = {
		.id = w->row.id,
		.row = w->row,
		.fresh = true,
		.missing = true,
		.changed = true,
	};
	int r = make_room(p, &w->d, NULL);

	if (r == 0)
		r = make_dir(p, &w->d, &row.backing);
	if (r == 0)
		r = meta_node_put(lap->dst->meta, &row);
	if (r == 0)
		r = meta_dentry_put(lap->dst->meta, &w->d);
	/* Committed together with the row: until then it is a leftover. */
	if (r == 0 && !lap->dry)
		r = meta_intent_put(lap->dst->meta,
				    &(struct meta_intent){
					    .node = row.id,
					    .kind = META_INTENT_NAME,
				    });
	if (r == 0)
		r = idmap_set(&lap->armed, row.id, 1);
	if (r < 0)
		return r;
	lap->n->entries_created++;
	lap->n->nodes++;
	lap->n->inodes_needed++;
	return tree_push(lap, &wd);
}

static int place_one(struct place *p, const struct want *w)
{
	struct meta_node row;
	int r = lap_target_row(p->lap, w->d.node, &row);

	if (r > 0 && row.kind != w->row.kind)
		return -EUCLEAN; /* ids are never given twice */
	if (r > 0)
		r = place_known(p, w, &row);
	if (r == 0 && w->row.kind == META_DIR)
		r = place_new_dir(p, w);
	return r < 0 ? r : lap_step(p->lap, 4);
}

/* 1: something for this pass; 0: there already, or a new file. */
static int wanted(struct place *p, const struct meta_dentry *d,
		  struct meta_node *ret_row)
{
	struct lap *lap = p->lap;
	struct meta_dentry have;
	struct meta_node row;
	int r;

	r = lap_entry(lap->t, d->parent, d->name, d->name_len, &have);
	if (r < 0 || (r > 0 && have.node == d->node))
		return r < 0 ? r : 0;
	r = meta_node_get(lap->s, d->node, ret_row);
	if (r < 0)
		return lap_source_err(lap, r);
	r = lap_target_row(lap, d->node, &row);
	return r < 0 ? r : r > 0 || ret_row->kind == META_DIR;
}

static int want_read(struct place *p)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct lap *lap = p->lap;
	struct meta_dentry *d;
	int r;

	p->count = 0;
	r = meta_iter_dentries(lap->s, lap->dirs.data[p->index].id, p->after,
			       &it);
	while (r >= 0 && p->count < WANT_CHUNK) {
		d = &p->want[p->count].d;
		r = meta_next_dentry(&it, d);
		p->end = r == 0;
		if (r < 0)
			return lap_source_err(lap, r);
		if (p->end)
			return 0;
		p->after = d->cookie;
		if (d->seq > lap->limit || d->seq <= p->since)
			continue;
		r = wanted(p, d, &p->want[p->count].row);
		if (r > 0)
			p->count++;
	}
	return r < 0 ? r : 0;
}

static int want_chunk(struct place *p)
{
	int r = meta_read_begin(p->lap->s);

	if (r < 0)
		return lap_source_err(p->lap, r);
	r = want_read(p);
	meta_read_end(p->lap->s);
	return r;
}

static int place_entries(struct place *p)
{
	int r = 0;

	while (r == 0 && !p->end) {
		r = want_chunk(p);
		for (size_t i = 0; r == 0 && i < p->count; i++)
			r = place_one(p, &p->want[i]);
		if (r == 0)
			r = lap_poll(p->lap);
	}
	return r;
}

static int place_dir(struct place *p, size_t index)
{
	struct lap *lap = p->lap;
	struct work_dir *wd = &lap->dirs.data[index];
	_cleanup_close_ int dirfd = -1;

	if (wd->gone || !wd->missing)
		return 0;
	if (!lap->dry) {
		dirfd = side_open_dir(lap->dst, lap->t, wd->id);
		if (dirfd == -ENOENT || dirfd == -ESTALE) {
			wd->gone = true;
			return tree_lost(lap, wd->id);
		}
		if (dirfd < 0)
			return dirfd;
	}
	p->index = index;
	p->dirfd = dirfd;
	p->after = wd->after;
	p->since = wd->since;
	p->end = false;
	return place_entries(p);
}

int place_round(struct lap *lap)
{
	_cleanup_free_ struct place *p = calloc(1, sizeof(*p));
	int r = 0;

	if (!p)
		return -ENOMEM;
	p->lap = lap;
	/* The list grows by the directories made here. */
	for (size_t i = lap->round_at; r == 0 && i < lap->dirs.count; i++)
		r = place_dir(p, i);
	return r;
}
