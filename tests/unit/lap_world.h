/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two stores for tests of a lap: one that has a history, made by operations
 * that change files and map together as a mirror does, and one that is brought
 * to the same state.
 */
#pragma once

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/range.h"
#include "base/text.h"
#include "resync/resync.h"
#include "resync/side.h"
#include "tests/unit/rng.h"

#define WORLD_VOLUME "00000000-0000-4000-8000-000000000001"

#define must(call)                                                         \
	__extension__({                                                    \
		__auto_type must_ = (call);                                \
		cr_assert(must_ >= 0, "%s:%d: %s: %s", __FILE__, __LINE__, \
			  #call, strerror((int)-must_));                   \
		must_;                                                     \
	})

/* One store, and the numbers that it takes. */
struct actor {
	struct resync_side side;
	char path[128];
	uint64_t seq;
	uint64_t next_id;
};

struct world {
	char dir[64];
	struct actor a; /* the source */
	struct actor b; /* the target */
	bool hooked;	/* a hook has done its work */
	bool cut_now;	/* a hook wants the lap to end */
};

/* ---- making and closing ---- */

struct world_make {
	const char *path;
	const char *uuid;
};

static inline int world_make_map(void *arg, const char *privdir)
{
	const struct world_make *w = arg;
	struct meta_node root = {.id = META_ROOT_ID, .kind = META_DIR};
	struct stat st;

	if (stat(w->path, &st))
		return -errno;
	return meta_create(privdir, WORLD_VOLUME, w->uuid, &root);
}

static inline void actor_open(struct actor *a)
{
	must(store_open(a->path, NULL, &a->side.store));
	must(meta_open(store_privdir(a->side.store), META_OPEN_RW,
		       &a->side.meta, NULL));
}

static inline void actor_close(struct actor *a)
{
	meta_close(a->side.meta);
	store_close(a->side.store);
	a->side = (struct resync_side){0};
}

static inline void actor_make(struct world *w, struct actor *a, char name)
{
	struct store_identity id = {.format = STORE_FORMAT};
	struct world_make make = {.path = a->path, .uuid = id.store_uuid};
	uint64_t ino, gen;

	*a = (struct actor){.seq = 100, .next_id = META_FIRST_ID};
	snprintf(a->path, sizeof(a->path), "%s/%c", w->dir, name);
	must(mkdir(a->path, 0755));
	memcpy(id.volume_uuid, WORLD_VOLUME, sizeof(WORLD_VOLUME));
	snprintf(id.store_uuid, sizeof(id.store_uuid),
		 "00000000-0000-4000-8000-00000000000%c", name);
	snprintf(id.name, sizeof(id.name), "%c", name);
	must(store_make(a->path, &id, world_make_map, &make));
	actor_open(a);
	must(meta_begin(a->side.meta));
	must(store_self_backing(a->side.store, &ino, &gen));
	must(meta_number_set(a->side.meta, META_NUM_ROOT_INO, ino));
	must(meta_number_set(a->side.meta, META_NUM_ROOT_GEN, gen));
	must(meta_commit(a->side.meta));
}

/* A history may leave the root as it was. */
static inline void roots_alike(struct world *w)
{
	struct timespec times[2];
	struct stat st;

	cr_assert(!fstat(store_root_fd(w->a.side.store), &st));
	times[0] = st.st_atim;
	times[1] = st.st_mtim;
	cr_assert(!futimens(store_root_fd(w->b.side.store), times));
}

static inline void world_init(struct world *w)
{
	w->hooked = w->cut_now = false;
	snprintf(w->dir, sizeof(w->dir), "/tmp/seqmirror-lap-XXXXXX");
	cr_assert_not_null(mkdtemp(w->dir));
	actor_make(w, &w->a, 'a');
	actor_make(w, &w->b, 'b');
	roots_alike(w); /* as init leaves them */
}

static inline void world_remove(int fd)
{
	DIR *dir = fdopendir(fd);
	struct dirent *e;

	while ((e = readdir(dir))) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		if (!unlinkat(fd, e->d_name, 0))
			continue;
		world_remove(openat(fd, e->d_name, O_RDONLY | O_DIRECTORY));
		must(unlinkat(fd, e->d_name, AT_REMOVEDIR));
	}
	closedir(dir);
}

