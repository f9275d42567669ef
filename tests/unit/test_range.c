/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ranges and sets of them. Single ranges are tried in all combinations over a
 * small universe; sets are compared with an array of flags, first through all
 * short sequences, then through long random ones.
 */
#include "base/range.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>

#include "tests/unit/rng.h"

enum {
	SMALL = 8,
	WIDE = 64,
};

struct model {
	bool in[WIDE];
};

static bool in_range(struct range r, uint64_t at)
{
	return r.start <= at && at < r.end;
}

static void model_fill(struct model *m, struct range r, bool value)
{
	for (uint64_t i = r.start; i < r.end; i++)
		m->in[i] = value;
}

/* Every question to the set has the array's answer. */
static void check_set(const struct range_set *set, const struct model *m)
{
	uint64_t bytes = 0;
	uint64_t last_end = 0;
	bool any = false;

	range_set_for_each (r, set) {
		cr_assert_lt(r->start, r->end);
		cr_assert(!any || r->start > last_end, "sorted and apart");
		last_end = r->end;
		any = true;
	}
	for (uint64_t i = 0; i < WIDE; i++) {
		cr_assert_eq(range_set_contains(set, i), m->in[i],
			     "byte %" PRIu64, i);
		bytes += m->in[i];
	}
	cr_assert_eq(range_set_bytes(set), bytes);
	cr_assert_eq(range_set_is_empty(set), bytes == 0);
}

static void check_questions(const struct range_set *set, const struct model *m,
			    struct range r)
{
	bool all = true;
	bool some = false;
	struct range gap = {0, 0};
	struct range want = {r.end, r.end};
	bool found;

	for (uint64_t i = r.start; i < r.end; i++) {
		all &= m->in[i];
		some |= m->in[i];
	}
	cr_assert_eq(range_set_covers(set, r), all);
	cr_assert_eq(range_set_overlaps(set, r), some);

	want.start = r.start;
	while (want.start < r.end && m->in[want.start])
		want.start++;
	want.end = want.start;
	while (want.end < r.end && !m->in[want.end])
		want.end++;
	found = range_set_next_gap(set, r, &gap);
	cr_assert_eq(found, want.start < want.end);
	if (found) {
		cr_assert_eq(gap.start, want.start);
		cr_assert_eq(gap.end, want.end);
	}
}

Test(range, pairs_agree_with_bytes)
{
	for (uint64_t n = 0; n < SMALL * SMALL * SMALL * SMALL; n++) {
		struct range a = {n % SMALL, n / SMALL % SMALL};
		struct range b = {n / (SMALL * SMALL) % SMALL,
				  n / (SMALL * SMALL * SMALL)};
		struct range both;
		bool some = false;
		bool covers = true;

		if (a.start > a.end || b.start > b.end)
			continue;
		both = range_intersect(a, b);
		for (uint64_t i = 0; i < SMALL; i++) {
			bool is_both = in_range(a, i) && in_range(b, i);

			some |= is_both;
			covers &= in_range(a, i) || !in_range(b, i);
			cr_assert_eq(in_range(both, i), is_both);
		}
		cr_assert_eq(range_overlaps(a, b), some);
		cr_assert_eq(range_covers(a, b), covers);
	}
}

Test(range, alignment_is_tight)
{
	for (uint64_t unit = 1; unit <= 16; unit *= 2) {
		for (uint64_t start = 0; start < 40; start++) {
			for (uint64_t end = start; end < 40; end++) {
				struct range r = {start, end};
				struct range out = range_align_out(r, unit);
				struct range in = range_align_in(r, unit);

				cr_assert_eq(out.start % unit, 0);
				cr_assert_eq(out.end % unit, 0);
				cr_assert(range_covers(out, r));
				cr_assert_eq(range_is_empty(out),
					     range_is_empty(r));
				if (!range_is_empty(r)) {
					cr_assert_lt(start - out.start, unit);
					cr_assert_lt(out.end - end, unit);
				}
				cr_assert(range_covers(r, in));
				cr_assert_eq(in.end % unit, 0);
				if (range_is_empty(in))
					continue;
				cr_assert_eq(in.start % unit, 0);
				cr_assert_lt(in.start - start, unit);
				cr_assert_lt(end - in.end, unit);
			}
		}
	}
}

