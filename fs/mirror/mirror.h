/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mirror - a live volume: every change numbered and applied to all online
 * stores in one order, with the promises of docs/correctness.md (I1..I11).
 *
 * Used by fs/mount (each FUSE request is one call here), by resync (laps over
 * a live volume) and by fs/cli (status and membership).  Nodes are named by
 * their 64-bit id, which is also the kernel's node id and st_ino.
 *
 * Life of a mutation (op.c has the essay):
 *	node or name lock -> budget -> seq and generation -> intents on every
 *	online store -> the call on every online store -> dirty note in memory
 *	-> put out whoever missed it, durably, before the reply.
 *
 * Members sit in slots 0..mirror_slot_count()-1 for the life of the mount
 * (`add` appends, a removed one leaves its slot empty).  A slot is ONLINE, or
 * in one of the other states of enum meta_store_state; only online slots take
 * part in operations.  The lead slot is the online one that answers reads of
 * attributes and directories.
 *
 * Errors: 0 or a count, or -errno meant for the application.  A store's I/O
 * error never comes out while another store has the answer.
 *
 * Locks: callers hold none.  No call may be made from inside a callback
 * except where said.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/fault.h"
#include "fs/store/store.h"
#include "meta/meta.h"

struct mirror;

/* ---- life ---- */

struct mirror_options {
	unsigned int min_stores;    /* fewer online: -EROFS for mutations */
	unsigned int checkpoint_ms; /* longest time dirty; 0: 5000 */
	uint64_t budget_bytes; /* armed at most; 0: as budget.c learns it */
	unsigned int fd_limit; /* cached descriptors; 0: from RLIMIT */
	int prefer_slot;       /* lead by preference; -1: none */
	/* A store is put out when a call on it lasts longer; 0: never, its
	 * callers wait. */
	uint64_t timeout_ms;
	bool noatime; /* reading moves no access times */
};

/* A sentence for people, with a name and what to do. */
#define MIRROR_WHY_MAX 1024

/* A member as mounting found it. store and meta are NULL when not present. */
struct mirror_member_in {
	struct meta_member row;
	struct store *store; /* owned by the mirror from mirror_open on */
	struct meta *meta;
	bool in_step;		  /* equal to the lead: starts online */
	char why[MIRROR_WHY_MAX]; /* of one that is away: if that is known */
};

/**
 * mirror_open - start serving a volume from stores that are in step.
 * @members: every member of the volume; @lead: index of one that is in step
 * and recovered (no intents of its own).  Present members that are not in step
 * are given back untouched to the caller's attach (mirror_attach()): they must
 * be NULL here.
 * @new_epoch: begin one before the first mutation (always true after a mount,
 * DESIGN "Lineage").
 */
MUST_CHECK int mirror_open(const struct mirror_member_in *members, size_t count,
			   unsigned int lead,
			   const struct mirror_options *options,
			   struct mirror **ret_mirror);

/**
 * mirror_close - last checkpoint, clean flags, stores and maps closed.
 * The kernel sends nothing any more. Returns what the checkpoint gave.
 *
 * A store on which a call lasts longer than the timeout (MIRROR_CLOSE_MS where
 * there is none) is put out first, unless it is the last one.  Calls that
 * still have not ended then keep their store open: guard_any_left(), and the
 * process can only _exit(2): they get MIRROR_LATE_MS more.
 *
 * Without a timeout nobody has said how slow a store may be, and a stick that
 * has half a gigabyte to write needs minutes: it is not to be called hung.
 */
#define MIRROR_CLOSE_MS FAULT_NUMBER("mirror.close.ms", 300000u)
#define MIRROR_LATE_MS	FAULT_NUMBER("mirror.close.late_ms", 30000u)
int mirror_close(struct mirror *m);

/* ---- names ---- */

struct mirror_entry {
	uint64_t id;
	struct stat st; /* st_ino = id; times, size and blocks of the lead */
};

