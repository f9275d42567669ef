/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lineage test as a table: two histories, and what the target is towards
 * the source.  Stores are "a", "b", "c"; an epoch is written as
 *
 *	{ "id", first_seq, base, "members", confirmed }
 *
 * with .first_node and .by_copy where they matter.
 */
#include "resync/lineage.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

enum {
	EPOCHS_MAX = 6,
};

struct epoch {
	const char *id;
	uint64_t first_seq;
	uint64_t base;
	const char *members;
	bool confirmed;
	uint64_t first_node;
	bool by_copy;
};

struct history {
	const char *uuid;
	struct epoch epochs[EPOCHS_MAX];
	uint64_t durable;
	uint64_t other_durable;
	bool other_failed;
	bool in_doubt;	/* has intents */
	bool only_file; /* of a file that was found wrong */
	bool copy;
	bool clean;		      /* only a copy is asked */
	struct epoch lap[EPOCHS_MAX]; /* of the source of one that was cut */
	uint64_t resync_from;	      /* 0: not resyncing */
};

struct row {
	const char *what;
	struct history source;
	struct history target;
	enum resync_relation relation;
	uint64_t from;	    /* STALE, NEWER */
	uint64_t fork_from; /* FORK */
	uint64_t fork_node; /* FORK; 0: not looked at */
};

#define E1                               \
	{                                \
		"e1", 16, 15, "ab", true \
	}
#define E1C                               \
	{                                 \
		"e1", 16, 15, "abc", true \
	}

