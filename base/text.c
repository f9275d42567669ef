/* SPDX-License-Identifier: Apache-2.0 */
#include "base/text.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

static const char unit_letters[] = "BKMGTPE";

char *size_format(char buf[static SIZE_TEXT_MAX], uint64_t bytes)
{
	unsigned int unit = 0;
	uint64_t whole = bytes;
	uint64_t rest = 0;

	if (bytes < 1024) {
		(void)snprintf(buf, SIZE_TEXT_MAX, "%" PRIu64 " B", bytes);
		return buf;
	}
	while (whole >= 1024) {
		rest = whole % 1024;
		whole /= 1024;
		unit++;
	}
	(void)snprintf(buf, SIZE_TEXT_MAX, "%" PRIu64 ".%" PRIu64 " %ciB",
		       whole, rest * 10 / 1024, unit_letters[unit]);
	return buf;
}

/* The power of 1024 that a unit stands for, or -EINVAL. */
static int parse_unit(const char *text)
{
	const char *letter;

	text += strspn(text, " ");
	if (!*text)
		return 0;
	letter = strchr(unit_letters, toupper((unsigned char)*text));
	if (!letter)
		return -EINVAL;
	text++;
	if (letter != unit_letters) {
		if (tolower((unsigned char)text[0]) == 'i' &&
		    tolower((unsigned char)text[1]) == 'b')
			text += 2;
		else if (tolower((unsigned char)text[0]) == 'b')
			text++;
	}
	return *text ? -EINVAL : (int)(letter - unit_letters);
}

int size_parse(const char *text, uint64_t *ret_bytes)
{
	uint64_t whole = 0;
	uint64_t fraction = 0;
	uint64_t scale = 1;
	uint64_t unit_bytes;
	bool overflow = false;
	int unit;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	for (; isdigit((unsigned char)*text); text++) {
		uint64_t digit = (uint64_t)(*text - '0');

		overflow |= __builtin_mul_overflow(whole, 10, &whole);
		overflow |= __builtin_add_overflow(whole, digit, &whole);
	}
	if (*text == '.') {
		if (!isdigit((unsigned char)*++text))
			return -EINVAL;
		for (; isdigit((unsigned char)*text); text++) {
			/* Nine places are exact enough and cannot overflow. */
			if (scale >= 1000000000)
				continue;
			scale *= 10;
			fraction = fraction * 10 + (uint64_t)(*text - '0');
		}
	}
	unit = parse_unit(text);
	if (unit < 0)
		return unit;

	unit_bytes = UINT64_C(1) << (10 * unit);
	overflow |= __builtin_mul_overflow(whole, unit_bytes, &whole);
	/* 1 EiB times 10^9 needs 90 bits. */
	fraction = (uint64_t)((unsigned __int128)fraction * unit_bytes / scale);
	overflow |= __builtin_add_overflow(whole, fraction, &whole);
	if (overflow)
		return -ERANGE;
	*ret_bytes = whole;
	return 0;
}

char *duration_format(char buf[static DURATION_TEXT_MAX], uint64_t dur_ms)
{
	uint64_t dur_s = dur_ms / 1000;
	uint64_t minutes = dur_s / 60;
	uint64_t hours = minutes / 60;

	if (dur_ms < 1000)
		(void)snprintf(buf, DURATION_TEXT_MAX, "%" PRIu64 " ms",
			       dur_ms);
	else if (dur_s < 60)
		(void)snprintf(buf, DURATION_TEXT_MAX,
			       "%" PRIu64 ".%" PRIu64 " s", dur_s,
			       dur_ms % 1000 / 100);
	else if (hours == 0)
		(void)snprintf(buf, DURATION_TEXT_MAX,
			       "%" PRIu64 " min %" PRIu64 " s", minutes,
			       dur_s % 60);
	else if (hours < 24)
		(void)snprintf(buf, DURATION_TEXT_MAX,
			       "%" PRIu64 " h %" PRIu64 " min", hours,
			       minutes % 60);
	else
		(void)snprintf(buf, DURATION_TEXT_MAX,
			       "%" PRIu64 " d %" PRIu64 " h", hours / 24,
			       hours % 24);
	return buf;
}