struct mirror_cred {
	uid_t uid;
	gid_t gid;
	mode_t umask;
	bool fsetid; /* may keep set-id bits (the caller is root) */
};

/* Those that return an entry raise its lookup count by one on success. */
MUST_CHECK int mirror_lookup(struct mirror *m, uint64_t parent,
			     const char *name, struct mirror_entry *ret);
/* By id alone (NFS handles, "."): -ESTALE when there is none. */
MUST_CHECK int mirror_lookup_id(struct mirror *m, uint64_t id,
				struct mirror_entry *ret);
void mirror_forget(struct mirror *m, uint64_t id, uint64_t nlookup);

/* Makes an ordinary file; -EEXIST when the name is taken. */
MUST_CHECK int mirror_create(struct mirror *m, uint64_t parent,
			     const char *name, mode_t mode,
			     const struct mirror_cred *cred,
			     struct mirror_entry *ret);
MUST_CHECK int mirror_mknod(struct mirror *m, uint64_t parent, const char *name,
			    mode_t mode, dev_t rdev,
			    const struct mirror_cred *cred,
			    struct mirror_entry *ret);
MUST_CHECK int mirror_mkdir(struct mirror *m, uint64_t parent, const char *name,
			    mode_t mode, const struct mirror_cred *cred,
			    struct mirror_entry *ret);
MUST_CHECK int mirror_symlink(struct mirror *m, uint64_t parent,
			      const char *name, const char *target,
			      const struct mirror_cred *cred,
			      struct mirror_entry *ret);
MUST_CHECK int mirror_link(struct mirror *m, uint64_t node, uint64_t new_parent,
			   const char *new_name, struct mirror_entry *ret);
MUST_CHECK int mirror_unlink(struct mirror *m, uint64_t parent,
			     const char *name);
MUST_CHECK int mirror_rmdir(struct mirror *m, uint64_t parent,
			    const char *name);
MUST_CHECK int mirror_rename(struct mirror *m, uint64_t parent,
			     const char *name, uint64_t new_parent,
			     const char *new_name, unsigned int flags);
/*
 * As rename(2) with RENAME_WHITEOUT, and RENAME_NOREPLACE in @flags or 0.
 * -EINVAL: a store that is online cannot.
 */
MUST_CHECK int mirror_whiteout(struct mirror *m, uint64_t parent,
			       const char *name, uint64_t new_parent,
			       const char *new_name, unsigned int flags,
			       const struct mirror_cred *cred);
/* @buf holds PATH_MAX; returns the length. */
MUST_CHECK ssize_t mirror_readlink(struct mirror *m, uint64_t node, char *buf,
				   size_t len);
/**
 * mirror_refuse - @bytes of a file that the kernel had accepted from an
 * application were refused: @err, -ENOSPC or -EDQUOT.
 *
 * Who writes through the kernel's pages hears of it with fsync or close, and
 * one that never comes to an end, never.  The kernel asks for attributes before
 * each such write once it has been told that those it has are old: there
 * mirror_refused() says what to answer: the error as long as there is no room for as many,
 * or once, where only the next write can tell (-EDQUOT).
 */
void mirror_refuse(struct mirror *m, uint64_t node, int err, uint64_t bytes);
MUST_CHECK int mirror_refused(struct mirror *m, uint64_t node);

/* The directory of a node that is in memory, if its name is; 0: not known. */
uint64_t mirror_dir_peek(struct mirror *m, uint64_t node);

/* Up to @max directories in memory that came after @dir into the one above, in
 * that order. Return: how many. */
size_t mirror_dirs_beside(struct mirror *m, uint64_t dir, uint64_t *ret_dirs,
			  size_t max);

/*
 * Entries of a directory after @cookie (0: from the start), "." and ".."
 * included, and no name that came after the walk's start.  @fn gets name, id,
 * type (DT_*), the cookie that follows it, and, with @plus, its attributes (NULL
 * when they could not be had; else the lookup count of that node was raised,
 * unless fn returns nonzero, which ends the walk and means "did not fit").  "."
 * and ".." never raise a count.
 */
