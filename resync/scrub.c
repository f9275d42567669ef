/* SPDX-License-Identifier: Apache-2.0 */
#include "resync/scrub.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "resync/map_path.h"
#include "resync/scrub_run.h"

#define BATCH_NODES 256u
/* Kept for the report; all are counted. */
#define REPORTS_MAX 1000u
/* Repaired together. */
#define PENDING_MAX 1024u
#define SAVE_NS	    (5 * CLOCK_NS_PER_SEC)
/* Stores are held open for no longer while a large file is compared. */
#define NODE_NS	  (CLOCK_NS_PER_SEC / 2)
#define SMOOTH_NS (500 * CLOCK_NS_PER_MS)
#define WAIT_MS	  200u

/* ---- polls ---- */

int scrub_poll(struct scrub *s)
{
	bool ending;

	mutex_lock(&s->lock);
	ending = s->stop || s->cancel;
	mutex_unlock(&s->lock);
	return ending ? -ECANCELED : 0;
}

int scrub_sleep(struct scrub *s, uint64_t ms)
{
	uint64_t until = clock_mono_ns() + ms * CLOCK_NS_PER_MS;
	uint64_t now;
	bool ending;

	mutex_lock(&s->lock);
	while (!s->stop && !s->cancel && (now = clock_mono_ns()) < until)
		ignore_result(
			cond_timedwait(&s->wake, &s->lock,
				       (until - now) / CLOCK_NS_PER_MS + 1));
	ending = s->stop || s->cancel;
	mutex_unlock(&s->lock);
	return ending ? -ECANCELED : 0;
}

void scrub_phase(struct scrub *s, const char *phase)
{
	mutex_lock(&s->lock);
	s->phase = phase;
	mutex_unlock(&s->lock);
}

static bool resync_runs(struct mirror *m)
{
	for (unsigned int i = 0; i < mirror_slot_count(m); i++) {
		struct mirror_slot_info info;

		mirror_slot_look(m, i, &info);
		if (info.used && info.state == META_STORE_RESYNCING)
			return true;
	}
	return false;
}

/* ---- the pass asks and tells ---- */

static void count_locked(struct scrub *s, uint64_t now)
{
	s->now.nodes = s->before_nodes + s->pass.nodes;
	s->now.bytes = s->before_bytes + s->pass.bytes;
	s->now.busy = s->before_busy + s->pass.busy;
	if (!s->smooth_ns) {
		s->smooth_ns = now;
		s->smooth_bytes = s->pass.bytes;
	}
	if (now - s->smooth_ns < SMOOTH_NS)
		return;
	s->rate_bytes = (double)(s->pass.bytes - s->smooth_bytes) * 1e9 /
			(double)(now - s->smooth_ns);
	s->smooth_ns = now;
	s->smooth_bytes = s->pass.bytes;
}

static int on_pace(void *arg, uint64_t bytes)
{
	struct scrub *s = arg;
	uint64_t now = clock_mono_ns();
	uint64_t rate;
	int r;

	mutex_lock(&s->lock);
	count_locked(s, now);
	rate = s->rate;
	mutex_unlock(&s->lock);
	if (rate) {
		/* A rest may be caught up for a quarter of a second. */
		s->paid_ns = MAX(s->paid_ns, now - CLOCK_NS_PER_SEC / 4);
		s->paid_ns += (uint64_t)((double)bytes * 1e9 / (double)rate);
	}
	r = rate && s->paid_ns > now
		    ? scrub_sleep(s, (s->paid_ns - now) / CLOCK_NS_PER_MS)
		    : scrub_poll(s);
	/* The node goes on where it is; others want to use the stores. */
	if (!r && bytes && clock_mono_ns() - s->node_ns > NODE_NS)
		r = -EAGAIN;
	return r;
}

static char *path_of(struct mirror *m, const struct scrub_finding *f)
{
	int lead = mirror_lead(m);
	struct mirror_ref ref;
	struct meta_reader *rd;
	char *path = NULL, *whole;

	if (lead < 0 || mirror_ref_get(m, (unsigned int)lead, &ref))
		return NULL;
	rd = meta_reader_get(ref.meta);
	if (rd && map_node_path(rd, f->dir ? f->dir : f->node, &path) <= 0)
		path = NULL;
	meta_reader_put(rd);
	mirror_ref_put(m, &ref);
	if (!path || !f->dir)
		return path;
	if (!strcmp(path, "."))
		*path = '\0';
	if (asprintf(&whole, "%s%s%s", path, *path ? "/" : "", f->name) < 0)
		whole = NULL;
	free(path);
	return whole;
}

