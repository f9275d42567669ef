/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was found and is decided: foreign names are set aside; for the rest
 * the losers are put out with the places in doubt, and come back by a resync
 * (fs/mirror/scrub_fix.c has the reasons).  Findings with the same losers go
 * together, so that who stays has the right side of all of them.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "resync/scrub_run.h"

#define WAIT_MS	   100u
#define REWRITE_MS 20u

struct batch {
	uint32_t losers;
	VEC(struct scrub_finding) v;
	VEC(size_t) at; /* in s->pending */
};

static void note(struct scrub_report *p, const char *why)
{
	char *copy = strdup(why);

	free(p->why);
	p->why = copy;
}

void scrub_pending_clear(struct scrub *s)
{
	vec_for_each (p, &s->pending)
		free(p->why);
	vec_clear(&s->pending);
}

/* ---- names that nobody knows ---- */

static void set_aside(struct scrub *s, struct scrub_report *p)
{
	uint32_t left = 0;
	int r;

	for (unsigned int i = 0; i < META_STORE_MAX; i++) {
		if (!(p->f.losers & (UINT32_C(1) << i)))
			continue;
		r = mirror_scrub_set_aside(s->m, i, p->f.dir, p->f.name);
		if (r < 0)
			note(p, strerror(-r));
		if (r != 0)
			left |= UINT32_C(1) << i;
	}
	p->fixed = !left;
	p->f.losers = left;
}

/* What is not decided, and link counts, which are what names make them, may
 * have been made equal by the repair of something else. */
static bool is_only_watched(const struct scrub_finding *f)
{
	return f->by == SCRUB_BY_NOBODY ||
	       (f->kind == SCRUB_ATTR && f->what == SCRUB_WHAT_LINKS);
}

/* ---- what cannot be read ---- */

static bool is_unread(const struct scrub_finding *f)
{
	return f->kind == SCRUB_READ && !f->dir && f->start < f->end &&
	       f->by == SCRUB_BY_READING;
}

/* One after the other: the queue is short, and readers use it as well. */
static int rewrite(struct scrub *s, struct scrub_report *p)
{
	int r = mirror_scrub_rewrite(s->m, &p->f);

	while (!r && mirror_scrub_rewriting(s->m))
		r = scrub_sleep(s, REWRITE_MS);
	p->fixed = !r;
	if (r)
		note(p, strerror(-r));
	return r == -ECANCELED ? r : 0;
}

/* ---- one round of losers ---- */

static int wait_back(struct scrub *s, unsigned int slot, char *why,
		     size_t why_len)
{
	struct mirror_slot_info info;
	struct resync_engine_state state;
	int r = resync_engine_attach(s->e, slot, NULL, why, why_len);

	if (r && r != -EBUSY)
		return r;
	for (;;) {
		resync_engine_state(s->e, slot, &state);
		mirror_slot_info(s->m, slot, &info);
		if (info.state == META_STORE_ONLINE)
			return 0;
		if (!state.running && info.state != META_STORE_RESYNCING) {
			(void)snprintf(why, why_len, "%s",
				       *state.last_why ? state.last_why
						       : info.why);
			return -EIO;
		}
		r = scrub_sleep(s, WAIT_MS);
		if (r)
			return r;
	}
}

static int all_back(struct scrub *s, uint32_t losers, char *why, size_t why_len)
{
	int r = 0;

	for (unsigned int i = 0; !r && i < META_STORE_MAX; i++)
		if (losers & (UINT32_C(1) << i))
			r = wait_back(s, i, why, why_len);
	return r;
}

static int batch_collect(struct scrub *s, size_t from, struct batch *b)
{
	int r = 0;

	b->losers = s->pending.data[from].f.losers;
	for (size_t i = from; !r && i < s->pending.count; i++) {
		struct scrub_report *p = &s->pending.data[i];

		if (p->fixed || p->why || is_only_watched(&p->f) ||
		    p->f.losers != b->losers)
			continue;
		r = vec_push(&b->v, p->f);
		if (!r)
			r = vec_push(&b->at, i);
	}
	return r;
}

static int batch_fix(struct scrub *s, const struct batch *b, char *why,
		     size_t why_len)
{
	int r = mirror_scrub_put_out(s->m, b->losers, b->v.data, b->v.count);
	int back = 0;

	if (r == -EBUSY)
		(void)snprintf(why, why_len,
			       "fewer than min_stores would stay online; mount "
			       "without that to repair");
	if (r == -EAGAIN)
		(void)snprintf(why, why_len,
			       "a store that it concerns has left meanwhile");
	/* Nobody was put out. */
	if (r == -EBUSY || r == -EAGAIN)
		return r;
	/* Back as it is, it would be said to be in step. */
	if (r == -EREMOTEIO) {
		(void)snprintf(why, why_len,
			       "it could not be noted in the store's map; that "
			       "store is left out");
		return r;
	}
	back = all_back(s, b->losers, why, why_len);
	return r ? r : back;
}

