/* SPDX-License-Identifier: Apache-2.0 */
/*
 * past - what two maps tell of the time before their stores parted: which
 * numbers and which nodes are from then.
 */
#pragma once

#include "resync/lineage.h"

/* One side's first epoch without the other. */
struct parting {
	uint64_t first_seq;
	uint64_t first_node; /* 0: it has none */
	uint64_t base;
};

struct past {
	struct meta_reader *rd[2];
	uint64_t from; /* what is numbered up to this, both had */
	struct parting parting[2];
	uint64_t parted;      /* lower numbers mean the same on both sides */
	uint64_t old_through; /* ids up to this are from before */
};

/** past_open - with the readers and @from set; the maps are those they read. */
MUST_CHECK int past_open(struct past *p, struct meta *a, struct meta *b);

/* Once for each side before past_has(). */
MUST_CHECK int past_learn(struct past *p, unsigned int side);

/* Is @seq, which one side has somewhere, known there to the other as well? */
bool past_shares_seq(const struct past *p, uint64_t seq, uint64_t other);

/* The same of a name that @side has: 1, 0, -errno. */
MUST_CHECK int past_shares_name(const struct past *p, unsigned int side,
				const struct meta_dentry *name);

/**
 * past_shared - is the node, which @side has and the other has under the same
 * id, one that lay somewhere before? A recovery after a crash numbers all that
 * was in doubt anew. 1, 0, -errno.
 */
MUST_CHECK int past_shared(const struct past *p, unsigned int side,
			   uint64_t id);

/** past_has - is the node that @side has from before? 1, 0, -errno. */
MUST_CHECK int past_has(struct past *p, unsigned int side,
			const struct meta_node *row);