static const struct row rows[] = {
	{
		.what = "left cleanly together",
		.source = {"a", {E1}, 90},
		.target = {"b", {E1}, 90},
		.relation = RESYNC_IN_STEP,
		.from = 90,
	},
	{
		.what = "intents left by a crash",
		.source = {"a", {E1}, 90},
		.target = {"b", {E1}, 90, .in_doubt = true},
		.relation = RESYNC_STALE,
		.from = 90,
	},
	{
		.what = "intents on the source",
		.source = {"a", {E1}, 90, .in_doubt = true},
		.target = {"b", {E1}, 90},
		.relation = RESYNC_STALE,
		.from = 90,
	},
	{
		.what = "crash between two commits of one checkpoint",
		.source = {"a", {E1}, 90},
		.target = {"b", {E1}, 70, .in_doubt = true},
		.relation = RESYNC_STALE,
		.from = 70,
	},
	{
		.what = "the same, seen from the other side",
		.source = {"a", {E1}, 70, .in_doubt = true},
		.target = {"b", {E1}, 90},
		.relation = RESYNC_NEWER,
		.from = 70,
	},
	{
		.what = "late disk at boot: the source went on alone",
		.source = {"a", {E1, {"e2", 101, 90, "a", true}}, 200},
		.target = {"b", {E1}, 90},
		.relation = RESYNC_STALE,
		.from = 90,
	},
	{
		.what = "late disk, roles reversed",
		.source = {"b", {E1}, 90},
		.target = {"a", {E1, {"e2", 101, 90, "a", true}}, 200},
		.relation = RESYNC_NEWER,
		.from = 90,
	},
	{
		.what = "the source recovered from behind: its base counts",
		.source = {"a", {E1, {"e2", 101, 70, "a", true}}, 120},
		.target = {"b", {E1}, 90},
		.relation = RESYNC_STALE,
		.from = 70,
	},
	{
		.what = "base of the next epoch, not of the last",
		.source = {"a",
			   {E1,
			    {"e2", 101, 80, "a", true},
			    {"e3", 201, 10, "a", true}},
			   300},
		.target = {"b", {E1}, 90},
		.relation = RESYNC_STALE,
		.from = 80,
	},
	{
		.what = "put out in mid-flight: durable below first_seq",
		.source = {"a", {E1, {"e2", 95, 90, "a", true}}, 150},
		.target = {"b", {E1}, 90, .in_doubt = true},
		.relation = RESYNC_STALE,
		.from = 90,
	},
	{
		.what = "went on past the point where it was put out",
		.source = {"a", {E1, {"e2", 95, 90, "a", true}}, 150},
		.target = {"b", {E1}, 96},
		.relation = RESYNC_FORK,
		.fork_from = 90,
	},
	{
		.what = "restored backup: older, same lineage",
		.source = {"a",
			   {E1,
			    {"e2", 101, 100, "ab", true},
			    {"e3", 201, 200, "ab", true}},
			   250},
		.target = {"b", {E1, {"e2", 101, 100, "ab", true}}, 140},
		.relation = RESYNC_STALE,
		.from = 140,
	},
	{
		.what = "the source is the restored one and went on alone",
		.source = {"a", {E1, {"e2", 120, 60, "a", true}}, 130},
		.target = {"b", {E1}, 90, .other_durable = 90},
		.relation = RESYNC_FORK,
		.fork_from = 60,
	},
	{
		.what = "the source is the restored one, nothing done since",
		.source = {"a", {E1}, 60},
		.target = {"b", {E1}, 90, .other_durable = 90},
		.relation = RESYNC_NEWER,
		.from = 60,
	},
	{
		.what = "both were mounted alone in turn",
		.source = {"a", {E1, {"e2", 101, 90, "a", true}}, 150},
		.target = {"b", {E1, {"e3", 111, 80, "b", true}}, 170},
		.relation = RESYNC_FORK,
		.fork_from = 80,
	},
	{
		.what = "a fork starts at most at what both have",
		.source = {"a", {E1, {"e2", 101, 100, "a", true}}, 150},
		.target = {"b", {E1, {"e3", 111, 110, "b", true}}, 170},
		.relation = RESYNC_FORK,
		.fork_from = 100,
	},
	{
		.what = "crash while an epoch was recorded: the target has it",
		.source = {"a", {E1}, 90},
		.target = {"b", {E1, {"e2", 101, 90, "ab", false}}, 90},
		.relation = RESYNC_STALE,
		.from = 90,
	},
	{
		.what = "crash while an epoch was recorded: the source has it",
		.source = {"a", {E1, {"e2", 101, 90, "ab", false}}, 90},
		.target = {"b", {E1}, 90},
		.relation = RESYNC_STALE,
		.from = 90,
	},
	{
		.what = "unconfirmed, but without the other: not void",
		.source = {"a", {E1}, 90},
		.target = {"b", {E1, {"e2", 101, 90, "b", false}}, 101},
		.relation = RESYNC_NEWER,
		.from = 90,
	},
	{
		.what = "idle: a was left alone, and nothing was done there",
		.source = {"b", {E1, {"e3", 101, 90, "b", true}}, 170},
		.target = {"a", {E1, {"e2", 91, 90, "a", true}}, 90},
		.relation = RESYNC_STALE,
		.from = 90,
	},
	{
		.what = "idle, roles reversed",
		.source = {"a", {E1, {"e2", 91, 90, "a", true}}, 90},
		.target = {"b", {E1, {"e3", 101, 90, "b", true}}, 170},
		.relation = RESYNC_NEWER,
		.from = 90,
	},
	{
		.what = "both are idle",
		.source = {"a", {E1, {"e2", 91, 90, "a", true}}, 90},
		.target = {"b", {E1, {"e3", 101, 90, "b", true}}, 90},
		.relation = RESYNC_STALE,
		.from = 90,
	},
	{
		.what = "not idle: something is in doubt there",
		.source = {"b", {E1, {"e3", 101, 90, "b", true}}, 170},
		.target = {"a",
			   {E1, {"e2", 91, 90, "a", true}},
			   90,
			   .in_doubt = true},
		.relation = RESYNC_FORK,
		.fork_from = 90,
	},
	{
		.what = "not idle: the other one was put out",
		.source = {"b", {E1, {"e3", 101, 90, "b", true}}, 170},
		.target = {"a",
			   {E1, {"e2", 91, 90, "a", true}},
			   90,
			   .other_failed = true},
		.relation = RESYNC_FORK,
		.fork_from = 90,
	},
	{
		.what = "not idle: a copy of a store that was in use",
		.source = {"b", {E1, {"e3", 101, 90, "b", true}}, 170},
		.target = {"a",
			   {E1, {"e2", 91, 90, "a", true}},
			   90,
			   .copy = true},
		.relation = RESYNC_FORK,
		.fork_from = 90,
	},
	{
		.what = "idle: a copy of what was left in good order",
		.source = {"b", {E1, {"e3", 101, 90, "b", true}}, 170},
		.target = {"a",
			   {E1, {"e2", 91, 90, "a", true}},
			   90,
			   .copy = true,
			   .clean = true},
		.relation = RESYNC_STALE,
		.from = 90,
	},
	{
		.what = "not idle: something was done before it was copied",
		.source = {"b", {E1, {"e3", 101, 90, "b", true}}, 170},
		.target = {"a",
			   {E1, {"e2", 91, 90, "a", true}},
			   92,
			   .copy = true,
			   .clean = true},
		.relation = RESYNC_FORK,
		.fork_from = 90,
	},
	{
		.what = "idle: brought in step with one, as far as that was",
		.source = {"b", {E1C, {"e3", 101, 90, "b", true}}, 170},
		.target = {"a",
			   {E1C, {"e2", 91, 90, "c", true}},
			   90,
			   .resync_from = 50},
		.relation = RESYNC_STALE,
		.from = 90,
	},
	{
		.what = "not idle: half brought in step with another one",
		.source = {"b", {E1C, {"e3", 101, 90, "b", true}}, 170},
		.target = {"a",
			   {E1C, {"e2", 91, 90, "a", true}},
			   90,
			   .lap = {E1C, {"e5", 101, 90, "c", true}},
			   .resync_from = 90},
		.relation = RESYNC_FORK,
		.fork_from = 90,
	},
	{
		.what = "the other was seen beyond where it went on",
		.source = {"b", {E1, {"e3", 101, 80, "b", true}}, 170},
		.target = {"a",
			   {E1, {"e2", 91, 90, "a", true}},
			   90,
			   .other_durable = 90},
		.relation = RESYNC_FORK,
		.fork_from = 80,
	},
	{
		.what = "confirmed, and a member lacks it: not void",
		.source = {"a", {E1}, 90},
		.target = {"b", {E1, {"e2", 101, 90, "ab", true}}, 120},
		.relation = RESYNC_NEWER,
		.from = 90,
	},
	{
		.what = "two void tips",
		.source = {"a", {E1, {"e4", 301, 90, "a", true}}, 310},
		.target = {"b",
			   {E1,
			    {"e2", 101, 90, "ab", false},
			    {"e3", 201, 90, "ab", false}},
			   90},
		.relation = RESYNC_STALE,
		.from = 90,
	},
	{
		.what = "an unconfirmed epoch that both have is shared",
		.source = {"a", {E1, {"e2", 101, 90, "ab", false}}, 90},
		.target = {"b", {E1, {"e2", 101, 90, "ab", false}}, 90},
		.relation = RESYNC_IN_STEP,
		.from = 90,
	},
	{
		.what = "three stores: c left first, then b",
		.source = {"a",
			   {E1C,
			    {"e2", 101, 100, "ab", true},
			    {"e3", 201, 200, "a", true}},
			   300},
		.target = {"c", {E1C}, 100, .in_doubt = true},
		.relation = RESYNC_STALE,
		.from = 100,
	},
	{
		.what = "three stores: b, which left last, from a",
		.source = {"a",
			   {E1C,
			    {"e2", 101, 100, "ab", true},
			    {"e3", 201, 200, "a", true}},
			   300},
		.target = {"b", {E1C, {"e2", 101, 100, "ab", true}}, 200},
		.relation = RESYNC_STALE,
		.from = 200,
	},
	{
		.what = "three stores: c went on alone while a and b did",
		.source = {"a", {E1C, {"e2", 101, 100, "ab", true}}, 300},
		.target = {"c", {E1C, {"e5", 111, 90, "c", true}}, 120},
		.relation = RESYNC_FORK,
		.fork_from = 90,
	},
	{
		.what = "three stores: an epoch void for b is not so for c",
		.source = {"c", {E1C}, 90},
		.target = {"a", {E1C, {"e2", 101, 90, "ab", false}}, 95},
		.relation = RESYNC_NEWER,
		.from = 90,
	},
	{
		.what = "a new member",
		.source = {"a", {E1, {"e2", 101, 90, "a", true}}, 200},
		.target = {"c", {E1}, 0, .in_doubt = true},
		.relation = RESYNC_STALE,
		.from = 0,
	},
	/* ---- docs/model.md, 3 ---- */
	{
		.what = "half brought in step with a, of another branch",
		.source = {"b", {E1C, {"e5", 111, 80, "b", true}}, 170},
		.target = {"c",
			   {E1C},
			   90,
			   .lap = {E1C, {"e2", 101, 70, "a", true}},
			   .resync_from = 90},
		.relation = RESYNC_FORK,
		.fork_from = 70,
	},
	{
		.what = "half brought in step with a, which goes on",
		.source = {"a", {E1C, {"e2", 101, 90, "a", true}}, 170},
		.target = {"c",
			   {E1C},
			   90,
			   .lap = {E1C, {"e2", 101, 90, "a", true}},
			   .resync_from = 90},
		.relation = RESYNC_STALE,
		.from = 90,
	},
	{
		.what = "half brought in step with a, then from b, which took "
			"over behind a",
		.source = {"b",
			   {E1C,
			    {"e2", 101, 90, "ab", true},
			    {"e3", 140, 60, "b", true}},
			   170},
		.target = {"c",
			   {E1C},
			   90,
			   .lap = {E1C, {"e2", 101, 90, "ab", true}},
			   .resync_from = 90},
		.relation = RESYNC_STALE,
		.from = 60,
	},
	{
		.what = "a fork in the middle of a resync starts where that "
			"began",
		.source = {"a", {E1C, {"e4", 120, 110, "a", true}}, 200},
		.target = {"c",
			   {E1C, {"e2", 101, 100, "b", true}},
			   150,
			   .resync_from = 40},
		.relation = RESYNC_FORK,
		.fork_from = 40,
	},
	/* ---- 6 ---- */
	{
		.what = "ids from the lowest first_node on mean two nodes",
		.source = {"a", {E1, {"e2", 101, 90, "a", true, 30}}, 150},
		.target = {"b", {E1, {"e3", 111, 80, "b", true, 25}}, 170},
		.relation = RESYNC_FORK,
		.fork_from = 80,
		.fork_node = 25,
	},
	{
		.what = "ids of a lap that was cut count as well",
		.source = {"b", {E1C, {"e5", 111, 80, "b", true, 40}}, 170},
		.target = {"c",
			   {E1C},
			   90,
			   .lap = {E1C, {"e2", 101, 90, "a", true, 20}},
			   .resync_from = 90},
		.relation = RESYNC_FORK,
		.fork_from = 80,
		.fork_node = 20,
	},
	/* ---- 10 ---- */
	{
		.what = "a copy went on alone, the other was in doubt",
		.source = {"a", {E1, {"e2", 101, 90, "a", true, 0, true}}, 200},
		.target = {"b", {E1}, 90, .in_doubt = true},
		.relation = RESYNC_FORK,
		.fork_from = 90,
	},
	{
		.what = "a copy went on alone, the other was further",
		.source = {"a", {E1, {"e2", 101, 60, "a", true, 0, true}}, 200},
		.target = {"b", {E1}, 90},
		.relation = RESYNC_FORK,
		.fork_from = 60,
	},
	{
		.what = "a copy went on alone, the other was no further",
		.source = {"a", {E1, {"e2", 101, 90, "a", true, 0, true}}, 200},
		.target = {"b", {E1}, 90},
		.relation = RESYNC_STALE,
		.from = 90,
	},
	{
		.what = "a copy went on alone, the other has a wrong file",
		.source = {"a", {E1, {"e2", 101, 90, "a", true, 0, true}}, 200},
		.target = {"b", {E1}, 90, .in_doubt = true, .only_file = true},
		.relation = RESYNC_STALE,
		.from = 90,
	},
	{
		.what = "a copy beside an original in doubt",
		.source = {"a", {E1}, 90, .copy = true},
		.target = {"b", {E1}, 90, .in_doubt = true},
		.relation = RESYNC_NEWER,
		.from = 90,
	},
	{
		.what = "a copy beside its original",
		.source = {"a", {E1}, 90, .copy = true},
		.target = {"b", {E1}, 90},
		.relation = RESYNC_IN_STEP,
		.from = 90,
	},
	{
		.what = "a copy that is behind is a target",
		.source = {"a", {E1, {"e2", 101, 90, "a", true}}, 200},
		.target = {"b", {E1}, 60, .in_doubt = true, .copy = true},
		.relation = RESYNC_STALE,
		.from = 60,
	},
	{
		.what = "nothing in common",
		.source = {"a", {E1}, 90},
		.target = {"b", {{"x1", 16, 15, "b", true}}, 90},
		.relation = RESYNC_FOREIGN,
	},
	{
		.what = "never finished",
		.source = {"a", {E1}, 90},
		.target = {"b", {{0}}, 0},
		.relation = RESYNC_FOREIGN,
	},
};

