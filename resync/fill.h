/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private to fill.c and make.c: new nodes of one directory.
 */
#pragma once

#include "resync/lap.h"

#define CHUNK_ENTRIES 256u

struct fill_want {
	struct meta_dentry d;
	struct meta_node row; /* the source's */
	size_t extent_at;
	size_t extent_count;
	uint64_t bytes;
	bool large;
};

/* One directory being filled. */
struct fill_dir {
	struct lap *lap;
	size_t index;
	int tdir;	/* the target's; -1 in a dry run */
	int sdir;	/* the source's, when it is not live */
	uint64_t after; /* in the directory, by cookies */
	uint64_t since; /* with seqs above this one */
	bool end;
	size_t count;
	struct fill_want want[CHUNK_ENTRIES];
	VEC(struct meta_extent) extents; /* of this chunk */
};

/*
 * Make what is wanted, with contents unless it is large, and attributes.
 * Return: 0, its identity and ctime, -ENOENT (the source has it no more), -errno
 */
MUST_CHECK int fill_make(struct fill_dir *fd, const struct fill_want *w,
			 struct meta_node *ret);
