/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"

enum {
	TEXT_MAX = 2000, /* of one formatted line */
};

/* Atomic instead of locked, so that a line may be logged under any lock. */
static atomic_int current_sink = LOG_SINK_STDERR;
static atomic_int current_level = LOG_LEVEL_INFO;

/* What stands before the text on stderr; errors are plain, as the command
 * line promises. */
static const char *const heads[] = {
	[LOG_LEVEL_ERR] = "seqmirror: ",
	[LOG_LEVEL_WARN] = "seqmirror: warning: ",
	[LOG_LEVEL_INFO] = "seqmirror: ",
	[LOG_LEVEL_DEBUG] = "seqmirror: debug: ",
};

static const int priorities[] = {
	[LOG_LEVEL_ERR] = LOG_ERR,
	[LOG_LEVEL_WARN] = LOG_WARNING,
	[LOG_LEVEL_INFO] = LOG_INFO,
	[LOG_LEVEL_DEBUG] = LOG_DEBUG,
};

void log_open(enum log_sink sink, enum log_level level)
{
	if (sink == LOG_SINK_SYSLOG)
		openlog("seqmirror", LOG_PID | LOG_NDELAY, LOG_DAEMON);
	atomic_store(&current_level, (int)level);
	atomic_store(&current_sink, (int)sink);
}

void log_close(void)
{
	if (atomic_exchange(&current_sink, LOG_SINK_STDERR) == LOG_SINK_SYSLOG)
		closelog();
}

bool log_enabled(enum log_level level)
{
	return (int)level <=
	       atomic_load_explicit(&current_level, memory_order_relaxed);
}

/* All in one write(2), or lines of several threads would mix. */
static void log_to_stderr(enum log_level level, const char *text, size_t len)
{
	char line[TEXT_MAX + 64];
	size_t head_len = strlen(heads[level]);
	size_t done = 0;

	memcpy(line, heads[level], head_len);
	memcpy(line + head_len, text, len);
	len += head_len;
	line[len++] = '\n';
	while (done < len) {
		ssize_t n = write(STDERR_FILENO, line + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return; /* nobody is left to tell */
		done += (size_t)n;
	}
}

void log_write(enum log_level level, const char *fmt, ...)
{
	int saved_errno = errno;
	char raw[TEXT_MAX];
	char text[TEXT_MAX];
	size_t len;
	va_list args;
	int want;

	va_start(args, fmt);
	want = vsnprintf(raw, sizeof(raw), fmt, args);
	va_end(args);
	if (want < 0) {
		errno = saved_errno;
		return;
	}
	if ((size_t)want >= sizeof(raw))
		memcpy(raw + sizeof(raw) - 4, "...", 4);

	len = text_escape(text, sizeof(text), raw);
	if (atomic_load(&current_sink) == LOG_SINK_SYSLOG)
		syslog(priorities[level], "%s", text);
	else
		log_to_stderr(level, text, len);
	errno = saved_errno;
}
