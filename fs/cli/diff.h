/* SPDX-License-Identifier: Apache-2.0 */
/*
 * diff - how two stores stand towards each other, as JSON: what the daemon
 * sends and what `diff` prints from.
 */
#pragma once

#include <jansson.h>

#include "base/cleanup.h"
#include "meta/meta.h"

struct diff_end {
	const char *path; /* absolute: where its files are looked at */
	const char *name;
	struct meta *map;
	bool live;  /* in use, and checkpointed just now */
	bool hangs; /* set by diff_report(): what failed is this one's */
};

/* Gets each item (borrowed); nonzero ends it with that. */
typedef int (*diff_fn)(void *arg, const json_t *item);

/**
 * diff_report - the head, and after a fork one item for each place.
 *
 * The head: relation (equal, doubt, behind, fork, resyncing, foreign), stores
 * (of both: name, uuid, path, durable_seq, in_doubt, resyncing), from_seq; behind (store, nodes,
 * bytes, seconds, exact) or null.  The relation is doubt when both are durable
 * through one number, and a crash or a failing store left something to compare. A store is
 * in_doubt when its map may lack some of what it changed last.
 *
 * The relation is resyncing when a resync of a store was not finished that is
 * not merely behind the other: what it has is a mixture, and no list is made
 * of it.  Then store is its name, complete the other's if that has all that the
 * resync brought, else null.
 *
 * An item: path, in (the name of a store, or "both"), sides (of both: null, or
 * what, kind, seq, bytes, size, mtime; the last two null where the file cannot
 * be looked at).
 *
 * Return: 0; what @fn returned if not 0; -ETIMEDOUT (a store does not answer,
 * @ends[].hangs says which); -errno
 */
MUST_CHECK int diff_report(struct diff_end ends[2], diff_fn fn, void *arg);
