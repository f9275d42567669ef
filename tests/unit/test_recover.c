/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Recovery: files are changed behind intents, as a crash would leave them;
 * afterwards the map must say what the files say, under fresh numbers where
 * an intent lay and under the old ones elsewhere.
 */
#include "base/fault.h"
#include "tests/unit/volume_fixture.h"

struct world {
	struct fixture f;
	struct resync_side a;
	uint64_t durable; /* before */
	uint64_t bytes;
};

static void world_init(struct world *w, void (*fill)(const char *store))
{
	fixture_init(&w->f, 1);
	fill(w->f.path[0]);
	fixture_volume(&w->f);
	fixture_open(&w->a, w->f.path[0]);
	w->durable = number_of(&w->a, META_NUM_DURABLE_SEQ);
}

static void world_done(struct world *w)
{
	fixture_close(&w->a);
	fixture_done(&w->f);
}

static size_t epoch_count(struct resync_side *side, struct meta_epoch *ret_tip)
{
	struct meta_reader *rd = meta_reader_get(side->meta);
	struct meta_epoch *v;
	size_t count;

	must(meta_epochs(rd, &v, &count));
	cr_assert_gt(count, 0);
	*ret_tip = v[count - 1];
	free(v);
	meta_reader_put(rd);
	return count;
}

static uint64_t intent_count(struct resync_side *side)
{
	struct meta_reader *rd = meta_reader_get(side->meta);
	uint64_t n;

	must(meta_intent_count(rd, &n));
	meta_reader_put(rd);
	return n;
}

/* Recover, check what every recovery must give, and that another does
 * nothing. */
static void recover(struct world *w)
{
	struct meta_epoch tip;
	size_t before = epoch_count(&w->a, &tip);
	uint64_t durable;

	w->bytes = 0;
	must(resync_recover(&w->a, NULL, 0, &w->bytes));
	check_map(&w->a);
	durable = number_of(&w->a, META_NUM_DURABLE_SEQ);
	cr_expect_gt(durable, w->durable);
	cr_expect_geq(number_of(&w->a, META_NUM_SEQ_RESERVED), durable);
	cr_expect_eq(intent_count(&w->a), 0);
	cr_expect_eq(epoch_count(&w->a, &tip), before + 1);
	cr_expect_eq(tip.base, w->durable);
	cr_expect_gt(tip.first_seq, w->durable);
	cr_expect_leq(tip.first_seq, durable);
	cr_expect_eq(tip.member_count, 1);
	cr_expect_str_eq(tip.members[0], meta_store_uuid(w->a.meta));
	cr_expect(tip.confirmed);

	must(resync_recover(&w->a, NULL, 0, &w->bytes));
	cr_expect_eq(epoch_count(&w->a, &tip), before + 1);
	cr_expect_eq(number_of(&w->a, META_NUM_DURABLE_SEQ), durable);
}

static bool is_fresh(const struct world *w, uint64_t seq)
{
	return seq > w->durable;
}

/* The seq of the extent at @at, 0 for a hole. */
static uint64_t extent_seq(struct world *w, const char *path, uint64_t at)
{
	struct meta_reader *rd = meta_reader_get(w->a.meta);
	struct meta_extent e = {0};
	struct meta_iter it;
	int found;

	must(meta_iter_extents(rd, node_of(&w->a, path), at, at + META_BLOCK,
			       &it));
	found = meta_next_extent(&it, &e);
	meta_iter_done(&it);
	meta_reader_put(rd);
	must(found);
	return found ? e.seq : 0;
}

/* ---- data and attributes ---- */

static void fill_files(const char *store)
{
	put_file(store, "one", 0, 20 * META_BLOCK);
	put_file(store, "two", 0, 3 * META_BLOCK);
	put_dir(store, "dir");
	put_file(store, "dir/three", 0, 100);
}

Test(recover, nothing_in_doubt)
{
	struct world w;
	struct meta_epoch tip;

	world_init(&w, fill_files);
	must(resync_recover(&w.a, NULL, 0, &w.bytes));
	cr_expect_eq(epoch_count(&w.a, &tip), 1);
	cr_expect_eq(number_of(&w.a, META_NUM_DURABLE_SEQ), w.durable);
	world_done(&w);
}

static void punch(struct world *w, const char *name, off_t off, off_t len)
{
	char path[FIXTURE_PATH];
	int fd;

	path_of(path, w->f.path[0], name);
	fd = open(path, O_RDWR | O_CLOEXEC);
	must(fd);
	must(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off,
		       len));
	must(close(fd));
}

