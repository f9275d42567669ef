/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private to the files that make up one lap; lap.c has the essay.
 *
 *	lap.c		begin and rounds; transactions, polls, counts
 *	close.c		the end
 *	doubt.c		the target's own intents
 *	reconcile.c	the target's map made to say what its files say, in limbo/
 *			and in directories in doubt
 *	tree.c		work list of directories, evacuation
 *	place.c		moves, links, new directories
 *	limbo.c		into limbo/, found/, and what is removed from there
 *	fill.c		new files, symlinks and special files, whole
 *	make.c		one of them
 *	copy.c		bytes and batches of extents
 *	large.c		the end of a new large file
 *	compare.c	ranges in doubt
 *	fork.c		node ids after a fork
 *	keep.c		what stays in doubt when the lap is closed
 *	misfit.c	the one thing that the target cannot hold
 *	freed.c		a dry run: what room there is again before it is needed
 *	attr.c		unmaps and attributes of files; directories last
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/range.h"
#include "base/vec.h"
#include "resync/idmap.h"
#include "resync/plan.h"
#include "resync/resync.h"
#include "resync/side.h"
#include "resync/side_dirs.h"

/* Rows changed in one transaction; also of one short read. */
#define LAP_ROWS 8192u
/* Bytes copied between two commits. */
#define LAP_BYTES  (UINT64_C(64) << 20)
#define LAP_BUFFER (1u << 20)
/* Two ranges nearer than this share one intent. */
#define LAP_GAP (UINT64_C(256) << 10)
/* Ids of nodes that only the target knows and that the source's numbers
 * must not meet; fork.c. */
#define LAP_FOREIGN_ID	  (UINT64_C(1) << 62)
#define LAP_FOREIGN_STEP  (UINT64_C(1) << 48)
#define LAP_FOREIGN_TRIES (UINT64_C(1) << 13)

/* A directory whose entries are made equal. */
struct work_dir {
	uint64_t id;
	struct meta_node row; /* the source's, read with its listing */
	uint64_t after;	      /* absent entries have higher cookies than this */
	uint64_t since;	      /* and higher seqs than this */
	bool fresh;	      /* made by this lap */
	bool missing;	      /* the source has entries that the target lacks */
	bool changed;	      /* entries were changed, or will be */
	bool incomplete;      /* the source moved on meanwhile */
	bool gone;	      /* the source has it no more, or it was lost */
	bool large;	      /* waits for a large file to be filled */
	bool done;	      /* attributes and row are written */
};

struct idvec {
	VEC(uint64_t) v;
};

/* What of the target's own map is in doubt; loaded once, before anything. */
struct doubt {
	VEC(struct meta_intent) own; /* by node, kind, start */
	struct idmap dirs;   /* NAME intents: 1 a resync's, 2 another's */
	struct idmap whole;  /* nodes born under one of the second kind */
	struct idvec wholes; /* the same, as a list */
	struct idvec born;   /* directories born so, to be listed */
	bool crashed;	     /* there are intents of the second kind */
};

/* What stays under intents of the target when this lap is over; keep.c. */
struct keep {
	/* the source's own, at the last look: by node, kind, start */
	VEC(struct meta_intent) source;
	VEC(struct meta_intent) kept; /* generation 0 */
	size_t put;		      /* so many of them are in the map */
};

/* Extents on their way to the target, one commit's worth; copy.c. */
struct batch_item {
	struct meta_extent e;
	bool compare; /* much of it may be equal */
};

struct batch {
	VEC(struct batch_item) items;
	struct plan_intents intents;
	struct idmap skipped; /* nodes that were left out after all */
	uint64_t bytes;
};

/* Rows of new nodes that wait for their files to be durable; fill.c. */
struct fill_row {
	struct meta_dentry dentry;
	struct meta_node node; /* id 0: a further name only */
	size_t extent_at;
	size_t extent_count;
};

struct fill {
	VEC(struct fill_row) rows;
	VEC(struct meta_extent) extents;
	struct idmap nodes;    /* made, not committed: index + 1 in rows */
	struct idvec finished; /* fresh directories with all their entries */
	uint64_t bytes;
};

/* What a lap takes from the target's files, as its map has them; freed.c. */
struct freed_range {
	uint64_t node;
	struct range range;
};

struct freed {
	struct idvec nodes; /* lost their last name */
	VEC(struct freed_range) ranges;
	struct idmap scrapped; /* leftovers by inode number: names met */
};