struct filled {
	struct meta_epoch epochs[EPOCHS_MAX];
	struct meta_epoch lap_epochs[EPOCHS_MAX];
	struct meta_lap lap;
	struct lineage_view view;
};

static void epoch_fill(const struct epoch *e, struct meta_epoch *ret)
{
	*ret = (struct meta_epoch){
		.first_seq = e->first_seq,
		.first_node = e->first_node,
		.base = e->base,
		.confirmed = e->confirmed,
		.by_copy = e->by_copy,
	};
	snprintf(ret->id, sizeof(ret->id), "%s", e->id);
	for (const char *m = e->members; *m; m++)
		snprintf(ret->members[ret->member_count++],
			 sizeof(ret->members[0]), "%c", *m);
}

static size_t epochs_fill(const struct epoch *v, struct meta_epoch *ret)
{
	size_t count = 0;

	for (; count < EPOCHS_MAX && v[count].id; count++)
		epoch_fill(&v[count], &ret[count]);
	return count;
}

static struct lineage_view *history_view(const struct history *h,
					 struct filled *f)
{
	f->lap.epochs = f->lap_epochs;
	f->lap.count = epochs_fill(h->lap, f->lap_epochs);
	f->view = (struct lineage_view){
		.uuid = h->uuid,
		.epochs = f->epochs,
		.count = epochs_fill(h->epochs, f->epochs),
		.durable_seq = h->durable,
		.other_durable = h->other_durable,
		.laps = &f->lap,
		.lap_count = f->lap.count ? 1 : 0,
		.resyncing = h->resync_from != 0,
		.resync_from = h->resync_from,
		.intents = h->in_doubt,
		.doubts_only = h->only_file,
		.other_failed = h->other_failed,
		.copy = h->copy,
		.clean = h->clean,
	};
	return &f->view;
}

