/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scan - rows made from files: adopting a tree at init, rebuilding a lost map,
 * and directories that appeared under an intent.
 *
 * Everything found below @dir gets a node id, its backing identity, names and
 * mapped extents, all under seqs that the caller hands out.  Hard links come
 * out as one node (matched by backing identity through the map's index).
 * Runs in the caller's open transaction and commits now and then if told so.
 */
#pragma once

#include "resync/resync.h"

struct scan_numbers {
	uint64_t next_node; /* next free id; raised by the scan */
	uint64_t next_seq;  /* next free seq; raised by the scan */
	/*
	 * Which rows met again are taken as they are: those numbered at or
	 * below @settled_seq (durable before), and those at or above
	 * @fresh_seq (read by this very run).  What lies between was never
	 * made durable: a file is read again under a fresh seq, a directory is
	 * told to @doubtful_dir, as is one that is not scan_is_same().  All
	 * zero: every row met again is settled.
	 */
	uint64_t settled_seq;
	uint64_t fresh_seq;
	int (*doubtful_dir)(void *arg, uint64_t dir);
	void *arg;
	bool skips_foreign; /* other filesystems mounted inside: left alone */
	/* A write-back may have failed once: what is read from now on is to be
	 * what the disk has (recover.h). */
	bool drops_cache;
	/* What the caller could not give to another store as it is, because it
	 * has another owner or group: -EPERM, and its name is below. */
	bool own_only;
	/* Else, with -EXDEV: the name that one is mounted on. */
	char foreign[META_NAME_MAX + 1];
	/* Asked between directories; nonzero ends it with -ECANCELED. NULL: no. */
	int (*should_stop)(void *arg);
	void *stop_arg;
};

/* Can the caller give what it has made that owner and group? */
bool scan_is_own(const struct stat *st);

/*
 * Is what was found the file that the row was written for? Where there is no
 * generation, one that got the inode number of a removed one looks like it, but
 * was changed since.
 */
bool scan_is_same(const struct meta_node *row, const struct store_stat *st);

/**
 * scan_is_unlike - may it be another one than the row's, and would no second
 * look tell? What a symlink or a special file holds it was made with.
 */
bool scan_is_unlike(const struct meta_node *row, const struct store_stat *st);

struct scan_counts {
	uint64_t nodes;
	uint64_t entries;
	uint64_t bytes; /* mapped */
};

/**
 * scan_tree - rows for all that lies below directory @dirfd, which is node
 * @dir in the map. @commit_rows: commit and begin again after so many rows
 * (0: never). Inside meta_begin(); on return still inside (or rolled back on
 * error). Each entry and node takes a seq of its own from @numbers.  A
 * directory that the map knew before is named here and not entered: its rows
 * are its own.  Counts are added to *@ret.
 * Return: 0, -EXDEV (another filesystem is mounted below; logged and skipped
 * where that is wanted, else its name is left in @numbers), -EACCES (logged),
 * what the calls gave.
 */
MUST_CHECK int scan_tree(struct store *store, struct meta *meta, int dirfd,
			 uint64_t dir, struct scan_numbers *numbers,
			 unsigned int commit_rows, struct scan_counts *ret);

/**
 * scan_object - one entry (@parent, @name) in an open directory: makes or
 * updates its node row, dentry and (for a file) all its extents; not its
 * children. @ret_node: the node it is; @ret_new: it was not in the map.
 * What the name held before is replaced; the caller looks after that node, and
 * raises the directory. On error the caller rolls back. -EXDEV: another
 * filesystem is mounted there; nothing was written.
 */
MUST_CHECK int scan_object(struct store *store, struct meta *meta, int dirfd,
			   uint64_t parent, const char *name,
			   struct scan_numbers *numbers, uint64_t *ret_node,
			   bool *ret_new);

/**
 * scan_file_range - extents of @node in [start,end) as the open file @fd has
 * them mapped now, under @seq; the rest of the range is cleared.
 */
MUST_CHECK int scan_file_range(struct store *store, struct meta *meta, int fd,
			       uint64_t node, uint64_t start, uint64_t end,
			       uint64_t seq);

/* Everything of @row anew under one fresh seq: attributes, and a file's
 * extents, through (@dirfd, @name). A row not in the map is made. */
MUST_CHECK int scan_refresh(struct store *store, struct meta *meta, int dirfd,
			    const char *name, const struct meta_node *row,
			    struct scan_numbers *numbers);
