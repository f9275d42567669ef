/* SPDX-License-Identifier: Apache-2.0 */
#include "base/guard.h"

#include <assert.h>
#include <signal.h>

#include "base/affinity.h"
#include "base/clock.h"

/* More calls than these at once wait for one another; of a store that hangs
 * all of them may be stuck. */
#define HELPERS_MAX  64u
#define HELPER_STACK (512u << 10)

struct guard {
	struct mutex lock; /* LOCK_RANK_GUARD; guards all below */
	struct cond work;
	struct cond gone; /* a helper has ended, or a call left behind */
	struct guard_call *queue, **queue_tail;
	struct guard_call *running;
	struct guard_call *posted; /* for when nothing is left behind */
	unsigned int helpers, idle, left;
	bool stop;
	atomic_bool on;
	atomic_bool given_up;
	_Atomic uint64_t patience_ms;
};

/* Calls left behind, of all guards: what they work on is not closed. */
static struct {
	pthread_mutex_t lock;
	struct guard_call *first;
	atomic_uint count;
} behind = {.lock = PTHREAD_MUTEX_INITIALIZER};

static atomic_bool counting;
static _Atomic uint64_t counted;

static _Thread_local struct guard_call *made_here; /* on a helper */
static _Thread_local struct guard_hurry hurry;

/* ---- descriptors of calls left behind ---- */

static void behind_add(struct guard_call *c)
{
	lock_must_(pthread_mutex_lock(&behind.lock));
	c->left_next = behind.first;
	c->left_prevp = &behind.first;
	if (behind.first)
		behind.first->left_prevp = &c->left_next;
	behind.first = c;
	atomic_fetch_add(&behind.count, 1);
	lock_must_(pthread_mutex_unlock(&behind.lock));
}

static void behind_drop(struct guard_call *c)
{
	lock_must_(pthread_mutex_lock(&behind.lock));
	*c->left_prevp = c->left_next;
	if (c->left_next)
		c->left_next->left_prevp = c->left_prevp;
	atomic_fetch_sub(&behind.count, 1);
	lock_must_(pthread_mutex_unlock(&behind.lock));
	/* Perhaps another one still works on it. */
	for (int i = 0; i < 2; i++)
		if (c->close_fd[i])
			close_fd(&c->fd[i]);
}

/* Does a call left behind work on it? Then that one closes it. */
static bool behind_takes(int fd)
{
	bool taken = false;

	lock_must_(pthread_mutex_lock(&behind.lock));
	for (struct guard_call *c = behind.first; c && !taken;
	     c = c->left_next) {
		for (int i = 0; i < 2 && !taken; i++) {
			taken = c->fd[i] == fd;
			if (taken)
				c->close_fd[i] = true;
		}
	}
	lock_must_(pthread_mutex_unlock(&behind.lock));
	return taken;
}

void close_fd(int *fd)
{
	int saved_errno = errno;

	/* Who left a call behind on it, did so before it came here. */
	if (*fd >= 0 && !(atomic_load(&behind.count) && behind_takes(*fd)))
		(void)close(*fd);
	*fd = -1;
	errno = saved_errno;
}

/* ---- the lists; locked ---- */

static void list_add(struct guard_call **head, struct guard_call *c)
{
	c->next = *head;
	c->prevp = head;
	if (c->next)
		c->next->prevp = &c->next;
	*head = c;
}

static void list_drop(struct guard_call *c)
{
	*c->prevp = c->next;
	if (c->next)
		c->next->prevp = c->prevp;
}

static void queue_add(struct guard *g, struct guard_call *c)
{
	c->step = GUARD_QUEUED;
	c->next = NULL;
	c->prevp = g->queue_tail;
	*g->queue_tail = c;
	g->queue_tail = &c->next;
}

static void queue_drop(struct guard *g, struct guard_call *c)
{
	if (g->queue_tail == &c->next)
		g->queue_tail = c->prevp;
	list_drop(c);
}

/* ---- helpers ---- */

static void *helper(void *arg);

/* Locked: somebody will take what was queued. False: there is nobody. */
static bool helper_call(struct guard *g)
{
	pthread_attr_t attr;
	unsigned int waiting = 0;
	sigset_t all, old;
	pthread_t thread;
	int r;

	for (struct guard_call *c = g->queue; c; c = c->next)
		waiting++;
	if (waiting <= g->idle || g->helpers >= HELPERS_MAX)
		return true;
	if (pthread_attr_init(&attr))
		return g->helpers > 0;
	(void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	(void)pthread_attr_setstacksize(&attr, HELPER_STACK);
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&thread, &attr, helper, g);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	(void)pthread_attr_destroy(&attr);
	if (!r)
		g->helpers++;
	return g->helpers > 0;
}