static void row_check(const struct row *r)
{
	static struct filled a, b;
	struct lineage_verdict v;

	lineage_compare(history_view(&r->source, &a),
			history_view(&r->target, &b), &v);
	cr_expect_eq(v.relation, r->relation, "%s: relation %d, not %d",
		     r->what, v.relation, r->relation);
	if (r->fork_node)
		cr_expect_eq(v.fork_node, r->fork_node, "%s: ids from %ju",
			     r->what, (uintmax_t)v.fork_node);
	if (r->relation == RESYNC_FORK)
		cr_expect_eq(v.fork_from, r->fork_from,
			     "%s: fork from %ju, not %ju", r->what,
			     (uintmax_t)v.fork_from, (uintmax_t)r->fork_from);
	else if (r->relation != RESYNC_FOREIGN)
		cr_expect_eq(v.from, r->from, "%s: from %ju, not %ju", r->what,
			     (uintmax_t)v.from, (uintmax_t)r->from);
}

Test(lineage, table)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		row_check(&rows[i]);
}

/* Whoever is stale from one side is newer from the other, except where both
 * may follow (a void tip). */
Test(lineage, reversed)
{
	static struct filled a, b;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct lineage_view *source, *target;
		struct lineage_verdict there, back;

		source = history_view(&rows[i].source, &a);
		target = history_view(&rows[i].target, &b);
		lineage_compare(source, target, &there);
		lineage_compare(target, source, &back);
		cr_expect((there.relation == RESYNC_FORK) ==
				  (back.relation == RESYNC_FORK),
			  "%s", rows[i].what);
		cr_expect_eq(there.fork_from, back.fork_from, "%s",
			     rows[i].what);
		if (there.relation == RESYNC_NEWER)
			cr_expect_eq(back.relation, RESYNC_STALE, "%s",
				     rows[i].what);
		if (there.relation == RESYNC_IN_STEP)
			cr_expect_eq(back.relation, RESYNC_IN_STEP, "%s",
				     rows[i].what);
	}
}

