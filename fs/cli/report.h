/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report - a volume's state as JSON, the one form that the daemon sends, that
 * `status --json` prints, and that status_print.c turns into words.
 */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "resync/resync.h"
#include "resync/scrub.h"

/** report_state_name - "online", "detached", ...: the words of the JSON. */
const char *report_state_name(enum meta_store_state state);

/**
 * report_store - one member of a live volume, as `status --json` lists it.
 * @in_step: behind by nothing, whatever its state
 * @lead: else the map by which to say how far behind; NULL: not known
 */
MUST_CHECK int report_store(const struct mirror_slot_info *info, bool in_step,
			    struct meta *lead, json_t **ret_store);

/** report_volume - what stands around the stores. */
struct control_target;
MUST_CHECK int report_volume(const struct control_target *target,
			     json_t *report);

/** report_counts - the keys that `resync --json` ends with. */
MUST_CHECK int report_counts(const struct resync_counts *counts,
			     const char *store, json_t *report);

/** report_progress - lap, bytes_done, bytes_total, eta_seconds and more. */
MUST_CHECK int report_progress(const struct resync_progress *progress,
			       const char *store, json_t *report);

/**
 * report_scrub - running, phase, begun, nodes, bytes, found, repaired, busy,
 * stores, not_compared, rate_bytes, failed; last: null, or the same of the last
 * that came to its end, with ended.
 */
MUST_CHECK int report_scrub(struct mirror *m, struct scrub *scrub,
			    json_t *report);

/**
 * report_unmounted - what a store's own map says; the store is not changed.
 * @path: absolute. Errors are the caller's to report.
 */
MUST_CHECK int report_unmounted(const char *path, struct meta *map,
				const char *store_name, json_t **ret_report);

/** report_list - @before and the names of a list of texts, with commas. */
void report_list(const json_t *list, const char *before);
/* A line of the members that a scrub has compared, and has not. */
void report_scrub_stores(const json_t *counts, const char *indent);

/** status_print - a report in words, for a terminal of 80 columns. */
MUST_CHECK int status_print(const json_t *report);