static inline void world_done(struct world *w)
{
	if (w->a.side.store)
		actor_close(&w->a);
	if (w->b.side.store)
		actor_close(&w->b);
	world_remove(open(w->dir, O_RDONLY | O_DIRECTORY));
	must(rmdir(w->dir));
}

/* ---- history: between history_begin() and history_end() ---- */

static inline void history_begin(struct actor *a)
{
	must(meta_begin(a->side.meta));
}

/* Everything so far is durable. */
static inline void history_end(struct actor *a)
{
	must(meta_number_set(a->side.meta, META_NUM_DURABLE_SEQ, a->seq));
	must(meta_number_set(a->side.meta, META_NUM_SEQ_RESERVED, a->seq));
	must(meta_number_set(a->side.meta, META_NUM_NODE_RESERVED, a->next_id));
	must(meta_commit(a->side.meta));
}

static inline struct meta_reader *view(struct actor *a)
{
	return meta_writer_view(a->side.meta);
}

static inline struct meta_dentry entry_of(uint64_t parent, const char *name,
					  uint64_t node, uint64_t seq)
{
	struct meta_dentry d = {.parent = parent, .node = node, .seq = seq};

	d.name_len = (uint16_t)strlen(name);
	memcpy(d.name, name, d.name_len);
	return d;
}

/* The node under a name; 0: none. */
static inline uint64_t child(struct actor *a, uint64_t parent, const char *name)
{
	struct meta_dentry d;
	int r = meta_dentry_get(view(a), parent, name, strlen(name), &d);

	return r == -ENOENT ? 0 : must(r) == 0 ? d.node : 0;
}

static inline int dir_fd(struct actor *a, uint64_t dir)
{
	return must(side_open_dir(&a->side, view(a), dir));
}

static inline uint64_t op_make(struct actor *a, uint64_t parent,
			       const char *name, enum meta_kind kind)
{
	struct meta_node row = {.id = a->next_id++, .kind = kind};
	struct store *s = a->side.store;
	_cleanup_close_ int fd = dir_fd(a, parent);
	_cleanup_close_ int made = -1;
	struct store_stat st;
	struct meta_dentry d;

	if (kind == META_DIR)
		must(store_mkdir(s, fd, name, 0755, NULL));
	else if (kind == META_SYMLINK)
		must(store_symlink(s, fd, name, name, NULL));
	else if (kind == META_FIFO)
		must(store_mknod(s, fd, name, S_IFIFO | 0640, 0, NULL));
	else
		made = must(store_create(s, fd, name, 0644, NULL));
	must(store_statat(s, fd, name, STORE_STAT_GEN, &st));
	row.backing = (struct meta_backing){st.st.st_ino, st.gen};
	row.seq = row.attr_seq = ++a->seq;
	must(meta_node_put(a->side.meta, &row));
	d = entry_of(parent, name, row.id, row.seq);
	must(meta_dentry_put(a->side.meta, &d));
	must(meta_node_raise(a->side.meta, parent, 0, a->seq));
	return row.id;
}

static inline int node_fd(struct actor *a, uint64_t node, int flags)
{
	return must(side_open_node(&a->side, view(a), node, flags, NULL));
}

static inline void op_write(struct actor *a, uint64_t node, uint64_t off,
			    size_t len, unsigned int fill)
{
	_cleanup_close_ int fd = node_fd(a, node, O_RDWR);
	_cleanup_free_ char *buf = malloc(len);
	struct range r = range_align_out(range_of(off, len), META_BLOCK);

	for (size_t i = 0; i < len; i++)
		buf[i] = (char)(fill * 31 + (off + i) / 7);
	must(store_write(a->side.store, fd, buf, len, off, NULL));
	must(meta_extent_set(a->side.meta, node, r.start, r.end, ++a->seq));
	must(meta_node_raise(a->side.meta, node, 0, a->seq));
}

static inline uint64_t file_size(struct actor *a, int fd)
{
	struct store_stat st;

	must(store_fstat(a->side.store, fd, 0, &st));
	return (uint64_t)st.st.st_size;
}

