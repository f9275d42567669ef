/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls that are made by helpers, given up, and end late: who waits, who
 * frees, and what is not closed meanwhile.
 */
#include "base/guard.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"

#define THREADS 8
#define ROUNDS	2000
/* Long enough for a helper to begin, on a machine that is busy as well. */
#define HURRY_MS 300

/* What a call waits for: as a disk that hangs, until it does no more. */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool open;
	unsigned int waiting;
} gate = {.lock = PTHREAD_MUTEX_INITIALIZER,
	  .changed = PTHREAD_COND_INITIALIZER};

static atomic_uint late_count, run_count;

struct call {
	struct guard_call base;
	bool waits;
	int fd;
	int value;
	ssize_t written;
};

static void gate_set(bool open)
{
	pthread_mutex_lock(&gate.lock);
	gate.open = open;
	pthread_cond_broadcast(&gate.changed);
	pthread_mutex_unlock(&gate.lock);
}

static void gate_wait_for(unsigned int waiting)
{
	pthread_mutex_lock(&gate.lock);
	while (gate.waiting != waiting)
		pthread_cond_wait(&gate.changed, &gate.lock);
	pthread_mutex_unlock(&gate.lock);
}

static void run(struct guard_call *c)
{
	struct call *k = (struct call *)c;

	if (k->waits) {
		pthread_mutex_lock(&gate.lock);
		gate.waiting++;
		pthread_cond_broadcast(&gate.changed);
		while (!gate.open)
			pthread_cond_wait(&gate.changed, &gate.lock);
		gate.waiting--;
		pthread_cond_broadcast(&gate.changed);
		pthread_mutex_unlock(&gate.lock);
	}
	if (k->fd >= 0)
		k->written = write(k->fd, "x", 1);
	k->value++;
	atomic_fetch_add(&run_count, 1);
}

static void late(struct guard_call *c)
{
	struct call *k = (struct call *)c;

	assert(k->fd < 0 || !k->value || k->written == 1);
	atomic_fetch_add(&late_count, 1);
	free(k);
}

static struct call *call_new(bool waits, int fd)
{
	struct call *k = calloc(1, sizeof(*k));

	assert(k);
	k->base = (struct guard_call){.run = run, .late = late, .fd = {fd, -1}};
	k->waits = waits;
	k->fd = fd;
	return k;
}

static struct guard *guard_made(void)
{
	struct guard *g = guard_new();

	assert(g && !guard_is_on(g));
	guard_on(g);
	assert(guard_is_on(g));
	return g;
}

/* ---- one after the other ---- */

static void ends_in_time(void)
{
	struct guard *g = guard_made();
	struct call *k = call_new(false, -1);

	assert(!guard_run(g, &k->base) && k->value == 1);
	free(k);
	guard_free(g);
}

static void *wait_stuck(void *arg)
{
	struct call *k = call_new(true, -1);

	assert(guard_run(arg, &k->base) == -ETIMEDOUT);
	return NULL;
}

/* All who wait are let go at once, later ones are refused. */
static void is_given_up(void)
{
	struct guard *g = guard_made();
	struct guard_state state;
	pthread_t thread[THREADS];
	struct call *k;

	atomic_store(&late_count, 0);
	gate_set(false);
	for (int i = 0; i < THREADS; i++)
		assert(!pthread_create(&thread[i], NULL, wait_stuck, g));
	gate_wait_for(THREADS);
	guard_give_up(g);
	for (int i = 0; i < THREADS; i++)
		assert(!pthread_join(thread[i], NULL));
	k = call_new(false, -1);
	assert(guard_run(g, &k->base) == -ETIMEDOUT);
	guard_look(g, &state);
	assert(state.given_up && state.left == THREADS);
	assert(guard_any_left() && atomic_load(&late_count) == 1);
	gate_set(true);
	guard_free(g); /* waits for them */
	assert(atomic_load(&late_count) == THREADS + 1 && !guard_any_left());
}

static void is_in_a_hurry(void)
{
	struct guard *g = guard_made();
	struct guard_hurry before = guard_hurry_begin(HURRY_MS);
	struct call *k = call_new(true, -1);
	struct guard_state state;

	gate_set(false);
	assert(guard_run(g, &k->base) == -ETIME && guard_was_late());
	assert(guard_hurry_end(before) && !guard_was_late());
	/* Nobody is blamed: others go on. */
	k = call_new(false, -1);
	assert(!guard_run(g, &k->base));
	free(k);
	clock_sleep_ms(30);
	guard_look(g, &state);
	assert(!state.given_up && state.left == 1 && state.waits_ms >= 20);
	gate_set(true);
	guard_free(g);
}

