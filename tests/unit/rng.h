/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Seeded randomness for unit tests. The seed is printed; a failing run is
 * repeated with SEQMIRROR_TEST_SEED.
 */
#pragma once

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"

struct rng {
	uint64_t state;
};

/** rng_seed - the seed asked for, or a new one; printed either way. */
static inline struct rng rng_seed(void)
{
	const char *wanted = getenv("SEQMIRROR_TEST_SEED");
	struct rng rng;

	rng.state = wanted ? strtoull(wanted, NULL, 0) : clock_real_ns();
	(void)fprintf(stderr, "SEQMIRROR_TEST_SEED=%" PRIu64 "\n", rng.state);
	return rng;
}

/** rng_below - 0 .. @limit - 1 (splitmix64; the bias is of no matter). */
static inline uint64_t rng_below(struct rng *rng, uint64_t limit)
{
	uint64_t z = rng->state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return (z ^ (z >> 31)) % limit;
}
