/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Maps from ranges to numbers, against an array with one number per byte:
 * all short sequences over a few bytes, then long random ones.
 */
#include "base/range.h"

#include <criterion/criterion.h>
#include <string.h>

#include "tests/unit/rng.h"

enum {
	WIDE = 48,
	NONE = 0, /* in the model: the byte has no value */
};

struct model {
	uint64_t value[WIDE];
};

enum change {
	SET,
	RAISE,
	CLEAR,
};

static void change_both(struct range_map *map, struct model *m,
			enum change change, struct range r, uint64_t value)
{
	int err = 0;

	switch (change) {
	case SET:
		err = range_map_set(map, r, value);
		break;
	case RAISE:
		err = range_map_raise(map, r, value);
		break;
	case CLEAR:
		err = range_map_clear(map, r);
		value = NONE;
		break;
	}
	cr_assert_eq(err, 0);
	for (uint64_t i = r.start; i < r.end; i++)
		m->value[i] = change == RAISE ? MAX(value, m->value[i]) : value;
}

static void check_map(const struct range_map *map, const struct model *m)
{
	const struct range_map_item *before = NULL;

	range_map_for_each (item, map) {
		cr_assert_lt(item->range.start, item->range.end);
		if (before && before->range.end == item->range.start)
			cr_assert_neq(before->value, item->value, "merged");
		else if (before)
			cr_assert_lt(before->range.end, item->range.start);
		before = item;
	}
	for (uint64_t i = 0; i < WIDE; i++) {
		struct range_map_item item = {.value = NONE};
		bool found = range_map_lookup(map, i, &item);

		cr_assert_eq(found, m->value[i] != NONE, "byte %" PRIu64, i);
		cr_assert_eq(item.value, m->value[i], "byte %" PRIu64, i);
		if (found)
			cr_assert(item.range.start <= i && i < item.range.end);
		if (range_map_next(map, i, &item))
			cr_assert_gt(item.range.end, i);
	}
}

/* Three changes over five bytes, with values from two. */
Test(range_map, all_short_sequences)
{
	struct {
		struct range r;
		enum change change;
		uint64_t value;
	} all[64];
	uint64_t count = 0;

	for (uint64_t start = 0; start < 4; start++) {
		for (uint64_t end = start + 1; end <= 4; end++) {
			struct range r = {start, end};

			all[count].r = r;
			all[count].change = SET;
			all[count++].value = 1;
			all[count].r = r;
			all[count].change = SET;
			all[count++].value = 2;
			all[count].r = r;
			all[count].change = RAISE;
			all[count++].value = 1;
			all[count].r = r;
			all[count].change = CLEAR;
			all[count++].value = NONE;
		}
	}
	for (uint64_t n = 0; n < count * count * count; n++) {
		uint64_t steps[] = {n % count, n / count % count,
				    n / count / count};
		struct range_map map;
		struct model m = {0};

		range_map_init(&map);
		for (size_t i = 0; i < ARRAY_SIZE(steps); i++)
			change_both(&map, &m, all[steps[i]].change,
				    all[steps[i]].r, all[steps[i]].value);
		check_map(&map, &m);
		range_map_done(&map);
	}
}

Test(range_map, random_sequences)
{
	struct rng rng = rng_seed();
	struct range_map map;
	struct model m = {0};

	range_map_init(&map);
	for (int n = 0; n < 30000; n++) {
		uint64_t start = rng_below(&rng, WIDE);
		uint64_t len = rng_below(&rng, MIN((uint64_t)10, WIDE - start));
		enum change change = (enum change)rng_below(&rng, 3);

		change_both(&map, &m, change, range_of(start, len),
			    1 + rng_below(&rng, 4));
		check_map(&map, &m);
		if (rng_below(&rng, 500) == 0) {
			range_map_reset(&map);
			memset(&m, 0, sizeof(m));
			cr_assert(range_map_is_empty(&map));
		}
	}
	range_map_done(&map);
}

Test(range_map, next_skips_what_ends_before)
{
	struct range_map map;
	struct range_map_item item;

	range_map_init(&map);
	cr_assert_not(range_map_next(&map, 0, &item));
	cr_assert_eq(range_map_set(&map, (struct range){10, 20}, 7), 0);
	cr_assert(range_map_next(&map, 19, &item));
	cr_assert_eq(item.value, 7);
	cr_assert_not(range_map_next(&map, 20, &item));
	cr_assert_not(range_map_lookup(&map, 9, &item));
	range_map_done(&map);
}