/* Whole blocks. */
static inline void op_punch(struct actor *a, uint64_t node, uint64_t start,
			    uint64_t end)
{
	_cleanup_close_ int fd = node_fd(a, node, O_RDWR);

	must(store_punch(a->side.store, fd, start, end - start, NULL));
	must(meta_extent_clear(a->side.meta, node, start, end));
	must(meta_node_raise(a->side.meta, node, 0, ++a->seq));
}

static inline void op_truncate(struct actor *a, uint64_t node, uint64_t size)
{
	_cleanup_close_ int fd = node_fd(a, node, O_RDWR);
	uint64_t end = (size + META_BLOCK - 1) & ~(uint64_t)(META_BLOCK - 1);
	uint64_t seq = ++a->seq;
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_extent e;
	bool partial = false;

	if (size < file_size(a, fd) && size < end) {
		must(meta_iter_extents(view(a), node, end - META_BLOCK, end,
				       &it));
		partial = must(meta_next_extent(&it, &e)) > 0;
		meta_iter_done(&it);
	}
	must(store_truncate(a->side.store, fd, size));
	must(meta_extent_clear(a->side.meta, node, end, META_RANGE_MAX));
	if (partial)
		must(meta_extent_set(a->side.meta, node, end - META_BLOCK, end,
				     seq));
	must(meta_node_raise(a->side.meta, node, seq, seq));
}

static inline void op_mode(struct actor *a, uint64_t node, mode_t mode)
{
	_cleanup_close_ int fd = node_fd(a, node, O_PATH);
	struct timespec times[2] = {{.tv_sec = 1000 + mode},
				    {.tv_sec = 2000 + mode}};
	struct store_obj o = {.fd = fd};
	struct meta_node row;

	must(meta_node_get(view(a), node, &row));
	if (row.kind != META_SYMLINK)
		must(store_chmod(a->side.store, o, mode));
	if (row.kind == META_FILE || row.kind == META_DIR)
		must(store_setxattr(a->side.store, o, "user.t", &mode,
				    sizeof(mode), 0));
	must(store_utimens(a->side.store, o, times));
	a->seq++;
	must(meta_node_raise(a->side.meta, node, a->seq, a->seq));
}

static inline void op_link(struct actor *a, uint64_t parent, const char *name,
			   uint64_t to_parent, const char *to_name)
{
	_cleanup_close_ int from = dir_fd(a, parent);
	_cleanup_close_ int to = dir_fd(a, to_parent);
	uint64_t node = child(a, parent, name);
	struct meta_dentry d;

	must(store_link(a->side.store, from, name, to, to_name));
	d = entry_of(to_parent, to_name, node, ++a->seq);
	must(meta_dentry_put(a->side.meta, &d));
	must(meta_node_raise(a->side.meta, node, a->seq, a->seq));
	must(meta_node_raise(a->side.meta, to_parent, 0, a->seq));
}

static inline void entry_gone(struct actor *a, uint64_t parent,
			      const char *name, uint64_t node)
{
	uint64_t names;

	must(meta_dentry_del(a->side.meta, parent, name, strlen(name)));
	must(meta_dentry_count(view(a), node, &names));
	if (names == 0)
		must(meta_node_del(a->side.meta, node));
	else
		must(meta_node_raise(a->side.meta, node, a->seq, a->seq));
	must(meta_node_raise(a->side.meta, parent, 0, a->seq));
}

/* 0, or -errno when the directory is not empty. */
static inline int op_remove(struct actor *a, uint64_t parent, const char *name)
{
	_cleanup_close_ int fd = dir_fd(a, parent);
	uint64_t node = child(a, parent, name);
	struct meta_node row;
	int r;

	must(meta_node_get(view(a), node, &row));
	r = row.kind == META_DIR ? store_rmdir(a->side.store, fd, name)
				 : store_unlink(a->side.store, fd, name);
	if (r == -ENOTEMPTY)
		return r;
	must(r);
	a->seq++;
	entry_gone(a, parent, name, node);
	return 0;
}

