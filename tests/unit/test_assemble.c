/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Assembling a volume: who starts online, who is late, what is refused.
 */
#include "tests/unit/volume_fixture.h"

#include <spawn.h>
#include <sys/wait.h>

extern char **environ;

static struct resync_assembly got;

static int assemble(const char *a, const char *b, bool degraded)
{
	const char *paths[] = {a, b};

	return resync_assemble(paths, b ? 2 : 1, degraded, &got);
}

static void release(void)
{
	for (size_t i = 0; i < got.count; i++) {
		meta_close(got.members[i].meta);
		store_close(got.members[i].store);
		meta_close(got.late_meta[i]);
		store_close(got.late_store[i]);
	}
}

static size_t member(const char *name)
{
	size_t i = 0;

	while (i < got.count && strcmp(got.members[i].row.name, name))
		i++;
	cr_assert_lt(i, got.count, "no member %s", name);
	return i;
}

static void starts(const char *name, bool online, bool late)
{
	size_t i = member(name);

	cr_expect_eq(got.members[i].in_step, online, "%s", name);
	cr_expect_eq(got.members[i].store != NULL, online, "%s", name);
	cr_expect_eq(got.members[i].meta != NULL, online, "%s", name);
	cr_expect_eq(got.late_store[i] != NULL, late, "%s", name);
	cr_expect_eq(got.late_meta[i] != NULL, late, "%s", name);
	if (!online)
		cr_expect_neq(got.members[i].row.state, META_STORE_ONLINE);
}

static void refused(int want, const char *a, const char *b, const char *word)
{
	int err = assemble(a, b, false);

	cr_expect_eq(err, want, "%d: %s", err, got.why);
	cr_expect_not_null(strstr(got.why, word), "'%s' is not in: %s", word,
			   got.why);
	cr_expect_eq(got.count, 0);
}

static void change_number(const char *path, enum meta_number what,
			  uint64_t value)
{
	struct resync_side side;

	fixture_open(&side, path);
	set_number(&side, what, value);
	fixture_close(&side);
}

static void change_state(const char *path, const char *name,
			 enum meta_store_state state)
{
	static struct meta_member v[META_STORE_MAX];
	struct resync_side side;
	struct meta_reader *rd;
	size_t count;

	fixture_open(&side, path);
	rd = meta_reader_get(side.meta);
	must(meta_members(rd, v, &count));
	meta_reader_put(rd);
	must(meta_begin(side.meta));
	for (size_t i = 0; i < count; i++) {
		if (strcmp(v[i].name, name))
			continue;
		v[i].state = state;
		must(meta_member_put(side.meta, &v[i]));
	}
	must(meta_commit(side.meta));
	fixture_close(&side);
}

/* As a mount with this store alone leaves it. */
static void go_alone(const char *path, uint64_t seqs)
{
	struct resync_side side;
	struct meta_epoch e = {.member_count = 1, .confirmed = true};
	uint64_t durable, reserved;

	fixture_open(&side, path);
	durable = number_of(&side, META_NUM_DURABLE_SEQ);
	reserved = number_of(&side, META_NUM_SEQ_RESERVED);
	snprintf(e.id, sizeof(e.id), "epoch of %s", meta_store_uuid(side.meta));
	memcpy(e.members[0], meta_store_uuid(side.meta), META_UUID_LEN + 1);
	e.base = durable;
	e.first_seq = reserved + 1;
	must(meta_begin(side.meta));
	must(meta_epoch_append(side.meta, &e));
	must(meta_node_raise(side.meta, META_ROOT_ID, reserved + seqs,
			     reserved + seqs));
	must(meta_number_set(side.meta, META_NUM_DURABLE_SEQ, reserved + seqs));
	must(meta_number_set(side.meta, META_NUM_SEQ_RESERVED,
			     reserved + seqs));
	must(meta_commit(side.meta));
	fixture_close(&side);
}

static void copy_tree(const char *from, const char *to)
{
	char *argv[] = {(char *)"cp", (char *)"-a", (char *)"-T",
			(char *)from, (char *)to,   NULL};
	pid_t pid;
	int status;

	cr_assert_eq(posix_spawnp(&pid, "cp", NULL, NULL, argv, environ), 0);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert_eq(status, 0);
}

/* ---- who takes part ---- */

