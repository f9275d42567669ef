/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check_walk - a store's tree and its map, read side by side.
 *
 * Every name that the tree has, or the map has, is told once, with what both
 * know of it; a directory that turns out not to be readable, once more.  Directories that are the node their row names are entered, and
 * those that the map has at another place, as what they are there; one that it
 * does not know is told and left.
 *
 * Memory follows the depth of the tree, not its size: a directory is listed
 * as a stream, and goes on from the last number it was entered at.  Nothing is
 * written, on either side.  The store must be still: unmounted, or its volume
 * held.
 */
#pragma once

#include "resync/resync.h"

struct check_place {
	const char *path; /* relative to the store; "": the root itself */
	const char *name; /* in its directory; "" for the root */
	int dirfd;	  /* that directory, or the root's own descriptor */
	uint64_t parent;  /* its node; 0 for the root */
	/* What the map has; NULL: nothing under this name, no such node. */
	const struct meta_dentry *dentry;
	const struct meta_node *row;
	/* What the tree has; NULL: nothing under this name. */
	const struct store_stat *st;
	bool match; /* both are there, and it is the node */
	/* No match, but a directory that the map has elsewhere; is entered. */
	bool moved;
	/* The directory was said to be in doubt, or one above it. */
	bool doubt;
	/* -errno: it cannot be looked at, and nothing below it is told. */
	int error;
};

struct check_walk {
	const struct resync_side *side;
	struct meta_reader *rd;
	/* The map lies beside a copy: kinds are compared, not identities. */
	bool copied;
	/*
	 * One name; nonzero ends the walk and is returned.  @ret_doubt
	 * (false before the call): of a directory that will be entered, what
	 * check_place.doubt of its entries is.
	 */
	int (*place)(void *arg, const struct check_place *p, bool *ret_doubt);
	/* A directory whose entries were all told. */
	int (*listed)(void *arg, const struct check_place *dir);
	void *arg;
};

/** check_walk - Return: 0, what a callback gave, -errno of the map or tree. */
MUST_CHECK int check_walk(const struct check_walk *args);
