/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Before anything else the target's map is made to say what its files say, in
 * limbo/ and in the directories under its own NAME intents.
 *
 * Nodes are recognised by their backing identity, wherever they lie.  What is
 * known is given the name it was found under; names that are not there any
 * more lose their rows; what nobody knows is a leftover of our own work, cut
 * before its row was committed, and is removed.  A leftover directory may hold
 * nodes that were moved into it: those are kept, in limbo.
 *
 * All of it is one transaction: a node may lose its name in one directory and
 * be found in the next, and has none in between.
 *
 * A directory in doubt may itself have been moved, and then it can be opened
 * only after the one it lies in now was listed: hence the passes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "resync/lap.h"
#include "resync/scan.h"

struct pending {
	uint64_t dir;
	bool done;
};

struct reconcile {
	struct lap *lap;
	VEC(struct pending) dirs;
	uint64_t dir; /* being listed */
	int dirfd;
	uint64_t seq_hint;    /* no free cookie in dir is below */
	struct idvec orphans; /* lost a name, perhaps the last */
};

/* ---- listings ---- */

static int listing_add(void *arg, const struct store_dirent *e)
{
	struct listing *l = arg;
	size_t at = l->text.count;
	int r;

	if (l->at.count >= l->max)
		return 1;
	r = vec_splice(&l->text, at, 0, e->name, strlen(e->name) + 1);
	return r < 0 ? r : vec_push(&l->at, at);
}

int listing_read(struct lap *lap, int dirfd, size_t max, struct listing *ret)
{
	int r;

	vec_clear(&ret->text);
	vec_clear(&ret->at);
	ret->max = max;
	r = store_list(lap->dst->store, dirfd, listing_add, ret);
	return r < 0 ? r : 0;
}

void listing_done(struct listing *l)
{
	vec_done(&l->text);
	vec_done(&l->at);
}

/* ---- rows ---- */

/*
 * An entry found under a name where the map had none has no number of its
 * own.  It gets a free one below all that were issued lately: a high one would
 * make the target seem newer than its source.
 */
static int free_seq(struct reconcile *rc, uint64_t *ret_seq)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_dentry d;
	int r;

	r = meta_iter_dentries(rc->lap->t, rc->dir, rc->seq_hint - 1, &it);
	if (r < 0)
		return r;
	while ((r = meta_next_dentry(&it, &d)) > 0 && d.cookie == rc->seq_hint)
		rc->seq_hint++;
	if (r < 0)
		return r;
	*ret_seq = rc->seq_hint++;
	return 0;
}

/* A directory has one name: the one it was found under. */
static int drop_other_names(struct lap *lap, uint64_t node, uint64_t parent,
			    const char *name)
{
	VEC(struct meta_dentry) others = {0};
	struct meta_dentry d;
	int r;

	do {
		_cleanup_meta_iter_ struct meta_iter it = {0};

		r = meta_iter_names(lap->t, node, &it);
		while (r == 0 && (r = meta_next_dentry(&it, &d)) > 0) {
			r = 0;
			if (d.parent != parent || strcmp(d.name, name))
				r = vec_push(&others, d);
		}
	} while (0);
	for (size_t i = 0; r == 0 && i < others.count; i++) {
		r = meta_dentry_del(lap->dst->meta, others.data[i].parent,
				    others.data[i].name,
				    others.data[i].name_len);
		r = r < 0 ? r : 0;
	}
	vec_done(&others);
	return r;
}

/* A lap that was cut had begun to fill it. */
static int note_large(struct lap *lap, uint64_t node)
{
	int r;

	if (idmap_get(&lap->filled, node))
		return 0;
	lap->n->nodes++;
	r = vec_push(&lap->large.v, node);
	return r < 0 ? r : idmap_set(&lap->filled, node, 2);
}

/* What follows from the row of a node that was met in a directory in doubt. */
static int note_known(struct reconcile *rc, const struct meta_node *row,
		      const struct store_stat *st)
{
	struct lap *lap = rc->lap;
	uint64_t how = idmap_get(&lap->doubt.dirs, rc->dir);

	if (row->kind == META_FILE && row->attr_seq == 0)
		return note_large(lap, row->id);
	return how & 2 ? doubt_born(lap, row, st) : 0;
}

