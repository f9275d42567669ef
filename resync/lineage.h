/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lineage - who may be overwritten from whom, and from which seq on.
 *
 * A store's lineage is its list of epochs, oldest first.  The target T is
 * merely stale towards the source S when T's tip lies in S's lineage, T went
 * no further in that epoch than S's next one allows, and nothing in T's map
 * is newer than what S has in the same place.  It lacks, at most, what S
 * numbers above
 *
 *	from = min(durable seq of T, base of S's next epoch after T's tip)
 *
 * A lap that was cut has left what its source had, under that one's numbers:
 * until a lap is closed T counts as one that has been through the source's
 * lineage too.  The tip of each such lineage must lie in S's, and from is no
 * higher than the base of S's next epoch after it.
 *
 * A copy (a restored backup) does not speak for what came after it was taken.
 * S that is one, or that founded its next epoch after T's tip as one, is
 * followed only by a T without intents that was durable no further than the
 * copy.
 *
 * Everything else is a fork.  A tip that was never confirmed and that one of
 * its own members lacks is void: it was being recorded when the crash came,
 * and nothing was done in it yet.  So is one that is idle: the store has no
 * intents but doubts, and no lap that was cut, and went no further than its base
 * (a volume that was unmounted right after another store had left); of a copy only where it was
 * taken of a store that had been left in good order.  Where the
 * other one had to leave for what is wrong with it, that is a word against it:
 * such an epoch is not void.
 *
 * The first half is pure and knows epochs and numbers only; what the maps
 * would answer place by place is handed in (lineage_settle()).
 */
#pragma once

#include "resync/resync.h"

/* What the lineage test needs to know of one store. */
struct lineage_view {
	const char *uuid;
	const struct meta_epoch *epochs; /* oldest first */
	size_t count;
	uint64_t durable_seq;
	/* Through which seq this store knew the other one durable; 0: never
	 * heard. A store found behind that was put back to an older state. */
	uint64_t other_durable;
	bool other_failed; /* it was put out, and not taken back since */
	/* Sources of laps that were not closed. */
	const struct meta_lap *laps;
	size_t lap_count;
	/* A resync was not finished, and its laps began no lower than here. */
	bool resyncing;
	uint64_t resync_from;
	bool intents;
	bool doubts_only; /* and all of them are lineage_is_doubt() */
	bool copy;	  /* and has founded no epoch since it became one */
	/* Its map was made anew: it is stale from the beginning, and the intents are
	 * those of the old one. */
	bool rebuilt;
	bool clean; /* left in good order, and not mounted since */
};

struct lineage_verdict {
	enum resync_relation relation;
	uint64_t from;	    /* STALE; NEWER: of the reverse resync */
	uint64_t fork_from; /* what a resync by the user's word starts at */
	uint64_t fork_node; /* and the first node id that means two nodes */
};

/** lineage_live - epochs of @own without the void end that @other shows. */
size_t lineage_live(const struct lineage_view *own,
		    const struct lineage_view *other);

/**
 * lineage_compare - what @target is towards @source by lineage alone.
 * Never fails: a lineage without epochs has nothing in common (FOREIGN).
 */
void lineage_compare(const struct lineage_view *source,
		     const struct lineage_view *target,
		     struct lineage_verdict *ret);

/**
 * lineage_completes - is @half in the middle of a resync, and is @whole, which
 * is not, of the lineage it came from?  Then @whole alone is a state that ever
 * was, and what @half had of its own may be gone.
 */
bool lineage_completes(const struct lineage_view *whole,
		       const struct lineage_view *half);

/**
 * lineage_settle - the verdict once the maps have been asked.
 * @newer: whether the side that would be overwritten numbers something above
 * verdict.from that is newer than what the other has there.
 */
void lineage_settle(struct lineage_verdict *verdict, bool newer);

/** lineage_is_doubt - is a file in doubt since a failure, for good, and not for
 * an operation under way? */
bool lineage_is_doubt(const struct meta_intent *in);

/**
 * lineage_is_begun - has the map any epoch?  One that has none was never finished
 * by the init, add or rebuild that made it.  An error counts as yes: whoever reads
 * more meets it again.
 */
bool lineage_is_begun(struct meta *meta);

/* ---- over two maps ---- */

/* A lineage view and the rows it points into. */
struct lineage_of {
	struct lineage_view view;
	struct meta_epoch *epochs;
	struct meta_laps laps;
};

/* One side of the question. */
struct lineage_end {
	struct meta *meta;
	bool copy; /* seen to be one, though its map does not say so yet */
};

/**
 * lineage_load - read what the test needs.  @other: the other store's UUID
 * (NULL: none).  Within or without a read transaction.
 */
MUST_CHECK int lineage_load(struct meta *meta, struct meta_reader *rd,
			    const char *other, struct lineage_of *ret);
void lineage_done(struct lineage_of *of);

/**
 * lineage_ask - resync_relate() with all that it found out.
 * @maps: whether the maps are asked too; else lineage alone, as before a
 * recovery.
 */
MUST_CHECK int lineage_ask(struct lineage_end source, struct lineage_end target,
			   bool maps, struct lineage_verdict *ret);

/* The same without the maps, of stores whose maps say all there is to be said. */
MUST_CHECK int resync_relate_lineage(struct meta *source, struct meta *target,
				     struct lineage_verdict *ret);

/** resync_completes - lineage_completes() of two maps: 1, 0, -errno. */
MUST_CHECK int resync_completes(struct meta *whole, struct meta *half);

/**
 * resync_trim_void - drop a void end from @target's lineage, in a transaction
 * of its own, as the first thing a resync does to it.
 */
MUST_CHECK int resync_trim_void(struct meta *source, struct meta *target);
