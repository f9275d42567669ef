/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store - one backing directory: its identity, and system calls on its files.
 *
 * A store is a directory that holds one full replica as plain files, plus the
 * private directory .seqmirror/ (0700).  Everything here works relative to
 * descriptors below the store's root, which was opened once and whose identity
 * was proved against .seqmirror/store; no path is ever resolved through "..",
 * a symlink, or out of the tree (openat2(2) with RESOLVE_BENEATH and
 * RESOLVE_NO_SYMLINKS, or single names with O_NOFOLLOW).
 *
 * The layer knows no map, no node table and no other store.  It retries EINTR
 * and short transfers, asserts its contract (offsets, lengths, names), and
 * turns results into 0, a count, or -errno.  It logs nothing.
 *
 * Credentials: calls that make something take `struct store_cred`; when the
 * process may (it is root), the object is made under that identity, with the
 * capability to pass directories kept, so that owner, group, set-group-id
 * directories and default ACLs come out as on an ordinary filesystem.  The
 * caller's umask is applied per thread (unshare(CLONE_FS)).
 *
 * Faults: every call passes FAULT_ERR("store.<call>") and, for tests, the
 * per-store switch store_fail_inject().
 *
 * Hangs: while store_guard() is on, every call on the live store (all but open
 * and close) is made by a helper and may end with -ETIMEDOUT, or -ETIME for one
 * in a hurry; it may be done all the same, some time later.
 *
 * Locks: none; calls on one struct store may run in any number of threads.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "base/guard.h"

#define STORE_PRIVATE ".seqmirror"
#define STORE_LIMBO   "limbo"
#define STORE_FOUND   "found"
/* Names in limbo/ of files that have lost theirs and are still open begin so. */
#define STORE_GONE "gone-"
/* Those of a further link of a file that is about to take over a name, and of what
 * had it, with the time of its directory. */
#define STORE_LINK   "link-"
#define STORE_FORMAT 1

struct store; /* opaque; fields by the accessors below */

/* What .seqmirror/store says. */
struct store_identity {
	char volume_uuid[37];
	char store_uuid[37];
	char name[64];
	unsigned int format;
};

/* What the filesystem below can do; probed when the store is made or added. */
struct store_caps {
	bool punch_hole;
	bool zero_range;
	bool seek_hole;
	bool fiemap; /* else what is preallocated looks like a hole */
	bool xattr_user;
	bool hard_links;
	bool symlinks;
	bool specials;	/* mknod of fifos at least */
	bool whiteouts; /* RENAME_WHITEOUT */
	bool case_sensitive;
	bool long_names;      /* 255 bytes */
	bool any_bytes;	      /* invalid UTF-8, control bytes */
	bool file_handles;    /* name_to_handle_at gives generations */
	bool syncfs_complete; /* syncfs writes and reports everything */
	bool birth_times; /* a new object's times are all that of its birth */
	/* What a modification time can be: seconds, and nanoseconds in steps. */
	int64_t time_min, time_max;
	uint32_t time_step_ns;
	uint32_t block_size;
	uint64_t fs_type; /* statfs f_type */
};

/* Where a call takes a pointer to one, NULL stands for the process's own. */
struct store_cred {
	uid_t uid;
	gid_t gid;
	mode_t umask;
};

/* Result of a stat: the system's, plus the identity of the object. */
struct store_stat {
	struct stat st;
	uint64_t btime_ns;
	/* Hash of the file handle, of the birth time where there is none.
	 * Never 0 where it was wanted, else 0. */
	uint64_t gen;
	/* It was wanted and there is neither (FUSE): all have the same one, and
	 * an object that got the inode number of a removed one looks like it. */
	bool no_gen;
	/* Something is mounted here, or a btrfs subvolume begins: what lies
	 * below is not of this store. */
	bool foreign;
	bool mounted; /* the former: a mount's root, which is not the store's */
};

/*
 * Is it surely not of this store? Less than foreign: on overlayfs files may lie
 * on another device than their directories.
 */
static inline bool store_stat_is_apart(const struct store_stat *st)
{
	return st->mounted || (st->foreign && S_ISDIR(st->st.st_mode));
}

