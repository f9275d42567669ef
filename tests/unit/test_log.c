/* SPDX-License-Identifier: Apache-2.0 */
/* What a log line looks like on stderr. */
#include "base/log.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int read_fd = -1;

/* Everything written to stderr from here on comes out of read_fd. */
static void catch_stderr(void)
{
	int ends[2];

	cr_assert_eq(pipe(ends), 0);
	cr_assert_geq(dup2(ends[1], STDERR_FILENO), 0);
	close(ends[1]);
	read_fd = ends[0];
}

static void expect_line(const char *want)
{
	char got[4096];
	ssize_t n = read(read_fd, got, sizeof(got) - 1);

	cr_assert_gt(n, 0);
	got[n] = '\0';
	cr_assert_str_eq(got, want);
}

Test(log, heads_of_levels, .init = catch_stderr)
{
	log_open(LOG_SINK_STDERR, LOG_LEVEL_DEBUG);
	log_err("store put out: store=%s", "a");
	expect_line("seqmirror: store put out: store=a\n");
	log_warn("w");
	expect_line("seqmirror: warning: w\n");
	log_info("i");
	expect_line("seqmirror: i\n");
	log_debug("d");
	expect_line("seqmirror: debug: d\n");
}

Test(log, levels_are_kept, .init = catch_stderr)
{
	int evaluated = 0;

	log_open(LOG_SINK_STDERR, LOG_LEVEL_WARN);
	log_info("not %d", ++evaluated);
	log_warn("seen");
	expect_line("seqmirror: warning: seen\n");
	cr_assert_eq(evaluated, 0);
}

Test(log, names_cannot_forge_lines, .init = catch_stderr)
{
	log_err("name=%s", "a\nseqmirror: all is well\x1b[2J\xff");
	expect_line("seqmirror: name=a\\nseqmirror: all is well"
		    "\\x1b[2J\\xff\n");
}

Test(log, long_lines_are_cut, .init = catch_stderr)
{
	char text[3000];
	char want[3000];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	errno = EXDEV;
	log_err("%s", text);
	cr_assert_eq(errno, EXDEV);
	(void)snprintf(want, sizeof(want), "seqmirror: %.*s...\n", 1996, text);
	expect_line(want);
}
