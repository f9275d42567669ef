/* SPDX-License-Identifier: Apache-2.0 */
/*
 * follow - a resync as the one who waits for it sees it, and its end in words.
 */
#pragma once

#include <jansson.h>

#include "base/cleanup.h"
#include "fs/cli/control.h"

/**
 * follow_resync - wait until the resync of @store (name or UUID) has ended,
 * drawing a progress line.
 * @ret_counts: as `resync --json`; NULL when it did nothing
 * Return: 0 the store is online, -errno (reported)
 */
MUST_CHECK int follow_resync(struct client *client, const char *store,
			     json_t **ret_counts);

/** follow_print - counts in words. @forecast: "would be", not "was". */
void follow_print(const json_t *counts, bool forecast);

/** follow_print_all - one object as it is, several as {"results": [...]}. */
MUST_CHECK int follow_print_json(json_t *results);
