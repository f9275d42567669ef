/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mark - a small file beside the map that says which map lay here last.
 *
 * SQLite believes whatever it finds: a database that was put back from an older
 * copy, one whose WAL was lost or cut, or the WAL of another database, are all
 * taken for what they seem.  Each of them lacks what was committed, intents
 * among it.  meta.mark tells them apart:
 *
 *	token		drawn at random each time the map is opened for
 *			writing, and committed in it: an older copy has another;
 *			beside it those that the map, and its file without the
 *			WAL, had before
 *	base		of the WAL: its first salt less the number of times it
 *			was begun anew, which is the same for as long as one
 *			writer has it
 *	restarts, frames how far it had come with the last durable commit
 *
 * It is written without being synced, after a commit is durable: a power loss
 * may take it back to an earlier state, which asks for less, and is never ahead
 * of the map.  Only where a later state asks for less than an earlier one (at
 * the beginning and at the end) is it synced.
 *
 *	OPENING		a writer makes its first change: the map has this token or the one
 *			before, the WAL may be anything
 *	OPEN		the WAL must be there, at least as far as noted
 *	CLOSING		the WAL is being emptied: it may be there or not
 *	CLOSED		there is no WAL: said when the directory without it is
 *			synced, or the mark would be ahead of the map
 *
 * A mark that is missing, or was not written whole, asks for nothing: where it
 * cannot be written (a full disk that copies on write) it is removed.  Where that
 * fails as well, the WAL stays: an old mark asks for no more than there is then.
 */
#pragma once

#include "meta/db.h"

/* What lies in the WAL's file. */
struct wal_state {
	bool header; /* it has a sound one */
	uint32_t base;
	uint32_t restarts;
	uint64_t frames; /* sound, through the last commit */
};

/** wal_look - Return: 0 (also without a WAL), -errno. */
MUST_CHECK int wal_look(int dir_fd, struct wal_state *ret);
/* @h: 32 bytes. All but frames; false and untouched if it is none. */
bool wal_parse_header(const unsigned char *h, struct wal_state *ret);

/**
 * mark_load - read the mark into @m, and look whether the WAL fits.
 * @ret_why: a sentence that is a constant, when -EUCLEAN is returned.
 */
MUST_CHECK int mark_load(struct meta *m, const char **ret_why);

/**
 * mark_fits_bare - the same of the database without its WAL, which holds what
 * was moved there so far: the token of now, that of before, or, where writers
 * were killed again and again, the one that it had when this one began.
 */
bool mark_fits_bare(const struct meta *m, uint64_t token);

/** mark_fits - is @token the one that the map must have? */
bool mark_fits(const struct meta *m, uint64_t token);

/* The writer's steps, in this order; see above. */
MUST_CHECK int mark_opening(struct meta *m);
void mark_committed(struct meta *m, const unsigned char *wal_header,
		    uint64_t frames);
/* @wal_header: what the WAL begins with; NULL: there is none.  -EIO: a mark is left
 * that could be neither written nor removed, and asks for the WAL. */
MUST_CHECK int mark_closing(struct meta *m, const unsigned char *wal_header);
void mark_closed(struct meta *m);
/* Which WAL there is cannot be told: nothing is asked for any more. */
void mark_unsure(struct meta *m, int err);
/* Of a map that was just made, closed. */
MUST_CHECK int mark_create(struct meta *m, uint64_t token);

/* A number that no other map has. */
MUST_CHECK int mark_token(uint64_t *ret);
