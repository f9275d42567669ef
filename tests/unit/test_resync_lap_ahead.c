/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Laps over a source that moves on, and what it may take back afterwards:
 * docs/model.md, corrections 1, 2 and 14.
 *
 * A lap that is not the last is closed at the cut.  Then the source loses what
 * came after it, and the next lap, the last, must make both equal all the same.
 */
#include <limits.h>

#include "tests/unit/lap_run.h"

/* One file of 40,000 bytes and a directory, on both sides. */
static uint64_t start(struct world *w)
{
	struct actor *a = &w->a;
	uint64_t dir, file;

	world_init(w);
	history_begin(a);
	dir = op_make(a, META_ROOT_ID, "dir", META_DIR);
	file = op_make(a, META_ROOT_ID, "file", META_FILE);
	op_write(a, file, 0, 40000, 7);
	op_write(a, op_make(a, dir, "other", META_FILE), 0, 9000, 3);
	history_end(a);
	must(lap_as(w, 0, (struct lap_how){0}, &(struct resync_counts){0}));
	return a->seq;
}

static uint64_t lookup(struct actor *a, uint64_t dir, const char *name)
{
	uint64_t node;

	must(meta_begin(a->side.meta));
	node = child(a, dir, name);
	must(meta_commit(a->side.meta));
	return node;
}

static int open_file(struct actor *a, uint64_t node)
{
	int fd;

	must(meta_begin(a->side.meta));
	fd = node_fd(a, node, O_RDWR);
	must(meta_commit(a->side.meta));
	return fd;
}

/* An operation that has begun: armed, and numbered nowhere yet. */
static void armed(struct actor *a, uint64_t node, enum meta_intent_kind kind,
		  uint64_t start, uint64_t end)
{
	must(meta_begin(a->side.meta));
	put_intent(a, node, kind, start, end);
	must(meta_commit(a->side.meta));
}

static void disarmed(struct actor *a)
{
	must(meta_begin(a->side.meta));
	must(meta_intent_drop_all(a->side.meta));
	must(meta_commit(a->side.meta));
}

static uint64_t intents_of(struct actor *a)
{
	struct meta_reader *rd = meta_reader_get(a->side.meta);
	uint64_t count;

	must(meta_intent_count(rd, &count));
	meta_reader_put(rd);
	return count;
}

static void ordinary(struct world *w, uint64_t from)
{
	struct resync_counts n;

	must(lap_as(w, from, (struct lap_how){.more = true}, &n));
}

static void last(struct world *w, uint64_t from)
{
	struct resync_counts n;

	must(lap_as(w, from, (struct lap_how){0}, &n));
	world_equal(w);
}

/* The source was put back to what it was: by its intents the target forks from
 * it, and healing that begins where the resync began. */
static void last_of_fork(struct world *w, uint64_t from)
{
	struct meta_reader *rd = meta_reader_get(w->b.side.meta);
	struct resync_counts n;
	uint64_t began;

	must(meta_number_get(rd, META_NUM_RESYNC_FROM, &began));
	meta_reader_put(rd);
	cr_assert_leq(began, from);
	must(lap_as(w, began, (struct lap_how){.both = true}, &n));
	world_equal(w);
}

/* ---- 1: keep_ahead ---- */

Test(resync_lap_ahead, bytes_that_the_source_loses)
{
	char was[100];
	struct world w;
	uint64_t from = start(&w);
	uint64_t file;
	int fd;

	history_begin(&w.a);
	file = child(&w.a, META_ROOT_ID, "file");
	op_write(&w.a, file, 9000, 100, 3);
	history_end(&w.a);
	fd = open_file(&w.a, file);
	must(store_read(w.a.side.store, fd, was, 100, 9000));
	/* A write above the cut: in the file, and nowhere else. */
	armed(&w.a, file, META_INTENT_DATA, 0, 256 * META_BLOCK);
	must(store_write(w.a.side.store, fd, "ahead", 5, 9010, NULL));
	ordinary(&w, from);
	cr_expect_gt(intents_of(&w.b), 0);
	/* It is lost, and nothing of it is left. */
	must(store_write(w.a.side.store, fd, was, 100, 9000, NULL));
	disarmed(&w.a);
	close_fd(&fd);
	last(&w, w.a.seq);
	cr_expect_eq(intents_of(&w.b), 0);
	world_done(&w);
}

/* The source as it was at some moment: rows of two nodes and an entry. */
struct image {
	struct meta_node node;
	struct meta_extent extents[8];
	size_t extent_count;
	char bytes[40960];
	ssize_t size;
};