struct lap {
	/* set at the begin, then read-only */
	const struct resync_lap_args *args;
	const struct resync_side *src;
	const struct resync_side *dst;
	struct resync_side source; /* src */
	struct resync_side target; /* dst: with the directories in doubt */
	struct side_dirs source_dirs, target_dirs;
	struct resync_counts *n;
	bool dry;
	bool tight;	  /* all that goes must go before anything comes */
	bool copied;	  /* dry run: the identities in the map are void */
	uint64_t limit;	  /* higher numbers are the next lap's */
	uint64_t durable; /* of the target */
	uint64_t horizon; /* of the source */

	struct meta_reader *s;	   /* the source's map */
	struct meta_reader *t;	   /* the target's: writer's view in a txn */
	struct meta_reader *plain; /* the target's outside of one */
	bool in_txn;
	unsigned int rows; /* changed since the last commit */

	struct doubt doubt;
	VEC(struct work_dir) dirs;
	struct idmap dir_index; /* id: newest index + 1 in dirs */
	size_t round_at;	/* where in dirs this round began */
	struct idvec extra;	/* directories of the next round */
	struct idmap written;	/* files that batches went to */
	struct idmap armed;	/* directories under this lap's NAME intents */
	bool arming;		/* some of them are not committed yet */
	struct idmap climbed;	/* absent directories already looked into */
	/* Target's ids that the source has otherwise: their new ones; and
	 * back. */
	struct idmap renumbered, renumbered_from;
	/* Nodes whose attributes need no second look: 1 made by this lap
	 * though in doubt, or after a fork; 2 large ones that it goes on with. */
	struct idmap filled;
	struct idmap linked; /* dry run: new nodes with several names */
	struct idvec large;  /* new files to be filled by batches */
	struct idvec moved;  /* names of them came and went on the target */

	struct freed freed; /* a dry run */
	/* Leftover directories in limbo/ that are still to be emptied. */
	uint64_t scraps_begin, scraps_end;

	VEC(struct meta_node) dir_rows; /* written when the lap is closed */
	struct keep keep;

	struct fill fill;
	struct batch now, before;
	char *buffer[2];

	/* progress */
	uint64_t total;
	bool total_known;
	uint64_t filled_bytes;	/* by fill.c */
	uint64_t skipped_bytes; /* of the delta, found to be there already */
	uint64_t copied_before; /* bytes, by earlier laps */
	uint64_t begun_ns;
	uint64_t throttle_ns; /* when the next byte may go */
	const char *phase;
	unsigned int found_count;
};

/* ---- lap.c ---- */

/* Between steps: -ECANCELED when the lap is to end here. */
MUST_CHECK int lap_poll(struct lap *lap);
/* @bytes went to the target: counts, reports, waits for the rate, polls. */
MUST_CHECK int lap_moved(struct lap *lap, uint64_t bytes);
MUST_CHECK int lap_begin(struct lap *lap);
MUST_CHECK int lap_commit(struct lap *lap);
/* A few rows were changed: commit and begin again if they are many. Not
 * while an iterator over the target's map is open. */
MUST_CHECK int lap_step(struct lap *lap, unsigned int rows);
/* What a failure on the source means: the resync of a mounted volume begins
 * again, with another one where there is (-EAGAIN); -ENOENT stays what it is. */
int lap_source_err(const struct lap *lap, int r);
/* store_copy_attrs() from the source's object to the target's, and the ctime for
 * the target's row; @theirs: the source's row. 0 or -errno. */
MUST_CHECK int lap_copy_attrs(const struct lap *lap,
			      const struct meta_node *theirs, int sfd, int tfd,
			      struct meta_ctime *ret_ctime);
/*
 * What the target's row may say of a node when all is done: the source's
 * numbers, but none above the cut.  A live source's row may be ahead of its
 * extents, which reach the map with a checkpoint.
 */
void lap_claim(const struct lap *lap, const struct meta_node *theirs,
	       struct meta_node *own);
/* The number that the target's map may give to what the source gives @seq. */
uint64_t lap_seq(const struct lap *lap, uint64_t seq);
/* Something that the source had is not there any more. */
MUST_CHECK int lap_incomplete(struct lap *lap, struct work_dir *wd,
			      const char *what);
/* Make what was written through @fd durable where syncfs is not enough. */
MUST_CHECK int lap_sync_fd(struct lap *lap, int fd, bool data_only);
MUST_CHECK int lap_sync(struct lap *lap);
MUST_CHECK int lap_source_open(struct lap *lap, uint64_t node, int flags);
/* In a copy the identities that the map has are void: by path alone, and not at
 * all where paths may lead elsewhere. For a dry run, which forgets none. */
