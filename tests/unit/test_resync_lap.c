/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One lap between two unmounted stores.
 */
#include <sys/wait.h>

#include "fs/store/internal.h"
#include "tests/unit/lap_run.h"

/* A small tree on both sides; returns the number it ends with. */
static uint64_t start(struct world *w)
{
	struct actor *a = &w->a;
	uint64_t dir, sub, file;

	world_init(w);
	history_begin(a);
	dir = op_make(a, META_ROOT_ID, "dir", META_DIR);
	sub = op_make(a, dir, "sub", META_DIR);
	for (unsigned int i = 0; i < 20; i++) {
		char name[8];

		snprintf(name, sizeof(name), "f%u", i);
		file = op_make(a, sub, name, META_FILE);
		op_write(a, file, 0, 5000 + i, i);
	}
	file = op_make(a, META_ROOT_ID, "file", META_FILE);
	op_write(a, file, 0, 40000, 7);
	op_make(a, META_ROOT_ID, "empty", META_FILE);
	op_make(a, dir, "link", META_SYMLINK);
	op_make(a, dir, "pipe", META_FIFO);
	op_mode(a, dir, 0750);
	history_end(a);
	must(lap_as(w, 0, (struct lap_how){0}, &(struct resync_counts){0}));
	return a->seq;
}

/* ---- names ---- */

Test(resync_lap, first_copy_is_whole)
{
	struct resync_counts n;
	struct world w;

	start(&w);
	world_equal(&w);
	n = lap(&w, w.a.seq);
	cr_assert_eq(n.nodes, 0);
	cr_assert_eq(n.bytes_copied, 0);
	world_done(&w);
}

Test(resync_lap, a_moved_tree_costs_one_rename)
{
	struct resync_counts n;
	struct world w;
	uint64_t from = start(&w);

	history_begin(&w.a);
	must(op_rename(&w.a, META_ROOT_ID, "dir", META_ROOT_ID, "moved"));
	history_end(&w.a);
	n = lap(&w, from);
	cr_assert_eq(n.entries_renamed, 1);
	cr_assert_eq(n.entries_created, 0);
	cr_assert_eq(n.entries_removed, 0);
	cr_assert_eq(n.bytes_copied, 0);
	world_done(&w);
}

Test(resync_lap, swapped_names)
{
	struct resync_counts n;
	struct world w;
	uint64_t from = start(&w);

	history_begin(&w.a);
	must(op_rename(&w.a, META_ROOT_ID, "file", META_ROOT_ID, "t"));
	must(op_rename(&w.a, META_ROOT_ID, "dir", META_ROOT_ID, "file"));
	must(op_rename(&w.a, META_ROOT_ID, "t", META_ROOT_ID, "dir"));
	history_end(&w.a);
	n = lap(&w, from);
	cr_assert_eq(n.entries_renamed, 2);
	cr_assert_eq(n.bytes_copied, 0);
	world_done(&w);
}

Test(resync_lap, a_directory_and_the_one_in_it_change_places)
{
	struct resync_counts n;
	struct world w;
	uint64_t from = start(&w);
	uint64_t dir, sub;

	history_begin(&w.a);
	dir = child(&w.a, META_ROOT_ID, "dir");
	sub = child(&w.a, dir, "sub");
	must(op_rename(&w.a, dir, "sub", META_ROOT_ID, "sub"));
	must(op_rename(&w.a, META_ROOT_ID, "dir", sub, "dir"));
	history_end(&w.a);
	n = lap(&w, from);
	cr_assert_eq(n.entries_renamed, 2);
	cr_assert_eq(n.entries_created, 0);
	world_done(&w);
}

Test(resync_lap, a_name_taken_by_another_kind)
{
	struct world w;
	uint64_t from = start(&w);
	uint64_t dir;

	history_begin(&w.a);
	dir = child(&w.a, META_ROOT_ID, "dir");
	must(op_remove(&w.a, dir, "link"));
	op_make(&w.a, dir, "link", META_DIR);
	must(op_remove(&w.a, dir, "pipe"));
	op_write(&w.a, op_make(&w.a, dir, "pipe", META_FILE), 0, 10, 1);
	must(op_remove(&w.a, META_ROOT_ID, "empty"));
	op_make(&w.a, META_ROOT_ID, "empty", META_SYMLINK);
	history_end(&w.a);
	lap(&w, from);
	world_done(&w);
}

