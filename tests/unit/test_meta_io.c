/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The n-th read, write, cut or sync below the map fails, for each n until
 * nothing does any more. Whatever fails: the caller is told, the map is sound
 * when it is opened again, and its state is the one before the transaction
 * that failed or the one after it, whole; what was reported as committed is
 * there.
 *
 * The calls are counted in SQLite's own layer for files, under the one that
 * the map uses.
 */
#include <sqlite3.h>
#include <stdbool.h>

#include "meta/db.h"
#include "meta/vfs.h"
#include "meta_fixture.h"

#define FIRST_ID UINT64_C(16)
#define BLOCK	 UINT64_C(4096)

enum io_kind {
	IO_READ,
	IO_WRITE,
	IO_TRUNCATE,
	IO_SYNC,
	IO_KINDS
};

/* What fails, and how; all for one thread. */
static struct {
	bool armed;
	enum io_kind kind;
	unsigned int at;    /* the call that fails; from 1 */
	unsigned int count; /* calls of this kind so far */
	bool onward;	    /* and all behind it */
	int code;
	bool hit;
} io;

/* SQLite has methods of several kinds: the database's, the WAL's. */
static struct {
	const sqlite3_io_methods *real;
	sqlite3_io_methods hooked;
} layer[4];

static int (*real_open)(sqlite3_vfs *, const char *, sqlite3_file *, int,
			int *);

static const sqlite3_io_methods *real_of(const sqlite3_file *f)
{
	for (size_t i = 0; i < ARRAY_SIZE(layer); i++)
		if (f->pMethods == &layer[i].hooked)
			return layer[i].real;
	abort(); /* no file of ours */
}

static int io_pass(enum io_kind kind)
{
	if (!io.armed || kind != io.kind)
		return SQLITE_OK;
	io.count++;
	if (io.count != io.at && !(io.onward && io.count > io.at))
		return SQLITE_OK;
	io.hit = true;
	return io.code;
}

static int io_read(sqlite3_file *f, void *buf, int len, sqlite3_int64 off)
{
	int rc = io_pass(IO_READ);

	return rc == SQLITE_OK ? real_of(f)->xRead(f, buf, len, off) : rc;
}

static int io_write(sqlite3_file *f, const void *buf, int len,
		    sqlite3_int64 off)
{
	int rc = io_pass(IO_WRITE);

	if (rc == SQLITE_OK)
		return real_of(f)->xWrite(f, buf, len, off);
	/* A part may have been written all the same. */
	if (len > 512)
		(void)real_of(f)->xWrite(f, buf, 512, off);
	return rc;
}

static int io_truncate(sqlite3_file *f, sqlite3_int64 size)
{
	int rc = io_pass(IO_TRUNCATE);

	return rc == SQLITE_OK ? real_of(f)->xTruncate(f, size) : rc;
}

/* No power is lost here, so nothing need reach the disk. */
static int io_sync(sqlite3_file *f, int flags)
{
	(void)f;
	(void)flags;
	return io_pass(IO_SYNC);
}

static int io_open(sqlite3_vfs *self, const char *name, sqlite3_file *file,
		   int flags, int *out_flags)
{
	int rc = real_open(self, name, file, flags, out_flags);
	size_t i = 0;

	if (rc != SQLITE_OK)
		return rc;
	while (layer[i].real && layer[i].real != file->pMethods)
		i++;
	cr_assert(i < ARRAY_SIZE(layer));
	if (!layer[i].real) {
		layer[i].real = file->pMethods;
		layer[i].hooked = *file->pMethods;
		layer[i].hooked.xRead = io_read;
		layer[i].hooked.xWrite = io_write;
		layer[i].hooked.xTruncate = io_truncate;
		layer[i].hooked.xSync = io_sync;
		/* Without mapped pages nothing goes past these. */
		layer[i].hooked.iVersion = MIN(file->pMethods->iVersion, 2);
	}
	file->pMethods = &layer[i].hooked;
	return SQLITE_OK;
}

