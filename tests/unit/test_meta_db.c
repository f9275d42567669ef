/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening a map: alone, by two processes, after a kill, on a read-only mount.
 * What is damaged stands in test_meta_damage.c.
 */
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "meta/db.h"
#include "meta_fixture.h"

static int open_why(const struct fixture *f, enum meta_open_mode mode)
{
	struct meta *m = NULL;
	char *why = NULL;
	int r = meta_open(f->dir, mode, &m, &why);

	if (r == 0)
		meta_close(m);
	else
		cr_assert(why && strlen(why) > 10 &&
				  why[strlen(why) - 1] == '.',
			  "one sentence: %s", why ? why : "none");
	free(why);
	return r;
}

static int file_count(const struct fixture *f)
{
	DIR *dir = opendir(f->dir);
	struct dirent *d;
	int count = 0;

	while ((d = readdir(dir)))
		count += d->d_name[0] != '.';
	(void)closedir(dir);
	return count;
}

Test(db, create_and_open)
{
	struct meta_node node;
	struct meta_reader *rd;
	struct fixture f;
	uint64_t value;

	fixture_open(&f);
	cr_assert_str_eq(meta_volume_uuid(f.m), VOLUME_UUID);
	cr_assert_str_eq(meta_store_uuid(f.m), STORE_UUID);
	rd = meta_reader_get(f.m);
	must(meta_node_get(rd, META_ROOT_ID, &node));
	cr_assert_eq(node.kind, META_DIR);
	cr_assert_eq(node.backing.gen, 3);
	must(meta_number_get(rd, META_NUM_NODE_RESERVED, &value));
	cr_assert_eq(value, META_FIRST_ID - 1);
	must(meta_number_get(rd, META_NUM_HORIZON, &value));
	cr_assert_eq(value, 0);
	expect_int(meta_integrity(rd), 1);
	meta_reader_put(rd);
	meta_close(f.m);
	f.m = NULL;
	cr_assert_eq(file_count(&f), 2, "the map and its mark, no WAL");
	fixture_done(&f);
}

Test(db, create_refuses_a_second_time)
{
	struct meta_node root = {.id = META_ROOT_ID, .kind = META_DIR};
	struct fixture f;
	uint64_t before;

	fixture_create(&f);
	before = fixture_hash(&f);
	expect_int(meta_create(f.dir, VOLUME_UUID, STORE_UUID, &root), -EEXIST);
	cr_assert_eq(fixture_hash(&f), before);
	fixture_done(&f);
}

/* A WAL without its database must not become that of the new one. */
Test(db, create_removes_a_stray_wal)
{
	struct meta_node root = {.id = META_ROOT_ID, .kind = META_DIR};
	struct fixture f;
	char path[128];
	int fd;

	fixture_create(&f);
	(void)snprintf(path, sizeof(path), "%s/meta.db", f.dir);
	cr_assert_eq(unlink(path), 0);
	(void)snprintf(path, sizeof(path), "%s/meta.db-wal", f.dir);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	cr_assert_eq(write(fd, "stray", 5), 5);
	(void)close(fd);
	must(meta_create(f.dir, VOLUME_UUID, STORE_UUID, &root));
	cr_assert_eq(file_count(&f), 2, "the map and its mark");
	fixture_reopen(&f, META_OPEN_RW);
	fixture_done(&f);
}

Test(db, missing)
{
	struct meta *m = NULL;
	char *why = NULL;
	struct fixture f;
	char path[128];

	fixture_create(&f);
	(void)snprintf(path, sizeof(path), "%s/meta.db", f.dir);
	cr_assert_eq(unlink(path), 0);
	expect_int(open_why(&f, META_OPEN_RW), -ENOENT);
	expect_int(open_why(&f, META_OPEN_RO), -ENOENT);
	cr_assert_eq(file_count(&f), 1, "the mark");
	expect_int(meta_open("/nowhere/at/all", META_OPEN_RW, &m, &why),
		   -ENOENT);
	free(why);
	fixture_done(&f);
}

