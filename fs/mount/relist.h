/* SPDX-License-Identifier: Apache-2.0 */
/*
 * relist - directories whose files are opened and looked at again and again.
 *
 * With writeback caching the kernel forgets at each close how many blocks a
 * file has, so the next stat(2) of it is a GETATTR: a message for each file of
 * a tree that a program walks and reads (a backup, a build, a search), though
 * it holds all else. A listing with attributes (READDIRPLUS) brings them for
 * hundreds of files at once, but the kernel keeps listings too and does not
 * ask again.
 *
 * So a directory whose files were asked for one by one is remembered for a
 * while, and whenever it has been listed to its end the kernel is told that
 * this listing is old: the next one comes with attributes. What it costs a
 * directory that is listed only is a message or two for each listing, for
 * RELIST_TIMES listings; then it has to show again that it is worth it.
 *
 * The listing that shows it comes too late for itself: its files are asked for
 * when it has been read. But who reads a tree goes on to the directory beside
 * it, so those after it in the same directory are taken for such as well.
 *
 * The memory is a table of fixed size in which directories displace each
 * other. A hint: nothing is wrong when one is missed.
 *
 * Ref: fuse_flush(), fuse_use_readdirplus() in the kernel's fs/fuse
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/lock.h"

enum {
	RELIST_PLACES = 1024,
	RELIST_ASKED = 8,  /* files asked for, one by one, that make it so */
	RELIST_TIMES = 16, /* listings for which it stays so */
	RELIST_AHEAD = 64, /* directories beside it that become so with it */
};

struct relist_place {
	uint64_t dir;
	uint16_t asked;
	uint16_t times;
};

struct relist {
	struct mutex lock; /* LOCK_RANK_LEAF */
	struct relist_place place[RELIST_PLACES] GUARDED_BY(lock);
};

void relist_init(struct relist *relist);
void relist_done(struct relist *relist);

/** relist_asked - a file of @dir (0: not known) was asked for by GETATTR.
 * Return: whether the kernel's listing of @dir is better dropped, now. */
bool relist_asked(struct relist *relist, uint64_t dir);

/** relist_along - @dir lies beside one that was just dropped. Return: the same. */
bool relist_along(struct relist *relist, uint64_t dir);

/** relist_ended - @dir has been listed to its end. Return: the same. */
bool relist_ended(struct relist *relist, uint64_t dir);