typedef int (*mirror_dir_fn)(void *arg, const char *name, uint64_t id,
			     unsigned char type, uint64_t next_cookie,
			     const struct stat *st);
MUST_CHECK int mirror_readdir(struct mirror *m, uint64_t dir, uint64_t cookie,
			      bool plus, mirror_dir_fn fn, void *arg);

/* ---- attributes ---- */

#define MIRROR_SET_MODE	     (1u << 0)
#define MIRROR_SET_UID	     (1u << 1)
#define MIRROR_SET_GID	     (1u << 2)
#define MIRROR_SET_SIZE	     (1u << 3)
#define MIRROR_SET_ATIME     (1u << 4)
#define MIRROR_SET_MTIME     (1u << 5)
#define MIRROR_SET_ATIME_NOW (1u << 6)
#define MIRROR_SET_MTIME_NOW (1u << 7)
/*
 * With SIZE, and of writers: who lacks CAP_FSETID takes set-id bits and file
 * capabilities away, the group's bit where the group may execute; KILL_SGID: as
 * no member of the group, in any case.
 */
#define MIRROR_KILL_SUIDGID (1u << 8)
#define MIRROR_KILL_SGID    (1u << 9)
/* Of a write: pages that were gathered. File capabilities stay (privs.h). */
#define MIRROR_KEEP_CAPS (1u << 10)
/* What the kernel, which keeps the times, says of a change: nothing is set. */
#define MIRROR_SET_CTIME (1u << 11)

/* meta_reader_get() gave none: want of our own, or -EIO, its store's fault. */
MUST_CHECK int mirror_reader_error(void);

/* Here and below the times of change of regular files are whatever, where the
 * kernel keeps them (mirror_set_kernel_times): it takes none from an answer on a
 * file that it knows. */
MUST_CHECK int mirror_getattr(struct mirror *m, uint64_t node,
			      struct stat *ret_st);
MUST_CHECK int mirror_setattr(struct mirror *m, uint64_t node,
			      const struct stat *want, unsigned int what,
			      struct stat *ret_st);
MUST_CHECK int mirror_setxattr(struct mirror *m, uint64_t node,
			       const char *name, const void *value, size_t len,
			       int flags);
/* @len 0: only the length. */
MUST_CHECK ssize_t mirror_getxattr(struct mirror *m, uint64_t node,
				   const char *name, void *buf, size_t len);
MUST_CHECK ssize_t mirror_listxattr(struct mirror *m, uint64_t node, char *buf,
				    size_t len);
MUST_CHECK int mirror_removexattr(struct mirror *m, uint64_t node,
				  const char *name);
MUST_CHECK int mirror_statvfs(struct mirror *m, struct statvfs *ret);

/* ---- data ---- */

MUST_CHECK ssize_t mirror_read(struct mirror *m, uint64_t node, void *buf,
			       size_t len, uint64_t off);
/* All of it or an error.  @kill: MIRROR_KILL_*, done first. */
MUST_CHECK int mirror_write(struct mirror *m, uint64_t node, const void *buf,
			    size_t len, uint64_t off, unsigned int kill);
/*
 * As much of it as there was room for, if all stores have just that: else who
 * appends, and tries again after an error, would have the part twice. How much, or
 * an error.  Not with MIRROR_KEEP_CAPS.
 */
MUST_CHECK ssize_t mirror_write_some(struct mirror *m, uint64_t node,
				     const void *buf, size_t len, uint64_t off,
				     unsigned int kill);
/* mode as fallocate(2); COLLAPSE and INSERT are -EOPNOTSUPP. */
MUST_CHECK int mirror_fallocate(struct mirror *m, uint64_t node, int mode,
				uint64_t off, uint64_t len, unsigned int kill);