/*
 * What a stat is asked for besides.  Since Linux 6.13 whoever asks for the times
 * of a change makes the next change take a stamp finer than the clock's tick, on
 * that filesystem, and all others never give an older one from then on: each
 * write of whatever moves some time then, and each fsync commits it.  (Measured
 * in 4 KiB writes with an fsync each.)  So the times are asked for where somebody
 * wants them.  Ref: multigrain timestamps, Documentation/filesystems.
 */
#define STORE_STAT_GEN	    (1u << 0) /* the identity of the object */
#define STORE_STAT_NO_TIMES (1u << 1) /* st_mtim, st_ctim: whatever */
#define STORE_STAT_BORN	    (1u << 2) /* nobody changed it since it was made */

/* ---- life ---- */

/**
 * store_probe_identity - read and check PATH/.seqmirror/store.
 * Return: 0, -ENOENT (no store here), -EUCLEAN (damaged), -EPROTO (newer),
 * or what open gave. Opens nothing else, changes nothing.
 */
MUST_CHECK int store_probe_identity(const char *path,
				    struct store_identity *ret_id);

/**
 * store_peek - attributes of what lies at @path below the directory @root, of
 * a store that nobody has opened.  Follows no symlink and does not leave
 * @root.  "" is @root itself.
 * Return: 0, -ENOENT, -ENOTDIR, -ELOOP, -EXDEV, -ENAMETOOLONG, ...
 */
MUST_CHECK int store_peek(const char *root, const char *path,
			  struct stat *ret_st);
/* The same of what tells it from others, as STORE_STAT_GEN does. */
MUST_CHECK int store_peek_backing(const char *root, const char *path,
				  uint64_t *ret_ino, uint64_t *ret_gen);
/* The same of store_xattr_hash(). */
MUST_CHECK int store_peek_xattrs(const char *root, const char *path,
				 uint64_t *ret_hash);

/**
 * store_make - make PATH a store: .seqmirror/, limbo/, found/, then the
 * identity file as the last step (fsynced, with its directories). The map is
 * the caller's: it comes before, through @make_map (called when the private
 * directory exists). On failure everything made is removed again.
 * Return: 0, -EEXIST (is a store), -ENOTEMPTY (.seqmirror lies there without
 * the identity file: for the user to judge), -EINVAL (not an identity that
 * could be read back), -ENOTDIR, -EROFS, ...
 */
MUST_CHECK int store_make(const char *path, const struct store_identity *id,
			  int (*make_map)(void *arg, const char *privdir),
			  void *arg);
/*
 * Take a half or wholly made .seqmirror away again (init that failed).
 * Return: 0, -ENOENT (none), -EBUSY (in use), -ENOTEMPTY (something lies in
 * limbo/ or found/; nothing was removed), ...
 */
int store_unmake(const char *path);

/**
 * store_open - open, prove the identity (@expect_uuid may be NULL), take the
 * exclusive lock (flock on .seqmirror/lock; -EBUSY when another process holds
 * it), probe capabilities, open the descriptor that syncfs reports errors on.
 * .seqmirror is believed only if it is a real directory on the same device,
 * owned by the effective user, writable by nobody else.
 * Return: 0; as store_probe_identity(); -ESTALE (another store lies there),
 * -EBUSY, -ENOTDIR (.seqmirror is a symlink or a file), -EPERM (it belongs to
 * somebody else or others may write to it), -EXDEV (it is a mount point),
 * -EROFS, ...
 */
MUST_CHECK int store_open(const char *path, const char *expect_uuid,
			  struct store **ret_store);
void store_close(struct store *s);

/* The guard of its calls, not on (base/guard.h); lives as long as the store,
 * whose close waits for the calls that were left behind. */
struct guard *store_guard(const struct store *s);

const struct store_identity *store_identity(const struct store *s);
const struct store_caps *store_caps(const struct store *s);
/* As a store with such capabilities keeps it. */
struct timespec store_time_kept(const struct store_caps *c,
				struct timespec time);
const char *store_path(const struct store *s); /* absolute */
/* Absolute path of .seqmirror. */
const char *store_privdir(const struct store *s);
dev_t store_dev(const struct store *s);
/* O_RDONLY|O_DIRECTORY, borrowed */
int store_root_fd(const struct store *s);
/* Is @st its root? Asks nobody. */
bool store_is_at(const struct store *s, const struct stat *st);
int store_limbo_fd(const struct store *s); /* the same of limbo/ */
int store_found_fd(const struct store *s);
/**
 * store_keep_modes - from now on nothing is lifted: an ordinary user's own
 * objects that shut him out answer -EACCES. For whoever only looks; before
 * the first other call.
 */