const char *scrub_kind_word(enum scrub_kind kind)
{
	static const char *const words[] = {
		[SCRUB_DATA] = "contents",   [SCRUB_READ] = "unreadable",
		[SCRUB_MAP] = "hole",	     [SCRUB_ATTR] = "attributes",
		[SCRUB_MISSING] = "missing", [SCRUB_OTHER] = "replaced",
		[SCRUB_EXTRA] = "unknown",   [SCRUB_LINKED] = "linked",
	};

	return words[kind];
}

/* "a,b": those of @slots, as far as there is room for them. */
static void names_join(struct mirror *m, uint32_t slots, char *buf, size_t len)
{
	struct mirror_slot_info info;
	size_t at = 0;

	*buf = '\0';
	for (unsigned int i = 0; i < META_STORE_MAX && at < len; i++) {
		if (!(slots & 1u << i))
			continue;
		mirror_slot_info(m, i, &info);
		at += (size_t)snprintf(buf + at, len - at, "%s%s",
				       at ? "," : "", info.name);
	}
}

static void log_finding(struct mirror *m, const struct scrub_finding *f,
			const char *path)
{
	char names[512], range[64] = "";

	names_join(m, f->losers, names, sizeof(names));
	if (f->start < f->end)
		(void)snprintf(range, sizeof(range), " range=%llu-%llu",
			       (unsigned long long)f->start,
			       (unsigned long long)f->end);
	if (f->kind == SCRUB_LINKED)
		log_warn("scrub: a hard link outside of the volume: path=%s "
			 "stores=%s",
			 path, names);
	else
		log_warn("scrub: stores differ: path=%s what=%s%s %s=%s", path,
			 scrub_kind_word(f->kind), range,
			 f->by ? "wrong" : "undecided", names);
}

static int on_found(void *arg, const struct scrub_finding *f)
{
	struct scrub *s = arg;
	struct scrub_report report = {.f = *f, .path = path_of(s->m, f)};
	bool linked = f->kind == SCRUB_LINKED;
	int r = 0;

	log_finding(s->m, f, report.path ? report.path : "?");
	if (s->o.repair && !linked)
		r = vec_push(&s->pending, ((struct scrub_report){.f = *f}));
	mutex_lock(&s->lock);
	s->now.linked += linked;
	s->now.found += !linked;
	if (r || s->reports.count >= REPORTS_MAX ||
	    vec_push(&s->reports, report))
		free(report.path);
	mutex_unlock(&s->lock);
	return r;
}

/* ---- one scrub ---- */

static void reports_clear(struct scrub *s)
{
	vec_for_each (report, &s->reports) {
		free(report->path);
		free(report->why);
	}
	vec_clear(&s->reports);
}

/* @fn with the lead's map, and the next one's where that cannot be read. */
static int ask_map(struct scrub *s,
		   int (*fn)(struct scrub *s, unsigned int slot, void *arg),
		   void *arg)
{
	for (;;) {
		int lead = mirror_lead(s->m);
		int r = lead < 0 ? -ENODEV : fn(s, (unsigned int)lead, arg);

		if (r >= 0 || lead < 0)
			return r;
		r = mirror_scrub_map(s->m, &s->pass, (unsigned int)lead, r);
		if (r)
			return r;
	}
}

static int number_until(struct scrub *s, unsigned int slot, void *arg)
{
	struct meta_reader *rd;
	struct mirror_ref ref;
	int r = mirror_ref_get(s->m, slot, &ref);

	if (r)
		return r;
	rd = meta_reader_get(ref.meta);
	r = rd ? meta_number_get(rd, META_NUM_NODE_RESERVED, arg)
	       : mirror_reader_error();
	meta_reader_put(rd);
	mirror_ref_put(s->m, &ref);
	return r;
}

struct loaded {
	struct scrub_counts now, last;
	struct scrub_position at;
};

static int load(struct scrub *s, unsigned int slot, void *arg)
{
	struct loaded *l = arg;

	return scrub_load(s->m, slot, &l->now, &l->last, &l->at);
}

/* Begin, or go on. */
static int position(struct scrub *s)
{
	struct loaded l;
	int r = mirror_checkpoint(s->m, NULL);

	if (!r)
		r = ask_map(s, load, &l);
	if (r)
		return r;
	if (!l.now.begun_ns || !l.at.node || s->o.restart) {
		l.now = (struct scrub_counts){.begun_ns = clock_real_ns()};
		l.at = (struct scrub_position){.node = META_ROOT_ID};
		scrub_stores_begin(s->m, l.now.stores);
		r = ask_map(s, number_until, &l.at.until);
	}
	if (r)
		return r;
	mutex_lock(&s->lock);
	s->now = l.now;
	s->last = l.last;
	mutex_unlock(&s->lock);
	s->at = l.at;
	s->before_nodes = l.now.nodes;
	s->before_bytes = l.now.bytes;
	s->before_busy = l.now.busy;
	return 0;
}

