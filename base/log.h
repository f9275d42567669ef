/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log. One event is one line: a sentence, then what it is about as
 * key=value pairs:
 *
 *	log_warn("store put out: store=%s node=%" PRIu64 " error=%s", ...);
 *
 * Lines go to stderr, headed "seqmirror: ", until log_open() chooses the
 * system log (the journal, where that listens) for a program that has no
 * terminal. Control bytes and broken UTF-8 in the finished text are written
 * as \n, \x1b and so on, so that a file name can neither forge a line nor
 * speak to the terminal.
 *
 * An error is returned by the layers below and logged once, where it is
 * decided what to do about it. All functions may be called from any thread
 * and under any lock: a line is one write(2), and no lock is taken.
 * errno is left as it was.
 */
#pragma once

#include <stdbool.h>

enum log_level {
	LOG_LEVEL_ERR,	 /* something was lost or refused */
	LOG_LEVEL_WARN,	 /* something is worse than before and goes on */
	LOG_LEVEL_INFO,	 /* a change of state; the default */
	LOG_LEVEL_DEBUG, /* for whoever looks for a fault */
};

enum log_sink {
	LOG_SINK_STDERR,
	LOG_SINK_SYSLOG,
};

/**
 * log_open - choose where lines go and how many.
 *
 * May be called again, for example when a daemon leaves its terminal. Before
 * the first call: stderr, LOG_LEVEL_INFO.
 */
void log_open(enum log_sink sink, enum log_level level);

/** log_close - let the system log go; lines go to stderr again. */
void log_close(void);

/** log_enabled - whether a line of this level would be written. */
bool log_enabled(enum log_level level);

/**
 * log_write - one line. Longer ones than 2000 bytes end in "...".
 *
 * A newline at the end of the text is not needed and is escaped like any
 * other. Called through the macros below, which format nothing if the level
 * is off.
 */
void log_write(enum log_level level, const char *fmt, ...)
	__attribute__((__format__(__printf__, 2, 3)));

#define log_at_(level, ...)                            \
	do {                                           \
		if (log_enabled(level))                \
			log_write(level, __VA_ARGS__); \
	} while (0)

#define log_err(...)   log_at_(LOG_LEVEL_ERR, __VA_ARGS__)
#define log_warn(...)  log_at_(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...)  log_at_(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_at_(LOG_LEVEL_DEBUG, __VA_ARGS__)
