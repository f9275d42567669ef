/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection: opening, pragmas, results.
 *
 * Pragmas cannot be bound, so this file, alone in meta/, puts texts of SQL
 * together: from names and numbers that are constants of the program.
 */
#include "meta/db.h"

#include <assert.h>
#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "meta/vfs.h"

/* How long an open waits for another process to let go: a status command
 * must not make a mount fail. */
#define OPEN_WAIT_MS 300

struct pragma {
	const char *name;
	int64_t value;
};

/* KiB, as SQLite counts caches when the number is negative. A writer has to
 * hold the inner pages of seven trees; a reader mostly goes along one. */
#define CACHE_WRITER_KIB 32768
#define CACHE_READER_KIB 4096

static const struct pragma pragmas_all[] = {
	{"mmap_size", 0},	   /* an I/O error must not be a signal */
	{"temp_store", 2},	   /* memory: no file but our own */
	{"foreign_keys", 0},	   /* there are none */
	{"automatic_index", 0},	   /* a plan that needs one is wrong */
	{"trusted_schema", 0},	   /* the file may come from anywhere */
	{"recursive_triggers", 0}, /* there are none */
	{"cell_size_check", 1},	   /* finds damage before it spreads */
	{"wal_autocheckpoint", 0}, /* txn.c decides */
};

static const struct pragma pragmas_writer[] = {
	{"synchronous", 2}, /* FULL: a commit is durable */
	{"secure_delete", 0},
	{"query_only", 0},
	{"cache_size", -CACHE_WRITER_KIB},
	{"journal_size_limit", 64 << 20},
};

static const struct pragma pragmas_reader[] = {
	{"synchronous", 2},
	{"secure_delete", 0},
	{"query_only", 1},
	{"cache_size", -CACHE_READER_KIB},
};

/* Fixed when the file is made, and the same in every map. */
static const struct pragma pragmas_file[] = {
	{"page_size", META_PAGE_BYTES},
	{"auto_vacuum", 0},
};

/* ---- results ---- */

static int db_errno_io(sqlite3 *db)
{
	switch (db ? sqlite3_system_errno(db) : 0) {
	case ENOSPC:
	case EDQUOT:
		return -ENOSPC;
	case ENOMEM:
		return -ENOMEM;
	case EROFS:
		return -EROFS;
	default:
		return -EIO;
	}
}

int db_errno(sqlite3 *db, int rc)
{
	int os_errno;

	switch (rc & 0xff) {
	case SQLITE_OK:
	case SQLITE_ROW:
	case SQLITE_DONE:
		return 0;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
	case SQLITE_FORMAT:
	case SQLITE_ERROR:
	case SQLITE_SCHEMA:
	case SQLITE_MISMATCH:
		return -EUCLEAN;
	case SQLITE_READONLY:
		return -EROFS;
	case SQLITE_CONSTRAINT:
		if (db &&
		    (sqlite3_extended_errcode(db) == SQLITE_CONSTRAINT_UNIQUE ||
		     sqlite3_extended_errcode(db) ==
			     SQLITE_CONSTRAINT_PRIMARYKEY))
			return -EEXIST;
		return -EINVAL;
	case SQLITE_IOERR:
		/* A failed fsync is one whatever errno says: what was written
		 * before may be gone. */
		if (rc == SQLITE_IOERR_NOMEM)
			return -ENOMEM;
		if (rc == SQLITE_IOERR_DATA) /* a page's checksum */
			return -EUCLEAN;
		if (rc == SQLITE_IOERR_FSYNC || rc == SQLITE_IOERR_DIR_FSYNC)
			return -EIO;
		return db_errno_io(db);
	case SQLITE_CANTOPEN:
		os_errno = db ? sqlite3_system_errno(db) : 0;
		return os_errno ? -os_errno : -EIO;
	default:
		return -EIO;
	}
}

/* ---- pragmas ---- */

int conn_exec(struct conn *c, const char *sql)
{
	return db_errno(c->db, sqlite3_exec(c->db, sql, NULL, NULL, NULL));
}

