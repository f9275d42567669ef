/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stores under way: what making a volume and adding to one have in common.
 *
 * A store under way is a store already (its files can be reached through the
 * store layer only then), but its map has no epoch: whoever opens it is told
 * that it was never finished.  The epoch is written last.
 */
#pragma once

#include "resync/volume_adopt.h"
#include "resync/volume_check.h"

struct making_store {
	struct resync_side side;
	struct store_identity id;
	bool made;
	bool in_step;
	struct volume_adopted adopted;
};

struct making {
	struct volume_check check;
	struct making_store v[META_STORE_MAX];
	size_t count;
	struct scan_numbers numbers;
	struct scan_counts counts;
	void (*warn)(void *arg, const char *sentence);
	void *arg;
};

struct making *making_new(void (*warn)(void *arg, const char *sentence),
			  void *arg);
/* @keep: what was made stays. */
void making_free(struct making *mk, bool keep);

/* Make the next of the places that were checked a store, and open it. */
MUST_CHECK int making_store_make(struct making *mk, const char *volume_uuid);

/* The root's row as it is on this store, under @seq. In a transaction. */
MUST_CHECK int making_put_root(const struct making_store *s, uint64_t seq);

/* All numbers of a map, @n being the next ones. In a transaction. */
MUST_CHECK int making_put_numbers(const struct making_store *s,
				  const struct scan_numbers *n,
				  uint64_t durable, bool in_step);
