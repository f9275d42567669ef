/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Matching a copy with what it is a copy of, by path.
 */
#include "resync/volume_adopt.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/range.h"
#include "base/text.h"
#include "resync/side.h"

enum {
	/* Below every seq of a volume. */
	ADOPT_SEQ = 1,
	/* Not a resync's own: it lasts until a lap is closed. */
	ADOPT_GENERATION = 1,
	ADOPT_COMMIT_ROWS = 50000,
	PATH_TEXT = 1024,
};

struct dir_todo {
	char *path; /* relative; "" is the root */
	uint64_t node;
};

struct adopting {
	const struct resync_side *source;
	const struct resync_side *target;
	struct meta_reader *source_rd;
	struct volume_adopted *out;
	VEC(struct dir_todo) todo;
	unsigned int rows;
	/* of the directory at hand */
	struct dir_todo here;
	int source_fd;
	int target_fd;
	bool in_txn;
};

/* An entry on both sides. */
struct match {
	const char *name;
	int source_fd;		   /* the source's object itself, O_PATH */
	struct meta_dentry dentry; /* the source's */
	struct meta_node row;	   /* the source's */
	struct store_stat source_st;
	struct store_stat target_st;
};

void volume_adopted_done(struct volume_adopted *a)
{
	vec_for_each (path, &a->extra)
		free(*path);
	vec_done(&a->extra);
}

static char *join_path(const char *dir, const char *name)
{
	char *path;

	if (asprintf(&path, "%s%s%s", dir, dir[0] ? "/" : "", name) < 0)
		return NULL;
	return path;
}

static int note_extra(struct adopting *a, const char *name)
{
	char *path = join_path(a->here.path, name);
	int err;

	if (!path)
		return -ENOMEM;
	err = vec_push(&a->out->extra, path);
	if (err)
		free(path);
	return err;
}

/* ---- the same thing? 1 yes, 0 no ---- */

static int same_target(struct adopting *a, const struct match *m)
{
	_cleanup_close_ int fd = store_openat_forced(
		a->target->store, a->target_fd, m->name, O_PATH);
	char x[PATH_MAX], y[PATH_MAX];
	ssize_t n, k;

	if (fd < 0)
		return fd;
	n = store_readlink(a->source->store, m->source_fd, "", x, sizeof(x));
	if (n < 0)
		return (int)n;
	k = store_readlink(a->target->store, fd, "", y, sizeof(y));
	if (k < 0)
		return (int)k;
	return n == k && !memcmp(x, y, (size_t)n);
}

/* One node has one file on a store: hard links must run alike. */
static int same_links(struct adopting *a, const struct match *m,
		      struct meta_backing backing)
{
	struct meta_reader *rd = meta_writer_view(a->target->meta);
	struct meta_node row;
	int err;

	err = meta_node_find(rd, backing, &row);
	if (!err)
		return row.id == m->row.id;
	if (err != -ENOENT)
		return err;
	err = meta_node_get(rd, m->row.id, &row);
	return err == -ENOENT ? 1 : MIN(err, 0);
}

static int is_same(struct adopting *a, struct match *m)
{
	mode_t mode = m->source_st.st.st_mode;
	struct meta_backing backing = {m->target_st.st.st_ino,
				       m->target_st.gen};
	int same;

	if (((mode ^ m->target_st.st.st_mode) & S_IFMT) != 0)
		return 0;
	if (m->row.kind == META_DIR &&
	    m->target_st.st.st_dev != store_dev(a->target->store))
		return -EXDEV;
	if ((m->row.kind == META_CHR || m->row.kind == META_BLK) &&
	    m->source_st.st.st_rdev != m->target_st.st.st_rdev)
		return 0;
	if (m->row.kind == META_SYMLINK) {
		same = same_target(a, m);
		if (same <= 0)
			return same;
	}
	return same_links(a, m, backing);
}

/* ---- rows ---- */