/* Locked: what waited for the calls left behind to end is made now. */
static void posted_take(struct guard *g)
{
	struct guard_call *c;

	while (!g->left && (c = g->posted)) {
		g->posted = c->next;
		g->left++;
		queue_add(g, c);
		if (helper_call(g))
			cond_signal(&g->work);
	}
}

/* Locked; the lock is given up for the call. */
static void call_make(struct guard *g, struct guard_call *c) REQUIRES(g->lock)
{
	queue_drop(g, c);
	c->step = GUARD_RUNNING;
	atomic_store(&c->since_ns, clock_mono_ns());
	list_add(&g->running, c);
	mutex_unlock(&g->lock);
	made_here = c;
	c->run(c);
	made_here = NULL;
	guard_counted();
	mutex_lock(&g->lock);
	list_drop(c);
	c->step = GUARD_ENDED;
	if (!c->left) {
		cond_signal(&c->ended);
		return;
	}
	mutex_unlock(&g->lock);
	behind_drop(c);
	cond_done(&c->ended);
	c->late(c);
	mutex_lock(&g->lock);
	g->left--;
	posted_take(g);
	cond_broadcast(&g->gone);
}

static void *helper(void *arg)
{
	struct guard *g = arg;

	affinity_reset(); /* made by a thread of a ring, perhaps */
	(void)pthread_setname_np(pthread_self(), "guard");
	mutex_lock(&g->lock);
	for (;;) {
		if (g->queue) {
			call_make(g, g->queue);
		} else if (g->stop) {
			break;
		} else {
			g->idle++;
			cond_wait(&g->work, &g->lock);
			g->idle--;
		}
	}
	g->helpers--;
	cond_broadcast(&g->gone);
	mutex_unlock(&g->lock);
	return NULL;
}

/* ---- whoever wants one made ---- */

static void give_up_locked(struct guard *g) REQUIRES(g->lock)
{
	atomic_store(&g->given_up, true);
	for (struct guard_call *c = g->running; c; c = c->next)
		cond_signal(&c->ended);
	for (struct guard_call *c = g->queue; c; c = c->next)
		cond_signal(&c->ended);
}

/* When patience ends with a call that was asked for at @asked_ns; UINT64_MAX:
 * it does not. A call that goes on moves it. */
static uint64_t patience_end(const struct guard *g, const struct guard_call *c,
			     uint64_t asked_ns)
{
	uint64_t ms = c->patience_ms ? c->patience_ms
				     : atomic_load(&g->patience_ms);
	uint64_t since_ns = atomic_load(&c->since_ns);

	if (!ms)
		return UINT64_MAX;
	return (since_ns ? since_ns : asked_ns) + ms * CLOCK_NS_PER_MS;
}

/* @until_ns: the end of a hurry; UINT64_MAX: none */
static bool is_in_time(struct guard *g, struct guard_call *c, uint64_t asked_ns,
		       uint64_t until_ns) REQUIRES(g->lock)
{
	while (c->step != GUARD_ENDED && !atomic_load(&g->given_up)) {
		uint64_t patient_ns = patience_end(g, c, asked_ns);
		uint64_t wake_ns = MIN(until_ns, patient_ns), now;

		if (wake_ns == UINT64_MAX) {
			cond_wait(&c->ended, &g->lock);
			continue;
		}
		now = clock_mono_ns();
		if (now < wake_ns)
			(void)cond_timedwait(&c->ended, &g->lock,
					     (wake_ns - now) / CLOCK_NS_PER_MS +
						     1);
		else if (now >= until_ns || c->patience_ms)
			return false;
		else
			give_up_locked(g);
	}
	return c->step == GUARD_ENDED;
}

/* Never made, or not any more. */
static int call_refuse(struct guard_call *c, int err)
{
	cond_done(&c->ended);
	c->late(c);
	return err;
}

/* Locked. */
static int call_leave(struct guard *g, struct guard_call *c) RELEASE(g->lock)
{
	int err = atomic_load(&g->given_up) ? -ETIMEDOUT : -ETIME;

	if (c->step == GUARD_RUNNING) {
		c->left = true;
		g->left++;
		behind_add(c);
		mutex_unlock(&g->lock);
		return err;
	}
	queue_drop(g, c);
	mutex_unlock(&g->lock);
	return call_refuse(c, err);
}

