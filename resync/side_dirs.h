/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directories of a store that were opened a moment ago, by node: what lies in them
 * needs no path from the root, which in a deep tree is as long as the tree is
 * deep, for each node.
 *
 * Where a directory was taken from here, the node below it must prove itself by
 * its identity: a place alone proves nothing.  One thread, one lap.
 */
#pragma once

#include "meta/meta.h"

#define SIDE_DIRS 64u

struct side_dir {
	uint64_t node; /* 0: free */
	struct meta_backing backing;
	int fd;
};

struct side_dirs {
	struct side_dir dir[SIDE_DIRS]; /* by the node's lowest bits */
};

/* Borrowed, until the next call; -1: none of this identity is known. */
int side_dirs_get(const struct side_dirs *dirs, const struct meta_node *row);
/* It is open as @fd, which is ours from now on, and borrowed as above. */
MUST_CHECK int side_dirs_take(struct side_dirs *dirs,
			      const struct meta_node *row, int fd);
/* The same, but that @fd stays the caller's. What cannot be kept is not. */
void side_dirs_put(struct side_dirs *dirs, const struct meta_node *row, int fd);
void side_dirs_done(struct side_dirs *dirs);
