/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows from files.
 *
 * The walk goes down by descriptors and keeps the last SCAN_FDS of the way
 * open, so that neither the depth of a tree nor the length of a path is
 * bounded by anything but memory.  A directory is listed whole, its entries
 * become rows as they come, and its subdirectories wait in its frame.  Coming
 * back to a directory whose descriptor was closed opens the way from the
 * nearest one that is open; a chain of single directories never needs it.
 */
#include "resync/scan.h"
#include "resync/map_path.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/range.h"
#include "base/text.h"
#include "base/vec.h"
#include "resync/side.h"

enum {
	SCAN_FDS = 48,
	SCAN_PATH_TEXT = 1024,
};

/* ---- extents ---- */

static int scan_mapped(struct store *store, struct meta *meta, int fd,
		       uint64_t node, struct range within, uint64_t seq)
{
	struct range run = {within.start, within.start};
	uint64_t at = within.start;
	struct range hit;
	int found, err;

	for (;;) {
		found = store_next_mapped(store, fd, at, &hit.start, &hit.end);
		if (found < 0)
			return found;
		if (!found || hit.start >= within.end)
			break;
		at = hit.end;
		hit = range_intersect(range_align_out(hit, META_BLOCK), within);
		if (range_is_empty(hit))
			continue;
		/* A file in many pieces on the disk is one run here. */
		if (hit.start > run.end) {
			if (!range_is_empty(run)) {
				err = meta_extent_set(meta, node, run.start,
						      run.end, seq);
				if (err)
					return err;
			}
			run.start = hit.start;
		}
		run.end = MAX(run.end, hit.end);
		if (at >= within.end)
			break;
	}
	if (range_is_empty(run))
		return 0;
	return meta_extent_set(meta, node, run.start, run.end, seq);
}

int scan_file_range(struct store *store, struct meta *meta, int fd,
		    uint64_t node, uint64_t start, uint64_t end, uint64_t seq)
{
	int err;

	assert(start % META_BLOCK == 0 && end % META_BLOCK == 0);
	assert(start <= end && end <= META_RANGE_MAX);
	if (start == end)
		return 0;
	err = meta_extent_clear(meta, node, start, end);
	if (err)
		return err;
	return scan_mapped(store, meta, fd, node, (struct range){start, end},
			   seq);
}

/* ---- one object ---- */

struct found {
	int dirfd;
	const char *name;
	uint64_t parent;
	struct store_stat st;
	struct meta_node row; /* as it is in the map now */
	bool is_new;
};

/* Whole, it could be mounted, and would change behind this volume's back. */
static void warn_of_store(const struct store *store, struct meta *meta,
			  const struct found *f)
{
	char path[SCAN_PATH_TEXT];

	if (f->is_new && f->row.kind == META_DIR &&
	    !strcmp(f->name, STORE_PRIVATE))
		log_warn("a store of its own lies in store %s, its files are "
			 "taken as they are: do not mount it there: path=%s",
			 store_identity(store)->name,
			 map_entry_text(meta_writer_view(meta), f->parent,
					f->name, path, sizeof(path)));
}

static void log_entry(const struct store *store, struct meta *meta,
		      const struct found *f, const char *what, int err)
{
	char path[SCAN_PATH_TEXT];

	log_err("%s: %s: store=%s error=%s", what,
		map_entry_text(meta_writer_view(meta), f->parent, f->name, path,
			       sizeof(path)),
		store_identity(store)->name, strerror(-err));
}

static int scan_extents(struct store *store, struct meta *meta,
			const struct found *f, uint64_t seq, bool drops_cache)
{
	_cleanup_close_ int fd = -1;
	int err;

	if (!f->is_new) {
		err = meta_extent_clear(meta, f->row.id, 0, META_RANGE_MAX);
		if (err)
			return err;
	}
	if (f->st.st.st_size == 0)
		return 0;
	/* Its last block has no place in a map. */
	if ((uint64_t)f->st.st.st_size > META_RANGE_MAX) {
		log_entry(store, meta, f, "too large", -EFBIG);
		return -EFBIG;
	}
	fd = store_openat_forced(store, f->dirfd, f->name, O_RDONLY);
	if (fd < 0) {
		log_entry(store, meta, f, "cannot read", fd);
		return fd;
	}
	if (drops_cache)
		store_drop_cache(store, fd, 0, (uint64_t)f->st.st.st_size);
	return scan_mapped(store, meta, fd, f->row.id,
			   (struct range){0, META_RANGE_MAX}, seq);
}