/* @instead: the node that the map had under the name; 0: none */
static int put_found_name(struct reconcile *rc, const char *name,
			  const struct meta_node *row, uint64_t instead)
{
	struct meta_dentry d = {.parent = rc->dir, .node = row->id};
	int r;

	d.name_len = (uint16_t)strlen(name);
	memcpy(d.name, name, (size_t)d.name_len + 1);
	r = free_seq(rc, &d.seq);
	d.cookie = d.seq;
	if (r == 0 && instead)
		r = vec_push(&rc->orphans.v, instead);
	if (r == 0)
		r = meta_dentry_put(rc->lap->dst->meta, &d);
	if (r == 0 && row->kind == META_DIR)
		r = drop_other_names(rc->lap, row->id, rc->dir, name);
	return r;
}

/* The row of what the map has under this name, if the file is that. */
static int match_by_name(struct reconcile *rc, const struct meta_dentry *have,
			 const struct store_stat *st, struct meta_node *ret)
{
	struct lap *lap = rc->lap;
	int r = lap_target_row(lap, have->node, ret);

	if (r <= 0)
		return r;
	if (lap->copied)
		ret->backing = (struct meta_backing){0};
	/* In a copy a name proves nothing where names are in doubt. In limbo
	 * it is the node's own. */
	if (ret->backing.ino == 0 && rc->dir != META_LIMBO_ID)
		return 0;
	if (!side_matches(ret, st) || scan_is_unlike(ret, st))
		return 0;
	if (ret->backing.ino == 0) {
		ret->backing.ino = (uint64_t)st->st.st_ino;
		ret->backing.gen = st->gen;
		r = meta_node_set_backing(lap->dst->meta, ret->id,
					  ret->backing);
	}
	return r < 0 ? r : 1;
}

static int match_by_identity(struct lap *lap, const struct store_stat *st,
			     struct meta_node *ret)
{
	struct meta_backing backing = {(uint64_t)st->st.st_ino, st->gen};
	int r;

	if (lap->copied)
		return 0;
	r = meta_node_find(lap->t, backing, ret);
	if (r == -ENOENT)
		return 0;
	return r < 0 ? r
		     : ret->kind == meta_kind_of(st->st.st_mode) &&
			       !scan_is_unlike(ret, st);
}

static int reconcile_entry(struct reconcile *rc, const char *name)
{
	struct lap *lap = rc->lap;
	struct meta_dentry have;
	struct meta_node row;
	struct store_stat st;
	bool named;
	int r;

	r = store_statat(lap->dst->store, rc->dirfd, name, STORE_STAT_GEN, &st);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	r = lap_entry(lap->t, rc->dir, name, strlen(name), &have);
	if (r < 0)
		return r;
	named = r > 0;
	if (st.foreign && !named)
		return 0; /* not the volume's */
	r = named ? match_by_name(rc, &have, &st, &row) : 0;
	if (r != 0)
		return r < 0 ? r : note_known(rc, &row, &st);
	r = match_by_identity(lap, &st, &row);
	if (r < 0)
		return r;
	if (r > 0) {
		r = put_found_name(rc, name, &row, named ? have.node : 0);
		return r < 0 ? r : note_known(rc, &row, &st);
	}
	if (named) {
		r = meta_dentry_del(lap->dst->meta, rc->dir, name,
				    strlen(name));
		if (r >= 0)
			r = vec_push(&rc->orphans.v, have.node);
	}
	if (r < 0)
		return r;
	lap->n->entries_removed++;
	return limbo_scrap(lap, rc->dirfd, name);
}

/* Rows whose names are not there any more. */
static int drop_missing(struct reconcile *rc)
{
	struct lap *lap = rc->lap;
	VEC(struct meta_dentry) gone = {0};
	struct meta_dentry d;
	struct store_stat st;
	int r;

	do {
		_cleanup_meta_iter_ struct meta_iter it = {0};

		r = meta_iter_dentries(lap->t, rc->dir, 0, &it);
		while (r == 0 && (r = meta_next_dentry(&it, &d)) > 0) {
			r = store_statat(lap->dst->store, rc->dirfd, d.name, 0,
					 &st);
			if (r == -ENOENT)
				r = vec_push(&gone, d);
		}
	} while (0);
	for (size_t i = 0; r == 0 && i < gone.count; i++) {
		r = meta_dentry_del(lap->dst->meta, rc->dir, gone.data[i].name,
				    gone.data[i].name_len);
		if (r >= 0)
			r = vec_push(&rc->orphans.v, gone.data[i].node);
	}
	vec_done(&gone);
	return r;
}

