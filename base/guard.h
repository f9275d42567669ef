/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls that may never return.
 *
 * A system call on a disk or a server that hangs cannot be taken back: the
 * thread that made it is gone until the kernel lets it go.  So a guard, one
 * for all files of one store or of one map, has its calls made by helper
 * threads, and whoever wants one waits with an eye on the clock.  Whoever gives
 * up leaves the call behind:
 *
 *	- the call is a heap object that owns all it touches (copies of names
 *	  and of what is written, buffers for what is read), so nobody waits
 *	  for it to be able to free something;
 *	- the thread that is stuck holds no lock of ours;
 *	- a descriptor that it was given is not closed before it has ended,
 *	  whoever calls close_fd(): else its number could be another file's
 *	  when the call is made at last.
 *
 * Two reasons to give up.  guard_give_up() ends all waiting on a guard, at
 * once and for good: its store is out, and every later call is refused with
 * -ETIMEDOUT.  A reader who can ask elsewhere says so with guard_hurry_begin();
 * his calls end with -ETIME when they take longer, and nobody is blamed for it.
 *
 *	struct my_call *k = malloc(sizeof(*k));	begins with a guard_call
 *	k->base = (struct guard_call){.run = my_run, .late = my_late,
 *				      .fd = {fd, -1}};
 *	err = guard_run(g, &k->base);
 *	if (!err) {
 *		result = k->result;
 *		free(k);
 *	}					else it is not ours any more
 *
 * A guard that is not on makes nothing of all this: ask guard_is_on() and make
 * the call.  Inside of a helper it never is, so what is made of several calls
 * is guarded once.
 *
 * Locks: a guard's own is taken under any other (LOCK_RANK_GUARD).
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/lock.h"

struct guard;

enum guard_step {
	GUARD_QUEUED,
	GUARD_RUNNING,
	GUARD_ENDED,
};

struct guard_call {
	/* On a helper. */
	void (*run)(struct guard_call *c);
	/*
	 * Given up: free it, and what it got since then (a descriptor...).
	 * Also when it was never run. On any thread.
	 */
	void (*late)(struct guard_call *c);
	int fd[2]; /* what it works on; -1: nothing */
	/* Left behind when it has not gone on for so long; 0: waited for. */
	uint64_t patience_ms;

	/* The guard's. */
	struct guard *guard;
	struct guard_call *next, **prevp; /* in the queue, or running */
	struct guard_call *left_next, **left_prevp; /* among all left behind */
	struct cond ended;
	_Atomic uint64_t since_ns;
	enum guard_step step;
	bool left;	  /* nobody waits for it any more */
	bool close_fd[2]; /* ... and it has to close them */
};

/** guard_new - not on. NULL: no memory. */
struct guard *guard_new(void);

/**
 * guard_free - when nobody makes calls under it any more; waits for those
 * that were left behind.  NULL is fine.
 */
void guard_free(struct guard *g);

/** guard_on - from now on calls are made by helpers. */
void guard_on(struct guard *g);

/**
 * guard_on_within - as guard_on(), and whoever has waited for a call that has
 * not gone on for @patience_ms gives the guard up: where nobody watches it.
 * guard_on() ends that.
 */
void guard_on_within(struct guard *g, uint64_t patience_ms);

/** guard_is_on - for the calls of this thread. */
bool guard_is_on(const struct guard *g);

/**
 * guard_run - have @c made and wait for it.
 * Return: 0 it has ended and is the caller's again; else it is not:
 *	-ETIMEDOUT the guard was given up, -ETIME it takes too long for one in
 *	a hurry or for @c->patience_ms, -ENOMEM (nothing was done)
 */
MUST_CHECK int guard_run(struct guard *g, struct guard_call *c);

/**
 * guard_post - have @c made some time after all calls that were left behind
 * have ended, and do not wait for it. @c->late() is what releases it.
 */
void guard_post(struct guard *g, struct guard_call *c);

/** guard_give_up - whoever waits is let go, whoever comes is refused. */
void guard_give_up(struct guard *g);

struct guard_state {
	bool given_up;
	unsigned int left; /* calls that were left behind and have not ended */
	uint64_t waits_ms; /* how long the oldest one under way has lasted */
};
void guard_look(struct guard *g, struct guard_state *ret);

/*
 * guard_hurry_begin - from now on calls of this thread last @wait_ms at most;
 * 0: as long as they take.  guard_hurry_end - as it was before.  These nest.
 * The end says whether a call in between has ended with -ETIME: SQLite has one
 * error for everything.
 */
struct guard_hurry {
	uint64_t wait_ms;
	bool late;
};
struct guard_hurry guard_hurry_begin(uint64_t wait_ms);
bool guard_hurry_end(struct guard_hurry before);
/* Has one so far? */
bool guard_was_late(void);

/** guard_any_left - has a call of any guard been left behind? */
bool guard_any_left(void);

/*
 * guard_count - how many calls have ended since it was called first, made by
 * helpers or announced by guard_counted(): does anything go on?
 */
uint64_t guard_count(void);
void guard_counted(void);

/** guard_progress - on a helper: this call is long, and goes on. */
void guard_progress(void);