static int write_object(struct store *store, struct meta *meta, struct found *f,
			struct scan_numbers *n)
{
	uint64_t seq = n->next_seq++;
	int err;

	f->row.attr_seq = f->row.seq = seq;
	err = meta_node_put(meta, &f->row);
	if (!err && f->row.kind == META_FILE)
		err = scan_extents(store, meta, f, seq, n->drops_cache);
	return err;
}

static bool is_settled(const struct scan_numbers *n,
		       const struct meta_node *row)
{
	return row->seq <= n->settled_seq || row->seq >= n->fresh_seq;
}

bool scan_is_same(const struct meta_node *row, const struct store_stat *st)
{
	return !st->no_gen ||
	       (row->ctime.backing &&
		row->ctime.backing == clock_timespec_ns(&st->st.st_ctim));
}

bool scan_is_unlike(const struct meta_node *row, const struct store_stat *st)
{
	return row->kind != META_FILE && row->kind != META_DIR &&
	       !scan_is_same(row, st);
}

/* Directory @dir loses a name that moved away. Raised, its row looks as if it
 * had been read by this run: what else it holds is told to be in doubt now. */
static int raise_other(struct meta *meta, uint64_t dir, struct scan_numbers *n)
{
	struct meta_node row;
	int err = meta_node_get(meta_writer_view(meta), dir, &row);

	if (!err && !is_settled(n, &row) && n->doubtful_dir)
		err = n->doubtful_dir(n->arg, dir);
	if (err)
		return err == -ENOENT ? 0 : err;
	return meta_node_raise(meta, dir, 0, n->next_seq++);
}

/*
 * A directory has one name: the one it was found under.  With the other one in
 * the way, two that have changed places would lie in each other and could not
 * be reached.
 */
static int drop_other_names(struct meta *meta, const struct found *f,
			    struct scan_numbers *n)
{
	VEC(struct meta_dentry) others = {0};
	struct meta_dentry d;
	int err = 0;

	do {
		_cleanup_meta_iter_ struct meta_iter it = {0};

		err = meta_iter_names(meta_writer_view(meta), f->row.id, &it);
		while (!err && (err = meta_next_dentry(&it, &d)) > 0) {
			err = 0;
			if (d.parent != f->parent || strcmp(d.name, f->name))
				err = vec_push(&others, d);
		}
	} while (0);
	for (size_t i = 0; !err && i < others.count; i++) {
		err = meta_dentry_del(meta, others.data[i].parent,
				      others.data[i].name,
				      others.data[i].name_len);
		err = err < 0 ? err : 0;
		if (!err)
			err = raise_other(meta, others.data[i].parent, n);
	}
	vec_done(&others);
	return err;
}

static int put_entry(struct meta *meta, const struct found *f,
		     struct scan_numbers *n)
{
	struct meta_dentry d = {
		.parent = f->parent,
		.node = f->row.id,
		.seq = n->next_seq++,
	};
	size_t len = strlen(f->name);

	if (len > META_NAME_MAX)
		return -ENAMETOOLONG;
	memcpy(d.name, f->name, len + 1);
	d.name_len = (uint16_t)len;
	return meta_dentry_put(meta, &d);
}

/* All names that led to node @from lead to a new one, so that no other store
 * takes what it has under that number for this one. Which of them are still
 * there, the directories say that hold them: they are listed, too. */
static int renumber(struct meta *meta, const struct found *f, uint64_t from,
		    struct scan_numbers *n)
{
	VEC(struct meta_dentry) names = {0};
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_dentry d;
	int err = meta_iter_names(meta_writer_view(meta), from, &it);

	while (!err && (err = meta_next_dentry(&it, &d)) > 0)
		err = vec_push(&names, d);
	meta_iter_done(&it);
	it = (struct meta_iter){0};
	if (!err)
		err = meta_node_del(meta, from);
	if (!err)
		err = meta_node_put(meta, &f->row);
	for (size_t i = 0; !err && i < names.count; i++) {
		d = names.data[i];
		d.node = f->row.id;
		err = meta_dentry_put(meta, &d);
		if (!err && d.parent != f->parent)
			err = n->doubtful_dir(n->arg, d.parent);
	}
	vec_done(&names);
	return err;
}

bool scan_is_own(const struct stat *st)
{
	return !geteuid() ||
	       (st->st_uid == geteuid() &&
		(st->st_gid == getegid() || group_member(st->st_gid)));
}

