/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Resync between unmounted stores, from beginning to end: real files, real
 * maps, and at the end equal trees that start online together.
 */
#include <spawn.h>
#include <sys/wait.h>

#include "meta/db.h"
#include "resync/lineage.h"
#include "resync/side.h"
#include "tests/unit/volume_fixture.h"

extern char **environ;

static char why[512];
static struct resync_counts counts[FIXTURE_STORES];

static int offline(struct fixture *f, int prefer, bool dry)
{
	const char *paths[FIXTURE_STORES];
	struct resync_control control = {.dry_run = dry};
	unsigned int source;

	for (size_t i = 0; i < f->count; i++)
		paths[i] = f->path[i];
	return resync_offline(paths, f->count, prefer, &control, &source,
			      counts, why, sizeof(why));
}

static void offline_ok(struct fixture *f, int prefer)
{
	int err = offline(f, prefer, false);

	cr_assert_eq(err, 0, "%d: %s", err, why);
}

static bool same_trees(const char *a, const char *b)
{
	char *argv[] = {(char *)"diff",
			(char *)"-r",
			(char *)"--no-dereference",
			(char *)"-x",
			(char *)".seqmirror",
			(char *)a,
			(char *)b,
			NULL};
	pid_t pid;
	int status;

	cr_assert_eq(posix_spawnp(&pid, "diff", NULL, NULL, argv, environ), 0);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	return status == 0;
}

/* Equal, each map right, and a mount would begin with all of them. */
static void all_in_step(struct fixture *f)
{
	static struct resync_assembly got;
	const char *paths[] = {f->path[0]};

	for (size_t i = 0; i < f->count; i++) {
		struct resync_side side;

		cr_expect(!i || same_trees(f->path[0], f->path[i]));
		fixture_open(&side, f->path[i]);
		check_map_of(&side, true);
		fixture_close(&side);
	}
	must(resync_assemble(paths, 1, false, &got));
	cr_expect_eq(got.recovered_bytes, 0);
	for (size_t i = 0; i < got.count; i++) {
		cr_expect(got.members[i].in_step, "%s",
			  got.members[i].row.name);
		meta_close(got.members[i].meta);
		store_close(got.members[i].store);
		meta_close(got.late_meta[i]);
		store_close(got.late_store[i]);
	}
}

static void fill(const char *store)
{
	char path[FIXTURE_PATH];

	put_dir(store, "dir");
	put_dir(store, "dir/sub");
	put_file(store, "dir/file", 0, 30000);
	put_file(store, "dir/sub/other", 0, 100);
	put_file(store, "sparse", 200000, 5000);
	put_file(store, "empty", 0, 0);
	link_file(store, "dir/file", "link");
	path_of(path, store, "symlink");
	must(symlink("dir/file", path));
}

/* A volume of two, filled and in step. */
static void in_step(struct fixture *f, size_t stores)
{
	fixture_init(f, stores);
	fill(f->path[0]);
	fixture_volume(f);
	offline_ok(f, -1);
}

/* Change files and let recovery number the change: as a mount alone would. */
static void change_alone(const char *store, const char *dir, const char *name)
{
	struct resync_side side;
	char path[FIXTURE_PATH / 2];
	uint64_t bytes;

	fixture_open(&side, store);
	arm(&side, node_of(&side, dir), META_INTENT_NAME, 0, 0);
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	put_file(store, path, 0, 7000);
	must(resync_recover(&side, NULL, 0, &bytes));
	fixture_close(&side);
}

Test(offline, builds_the_others)
{
	struct fixture f;

	in_step(&f, 3);
	cr_expect_gt(counts[1].bytes_copied, 0);
	cr_expect_gt(counts[2].bytes_copied, 0);
	all_in_step(&f);
	/* Nothing is left to be done. */
	offline_ok(&f, -1);
	cr_expect_eq(counts[1].bytes_copied, 0);
	cr_expect_eq(counts[1].nodes, 0);
	all_in_step(&f);
	fixture_done(&f);
}

/* A map of an older format: to open it for writing would bring it up. */
static void make_old(struct resync_side *side)
{
	struct conn *c = &side->meta->writer.conn;

	must(conn_pragma_set(c, "user_version", META_FORMAT_VERSION - 1));
}

