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
 * Everything else is a fork.  A tip that was never confirmed and that one of
 * its own members lacks is void: it was being recorded when the crash came,
 * and nothing was done in it yet.
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
	/* It has intents, or its last resync was not finished. */
	bool in_doubt;
};

struct lineage_verdict {
	enum resync_relation relation;
	uint64_t from;	    /* STALE; NEWER: of the reverse resync */
	uint64_t fork_from; /* what a resync by the user's word starts at */
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
 * lineage_settle - the verdict once the maps have been asked.
 * @newer: whether the side that would be overwritten numbers something above
 * verdict.from that is newer than what the other has there.
 */
void lineage_settle(struct lineage_verdict *verdict, bool newer);

/* ---- over two maps ---- */

/* A lineage view and the rows it points into. */
struct lineage_of {
	struct lineage_view view;
	struct meta_epoch *epochs;
};

/**
 * lineage_load - read what the test needs.  @other: the other store's UUID
 * (NULL: none).  Within or without a read transaction.
 */
MUST_CHECK int lineage_load(struct meta *meta, struct meta_reader *rd,
			    const char *other, struct lineage_of *ret);
void lineage_done(struct lineage_of *of);

/** resync_verdict - resync_relate() with all that it found out. */
MUST_CHECK int resync_verdict(struct meta *source, struct meta *target,
			      struct lineage_verdict *ret);

/** resync_relate_lineage - the same by lineage alone, before recovery. */
MUST_CHECK int resync_relate_lineage(struct meta *source, struct meta *target,
				     struct lineage_verdict *ret);

/**
 * resync_trim_void - drop a void end from @target's lineage, in a transaction
 * of its own, as the first thing a resync does to it.
 */
MUST_CHECK int resync_trim_void(struct meta *source, struct meta *target);