Test(assemble, both_in_step)
{
	struct fixture f;

	fixture_init(&f, 2);
	fixture_volume(&f);
	must(assemble(f.path[0], f.path[1], false));
	cr_expect_eq(got.count, 2);
	cr_expect_eq(got.recovered_bytes, 0);
	cr_expect(got.members[got.lead].in_step);
	starts("a", true, false);
	starts("b", true, false);
	release();
	/* The other one is where it was last. */
	must(assemble(f.path[1], NULL, false));
	starts("a", true, false);
	starts("b", true, false);
	release();
	/* Named twice is once. */
	must(assemble(f.path[1], f.path[1], false));
	release();
	fixture_done(&f);
}

Test(assemble, one_away)
{
	char away[FIXTURE_PATH];
	struct fixture f;

	fixture_init(&f, 2);
	fixture_volume(&f);
	path_of(away, f.dir, "away");
	must(rename(f.path[1], away));
	must(assemble(f.path[0], NULL, false));
	starts("a", true, false);
	starts("b", false, false);
	cr_expect_eq(got.members[member("b")].row.state, META_STORE_MISSING);
	release();
	/* Named, but absent: the map knows that it belongs there. */
	must(assemble(f.path[0], f.path[1], false));
	starts("b", false, false);
	release();
	/* Its mount point is an empty directory now. */
	must(mkdir(f.path[1], 0755));
	must(assemble(f.path[1], f.path[0], false));
	starts("b", false, false);
	release();
	/* It is found under another path. */
	must(assemble(f.path[0], away, false));
	starts("b", true, false);
	cr_expect_str_eq(got.members[member("b")].row.path_hint, away);
	release();
	fixture_done(&f);
}

Test(assemble, stale_ones_are_late)
{
	struct fixture f;

	fixture_init(&f, 3);
	fixture_volume(&f);
	go_alone(f.path[1], 50);
	must(assemble(f.path[0], NULL, false));
	cr_expect_str_eq(got.members[got.lead].row.name, "b");
	starts("a", false, true);
	starts("b", true, false);
	starts("c", false, true);
	release();
	fixture_done(&f);
}

Test(assemble, built_stores_are_late)
{
	struct fixture f;

	fixture_init(&f, 2);
	put_file(f.path[0], "file", 0, 100);
	fixture_volume(&f);
	must(assemble(f.path[1], f.path[0], false));
	cr_expect_str_eq(got.members[got.lead].row.name, "a");
	starts("b", false, true);
	cr_expect_eq(got.recovered_bytes, 0);
	release();
	fixture_done(&f);
}

Test(assemble, detached_ones_stay_away)
{
	struct fixture f;

	fixture_init(&f, 2);
	fixture_volume(&f);
	change_state(f.path[0], "b", META_STORE_DETACHED);
	must(assemble(f.path[0], NULL, false));
	starts("b", false, false);
	cr_expect_eq(got.members[member("b")].row.state, META_STORE_DETACHED);
	release();
	/* Unless they are named. */
	must(assemble(f.path[0], f.path[1], false));
	starts("b", false, true);
	release();
	fixture_done(&f);
}

/* ---- crashes ---- */

Test(assemble, unclean_end)
{
	char away[FIXTURE_PATH];
	struct resync_side a;
	struct fixture f;

	fixture_init(&f, 2);
	put_file(f.path[0], "file", 0, 3 * META_BLOCK);
	fixture_volume(&f);
	fixture_open(&a, f.path[0]);
	arm(&a, node_of(&a, "file"), META_INTENT_DATA, 0, 2 * META_BLOCK);
	set_number(&a, META_NUM_CLEAN, 0);
	fixture_close(&a);
	change_state(f.path[0], "b", META_STORE_ONLINE);
	path_of(away, f.dir, "away");
	must(rename(f.path[1], away));

	refused(-ENODEV, f.path[0], NULL, "degraded");
	must(assemble(f.path[0], NULL, true));
	cr_expect_eq(got.recovered_bytes, 2 * META_BLOCK);
	starts("a", true, false);
	release();
	/* Recovered: nothing is left to be done. */
	must(assemble(f.path[0], NULL, true));
	cr_expect_eq(got.recovered_bytes, 0);
	release();
	fixture_done(&f);
}

Test(assemble, equal_but_unclean)
{
	struct fixture f;

	fixture_init(&f, 2);
	fixture_volume(&f);
	change_number(f.path[0], META_NUM_CLEAN, 0);
	change_number(f.path[1], META_NUM_CLEAN, 0);
	must(assemble(f.path[0], f.path[1], false));
	cr_expect_eq(got.recovered_bytes, 0);
	cr_expect(got.members[got.lead].in_step);
	cr_expect_eq(got.members[0].in_step + got.members[1].in_step, 1);
	release();
	fixture_done(&f);
}

/* ---- refusals ---- */

