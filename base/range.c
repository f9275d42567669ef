/* SPDX-License-Identifier: Apache-2.0 */
#include "base/range.h"

/* Single ranges and sets of them; maps are in range_map.c. */

bool range_overlaps(struct range a, struct range b)
{
	return !range_is_empty(range_intersect(a, b));
}

bool range_covers(struct range outer, struct range inner)
{
	if (range_is_empty(inner))
		return true;
	return outer.start <= inner.start && inner.end <= outer.end;
}

struct range range_intersect(struct range a, struct range b)
{
	struct range both = {
		.start = MAX(a.start, b.start),
		.end = MIN(a.end, b.end),
	};

	assert(a.start <= a.end && b.start <= b.end);
	if (both.start > both.end)
		both.end = both.start;
	return both;
}

static bool is_power_of_two(uint64_t n)
{
	return n && !(n & (n - 1));
}

struct range range_align_out(struct range r, uint64_t unit_bytes)
{
	uint64_t mask = unit_bytes - 1;

	assert(is_power_of_two(unit_bytes));
	if (range_is_empty(r)) {
		r.start &= ~mask;
		r.end = r.start;
		return r;
	}
	assert(r.end <= UINT64_MAX - mask);
	return (struct range){r.start & ~mask, (r.end + mask) & ~mask};
}

struct range range_align_in(struct range r, uint64_t unit_bytes)
{
	uint64_t mask = unit_bytes - 1;
	struct range in = {.end = r.end & ~mask};

	assert(is_power_of_two(unit_bytes));
	assert(r.start <= r.end);
	/* Rounding the start up could wrap only where nothing is left. */
	if (r.start > UINT64_MAX - mask)
		return (struct range){in.end, in.end};
	in.start = (r.start + mask) & ~mask;
	if (in.start > in.end)
		in.start = in.end;
	return in;
}

void range_set_init(struct range_set *set)
{
	vec_init(&set->items);
	set->len_bytes = 0;
}

void range_set_done(struct range_set *set)
{
	if (!set)
		return;
	vec_done(&set->items);
	set->len_bytes = 0;
}

void range_set_clear(struct range_set *set)
{
	vec_clear(&set->items);
	set->len_bytes = 0;
}

