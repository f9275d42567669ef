/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A part of fs/mirror/internal.h, which includes it: calls that go to several
 * slots, and slots that do not answer them.
 */
#pragma once

#include "fs/mirror/internal.h"

/* ---- fan.c: one call, several slots ---- */

/* One call on one slot: 0 or a count, or -errno. */
typedef int (*slot_fn)(struct mirror *m, unsigned int slot, void *arg);

/*
 * A change that is all or nothing on each store, on every slot of the
 * operation, lead first. What the first slot answers (EEXIST...) is the
 * answer, and nobody else is asked. No room on a later one: @undo takes it
 * back where it was done (NULL: cannot be undone, the full one is put out).
 * A later one that answers otherwise is not what its map says: @about is put
 * in doubt there, and it is put out.
 */
MUST_CHECK int fan_change(struct op *op, slot_fn fn, slot_fn undo,
			  struct node *about, void *arg, const char *what);

/*
 * A change of the names in @dir failed with @r, not as an answer: who stays may
 * have done it by half, and only the files know. In doubt beyond the next
 * checkpoint.  fan_change() does it for @about.
 */
void change_in_doubt(struct op *op, struct node *dir, int r);
/* slots.c: the same on one slot. */
void slot_suspect_names(struct mirror *m, unsigned int i, struct node *dir);

/* ---- half.c: what the last store did and called an error ---- */

/* Neither an answer nor want of room or of our own: it may have been done. */
bool err_is_doubt(int err);

/* What @look says of one slot: nothing was done, all of it; -errno: it is not
 * known, or a part. */
enum {
	HALF_NOT_DONE,
	HALF_DONE
};

/*
 * What becomes of @r, by which a change ended that nobody acknowledged: 0 if the
 * only store that is left says to @look that it is done, else @r.  With names,
 * where it does not say, by_half is set.
 */
MUST_CHECK int settle_change(struct op *op, slot_fn look, void *arg,
			     const char *what, int r);
MUST_CHECK int settle_names(struct op *op, slot_fn look, void *arg,
			    const char *what, int r);

/* What a name leads to now on slot @i; -errno: it does not say. */
enum {
	NAME_ABSENT,
	NAME_OF_IT,
	NAME_OF_ANOTHER
};
MUST_CHECK int name_now(struct mirror *m, unsigned int i, struct node *dir,
			const char *name, struct node *n);

/*
 * Once it is not known what was done, a name may lead to another node than memory
 * says: nothing is to be done to that. 0; -ESTALE, or why it cannot be said.
 */
MUST_CHECK int name_leads_to(struct mirror *m, unsigned int i, int dirfd,
			     const char *name, struct node *n);

/*
 * The order in which questions go to @mask: lead first, but those last that
 * take long just now.
 */
unsigned int ask_order(struct mirror *m, slot_mask mask,
		       unsigned int order[META_STORE_MAX]);
/*
 * Ask one after the other until @done; one that takes long is left for the
 * next (-ETIME in @res, no blame), and asked again when nobody else has the
 * answer.  @res: what each said, by place; @ret_by: who had it, or @count.
 */
typedef bool (*ask_done_fn)(int r, const void *arg);
MUST_CHECK int ask_in_turn(struct mirror *m, const unsigned int order[],
			   unsigned int count, slot_fn fn, void *arg,
			   ask_done_fn done, int res[], unsigned int *ret_by);

/*
 * A question that any store can answer: lead first, the next one when it
 * fails. Counts errors and puts out who failed as a device or too often.
 */
MUST_CHECK int fan_ask(struct mirror *m, slot_fn fn, struct node *about,
		       void *arg, const char *what);

/*
 * fd.c: the generation of contents that @n's descriptor on slot @i was closed
 * over before they were synced, 0 for none: an fsync of another descriptor need
 * not tell what became of them.  What does tell it, and was done, is "found".
 */
uint64_t node_sync_lost(struct mirror *m, struct node *n, unsigned int i);
void node_sync_found(struct mirror *m, struct node *n, unsigned int i,
		     uint64_t gen);

/*
 * Slot @i did not answer @what, and another one did: count it, and put it out
 * if it fails as a device or too often.
 */
void slot_blame(struct mirror *m, unsigned int i, struct node *about, int err,
		const char *what);

/*
 * map_ask.c: the map of slot @i cannot be read: counted, its store is put out.
 * False: @err is our own want, or it is the last one.
 */
bool map_blame(struct mirror *m, unsigned int i, int err);

/* ---- hang.c: stores that do not answer ---- */

/* Calls on every online store are watched from now on, if that is wanted. */
MUST_CHECK int watch_start(struct mirror *m);
void watch_stop(struct mirror *m);
/* Lock held, open: have calls on it been left behind that have not ended? */
bool slot_calls_left(const struct slot *s);
/* Lock held or nobody else knows it: the same for a store that has come. */
void slot_guard_on(struct mirror *m, unsigned int i);
/* How long a question waits before another store is asked; 0: for good. */
uint64_t hurry_ms(const struct mirror *m);

/* epoch.c: room for what it records. */
MUST_CHECK struct record *record_alloc(void);
