/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "fs/cli/changes.h"

static int parse_number(const char *text, uint64_t *ret)
{
	uint64_t value = 0;

	if (!*text)
		return -EINVAL;
	for (; *text; text++) {
		if (!isdigit((unsigned char)*text) ||
		    __builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(value, (uint64_t)(*text - '0'),
					   &value))
			return -EINVAL;
	}
	if (value > INT64_MAX)
		return -EINVAL;
	*ret = value;
	return 0;
}

/* "90s", "30m", "2h", "3d", "1w": so long ago. */
static int parse_age(const char *text, uint64_t now_ns, uint64_t *ret_ns)
{
	static const struct {
		char unit;
		uint64_t seconds;
	} units[] = {
		{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}, {'w', 604800},
	};
	char digits[16];
	size_t len = strlen(text);
	uint64_t count;

	if (len < 2 || len > sizeof(digits))
		return -EINVAL;
	memcpy(digits, text, len - 1);
	digits[len - 1] = '\0';
	if (parse_number(digits, &count))
		return -EINVAL;
	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		uint64_t age_ns;

		if (units[i].unit != text[len - 1])
			continue;
		if (__builtin_mul_overflow(count,
					   units[i].seconds * CLOCK_NS_PER_SEC,
					   &age_ns) ||
		    age_ns > now_ns)
			return -EINVAL;
		*ret_ns = now_ns - age_ns;
		return 0;
	}
	return -EINVAL;
}

/* strptime() takes a 30th of February, for which the others take a later day. */
static bool is_day(const struct tm *given)
{
	struct tm day = {
		.tm_year = given->tm_year,
		.tm_mon = given->tm_mon,
		.tm_mday = given->tm_mday,
	};

	(void)timegm(&day);
	return day.tm_mday == given->tm_mday;
}

int changes_parse_time(const char *text, uint64_t now_ns, uint64_t *ret_ns)
{
	static const struct {
		const char *format;
		bool zone;
	} formats[] = {
		{"%Y-%m-%dT%H:%M:%S%z", true}, {"%Y-%m-%d %H:%M:%S%z", true},
		{"%Y-%m-%dT%H:%M:%S", false},  {"%Y-%m-%d %H:%M:%S", false},
		{"%Y-%m-%dT%H:%M", false},     {"%Y-%m-%d %H:%M", false},
		{"%Y-%m-%d", false},
	};

	if (parse_age(text, now_ns, ret_ns) == 0)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
		struct tm tm = {.tm_isdst = -1};
		const char *end = strptime(text, formats[i].format, &tm);
		long offset = tm.tm_gmtoff;
		time_t t;

		if (!end || *end)
			continue;
		if (!is_day(&tm))
			return -EINVAL;
		/* timegm() looks at no zone, mktime() at the local one. */
		t = formats[i].zone ? timegm(&tm) - offset : mktime(&tm);
		if (t < 0)
			return -EINVAL;
		*ret_ns = (uint64_t)t * CLOCK_NS_PER_SEC;
		return 0;
	}
	return -EINVAL;
}

/* The time of the newest moment up to @seq, 0 before all moments. */
static int moment_before(struct meta_reader *rd, uint64_t seq,
			 uint64_t *ret_time_ns)
{
	int err = meta_moment_at(rd, seq, ret_time_ns);

	if (err == -ENOENT) {
		*ret_time_ns = 0;
		err = 0;
	}
	return err;
}

/* The last number up to @last whose moment is @time_ns or earlier. Moments
 * rise with their numbers, so it is found by halves. */
static int seq_last_by(struct meta_reader *rd, uint64_t last, uint64_t time_ns,
		       uint64_t *ret_seq)
{
	uint64_t low = 0;
	uint64_t high = last + 1; /* known to be too late, or past the end */

	while (high - low > 1) {
		uint64_t middle = low + (high - low) / 2;
		uint64_t at_ns;
		int err = moment_before(rd, middle, &at_ns);

		if (err)
			return err;
		if (at_ns <= time_ns)
			low = middle;
		else
			high = middle;
	}
	*ret_seq = low;
	return 0;
}

/*
 * The number of the newest moment at or before @time_ns. What came between
 * it and the next moment may have come before or after @time_ns, and counts
 * as changed since.
 */
static int seq_at(struct meta_reader *rd, uint64_t time_ns, uint64_t *ret_seq)
{
	uint64_t last;
	uint64_t moment_ns;
	int err = meta_number_get(rd, META_NUM_DURABLE_SEQ, &last);

	if (!err)
		err = seq_last_by(rd, last, time_ns, &last);
	if (!err)
		err = moment_before(rd, last, &moment_ns);
	if (err)
		return err;
	if (!moment_ns) {
		*ret_seq = 0;
		return 0;
	}
	err = seq_last_by(rd, last, moment_ns - 1, &last);
	*ret_seq = last + 1;
	return err;
}

static int seq_of_member(struct meta_reader *rd, const char *text,
			 uint64_t *ret_seq)
{
	_cleanup_free_ struct meta_member *members =
		calloc(META_STORE_MAX, sizeof(*members));
	size_t count;
	int err = members ? meta_members(rd, members, &count) : -ENOMEM;

	if (err)
		return err;
	for (size_t i = 0; i < count; i++) {
		if (strcmp(members[i].name, text) != 0 &&
		    strcmp(members[i].uuid, text) != 0)
			continue;
		*ret_seq = members[i].durable_seq;
		return 0;
	}
	return -EINVAL;
}

int changes_point(struct meta *map, const char *text, uint64_t *ret_seq)
{
	struct meta_reader *rd;
	uint64_t time_ns;
	int err;

	if (parse_number(text, ret_seq) == 0)
		return 0;
	rd = meta_reader_get(map);
	if (!rd)
		return -ENOMEM;
	err = seq_of_member(rd, text, ret_seq);
	if (err == -EINVAL &&
	    changes_parse_time(text, clock_real_ns(), &time_ns) == 0)
		err = seq_at(rd, time_ns, ret_seq);
	meta_reader_put(rd);
	return err;
}