Test(resync_lap, links_made_and_removed)
{
	struct resync_counts n;
	struct world w;
	uint64_t from = start(&w);
	uint64_t dir;

	history_begin(&w.a);
	dir = child(&w.a, META_ROOT_ID, "dir");
	op_link(&w.a, META_ROOT_ID, "file", dir, "second");
	op_link(&w.a, META_ROOT_ID, "file", dir, "third");
	history_end(&w.a);
	n = lap(&w, from);
	cr_assert_eq(n.entries_created, 2);
	cr_assert_eq(n.bytes_copied, 0);

	from = w.a.seq;
	history_begin(&w.a);
	must(op_remove(&w.a, META_ROOT_ID, "file"));
	must(op_remove(&w.a, dir, "third"));
	must(op_rename(&w.a, dir, "second", META_ROOT_ID, "other"));
	history_end(&w.a);
	n = lap(&w, from);
	cr_assert_eq(n.bytes_copied, 0);
	world_done(&w);
}

Test(resync_lap, saved_out_of_a_removed_tree)
{
	struct resync_counts n;
	struct world w;
	uint64_t from = start(&w);
	uint64_t dir, sub;

	history_begin(&w.a);
	dir = child(&w.a, META_ROOT_ID, "dir");
	sub = child(&w.a, dir, "sub");
	must(op_rename(&w.a, sub, "f3", META_ROOT_ID, "saved"));
	for (unsigned int i = 0; i < 20; i++) {
		char name[8];

		snprintf(name, sizeof(name), "f%u", i);
		if (i != 3)
			must(op_remove(&w.a, sub, name));
	}
	must(op_remove(&w.a, dir, "sub"));
	must(op_remove(&w.a, dir, "link"));
	must(op_remove(&w.a, dir, "pipe"));
	must(op_remove(&w.a, META_ROOT_ID, "dir"));
	history_end(&w.a);
	n = lap(&w, from);
	cr_assert_eq(n.entries_renamed, 1);
	cr_assert_eq(n.entries_removed, 19 + 4);
	cr_assert_eq(n.bytes_copied, 0);
	world_done(&w);
}

Test(resync_lap, a_replaced_file)
{
	struct resync_counts n;
	struct world w;
	uint64_t from = start(&w);

	history_begin(&w.a);
	op_write(&w.a, op_make(&w.a, META_ROOT_ID, "new", META_FILE), 0, 9000,
		 5);
	must(op_rename(&w.a, META_ROOT_ID, "new", META_ROOT_ID, "file"));
	history_end(&w.a);
	n = lap(&w, from);
	cr_assert_eq(n.bytes_copied, 3 * META_BLOCK);
	cr_assert_eq(n.entries_removed, 1);
	world_done(&w);
}

/* ---- data ---- */

Test(resync_lap, only_changed_blocks_are_copied)
{
	struct resync_counts n;
	struct world w;
	uint64_t from = start(&w);

	history_begin(&w.a);
	op_write(&w.a, child(&w.a, META_ROOT_ID, "file"), 9000, 100, 3);
	history_end(&w.a);
	n = lap(&w, from);
	cr_assert_eq(n.bytes_copied, META_BLOCK);
	cr_assert_eq(n.nodes, 1);
	world_done(&w);
}

/* Behind the horizon rows were merged under the higher number. */
Test(resync_lap, what_was_merged_is_compared)
{
	struct resync_counts n;
	struct world w;
	uint64_t from = start(&w);
	uint64_t file;

	history_begin(&w.a);
	file = child(&w.a, META_ROOT_ID, "file");
	op_write(&w.a, file, 9000, 100, 3);
	op_write(&w.a, file, 60000, 100, 3);
	must(meta_number_set(w.a.side.meta, META_NUM_HORIZON, w.a.seq));
	must(meta_extent_set(w.a.side.meta, file, 2 * META_BLOCK,
			     3 * META_BLOCK, w.a.seq - 1));
	history_end(&w.a);
	n = lap(&w, from);
	cr_assert_eq(n.bytes_compared, 10 * META_BLOCK);
	cr_assert_eq(n.bytes_copied, 2 * META_BLOCK);
	world_done(&w);
}

Test(resync_lap, holes_cost_nothing)
{
	struct resync_counts n;
	struct world w;
	uint64_t from = start(&w);

	history_begin(&w.a);
	op_punch(&w.a, child(&w.a, META_ROOT_ID, "file"), META_BLOCK,
		 4 * META_BLOCK);
	history_end(&w.a);
	n = lap(&w, from);
	cr_assert_eq(n.bytes_copied, 0);
	cr_assert_eq(n.bytes_unmapped, 3 * META_BLOCK);
	world_done(&w);
}

