/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directories, volumes and maps for unit tests of resync, and the question
 * that most of them end with: does the map say what the files say?
 *
 *	struct fixture f;
 *	struct resync_side a;
 *
 *	fixture_init(&f, 2);			// f.path[0], f.path[1]
 *	put_file(f.path[0], "dir/file", 0, 5000);
 *	fixture_volume(&f);
 *	fixture_open(&a, f.path[0]);
 *	check_map(&a);
 *	fixture_close(&a);
 *	fixture_done(&f);
 */
#pragma once

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/range.h"
#include "resync/side.h"
#include "resync/volume_make.h"

enum {
	FIXTURE_STORES = 4,
	FIXTURE_PATH = 256,
};

struct fixture {
	char dir[FIXTURE_PATH / 4];
	char path[FIXTURE_STORES][FIXTURE_PATH / 2];
	size_t count;
	struct volume_make_result made;
};

#define must(call)                                                 \
	do {                                                       \
		int must_ = (call);                                \
		cr_assert(must_ >= 0, "%s: %s", #call,             \
			  strerror(must_ == -1 ? errno : -must_)); \
	} while (0)

static inline void fixture_init(struct fixture *f, size_t count)
{
	memset(f, 0, sizeof(*f));
	snprintf(f->dir, sizeof(f->dir), "/tmp/seqmirror-test-XXXXXX");
	cr_assert_not_null(mkdtemp(f->dir));
	f->count = count;
	for (size_t i = 0; i < count; i++) {
		snprintf(f->path[i], sizeof(f->path[i]), "%s/%c", f->dir,
			 (char)('a' + i));
		must(mkdir(f->path[i], 0755));
	}
}