static void image_take(struct world *w, uint64_t node, struct image *image)
{
	struct actor *a = &w->a;
	int fd = open_file(a, node);
	struct meta_iter it = {0};

	*image = (struct image){0};
	must(meta_begin(a->side.meta));
	must(meta_node_get(view(a), node, &image->node));
	must(meta_iter_extents(view(a), node, 0, META_RANGE_MAX, &it));
	while (meta_next_extent(&it, &image->extents[image->extent_count]) > 0)
		image->extent_count++;
	meta_iter_done(&it);
	must(meta_commit(a->side.meta));
	image->size = must(store_read(a->side.store, fd, image->bytes,
				      sizeof(image->bytes), 0));
	close_fd(&fd);
}

static void image_restore(struct world *w, const struct image *image)
{
	struct actor *a = &w->a;
	uint64_t node = image->node.id;
	int fd = open_file(a, node);

	must(store_truncate(a->side.store, fd, (uint64_t)image->size));
	must(store_write(a->side.store, fd, image->bytes, (size_t)image->size,
			 0, NULL));
	close_fd(&fd);
	must(meta_begin(a->side.meta));
	must(meta_extent_clear(a->side.meta, node, 0, META_RANGE_MAX));
	for (size_t i = 0; i < image->extent_count; i++)
		must(meta_extent_set(
			a->side.meta, node, image->extents[i].start,
			image->extents[i].end, image->extents[i].seq));
	must(meta_node_put(a->side.meta, &image->node));
	must(meta_commit(a->side.meta));
}

/* @change comes after the cut, with its number in the map already, and is
 * taken back between two laps. */
static void taken_back(void (*change)(struct actor *a, uint64_t file))
{
	struct image image;
	struct world w;
	uint64_t from = start(&w);
	uint64_t file, cut;

	history_begin(&w.a);
	file = child(&w.a, META_ROOT_ID, "file");
	op_write(&w.a, file, 9000, 100, 3);
	op_mode(&w.a, file, 0640);
	history_end(&w.a);
	cut = w.a.seq;
	image_take(&w, file, &image);
	history_begin(&w.a);
	change(&w.a, file);
	history_end(&w.a);
	w.a.seq = cut;
	ordinary(&w, from);
	cr_expect_gt(intents_of(&w.b), 0);
	image_restore(&w, &image);
	last_of_fork(&w, from);
	world_done(&w);
}

static void write_more(struct actor *a, uint64_t file)
{
	op_write(a, file, 9010, 50, 9);
}

static void punch(struct actor *a, uint64_t file)
{
	op_punch(a, file, META_BLOCK, 4 * META_BLOCK);
}

static void shorten(struct actor *a, uint64_t file)
{
	op_truncate(a, file, 10000);
}

/* As if a checkpoint had come between the copy and the look. */
Test(resync_lap_ahead, bytes_numbered_above_the_cut)
{
	taken_back(write_more);
}

Test(resync_lap_ahead, holes_that_the_source_loses)
{
	taken_back(punch);
}

Test(resync_lap_ahead, a_size_that_the_source_loses)
{
	taken_back(shorten);
}

Test(resync_lap_ahead, attributes_that_the_source_loses)
{
	struct timespec times[2] = {{.tv_sec = 5}, {.tv_sec = 6}};
	struct world w;
	uint64_t from = start(&w);
	struct store_obj o;
	uint64_t file;

	history_begin(&w.a);
	file = child(&w.a, META_ROOT_ID, "file");
	op_mode(&w.a, file, 0640);
	history_end(&w.a);
	o.fd = open_file(&w.a, file);
	armed(&w.a, file, META_INTENT_ATTR, 0, 0);
	must(store_chmod(w.a.side.store, o, 0600));
	must(store_utimens(w.a.side.store, o, times));
	ordinary(&w, from);
	cr_expect_gt(intents_of(&w.b), 0);
	must(store_chmod(w.a.side.store, o, 0640));
	times[0].tv_sec = 1000 + 0640;
	times[1].tv_sec = 2000 + 0640;
	must(store_utimens(w.a.side.store, o, times));
	disarmed(&w.a);
	close_fd(&o.fd);
	last(&w, w.a.seq);
	world_done(&w);
}

