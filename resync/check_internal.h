/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private to the files of check.
 */
#pragma once

#include "base/vec.h"
#include "resync/check.h"
#include "resync/check_walk.h"

/* The intents of the map: as many as a crash leaves, no more. */
struct check_doubt {
	VEC(struct meta_intent) intents; /* by node, kind, start */
	uint64_t durable;
};

struct check {
	const struct check_args *args;
	const struct resync_side *side;
	struct meta_reader *rd;
	struct check_result *n;
	struct check_doubt doubt;
	uint64_t seq_reserved;
	uint64_t node_reserved;
	uint64_t horizon;
	bool unsettled;	     /* a copy: a mount finds the files by path */
	uint64_t hole_files; /* CHECK_HOLES is told once, at the end */
	uint64_t hole_bytes;
	char *at; /* where the walk is, for messages; owned */
	char *buffer;
	/* names of the directory being listed that disagree */
	bool dir_differs;
};

#define CHECK_BUFFER (1u << 20)

/** check_tell - count it and hand it over. */
MUST_CHECK int check_tell(struct check *c, const struct check_finding *f);
/** check_tell_place - the same, of a name. @detail may be NULL. */
MUST_CHECK int check_tell_place(struct check *c, const struct check_place *p,
				enum check_class class, enum check_kind kind,
				const char *detail);
/** check_poll - another @count names or rows were looked at. */
MUST_CHECK int check_poll(struct check *c, uint64_t names, uint64_t rows);

/* ---- check_doubt.c ---- */

MUST_CHECK int check_doubt_load(struct check *c);
void check_doubt_done(struct check_doubt *d);
/* Under an intent of this kind? */
bool check_doubt_has(const struct check_doubt *d, uint64_t node,
		     enum meta_intent_kind kind);
bool check_doubt_any(const struct check_doubt *d, uint64_t node);
bool check_doubt_range(const struct check_doubt *d, uint64_t node,
		       struct range r);

/* ---- check_file.c ---- */

/* A file that is the node of its row. */
MUST_CHECK int check_file(struct check *c, const struct check_place *p);

/* ---- check_lost.c ---- */

/* Of a name that is the node of its row: the same file as under the others? */
MUST_CHECK int check_lost_link(struct check *c, const struct check_place *p);

/* ---- check_rows.c ---- */

MUST_CHECK int check_rows(struct check *c);
