/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mount_run - bring a volume up, serve it, take it down.
 */
#pragma once

#include <limits.h>

#include "base/vec.h"
#include "fs/mount/mount.h"
#include "resync/resync.h"

struct mount_request {
	VEC(char *) stores;	   /* absolute paths, owned */
	char mountpoint[PATH_MAX]; /* absolute */
	char *fsname;		   /* owned */
	bool foreground;
	bool fake; /* only look at the options */
	struct mount_options options;
};

/**
 * mount_request_add - the stores that one word names: a path, or several
 * with colons between them (unless there is a directory of just that name).
 */
MUST_CHECK int mount_request_add(struct mount_request *r, const char *word);
void mount_request_done(struct mount_request *r);

/** mount_request_check - the mount point and the stores do not lie in one
 * another. Reports. Looks at the stores (resync/reach.h). */
MUST_CHECK int mount_request_check(const struct mount_request *r);

/** mount_request_check_found - the same of the members that nobody named and
 * that were found: of who forgets the mount point, the last store is it. */
MUST_CHECK int mount_request_check_found(const struct mount_request *r,
					 const struct resync_found *found);

/** mount_run - Return: enum mount_exit, errors reported. */
MUST_CHECK int mount_run(struct mount_request *r);

/**
 * mount_remount - give what is mounted at r->mountpoint other flags.
 *
 * Refused, and nothing changed, where that is no volume of ours or where an
 * option is named that only another daemon could have.
 * Return: enum mount_exit, errors reported.
 */
MUST_CHECK int mount_remount(const struct mount_request *r);

/**
 * mount_wait - wait for the members that were online last, bounded by
 * options.wait_s; says nothing about those that did not come.
 * @is_given_up: asked again and again; ends it
 */
MUST_CHECK int mount_wait(const struct mount_request *r,
			  bool (*is_given_up)(void));
