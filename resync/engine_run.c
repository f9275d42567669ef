/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Laps over a live volume, until one is short enough to hold everybody for.
 *
 *	checkpoint -> cut; lap; from = cut		applications go on
 *	... each lap has only what changed during the one before
 *	hold; checkpoint; last lap; join; release	applications wait
 *
 * The last lap has a deadline.  Past it the volume is let go and another
 * ordinary lap follows: what the cut one did need not be done again.  Where
 * laps do not get shorter, mutations are slowed down little by little; where
 * even that does not help, the deadline is raised, so that it always ends.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "resync/added.h"
#include "resync/engine.h"
#include "resync/lineage.h"

#define SHORT_LAP_NS	(150 * CLOCK_NS_PER_MS)
#define SHORT_LAP_ROWS	64u
#define SHORT_LAP_BYTES (16ull << 20)
#define HOLD_NS		(700 * CLOCK_NS_PER_MS)
#define HOLD_NS_MAX	(30 * CLOCK_NS_PER_SEC)
#define DELAY_US_MIN	50u
#define DELAY_US_MAX	5000u
/* How often one store is the source: what fails may be a moment's. */
#define TRIES	  2u
#define SMOOTH_NS (500 * CLOCK_NS_PER_MS)

struct run {
	struct resync_engine *e;
	unsigned int slot;
	struct resync_counts *counts;
	struct mirror_ref source;
	struct mirror_ref target;
	unsigned char failed[META_STORE_MAX]; /* how often as the source */
	struct resync_control control;
	uint64_t from;
	uint64_t hold_ns;
	unsigned int delay_us;
};

/* ---- the lap's questions ---- */

int engine_should_stop(void *arg)
{
	struct resync_engine *e = arg;
	int stop;

	mutex_lock(&e->lock);
	while (e->paused && !e->held && !e->stop && !e->source_gone &&
	       !e->slot[e->running].cancel)
		cond_wait(&e->wake, &e->lock);
	if (e->deadline_ns && clock_mono_ns() > e->deadline_ns)
		e->timed_out = true;
	stop = e->stop || e->source_gone || e->timed_out ||
	       e->slot[e->running].cancel;
	mutex_unlock(&e->lock);
	return stop;
}

/* A rate that does not jump, and what it says about the time left. */
static void smooth_locked(struct resync_engine *e, uint64_t now)
{
	struct resync_progress *p = &e->progress;
	uint64_t bytes = p->counts.bytes_copied;
	double rate;

	if (e->rate_at_ns == 0 || bytes < e->rate_at_bytes) {
		e->rate_at_ns = now;
		e->rate_at_bytes = bytes;
	}
	if (now - e->rate_at_ns >= SMOOTH_NS) {
		rate = (double)(bytes - e->rate_at_bytes) * 1e9 /
		       (double)(now - e->rate_at_ns);
		e->rate_smooth = e->rate_smooth > 0
					 ? 0.7 * e->rate_smooth + 0.3 * rate
					 : rate;
		e->rate_at_ns = now;
		e->rate_at_bytes = bytes;
	}
	if (e->rate_smooth <= 0)
		return;
	p->rate_bytes = e->rate_smooth;
	if (p->eta_seconds >= 0)
		p->eta_seconds = (double)(p->bytes_total - p->bytes_done) /
				 e->rate_smooth;
}

/* Wait until the limit allows for what was copied; not under a hold. */
static void pay_locked(struct resync_engine *e, uint64_t now) REQUIRES(e->lock)
{
	uint64_t bytes = e->progress.counts.bytes_copied;
	uint64_t fresh = bytes - MIN(bytes, e->paid_bytes);

	e->paid_bytes = bytes;
	if (!e->rate || !fresh)
		return;
	/* A pause may be caught up for a quarter of a second, no more. */
	e->paid_ns = MAX(e->paid_ns, now - CLOCK_NS_PER_SEC / 4);
	e->paid_ns += (uint64_t)((double)fresh * 1e9 / (double)e->rate);
	while (e->rate && !e->held && !e->stop && !e->source_gone &&
	       !e->slot[e->running].cancel &&
	       (now = clock_mono_ns()) < e->paid_ns)
		ignore_result(cond_timedwait(
			&e->wake, &e->lock,
			(e->paid_ns - now) / CLOCK_NS_PER_MS + 1));
}

