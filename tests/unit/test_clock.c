/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include <criterion/criterion.h>

Test(clock, rfc3339)
{
	char buf[CLOCK_TEXT_MAX];

	cr_assert_str_eq(clock_rfc3339(buf, 0), "1970-01-01T00:00:00Z");
	cr_assert_str_eq(
		clock_rfc3339(buf, UINT64_C(951782400) * CLOCK_NS_PER_SEC),
		"2000-02-29T00:00:00Z");
	cr_assert_str_eq(clock_rfc3339(buf, UINT64_MAX),
			 "2554-07-21T23:34:33Z");
}

Test(clock, monotonic_does_not_go_back)
{
	uint64_t before_ns = clock_mono_ns();

	clock_sleep_ms(2);
	cr_assert_geq(clock_mono_ns() - before_ns, 2 * CLOCK_NS_PER_MS);
	cr_assert_gt(clock_real_ns(), UINT64_C(1500000000) * CLOCK_NS_PER_SEC);
}

Test(clock, timespec_and_back)
{
	static const int64_t ns[] = {0,
				     1,
				     -1,
				     999999999,
				     -1000000001,
				     INT64_MAX,
				     INT64_MIN + 1000000000};

	for (size_t i = 0; i < sizeof(ns) / sizeof(ns[0]); i++) {
		struct timespec t = clock_ns_timespec(ns[i]);

		cr_assert(t.tv_nsec >= 0 && t.tv_nsec < 1000000000);
		cr_assert(clock_timespec_ns(&t) == ns[i], "%zu", i);
	}
	cr_assert(!clock_timespec_ns(&(struct timespec){.tv_sec = INT64_MAX}));
}