Test(db, twice_in_one_process)
{
	struct fixture f;

	fixture_open(&f);
	expect_int(open_why(&f, META_OPEN_RW), -EBUSY);
	expect_int(open_why(&f, META_OPEN_RO), -EBUSY);
	/* And the refusal has not given our lock away. */
	must(meta_begin(f.m));
	put_node(f.m, 16, META_FILE, 1);
	must(meta_commit(f.m));
	fixture_done(&f);
}

/* ---- two processes ---- */

struct other {
	pid_t pid;
	int told; /* the child says that it is ready */
	int stop; /* closed to make it go on */
};

/* A child that opens the map, runs @work, says so and waits. */
static struct other other_start(const struct fixture *f,
				enum meta_open_mode mode,
				void (*work)(struct meta *))
{
	struct other o;
	struct meta *m;
	int told[2];
	int stop[2];
	char c;

	cr_assert(pipe2(told, O_CLOEXEC) == 0 && pipe2(stop, O_CLOEXEC) == 0);
	o.pid = fork();
	if (o.pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)close(stop[1]);
		if (meta_open(f->dir, mode, &m, NULL) < 0)
			_exit(1);
		if (work)
			work(m);
		if (write(told[1], "r", 1) != 1)
			_exit(1);
		if (read(stop[0], &c, 1) != 0)
			_exit(1);
		meta_close(m);
		_exit(0);
	}
	cr_assert(o.pid > 0);
	(void)close(told[1]);
	(void)close(stop[0]);
	o.told = told[0];
	o.stop = stop[1];
	cr_assert_eq(read(o.told, &c, 1), 1, "the other process is ready");
	return o;
}

static void other_end(struct other *o, int sig)
{
	int status;

	if (sig)
		cr_assert_eq(kill(o->pid, sig), 0);
	(void)close(o->stop);
	(void)close(o->told);
	cr_assert_eq(waitpid(o->pid, &status, 0), o->pid);
	if (!sig)
		cr_assert_eq(status, 0);
}

/* In the child the runner's assertions do not work: it knows its own. */
static void work_commit(struct meta *m)
{
	int r = meta_begin(m);

	assert(r == 0);
	for (uint64_t i = 0; i < 1000; i++) {
		struct meta_node node = {
			.id = 16 + i,
			.kind = META_FILE,
			.attr_seq = i + 1,
			.seq = i + 1,
		};

		r = meta_node_put(m, &node);
		assert(r == 0);
	}
	r = meta_commit(m);
	assert(r == 0);
}

Test(db, another_process_holds_it)
{
	enum meta_open_mode modes[] = {META_OPEN_RW, META_OPEN_RO};
	struct fixture f;

	fixture_create(&f);
	for (int i = 0; i < 2; i++) {
		/* One that has only opened it, and one that has written. */
		struct other o =
			other_start(&f, META_OPEN_RW, i ? work_commit : NULL);
		uint64_t before = fixture_hash(&f);

		expect_int(open_why(&f, modes[0]), -EBUSY);
		expect_int(open_why(&f, modes[1]), -EBUSY);
		cr_assert_eq(fixture_hash(&f), before);
		other_end(&o, 0);
	}
	expect_int(open_why(&f, META_OPEN_RW), 0);
	fixture_done(&f);
}

Test(db, another_process_reads_it)
{
	struct fixture f;
	struct other o;

	fixture_create(&f);
	o = other_start(&f, META_OPEN_RO, NULL);
	expect_int(open_why(&f, META_OPEN_RW), -EBUSY);
	expect_int(open_why(&f, META_OPEN_RO), 0);
	other_end(&o, 0);
	expect_int(open_why(&f, META_OPEN_RW), 0);
	fixture_done(&f);
}

