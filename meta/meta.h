/* SPDX-License-Identifier: Apache-2.0 */
/*
 * meta - the map of one store, an SQLite database in STORE/.seqmirror/meta.db.
 *
 * The map says for every block of every file when it was last written (its
 * sequence number, "seq"), what is mapped and what is a hole, which names lead
 * to which node, how to recognise a node among the files of this store, who the
 * members of the volume are, through which seq each is durable, and what a
 * crash would leave in doubt (intents).  It knows nothing of files: it opens
 * none but its own database.
 *
 * Shape of use
 * ------------
 *	struct meta *m;
 *	meta_open(privdir, META_OPEN_RW, &m);
 *	meta_begin(m);                      // takes the writer, starts a txn
 *	meta_node_put(m, &node);            // any number of writer calls
 *	meta_extent_set(m, id, 0, 4096, seq);
 *	r = meta_commit(m);                 // durable when 0 (synchronous=FULL)
 *
 *	struct meta_reader *rd = meta_reader_get(m);
 *	meta_read_begin(rd);                // one consistent snapshot
 *	meta_node_get(rd, id, &node);
 *	meta_read_end(rd);
 *	meta_reader_put(rd);
 *
 * One writer connection per database, many readers (query_only).  A writer
 * call outside meta_begin()..meta_commit() is a broken invariant (asserted).
 * Readers see what was committed.  The writer may use the lookups too, through
 * meta_writer_view(), and then sees its own uncommitted rows.
 *
 * Errors: 0 or positive on success, -errno on failure: -ENOENT (no such row),
 * -ENOSPC (SQLITE_FULL), -EIO, -EUCLEAN (damaged), -EROFS, -EBUSY (another
 * process has it), -ENOMEM, -EPROTO (a newer format), -EEXIST (two names in one
 * directory with one seq), -EINVAL (a value that the schema forbids).
 *
 * A failed call spoils the transaction: later calls and the commit return the
 * same error, and nothing of it is kept. -EEXIST, -EINVAL and -ENOENT do not.
 * After a commit that failed with anything but -ENOSPC or -ENOMEM its outcome
 * is unknown, and every later meta_begin() fails.
 *
 * Locks: meta_begin() takes the writer mutex (LOCK_RANK_META), commit and
 * rollback give it back: a thread has one transaction at a time, also of
 * different maps.  A reader belongs to one thread at a time.
 *
 * A map is open once, in one process: the lock is the process's, and fork(2)
 * does not hand it on.  A daemon opens its maps after it has gone to the
 * background.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "base/guard.h"

#define META_BLOCK     4096u /* granularity of extents, bytes */
#define META_STORE_MAX 16    /* members of one volume */
#define META_NAME_MAX  255   /* bytes of a name */
#define META_UUID_LEN  36
#define META_ROOT_ID   1ull  /* the root directory's node id */
#define META_LIMBO_ID  2ull  /* stands for .seqmirror/limbo as a parent */
#define META_FIRST_ID  16ull /* first id for an ordinary node */
#define META_RANGE_MAX ((uint64_t)INT64_MAX & ~(uint64_t)(META_BLOCK - 1))

/* Where a file of this size ends for a map. Larger ones get into a store behind
 * its back only; that the sizes differ says so. */
static inline uint64_t meta_file_end(int64_t size)
{
	return (uint64_t)size < META_RANGE_MAX ? (uint64_t)size
					       : META_RANGE_MAX;
}

/* No seq, and no id that a volume gave, is higher: 89 years with 100,000 changes
 * in each second.  What else a map says is not a volume's. */
#define META_SEQ_MAX ((UINT64_C(1) << 48) - 1)

struct meta;
struct meta_reader;

enum meta_open_mode {
	META_OPEN_RW,
	META_OPEN_RO, /* for status and check; creates nothing */
};

/* ---- rows; enum values are stored and never renumbered ---- */

