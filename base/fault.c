/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fault.h"

/* Without the option fault_injection this file is empty. */
#ifdef SEQMIRROR_FAULT_INJECTION

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/vec.h"

enum fault_action {
	FAULT_KILL,
	FAULT_STOP,
	FAULT_FAIL,
	FAULT_DELAY,
	FAULT_IS,
};

struct fault {
	char name[64];
	enum fault_action action;
	int error;	 /* FAULT_FAIL: the -errno */
	uint64_t number; /* FAULT_DELAY: ms, FAULT_IS */
	uint64_t at;	 /* the hit that counts; 0 for each */
	bool onward;	 /* and each one after it */
	_Atomic uint64_t hits;
};

/* Set before the first hit and by fault_configure(), then read-only but for
 * the counts. */
static VEC(struct fault) faults;

/* Reads a decimal number and moves *@text behind it. */
static int parse_number(const char **text, uint64_t *ret_number)
{
	char *end;

	if (**text < '0' || **text > '9')
		return -EINVAL;
	errno = 0;
	*ret_number = strtoumax(*text, &end, 10);
	if (errno)
		return -EINVAL;
	*text = end;
	return 0;
}

/* Whether @text begins with @word and no longer word; moves it behind that. */
static bool take_word(const char **text, const char *word)
{
	size_t len = strlen(word);

	if (strncmp(*text, word, len) != 0)
		return false;
	*text += len;
	return true;
}

static int parse_action(const char **text, struct fault *f)
{
	if (take_word(text, "kill")) {
		f->action = FAULT_KILL;
	} else if (take_word(text, "stop")) {
		f->action = FAULT_STOP;
	} else if (take_word(text, "eio")) {
		f->action = FAULT_FAIL;
		f->error = -EIO;
	} else if (take_word(text, "enospc")) {
		f->action = FAULT_FAIL;
		f->error = -ENOSPC;
	} else if (take_word(text, "delay=")) {
		f->action = FAULT_DELAY;
		return parse_number(text, &f->number);
	} else if (take_word(text, "is=")) {
		f->action = FAULT_IS;
		return parse_number(text, &f->number);
	} else {
		return -EINVAL;
	}
	return 0;
}

/* Reads one spec up to its ',' or the end. */
static int parse_fault(const char **text, struct fault *ret_fault)
{
	struct fault f = {.at = 0};
	size_t len = strcspn(*text, ":,");
	int err;

	if (len == 0 || len >= sizeof(f.name) || (*text)[len] != ':')
		return -EINVAL;
	memcpy(f.name, *text, len);
	*text += len + 1;
	err = parse_action(text, &f);
	if (err)
		return err;
	if (take_word(text, ":")) {
		err = parse_number(text, &f.at);
		if (err || f.at == 0)
			return -EINVAL;
		f.onward = take_word(text, "+");
	}
	if (**text != ',' && **text != '\0')
		return -EINVAL;
	*ret_fault = f;
	return 0;
}

int fault_configure(const char *spec)
{
	__typeof__(faults) fresh = {.data = NULL};
	struct fault f;
	int err;

	while (spec && *spec) {
		err = parse_fault(&spec, &f);
		if (!err)
			err = vec_push(&fresh, f);
		if (err) {
			vec_done(&fresh);
			return err;
		}
		spec += *spec == ',';
	}
	vec_done(&faults);
	faults.data = fresh.data;
	faults.count = fresh.count;
	faults.capacity = fresh.capacity;
	return 0;
}

static void read_environment(void)
{
	const char *spec = getenv("SEQMIRROR_FAULT");

	/* What fault_configure() said before the first hit stands. */
	if (!spec || faults.count)
		return;
	if (fault_configure(spec)) {
		log_err("SEQMIRROR_FAULT cannot be read: %s", spec);
		abort();
	}
}

static int fault_act(const struct fault *f)
{
	switch (f->action) {
	case FAULT_STOP:
		(void)raise(SIGSTOP);
		__attribute__((fallthrough)); /* if somebody lets it go on */
	case FAULT_KILL:
		(void)raise(SIGKILL);
		_exit(137); /* where SIGKILL was not ours to send */
	case FAULT_FAIL:
		return f->error;
	case FAULT_DELAY:
		clock_sleep_ms(f->number);
		return 0;
	case FAULT_IS:
		break;
	}
	return 0;
}

static pthread_once_t once = PTHREAD_ONCE_INIT;

uint64_t fault_number(const char *name, uint64_t number)
{
	(void)pthread_once(&once, read_environment);
	vec_for_each (f, &faults)
		if (f->action == FAULT_IS && !strcmp(f->name, name))
			return f->number;
	return number;
}

int fault_hit(const char *name)
{
	int result = 0;

	(void)pthread_once(&once, read_environment);
	vec_for_each (f, &faults) {
		uint64_t hit;
		int err;

		if (strcmp(f->name, name) != 0)
			continue;
		hit = atomic_fetch_add(&f->hits, 1) + 1;
		if (f->at && hit != f->at && !(f->onward && hit > f->at))
			continue;
		err = fault_act(f);
		if (!result)
			result = err;
	}
	return result;
}

#endif
