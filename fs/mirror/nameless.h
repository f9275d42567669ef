/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private to fs/mirror: nodes without a name. Each store has them for itself, in
 * a descriptor or not at all.
 */
#pragma once

#include "fs/mirror/internal.h"

/* From node_fd_get(): no name, and nothing of it on this store. */
#define ENODE_ELSEWHERE EREMOTE

/* op.c: as op_judge(), but nobody is put out. */
MUST_CHECK int op_judge_unlinked(struct op *op, struct node *n, slot_mask tried,
				 const int res[]);

/*
 * remove.c: is this name of @n, which is no directory, the only one in the
 * volume? The caller holds what keeps its names as they are.
 */
MUST_CHECK int name_is_last(struct mirror *m, struct node *n, bool *ret_last);
/* map_ask.c: has it two or more in the map? What is on its way there is waited
 * for. */
MUST_CHECK int map_ask_several(struct mirror *m, struct node *n,
			       bool *ret_several);
/* feed.c: all that was put about the names of @n is in the maps. */
void feed_drain_names(struct mirror *m, const struct node *n);

/* fd.c: it missed a change on slot @i, and is not read there again. */
void node_fd_lose(struct mirror *m, struct node *n, unsigned int i);
/* The first descriptor of such a node; and away with it, unused. */
void node_fd_adopt(struct mirror *m, struct node *n, unsigned int i, int fd);
void node_fd_drop(struct mirror *m, struct node *n, unsigned int i);

/* After a change of contents or size in [start,end). */
void nameless_changed(struct node *n, uint64_t start, uint64_t end);
/*
 * Does slot @slot alone, of @online, have one that the kernel knows?  Nothing
 * changes meanwhile.  Also if that cannot be told.
 */
bool nameless_only_on(struct mirror *m, unsigned int slot, slot_mask online);

/* ---- park.c: more of them than there are descriptors for ---- */

/* What a node is called in limbo. */
#define PARK_NAME_LEN 40u
void park_name(const struct node *n, char name[PARK_NAME_LEN]);
void set_parked(struct mirror *m, struct node *n, unsigned int i, bool parked);
/* Are there so many that one more should rather have a name in limbo? */
bool park_wanted(struct mirror *m, slot_mask slots);
/*
 * Before the last name of @n, @name in @dirfd, is taken away on slot @i: its
 * descriptor need not stay if that can be done.  And back again.
 */
void park(struct mirror *m, struct node *n, unsigned int i, int dirfd,
	  const char *name);
void unpark(struct mirror *m, struct node *n, unsigned int i);
void unpark_all(struct mirror *m, struct node *n);
/* All nodes on slot @i, which leaves or is closed. */
void unpark_slot(struct mirror *m, unsigned int i);
/* The same, durably, of one that has left and is pinned. */
void unpark_left(struct mirror *m, unsigned int i);
/* Open what is parked; -ENODE_ELSEWHERE: nothing is. */
MUST_CHECK int park_open(struct mirror *m, struct node *n, unsigned int i,
			 int flags, int *ret_fd);
bool is_parked(struct mirror *m, struct node *n, unsigned int i);
