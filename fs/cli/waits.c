/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A thread that has slept all the time has used no time of a processor: that is
 * looked at, and a command need not say how far it is. Time counts in looks, so
 * that a command which was stopped for a while (Ctrl-Z) has not waited.
 */
#include "fs/cli/waits.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/lock.h"
#include "fs/cli/ui.h"

#define LOOK_MS	  500
#define TELL_MS	  5000
#define NAMES_MAX 4096

static struct {
	pthread_mutex_t lock;  /* a leaf; taken alone */
	char names[NAMES_MAX]; /* empty: nobody waits */
	clockid_t clock;       /* of the thread that waits */
	bool watched;
	bool background; /* set before the first wait */
} waits = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void waits_lock(void)
{
	lock_must_(pthread_mutex_lock(&waits.lock));
}

static void waits_unlock(void)
{
	lock_must_(pthread_mutex_unlock(&waits.lock));
}

/* Held up by whoever reads what it prints, and not by a disk. */
static bool is_printing(void)
{
	FILE *const files[] = {stdout, stderr};

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		if (ftrylockfile(files[i]))
			return true;
		funlockfile(files[i]);
	}
	return false;
}

/* Whom it waits for, and how much it has worked so far. False: nobody waits. */
static bool look(char names[NAMES_MAX], struct timespec *ret_used)
{
	bool waiting;

	waits_lock();
	waiting = *waits.names && !clock_gettime(waits.clock, ret_used);
	if (waiting)
		memcpy(names, waits.names, NAMES_MAX);
	else
		waits.watched = false;
	waits_unlock();
	return waiting;
}

static void *watch(void *arg)
{
	struct timespec used = {0}, now = {0};
	unsigned int asleep_ms = 0, tell_ms = TELL_MS;
	char names[NAMES_MAX];

	while (look(names, &now)) {
		if (now.tv_sec != used.tv_sec || now.tv_nsec != used.tv_nsec ||
		    is_printing())
			asleep_ms = 0;
		used = now;
		if (asleep_ms >= tell_ms) {
			ui_warn("no answer from %s for %u s, still waiting%s",
				names, asleep_ms / 1000,
				waits.background
					? ""
					: " (Ctrl-C takes effect when it "
					  "answers)");
			tell_ms *= 2;
		}
		clock_sleep_ms(LOOK_MS);
		asleep_ms += LOOK_MS;
	}
	return arg;
}

/* Without it nothing is told, and nothing else is different. Signals are for the
 * thread that works. */
static bool watch_begin(void)
{
	sigset_t all, before;
	pthread_t thread;
	int err;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&thread, NULL, watch, NULL);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	return !err && !pthread_detach(thread);
}

static void put_names(const char *const *paths, size_t count)
{
	size_t at = 0;

	for (size_t i = 0; i < count && at < sizeof(waits.names); i++) {
		const char *link = i == 0 ? "" : i + 1 < count ? ", " : " or ";

		at += (size_t)snprintf(waits.names + at,
				       sizeof(waits.names) - at, "%s%s", link,
				       paths[i]);
	}
}

void waits_for_any(const char *const *paths, size_t count)
{
	waits_lock();
	put_names(paths, count);
	if (!waits.watched &&
	    !pthread_getcpuclockid(pthread_self(), &waits.clock))
		waits.watched = watch_begin();
	waits_unlock();
}

void waits_for(const char *path)
{
	waits_for_any(&path, 1);
}

void waits_in_background(void)
{
	waits.background = true;
}

void waits_end(void)
{
	waits_lock();
	waits.names[0] = '\0';
	waits_unlock();
}