static void on_progress(void *arg, const struct resync_progress *p)
{
	struct resync_engine *e = arg;
	uint64_t now = clock_mono_ns();

	mutex_lock(&e->lock);
	e->progress = *p;
	smooth_locked(e, now);
	pay_locked(e, now);
	mutex_unlock(&e->lock);
}

/* ---- one lap ---- */

static int on_begin(void *arg)
{
	const struct run *run = arg;

	mirror_touches(run->e->m, run->slot);
	return 0;
}

static int run_lap(struct run *run, uint64_t cut, bool last)
{
	struct resync_lap_args args = {
		.source =
			{
				.store = run->source.store,
				.meta = run->source.meta,
				.live = run->e->m,
				.slot = run->source.slot,
			},
		.target =
			{
				.store = run->target.store,
				.meta = run->target.meta,
			},
		.from = run->from,
		.cut = cut,
		.last = last,
		.control = &run->control,
	};

	return resync_lap(&args, run->counts);
}

/* The source must be the one it was: another lead may have another map. */
static int check_source(struct run *run)
{
	struct mirror_slot_info info;

	mirror_slot_info(run->e->m, run->source.slot, &info);
	return info.state == META_STORE_ONLINE ? 0 : -EAGAIN;
}

static int ordinary_lap(struct run *run, uint64_t *ret_ns, bool *ret_small)
{
	struct resync_counts before = *run->counts;
	uint64_t begun = clock_mono_ns();
	const struct resync_counts *n = run->counts;
	uint64_t cut, rows;
	int r;

	r = mirror_checkpoint(run->e->m, &cut);
	if (r == 0)
		r = check_source(run);
	if (r == 0)
		r = run_lap(run, cut, false);
	if (r < 0)
		return r;
	run->from = cut;
	rows = n->nodes - before.nodes + n->entries_created -
	       before.entries_created + n->entries_removed -
	       before.entries_removed + n->entries_renamed -
	       before.entries_renamed;
	*ret_ns = clock_mono_ns() - begun;
	*ret_small = rows < SHORT_LAP_ROWS &&
		     n->bytes_copied - before.bytes_copied < SHORT_LAP_BYTES;
	return 0;
}

static void set_hold(struct resync_engine *e, bool held, uint64_t deadline_ns)
{
	mutex_lock(&e->lock);
	e->held = held;
	e->deadline_ns = deadline_ns;
	if (held)
		e->timed_out = false;
	mutex_unlock(&e->lock);
}

/* Open files without a name: no lap knows of them. */
static int give_nameless(struct run *run, bool held)
{
	const struct mirror_giving how = {
		.slot = run->slot,
		.held = held,
		.should_stop = engine_should_stop,
		.arg = run->e,
	};

	return mirror_nameless_give(run->e->m, &how);
}

/* 1 joined, 0 once more (it took too long, somebody left), -errno. */
static int last_lap(struct run *run)
{
	struct resync_engine *e = run->e;
	uint64_t cut, epochs = 0;
	bool late, left = false;
	int r = give_nameless(run, false);

	if (r < 0)
		return r;
	mirror_hold(e->m);
	set_hold(e, true, clock_mono_ns() + run->hold_ns);
	r = mirror_checkpoint(e->m, &cut);
	if (r == 0) {
		epochs = mirror_epochs(e->m);
		r = check_source(run);
	}
	if (r == 0)
		r = run_lap(run, cut, true);
	if (r == 0)
		r = give_nameless(run, true);
	if (r == 0) {
		r = mirror_join(e->m, run->slot, epochs);
		left = r == -EAGAIN;
	}
	mirror_release(e->m);
	mutex_lock(&e->lock);
	late = r == -ECANCELED && e->timed_out && !e->stop && !e->source_gone &&
	       !e->slot[run->slot].cancel;
	e->timed_out = false;
	mutex_unlock(&e->lock);
	set_hold(e, false, 0);
	if (left)
		return 0; /* the next lap asks for the source first */
	if (!late)
		return r < 0 ? r : 1;
	run->hold_ns = MIN(run->hold_ns * 2, HOLD_NS_MAX);
	return 0;
}

