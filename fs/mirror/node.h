/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nodes in memory: what is known of a file, a directory or another object while
 * somebody uses it or its changes are not in the maps; by which descriptors it is
 * reached on each store; and which bytes of it are in use.
 *
 * The locks that guard the fields are those of the mirror (fs/mirror/internal.h).
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "base/lock.h"
#include "base/range.h"
#include "fs/mirror/slot_mask.h"
#include "fs/store/store.h"
#include "meta/meta.h"

struct mirror;

/* ---- nodes ---- */

/* A node on one store. */
struct node_place {
	struct meta_backing backing; /* ino 0: not known yet */
	struct meta_ctime ctime;     /* guarded by mirror.fds, as is backing */
	int fd;			     /* -1: none; guarded by mirror.fds */
	bool fd_path;		     /* an O_PATH descriptor */
	bool linked;		     /* in the list of idle descriptors */
	bool lost;   /* no name, and a change was missed here: not to be used */
	bool parked; /* no name but one in limbo (park.c) */
	uint32_t pins;	     /* users of fd right now */
	uint32_t slot;	     /* set at init, then read-only, as is node */
	uint64_t closed_gen; /* node.written_gen when fd was closed last */
	struct node *node;
	struct node_place *older, *newer;
};

/* For stores that were added since the node was made: it stays where it is. */
struct node_more {
	struct node_more *_Atomic next;
	unsigned int first, count;
	struct node_place place[];
};

/* What one generation changed, not yet in the maps; guarded by node.ranges. */
struct node_dirty {
	struct range_map data; /* value: seq, 0 for what became a hole */
	uint64_t attr_seq;
	uint64_t seq;
	struct node *next; /* mirror.dirty list; guarded by mirror.table */
	bool listed;
};

/* What one generation has armed; guarded by mirror.lock. */
struct node_armed {
	uint64_t gen;
	struct range_set data;
	bool attr;
	bool attr_along; /* with another one's, and not used since */
	bool name;
};

struct feed_record;

/* A record of feed.c, by its place in the order of all; 0: none. */
struct feed_mark {
	struct feed_record *rec; /* only while it is not taken to be written */
	uint64_t at;
};

/* What is on its way to the maps about a node; guarded by feed.lock. */
struct node_fed {
	struct feed_mark birth;	 /* its row */
	struct feed_mark raise;	 /* its higher seq */
	struct feed_mark name;	 /* its newest name */
	uint64_t entries, names; /* places of the last one in it, about it */
};

struct range_hold {
	struct range range;
	bool widens; /* waits for the whole file, its own calls have ended */
	bool wide;   /* has it */
	struct range_hold *next;
};

struct node {
	uint64_t id;	     /* set at init, then read-only */
	enum meta_kind kind; /* set at init, then read-only */

	/* guarded by mirror.table */
	uint64_t nlookup;
	uint32_t refs;
	uint32_t children; /* nodes whose parent this is */
	/* Those of them that are directories, in the order in which they got
	 * the name; and its own neighbours in its parent's list. */
	struct node *dirs_first, *dirs_last;
	struct node *dir_next, *dir_prev;
	/* How many were armed along last, in which generation (arm.c). */
	uint64_t dirs_gen;
	unsigned int dirs_ahead;
	struct node *parent; /* NULL: root, no name, or name not known */
	char *name_key;	     /* parent id (8 bytes) and name; NULL as above */
	unsigned int name_key_len;
	_Atomic bool unlinked; /* the last name is gone */
	uint64_t unlinked_gen; /* by an operation of this; set first */
	bool nameless; /* so, and known to the kernel: counted in the mirror */
	UT_hash_handle by_id;
	UT_hash_handle by_name;

	struct mutex lock; /* LOCK_RANK_NODE */

	struct mutex ranges; /* LOCK_RANK_RANGE */
	struct cond ranges_freed;
	struct range_hold *held;    /* guarded by ranges */
	struct node_dirty dirty[2]; /* by generation & 1 */
	/* Guarded by ranges: how far ahead the last window was meant to go, and
	 * where it lies (arm.c). */
	uint64_t window, window_gen;
	struct range window_at;
	bool in_sequence; /* chosen because it follows the one before */
	/* Guarded by mirror.lock: the last range that somebody asked to be
	 * armed, and the ticket it is armed with. */
	struct range arming;
	uint64_t arming_ticket;
	/* Guarded by ranges: written one after the other so far (stream.c). */
	struct range stream;
	uint64_t stream_bytes;

