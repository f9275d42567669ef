/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/cli/ui.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/clock.h"
#include "base/text.h"

/* Twice the longest path, and words around them. */
#define LINE_MAX_BYTES 9000

static void write_line(const char *head, const char *text)
{
	char safe[LINE_MAX_BYTES];

	(void)text_escape(safe, sizeof(safe), text);
	/* One call: lines of several threads or processes do not mix. */
	(void)fprintf(stderr, "seqmirror: %s%s\n", head, safe);
}

void ui_error_line(const char *line)
{
	(void)fflush(stdout);
	write_line("", line);
}

void ui_error(const char *what, const char *why_fmt, ...)
{
	char line[LINE_MAX_BYTES];
	size_t len;
	va_list args;

	(void)snprintf(line, sizeof(line) / 2, "%s: ", what);
	len = strlen(line);
	va_start(args, why_fmt);
	(void)vsnprintf(line + len, sizeof(line) - len, why_fmt, args);
	va_end(args);
	ui_error_line(line);
}

void ui_warn(const char *fmt, ...)
{
	char line[LINE_MAX_BYTES];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	(void)fflush(stdout);
	write_line("warning: ", line);
}

const char *ui_why(int err)
{
	switch (-err) {
	case EREMCHG:
		return "both sides were changed alone (split brain)";
	case EUCLEAN:
		return "damaged";
	case EPROTO:
		return "made by a newer version of seqmirror";
	case ETIMEDOUT:
		return "no answer in time";
	case ECANCELED:
		return "cancelled";
	default:
		return strerror(-err);
	}
}

/* ---- terminal ---- */

static bool colour_wanted(void)
{
	static int wanted = -1; /* asked once, by the one thread that prints */
	const char *term;

	if (wanted < 0) {
		term = getenv("TERM");
		wanted = isatty(STDOUT_FILENO) && term &&
			 strcmp(term, "dumb") != 0 && !getenv("NO_COLOR");
	}
	return wanted > 0;
}

static const char *paint_code(enum ui_colour colour)
{
	switch (colour) {
	case UI_BOLD:
		return "\x1b[1m";
	case UI_GREEN:
		return "\x1b[32m";
	case UI_YELLOW:
		return "\x1b[33m";
	case UI_RED:
		return "\x1b[31m";
	case UI_PLAIN:
		break;
	}
	return "\x1b[0m";
}

const char *ui_paint(enum ui_colour colour)
{
	return colour_wanted() ? paint_code(colour) : "";
}

unsigned int ui_width(int fd)
{
	struct winsize size;

	if (ioctl(fd, TIOCGWINSZ, &size) < 0 || size.ws_col < 20)
		return 80;
	return size.ws_col;
}

/* ---- progress ---- */

void ui_progress_begin(struct ui_progress *p)
{
	*p = (struct ui_progress){
		.begun_ns = clock_mono_ns(),
		.terminal = isatty(STDERR_FILENO),
	};
}

char *ui_bar(char *buf, unsigned int cells, uint64_t done, uint64_t total)
{
	double share = total ? (double)done / (double)total : 0.0;
	unsigned int filled;

	if (share > 1.0)
		share = 1.0;
	filled = (unsigned int)(share * cells);
	buf[0] = '[';
	memset(buf + 1, '#', filled);
	memset(buf + 1 + filled, '-', cells - filled);
	buf[cells + 1] = ']';
	buf[cells + 2] = '\0';
	return buf;
}

static size_t append(char *line, size_t size, size_t at, const char *fmt, ...)
	__attribute__((__format__(__printf__, 4, 5)));

static size_t append(char *line, size_t size, size_t at, const char *fmt, ...)
{
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(line + at, size - at, fmt, args);
	va_end(args);
	if (n < 0)
		return at;
	return MIN(at + (size_t)n, size - 1);
}

static size_t progress_text(char *line, size_t size,
			    const struct ui_progress_state *s)
{
	char done[SIZE_TEXT_MAX];
	char total[SIZE_TEXT_MAX];
	char rate[SIZE_TEXT_MAX];
	char eta[UI_NUMBER_MAX];
	char bar[32];
	size_t at = append(line, size, 0, "%s", s->what);

	if (s->lap > 1)
		at = append(line, size, at, ", lap %" PRIu64, s->lap);
	if (s->total_bytes)
		at = append(line, size, at, " %s %s of %s",
			    ui_bar(bar, 16, s->done_bytes, s->total_bytes),
			    size_format(done, s->done_bytes),
			    size_format(total, s->total_bytes));
	else if (s->phase)
		at = append(line, size, at, ": %s", s->phase);
	if (s->rate_bytes >= 1.0)
		at = append(line, size, at, ", %s/s",
			    size_format(rate, (uint64_t)s->rate_bytes));
	if (s->eta_seconds >= 0.0 && s->total_bytes)
		at = append(line, size, at, ", %s left",
			    ui_seconds(eta, s->eta_seconds));
	return at;
}

void ui_progress_draw(struct ui_progress *p,
		      const struct ui_progress_state *state)
{
	char raw[512];
	char line[512];
	size_t len;
	size_t width;

	if (!p->terminal || clock_mono_ns() - p->begun_ns < CLOCK_NS_PER_SEC)
		return;
	(void)progress_text(raw, sizeof(raw), state);
	len = text_escape(line, sizeof(line), raw);
	width = MIN((size_t)ui_width(STDERR_FILENO) - 1, sizeof(line) - 1);
	if (len > width)
		len = width;
	/* Never half a character. */
	while (len && (line[len] & 0xc0) == 0x80)
		len--;
	(void)fprintf(stderr, "\r%.*s%*s", (int)len, line,
		      p->drawn > len ? (int)(p->drawn - len) : 0, "");
	(void)fflush(stderr);
	p->drawn = len;
}

void ui_progress_end(struct ui_progress *p)
{
	if (p->drawn)
		(void)fprintf(stderr, "\r%*s\r", (int)p->drawn, "");
	p->drawn = 0;
}

/* ---- words ---- */

char *ui_count(char buf[static UI_WORDS_MAX], uint64_t count,
	       const char *singular, const char *plural)
{
	char digits[UI_NUMBER_MAX];
	char grouped[UI_NUMBER_MAX + 8];
	size_t len;
	size_t out = 0;

	len = (size_t)snprintf(digits, sizeof(digits), "%" PRIu64, count);
	for (size_t i = 0; i < len; i++) {
		if (i && (len - i) % 3 == 0)
			grouped[out++] = ',';
		grouped[out++] = digits[i];
	}
	grouped[out] = '\0';
	(void)snprintf(buf, UI_WORDS_MAX, "%s%s%s", grouped,
		       *singular ? " " : "", count == 1 ? singular : plural);
	return buf;
}

char *ui_seconds(char buf[static UI_NUMBER_MAX], double seconds)
{
	if (seconds < 0.0)
		seconds = 0.0;
	if (seconds > 1e12)
		seconds = 1e12;
	return duration_format(buf, (uint64_t)(seconds * 1000.0));
}
