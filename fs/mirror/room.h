/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private to fs/mirror: what may be taken before something must give: of the
 * budget of armed bytes, of the stores' free space, of their caches.
 */
#pragma once

#include "fs/mirror/internal.h"

/* ---- budget.c: lock held ---- */

void budget_reset(struct mirror *m);
/* A generation changed @bytes, durable everywhere @ns after it began. */
void budget_learn(struct mirror *m, uint64_t bytes, uint64_t ns);
/* What may still be armed before a checkpoint is due. */
uint64_t budget_spare(const struct mirror *m);

/* ---- stream.c ---- */

/* [start,end) was written: the stores may begin with what came before. */
void stream_note(struct mirror *m, struct node *n, uint64_t start,
		 uint64_t end);

/* ---- room.c: what the stores have left ---- */

/* What a new name counts: its inode, its entry, its rows. */
#define ROOM_NAME (16ull << 10)
/*
 * Before op_enter(): room for @bytes more on every store, or -ENOSPC. The
 * other form is for contents: what is mapped already needs none. After 0, and
 * when the operation has ended: room_done() with as many.
 */
MUST_CHECK int room_take(struct mirror *m, uint64_t bytes);
MUST_CHECK int room_take_data(struct mirror *m, struct node *n, uint64_t start,
			      uint64_t end);
void room_done(struct mirror *m, uint64_t bytes);
/* Something gave blocks back: who finds no room next looks again at once. */
void room_freed(struct mirror *m);
/*
 * Slot @i said @err, that it has no room. Where its filesystem has plenty, it
 * may be its disk that does not answer: it has to write something through then.
 * Return: @err, or what is wrong with the store.
 */
MUST_CHECK int room_doubt(struct mirror *m, unsigned int i, int err);
/*
 * What must not fail for want of room on slot @i: where @fn finds none, the map's
 * ballast is given up, contents get nothing more that was granted before, new
 * changes wait at the gate, and @fn is tried again. 0, -errno as it says.
 */
typedef int (*room_try_fn)(struct mirror *m, unsigned int i, const void *arg);
MUST_CHECK int room_try(struct mirror *m, unsigned int i, room_try_fn fn,
			const void *arg);
/*
 * The ballast of slot @i's map is taken back if there is room for it. The other
 * form: of all slots whose map has given it up. With the checkpoint's lock.
 */
void room_ballast(struct mirror *m, unsigned int i);
void room_ballasts(struct mirror *m);