/* The lock lasts although a reader of ours comes and goes. */
static void work_readers(struct meta *m)
{
	struct meta_reader *rd[12];

	work_commit(m);
	for (int i = 0; i < 12; i++)
		assert((rd[i] = meta_reader_get(m)));
	for (int i = 0; i < 12; i++)
		meta_reader_put(rd[i]);
}

Test(db, readers_do_not_give_the_lock_away)
{
	struct fixture f;
	struct other o;

	fixture_create(&f);
	o = other_start(&f, META_OPEN_RW, work_readers);
	expect_int(open_why(&f, META_OPEN_RW), -EBUSY);
	expect_int(open_why(&f, META_OPEN_RO), -EBUSY);
	other_end(&o, 0);
	fixture_done(&f);
}

/* ---- after a kill ---- */

static void expect_thousand(struct meta *m)
{
	struct meta_reader *a = meta_reader_get(m);
	struct meta_reader *b = meta_reader_get(m);
	struct meta_node node;

	must(meta_read_begin(a));
	must(meta_read_begin(b));
	for (uint64_t i = 0; i < 1000; i++) {
		must(meta_node_get(a, 16 + i, &node));
		cr_assert_eq(node.seq, i + 1);
		must(meta_node_get(b, 16 + i, &node));
	}
	meta_read_end(a);
	meta_read_end(b);
	expect_int(meta_integrity(a), 1);
	meta_reader_put(a);
	meta_reader_put(b);
}

static void leave_wal(struct fixture *f)
{
	struct other o;
	struct stat st;
	char path[128];

	fixture_create(f);
	o = other_start(f, META_OPEN_RW, work_commit);
	other_end(&o, SIGKILL);
	(void)snprintf(path, sizeof(path), "%s/meta.db-wal", f->dir);
	cr_assert(stat(path, &st) == 0 && st.st_size > 4096);
}

Test(db, read_only_sees_the_wal_and_leaves_it)
{
	struct fixture f;
	uint64_t before;

	leave_wal(&f);
	before = fixture_hash(&f);
	fixture_reopen(&f, META_OPEN_RO);
	expect_int(meta_begin(f.m), -EROFS);
	expect_int(meta_ballast_ensure(f.m), -EROFS);
	expect_thousand(f.m);
	cr_assert_eq(fixture_hash(&f), before, "nothing made while open");
	meta_close(f.m);
	f.m = NULL;
	cr_assert_eq(fixture_hash(&f), before, "nothing changed on close");
	/* The same again, by a writer. */
	fixture_reopen(&f, META_OPEN_RW);
	expect_thousand(f.m);
	fixture_done(&f);
}

Test(db, read_only_without_a_wal)
{
	struct fixture f;
	uint64_t before;

	fixture_create(&f);
	before = fixture_hash(&f);
	fixture_reopen(&f, META_OPEN_RO);
	cr_assert_eq(fixture_hash(&f), before);
	meta_close(f.m);
	f.m = NULL;
	cr_assert_eq(fixture_hash(&f), before);
	fixture_done(&f);
}

/* Needs the right to mount: passes without where there is none. */
Test(db, on_a_read_only_mount)
{
	struct fixture f;

	leave_wal(&f);
	if (unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount(f.dir, f.dir, NULL, MS_BIND, NULL) < 0 ||
	    mount(NULL, f.dir, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL) <
		    0) {
		fixture_done(&f);
		cr_skip_test("no right to mount");
	}
	expect_int(open_why(&f, META_OPEN_RW), -EROFS);
	fixture_reopen(&f, META_OPEN_RO);
	expect_thousand(f.m);
	meta_close(f.m);
	f.m = NULL;
	cr_assert_eq(umount(f.dir), 0);
	fixture_done(&f);
}

