/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers, identifiers and names as people read and write them.
 *
 * Formatters write into a buffer of the caller's and return it, so that they
 * can stand among the arguments of a print:
 *
 *	char size[SIZE_TEXT_MAX];
 *
 *	printf("%s free\n", size_format(size, bytes));
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

enum {
	SIZE_TEXT_MAX = 16,
	DURATION_TEXT_MAX = 32,
	UUID_TEXT_MAX = 37,
};

/**
 * size_format - "0 B", "1023 B", "1.5 GiB", "16.0 EiB".
 *
 * One decimal place above bytes, rounded down: free space is never made more
 * than it is.
 */
char *size_format(char buf[static SIZE_TEXT_MAX], uint64_t bytes);

/**
 * size_parse - read "4096", "512M", "1.5 GiB", "10kb".
 * @ret_bytes: set only on success
 *
 * Units are powers of 1024 in either case: B, K, M, G, T, P, E, with or
 * without "B" or "iB" behind and blanks before them.
 * Return: 0, -EINVAL (not a size), -ERANGE (more than fits)
 */
MUST_CHECK int size_parse(const char *text, uint64_t *ret_bytes);

/** duration_format - "350 ms", "12.3 s", "3 min 5 s", "2 h 10 min", "4 d 3 h". */
char *duration_format(char buf[static DURATION_TEXT_MAX], uint64_t dur_ms);

/**
 * uuid_generate - a random UUID (RFC 9562, version 4) in lower case.
 * Return: 0, -errno of getrandom(2)
 */
MUST_CHECK int uuid_generate(char out[static UUID_TEXT_MAX]);

/** uuid_valid - whether @text is 8-4-4-4-12 lower-case hexadecimal digits. */
bool uuid_valid(const char *text);

/**
 * text_escape - copy @text so that it stays on its line.
 * @size: of @buf, at least 8
 *
 * Control characters become \n, \t, \r or \x1b, bytes that are not UTF-8
 * \xff. Other text is copied as it is, the backslash too. What does not fit
 * ends in "...".
 * Return: the length written, without the final NUL
 */
size_t text_escape(char *buf, size_t size, const char *text);

/**
 * text_mark_cut - after vsnprintf(@buf, @size) has returned @len: a text that did
 * not fit ends in "...", and in a whole character before that.
 * @size: at least 8
 */
void text_mark_cut(char *buf, size_t size, int len);

/**
 * path_quote - a path as it can stand in a message.
 * @size: of @buf, at least 16; 4 * strlen(path) + 3 holds every path whole
 *
 * A plain path is copied. One that is empty or has blanks, quotes,
 * backslashes, control characters or broken UTF-8 is put in double quotes,
 * with \" and \\ and the escapes of text_escape(). What does not fit ends in
 * "..." (behind the quote, if there is one).
 */
char *path_quote(char *buf, size_t size, const char *path);

/**
 * shell_word - a path as a word of a command that is told to be run: quoted as a
 * POSIX shell needs it, and only then. Control characters and what is not UTF-8
 * take $'...', which bash, zsh and ksh know.
 * @otherwise: what the command has where it does not fit @size, which would name
 * another path; 4 * strlen(path) + 4 holds every path
 *
 * Return: @buf or @otherwise
 */
const char *shell_word(char *buf, size_t size, const char *path,
		       const char *otherwise);

/** path_lies_in - whether @inner is @outer or lies below it; both are absolute
 * and without symbolic links. */
bool path_lies_in(const char *inner, const char *outer);
