/* SPDX-License-Identifier: Apache-2.0 */
/*
 * present - the stores that are there: opened, proved, read, and the one among
 * them that the others follow.  Shared by assembling a volume for mounting and
 * by resyncing unmounted stores.
 *
 * Every refusal leaves one sentence in why, and nothing changed.
 */
#pragma once

#include "resync/added.h"
#include "resync/lineage.h"

#define PRESENT_WHY_MAX RESYNC_WHY_MAX

struct present {
	struct store *store;
	struct meta *meta;
	char *path;	   /* where it was asked for */
	bool named;	   /* by the user; else found where it was last */
	bool copy;	   /* its files are not those its map was made beside */
	bool unclean_copy; /* and nothing says that they fit (side.h) */
	bool handed_over;  /* it has another owner now */
	bool resyncing;
	bool clean;
	uint64_t intents;
	uint64_t doubts;	   /* of those, about this store's files */
	uint64_t doubts_elsewhere; /* and about those of other members */
	bool doubts_only; /* all of them about files of a store that failed */
	uint64_t durable_seq;
	size_t epochs;
};

struct present_set {
	struct present v[META_STORE_MAX];
	size_t count;
	/* Of the last present_open() that said -EUCLEAN: the store has proved
	 * who it is, but its map cannot be used. */
	bool map_lost;
	struct store_identity lost;
	bool dry; /* nothing is written, not even a map's new format */
	char why[PRESENT_WHY_MAX];
};

static inline struct lineage_end present_end(const struct present *p)
{
	return (struct lineage_end){.meta = p->meta, .copy = p->copy};
}

/* Closes all that was not taken out (store and meta NULL). */
void present_done(struct present_set *set);
/* The same for one, which leaves the set: the last takes its place. */
void present_leave(struct present_set *set, size_t i);
/* Does one of them not answer any more? */
bool present_hangs(const struct present_set *set);

/**
 * present_open - open the store at @path and read what it says of itself.
 * @expect_uuid: NULL for any.
 * Return: 0, -ENOENT (nothing there, or no store), -EINVAL (another volume),
 * -EEXIST (its UUID is open already, from elsewhere), -EALREADY (the very same
 * directory is), -EBUSY (in use), -ETIMEDOUT (it does not answer: reach.h),
 * -EUCLEAN, -EPROTO, ...; why is set.
 */
MUST_CHECK int present_open(struct present_set *set, const char *path,
			    const char *expect_uuid, bool named);

/* Index of the store with this UUID, or -1. */
int present_find(const struct present_set *set, const char *uuid);

/**
 * present_members - the members as @source knows them, and those that others of
 * the set, which may follow it, have added since they parted.
 */
MUST_CHECK int present_members(struct present_set *set, size_t source,
			       struct added_rows *ret);
/* These into the map of @source, before the others' are made like it. */
MUST_CHECK int present_put_added(const struct present *source,
				 const struct added_rows *rows);

/* -EINVAL: store @i is not in the rows of @source. */
int present_refuse_stranger(struct present_set *set, size_t source, size_t i);

/** present_make_room - for what the maps are to take, on disks that are full. */
MUST_CHECK int present_make_room(struct present_set *set);

/** present_put_row - a member's row into the map of @p, durable. */
MUST_CHECK int present_put_row(const struct present *p,
			       const struct meta_member *row);

/**
 * present_note_paths - on the maps of those that are @in_step, where each of them
 * lies now, if it is known elsewhere there: the next mount looks for it. Return:
 * 0; -errno of a map
 */
MUST_CHECK int present_note_paths(struct present_set *set,
				  const bool in_step[]);

/**
 * present_join - @source and those that are @in_step with it record an epoch
 * together, with @rows (updated: online, where they lie) and the highest numbers
 * of all present. Return: 0, or -errno with a sentence.
 */
MUST_CHECK int present_join(struct present_set *set, size_t source,
			    const bool in_step[], struct meta_member *rows,
			    size_t row_count);

/* lineage_ask() of two of them, with a sentence when that fails. */
MUST_CHECK int present_relate(struct present_set *set, size_t source,
			      size_t target, bool settled,
			      struct lineage_verdict *ret);

/**
 * present_pick - the source: not resyncing, no unclean copy, furthest lineage, then highest
 * durable seq, an original before a copy; every other one may follow it.
 * @settled: the maps are asked too; else only lineages are compared (before a
 * recovery, when a map may have run ahead under its intents).
 * Return: its index, -EREMCHG (why says who parted from whom), -ENODEV (none
 * may be a source), ...
 */
MUST_CHECK int present_pick(struct present_set *set, bool settled);

/* @ret_whole: a store that has whole what @half has in part
 * (lineage_completes()); -1: none is present. */
MUST_CHECK int present_whole_of(struct present_set *set, size_t half,
				int *ret_whole);
/* Two stores as words of commands that are told; "STORE" where the message has no
 * room for both, each twice. */
struct present_words {
	const char *one, *other;
	char text[2][(PRESENT_WHY_MAX - 512) / 2];
};
void present_words(const struct present_set *set, size_t one, size_t other,
		   struct present_words *ret);
/* @half would be a mixture of two states, and @whole is not. */
int present_refuse_half(struct present_set *set, size_t half, size_t whole);

/*
 * If @i is a copy, take it for what it is: its rows say what lies where, but
 * not in which inode. Only for a source: a lap looks through its target.
 */
MUST_CHECK int present_forget(struct present_set *set, size_t i);

/**
 * present_rebuild - give @i, an unclean copy, a map in which all is in doubt
 * (rebuild.h). @overruled: it may not follow @source. @control may be NULL.
 * @ret_found: how much was moved to found/.
 */
MUST_CHECK int present_rebuild(struct present_set *set, size_t source, size_t i,
			       bool overruled,
			       const struct resync_control *control,
			       uint64_t *ret_found);
/* -EUCLEAN: @i, such a copy, cannot be kept as it is. */
int present_refuse_unclean(struct present_set *set, size_t i);

/* Recover @source under its intents and those of all that may follow it;
 * reads its numbers again. */
MUST_CHECK int present_recover(struct present_set *set, size_t source,
			       uint64_t *ret_bytes);

/* Whether any store has intents, or @source was not left cleanly. */
bool present_needs_recovery(const struct present_set *set, size_t source);

/* Name of a store, for messages. */
const char *present_name(const struct present_set *set, size_t i);

/* A sentence for why; @err is returned. */
int present_refuse(struct present_set *set, int err, const char *fmt, ...)
	__attribute__((__format__(__printf__, 3, 4)));
