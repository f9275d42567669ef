/* SPDX-License-Identifier: Apache-2.0 */
/*
 * diverge - what two stores did without each other, as both maps tell it.
 *
 * A map numbers what it has, so both can say what they changed since they
 * parted.  A removal leaves no row; it shows where the other side still has an
 * entry from before, in a directory that this side has changed, or has what was
 * there under another name, or has put something else in its place.  What both
 * removed is told by neither.  Of a directory in which both changed something
 * and whose attributes differ, neither map says whose they were.
 *
 * Numbers from before the parting that both maps have in one place are shared
 * history and are left out, also where they lie above the number from which a
 * resync would begin.
 */
#pragma once

#include "resync/lineage.h"

enum diverge_what {
	DIVERGE_NONE, /* this side left it as it was */
	DIVERGE_CHANGED,
	DIVERGE_GONE, /* the name is no more; what it led to, nobody knows */
	DIVERGE_MOVED_AWAY, /* a name of something that has another one now */
	DIVERGE_REMOVED,
	DIVERGE_MOVED_HERE,
	DIVERGE_LINKED_HERE, /* and it still has the names that it had */
	DIVERGE_MADE,
	DIVERGE_REPLACED, /* what was there went, something else came */
};

struct diverge_side {
	enum diverge_what what;
	enum meta_kind kind; /* of what is there now; 0 where nothing is */
	uint64_t node;
	uint64_t seq;
	uint64_t bytes;	  /* in blocks written since */
	const char *path; /* where this side has it; NULL: there */
};

struct diverge_item {
	const char *path; /* without a leading slash; "." for the root */
	struct diverge_side side[2];
};

struct diverge_ask {
	/* Each place; nonzero ends it with that. */
	int (*item)(void *arg, const struct diverge_item *item);
	/* Are mode, owner or extended attributes of a directory, which lies
	 * there on @a and on @b, others? 1 yes (or nobody can tell), 0 no,
	 * -errno ends it with that. */
	int (*dirs_differ)(void *arg, const char *on_a, const char *on_b);
	void *arg;
};

/**
 * diverge_walk - tell each place that either side changed above @from: first
 * those of @a alone, then those of @b alone, then those of both, each by path.
 * Memory follows the number of these places.
 * Return: 0, what @ask->item returned if not 0, -errno.
 */
MUST_CHECK int diverge_walk(struct meta *a, struct meta *b, uint64_t from,
			    const struct diverge_ask *ask);
