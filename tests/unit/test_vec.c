/* SPDX-License-Identifier: Apache-2.0 */
#include "base/vec.h"

#include <criterion/criterion.h>
#include <signal.h>

struct numbers {
	VEC(int) v;
};

static void expect(const struct numbers *n, size_t count, const int *want)
{
	cr_assert_eq(n->v.count, count);
	for (size_t i = 0; i < count; i++)
		cr_assert_eq(n->v.data[i], want[i], "item %zu", i);
}

Test(vec, push_and_pop)
{
	struct numbers n = {0};
	int sum = 0;

	for (int i = 0; i < 1000; i++)
		cr_assert_eq(vec_push(&n.v, i), 0);
	cr_assert_eq(*vec_last(&n.v), 999);
	cr_assert_eq(vec_pop(&n.v), 999);
	vec_for_each (p, &n.v)
		sum += *p;
	cr_assert_eq(sum, 998 * 999 / 2);
	vec_clear(&n.v);
	vec_for_each (p, &n.v)
		cr_assert_fail("an empty array has no items");
	vec_done(&n.v);
	cr_assert_eq(n.v.capacity, 0);
}

Test(vec, insert_remove_splice)
{
	struct numbers n = {0};

	cr_assert_eq(vec_insert(&n.v, 0, 1), 0);
	cr_assert_eq(vec_insert(&n.v, 0, 0), 0);
	cr_assert_eq(vec_insert(&n.v, 2, 2), 0);
	expect(&n, 3, (const int[]){0, 1, 2});
	cr_assert_eq(vec_splice(&n.v, 1, 1, ((const int[]){7, 8, 9}), 3), 0);
	expect(&n, 5, (const int[]){0, 7, 8, 9, 2});
	vec_remove(&n.v, 1, 3);
	expect(&n, 2, (const int[]){0, 2});
	vec_remove(&n.v, 0, 2);
	cr_assert_eq(n.v.count, 0);
	vec_done(&n.v);
}

Test(vec, reserve_refuses_what_cannot_be)
{
	struct numbers n = {0};

	cr_assert_eq(vec_push(&n.v, 5), 0);
	cr_assert_eq(vec_reserve(&n.v, SIZE_MAX), -ENOMEM);
	cr_assert_eq(vec_reserve(&n.v, SIZE_MAX / 2), -ENOMEM);
	expect(&n, 1, (const int[]){5});
	vec_done(&n.v);
}

Test(vec, out_of_range_is_asserted, .signal = SIGABRT)
{
	struct numbers n = {0};

	vec_remove(&n.v, 0, 1);
}
