/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Set-id bits and file capabilities.
 *
 * A write(2) takes both away where the writer has no right to leave them, and
 * capabilities whoever writes.  The kernel of the stores does that to each write
 * of the daemon's.  Of an application's write that is as it should be, on every
 * store.  But pages that the kernel had gathered are no write(2): what was to go
 * went before, and what was set since must stay.  The same holds for what the
 * daemon writes by itself.  So those look for capabilities first and put them
 * back.
 *
 * Whoever puts back, and whoever sets or takes them otherwise, holds the whole
 * range of the file: the stores get both in one order.  Lock order: node.lock,
 * then the range.  A file that is known to have none (node.no_privs) needs
 * nothing of this.
 *
 * Ref: capabilities(7), inode(7), file_remove_privs() in the kernel's fs/inode.c
 */
#pragma once

#include "fs/mirror/internal.h"

/* A value is 24 bytes at most, see vfs_ns_cap_data in linux/capability.h. */
struct caps {
	ssize_t len; /* 0: none */
	char value[64];
};

bool is_capability(const char *name);

/* Of the file behind @fd on one store. */
MUST_CHECK int caps_look(const struct store *s, int fd, struct caps *ret);
/* After writing. An ordinary user's daemon may not, and they are gone: no error. */
MUST_CHECK int caps_put_back(const struct store *s, int fd,
			     const struct caps *caps);

/*
 * Those that a node has on the store that is asked, the whole range held.  Of one
 * that has neither them nor set-id bits this is remembered.
 */
MUST_CHECK int node_caps_look(struct mirror *m, struct node *n,
			      struct caps *ret);

/* The whole range of a regular file, node.lock held; others have
 * no capabilities, and nothing is held. */
void node_caps_lock(struct node *n, struct range_hold *hold, bool *ret_held);
void node_caps_unlock(struct node *n, struct range_hold *hold, bool held);

/* MIRROR_KILL_*: what a write, a truncation and fallocate take away. */
MUST_CHECK int node_privs_drop(struct mirror *m, struct node *n,
			       unsigned int kill);