static void slow_down(struct run *run)
{
	run->delay_us = run->delay_us ? MIN(run->delay_us * 2, DELAY_US_MAX)
				      : DELAY_US_MIN;
	mirror_set_delay(run->e->m, run->delay_us);
}

static int run_laps(struct run *run)
{
	uint64_t before_ns = UINT64_MAX;
	uint64_t took_ns;
	bool small;
	int r;

	for (;;) {
		r = ordinary_lap(run, &took_ns, &small);
		if (r < 0)
			break;
		/* Not shorter by a quarter: the writers are as fast as we. */
		if (took_ns > SHORT_LAP_NS &&
		    took_ns > before_ns - before_ns / 4)
			slow_down(run);
		before_ns = took_ns;
		if (took_ns >= SHORT_LAP_NS && !small &&
		    run->delay_us < DELAY_US_MAX)
			continue;
		r = last_lap(run);
		if (r != 0)
			break;
	}
	mirror_set_delay(run->e->m, 0);
	return r < 0 ? r : 0;
}

/* ---- with one source ---- */

static void set_source(struct resync_engine *e, int source)
{
	mutex_lock(&e->lock);
	e->source = source;
	e->source_gone = false;
	mutex_unlock(&e->lock);
}

static bool is_ending(struct resync_engine *e, unsigned int slot)
{
	bool ending;

	mutex_lock(&e->lock);
	ending = e->stop || e->slot[slot].cancel;
	mutex_unlock(&e->lock);
	return ending;
}

/* The lead, or another that is online where that one could not be read twice;
 * -1: none is left. */
static int pick_source(const struct run *run)
{
	struct mirror *m = run->e->m;
	int lead = mirror_lead(m);

	if (lead < 0 || run->failed[lead] < TRIES)
		return lead;
	for (unsigned int i = 0; i < mirror_slot_count(m); i++) {
		struct mirror_slot_info info;

		mirror_slot_info(m, i, &info);
		if (info.state == META_STORE_ONLINE && run->failed[i] < TRIES)
			return (int)i;
	}
	return -1;
}

static int run_from(struct run *run, unsigned int source, char *why,
		    size_t why_len)
{
	struct resync_engine *e = run->e;
	enum resync_relation relation;
	int r;

	if (mirror_ref_get(e->m, source, &run->source) < 0) {
		run->failed[source]++;
		return -EAGAIN;
	}
	set_source(e, (int)source);
	r = engine_relate_to(run->source.meta, run->target.meta, &relation,
			     &run->from, why, why_len);
	if (r == 0)
		r = resync_trim_void(run->source.meta, run->target.meta);
	if (r == 0)
		r = run_laps(run);
	/* Whatever it was that failed: another one may do. */
	if (r < 0 && !is_ending(e, run->slot) && check_source(run))
		r = -EAGAIN;
	if (r == -EAGAIN)
		run->failed[source]++;
	set_source(e, -1);
	mirror_ref_put(e->m, &run->source);
	return r;
}

static int run_sources(struct run *run, char *why, size_t why_len)
{
	int r = -EAGAIN, source;

	for (unsigned int i = 0; r == -EAGAIN; i++) {
		if (is_ending(run->e, run->slot))
			return -ECANCELED;
		source = pick_source(run);
		if (source < 0)
			break;
		if (i > 0)
			log_info(
				"the resync begins again: "
				"store=%s source=%s",
				engine_name(run->e, run->slot).text,
				engine_name(run->e, (unsigned int)source).text);
		r = run_from(run, (unsigned int)source, why, why_len);
	}
	return r;
}

