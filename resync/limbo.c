/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Out of the way: limbo/ for nodes that are on their way from one place to
 * another or out of the store, found/ for what is not ours.
 *
 * In limbo a node has its id for a name, and a row under META_LIMBO_ID whose
 * number is the id too.  What lies there at the end of the names has no place
 * on the source any more and is removed.  A directory is removed from its
 * files, not from its rows, so that what somebody put into it is found; its
 * subdirectories move to limbo themselves, so that no depth matters.
 *
 * All of it runs inside a transaction of the target's map.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"
#include "resync/lap.h"

/* Entries of one directory that are looked at together. */
#define LISTED_MAX 4096u

void limbo_name(uint64_t node, struct meta_dentry *ret)
{
	*ret = (struct meta_dentry){
		.parent = META_LIMBO_ID,
		.node = node,
		.seq = node,
	};
	ret->name_len = (uint16_t)snprintf(ret->name, sizeof(ret->name),
					   "%" PRIu64, node);
}

/* ---- rows ---- */

static int entry_del(struct lap *lap, const struct meta_dentry *d)
{
	int r = meta_dentry_del(lap->dst->meta, d->parent, d->name,
				d->name_len);

	return r < 0 ? r : 0;
}

int limbo_forget_entry(struct lap *lap, const struct meta_dentry *d)
{
	struct meta_dentry other;
	int r;

	r = entry_del(lap, d);
	if (r < 0)
		return r;
	r = meta_dentry_of(lap->t, d->node, &other);
	if (r == -ENOENT) {
		r = freed_node(lap, d->node);
		if (r == 0)
			r = meta_node_del(lap->dst->meta, d->node);
	} else if (r == 0)
		r = ctime_moved(lap, d->node);
	return r < 0 ? r : 0;
}

static int move_to_limbo_rows(struct lap *lap, const struct meta_dentry *from)
{
	struct meta_dentry to;
	int r;

	limbo_name(from->node, &to);
	r = entry_del(lap, from);
	return r < 0 ? r : meta_dentry_put(lap->dst->meta, &to);
}

static int in_limbo(struct lap *lap, uint64_t node)
{
	struct meta_dentry name, have;

	limbo_name(node, &name);
	return lap_entry(lap->t, META_LIMBO_ID, name.name, name.name_len,
			 &have);
}

/* Among those in directories below this number. 1: yes. */
static int kept_until(struct lap *lap, uint64_t node, struct meta_iter *it,
		      uint64_t parent)
{
	struct meta_dentry d, theirs;
	int r;

	while ((r = meta_next_dentry(it, &d)) > 0 && d.parent < parent) {
		if (d.parent == META_LIMBO_ID)
			continue;
		r = lap_entry(lap->s, d.parent, d.name, d.name_len, &theirs);
		if (r < 0)
			return lap_source_err(lap, r);
		if (r > 0 && theirs.node == node)
			return 1;
	}
	return MIN(r, 0);
}

int limbo_kept_elsewhere(struct lap *lap, uint64_t node, uint64_t except_parent)
{
	_cleanup_meta_iter_ struct meta_iter below = {0};
	_cleanup_meta_iter_ struct meta_iter beyond = {0};
	int r;

	r = meta_iter_names(lap->t, node, &below);
	if (r == 0)
		r = kept_until(lap, node, &below, except_parent);
	if (r != 0)
		return r;
	/* Thousands may lie in that directory itself: they are passed over. */
	r = meta_iter_names_beyond(lap->t, node, except_parent, &beyond);
	return r < 0 ? r : kept_until(lap, node, &beyond, UINT64_MAX);
}

/* ---- files; nothing in a dry run ---- */

static int file_unlink(struct lap *lap, int dirfd, const char *name)
{
	int r = lap->dry ? 0 : store_unlink(lap->dst->store, dirfd, name);

	return r == -ENOENT ? 0 : misfit_at(lap, r, dirfd, name);
}

