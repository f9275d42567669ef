/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prepared statements of one connection.
 *
 * Each is prepared once, at its first use, and then borrowed by its number:
 *
 *	_cleanup_stmt_ struct stmt *s = NULL;
 *	int r;
 *
 *	r = stmt_borrow(conn, STMT_NODE_GET, &s);
 *	if (r < 0)
 *		return r;
 *	stmt_bind_bound(s, ":id", id);
 *	r = stmt_step(s);
 *
 * The scope gives it back, reset. A statement that is borrowed a second time
 * meanwhile (a directory inside a directory) is prepared once more for that
 * borrower alone.
 *
 * All parameters are bound at each use; text and blobs are not copied and
 * must live until the statement is given back. A name that the statement does
 * not have is a broken invariant.
 *
 * Results: 0 or positive on success, -errno as in db.h.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "meta/sql.h"

struct conn;
struct sqlite3_stmt;

struct stmt {
	struct sqlite3_stmt *os;
	bool busy;  /* borrowed */
	bool extra; /* not the connection's: freed when given back */
};

MUST_CHECK int stmt_borrow(struct conn *c, enum meta_stmt_id id,
			   struct stmt **ret_stmt);

/** stmt_return - reset and give back; NULL ok. */
void stmt_return(struct stmt *s);

static inline void cleanup_stmt_(struct stmt **s)
{
	stmt_return(*s);
}
#define _cleanup_stmt_ _cleanup_(cleanup_stmt_)

/** stmt_done_all - finalize what the connection has prepared. */
void stmt_done_all(struct conn *c);

/* A value to be stored: asserted to be below 2^63. */
void stmt_bind_u64(struct stmt *s, const char *name, uint64_t value);
/* A limit in a WHERE: what is above 2^63 - 1 is taken as that. */
void stmt_bind_bound(struct stmt *s, const char *name, uint64_t value);
/* Any 64 bits, stored as the signed number with the same bits. */
void stmt_bind_bits(struct stmt *s, const char *name, uint64_t value);
void stmt_bind_text(struct stmt *s, const char *name, const char *text);
void stmt_bind_blob(struct stmt *s, const char *name, const void *data,
		    size_t len_bytes);

/** stmt_step - Return: 1 a row, 0 done, -errno. */
MUST_CHECK int stmt_step(struct stmt *s);

/**
 * stmt_run - step a statement that returns no rows to its end.
 * Return: how many rows it changed, or -errno
 */
MUST_CHECK int stmt_run(struct stmt *s);

/* Columns of the row stepped to, from 0. A negative number or one of another
 * type comes from a damaged file: -EUCLEAN. */
MUST_CHECK int stmt_column_u64(struct stmt *s, int column, uint64_t *ret_value);
/* Steps to the one row of a SELECT count(*). */
MUST_CHECK int stmt_count(struct stmt *s, uint64_t *ret_count);
uint64_t stmt_column_bits(struct stmt *s, int column);

/**
 * stmt_column_copy - a text or blob, with a NUL behind it.
 * @size: of @buf; what does not fit is damage: -EUCLEAN
 * Return: the length without the NUL, -EUCLEAN, -ENOMEM
 */
MUST_CHECK int stmt_column_copy(struct stmt *s, int column, char *buf,
				size_t size);
