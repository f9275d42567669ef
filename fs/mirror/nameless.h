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