static int batch_run(struct scrub *s, size_t from)
{
	struct batch b = {0};
	char why[PATH_MAX + 256] = "";
	int r = batch_collect(s, from, &b);

	if (!r)
		r = batch_fix(s, &b, why, sizeof(why));
	if (r && !*why)
		(void)snprintf(why, sizeof(why), "%s", strerror(-r));
	vec_for_each (at, &b.at) {
		s->pending.data[*at].fixed = !r;
		if (r)
			note(&s->pending.data[*at], why);
	}
	vec_done(&b.v);
	vec_done(&b.at);
	return r == -ECANCELED || r == -ENOMEM ? r : 0;
}

/* ---- is it equal now? ---- */

struct again {
	struct scrub *s;
	const struct scrub_finding *f;
	uint64_t left; /* bytes to be looked at */
	bool found;
};

static int again_pace(void *arg, uint64_t bytes)
{
	struct again *a = arg;

	if (bytes && bytes >= a->left)
		return 1;
	a->left -= bytes;
	return scrub_poll(a->s);
}

/* Links that a file lacks are names that are missing, which are findings of
 * their own: where their directory was missing itself, those of the next pass. */
static int again_found(void *arg, const struct scrub_finding *f)
{
	struct again *a = arg;
	const struct scrub_finding *was = a->f;

	if (was->dir)
		a->found |= f->dir && !strcmp(f->name, was->name);
	else if (was->kind == SCRUB_ATTR)
		a->found |= f->kind == SCRUB_ATTR &&
			    (f->what != SCRUB_WHAT_LINKS ||
			     was->what == SCRUB_WHAT_LINKS);
	else
		a->found |= !f->dir && f->kind != SCRUB_ATTR &&
			    f->start < was->end && f->end > was->start;
	return 0;
}

/* With a store gone there is nothing to compare it with. */
static bool is_all_online(struct scrub *s, uint32_t slots)
{
	for (unsigned int i = 0; i < META_STORE_MAX; i++) {
		struct mirror_slot_info info;

		if (!(slots & (UINT32_C(1) << i)))
			continue;
		mirror_slot_info(s->m, i, &info);
		if (info.state != META_STORE_ONLINE)
			return false;
	}
	return true;
}

static int verify(struct scrub *s, struct scrub_report *p)
{
	struct again a = {.s = s, .f = &p->f};
	struct mirror_scrub pass = {
		.prefer = -1,
		.pace = again_pace,
		.found = again_found,
		.arg = &a,
	};
	uint64_t offset = p->f.kind == SCRUB_ATTR ? 0 : p->f.start;
	int r;

	a.left = p->f.end - p->f.start + SCRUB_SLICE;
	r = mirror_scrub_node(s->m, &pass, p->f.dir ? p->f.dir : p->f.node,
			      &offset);
	mirror_scrub_done(&pass);
	if (r == -ECANCELED)
		return r;
	p->fixed = r >= 0 && !a.found && is_all_online(s, p->f.losers);
	if (!p->fixed && !is_only_watched(&p->f))
		note(p, "it still differs");
	return 0;
}

/* ---- all of it ---- */

static bool same_place(const struct scrub_finding *a,
		       const struct scrub_finding *b)
{
	return a->kind == b->kind && a->node == b->node && a->dir == b->dir &&
	       a->start == b->start && !strcmp(a->name, b->name);
}

static void tell(struct scrub *s)
{
	mutex_lock(&s->lock);
	vec_for_each (p, &s->pending) {
		s->now.fixed += p->fixed;
		vec_for_each (report, &s->reports)
			if (same_place(&report->f, &p->f)) {
				report->fixed = p->fixed;
				free(report->why);
				report->why = steal_pointer(&p->why);
			}
	}
	mutex_unlock(&s->lock);
	scrub_pending_clear(s);
}

int scrub_repair(struct scrub *s)
{
	int r = 0;

	if (!s->pending.count)
		return 0;
	scrub_phase(s, "repairing");
	vec_for_each (p, &s->pending)
		if (p->f.kind == SCRUB_EXTRA)
			set_aside(s, p);
	vec_for_each (p, &s->pending)
		if (!r && is_unread(&p->f))
			r = rewrite(s, p);
	for (size_t i = 0; !r && i < s->pending.count; i++) {
		const struct scrub_report *p = &s->pending.data[i];

		if (!p->fixed && !p->why && !is_only_watched(&p->f))
			r = batch_run(s, i);
	}
	vec_for_each (p, &s->pending)
		if (!r && (p->fixed || is_only_watched(&p->f)))
			r = verify(s, p);
	tell(s);
	return r;
}
