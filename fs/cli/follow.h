/* SPDX-License-Identifier: Apache-2.0 */
/*
 * follow - a resync as the one who waits for it sees it, and its end in words.
 */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "fs/cli/control.h"

enum {
	FOLLOW_TEXT_MAX = 4200,
};

/**
 * follow_resync - wait until a resync has ended, drawing a progress line, and
 * saying when it is paused.
 * @begun: the answer that says that it has begun: "store" and "uuid" of it
 * @ret_counts: as `resync --json`; NULL when it did nothing
 * Return: 0 the store is online, -errno (reported)
 */
MUST_CHECK int follow_resync(struct client *client, const json_t *begun,
			     json_t **ret_counts);

/**
 * follow_rest - between two looks at something that began at @begun_ns
 * (clock_mono_ns()): what is short is not told late, what is long not asked for
 * again and again.
 */
void follow_rest(uint64_t begun_ns);

/**
 * follow_until_resume - "until `seqmirror resync --resume MOUNTPOINT`", which is
 * how long all resyncs rest that are paused.
 */
char *follow_until_resume(char buf[static FOLLOW_TEXT_MAX],
			  const struct client *client);

/** follow_print - counts in words. @forecast: "would be", not "was". */
void follow_print(const json_t *counts, bool forecast);

/** follow_print_all - one object as it is, several as {"results": [...]}. */
MUST_CHECK int follow_print_json(json_t *results);
