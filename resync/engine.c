/* SPDX-License-Identifier: Apache-2.0 */
#include "resync/engine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"

#define MONITOR_MS   1000u
#define RETRY_NS     (2 * CLOCK_NS_PER_SEC)
#define RETRY_NS_MAX (300 * CLOCK_NS_PER_SEC)

struct engine_name engine_name(struct resync_engine *e, unsigned int slot)
{
	struct mirror_slot_info info;
	struct engine_name name;

	mirror_slot_info(e->m, slot, &info);
	(void)snprintf(name.text, sizeof(name.text), "%s", info.name);
	return name;
}

/* ---- the worker ---- */

/* The next slot, or -1 when the engine ends. */
static int next_locked(struct resync_engine *e) REQUIRES(e->lock)
{
	int slot;

	while (!e->stop && e->queue_count == 0)
		cond_wait(&e->wake, &e->lock);
	/* What is queued is given back as well, quickly. */
	if (e->queue_count == 0)
		return -1;
	slot = (int)e->queue[0];
	e->queue_count--;
	memmove(e->queue, e->queue + 1, e->queue_count * sizeof(e->queue[0]));
	e->running = slot;
	e->progress = (struct resync_progress){
		.eta_seconds = -1,
		.phase = "begin",
	};
	e->rate_at_ns = 0;
	e->rate_smooth = 0;
	e->paid_bytes = 0;
	return slot;
}

static void finish_locked(struct resync_engine *e, int slot, int result,
			  const struct resync_counts *counts, const char *why)
{
	struct engine_slot *s = &e->slot[slot];

	e->running = -1;
	s->queued = false;
	s->cancel = false;
	s->ending = false;
	s->last_result = result;
	s->last_counts = *counts;
	(void)snprintf(s->last_why, sizeof(s->last_why), "%s", why);
	s->retry_wait_ns = result == 0 ? 0
			   : s->retry_wait_ns
				   ? MIN(s->retry_wait_ns * 2, RETRY_NS_MAX)
				   : RETRY_NS;
	s->retry_ns = clock_mono_ns() + s->retry_wait_ns;
	cond_broadcast(&e->wake);
}

static void *worker_main(void *arg)
{
	struct resync_engine *e = arg;
	int slot;

	mutex_lock(&e->lock);
	while ((slot = next_locked(e)) >= 0) {
		struct resync_counts counts = {0};
		char why[MIRROR_WHY_MAX];
		int result;

		mutex_unlock(&e->lock);
		result = engine_run(e, (unsigned int)slot, &counts, why,
				    sizeof(why));
		if (result == 0)
			log_info("a store is in step again: store=%s laps=%llu "
				 "bytes=%llu",
				 engine_name(e, (unsigned int)slot).text,
				 (unsigned long long)counts.laps,
				 (unsigned long long)counts.bytes_copied);
		mutex_lock(&e->lock);
		finish_locked(e, slot, result, &counts, why);
	}
	mutex_unlock(&e->lock);
	return NULL;
}

/* ---- attaching ---- */

/* Is somebody at it who will soon be done? */
static bool is_passing(const struct engine_slot *s)
{
	return (s->attaching && !s->forecast) ||
	       (s->queued && (s->cancel || s->ending));
}

/* @wait: for a person, who cannot know what the monitor does just now. */
static int claim(struct resync_engine *e, unsigned int slot, bool wait)
{
	struct engine_slot *s;
	int r = -EBUSY;

	if (slot >= META_STORE_MAX)
		return -ENODEV;
	s = &e->slot[slot];
	mutex_lock(&e->lock);
	while (wait && !e->stop && is_passing(s))
		cond_wait(&e->wake, &e->lock);
	if (e->stop)
		r = -ESHUTDOWN;
	else if (!s->attaching && !s->queued)
		r = 0;
	if (r == 0)
		s->attaching = true;
	mutex_unlock(&e->lock);
	return r;
}

static void unclaim(struct resync_engine *e, unsigned int slot)
{
	mutex_lock(&e->lock);
	e->slot[slot].attaching = false;
	e->slot[slot].forecast = false;
	cond_broadcast(&e->wake);
	mutex_unlock(&e->lock);
}

