/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private to the engine of a live volume.
 *
 *	engine.c	threads, the queue, what others ask for
 *	engine_open.c	a member's store: opened, proved, related
 *	engine_run.c	laps until the target is in step
 *
 * Two threads: the worker runs one resync after the other; the monitor looks
 * once a second for members that are back, and whether the source of what
 * runs is still online.
 *
 * Locks: one leaf mutex over all state.  It is never held across a call into
 * the mirror, a store or a map.  The lap asks its questions (should_stop,
 * progress) with the target's map locked, so the answers take this mutex and
 * nothing else: hence the monitor's second task.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "base/lock.h"
#include "resync/resync.h"

struct engine_slot {
	bool attaching; /* somebody opens or looks at its store */
	bool forecast;	/* and reads both for a dry run, which may last */
	bool queued;
	bool cancel;
	bool ending; /* it is being given back */
	int last_result;
	struct resync_counts last_counts;
	char last_why[MIRROR_WHY_MAX];
	_Atomic bool expected; /* to be attached when it is there, once */
	uint64_t retry_ns;     /* monitor: not before this moment */
	uint64_t retry_wait_ns;
};

struct resync_engine {
	struct mirror *m; /* set at init, then read-only */
	_Atomic bool auto_attach;
	_Atomic bool closing;
	pthread_t worker;
	pthread_t monitor;

	struct mutex lock; /* LOCK_RANK_LEAF; guards all below */
	struct cond wake;  /* anything changed */
	bool stop;
	bool paused;
	uint64_t rate; /* bytes per second; 0: no limit */
	uint64_t queue_count;
	unsigned int queue[META_STORE_MAX];
	struct engine_slot slot[META_STORE_MAX];

	int running; /* slot; -1: none */
	int source;  /* slot it copies from; -1: none */
	bool source_gone;
	bool held;	      /* the volume is held still: no waiting */
	uint64_t deadline_ns; /* of the lap under the hold; 0: none */
	bool timed_out;
	struct resync_progress progress;
	/* smoothing, and the rate limit */
	uint64_t rate_at_ns;
	uint64_t rate_at_bytes;
	double rate_smooth;
	uint64_t paid_ns; /* when all bytes so far are paid for */
	uint64_t paid_bytes;
};

/* engine.c: what the slot's store is called, for messages. */
struct engine_name {
	char text[64];
};
struct engine_name engine_name(struct resync_engine *e, unsigned int slot);

/* ---- engine_open.c ---- */

/* A member's store and map, opened and proved; closed again on failure. */
struct engine_store {
	struct store *store;
	struct meta *meta;
	enum resync_relation relation;
	uint64_t from;
};
void engine_store_close(struct engine_store *s);
/* should_stop of what it runs outside of its laps; @arg: the engine. */
int engine_stops(void *arg);
MUST_CHECK int engine_store_open(struct resync_engine *e, unsigned int slot,
				 const char *path, bool dry,
				 struct engine_store *ret, char *why,
				 size_t why_len);
/*
 * Give the member's store a new map if its own is lost or shares no history
 * with the volume: as in step with nothing, all of it to be compared.
 */
MUST_CHECK int engine_store_rebuild(struct resync_engine *e, unsigned int slot,
				    const char *path, char *why,
				    size_t why_len);
/* Is the member's own store at its path hint? */
bool engine_store_is_back(struct resync_engine *e, unsigned int slot);
/* What @meta is towards @source's; refuses all but STALE and IN_STEP. */
MUST_CHECK int engine_relate_to(struct meta *source, struct meta *meta,
				enum resync_relation *ret_relation,
				uint64_t *ret_from, char *why, size_t why_len);
/* The same towards the lead's. */
MUST_CHECK int engine_relate(struct resync_engine *e, struct meta *meta,
			     enum resync_relation *ret_relation,
			     uint64_t *ret_from, char *why, size_t why_len);

/* ---- engine_run.c ---- */

/* Laps for an attached slot, to the end: joined (0), or unattached. */
MUST_CHECK int engine_run(struct resync_engine *e, unsigned int slot,
			  struct resync_counts *counts, char *why,
			  size_t why_len);
/* Nonzero: the lap is to end. Waits while paused. */
int engine_should_stop(void *arg);