int uuid_generate(char out[static UUID_TEXT_MAX])
{
	static const char digits[] = "0123456789abcdef";
	unsigned char raw[16];
	size_t pos = 0;
	ssize_t n;

	do {
		n = getrandom(raw, sizeof(raw), 0);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	assert(n == sizeof(raw)); /* up to 256 bytes come whole */

	raw[6] = (unsigned char)((raw[6] & 0x0f) | 0x40); /* version 4 */
	raw[8] = (unsigned char)((raw[8] & 0x3f) | 0x80); /* RFC variant */
	for (size_t i = 0; i < sizeof(raw); i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			out[pos++] = '-';
		out[pos++] = digits[raw[i] >> 4];
		out[pos++] = digits[raw[i] & 0x0f];
	}
	out[pos] = '\0';
	return 0;
}

bool uuid_valid(const char *text)
{
	size_t i;

	for (i = 0; text[i]; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (dash ? text[i] != '-'
			 : !strchr("0123456789abcdef", text[i]))
			return false;
	}
	return i == UUID_TEXT_MAX - 1;
}

/* Length of the UTF-8 character at @s, or 0 if there is none: broken, longer
 * than needed, a surrogate, or above U+10FFFF. */
static size_t utf8_len(const unsigned char *s)
{
	unsigned int min_second = 0x80;
	unsigned int max_second = 0xbf;
	size_t len;

	if (s[0] < 0x80)
		return 1;
	if (s[0] >= 0xc2 && s[0] <= 0xdf)
		len = 2;
	else if (s[0] >= 0xe0 && s[0] <= 0xef)
		len = 3;
	else if (s[0] >= 0xf0 && s[0] <= 0xf4)
		len = 4;
	else
		return 0;
	if (s[0] == 0xe0)
		min_second = 0xa0;
	else if (s[0] == 0xed)
		max_second = 0x9f;
	else if (s[0] == 0xf0)
		min_second = 0x90;
	else if (s[0] == 0xf4)
		max_second = 0x8f;
	if (s[1] < min_second || s[1] > max_second)
		return 0;
	for (size_t i = 2; i < len; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	return len;
}

/* One character of @s as it may stand on a line; sets *@ret_used to what it
 * took of @s and returns the length written to @out. */
static size_t escape_one(char out[static 5], const unsigned char *s,
			 bool quoting, size_t *ret_used)
{
	size_t len = utf8_len(s);
	/* U+0080..U+009F are control characters as well. */
	bool control = (len == 1 && (s[0] < 0x20 || s[0] == 0x7f)) ||
		       (len == 2 && s[0] == 0xc2 && s[1] < 0xa0);

	if (len > 0 && !control) {
		bool mark = quoting && (s[0] == '"' || s[0] == '\\');

		*ret_used = len;
		if (mark)
			*out++ = '\\';
		memcpy(out, s, len);
		return len + mark;
	}
	*ret_used = 1;
	out[0] = '\\';
	switch (s[0]) {
	case '\n':
		out[1] = 'n';
		return 2;
	case '\t':
		out[1] = 't';
		return 2;
	case '\r':
		out[1] = 'r';
		return 2;
	default:
		/* Of a two-byte control character the second byte is broken
		 * UTF-8 by itself and comes here next. */
		out[1] = 'x';
		out[2] = "0123456789abcdef"[s[0] >> 4];
		out[3] = "0123456789abcdef"[s[0] & 0x0f];
		return 4;
	}
}

/* The common part: escapes @text into @buf and leaves @tail bytes free behind
 * it. *@ret_cut says whether "..." was needed. */
static size_t escape_text(char *buf, size_t size, const char *text,
			  bool quoting, bool *ret_cut)
{
	const unsigned char *s = (const unsigned char *)text;
	size_t len = 0;
	size_t safe = 0; /* where "..." would still fit */
	char one[5];

	*ret_cut = false;
	while (*s) {
		size_t used;
		size_t add = escape_one(one, s, quoting, &used);

		if (len + add >= size) {
			*ret_cut = true;
			len = safe;
			break;
		}
		memcpy(buf + len, one, add);
		len += add;
		s += used;
		if (len + 4 <= size)
			safe = len;
	}
	buf[len] = '\0';
	return len;
}

size_t text_escape(char *buf, size_t size, const char *text)
{
	bool cut;
	size_t len;

	assert(size >= 8);
	len = escape_text(buf, size, text, false, &cut);
	if (cut) {
		memcpy(buf + len, "...", 4);
		len += 3;
	}
	return len;
}

void text_mark_cut(char *buf, size_t size, int len)
{
	size_t end = size - 4;

	assert(size >= 8);
	if (len < 0)
		buf[0] = '\0';
	if (len < 0 || (size_t)len < size)
		return;
	while (end && ((unsigned char)buf[end] & 0xc0) == 0x80)
		end--;
	memcpy(buf + end, "...", 4);
}

/* Whether a path can stand in a sentence as it is. */
static bool path_is_plain(const char *path)
{
	const unsigned char *s = (const unsigned char *)path;
	char one[5];

	if (!*s)
		return false;
	while (*s) {
		size_t used;
		size_t add = escape_one(one, s, true, &used);

		if (add != used || *s == ' ' || *s == '\'')
			return false;
		s += used;
	}
	return true;
}

char *path_quote(char *buf, size_t size, const char *path)
{
	size_t len = 0;
	bool cut;

	assert(size >= 16);
	if (path_is_plain(path)) {
		(void)text_escape(buf, size, path);
		return buf;
	}
	buf[len++] = '"';
	len += escape_text(buf + 1, size - 2, path, true, &cut);
	buf[len++] = '"';
	buf[len] = '\0';
	if (cut) {
		/* escape_text() kept room for the dots. */
		memcpy(buf + len, "...", 4);
	}
	return buf;
}

/* What a shell takes for itself in a word without quotes. '~' and '=' are only
 * where a word begins. */
static bool shell_is_plain(unsigned char c)
{
	return c >= 0x80 || isalnum(c) || strchr("_@%+:,./-", c);
}

enum shell_quotes {
	SHELL_PLAIN,
	SHELL_SINGLE,  /* '...' */
	SHELL_ESCAPED, /* $'...' */
};

static enum shell_quotes shell_quotes_for(const char *path)
{
	const unsigned char *s = (const unsigned char *)path;
	enum shell_quotes quotes = *s ? SHELL_PLAIN : SHELL_SINGLE;
	char one[5];

	while (*s) {
		size_t used;
		size_t len = escape_one(one, s, false, &used);

		if (len != used)
			return SHELL_ESCAPED;
		if (!shell_is_plain(*s))
			quotes = SHELL_SINGLE;
		s += used;
	}
	return quotes;
}

/* With a NUL behind it. */
#define SHELL_BYTE_MAX 5

/* One byte of a word as it stands in its quotes. */
static size_t shell_byte(char out[static SHELL_BYTE_MAX], unsigned char c,
			 enum shell_quotes quotes)
{
	if (quotes == SHELL_SINGLE && c == '\'')
		return (size_t)snprintf(out, SHELL_BYTE_MAX, "'\\''");
	if (quotes == SHELL_ESCAPED && (c == '\'' || c == '\\'))
		return (size_t)snprintf(out, SHELL_BYTE_MAX, "\\%c", c);
	if (quotes == SHELL_ESCAPED && (c < 0x20 || c >= 0x7f))
		return (size_t)snprintf(out, SHELL_BYTE_MAX, "\\%03o", c);
	out[0] = (char)c;
	return 1;
}

const char *shell_word(char *buf, size_t size, const char *path,
		       const char *otherwise)
{
	static const char *const opens[] = {"", "'", "$'"};
	enum shell_quotes quotes = shell_quotes_for(path);
	size_t len = strlen(opens[quotes]);
	char one[SHELL_BYTE_MAX];

	if (size < len + 2)
		return otherwise;
	memcpy(buf, opens[quotes], len);
	for (; *path; path++) {
		size_t add = shell_byte(one, (unsigned char)*path, quotes);

		if (len + add + 2 > size) /* the last quote, and the end */
			return otherwise;
		memcpy(buf + len, one, add);
		len += add;
	}
	if (quotes != SHELL_PLAIN)
		buf[len++] = '\'';
	buf[len] = '\0';
	return buf;
}

bool path_lies_in(const char *inner, const char *outer)
{
	size_t len = strlen(outer);

	if (strcmp(outer, "/") == 0)
		return true;
	return strncmp(inner, outer, len) == 0 &&
	       (inner[len] == '/' || inner[len] == '\0');
}
