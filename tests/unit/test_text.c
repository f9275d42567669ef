/* SPDX-License-Identifier: Apache-2.0 */
#include "base/text.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

static void expect_size(uint64_t bytes, const char *want)
{
	char buf[SIZE_TEXT_MAX];

	cr_assert_str_eq(size_format(buf, bytes), want);
}

Test(text, size_format)
{
	expect_size(0, "0 B");
	expect_size(1023, "1023 B");
	expect_size(1024, "1.0 KiB");
	expect_size(1536, "1.5 KiB");
	expect_size((UINT64_C(1) << 20) - 1, "1023.9 KiB");
	expect_size(UINT64_C(3) << 29, "1.5 GiB");
	expect_size(UINT64_C(1) << 60, "1.0 EiB");
	expect_size(UINT64_MAX, "15.9 EiB");
}

Test(text, size_parse_reads)
{
	static const struct {
		const char *text;
		uint64_t want;
	} good[] = {
		{"0", 0},
		{"4096", 4096},
		{"512M", UINT64_C(512) << 20},
		{"512m", UINT64_C(512) << 20},
		{"1.5 GiB", UINT64_C(3) << 29},
		{"10kb", 10240},
		{"7 B", 7},
		{"0.5K", 512},
		{"15E", UINT64_C(15) << 60},
		{"18446744073709551615", UINT64_MAX},
		{"0.12345678901234567890K", 126},
	};

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		uint64_t bytes = 1;

		cr_assert_eq(size_parse(good[i].text, &bytes), 0, "%s",
			     good[i].text);
		cr_assert_eq(bytes, good[i].want, "%s", good[i].text);
	}
}

Test(text, size_parse_refuses)
{
	static const char *const bad[] = {
		"",    " 1",  "-1",  "+1",   "M",    "1X",  "1 MiBs",
		"1..", "1.M", "1 2", "0x10", "1 Bi", "1Mi", "1BB",
	};
	uint64_t bytes = 77;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		cr_assert_eq(size_parse(bad[i], &bytes), -EINVAL, "%s", bad[i]);
	cr_assert_eq(size_parse("16E", &bytes), -ERANGE);
	cr_assert_eq(size_parse("18446744073709551616", &bytes), -ERANGE);
	cr_assert_eq(bytes, 77, "untouched on failure");
}

Test(text, what_is_printed_can_be_read)
{
	for (unsigned int shift = 0; shift < 64; shift++) {
		char buf[SIZE_TEXT_MAX];
		uint64_t bytes;

		cr_assert_eq(size_parse(size_format(buf, UINT64_C(1) << shift),
					&bytes),
			     0);
		cr_assert_eq(bytes, UINT64_C(1) << shift);
	}
}

static void expect_duration(uint64_t dur_ms, const char *want)
{
	char buf[DURATION_TEXT_MAX];

	cr_assert_str_eq(duration_format(buf, dur_ms), want);
}

Test(text, duration_format)
{
	expect_duration(0, "0 ms");
	expect_duration(999, "999 ms");
	expect_duration(1000, "1.0 s");
	expect_duration(12345, "12.3 s");
	expect_duration(59999, "59.9 s");
	expect_duration(185000, "3 min 5 s");
	expect_duration(UINT64_C(7800) * 1000, "2 h 10 min");
	expect_duration(UINT64_C(99) * 3600 * 1000, "4 d 3 h");
	expect_duration(UINT64_MAX, "213503982334 d 14 h");
}

Test(text, uuids_are_valid_and_differ)
{
	char one[UUID_TEXT_MAX];
	char two[UUID_TEXT_MAX];

	cr_assert_eq(uuid_generate(one), 0);
	cr_assert_eq(uuid_generate(two), 0);
	cr_assert(uuid_valid(one), "%s", one);
	cr_assert_eq(one[14], '4');
	cr_assert_str_neq(one, two);
}

Test(text, uuid_valid_refuses)
{
	cr_assert(uuid_valid("01234567-89ab-4def-8123-456789abcdef"));
	cr_assert_not(uuid_valid(""));
	cr_assert_not(uuid_valid("01234567-89ab-4def-8123-456789abcde"));
	cr_assert_not(uuid_valid("01234567-89ab-4def-8123-456789abcdef0"));
	cr_assert_not(uuid_valid("01234567-89AB-4def-8123-456789abcdef"));
	cr_assert_not(uuid_valid("01234567089ab-4def-8123-456789abcdef"));
	cr_assert_not(uuid_valid("01234567-89ab-4def-8123-45678-abcdef"));
}