static int file_rename(struct lap *lap, int dirfd, const char *name,
		       int to_dirfd, const char *to_name)
{
	if (lap->dry)
		return 0;
	return misfit_at(lap,
			 store_rename(lap->dst->store, dirfd, name, to_dirfd,
				      to_name, RENAME_NOREPLACE),
			 dirfd, name);
}

int limbo_found(struct lap *lap, int dirfd, const char *name)
{
	char quoted[4 * META_NAME_MAX + 4];
	char kept[META_NAME_MAX + 1];
	int r = -EEXIST;

	/* A dry run sees no files, and meets nothing foreign. */
	if (lap->dry)
		return 0;
	for (unsigned int tries = 0; r == -EEXIST && tries < 100000; tries++) {
		int len =
			snprintf(kept, sizeof(kept), "%u-", ++lap->found_count);

		/* A long name loses its end, not the number. */
		(void)snprintf(kept + len, sizeof(kept) - (size_t)len, "%.200s",
			       name);
		r = file_rename(lap, dirfd, name,
				store_found_fd(lap->dst->store), kept);
	}
	if (r < 0)
		return r;
	lap->n->found++;
	log_warn("foreign object kept in found: store=%s name=%s as=%s",
		 store_path(lap->dst->store),
		 path_quote(quoted, sizeof(quoted), name), kept);
	return 0;
}

/* No row says that limbo has the name: then what has it is not ours. */
static int file_to_limbo(struct lap *lap, int dirfd, const char *name,
			 const char *to_name)
{
	int limbo_fd = store_limbo_fd(lap->dst->store);
	int r = file_rename(lap, dirfd, name, limbo_fd, to_name);

	if (r != -EEXIST)
		return r;
	r = limbo_found(lap, limbo_fd, to_name);
	return r < 0 ? r : file_rename(lap, dirfd, name, limbo_fd, to_name);
}

/* ---- leftovers of our own work ---- */

#define SCRAP_DRY_LEVELS 512u

/* Not ours, however it came there. */
static int limbo_foreign(const struct lap *lap, const char *name)
{
	char quoted[4 * META_NAME_MAX + 4];

	log_err("another filesystem is mounted where a resync has to change "
		"something, unmount it: store=%s name=%s",
		store_path(lap->dst->store),
		path_quote(quoted, sizeof(quoted), name));
	return -EXDEV;
}

/* Into limbo/ under a number of its own, to be emptied when its turn comes. */
static int scrap_aside(struct lap *lap, int dirfd, const char *name)
{
	int limbo_fd = store_limbo_fd(lap->dst->store);
	char to[32];
	int r;

	do {
		(void)snprintf(to, sizeof(to), "scrap-%" PRIu64,
			       lap->scraps_end++);
		r = file_rename(lap, dirfd, name, limbo_fd, to);
	} while (r == -EEXIST); /* left by a lap that was cut */
	return r == -ENOENT ? 0 : r;
}

static int scrap_child(struct lap *lap, int dirfd, const char *name,
		       unsigned int depth);

static int scrap_entries(struct lap *lap, int fd, unsigned int depth)
{
	_cleanup_(listing_done) struct listing list = {0};
	int r = listing_read(lap, fd, SIZE_MAX, &list);

	for (size_t i = 0; r == 0 && i < list.at.count; i++)
		r = scrap_child(lap, fd, listing_name(&list, i), depth);
	return r;
}

/* A dry run moves nothing; far below it does not look for what would stay. */
static int scrap_dry(struct lap *lap, int dirfd, const char *name,
		     unsigned int depth)
{
	_cleanup_close_ int fd = -1;

	if (depth >= SCRAP_DRY_LEVELS)
		return 0;
	fd = store_openat_forced(lap->dst->store, dirfd, name,
				 O_RDONLY | O_DIRECTORY);
	return fd < 0 ? fd : scrap_entries(lap, fd, depth + 1);
}

static int scrap_one(struct lap *lap, int dirfd, const char *name,
		     const struct store_stat *st, unsigned int depth)
{
	int r;

	if (st->foreign)
		return limbo_foreign(lap, name);
	if (S_ISDIR(st->st.st_mode))
		return lap->dry ? scrap_dry(lap, dirfd, name, depth)
				: scrap_aside(lap, dirfd, name);
	r = freed_scrap(lap, dirfd, name, st);
	return r < 0 ? r : file_unlink(lap, dirfd, name);
}