/* Paths may be too long to be named: down by descriptors. */
static inline void remove_below(int fd)
{
	DIR *dir = fdopendir(fd);
	struct dirent *e;

	cr_assert_not_null(dir);
	while ((e = readdir(dir))) {
		int sub;

		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		if (!unlinkat(fd, e->d_name, 0))
			continue;
		sub = openat(fd, e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		must(sub);
		remove_below(sub);
		must(unlinkat(fd, e->d_name, AT_REMOVEDIR));
	}
	must(closedir(dir));
}

static inline void fixture_done(struct fixture *f)
{
	int fd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	must(fd);
	remove_below(fd);
	must(rmdir(f->dir));
}

static inline void fixture_volume(struct fixture *f)
{
	const char *paths[FIXTURE_STORES];
	int err;

	for (size_t i = 0; i < f->count; i++)
		paths[i] = f->path[i];
	err = volume_make(&(struct volume_make_args){.paths = paths,
						     .path_count = f->count},
			  &f->made);
	cr_assert_eq(err, 0, "%s", f->made.why);
}

static inline void fixture_open(struct resync_side *side, const char *path)
{
	*side = (struct resync_side){0};
	must(store_open(path, NULL, &side->store));
	must(meta_open(store_privdir(side->store), META_OPEN_RW, &side->meta,
		       NULL));
}

static inline void fixture_close(struct resync_side *side)
{
	meta_close(side->meta);
	store_close(side->store);
}

/* ---- files ---- */

static inline void path_of(char out[static FIXTURE_PATH], const char *store,
			   const char *name)
{
	cr_assert_lt(snprintf(out, FIXTURE_PATH, "%s/%s", store, name),
		     FIXTURE_PATH);
}

static inline void put_dir(const char *store, const char *name)
{
	char path[FIXTURE_PATH];

	path_of(path, store, name);
	must(mkdir(path, 0755));
}

/* @len bytes of data at @off. */
static inline void put_file(const char *store, const char *name, off_t off,
			    size_t len)
{
	char path[FIXTURE_PATH];
	char *data = malloc(len + 1);
	int fd;

	path_of(path, store, name);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	must(fd);
	memset(data, 'x', len + 1);
	cr_assert_eq(pwrite(fd, data, len, off), (ssize_t)len);
	/* Delayed allocation must not change what is mapped later. */
	must(fsync(fd));
	must(close(fd));
	free(data);
}

static inline void move_file(const char *store, const char *from,
			     const char *to)
{
	char a[FIXTURE_PATH], b[FIXTURE_PATH];

	path_of(a, store, from);
	path_of(b, store, to);
	must(rename(a, b));
}

static inline void link_file(const char *store, const char *from,
			     const char *to)
{
	char a[FIXTURE_PATH], b[FIXTURE_PATH];

	path_of(a, store, from);
	path_of(b, store, to);
	must(link(a, b));
}

static inline void drop_file(const char *store, const char *name)
{
	char path[FIXTURE_PATH];

	path_of(path, store, name);
	must(remove(path));
}

/* ---- rows ---- */

static inline uint64_t number_of(struct resync_side *side,
				 enum meta_number what)
{
	struct meta_reader *rd = meta_reader_get(side->meta);
	uint64_t value;

	cr_assert_not_null(rd);
	must(meta_number_get(rd, what, &value));
	meta_reader_put(rd);
	return value;
}

static inline void set_number(struct resync_side *side, enum meta_number what,
			      uint64_t value)
{
	must(meta_begin(side->meta));
	must(meta_number_set(side->meta, what, value));
	must(meta_commit(side->meta));
}

/* The entry at a path; node 0 when there is none. */
static inline struct meta_dentry entry_of(struct resync_side *side,
					  const char *path)
{
	struct meta_reader *rd = meta_reader_get(side->meta);
	struct meta_dentry d = {.node = META_ROOT_ID};
	int err = 0;

	cr_assert_not_null(rd);
	while (!err && *path) {
		size_t len = strcspn(path, "/");

		err = meta_dentry_get(rd, d.node, path, len, &d);
		path += len + (path[len] == '/');
	}
	meta_reader_put(rd);
	cr_assert(!err || err == -ENOENT);
	if (err)
		d = (struct meta_dentry){0};
	return d;
}

static inline uint64_t node_of(struct resync_side *side, const char *path)
{
	return entry_of(side, path).node;
}

static inline struct meta_node row_of(struct resync_side *side,
				      const char *path)
{
	struct meta_reader *rd = meta_reader_get(side->meta);
	struct meta_node row;

	cr_assert_not_null(rd);
	must(meta_node_get(rd, node_of(side, path), &row));
	meta_reader_put(rd);
	return row;
}

static inline void arm(struct resync_side *side, uint64_t node,
		       enum meta_intent_kind kind, uint64_t start, uint64_t end)
{
	must(meta_begin(side->meta));
	must(meta_intent_put(side->meta,
			     &(struct meta_intent){.node = node,
						   .start = start,
						   .end = end,
						   .kind = kind,
						   .generation = 3}));
	must(meta_commit(side->meta));
}

/* ---- the map says what the files say ---- */

struct map_check {
	struct resync_side *side;
	struct meta_reader *rd;
	uint64_t dir;
	uint64_t dir_seq;
	int fd;
	uint64_t entries; /* of this directory */
	uint64_t names;	  /* of all */
	bool adopted;	  /* the rows of a copy: low numbers in dirs */
};

static inline void check_extents(struct map_check *c, int fd,
				 const struct meta_node *row)
{
	_cleanup_(range_set_done) struct range_set files, rows;
	struct meta_iter it;
	struct meta_extent e;
	uint64_t at = 0;
	struct range r;

	range_set_init(&files);
	range_set_init(&rows);
	while (store_next_mapped(c->side->store, fd, at, &r.start, &r.end) >
	       0) {
		at = r.end;
		must(range_set_add(&files, range_align_out(r, META_BLOCK)));
	}
	must(meta_iter_extents(c->rd, row->id, 0, META_RANGE_MAX, &it));
	while (meta_next_extent(&it, &e) > 0) {
		cr_expect_leq(e.seq, row->seq);
		must(range_set_add(&rows, (struct range){e.start, e.end}));
	}
	meta_iter_done(&it);
	cr_expect_eq(files.items.count, rows.items.count,
		     "node %" PRIu64 ": %zu runs, %zu in the map", row->id,
		     files.items.count, rows.items.count);
	cr_expect_eq(range_set_bytes(&files), range_set_bytes(&rows));
	range_set_for_each (x, &files)
		cr_expect(range_set_covers(&rows, *x));
}

static inline void check_dir(struct map_check *c, int fd,
			     const struct meta_node *row);

static inline int check_entry(void *arg, const struct store_dirent *e)
{
	struct map_check *c = arg;
	struct meta_dentry d;
	struct meta_node row;
	struct store_stat st;
	int fd;

	c->entries++;
	c->names++;
	cr_assert_eq(
		meta_dentry_get(c->rd, c->dir, e->name, strlen(e->name), &d), 0,
		"%s is not in the map", e->name);
	cr_expect(c->adopted || d.seq <= c->dir_seq,
		  "%s is newer than its directory", e->name);
	cr_assert_eq(meta_node_get(c->rd, d.node, &row), 0,
		     "%s leads to no node", e->name);
	must(store_statat(c->side->store, c->fd, e->name, STORE_STAT_GEN, &st));
	cr_expect_eq(row.kind, meta_kind_of(st.st.st_mode));
	cr_expect_eq(row.backing.ino, st.st.st_ino, "%s: inode", e->name);
	cr_expect_eq(row.backing.gen, st.gen, "%s: generation", e->name);
	cr_expect_leq(row.attr_seq, row.seq);
	if (row.kind != META_FILE && row.kind != META_DIR)
		return 0;
	fd = store_openat(c->side->store, c->fd, e->name, O_RDONLY);
	must(fd);
	if (row.kind == META_FILE)
		check_extents(c, fd, &row);
	else
		check_dir(c, fd, &row);
	must(close(fd));
	return 0;
}

static inline void check_dir(struct map_check *c, int fd,
			     const struct meta_node *row)
{
	struct map_check sub = {
		.side = c->side,
		.rd = c->rd,
		.dir = row->id,
		.dir_seq = row->seq,
		.fd = fd,
		.adopted = c->adopted,
	};
	struct meta_dentry d;
	struct meta_iter it;
	uint64_t rows = 0;

	must(store_list(c->side->store, fd, check_entry, &sub));
	must(meta_iter_dentries_by_name(c->rd, row->id, &it));
	while (meta_next_dentry(&it, &d) > 0)
		rows++;
	meta_iter_done(&it);
	cr_expect_eq(rows, sub.entries,
		     "directory %" PRIu64 ": %" PRIu64 " entries, %" PRIu64
		     " in the map",
		     row->id, sub.entries, rows);
	c->names += sub.names;
}

/* No node without a name, no extent without a node. */
static inline void check_nodes(struct map_check *c)
{
	struct meta_node n;
	struct meta_extent e;
	struct meta_iter it;
	uint64_t names, sum = 0;

	must(meta_iter_nodes(c->rd, 0, &it));
	while (meta_next_node(&it, &n) > 0) {
		must(meta_dentry_count(c->rd, n.id, &names));
		sum += names;
		cr_expect(names || n.id == META_ROOT_ID,
			  "node %" PRIu64 " has no name", n.id);
	}
	meta_iter_done(&it);
	cr_expect_eq(sum, c->names);
	must(meta_iter_extents_since(c->rd, 0, 0, 0, &it));
	while (meta_next_extent(&it, &e) > 0)
		cr_expect_eq(meta_node_get(c->rd, e.node, &n), 0,
			     "extent of no node %" PRIu64, e.node);
	meta_iter_done(&it);
}

static inline void check_map_of(struct resync_side *side, bool adopted)
{
	struct map_check c = {
		.side = side,
		.rd = meta_reader_get(side->meta),
		.adopted = adopted,
	};
	struct store_stat st;
	struct meta_node root;

	cr_assert_not_null(c.rd);
	must(meta_node_get(c.rd, META_ROOT_ID, &root));
	must(store_fstat(side->store, store_root_fd(side->store),
			 STORE_STAT_GEN, &st));
	cr_expect_eq(root.backing.ino, st.st.st_ino);
	cr_expect_eq(root.backing.gen, st.gen);
	check_dir(&c, store_root_fd(side->store), &root);
	check_nodes(&c);
	meta_reader_put(c.rd);
}

static inline void check_map(struct resync_side *side)
{
	check_map_of(side, false);
}