MUST_CHECK int lap_copied_open(struct lap *lap, const struct meta_node *row,
			       int flags);
MUST_CHECK int lap_target_open(struct lap *lap, uint64_t node, int flags,
			       struct meta_node *ret_row);
/* 1 and the row, 0: not there. Ids that only seem equal are not there. */
MUST_CHECK int lap_source_row(struct lap *lap, uint64_t node,
			      struct meta_node *ret);
MUST_CHECK int lap_target_row(struct lap *lap, uint64_t node,
			      struct meta_node *ret);
/* Does the source have the node under a name? */
MUST_CHECK int lap_source_named(struct lap *lap, uint64_t node);
/* The entry of the source or target: 1, 0. */
MUST_CHECK int lap_entry(struct meta_reader *rd, uint64_t parent,
			 const char *name, size_t len, struct meta_dentry *ret);

/* ---- close.c ---- */

MUST_CHECK int lap_close(struct lap *lap);

/* ---- doubt.c ---- */

MUST_CHECK int doubt_load(struct lap *lap);
void doubt_done(struct doubt *d);
/*
 * A node of the target was found in a directory that a crash left in doubt, or
 * below one that the map does not know: if it was born there, or may be another
 * one, nothing that the map says of it is certain.
 */
MUST_CHECK int doubt_born(struct lap *lap, const struct meta_node *row,
			  const struct store_stat *st);
/* A directory of the target got another id: what is in doubt there is still. */
MUST_CHECK int doubt_renumbered(struct lap *lap, uint64_t from, uint64_t to);
/* Is anything of it in doubt? */
bool doubt_any(const struct lap *lap, uint64_t node);
/* The ranges in doubt; empty: none. */
MUST_CHECK int doubt_ranges(const struct lap *lap, uint64_t node,
			    struct range_set *out);
/* Every node in doubt once, ascending within each of two runs. */
MUST_CHECK int doubt_nodes(const struct lap *lap, struct idvec *out);

/* ---- keep.c ---- */

void keep_free(struct keep *k);
/*
 * A snapshot of the source's map and its intents, after something was read
 * from its files; then any of the questions, then keep_end().  All of them do
 * nothing in the last lap and in a dry run.
 */
MUST_CHECK int keep_look(struct lap *lap);
void keep_end(struct lap *lap);
/* Keep what of the range the source has in doubt, or changed since the cut. */
MUST_CHECK int keep_range(struct lap *lap, uint64_t node, struct range range);
/* The attributes, if the source does so with anything of the node. */
MUST_CHECK int keep_attr(struct lap *lap, uint64_t node);
/* All of a node that was made by this lap, likewise. */
MUST_CHECK int keep_new(struct lap *lap, uint64_t node, enum meta_kind kind);
/* Does a directory stay in doubt, likewise? 1, 0. */
MUST_CHECK int keep_names(struct lap *lap, uint64_t dir);
/* What was skipped since the source's file had gone: without a question. */
MUST_CHECK int keep_skipped(struct lap *lap, uint64_t node, struct range range);
MUST_CHECK int keep_skipped_attr(struct lap *lap, uint64_t node);
/* Put those that are not in the map yet; inside a transaction. */
MUST_CHECK int keep_put(struct lap *lap);
/* When the lap is closed: what is left to be looked at; then, in the
 * transaction that has dropped all intents, put everything that is kept. */
MUST_CHECK int keep_close(struct lap *lap);
MUST_CHECK int keep_put_all(struct lap *lap);

/* ---- lap_copy.c ---- */

/* Of a copy, before anything is armed in it: below a directory that is, a name no
 * longer says which node it leads to. */
MUST_CHECK int lap_settle(struct lap *lap);

/* ---- reconcile.c ---- */

MUST_CHECK int reconcile(struct lap *lap);
/* Of a copy, before its files are found by path: which directories are in limbo/,
 * and not where a resync that was cut has left them in the map. */
MUST_CHECK int reconcile_copy(struct lap *lap);

/* ---- tree.c ---- */

MUST_CHECK int tree_begin(struct lap *lap);
MUST_CHECK int tree_add(struct lap *lap, uint64_t dir);
MUST_CHECK int tree_push(struct lap *lap, const struct work_dir *wd);
/* Evacuate and place everything of this round. */
MUST_CHECK int tree_round(struct lap *lap);
/* Commit an intent over a directory that was not on the work list. */
MUST_CHECK int tree_arm(struct lap *lap, uint64_t dir);
/* The same for several: put each, then commit once. */
MUST_CHECK int tree_arm_later(struct lap *lap, uint64_t dir);
MUST_CHECK int tree_arm_now(struct lap *lap);
/* After a fork: the target's nodes whose numbers the source gave to others. */
MUST_CHECK int tree_renumber(struct lap *lap);
/* The file of @node is not where the map says: forget it; it will be made
 * anew in the next round. Inside a transaction. */