static void call_init(struct guard *g, struct guard_call *c)
{
	c->guard = g;
	c->left = c->close_fd[0] = c->close_fd[1] = false;
	atomic_init(&c->since_ns, 0);
	cond_init(&c->ended);
}

int guard_run(struct guard *g, struct guard_call *c)
{
	uint64_t asked_ns = 0, until_ns = UINT64_MAX;
	bool patient = c->patience_ms;
	int err;

	if (hurry.wait_ms || patient || atomic_load(&g->patience_ms))
		asked_ns = clock_mono_ns();
	if (hurry.wait_ms)
		until_ns = asked_ns + hurry.wait_ms * CLOCK_NS_PER_MS;
	call_init(g, c);
	mutex_lock(&g->lock);
	if (atomic_load(&g->given_up)) {
		mutex_unlock(&g->lock);
		return call_refuse(c, -ETIMEDOUT);
	}
	queue_add(g, c);
	if (!helper_call(g)) {
		queue_drop(g, c);
		mutex_unlock(&g->lock);
		return call_refuse(c, -ENOMEM);
	}
	cond_signal(&g->work);
	if (!is_in_time(g, c, asked_ns, until_ns)) {
		err = call_leave(g, c);
		hurry.late |= err == -ETIME && !patient;
		return err;
	}
	mutex_unlock(&g->lock);
	cond_done(&c->ended);
	return 0;
}

void guard_post(struct guard *g, struct guard_call *c)
{
	call_init(g, c);
	c->left = true;
	mutex_lock(&g->lock);
	behind_add(c);
	c->next = g->posted;
	g->posted = c;
	posted_take(g);
	mutex_unlock(&g->lock);
}

void guard_give_up(struct guard *g)
{
	mutex_lock(&g->lock);
	give_up_locked(g);
	mutex_unlock(&g->lock);
}

void guard_look(struct guard *g, struct guard_state *ret)
{
	uint64_t now = clock_mono_ns(), oldest = now;

	mutex_lock(&g->lock);
	for (struct guard_call *c = g->running; c; c = c->next)
		oldest = MIN(oldest, (uint64_t)atomic_load(&c->since_ns));
	*ret = (struct guard_state){
		.given_up = atomic_load(&g->given_up),
		.left = g->left,
		.waits_ms = (now - oldest) / CLOCK_NS_PER_MS,
	};
	mutex_unlock(&g->lock);
}

/* ---- life ---- */

struct guard *guard_new(void)
{
	struct guard *g = calloc(1, sizeof(*g));

	if (!g)
		return NULL;
	mutex_init(&g->lock, LOCK_RANK_GUARD);
	cond_init(&g->work);
	cond_init(&g->gone);
	g->queue_tail = &g->queue;
	return g;
}

void guard_free(struct guard *g)
{
	if (!g)
		return;
	mutex_lock(&g->lock);
	while (g->left || g->posted)
		cond_wait(&g->gone, &g->lock);
	assert(!g->queue && !g->running);
	g->stop = true;
	cond_broadcast(&g->work);
	while (g->helpers)
		cond_wait(&g->gone, &g->lock);
	mutex_unlock(&g->lock);
	cond_done(&g->gone);
	cond_done(&g->work);
	mutex_done(&g->lock);
	free(g);
}

void guard_on(struct guard *g)
{
	guard_on_within(g, 0);
}

void guard_on_within(struct guard *g, uint64_t patience_ms)
{
	atomic_store(&g->patience_ms, patience_ms);
	atomic_store(&g->on, true);
}

bool guard_is_on(const struct guard *g)
{
	return atomic_load_explicit(&g->on, memory_order_relaxed) && !made_here;
}

struct guard_hurry guard_hurry_begin(uint64_t wait_ms)
{
	struct guard_hurry before = hurry;

	hurry = (struct guard_hurry){.wait_ms = wait_ms};
	return before;
}

bool guard_hurry_end(struct guard_hurry before)
{
	bool late = hurry.late;

	hurry = before;
	return late;
}

bool guard_was_late(void)
{
	return hurry.late;
}

bool guard_any_left(void)
{
	return atomic_load(&behind.count) > 0;
}

uint64_t guard_count(void)
{
	atomic_store(&counting, true);
	return atomic_load(&counted);
}

void guard_counted(void)
{
	if (atomic_load_explicit(&counting, memory_order_relaxed))
		atomic_fetch_add(&counted, 1);
}

void guard_progress(void)
{
	guard_counted();
	if (made_here)
		atomic_store(&made_here->since_ns, clock_mono_ns());
}
