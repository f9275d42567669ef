/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What people see: error lines, tables, sizes, and one progress line that is
 * drawn on a terminal only.
 *
 * Whatever comes from a disk or a socket (names, paths, sentences) is escaped
 * before it is written, so that it can neither forge a line nor speak to the
 * terminal.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

/** ui_error - "seqmirror: WHAT: WHY" on stderr, always one line. */
void ui_error(const char *what, const char *why_fmt, ...)
	__attribute__((__format__(__printf__, 2, 3)));

/** ui_error_line - the same, with WHAT and WHY in one text already. */
void ui_error_line(const char *line);

/** ui_why - the words for a negative errno, as this program means them. */
const char *ui_why(int err);

/** ui_warn - a line on stderr that stops nothing. */
void ui_warn(const char *fmt, ...)
	__attribute__((__format__(__printf__, 1, 2)));

/* ---- terminal ---- */

enum ui_colour {
	UI_PLAIN,
	UI_BOLD,
	UI_GREEN,
	UI_YELLOW,
	UI_RED,
};

/** ui_paint - the escape sequence for @colour, or "" if stdout is no
 * terminal, TERM is dumb or NO_COLOR is set. */
const char *ui_paint(enum ui_colour colour);

/** ui_width - columns of the terminal at @fd, 80 if it is none. */
unsigned int ui_width(int fd);

/* ---- the progress line, on stderr ---- */

struct ui_progress {
	uint64_t begun_ns;
	size_t drawn; /* columns that are on the terminal */
	bool terminal;
};

struct ui_progress_state {
	const char *what;  /* "resync of disk-b" */
	const char *phase; /* NULL: none */
	uint64_t lap;	   /* 0: none */
	uint64_t done_bytes;
	uint64_t total_bytes; /* 0: not known */
	double rate_bytes;    /* per second */
	double eta_seconds;   /* < 0: not known */
};

void ui_progress_begin(struct ui_progress *p);
/** ui_progress_draw - redraw; nothing during the first second. */
void ui_progress_draw(struct ui_progress *p,
		      const struct ui_progress_state *state);
/** ui_progress_end - wipe the line. */
void ui_progress_end(struct ui_progress *p);

/**
 * ui_bar - "[####----]", @cells wide inside, filled to done/total.
 * @buf holds @cells + 3 bytes.
 */
char *ui_bar(char *buf, unsigned int cells, uint64_t done, uint64_t total);

/* ---- tables, on stdout ---- */

enum {
	UI_TABLE_COLUMNS = 8,
	UI_CELL_MAX = 512,
};

struct ui_table;

/** ui_table_new - NULL without memory. @right: bit per right-aligned column. */
struct ui_table *ui_table_new(unsigned int columns, unsigned int right);
void ui_table_free(struct ui_table *t);
/** ui_table_cell - append a cell, row by row; @colour is for the terminal. */
MUST_CHECK int ui_table_cell(struct ui_table *t, enum ui_colour colour,
			     const char *fmt, ...)
	__attribute__((__format__(__printf__, 3, 4)));
/** ui_table_note - a line of its own below the row just filled. */
MUST_CHECK int ui_table_note(struct ui_table *t, const char *fmt, ...)
	__attribute__((__format__(__printf__, 2, 3)));
void ui_table_print(const struct ui_table *t);

static inline void ui_table_freep(struct ui_table **t)
{
	ui_table_free(*t);
}
#define _cleanup_ui_table_ _cleanup_(ui_table_freep)

/* ---- words for numbers ---- */

enum {
	UI_NUMBER_MAX = 32,
	UI_WORDS_MAX = 64,
};

/** ui_count - "1 file", "3 files", "12,345 files". */
char *ui_count(char buf[static UI_WORDS_MAX], uint64_t count,
	       const char *singular, const char *plural);

/** ui_seconds - like duration_format(), from seconds. */
char *ui_seconds(char buf[static UI_NUMBER_MAX], double seconds);
