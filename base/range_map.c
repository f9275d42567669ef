/* SPDX-License-Identifier: Apache-2.0 */
#include "base/range.h"

void range_map_init(struct range_map *map)
{
	vec_init(&map->items);
}

void range_map_done(struct range_map *map)
{
	if (map)
		vec_done(&map->items);
}

void range_map_reset(struct range_map *map)
{
	vec_clear(&map->items);
}

/* Index of the first item with end > at (or end >= at if @touching). */
static size_t map_find(const struct range_map *map, uint64_t at, bool touching)
{
	size_t low = 0;
	size_t high = map->items.count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		uint64_t end = map->items.data[mid].range.end;

		if (end > at || (touching && end == at))
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

/* Index of the first item with start >= at (or start > at if @touching). */
static size_t map_find_after(const struct range_map *map, uint64_t at,
			     bool touching)
{
	size_t low = 0;
	size_t high = map->items.count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		uint64_t start = map->items.data[mid].range.start;

		if (start > at || (!touching && start == at))
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

int range_map_set(struct range_map *map, struct range r, uint64_t value)
{
	/* What stays left of @r, the item itself, what stays right of it. */
	struct range_map_item items[3];
	struct range_map_item left;
	struct range_map_item right;
	size_t count = 0;
	size_t from;
	size_t to;

	if (range_is_empty(r))
		return 0;
	from = map_find(map, r.start, true);
	to = map_find_after(map, r.end, true);
	if (from == to) {
		items[0] = (struct range_map_item){r, value};
		return vec_splice(&map->items, from, 0, items, 1);
	}

	left = map->items.data[from];
	right = map->items.data[to - 1];
	if (left.range.start < r.start && left.value == value) {
		r.start = left.range.start;
	} else if (left.range.start < r.start) {
		left.range.end = MIN(left.range.end, r.start);
		items[count++] = left;
	}
	if (right.range.end > r.end && right.value == value)
		r.end = right.range.end;
	items[count++] = (struct range_map_item){r, value};
	if (right.range.end > r.end) {
		right.range.start = MAX(right.range.start, r.end);
		items[count++] = right;
	}
	return vec_splice(&map->items, from, to - from, items, count);
}

int range_map_raise(struct range_map *map, struct range r, uint64_t value)
{
	struct range_map_item hit;
	int err;

	while (!range_is_empty(r)) {
		struct range part = r;
		bool higher = false;

		/* The first run of @r that is either free or of one item. */
		if (range_map_next(map, r.start, &hit)) {
			if (hit.range.start > r.start) {
				part.end = MIN(r.end, hit.range.start);
			} else {
				part.end = MIN(r.end, hit.range.end);
				higher = hit.value >= value;
			}
		}
		if (!higher) {
			err = range_map_set(map, part, value);
			if (err)
				return err;
		}
		r.start = part.end;
	}
	return 0;
}

int range_map_clear(struct range_map *map, struct range r)
{
	struct range_map_item rest[2];
	size_t count = 0;
	size_t from;
	size_t to;

	if (range_is_empty(r))
		return 0;
	from = map_find(map, r.start, false);
	to = map_find_after(map, r.end, false);
	if (from >= to)
		return 0;
	if (map->items.data[from].range.start < r.start) {
		rest[count] = map->items.data[from];
		rest[count++].range.end = r.start;
	}
	if (map->items.data[to - 1].range.end > r.end) {
		rest[count] = map->items.data[to - 1];
		rest[count++].range.start = r.end;
	}
	return vec_splice(&map->items, from, to - from, rest, count);
}

bool range_map_lookup(const struct range_map *map, uint64_t off_bytes,
		      struct range_map_item *ret_item)
{
	struct range_map_item hit;

	if (!range_map_next(map, off_bytes, &hit) ||
	    hit.range.start > off_bytes)
		return false;
	*ret_item = hit;
	return true;
}

bool range_map_next(const struct range_map *map, uint64_t off_bytes,
		    struct range_map_item *ret_item)
{
	size_t i = map_find(map, off_bytes, false);

	if (i == map->items.count)
		return false;
	*ret_item = map->items.data[i];
	return true;
}