/* 0, or -errno when that cannot be. */
static inline int op_rename(struct actor *a, uint64_t parent, const char *name,
			    uint64_t to_parent, const char *to_name)
{
	_cleanup_close_ int from = dir_fd(a, parent);
	_cleanup_close_ int to = dir_fd(a, to_parent);
	uint64_t node = child(a, parent, name);
	uint64_t old = child(a, to_parent, to_name);
	struct meta_dentry d;
	int r;

	if (old == node)
		return -EEXIST;
	r = store_rename(a->side.store, from, name, to, to_name, 0);
	if (r < 0)
		return r;
	a->seq++;
	if (old)
		entry_gone(a, to_parent, to_name, old);
	must(meta_dentry_del(a->side.meta, parent, name, strlen(name)));
	d = entry_of(to_parent, to_name, node, a->seq);
	must(meta_dentry_put(a->side.meta, &d));
	must(meta_node_raise(a->side.meta, node, a->seq, a->seq));
	must(meta_node_raise(a->side.meta, parent, 0, a->seq));
	must(meta_node_raise(a->side.meta, to_parent, 0, a->seq));
	return 0;
}

/* ---- random histories ---- */

/* Some node of a kind in this map (0: any); 0: there is none. */
static inline uint64_t some_node(struct actor *a, struct rng *rng,
				 enum meta_kind kind)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_node row;
	uint64_t found = 0;
	uint64_t seen = 0;

	must(meta_iter_nodes(view(a), 0, &it));
	while (must(meta_next_node(&it, &row)) > 0)
		if ((!kind || row.kind == kind) && rng_below(rng, ++seen) == 0)
			found = row.id;
	return found;
}

static inline bool some_entry(struct actor *a, struct rng *rng,
			      struct meta_dentry *ret)
{
	uint64_t node = some_node(a, rng, 0);
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_dentry d;
	uint64_t seen = 0;

	must(meta_iter_names(view(a), node, &it));
	while (must(meta_next_dentry(&it, &d)) > 0)
		if (rng_below(rng, ++seen) == 0)
			*ret = d;
	return seen > 0;
}

static inline void random_data(struct actor *a, struct rng *rng, uint64_t file)
{
	uint64_t off = rng_below(rng, 40) * 1000;

	switch (rng_below(rng, 4)) {
	case 0:
		off = off / META_BLOCK * META_BLOCK;
		op_punch(a, file, off, off + META_BLOCK * 2);
		break;
	case 1:
		op_truncate(a, file, off);
		break;
	default:
		op_write(a, file, off, 1 + rng_below(rng, 9000),
			 (unsigned int)rng_below(rng, 200));
	}
}

static inline void random_name(struct rng *rng, char name[8])
{
	snprintf(name, 8, "n%u", (unsigned int)rng_below(rng, 6));
}

static inline void random_op(struct actor *a, struct rng *rng)
{
	static const enum meta_kind kinds[] = {
		META_FILE, META_FILE,	 META_FILE, META_DIR,
		META_DIR,  META_SYMLINK, META_FIFO,
	};
	uint64_t dir = some_node(a, rng, META_DIR);
	uint64_t file = some_node(a, rng, META_FILE);
	struct meta_dentry d;
	char name[8];

	random_name(rng, name);
	switch (rng_below(rng, 9)) {
	case 0:
	case 1:
		if (!child(a, dir, name))
			op_make(a, dir, name,
				kinds[rng_below(rng, ARRAY_SIZE(kinds))]);
		break;
	case 2:
	case 3:
		if (some_entry(a, rng, &d))
			(void)op_rename(a, d.parent, d.name, dir, name);
		break;
	case 4:
		if (some_entry(a, rng, &d))
			(void)op_remove(a, d.parent, d.name);
		break;
	case 5:
		if (some_entry(a, rng, &d) && d.node != dir &&
		    !child(a, dir, name) &&
		    some_node(a, rng, META_FILE) == d.node)
			op_link(a, d.parent, d.name, dir, name);
		break;
	case 6:
		op_mode(a, some_node(a, rng, 0),
			0600 | (mode_t)rng_below(rng, 0177));
		break;
	default:
		if (file)
			random_data(a, rng, file);
	}
}

static inline void random_history(struct actor *a, struct rng *rng,
				  unsigned int count)
{
	history_begin(a);
	for (unsigned int i = 0; i < count; i++)
		random_op(a, rng);
	history_end(a);
}