/* The slot is claimed. On success the mirror owns store and map. */
static int attach_claimed(struct resync_engine *e, unsigned int slot,
			  struct store *store, struct meta *meta)
{
	int r = mirror_attach(e->m, slot, store, meta);

	if (r < 0)
		return r;
	mutex_lock(&e->lock);
	e->slot[slot].queued = true;
	e->slot[slot].cancel = false;
	e->queue[e->queue_count++] = slot;
	cond_broadcast(&e->wake);
	mutex_unlock(&e->lock);
	return 0;
}

static int busy(char *why, size_t why_len, int r)
{
	if (why_len)
		(void)snprintf(why, why_len, "%s",
			       r == -EBUSY ? "it is being resynced already, or "
					     "a forecast of that is made"
			       : r == -ESHUTDOWN
				       ? "the volume is being unmounted"
				       : strerror(-r));
	return r;
}

static int attach_at(struct resync_engine *e, unsigned int slot,
		     const char *path, bool rebuild, char *why, size_t why_len)
{
	struct engine_store s;
	int r = rebuild ? engine_store_rebuild(e, slot, path, why, why_len) : 0;

	if (r == 0)
		r = engine_store_open(e, slot, path, false, &s, why, why_len);
	if (r == 0) {
		r = attach_claimed(e, slot, s.store, s.meta);
		if (r < 0) {
			engine_store_close(&s);
			ignore_result(busy(why, why_len, r));
		}
	}
	unclaim(e, slot);
	return r;
}

static bool is_back(struct resync_engine *e, unsigned int slot)
{
	struct mirror_slot_info info;

	mirror_slot_info(e->m, slot, &info);
	return info.state == META_STORE_ONLINE ||
	       info.state == META_STORE_RESYNCING;
}

/* What was asked for is done as well when the monitor was faster. */
static int attach_asked(struct resync_engine *e, unsigned int slot,
			const char *path, bool rebuild, char *why,
			size_t why_len)
{
	int r = claim(e, slot, true);

	if (r == 0)
		r = attach_at(e, slot, path, rebuild, why, why_len);
	else
		ignore_result(busy(why, why_len, r));
	if (r != -EBUSY || !is_back(e, slot))
		return r;
	if (why_len)
		why[0] = '\0';
	return 0;
}

int resync_engine_attach(struct resync_engine *e, unsigned int slot,
			 const char *path, char *why, size_t why_len)
{
	return attach_asked(e, slot, path, false, why, why_len);
}

int resync_engine_take_back(struct resync_engine *e, unsigned int slot,
			    const char *path, char *why, size_t why_len)
{
	return attach_asked(e, slot, path, true, why, why_len);
}

int resync_engine_attach_open(struct resync_engine *e, unsigned int slot,
			      struct store *store, struct meta *meta)
{
	int r = claim(e, slot, false);

	if (r < 0)
		return r;
	r = attach_claimed(e, slot, store, meta);
	unclaim(e, slot);
	return r;
}

int resync_engine_forecast(struct resync_engine *e, unsigned int slot,
			   const char *path, struct resync_counts *ret,
			   char *why, size_t why_len)
{
	struct resync_control control = {
		.dry_run = true,
		.should_stop = engine_stops,
		.arg = e,
	};
	struct resync_lap_args args = {.last = true, .control = &control};
	struct mirror_ref ref = {0};
	struct engine_store s;
	int lead;
	int r = claim(e, slot, true);

	if (r < 0)
		return busy(why, why_len, r);
	mutex_lock(&e->lock);
	e->slot[slot].forecast = true;
	cond_broadcast(&e->wake);
	mutex_unlock(&e->lock);
	*ret = (struct resync_counts){0};
	r = engine_store_open(e, slot, path, true, &s, why, why_len);
	if (r < 0)
		goto out;
	r = mirror_checkpoint(e->m, &args.cut);
	lead = mirror_lead(e->m);
	if (r == 0)
		r = lead < 0 ? -ENODEV
			     : mirror_ref_get(e->m, (unsigned int)lead, &ref);
	if (r == 0) {
		args.source = (struct resync_side){ref.store, ref.meta, e->m,
						   ref.slot};
		args.target = (struct resync_side){s.store, s.meta, NULL, slot};
		args.from = s.from;
		/* Applications go on: what moves meanwhile is no error. */
		args.last = false;
		r = resync_lap(&args, ret);
		mirror_ref_put(e->m, &ref);
	}
	engine_store_close(&s);
	if (r == -EACCES)
		resync_why_dry(r, ret, why, why_len);
	else if (r < 0)
		ignore_result(busy(why, why_len, r));
out:
	unclaim(e, slot);
	return r;
}