static int put_doubt(struct adopting *a, const struct match *m)
{
	uint64_t size = meta_file_end(
		MAX(m->source_st.st.st_size, m->target_st.st.st_size));
	struct meta_intent in = {
		.node = m->row.id,
		.kind = META_INTENT_ATTR,
		.generation = ADOPT_GENERATION,
	};

	if (m->row.kind == META_FILE && size) {
		in.kind = META_INTENT_DATA;
		in.end = range_align_out((struct range){0, size}, META_BLOCK)
				 .end;
	}
	return meta_intent_put(a->target->meta, &in);
}

static int put_extents(struct adopting *a, const struct match *m)
{
	_cleanup_close_ int fd = -1;

	if (m->row.kind != META_FILE || !m->target_st.st.st_size)
		return 0;
	fd = store_openat_forced(a->target->store, a->target_fd, m->name,
				 O_RDONLY);
	if (fd < 0)
		return fd;
	return scan_file_range(a->target->store, a->target->meta, fd, m->row.id,
			       0, META_RANGE_MAX, ADOPT_SEQ);
}

static int put_rows(struct adopting *a, const struct match *m)
{
	struct meta *meta = a->target->meta;
	struct meta_node row = {
		.id = m->row.id,
		.kind = m->row.kind,
		.backing = {m->target_st.st.st_ino, m->target_st.gen},
		.attr_seq = ADOPT_SEQ,
		.seq = ADOPT_SEQ,
	};
	struct meta_node seen;
	int err = meta_dentry_put(meta, &m->dentry);

	if (err)
		return err;
	a->rows++;
	err = meta_node_get(meta_writer_view(meta), row.id, &seen);
	if (err != -ENOENT)
		return err; /* another link of it was here before */
	a->rows += 2;
	err = meta_node_put(meta, &row);
	if (!err)
		err = put_extents(a, m);
	if (!err)
		err = put_doubt(a, m);
	return err;
}

/* ---- the walk ---- */

static int queue_dir(struct adopting *a, const struct match *m)
{
	struct dir_todo sub = {.node = m->row.id};
	int err;

	if (m->row.kind != META_DIR)
		return 0;
	sub.path = join_path(a->here.path, m->name);
	if (!sub.path)
		return -ENOMEM;
	err = vec_push(&a->todo, sub);
	if (err)
		free(sub.path);
	return err;
}

static int commit_some(struct adopting *a)
{
	int err;

	if (a->rows < ADOPT_COMMIT_ROWS)
		return 0;
	a->rows = 0;
	a->in_txn = false;
	err = meta_commit(a->target->meta);
	if (!err)
		err = meta_begin(a->target->meta);
	a->in_txn = !err;
	return err;
}

/* Is what the source has under the name the node that its map says? Under a
 * live source's hands it may be another by now: then there is no match. */
static int look_at_source(struct adopting *a, struct match *m)
{
	int err;

	m->source_fd = store_openat_forced(a->source->store, a->source_fd,
					   m->name, O_PATH);
	if (m->source_fd == -ENOENT)
		return 0;
	if (m->source_fd < 0)
		return m->source_fd;
	err = store_fstat(a->source->store, m->source_fd, STORE_STAT_GEN,
			  &m->source_st);
	return err ? err : side_matches(&m->row, &m->source_st);
}

/* 1: the source has this entry, and it could be looked at on both sides. */
static int find_match(struct adopting *a, struct match *m)
{
	int err;

	/* Deeper than a path can say: copied anew. */
	if (strlen(a->here.path) + strlen(m->name) + 2 > PATH_MAX)
		return 0;
	err = meta_dentry_get(a->source_rd, a->here.node, m->name,
			      strlen(m->name), &m->dentry);
	if (!err)
		err = meta_node_get(a->source_rd, m->dentry.node, &m->row);
	if (err)
		return err == -ENOENT ? 0 : err;
	err = look_at_source(a, m);
	if (err <= 0)
		return err;
	err = store_statat(a->target->store, a->target_fd, m->name,
			   STORE_STAT_GEN, &m->target_st);
	return err ? err : 1;
}

