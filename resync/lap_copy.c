/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A target that is a copy: where its files are is settled before the lap looks for
 * any of them (settle.c).
 *
 * To make one file of names that have become several (settle_links.c) changes the
 * modification time of a directory for a moment. The lap may be cut in that moment,
 * and nothing else says that it has to look at this directory.
 */
#include <errno.h>

#include "resync/lap.h"

/* The next node that has several names and no identity, and the directories of its
 * names. 1, 0: none. */
static int next_linked(struct lap *lap, uint64_t *node, struct idvec *dirs)
{
	_cleanup_meta_iter_ struct meta_iter nodes = {0};
	_cleanup_meta_iter_ struct meta_iter names = {0};
	struct meta_dentry d;
	int r = meta_iter_linked(lap->plain, *node, &nodes);

	vec_clear(&dirs->v);
	if (r == 0)
		r = meta_next_linked(&nodes, node);
	meta_iter_done(&nodes);
	if (r <= 0)
		return r;
	r = meta_iter_names(lap->plain, *node, &names);
	while (r == 0 && (r = meta_next_dentry(&names, &d)) > 0)
		r = vec_push(&dirs->v, d.parent);
	return r < 0 ? r : 1;
}

static int arm_times(struct lap *lap)
{
	struct idmap armed = {0};
	struct idvec dirs = {0};
	uint64_t node = 0;
	int r = 0;

	while (r == 0 && (r = next_linked(lap, &node, &dirs)) > 0) {
		r = 0;
		for (size_t i = 0; r == 0 && i < dirs.v.count; i++) {
			struct meta_intent in = {
				.node = dirs.v.data[i],
				.kind = META_INTENT_ATTR,
			};

			if (in.node == META_LIMBO_ID ||
			    idmap_get(&armed, in.node))
				continue;
			r = idmap_set(&armed, in.node, 1);
			if (r == 0)
				r = lap_begin(lap);
			if (r == 0)
				r = meta_intent_put(lap->dst->meta, &in);
			if (r == 0)
				r = lap_step(lap, 1);
		}
	}
	idmap_done(&armed);
	vec_done(&dirs.v);
	return r < 0 ? r : lap_commit(lap);
}

int lap_settle(struct lap *lap)
{
	uint64_t copy;
	int r;

	if (lap->dry || (lap->args->last && lap->src->live))
		return 0;
	r = meta_number_get(lap->plain, META_NUM_COPY, &copy);
	if (r < 0 || !copy)
		return r;
	r = reconcile_copy(lap);
	if (r == 0)
		r = arm_times(lap);
	return r < 0 ? r : side_settle(lap->dst);
}