/* Run @sql, which begins with PRAGMA, and copy what its first row says. */
static int conn_pragma_row(struct conn *c, const char *sql, char *buf,
			   size_t size)
{
	sqlite3_stmt *os = NULL;
	const char *text;
	int rc;

	buf[0] = '\0';
	rc = sqlite3_prepare_v2(c->db, sql, -1, &os, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(os);
	if (rc == SQLITE_ROW) {
		text = (const char *)sqlite3_column_text(os, 0);
		(void)snprintf(buf, size, "%s", text ? text : "");
	}
	if (rc == SQLITE_ROW || rc == SQLITE_DONE)
		rc = SQLITE_OK;
	rc = rc == SQLITE_OK ? 0 : db_errno(c->db, rc);
	(void)sqlite3_finalize(os);
	return rc;
}

int conn_pragma_get(struct conn *c, const char *name, int64_t *ret_value)
{
	char sql[96];
	char text[64];
	char *end;
	long long value;
	int r;

	(void)snprintf(sql, sizeof(sql), "PRAGMA %s", name);
	r = conn_pragma_row(c, sql, text, sizeof(text));
	if (r < 0)
		return r;
	value = strtoll(text, &end, 10);
	/* mmap_size has no row where the VFS maps nothing. */
	if (*end)
		return -EIO;
	*ret_value = value;
	return 0;
}

int conn_pragma_set(struct conn *c, const char *name, int64_t value)
{
	char sql[96];
	char text[64];
	int64_t found;
	int r;

	(void)snprintf(sql, sizeof(sql), "PRAGMA %s=%lld", name,
		       (long long)value);
	r = conn_pragma_row(c, sql, text, sizeof(text));
	if (r < 0)
		return r;
	r = conn_pragma_get(c, name, &found);
	if (r < 0)
		return r;
	if (found != value) {
		log_err("SQLite does not take a setting: pragma=%s value=%lld "
			"found=%lld",
			name, (long long)value, (long long)found);
		return -EIO;
	}
	return 0;
}

static int conn_pragmas(struct conn *c, const struct pragma *v, size_t count)
{
	int r = 0;

	for (size_t i = 0; i < count && r == 0; i++)
		r = conn_pragma_set(c, v[i].name, v[i].value);
	return r;
}

/* A pragma whose value is a word; @expected after setting. */
static int conn_pragma_word(struct conn *c, const char *sql,
			    const char *expected)
{
	char text[64];
	int r = conn_pragma_row(c, sql, text, sizeof(text));

	if (r < 0)
		return r;
	return strcmp(text, expected) == 0 ? 0 : -EUCLEAN;
}

/* ---- open, close ---- */

static int conn_config(struct conn *c, int what, int value)
{
	int found = -1;
	int rc = sqlite3_db_config(c->db, what, value, &found);

	return rc == SQLITE_OK && found == value ? 0 : -EIO;
}

static int conn_configure(struct conn *c, enum conn_role role)
{
	static const struct {
		int what;
		int value;
	} v[] = {
		{SQLITE_DBCONFIG_ENABLE_FKEY, 0},
		{SQLITE_DBCONFIG_ENABLE_TRIGGER, 0},
		{SQLITE_DBCONFIG_ENABLE_VIEW, 0},
		{SQLITE_DBCONFIG_DEFENSIVE, 1},
		{SQLITE_DBCONFIG_DQS_DML, 0},
		{SQLITE_DBCONFIG_DQS_DDL, 0},
		/* writer_close() moves the WAL, and decides whether to. */
		{SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1},
	};
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(v) && r == 0; i++)
		r = conn_config(c, v[i].what, v[i].value);
	if (r == 0 && role >= CONN_RO)
		/* Before the first read, or the WAL index would be a file. */
		r = conn_pragma_word(c, "PRAGMA locking_mode=EXCLUSIVE",
				     "exclusive");
	else if (r == 0)
		r = conn_pragma_word(c, "PRAGMA locking_mode=NORMAL", "normal");
	return r;
}

/* Room for a checksum in each page, before there is one. */
static int conn_reserve(struct conn *c)
{
	int bytes = VFS_SUM_BYTES;
	int rc = sqlite3_file_control(c->db, "main", SQLITE_FCNTL_RESERVE_BYTES,
				      &bytes);

	return rc == SQLITE_OK ? 0 : -EIO;
}

static int conn_setup(struct conn *c, enum conn_role role)
{
	bool writes = role == CONN_CREATE || role == CONN_WRITER;
	int64_t pages;
	int r;

	r = conn_configure(c, role);
	if (r < 0)
		return r;
	if (role == CONN_CREATE) {
		r = conn_reserve(c);
		if (r < 0)
			return r;
		r = conn_pragmas(c, pragmas_file, ARRAY_SIZE(pragmas_file));
		if (r < 0)
			return r;
		r = conn_pragma_word(c, "PRAGMA journal_mode=WAL", "wal");
		if (r < 0)
			return r;
	}
	r = conn_pragmas(c, pragmas_all, ARRAY_SIZE(pragmas_all));
	if (r < 0)
		return r;
	if (writes)
		r = conn_pragmas(c, pragmas_writer, ARRAY_SIZE(pragmas_writer));
	else
		r = conn_pragmas(c, pragmas_reader, ARRAY_SIZE(pragmas_reader));
	if (r < 0)
		return r;
	/* The first read: takes the lock of the process. */
	r = conn_pragma_get(c, "page_count", &pages);
	if (r < 0)
		return r;
	return conn_pragma_word(c, "PRAGMA journal_mode", "wal");
}

int conn_open(struct conn *c, const char *path, enum conn_role role,
	      struct guard *guard)
{
	int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
	int rc;
	int r;

	r = vfs_register();
	if (r < 0)
		return r;
	*c = (struct conn){0};
	flags |= role >= CONN_RO ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE;
	vfs_open_under(guard);
	rc = sqlite3_open_v2(path, &c->db, flags,
			     role == CONN_BARE ? VFS_BARE
			     : role == CONN_RO ? VFS_RO
					       : VFS_RW);
	if (rc != SQLITE_OK) {
		r = db_errno(c->db, rc);
	} else if (role < CONN_RO && sqlite3_db_readonly(c->db, "main")) {
		/* SQLite falls back silently. Nothing has been read yet. */
		r = -EROFS;
	} else {
		(void)sqlite3_busy_timeout(c->db, OPEN_WAIT_MS);
		r = conn_setup(c, role);
		(void)sqlite3_busy_timeout(c->db, 0);
	}
	/* The first read has looked beside the database. */
	vfs_open_under(NULL);
	if (r < 0)
		conn_close(c);
	return r;
}

void conn_close(struct conn *c)
{
	int rc;

	if (!c->db)
		return;
	stmt_done_all(c);
	rc = sqlite3_close(c->db);
	/* BUSY would be a statement that nobody owns. */
	assert(rc == SQLITE_OK);
	c->db = NULL;
}
