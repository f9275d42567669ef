/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Time. Waits and rates are measured on the monotonic clock, which nobody
 * sets; what people read is taken from the real one. Never mix the two: only
 * the unit is the same.
 */
#pragma once

#include <stdint.h>
#include <time.h>

#define CLOCK_NS_PER_MS	 UINT64_C(1000000)
#define CLOCK_NS_PER_SEC UINT64_C(1000000000)

enum {
	CLOCK_TEXT_MAX = 32,
};

/** clock_mono_ns - nanoseconds since some moment before the program began. */
uint64_t clock_mono_ns(void);

/** clock_real_ns - nanoseconds since 1970-01-01T00:00:00Z. */
uint64_t clock_real_ns(void);

/** clock_timespec_ns - since 1970; 0 where it does not fit into 64 bits. */
int64_t clock_timespec_ns(const struct timespec *t);
struct timespec clock_ns_timespec(int64_t ns);

/** clock_rfc3339 - "2025-02-03T04:05:06Z": a real time, in UTC. */
char *clock_rfc3339(char buf[static CLOCK_TEXT_MAX], uint64_t real_ns);

/** clock_sleep_ms - sleep, through signals too. */
void clock_sleep_ms(uint64_t wait_ms);