/* 1 listed, 0 it cannot be reached (yet), -errno. */
static int reconcile_dir(struct reconcile *rc, uint64_t dir)
{
	_cleanup_(listing_done) struct listing list = {0};
	_cleanup_close_ int fd = side_open_dir(rc->lap->dst, rc->lap->t, dir);
	int r;

	if (fd == -ENOENT || fd == -ESTALE)
		return 0;
	if (fd < 0)
		return misfit_shut(rc->lap, fd, dir);
	rc->dir = dir;
	rc->dirfd = fd;
	rc->seq_hint = 1;
	r = listing_read(rc->lap, fd, SIZE_MAX, &list);
	for (size_t i = 0; r == 0 && i < list.at.count; i++)
		r = reconcile_entry(rc, listing_name(&list, i));
	if (r == 0)
		r = drop_missing(rc);
	return r < 0 ? r : 1;
}

/* ---- limbo/ ---- */

static bool limbo_id(const char *name, uint64_t *ret_id)
{
	struct meta_dentry d;
	char *end;

	errno = 0;
	*ret_id = strtoull(name, &end, 10);
	if (errno || *end || !*ret_id || *ret_id > INT64_MAX)
		return false;
	limbo_name(*ret_id, &d);
	return !strcmp(d.name, name);
}

/* Does the map of a copy have it somewhere else, and in no directory in doubt? Then
 * it is there: the files were restored over others, whose limbo/ was not empty. */
static int is_elsewhere(struct reconcile *rc, uint64_t id)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	const struct meta_node unknown = {0};
	struct lap *lap = rc->lap;
	struct meta_node row;
	struct meta_dentry d;
	int elsewhere = 0;
	int r = lap_target_row(lap, id, &row);

	if (r <= 0 || (row.backing.ino && !lap->copied))
		return MIN(r, 0);
	r = meta_iter_names(lap->t, id, &it);
	while (r == 0 && (r = meta_next_dentry(&it, &d)) > 0) {
		r = 0;
		if (d.parent == META_LIMBO_ID ||
		    side_is_unproved(lap->dst, d.parent, &unknown))
			return 0;
		elsewhere = 1;
	}
	return r < 0 ? r : elsewhere;
}

/* By the name that it has in limbo/: 1 and its row, which has that name then; 0: it
 * is not what the map means. */
static int match_in_limbo(struct reconcile *rc, uint64_t id,
			  const struct store_stat *st, struct meta_node *ret)
{
	struct lap *lap = rc->lap;
	struct meta_dentry d;
	int r;

	r = is_elsewhere(rc, id);
	if (r != 0)
		return MIN(r, 0);
	limbo_name(id, &d);
	r = match_by_name(rc, &d, st, ret);
	if (r <= 0)
		return r;
	r = meta_dentry_put(lap->dst->meta, &d);
	if (r == 0 && ret->kind == META_DIR)
		r = drop_other_names(lap, id, META_LIMBO_ID, d.name);
	return r < 0 ? r : 1;
}

static int reconcile_limbo_entry(struct reconcile *rc, const char *name)
{
	struct lap *lap = rc->lap;
	struct meta_node row;
	struct store_stat st;
	uint64_t id;
	int r;

	r = store_statat(lap->dst->store, rc->dirfd, name, STORE_STAT_GEN, &st);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	/* Was removed, and open when the store left; later laps may find those
	 * that it is given now (fs/mirror/nameless.c). */
	if (!strncmp(name, STORE_GONE, strlen(STORE_GONE)))
		return lap->n->laps ? 0 : limbo_scrap(lap, rc->dirfd, name);
	if (limbo_id(name, &id)) {
		r = match_in_limbo(rc, id, &st, &row);
		if (r != 0)
			return r < 0 ? r : tree_want(lap, id);
	}
	r = match_by_identity(lap, &st, &row);
	if (r > 0) {
		r = limbo_keep(lap, rc->dirfd, name, &row, &st);
		return r < 0 ? r : tree_want(lap, row.id);
	}
	return r < 0 ? r : limbo_scrap(lap, rc->dirfd, name);
}

/* A name that is an id, if what has it is that node. */
static int limbo_entry_by_id(struct reconcile *rc, const char *name,
			     bool dirs_only)
{
	struct meta_node row;
	struct store_stat st;
	uint64_t id;
	int r;

	if (!limbo_id(name, &id))
		return 0;
	r = store_statat(rc->lap->dst->store, rc->dirfd, name, STORE_STAT_GEN,
			 &st);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	if (dirs_only && !S_ISDIR(st.st.st_mode))
		return 0;
	r = match_in_limbo(rc, id, &st, &row);
	return MIN(r, 0);
}

