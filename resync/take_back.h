/* SPDX-License-Identifier: Apache-2.0 */
/*
 * take_back - before a resync of unmounted stores: those whose map is lost, or
 * was made anew from their files, get one that follows the preferred side.
 *
 * Without a preferred side nothing is done: who has no history cannot be told
 * older or newer, so a person must say whose contents count.
 */
#pragma once

#include "resync/resync.h"

struct take_back {
	const char *const *paths;
	size_t count;
	int prefer; /* index of the side to keep; -1: none was named */
	const struct resync_control *control;
};

/** take_back_all - Return: 0, -errno with a sentence in @why. */
MUST_CHECK int take_back_all(const struct take_back *args, char *why,
			     size_t why_len);