static int adopt_one(struct adopting *a, struct match *m)
{
	int r = find_match(a, m);

	if (r > 0)
		r = is_same(a, m);
	if (r < 0)
		return r;
	if (!r)
		return note_extra(a, m->name);
	a->out->compared++;
	r = put_rows(a, m);
	if (!r)
		r = queue_dir(a, m);
	if (!r)
		r = commit_some(a);
	return r;
}

static int adopt_entry(void *arg, const struct store_dirent *e)
{
	struct adopting *a = arg;
	struct match m = {.name = e->name, .source_fd = -1};
	int r;

	if (a->out->should_stop && a->out->should_stop(a->out->stop_arg))
		return -ECANCELED;
	r = adopt_one(a, &m);
	close_fd(&m.source_fd);
	return r;
}

static int open_dir(const struct store *s, const char *path)
{
	return store_open_path_forced(s, path, O_RDONLY | O_DIRECTORY);
}

static int extra_entry(void *arg, const struct store_dirent *e)
{
	return note_extra(arg, e->name);
}

static int adopt_dir(struct adopting *a)
{
	_cleanup_close_ int source_fd = -1;
	_cleanup_close_ int target_fd = -1;

	source_fd = open_dir(a->source->store, a->here.path);
	if (source_fd == -ENOENT || source_fd == -ENOTDIR ||
	    source_fd == -ELOOP)
		source_fd = -1; /* moved meanwhile */
	else if (source_fd < 0)
		return source_fd;
	target_fd = open_dir(a->target->store, a->here.path);
	if (target_fd < 0)
		return target_fd;
	a->source_fd = source_fd;
	a->target_fd = target_fd;
	return store_list(a->target->store, target_fd,
			  source_fd < 0 ? extra_entry : adopt_entry, a);
}

static int adopt_root(struct adopting *a)
{
	struct meta *meta = a->target->meta;
	struct meta_intent in = {
		.node = META_ROOT_ID,
		.kind = META_INTENT_ATTR,
		.generation = ADOPT_GENERATION,
	};
	struct dir_todo root = {.node = META_ROOT_ID, .path = strdup("")};
	int err;

	if (!root.path)
		return -ENOMEM;
	err = vec_push(&a->todo, root);
	if (err) {
		free(root.path);
		return err;
	}
	return meta_intent_put(meta, &in);
}

static int adopt_all(struct adopting *a)
{
	int err = adopt_root(a);

	while (!err && a->todo.count) {
		a->here = vec_pop(&a->todo);
		err = adopt_dir(a);
		free(a->here.path);
	}
	return err;
}

int volume_adopt(const struct resync_side *source,
		 const struct resync_side *target, struct volume_adopted *ret)
{
	struct adopting a = {
		.source = source,
		.target = target,
		.source_rd = meta_reader_get(source->meta),
		.out = ret,
	};
	int err;

	if (!a.source_rd)
		return -ENOMEM;
	err = meta_begin(target->meta);
	a.in_txn = !err;
	if (!err)
		err = adopt_all(&a);
	vec_for_each (left, &a.todo)
		free(left->path);
	vec_done(&a.todo);
	meta_reader_put(a.source_rd);
	if (!err)
		return meta_commit(target->meta);
	if (a.in_txn)
		meta_rollback(target->meta);
	return err;
}

/* ---- what is left over ---- */

/* Walking what is left over, before it is moved. */
struct dropping {
	const struct resync_side *side;
	struct meta_reader *rd;
	uint64_t dropped;
	VEC(char *) todo; /* directories */
	const char *path; /* of the one at hand */
	int dirfd;
};

/*
 * A further name of a file that is the volume's from now on: in found/ the two would
 * go on as one file, changed by whoever changes the other. Return: 1 it has only its
 * other names now, 0 it is something else
 */