	/* times.h; guarded by ranges. */
	struct timespec mtime;
	bool mtime_known;      /* the kernel has said it */
	bool mtime_moved;      /* a page came later and moved the stores' */
	slot_mask mtime_given; /* who has it, unless moved */
	enum {
		CTIME_STORES,
		CTIME_KEPT,
		CTIME_KERNEL
	} ctime_by;
	bool ctime_awaited; /* an operation moved it, the kernel is to say it */
	int64_t ctime;	    /* the last word unless the stores' files have it */

	struct range_set since; /* nameless.c; guarded by ranges, as is */
	bool watched;
	struct node_fed fed;

	struct node_armed armed[2]; /* by generation & 1 */
	uint64_t born_gen; /* guarded by mirror.lock; 0: before this mount */
	/* Calls that take one of its names away are between the stores and the
	 * table; guarded by mirror.lock. How often one has begun or ended. */
	uint32_t moving;
	_Atomic uint32_t moves;
	_Atomic bool no_privs; /* known to carry no set-id bits or capability */
	_Atomic int refused;   /* -ENOSPC, -EDQUOT: see mirror_refuse() */
	_Atomic uint64_t refused_bytes;
	_Atomic uint64_t written_gen; /* of the last change of contents */

	unsigned int place_count;	/* set at init, then read-only */
	struct node_more *_Atomic more; /* grows under mirror.table */
	struct node_place place[];
};

/* ---- node.c: the table ---- */

void table_init(struct mirror *m);
void table_done(struct mirror *m);
/*
 * Every node has room for @count slots, those made from now on too. Before anybody
 * is told of a slot that has had none. -ENOMEM: nothing is different.
 */
MUST_CHECK int table_grow(struct mirror *m, unsigned int count);
/* Of slots that somebody was told of. */
struct node_place *node_place_more(struct node *n, unsigned int i);
static inline struct node_place *node_place(struct node *n, unsigned int i)
{
	return i < n->place_count ? &n->place[i] : node_place_more(n, i);
}
/* May grow at any time: a place that comes later has nothing yet. */
unsigned int node_place_count(struct node *n);
/*
 * The node with this id, loaded from the lead's map if need be; one reference
 * for the caller. -ENOENT.
 */
MUST_CHECK int node_get(struct mirror *m, uint64_t id, struct node **ret);
/* Only if it is in memory. */
struct node *node_peek(struct mirror *m, uint64_t id);
void node_put(struct mirror *m, struct node *n);
void node_ref(struct mirror *m, struct node *n);
/* A reference and a lookup count. */
void node_remember(struct mirror *m, struct node *n);
/* A new node in the table, one reference. -ENOMEM. */
MUST_CHECK int node_make(struct mirror *m, uint64_t id, enum meta_kind kind,
			 struct node **ret);
/* Give, move (both replace what was there) and take away its known name. */
MUST_CHECK int node_name_set(struct mirror *m, struct node *n,
			     struct node *parent, const char *name);
void node_name_drop(struct mirror *m, struct node *n, struct node *parent,
		    const char *name);
void node_set_unlinked(struct mirror *m, struct node *n, uint64_t gen);
bool node_is_unlinked(struct mirror *m, struct node *n);
bool node_is_gone(const struct node *n, uint64_t gen);
/* A name of @n: parent (with a reference) and a copy of the name.
 * -ENOENT: it has none. Asks the lead's map if memory does not know. */
MUST_CHECK int node_name_get(struct mirror *m, struct node *n,
			     struct node **ret_parent,
			     char name[META_NAME_MAX + 1]);
/* The child of that name: memory, then the lead's map. -ENOENT. */
MUST_CHECK int node_child(struct mirror *m, struct node *parent,
			  const char *name, struct node **ret);
struct node *node_child_peek(struct mirror *m, uint64_t parent,
			     const char *name);
