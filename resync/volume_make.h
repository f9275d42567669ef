/* SPDX-License-Identifier: Apache-2.0 */
/*
 * volume_make - a volume out of directories, and a new store for one.
 *
 * The first directory may hold files: they are adopted where they lie, their
 * rows are made from them.  The others are empty, or hold copies (adopt):
 * what lies under the same path and is of the same kind becomes the same node,
 * is put in doubt as a whole, and the first resync compares it instead of
 * copying it; what the first directory has not goes to found/.
 *
 * A refusal changes nothing; after a failure everything made is removed.
 *
 *	struct volume_make_result *made = calloc(1, sizeof(*made));
 *	int err = volume_make(&(struct volume_make_args){
 *		.paths = paths, .path_count = 2, .warn = say }, made);
 *	if (err)
 *		complain(made->why);
 */
#pragma once

#include "resync/scan.h"

/* First seq and node id of a volume; readdir cookies below are special. */
#define VOLUME_FIRST_SEQ 16u

struct volume_make_args {
	const char *const *paths;
	size_t path_count;
	/* One per path, or fewer: the others are named after their
	 * directories. NULL, or "" in it, likewise. */
	const char *const *names;
	size_t name_count;
	bool adopt; /* the others hold copies */
	/* Asked now and then; nonzero ends it with -ECANCELED. NULL: no. */
	int (*should_stop)(void *arg);
	/* A sentence that a person should read; may be NULL. */
	void (*warn)(void *arg, const char *sentence);
	void *arg;
};

struct volume_made {
	char uuid[META_UUID_LEN + 1];
	char name[64];
	char path[4096];   /* absolute */
	bool in_step;	   /* false: the first mount brings it in step */
	uint64_t compared; /* adopt: entries found at the same place */
	uint64_t found;	   /* adopt: entries moved to found/ */
};

struct volume_make_result {
	char volume_uuid[META_UUID_LEN + 1];
	struct volume_made stores[META_STORE_MAX];
	size_t store_count;
	struct scan_counts counts; /* what the first directory held */
	char why[512];		   /* for people, when an error is returned */
};

/**
 * volume_make - `seqmirror init`.
 * Return: 0, -EINVAL (names, nesting, equal or too many directories),
 * -EEXIST (a store already), -ENOTEMPTY, -ENOTDIR, -EOPNOTSUPP (the
 * filesystem lacks something), -EXDEV (another one is mounted inside), or
 * what a call gave; ret->why has the sentence.
 */
MUST_CHECK int volume_make(const struct volume_make_args *args,
			   struct volume_make_result *ret);

/**
 * volume_add_store - make the empty directory @path a store of the volume
 * whose map is @source (open, perhaps live: only read).  The new store is
 * RESYNCING and durable through nothing: merely stale, from 0.
 * @name: NULL for the directory's own.
 * @ret_row: its member row, not yet known to @source; the caller records it
 * (mirror_member_add()) and attaches it, or takes the store away again with
 * volume_unmake().
 * Return: 0, -ETIMEDOUT (the disk does not answer; what was made goes away when
 * it does), or as volume_make(); @why has the sentence, or is as it was.
 */
struct volume_add_args {
	struct meta *source;
	const char *path;
	const char *name;
	void (*warn)(void *arg, const char *sentence);
	void *arg;
};
MUST_CHECK int volume_add_store(const struct volume_add_args *args,
				struct meta_member *ret_row, char *why,
				size_t why_len);

/** volume_unmake - store_unmake(), -ETIMEDOUT */
int volume_unmake(const char *path);