/* ---- the monitor ---- */

static void check_running(struct resync_engine *e)
{
	struct mirror_slot_info info;
	int source;

	mutex_lock(&e->lock);
	source = e->source;
	mutex_unlock(&e->lock);
	if (source < 0)
		return;
	mirror_slot_info(e->m, (unsigned int)source, &info);
	if (info.state == META_STORE_ONLINE)
		return;
	mutex_lock(&e->lock);
	if (e->source == source) {
		e->source_gone = true;
		cond_broadcast(&e->wake);
	}
	mutex_unlock(&e->lock);
}

static void look_for(struct resync_engine *e, unsigned int slot)
{
	struct engine_slot *s = &e->slot[slot];
	struct engine_name name;
	char why[MIRROR_WHY_MAX] = "";
	bool wait;
	int r;

	mutex_lock(&e->lock);
	wait = s->queued || s->attaching || e->stop ||
	       clock_mono_ns() < s->retry_ns;
	mutex_unlock(&e->lock);
	if (wait || !engine_store_is_back(e, slot))
		return;
	if (claim(e, slot, false))
		return; /* somebody else has begun */
	r = attach_at(e, slot, NULL, false, why, sizeof(why));
	if (r != -EBUSY) /* else who looked at it before is still closing it */
		atomic_store(&s->expected, false);
	name = engine_name(e, slot);
	if (r == 0) {
		log_info("a member is back: store=%s", name.text);
		return;
	}
	mutex_lock(&e->lock);
	/* Said once, and again when it is another reason. */
	if (strcmp(s->last_why, why)) {
		(void)snprintf(s->last_why, sizeof(s->last_why), "%s", why);
		log_warn("a member is back and cannot be attached: store=%s "
			 "why=%s",
			 name.text, why);
	}
	s->retry_wait_ns = s->retry_wait_ns
				   ? MIN(s->retry_wait_ns * 2, RETRY_NS_MAX)
				   : RETRY_NS;
	s->retry_ns = clock_mono_ns() + s->retry_wait_ns;
	mutex_unlock(&e->lock);
}

static void *monitor_main(void *arg)
{
	struct resync_engine *e = arg;
	uint64_t next_ns = clock_mono_ns();

	mutex_lock(&e->lock);
	while (!e->stop) {
		uint64_t now = clock_mono_ns();

		if (now < next_ns) {
			ignore_result(cond_timedwait(
				&e->wake, &e->lock,
				(next_ns - now) / CLOCK_NS_PER_MS + 1));
			continue;
		}
		next_ns = now + MONITOR_MS * CLOCK_NS_PER_MS;
		mutex_unlock(&e->lock);
		check_running(e);
		for (unsigned int i = 0; i < mirror_slot_count(e->m); i++)
			if (e->auto_attach || e->slot[i].expected)
				look_for(e, i);
		mutex_lock(&e->lock);
	}
	mutex_unlock(&e->lock);
	return NULL;
}

void resync_engine_watch(struct resync_engine *e)
{
	atomic_store(&e->auto_attach, true);
}

void resync_engine_expect(struct resync_engine *e, unsigned int slot)
{
	atomic_store(&e->slot[slot].expected, true);
}

/* ---- life ---- */

static void engine_free(struct resync_engine *e)
{
	cond_done(&e->wake);
	mutex_done(&e->lock);
	free(e);
}

static void engine_end(struct resync_engine *e)
{
	mutex_lock(&e->lock);
	e->stop = true;
	cond_broadcast(&e->wake);
	mutex_unlock(&e->lock);
}

