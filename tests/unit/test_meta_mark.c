/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A map that lost what was committed is recognised by the mark beside it: its
 * WAL is missing, cut, damaged, older or another map's, or the map itself is
 * an older one or another.
 */
#include "base/clock.h"
#include "base/fault.h"
#include "meta/mark.h"
#include "meta_fixture.h"
#include "rng.h"

static const char *const files[] = {"meta.db", "meta.db-wal", "meta.mark"};

static void copy_file(const char *from_dir, const char *to_dir,
		      const char *name)
{
	char from[300], to[300];
	char buf[8192];
	ssize_t len;
	int a, b;

	(void)snprintf(from, sizeof(from), "%s/%s", from_dir, name);
	(void)snprintf(to, sizeof(to), "%s/%s", to_dir, name);
	a = open(from, O_RDONLY | O_CLOEXEC);
	if (a < 0) {
		(void)unlink(to);
		return;
	}
	b = open(to, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
	check(b >= 0, "%s", to);
	while ((len = read(a, buf, sizeof(buf))) > 0)
		expect_int((int)write(b, buf, (size_t)len), (int)len);
	(void)close(a);
	(void)close(b);
}

static void copy_all(const char *from, const char *to)
{
	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		copy_file(from, to, files[i]);
}

static void make_dir(char dir[64])
{
	(void)snprintf(dir, 64, "/tmp/test_meta_XXXXXX");
	cr_assert_not_null(mkdtemp(dir));
}

static void drop_dir(const char *dir)
{
	struct fixture f = {0};

	(void)snprintf(f.dir, sizeof(f.dir), "%s", dir);
	fixture_done(&f);
}

static void put_some(struct meta *m, uint64_t from, uint64_t count)
{
	for (uint64_t i = from; i < from + count; i++) {
		must(meta_begin(m));
		put_node(m, 16 + i, META_FILE, i + 1);
		must(meta_commit(m));
	}
}

/*
 * What a crash leaves, at two moments: in @older with a part of the commits,
 * in @crashed with all of them; @f is what was open.
 */
static void crash(struct fixture *f, char older[64], char crashed[64])
{
	make_dir(older);
	make_dir(crashed);
	fixture_open(f);
	put_some(f->m, 0, 40);
	copy_all(f->dir, older);
	put_some(f->m, 40, 40);
	copy_all(f->dir, crashed);
}

static int try_open(const char *dir, enum meta_open_mode mode)
{
	struct meta *m = NULL;
	char *why = NULL;
	int r = meta_open(dir, mode, &m, &why);

	if (r < 0)
		check(why && strlen(why) > 10 && why[strlen(why) - 1] == '.',
		      "one sentence: %s", why ? why : "none");
	meta_close(m);
	free(why);
	return r;
}

static void expect_refused(const char *dir)
{
	struct fixture f = {0};
	uint64_t before;

	(void)snprintf(f.dir, sizeof(f.dir), "%s", dir);
	before = fixture_hash(&f);
	expect_int(try_open(dir, META_OPEN_RO), -EUCLEAN);
	expect_int(try_open(dir, META_OPEN_RW), -EUCLEAN);
	check(fixture_hash(&f) == before, "nothing is changed");
}

static uint64_t nodes_in(const char *dir)
{
	struct meta_reader *rd;
	struct meta_iter it;
	struct meta_node n;
	uint64_t count = 0;
	struct meta *m;

	must(meta_open(dir, META_OPEN_RW, &m, NULL));
	rd = meta_reader_get(m);
	must(meta_iter_nodes(rd, 15, &it));
	while (meta_next_node(&it, &n) > 0)
		count++;
	meta_iter_done(&it);
	meta_reader_put(rd);
	meta_close(m);
	return count;
}

static void wal_path(char out[128], const char *dir)
{
	(void)snprintf(out, 128, "%s/meta.db-wal", dir);
}

Test(meta_mark, a_crash_is_no_damage)
{
	char older[64], crashed[64];
	struct fixture f;

	crash(&f, older, crashed);
	expect_int(try_open(crashed, META_OPEN_RO), 0);
	cr_assert_eq(nodes_in(crashed), 80);
	/* Closed in good order by then. */
	expect_int(try_open(crashed, META_OPEN_RO), 0);
	cr_assert_eq(nodes_in(crashed), 80);
	cr_assert_eq(nodes_in(older), 40);
	drop_dir(older);
	drop_dir(crashed);
	fixture_done(&f);
}

Test(meta_mark, wal_missing_or_cut)
{
	char older[64], crashed[64], test[64], path[128];
	struct rng rng = rng_seed();
	uint64_t used;
	struct fixture f;

	crash(&f, older, crashed);
	make_dir(test);
	used = (uint64_t)f.m->wal_pages * 4120;
	wal_path(path, test);

	copy_all(crashed, test);
	cr_assert_eq(unlink(path), 0);
	expect_refused(test);
	for (int i = 0; i < 30; i++) {
		copy_all(crashed, test);
		cr_assert_eq(truncate(path, (off_t)rng_below(&rng, used + 32)),
			     0);
		expect_refused(test);
	}
	drop_dir(test);
	drop_dir(older);
	drop_dir(crashed);
	fixture_done(&f);
}

Test(meta_mark, wal_damaged)
{
	char older[64], crashed[64], test[64], path[128];
	struct rng rng = rng_seed();
	uint64_t used;
	struct fixture f;

	crash(&f, older, crashed);
	make_dir(test);
	used = (uint64_t)f.m->wal_pages * 4120;
	wal_path(path, test);
	for (int i = 0; i < 60; i++) {
		off_t at = (off_t)rng_below(&rng, used + 32);
		unsigned char byte;
		int fd;

		copy_all(crashed, test);
		fd = open(path, O_RDWR | O_CLOEXEC);
		expect_int((int)pread(fd, &byte, 1, at), 1);
		byte ^= (unsigned char)(1u << rng_below(&rng, 8));
		expect_int((int)pwrite(fd, &byte, 1, at), 1);
		(void)close(fd);
		expect_refused(test);
	}
	drop_dir(test);
	drop_dir(older);
	drop_dir(crashed);
	fixture_done(&f);
}

Test(meta_mark, parts_of_another_time_or_map)
{
	char older[64], crashed[64], test[64], begun[64];
	struct fixture f, other;

	crash(&f, older, crashed);
	make_dir(test);
	make_dir(begun);
	fixture_open(&other);
	put_some(other.m, 0, 100);

	/* The WAL of then, and that of another map. */
	copy_all(crashed, test);
	copy_file(older, test, "meta.db-wal");
	expect_refused(test);
	copy_all(crashed, test);
	copy_file(other.dir, test, "meta.db-wal");
	expect_refused(test);

	/* Beside a map that was closed in good order. */
	meta_close(other.m);
	other.m = NULL;
	copy_all(other.dir, test);
	copy_file(crashed, test, "meta.db-wal");
	expect_refused(test);

	/* The map of then: before the last writer began. */
	copy_all(other.dir, begun);
	fixture_reopen(&other, META_OPEN_RW);
	put_some(other.m, 100, 10);
	meta_close(other.m);
	other.m = NULL;
	copy_all(other.dir, test);
	copy_file(begun, test, "meta.db");
	expect_refused(test);
	/* All of then is an older store, and that is what it seems. */
	expect_int(try_open(begun, META_OPEN_RW), 0);
	cr_assert_eq(nodes_in(begun), 100);

	/* Another's map. */
	copy_all(crashed, test);
	copy_file(begun, test, "meta.db");
	expect_refused(test);

	drop_dir(test);
	drop_dir(begun);
	drop_dir(older);
	drop_dir(crashed);
	fixture_done(&other);
	fixture_done(&f);
}

/* A WAL that was begun anew since the mark was written is a later one. */
Test(meta_mark, wal_begun_anew)
{
	char crashed[64];
	struct fixture f;

	make_dir(crashed);
	fixture_open(&f);
	for (int i = 0; i < 6; i++) {
		put_some(f.m, (uint64_t)i * 1000, 1000);
		copy_all(f.dir, crashed);
		cr_assert_eq(nodes_in(crashed), (uint64_t)(i + 1) * 1000);
	}
	cr_assert_gt(f.m->mark.restarts, 0);
	drop_dir(crashed);
	fixture_done(&f);
}

/* Without a mark, or with one that was not written whole, nothing is asked. */
Test(meta_mark, no_mark)
{
	char older[64], crashed[64], path[128];
	struct fixture f;
	struct meta *m;

	crash(&f, older, crashed);
	(void)snprintf(path, sizeof(path), "%s/meta.mark", crashed);
	cr_assert_eq(truncate(path, 50), 0);
	expect_int(try_open(crashed, META_OPEN_RO), 0);
	cr_assert_eq(unlink(path), 0);
	cr_assert_eq(nodes_in(crashed), 80);
	expect_int(access(path, F_OK), -1);
	/* The first change makes one. */
	must(meta_open(crashed, META_OPEN_RW, &m, NULL));
	put_some(m, 80, 1);
	meta_close(m);
	expect_int(access(path, F_OK), 0);
	cr_assert_eq(nodes_in(crashed), 81);
	drop_dir(older);
	drop_dir(crashed);
	fixture_done(&f);
}

#ifdef SEQMIRROR_FAULT_INJECTION

/* Two more commits to the map in @dir, with no room for its mark; @crashed: what a
 * crash leaves before it is closed. */
static void put_without_mark(const char *dir, const char *crashed,
			     uint64_t from)
{
	struct meta *m;

	must(fault_configure("meta.mark.open:enospc:1+"));
	must(meta_open(dir, META_OPEN_RW, &m, NULL));
	put_some(m, from, 2);
	copy_all(dir, crashed);
	meta_close(m);
	must(fault_configure(""));
}

/* One that is there and cannot be opened for want of room is none afterwards: it
 * does not know what is committed from now on. */
Test(meta_mark, no_room_to_open)
{
	char older[64], crashed[64];
	struct fixture f;
	struct meta *m;

	crash(&f, older, crashed);
	put_without_mark(crashed, older, 80);
	cr_assert_eq(nodes_in(older), 82);
	cr_assert_eq(nodes_in(crashed), 82);
	/* The same of one that was closed, and has a mark again. */
	must(meta_open(crashed, META_OPEN_RW, &m, NULL));
	put_some(m, 82, 1);
	meta_close(m);
	put_without_mark(crashed, older, 83);
	cr_assert_eq(nodes_in(older), 85);
	cr_assert_eq(nodes_in(crashed), 85);
	drop_dir(older);
	drop_dir(crashed);
	fixture_done(&f);
}

/* Nor does one that is left of a map before know one that is made anew: where it can
 * be neither written nor removed there is no map. */
Test(meta_mark, of_a_map_before)
{
	const struct meta_node root = {.id = META_ROOT_ID, .kind = META_DIR};
	struct fixture f;
	char path[300];

	fixture_open(&f);
	put_some(f.m, 0, 3);
	(void)snprintf(path, sizeof(path), "%s/" META_DB_NAME, f.dir);
	meta_close(f.m);
	cr_assert_eq(unlink(path), 0);
	must(fault_configure("meta.mark.open:enospc:1+,meta.mark.remove:eio"));
	cr_expect_eq(meta_create(f.dir, VOLUME_UUID, STORE_UUID, &root), -EIO);
	cr_expect_eq(access(path, F_OK), -1);
	must(fault_configure("meta.mark.open:enospc:1+"));
	must(meta_create(f.dir, VOLUME_UUID, STORE_UUID, &root));
	must(fault_configure(""));
	must(meta_open(f.dir, META_OPEN_RW, &f.m, NULL));
	fixture_done(&f);
}

#endif

/* Writers that are killed one after the other never move what they wrote. */
Test(meta_mark, killed_again_and_again)
{
	char dir[2][64];
	struct fixture f;

	make_dir(dir[0]);
	make_dir(dir[1]);
	fixture_open(&f);
	put_some(f.m, 0, 3);
	copy_all(f.dir, dir[0]);
	for (uint64_t i = 1; i < 8; i++) {
		struct meta *m;

		must(meta_open(dir[(i + 1) % 2], META_OPEN_RW, &m, NULL));
		if (i % 3)
			put_some(m, i * 3, 3);
		copy_all(dir[(i + 1) % 2], dir[i % 2]);
		meta_close(m);
	}
	cr_assert_eq(nodes_in(dir[1]), 3 + 5 * 3);
	drop_dir(dir[0]);
	drop_dir(dir[1]);
	fixture_done(&f);
}

static uint64_t left(const char *dir)
{
	struct meta *m;
	struct meta_reader *rd;
	uint64_t ns;

	must(meta_open(dir, META_OPEN_RO, &m, NULL));
	rd = meta_reader_get(m);
	must(meta_left_get(rd, &ns));
	meta_reader_put(rd);
	meta_close(m);
	return ns;
}

/* When it was left is said by a close in good order, moved by nobody who changed
 * nothing, and no longer true of a map that somebody writes, or was killed over. */
Test(meta_mark, when_it_was_left)
{
	_cleanup_free_ char *why = NULL;
	struct fixture f;
	struct stat st;
	char older[64], crashed[64];
	char path[300];
	uint64_t ns;

	crash(&f, older, crashed);
	cr_assert_eq(left(crashed), 0u);
	must(meta_begin(f.m));
	meta_rollback(f.m);
	meta_close(f.m);
	ns = left(f.dir);
	cr_assert_neq(ns, 0u);
	(void)snprintf(path, sizeof(path), "%s/meta.db", f.dir);
	must(stat(path, &st));
	check(ns <= (uint64_t)clock_timespec_ns(&st.st_mtim), "left later");
	must(meta_open(f.dir, META_OPEN_RW, &f.m, &why));
	must(meta_begin(f.m));
	meta_rollback(f.m);
	meta_close(f.m);
	cr_assert_eq(left(f.dir), ns);

	must(meta_open(f.dir, META_OPEN_RW, &f.m, &why));
	put_some(f.m, 80, 1);
	copy_all(f.dir, crashed);
	cr_assert_eq(left(crashed), 0u);
	must(meta_begin(f.m));
	must(meta_left_set(f.m, 4711));
	must(meta_commit(f.m));
	put_some(f.m, 81, 1);
	meta_close(f.m);
	cr_assert_eq(left(f.dir), 4711u);
	must(meta_open(f.dir, META_OPEN_RW, &f.m, &why));
	must(meta_begin(f.m));
	must(meta_left_set(f.m, 0));
	must(meta_commit(f.m));
	meta_close(f.m);
	check(left(f.dir) > ns, "not left again");
	f.m = NULL;
	drop_dir(older);
	drop_dir(crashed);
	fixture_done(&f);
}