/* A new file is written to while it is copied; the lap is cut or closed. */
static void new_file(unsigned int left)
{
	struct cutter cutter = {.left = left};
	struct resync_counts n;
	struct world w;
	uint64_t from = start(&w);
	uint64_t file;
	char was[5];
	int fd, r;

	history_begin(&w.a);
	file = op_make(&w.a, META_ROOT_ID, "new", META_FILE);
	op_write(&w.a, file, 0, 20000, 3);
	history_end(&w.a);
	fd = open_file(&w.a, file);
	must(store_read(w.a.side.store, fd, was, 5, 9010));
	armed(&w.a, file, META_INTENT_DATA, 0, 256 * META_BLOCK);
	must(store_write(w.a.side.store, fd, "ahead", 5, 9010, NULL));
	r = lap_as(&w, from, (struct lap_how){.more = true, .cutter = &cutter},
		   &n);
	cr_assert(r == 0 || r == -ECANCELED);
	must(store_write(w.a.side.store, fd, was, 5, 9010, NULL));
	disarmed(&w.a);
	close_fd(&fd);
	last(&w, r == 0 ? w.a.seq : from);
	world_done(&w);
}

Test(resync_lap_ahead, a_new_file_that_changes)
{
	for (unsigned int left = 0; left < 30; left++)
		new_file(left);
	new_file(UINT_MAX);
}

/* An entry that has gone after the cut comes back. */
Test(resync_lap_ahead, names_that_the_source_loses)
{
	struct meta_node rows[3];
	struct meta_dentry was, now;
	struct world w;
	uint64_t from = start(&w);
	uint64_t cut, dir;
	int root, sub;

	history_begin(&w.a);
	dir = child(&w.a, META_ROOT_ID, "dir");
	op_mode(&w.a, dir, 0750);
	must(meta_node_get(view(&w.a), META_ROOT_ID, &rows[0]));
	must(meta_node_get(view(&w.a), dir, &rows[1]));
	must(meta_node_get(view(&w.a), child(&w.a, META_ROOT_ID, "file"),
			   &rows[2]));
	must(meta_dentry_get(view(&w.a), META_ROOT_ID, "file", 4, &was));
	root = dir_fd(&w.a, META_ROOT_ID);
	sub = dir_fd(&w.a, dir);
	history_end(&w.a);
	cut = w.a.seq;
	history_begin(&w.a);
	must(op_rename(&w.a, META_ROOT_ID, "file", dir, "file"));
	must(meta_dentry_get(view(&w.a), dir, "file", 4, &now));
	history_end(&w.a);
	w.a.seq = cut;
	ordinary(&w, from);
	must(store_rename(w.a.side.store, sub, "file", root, "file", 0));
	history_begin(&w.a);
	must(meta_dentry_del(w.a.side.meta, dir, "file", 4));
	must(meta_dentry_put(w.a.side.meta, &was));
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		must(meta_node_put(w.a.side.meta, &rows[i]));
	history_end(&w.a);
	close_fd(&root);
	close_fd(&sub);
	cr_expect_gt(intents_of(&w.b), 0);
	last_of_fork(&w, from);
	world_done(&w);
}

/* ---- 2: keep_skipped ---- */

/* The source's file goes away, as by an unlink after the cut that the map has
 * not heard of yet, or comes back. */
static void hide(struct actor *a, const char *name, bool back)
{
	struct store *s = a->side.store;
	int root = must(store_open_path(s, "", O_RDONLY | O_DIRECTORY));
	struct timespec times[2];
	struct store_stat st;

	must(store_fstat(s, root, 0, &st));
	times[0] = st.st.st_atim;
	times[1] = st.st.st_mtim;
	if (back)
		must(store_rename(s, store_found_fd(s), name, root, name, 0));
	else
		must(store_rename(s, root, name, store_found_fd(s), name, 0));
	/* No number stands for this. */
	must(store_utimens(s, (struct store_obj){root}, times));
	close_fd(&root);
}

Test(resync_lap_ahead, a_file_that_goes_and_comes_back)
{
	struct world w;
	uint64_t from = start(&w);
	uint64_t file;

	history_begin(&w.a);
	file = child(&w.a, META_ROOT_ID, "file");
	op_write(&w.a, file, 9000, 100, 3);
	op_punch(&w.a, file, 4 * META_BLOCK, 6 * META_BLOCK);
	op_mode(&w.a, file, 0640);
	history_end(&w.a);
	hide(&w.a, "file", false);
	ordinary(&w, from);
	cr_expect_gt(intents_of(&w.b), 0);
	hide(&w.a, "file", true);
	last(&w, w.a.seq);
	world_done(&w);
}