#ifdef SEQMIRROR_FAULT_INJECTION

static void recover_without_room(const char *fault)
{
	char path[FIXTURE_PATH];
	struct stat st;
	struct world w;

	world_init(&w, fill_files);
	must(meta_ballast_ensure(w.a.meta));
	path_of(path, w.f.path[0], ".seqmirror/ballast");
	must(stat(path, &st));
	cr_assert_gt(st.st_blocks, 0);
	arm(&w.a, node_of(&w.a, "one"), META_INTENT_DATA, 0, META_BLOCK);
	must(fault_configure(fault));
	must(resync_recover(&w.a, NULL, 0, &w.bytes));
	must(fault_configure(NULL));
	check_map(&w.a);
	cr_expect_eq(w.bytes, META_BLOCK, "%llu", (unsigned long long)w.bytes);
	cr_expect_eq(intent_count(&w.a), 0);
	cr_expect(is_fresh(&w, extent_seq(&w, "one", 0)));
	cr_expect(!is_fresh(&w, extent_seq(&w, "one", META_BLOCK)));
	must(stat(path, &st));
	cr_expect_eq(st.st_blocks, 0);
	world_done(&w);
}

/* For the epoch, and for the numbers. */
Test(recover, no_room_gives_up_the_ballast)
{
	recover_without_room("meta.begin:enospc:1");
	recover_without_room("meta.begin:enospc:2");
}

#endif

Test(recover, written_and_punched)
{
	struct world w;
	uint64_t two;

	world_init(&w, fill_files);
	two = row_of(&w.a, "two").seq;
	arm(&w.a, node_of(&w.a, "one"), META_INTENT_DATA, 4 * META_BLOCK,
	    8 * META_BLOCK);
	arm(&w.a, node_of(&w.a, "one"), META_INTENT_DATA, 6 * META_BLOCK,
	    10 * META_BLOCK);
	put_file(w.f.path[0], "one", 4 * META_BLOCK, META_BLOCK);
	punch(&w, "one", 7 * META_BLOCK, 2 * META_BLOCK);
	recover(&w);
	cr_expect_not(is_fresh(&w, extent_seq(&w, "one", 3 * META_BLOCK)));
	cr_expect(is_fresh(&w, extent_seq(&w, "one", 4 * META_BLOCK)));
	cr_expect(is_fresh(&w, extent_seq(&w, "one", 6 * META_BLOCK)));
	cr_expect_eq(extent_seq(&w, "one", 7 * META_BLOCK), 0);
	cr_expect(is_fresh(&w, extent_seq(&w, "one", 9 * META_BLOCK)));
	cr_expect_not(is_fresh(&w, extent_seq(&w, "one", 10 * META_BLOCK)));
	cr_expect(is_fresh(&w, row_of(&w.a, "one").seq));
	cr_expect(is_fresh(&w, row_of(&w.a, "one").attr_seq));
	cr_expect_eq(row_of(&w.a, "two").seq, two);
	world_done(&w);
}

Test(recover, grown_within_a_window)
{
	struct world w;

	world_init(&w, fill_files);
	arm(&w.a, node_of(&w.a, "two"), META_INTENT_DATA, 0, 64 << 20);
	put_file(w.f.path[0], "two", 3 * META_BLOCK, 5000);
	recover(&w);
	cr_expect_eq(w.bytes, 0); /* of the second run, which does nothing */
	cr_expect(is_fresh(&w, extent_seq(&w, "two", 4 * META_BLOCK)));
	world_done(&w);
}

Test(recover, cut_off_behind_the_window)
{
	struct world w;
	char path[FIXTURE_PATH];

	world_init(&w, fill_files);
	arm(&w.a, node_of(&w.a, "one"), META_INTENT_DATA, 4 * META_BLOCK,
	    8 * META_BLOCK);
	path_of(path, w.f.path[0], "one");
	must(truncate(path, 5 * META_BLOCK));
	recover(&w);
	cr_expect_eq(extent_seq(&w, "one", 12 * META_BLOCK), 0);
	world_done(&w);
}