static int scrap_child(struct lap *lap, int dirfd, const char *name,
		       unsigned int depth)
{
	struct meta_node row;
	struct store_stat st;
	int r;

	r = store_statat(lap->dst->store, dirfd, name, STORE_STAT_GEN, &st);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	r = -ENOENT;
	if (!lap->copied)
		r = meta_node_find(
			lap->t,
			(struct meta_backing){(uint64_t)st.st.st_ino, st.gen},
			&row);
	if (r == 0 && row.kind == meta_kind_of(st.st.st_mode))
		return limbo_keep(lap, dirfd, name, &row, &st);
	if (r < 0 && r != -ENOENT)
		return r;
	return scrap_one(lap, dirfd, name, &st, depth);
}

/* Directories below go to limbo/ as well: however deep, none lies in another. */
static int scrap_empty(struct lap *lap)
{
	int limbo_fd = store_limbo_fd(lap->dst->store);
	int r = 0;

	while (r == 0 && lap->scraps_begin < lap->scraps_end) {
		_cleanup_close_ int fd = -1;
		char name[32];

		(void)snprintf(name, sizeof(name), "scrap-%" PRIu64,
			       lap->scraps_begin++);
		fd = store_openat_forced(lap->dst->store, limbo_fd, name,
					 O_RDONLY | O_DIRECTORY);
		if (fd == -ENOENT) /* another lap's had that number */
			continue;
		r = fd < 0 ? fd : scrap_entries(lap, fd, 0);
		if (r == 0)
			r = store_rmdir(lap->dst->store, limbo_fd, name);
		if (r == 0)
			r = lap_poll(lap);
	}
	return r;
}

int limbo_scrap(struct lap *lap, int dirfd, const char *name)
{
	struct store_stat st;
	int r;

	r = store_statat(lap->dst->store, dirfd, name, 0, &st);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	r = scrap_one(lap, dirfd, name, &st, 0);
	return r < 0 ? r : scrap_empty(lap);
}

int limbo_keep(struct lap *lap, int dirfd, const char *name,
	       const struct meta_node *row, const struct store_stat *st)
{
	VEC(struct meta_dentry) others = {0};
	struct meta_dentry to, d;
	int r;

	r = in_limbo(lap, row->id);
	if (r < 0)
		return r;
	if (r > 0)
		return row->kind == META_DIR ? limbo_found(lap, dirfd, name)
					     : file_unlink(lap, dirfd, name);
	limbo_name(row->id, &to);
	r = file_to_limbo(lap, dirfd, name, to.name);
	/* In a dry run it is not there and could not be listed. */
	if (r == 0 && !(lap->dry && row->kind == META_DIR))
		r = doubt_born(lap, row, st);
	if (r < 0)
		return r;
	if (row->kind == META_DIR) {
		_cleanup_meta_iter_ struct meta_iter it = {0};

		r = meta_iter_names(lap->t, row->id, &it);
		while (r == 0 && (r = meta_next_dentry(&it, &d)) > 0)
			r = vec_push(&others, d);
	}
	for (size_t i = 0; r == 0 && i < others.count; i++)
		r = entry_del(lap, &others.data[i]);
	vec_done(&others);
	return r < 0 ? r : meta_dentry_put(lap->dst->meta, &to);
}

/* ---- evacuation ---- */

/*
 * Is what lies under the name what the map says?  1: yes, 0: no, and the row
 * is gone (what lies there, if anything, is in found/).
 */
static int verify_entry(struct lap *lap, int dirfd, const struct meta_dentry *d,
			struct meta_node *ret_row)
{
	struct store_stat st;
	int known = lap_target_row(lap, d->node, ret_row);
	int r;

