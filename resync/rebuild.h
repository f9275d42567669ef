/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rebuild - a store whose map is lost gets a new one.
 *
 * Without its map nobody can tell how far a store got: it may be behind, or it
 * may be the one that went on alone.  So it is never taken for a member in
 * step, and nothing on it is overwritten unasked.  Two ways lead back, each at
 * a person's word:
 *
 * rebuild_alone(): its files are what there is.  The map is made from them,
 * with fresh ids and numbers, and begins a lineage of its own.  It keeps the
 * volume's and the store's UUID, so that it is recognised, and shares no epoch
 * with any other member, so that it is foreign to all of them: no mount and no
 * attach takes it for anything else.
 *
 * rebuild_like(): another member is right.  What lies under the same path and
 * is of the same kind becomes the same node, wholly in doubt; what the source
 * does not have there goes to found/.  The store is then merely stale from the
 * beginning, and the resync that follows compares every file and writes what
 * differs.
 *
 * The old map stays beside the new one as meta.db.old.  A map under way has no
 * epoch: whoever meets it says that it was never finished, and both ways begin
 * anew.
 *
 * A copy of a store that was in use is brought back the second way, unasked: its
 * map is sound and tells a fork, but not what is in the files.  That past stays in
 * the new one until a lap is closed.  Where none can be made (a full disk) the old
 * one is put back: such a copy has lost no map.
 */
#pragma once

#include "resync/scan.h"

enum rebuild_what {
	REBUILD_LOST, /* and what it was nobody can tell */
	/* A copy of which the map is not believed what is in its files, but that it
	 * may follow the source (side_is_unclean_copy()). One that is cut is still
	 * such a copy. */
	REBUILD_COPY,
	/* The same, that may not: at a person's word. */
	REBUILD_COPY_OVERRULED,
};

struct rebuild_counts {
	uint64_t nodes;	   /* alone: made from files */
	uint64_t entries;  /* alone */
	uint64_t bytes;	   /* alone: mapped */
	uint64_t compared; /* like: entries to be compared */
	uint64_t found;	   /* moved to found/ */
};

/**
 * rebuild_is_lost - can the map of an open store not be used?
 * @ret_why: why, in a sentence, to be freed; NULL when it can.
 * @thorough: look at every page.
 * Return: 1 lost, 0 sound, -EBUSY, -EPROTO (a newer version made it), ...
 */
MUST_CHECK int rebuild_is_lost(const struct store *store, bool thorough,
			       char **ret_why);

/** rebuild_alone - Return: 0, -errno with a sentence in @why. */
MUST_CHECK int rebuild_alone(struct store *store, struct rebuild_counts *ret,
			     char *why, size_t why_len);

/**
 * rebuild_like - @source is unmounted and without doubts, or live: then just
 * checkpointed, and the map may move on meanwhile.
 * @should_stop (may be NULL): nonzero ends it with -ECANCELED.
 * @ret_meta: the new map, for the caller to close with the store, also on
 * failure; NULL: there is none.
 * Return: 0, -errno with a sentence in @why
 */
MUST_CHECK int rebuild_like(const struct resync_side *source,
			    struct store *store, enum rebuild_what what,
			    int (*should_stop)(void *arg), void *arg,
			    struct meta **ret_meta, struct rebuild_counts *ret,
			    char *why, size_t why_len);