MUST_CHECK int tree_lost(struct lap *lap, uint64_t node);
/* The directories of the source that hold @node go into the next round. */
MUST_CHECK int tree_want(struct lap *lap, uint64_t node);

/* ---- place.c ---- */

MUST_CHECK int place_round(struct lap *lap);

/* ---- limbo.c ---- */

/* The name of a node in limbo/. */
void limbo_name(uint64_t node, struct meta_dentry *ret);
/* Take an entry out of the target's directory: into limbo, or away. */
MUST_CHECK int limbo_evacuate(struct lap *lap, int dirfd,
			      const struct meta_dentry *d);
/* Something that is not ours lies under a name: to found/. */
MUST_CHECK int limbo_found(struct lap *lap, int dirfd, const char *name);
/* A leftover of our own work: away, but known nodes below go to limbo. */
MUST_CHECK int limbo_scrap(struct lap *lap, int dirfd, const char *name);
/* A node that the map knows, found elsewhere, goes to limbo under its id. */
MUST_CHECK int limbo_keep(struct lap *lap, int dirfd, const char *name,
			  const struct meta_node *row,
			  const struct store_stat *st);
MUST_CHECK int limbo_drain(struct lap *lap);
/* Delete the row of an entry; the node's too when that was its last name. */
MUST_CHECK int limbo_forget_entry(struct lap *lap, const struct meta_dentry *d);
/* Is the node under another name that both sides have? */
MUST_CHECK int limbo_kept_elsewhere(struct lap *lap, uint64_t node,
				    uint64_t except_parent);

/* The names in one directory. */
struct listing {
	VEC(char) text;
	VEC(size_t) at;
	size_t max;
};
MUST_CHECK int listing_read(struct lap *lap, int dirfd, size_t max,
			    struct listing *ret);
static inline const char *listing_name(const struct listing *l, size_t i)
{
	return l->text.data + l->at.data[i];
}
void listing_done(struct listing *l);

/* ---- fill.c ---- */

MUST_CHECK int fill_round(struct lap *lap);
void fill_done(struct fill *f);

/* ---- copy.c ---- */

/* One range between two open files, clipped to the source's size. */
MUST_CHECK int copy_range(struct lap *lap, uint64_t node, int sfd, int tfd,
			  struct range range, uint64_t source_size);
/* Extents of the delta, and new large files. */
MUST_CHECK int copy_large(struct lap *lap);
MUST_CHECK int copy_delta(struct lap *lap);
void batch_done(struct batch *b);

/* ---- large.c ---- */

/* All bytes of a new file are there: what is left to be done. @theirs: the
 * source's row, read before its extents. */
MUST_CHECK int large_finish(struct lap *lap, const struct meta_node *theirs);

/* ---- bad_block.c: bytes on disks that cannot read all ---- */

/*
 * Of a file of the source's, from the beginning of a block, into buffer[0];
 * zeros behind what it has. What its disk cannot read another online store of a
 * mounted volume may have, which is asked unless a transaction is open. A block
 * that none has stays in doubt, counts as unreadable, and is as the target (@tfd)
 * has it, or zeros where that cannot be read either.
 * Return: 0, -EAGAIN as lap_source_err(), or an error of the target's.
 */
MUST_CHECK int source_read(struct lap *lap, uint64_t node, int sfd, int tfd,
			   size_t len, uint64_t off);

/* Into buffer[1]: whole blocks, zeros behind the end. One that cannot be read
 * is unlike the one in buffer[0]. */
MUST_CHECK int target_read(struct lap *lap, int tfd, size_t len, uint64_t off);
/* From the beginning of a block; what is there need not be readable. */
MUST_CHECK int target_write(struct lap *lap, int tfd, const char *buf,
			    size_t len, uint64_t off);
/* ---- tail.c ---- */

/*
 * The source ends in the last block of @range, and the target goes on: zeros
 * there, or nothing at all if the block cannot be read. It keeps bytes of
 * before; should the source grow again before the sizes are made equal,
 * nothing would number that block, and they would show.
 *
 * Return: 1 if the block is punched out, and is to be written; 0, -errno
 */