/* The same, where the target was in doubt about it before. */
Test(resync_lap_ahead, a_file_in_doubt_that_goes_and_comes_back)
{
	struct world w;
	uint64_t from = start(&w);
	uint64_t file = lookup(&w.b, META_ROOT_ID, "file");
	int fd = open_file(&w.b, file);

	armed(&w.b, file, META_INTENT_DATA, 0, 16 * META_BLOCK);
	must(store_write(w.b.side.store, fd, "crash", 5, 5000, NULL));
	must(store_write(w.b.side.store, fd, "beyond", 6, 50000, NULL));
	close_fd(&fd);
	hide(&w.a, "file", false);
	ordinary(&w, from);
	hide(&w.a, "file", true);
	last(&w, w.a.seq);
	world_done(&w);
}

static void hide_when_filling(struct world *w, const struct resync_progress *p)
{
	if (!strcmp(p->phase, "data") && p->counts.bytes_copied > (16 << 20) &&
	    !w->hooked) {
		w->hooked = true;
		hide(&w->a, "large", false);
	}
}

Test(resync_lap_ahead, a_large_file_that_goes_and_comes_back)
{
	struct lap_how how = {.more = true, .phase = hide_when_filling};
	struct world w;
	uint64_t from = start(&w);
	uint64_t file;

	history_begin(&w.a);
	file = op_make(&w.a, META_ROOT_ID, "large", META_FILE);
	op_write(&w.a, file, 0, 17 << 20, 3);
	op_mode(&w.a, file, 0640);
	history_end(&w.a);
	must(lap_as(&w, from, how, &(struct resync_counts){0}));
	cr_assert(w.hooked);
	cr_expect_gt(intents_of(&w.b), 0);
	hide(&w.a, "large", true);
	last(&w, w.a.seq);
	world_done(&w);
}

/* Cut in the second batch of a file. */
static void cut_in_second(struct world *w, const struct resync_progress *p)
{
	w->cut_now = p->counts.bytes_copied > 65 << 20;
}

/* What was filled before the cut and unmapped after it. */
Test(resync_lap_ahead, a_large_file_with_a_new_hole)
{
	struct lap_how how = {.phase = cut_in_second};
	struct world w;
	uint64_t from = start(&w);
	uint64_t file;

	history_begin(&w.a);
	file = op_make(&w.a, META_ROOT_ID, "large", META_FILE);
	op_write(&w.a, file, 0, 70 << 20, 3);
	history_end(&w.a);
	cr_assert_eq(lap_as(&w, from, how, &(struct resync_counts){0}),
		     -ECANCELED);
	w.cut_now = false;
	history_begin(&w.a);
	op_punch(&w.a, file, META_BLOCK, 9 * META_BLOCK);
	history_end(&w.a);
	last(&w, from);
	world_done(&w);
}

/* When its first batch has been copied and looked at. */
static void cut_off_when_filling(struct world *w,
				 const struct resync_progress *p)
{
	uint64_t file;
	int fd;

	if (p->counts.bytes_copied <= 65 << 20 || w->hooked)
		return;
	w->hooked = true;
	file = lookup(&w->a, META_ROOT_ID, "large");
	armed(&w->a, file, META_INTENT_DATA, 0, 128 << 20);
	fd = open_file(&w->a, file);
	must(store_truncate(w->a.side.store, fd, 1000));
	close_fd(&fd);
}

Test(resync_lap_ahead, a_large_file_that_is_cut_off_and_comes_back)
{
	struct lap_how how = {.more = true, .phase = cut_off_when_filling};
	const size_t size = 70 << 20;
	char *was = malloc(size);
	struct world w;
	uint64_t from = start(&w);
	uint64_t file;
	int fd;

	history_begin(&w.a);
	file = op_make(&w.a, META_ROOT_ID, "large", META_FILE);
	op_write(&w.a, file, 0, size, 3);
	history_end(&w.a);
	fd = open_file(&w.a, file);
	must(store_read(w.a.side.store, fd, was, size, 0));
	must(lap_as(&w, from, how, &(struct resync_counts){0}));
	cr_assert(w.hooked);
	must(store_write(w.a.side.store, fd, was, size, 0, NULL));
	disarmed(&w.a);
	close_fd(&fd);
	free(was);
	last(&w, w.a.seq);
	world_done(&w);
}

/* ---- 14: rows that are true at every step ---- */

