/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan - what differs, worked out from rows alone.
 *
 * Pure: no files, no maps, no locks.  The lap feeds it rows of the source's
 * and the target's map and does what comes out; a dry run counts it instead.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/range.h"
#include "base/vec.h"
#include "meta/meta.h"

struct plan_extents {
	VEC(struct meta_extent) v;
};

struct plan_intents {
	VEC(struct meta_intent) v;
};

/* What a rule of sameness must know. */
struct plan_trust {
	/* The same number above this one need not mean the same write: after
	 * a fork both sides went on counting alone. */
	uint64_t same_through;
	/* The target's own doubts about this node; handled by comparing. */
	const struct range_set *doubt;
};

/** plan_name_order - the order of names in a map: by bytes. */
int plan_name_order(const struct meta_dentry *a, const struct meta_dentry *b);

/**
 * plan_copy - what of one source extent must be copied.
 * @have: the target's extents that overlap it, by start, @count of them
 *
 * Left out are parts that the target has under the same number, and parts in
 * doubt.  The rest is appended to @out, joined with what touches it there
 * under the same node and number.
 * Return: 0, -ENOMEM
 */
MUST_CHECK int plan_copy(const struct meta_extent *want,
			 const struct meta_extent *have, size_t count,
			 const struct plan_trust *trust,
			 struct plan_extents *out);

/* The next row of one side, by start: 1, 0 at the end, -errno. */
typedef int (*plan_next_fn)(void *arg, struct meta_extent *ret);

/**
 * plan_unmap - what is mapped on the target and not on the source.
 *
 * Both sides are read once, side by side.  Parts in @doubt are left out.
 * Return: 0, -ENOMEM, what the functions gave
 */
MUST_CHECK int plan_unmap(plan_next_fn next_target, void *target,
			  plan_next_fn next_source, void *source,
			  const struct range_set *doubt, struct range_set *out);

/**
 * plan_cover - intents over ranges: near ones are joined.
 * @gap_bytes: how far apart they may lie
 * Return: 0, -ENOMEM
 */
MUST_CHECK int plan_cover(uint64_t node, struct range r, uint64_t gap_bytes,
			  struct plan_intents *out);

enum plan_action {
	PLAN_COMPARE, /* mapped on both: read both, write what differs */
	PLAN_WRITE,   /* mapped on the source only */
	PLAN_PUNCH,   /* mapped on the target only */
};

/**
 * plan_compare_next - the next step in [at, end) of a file in doubt.
 * Return: true and the step, false when nothing is left to do
 */
bool plan_compare_next(const struct range_set *source,
		       const struct range_set *target, struct range within,
		       struct range *ret_range, enum plan_action *ret_action);