Test(resync_lap, shorter_and_longer)
{
	struct world w;
	uint64_t from = start(&w);
	uint64_t file;

	history_begin(&w.a);
	file = child(&w.a, META_ROOT_ID, "file");
	op_truncate(&w.a, file, 10000);
	op_truncate(&w.a, child(&w.a, META_ROOT_ID, "empty"), 1 << 20);
	history_end(&w.a);
	lap(&w, from);
	from = w.a.seq;
	history_begin(&w.a);
	op_truncate(&w.a, file, 1 << 30);
	op_write(&w.a, file, 700 << 20, 5000, 9);
	history_end(&w.a);
	lap(&w, from);
	world_done(&w);
}

/* Large blocks: what is reserved behind the end may be seen from within. */
Test(resync_lap, the_end_lies_in_a_hole_before_what_is_reserved)
{
	struct resync_counts n;
	struct world w;
	uint64_t from = start(&w);
	uint64_t file;
	int fd;

	history_begin(&w.a);
	file = child(&w.a, META_ROOT_ID, "empty");
	op_truncate(&w.a, file, 10000);
	history_end(&w.a);
	lap(&w, from);
	from = w.a.seq;
	fd = must(store_openat(w.b.side.store, store_root_fd(w.b.side.store),
			       "empty", O_RDWR));
	must(fallocate(fd, FALLOC_FL_KEEP_SIZE, 3 * META_BLOCK, META_BLOCK));
	close_fd(&fd);
	w.b.side.store->caps.block_size = 16 * META_BLOCK;
	history_begin(&w.a);
	op_write(&w.a, file, 700 << 20, 5000, 9);
	history_end(&w.a);
	must(lap_as(&w, from, (struct lap_how){0}, &n));
	cr_assert_eq(n.bytes_copied, 2 * META_BLOCK);
	world_done(&w);
}

/* As xfs reserves it unasked: no zeros are written there, which would be data. */
Test(resync_lap, the_end_lies_in_what_is_reserved)
{
	struct resync_counts n;
	struct world w;
	uint64_t from = start(&w), file;
	int fd;

	history_begin(&w.a);
	file = child(&w.a, META_ROOT_ID, "empty");
	op_truncate(&w.a, file, 10000);
	history_end(&w.a);
	lap(&w, from);
	from = w.a.seq;
	fd = must(store_openat(w.b.side.store, store_root_fd(w.b.side.store),
			       "empty", O_RDWR));
	must(fallocate(fd, FALLOC_FL_KEEP_SIZE, 2 * META_BLOCK, META_BLOCK));
	history_begin(&w.a);
	op_write(&w.a, file, 700 << 20, 5000, 9);
	history_end(&w.a);
	must(lap_as(&w, from, (struct lap_how){0}, &n));
	must(fsync(fd));
	cr_expect_eq(store_is_reserved(w.b.side.store, fd, 2 * META_BLOCK), 1);
	cr_expect_eq(store_is_reserved(w.b.side.store, fd, 700 << 20), 0);
	close_fd(&fd);
	world_done(&w);
}

Test(resync_lap, a_file_of_several_batches)
{
	struct resync_counts n;
	struct world w;
	uint64_t from = start(&w);
	uint64_t file;

	history_begin(&w.a);
	file = op_make(&w.a, META_ROOT_ID, "large", META_FILE);
	for (unsigned int i = 0; i < 5; i++)
		op_write(&w.a, file, (uint64_t)i * (40 << 20), 30 << 20, i);
	history_end(&w.a);
	n = lap(&w, from);
	cr_assert_eq(n.bytes_copied, 5 * (30 << 20));
	world_done(&w);
}

/* ---- doubt ---- */

Test(resync_lap, ranges_in_doubt_are_compared)
{
	struct resync_counts n;
	struct world w;
	uint64_t from = start(&w);
	uint64_t file;
	int fd;

	must(meta_begin(w.b.side.meta));
	file = child(&w.b, META_ROOT_ID, "file");
	put_intent(&w.b, file, META_INTENT_DATA, META_BLOCK, 32 * META_BLOCK);
	fd = node_fd(&w.b, file, O_RDWR);
	must(store_write(w.b.side.store, fd, "changed", 7, 5000, NULL));
	must(store_write(w.b.side.store, fd, "beyond", 6, 90000, NULL));
	must(store_punch(w.b.side.store, fd, 3 * META_BLOCK, META_BLOCK, NULL));
	close_fd(&fd);
	must(meta_commit(w.b.side.meta));
	n = lap(&w, from);
	cr_assert_eq(n.bytes_copied, 2 * META_BLOCK);
	cr_assert_eq(n.bytes_compared, 8 * META_BLOCK);
	cr_assert_gt(n.bytes_unmapped, 0);
	world_done(&w);
}