Test(offline, a_dry_run_leaves_an_old_format)
{
	struct resync_side side;
	struct meta *meta = NULL;
	struct fixture f;
	char dir[300];
	char *text = NULL;

	in_step(&f, 2);
	fixture_open(&side, f.path[1]);
	make_old(&side);
	fixture_close(&side);
	cr_expect_eq(offline(&f, -1, true), -EPROTO);
	cr_expect(strstr(why, "older format"), "%s", why);
	snprintf(dir, sizeof(dir), "%s/" STORE_PRIVATE, f.path[1]);
	cr_expect_eq(meta_open(dir, META_OPEN_RO, &meta, &text), -EPROTO);
	free(text);
	offline_ok(&f, -1);
	must(meta_open(dir, META_OPEN_RO, &meta, NULL));
	meta_close(meta);
	fixture_done(&f);
}

Test(offline, a_dry_run_changes_nothing)
{
	struct resync_side b;
	struct fixture f;
	uint64_t forecast;

	fixture_init(&f, 2);
	fill(f.path[0]);
	fixture_volume(&f);
	must(offline(&f, -1, true));
	forecast = counts[1].bytes_copied;
	cr_expect_gt(forecast, 0);
	fixture_open(&b, f.path[1]);
	cr_expect_eq(number_of(&b, META_NUM_DURABLE_SEQ), 0);
	cr_expect_eq(node_of(&b, "dir"), 0);
	fixture_close(&b);
	offline_ok(&f, -1);
	cr_expect_eq(counts[1].bytes_copied, forecast);
	all_in_step(&f);
	fixture_done(&f);
}

Test(offline, follows_the_one_that_went_on)
{
	struct fixture f;

	in_step(&f, 2);
	change_alone(f.path[1], "dir", "new");
	offline_ok(&f, -1);
	cr_expect_gt(counts[0].bytes_copied, 0);
	all_in_step(&f);
	fixture_done(&f);
}

Test(offline, crash_on_both)
{
	struct resync_side side;
	struct fixture f;

	in_step(&f, 2);
	for (size_t i = 0; i < 2; i++) {
		fixture_open(&side, f.path[i]);
		arm(&side, node_of(&side, "dir"), META_INTENT_NAME, 0, 0);
		arm(&side, node_of(&side, "dir/file"), META_INTENT_DATA, 0,
		    1 << 20);
		set_number(&side, META_NUM_CLEAN, 0);
		fixture_close(&side);
	}
	/* Each did a part of it. */
	put_file(f.path[0], "dir/born", 0, 5000);
	put_file(f.path[1], "dir/file", 30000, 20000);
	drop_file(f.path[1], "dir/sub/other");
	put_file(f.path[1], "dir/sub/other", 0, 100);
	drop_file(f.path[1], "dir/sub/other");
	put_file(f.path[1], "dir/leftover", 0, 100);
	put_file(f.path[1], "dir/sub/other", 0, 100);
	must(offline(&f, -1, true));
	cr_expect_not_null(strstr(why, "recovered first"));
	fixture_done(&f);
}

Test(offline, crash_is_healed)
{
	struct resync_side side;
	struct fixture f;

	in_step(&f, 2);
	for (size_t i = 0; i < 2; i++) {
		fixture_open(&side, f.path[i]);
		arm(&side, node_of(&side, "dir"), META_INTENT_NAME, 0, 0);
		arm(&side, node_of(&side, "dir/file"), META_INTENT_DATA, 0,
		    1 << 20);
		set_number(&side, META_NUM_CLEAN, 0);
		fixture_close(&side);
	}
	put_file(f.path[0], "dir/born", 0, 5000);
	put_file(f.path[1], "dir/file", 30000, 20000);
	put_file(f.path[1], "dir/leftover", 0, 100);
	offline_ok(&f, -1);
	all_in_step(&f);
	fixture_done(&f);
}

Test(offline, forks)
{
	struct fixture f;
	char path[FIXTURE_PATH];

	in_step(&f, 2);
	change_alone(f.path[0], "dir", "of-a");
	change_alone(f.path[1], "dir", "of-b");
	cr_expect_eq(offline(&f, -1, false), -EREMCHG);
	cr_expect_not_null(strstr(why, "--prefer"));
	cr_expect_not(same_trees(f.path[0], f.path[1]));
	offline_ok(&f, 1);
	path_of(path, f.path[0], "dir/of-b");
	must(access(path, F_OK));
	all_in_step(&f);
	/* No fork, nothing to prefer. */
	change_alone(f.path[0], "dir", "more");
	cr_expect_eq(offline(&f, 1, false), -EINVAL);
	offline_ok(&f, 0);
	all_in_step(&f);
	fixture_done(&f);
}