enum meta_kind {
	META_FILE = 1,
	META_DIR = 2,
	META_SYMLINK = 3,
	META_FIFO = 4,
	META_SOCK = 5,
	META_CHR = 6,
	META_BLK = 7,
};

/* The kind that a file mode stands for; 0 for one that cannot be mirrored. */
enum meta_kind meta_kind_of(mode_t mode);

/* How a node is recognised among the files of one store. */
struct meta_backing {
	uint64_t ino; /* 0: not known */
	uint64_t gen; /* hash of the file handle, or birth time */
};

/*
 * The time of the last change, in nanoseconds since 1970: applications see
 * @shown as long as the store's own file has @backing. Both 0: nothing known.
 */
struct meta_ctime {
	int64_t shown;
	int64_t backing;
};

/* What applications see of a file whose own says @backing now. */
static inline int64_t meta_ctime_shown(struct meta_ctime known, int64_t backing)
{
	return backing && known.backing == backing ? known.shown : backing;
}

struct meta_node {
	uint64_t id;
	enum meta_kind kind;
	struct meta_backing backing;
	struct meta_ctime ctime; /* of no number: no delta, no intent */
	uint64_t attr_seq;	 /* last change of attributes, size included */
	uint64_t seq; /* last change of anything of it; >= attr_seq */
};

/*
 * Within one directory no two entries have the same seq: it is also the
 * readdir cookie.  An operation that makes two entries takes two numbers.
 */
struct meta_dentry {
	uint64_t parent;
	uint64_t node;
	uint64_t seq;
	uint64_t cookie; /* its place in the directory: the name's first seq */
	uint16_t name_len;
	/* any bytes but '/' and NUL; ends in NUL */
	char name[META_NAME_MAX + 1];
};

/* [start, end) in bytes, both multiples of META_BLOCK, start < end. */
struct meta_extent {
	uint64_t node;
	uint64_t start;
	uint64_t end;
	uint64_t seq;
};

enum meta_intent_kind {
	/* [start,end) of a file, its size and attributes */
	META_INTENT_DATA = 1,
	/* the entries of a directory, and what was born in it */
	META_INTENT_NAME = 2,
	/* attributes of a node; start = end = 0 */
	META_INTENT_ATTR = 3,
};

struct meta_intent {
	uint64_t node;
	uint64_t start; /* DATA only, multiples of META_BLOCK */
	uint64_t end;
	enum meta_intent_kind kind;
	/* 0: a resync's own, cleared when its lap closes */
	uint64_t generation;
};

/* What no checkpoint drops: a file of this store is not what the map says, or
 * (ELSEWHERE) one of a member whose own map could not take that. */
#define META_DOUBT_GENERATION ((uint64_t)INT64_MAX)
#define META_DOUBT_ELSEWHERE  (META_DOUBT_GENERATION - 1)

static inline bool meta_intent_is_doubt(const struct meta_intent *in)
{
	return in->generation >= META_DOUBT_ELSEWHERE;
}

enum meta_store_state {
	META_STORE_ONLINE = 1,
	META_STORE_DETACHED = 2, /* left in good order */
	META_STORE_MISSING = 3,
	META_STORE_FAILED = 4,
	META_STORE_RESYNCING = 5,
	/* Its resync was ended by the user. It may be half overwritten, and is
	 * no whole copy before another one is done. */
	META_STORE_GIVEN_UP = 6,
};

/* Out because the user said so: it comes back when it is asked for. */
static inline bool meta_store_stays_out(enum meta_store_state state)
{
	return state == META_STORE_DETACHED || state == META_STORE_GIVEN_UP;
}

/* A member of the volume, as this map knows it. */
struct meta_member {
	char uuid[META_UUID_LEN + 1];
	char name[64];
	char path_hint[4096]; /* where it was last */
	enum meta_store_state state;
	uint64_t durable_seq;
};

