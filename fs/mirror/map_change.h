/* SPDX-License-Identifier: Apache-2.0 */
/*
 * map_change - one transaction on the map of one store.
 *
 * What must not fail for want of room, since it is what keeps the volume's
 * promises: intents, epochs, departures, doubt.  The ballast is for these.
 */
#pragma once

#include "fs/mirror/internal.h"

/* What is done in it: 0 or -errno. Called again after -ENOSPC. */
typedef int (*map_change_fn)(struct meta *meta, const void *arg);

/** map_change - on slot @i: all of it, durable, or -errno and nothing. */
MUST_CHECK int map_change(struct mirror *m, unsigned int i, map_change_fn fn,
			  const void *arg);

/* For its own map when a store is left in good order; 0: it cannot be read. */
uint64_t map_root_look(const struct store *store);