/* ---- docs/model.md ---- */

struct cut {
	unsigned int left;
};

static int cut_now(void *arg)
{
	struct cut *cut = arg;

	return cut->left ? (cut->left--, 0) : 1;
}

/* Two of the stores; @left: steps until it is cut, 0: never. */
static int offline_pair(struct fixture *f, size_t x, size_t y, int prefer,
			unsigned int left)
{
	const char *paths[] = {f->path[x], f->path[y]};
	struct cut cut = {.left = left};
	struct resync_control control = {
		.should_stop = left ? cut_now : NULL,
		.arg = &cut,
	};
	unsigned int source;

	return resync_offline(paths, 2, prefer, &control, &source, counts, why,
			      sizeof(why));
}

static size_t lap_count(const char *store)
{
	struct resync_side side;
	struct meta_reader *rd;
	struct meta_laps laps;
	size_t count;

	fixture_open(&side, store);
	rd = meta_reader_get(side.meta);
	must(meta_laps_get(rd, &laps));
	count = laps.count;
	meta_laps_done(&laps);
	meta_reader_put(rd);
	fixture_close(&side);
	return count;
}

/* 3: half brought in step with one, it is not merely stale towards another
 * that went its own way. */
Test(offline, a_cut_lap_belongs_to_its_source)
{
	struct fixture f;

	in_step(&f, 3);
	change_alone(f.path[0], "dir", "of-a");
	change_alone(f.path[1], "dir", "of-b");
	for (unsigned int left = 1; left < 4; left++)
		cr_assert_eq(offline_pair(&f, 0, 2, -1, left), -ECANCELED);
	cr_expect_eq(lap_count(f.path[2]), 1);
	cr_expect_eq(offline_pair(&f, 1, 2, -1, 0), -EREMCHG, "%s", why);
	cr_expect_eq(lap_count(f.path[2]), 1);
	must(offline_pair(&f, 1, 2, 0, 0));
	cr_expect_eq(lap_count(f.path[2]), 0);
	cr_expect(same_trees(f.path[1], f.path[2]));
	/* Its own source may go on at any time. */
	must(offline_pair(&f, 1, 0, 0, 0));
	change_alone(f.path[0], "dir", "more");
	cr_assert_eq(offline_pair(&f, 0, 2, -1, 2), -ECANCELED);
	must(offline_pair(&f, 0, 2, -1, 0));
	cr_expect_eq(lap_count(f.path[2]), 0);
	cr_expect(same_trees(f.path[0], f.path[2]));
	fixture_done(&f);
}

/* The user may keep a mixture, but not over the complete store it is of. */
Test(offline, half_overwritten_is_not_kept)
{
	struct fixture f;

	in_step(&f, 3);
	change_alone(f.path[0], "dir", "of-a");
	change_alone(f.path[1], "dir", "of-b");
	cr_assert_eq(offline_pair(&f, 0, 1, 0, 2), -ECANCELED);
	cr_assert_eq(lap_count(f.path[1]), 1);
	cr_expect_eq(offline_pair(&f, 0, 1, 1, 0), -EREMCHG, "%s", why);
	cr_expect_not_null(strstr(why, "half overwritten"));
	cr_expect_not_null(strstr(why, "--prefer a"));
	cr_expect_eq(offline_pair(&f, 0, 1, -1, 0), -EREMCHG, "%s", why);
	cr_expect_not_null(strstr(why, "half overwritten"));
	/* Beside an older store its source is not there. */
	must(offline_pair(&f, 1, 2, 0, 0));
	cr_expect_not_null(strstr(why, "is a mixture"), "%s", why);
	cr_expect(same_trees(f.path[1], f.path[2]));
	must(offline_pair(&f, 0, 1, 0, 0));
	cr_expect(same_trees(f.path[0], f.path[1]));
	fixture_done(&f);
}

static void set_numbers(const char *store, uint64_t to)
{
	struct resync_side side;

	fixture_open(&side, store);
	set_number(&side, META_NUM_SEQ_RESERVED, to);
	set_number(&side, META_NUM_NODE_RESERVED, to);
	fixture_close(&side);
}

/* The numbers of what it has in part are another's, and are not issued anew;
 * nor does it belong to that one's lineage any more. */