void store_keep_modes(struct store *s);
/** store_has_lifted - was the change time of any object moved that way? */
bool store_has_lifted(const struct store *s);
/* Identity of the .seqmirror/store file itself: differs in a copied store. */
MUST_CHECK int store_self_backing(const struct store *s, uint64_t *ret_ino,
				  uint64_t *ret_gen);
/* Write a line into the lock file: where the control socket of the user is. */
int store_lock_note(struct store *s, const char *text);
/* Read that line of a store (locked by somebody else or not); without its
 * newline. Return: 0, -ENOENT (none), -ERANGE (longer than @len) */
int store_lock_note_read(const char *path, char *buf, size_t len);

/**
 * store_alive - does the root still answer and is it still ours?
 * stat of the root descriptor, and of the path: 0, -EIO, -ENODEV, -EROFS
 * (mounted read-only), -ESTALE (another directory or none lies at the path;
 * the descriptor may still work).
 */
MUST_CHECK int store_alive(const struct store *s);
MUST_CHECK int store_statvfs(const struct store *s, struct statvfs *ret);
MUST_CHECK int store_syncfs(const struct store *s);

/* ---- names: @dirfd is a directory of this store, @name one component ---- */

/*
 * What is opened here is read for the volume's own purposes, a resync or a
 * scrub, and nobody's access time is to move by that: O_NOATIME is added where
 * the process may have it (of a file that is not his, an ordinary user may
 * not).  With this flag it is read for an application, and the store's own mount
 * decides.
 */
#define STORE_ATIME (1 << 30)

/* O_NOFOLLOW|O_CLOEXEC|O_NONBLOCK|O_NOCTTY are added. Returns an fd. */
MUST_CHECK int store_openat(const struct store *s, int dirfd, const char *name,
			    int flags);
/*
 * The same for an object of our own whose mode shuts its owner out (0444, as
 * git makes them): where the plain call says -EACCES and the process is an
 * ordinary user and the owner, the missing bits are set for as long as it
 * takes to open, and the mode put back. For directories too. The change time
 * moves. The caller keeps other changes of the mode away meanwhile.
 */
MUST_CHECK int store_openat_forced(const struct store *s, int dirfd,
				   const char *name, int flags);
/* Open again what the O_PATH descriptor @path_fd names, with a name or
 * without. */
MUST_CHECK int store_reopen(const struct store *s, int path_fd, int flags);
/* From now on as if opened without STORE_ATIME; as far as it goes. */
void store_keep_atime(int fd);
/*
 * Close a descriptor of a store that may hang: some time later, by a helper,
 * when no call that was left behind may still use it.
 */
void store_close_fd(const struct store *s, int fd);
/*
 * @path: relative, several components, of any length; "" is the root itself.
 * openat2 beneath the root. -EXDEV: absolute, or with "..", -ELOOP: a symlink.
 */
MUST_CHECK int store_open_path(const struct store *s, const char *path,
			       int flags);
/* The same, name by name as store_openat_forced() where that says -EACCES:
 * directories that shut their owner out, one in another. */
MUST_CHECK int store_open_path_forced(const struct store *s, const char *path,
				      int flags);
/* O_CREAT|O_EXCL|O_RDWR; returns an fd. */
MUST_CHECK int store_create(const struct store *s, int dirfd, const char *name,
			    mode_t mode, const struct store_cred *cred);
MUST_CHECK int store_mkdir(const struct store *s, int dirfd, const char *name,
			   mode_t mode, const struct store_cred *cred);
MUST_CHECK int store_mknod(const struct store *s, int dirfd, const char *name,
			   mode_t mode, dev_t rdev,
			   const struct store_cred *cred);
MUST_CHECK int store_symlink(const struct store *s, int dirfd, const char *name,
			     const char *target, const struct store_cred *cred);
MUST_CHECK int store_link(const struct store *s, int old_dirfd,
			  const char *old_name, int new_dirfd,
			  const char *new_name);
MUST_CHECK int store_unlink(const struct store *s, int dirfd, const char *name);
MUST_CHECK int store_rmdir(const struct store *s, int dirfd, const char *name);
/* @flags: RENAME_NOREPLACE, RENAME_EXCHANGE or 0. */
MUST_CHECK int store_rename(const struct store *s, int old_dirfd,
			    const char *old_name, int new_dirfd,
			    const char *new_name, unsigned int flags);
