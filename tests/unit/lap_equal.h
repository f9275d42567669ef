/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Are two stores equal, in files and map, and does each map say what its
 * files say?
 */
#pragma once

#include "tests/unit/lap_world.h"

static inline void equal_bytes(struct world *w, int fa, int fb, uint64_t size,
			       uint64_t node)
{
	_cleanup_free_ char *a = malloc(1 << 20);
	_cleanup_free_ char *b = malloc(1 << 20);

	for (uint64_t off = 0; off < size; off += 1 << 20) {
		ssize_t na =
			must(store_read(w->a.side.store, fa, a, 1 << 20, off));
		ssize_t nb =
			must(store_read(w->b.side.store, fb, b, 1 << 20, off));

		cr_assert_eq(na, nb);
		cr_assert(memcmp(a, b, (size_t)na) == 0,
			  "contents of node %" PRIu64, node);
	}
}

/* What the file has mapped, in whole blocks. */
static inline void file_mapped(struct actor *a, int fd, struct range_set *out)
{
	uint64_t start, end;
	uint64_t off = 0;

	while (must(store_next_mapped(a->side.store, fd, off, &start, &end))) {
		must(range_set_add(out,
				   range_align_out((struct range){start, end},
						   META_BLOCK)));
		off = end;
	}
}

static inline void map_mapped(struct meta_reader *rd, uint64_t node,
			      struct range_set *out)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_extent e;

	must(meta_iter_extents(rd, node, 0, META_RANGE_MAX, &it));
	while (must(meta_next_extent(&it, &e)) > 0)
		must(range_set_add(out, (struct range){e.start, e.end}));
}

static inline void equal_sets(const struct range_set *a,
			      const struct range_set *b, const char *what,
			      uint64_t node)
{
	cr_assert_eq(a->items.count, b->items.count, "%s of node %" PRIu64,
		     what, node);
	for (size_t i = 0; i < a->items.count; i++)
		cr_assert(a->items.data[i].start == b->items.data[i].start &&
				  a->items.data[i].end == b->items.data[i].end,
			  "%s of node %" PRIu64, what, node);
}

static inline void equal_holes(struct world *w, struct meta_reader *rd, int fa,
			       int fb, uint64_t node)
{
	struct range_set map, a, b;

	range_set_init(&map);
	range_set_init(&a);
	range_set_init(&b);
	map_mapped(rd, node, &map);
	file_mapped(&w->a, fa, &a);
	file_mapped(&w->b, fb, &b);
	equal_sets(&map, &a, "source's map and file", node);
	equal_sets(&map, &b, "target's map and file", node);
	range_set_done(&map);
	range_set_done(&a);
	range_set_done(&b);
}

static inline void equal_xattr(struct world *w, int fa, int fb)
{
	mode_t a = 0, b = 0;
	ssize_t na = store_getxattr(w->a.side.store, (struct store_obj){fa},
				    "user.t", &a, sizeof(a));
	ssize_t nb = store_getxattr(w->b.side.store, (struct store_obj){fb},
				    "user.t", &b, sizeof(b));

	cr_assert_eq(na, nb);
	cr_assert_eq(a, b);
}

static inline void equal_node(struct world *w, struct meta_reader *ra,
			      struct meta_reader *rb, const struct meta_node *n)
{
	int flags = n->kind == META_FILE ? O_RDONLY : O_PATH;
	_cleanup_close_ int fa = -1;
	_cleanup_close_ int fb = -1;
	struct store_stat a, b;
	struct meta_node other;

	must(meta_node_get(rb, n->id, &other));
	cr_assert(other.kind == n->kind && other.seq == n->seq &&
			  other.attr_seq == n->attr_seq,
		  "row of node %" PRIu64 ": %" PRIu64 ",%" PRIu64
		  " and %" PRIu64 ",%" PRIu64,
		  n->id, n->attr_seq, n->seq, other.attr_seq, other.seq);
	fa = side_open_node(&w->a.side, ra, n->id, flags, NULL);
	fb = side_open_node(&w->b.side, rb, n->id, flags, NULL);
	cr_assert(fa >= 0 && fb >= 0, "node %" PRIu64 ": %d %d", n->id, fa, fb);
	must(store_fstat(w->a.side.store, fa, STORE_STAT_GEN, &a));
	must(store_fstat(w->b.side.store, fb, STORE_STAT_GEN, &b));
	cr_assert(a.st.st_mode == b.st.st_mode && a.st.st_uid == b.st.st_uid &&
			  a.st.st_nlink == b.st.st_nlink &&
			  a.st.st_mtim.tv_sec == b.st.st_mtim.tv_sec &&
			  a.st.st_mtim.tv_nsec == b.st.st_mtim.tv_nsec,
		  "attributes of node %" PRIu64 ": mode %o %o, links %d %d, "
		  "time %ld %ld",
		  n->id, a.st.st_mode, b.st.st_mode, (int)a.st.st_nlink,
		  (int)b.st.st_nlink, (long)a.st.st_mtim.tv_sec,
		  (long)b.st.st_mtim.tv_sec);
	equal_xattr(w, fa, fb);
	if (n->kind != META_FILE)
		return;
	cr_assert_eq(a.st.st_size, b.st.st_size, "size of node %" PRIu64,
		     n->id);
	equal_bytes(w, fa, fb, (uint64_t)a.st.st_size, n->id);
	equal_holes(w, rb, fa, fb, n->id);
}