static void save(struct scrub *s)
{
	struct scrub_counts now, last;

	mutex_lock(&s->lock);
	count_locked(s, clock_mono_ns());
	now = s->now;
	last = s->last;
	mutex_unlock(&s->lock);
	scrub_save(s->m, &now, &last, &s->at);
	s->saved_ns = clock_mono_ns();
}

/* Whatever a scrub may not run beside. */
static int rest(struct scrub *s)
{
	int r = scrub_poll(s);

	if (!r && s->pending.count >= PENDING_MAX)
		r = scrub_repair(s);
	scrub_stores_keep(s, s->pass.missed, true);
	while (!r && resync_runs(s->m)) {
		scrub_phase(s, "waiting");
		scrub_stores_keep(s, s->pass.missed, true);
		r = scrub_sleep(s, WAIT_MS);
	}
	scrub_phase(s, "comparing");
	if (!r && clock_mono_ns() - s->saved_ns > SAVE_NS)
		save(s);
	return r;
}

static int one_node(struct scrub *s, uint64_t id)
{
	int r;

	s->at.offset = s->at.node == id ? s->at.offset : 0;
	s->at.node = id;
	do {
		uint64_t unseen = s->pass.unseen;

		r = rest(s);
		s->node_ns = clock_mono_ns();
		if (!r)
			r = mirror_scrub_node(s->m, &s->pass, id,
					      &s->at.offset);
		if ((!r || r == -EAGAIN) && s->o.repair &&
		    s->pass.unseen > unseen && vec_push(&s->unseen, id))
			r = -ENOMEM;
	} while (r == -EAGAIN);
	if (!r)
		s->at = (struct scrub_position){
			.node = id + 1,
			.until = s->at.until,
		};
	return r;
}

/* The next ids of a map: how many. */
static int next_ids(struct scrub *s, unsigned int slot, void *arg)
{
	struct meta_iter it = {0};
	struct meta_reader *rd;
	struct mirror_ref ref;
	struct meta_node row;
	uint64_t *v = arg;
	int count = 0;
	int r = mirror_ref_get(s->m, slot, &ref);

	if (r)
		return r;
	rd = meta_reader_get(ref.meta);
	r = rd ? meta_iter_nodes(rd, s->at.node - 1, &it)
	       : mirror_reader_error();
	while (!r && count < (int)BATCH_NODES &&
	       (r = meta_next_node(&it, &row)) > 0) {
		r = row.id > s->at.until;
		if (!r)
			v[count++] = row.id;
	}
	meta_iter_done(&it);
	meta_reader_put(rd);
	mirror_ref_put(s->m, &ref);
	return r < 0 ? r : count;
}

static int compare_all(struct scrub *s)
{
	_cleanup_free_ uint64_t *ids = calloc(BATCH_NODES, sizeof(*ids));
	int count, r = ids ? 0 : -ENOMEM;

	while (!r) {
		count = ask_map(s, next_ids, ids);
		if (count <= 0)
			return count;
		for (int i = 0; !r && i < count; i++)
			r = one_node(s, ids[i]);
	}
	return r;
}

/*
 * What was not under its name on a store could not be compared there. Now the
 * names are right; and each node counts once.
 */
static int compare_unseen(struct scrub *s)
{
	struct scrub_position at = s->at;
	size_t count = s->unseen.count;
	uint64_t nodes = s->pass.nodes;
	int r = 0;

	for (size_t i = 0; !r && i < count; i++)
		r = one_node(s, s->unseen.data[i]);
	s->pass.nodes = nodes;
	s->at = at;
	return r ? r : scrub_repair(s);
}

static int run(struct scrub *s)
{
	int r;

	s->pass = (struct mirror_scrub){
		.prefer = s->o.prefer,
		.pace = on_pace,
		.found = on_found,
		.arg = s,
	};
	r = position(s);
	s->paid_ns = s->smooth_ns = 0;
	s->saved_ns = clock_mono_ns();
	if (!r)
		r = compare_all(s);
	if (!r)
		r = scrub_repair(s);
	if (!r && s->unseen.count)
		r = compare_unseen(s);
	scrub_pending_clear(s);
	vec_clear(&s->unseen);
	scrub_stores_keep(s, s->pass.missed, false);
	mutex_lock(&s->lock);
	count_locked(s, clock_mono_ns());
	if (!r) {
		s->now.ended_ns = clock_real_ns();
		s->last = s->now;
		s->at = (struct scrub_position){0};
	}
	mutex_unlock(&s->lock);
	if (s->at.until || !r)
		save(s);
	mirror_scrub_done(&s->pass);
	return r;
}