MUST_CHECK int clear_tail(struct lap *lap, int tfd, struct range range,
			  uint64_t source_size);
/*
 * The target's file goes on at @start, behind its end, or gets that size: if it
 * ends within a block of its filesystem, and before @start, zeros up to the block's
 * end are durable before. Else the disk may have bytes there that were cut off once, and a
 * filesystem that loses its power when the new size is durable and the zeros are
 * not shows them (btrfs); the lap that follows would not look there.
 */
MUST_CHECK int fill_tail(struct lap *lap, int tfd, uint64_t start);
MUST_CHECK int target_resize(struct lap *lap, uint64_t node, int tfd,
			     uint64_t size);

/* ---- compare.c ---- */

MUST_CHECK int compare_doubt(struct lap *lap);
/* Only what is mapped on the target alone: it goes before anything comes. */
MUST_CHECK int compare_unmap(struct lap *lap);
/* Both mapped there: read both, write the blocks that differ. */
MUST_CHECK int compare_range(struct lap *lap, uint64_t node, int sfd, int tfd,
			     struct range range, uint64_t source_size);

/* ---- ctime.c ---- */

/* Both files are as they are to be: for the target's row. */
MUST_CHECK int ctime_copied(const struct lap *lap,
			    const struct meta_node *theirs, int sfd, int tfd,
			    struct meta_ctime *ret);
/* The target's file lost or got a name, and needs a look at the end. */
MUST_CHECK int ctime_moved(struct lap *lap, uint64_t node);
/* That look; outside of transactions, before the lap is closed. */
MUST_CHECK int ctime_names(struct lap *lap);

/* ---- misfit.c: what the target cannot hold or does not let be changed ---- */

/* The second of these: by a mode, an attribute (chattr +i). */
bool misfit_is_refusal(int err);

/*
 * If @r is an error that one object is to blame for, say which in the log and in
 * counts->misfit.  All return @r.
 */
int misfit_name(const struct lap *lap, int r, const struct meta_dentry *d,
		const char *what);
int misfit_node(const struct lap *lap, int r, uint64_t node, const char *what);
/* The name could not be given or taken. */
int misfit_at(const struct lap *lap, int r, int dirfd, const char *name);
/* A dry run: what it may not look into, by the path alone. */
int misfit_shut(const struct lap *lap, int r, uint64_t node);
int misfit_size(const struct lap *lap, int r, uint64_t node, uint64_t bytes);
int misfit_attrs(const struct lap *lap, int r, uint64_t node,
		 const struct store_attr_error *e);
/* It could not be made. */
int misfit_new(const struct lap *lap, int r, const struct meta_dentry *d);

/* ---- freed.c ---- */

void freed_done(struct freed *f);
/* In a dry run; else nothing. The target's node lost its last name. */
MUST_CHECK int freed_node(struct lap *lap, uint64_t node);
/* The source has the range unmapped. */
MUST_CHECK int freed_range(struct lap *lap, uint64_t node, struct range range);
/* The same, of the target's open file: at once. */
MUST_CHECK int freed_open(struct lap *lap, int tfd, struct range range);
/* A leftover file under a name; what has other names left stays. */
MUST_CHECK int freed_scrap(struct lap *lap, int dirfd, const char *name,
			   const struct store_stat *st);
/* At the end: look at the files and sum up, until so much is found. */
MUST_CHECK int freed_sum(struct lap *lap, uint64_t bytes, uint64_t inodes);

/* ---- attr.c ---- */

/* Only what the source has unmapped, before anything comes. */
MUST_CHECK int attr_unmap(struct lap *lap);
MUST_CHECK int attr_files(struct lap *lap);
MUST_CHECK int attr_dirs(struct lap *lap);

/* ---- shortfall.c: room on the target's disk ---- */

/* May it be that there is room only when what goes is gone before? */
MUST_CHECK int shortfall_tight(const struct resync_lap_args *args,
			       bool *ret_tight);
/*
 * Before anything is changed: -ENOSPC when the lap would write more than is
 * free where the target has nothing yet, with what it takes away before, or
 * make more files; counts->bytes_short and inodes_short say how much.
 */
MUST_CHECK int shortfall_check(const struct resync_lap_args *args,
			       struct resync_counts *counts);
/* By a dry run, as of now. */
MUST_CHECK int shortfall_plan(const struct resync_lap_args *args,
			      struct resync_counts *counts);
/* At the end of a dry run, which has counted what is needed. */
MUST_CHECK int shortfall_count(struct lap *lap);