/* Nothing of what was in doubt is there any more: all of it is to be copied. */
Test(resync_lap, a_lost_file_in_doubt_is_copied_whole)
{
	const uint64_t size = 20 << 20; /* filled by batches of its own */
	struct resync_counts n;
	struct world w;
	uint64_t from = start(&w);
	uint64_t file;
	_cleanup_close_ int root = -1;

	history_begin(&w.a);
	file = op_make(&w.a, META_ROOT_ID, "large", META_FILE);
	op_write(&w.a, file, 0, size, 1);
	history_end(&w.a);
	lap(&w, from);
	must(meta_begin(w.b.side.meta));
	root = dir_fd(&w.b, META_ROOT_ID);
	put_intent(&w.b, file, META_INTENT_DATA, 0, META_RANGE_MAX);
	must(meta_commit(w.b.side.meta));
	must(store_unlink(w.b.side.store, root, "large"));
	must(lap_as(&w, w.a.seq, (struct lap_how){0}, &n));
	world_equal(&w);
	cr_assert_eq(n.bytes_copied, size);
	world_done(&w);
}

/* Of the block's row the target's map has the number, of its doubt an intent. */
static bool in_doubt(struct actor *a, uint64_t node, uint64_t off)
{
	struct meta_reader *rd = meta_reader_get(a->side.meta);
	struct meta_intent in;
	struct meta_iter it;
	bool found = false;

	must(meta_iter_intents(rd, &it));
	while (must(meta_next_intent(&it, &in)) > 0)
		found |= in.node == node && in.kind == META_INTENT_DATA &&
			 in.start <= off && off < in.end;
	meta_iter_done(&it);
	meta_reader_put(rd);
	return found;
}

Test(resync_lap, what_no_store_can_read_stays_in_doubt)
{
	struct resync_counts n;
	struct world w;
	uint64_t from = start(&w);
	uint64_t file, made;

	history_begin(&w.a);
	file = child(&w.a, META_ROOT_ID, "file");
	op_write(&w.a, file, 9000, 100, 3);
	made = op_make(&w.a, META_ROOT_ID, "made", META_FILE);
	op_write(&w.a, made, 0, 5000, 4);
	op_mode(&w.a, child(&w.a, META_ROOT_ID, "dir"), 0700);
	history_end(&w.a);
	store_fail_inject(w.a.side.store, "store.read", EIO);
	cr_assert_eq(lap_as(&w, from, (struct lap_how){0}, &n), -EREMOTEIO);
	cr_assert_eq(n.bytes_unreadable, 3 * META_BLOCK);
	/* A forecast reads what is in doubt, and is one all the same. */
	must(lap_as(&w, from, (struct lap_how){.dry = true}, &n));
	cr_assert_eq(n.bytes_unreadable, 3 * META_BLOCK);
	store_fail_inject(w.a.side.store, "store.read", 0);
	cr_expect(in_doubt(&w.b, file, 2 * META_BLOCK));
	cr_expect(in_doubt(&w.b, made, 0));
	cr_expect(in_doubt(&w.b, made, META_BLOCK));
	n = lap(&w, from);
	cr_assert_eq(n.bytes_unreadable, 0);
	world_done(&w);
}

/* A store that says "stale" of an open file has not lost its name. */
Test(resync_lap, a_source_that_is_stale_is_not_passed_over)
{
	struct resync_counts n;
	struct world w;
	uint64_t from = start(&w);

	history_begin(&w.a);
	op_write(&w.a, child(&w.a, META_ROOT_ID, "file"), 9000, 100, 3);
	history_end(&w.a);
	store_fail_inject(w.a.side.store, "store.read", ESTALE);
	cr_assert_eq(lap_as(&w, from, (struct lap_how){0}, &n), -ESTALE);
	store_fail_inject(w.a.side.store, "store.read", 0);
	lap(&w, from);
	world_done(&w);
}