static void expect_quote(const char *path, const char *want)
{
	char buf[64];

	cr_assert_str_eq(path_quote(buf, sizeof(buf), path), want);
}

Test(text, path_quote)
{
	expect_quote("/srv/a.txt", "/srv/a.txt");
	expect_quote("", "\"\"");
	expect_quote("two words", "\"two words\"");
	expect_quote("a\nb", "\"a\\nb\"");
	expect_quote("say \"hi\"", "\"say \\\"hi\\\"\"");
	expect_quote("back\\slash", "\"back\\\\slash\"");
	expect_quote("\x1b[31m", "\"\\x1b[31m\"");
	expect_quote("gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f");
	expect_quote("\xff.txt", "\"\\xff.txt\"");
	expect_quote("\xc2\x9b", "\"\\xc2\\x9b\"");	     /* U+009B: CSI */
	expect_quote("\xc0\xaf", "\"\\xc0\\xaf\"");	     /* '/' too long */
	expect_quote("\xed\xa0\x80", "\"\\xed\\xa0\\x80\""); /* surrogate */
	expect_quote("\xe2\x82", "\"\\xe2\\x82\"");	     /* cut short */
}

static void expect_word(const char *path, const char *want)
{
	char buf[64];

	cr_assert_str_eq(shell_word(buf, sizeof(buf), path, "PATH"), want);
}

Test(text, shell_word)
{
	char buf[12];

	expect_word("/srv/a-1_b@c.txt", "/srv/a-1_b@c.txt");
	expect_word("gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f");
	expect_word("", "''");
	expect_word("/two words", "'/two words'");
	expect_word("it's", "'it'\\''s'");
	expect_word("a\\b\"$(c)", "'a\\b\"$(c)'");
	expect_word("~", "'~'");
	expect_word("*;&", "'*;&'");
	expect_word("a\nb'\\", "$'a\\012b\\'\\\\'");
	expect_word("\xff", "$'\\377'");
	cr_assert_str_eq(shell_word(buf, 12, "0123456789", "P"), "0123456789");
	cr_assert_str_eq(shell_word(buf, 11, "0123456789", "P"), "P");
	cr_assert_str_eq(shell_word(buf, 11, "01234 789", "P"), "P");
	cr_assert_str_eq(shell_word(buf, 12, "01234 789", "P"), "'01234 789'");
	cr_assert_str_eq(shell_word(buf, 2, "' '", "P"), "P");
}

/* Whatever the length, the text ends in the buffer, and a cut is shown. */
Test(text, long_paths_are_cut)
{
	char path[64];
	char buf[64];

	for (size_t len = 0; len < sizeof(path); len++) {
		for (size_t size = 16; size <= sizeof(buf); size++) {
			memset(path, len % 2 ? '\n' : 'p', sizeof(path));
			path[len] = '\0';
			memset(buf, '#', sizeof(buf));
			(void)path_quote(buf, size, path);
			cr_assert_lt(strnlen(buf, size), size);
			if (size < sizeof(buf))
				cr_assert_eq(buf[size], '#', "overrun");
			if (len >= size)
				cr_assert(strstr(buf, "..."));
			else if (2 * len + 3 <= size)
				cr_assert_not(strstr(buf, "..."));
		}
	}
}

static void expect_cut(const char *text, const char *want)
{
	const volatile size_t size = 10; /* the compiler does not foresee it */
	char buf[10];

	text_mark_cut(buf, size, snprintf(buf, size, "%s", text));
	cr_assert_str_eq(buf, want);
}

Test(text, a_cut_is_marked)
{
	expect_cut("012345678", "012345678");
	expect_cut("0123456789", "012345...");
	expect_cut("01234\xc3\xbc 89", "01234...");
}

Test(text, escape_keeps_the_line)
{
	char buf[16];
	size_t len = text_escape(buf, sizeof(buf), "a\\b\"c\n\t\r");

	cr_assert_str_eq(buf, "a\\b\"c\\n\\t\\r");
	cr_assert_eq(len, strlen(buf));
	len = text_escape(buf, 8, "0123456789");
	cr_assert_str_eq(buf, "0123...");
	cr_assert_eq(len, 7);
	(void)text_escape(buf, 8, "0123456");
	cr_assert_str_eq(buf, "0123456");
}
