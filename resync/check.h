/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check - an unmounted store against its own map: what disagrees, and how it is
 * put right.
 *
 *	check.c		all of it in order; the store's own files
 *	check_walk.[ch]	tree and map side by side
 *	check_file.c	one file's mapped ranges
 *	check_lost.c	hard links that a copy has lost
 *	check_rows.c	rows against rows
 *	check_doubt.c	what the map itself has in doubt
 *	check_repair.c	the files are right: numbered anew
 *	rebuild.[ch]	a lost map, made anew from the files
 *
 * Three classes.  WRONG is what nothing of ours explains.  DOUBT lies under an
 * intent: a crash left it, and the next mount compares it.  NOTE is worth
 * knowing and harms nobody.
 *
 * The map records neither sizes nor times.  It need not: it was closed after
 * the last change of ours, so whatever has a later change time (ctime, which
 * nobody can set) was changed behind our back, by attributes or contents.
 * When that was the map says itself (meta_left_set()).  It is no longer true
 * once a later writer has committed, and not said by one that was killed: then
 * it is the time at which the map or its WAL were written last.  So the evidence
 * ends with the next mount.  A repair says the time of its look, in the
 * transaction that puts in doubt what it found, and no close moves that: wherever
 * it is cut, what it did not see is for the next check to find.  Contents are
 * compared by a scrub, which has several stores to do it with.
 */
#pragma once

#include "base/range.h"
#include "resync/resync.h"

enum check_class {
	CHECK_WRONG,
	CHECK_DOUBT,
	CHECK_NOTE,
};

/* Each has a word of its own in check_kind_name(), which is in the JSON. */
enum check_kind {
	/* the database and the store's own files */
	CHECK_INTEGRITY,   /* pages or indexes of the map are damaged */
	CHECK_NOT_ITS_MAP, /* the map is another store's */
	CHECK_UNFINISHED,  /* a map that was never finished */
	CHECK_NO_MEMBER,   /* the map does not have its own store */
	CHECK_COPY,	   /* the store was copied: found anew by path */
	CHECK_NO_BALLAST,  /* nothing is kept for a full disk */
	CHECK_LIMBO,	   /* something lies in limbo/ */
	CHECK_FOUND,	   /* something lies in found/ */
	/* names */
	CHECK_UNKNOWN,	    /* a file that the map does not have */
	CHECK_MISSING,	    /* a row without a file */
	CHECK_KIND,	    /* another kind of file than the row says */
	CHECK_IDENTITY,	    /* another file than the one the row knows */
	CHECK_OUTSIDE_LINK, /* a further link from outside of the store */
	CHECK_LOST_LINK,    /* a file of its own, where it should be a link */
	CHECK_MOUNTED,	    /* another filesystem is mounted there */
	CHECK_UNREADABLE,   /* it cannot be read */
	/* contents */
	CHECK_DATA,    /* data where the map has a hole */
	CHECK_CHANGED, /* changed after the map was closed */
	CHECK_HOLES,   /* the map has ranges that are holes */
	/* rows */
	CHECK_DANGLING,	    /* an entry whose node is not in the map */
	CHECK_NO_DIRECTORY, /* entries in what is no directory */
	CHECK_NO_NAME,	    /* a node that no entry leads to */
	CHECK_TWO_PARENTS,  /* a directory with several entries */
	CHECK_CYCLE,	    /* a directory below itself */
	CHECK_ONE_FILE,	    /* two nodes with one file's identity */
	CHECK_EXTENT,	    /* extents that overlap, or are of no file */
	CHECK_NUMBER,	    /* a number that cannot be */
	CHECK_RESERVED,	    /* a number above the reserved ones */
};

struct check_finding {
	enum check_kind kind;
	enum check_class class;
	const char *path;   /* NULL: none */
	const char *detail; /* NULL: the kind says it all */
	uint64_t node;	    /* 0: none */
	uint64_t parent;    /* of a name: its directory; else 0 */
	struct range range; /* bytes; empty: none */
	uint64_t count;	    /* how many, where one finding stands for many */
	int64_t ctime;	    /* of what was changed; else 0 */
};

