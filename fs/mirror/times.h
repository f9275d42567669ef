/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The times of the last modification (mtime) and of the last change (ctime).
 *
 * With writeback caching the kernel keeps both for regular files and tells them
 * by SETATTR, perhaps before the pages that they stand for.  All other times
 * are those of the lead's file.
 *
 * A ctime cannot be set on any filesystem (inode(7)), and what the mirror does by
 * itself moves it: the modification times that a checkpoint makes equal, a
 * repair, a resync.  So each map keeps for its store what applications see, and
 * what the store's file had when that was written (struct meta_ctime).  As long
 * as the file still has it, the first counts; when somebody has changed the
 * file since, the file's own.  Both are written with the checkpoint after a
 * change, the same for all stores, and copied by laps; nothing is numbered or
 * armed for them.  Where a crash comes between, the file's own shows: when the
 * store was last called for it, on our behalf or somebody's.
 */
#pragma once

#include "fs/mirror/internal.h"

/* ---- mtime ---- */

/* The modification time that the kernel set, if it has the last word. */
bool node_mtime_get(struct node *n, struct timespec *ret);
/* The same for a checkpoint: and who has it, by what is known. */
bool node_mtime_take(struct node *n, struct timespec *ret,
		     slot_mask *ret_given);
/* Around setting it on every online store, node.lock held; @all: they took it. */
void node_mtime_giving(struct node *n);
void node_mtime_given(struct node *n, const struct timespec *mtime, bool all);
/* The kernel has it now. @given: who has it for sure, if anybody. */
void node_mtime_set(struct mirror *m, struct node *n,
		    const struct timespec *mtime, slot_mask given);
/* Contents are about to change, which moves the stores' times; they have. */
void node_mtime_keep(struct mirror *m, struct node *n);
void node_mtime_moved(struct mirror *m, struct node *n);
/* A checkpoint gives them to slot @i: acknowledged long ago, and an answer that
 * there is no room (a btrfs at its quota) is not for the application. */
MUST_CHECK int times_put(struct mirror *m, unsigned int i, struct store_obj obj,
			 const struct timespec times[2]);

/* ---- ctime ---- */

/* Does the kernel keep the times of @n? */
bool node_kernel_times(struct mirror *m, const struct node *n);
/* In nanoseconds; 0 where they do not fit into 64 bits. */
int64_t ctime_of(const struct stat *st);
/* What applications see, in what slot @i says of its file. */
void node_ctime_show(struct mirror *m, struct node *n, unsigned int i,
		     struct stat *st);
/* The kernel has said it, for a file whose times it keeps. */
void node_ctime_told(struct mirror *m, struct node *n,
		     const struct timespec *ctime);
/*
 * Is @ctime, which the kernel says, another one, and no operation that it comes
 * after was seen?  Then that itself is one, which changes nothing else:
 * chown(2) to whom it belongs, utimensat(2) to what it was.
 */
bool node_ctime_is_news(struct node *n, const struct timespec *ctime);
/* An operation has moved the one of the stores' files, on some of them at least:
 * what they say counts, until the kernel says something else. */
void node_ctime_moved(struct mirror *m, struct node *n);
/* The same after an operation that ended with @r: the answer of a store that
 * refused it means that nothing was done anywhere.  Where a part was done all the
 * same, its file says another time than is known of it. */
void node_ctime_tried(struct mirror *m, struct node *n, int r);
/*
 * The mirror itself is about to move it: what applications see stays what it
 * is, which is @st of slot @i, not dressed, if nothing else is known.
 */
void node_ctime_keep(struct mirror *m, struct node *n, unsigned int i,
		     const struct stat *st);
bool node_ctime_is_kept(struct node *n);
/* It has: slot @i says @backing from now on (0: cannot tell) for what
 * node_ctime_keep() kept. */
void node_ctime_seal(struct mirror *m, struct node *n, unsigned int i,
		     int64_t backing);
void node_ctime_sealed(struct node *n);
/* For the row of slot @i. */
struct meta_ctime node_ctime_row(struct mirror *m, struct node *n,
				 unsigned int i);
