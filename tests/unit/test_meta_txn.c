/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transactions: what readers see, what an error leaves, a full disk, the WAL.
 */
#include <pthread.h>
#include <sched.h>
#include <sqlite3.h>
#include <sys/mount.h>

#include "base/clock.h"
#include "meta/db.h"
#include "meta_fixture.h"

static int node_there(struct meta_reader *rd, uint64_t id)
{
	struct meta_node node;
	int r = meta_node_get(rd, id, &node);

	check(r == 0 || r == -ENOENT, "get: %d", r);
	return r == 0;
}

Test(meta_txn, what_is_seen)
{
	struct meta_reader *old;
	struct meta_reader *rd;
	struct fixture f;

	fixture_open(&f);
	old = meta_reader_get(f.m);
	rd = meta_reader_get(f.m);
	/* The snapshot is taken here, not at its first lookup. */
	must(meta_read_begin(old));
	must(meta_begin(f.m));
	put_node(f.m, 16, META_FILE, 1);
	expect_int(node_there(meta_writer_view(f.m), 16), 1);
	expect_int(node_there(rd, 16), 0);
	must(meta_commit(f.m));
	expect_int(node_there(rd, 16), 1);
	expect_int(node_there(old, 16), 0);
	meta_read_end(old);
	expect_int(node_there(old, 16), 1);
	must(meta_begin(f.m));
	must(meta_node_del(f.m, 16));
	meta_rollback(f.m);
	expect_int(node_there(rd, 16), 1);
	meta_reader_put(rd);
	meta_reader_put(old);
	fixture_done(&f);
}

/* As if there were no memory for the statement that ends a snapshot. */
static int no_end(void *arg, int what, const char *a, const char *b,
		  const char *c, const char *d)
{
	(void)arg;
	(void)a;
	(void)b;
	(void)c;
	(void)d;
	return what == SQLITE_TRANSACTION ? SQLITE_DENY : SQLITE_OK;
}

Test(meta_txn, a_snapshot_that_does_not_end_is_seen_by_nobody)
{
	struct meta_reader *rd;
	struct fixture f;

	fixture_open(&f);
	rd = meta_reader_get(f.m);
	must(meta_read_begin(rd));
	check(sqlite3_set_authorizer(rd->conn.db, no_end, NULL) == SQLITE_OK,
	      "authorizer");
	meta_read_end(rd);
	meta_reader_put(rd);
	must(meta_begin(f.m));
	put_node(f.m, 16, META_FILE, 1);
	must(meta_commit(f.m));
	rd = meta_reader_get(f.m);
	expect_int(node_there(rd, 16), 1);
	meta_reader_put(rd);
	fixture_done(&f);
}

/* ---- a reader that holds the writer's lock ---- */

static void *let_go_later(void *arg)
{
	clock_sleep_ms(200);
	check(sqlite3_exec(arg, "ROLLBACK", NULL, NULL, NULL) == SQLITE_OK,
	      "rollback");
	return NULL;
}

/* As readers of this process do for an instant, see writer_take(). */
Test(meta_txn, begin_waits_for_the_lock)
{
	pthread_t thread;
	struct fixture f;
	char path[128];
	sqlite3 *db;

	fixture_open(&f);
	(void)snprintf(path, sizeof(path), "%s/meta.db", f.dir);
	expect_int(sqlite3_open(path, &db), SQLITE_OK);
	expect_int(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL),
		   SQLITE_OK);
	expect_int(pthread_create(&thread, NULL, let_go_later, db), 0);
	must(meta_begin(f.m));
	put_node(f.m, 16, META_FILE, 1);
	must(meta_commit(f.m));
	expect_int(pthread_join(thread, NULL), 0);
	expect_int(sqlite3_close(db), SQLITE_OK);
	fixture_done(&f);
}

Test(meta_txn, survives_reopening)
{
	struct meta_reader *rd;
	struct fixture f;

	fixture_open(&f);
	must(meta_begin(f.m));
	put_node(f.m, 16, META_FILE, 1);
	must(meta_number_set(f.m, META_NUM_HORIZON, 77));
	must(meta_commit(f.m));
	fixture_reopen(&f, META_OPEN_RW);
	cr_assert_eq(f.m->horizon, 77);
	rd = meta_reader_get(f.m);
	expect_int(node_there(rd, 16), 1);
	meta_reader_put(rd);
	fixture_done(&f);
}

/* Soft commits leave frames for the next ordinary one to sync, also when
 * that has no change of its own. */
