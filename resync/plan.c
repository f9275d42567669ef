/* SPDX-License-Identifier: Apache-2.0 */
#include "resync/plan.h"

#include <string.h>

int plan_name_order(const struct meta_dentry *a, const struct meta_dentry *b)
{
	int order = memcmp(a->name, b->name,
			   MIN((size_t)a->name_len, (size_t)b->name_len));

	if (order)
		return order;
	return (int)a->name_len - (int)b->name_len;
}

static int extents_append(struct plan_extents *out, struct meta_extent e)
{
	if (out->v.count > 0) {
		struct meta_extent *last = vec_last(&out->v);

		if (last->node == e.node && last->seq == e.seq &&
		    last->end == e.start) {
			last->end = e.end;
			return 0;
		}
	}
	return vec_push(&out->v, e);
}

/* Append @e without what is in doubt. */
static int append_certain(struct plan_extents *out, struct meta_extent e,
			  const struct range_set *doubt)
{
	struct range within = {e.start, e.end};
	struct range gap;
	int r;

	if (!doubt)
		return extents_append(out, e);
	while (within.start < within.end &&
	       range_set_next_gap(doubt, within, &gap)) {
		e.start = gap.start;
		e.end = gap.end;
		r = extents_append(out, e);
		if (r)
			return r;
		within.start = gap.end;
	}
	return 0;
}

int plan_copy(const struct meta_extent *want, const struct meta_extent *have,
	      size_t count, const struct plan_trust *trust,
	      struct plan_extents *out)
{
	struct meta_extent piece = *want;
	int r;

	for (size_t i = 0; i < count; i++) {
		const struct meta_extent *h = &have[i];

		if (h->seq != want->seq || h->seq > trust->same_through)
			continue;
		if (h->end <= piece.start || h->start >= want->end)
			continue;
		piece.end = MIN(want->end, h->start);
		if (piece.start < piece.end) {
			r = append_certain(out, piece, trust->doubt);
			if (r)
				return r;
		}
		piece.start = MAX(piece.start, h->end);
	}
	piece.end = want->end;
	if (piece.start >= piece.end)
		return 0;
	return append_certain(out, piece, trust->doubt);
}

static int add_certain(struct range_set *out, struct range r,
		       const struct range_set *doubt)
{
	struct range gap;
	int err;

	if (!doubt)
		return range_set_add(out, r);
	while (r.start < r.end && range_set_next_gap(doubt, r, &gap)) {
		err = range_set_add(out, gap);
		if (err)
			return err;
		r.start = gap.end;
	}
	return 0;
}

int plan_unmap(plan_next_fn next_target, void *target, plan_next_fn next_source,
	       void *source, const struct range_set *doubt,
	       struct range_set *out)
{
	struct meta_extent t, s = {0};
	int more = 1; /* the source has not ended */
	int r;

	while ((r = next_target(target, &t)) > 0) {
		while (t.start < t.end) {
			uint64_t upto = t.end;

			while (more && s.end <= t.start) {
				more = next_source(source, &s);
				if (more < 0)
					return more;
			}
			if (more && s.start <= t.start) {
				t.start = MIN(t.end, s.end);
				continue;
			}
			if (more)
				upto = MIN(t.end, s.start);
			r = add_certain(out, (struct range){t.start, upto},
					doubt);
			if (r)
				return r;
			t.start = upto;
		}
	}
	return r;
}

int plan_cover(uint64_t node, struct range r, uint64_t gap_bytes,
	       struct plan_intents *out)
{
	struct meta_intent in = {
		.node = node,
		.start = r.start,
		.end = r.end,
		.kind = META_INTENT_DATA,
	};

	if (out->v.count > 0) {
		struct meta_intent *last = vec_last(&out->v);

		if (last->node == node && last->kind == META_INTENT_DATA &&
		    r.start >= last->start &&
		    r.start <= last->end + gap_bytes) {
			last->end = MAX(last->end, r.end);
			return 0;
		}
	}
	return vec_push(&out->v, in);
}

/* Is @at in the set, and where does that change? */
static bool run_at(const struct range_set *set, uint64_t at, uint64_t *upto)
{
	struct range hit;

	if (!range_set_next(set, at, &hit))
		return false;
	if (hit.start > at) {
		*upto = MIN(*upto, hit.start);
		return false;
	}
	*upto = MIN(*upto, hit.end);
	return true;
}

bool plan_compare_next(const struct range_set *source,
		       const struct range_set *target, struct range within,
		       struct range *ret_range, enum plan_action *ret_action)
{
	while (within.start < within.end) {
		uint64_t upto = within.end;
		bool on_source = run_at(source, within.start, &upto);
		bool on_target = run_at(target, within.start, &upto);

		if (on_source || on_target) {
			*ret_range = (struct range){within.start, upto};
			*ret_action = !on_source   ? PLAN_PUNCH
				      : !on_target ? PLAN_WRITE
						   : PLAN_COMPARE;
			return true;
		}
		within.start = upto;
	}
	return false;
}