Test(lineage, what_the_maps_say)
{
	struct lineage_verdict v = {
		.relation = RESYNC_STALE,
		.from = 50,
		.fork_from = 40,
	};

	lineage_settle(&v, false);
	cr_expect_eq(v.relation, RESYNC_STALE);
	cr_expect_eq(v.from, 50);
	lineage_settle(&v, true);
	cr_expect_eq(v.relation, RESYNC_FORK);
	cr_expect_eq(v.fork_from, 40);
	v.relation = RESYNC_FOREIGN;
	lineage_settle(&v, true);
	cr_expect_eq(v.relation, RESYNC_FOREIGN);
}

Test(lineage, live_end)
{
	static struct filled a, b;
	struct history x = {
		"a",
		{E1, {"e2", 20, 19, "ab", true}, {"e3", 30, 29, "ab", false}},
		40,
	};
	const struct history y = {"b", {E1}};
	const struct history only = {"a", {{"e9", 16, 15, "ab", false}}};
	const struct lineage_view *other = history_view(&y, &b);

	/* e3 is void, e2 was confirmed. */
	cr_expect_eq(lineage_live(history_view(&x, &a), other), 2);
	/* Nothing was ever done in either. */
	x.durable = 19;
	cr_expect_eq(lineage_live(history_view(&x, &a), other), 1);
	/* The first is never void. */
	cr_expect_eq(lineage_live(history_view(&only, &a), other), 1);
}
