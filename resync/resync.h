/* SPDX-License-Identifier: Apache-2.0 */
/*
 * resync - one mechanism that makes a target store equal to a source: reattach,
 * crash repair, a new empty disk, a restored backup, two disks on a bench.
 *
 *	delta = what the source's map numbers above `from` (after a fork: either
 *	map), plus everything under the target's own intents
 *
 * A lap: checkpoint the source -> cut C; then names, data, unmaps, attributes;
 * make the target durable; close (durable_seq = C, lineage adopted).  Laps
 * follow one another while applications work; the last, short one runs under
 * mirror_hold() and the target goes online.
 *
 *	lineage.[ch]  who is newer, from where; pure        plan.[ch]  pure steps
 *	recover.c     what a crash left on a source         side.[ch]  one store + map
 *	tree.c        names, through limbo/                 copy.c     data, unmaps
 *	attr.c        attributes                            lap.c      one lap
 *	engine.[ch]   laps over a live volume, in threads   assemble.c at mount
 *	offline.c     between unmounted stores            join.c     its end: an epoch
 *
 * Errors: 0 or -errno; a sentence for the user in resync_result.why.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "fs/mirror/mirror.h"

/* Exact counts of what was done (or, of a dry run, would be). */
struct resync_counts {
	uint64_t from_seq;
	uint64_t to_seq;
	uint64_t laps;
	uint64_t nodes; /* nodes of the delta that were touched */
	uint64_t entries_created;
	uint64_t entries_removed;
	uint64_t entries_renamed;
	uint64_t bytes_copied;	 /* written to the target; whole blocks */
	uint64_t bytes_compared; /* read on both and compared */
	uint64_t bytes_unmapped; /* mapped on the target, now holes */
	uint64_t found;		 /* foreign objects moved to found/ */
	/* Of bytes_copied: where the target maps nothing yet. */
	uint64_t bytes_needed;
	/* Of a dry run: what is free again before any of that is written. */
	uint64_t bytes_freed;
	/* What its disk lacks for it: of a dry run, and after -ENOSPC. */
	uint64_t bytes_short;
	/* The same of inodes, where a filesystem has a fixed number. */
	uint64_t inodes_needed;
	uint64_t inodes_freed;
	uint64_t inodes_short;
	/* Blocks of the last lap that no store can read (-EREMOTEIO). */
	uint64_t bytes_unreadable;
	double seconds;
	/* After this error: the path and what of it the target cannot hold. */
	int misfit_err;
	char misfit[192];
};

struct resync_progress {
	struct resync_counts counts;
	uint64_t bytes_total; /* of this lap, as far as planned */
	uint64_t bytes_done;
	double rate_bytes;  /* per second, smoothed */
	double eta_seconds; /* < 0: not known yet */
	const char *phase;  /* "names", "data", "attributes", ... */
};

struct resync_control {
	bool dry_run;
	uint64_t bytes_per_second; /* 0: no limit */
	/* Polled between steps; nonzero ends the lap with -ECANCELED. */
	int (*should_stop)(void *arg);
	void (*progress)(void *arg, const struct resync_progress *p);
	void *arg;
	/* Before the first change of the target; not 0: nothing is changed, and
	 * the lap ends with it. Asked by each lap. */
	int (*begin)(void *begin_arg);
	void *begin_arg;
};

/* ---- one lap; the engine and offline are made of these ---- */

struct idmap;

/* One end of a resync. For a live source, @live is the volume and @slot its
 * slot; for an unmounted store @live is NULL. */
struct resync_side {
	struct store *store;
	struct meta *meta;
	struct mirror *live;
	unsigned int slot;
	/* Directories under the store's own intents (NULL: none): in a copy no
	 * node is found by a path through them, for the name may lead to
	 * another file than the map says. */
	const struct idmap *unproved;
	struct side_dirs *dirs; /* side_dirs.h; NULL: none */
	/* Asked while a copy is settled; nonzero ends it with -ECANCELED. NULL: no. */
	int (*should_stop)(void *arg);
	void *stop_arg;
};

enum resync_relation {
	RESYNC_IN_STEP, /* nothing to do at all: same tip, same durable, no intents */
	RESYNC_STALE, /* target merely stale: may be overwritten from `from` */
	RESYNC_FORK,  /* both sides went on alone */
	RESYNC_NEWER, /* the target is newer than the source */
	RESYNC_FOREIGN, /* another volume, or nothing in common */
};

