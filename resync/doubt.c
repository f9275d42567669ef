/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the target's own intents say: where its files may differ from its map.
 *
 * They are read once, before the lap puts intents of its own beside them, and
 * stay in the map until the lap is closed.  Those of generation 0 were left by
 * a lap that was cut: under them its files may differ, but rows it committed
 * are true.  Those of other generations were left by a crash of the mirror,
 * whose map runs ahead of its files under them: a node that is numbered above
 * the target's durable seq, in a directory so covered, is wholly in doubt.  It
 * gets an intent of its own before it is moved anywhere: a lap that goes on
 * after this one was cut finds it in another directory.
 */
#include <errno.h>

#include "resync/lap.h"
#include "resync/scan.h"

int doubt_load(struct lap *lap)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct doubt *d = &lap->doubt;
	struct meta_intent in;
	int r;

	r = meta_iter_intents(lap->plain, &it);
	if (r < 0)
		return r;
	while ((r = meta_next_intent(&it, &in)) > 0) {
		r = vec_push(&d->own, in);
		d->crashed = d->crashed || in.generation;
		if (r == 0 && in.kind == META_INTENT_NAME)
			r = idmap_set(&d->dirs, in.node,
				      idmap_get(&d->dirs, in.node) |
					      (in.generation ? 2 : 1));
		if (r < 0)
			return r;
	}
	return r;
}

void doubt_done(struct doubt *d)
{
	vec_done(&d->own);
	vec_done(&d->wholes.v);
	vec_done(&d->born.v);
	idmap_done(&d->dirs);
	idmap_done(&d->whole);
}

/* As if it had been armed when it was born. */
static int doubt_arm(struct lap *lap, uint64_t node, enum meta_intent_kind kind)
{
	struct meta_intent in = {.node = node, .kind = kind, .generation = 1};

	if (lap->dry)
		return 0;
	in.end = kind == META_INTENT_DATA ? META_RANGE_MAX : 0;
	return meta_intent_put(lap->dst->meta, &in);
}

static int doubt_whole(struct lap *lap, const struct meta_node *row)
{
	struct doubt *d = &lap->doubt;
	int r;

	if (idmap_get(&d->whole, row->id))
		return 0;
	r = vec_push(&d->wholes.v, row->id);
	if (r == 0)
		r = idmap_set(&d->whole, row->id, 1);
	if (r == 0)
		r = doubt_arm(lap, row->id,
			      row->kind == META_FILE ? META_INTENT_DATA
						     : META_INTENT_ATTR);
	return r;
}

int doubt_born(struct lap *lap, const struct meta_node *row,
	       const struct store_stat *st)
{
	struct doubt *d = &lap->doubt;
	int r;

	if (!d->crashed || (row->seq <= lap->durable && scan_is_same(row, st)))
		return 0;
	if (row->kind != META_DIR)
		return doubt_whole(lap, row);
	/* Its own entries were covered by the same intent. */
	if (idmap_get(&d->dirs, row->id) & 2)
		return 0;
	r = vec_push(&d->born.v, row->id);
	if (r == 0)
		r = idmap_set(&d->dirs, row->id,
			      idmap_get(&d->dirs, row->id) | 2);
	return r < 0 ? r : doubt_arm(lap, row->id, META_INTENT_NAME);
}

int doubt_renumbered(struct lap *lap, uint64_t from, uint64_t to)
{
	struct doubt *d = &lap->doubt;
	uint64_t how = idmap_get(&d->dirs, from);
	struct meta_intent in = {
		.node = to,
		.kind = META_INTENT_NAME,
		.generation = how & 2 ? 1 : 0,
	};
	int r;

	if (!how)
		return 0;
	r = vec_push(&d->born.v, to);
	if (r == 0)
		r = idmap_set(&d->dirs, to, how);
	if (r == 0 && !lap->dry)
		r = meta_intent_put(lap->dst->meta, &in);
	return r;
}

/* Index of the first intent of @node, or of where it would be. */
static size_t doubt_first(const struct doubt *d, uint64_t node)
{
	size_t low = 0;
	size_t high = d->own.count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (d->own.data[mid].node < node)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

bool doubt_any(const struct lap *lap, uint64_t node)
{
	const struct doubt *d = &lap->doubt;
	size_t at = doubt_first(d, node);

	if (at < d->own.count && d->own.data[at].node == node)
		return true;
	return idmap_get(&d->whole, node) || idmap_get(&d->dirs, node);
}

int doubt_ranges(const struct lap *lap, uint64_t node, struct range_set *out)
{
	const struct doubt *d = &lap->doubt;
	int r = 0;

	range_set_clear(out);
	if (idmap_get(&d->whole, node))
		return range_set_add(out, (struct range){0, META_RANGE_MAX});
	for (size_t i = doubt_first(d, node);
	     r == 0 && i < d->own.count && d->own.data[i].node == node; i++) {
		const struct meta_intent *in = &d->own.data[i];

		if (in->kind == META_INTENT_DATA)
			r = range_set_add(out,
					  (struct range){in->start, in->end});
	}
	return r;
}

int doubt_nodes(const struct lap *lap, struct idvec *out)
{
	const struct doubt *d = &lap->doubt;
	uint64_t last = 0;
	int r = 0;

	vec_for_each (in, &d->own) {
		if (in->node == last || idmap_get(&d->whole, in->node))
			continue;
		last = in->node;
		r = vec_push(&out->v, in->node);
		if (r < 0)
			return r;
	}
	vec_for_each (id, &d->wholes.v) {
		r = vec_push(&out->v, *id);
		if (r < 0)
			return r;
	}
	return r;
}