Test(assemble, forks)
{
	struct fixture f;
	struct resync_side a;
	struct meta_reader *rd;
	struct meta_epoch *v;
	size_t count;

	fixture_init(&f, 2);
	fixture_volume(&f);
	go_alone(f.path[0], 50);
	go_alone(f.path[1], 70);
	refused(-EREMCHG, f.path[0], f.path[1], "--prefer");
	refused(-EREMCHG, f.path[0], NULL, "independently");
	fixture_open(&a, f.path[0]);
	rd = meta_reader_get(a.meta);
	must(meta_epochs(rd, &v, &count));
	cr_expect_eq(count, 2);
	free(v);
	meta_reader_put(rd);
	fixture_close(&a);
	fixture_done(&f);
}

Test(assemble, half_built_only)
{
	char away[FIXTURE_PATH];
	struct fixture f;

	fixture_init(&f, 2);
	put_file(f.path[0], "file", 0, 100);
	fixture_volume(&f);
	path_of(away, f.dir, "away");
	must(rename(f.path[0], away));
	refused(-ENODEV, f.path[1], NULL, "not finished");
	fixture_done(&f);
}

Test(assemble, not_ours)
{
	struct fixture f, g;
	char file[FIXTURE_PATH];

	fixture_init(&f, 2);
	fixture_volume(&f);
	fixture_init(&g, 2);
	refused(-EINVAL, g.path[0], NULL, "not a store");
	refused(-EINVAL, f.path[0], g.path[0], "not a store");
	fixture_volume(&g);
	refused(-EINVAL, f.path[0], g.path[0], "another volume");
	path_of(file, f.path[0], "file");
	put_file(f.path[0], "file", 0, 1);
	refused(-EINVAL, file, NULL, "not a store");
	fixture_done(&g);
	fixture_done(&f);
}

Test(assemble, in_use)
{
	struct resync_side b;
	struct fixture f;

	fixture_init(&f, 2);
	fixture_volume(&f);
	fixture_open(&b, f.path[1]);
	refused(-EBUSY, f.path[1], NULL, "in use");
	must(store_lock_note(b.store, "mounted at /mnt"));
	refused(-EBUSY, f.path[0], NULL, "mounted at /mnt");
	fixture_close(&b);
	must(assemble(f.path[0], NULL, false));
	release();
	fixture_done(&f);
}

Test(assemble, twins)
{
	char twin[FIXTURE_PATH];
	struct fixture f;

	fixture_init(&f, 2);
	fixture_volume(&f);
	path_of(twin, f.dir, "twin");
	copy_tree(f.path[1], twin);
	refused(-EEXIST, f.path[1], twin, "copies of one store");
	/* The one that is not named lies where it was last. */
	refused(-EEXIST, f.path[0], twin, "copies of one store");
	fixture_done(&f);
}

/* ---- copies ---- */

Test(assemble, copies)
{
	struct resync_side side;
	char original[FIXTURE_PATH];
	struct meta_node row;
	struct fixture f;
	struct stat st;

	fixture_init(&f, 2);
	fixture_volume(&f);
	path_of(original, f.dir, "original");
	must(rename(f.path[0], original));
	copy_tree(original, f.path[0]);
	/* Never the lead where an original is as far. */
	must(assemble(f.path[0], f.path[1], false));
	cr_expect_str_eq(got.members[got.lead].row.name, "b");
	starts("a", false, true);
	release();

	path_of(original, f.dir, "original-b");
	must(rename(f.path[1], original));
	must(assemble(f.path[0], NULL, false));
	cr_expect_str_eq(got.members[got.lead].row.name, "a");
	release();
	/* Its identities were found anew, and it is no copy any more. */
	fixture_open(&side, f.path[0]);
	row = row_of(&side, "");
	must(stat(f.path[0], &st) ? -errno : 0);
	cr_expect_eq(row.backing.ino, st.st_ino);
	cr_expect_eq(side_forget_if_copied(&side), 0);
	fixture_close(&side);
	fixture_done(&f);
}

Test(assemble, removed_members)
{
	struct resync_side side;
	struct fixture f;
	char uuid[META_UUID_LEN + 1];

	fixture_init(&f, 2);
	fixture_volume(&f);
	memcpy(uuid, f.made.stores[1].uuid, sizeof(uuid));
	fixture_open(&side, f.path[0]);
	must(meta_begin(side.meta));
	must(meta_member_del(side.meta, uuid));
	must(meta_commit(side.meta));
	fixture_close(&side);
	go_alone(f.path[0], 5);
	refused(-EINVAL, f.path[0], f.path[1], "no member");
	must(assemble(f.path[0], NULL, false));
	cr_expect_eq(got.count, 1);
	release();
	fixture_done(&f);
}