/* The same with RENAME_WHITEOUT; @flags: RENAME_NOREPLACE or 0. */
MUST_CHECK int store_whiteout(const struct store *s, int old_dirfd,
			      const char *old_name, int new_dirfd,
			      const char *new_name, unsigned int flags,
			      const struct store_cred *cred);
/* Returns the length; @buf is not terminated. @name "": @dirfd itself is the
 * symlink, an O_PATH descriptor. */
MUST_CHECK ssize_t store_readlink(const struct store *s, int dirfd,
				  const char *name, char *buf, size_t len);
/* @want: STORE_STAT_*, or 0. */
MUST_CHECK int store_statat(const struct store *s, int dirfd, const char *name,
			    unsigned int want, struct store_stat *ret);

/* ---- open files ---- */

MUST_CHECK int store_fstat(const struct store *s, int fd, unsigned int want,
			   struct store_stat *ret);
/* Full transfer, or short only at end of file. */
MUST_CHECK ssize_t store_read(const struct store *s, int fd, void *buf,
			      size_t len, uint64_t off);
/* All or an error; @ret_done (may be NULL): what was written before it. */
MUST_CHECK int store_write(const struct store *s, int fd, const void *buf,
			   size_t len, uint64_t off, size_t *ret_done);
MUST_CHECK int store_truncate(const struct store *s, int fd, uint64_t size);
/* fallocate(2) modes 0 and FALLOC_FL_KEEP_SIZE. */
MUST_CHECK int store_allocate(const struct store *s, int fd, int mode,
			      uint64_t off, uint64_t len);
/*
 * Punch; where the filesystem cannot, zeros are written within the size.
 * Never changes the size. @ret_punched (may be NULL): false when written.
 */
MUST_CHECK int store_punch(const struct store *s, int fd, uint64_t off,
			   uint64_t len, bool *ret_punched);
/* Zeros that stay mapped; @keep_size as FALLOC_FL_KEEP_SIZE. */
MUST_CHECK int store_zero(const struct store *s, int fd, uint64_t off,
			  uint64_t len, bool keep_size);
/* SEEK_DATA, SEEK_HOLE; -ENXIO past the end. SEEK_SET: -EINVAL where no file of
 * this filesystem is so long. */
MUST_CHECK int store_seek(const struct store *s, int fd, uint64_t off,
			  int whence, uint64_t *ret_off);
/*
 * Next mapped range at or after @off: 1 and [start,end), 0 none. Preallocated
 * blocks count as mapped where FIEMAP can tell (SEEK_DATA skips them), else
 * SEEK_DATA/SEEK_HOLE, else the whole file. Bytes, end <= size rounded up.
 */
MUST_CHECK int store_next_mapped(const struct store *s, int fd, uint64_t off,
				 uint64_t *ret_start, uint64_t *ret_end);
/* Is the block of @off preallocated, and no more, as far as the disk goes? 1, 0 no
 * or it cannot be told, -errno. */
MUST_CHECK int store_is_reserved(const struct store *s, int fd, uint64_t off);
/*
 * How much of the disk is free again when [off, off + len) of a file is punched
 * out; with @len UINT64_MAX, from 0: when the file goes.  Never too much: what is
 * shared with another file does not count, nor what is compressed, nor anything
 * on a filesystem of which it is not known what it gives back.
 */
MUST_CHECK int store_freeable(const struct store *s, int fd, uint64_t off,
			      uint64_t len, uint64_t *ret_bytes);
MUST_CHECK int store_fsync(const struct store *s, int fd, bool data_only);
/*
 * The filesystem may begin to write what it holds of this range: a hint that
 * waits for nothing, promises nothing and reports nothing.
 * Ref: sync_file_range(2), SYNC_FILE_RANGE_WRITE
 */
void store_write_behind(const struct store *s, int fd, uint64_t off,
			uint64_t len);
/*
 * The filesystem may begin to read what of this range is not in the cache: a
 * hint that waits for no disk but to be queued there, promises nothing and
 * reports nothing. Ref: posix_fadvise(2), POSIX_FADV_WILLNEED
 */
void store_read_ahead(const struct store *s, int fd, uint64_t off,
		      uint64_t len);