static void give_back(struct run *run, int r, char *why, size_t why_len)
{
	struct resync_engine *e = run->e;
	enum meta_store_state state = META_STORE_FAILED;

	if (r == -ECANCELED) {
		mutex_lock(&e->lock);
		/* One that the user ended is not to begin by itself. */
		state = e->slot[run->slot].cancel ? META_STORE_GIVEN_UP
						  : META_STORE_MISSING;
		mutex_unlock(&e->lock);
		(void)snprintf(why, why_len, "%s", MIRROR_GIVEN_UP);
	} else if (r == -EREMCHG || r == -EINVAL || r == -EAGAIN ||
		   r == -EREMOTEIO) {
		state = META_STORE_MISSING;
	}
	if (!why[0] && r == -EAGAIN)
		(void)snprintf(why, why_len,
			       "its resync failed: no store is online that "
			       "could be read for all that it lacks; the log "
			       "says what");
	if (!why[0]) {
		char text[300];

		resync_why(r, run->counts, text, sizeof(text));
		(void)snprintf(why, why_len, "its resync failed: %s", text);
	}
	mutex_lock(&e->lock);
	e->slot[run->slot].ending = true;
	mutex_unlock(&e->lock);
	log_warn("a resync ended early: store=%s why=%s",
		 engine_name(e, run->slot).text, why);
	mirror_unattach(e->m, run->slot, state, why);
	/* Else the next mount would begin it again after a crash, or take for
	 * half overwritten what was not touched. */
	if (state != META_STORE_MISSING && mirror_members_record(e->m) < 0)
		log_warn("it is not recorded how a resync ended: "
			 "store=%s",
			 engine_name(e, run->slot).text);
}

/* Whom the target has as a member, and nobody here has heard of. */
static int find_added(struct run *run, struct added_rows *to)
{
	struct mirror_ref ref;
	int lead = mirror_lead(run->e->m);
	struct meta_reader *rd;
	int r;

	r = lead < 0 ? -ENODEV
		     : mirror_ref_get(run->e->m, (unsigned int)lead, &ref);
	if (r < 0)
		return r;
	rd = meta_reader_get(ref.meta);
	r = rd ? meta_members(rd, to->rows, &to->count) : mirror_reader_error();
	meta_reader_put(rd);
	if (r == 0)
		r = added_since(ref.meta, run->target.meta, to);
	mirror_ref_put(run->e->m, &ref);
	return r;
}

/* Before its map is like the others'. What fails is told by the resync; who
 * finds no place can be added again. */
static void take_added(struct run *run)
{
	struct added_rows to = {
		.rows = calloc(META_STORE_MAX, sizeof(*to.rows))};
	unsigned int slot;
	int r = to.rows ? find_added(run, &to) : -ENOMEM;

	for (; r > 0; r--) {
		const struct meta_member *row = &to.rows[to.count - (size_t)r];
		int err = mirror_member_add(run->e->m, row, &slot);

		if (err == -EEXIST)
			continue;
		if (err)
			log_warn("a member that was added meanwhile is not "
				 "taken over: store=%s why=%s",
				 row->name,
				 err == -ENOTUNIQ ? "another one has its name; "
						    "add it again by another"
						  : strerror(-err));
		else
			log_info("a member was added meanwhile: store=%s",
				 row->name);
	}
	free(to.rows);
}

int engine_run(struct resync_engine *e, unsigned int slot,
	       struct resync_counts *counts, char *why, size_t why_len)
{
	struct run run = {
		.e = e,
		.slot = slot,
		.counts = counts,
		.hold_ns = HOLD_NS,
		.control =
			{
				.should_stop = engine_should_stop,
				.progress = on_progress,
				.arg = e,
				.begin = on_begin,
				.begin_arg = &run,
			},
	};
	int r;

	why[0] = '\0';
	r = mirror_ref_get(e->m, slot, &run.target);
	if (r < 0) {
		(void)snprintf(why, why_len, "its store is gone");
		return r;
	}
	take_added(&run);
	/* Before the first change of one that they call whole. What goes wrong
	 * there is none of the target's. */
	r = mirror_members_record(e->m);
	if (r < 0) {
		(void)snprintf(why, why_len,
			       "its resync could not be recorded: %s",
			       strerror(-r));
		r = -EAGAIN;
	}
	if (r == 0)
		r = run_sources(&run, why, why_len);
	mirror_ref_put(e->m, &run.target);
	if (r < 0)
		give_back(&run, r, why, why_len);
	else
		why[0] = '\0';
	return r;
}