Test(recover, attributes)
{
	struct world w;
	uint64_t seq;

	world_init(&w, fill_files);
	seq = extent_seq(&w, "one", 0);
	arm(&w.a, node_of(&w.a, "one"), META_INTENT_ATTR, 0, 0);
	arm(&w.a, node_of(&w.a, "dir"), META_INTENT_ATTR, 0, 0);
	recover(&w);
	cr_expect(is_fresh(&w, row_of(&w.a, "one").attr_seq));
	cr_expect(is_fresh(&w, row_of(&w.a, "dir").attr_seq));
	cr_expect_not(is_fresh(&w, row_of(&w.a, "two").attr_seq));
	cr_expect_eq(extent_seq(&w, "one", 0), seq);
	world_done(&w);
}

/* ---- names ---- */

static void fill_dirs(const char *store)
{
	put_dir(store, "x");
	put_dir(store, "y");
	put_dir(store, "x/sub");
	put_dir(store, "x/sub/deeper");
	put_file(store, "x/sub/deeper/file", 0, 5000);
	put_file(store, "x/old", 0, 5000);
	put_file(store, "x/stays", 0, 5000);
	put_file(store, "y/other", 0, 5000);
}

static void arm_dir(struct world *w, const char *path)
{
	arm(&w->a, node_of(&w->a, path), META_INTENT_NAME, 0, 0);
}

Test(recover, created_removed_renamed)
{
	struct world w;
	uint64_t stays, other, extent;

	world_init(&w, fill_dirs);
	stays = node_of(&w.a, "x/stays");
	other = row_of(&w.a, "y/other").seq;
	extent = extent_seq(&w, "x/stays", 0);
	arm_dir(&w, "x");
	put_file(w.f.path[0], "x/new", 0, 9000);
	drop_file(w.f.path[0], "x/old");
	move_file(w.f.path[0], "x/stays", "x/renamed");
	recover(&w);
	cr_expect_eq(node_of(&w.a, "x/renamed"), stays);
	cr_expect_eq(extent_seq(&w, "x/renamed", 0), extent);
	cr_expect_eq(node_of(&w.a, "x/stays"), 0);
	cr_expect(is_fresh(&w, entry_of(&w.a, "x/renamed").seq));
	/* Untouched, and yet another store may have it no more. */
	cr_expect(is_fresh(&w, entry_of(&w.a, "x/sub").seq));
	cr_expect_not(is_fresh(&w, row_of(&w.a, "x/sub").seq));
	cr_expect(is_fresh(&w, row_of(&w.a, "x").seq));
	cr_expect(is_fresh(&w, row_of(&w.a, "x").attr_seq));
	cr_expect(is_fresh(&w, extent_seq(&w, "x/new", 4096)));
	cr_expect_eq(row_of(&w.a, "y/other").seq, other);
	world_done(&w);
}

Test(recover, moved_between_directories)
{
	struct world w;
	uint64_t sub, old;

	world_init(&w, fill_dirs);
	sub = node_of(&w.a, "x/sub");
	old = node_of(&w.a, "x/old");
	arm_dir(&w, "x");
	arm_dir(&w, "y");
	arm_dir(&w, "x/sub");
	put_file(w.f.path[0], "x/sub/born", 0, 10);
	move_file(w.f.path[0], "x/sub", "y/sub");
	/* Over another file, which has gone then. */
	move_file(w.f.path[0], "x/old", "y/other");
	recover(&w);
	cr_expect_eq(node_of(&w.a, "y/sub"), sub);
	cr_expect_eq(node_of(&w.a, "y/other"), old);
	cr_expect_gt(node_of(&w.a, "y/sub/born"), 0);
	cr_expect_gt(node_of(&w.a, "y/sub/deeper/file"), 0);
	world_done(&w);
}

static void fill_twins(const char *store)
{
	put_dir(store, "x");
	put_dir(store, "y");
	put_dir(store, "x/in");
	put_dir(store, "y/in");
	put_file(store, "x/file", 0, 5000);
	put_file(store, "y/file", 0, 5000);
}

/* What was in @top goes to @other, and then @top into that. */
static void turn_inside_out(const char *top, const char *other)
{
	char inner[16], moved[16], within[16], file[32];
	uint64_t top_id, inner_id, file_id;
	struct world w;

	world_init(&w, fill_twins);
	snprintf(inner, sizeof(inner), "%s/in", top);
	snprintf(moved, sizeof(moved), "%s/out", other);
	snprintf(within, sizeof(within), "%s/out/top", other);
	snprintf(file, sizeof(file), "%s/file", top);
	top_id = node_of(&w.a, top);
	inner_id = node_of(&w.a, inner);
	file_id = node_of(&w.a, file);
	arm_dir(&w, "");
	arm_dir(&w, top);
	arm_dir(&w, other);
	arm_dir(&w, inner);
	arm(&w.a, file_id, META_INTENT_DATA, 0, 1 << 20);
	move_file(w.f.path[0], inner, moved);
	move_file(w.f.path[0], top, within);
	recover(&w);
	cr_expect_eq(node_of(&w.a, moved), inner_id);
	cr_expect_eq(node_of(&w.a, within), top_id);
	snprintf(file, sizeof(file), "%s/out/top/file", other);
	cr_expect_eq(node_of(&w.a, file), file_id);
	world_done(&w);
}

