/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Laps from one store of a world to the other, and what they count.
 */
#pragma once

#include "tests/unit/lap_equal.h"

struct cutter {
	unsigned int left; /* polls until the cut */
};

static inline int cut_now(void *arg)
{
	struct cutter *c = arg;

	return c->left == 0 ? 1 : (c->left--, 0);
}

struct lap_how {
	bool dry;
	bool both;
	uint64_t fork_node; /* with both; 0: no id means two nodes */
	bool more;	    /* not the last lap: the source moves on */
	struct cutter *cutter;
	/* Called between steps. */
	void (*phase)(struct world *w, const struct resync_progress *p);
};

struct lap_hook {
	struct world *w;
	struct lap_how how;
};

static inline void hook_progress(void *arg, const struct resync_progress *p)
{
	struct lap_hook *h = arg;

	h->how.phase(h->w, p);
}

static inline int hook_cut(void *arg)
{
	struct lap_hook *h = arg;

	if (h->w->cut_now)
		return 1;
	return h->how.cutter ? cut_now(h->how.cutter) : 0;
}

static inline int lap_as(struct world *w, uint64_t from, struct lap_how how,
			 struct resync_counts *n)
{
	struct lap_hook hook = {.w = w, .how = how};
	struct resync_control control = {
		.dry_run = how.dry,
		.should_stop = hook_cut,
		.progress = how.phase ? hook_progress : NULL,
		.arg = &hook,
	};
	struct resync_lap_args args = {
		.source = w->a.side,
		.target = w->b.side,
		.from = from,
		.cut = w->a.seq,
		.both = how.both,
		.fork_node = how.fork_node ? how.fork_node : UINT64_MAX,
		.last = !how.more,
		.control = &control,
	};

	*n = (struct resync_counts){0};
	return resync_lap(&args, n);
}

static inline void equal_counts(const struct resync_counts *a,
				const struct resync_counts *b)
{
	cr_assert_eq(a->nodes, b->nodes, "nodes %d %d", (int)a->nodes,
		     (int)b->nodes);
	cr_assert_eq(a->entries_created, b->entries_created);
	cr_assert_eq(a->entries_removed, b->entries_removed, "removed %d %d",
		     (int)a->entries_removed, (int)b->entries_removed);
	cr_assert_eq(a->entries_renamed, b->entries_renamed);
	cr_assert_eq(a->bytes_copied, b->bytes_copied, "copied %d %d",
		     (int)a->bytes_copied, (int)b->bytes_copied);
	cr_assert_eq(a->bytes_compared, b->bytes_compared);
	cr_assert_eq(a->bytes_unmapped, b->bytes_unmapped);
}

/* A forecast, a lap, and both stores equal. */
static inline struct resync_counts lap(struct world *w, uint64_t from)
{
	struct resync_counts dry, n;

	must(lap_as(w, from, (struct lap_how){.dry = true}, &dry));
	must(lap_as(w, from, (struct lap_how){0}, &n));
	world_equal(w);
	if (n.found == 0)
		equal_counts(&dry, &n);
	return n;
}

static inline void put_intent(struct actor *b, uint64_t node,
			      enum meta_intent_kind kind, uint64_t start,
			      uint64_t end)
{
	struct meta_intent in = {
		.node = node,
		.start = start,
		.end = end,
		.kind = kind,
		.generation = 5,
	};

	must(meta_intent_put(b->side.meta, &in));
}