/* Where there is perhaps nothing: the files are asked before the map. */
MUST_CHECK int node_child_probe(struct mirror *m, struct node *parent,
				const char *name, struct node **ret);

/* ---- map_ask.c: rows of the lead's map, or of the next one that can ---- */

/*
 * What is on its way to the maps, the caller waits for, if it matters. -ENOENT,
 * -errno when no map answers. A store whose map cannot be read while another
 * one can is put out.
 */
MUST_CHECK int map_ask_node(struct mirror *m, uint64_t id,
			    struct meta_node *ret);
MUST_CHECK int map_ask_child(struct mirror *m, uint64_t parent,
			     const char *name, struct meta_dentry *ret);
/* Some name of the node. */
MUST_CHECK int map_ask_name(struct mirror *m, uint64_t id,
			    struct meta_dentry *ret);

/* ---- fd.c: descriptors by node ---- */

void fds_init(struct mirror *m);
/*
 * A pinned descriptor of @n on slot @i. Files are opened O_RDWR (O_RDONLY if
 * the store is read-only), directories O_RDONLY, others O_PATH; @path: an
 * O_PATH one will do. -ENOENT, -ESTALE (another lies there), -ENODE_ELSEWHERE
 */
MUST_CHECK int node_fd_get(struct mirror *m, struct node *n, unsigned int i,
			   bool path, int *ret_fd);
/* path.c: the directories above @n are open on slot @i now, or were. */
MUST_CHECK int path_open(struct mirror *m, struct node *n, unsigned int i);
void node_fd_put(struct mirror *m, struct node *n, unsigned int i);

/*
 * The same of a file, for who does not change it: also one that is immutable or can
 * only be appended to (chattr), which nobody may open for writing. That descriptor
 * is not kept, or the file could not be written when it is as others again.
 */
struct node_reader {
	int fd;
	bool own;
};
MUST_CHECK int node_reader_get(struct mirror *m, struct node *n, unsigned int i,
			       struct node_reader *ret);
void node_reader_put(struct mirror *m, struct node *n, unsigned int i,
		     struct node_reader *r);
/*
 * Around the calls that take a name of @n (and of @other, NULL: nobody) away,
 * their locks held: until memory knows, others do not take what they find for
 * a fault of the store.
 */
void move_begin(struct mirror *m, struct node *n, struct node *other);
void move_end(struct mirror *m, struct node *n, struct node *other);
/*
 * Pin what can be had of @n's descriptors on @mask, before a change that could
 * not be taken back for want of one. -EMFILE, -ENOMEM: nothing is pinned.
 */
MUST_CHECK int node_fds_pin(struct mirror *m, struct node *n, slot_mask mask,
			    bool path, slot_mask *ret_pinned);
void node_fds_unpin(struct mirror *m, struct node *n, slot_mask pinned);
/* Hand a fresh descriptor over to the cache. */
void node_fd_install(struct mirror *m, struct node *n, unsigned int i, int fd);
void node_fds_close(struct mirror *m, struct node *n);
/* Those that nobody uses right now. */
void node_fds_close_idle(struct mirror *m, struct node *n);
/* Close every descriptor on slot @i and forget identities there. */
void fds_close_slot(struct mirror *m, unsigned int i);
MUST_CHECK int node_backing_load(struct mirror *m, struct node *n,
				 unsigned int i, struct meta_backing *ret);
MUST_CHECK int node_open_fresh(struct mirror *m, struct node *n, unsigned int i,
			       int flags, int *ret_fd);

/* An object for attribute calls: a descriptor, pinned. */
struct node_handle {
	struct node *node;
	unsigned int slot;
	struct store_obj obj;
};
MUST_CHECK int node_handle_get(struct mirror *m, struct node *n, unsigned int i,
			       struct node_handle *ret);
void node_handle_put(struct mirror *m, struct node_handle *h);

/* ---- range.c ---- */

void range_lock(struct node *n, struct range_hold *hold, uint64_t start,
		uint64_t end);
void range_unlock(struct node *n, struct range_hold *hold);
/* From now on the whole file; whoever was at work elsewhere in it has ended. */
void range_widen(struct node *n, struct range_hold *hold);
