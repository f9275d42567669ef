/* SPDX-License-Identifier: Apache-2.0 */
/*
 * volume_adopt - a directory that holds a copy becomes a store: what lies
 * under the same path and is of the same kind is the same node.
 *
 * Its map then knows names, identities and mapped ranges, all numbered below
 * anything of the source, and has an intent over each file and attribute: the
 * first resync compares contents and writes what differs.
 *
 * What the source has not in that place (another kind, another symlink target,
 * another way of linking included) is in nobody's map; volume_adopt_sweep()
 * moves it to found/ once the volume is made.
 */
#pragma once

#include "base/vec.h"
#include "resync/scan.h"

struct volume_adopted {
	uint64_t compared; /* entries found at the same place */
	VEC(char *) extra; /* paths in the store */
	const char *stuck; /* the first of them that could not be moved */
	/* Asked between entries; nonzero ends it with -ECANCELED. NULL: no. */
	int (*should_stop)(void *arg);
	void *stop_arg;
};

void volume_adopted_done(struct volume_adopted *a);

/*
 * The source may be live: an entry that moves away while it is looked at is
 * one that it does not have.
 */
MUST_CHECK int volume_adopt(const struct resync_side *source,
			    const struct resync_side *target,
			    struct volume_adopted *ret);

/* To found/, but for further names of files that the map has now: those go, and the
 * files stay under their other names. All are tried; those that cannot be moved are
 * logged. Return: 0, -errno of the first one */
int volume_adopt_sweep(const struct resync_side *side, struct volume_adopted *a,
		       uint64_t *ret_found);