/* The names of before and after lead in a circle, in one of the orders. */
Test(recover, turned_inside_out)
{
	turn_inside_out("x", "y");
	turn_inside_out("y", "x");
}

Test(recover, exchanged)
{
	struct world w;
	uint64_t x, y, file;

	world_init(&w, fill_dirs);
	x = node_of(&w.a, "x");
	y = node_of(&w.a, "y");
	file = node_of(&w.a, "x/sub/deeper/file");
	arm_dir(&w, "");
	arm_dir(&w, "x");
	arm_dir(&w, "y");
	move_file(w.f.path[0], "x", "t");
	move_file(w.f.path[0], "y", "x");
	move_file(w.f.path[0], "t", "y");
	put_file(w.f.path[0], "y/more", 0, 10);
	recover(&w);
	cr_expect_eq(node_of(&w.a, "x"), y);
	cr_expect_eq(node_of(&w.a, "y"), x);
	cr_expect_eq(node_of(&w.a, "y/sub/deeper/file"), file);
	world_done(&w);
}

Test(recover, new_tree_with_moved_parts)
{
	struct world w;
	uint64_t stays, deeper;

	world_init(&w, fill_dirs);
	stays = node_of(&w.a, "x/stays");
	deeper = node_of(&w.a, "x/sub/deeper");
	arm_dir(&w, "x");
	arm_dir(&w, "x/sub");
	put_dir(w.f.path[0], "x/n");
	put_dir(w.f.path[0], "x/n/m");
	put_file(w.f.path[0], "x/n/m/file", 0, 7000);
	link_file(w.f.path[0], "x/n/m/file", "x/n/link");
	move_file(w.f.path[0], "x/stays", "x/n/m/stays");
	move_file(w.f.path[0], "x/sub/deeper", "x/n/deeper");
	recover(&w);
	cr_expect_eq(node_of(&w.a, "x/n/m/stays"), stays);
	cr_expect_eq(node_of(&w.a, "x/n/deeper"), deeper);
	cr_expect_eq(node_of(&w.a, "x/n/link"), node_of(&w.a, "x/n/m/file"));
	world_done(&w);
}

Test(recover, removed_trees)
{
	struct world w;

	world_init(&w, fill_dirs);
	arm_dir(&w, "x");
	arm_dir(&w, "x/sub");
	arm_dir(&w, "x/sub/deeper");
	drop_file(w.f.path[0], "x/sub/deeper/file");
	drop_file(w.f.path[0], "x/sub/deeper");
	drop_file(w.f.path[0], "x/sub");
	recover(&w);
	cr_expect_eq(node_of(&w.a, "x/sub"), 0);
	world_done(&w);
}

Test(recover, links)
{
	struct world w;
	uint64_t old;

	world_init(&w, fill_dirs);
	old = node_of(&w.a, "x/old");
	arm_dir(&w, "y");
	link_file(w.f.path[0], "x/old", "y/link");
	recover(&w);
	cr_expect_eq(node_of(&w.a, "y/link"), old);
	/* Then its first name goes, and the data stays. */
	w.durable = number_of(&w.a, META_NUM_DURABLE_SEQ);
	arm_dir(&w, "x");
	drop_file(w.f.path[0], "x/old");
	recover(&w);
	cr_expect_eq(node_of(&w.a, "y/link"), old);
	cr_expect_gt(extent_seq(&w, "y/link", 0), 0);
	world_done(&w);
}

Test(recover, another_file_of_the_same_name)
{
	struct world w;
	uint64_t old;

	world_init(&w, fill_dirs);
	old = node_of(&w.a, "x/old");
	arm_dir(&w, "x");
	put_file(w.f.path[0], "x/tmp", 0, 50000);
	move_file(w.f.path[0], "x/tmp", "x/old");
	recover(&w);
	cr_expect_neq(node_of(&w.a, "x/old"), old);
	cr_expect(is_fresh(&w, row_of(&w.a, "x/old").seq));
	world_done(&w);
}