/* One stretch of history; see docs/design "Lineage". */
struct meta_epoch {
	uint32_t ordinal; /* position in this store's lineage, from 1 */
	char id[META_UUID_LEN + 1];
	uint64_t first_seq;
	uint64_t first_node; /* no node id from here on was issued before it */
	uint64_t base;
	uint32_t member_count;
	char members[META_STORE_MAX][META_UUID_LEN + 1]; /* UUIDs, sorted */
	bool confirmed;
	bool by_copy; /* a restored copy was among its founders */
};

/* Whole lineages, of the sources of laps that were not closed. */
struct meta_laps {
	size_t count;
	struct meta_lap {
		const struct meta_epoch *epochs; /* oldest first */
		size_t count;
	} * v;
	struct meta_epoch *epochs; /* all of them */
};

/* Numbers of the volume row set. */
enum meta_number {
	META_NUM_SEQ_RESERVED = 1, /* no seq <= this may be issued again */
	META_NUM_NODE_RESERVED = 2,
	META_NUM_HORIZON = 3,	  /* rows at or below merge freely */
	META_NUM_CLEAN = 4,	  /* enum meta_clean */
	META_NUM_DURABLE_SEQ = 5, /* of THIS store */
	META_NUM_RESYNCING = 6,	  /* 1: never a source */
	META_NUM_RESYNC_FROM = 7, /* the lowest that its laps began at */
	META_NUM_ROOT_INO = 8,	  /* identity of the .seqmirror/store file */
	META_NUM_ROOT_GEN = 9,	  /* the map was made beside: differs: a copy */
	META_NUM_COPY = 10,	  /* enum meta_copy */
	/* Where a scrub was when it was last recorded; begun 0: none is. */
	META_NUM_SCRUB_BEGUN = 11, /* time_ns */
	META_NUM_SCRUB_NODE = 12,  /* to go on with */
	META_NUM_SCRUB_OFFSET = 13,
	META_NUM_SCRUB_UNTIL = 14, /* the last node */
	META_NUM_SCRUB_NODES = 15, /* done so far */
	META_NUM_SCRUB_BYTES = 16,
	META_NUM_SCRUB_FOUND = 17,
	META_NUM_SCRUB_FIXED = 18,
	META_NUM_SCRUB_BUSY = 19,
	/* What the last one that came to its end has proved. */
	META_NUM_SCRUBBED = 20, /* time_ns of its end; 0: never */
	META_NUM_SCRUBBED_BEGUN = 21,
	META_NUM_SCRUBBED_NODES = 22,
	META_NUM_SCRUBBED_BYTES = 23,
	META_NUM_SCRUBBED_FOUND = 24,
	META_NUM_SCRUBBED_FIXED = 25,
	META_NUM_SCRUBBED_BUSY = 26,
	/* store_root_look() when it was left in good order; 0: not known. */
	META_NUM_ROOT_LOOK = 27,
};

/* META_NUM_CLEAN: 0 once something was changed. */
enum meta_clean {
	META_CLEAN = 1, /* unmounted in good order */
	/* And mounted since, but not changed yet: a copy may have files that were
	 * changed after its map was taken. */
	META_CLEAN_MOUNTED = 2,
};

/* META_NUM_COPY: bits; but for the first, of maps that were made anew (resync/rebuild.h). */
enum meta_copy {
	META_COPY = 1, /* it was a copy, and neither was brought in step nor
			* founded an epoch since */
	/* Under way, and says nothing of the files yet. */
	META_COPY_UNCLEAN = 2,
	/* Made, and no lap was closed since: all is in doubt, whatever its durable
	 * seq. */
	META_COPY_REBUILT = 4,
	/* The old one had intents of operations. */
	META_COPY_ARMED = 8,
};

/* UUIDs, a comma after each. */
enum meta_list {
	/* Which members a scrub has compared. */
	META_LIST_SCRUB = 1, /* so far, of the one that goes on */
	META_LIST_SCRUBBED = 2,
	META_LIST_REMOVED = 3, /* members that were, the last one first */
};
#define META_LIST_BYTES (META_STORE_MAX * (META_UUID_LEN + 1) + 1)