/* ---- the thread ---- */

static void finish_locked(struct scrub *s, int r)
{
	s->running = false;
	s->phase = "";
	s->result = r;
	s->rate_bytes = 0;
	(void)snprintf(s->why, sizeof(s->why), "%s",
		       r == -ECANCELED ? "it was ended; the next one goes on "
					 "from there"
		       : r && *s->pass.why ? s->pass.why
		       : r		   ? strerror(-r)
					   : "");
	cond_broadcast(&s->wake);
}

static void *scrub_main(void *arg)
{
	struct scrub *s = arg;
	int r;

	mutex_lock(&s->lock);
	while (!s->stop) {
		if (!s->wanted) {
			cond_wait(&s->wake, &s->lock);
			continue;
		}
		s->wanted = false;
		mutex_unlock(&s->lock);
		r = run(s);
		mutex_lock(&s->lock);
		log_info("a scrub ended: nodes=%llu bytes=%llu found=%llu "
			 "fixed=%llu error=%s",
			 (unsigned long long)s->now.nodes,
			 (unsigned long long)s->now.bytes,
			 (unsigned long long)s->now.found,
			 (unsigned long long)s->now.fixed,
			 r ? strerror(-r) : "none");
		finish_locked(s, r);
	}
	mutex_unlock(&s->lock);
	return NULL;
}

int scrub_begin(struct scrub *s, const struct scrub_options *o, char *why,
		size_t why_len)
{
	const char *text = NULL;

	if (resync_runs(s->m))
		text = "a resync is running";
	mutex_lock(&s->lock);
	if (s->running)
		text = "a scrub is running already";
	else if (s->stop)
		text = "the volume is being unmounted";
	if (!text) {
		s->running = s->wanted = true;
		s->cancel = false;
		s->o = *o;
		if (o->has_rate)
			s->rate = o->bytes_per_second;
		s->phase = "comparing";
		s->now = (struct scrub_counts){0};
		reports_clear(s);
		cond_broadcast(&s->wake);
	}
	mutex_unlock(&s->lock);
	if (text)
		(void)snprintf(why, why_len, "%s", text);
	return text ? -EBUSY : 0;
}

int scrub_cancel(struct scrub *s)
{
	int r = -ENOENT;

	mutex_lock(&s->lock);
	if (s->running) {
		s->cancel = true;
		cond_broadcast(&s->wake);
		r = 0;
	}
	mutex_unlock(&s->lock);
	return r;
}

void scrub_state(struct scrub *s, struct scrub_state *ret)
{
	mutex_lock(&s->lock);
	*ret = (struct scrub_state){
		.running = s->running,
		.phase = s->phase,
		.now = s->now,
		.last = s->last,
		.rate_bytes = s->rate_bytes,
		.result = s->result,
	};
	memcpy(ret->why, s->why, sizeof(ret->why));
	mutex_unlock(&s->lock);
}

int scrub_report(struct scrub *s, size_t at, struct scrub_report *ret)
{
	int r = 0;

	mutex_lock(&s->lock);
	if (at < s->reports.count) {
		*ret = s->reports.data[at];
		ret->path = ret->path ? strdup(ret->path) : NULL;
		ret->why = ret->why ? strdup(ret->why) : NULL;
		r = 1;
	}
	mutex_unlock(&s->lock);
	return r;
}

/* ---- life ---- */

static void scrub_free(struct scrub *s)
{
	reports_clear(s);
	scrub_pending_clear(s);
	vec_done(&s->reports);
	vec_done(&s->pending);
	vec_done(&s->unseen);
	cond_done(&s->wake);
	mutex_done(&s->lock);
	free(s);
}

int scrub_start(struct mirror *m, struct resync_engine *e,
		uint64_t bytes_per_second, struct scrub **ret)
{
	struct scrub *s = calloc(1, sizeof(*s));
	int lead, r;

	if (!s)
		return -ENOMEM;
	s->m = m;
	s->e = e;
	s->rate = bytes_per_second;
	s->phase = "";
	s->result = 1;
	mutex_init(&s->lock, LOCK_RANK_LEAF);
	cond_init(&s->wake);
	lead = mirror_lead(m);
	r = lead < 0 ? -ENODEV
		     : scrub_load(m, (unsigned int)lead, &s->now, &s->last,
				  &s->at);
	if (!r)
		r = -pthread_create(&s->thread, NULL, scrub_main, s);
	if (r) {
		scrub_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

void scrub_stop(struct scrub *s)
{
	if (!s)
		return;
	mutex_lock(&s->lock);
	s->stop = true;
	cond_broadcast(&s->wake);
	mutex_unlock(&s->lock);
	lock_must_(pthread_join(s->thread, NULL));
	scrub_free(s);
}
