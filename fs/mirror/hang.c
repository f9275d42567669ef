/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stores that do not answer (`timeout=`).
 *
 * Every call on a store and on its map is made by a helper (base/guard.h), so
 * no thread that holds a lock of ours is ever stuck in one.  Two threads stand
 * beside the operations:
 *
 *	the watch	looks at the clocks.  Where a call has lasted too long it
 *			marks the store out and gives both guards up: whoever
 *			waits goes on as after an I/O error, whoever comes is
 *			refused.  It makes no call that could hang, waits for
 *			nothing but mirror.lock, and that is never held across
 *			one.
 *	the recorder	records the departure (I3), for those who wait for it:
 *			not all whose calls were given up do so.  Its own calls
 *			may hang, and are watched.
 *
 * Marked out comes before given up, under one lock: nobody sees the error of a
 * store that counts as online, and of two that hang at once one stays.  The
 * last one is never given up: its callers wait.
 */
#include "fs/mirror/internal.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"

#define TICK_MS	    250u
#define HURRY_MS    1000u
#define HURRY_SHARE 4u

uint64_t hurry_ms(const struct mirror *m)
{
	return MIN((uint64_t)HURRY_MS, m->opt.timeout_ms / HURRY_SHARE);
}

void slot_guard_on(struct mirror *m, unsigned int i)
{
	struct slot *s = &m->slot[i];

	atomic_store(&s->waits_ms, 0);
	s->hangs = false;
	if (!m->opt.timeout_ms)
		return;
	guard_on(store_guard(s->store));
	guard_on(meta_guard(s->meta));
}

bool slot_calls_left(const struct slot *s)
{
	struct guard_state store, map;

	guard_look(store_guard(s->store), &store);
	guard_look(meta_guard(s->meta), &map);
	return store.left || map.left;
}

/* Lock held: the last one is not put out. False: it stays. */
static bool hung_mark_out(struct mirror *m, unsigned int i, uint64_t waits_ms)
	REQUIRES(m->lock)
{
	char why[80];

	if (!m->slot[i].online)
		return true;
	if (m->online == SLOT_BIT(i))
		return false;
	(void)snprintf(why, sizeof(why), "does not answer since %llu s",
		       (unsigned long long)(waits_ms / 1000));
	slot_mark_out_locked(m, i, META_STORE_FAILED, why);
	return true;
}

/*
 * Lock held. @awake_ms: nothing has waited longer for a store than this process has
 * run without being stopped. True: its state has changed.
 */
static bool watch_slot(struct mirror *m, unsigned int i, uint64_t awake_ms)
	REQUIRES(m->lock)
{
	struct slot *s = &m->slot[i];
	struct guard_state store, map;
	uint64_t waits_ms;

	if (!s->store || s->closing || s->hangs)
		return false; /* known, or its last user has gone */
	guard_look(store_guard(s->store), &store);
	guard_look(meta_guard(s->meta), &map);
	waits_ms = MIN(MAX(store.waits_ms, map.waits_ms), awake_ms);
	atomic_store(&s->waits_ms, waits_ms);
	if (waits_ms < m->opt.timeout_ms || !hung_mark_out(m, i, waits_ms))
		return false;
	s->hangs = true;
	guard_give_up(store_guard(s->store));
	guard_give_up(meta_guard(s->meta));
	cond_signal(&m->record_wake);
	return true;
}

static void *watch_thread(void *arg)
{
	struct mirror *m = arg;
	uint64_t tick_ms =
		MIN((uint64_t)TICK_MS, MAX(m->opt.timeout_ms / 8, UINT64_C(1)));

	uint64_t seen_ms = clock_mono_ns() / CLOCK_NS_PER_MS, woke_ms = 0;

	mutex_lock(&m->lock);
	while (!m->watch_stop) {
		uint64_t now_ms = clock_mono_ns() / CLOCK_NS_PER_MS;
		bool changed = false;

		/* It waits for nobody: so it was not run. No store could answer
		 * a process that was stopped, or a machine that was. */
		if (now_ms - seen_ms > tick_ms + m->opt.timeout_ms / 2)
			woke_ms = now_ms;
		seen_ms = now_ms;
		for (unsigned int i = 0; i < m->slot_count; i++)
			changed |= watch_slot(m, i, now_ms - woke_ms);
		if (changed) {
			mutex_unlock(&m->lock);
			slots_notify(m);
			mutex_lock(&m->lock);
			continue;
		}
		(void)cond_timedwait(&m->watch_wake, &m->lock, tick_ms);
	}
	mutex_unlock(&m->lock);
	return NULL;
}

static void *record_thread(void *arg)
{
	struct mirror *m = arg;

	mutex_lock(&m->lock);
	while (!m->watch_stop) {
		if (m->broken || mirror_is_short(m) ||
		    !departure_pending(m, ALL_SLOTS)) {
			cond_wait(&m->record_wake, &m->lock);
		} else if (m->recording) {
			cond_wait(&m->recorded, &m->lock);
		} else {
			record_begin(m);
			/* What fails breaks the volume, which is said. */
			ignore_result(epoch_record(m, first_in_flight(m)));
			record_end(m);
		}
	}
	mutex_unlock(&m->lock);
	return NULL;
}

int watch_start(struct mirror *m)
{
	int r;

	if (!m->opt.timeout_ms)
		return 0;
	for_each_slot(i, m->online) slot_guard_on(m, i);
	m->watch_stop = false;
	r = -pthread_create(&m->watch_thread, NULL, watch_thread, m);
	if (r)
		return r;
	r = -pthread_create(&m->record_thread, NULL, record_thread, m);
	m->watches = true;
	if (r) {
		m->watches = false;
		mutex_lock(&m->lock);
		m->watch_stop = true;
		cond_signal(&m->watch_wake);
		mutex_unlock(&m->lock);
		(void)pthread_join(m->watch_thread, NULL);
	}
	return r;
}

void watch_stop(struct mirror *m)
{
	if (!m->watches)
		return;
	mutex_lock(&m->lock);
	m->watch_stop = true;
	cond_signal(&m->watch_wake);
	cond_signal(&m->record_wake);
	cond_broadcast(&m->recorded);
	mutex_unlock(&m->lock);
	(void)pthread_join(m->record_thread, NULL);
	(void)pthread_join(m->watch_thread, NULL);
	m->watches = false;
}