Test(meta_txn, soft)
{
	struct meta_reader *rd;
	struct fixture f;

	fixture_open(&f);
	for (uint64_t i = 0; i < 3; i++) {
		must(meta_begin_soft(f.m));
		put_node(f.m, 16 + i, META_FILE, 1);
		must(meta_commit(f.m));
	}
	cr_assert(f.m->wal_unsynced);
	rd = meta_reader_get(f.m);
	expect_int(node_there(rd, 18), 1);
	meta_reader_put(rd);
	must(meta_begin(f.m));
	must(meta_commit(f.m));
	cr_assert(!f.m->wal_unsynced);
	must(meta_begin_soft(f.m));
	put_node(f.m, 20, META_FILE, 1);
	must(meta_commit(f.m));
	must(meta_begin(f.m));
	put_node(f.m, 21, META_FILE, 1);
	must(meta_commit(f.m));
	cr_assert(!f.m->wal_unsynced);
	must(meta_begin_soft(f.m));
	put_node(f.m, 22, META_FILE, 1);
	must(meta_commit(f.m));
	fixture_reopen(&f, META_OPEN_RW);
	rd = meta_reader_get(f.m);
	expect_int(node_there(rd, 22), 1);
	meta_reader_put(rd);
	fixture_done(&f);
}

/* Two names of one directory under one seq: that call fails, the rest holds. */
Test(meta_txn, same_cookie_twice)
{
	struct meta_dentry b = make_dentry(META_ROOT_ID, "b", 17, 5);
	struct meta_reader *rd;
	struct meta_dentry d;
	struct fixture f;

	fixture_open(&f);
	must(meta_begin(f.m));
	put_dentry(f.m, META_ROOT_ID, "a", 16, 5);
	expect_int(meta_dentry_put(f.m, &b), -EEXIST);
	put_dentry(f.m, META_ROOT_ID, "c", 18, 6);
	must(meta_commit(f.m));
	rd = meta_reader_get(f.m);
	must(meta_dentry_get(rd, META_ROOT_ID, "a", 1, &d));
	must(meta_dentry_get(rd, META_ROOT_ID, "c", 1, &d));
	expect_int(meta_dentry_get(rd, META_ROOT_ID, "b", 1, &d), -ENOENT);
	meta_reader_put(rd);
	fixture_done(&f);
}

/* A map that may not grow: everything of the transaction is undone, and the
 * next one goes on. */
Test(meta_txn, full)
{
	struct meta_reader *rd;
	struct fixture f;
	int64_t pages;
	int r = 0;

	fixture_open(&f);
	must(conn_pragma_get(&f.m->writer.conn, "page_count", &pages));
	must(conn_pragma_set(&f.m->writer.conn, "max_page_count", pages + 4));
	must(meta_begin(f.m));
	for (uint64_t i = 0; i < 5000 && r == 0; i++)
		r = meta_extent_set(f.m, 16, i * 8192, i * 8192 + 4096, i + 1);
	cr_assert_eq(r, -ENOSPC);
	/* Whatever comes now must not become a transaction of its own. */
	expect_int(meta_extent_set(f.m, 17, 0, 4096, 1), -ENOSPC);
	expect_int(meta_commit(f.m), -ENOSPC);
	rd = meta_reader_get(f.m);
	struct meta_delta_sum sum;
	must(meta_delta_sum(rd, 0, 100, &sum));
	cr_assert_eq(sum.bytes, 0);
	must(meta_begin(f.m));
	put_node(f.m, 16, META_FILE, 1);
	must(meta_commit(f.m));
	expect_int(node_there(rd, 16), 1);
	expect_int(meta_integrity(rd), 1);
	meta_reader_put(rd);
	fixture_done(&f);
}

