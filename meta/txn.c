/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writer: transactions, and moving the WAL into the database.
 *
 * The WAL is moved by whoever commits, softly or not, when it has grown by
 * WAL_MOVE_PAGES since the last time, under the writer lock, so that it is one
 * connection and one thread. Readers go on meanwhile; a reader with an old
 * snapshot only makes the move stop short, and the next one goes on from there.
 * Where it is moved to its end it begins anew, in the room that it has: on a disk
 * that is full there may be no other.
 *
 * Ahead of its end the file of the WAL is filled with zeros, a piece at a
 * time: a sync of bytes that lie where there were some before is one write and
 * one flush, and one that makes the file longer is a transaction of the
 * filesystem's journal besides. Zeros are no frame, and a WAL ends where the
 * first one is that does not fit.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "meta/mark.h"

/* 16 MiB: large enough that a page changed often is moved once, small enough
 * to be read through at the next open. */
#define WAL_MOVE_PAGES 4096
/* Of a small filesystem, this part of it. */
#define WAL_MOVE_SHARE	   64
#define WAL_MOVE_PAGES_MIN 256
/* So long a full disk waits for those who read an old snapshot. */
#define ROOM_WAIT_MS 1000

/* Far longer than a reader holds the writer's lock; see writer_take(). */
#define BEGIN_WAIT_MS 10000

/* A frame is a page and its header. */
#define WAL_FRAME_BYTES (META_PAGE_BYTES + 24)
#define WAL_FILL_BYTES	(1 << 20)
/* So much is to be there for what comes next. */
#define WAL_SPARE_BYTES (16 * WAL_FRAME_BYTES)

static int wal_committed(void *arg, sqlite3 *db, const char *name, int pages)
{
	struct meta *m = arg;

	(void)db;
	(void)name;
	m->wal_pages = pages;
	/* What is synced is the whole file. */
	m->wal_unsynced = m->writer_soft;
	return SQLITE_OK;
}

static int share_of_disk(struct map_call *k)
{
	struct statvfs v;
	uint64_t pages;

	if (fstatvfs(k->dir_fd, &v) < 0 || !v.f_blocks)
		return WAL_MOVE_PAGES;
	pages = (uint64_t)v.f_blocks * v.f_frsize / META_PAGE_BYTES /
		WAL_MOVE_SHARE;
	return (int)MIN(MAX(pages, (uint64_t)WAL_MOVE_PAGES_MIN),
			(uint64_t)WAL_MOVE_PAGES);
}

int writer_open(struct meta *m, enum conn_role role)
{
	struct map_call k = {
		.fn = share_of_disk, .dir_fd = m->dir_fd, .fd = -1};
	int r = map_call(m, &k);

	if (r < 0)
		return r;
	m->wal_move_pages = r;
	r = conn_open(&m->writer.conn, m->db_path, role, m->guard);
	if (r < 0)
		return r;
	m->writer.meta = m;
	(void)sqlite3_wal_hook(m->writer.conn.db, wal_committed, m);
	return 0;
}

/* Want of space or a reader in the way: the WAL still has everything. Any
 * other failure may have lost pages that were written, and to try again
 * could make it look as if it had not. */
static void wal_move(struct meta *m, int how)
{
	int rc = sqlite3_wal_checkpoint_v2(m->writer.conn.db, NULL, how, NULL,
					   NULL);
	int r = db_errno(m->writer.conn.db, rc);

	m->wal_pages_moved = m->wal_pages;
	if (r == 0 || r == -EBUSY || r == -ENOSPC || r == -ENOMEM)
		return;
	m->failed = r;
	log_err("the map can no longer be written: path=%s error=%s",
		m->told_path, strerror(-r));
}

static void wal_move_if_large(struct meta *m)
{
	/* The WAL began anew. */
	if (m->wal_pages < m->wal_pages_moved)
		m->wal_pages_moved = 0;
	if (m->wal_pages - m->wal_pages_moved >= m->wal_move_pages)
		wal_move(m, SQLITE_CHECKPOINT_PASSIVE);
}