/* The path of the directory may lead elsewhere later: what is open stays. */
Test(db, path_moves_away)
{
	struct meta_reader *rd;
	struct meta_node node;
	struct fixture f;
	char moved[80];

	fixture_open(&f);
	(void)snprintf(moved, sizeof(moved), "%s.moved", f.dir);
	cr_assert_eq(rename(f.dir, moved), 0);
	work_commit(f.m);
	rd = meta_reader_get(f.m);
	cr_assert_not_null(rd);
	must(meta_node_get(rd, 16, &node));
	meta_reader_put(rd);
	cr_assert_eq(rename(moved, f.dir), 0);
	fixture_done(&f);
}

Test(db, reader_refuses_another_file)
{
	struct fixture f;
	char path[128];
	char aside[128];
	int fd;

	fixture_open(&f);
	(void)snprintf(path, sizeof(path), "%s/meta.db", f.dir);
	(void)snprintf(aside, sizeof(aside), "%s/aside", f.dir);
	cr_assert_eq(rename(path, aside), 0);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	(void)close(fd);
	cr_assert_null(meta_reader_get(f.m));
	cr_assert_eq(rename(aside, path), 0);
	fixture_done(&f);
}

/* However many readers come and go, descriptors do not add up. */
Test(db, readers_do_not_leak_descriptors)
{
	struct meta_reader *rd[20];
	struct rlimit lim = {.rlim_cur = 200, .rlim_max = 200};
	struct fixture f;

	fixture_open(&f);
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &lim), 0);
	for (int round = 0; round < 30; round++) {
		for (int i = 0; i < 20; i++)
			cr_assert_not_null(rd[i] = meta_reader_get(f.m));
		for (int i = 0; i < 20; i++)
			meta_reader_put(rd[i]);
	}
	fixture_done(&f);
}

static const struct {
	const char *name;
	int64_t value;
} writer_pragmas[] = {
	{"synchronous", 2},
	{"secure_delete", 0},
	{"foreign_keys", 0},
	{"mmap_size", 0},
	{"temp_store", 2},
	{"wal_autocheckpoint", 0},
	{"query_only", 0},
	{"page_size", 4096},
	{"auto_vacuum", 0},
	{"user_version", META_FORMAT_VERSION},
	{"application_id", 0x53514d52},
};

Test(db, pragmas)
{
	struct meta_reader *rd;
	struct fixture f;
	int64_t value;

	fixture_open(&f);
	for (size_t i = 0; i < ARRAY_SIZE(writer_pragmas); i++) {
		value = -1;
		must(conn_pragma_get(&f.m->writer.conn, writer_pragmas[i].name,
				     &value));
		cr_assert_eq(value, writer_pragmas[i].value, "%s",
			     writer_pragmas[i].name);
	}
	rd = meta_reader_get(f.m);
	must(conn_pragma_get(&rd->conn, "query_only", &value));
	cr_assert_eq(value, 1);
	must(conn_pragma_get(&rd->conn, "wal_autocheckpoint", &value));
	cr_assert_eq(value, 0);
	expect_int(conn_exec(&rd->conn, "DELETE FROM node"), -EROFS);
	meta_reader_put(rd);
	fixture_done(&f);
}

/* What is only read hangs as well: its calls are the guard's. */
Test(db, a_read_only_map_is_read_under_its_guard)
{
	struct meta_reader *rd;
	struct fixture f;
	uint64_t value;

	fixture_open(&f);
	must(meta_begin(f.m));
	put_node(f.m, 16, META_FILE, 5);
	must(meta_commit(f.m));
	fixture_reopen(&f, META_OPEN_RO);
	guard_on(meta_guard(f.m));
	rd = meta_reader_get(f.m);
	cr_assert_not_null(rd);
	must(meta_number_get(rd, META_NUM_DURABLE_SEQ, &value));
	must(meta_intent_count(rd, &value));
	/* Of this one nothing was read yet. */
	guard_give_up(meta_guard(f.m));
	expect_int(meta_moment_at(rd, 1, &value), -EIO);
	meta_reader_put(rd);
	fixture_done(&f);
}