/*
 * Clean pages of the range leave the cache, so that what is read next is what
 * the disk has: after a failed fsync a page may be clean and on no disk.
 * Dirty ones stay. Advice (posix_fadvise(2)): nothing is promised.
 */
void store_drop_cache(const struct store *s, int fd, uint64_t off,
		      uint64_t len);

/* ---- attributes: @fd any descriptor (O_PATH too) or (dirfd, name) ---- */

/*
 * Name an object for attribute calls: fd >= 0 an ordinary descriptor; else
 * (dirfd, name), never followed. Both may be given: then fd is used where it
 * serves and the name where it does not (symlinks, special files).
 */
struct store_obj {
	int fd;
	int dirfd;
	const char *name;
};
MUST_CHECK int store_chmod(const struct store *s, struct store_obj o,
			   mode_t mode);
/* (uid_t)-1, (gid_t)-1: leave. */
MUST_CHECK int store_chown(const struct store *s, struct store_obj o, uid_t uid,
			   gid_t gid);
/* As utimensat(2): UTIME_NOW, UTIME_OMIT. times[0] atime, [1] mtime. */
MUST_CHECK int store_utimens(const struct store *s, struct store_obj o,
			     const struct timespec times[2]);
MUST_CHECK int store_setxattr(const struct store *s, struct store_obj o,
			      const char *name, const void *value, size_t len,
			      int flags);
MUST_CHECK ssize_t store_getxattr(const struct store *s, struct store_obj o,
				  const char *name, void *buf, size_t len);
MUST_CHECK ssize_t store_listxattr(const struct store *s, struct store_obj o,
				   char *buf, size_t len);
MUST_CHECK int store_removexattr(const struct store *s, struct store_obj o,
				 const char *name);

/* ---- listing ---- */

struct store_dirent {
	uint64_t ino;
	unsigned char type; /* DT_*; DT_UNKNOWN possible */
	const char *name;   /* borrowed until the callback returns */
};
/*
 * All entries of @dirfd but "." and "..", and at the root but .seqmirror.
 * @fn returns 0 to go on, anything else ends the walk and is returned.
 * The descriptor's own position is not used (it is reopened).
 */
MUST_CHECK int store_list(const struct store *s, int dirfd,
			  int (*fn)(void *arg, const struct store_dirent *e),
			  void *arg);

/* Why attributes could not be copied. */
struct store_attr_error {
	bool of_source;	 /* it is one of reading the source's */
	char xattr[256]; /* this one could not be set; "": another reason */
	size_t xattr_len;
};

/* Copies of all attributes from one object to another, across stores:
 * owner, mode, ACLs and all xattrs (set and removed), times last.
 * What already agrees is not written. Returns the number of changes made, or
 * -EINVAL: they are not of one kind. As an ordinary user: user.* and ACLs;
 * being denied security.* is not an error.
 * @ret_error (may be NULL): more about an error. */
MUST_CHECK int store_copy_attrs(const struct store *src, struct store_obj from,
				const struct store *dst, struct store_obj to,
				struct store_attr_error *ret_error);

/*
 * A hash of the extended attributes that store_copy_attrs() would copy, ACLs
 * among them, whatever order they come in. 0: there are none. What this user
 * may not read is left out.
 */
MUST_CHECK int store_xattr_hash(const struct store *s, struct store_obj o,
				uint64_t *ret_hash);

/*
 * What the root directory of the store has of its own: owner, mode, time of the
 * last modification, extended attributes. A number below 2^63, never 0. To rename
 * the directory itself moves nothing but the time of its last change.
 */
MUST_CHECK int store_root_look(const struct store *s, uint64_t *ret_look);

/* Does an error mean that the device is gone (put the store out at once)? */
bool store_error_is_fatal(int err);
/* Does it mean that there is no room (the application's error)? */
bool store_error_is_space(int err);
/* Is it ours (descriptors, memory), nobody's fault? */
bool store_error_is_ours(int err);
/* What was asked and refused is the store's answer, whatever it is: an fsync
 * that had no memory for a write may have lost it. -EIO for what would be ours. */
int store_error_of_call(int err);

/*
 * Tests: from now on every call on this store of which @what is a prefix of
 * its name ("store.write", "" for all) fails with -@err; 0 ends it.
 */
void store_fail_inject(struct store *s, const char *what, int err);