void writer_make_room(struct meta *m)
{
	sqlite3 *db = m->writer.conn.db;

	mutex_lock(&m->writer_lock);
	if (db && !m->failed) {
		(void)sqlite3_busy_timeout(db, ROOM_WAIT_MS);
		wal_move(m, SQLITE_CHECKPOINT_RESTART);
		(void)sqlite3_busy_timeout(db, 0);
	}
	mutex_unlock(&m->writer_lock);
}

/*
 * How long a commit waits is set before a transaction begins. Soft is NORMAL
 * and not OFF: a commit does not sync the WAL, but the header of a WAL that
 * begins anew is synced before the frames, and the WAL before it is moved.
 * Without that a power loss could bring back old pages over newer ones.
 */
static int writer_set_soft(struct meta *m, bool soft)
{
	int r;

	if (m->writer_soft == soft)
		return 0;
	r = conn_pragma_set(&m->writer.conn, "synchronous", soft ? 1 : 2);
	if (r == 0)
		m->writer_soft = soft;
	return r;
}

static int wal_file(struct meta *m, sqlite3_file **ret_wal)
{
	int rc = sqlite3_file_control(m->writer.conn.db, "main",
				      SQLITE_FCNTL_JOURNAL_POINTER, ret_wal);

	return rc == SQLITE_OK && (*ret_wal)->pMethods ? 0 : -EIO;
}

static int wal_fill(sqlite3_file *wal, sqlite3_int64 from, sqlite3_int64 to)
{
	static const char zeros[65536];

	for (sqlite3_int64 at = from; at < to; at += (int)sizeof(zeros)) {
		sqlite3_int64 len = MIN(to - at, (sqlite3_int64)sizeof(zeros));

		if (wal->pMethods->xWrite(wal, zeros, (int)len, at))
			return -EIO;
	}
	return 0;
}

/* For speed alone. Where it cannot be had it is given up for good: there is no
 * room perhaps, and what was taken of it is given back. */
static void wal_fill_ahead(struct meta *m)
{
	sqlite3_int64 used = (sqlite3_int64)m->wal_pages * WAL_FRAME_BYTES;
	sqlite3_file *wal = NULL;
	sqlite3_int64 size;

	if (used + WAL_SPARE_BYTES <= m->wal_filled ||
	    m->wal_pages >= m->wal_move_pages)
		return;
	if (wal_file(m, &wal) || wal->pMethods->xFileSize(wal, &size)) {
		m->wal_filled = INT64_MAX;
		return;
	}
	m->wal_filled = size;
	if (used + WAL_SPARE_BYTES <= size)
		return;
	m->wal_filled = size + WAL_FILL_BYTES;
	if (wal_fill(wal, size, m->wal_filled)) {
		(void)wal->pMethods->xTruncate(wal, size);
		m->wal_filled = INT64_MAX;
	}
}

/* An ordinary commit without a change of its own writes no frames and would
 * not sync those of the soft ones before it. */
static int wal_sync(struct meta *m)
{
	sqlite3_file *wal = NULL;

	if (m->writer_soft || !m->wal_unsynced)
		return 0;
	if (wal_file(m, &wal) ||
	    wal->pMethods->xSync(wal, SQLITE_SYNC_NORMAL) != SQLITE_OK)
		return -EIO;
	m->wal_unsynced = false;
	return 0;
}

#define WAL_HEADER_BYTES 32

/* Return: 1, 0 there is none, -EIO. */
static int wal_header(struct meta *m, unsigned char header[WAL_HEADER_BYTES])
{
	sqlite3_file *wal = NULL;
	int rc;

	if (wal_file(m, &wal))
		return 0;
	rc = wal->pMethods->xRead(wal, header, WAL_HEADER_BYTES, 0);
	if (rc == SQLITE_OK)
		return 1;
	return rc == SQLITE_IOERR_SHORT_READ ? 0 : -EIO;
}

/* What is durable now must be there at the next open. */
static void mark_commit(struct meta *m)
{
	unsigned char header[WAL_HEADER_BYTES];
	int r = m->mark_fd < 0 ? 0 : wal_header(m, header);

	if (r < 0)
		mark_unsure(m, r);
	if (r > 0)
		mark_committed(m, header, (uint64_t)m->wal_pages);
}