struct check_args {
	struct resync_side side; /* unmounted */
	/* meta_left_get() or, without it, check_map_time() before it was opened; or
	 * check_time_tick(), before an earlier look */
	uint64_t map_time_ns;
	/* Nonzero ends the check and is returned. */
	int (*found)(void *arg, const struct check_finding *f);
	/* Now and then; nonzero ends it with -ECANCELED. NULL: never. */
	int (*poll)(void *arg, uint64_t places);
	void *arg;
};

struct check_result {
	uint64_t wrong;
	uint64_t in_doubt;
	uint64_t notes;
	uint64_t names; /* told by the tree and the map */
	uint64_t rows;
	uint64_t intents;
	bool clean;	/* the map says that it was left so */
	bool armed;	/* intents are of operations, not only of a failure */
	bool resyncing; /* a resync was not finished */
	bool copied;
	bool unclean_copy; /* of a store that was in use (side.h) */
};

/** check_map_time - when the map of @privdir was written last; 0: unknown. */
uint64_t check_map_time(const char *privdir);

/** check_time_now - by the clock by which @privdir's filesystem gives times; 0:
 * unknown. Moves the times of the store's lock: not for those who only look. */
uint64_t check_time_now(const char *privdir);

/** check_time_tick - wait until the clock by which @privdir's filesystem gives
 * times has ticked. All that was changed before that is as old as what is returned,
 * or older, and whatever is changed from now on is younger; 0: unknown. Moves the
 * times of the store's lock. */
uint64_t check_time_tick(const char *privdir);

/**
 * check_store - tell all that disagrees.
 * @error_path (may be NULL): where an error came from, to be freed.
 * Return: 0 (also when things are wrong: see ret), -ECANCELED, -errno
 */
MUST_CHECK int check_store(const struct check_args *args,
			   struct check_result *ret, char **error_path);

const char *check_kind_name(enum check_kind kind); /* one word */
const char *check_kind_text(enum check_kind kind); /* a few */

/* ---- repair ---- */

struct check_repair;
struct check_repair *check_repair_new(void);
void check_repair_free(struct check_repair *r);
static inline void check_repair_freep(struct check_repair **r)
{
	check_repair_free(*r);
}

/** check_repair_note - remember what a WRONG finding asks for. 0, -ENOMEM. */
MUST_CHECK int check_repair_note(struct check_repair *r,
				 const struct check_finding *f);

/**
 * check_repair_may - what check_repair_run() would say before it writes; the map
 * of @side may be open for reading only.
 * Return: 1 it would repair, 0 nothing was noted, -EBUSY, -ESTALE, -errno
 */
MUST_CHECK int check_repair_may(const struct check_repair *r,
				const struct resync_side *side);

/**
 * check_repair_run - the files of this store are right, the map follows.
 *
 * Everything noted is put under intents, and an epoch is founded with this
 * store alone, in one transaction; then it is recovered as after a crash: what
 * lies there is numbered anew, above all that was ever issued.  So the other
 * members are merely stale, and take it over by an ordinary resync; one that
 * went on alone meanwhile is a fork, and nothing is overwritten.
 *
 * @looked_ns: check_time_tick() before what was noted was looked for; what is
 * later is for the next check to find, wherever this ends. 0: not known, or some of
 * that is our own doing.
 * @ret_seq: the highest number given.
 * Return: 1 done, 0 nothing was noted, -EBUSY a resync was not finished, or
 * the volume was not left cleanly and has other members, -ESTALE the store is a
 * copy that was not mounted since; -errno
 */
MUST_CHECK int check_repair_run(struct check_repair *r,
				struct resync_side *side, uint64_t looked_ns,
				uint64_t *ret_seq);
