/* SPDX-License-Identifier: Apache-2.0 */
#include "resync/check_internal.h"

#include <errno.h>

#include "resync/lineage.h"

int check_doubt_load(struct check *c)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_intent in;
	int r;

	r = meta_number_get(c->rd, META_NUM_DURABLE_SEQ, &c->doubt.durable);
	if (r == 0)
		r = meta_iter_intents(c->rd, &it);
	while (r == 0 && (r = meta_next_intent(&it, &in)) > 0) {
		c->n->armed |= !lineage_is_doubt(&in);
		r = vec_push(&c->doubt.intents, in);
	}
	return r;
}

void check_doubt_done(struct check_doubt *d)
{
	vec_done(&d->intents);
}

/* The first intent of @node, or where it would be. */
static size_t first_of(const struct check_doubt *d, uint64_t node)
{
	size_t low = 0, high = d->intents.count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (d->intents.data[mid].node < node)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static const struct meta_intent *next_of(const struct check_doubt *d,
					 uint64_t node, size_t *at)
{
	if (*at >= d->intents.count || d->intents.data[*at].node != node)
		return NULL;
	return &d->intents.data[(*at)++];
}

bool check_doubt_has(const struct check_doubt *d, uint64_t node,
		     enum meta_intent_kind kind)
{
	size_t at = first_of(d, node);
	const struct meta_intent *in;

	while ((in = next_of(d, node, &at)))
		if (in->kind == kind)
			return true;
	return false;
}

bool check_doubt_any(const struct check_doubt *d, uint64_t node)
{
	size_t at = first_of(d, node);

	return next_of(d, node, &at) != NULL;
}

/* Whole: the rest of it must be covered too. Intents come by start. */
bool check_doubt_range(const struct check_doubt *d, uint64_t node,
		       struct range r)
{
	size_t at = first_of(d, node);
	const struct meta_intent *in;

	while (r.start < r.end && (in = next_of(d, node, &at)))
		if (in->kind == META_INTENT_DATA && in->start <= r.start)
			r.start = MAX(r.start, MIN(in->end, r.end));
	return r.start == r.end;
}
