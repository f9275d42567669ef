/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the two halves of a recovery share; recover.c has the essay.
 */
#pragma once

#include "base/vec.h"
#include "resync/idmap.h"
#include "resync/scan.h"

struct recover_dir {
	uint64_t node;
	bool done;
};

struct recover {
	const struct resync_side *side; /* with the armed directories */
	struct idmap armed;
	struct meta_reader *rd; /* the writer's view, inside the transaction */
	struct scan_numbers numbers;
	uint64_t bytes; /* looked at */
	/* by (node, kind, start); those of all present members */
	VEC(struct meta_intent) intents;
	VEC(struct recover_dir) dirs;
	VEC(uint64_t) orphans; /* may have lost their last name */
};

/* Directories to be listed, and their entries. */
MUST_CHECK int recover_names(struct recover *r);

/* Delete what has no name any more, and what was only below it. */
MUST_CHECK int recover_orphans(struct recover *r);

/* Note that @node may have lost its last name. */
MUST_CHECK int recover_lost_name(struct recover *r, uint64_t node);

/*
 * A source is never in the middle of a resync, so what lies in its limbo is
 * left over: moved to found/, its rows removed. In a transaction of its own.
 */
MUST_CHECK int recover_limbo(struct recover *r);
