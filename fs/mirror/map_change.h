/* SPDX-License-Identifier: Apache-2.0 */
/*
 * map_change - one transaction on the map of one store.
 *
 * What must not fail for want of room, since it is what keeps the volume's
 * promises: intents, epochs, departures, doubt.  The ballast is for these.
 */
#pragma once

#include "meta/meta.h"

/* What is done in it: 0 or -errno. Called a second time after -ENOSPC. */
typedef int (*map_change_fn)(struct meta *meta, const void *arg);

/** map_change - all of it, durable, or -errno and nothing. */
MUST_CHECK int map_change(struct meta *meta, map_change_fn fn, const void *arg);