/* The number of a descriptor is not used again before the call has ended. */
static void keeps_descriptor(void)
{
	char path[] = "/tmp/seqmirror-guard-XXXXXX";
	int fd = mkstemp(path), number = fd, other;
	struct guard *g = guard_made();
	struct guard_hurry before;
	struct call *k;
	struct stat st;

	assert(fd >= 0 && !unlink(path));
	k = call_new(true, fd);
	gate_set(false);
	before = guard_hurry_begin(HURRY_MS);
	assert(guard_run(g, &k->base) == -ETIME);
	(void)guard_hurry_end(before);
	close_fd(&fd);
	assert(fd == -1);
	other = open("/dev/null", O_WRONLY | O_CLOEXEC);
	assert(other >= 0 && other != number);
	assert(!fstat(number, &st) && S_ISREG(st.st_mode) && !st.st_size);
	gate_set(true);
	guard_free(g);
	assert(fstat(number, &st) && errno == EBADF);
	close_fd(&other);
}

/* What is posted comes after what was left behind. */
static void posts_in_turn(void)
{
	struct guard *g = guard_made();
	struct guard_hurry before = guard_hurry_begin(HURRY_MS);
	struct call *k = call_new(true, -1);
	unsigned int runs = atomic_load(&run_count);

	gate_set(false);
	assert(guard_run(g, &k->base) == -ETIME);
	(void)guard_hurry_end(before);
	k = call_new(false, -1);
	guard_post(g, &k->base);
	clock_sleep_ms(30);
	assert(atomic_load(&run_count) == runs);
	guard_give_up(g);
	gate_set(true);
	guard_free(g);
	assert(atomic_load(&run_count) == runs + 2);
}

/* ---- patience ---- */

/* A call's own ends with the call, nothing else. */
static void has_patience(void)
{
	struct guard *g = guard_made();
	unsigned int late = atomic_load(&late_count);
	struct call *k = call_new(true, -1);

	gate_set(false);
	k->base.patience_ms = HURRY_MS;
	assert(guard_run(g, &k->base) == -ETIME);
	assert(!guard_was_late());
	k = call_new(false, -1);
	assert(guard_run(g, &k->base) == 0);
	free(k);
	gate_set(true);
	guard_free(g);
	assert(atomic_load(&late_count) == late + 1);
}

/* A guard's is its end, for whoever comes. */
static void loses_patience(void)
{
	struct guard *g = guard_made();
	struct call *k = call_new(true, -1);

	gate_set(false);
	guard_on_within(g, HURRY_MS);
	assert(guard_run(g, &k->base) == -ETIMEDOUT);
	k = call_new(false, -1);
	assert(guard_run(g, &k->base) == -ETIMEDOUT);
	gate_set(true);
	guard_free(g);
}

static void run_long(struct guard_call *c)
{
	(void)c;
	for (int i = 0; i < 8; i++) {
		clock_sleep_ms(HURRY_MS / 4);
		guard_progress();
	}
}

/* What goes on takes as long as it takes. */
static void goes_on(void)
{
	struct guard *g = guard_made();
	struct call *k = call_new(false, -1);

	k->base.run = run_long;
	guard_on_within(g, HURRY_MS);
	assert(guard_run(g, &k->base) == 0);
	free(k);
	guard_free(g);
}

/* ---- all at once ---- */

static void *many(void *arg)
{
	unsigned int seed = (unsigned int)(uintptr_t)&arg;

	for (int i = 0; i < ROUNDS; i++) {
		struct guard_hurry before = guard_hurry_begin(i % 7 ? 0 : 1);
		struct call *k = call_new(rand_r(&seed) % 5 == 0, -1);
		int r = guard_run(arg, &k->base);

		assert(!r || r == -ETIME || r == -ETIMEDOUT);
		if (!r)
			free(k);
		(void)guard_hurry_end(before);
	}
	return NULL;
}

static void runs_many(bool give_up)
{
	struct guard *g = guard_made();
	pthread_t thread[THREADS];

	gate_set(false);
	for (int i = 0; i < THREADS; i++)
		assert(!pthread_create(&thread[i], NULL, many, g));
	for (int i = 0; i < 200; i++) {
		gate_set(i % 2);
		clock_sleep_ms(1);
	}
	if (give_up)
		guard_give_up(g);
	gate_set(true);
	for (int i = 0; i < THREADS; i++)
		assert(!pthread_join(thread[i], NULL));
	guard_free(g);
	assert(!guard_any_left());
}

int main(void)
{
	ends_in_time();
	is_given_up();
	is_in_a_hurry();
	keeps_descriptor();
	posts_in_turn();
	has_patience();
	loses_patience();
	goes_on();
	runs_many(false);
	runs_many(true);
	puts("guard_conc: ok");
	return 0;
}