/**
 * resync_relate - what @target is towards @source (DESIGN "Lineage").
 * @ret_from: set for STALE (and for FORK: the `from` that --prefer would use).
 */
MUST_CHECK int resync_relate(struct meta *source, struct meta *target,
			     enum resync_relation *ret_relation,
			     uint64_t *ret_from);

/**
 * resync_lap - bring @target to the source's state as of now or later.
 * @from: see above; @both: the symmetric delta (after a fork), and node ids
 * from @fork_node on mean other nodes on the two sides.  @cut: the
 * source's durable seq, already checkpointed.  @last: the source is held
 * still; then the target must come out exactly equal, limbo empty.
 * On success the target's map is closed at @cut with the source's lineage.
 * -EREMOTEIO: some blocks can be read on no store; all else is there.
 */
struct resync_lap_args {
	struct resync_side source;
	struct resync_side target;
	uint64_t from;
	uint64_t cut;
	uint64_t fork_node; /* with both */
	bool both;
	bool last;
	const struct resync_control *control;
};
MUST_CHECK int resync_lap(const struct resync_lap_args *args,
			  struct resync_counts *counts);

/* resync_why_dry - the same of a dry run, which has to leave modes alone. */
void resync_why_dry(int err, const struct resync_counts *counts, char *why,
		    size_t why_len);
/* resync_why - why a resync ended with @err, for people. */
void resync_why(int err, const struct resync_counts *counts, char *why,
		size_t why_len);

/* ---- crash repair of a source, before it is mounted or copied from ---- */

/*
 * Everything under the intents of @metas (all present members, the source's
 * own first) gets fresh seqs on the source: mapped ranges re-read, armed
 * directories listed anew, a new epoch founded with @source alone.  The
 * source's intents are cleared, the others keep theirs.  @ret_bytes: what was
 * looked at.  Nothing is done when there are none.
 */
MUST_CHECK int resync_recover(struct resync_side *source,
			      struct meta *const *others, size_t other_count,
			      uint64_t *ret_bytes);

/* ---- assembling a volume from present stores (mount) ---- */

/* Room for four paths of some hundred bytes, and what is said of them. */
#define RESYNC_WHY_MAX 2048

struct resync_assembly {
	struct mirror_member_in members[META_STORE_MAX];
	/* present but not in step: to be attached after mirror_open() */
	struct store *late_store[META_STORE_MAX];
	struct meta *late_meta[META_STORE_MAX];
	/* present, but a copy of which all is to be compared: closed again, and to be
	 * attached after mirror_open() as if it had come back then */
	bool unclean_copy[META_STORE_MAX];
	size_t count;
	unsigned int lead;
	uint64_t recovered_bytes;
	char why[RESYNC_WHY_MAX]; /* for people, when an error is returned */
};

/* What was found, before anything on it is changed. */
struct resync_found {
	const struct meta_member *rows; /* as in resync_assembly.members */
	size_t count;
	const char *paths[META_STORE_MAX]; /* of the stores that are there */
	size_t path_count;
	bool changes; /* a recovery follows, or a copy's files are found anew */
};

/* Refusals of whoever mounts: asked before anything on a store is changed; what
 * it returns but 0 ends it, and it has told why.  May be asked again, where a
 * store gave no answer after that. */
struct resync_question {
	int (*may)(void *arg, const struct resync_found *found);
	void *arg;
};

/**
 * resync_assemble_asking - open, relate, pick the source, ask, recover it.
 * @paths: stores named by the user; members not named are looked for at their
 * path hints.  Refuses (-EINVAL, -EBUSY, -EEXIST two stores with one UUID,
 * -EREMCHG a fork, -ENODEV a member that was online at a crash is missing and
 * !degraded, ...) with a sentence in why, everything closed and unchanged.
 * A store that does not answer for the limit (resync/reach.h) is missing.
 */
MUST_CHECK int resync_assemble_asking(const char *const *paths,
				      size_t path_count, bool degraded,
				      const struct resync_question *question,
				      struct resync_assembly *ret);
static inline MUST_CHECK int resync_assemble(const char *const *paths,
					     size_t path_count, bool degraded,
					     struct resync_assembly *ret)
{
	return resync_assemble_asking(paths, path_count, degraded, NULL, ret);
}