static void hook(void)
{
	sqlite3_vfs *vfs;

	must(vfs_register());
	vfs = sqlite3_vfs_find(VFS_RW);
	cr_assert_not_null(vfs);
	real_open = vfs->xOpen;
	vfs->xOpen = io_open;
}

/* ---- the transactions: step k brings state k-1 to state k ---- */

#define STEPS 5u
#define WIDE  300u

static int put_file(struct meta *m, uint64_t id, uint64_t seq)
{
	struct meta_node node = {
		.id = id,
		.kind = META_FILE,
		.backing = {.ino = id + 1000, .gen = ~id},
		.attr_seq = seq,
		.seq = seq,
	};
	struct meta_dentry d;
	char name[64];
	int r;

	(void)snprintf(name, sizeof(name), "a-name-of-some-length-%llu",
		       (unsigned long long)id);
	d = make_dentry(META_ROOT_ID, name, id, seq);
	r = meta_node_put(m, &node);
	if (r == 0)
		r = meta_dentry_put(m, &d);
	return r < 0 ? r : meta_extent_set(m, id, 0, BLOCK, seq);
}

/* The mark of a state, in rows of four tables. */
static int put_mark(struct meta *m, unsigned int k)
{
	struct meta_intent in = {
		.node = FIRST_ID,
		.start = k * BLOCK,
		.end = (k + 1) * BLOCK,
		.kind = META_INTENT_DATA,
		.generation = k,
	};
	int r = meta_intent_drop_through(m, k - 1);

	if (r >= 0)
		r = meta_intent_put(m, &in);
	if (r >= 0)
		r = meta_number_set(m, META_NUM_DURABLE_SEQ, k);
	if (r >= 0)
		r = meta_node_raise(m, META_ROOT_ID, 0, k);
	return r < 0 ? r : 0;
}

static int step_rows(struct meta *m, unsigned int k)
{
	uint64_t base = FIRST_ID + (uint64_t)k * WIDE;
	unsigned int wide = k == 3 ? WIDE : 3;
	int r = put_mark(m, k);

	for (unsigned int i = 0; r == 0 && i < wide; i++)
		r = put_file(m, base + i, k * 1000 + i);
	for (unsigned int i = 0; r == 0 && k == 4 && i < WIDE; i += 2) {
		char name[64];
		uint64_t id = FIRST_ID + 3 * WIDE + i;

		(void)snprintf(name, sizeof(name), "a-name-of-some-length-%llu",
			       (unsigned long long)id);
		r = meta_node_del(m, id);
		if (r == 0)
			r = meta_dentry_del(m, META_ROOT_ID, name,
					    strlen(name));
		r = MIN(r, 0);
	}
	return r;
}

/* @ret_told: the number of the last state that was reported as reached. */
static int run_steps(struct meta *m, unsigned int *ret_told)
{
	int r = 0;

	for (unsigned int k = 1; r == 0 && k <= STEPS; k++) {
		r = k == 2 ? meta_begin_soft(m) : meta_begin(m);
		if (r < 0)
			break;
		r = step_rows(m, k);
		if (r < 0) {
			meta_rollback(m);
			break;
		}
		r = meta_commit(m);
		if (r == 0)
			*ret_told = k;
	}
	return r;
}

/* ---- what is found ---- */

static bool has_node(struct meta_reader *rd, uint64_t id)
{
	struct meta_node node;
	int r = meta_node_get(rd, id, &node);

	check(r == 0 || r == -ENOENT, "node: %d", r);
	return r == 0;
}

static void check_mark(struct meta_reader *rd, unsigned int k)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_intent in;
	uint64_t count;

	must(meta_intent_count(rd, &count));
	check(count == (k > 0), "%llu intents in state %u",
	      (unsigned long long)count, k);
	if (!k)
		return;
	must(meta_iter_intents(rd, &it));
	expect_int(meta_next_intent(&it, &in), 1);
	check(in.generation == k && in.start == k * BLOCK,
	      "state %u has the intent of %llu", k,
	      (unsigned long long)in.generation);
}