/* Rows that ran ahead of the durable seq were born under the directory's
 * intent: whole, whatever the map says of their blocks. */
Test(recover, rows_ahead)
{
	struct world w;
	struct meta_node row;

	world_init(&w, fill_dirs);
	put_file(w.f.path[0], "x/old", 5 * META_BLOCK, 5000);
	put_file(w.f.path[0], "x/sub/unknown", 0, 10);
	must(meta_begin(w.a.meta));
	row = (struct meta_node){.id = node_of(&w.a, "x/old")};
	must(meta_node_raise(w.a.meta, row.id, w.durable + 5, w.durable + 5));
	must(meta_node_raise(w.a.meta, node_of(&w.a, "x/sub"), w.durable + 6,
			     w.durable + 6));
	must(meta_number_set(w.a.meta, META_NUM_SEQ_RESERVED, w.durable + 100));
	must(meta_commit(w.a.meta));
	arm_dir(&w, "x");
	recover(&w);
	cr_expect_gt(extent_seq(&w, "x/old", 6 * META_BLOCK), w.durable + 100);
	cr_expect_gt(extent_seq(&w, "x/old", 0), w.durable + 100);
	cr_expect_gt(node_of(&w.a, "x/sub/unknown"), 0);
	world_done(&w);
}

/* A directory that ran ahead has lost a part, and the place where that went is
 * listed first: its own listing may not be taken for done. */
Test(recover, rows_ahead_and_a_part_moved_out)
{
	struct world w;
	uint64_t deeper;

	world_init(&w, fill_dirs);
	deeper = node_of(&w.a, "x/sub/deeper");
	put_file(w.f.path[0], "x/sub/unknown", 0, 10);
	move_file(w.f.path[0], "x/sub/deeper", "moved");
	must(meta_begin(w.a.meta));
	must(meta_node_raise(w.a.meta, node_of(&w.a, "x/sub"), w.durable + 5,
			     w.durable + 5));
	must(meta_number_set(w.a.meta, META_NUM_SEQ_RESERVED, w.durable + 100));
	must(meta_commit(w.a.meta));
	arm(&w.a, META_ROOT_ID, META_INTENT_NAME, 0, 0);
	arm_dir(&w, "x");
	recover(&w);
	cr_expect_eq(node_of(&w.a, "moved"), deeper);
	cr_expect_gt(node_of(&w.a, "x/sub/unknown"), 0);
	world_done(&w);
}

/* ---- others ---- */

Test(recover, intents_of_others)
{
	struct world w;
	struct fixture f;
	struct resync_side other;
	struct meta *others[1];
	struct meta_epoch tip;

	world_init(&w, fill_files);
	fixture_init(&f, 1);
	fixture_volume(&f);
	fixture_open(&other, f.path[0]);
	others[0] = other.meta;
	set_number(&other, META_NUM_SEQ_RESERVED, 5000);
	set_number(&other, META_NUM_NODE_RESERVED, 7000);
	/* A resync's own says nothing about the source. */
	must(meta_begin(other.meta));
	must(meta_intent_put(other.meta, &(struct meta_intent){
						 .node = node_of(&w.a, "two"),
						 .kind = META_INTENT_ATTR,
					 }));
	must(meta_commit(other.meta));
	must(resync_recover(&w.a, others, 1, &w.bytes));
	cr_expect_eq(epoch_count(&w.a, &tip), 1);

	arm(&other, node_of(&w.a, "one"), META_INTENT_DATA, 0, META_BLOCK);
	/* Born there alone: nothing here. */
	arm(&other, 999, META_INTENT_DATA, 0, META_BLOCK);
	arm(&other, 998, META_INTENT_NAME, 0, 0);
	must(resync_recover(&w.a, others, 1, &w.bytes));
	check_map(&w.a);
	cr_expect_gt(extent_seq(&w, "one", 0), 5000);
	cr_expect_not(is_fresh(&w, row_of(&w.a, "two").seq));
	cr_expect_geq(number_of(&w.a, META_NUM_NODE_RESERVED), 7000);
	cr_expect_eq(intent_count(&other), 4);
	fixture_close(&other);
	fixture_done(&f);
	world_done(&w);
}