/* ---- open, close ---- */

/**
 * meta_create - a new, empty map in @privdir (an absolute path of a
 * .seqmirror directory), with the root node (@root) as its only node.
 * Return: 0, -EEXIST, -ENOSPC, -EIO, -ENOMEM.
 */
MUST_CHECK int meta_create(const char *privdir, const char *volume_uuid,
			   const char *store_uuid,
			   const struct meta_node *root);

/**
 * meta_open - open the map in @privdir; applies migrations when RW.
 * A database that another process has open is refused with -EBUSY, a damaged
 * one with -EUCLEAN (header, schema, WAL, and whether it is the map that lay
 * here last; pages have checksums, compared when they are read),
 * a missing one with -ENOENT, a newer format with -EPROTO; nothing is changed
 * then.  @ret_why (may be NULL) gets one sentence, to be freed.
 */
MUST_CHECK int meta_open(const char *privdir, enum meta_open_mode mode,
			 struct meta **ret_meta, char **ret_why);

/** meta_close - readers first, the writer last; truncates the WAL. NULL ok. */
void meta_close(struct meta *m);

/**
 * meta_check_place - do the map and its log still lie where they were opened?
 * What is written to files that were removed is gone when they are closed.
 * Return: 0, -EIDRM (removed, or others lie there), -errno (cannot tell)
 */
MUST_CHECK int meta_check_place(struct meta *m);

/**
 * meta_guard - what the calls on its files are made under, not on
 * (base/guard.h); lives as long as the map, whose close waits for the calls
 * that were left behind. Given up, the map fails with -EIO from then on.
 */
struct guard *meta_guard(const struct meta *m);

const char *meta_volume_uuid(const struct meta *m);
const char *meta_store_uuid(const struct meta *m);

/* ---- the writer ---- */

MUST_CHECK int meta_begin(struct meta *m);
/*
 * A transaction whose commit does not wait for the disk: readers see its rows;
 * a power loss may take it back, whole transactions from the newest on.
 * Durable with the next ordinary commit.
 */
MUST_CHECK int meta_begin_soft(struct meta *m);
MUST_CHECK int meta_commit(struct meta *m);
void meta_rollback(struct meta *m);

/**
 * meta_writer_view - the writer connection as a reader, between meta_begin()
 * and meta_commit(): lookups see uncommitted rows. Not to be put back.
 */
struct meta_reader *meta_writer_view(struct meta *m);

/* Insert, or replace the row with this id. */
MUST_CHECK int meta_node_put(struct meta *m, const struct meta_node *node);
/* Raise attr_seq (0: leave) and seq; never lowers. 0 also when no such row. */
MUST_CHECK int meta_node_raise(struct meta *m, uint64_t id, uint64_t attr_seq,
			       uint64_t seq);
/* The same (both 0: leave), and the time of the last change. @ret_changed: NULL,
 * or whether there is such a row, and it said something else. */
MUST_CHECK int meta_node_raise_all(struct meta *m, uint64_t id,
				   uint64_t attr_seq, uint64_t seq,
				   struct meta_ctime ctime, bool *ret_changed);
MUST_CHECK int meta_node_set_backing(struct meta *m, uint64_t id,
				     struct meta_backing backing);
/*
 * This map lies beside a copy of its files: no node's identity is known any
 * more (ino 0), and @ino, @gen of .seqmirror/store are those of the copy.
 * Reads and writes every node; once in the life of a copy.
 */
MUST_CHECK int meta_backing_forget_all(struct meta *m, uint64_t ino,
				       uint64_t gen);
/* The row and its extents. 0 also when there is none. Leaves intents. */
MUST_CHECK int meta_node_del(struct meta *m, uint64_t id);

/* Insert, or replace what (parent, name) held. With cookie 0 the name keeps its
 * place; a new one's is its seq. */