Test(range, alignment_at_the_end_of_the_space)
{
	struct range r = {UINT64_MAX - 10, UINT64_MAX};

	cr_assert(range_is_empty(range_align_in(r, 4096)));
	r.start = UINT64_MAX - 8191;
	cr_assert_eq(range_len(range_align_in(r, 4096)), 4096);
}

Test(range, wrapping_end_is_refused, .signal = SIGABRT)
{
	struct range r = {UINT64_MAX - 10, UINT64_MAX};

	r = range_align_out(r, 4096);
	cr_log_info("%" PRIu64, r.end);
}

Test(range, backward_range_is_refused, .signal = SIGABRT)
{
	struct range_set set;

	range_set_init(&set);
	ignore_result(range_set_add(&set, (struct range){2, 1}));
}

/* All sequences of three changes over a universe of six bytes. */
Test(range_set, all_short_sequences)
{
	struct range all[32];
	uint64_t count = 0;

	for (uint64_t start = 0; start < 6; start++)
		for (uint64_t end = start; end <= 6; end++)
			all[count++] = (struct range){start, end};
	count *= 2; /* each range is added or removed */

	for (uint64_t n = 0; n < count * count * count; n++) {
		uint64_t steps[] = {n % count, n / count % count,
				    n / count / count};
		struct range_set set;
		struct model m = {0};

		range_set_init(&set);
		for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
			struct range r = all[steps[i] / 2];
			bool add = steps[i] % 2 == 0;
			int err = add ? range_set_add(&set, r)
				      : range_set_remove(&set, r);

			cr_assert_eq(err, 0);
			model_fill(&m, r, add);
		}
		check_set(&set, &m);
		range_set_done(&set);
	}
}

static struct range random_range(struct rng *rng)
{
	uint64_t start = rng_below(rng, WIDE);

	return range_of(start, rng_below(rng, MIN((uint64_t)12, WIDE - start)));
}

static void random_set(struct rng *rng, struct range_set *set, struct model *m)
{
	memset(m, 0, sizeof(*m));
	for (uint64_t n = rng_below(rng, 10); n > 0; n--) {
		struct range r = random_range(rng);

		cr_assert_eq(range_set_add(set, r), 0);
		model_fill(m, r, true);
	}
}

Test(range_set, random_sequences)
{
	struct rng rng = rng_seed();
	struct range_set set;
	struct model m = {0};

	range_set_init(&set);
	for (int n = 0; n < 20000; n++) {
		struct range r = random_range(&rng);
		struct range_set other;
		struct model other_m;

		range_set_init(&other);
		switch (rng_below(&rng, 16)) {
		case 0:
			random_set(&rng, &other, &other_m);
			cr_assert_eq(range_set_subtract(&set, &other), 0);
			for (int i = 0; i < WIDE; i++)
				m.in[i] &= !other_m.in[i];
			break;
		case 1:
			random_set(&rng, &other, &other_m);
			cr_assert_eq(range_set_add_set(&set, &other), 0);
			for (int i = 0; i < WIDE; i++)
				m.in[i] |= other_m.in[i];
			break;
		case 2:
			if (rng_below(&rng, 8))
				break;
			range_set_clear(&set);
			memset(&m, 0, sizeof(m));
			break;
		default:
			if (rng_below(&rng, 2)) {
				cr_assert_eq(range_set_add(&set, r), 0);
				model_fill(&m, r, true);
			} else {
				cr_assert_eq(range_set_remove(&set, r), 0);
				model_fill(&m, r, false);
			}
		}
		range_set_done(&other);
		check_set(&set, &m);
		check_questions(&set, &m, random_range(&rng));
	}
	range_set_done(&set);
}

Test(range_set, whole_space)
{
	struct range_set set;
	struct range hit;

	range_set_init(&set);
	cr_assert_not(range_set_next(&set, 0, &hit));
	cr_assert_eq(range_set_add(&set, (struct range){0, UINT64_MAX}), 0);
	cr_assert_eq(range_set_remove(&set, (struct range){5, UINT64_MAX - 5}),
		     0);
	cr_assert_eq(range_set_bytes(&set), 10);
	cr_assert(range_set_next(&set, 5, &hit));
	cr_assert_eq(hit.start, UINT64_MAX - 5);
	range_set_done(&set);
}
