/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/mount/turn.h"

#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#include "base/clock.h"

enum {
	ENTER = 32,	/* requests in a row that make it one */
	LUCK_MAX = 64,	/* of the leader, when it begins */
	LUCK_QUEUE = 1, /* what a request that waited already costs */
	LUCK_LONG = 16, /* what one that takes long costs */
	LUCK_NONE = 4,	/* what none within SPIN_NS costs */
	IDLE_TICKS = 3,
	TICK_MS = 1,
};

#define SOON_NS 100000u
#define LONG_NS 200000u
#define SPIN_NS 50000u

/* Of this thread; there is one mount in a process. */
static _Thread_local bool has_request;
static _Thread_local uint64_t got_ns;
static _Thread_local uint64_t own_reign;

void turn_init(struct turn *t)
{
	*t = (struct turn){.off = sysconf(_SC_NPROCESSORS_ONLN) < 2};
	atomic_init(&t->reign, 1); /* nobody's */
	mutex_init(&t->lock, LOCK_RANK_LEAF);
	cond_init(&t->changed);
}

void turn_done(struct turn *t)
{
	cond_done(&t->changed);
	mutex_done(&t->lock);
}

static bool leads(struct turn *t)
{
	return atomic_load(&t->one) && own_reign == atomic_load(&t->reign);
}

static void become_one(struct turn *t)
{
	mutex_lock(&t->lock);
	if (!atomic_load(&t->one)) {
		own_reign = atomic_fetch_add(&t->reign, 1) + 1;
		atomic_store(&t->luck, LUCK_MAX);
		atomic_store(&t->busy, true); /* with the one just read */
		atomic_store(&t->one, true);
	}
	mutex_unlock(&t->lock);
}

static void become_all_locked(struct turn *t) REQUIRES(t->lock)
{
	atomic_store(&t->score, 0);
	atomic_store(&t->one, false);
	cond_broadcast(&t->changed);
}

static void become_all(struct turn *t)
{
	mutex_lock(&t->lock);
	if (atomic_load(&t->one))
		become_all_locked(t);
	mutex_unlock(&t->lock);
}

/* ---- who waits ---- */

static void watch_locked(struct turn *t) REQUIRES(t->lock)
{
	uint64_t seen = atomic_load(&t->count);
	unsigned int idle = 0;

	t->watched = true;
	while (atomic_load(&t->one)) {
		uint64_t count;

		if (!cond_timedwait(&t->changed, &t->lock, TICK_MS))
			continue;
		count = atomic_load(&t->count);
		idle = count == seen ? idle + 1 : 0;
		if (idle && (atomic_load(&t->busy) || idle >= IDLE_TICKS))
			become_all_locked(t);
		seen = count;
	}
	t->watched = false;
}

/* Cancelled while it waited: the lock is held then, and nobody noted it. */
static void wait_cancelled(void *arg) NO_THREAD_SAFETY_ANALYSIS
{
	struct turn *t = arg;

	become_all_locked(t);
	t->watched = false;
	(void)pthread_mutex_unlock(&t->lock.os);
}

static void wait_for_all(struct turn *t) NO_THREAD_SAFETY_ANALYSIS
{
	mutex_lock(&t->lock);
	pthread_cleanup_push(wait_cancelled, t);
	while (atomic_load(&t->one)) {
		if (t->watched)
			cond_wait(&t->changed, &t->lock);
		else
			watch_locked(t);
	}
	pthread_cleanup_pop(0);
	mutex_unlock(&t->lock);
}

/* ---- who reads ---- */

static bool is_there(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) > 0;
}

/* Look for the next one for a while; how it went decides how long it leads. */
static void spin(struct turn *t, int fd)
{
	uint64_t until_ns;

	if (is_there(fd)) {
		atomic_fetch_sub(&t->luck, LUCK_QUEUE);
	} else {
		until_ns = clock_mono_ns() + SPIN_NS;
		for (;;) {
			if (is_there(fd)) {
				if (atomic_load(&t->luck) < LUCK_MAX)
					atomic_fetch_add(&t->luck, 1);
				break;
			}
			if (clock_mono_ns() > until_ns) {
				atomic_fetch_sub(&t->luck, LUCK_NONE);
				break;
			}
		}
	}
	if (atomic_load(&t->luck) <= 0)
		become_all(t);
}

void turn_answer(struct turn *t)
{
	uint64_t now;

	if (!has_request)
		return;
	has_request = false;
	now = clock_mono_ns();
	/* Beside such a one waking somebody is nothing. */
	if (now - got_ns > LONG_NS) {
		atomic_store(&t->score, 0);
		if (leads(t))
			atomic_fetch_sub(&t->luck, LUCK_LONG);
	}
	atomic_store(&t->ended_ns, now);
	atomic_fetch_sub(&t->under_way, 1);
}

/* A request was read by one of all. */
static void judge(struct turn *t, unsigned int others)
{
	uint64_t gap_ns = got_ns - atomic_load(&t->ended_ns);
	int score = atomic_load(&t->score);

	score = !others && gap_ns < SOON_NS ? score + 1 : 0;
	atomic_store(&t->score, score);
	if (score >= ENTER)
		become_one(t);
}

ssize_t turn_read(struct turn *t, int fd, void *buf, size_t len)
{
	bool leading = false;
	ssize_t got;

	if (t->off)
		return read(fd, buf, len);
	turn_answer(t);
	if (leads(t)) {
		leading = true;
		atomic_store(&t->busy, false);
		spin(t, fd);
	} else if (atomic_load(&t->one)) {
		wait_for_all(t);
	}
	got = read(fd, buf, len);
	if (got > 0) {
		unsigned int others = atomic_fetch_add(&t->under_way, 1);

		has_request = true;
		got_ns = clock_mono_ns();
		if (leading) {
			atomic_fetch_add(&t->count, 1);
			atomic_store(&t->busy, true);
		} else {
			judge(t, others);
		}
	}
	return got;
}