Test(offline, a_mixture_that_is_kept_issues_no_number_twice)
{
	const uint64_t high = 1 << 24;
	struct resync_side side;
	struct fixture f;
	uint64_t node;

	in_step(&f, 3);
	set_numbers(f.path[0], high);
	change_alone(f.path[0], "dir", "of-a");
	for (unsigned int left = 1;; left++) {
		cr_assert_eq(offline_pair(&f, 0, 1, -1, left), -ECANCELED);
		fixture_open(&side, f.path[1]);
		node = node_of(&side, "dir/of-a");
		fixture_close(&side);
		if (node)
			break;
	}
	cr_assert_gt(node, high);
	must(offline_pair(&f, 1, 2, 0, 0));
	cr_expect_eq(lap_count(f.path[1]), 0);
	for (size_t i = 1; i < 3; i++) {
		fixture_open(&side, f.path[i]);
		cr_expect_gt(number_of(&side, META_NUM_NODE_RESERVED), high);
		cr_expect_gt(number_of(&side, META_NUM_SEQ_RESERVED), high);
		cr_expect_gt(number_of(&side, META_NUM_DURABLE_SEQ), high);
		check_map_of(&side, true);
		fixture_close(&side);
	}
	/* Both go on as one volume. */
	change_alone(f.path[2], "dir", "more");
	must(offline_pair(&f, 1, 2, -1, 0));
	cr_expect(same_trees(f.path[1], f.path[2]));
	cr_expect_eq(offline_pair(&f, 0, 1, -1, 0), -EREMCHG, "%s", why);
	offline_ok(&f, 0);
	all_in_step(&f);
	fixture_done(&f);
}

/* 6: what was there before the fork is the same on both sides, whatever each
 * has done to it. */
Test(offline, nodes_from_before_a_fork_match)
{
	struct meta_backing before;
	struct resync_side side;
	struct fixture f;
	uint64_t bytes;

	in_step(&f, 2);
	for (size_t i = 0; i < 2; i++) {
		fixture_open(&side, f.path[i]);
		if (i == 1)
			before = row_of(&side, "dir/sub/other").backing;
		arm(&side, node_of(&side, "dir/sub"), META_INTENT_NAME, 0, 0);
		arm(&side, node_of(&side, "dir/sub/other"), META_INTENT_DATA, 0,
		    1 << 20);
		put_file(f.path[i], "dir/sub/other", (off_t)i * 5000, 3000);
		must(resync_recover(&side, NULL, 0, &bytes));
		fixture_close(&side);
	}
	cr_expect_eq(offline(&f, -1, false), -EREMCHG);
	offline_ok(&f, 0);
	fixture_open(&side, f.path[1]);
	cr_expect_eq(row_of(&side, "dir/sub/other").backing.ino, before.ino);
	cr_expect_eq(row_of(&side, "dir/sub/other").backing.gen, before.gen);
	fixture_close(&side);
	cr_expect_eq(counts[1].entries_created, 0);
	all_in_step(&f);
	fixture_done(&f);
}

static void copy_store(const char *from, const char *to)
{
	char *argv[] = {(char *)"cp", (char *)"-aT", (char *)from, (char *)to,
			NULL};
	pid_t pid;
	int status;

	cr_assert_eq(posix_spawnp(&pid, "cp", NULL, NULL, argv, environ), 0);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert_eq(status, 0);
}

/* A backup of a store is put back in its place, and mounted alone. */
static void restore_alone(struct fixture *f, const char *backup,
			  const char *store)
{
	static struct resync_assembly got;
	char away[FIXTURE_PATH];
	struct resync_side side;
	struct meta_reader *rd;
	struct meta_epoch *v;
	size_t count;

	path_of(away, f->dir, "away");
	must(rename(store, away));
	must(rename(backup, store));
	must(resync_assemble(&store, 1, true, &got));
	for (size_t i = 0; i < got.count; i++) {
		meta_close(got.members[i].meta);
		store_close(got.members[i].store);
		meta_close(got.late_meta[i]);
		store_close(got.late_store[i]);
	}
	fixture_open(&side, store);
	rd = meta_reader_get(side.meta);
	must(meta_epochs(rd, &v, &count));
	/* The epoch says it now, the map need not. */
	cr_expect(v[count - 1].by_copy);
	free(v);
	meta_reader_put(rd);
	cr_expect_eq(number_of(&side, META_NUM_COPY), 0);
	fixture_close(&side);
}