/* Fill what is left on the file system. */
static void fill(const char *dir)
{
	static char buf[4096];
	char path[128];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/fill", dir);
	fd = open(path, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
	while (write(fd, buf, sizeof(buf)) > 0)
		;
	(void)close(fd);
}

/* On a small file system of its own. Needs the right to mount. */
Test(meta_txn, disk_full_and_ballast)
{
	struct meta_node root = {.id = META_ROOT_ID, .kind = META_DIR};
	struct meta_reader *rd;
	struct fixture f;
	uint64_t done = 0;
	int r = 0;

	fixture_create(&f);
	if (unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("none", f.dir, "tmpfs", 0, "size=8m") < 0) {
		fixture_done(&f);
		cr_skip_test("no right to mount");
	}
	must(meta_create(f.dir, VOLUME_UUID, STORE_UUID, &root));
	fixture_reopen(&f, META_OPEN_RW);
	expect_int(meta_ballast_ensure(f.m), 0);
	fill(f.dir);
	while (r == 0) {
		must(meta_begin(f.m));
		for (uint64_t i = 0; i < 100; i++)
			must(meta_extent_set(f.m, 16, (done * 100 + i) * 8192,
					     (done * 100 + i) * 8192 + 4096,
					     done + 1));
		r = meta_commit(f.m);
		done += r == 0;
		check(done < 100000, "never full");
	}
	cr_assert_eq(r, -ENOSPC);
	must(meta_ballast_release(f.m));
	must(meta_ballast_release(f.m));
	must(meta_begin(f.m));
	must(meta_node_raise(f.m, META_ROOT_ID, 0, done + 1));
	must(meta_commit(f.m));
	fill(f.dir);
	expect_int(meta_ballast_ensure(f.m), 1);
	rd = meta_reader_get(f.m);
	struct meta_delta_sum sum;
	must(meta_delta_sum(rd, 0, UINT64_MAX, &sum));
	cr_assert_eq(sum.bytes, done * 100 * 4096);
	expect_int(meta_integrity(rd), 1);
	meta_reader_put(rd);
	/* With no room to move the WAL it stays, and is read again. */
	fixture_reopen(&f, META_OPEN_RW);
	rd = meta_reader_get(f.m);
	must(meta_delta_sum(rd, 0, UINT64_MAX, &sum));
	cr_assert_eq(sum.bytes, done * 100 * 4096);
	meta_reader_put(rd);
	meta_close(f.m);
	f.m = NULL;
	cr_assert_eq(umount(f.dir), 0);
	fixture_done(&f);
}

Test(meta_txn, ballast)
{
	struct fixture f;
	struct stat st;
	char path[128];

	fixture_open(&f);
	(void)snprintf(path, sizeof(path), "%s/ballast", f.dir);
	expect_int(meta_ballast_release(f.m), 0);
	expect_int(meta_ballast_ensure(f.m), 0);
	cr_assert(stat(path, &st) == 0 && st.st_size == 4 << 20 &&
		  st.st_blocks >= 8192);
	expect_int(meta_ballast_ensure(f.m), 0);
	expect_int(meta_ballast_release(f.m), 0);
	cr_assert(stat(path, &st) == 0 && st.st_size == 0);
	expect_int(meta_ballast_ensure(f.m), 0);
	fixture_done(&f);
}

/* The WAL is moved now and then, and does not grow for ever. */
static void check_wal_is_moved(int (*begin)(struct meta *m))
{
	struct fixture f;
	struct stat st;
	char path[128];

	fixture_open(&f);
	for (uint64_t round = 0; round < 60; round++) {
		must(begin(f.m));
		for (uint64_t i = 0; i < 500; i++)
			must(meta_extent_set(f.m, 16 + i * 37 % 500,
					     round * 8192, round * 8192 + 4096,
					     round * 500 + i + 1));
		must(meta_commit(f.m));
	}
	(void)snprintf(path, sizeof(path), "%s/meta.db-wal", f.dir);
	cr_assert_eq(stat(path, &st), 0);
	cr_assert(st.st_size < 40 << 20, "%ld", (long)st.st_size);
	(void)snprintf(path, sizeof(path), "%s/meta.db", f.dir);
	cr_assert_eq(stat(path, &st), 0);
	cr_assert(st.st_size > 200 * 4096, "%ld", (long)st.st_size);
	fixture_done(&f);
}

Test(meta_txn, wal_is_moved)
{
	check_wal_is_moved(meta_begin);
}

Test(meta_txn, wal_is_moved_by_soft_commits)
{
	check_wal_is_moved(meta_begin_soft);
}

static void file_copy(const char *from_dir, const char *to_dir,
		      const char *name)
{
	char path[256], buf[65536];
	int from, to;
	ssize_t n;

	(void)snprintf(path, sizeof(path), "%s/%s", from_dir, name);
	from = open(path, O_RDONLY | O_CLOEXEC);
	(void)snprintf(path, sizeof(path), "%s/%s", to_dir, name);
	to = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	must(from);
	must(to);
	while ((n = read(from, buf, sizeof(buf))) > 0)
		expect_int((int)write(to, buf, (size_t)n), (int)n);
	expect_int((int)n, 0);
	must(close(to));
	must(close(from));
}

/* The file of the WAL is longer than what is in it; a crash leaves it so. */
Test(meta_txn, wal_is_filled_ahead)
{
	struct fixture f, crashed;
	struct meta_reader *rd;
	off_t size = 0;
	int grown = 0;
	struct stat st;
	char path[128];

	fixture_open(&f);
	fixture_create(&crashed);
	(void)snprintf(path, sizeof(path), "%s/meta.db-wal", f.dir);
	for (uint64_t i = 0; i < 500; i++) {
		must(meta_begin(f.m));
		put_node(f.m, 16 + i, META_FILE, i + 1);
		must(meta_commit(f.m));
		cr_assert_eq(stat(path, &st), 0);
		check(st.st_size >= (f.m->wal_pages + 8) * 4120l, "%lu",
		      (unsigned long)i);
		grown += st.st_size != size;
		size = st.st_size;
	}
	cr_assert(grown > 1 && grown < 20, "%d", grown);
	file_copy(f.dir, crashed.dir, "meta.db");
	file_copy(f.dir, crashed.dir, "meta.db-wal");
	file_copy(f.dir, crashed.dir, "meta.mark");
	fixture_reopen(&crashed, META_OPEN_RW);
	rd = meta_reader_get(crashed.m);
	for (uint64_t i = 0; i < 500; i++)
		expect_int(node_there(rd, 16 + i), 1);
	expect_int(meta_integrity(rd), 1);
	meta_reader_put(rd);
	must(meta_begin(crashed.m));
	put_node(crashed.m, 10000, META_FILE, 10000);
	must(meta_commit(crashed.m));
	fixture_done(&crashed);
	fixture_done(&f);
}
