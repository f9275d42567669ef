/* SPDX-License-Identifier: Apache-2.0 */
/*
 * changes - what a map says has changed since a sequence number.
 *
 * A node keeps the number of its last change only. What was deleted left no
 * row: the directory that held it is what changed.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "meta/meta.h"

struct changes_query {
	uint64_t since; /* exclusive */
	uint64_t until; /* inclusive */
	bool blocks;	/* ranges of files instead of nodes */
};

struct change {
	const char *path; /* from the root of the volume, "." for the root;
			   * NULL: too long to be written */
	uint64_t node;
	enum meta_kind kind;
	uint64_t seq;
	uint64_t start; /* bytes; blocks only */
	uint64_t end;
};

typedef int (*change_fn)(void *arg, const struct change *change);

/**
 * changes_walk - call @fn for each, in the order of their numbers; a file of
 * several names once for each. Nodes that have no name are left out.
 *
 * Reads the map in short snapshots, with none open while @fn runs: what
 * changes meanwhile may come again under its new number.
 * Return: 0, what @fn returned if not 0, -errno
 */
MUST_CHECK int changes_walk(struct meta *map, const struct changes_query *query,
			    change_fn fn, void *arg);

/**
 * changes_point - a point in history as people name it: a sequence number,
 * a time (RFC 3339 with zone, "YYYY-MM-DD[ HH:MM[:SS]]" local, or an age such
 * as "90s", "30m", "2h", "3d", "1w"), or a member by name or UUID.
 * Return: 0, -EINVAL (none of these), -errno
 */
MUST_CHECK int changes_point(struct meta *map, const char *text,
			     uint64_t *ret_seq);

/** changes_parse_time - the second form alone. Return: 0, -EINVAL. */
MUST_CHECK int changes_parse_time(const char *text, uint64_t now_ns,
				  uint64_t *ret_ns);

/** changes_kind_name - "file", "directory", ... */
const char *changes_kind_name(enum meta_kind kind);