/* One that is mounted may have been copied before its files were changed: nothing
 * says that an epoch of it is idle. */
Test(offline, a_mounted_map_was_not_left_in_good_order)
{
	const uint64_t clean[] = {0, META_CLEAN, META_CLEAN_MOUNTED};
	struct resync_side side;
	struct fixture f;

	in_step(&f, 2);
	fixture_open(&side, f.path[0]);
	for (size_t i = 0; i < ARRAY_SIZE(clean); i++) {
		struct meta_reader *rd = meta_reader_get(side.meta);
		struct lineage_of of;

		set_number(&side, META_NUM_CLEAN, clean[i]);
		must(lineage_load(side.meta, rd, NULL, &of));
		cr_expect_eq(of.view.clean, clean[i] == META_CLEAN);
		cr_expect_eq(side_is_unclean(rd, true), clean[i] != META_CLEAN);
		cr_expect_eq(side_is_unclean(rd, false), 0);
		lineage_done(&of);
		meta_reader_put(rd);
	}
	fixture_close(&side);
	fixture_done(&f);
}

/* 10: a backup taken within an epoch, restored and mounted alone, does not
 * speak for what the other did in that same epoch. */
Test(offline, a_restored_copy_that_went_on_is_a_fork)
{
	char backup[FIXTURE_PATH];
	struct resync_side side;
	struct fixture f;

	in_step(&f, 2);
	path_of(backup, f.dir, "backup");
	/* Something to recover, though it was left in good order. */
	fixture_open(&side, f.path[0]);
	must(meta_begin(side.meta));
	must(meta_intent_put(side.meta,
			     &(struct meta_intent){
				     .node = node_of(&side, "dir/file"),
				     .kind = META_INTENT_ATTR,
				     .generation = META_DOUBT_GENERATION,
			     }));
	must(meta_commit(side.meta));
	fixture_close(&side);
	copy_store(f.path[0], backup);
	for (size_t i = 0; i < 2; i++) {
		fixture_open(&side, f.path[i]);
		arm(&side, node_of(&side, "dir/file"), META_INTENT_DATA, 0,
		    1 << 20);
		set_number(&side, META_NUM_CLEAN, 0);
		fixture_close(&side);
	}
	/* Fsynced, under its intent; then the power failed. */
	put_file(f.path[1], "dir/file", 30000, 20000);
	/* The path hints of the others lead nowhere meanwhile. */
	move_file(f.dir, "b", "b-away");
	restore_alone(&f, backup, f.path[0]);
	move_file(f.dir, "b-away", "b");
	cr_expect_eq(offline(&f, -1, false), -EREMCHG, "%s", why);
	cr_expect_not(same_trees(f.path[0], f.path[1]));
	offline_ok(&f, 1);
	cr_expect(same_trees(f.path[0], f.path[1]));
	fixture_done(&f);
}

Test(offline, adopted_copies_are_compared)
{
	const char *paths[2];
	struct fixture f;

	fixture_init(&f, 2);
	fill(f.path[0]);
	fill(f.path[1]);
	put_file(f.path[1], "dir/file", 8192, 10);
	put_file(f.path[0], "dir/only-here", 0, 10);
	put_file(f.path[1], "dir/only-there", 0, 10);
	/* Differs by a block. */
	{
		char path[FIXTURE_PATH];
		int fd;

		path_of(path, f.path[1], "dir/file");
		fd = open(path, O_WRONLY | O_CLOEXEC);
		must(fd);
		cr_assert_eq(pwrite(fd, "differs", 7, 9000), 7);
		must(close(fd));
	}
	paths[0] = f.path[0];
	paths[1] = f.path[1];
	must(volume_make(&(struct volume_make_args){.paths = paths,
						    .path_count = 2,
						    .adopt = true},
			 &f.made));
	offline_ok(&f, -1);
	cr_expect_gt(counts[1].bytes_compared, 30000);
	cr_expect_lt(counts[1].bytes_copied, 30000);
	all_in_step(&f);
	fixture_done(&f);
}

Test(offline, refusals)
{
	struct fixture f;

	in_step(&f, 2);
	memcpy(f.path[1], f.path[0], sizeof(f.path[1]));
	cr_expect_eq(offline(&f, -1, false), -EINVAL);
	cr_expect_not_null(strstr(why, "twice"));
	f.count = 1;
	cr_expect_eq(offline(&f, -1, false), -EINVAL);
	fixture_done(&f);
}