static int drop_link(struct dropping *d, const char *name)
{
	struct store_stat st;
	struct meta_node row;
	int r = store_statat(d->side->store, d->dirfd, name, STORE_STAT_GEN,
			     &st);

	if (r < 0 || st.foreign)
		return r;
	if (S_ISDIR(st.st.st_mode)) {
		char *sub = join_path(d->path, name);

		r = sub ? vec_push(&d->todo, sub) : -ENOMEM;
		if (r < 0)
			free(sub);
		return r;
	}
	if (st.st.st_nlink < 2)
		return 0;
	r = meta_node_find(d->rd, (struct meta_backing){st.st.st_ino, st.gen},
			   &row);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	r = store_unlink(d->side->store, d->dirfd, name);
	d->dropped += !r;
	return r < 0 ? r : 1;
}

static int drop_entry(void *arg, const struct store_dirent *e)
{
	int r = drop_link(arg, e->name);

	return MIN(r, 0);
}

/* All of @name in @dirfd, and what lies below. 1: it was one itself. */
static int drop_links(const struct resync_side *side, const char *path,
		      int dirfd, const char *name, uint64_t *dropped)
{
	struct dropping d = {
		.side = side,
		.rd = meta_reader_get(side->meta),
		.dirfd = dirfd,
	};
	const char *slash = strrchr(path, '/');
	_cleanup_free_ char *above =
		strndup(path, slash ? (size_t)(slash - path) : 0);
	int r = -ENOMEM;

	if (above && d.rd) {
		d.path = above;
		r = drop_link(&d, name);
	}
	while (r == 0 && d.todo.count) {
		_cleanup_free_ char *dir = vec_pop(&d.todo);
		_cleanup_close_ int fd = -1;

		/* Deeper than a path can say: as it is. */
		if (strlen(dir) >= PATH_MAX)
			continue;
		fd = open_dir(side->store, dir);
		if (fd < 0) {
			r = fd;
			break;
		}
		d.path = dir;
		d.dirfd = fd;
		r = store_list(side->store, fd, drop_entry, &d);
	}
	vec_for_each (left, &d.todo)
		free(*left);
	vec_done(&d.todo);
	meta_reader_put(d.rd);
	*dropped += d.dropped;
	return r;
}

/* found/ is flat: the place it had is in the name, as far as that goes. 1: moved,
 * 0: nothing was left of it. */
static int sweep_one(const struct resync_side *side, const char *path,
		     uint64_t *dropped)
{
	struct store *store = side->store;
	_cleanup_free_ char *dir = strdup(path);
	_cleanup_close_ int fd = -1;
	char to[META_NAME_MAX + 1];
	char *name;
	int err;

	if (!dir)
		return -ENOMEM;
	name = strrchr(dir, '/');
	if (name)
		*name++ = '\0';
	fd = open_dir(store, name ? dir : "");
	if (fd < 0)
		return fd;
	name = name ? name : dir;
	err = drop_links(side, path, fd, name, dropped);
	if (err)
		return MIN(err, 0);
	for (unsigned int i = 0;; i++) {
		if (i)
			snprintf(to, sizeof(to), "%.200s.%u", name, i);
		else
			snprintf(to, sizeof(to), "%s", name);
		err = store_rename(store, fd, name, store_found_fd(store), to,
				   RENAME_NOREPLACE);
		if (err != -EEXIST)
			return err ? err : 1;
	}
}

int volume_adopt_sweep(const struct resync_side *side, struct volume_adopted *a,
		       uint64_t *ret_found)
{
	uint64_t dropped = 0;
	int err = 0;

	*ret_found = 0;
	vec_for_each (path, &a->extra) {
		char text[PATH_TEXT];
		int r = sweep_one(side, *path, &dropped);

		if (r >= 0) {
			*ret_found += (uint64_t)r;
			continue;
		}
		if (!err) {
			err = r;
			a->stuck = *path;
		}
		log_warn("cannot move to found/: %s: store=%s error=%s",
			 path_quote(text, sizeof(text), *path),
			 store_identity(side->store)->name, strerror(-r));
	}
	if (dropped)
		log_warn("further hard links of files that the volume has, "
			 "where it has nothing: removed, the files stay under "
			 "their other names: store=%s links=%llu",
			 store_identity(side->store)->name,
			 (unsigned long long)dropped);
	return err;
}