MUST_CHECK int meta_dentry_put(struct meta *m, const struct meta_dentry *d);
/* Returns 1 when removed, 0 when there was none. */
MUST_CHECK int meta_dentry_del(struct meta *m, uint64_t parent,
			       const char *name, size_t name_len);

/*
 * [start,end) is mapped, last written under @seq; cuts and replaces what lay
 * there.  Neighbours with the same seq, or all at or below the horizon, are
 * merged into one row under the higher seq.  The caller raises node.seq.
 */
MUST_CHECK int meta_extent_set(struct meta *m, uint64_t node, uint64_t start,
			       uint64_t end, uint64_t seq);
/* [start,end) is a hole. end = META_RANGE_MAX: to the end of the file. */
MUST_CHECK int meta_extent_clear(struct meta *m, uint64_t node, uint64_t start,
				 uint64_t end);

MUST_CHECK int meta_intent_put(struct meta *m, const struct meta_intent *in);
/* Remove the intents of generations <= @generation (0: a resync's own). */
MUST_CHECK int meta_intent_drop_through(struct meta *m, uint64_t generation);
/* Remove exactly these: same node, kind, start, end and generation. */
MUST_CHECK int meta_intent_drop(struct meta *m, const struct meta_intent *in);
MUST_CHECK int meta_intent_drop_all(struct meta *m);

/* "" if it was never set. */
MUST_CHECK int meta_list_get(struct meta_reader *rd, enum meta_list what,
			     char ret_list[META_LIST_BYTES]);
MUST_CHECK int meta_list_set(struct meta *m, enum meta_list what,
			     const char *list);

MUST_CHECK int meta_number_set(struct meta *m, enum meta_number what,
			       uint64_t value);
/*
 * All that is later than @time_ns, by the clock of the map's filesystem, was done
 * behind our back or lies under an intent. A close in good order says so of its own
 * time, unless this was called since the map was opened; it holds until a later
 * writer's first commit, of whatever version. 0: nobody knows.
 */
MUST_CHECK int meta_left_set(struct meta *m, uint64_t time_ns);
MUST_CHECK int meta_member_put(struct meta *m, const struct meta_member *row);
MUST_CHECK int meta_member_del(struct meta *m, const char *uuid);
/* The same of one that was removed for good, which is kept in a list. */
MUST_CHECK int meta_member_forget(struct meta *m, const char *uuid);
/* Appends; ordinal is given by the map (the row's is ignored). */
MUST_CHECK int meta_epoch_append(struct meta *m, const struct meta_epoch *e);
MUST_CHECK int meta_epoch_confirm(struct meta *m, const char *epoch_id);
/* Replaces the whole lineage (after a resync: the source's). */
MUST_CHECK int meta_epoch_replace(struct meta *m, const struct meta_epoch *v,
				  size_t count);
/*
 * A lap from a source with this lineage is about to change the store. Kept
 * beside its own, once each, until the lap is closed.
 */
MUST_CHECK int meta_laps_add(struct meta *m, const struct meta_epoch *v,
			     size_t count);
MUST_CHECK int meta_laps_clear(struct meta *m);
/* Of those that lie far back (an hour, with the usual checkpoints) one or two a
 * minute are kept. */
MUST_CHECK int meta_moment_put(struct meta *m, uint64_t seq, uint64_t time_ns);

/*
 * Merge extents that the horizon has passed since the last time, looking at
 * no more than @row_max rows: 0 all done, 1 more to do. Follows what changed
 * since then, not what there is; for quiet times.
 */
MUST_CHECK int meta_compact_step(struct meta *m, size_t row_max);

/*
 * Ballast: a preallocated file beside the map, given up when the disk is full.
 * ensure returns 1 when there is no room for it. Inside or outside of a
 * transaction; release outside of one.
 */
MUST_CHECK int meta_ballast_ensure(struct meta *m);
MUST_CHECK int meta_ballast_release(struct meta *m);
/* Outside of a mount nobody tries twice: released at once where the disk has no more
 * than as much again. The next mount has it back. */