/* Stat the entry and find its row, or think up one. */
static int identify(struct store *store, struct meta *meta, struct found *f,
		    struct scan_numbers *n)
{
	struct meta_backing backing;
	uint64_t unlike = 0;
	enum meta_kind kind;
	int err;

	err = store_statat(store, f->dirfd, f->name, STORE_STAT_GEN, &f->st);
	if (err)
		return err;
	kind = meta_kind_of(f->st.st.st_mode);
	if (!kind)
		return -EOPNOTSUPP;
	if (f->st.foreign) {
		if (n->skips_foreign)
			log_entry(store, meta, f,
				  "another filesystem is mounted here", -EXDEV);
		else
			(void)snprintf(n->foreign, sizeof(n->foreign), "%s",
				       f->name);
		return -EXDEV;
	}
	if (n->own_only && !scan_is_own(&f->st.st)) {
		(void)snprintf(n->foreign, sizeof(n->foreign), "%s", f->name);
		return -EPERM;
	}
	backing = (struct meta_backing){f->st.st.st_ino, f->st.gen};
	err = meta_node_find(meta_writer_view(meta), backing, &f->row);
	f->is_new = err == -ENOENT || (!err && f->row.kind != kind);
	if (err && err != -ENOENT)
		return err;
	if (!f->is_new && n->doubtful_dir && f->row.seq < n->fresh_seq &&
	    scan_is_unlike(&f->row, &f->st)) {
		unlike = f->row.id;
		f->is_new = true;
	}
	if (f->is_new)
		f->row = (struct meta_node){
			.id = n->next_node++,
			.kind = kind,
			.backing = backing,
		};
	warn_of_store(store, meta, f);
	return unlike ? renumber(meta, f, unlike, n) : 0;
}

static int scan_found(struct store *store, struct meta *meta, struct found *f,
		      struct scan_numbers *n)
{
	int err = identify(store, meta, f, n);

	if (err)
		return err;
	if (f->is_new) {
		err = write_object(store, meta, f, n);
	} else if (!is_settled(n, &f->row) ||
		   (f->row.seq < n->fresh_seq &&
		    !scan_is_same(&f->row, &f->st))) {
		if (f->row.kind != META_DIR)
			err = write_object(store, meta, f, n);
		else if (n->doubtful_dir)
			err = n->doubtful_dir(n->arg, f->row.id);
	}
	if (!err)
		err = put_entry(meta, f, n);
	if (!err && !f->is_new && f->row.kind == META_DIR)
		err = drop_other_names(meta, f, n);
	return err;
}

int scan_object(struct store *store, struct meta *meta, int dirfd,
		uint64_t parent, const char *name, struct scan_numbers *numbers,
		uint64_t *ret_node, bool *ret_new)
{
	struct found f = {.dirfd = dirfd, .name = name, .parent = parent};
	int err = scan_found(store, meta, &f, numbers);

	if (err)
		return err;
	*ret_node = f.row.id;
	*ret_new = f.is_new;
	return 0;
}

int scan_refresh(struct store *store, struct meta *meta, int dirfd,
		 const char *name, const struct meta_node *row,
		 struct scan_numbers *numbers)
{
	struct found f = {.dirfd = dirfd, .name = name, .row = *row};
	int err = store_statat(store, dirfd, name, 0, &f.st);

	if (err)
		return err;
	return write_object(store, meta, &f, numbers);
}

/* ---- a tree ---- */

struct waiting {
	char *name;
	uint64_t node;
};

/* A directory on the way from the start to where the walk is. */
struct frame {
	char *name; /* in the frame before */
	uint64_t node;
	int fd; /* -1: closed meanwhile */
	bool listed;
	VEC(struct waiting) todo;
};

struct walk {
	struct store *store;
	struct meta *meta;
	struct scan_numbers *numbers;
	struct scan_counts *counts;
	unsigned int commit_rows;
	unsigned int rows; /* since the last commit */
	bool in_txn;
	VEC(struct frame) way; /* the first one's fd is the caller's */
};

static void frame_done(struct frame *f)
{
	vec_for_each (w, &f->todo)
		free(w->name);
	vec_done(&f->todo);
	free(f->name);
}

static void walk_pop(struct walk *w)
{
	struct frame f = vec_pop(&w->way);

	if (w->way.count)
		close_fd(&f.fd);
	frame_done(&f);
}

static void walk_done(struct walk *w)
{
	while (w->way.count)
		walk_pop(w);
	vec_done(&w->way);
}