/* Perhaps no commit was noted, and the WAL has frames all the same. */
static int mark_close(struct meta *m)
{
	unsigned char header[WAL_HEADER_BYTES];
	int r = wal_header(m, header);

	if (r < 0)
		mark_unsure(m, r);
	return mark_closing(m, r > 0 ? header : NULL);
}

/* Nothing was committed, by a migration neither, and a killed writer's WAL is there:
 * who only looked, or was refused, leaves it with its mark as it lies. The times of
 * map and WAL tell what was changed behind our back since (resync/check.h). */
static bool is_unchanged(struct meta *m)
{
	unsigned char header[WAL_HEADER_BYTES];

	return !m->wal_pages && wal_header(m, header) > 0;
}

static int time_now(struct map_call *k)
{
	if (futimens(k->fd, NULL) < 0 || fstat(k->fd, &k->st) < 0)
		return -errno;
	return 0;
}

/* By the clock that gives the store's files their times; 0: not known. */
static uint64_t clock_of_files(struct meta *m)
{
	struct map_call k = {.fn = time_now, .dir_fd = -1, .fd = m->mark_fd};

	if (m->mark_fd < 0 || map_call(m, &k) < 0)
		return 0;
	return (uint64_t)MAX(clock_timespec_ns(&k.st.st_ctim), INT64_C(0));
}

static int put_left(struct meta *m)
{
	uint64_t left, now;
	int r = meta_left_get(&m->writer, &left);

	if (r < 0 || left)
		return r; /* said already, by who knows better */
	now = clock_of_files(m);
	r = now ? meta_begin(m) : 0;
	if (r < 0 || !now)
		return r;
	r = meta_left_set(m, now);
	if (r == 0)
		return meta_commit(m);
	meta_rollback(m);
	return r;
}

/* Without it the times of the map's files say when it was left, as of a map that
 * was not closed in good order. Only for who has changed something. */
static void close_left(struct meta *m)
{
	int r = m->mark_due || m->failed ? 0 : put_left(m);

	if (r < 0)
		log_debug("the map does not say when it was left: path=%s "
			  "error=%s",
			  m->told_path, strerror(-r));
}

void writer_close(struct meta *m)
{
	struct conn *c = &m->writer.conn;

	if (!c->db)
		return;
	close_left(m);
	if (is_unchanged(m)) {
		conn_close(c);
		return;
	}
	if (!m->failed)
		m->failed = writer_set_soft(m, false);
	if (!m->failed)
		m->failed = mark_close(m);
	if (!m->failed)
		wal_move(m, SQLITE_CHECKPOINT_TRUNCATE);
	/* With nothing left in it the WAL is removed on close. */
	if (!m->failed)
		(void)sqlite3_db_config(c->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE,
					0, NULL);
	conn_close(c);
	/* A reader elsewhere in this process would have kept it. */
	if (!m->failed && faccessat(m->dir_fd, META_DB_NAME "-wal", F_OK,
				    AT_SYMLINK_NOFOLLOW) < 0)
		mark_closed(m);
}

static int writer_exec(struct meta *m, enum meta_stmt_id id)
{
	_cleanup_stmt_ struct stmt *s = NULL;
	int r = stmt_borrow(&m->writer.conn, id, &s);

	if (r < 0)
		return r;
	r = stmt_step(s);
	assert(r <= 0);
	return r;
}

/* Back to what was committed, in SQLite and here; @err: why. */
static void writer_undo(struct meta *m, int err)
{
	if (err == -ENOSPC) /* what room the ballast gives is not for zeros */
		m->wal_filled = INT64_MAX;
	if (m->mark_put) {
		m->mark_token = m->mark.before;
		m->mark_put = false;
	}
	/* Some errors have rolled it back already. */
	if (!sqlite3_get_autocommit(m->writer.conn.db)) {
		int r = writer_exec(m, STMT_TXN_ROLLBACK);

		if (r < 0 && !m->failed)
			m->failed = r;
	}
	m->horizon = m->horizon_committed;
	m->compact.done_seq = m->compact.through_seq;
	m->compact.seq = m->compact.through_seq;
	m->compact.node = INT64_MAX;
	m->compact.start = INT64_MAX;
}