MUST_CHECK int meta_ballast_spend(struct meta *m);
/* It was given up, or there was no room for it when it was last asked for. */
bool meta_ballast_is_out(const struct meta *m);
/* What has to be left free for it to be had again. */
uint64_t meta_ballast_missing(struct meta *m);

/* ---- readers ---- */

/* NULL: it cannot be had (logged), and errno says why. */
struct meta_reader *meta_reader_get(struct meta *m);
void meta_reader_put(struct meta_reader *rd);
MUST_CHECK int meta_read_begin(struct meta_reader *rd);
void meta_read_end(struct meta_reader *rd);

MUST_CHECK int meta_number_get(struct meta_reader *rd, enum meta_number what,
			       uint64_t *ret_value);
/* What meta_left_set() said, if it still holds; 0: nobody knows. */
MUST_CHECK int meta_left_get(struct meta_reader *rd, uint64_t *ret_time_ns);
/* -ENOENT when there is none. */
MUST_CHECK int meta_node_get(struct meta_reader *rd, uint64_t id,
			     struct meta_node *ret_node);
/* The node with the highest id below @id. -ENOENT. */
MUST_CHECK int meta_node_below(struct meta_reader *rd, uint64_t id,
			       struct meta_node *ret_node);
/* The node with this backing identity; gen 0 matches any. -ENOENT. */
MUST_CHECK int meta_node_find(struct meta_reader *rd,
			      struct meta_backing backing,
			      struct meta_node *ret_node);
MUST_CHECK int meta_dentry_get(struct meta_reader *rd, uint64_t parent,
			       const char *name, size_t name_len,
			       struct meta_dentry *ret_dentry);
/* Some name of @node: the one in the lowest (parent, name). -ENOENT. */
MUST_CHECK int meta_dentry_of(struct meta_reader *rd, uint64_t node,
			      struct meta_dentry *ret_dentry);
/* How many names lead to @node. */
MUST_CHECK int meta_dentry_count(struct meta_reader *rd, uint64_t node,
				 uint64_t *ret_count);
/* Do two names or more lead to @node? However many: it looks at two. */
MUST_CHECK int meta_dentry_several(struct meta_reader *rd, uint64_t node,
				   bool *ret_several);

/*
 * Iterators: init with one of the meta_iter_*() calls, step until 0, always
 * meta_iter_done() (scope cleanup: _cleanup_meta_iter_). Rows are copied out.
 * No transaction is implied: without meta_read_begin() each iterator is its
 * own snapshot until done. A step returns 1 (row), 0 (end), -errno.
 */
struct meta_iter {
	void *stmt;
	struct meta_reader *rd;
};
void meta_iter_done(struct meta_iter *it);
#define _cleanup_meta_iter_ _cleanup_(meta_iter_done)

/* Entries with higher cookies than that, in the order of readdir. */
MUST_CHECK int meta_iter_dentries(struct meta_reader *rd, uint64_t parent,
				  uint64_t after_cookie,
				  struct meta_iter *ret_it);
MUST_CHECK int meta_iter_dentries_by_name(struct meta_reader *rd,
					  uint64_t parent,
					  struct meta_iter *ret_it);
/* Every entry of the map, by parent and name: for check, which reads all. */
MUST_CHECK int meta_iter_dentries_all(struct meta_reader *rd,
				      struct meta_iter *ret_it);
MUST_CHECK int meta_iter_names(struct meta_reader *rd, uint64_t node,
			       struct meta_iter *ret_it);
/* Those in directories whose number is above @parent. */
MUST_CHECK int meta_iter_names_beyond(struct meta_reader *rd, uint64_t node,
				      uint64_t parent,
				      struct meta_iter *ret_it);
/* Nodes above @after without an identity that have several names, by id. */
MUST_CHECK int meta_iter_linked(struct meta_reader *rd, uint64_t after,
				struct meta_iter *ret_it);