/* The number of the state; it must be that state in every row. */
static unsigned int find_state(struct meta_reader *rd)
{
	uint64_t durable, names;
	unsigned int k;

	must(meta_number_get(rd, META_NUM_DURABLE_SEQ, &durable));
	k = (unsigned int)durable;
	check(k <= STEPS, "state %u", k);
	check_mark(rd, k);
	for (unsigned int i = 1; i <= STEPS; i++) {
		unsigned int wide = i == 3 ? WIDE : 3;

		for (unsigned int j = 0; j < wide; j++) {
			uint64_t id = FIRST_ID + (uint64_t)i * WIDE + j;
			bool gone = i == 3 && k >= 4 && j % 2 == 0;

			check(has_node(rd, id) == (i <= k && !gone),
			      "node %u of step %u in state %u", j, i, k);
			must(meta_dentry_count(rd, id, &names));
			check(names == (i <= k && !gone),
			      "name of node %u of step %u in state %u", j, i,
			      k);
		}
	}
	expect_int(meta_integrity(rd), 1);
	return k;
}

/* One run; false when nothing failed any more. */
static bool one_failure(enum io_kind kind, unsigned int n, int code,
			bool onward)
{
	unsigned int told = 0, found;
	struct meta_reader *rd;
	struct fixture f;
	char *why = NULL;
	int r;

	fixture_create(&f);
	io.kind = kind;
	io.at = n;
	io.count = 0;
	io.onward = onward;
	io.code = code;
	io.hit = false;
	io.armed = true;
	r = meta_open(f.dir, META_OPEN_RW, &f.m, &why);
	free(why);
	if (r == 0) {
		r = run_steps(f.m, &told);
		/* Unknown is unknown: it is not written to again. */
		if (r < 0 && r != -ENOSPC && r != -ENOMEM && f.m->failed)
			check(meta_begin(f.m) < 0, "goes on after %d", r);
		meta_close(f.m);
		f.m = NULL;
	}
	io.armed = false;
	check(r == 0 || io.hit, "%d without a reason", r);
	check(!(r == 0 && told != STEPS), "no error, and state %u", told);
	fixture_reopen(&f, META_OPEN_RW);
	rd = meta_reader_get(f.m);
	found = find_state(rd);
	meta_reader_put(rd);
	check(found == told || (r < 0 && found == told + 1),
	      "kind %d call %u: told of state %u (%d), found %u", (int)kind, n,
	      told, r, found);
	/* And it can be written to. */
	must(meta_begin(f.m));
	must(put_file(f.m, FIRST_ID + 90000, 99999));
	must(meta_commit(f.m));
	fixture_done(&f);
	return io.hit;
}

static void every_failure(enum io_kind kind, int code, bool onward)
{
	unsigned int n = 1;

	hook();
	while (one_failure(kind, n, code, onward))
		n += n < 60 ? 1 : 7;
	cr_log_info("kind %d: %u calls", (int)kind, n);
	check(n > 2 || kind == IO_TRUNCATE, "only %u calls were seen", n);
}

Test(meta_io, a_write_fails)
{
	every_failure(IO_WRITE, SQLITE_IOERR_WRITE, false);
}

Test(meta_io, all_writes_fail)
{
	every_failure(IO_WRITE, SQLITE_IOERR_WRITE, true);
}

Test(meta_io, a_write_finds_no_room)
{
	every_failure(IO_WRITE, SQLITE_FULL, false);
}

Test(meta_io, all_writes_find_no_room)
{
	every_failure(IO_WRITE, SQLITE_FULL, true);
}

Test(meta_io, a_sync_fails)
{
	every_failure(IO_SYNC, SQLITE_IOERR_FSYNC, false);
}

Test(meta_io, all_syncs_fail)
{
	every_failure(IO_SYNC, SQLITE_IOERR_FSYNC, true);
}

Test(meta_io, a_read_fails)
{
	every_failure(IO_READ, SQLITE_IOERR_READ, false);
}

Test(meta_io, all_reads_fail)
{
	every_failure(IO_READ, SQLITE_IOERR_READ, true);
}

Test(meta_io, a_cut_fails)
{
	every_failure(IO_TRUNCATE, SQLITE_IOERR_TRUNCATE, false);
}
