/* SPDX-License-Identifier: Apache-2.0 */
/* Private to the files that scrub.h lists. */
#pragma once

#include <pthread.h>

#include "base/lock.h"
#include "base/vec.h"
#include "resync/scrub.h"

/* Where a scrub is. */
struct scrub_position {
	uint64_t node; /* the next one; 0: at the end */
	uint64_t offset;
	uint64_t until;
};

struct scrub {
	struct mirror *m;	 /* set at init, then read-only */
	struct resync_engine *e; /* the same */
	pthread_t thread;

	struct mutex lock; /* LOCK_RANK_LEAF; guards all below but what says */
	struct cond wake;
	bool stop;
	bool cancel;
	bool wanted; /* begun, not taken up yet */
	bool running;
	const char *phase;
	struct scrub_options o;
	uint64_t rate;
	struct scrub_counts now, last;
	int result;
	char why[256];
	VEC(struct scrub_report) reports;
	double rate_bytes;

	/* the thread's own */
	struct mirror_scrub pass;
	struct scrub_position at;
	uint64_t before_nodes, before_bytes,
		before_busy; /* of an earlier one */
	uint64_t paid_ns;
	uint64_t saved_ns;
	uint64_t node_ns; /* when it was begun */
	uint64_t smooth_ns, smooth_bytes;
	VEC(struct scrub_report) pending; /* to be repaired; no paths */
	VEC(uint64_t) unseen; /* nodes to be compared when names are repaired */
};

/* 0, or -ECANCELED. */
MUST_CHECK int scrub_poll(struct scrub *s);
/* Sleeps, and wakes when it is to end: -ECANCELED. */
MUST_CHECK int scrub_sleep(struct scrub *s, uint64_t ms);
void scrub_phase(struct scrub *s, const char *phase);

/* ---- scrub_stores.c: which members it covers ---- */

/* Those that are online, at its begin. */
void scrub_stores_begin(struct mirror *m, char stores[META_LIST_BYTES]);
/*
 * Before each node, and at the end: whoever was not compared is none of them any
 * more. @slots: left out somewhere; @online: the others must be there now.
 */
void scrub_stores_keep(struct scrub *s, uint32_t missed, bool online);

/* ---- scrub_record.c ---- */

/* Loads what one map has; begun_ns 0 in @now: no scrub was ended. */
MUST_CHECK int scrub_load(struct mirror *m, unsigned int slot,
			  struct scrub_counts *now, struct scrub_counts *last,
			  struct scrub_position *at);
/* Into every map that is online; one that fails is told and left at that. */
void scrub_save(struct mirror *m, const struct scrub_counts *now,
		const struct scrub_counts *last,
		const struct scrub_position *at);

/* ---- scrub_repair.c ---- */

void scrub_pending_clear(struct scrub *s);
/* Everything that is pending: repaired, compared again. -ECANCELED. */
MUST_CHECK int scrub_repair(struct scrub *s);