MUST_CHECK int meta_next_linked(struct meta_iter *it, uint64_t *ret_node);
MUST_CHECK int meta_next_dentry(struct meta_iter *it, struct meta_dentry *ret);

/* Nodes with (seq, id) after the given pair, in that order. The delta. */
MUST_CHECK int meta_iter_nodes_since(struct meta_reader *rd, uint64_t seq,
				     uint64_t id, struct meta_iter *ret_it);
MUST_CHECK int meta_iter_nodes(struct meta_reader *rd, uint64_t after_id,
			       struct meta_iter *ret_it);
/* Those without an identity (a copy's), by id. */
MUST_CHECK int meta_iter_nodes_unknown(struct meta_reader *rd,
				       uint64_t after_id,
				       struct meta_iter *ret_it);
MUST_CHECK int meta_next_node(struct meta_iter *it, struct meta_node *ret);

/*
 * Extents with (seq, node, start) after the given triple, in that order:
 * the delta.  Uses the index led by seq, whatever the planner thinks.
 */
MUST_CHECK int meta_iter_extents_since(struct meta_reader *rd, uint64_t seq,
				       uint64_t node, uint64_t start,
				       struct meta_iter *ret_it);
/* Extents of one node that overlap [start, end), by start, not clipped. */
MUST_CHECK int meta_iter_extents(struct meta_reader *rd, uint64_t node,
				 uint64_t start, uint64_t end,
				 struct meta_iter *ret_it);
MUST_CHECK int meta_next_extent(struct meta_iter *it, struct meta_extent *ret);

/* By node, kind, start. */
MUST_CHECK int meta_iter_intents(struct meta_reader *rd,
				 struct meta_iter *ret_it);
MUST_CHECK int meta_next_intent(struct meta_iter *it, struct meta_intent *ret);
MUST_CHECK int meta_intent_count(struct meta_reader *rd, uint64_t *ret_count);
MUST_CHECK int meta_intent_count_of(struct meta_reader *rd, uint64_t generation,
				    uint64_t *ret_count);

/* The members, sorted by uuid; at most META_STORE_MAX. */
MUST_CHECK int meta_members(struct meta_reader *rd, struct meta_member *ret_v,
			    size_t *ret_count);
/* The lineage, oldest first; *ret_v to be freed. */
MUST_CHECK int meta_epochs(struct meta_reader *rd, struct meta_epoch **ret_v,
			   size_t *ret_count);
MUST_CHECK int meta_laps_get(struct meta_reader *rd, struct meta_laps *ret);
void meta_laps_done(struct meta_laps *laps);

struct meta_delta_sum {
	uint64_t nodes;
	uint64_t bytes; /* in extents above the seq */
	bool exact;	/* false: counting stopped at the bound */
};
/* What lies above @seq, counted up to @row_max rows. */
MUST_CHECK int meta_delta_sum(struct meta_reader *rd, uint64_t seq,
			      uint64_t row_max, struct meta_delta_sum *ret_sum);
/* The time of the newest moment with seq <= @seq; -ENOENT. */
MUST_CHECK int meta_moment_at(struct meta_reader *rd, uint64_t seq,
			      uint64_t *ret_time_ns);
/* The time of the oldest moment with seq >= @seq: by then all numbered up to
 * it was done. -ENOENT. */
MUST_CHECK int meta_moment_from(struct meta_reader *rd, uint64_t seq,
				uint64_t *ret_time_ns);

/*
 * Whether anything in this map numbered above @from is newer than what the
 * other map has in the same place (a hole counts as its node's seq, an absent
 * entry as its directory's): 1 yes, 0 no. @self asks about @other.
 */
MUST_CHECK int meta_newer_than(struct meta_reader *self,
			       struct meta_reader *other, uint64_t from);

/* Page-level check of the whole database; 1 sound, 0 damaged (reason logged). */
MUST_CHECK int meta_integrity(struct meta_reader *rd);