/* Index of the first item with end > at (or end >= at if @touching). */
static size_t set_find(const struct range_set *set, uint64_t at, bool touching)
{
	size_t low = 0;
	size_t high = set->items.count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		uint64_t end = set->items.data[mid].end;

		if (end > at || (touching && end == at))
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

/* Index of the first item with start >= at (or start > at if @touching). */
static size_t set_find_after(const struct range_set *set, uint64_t at,
			     bool touching)
{
	size_t low = 0;
	size_t high = set->items.count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		uint64_t start = set->items.data[mid].start;

		if (start > at || (!touching && start == at))
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

static uint64_t set_sum(const struct range_set *set, size_t from, size_t to)
{
	uint64_t sum_bytes = 0;

	for (size_t i = from; i < to; i++)
		sum_bytes += range_len(set->items.data[i]);
	return sum_bytes;
}

int range_set_add(struct range_set *set, struct range r)
{
	size_t from;
	size_t to;
	uint64_t old_bytes;
	int err;

	if (range_is_empty(r))
		return 0;
	from = set_find(set, r.start, true);
	to = set_find_after(set, r.end, true);
	old_bytes = set_sum(set, from, to);
	if (from < to) {
		r.start = MIN(r.start, set->items.data[from].start);
		r.end = MAX(r.end, set->items.data[to - 1].end);
	}
	err = vec_splice(&set->items, from, to - from, &r, 1);
	if (err)
		return err;
	set->len_bytes += range_len(r) - old_bytes;
	return 0;
}

int range_set_remove(struct range_set *set, struct range r)
{
	struct range rest[2];
	size_t rest_count = 0;
	uint64_t rest_bytes = 0;
	size_t from;
	size_t to;
	uint64_t old_bytes;
	int err;

	if (range_is_empty(r))
		return 0;
	from = set_find(set, r.start, false);
	to = set_find_after(set, r.end, false);
	if (from >= to)
		return 0;
	old_bytes = set_sum(set, from, to);
	if (set->items.data[from].start < r.start)
		rest[rest_count++] =
			(struct range){set->items.data[from].start, r.start};
	if (set->items.data[to - 1].end > r.end)
		rest[rest_count++] =
			(struct range){r.end, set->items.data[to - 1].end};
	for (size_t i = 0; i < rest_count; i++)
		rest_bytes += range_len(rest[i]);
	err = vec_splice(&set->items, from, to - from, rest, rest_count);
	if (err)
		return err;
	set->len_bytes -= old_bytes - rest_bytes;
	return 0;
}

int range_set_add_set(struct range_set *set, const struct range_set *other)
{
	int err;

	/* Room for the worst case first: then no step can fail, and the set
	 * is either wholly changed or not at all. */
	err = vec_reserve(&set->items, set->items.count + other->items.count);
	if (err)
		return err;
	range_set_for_each (r, other) {
		err = range_set_add(set, *r);
		assert(!err);
	}
	return 0;
}

int range_set_subtract(struct range_set *set, const struct range_set *other)
{
	struct range_set rest;
	struct range cut;
	int err;

	if (range_set_is_empty(set) || range_set_is_empty(other))
		return 0;
	range_set_init(&rest);
	err = vec_reserve(&rest.items, set->items.count + other->items.count);
	if (err)
		return err;

	/* Each cut ends at most one piece and each item one more, so that the
	 * pushes below fit into what was reserved. */
	range_set_for_each (r, set) {
		uint64_t at = r->start;

		for (size_t i = set_find(other, at, false);
		     i < other->items.count; i++) {
			cut = range_intersect(*r, other->items.data[i]);
			if (range_is_empty(cut))
				break;
			if (at < cut.start) {
				err = vec_push(&rest.items,
					       ((struct range){at, cut.start}));
				assert(!err);
				rest.len_bytes += cut.start - at;
			}
			at = cut.end;
		}
		if (at < r->end) {
			err = vec_push(&rest.items,
				       ((struct range){at, r->end}));
			assert(!err);
			rest.len_bytes += r->end - at;
		}
	}
	range_set_done(set);
	*set = rest;
	return 0;
}

bool range_set_contains(const struct range_set *set, uint64_t off_bytes)
{
	struct range hit;

	return range_set_next(set, off_bytes, &hit) && hit.start <= off_bytes;
}

bool range_set_covers(const struct range_set *set, struct range r)
{
	struct range hit;

	if (range_is_empty(r))
		return true;
	/* Items never touch, so that one of them must do. */
	return range_set_next(set, r.start, &hit) && range_covers(hit, r);
}

bool range_set_overlaps(const struct range_set *set, struct range r)
{
	struct range hit;

	return range_set_next(set, r.start, &hit) && range_overlaps(hit, r);
}

bool range_set_next(const struct range_set *set, uint64_t off_bytes,
		    struct range *ret_range)
{
	size_t i = set_find(set, off_bytes, false);

	if (i == set->items.count)
		return false;
	*ret_range = set->items.data[i];
	return true;
}

bool range_set_next_gap(const struct range_set *set, struct range within,
			struct range *ret_range)
{
	struct range hit;

	if (range_is_empty(within))
		return false;
	if (range_set_next(set, within.start, &hit) &&
	    hit.start <= within.start) {
		if (hit.end >= within.end)
			return false;
		within.start = hit.end;
	}
	/* Items do not touch: the next one begins behind within.start. */
	if (range_set_next(set, within.start, &hit))
		within.end = MIN(within.end, hit.start);
	*ret_range = within;
	return true;
}
