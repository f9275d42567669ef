/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <time.h>

static uint64_t clock_ns(clockid_t id)
{
	struct timespec now;
	int err = clock_gettime(id, &now);

	/* Fails only for a clock that does not exist. */
	assert(err == 0);
	(void)err;
	return (uint64_t)now.tv_sec * CLOCK_NS_PER_SEC + (uint64_t)now.tv_nsec;
}

uint64_t clock_mono_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

uint64_t clock_real_ns(void)
{
	return clock_ns(CLOCK_REALTIME);
}

int64_t clock_timespec_ns(const struct timespec *t)
{
	int64_t ns;

	if (__builtin_mul_overflow((int64_t)t->tv_sec,
				   (int64_t)CLOCK_NS_PER_SEC, &ns) ||
	    __builtin_add_overflow(ns, (int64_t)t->tv_nsec, &ns))
		return 0;
	return ns;
}

struct timespec clock_ns_timespec(int64_t ns)
{
	const int64_t unit = (int64_t)CLOCK_NS_PER_SEC;
	struct timespec t = {.tv_sec = ns / unit, .tv_nsec = ns % unit};

	if (t.tv_nsec < 0) {
		t.tv_sec--;
		t.tv_nsec += unit;
	}
	return t;
}

char *clock_rfc3339(char buf[static CLOCK_TEXT_MAX], uint64_t real_ns)
{
	time_t seconds = (time_t)(real_ns / CLOCK_NS_PER_SEC);
	struct tm parts;

	/* 64 bits of nanoseconds end in the year 2554: both calls succeed. */
	if (!gmtime_r(&seconds, &parts) ||
	    !strftime(buf, CLOCK_TEXT_MAX, "%Y-%m-%dT%H:%M:%SZ", &parts))
		buf[0] = '\0';
	return buf;
}

void clock_sleep_ms(uint64_t wait_ms)
{
	struct timespec left = {
		.tv_sec = (time_t)(wait_ms / 1000),
		.tv_nsec = (long)(wait_ms % 1000 * CLOCK_NS_PER_MS),
	};

	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR)
		;
}