Test(resync_lap, directories_in_doubt_are_listed)
{
	struct world w;
	uint64_t from = start(&w);
	uint64_t dir, sub;
	_cleanup_close_ int root = -1;
	_cleanup_close_ int in_dir = -1;
	_cleanup_close_ int in_sub = -1;
	_cleanup_close_ int made = -1;
	struct store *s = w.b.side.store;

	must(meta_begin(w.b.side.meta));
	dir = child(&w.b, META_ROOT_ID, "dir");
	sub = child(&w.b, dir, "sub");
	root = dir_fd(&w.b, META_ROOT_ID);
	in_dir = dir_fd(&w.b, dir);
	in_sub = dir_fd(&w.b, sub);
	put_intent(&w.b, META_ROOT_ID, META_INTENT_NAME, 0, 0);
	put_intent(&w.b, dir, META_INTENT_NAME, 0, 0);
	put_intent(&w.b, sub, META_INTENT_NAME, 0, 0);
	put_intent(&w.b, dir, META_INTENT_ATTR, 0, 0);
	must(meta_commit(w.b.side.meta));
	/* What no row knows of: a new directory with an old file in it, a
	 * moved directory, a lost name. */
	must(store_mkdir(s, root, "born", 0700, NULL));
	made = must(store_openat(s, root, "born", O_RDONLY | O_DIRECTORY));
	must(store_rename(s, root, "file", made, "in", 0));
	must(store_rename(s, in_dir, "sub", root, "empty2", 0));
	must(store_unlink(s, in_sub, "f5"));
	must(store_rename(s, in_sub, "f6", in_sub, "f5", 0));
	must(store_chmod(s, (struct store_obj){in_dir}, 0711));
	lap(&w, from);
	cr_assert_eq(found_count(&w.b), 0);
	world_done(&w);
}

Test(resync_lap, foreign_objects_are_kept)
{
	struct resync_counts n;
	struct world w;
	uint64_t from = start(&w);
	uint64_t dir, sub;
	_cleanup_close_ int root = -1;
	_cleanup_close_ int in_sub = -1;
	struct store *s = w.b.side.store;
	int fd;

	history_begin(&w.a);
	dir = child(&w.a, META_ROOT_ID, "dir");
	sub = child(&w.a, dir, "sub");
	op_write(&w.a, op_make(&w.a, META_ROOT_ID, "taken", META_FILE), 0, 100,
		 1);
	op_write(&w.a, child(&w.a, META_ROOT_ID, "file"), 0, 100, 1);
	for (unsigned int i = 0; i < 20; i++) {
		char name[8];

		snprintf(name, sizeof(name), "f%u", i);
		must(op_remove(&w.a, sub, name));
	}
	must(op_remove(&w.a, dir, "sub"));
	history_end(&w.a);
	/* Somebody was here: a name that is needed, one below what goes, and
	 * one that was replaced. */
	must(meta_begin(w.b.side.meta));
	root = dir_fd(&w.b, META_ROOT_ID);
	in_sub = dir_fd(&w.b,
			child(&w.b, child(&w.b, META_ROOT_ID, "dir"), "sub"));
	must(meta_commit(w.b.side.meta));
	fd = must(store_create(s, root, "taken", 0600, NULL));
	close_fd(&fd);
	fd = must(store_create(s, in_sub, "mine", 0600, NULL));
	close_fd(&fd);
	fd = must(store_create(s, root, "x", 0600, NULL));
	close_fd(&fd);
	must(store_rename(s, root, "x", root, "file", 0));
	n = lap(&w, from);
	cr_assert_eq(n.found, 3);
	cr_assert_eq(found_count(&w.b), 3);
	world_done(&w);
}

Test(resync_lap, a_lost_directory_is_made_anew)
{
	struct world w;
	uint64_t from = start(&w);
	_cleanup_close_ int root = -1;
	uint64_t sub;

	history_begin(&w.a);
	sub = child(&w.a, child(&w.a, META_ROOT_ID, "dir"), "sub");
	op_write(&w.a, child(&w.a, sub, "f7"), 0, 10, 2);
	history_end(&w.a);
	must(meta_begin(w.b.side.meta));
	root = dir_fd(&w.b, META_ROOT_ID);
	must(meta_commit(w.b.side.meta));
	must(store_rename(w.b.side.store, root, "dir",
			  store_found_fd(w.b.side.store), "taken-away", 0));
	must(lap_as(&w, from, (struct lap_how){0}, &(struct resync_counts){0}));
	/* Only what changed can be missed. */
	must(lap_as(&w, 0, (struct lap_how){0}, &(struct resync_counts){0}));
	world_equal(&w);
	world_done(&w);
}

