/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside meta/: the connections of one map and who may use them.
 *
 * One connection writes and moves the WAL into the database ("writer"); all
 * others ("readers") are query_only and never do, on close neither. SQLite
 * before 3.51.3 can lose a commit when two connections of one process do so
 * at once, and this order makes that impossible. On close the readers go
 * first, the writer last.
 *
 * A failed call of the writer spoils its transaction: SQLite may have rolled
 * it back already, and the next statement would be a transaction of its own.
 * So the first error is kept and meta_commit() returns it. Only a row that
 * breaks UNIQUE or CHECK (-EEXIST, -EINVAL) leaves the transaction whole.
 *
 * A commit, or a move of the WAL, that fails for another reason than want of
 * space or memory has an unknown outcome. It is not tried again: the map
 * refuses every later transaction with that error and leaves the WAL as it is.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/guard.h"
#include "base/lock.h"
#include "meta/format.h"
#include "meta/stmt.h"

struct sqlite3;

struct conn {
	struct sqlite3 *db;
	struct stmt stmts[STMT_COUNT];
};

struct meta_reader {
	struct conn conn;
	struct meta *meta;	  /* set at init, then read-only */
	struct meta_reader *next; /* in the pool */
	bool in_txn;
};

/* Where a stepwise merge of old extents is; see meta_compact_step(). */
struct meta_compact {
	uint64_t through_seq; /* every row up to here is merged: committed */
	uint64_t done_seq;    /* the same, seen from inside the transaction */
	uint64_t seq;	      /* the row handled last */
	uint64_t node;
	uint64_t start;
};

/* See mark.h. */
enum meta_mark_state {
	MARK_OPENING = 'P',
	MARK_OPEN = 'O',
	MARK_CLOSING = 'L',
	MARK_CLOSED = 'C',
};

struct meta_mark {
	bool known; /* one was found and is whole */
	char state;
	uint64_t token;
	uint64_t before;
	uint64_t bare; /* UINT64_MAX: not known */
	uint32_t base;
	uint32_t restarts;
	uint32_t frames;
};

struct meta {
	/* set at open, then read-only */
	enum meta_open_mode mode;
	int dir_fd;
	struct guard *guard; /* of all calls on its files */
	char *db_path;	     /* by way of dir_fd */
	char *told_path;     /* as people know it */
	dev_t dev;	     /* of the database file */
	ino_t ino;
	char volume_uuid[META_UUID_LEN + 1];
	char store_uuid[META_UUID_LEN + 1];

	_Atomic bool ballast_out; /* given up, and not had again yet */

	struct mutex writer_lock; /* LOCK_RANK_META: a transaction */
	struct meta_reader writer GUARDED_BY(writer_lock);
	bool writer_soft GUARDED_BY(writer_lock);  /* commits do not wait */
	bool wal_unsynced GUARDED_BY(writer_lock); /* by soft commits */
	int txn_err GUARDED_BY(writer_lock);	   /* first error of this one */
	int failed GUARDED_BY(writer_lock);	   /* of the map, for good */
	uint64_t horizon GUARDED_BY(writer_lock);
	uint64_t horizon_committed GUARDED_BY(writer_lock);
	struct meta_compact compact GUARDED_BY(writer_lock);
	int wal_pages GUARDED_BY(writer_lock);	     /* at the last commit */
	int wal_pages_moved GUARDED_BY(writer_lock); /* when last moved */
	int wal_move_pages;			     /* and so often */
	/* Bytes of the WAL's file that are known to be there. */
	int64_t wal_filled GUARDED_BY(writer_lock);
	struct meta_mark mark GUARDED_BY(writer_lock);
	uint64_t mark_token GUARDED_BY(writer_lock); /* as the map has it */
	uint64_t bare_token GUARDED_BY(writer_lock); /* without its WAL */
	bool mark_due GUARDED_BY(writer_lock);	     /* with the first commit */
	bool mark_put GUARDED_BY(writer_lock);	     /* in this transaction */
	int mark_fd GUARDED_BY(writer_lock);	     /* -1: none */
	bool mark_stays GUARDED_BY(writer_lock);     /* an old one, for good */

	struct mutex pool_lock; /* LOCK_RANK_LEAF */
	struct meta_reader *idle GUARDED_BY(pool_lock);
	size_t idle_count GUARDED_BY(pool_lock);
	size_t out_count GUARDED_BY(pool_lock);

	struct meta *open_next; /* guarded by the table in open.c */
};

/* ---- connections (db.c) ---- */

enum conn_role {
	CONN_CREATE, /* a writer, in a file that is still empty */
	CONN_WRITER,
	CONN_READER, /* beside a writer of this process */
	CONN_RO,     /* alone, and changes nothing */
	CONN_BARE,   /* the same, without the WAL */
};

/**
 * conn_open - open @path and set every pragma.
 * @guard: of the calls on its files; NULL: none
 * Return: 0, -EBUSY (another process has it), -EUCLEAN, -EROFS, -errno. On
 *         failure nothing is left open.
 */
MUST_CHECK int conn_open(struct conn *c, const char *path, enum conn_role role,
			 struct guard *guard);

/** conn_close - finalize and close; a connection that is not open is fine. */
void conn_close(struct conn *c);

