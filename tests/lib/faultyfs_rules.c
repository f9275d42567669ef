/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/faultyfs.h"

#include <errno.h>
#include <fnmatch.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RULES_MAX 64
#define WORDS_MAX 13
/* What lies beyond a quota. */
#define QUOTA_BLOCKS (1u << 20)

enum action {
	FAIL,
	DELAY,
	HANG,
	BAD,
	UNCOUNTED,
	QUOTA,
};

struct rule {
	enum action action;
	uint32_t ops;
	int err;
	long delay_ms;
	bool ranged, late, then;
	off_t off, end;
	unsigned long after; /* so many pass yet */
	unsigned long times; /* it strikes no more than that; 0: always */
	char name[256];
	char text[512];
	unsigned long hits;
	unsigned int waiting;
	bool gone; /* cleared while somebody waits in it */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cleared = PTHREAD_COND_INITIALIZER;
static struct rule *rules[RULES_MAX];
static unsigned int count;
static _Thread_local int late_err;

static const char *const op_names[OP_COUNT] = {
	[OP_LOOKUP] = "lookup",	      [OP_GETATTR] = "getattr",
	[OP_SETATTR] = "setattr",     [OP_READLINK] = "readlink",
	[OP_MKNOD] = "mknod",	      [OP_MKDIR] = "mkdir",
	[OP_UNLINK] = "unlink",	      [OP_RMDIR] = "rmdir",
	[OP_SYMLINK] = "symlink",     [OP_RENAME] = "rename",
	[OP_LINK] = "link",	      [OP_OPEN] = "open",
	[OP_CREATE] = "create",	      [OP_READ] = "read",
	[OP_WRITE] = "write",	      [OP_FSYNC] = "fsync",
	[OP_OPENDIR] = "opendir",     [OP_READDIR] = "readdir",
	[OP_FSYNCDIR] = "fsyncdir",   [OP_STATFS] = "statfs",
	[OP_SETXATTR] = "setxattr",   [OP_GETXATTR] = "getxattr",
	[OP_LISTXATTR] = "listxattr", [OP_REMOVEXATTR] = "removexattr",
	[OP_FALLOCATE] = "fallocate", [OP_LSEEK] = "lseek",
	[OP_FLUSH] = "flush",
};

#define BIT(op) (1u << (op))
#define SYNC	(BIT(OP_FSYNC) | BIT(OP_FSYNCDIR))
#define MODIFY                                                              \
	(BIT(OP_SETATTR) | BIT(OP_MKNOD) | BIT(OP_MKDIR) | BIT(OP_UNLINK) | \
	 BIT(OP_RMDIR) | BIT(OP_SYMLINK) | BIT(OP_RENAME) | BIT(OP_LINK) |  \
	 BIT(OP_CREATE) | BIT(OP_WRITE) | BIT(OP_SETXATTR) |                \
	 BIT(OP_REMOVEXATTR) | BIT(OP_FALLOCATE) | SYNC)

static const struct {
	const char *name;
	int err;
} err_names[] = {
	{"EIO", EIO},	    {"ENOSPC", ENOSPC},	    {"EDQUOT", EDQUOT},
	{"EROFS", EROFS},   {"ENODEV", ENODEV},	    {"ESTALE", ESTALE},
	{"EACCES", EACCES}, {"ENOTCONN", ENOTCONN},
};

static bool parse_ops(char *list, uint32_t *ret)
{
	char *save = NULL;

	*ret = 0;
	for (char *w = strtok_r(list, ",", &save); w;
	     w = strtok_r(NULL, ",", &save)) {
		uint32_t found = 0;

		if (!strcmp(w, "all"))
			found = ~0u;
		else if (!strcmp(w, "modify"))
			found = MODIFY;
		else if (!strcmp(w, "sync"))
			found = SYNC;
		for (unsigned int i = 0; i < OP_COUNT; i++)
			if (!strcmp(w, op_names[i]))
				found = BIT(i);
		if (!found)
			return false;
		*ret |= found;
	}
	return *ret != 0;
}

static bool parse_number(const char *word, long *ret)
{
	char *end;

	errno = 0;
	*ret = strtol(word, &end, 10);
	return !errno && end != word && !*end && *ret >= 0;
}

static bool parse_err(const char *word, int *ret)
{
	long n;

	for (size_t i = 0; i < sizeof(err_names) / sizeof(err_names[0]); i++)
		if (!strcmp(word, err_names[i].name)) {
			*ret = err_names[i].err;
			return true;
		}
	if (!parse_number(word, &n) || n < 1 || n > 4095)
		return false;
	*ret = (int)n;
	return true;
}

/* @words: [NAME [OFF LEN]] */
static bool parse_place(char **words, unsigned int n, struct rule *r)
{
	long off, len;

	if (n > 3 || n == 2 || (n && strlen(words[0]) >= sizeof(r->name)))
		return false;
	(void)snprintf(r->name, sizeof(r->name), "%s", n ? words[0] : "*");
	if (n < 3)
		return true;
	if (!parse_number(words[1], &off) || !parse_number(words[2], &len))
		return false;
	r->ranged = true;
	r->off = off;
	r->end = off + len;
	return true;
}

/* [then] [after N] [times N] [late]; returns how many words that was, or -1. */
static int parse_when(char **w, unsigned int n, struct rule *r)
{
	unsigned int at = 0;

	for (; at < n; at++) {
		bool after = !strcmp(w[at], "after");
		long number;

		if (!strcmp(w[at], "late")) {
			r->late = true;
			continue;
		}
		if (!strcmp(w[at], "then")) {
			r->then = true;
			continue;
		}
		if (!after && strcmp(w[at], "times") != 0)
			break;
		if (++at == n || !parse_number(w[at], &number))
			return -1;
		*(after ? &r->after : &r->times) = (unsigned long)number;
	}
	return at && (at == n || strcmp(w[at], "fail") != 0) ? -1 : (int)at;
}

static bool parse_rule(char **w, unsigned int n, struct rule *r)
{
	int when = parse_when(w, n, r);

	if (when < 0)
		return false;
	w += when;
	n -= (unsigned int)when;
	if (n >= 3 && !strcmp(w[0], "fail")) {
		r->action = FAIL;
		return parse_ops(w[1], &r->ops) && parse_err(w[2], &r->err) &&
		       parse_place(w + 3, n - 3, r);
	}
	if (n >= 3 && n <= 4 && !strcmp(w[0], "delay")) {
		r->action = DELAY;
		return parse_ops(w[1], &r->ops) &&
		       parse_number(w[2], &r->delay_ms) &&
		       parse_place(w + 3, n - 3, r);
	}
	if (n >= 2 && n <= 3 && !strcmp(w[0], "hang")) {
		r->action = HANG;
		return parse_ops(w[1], &r->ops) && parse_place(w + 2, n - 2, r);
	}
	if (n == 4 && !strcmp(w[0], "bad")) {
		r->action = BAD;
		r->ops = BIT(OP_READ);
		r->err = EIO;
		return parse_place(w + 1, n - 1, r);
	}
	r->action = n && !strcmp(w[0], "quota") ? QUOTA : UNCOUNTED;
	return n == 1 && (r->action == QUOTA || !strcmp(w[0], "uncounted"));
}

/* Lock held. Whoever waits in it frees it. */
static void rule_drop(unsigned int i)
{
	struct rule *r = rules[i];

	rules[i] = rules[--count];
	r->gone = true;
	if (!r->waiting)
		free(r);
	pthread_cond_broadcast(&cleared);
}

int rules_command(const char *text)
{
	char *words[WORDS_MAX], *copy = strdup(text), *save = NULL;
	struct rule *r = calloc(1, sizeof(*r));
	unsigned int n = 0;
	int err = copy && r ? 0 : -ENOMEM;

	for (char *w = err ? NULL : strtok_r(copy, " \t\n", &save);
	     w && n < WORDS_MAX; w = strtok_r(NULL, " \t\n", &save))
		words[n++] = w;
	pthread_mutex_lock(&lock);
	if (!err && n == 1 && !strcmp(words[0], "clear")) {
		while (count)
			rule_drop(0);
	} else if (!err) {
		(void)snprintf(r->text, sizeof(r->text), "%.*s",
			       (int)strcspn(text, "\n"), text);
		if (count < RULES_MAX && parse_rule(words, n, r)) {
			rules[count++] = r;
			r = NULL;
		} else {
			err = -EINVAL;
		}
	}
	pthread_mutex_unlock(&lock);
	free(r);
	free(copy);
	return err;
}

static bool in_force(enum action action)
{
	bool found = false;

	pthread_mutex_lock(&lock);
	for (unsigned int i = 0; i < count; i++)
		found = found || rules[i]->action == action;
	pthread_mutex_unlock(&lock);
	return found;
}

bool rules_uncounted(void)
{
	return in_force(UNCOUNTED);
}

int rules_error(int err)
{
	return err == ENOSPC && in_force(QUOTA) ? EDQUOT : err;
}

const struct statvfs *rules_statfs(struct statvfs *v)
{
	if (in_force(QUOTA)) {
		v->f_blocks += QUOTA_BLOCKS;
		v->f_bfree += QUOTA_BLOCKS;
		v->f_bavail += QUOTA_BLOCKS;
	}
	return v;
}

char *rules_text(void)
{
	char *text = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		return NULL;
	pthread_mutex_lock(&lock);
	for (unsigned int i = 0; i < count; i++)
		(void)fprintf(f, "hits=%lu waiting=%u %s\n", rules[i]->hits,
			      rules[i]->waiting, rules[i]->text);
	pthread_mutex_unlock(&lock);
	if (fclose(f)) {
		free(text);
		return NULL;
	}
	return text;
}

static bool matches(const struct rule *r, enum rule_op op, const char *name,
		    off_t off, size_t len)
{
	if (!(r->ops & BIT(op)) || fnmatch(r->name, name, 0) ||
	    (r->times && r->hits == r->times))
		return false;
	return !r->ranged || (off < r->end && off + (off_t)len > r->off);
}

/* Lock held, given up meanwhile. */
static void hang(struct rule *r)
{
	r->waiting++;
	while (!r->gone)
		pthread_cond_wait(&cleared, &lock);
	if (!--r->waiting)
		free(r);
}

int rules_gate(enum rule_op op, const char *name, off_t off, size_t len)
{
	long delay_ms = 0;
	int err = 0;

	late_err = 0;
	pthread_mutex_lock(&lock);
	for (unsigned int i = 0; i < count && !err; i++) {
		struct rule *r = rules[i];

		if (!matches(r, op, name, off, len) ||
		    (r->then && i && !rules[i - 1]->hits))
			continue;
		if (r->after) {
			r->after--;
			continue;
		}
		r->hits++;
		if (r->action == HANG) {
			hang(r);
			break; /* the rules were changed meanwhile */
		}
		if (r->action == DELAY)
			delay_ms += r->delay_ms;
		else
			*(r->late ? &late_err : &err) = -r->err;
	}
	pthread_mutex_unlock(&lock);
	if (delay_ms) /* the slow disk itself */
		(void)poll(NULL, 0, (int)delay_ms);
	return err;
}

int rules_late(int err)
{
	int late = late_err;

	late_err = 0; /* what this thread does next asks nobody, perhaps */
	return err ? err : late;
}

void rules_written(const char *name, off_t off, size_t len)
{
	pthread_mutex_lock(&lock);
	for (unsigned int i = count; i-- > 0;) {
		struct rule *r = rules[i];

		if (r->action == BAD && !fnmatch(r->name, name, 0) &&
		    off <= r->off && off + (off_t)len >= r->end)
			rule_drop(i);
	}
	pthread_mutex_unlock(&lock);
}
