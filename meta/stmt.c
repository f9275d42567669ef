/* SPDX-License-Identifier: Apache-2.0 */
#include "meta/stmt.h"

#include <assert.h>
#include <errno.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#include "meta/db.h"

static int stmt_prepare(struct conn *c, enum meta_stmt_id id, struct stmt *s)
{
	int rc = sqlite3_prepare_v3(c->db, sql_statement(id), -1,
				    SQLITE_PREPARE_PERSISTENT, &s->os, NULL);

	return rc == SQLITE_OK ? 0 : db_errno(c->db, rc);
}

/* The connection's own is out: one for this borrower. */
static int stmt_borrow_extra(struct conn *c, enum meta_stmt_id id,
			     struct stmt **ret_stmt)
{
	struct stmt *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	r = stmt_prepare(c, id, s);
	if (r < 0) {
		free(s);
		return r;
	}
	s->busy = true;
	s->extra = true;
	*ret_stmt = s;
	return 0;
}

int stmt_borrow(struct conn *c, enum meta_stmt_id id, struct stmt **ret_stmt)
{
	struct stmt *s;
	int r;

	assert(c->db && id < STMT_COUNT);
	s = &c->stmts[id];
	if (s->busy)
		return stmt_borrow_extra(c, id, ret_stmt);
	if (!s->os) {
		r = stmt_prepare(c, id, s);
		if (r < 0)
			return r;
	}
	s->busy = true;
	*ret_stmt = s;
	return 0;
}

void stmt_return(struct stmt *s)
{
	if (!s)
		return;
	assert(s->busy);
	if (s->extra) {
		/* These repeat the error that the step has returned. */
		(void)sqlite3_finalize(s->os);
		free(s);
		return;
	}
	(void)sqlite3_reset(s->os);
	s->busy = false;
}

void stmt_done_all(struct conn *c)
{
	for (size_t i = 0; i < STMT_COUNT; i++) {
		assert(!c->stmts[i].busy);
		(void)sqlite3_finalize(c->stmts[i].os);
		c->stmts[i].os = NULL;
	}
}

static int stmt_index(struct stmt *s, const char *name)
{
	int index = sqlite3_bind_parameter_index(s->os, name);

	assert(index > 0);
	return index;
}

void stmt_bind_bits(struct stmt *s, const char *name, uint64_t value)
{
	int rc = sqlite3_bind_int64(s->os, stmt_index(s, name),
				    (sqlite3_int64)value);

	assert(rc == SQLITE_OK);
}

void stmt_bind_u64(struct stmt *s, const char *name, uint64_t value)
{
	assert(value <= INT64_MAX);
	stmt_bind_bits(s, name, value);
}

void stmt_bind_bound(struct stmt *s, const char *name, uint64_t value)
{
	stmt_bind_bits(s, name, MIN(value, (uint64_t)INT64_MAX));
}

void stmt_bind_text(struct stmt *s, const char *name, const char *text)
{
	int rc = sqlite3_bind_text(s->os, stmt_index(s, name), text, -1,
				   SQLITE_STATIC);

	assert(rc == SQLITE_OK);
}

void stmt_bind_blob(struct stmt *s, const char *name, const void *data,
		    size_t len_bytes)
{
	int rc = sqlite3_bind_blob64(s->os, stmt_index(s, name), data,
				     len_bytes, SQLITE_STATIC);

	assert(rc == SQLITE_OK);
}

int stmt_step(struct stmt *s)
{
	int rc = sqlite3_step(s->os);

	if (rc == SQLITE_ROW)
		return 1;
	if (rc == SQLITE_DONE)
		return 0;
	return db_errno(sqlite3_db_handle(s->os), rc);
}

int stmt_run(struct stmt *s)
{
	int r = stmt_step(s);

	if (r < 0)
		return r;
	assert(r == 0);
	return sqlite3_changes(sqlite3_db_handle(s->os));
}

int stmt_column_u64(struct stmt *s, int column, uint64_t *ret_value)
{
	sqlite3_int64 value;

	if (sqlite3_column_type(s->os, column) != SQLITE_INTEGER)
		return -EUCLEAN;
	value = sqlite3_column_int64(s->os, column);
	if (value < 0)
		return -EUCLEAN;
	*ret_value = (uint64_t)value;
	return 0;
}

int stmt_count(struct stmt *s, uint64_t *ret_count)
{
	int r = stmt_step(s);

	if (r < 0)
		return r;
	assert(r == 1);
	return stmt_column_u64(s, 0, ret_count);
}

uint64_t stmt_column_bits(struct stmt *s, int column)
{
	return (uint64_t)sqlite3_column_int64(s->os, column);
}

int stmt_column_copy(struct stmt *s, int column, char *buf, size_t size)
{
	const void *data = sqlite3_column_blob(s->os, column);
	int len = sqlite3_column_bytes(s->os, column);

	if (len < 0 || (size_t)len >= size)
		return -EUCLEAN;
	if (len > 0 && !data)
		return -ENOMEM;
	if (len > 0)
		memcpy(buf, data, (size_t)len);
	buf[len] = '\0';
	return len;
}