static void rows_are_true(struct actor *b)
{
	struct meta_reader *rd = meta_reader_get(b->side.meta);
	struct meta_iter it = {0};
	struct meta_extent e;
	struct meta_node row;

	must(meta_iter_extents_since(rd, 0, 0, 0, &it));
	while (must(meta_next_extent(&it, &e)) > 0) {
		must(meta_node_get(rd, e.node, &row));
		cr_assert_leq(e.seq, row.seq,
			      "node %" PRIu64 " is numbered below its extents",
			      e.node);
	}
	meta_iter_done(&it);
	meta_reader_put(rd);
}

Test(resync_lap_ahead, a_node_is_never_below_its_extents)
{
	for (unsigned int step = 0;; step++) {
		struct cutter cutter = {.left = step};
		struct resync_counts n;
		struct world w;
		uint64_t from = start(&w);
		uint64_t file;
		int r;

		history_begin(&w.a);
		file = child(&w.a, META_ROOT_ID, "file");
		op_write(&w.a, file, 9000, 100, 3);
		op_write(&w.a, file, 20000, 100, 3);
		history_end(&w.a);
		armed(&w.b, file, META_INTENT_DATA, 4 * META_BLOCK,
		      6 * META_BLOCK);
		r = lap_as(&w, from, (struct lap_how){.cutter = &cutter}, &n);
		rows_are_true(&w.b);
		if (r < 0)
			last(&w, from);
		world_done(&w);
		if (r == 0)
			break;
	}
}

/* A row that a crash left too high becomes the source's. */
Test(resync_lap_ahead, rows_go_down)
{
	struct world w;
	uint64_t from = start(&w);
	uint64_t file = lookup(&w.b, META_ROOT_ID, "file");

	must(meta_begin(w.b.side.meta));
	must(meta_node_raise(w.b.side.meta, file, from + 500, from + 500));
	put_intent(&w.b, file, META_INTENT_ATTR, 0, 0);
	must(meta_commit(w.b.side.meta));
	history_begin(&w.a);
	op_write(&w.a, file, 0, 10, 5);
	history_end(&w.a);
	last(&w, from);
	world_done(&w);
}

/* ---- what is left behind the end ---- */

/* The source grows by a hole when the lap has copied its last block. */
static void grow(struct world *w, const struct resync_progress *p)
{
	int fd;

	if (strcmp(p->phase, "data") || !p->counts.bytes_copied || w->hooked)
		return;
	w->hooked = true;
	fd = must(store_openat(w->a.side.store, store_root_fd(w->a.side.store),
			       "file", O_RDWR));
	must(store_truncate(w->a.side.store, fd, 3 * META_BLOCK));
	close_fd(&fd);
}

Test(resync_lap_ahead, nothing_is_left_behind_the_end)
{
	struct lap_how how = {.more = true, .phase = grow};
	struct world w;
	uint64_t from = start(&w);
	uint64_t file;

	history_begin(&w.a);
	file = child(&w.a, META_ROOT_ID, "file");
	op_truncate(&w.a, file, 10000);
	history_end(&w.a);
	armed(&w.a, file, META_INTENT_ATTR, 0, 0);
	must(lap_as(&w, from, how, &(struct resync_counts){0}));
	cr_assert(w.hooked);
	disarmed(&w.a);
	from = w.a.seq;
	history_begin(&w.a);
	w.a.seq++;
	must(meta_node_raise(w.a.side.meta, file, w.a.seq, w.a.seq));
	history_end(&w.a);
	last(&w, from);
	world_done(&w);
}

/* The map that the lap reads has blocks which were cut off since. */
Test(resync_lap_ahead, what_was_cut_off_has_no_room)
{
	struct lap_how how = {.more = true};
	struct world w;
	uint64_t from = start(&w);
	struct stat st;
	uint64_t file;
	int fd;

	history_begin(&w.a);
	file = op_make(&w.a, META_ROOT_ID, "new", META_FILE);
	op_write(&w.a, file, 0, 40000, 5);
	history_end(&w.a);
	armed(&w.a, file, META_INTENT_ATTR, 0, 0);
	fd = open_file(&w.a, file);
	must(store_truncate(w.a.side.store, fd, 100));
	close_fd(&fd);
	must(lap_as(&w, from, how, &(struct resync_counts){0}));
	fd = open_file(&w.b, file);
	cr_assert_eq(fstat(fd, &st), 0);
	cr_expect_leq(st.st_blocks * 512, META_BLOCK);
	close_fd(&fd);
	world_done(&w);
}