/* What fails leaves the intents, and the next run does all of it. */
Test(recover, cut_and_run_again)
{
	static const char *const calls[] = {
		"store.syncfs",	     "store.list",   "store.statat",
		"store.next_mapped", "store.openat",
	};
	struct world w;

	world_init(&w, fill_dirs);
	arm_dir(&w, "x");
	arm(&w.a, node_of(&w.a, "y/other"), META_INTENT_DATA, 0,
	    8 * META_BLOCK);
	put_file(w.f.path[0], "x/new", 0, 9000);
	put_dir(w.f.path[0], "x/newdir");
	put_file(w.f.path[0], "x/newdir/file", 0, 9000);
	put_file(w.f.path[0], "y/other", 8000, 9000);
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		int err;

		store_fail_inject(w.a.store, calls[i], EIO);
		err = resync_recover(&w.a, NULL, 0, &w.bytes);
		store_fail_inject(w.a.store, calls[i], 0);
		cr_expect_eq(err, -EIO, "%s: %d", calls[i], err);
		cr_expect_eq(intent_count(&w.a), 2);
		cr_expect_eq(number_of(&w.a, META_NUM_DURABLE_SEQ), w.durable);
		/* Whatever was reserved may have been seen. */
		fixture_close(&w.a);
		fixture_open(&w.a, w.f.path[0]);
	}
	recover(&w);
	cr_expect_gt(node_of(&w.a, "x/newdir/file"), 0);
	world_done(&w);
}

Test(recover, limbo_left_over)
{
	struct world w;
	char path[FIXTURE_PATH];

	world_init(&w, fill_dirs);
	must(meta_begin(w.a.meta));
	must(meta_dentry_put(w.a.meta,
			     &(struct meta_dentry){.parent = META_LIMBO_ID,
						   .node = node_of(&w.a, "x"),
						   .seq = 1,
						   .name_len = 2,
						   .name = "17"}));
	cr_assert_eq(meta_dentry_del(w.a.meta, META_ROOT_ID, "x", 1), 1);
	must(meta_commit(w.a.meta));
	move_file(w.f.path[0], "x", ".seqmirror/limbo/17");
	must(resync_recover(&w.a, NULL, 0, &w.bytes));
	check_map(&w.a);
	path_of(path, w.f.path[0], ".seqmirror/found/limbo-17-0/sub/deeper");
	must(access(path, F_OK));
	world_done(&w);
}

/* In a copy that was not left cleanly, paths prove nothing. */
Test(recover, void_identities)
{
	struct world w;
	uint64_t old, other;

	world_init(&w, fill_dirs);
	old = node_of(&w.a, "x/old");
	other = node_of(&w.a, "y/other");
	must(meta_begin(w.a.meta));
	must(meta_backing_forget_all(w.a.meta, 1, 2));
	must(meta_commit(w.a.meta));
	arm_dir(&w, "x");
	arm(&w.a, other, META_INTENT_DATA, 0, META_BLOCK);
	must(resync_recover(&w.a, NULL, 0, &w.bytes));
	cr_expect_neq(node_of(&w.a, "x/old"), old);
	cr_expect(is_fresh(&w, row_of(&w.a, "x/old").seq));
	cr_expect_eq(node_of(&w.a, "y/other"), other);
	cr_expect_neq(row_of(&w.a, "y/other").backing.ino, 0);
	cr_expect(is_fresh(&w, extent_seq(&w, "y/other", 0)));
	world_done(&w);
}

/* Nor do they further down, where a directory on the way is in doubt. */
Test(recover, void_identities_below)
{
	struct world w;
	uint64_t sub, deeper;

	world_init(&w, fill_dirs);
	sub = node_of(&w.a, "x/sub");
	deeper = node_of(&w.a, "x/sub/deeper");
	must(meta_begin(w.a.meta));
	must(meta_backing_forget_all(w.a.meta, 1, 2));
	must(meta_commit(w.a.meta));
	/* Listed in the order of their ids, which says nothing. */
	arm_dir(&w, "x/sub/deeper");
	arm_dir(&w, "x/sub");
	arm_dir(&w, "x");
	arm(&w.a, node_of(&w.a, "x/sub/deeper/file"), META_INTENT_DATA, 0,
	    META_BLOCK);
	must(resync_recover(&w.a, NULL, 0, &w.bytes));
	cr_expect_neq(node_of(&w.a, "x/sub"), sub);
	cr_expect_neq(node_of(&w.a, "x/sub/deeper"), deeper);
	cr_expect(is_fresh(&w, row_of(&w.a, "x/sub/deeper/file").seq));
	world_done(&w);
}
