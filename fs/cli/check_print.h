/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `check` says, as lines or as one JSON object. Findings are written as
 * they come: there may be as many as there are files.
 */
#pragma once

#include "resync/check.h"
#include "resync/rebuild.h"

struct check_print;

struct check_print *check_print_new(const struct store *store, bool json);
void check_print_free(struct check_print *p);

MUST_CHECK int check_print_found(struct check_print *p,
				 const struct check_finding *f);
/* Another round follows; what it finds is still wrong. */
void check_print_repaired(struct check_print *p, uint64_t seq);
/* Has an object been begun that only check_print_end() ends? */
bool check_print_is_open(const struct check_print *p);
/* @complete: what @result counts is all. */
MUST_CHECK int check_print_end(struct check_print *p,
			       const struct check_result *result, bool complete,
			       const char *word);

void check_print_progress(struct check_print *p, uint64_t places);
void check_print_progress_end(struct check_print *p);

/* --rebuild --json */
MUST_CHECK int check_print_rebuilt(const struct store *store,
				   const struct rebuild_counts *n);