static int walk_push(struct walk *w, char *name, uint64_t node, int fd)
{
	struct frame f = {.name = name, .node = node, .fd = fd};

	/* Far above, only the name is kept. */
	if (w->way.count > SCAN_FDS)
		close_fd(&w->way.data[w->way.count - SCAN_FDS].fd);
	return vec_push(&w->way, f);
}

/* Give frame @at a descriptor again, and those of its window with it. */
static int walk_open(struct walk *w, size_t at)
{
	struct frame *v = w->way.data;
	size_t i = at;

	while (v[i].fd < 0)
		i--;
	for (; i < at; i++) {
		v[i + 1].fd = store_openat_forced(w->store, v[i].fd,
						  v[i + 1].name,
						  O_RDONLY | O_DIRECTORY);
		if (v[i + 1].fd < 0) {
			int err = v[i + 1].fd;

			v[i + 1].fd = -1;
			return err;
		}
		if (i && at - i >= SCAN_FDS)
			close_fd(&v[i].fd);
	}
	return 0;
}

static int walk_note(struct walk *w, const struct found *f)
{
	struct waiting sub = {.node = f->row.id};
	int err;

	w->counts->entries++;
	if (f->is_new)
		w->counts->nodes++;
	if (f->is_new && f->row.kind == META_FILE)
		w->counts->bytes += (uint64_t)f->st.st.st_blocks * 512;
	if (!f->is_new || f->row.kind != META_DIR)
		return 0;
	sub.name = strdup(f->name);
	if (!sub.name)
		return -ENOMEM;
	err = vec_push(&vec_last(&w->way)->todo, sub);
	if (err)
		free(sub.name);
	return err;
}

static int walk_commit(struct walk *w)
{
	int err;

	w->rows = 0;
	w->in_txn = false;
	err = meta_commit(w->meta);
	if (!err)
		err = meta_begin(w->meta);
	w->in_txn = !err;
	return err;
}

static int walk_entry(void *arg, const struct store_dirent *e)
{
	struct walk *w = arg;
	struct frame *here = vec_last(&w->way);
	struct found f = {
		.dirfd = here->fd,
		.name = e->name,
		.parent = here->node,
	};
	int err = scan_found(w->store, w->meta, &f, w->numbers);

	if (err == -EXDEV && w->numbers->skips_foreign)
		return 0;
	if (!err)
		err = walk_note(w, &f);
	w->rows += 3;
	if (!err && w->commit_rows && w->rows >= w->commit_rows)
		err = walk_commit(w);
	return err;
}

/* One step: list the directory at the end of the way, or leave it, or enter
 * the next one below it. */
static int walk_step(struct walk *w)
{
	struct frame *here = vec_last(&w->way);
	struct waiting sub;
	int err, fd;

	if (!here->listed) {
		here->listed = true;
		err = store_list(w->store, here->fd, walk_entry, w);
		if (err)
			return err;
		return meta_node_raise(w->meta, here->node, 0,
				       w->numbers->next_seq - 1);
	}
	if (!here->todo.count) {
		walk_pop(w);
		return 0;
	}
	err = walk_open(w, w->way.count - 1);
	if (err)
		return err;
	sub = vec_pop(&here->todo);
	fd = store_openat_forced(w->store, here->fd, sub.name,
				 O_RDONLY | O_DIRECTORY);
	if (fd < 0) {
		struct found f = {.name = sub.name, .parent = here->node};

		log_entry(w->store, w->meta, &f, "cannot open directory", fd);
		free(sub.name);
		return fd;
	}
	err = walk_push(w, sub.name, sub.node, fd);
	if (err) {
		close_fd(&fd);
		free(sub.name);
	}
	return err;
}

int scan_tree(struct store *store, struct meta *meta, int dirfd, uint64_t dir,
	      struct scan_numbers *numbers, unsigned int commit_rows,
	      struct scan_counts *ret)
{
	_cleanup_(walk_done) struct walk w = {
		.store = store,
		.meta = meta,
		.numbers = numbers,
		.counts = ret,
		.commit_rows = commit_rows,
		.in_txn = true,
	};
	int err = walk_push(&w, NULL, dir, dirfd);

	while (!err && w.way.count) {
		err = walk_step(&w);
		if (!err && numbers->should_stop &&
		    numbers->should_stop(numbers->stop_arg))
			err = -ECANCELED;
	}
	if (err && w.in_txn)
		meta_rollback(meta);
	return err;
}