/* The leftovers come last: a node that has its place in limbo may have another name
 * in one of them, and would be put over the first. */
static int reconcile_limbo(struct reconcile *rc)
{
	_cleanup_(listing_done) struct listing list = {0};
	struct lap *lap = rc->lap;
	int r;

	rc->dir = META_LIMBO_ID;
	rc->dirfd = store_limbo_fd(lap->dst->store);
	r = listing_read(lap, rc->dirfd, SIZE_MAX, &list);
	for (size_t i = 0; r == 0 && i < list.at.count; i++)
		r = limbo_entry_by_id(rc, listing_name(&list, i), false);
	for (size_t i = 0; r == 0 && i < list.at.count; i++)
		r = reconcile_limbo_entry(rc, listing_name(&list, i));
	return r < 0 ? r : drop_missing(rc);
}

/* Only the directories: where their map has them, in a directory in doubt, nothing would
 * prove what lies below them, while a file may be one of several names. */
int reconcile_copy(struct lap *lap)
{
	_cleanup_(listing_done) struct listing list = {0};
	struct reconcile rc = {.lap = lap, .dir = META_LIMBO_ID};
	int r;

	rc.dirfd = store_limbo_fd(lap->dst->store);
	r = listing_read(lap, rc.dirfd, SIZE_MAX, &list);
	if (r < 0 || list.at.count == 0)
		return r;
	r = lap_begin(lap);
	for (size_t i = 0; r == 0 && i < list.at.count; i++)
		r = limbo_entry_by_id(&rc, listing_name(&list, i), true);
	return r < 0 ? r : lap_commit(lap);
}

/* ---- all of it ---- */

static int collect_dirs(struct reconcile *rc)
{
	struct lap *lap = rc->lap;
	struct meta_node row;
	uint64_t last = 0;
	int r = 0;

	vec_for_each (in, &lap->doubt.own) {
		struct pending p = {.dir = in->node};

		if (in->kind != META_INTENT_NAME || in->node == last)
			continue;
		last = in->node;
		r = lap_target_row(lap, in->node, &row);
		if (r > 0 && row.kind == META_DIR)
			r = vec_push(&rc->dirs, p);
		if (r < 0)
			return r;
	}
	return r < 0 ? r : 0;
}

/* Directories that turned out to be in doubt as well. */
static int take_born(struct reconcile *rc)
{
	struct idvec *born = &rc->lap->doubt.born;
	int r = 0;

	for (size_t i = 0; r == 0 && i < born->v.count; i++) {
		struct pending p = {.dir = born->v.data[i]};

		r = vec_push(&rc->dirs, p);
	}
	vec_clear(&born->v);
	return r;
}

static int reconcile_passes(struct reconcile *rc)
{
	bool progress;
	int r = take_born(rc);

	if (r < 0)
		return r;
	do {
		progress = false;
		/* The list may grow meanwhile. */
		for (size_t i = 0; i < rc->dirs.count; i++) {
			if (rc->dirs.data[i].done)
				continue;
			r = reconcile_dir(rc, rc->dirs.data[i].dir);
			if (r < 0)
				return r;
			rc->dirs.data[i].done = r > 0;
			progress = progress || r > 0;
			r = take_born(rc);
			if (r < 0)
				return r;
		}
	} while (progress);
	return 0;
}

/* Directories that were found nowhere, and nodes without a name. */
static int forget_lost(struct reconcile *rc)
{
	struct lap *lap = rc->lap;
	struct meta_dentry d;
	int r = 0;

	vec_for_each (p, &rc->dirs) {
		if (r == 0 && !p->done)
			r = tree_lost(lap, p->dir);
	}
	for (size_t i = 0; r == 0 && i < rc->orphans.v.count; i++) {
		r = meta_dentry_of(lap->t, rc->orphans.v.data[i], &d);
		if (r == -ENOENT)
			r = tree_lost(lap, rc->orphans.v.data[i]);
	}
	return r;
}

int reconcile(struct lap *lap)
{
	struct reconcile rc = {.lap = lap};
	int r;

	r = reconcile_limbo(&rc);
	if (r == 0)
		r = collect_dirs(&rc);
	if (r == 0)
		r = reconcile_passes(&rc);
	if (r == 0)
		r = forget_lost(&rc);
	vec_done(&rc.dirs);
	vec_done(&rc.orphans.v);
	return r;
}