/* Close what was not taken out (store and meta NULL). */
void resync_assembly_close(struct resync_assembly *a);

/* ---- the engine of a live volume ---- */

struct resync_engine;

struct resync_engine_options {
	uint64_t bytes_per_second;
};
MUST_CHECK int resync_engine_start(struct mirror *m,
				   const struct resync_engine_options *o,
				   struct resync_engine **ret);
/*
 * From now on members that reappear are attached by themselves. To be called
 * when the stores that mounting has opened were handed over: it would find
 * them busy.
 */
void resync_engine_watch(struct resync_engine *e);
/* Attach the member in @slot when it is there, once, whether it watches or not. */
void resync_engine_expect(struct resync_engine *e, unsigned int slot);
/* The volume is about to close: whoever reads a tree for it gives up. */
void resync_engine_closing(struct resync_engine *e);
/* Cancels what runs, waits for its threads. */
void resync_engine_stop(struct resync_engine *e);

/**
 * resync_engine_attach - bring the member in @slot back and into step, in the
 * background. @path: where it lies now (NULL: its path hint). Proves the
 * identity first; refuses forks (-EREMCHG), others with a sentence in @why.
 * 0 as well for one that came back by itself meanwhile.
 */
MUST_CHECK int resync_engine_attach(struct resync_engine *e, unsigned int slot,
				    const char *path, char *why,
				    size_t why_len);
/**
 * resync_engine_take_back - the same for a member whose map is lost: it gets a
 * new one, everything on it is compared, and what differs is written as the
 * volume has it; what the volume does not have goes to found/.  Only at a
 * person's word: such a store may be ahead of the volume.  Reads the store's
 * tree before it returns.  A map that can be used is left as it is.
 */
MUST_CHECK int resync_engine_take_back(struct resync_engine *e,
				       unsigned int slot, const char *path,
				       char *why, size_t why_len);
/* The same with a store that resync_assemble() has opened already. */
MUST_CHECK int resync_engine_attach_open(struct resync_engine *e,
					 unsigned int slot, struct store *store,
					 struct meta *meta);
/* What would be done for @slot; the target must be present. @path: as above. */
MUST_CHECK int resync_engine_forecast(struct resync_engine *e,
				      unsigned int slot, const char *path,
				      struct resync_counts *ret, char *why,
				      size_t why_len);
MUST_CHECK int resync_engine_pause(struct resync_engine *e, bool paused);
MUST_CHECK int resync_engine_cancel(struct resync_engine *e, unsigned int slot);
void resync_engine_set_rate(struct resync_engine *e, uint64_t bytes_per_second);

struct resync_engine_state {
	bool running;
	bool paused;
	unsigned int slot;
	struct resync_progress progress;
	/* of the last that ended, per slot: */
	int last_result; /* 0, -errno, 1: none yet */
	struct resync_counts last_counts;
	char last_why[MIRROR_WHY_MAX];
};
void resync_engine_state(struct resync_engine *e, unsigned int slot,
			 struct resync_engine_state *ret);
/* Wait until nothing runs for @slot; its result; -ETIMEDOUT (ms; -1: no limit). */
MUST_CHECK int resync_engine_wait(struct resync_engine *e, unsigned int slot,
				  int timeout_ms);

/* ---- between unmounted stores ---- */

/**
 * resync_offline - bring every other of @paths in step with the furthest.
 * @prefer: index of the side to keep after a fork, -1: refuse forks.  With it
 * a store whose map is lost, or was made anew, is compared with that side, and
 * a member that may have gone on alone need not be there (else -ENODEV).  One
 * in the middle of a resync is refused (-EREMCHG) beside a store that has all
 * of what it has in part; without such a store it is a mixture, and kept.
 * @ret_counts: one per path (the source's stays zero).
 * @why: the reason of an error; else perhaps a remark (there was nothing to do;
 * the preferred side is a mixture; of a dry run: the source would be recovered
 * first, so more may differ).
 */
MUST_CHECK int resync_offline(const char *const *paths, size_t count,
			      int prefer, const struct resync_control *control,
			      unsigned int *ret_source,
			      struct resync_counts *ret_counts, char *why,
			      size_t why_len);
