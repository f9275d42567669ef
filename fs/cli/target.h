/* SPDX-License-Identifier: Apache-2.0 */
/*
 * target - what a word on the command line means: a mounted volume, a store
 * that a daemon has, or an unmounted store. Errors are reported here.
 */
#pragma once

#include <limits.h>

#include "base/cleanup.h"
#include "fs/cli/control.h"

struct target {
	struct client *client; /* of a mounted volume, or NULL and: */
	struct meta *map;      /* of an unmounted store, read only */
	struct store_identity id;
	char path[PATH_MAX]; /* absolute */
};

/** target_open - MOUNTPOINT|STORE. Return: 0, -errno (reported). */
MUST_CHECK int target_open(const char *word, struct target *ret_target);
void target_done(struct target *t);
#define _cleanup_target_ _cleanup_(target_done)

/** target_open_mount - MOUNTPOINT only. Return: 0, -errno (reported). */
MUST_CHECK int target_open_mount(const char *word, struct client **ret_client);

/** target_open_map - the map of an unmounted store, read only. */
MUST_CHECK int target_open_map(const char *path, struct meta **ret_map,
			       struct store_identity *ret_id);

/**
 * target_put_store - a STORE word into a request: as it is under "store",
 * and under "path" what it is as a path.
 */
MUST_CHECK int target_put_store(json_t *request, const char *word);
