/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scrub - all replicas of a live volume against each other, node by node, in
 * a thread of its own; fs/mirror/scrub.h compares one.
 *
 * Nodes are visited in the order of their ids, so the position is a number and
 * an offset.  It lies in the map of every store that is online, is written
 * every few seconds, and a scrub that was ended, by an unmount or a kill, goes
 * on there when the next one is begun.  What is made while a scrub runs is the
 * next one's.
 *
 * One scrub at a time, and none beside a resync: it waits while one runs.
 *
 *	scrub.c		the thread, what others ask
 *	scrub_record.c	the position in the maps
 *	scrub_repair.c	findings, repaired
 */
#pragma once

#include "fs/mirror/scrub.h"
#include "resync/resync.h"

struct scrub;

struct scrub_options {
	bool repair;
	bool restart; /* not where the last one was ended */
	int prefer;   /* slot that is right where they differ; -1: none */
	bool has_rate;
	uint64_t bytes_per_second; /* of each replica; 0: no limit */
};

struct scrub_counts {
	uint64_t begun_ns; /* real time; 0: never */
	uint64_t ended_ns;
	uint64_t nodes;
	uint64_t bytes; /* compared; of one replica */
	uint64_t found;
	uint64_t fixed;	 /* of these, repaired and compared again */
	uint64_t busy;	 /* nodes and slices that never rested */
	uint64_t linked; /* nodes with links outside of the tree; not kept */
	/* Members that every node was compared on: as meta_list_get(). */
	char stores[META_LIST_BYTES];
};

struct scrub_state {
	bool running;
	const char *phase;	  /* "comparing", "waiting", "repairing", "" */
	struct scrub_counts now;  /* of the one that runs or was ended */
	struct scrub_counts last; /* of the last that came to its end */
	double rate_bytes;
	int result; /* of the last that ran here; 1: none did */
	char why[256];
};

/* A finding as it is reported. */
struct scrub_report {
	struct scrub_finding f;
	char *path; /* NULL: not known */
	bool fixed;
	char *why; /* why it was not; NULL: it was, or nothing to say */
};

/* As people and programs are told: "contents", "missing", ... */
const char *scrub_kind_word(enum scrub_kind kind);

MUST_CHECK int scrub_start(struct mirror *m, struct resync_engine *e,
			   uint64_t bytes_per_second, struct scrub **ret);
/* Ends what runs; its position is kept. NULL ok. */
void scrub_stop(struct scrub *s);

/**
 * scrub_begin - in the background.
 * Return: 0, -EBUSY (one runs, or a resync does), with a sentence in @why.
 */
MUST_CHECK int scrub_begin(struct scrub *s, const struct scrub_options *o,
			   char *why, size_t why_len);
/* -ENOENT: none runs. */
MUST_CHECK int scrub_cancel(struct scrub *s);
void scrub_state(struct scrub *s, struct scrub_state *ret);
/* Is the member among scrub_counts.stores? */
bool scrub_has(const char *stores, const char *uuid);
/*
 * The findings of the one that runs or ran last; the first thousand are kept.
 * A copy of number @at: 1, its path and why to be freed; 0: there is none.
 */
MUST_CHECK int scrub_report(struct scrub *s, size_t at,
			    struct scrub_report *ret);