/* SEEK_DATA/SEEK_HOLE on the lead. The kernel's dirty pages must be flushed. */
MUST_CHECK int mirror_seek(struct mirror *m, uint64_t node, uint64_t off,
			   int whence, uint64_t *ret_off);
/* Files and directories; on all online stores in parallel. */
MUST_CHECK int mirror_fsync(struct mirror *m, uint64_t node, bool data_only);

/* ---- the volume ---- */

/*
 * Make everything done so far durable on all online stores and their maps.
 * @ret_seq (may be NULL): the cut C; every operation <= C is durable.
 */
MUST_CHECK int mirror_checkpoint(struct mirror *m, uint64_t *ret_seq);

/*
 * Hold mutations: returns when all running ones have ended; new ones wait in
 * mirror_release(). Nested holds are a broken invariant; holders queue.
 */
void mirror_hold(struct mirror *m);
void mirror_release(struct mirror *m);
/* Each mutation sleeps this long first: a resync that does not catch up. */
void mirror_set_delay(struct mirror *m, unsigned int delay_us);

/*
 * Writeback caching: the kernel keeps the modification times of files, tells
 * them by SETATTR, before or after the pages they stand for, and not at all
 * while its clock has not moved on.  What it was told or has said counts then,
 * and contents that change later do not move it.
 */
void mirror_set_kernel_times(struct mirror *m, bool on);

unsigned int mirror_slot_count(const struct mirror *m);
int mirror_lead(struct mirror *m); /* slot */
const char *mirror_volume_uuid(const struct mirror *m);

/*
 * A reference on a slot's store and map: both stay open until put, also when
 * the store is put out meanwhile. The map shows every name made or taken away
 * before; of contents what there was at the last checkpoint. -ENODEV when the
 * slot has none.
 */
struct mirror_ref {
	unsigned int slot;
	struct store *store;
	struct meta *meta;
};
MUST_CHECK int mirror_ref_get(struct mirror *m, unsigned int slot,
			      struct mirror_ref *ret_ref);
/* The same at once: the map may lack names that are on their way to it. */
MUST_CHECK int mirror_ref_get_now(struct mirror *m, unsigned int slot,
				  struct mirror_ref *ret_ref);
void mirror_ref_put(struct mirror *m, struct mirror_ref *ref);

/*
 * A fresh descriptor (the caller closes it) of @node on @slot's store, found
 * through the live node table and verified. -ENOENT: the node has no name.
 */
MUST_CHECK int mirror_node_open(struct mirror *m, uint64_t node,
				unsigned int slot, int flags);

struct mirror_slot_info {
	char uuid[META_UUID_LEN + 1];
	char name[64];
	char path[4096];
	enum meta_store_state state;
	bool used; /* false: removed member */
	uint64_t durable_seq;
	uint64_t errors_read;
	uint64_t errors_write;
	uint64_t repaired;	/* ranges it could not read, rewritten */
	uint64_t free_bytes;	/* 0 when away */
	bool whole;		/* left in good order, and not touched since */
	bool half;		/* a resync has changed it and was not done */
	uint64_t away_since_ns; /* realtime; 0 when online */
	char why[MIRROR_WHY_MAX]; /* why it is away, for people */
	/* With a timeout: how long its oldest call under way has lasted. */
	uint64_t waits_ms;
	/* Put out for that, and calls on it have still not ended: it cannot
	 * come back before. */
	bool hangs;
};
void mirror_slot_info(struct mirror *m, unsigned int slot,
		      struct mirror_slot_info *ret);
/* The same but for free_bytes: asks nothing of the store. */
void mirror_slot_look(struct mirror *m, unsigned int slot,
		      struct mirror_slot_info *ret);
/* Changes are refused: fewer than min_stores, or nothing can be recorded. */
bool mirror_read_only(struct mirror *m, unsigned int *ret_min_stores);
uint64_t mirror_seq(struct mirror *m); /* last one issued */
/* Nothing is left for a checkpoint: the maps number all there is. */
bool mirror_all_in_maps(struct mirror *m);

