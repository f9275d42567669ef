/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What differs, from rows alone; against a block by block reckoning.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "resync/plan.h"
#include "tests/unit/rng.h"

#define BLOCKS 12
#define B      META_BLOCK

static struct meta_extent ext(uint64_t start, uint64_t end, uint64_t seq)
{
	return (struct meta_extent){7, start * B, end * B, seq};
}

static struct meta_dentry named(const char *name)
{
	struct meta_dentry d = {.name_len = (uint16_t)strlen(name)};

	memcpy(d.name, name, d.name_len);
	return d;
}

Test(plan, names_are_ordered_by_bytes)
{
	static const char *const names[] = {"A", "B", "a", "a.", "aa", "\xff"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		for (size_t k = 0; k < ARRAY_SIZE(names); k++) {
			struct meta_dentry a = named(names[i]);
			struct meta_dentry b = named(names[k]);
			int order = plan_name_order(&a, &b);

			cr_assert_eq(order < 0, i < k);
			cr_assert_eq(order == 0, i == k);
		}
	}
}

/* ---- random rows ---- */

struct rows {
	struct meta_extent v[BLOCKS];
	size_t count;
	uint64_t seq[BLOCKS]; /* by block; 0: a hole */
};

static void random_rows(struct rng *rng, struct rows *rows)
{
	*rows = (struct rows){0};
	for (uint64_t at = rng_below(rng, 3); at < BLOCKS;) {
		uint64_t end = at + 1 + rng_below(rng, 3);
		uint64_t seq = 1 + rng_below(rng, 4);

		end = MIN(end, (uint64_t)BLOCKS);
		rows->v[rows->count++] = ext(at, end, seq);
		for (uint64_t i = at; i < end; i++)
			rows->seq[i] = seq;
		at = end + rng_below(rng, 3);
	}
}

static void random_set(struct rng *rng, struct range_set *set)
{
	range_set_clear(set);
	for (uint64_t n = rng_below(rng, 3); n > 0; n--) {
		uint64_t at = rng_below(rng, BLOCKS - 1);

		cr_assert_eq(range_set_add(set, range_of(at * B, B)), 0);
	}
}

Test(plan, copies_what_is_not_there)
{
	struct rng rng = rng_seed();
	struct plan_extents out = {0};
	struct range_set doubt;

	range_set_init(&doubt);
	for (unsigned int run = 0; run < 5000; run++) {
		uint64_t same_through = rng_below(&rng, 5);
		struct plan_trust trust = {same_through, &doubt};
		uint64_t planned[BLOCKS] = {0};
		struct rows have;
		struct meta_extent want = ext(2, 9, 1 + rng_below(&rng, 4));

		random_rows(&rng, &have);
		random_set(&rng, &doubt);
		vec_clear(&out.v);
		cr_assert_eq(plan_copy(&want, have.v, have.count, &trust, &out),
			     0);
		vec_for_each (e, &out.v) {
			cr_assert(e->start < e->end && e->seq == want.seq);
			for (uint64_t i = e->start / B; i < e->end / B; i++)
				planned[i]++;
		}
		for (uint64_t i = 0; i < BLOCKS; i++) {
			bool same = have.seq[i] == want.seq &&
				    want.seq <= same_through;
			bool needed = i >= 2 && i < 9 && !same &&
				      !range_set_contains(&doubt, i * B);

			cr_assert_eq(planned[i], needed, "block %d", (int)i);
		}
	}
	range_set_done(&doubt);
	vec_done(&out.v);
}

struct cursor {
	const struct rows *rows;
	size_t at;
};

static int next_row(void *arg, struct meta_extent *ret)
{
	struct cursor *c = arg;

	if (c->at == c->rows->count)
		return 0;
	*ret = c->rows->v[c->at++];
	return 1;
}

Test(plan, unmaps_what_only_the_target_has)
{
	struct rng rng = rng_seed();
	struct range_set doubt, out;

	range_set_init(&doubt);
	range_set_init(&out);
	for (unsigned int run = 0; run < 5000; run++) {
		struct rows own, theirs;
		struct cursor a = {&own, 0};
		struct cursor b = {&theirs, 0};

		random_rows(&rng, &own);
		random_rows(&rng, &theirs);
		random_set(&rng, &doubt);
		range_set_clear(&out);
		cr_assert_eq(
			plan_unmap(next_row, &a, next_row, &b, &doubt, &out),
			0);
		for (uint64_t i = 0; i < BLOCKS; i++)
			cr_assert_eq(
				range_set_contains(&out, i * B),
				own.seq[i] && !theirs.seq[i] &&
					!range_set_contains(&doubt, i * B));
	}
	range_set_done(&doubt);
	range_set_done(&out);
}

Test(plan, each_block_in_doubt_has_one_step)
{
	struct rng rng = rng_seed();
	struct range_set source, target;

	range_set_init(&source);
	range_set_init(&target);
	for (unsigned int run = 0; run < 5000; run++) {
		struct range within = {B, 11 * B};
		struct range step;
		enum plan_action action;
		uint64_t at = within.start;

		random_set(&rng, &source);
		random_set(&rng, &target);
		while (plan_compare_next(&source, &target, within, &step,
					 &action)) {
			for (; at < step.start; at += B)
				cr_assert(!range_set_contains(&source, at) &&
					  !range_set_contains(&target, at));
			for (; at < step.end; at += B) {
				bool s = range_set_contains(&source, at);
				bool t = range_set_contains(&target, at);

				cr_assert_eq(action, s && t ? PLAN_COMPARE
						     : s    ? PLAN_WRITE
							    : PLAN_PUNCH);
			}
			within.start = step.end;
		}
		for (; at < within.end; at += B)
			cr_assert(!range_set_contains(&source, at) &&
				  !range_set_contains(&target, at));
	}
	range_set_done(&source);
	range_set_done(&target);
}

Test(plan, near_ranges_share_an_intent)
{
	struct plan_intents out = {0};

	cr_assert_eq(plan_cover(7, (struct range){0, B}, 2 * B, &out), 0);
	cr_assert_eq(plan_cover(7, (struct range){3 * B, 4 * B}, 2 * B, &out),
		     0);
	cr_assert_eq(plan_cover(7, (struct range){9 * B, 10 * B}, 2 * B, &out),
		     0);
	cr_assert_eq(plan_cover(8, (struct range){10 * B, 11 * B}, 2 * B, &out),
		     0);
	cr_assert_eq(out.v.count, 3);
	cr_assert(out.v.data[0].start == 0 && out.v.data[0].end == 4 * B);
	cr_assert(out.v.data[1].node == 7 && out.v.data[2].node == 8);
	vec_done(&out.v);
}