	if (known < 0 || (known && lap->dry))
		return known;
	r = side_stat_entry(lap->dst, dirfd, d->name, known ? ret_row : NULL,
			    &st);
	if (r == 1) {
		if (ret_row->backing.ino != 0)
			return 1;
		ret_row->backing.ino = (uint64_t)st.st.st_ino;
		ret_row->backing.gen = st.gen;
		r = meta_node_set_backing(lap->dst->meta, ret_row->id,
					  ret_row->backing);
		return r < 0 ? r : 1;
	}
	if (r == 0)
		r = limbo_found(lap, dirfd, d->name);
	if (r < 0 && r != -ENOENT)
		return r;
	return entry_del(lap, d);
}

int limbo_evacuate(struct lap *lap, int dirfd, const struct meta_dentry *d)
{
	struct meta_dentry to;
	struct meta_node row;
	int named;
	int r;

	r = verify_entry(lap, dirfd, d, &row);
	if (r <= 0)
		return r;
	named = lap_source_named(lap, d->node);
	if (named < 0)
		return lap_source_err(lap, named);
	if (row.kind != META_DIR) {
		r = named ? in_limbo(lap, d->node) : 1;
		if (r < 0)
			return r;
		if (r > 0) {
			lap->n->entries_removed++;
			r = file_unlink(lap, dirfd, d->name);
			return r < 0 ? r : limbo_forget_entry(lap, d);
		}
	}
	limbo_name(d->node, &to);
	r = file_to_limbo(lap, dirfd, d->name, to.name);
	return r < 0 ? r : move_to_limbo_rows(lap, d);
}

/* ---- removal ---- */

/* Shall a file whose name below @dir goes have one in limbo instead? */
static int needed_in_limbo(struct lap *lap, uint64_t node, uint64_t dir)
{
	int r = lap_source_named(lap, node);

	if (r <= 0)
		return lap_source_err(lap, r);
	r = limbo_kept_elsewhere(lap, node, dir);
	if (r != 0)
		return r < 0 ? r : 0;
	r = in_limbo(lap, node);
	return r < 0 ? r : !r;
}

/* One entry of a directory that is to be removed. 1: limbo has a new entry. */
static int drain_child(struct lap *lap, int dirfd, uint64_t dir,
		       const char *name)
{
	struct meta_dentry d, to;
	struct meta_node row;
	int r;

	r = lap_entry(lap->t, dir, name, strlen(name), &d);
	if (r > 0)
		r = verify_entry(lap, dirfd, &d, &row);
	else if (r == 0)
		r = idmap_get(&lap->doubt.dirs, dir)
			    ? limbo_scrap(lap, dirfd, name)
			    : limbo_found(lap, dirfd, name);
	if (r <= 0)
		return r;
	r = row.kind == META_DIR ? 1 : needed_in_limbo(lap, d.node, dir);
	if (r < 0)
		return r;
	if (r == 0) {
		lap->n->entries_removed++;
		r = file_unlink(lap, dirfd, name);
		return r < 0 ? r : limbo_forget_entry(lap, &d);
	}
	limbo_name(d.node, &to);
	r = file_to_limbo(lap, dirfd, name, to.name);
	if (r == 0)
		r = move_to_limbo_rows(lap, &d);
	return r < 0 ? r : 1;
}

/* Up to LISTED_MAX names: from the files, in a dry run from the rows. */
static int drain_list(struct lap *lap, int dirfd, uint64_t dir,
		      struct listing *list)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_dentry d;
	int r;

	if (!lap->dry)
		return listing_read(lap, dirfd, LISTED_MAX, list);
	vec_clear(&list->text);
	vec_clear(&list->at);
	r = meta_iter_dentries(lap->t, dir, 0, &it);
	while (r == 0 && list->at.count < LISTED_MAX &&
	       (r = meta_next_dentry(&it, &d)) > 0) {
		size_t at = list->text.count;

		r = vec_splice(&list->text, at, 0, d.name,
			       (size_t)d.name_len + 1);
		if (r == 0)
			r = vec_push(&list->at, at);
	}
	return r < 0 ? r : 0;
}

/* Rows of entries that were not there. */
static int drain_rows(struct lap *lap, uint64_t dir)
{
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
		r = limbo_forget_entry(lap, &d);
		if (r == 0)
			r = lap_step(lap, 1);
		if (r < 0)
			return r;
	}
}