int resync_engine_start(struct mirror *m, const struct resync_engine_options *o,
			struct resync_engine **ret)
{
	struct resync_engine *e = calloc(1, sizeof(*e));
	int r;

	if (!e)
		return -ENOMEM;
	e->m = m;
	e->rate = o->bytes_per_second;
	e->running = -1;
	e->source = -1;
	for (size_t i = 0; i < META_STORE_MAX; i++)
		e->slot[i].last_result = 1;
	mutex_init(&e->lock, LOCK_RANK_LEAF);
	cond_init(&e->wake);
	r = -pthread_create(&e->worker, NULL, worker_main, e);
	if (r < 0) {
		engine_free(e);
		return r;
	}
	r = -pthread_create(&e->monitor, NULL, monitor_main, e);
	if (r < 0) {
		engine_end(e);
		lock_must_(pthread_join(e->worker, NULL));
		engine_free(e);
		return r;
	}
	*ret = e;
	return 0;
}

void resync_engine_closing(struct resync_engine *e)
{
	if (e)
		atomic_store(&e->closing, true);
}

void resync_engine_stop(struct resync_engine *e)
{
	if (!e)
		return;
	engine_end(e);
	lock_must_(pthread_join(e->monitor, NULL));
	lock_must_(pthread_join(e->worker, NULL));
	engine_free(e);
}

/* ---- what others ask for ---- */

int resync_engine_pause(struct resync_engine *e, bool paused)
{
	mutex_lock(&e->lock);
	e->paused = paused;
	cond_broadcast(&e->wake);
	mutex_unlock(&e->lock);
	return 0;
}

int resync_engine_cancel(struct resync_engine *e, unsigned int slot)
{
	int r = -ENODEV;

	if (slot >= META_STORE_MAX)
		return r;
	mutex_lock(&e->lock);
	if (e->slot[slot].queued) {
		e->slot[slot].cancel = true;
		cond_broadcast(&e->wake);
		r = 0;
	}
	mutex_unlock(&e->lock);
	return r;
}

void resync_engine_set_rate(struct resync_engine *e, uint64_t bytes_per_second)
{
	mutex_lock(&e->lock);
	e->rate = bytes_per_second;
	e->paid_ns = 0;
	cond_broadcast(&e->wake);
	mutex_unlock(&e->lock);
}

void resync_engine_state(struct resync_engine *e, unsigned int slot,
			 struct resync_engine_state *ret)
{
	const struct engine_slot *s;

	*ret = (struct resync_engine_state){.slot = slot, .last_result = 1};
	if (slot >= META_STORE_MAX)
		return;
	s = &e->slot[slot];
	mutex_lock(&e->lock);
	ret->running = s->queued;
	ret->paused = e->paused;
	ret->last_result = s->last_result;
	ret->last_counts = s->last_counts;
	memcpy(ret->last_why, s->last_why, sizeof(ret->last_why));
	if (e->running == (int)slot) {
		ret->progress = e->progress;
	} else {
		ret->progress.eta_seconds = -1;
		ret->progress.phase = s->queued ? "waiting" : "";
	}
	mutex_unlock(&e->lock);
}

int resync_engine_wait(struct resync_engine *e, unsigned int slot,
		       int timeout_ms)
{
	uint64_t until = clock_mono_ns() +
			 (uint64_t)MAX(timeout_ms, 0) * CLOCK_NS_PER_MS;
	int r = 0;

	if (slot >= META_STORE_MAX)
		return -ENODEV;
	mutex_lock(&e->lock);
	while (e->slot[slot].queued) {
		uint64_t now = clock_mono_ns();

		if (timeout_ms < 0) {
			cond_wait(&e->wake, &e->lock);
			continue;
		}
		if (now >= until) {
			r = -ETIMEDOUT;
			break;
		}
		ignore_result(
			cond_timedwait(&e->wake, &e->lock,
				       (until - now) / CLOCK_NS_PER_MS + 1));
	}
	if (r == 0)
		r = e->slot[slot].last_result;
	mutex_unlock(&e->lock);
	return r > 0 ? -ENODATA : r;
}
