/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a command waits for. One that looks at unmounted stores has no limit of
 * time: a disk may be slow, and a call on one that hangs cannot be taken back.
 * So at least it is told: a line after five seconds in which the command had
 * not a moment's work, another one after twice as long, and so on.
 */
#pragma once

#include <stddef.h>

/** waits_for - from now on this thread works with the disk behind @path. */
void waits_for(const char *path);

/** waits_for_any - the same, with several. */
void waits_for_any(const char *const *paths, size_t count);

/** waits_in_background - whoever asked can end this at any time: the parent waits
 * for this process, and takes a Ctrl-C for itself. */
void waits_in_background(void);

/** waits_end - not any more: it waits for nothing, or for a daemon. */
void waits_end(void);