static int drain_dir(struct lap *lap, const struct meta_dentry *limbo)
{
	_cleanup_(listing_done) struct listing list = {0};
	_cleanup_close_ int fd = -1;
	bool more = false;
	int r = 0;

	if (!lap->dry) {
		fd = store_openat_forced(lap->dst->store,
					 store_limbo_fd(lap->dst->store),
					 limbo->name, O_RDONLY | O_DIRECTORY);
		if (fd < 0)
			return fd;
	}
	do {
		r = drain_list(lap, fd, limbo->node, &list);
		for (size_t i = 0; r >= 0 && i < list.at.count; i++) {
			r = drain_child(lap, fd, limbo->node,
					listing_name(&list, i));
			more = more || r > 0;
			if (r >= 0)
				r = lap_step(lap, 3);
		}
	} while (r >= 0 && list.at.count > 0);
	if (r >= 0)
		r = drain_rows(lap, limbo->node);
	if (r >= 0 && !lap->dry)
		r = store_rmdir(lap->dst->store,
				store_limbo_fd(lap->dst->store), limbo->name);
	if (r >= 0) {
		lap->n->entries_removed++;
		r = limbo_forget_entry(lap, limbo);
	}
	return r < 0 ? r : more;
}

/* 1: limbo has new entries; 0; what has a place on the source stays. */
static int drain_one(struct lap *lap, const struct meta_dentry *limbo)
{
	struct meta_node row;
	int named, kept;
	int r;

	r = verify_entry(lap, store_limbo_fd(lap->dst->store), limbo, &row);
	if (r <= 0)
		return r;
	named = lap_source_named(lap, limbo->node);
	if (named < 0)
		return lap_source_err(lap, named);
	if (row.kind == META_DIR)
		return named ? 0 : drain_dir(lap, limbo);
	kept = named ? limbo_kept_elsewhere(lap, limbo->node, META_LIMBO_ID)
		     : 1;
	if (kept <= 0)
		return kept;
	lap->n->entries_removed++;
	r = file_unlink(lap, store_limbo_fd(lap->dst->store), limbo->name);
	return r < 0 ? r : limbo_forget_entry(lap, limbo);
}

#define DRAIN_CHUNK 256u

/* The next entries of limbo behind @after, and intents over directories. */
static int drain_chunk(struct lap *lap, uint64_t *after,
		       struct meta_dentry chunk[DRAIN_CHUNK], size_t *ret_count)
{
	size_t count = 0;
	struct meta_node row;
	int r;

	do {
		_cleanup_meta_iter_ struct meta_iter it = {0};

		r = meta_iter_dentries(lap->t, META_LIMBO_ID, *after, &it);
		while (r == 0 && count < DRAIN_CHUNK &&
		       (r = meta_next_dentry(&it, &chunk[count])) > 0) {
			*after = chunk[count++].cookie;
			r = 0;
		}
	} while (0);
	for (size_t i = 0; r >= 0 && i < count; i++) {
		r = lap_target_row(lap, chunk[i].node, &row);
		if (r > 0 && row.kind == META_DIR)
			r = tree_arm_later(lap, chunk[i].node);
	}
	*ret_count = count;
	return r < 0 ? r : tree_arm_now(lap);
}

int limbo_drain(struct lap *lap)
{
	_cleanup_free_ struct meta_dentry *chunk = NULL;
	bool more;
	int r;

	chunk = calloc(DRAIN_CHUNK, sizeof(*chunk));
	if (!chunk)
		return -ENOMEM;
	do {
		uint64_t after = 0;
		size_t count;

		more = false;
		do {
			r = drain_chunk(lap, &after, chunk, &count);
			for (size_t i = 0; r >= 0 && i < count; i++) {
				r = lap_poll(lap);
				if (r == 0)
					r = drain_one(lap, &chunk[i]);
				more = more || r > 0;
				if (r >= 0)
					r = lap_step(lap, 3);
			}
			if (r < 0)
				return r;
		} while (count > 0);
	} while (more);
	return 0;
}