/* ---- copies ---- */

static void copy_tree(const char *from, const char *to)
{
	int status;
	pid_t pid = fork();

	cr_assert_geq(pid, 0);
	if (pid == 0) {
		(void)execlp("cp", "cp", "-a", from, to, (char *)NULL);
		_exit(127);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert_eq(status, 0);
}

Test(resync_lap, a_copied_store_is_found_anew)
{
	struct resync_counts n;
	struct world w;
	uint64_t from = start(&w);
	char copy[128];

	history_begin(&w.a);
	op_write(&w.a, child(&w.a, META_ROOT_ID, "file"), 0, 100, 1);
	must(op_rename(&w.a, META_ROOT_ID, "dir", META_ROOT_ID, "moved"));
	history_end(&w.a);
	actor_close(&w.b);
	snprintf(copy, sizeof(copy), "%s/c", w.dir);
	copy_tree(w.b.path, copy);
	snprintf(w.b.path, sizeof(w.b.path), "%s", copy);
	actor_open(&w.b);
	n = lap(&w, from);
	cr_assert_eq(n.bytes_copied, META_BLOCK);
	cr_assert_eq(n.entries_renamed, 1);
	cr_assert_eq(n.found, 0);
	world_done(&w);
}

static void copy_target(struct world *w)
{
	char copy[128];

	actor_close(&w->b);
	snprintf(copy, sizeof(copy), "%s/c", w->dir);
	copy_tree(w->b.path, copy);
	snprintf(w->b.path, sizeof(w->b.path), "%s", copy);
	actor_open(&w->b);
}

/* A copy of a store that was not left cleanly: names in doubt may lead to other
 * files than its map says, and nothing but the path could tell. */
static void names_lead_elsewhere(bool dry)
{
	struct store *s;
	struct world w;
	uint64_t from = start(&w);
	uint64_t dir, sub;
	_cleanup_close_ int in_sub = -1;
	_cleanup_close_ int in_dir = -1;

	s = w.b.side.store;
	must(meta_begin(w.b.side.meta));
	dir = child(&w.b, META_ROOT_ID, "dir");
	sub = child(&w.b, dir, "sub");
	in_dir = dir_fd(&w.b, dir);
	in_sub = dir_fd(&w.b, sub);
	put_intent(&w.b, sub, META_INTENT_NAME, 0, 0);
	must(meta_commit(w.b.side.meta));
	/* Of one size and kind: nothing else is in doubt. */
	must(store_rename(s, in_sub, "f6", in_dir, "t", 0));
	must(store_rename(s, in_sub, "f5", in_sub, "f6", 0));
	must(store_rename(s, in_dir, "t", in_sub, "f5", 0));
	copy_target(&w);
	history_begin(&w.a);
	op_mode(&w.a, dir, 0711);
	history_end(&w.a);
	if (dry)
		must(lap_as(&w, from, (struct lap_how){.dry = true},
			    &(struct resync_counts){0}));
	must(lap_as(&w, from, (struct lap_how){0}, &(struct resync_counts){0}));
	world_equal(&w);
	world_done(&w);
}

Test(resync_lap, names_in_doubt_prove_nothing_in_a_copy)
{
	names_lead_elsewhere(false);
	names_lead_elsewhere(true);
}

/* ---- cuts ---- */

Test(resync_lap, a_cut_lap_repeats_one_batch_at_most)
{
	struct resync_counts whole;
	struct world w;
	uint64_t from = start(&w);
	uint64_t file, bytes;

	history_begin(&w.a);
	file = op_make(&w.a, META_ROOT_ID, "large", META_FILE);
	for (unsigned int i = 0; i < 20; i++)
		op_write(&w.a, file, (uint64_t)i * (10 << 20), 10 << 20, i);
	history_end(&w.a);
	must(lap_as(&w, from, (struct lap_how){.dry = true}, &whole));
	for (unsigned int cuts = 0;; cuts++) {
		struct cutter cutter = {.left = 150};
		struct resync_counts n;
		int r = lap_as(&w, from, (struct lap_how){.cutter = &cutter},
			       &n);

		bytes = (cuts ? bytes : 0) + n.bytes_copied;
		cr_assert_leq(bytes,
			      whole.bytes_copied + (cuts + 1) * (64ull << 20));
		if (r == 0)
			break;
		cr_assert_lt(cuts, 20);
	}
	world_equal(&w);
	world_done(&w);
}