/*
 * Take @slot out: its state becomes DETACHED (after a checkpoint, under a
 * hold), with an epoch recorded on those who stay. -EBUSY: the last one,
 * -ETXTBSY: an open file without a name lies on it alone.
 */
MUST_CHECK int mirror_detach(struct mirror *m, unsigned int slot);
/* Why it is out, then; and why one is whose resync the user has ended. */
#define MIRROR_DETACHED "detached, safe to remove"
#define MIRROR_GIVEN_UP "its resync was not finished"

/* Has the store of a member that is away been closed? Waits for it so long. */
bool mirror_closed(struct mirror *m, unsigned int slot, unsigned int wait_ms);
/*
 * A present store of a member that is away becomes the target of a resync:
 * state RESYNCING; the mirror owns store and meta on success. -EBUSY when the
 * slot is online or resyncing already.
 */
MUST_CHECK int mirror_attach(struct mirror *m, unsigned int slot,
			     struct store *store, struct meta *meta);
/*
 * Copy what has no name any more but is still open to the target of a resync,
 * which no lap does. Once without a hold, between two laps, and once more under
 * that of the last lap, before mirror_join(); the second time only what changed
 * meanwhile. What the target has no room for is logged and left out.
 * -ECANCELED: should_stop() said so, -errno: the target failed as a device.
 */
struct mirror_giving {
	unsigned int slot;
	bool held;
	int (*should_stop)(void *arg);
	void *arg;
};
MUST_CHECK int mirror_nameless_give(struct mirror *m,
				    const struct mirror_giving *how);

/* How many epochs have begun, and doubts about a store that is to leave for them:
 * asked before the lap that ends in a join. Waits for what is under way. */
uint64_t mirror_epochs(struct mirror *m);
/*
 * The target of a finished lap takes part from now on. Under mirror_hold(),
 * its map closed at the cut of the last lap: begins an epoch with it on all
 * members, itself included. -EAGAIN: another one has begun since there were
 * @epochs of them (a store was put out, perhaps the source), or a doubt, of which
 * its map knows nothing; another lap is needed.
 */
MUST_CHECK int mirror_join(struct mirror *m, unsigned int slot,
			   uint64_t epochs);
/* Commit the states of all members on those that are online, as before the
 * first change of a store that their maps call detached: whole. */
MUST_CHECK int mirror_members_record(struct mirror *m);
/* The first change of a target comes now. */
void mirror_touches(struct mirror *m, unsigned int slot);
/*
 * A resync was given up or its target failed: back to @state with @why. One that
 * was not touched is what it was before: detached again if it was given up, else
 * FAILED, to be tried again, and the maps are told what it was with the next record.
 */
void mirror_unattach(struct mirror *m, unsigned int slot,
		     enum meta_store_state state, const char *why);

/*
 * Membership, recorded on all online stores. Of an added one nobody knows
 * before it is; -ENOSPC, -ENOMEM, -EROFS: it is on no map, -EIO: it may be on one,
 * -EEXIST: it is one already, -ENOTUNIQ: another one has its name.
 */
MUST_CHECK int mirror_member_add(struct mirror *m,
				 const struct meta_member *row,
				 unsigned int *ret_slot);
MUST_CHECK int mirror_member_remove(struct mirror *m, unsigned int slot);

/* Called (from any thread, no locks held) when a slot's state changed; makes no
 * call on a store, which may hang. */
void mirror_on_change(struct mirror *m, void (*fn)(void *arg), void *arg);
/*
 * Called when pages or attributes the kernel may hold of @node changed without
 * it asking (never by ordinary operations). From any thread, no locks held.
 */
void mirror_on_invalidate(struct mirror *m,
			  void (*fn)(void *arg, uint64_t node), void *arg);