/** conn_exec - run a text of our own (a schema, a migration) to its end. */
MUST_CHECK int conn_exec(struct conn *c, const char *sql);

/** conn_pragma_get - the value of a pragma that is a number. */
MUST_CHECK int conn_pragma_get(struct conn *c, const char *name,
			       int64_t *ret_value);

/** conn_pragma_set - set it and read it back; -EIO when it did not take. */
MUST_CHECK int conn_pragma_set(struct conn *c, const char *name, int64_t value);

/**
 * db_errno - the -errno for an SQLite result.
 * @db: may be NULL; asked for the errno below an I/O error
 *
 *	BUSY, LOCKED -EBUSY	FULL -ENOSPC		NOMEM -ENOMEM
 *	CORRUPT, NOTADB -EUCLEAN	READONLY -EROFS	UNIQUE -EEXIST
 *	CHECK and other constraints -EINVAL
 *	IOERR -ENOSPC (no space, quota), -ENOMEM, -EROFS, else -EIO
 *	CANTOPEN the errno of open(2), else -EIO
 *	ERROR -EUCLEAN: our texts are right, so the schema is not
 */
int db_errno(struct sqlite3 *db, int rc);

/* ---- the object (open.c) ---- */

/** meta_new - with the directory open and nothing else. */
MUST_CHECK int meta_new(const char *privdir, enum meta_open_mode mode,
			const char *name, struct meta **ret_meta);

/** meta_free - from any state; readers first, the writer last. NULL ok. */
void meta_free(struct meta *m);

static inline void cleanup_meta_(struct meta **m)
{
	meta_free(*m);
}
#define _cleanup_meta_ _cleanup_(cleanup_meta_)

/* ---- migrations (migrate.c) ---- */

/**
 * migrate_run - apply the steps above the map's version, a transaction each.
 * @steps: rising without a gap
 * Return: 0 (the version is now the last step's, or was already), -EPROTO
 *         (no step leads on from the map's version), -errno (the steps before
 *         the failed one stay applied)
 */
MUST_CHECK int migrate_run(struct conn *c, const struct sql_migration *steps,
			   size_t count);

/* ---- the writer (txn.c) ---- */

/** writer_open - make @m->writer one, in a file that exists. */
MUST_CHECK int writer_open(struct meta *m, enum conn_role role);

/** writer_close - move the WAL into the database, unless it has failed. */
void writer_close(struct meta *m);

/**
 * meta_wal_make - an empty WAL, in the room of the ballast where there is none else.
 *
 * SQLite would make it as well, but where it finds no room for it (or no inode) it
 * tries what is there, and says that there is no such file.
 */
MUST_CHECK int meta_wal_make(struct meta *m);

/** writer_make_room - the WAL begins anew: what it holds goes to the database. */
void writer_make_room(struct meta *m);

/** writer_borrow - stmt_borrow() inside a transaction that is not spoilt. */
MUST_CHECK int writer_borrow(struct meta *m, enum meta_stmt_id id,
			     struct stmt **ret_stmt);

/** writer_run - stmt_run(), noting an error. */
MUST_CHECK int writer_run(struct meta *m, struct stmt *s);

/** writer_note - spoil the transaction if @r is an error that does. @r. */
int writer_note(struct meta *m, int r);

/** writer_spoil - spoil it whatever the error is: half of it is done. @r. */
int writer_spoil(struct meta *m, int r);

/* ---- rows ---- */

/** volume_text_get, volume_text_put - a UUID of the volume row set. */
MUST_CHECK int volume_text_get(struct meta_reader *rd, const char *key,
			       char *buf, size_t size);
MUST_CHECK int volume_text_put(struct meta *m, const char *key,
			       const char *text);
MUST_CHECK int volume_u64_get(struct meta_reader *rd, const char *key,
			      uint64_t *ret_value);
MUST_CHECK int volume_u64_put(struct meta *m, const char *key, uint64_t value);

#define VOLUME_KEY_VOLUME_UUID "volume_uuid"
#define VOLUME_KEY_STORE_UUID  "store_uuid"
#define VOLUME_KEY_COMPACTED   "compacted"
#define VOLUME_KEY_MARK	       "mark"
#define VOLUME_KEY_LEFT	       "left"
#define VOLUME_KEY_LEFT_MARK   "left_mark"

/** reader_close_idle - empty the pool; nothing may be out. */
void reader_close_idle(struct meta *m);

/** iter_open - borrow @id for @ret_it; the caller binds. */
MUST_CHECK int iter_open(struct meta_reader *rd, enum meta_stmt_id id,
			 struct meta_iter *ret_it, struct stmt **ret_stmt);

/* ---- calls beside SQLite's (call.c) ---- */

enum {
	MAP_CALL_BYTES = 160,
};

struct map_call {
	struct guard_call base; /* first */
	int (*fn)(struct map_call *k);
	int dir_fd, fd;
	bool gives_fd; /* its result is one */
	bool durable;
	size_t len;
	char buf[MAP_CALL_BYTES];
	struct stat st;
	int result;
};

/**
 * map_call - have @k->fn made under the guard of @m; it touches nothing but
 * *@k, of which the caller gets back what it wrote.
 * Return: what fn says; -ETIMEDOUT, -ETIME, -ENOMEM
 */
MUST_CHECK int map_call(struct meta *m, struct map_call *k);