/* With its first change a map can be told from what it was. */
static int mark_put(struct meta *m)
{
	int r = mark_opening(m);

	if (r < 0)
		return r;
	m->mark_put = true;
	return volume_u64_put(m, VOLUME_KEY_MARK, m->mark_token);
}

/*
 * There is one writer, and no other process.  But a reader that met the header
 * of the WAL index half written holds the lock of the writer while it reads it
 * once more (walIndexReadHdr() of SQLite), so it may be taken for an instant.
 * Only here is it waited for: a checkpoint does not wait for readers.
 */
static int writer_take(struct meta *m)
{
	sqlite3 *db = m->writer.conn.db;
	int r;

	(void)sqlite3_busy_timeout(db, BEGIN_WAIT_MS);
	r = writer_exec(m, STMT_TXN_BEGIN_WRITE);
	(void)sqlite3_busy_timeout(db, 0);
	return r;
}

static int writer_begin(struct meta *m, bool soft) NO_THREAD_SAFETY_ANALYSIS
{
	int r;

	if (m->mode != META_OPEN_RW)
		return -EROFS;
	mutex_lock(&m->writer_lock);
	r = m->failed;
	if (r == 0)
		r = FAULT_ERR("meta.begin");
	if (r == 0)
		r = writer_set_soft(m, soft);
	if (r == 0)
		r = writer_take(m);
	if (r < 0) {
		mutex_unlock(&m->writer_lock);
		return r;
	}
	m->writer.in_txn = true;
	m->txn_err = 0;
	if (m->mark_due)
		r = mark_put(m);
	if (r < 0)
		meta_rollback(m);
	return r;
}

int meta_begin(struct meta *m)
{
	return writer_begin(m, false);
}

int meta_begin_soft(struct meta *m)
{
	return writer_begin(m, true);
}

int meta_commit(struct meta *m) NO_THREAD_SAFETY_ANALYSIS
{
	int r;

	assert(m->writer.in_txn);
	FAULT_POINT("meta.commit.before");
	r = m->txn_err;
	if (r == 0)
		r = FAULT_ERR("meta.commit.error");
	if (r == 0) {
		r = writer_exec(m, STMT_TXN_COMMIT);
		if (r == 0)
			r = wal_sync(m);
		if (r < 0 && r != -ENOSPC && r != -ENOMEM)
			m->failed = r;
	}
	if (r == 0) {
		m->mark_due = m->mark_due && !m->mark_put;
		m->mark_put = false;
		m->horizon_committed = m->horizon;
		m->compact.through_seq = m->compact.done_seq;
		if (!m->writer_soft)
			mark_commit(m);
		wal_move_if_large(m);
		if (!m->writer_soft)
			wal_fill_ahead(m);
	} else {
		writer_undo(m, r);
	}
	m->writer.in_txn = false;
	mutex_unlock(&m->writer_lock);
	FAULT_POINT("meta.commit.after");
	return r;
}

void meta_rollback(struct meta *m) NO_THREAD_SAFETY_ANALYSIS
{
	assert(m->writer.in_txn);
	writer_undo(m, m->txn_err);
	m->writer.in_txn = false;
	mutex_unlock(&m->writer_lock);
}

struct meta_reader *meta_writer_view(struct meta *m)
{
	assert(m->writer.in_txn);
	return &m->writer;
}

int writer_spoil(struct meta *m, int r)
{
	if (m->txn_err == 0)
		m->txn_err = r;
	return r;
}

int writer_note(struct meta *m, int r)
{
	if (r < 0 && r != -EEXIST && r != -EINVAL)
		return writer_spoil(m, r);
	return r;
}

int writer_borrow(struct meta *m, enum meta_stmt_id id, struct stmt **ret_stmt)
{
	assert(m->writer.in_txn);
	if (m->txn_err)
		return m->txn_err;
	return writer_note(m, stmt_borrow(&m->writer.conn, id, ret_stmt));
}

int writer_run(struct meta *m, struct stmt *s)
{
	return writer_note(m, stmt_run(s));
}