static inline void equal_extents(struct meta_reader *ra, struct meta_reader *rb,
				 uint64_t node)
{
	_cleanup_meta_iter_ struct meta_iter ia = {0};
	_cleanup_meta_iter_ struct meta_iter ib = {0};
	struct meta_extent a, b;
	int more;

	must(meta_iter_extents(ra, node, 0, META_RANGE_MAX, &ia));
	must(meta_iter_extents(rb, node, 0, META_RANGE_MAX, &ib));
	do {
		more = must(meta_next_extent(&ia, &a));
		cr_assert_eq(must(meta_next_extent(&ib, &b)), more,
			     "extents of node %" PRIu64, node);
		if (more)
			cr_assert(a.start == b.start && a.end == b.end &&
					  a.seq == b.seq,
				  "extents of node %" PRIu64, node);
	} while (more);
}

/* The entries of a directory: rows of both maps, and files of both. */
static inline size_t equal_rows(struct meta_reader *ra, struct meta_reader *rb,
				uint64_t dir)
{
	_cleanup_meta_iter_ struct meta_iter ia = {0};
	_cleanup_meta_iter_ struct meta_iter ib = {0};
	struct meta_dentry a, b;
	size_t count = 0;
	int more;

	must(meta_iter_dentries_by_name(ra, dir, &ia));
	must(meta_iter_dentries_by_name(rb, dir, &ib));
	do {
		more = must(meta_next_dentry(&ia, &a));
		cr_assert_eq(must(meta_next_dentry(&ib, &b)), more,
			     "entries of node %" PRIu64, dir);
		if (more)
			cr_assert(!strcmp(a.name, b.name) && a.node == b.node &&
					  a.seq == b.seq &&
					  a.cookie == b.cookie,
				  "entry %s of node %" PRIu64 ": %" PRIu64
				  " %s %" PRIu64,
				  a.name, dir, a.node, b.name, b.node);
		count += (size_t)more;
	} while (more);
	return count;
}

static inline int count_entry(void *arg, const struct store_dirent *e)
{
	(void)e;
	++*(size_t *)arg;
	return 0;
}

static inline size_t count_files(struct actor *a, int fd)
{
	size_t count = 0;

	must(store_list(a->side.store, fd, count_entry, &count));
	return count;
}

/* Each entry leads to its node. */
static inline void equal_dir(struct world *w, struct meta_reader *ra,
			     struct meta_reader *rb, uint64_t dir)
{
	_cleanup_close_ int fd = must(side_open_dir(&w->b.side, rb, dir));
	_cleanup_meta_iter_ struct meta_iter it = {0};
	size_t count = equal_rows(ra, rb, dir);
	struct meta_dentry d;
	struct meta_node row;

	cr_assert_eq(count_files(&w->b, fd), count, "files in node %" PRIu64,
		     dir);
	must(meta_iter_dentries(rb, dir, 0, &it));
	while (must(meta_next_dentry(&it, &d)) > 0) {
		must(meta_node_get(rb, d.node, &row));
		cr_assert_eq(
			side_stat_entry(&w->b.side, fd, d.name, &row, NULL), 1,
			"entry %s", d.name);
	}
}

static inline size_t found_count(struct actor *a)
{
	return count_files(a, store_found_fd(a->side.store));
}

static inline void equal_closed(struct world *w, struct meta_reader *rb)
{
	uint64_t count, durable;

	must(meta_intent_count(rb, &count));
	cr_assert_eq(count, 0);
	must(meta_number_get(rb, META_NUM_DURABLE_SEQ, &durable));
	cr_assert_eq(durable, w->a.seq);
	cr_assert_eq(count_files(&w->b, store_limbo_fd(w->b.side.store)), 0);
	must(side_is_copied(&w->b.side, rb) ? -EIO : 0);
}

/* Everything. */
static inline void world_equal(struct world *w)
{
	struct meta_reader *ra = meta_reader_get(w->a.side.meta);
	struct meta_reader *rb = meta_reader_get(w->b.side.meta);
	_cleanup_meta_iter_ struct meta_iter ia = {0};
	_cleanup_meta_iter_ struct meta_iter ib = {0};
	struct meta_node a, b;

	equal_closed(w, rb);
	must(meta_iter_nodes(ra, 0, &ia));
	must(meta_iter_nodes(rb, 0, &ib));
	while (must(meta_next_node(&ia, &a)) > 0) {
		cr_assert(must(meta_next_node(&ib, &b)) > 0 && a.id == b.id,
			  "node %" PRIu64 " is missing", a.id);
		equal_node(w, ra, rb, &a);
		if (a.kind == META_FILE)
			equal_extents(ra, rb, a.id);
		if (a.kind == META_DIR)
			equal_dir(w, ra, rb, a.id);
	}
	cr_assert_eq(must(meta_next_node(&ib, &b)), 0, "node %" PRIu64, b.id);
	equal_rows(rb, rb, META_LIMBO_ID);
	meta_iter_done(&ia);
	meta_iter_done(&ib);
	meta_reader_put(ra);
	meta_reader_put(rb);
}
