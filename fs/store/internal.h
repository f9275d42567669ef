/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of this folder share. Nobody else includes it.
 *
 *	store.c		open, close, health, injected failures, kinds of error
 *	make.c		.seqmirror/ made and taken away
 *	identity.c	the file .seqmirror/store
 *	probe.c		what the filesystem below can do
 *	cred.c		the caller's identity around a call
 *	name.c		directory entries
 *	force.c		own files whose mode shuts their owner out
 *	stat.c		attributes and the identity of an object
 *	data.c		bytes of open files
 *	map.c		holes and what is mapped
 *	attr.c		attributes
 *	attr_copy.c	all attributes from one object to another
 *	list.c		directories
 *	call.c		one call, made here or by a helper (base/guard.h)
 *	guarded*.c	the public calls, each handed to call.c
 */
#pragma once

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>

#include "base/fault.h"
#include "base/guard.h"
#include "base/lock.h"
#include "fs/store/store.h"

#define STORE_FILE     "store"
#define STORE_FILE_NEW "store.new"
#define STORE_LOCK     "lock"

enum {
	STORE_OFF_BITS = 63, /* offsets and lengths fit off_t */
	STORE_ZERO_BYTES = 65536,
};

/* One setting of store_fail_inject(). Never freed before the store is
 * closed: another thread may still look at it. */
struct store_inject {
	struct store_inject *next;
	int err;
	char what[48];
};

/* What changes while the store is open. */
struct store_state {
	/* A leaf: nothing is taken under it. Held over the four short calls
	 * that lift the mode of one file and put it back. */
	struct mutex lift;
	_Atomic(struct store_inject *) inject; /* in force, or NULL */
	struct store_inject *injects;	       /* all; writer: the one test */
	atomic_bool noted;		       /* the lock file has a line */
	atomic_bool lifted;		       /* a mode was, at some time */
};

struct store {
	/* all set by store_open(), then read-only */
	char *path;
	char *privdir;
	int root_fd;
	int priv_fd;
	int limbo_fd;
	int found_fd;
	int lock_fd; /* >= 0 only while the lock is held */
	int sync_fd; /* its own open file: syncfs(2) reports once per file */
	dev_t dev;
	ino_t root_ino;
	uid_t euid;	  /* whom this process runs as: asked once */
	bool keeps_modes; /* store_keep_modes() */
	struct store_identity id;
	struct store_caps caps;
	struct store_state *state;
	struct guard *guard;
};

/* The value of @call, which is called again as long as a signal cut it. */
#define RETRY_EINTR(call)                                      \
	__extension__({                                        \
		__typeof__(call) retry_result_;                \
		do                                             \
			retry_result_ = (call);                \
		while (retry_result_ == -1 && errno == EINTR); \
		retry_result_;                                 \
	})

static inline int sys_result(int result)
{
	return result < 0 ? -errno : result;
}

/* @flags of an open without STORE_ATIME, which openat does not know. */
static inline int atime_flags(int flags)
{
	return flags & (O_PATH | STORE_ATIME) ? flags & ~STORE_ATIME
					      : flags | O_NOATIME;
}

/* The call failed: may it succeed when it moves access times? */
static inline bool atime_gives_way(int flags)
{
	return errno == EPERM && (flags & O_NOATIME);
}

int store_injected(const struct store_inject *inject, const char *call);

/* The first line of every call: shall it fail for a test? */
static inline int store_gate(const struct store *s, const char *call)
{
	struct store_inject *inject;
	int err = FAULT_ERR(call);

	if (err)
		return err;
	inject = atomic_load_explicit(&s->state->inject, memory_order_acquire);
	return inject ? store_injected(inject, call) : 0;
}

/* A name is one component that names something below its directory. */
static inline bool store_name_ok(const char *name)
{
	return name && name[0] && strcmp(name, ".") != 0 &&
	       strcmp(name, "..") != 0 && !strchr(name, '/');
}

static inline bool store_range_ok(uint64_t off, uint64_t len)
{
	return off <= INT64_MAX && len <= INT64_MAX - off;
}

/* ---- make.c ---- */

/*
 * Open .seqmirror below @root_fd and decide whether to trust it: a real
 * directory on the same device, owned by the effective user, writable by
 * nobody else.
 * Return: an fd, -ENOENT, -ENOTDIR (also a symlink), -EXDEV, -EPERM
 */
MUST_CHECK int priv_open(int root_fd);
/* The path of .seqmirror below @root. NULL: no memory. */
char *priv_path(const char *root);

/* ---- identity.c ---- */

MUST_CHECK bool identity_valid(const struct store_identity *id);
MUST_CHECK int identity_read(int priv_fd, struct store_identity *ret_id);
MUST_CHECK int identity_write(int priv_fd, const struct store_identity *id);

/* ---- probe.c ---- */

MUST_CHECK int probe_caps(int root_fd, int priv_fd,
			  struct store_caps *ret_caps);
/* Are there handles, and do they last? Those of FUSE name an object of a running
 * server, those of FAT a number made up at each mount: both are none. */
bool handles_last(int fd, uint64_t fs_type);

/* ---- cred.c ---- */

struct cred_scope {
	bool uid_set;
	bool gid_set;
	bool umask_set;
	uid_t old_uid;
	gid_t old_gid;
	mode_t old_umask;
	mode_t mode_mask; /* bits that a mode given to the call may have */
};

/*
 * Become @cred (NULL: stay) for one call that makes something. @device: keep
 * the right to make device files. On failure nothing is changed.
 * Return: 0, -EPERM (no right to do so), -EINVAL (ids not mapped here)
 */
MUST_CHECK int cred_enter(struct cred_scope *scope, const struct store *s,
			  const struct store_cred *cred, bool device);
/* Keeps errno. */
void cred_leave(struct cred_scope *scope);

/* ---- force.c ---- */

struct mode_lift {
	int fd; /* O_PATH of the object; >= 0 while its mode is lifted */
	mode_t mode;
};

/*
 * Give the owner of an object the @bits (S_IRUSR...) he lacks, if this
 * process is an ordinary user and the owner; else do nothing and succeed.
 * @fd: any descriptor of the object, duplicated. Takes s->state->lift until
 * mode_lift_end(), if it did something.
 */
MUST_CHECK int mode_lift_begin(const struct store *s, int fd, mode_t bits,
			       struct mode_lift *ret_lift);
MUST_CHECK int mode_lift_end(const struct store *s, struct mode_lift *lift);
/* While a mode is set or asked for, none is lifted. Root lifts none. */
bool mode_hold(const struct store *s);
void mode_release(const struct store *s, bool held);

/* ---- stat.c ---- */

/* The hash of the file handle of (@dirfd, @name); name "" for @dirfd itself.
 * Return: 0, -EOPNOTSUPP (no handles here), -errno */
MUST_CHECK int handle_hash(int dirfd, const char *name, uint64_t *ret_gen);

/* ---- attr.c ---- */

enum {
	PROC_PATH_MAX = sizeof("/proc/self/fd//") + 10 + 255 + 1,
};

/* An O_PATH descriptor of the object, to be closed. */
MUST_CHECK int obj_open_path(struct store_obj o);
/* What lies at @path below @root, of a store that nobody has opened: O_PATH. */
MUST_CHECK int peek_open(const char *root, const char *path);
MUST_CHECK int obj_stat(const struct store *s, struct store_obj o,
			struct stat *ret);
/* chmod through /proc, for descriptors of every kind; the object is known not
 * to be a symlink. */
MUST_CHECK int chmod_fd(int fd, mode_t mode);

/* ---- call.c ---- */

/*
 * What a call takes and gives.  Pointers are the caller's where it is made on
 * his thread, and lead into a copy where a helper makes it; what is at @out
 * comes back only if it ended in time.
 */
struct store_call {
	struct guard_call base; /* first */
	ssize_t (*fn)(struct store_call *k);
	const struct store *s;
	int fd[2]; /* -1: none; descriptors or directories */
	const char *name[2];
	struct store_obj
		obj; /* its descriptors are in fd, its name in name[0] */
	const void *in;
	size_t in_len;
	void *out;
	size_t out_len;
	bool counted; /* of @out only as much as the result says is given */
	bool gives_fd;
	bool lifts; /* changes names: see now_lifted() */
	bool moves; /* and directories may get another parent by it */
	bool flag;
	int flags;
	uint64_t off, len;
	mode_t mode;
	dev_t rdev;
	uid_t uid;
	gid_t gid;
	bool has_cred;
	struct store_cred cred;
	struct timespec times[2];
	size_t done;
	ssize_t result;
};

#define STORE_CALL(function) \
	((struct store_call){.fn = (function), .fd = {-1, -1}})

/* Make it, one way or the other. */
MUST_CHECK ssize_t call_run(const struct store *s, struct store_call *k);
void call_set_obj(struct store_call *k, struct store_obj o);
void call_set_cred(struct store_call *k, const struct store_cred *cred);

/* ---- the calls themselves ---- */

MUST_CHECK int now_alive(const struct store *s);
MUST_CHECK int now_statvfs(const struct store *s, struct statvfs *ret);
MUST_CHECK int now_syncfs(const struct store *s);
MUST_CHECK int now_openat(const struct store *s, int dirfd, const char *name,
			  int flags);
MUST_CHECK int now_reopen(const struct store *s, int path_fd, int flags);
MUST_CHECK int now_openat_forced(const struct store *s, int dirfd,
				 const char *name, int flags);
/*
 * The call again that was refused with -EACCES, with the modes of its
 * directories lifted, and of those that it moves: an ordinary user's own, not
 * the root, that do not let their owner change them.
 */
MUST_CHECK ssize_t now_lifted(struct store_call *k);
MUST_CHECK int now_open_path(const struct store *s, const char *path,
			     int flags);
MUST_CHECK int now_create(const struct store *s, int dirfd, const char *name,
			  mode_t mode, const struct store_cred *cred);
MUST_CHECK int now_mkdir(const struct store *s, int dirfd, const char *name,
			 mode_t mode, const struct store_cred *cred);
MUST_CHECK int now_mknod(const struct store *s, int dirfd, const char *name,
			 mode_t mode, dev_t rdev,
			 const struct store_cred *cred);
MUST_CHECK int now_symlink(const struct store *s, int dirfd, const char *name,
			   const char *target, const struct store_cred *cred);
MUST_CHECK int now_link(const struct store *s, int old_dirfd,
			const char *old_name, int new_dirfd,
			const char *new_name);
MUST_CHECK int now_unlink(const struct store *s, int dirfd, const char *name);
MUST_CHECK int now_rmdir(const struct store *s, int dirfd, const char *name);
MUST_CHECK int now_rename(const struct store *s, int old_dirfd,
			  const char *old_name, int new_dirfd,
			  const char *new_name, unsigned int flags);
MUST_CHECK int now_whiteout(const struct store *s, int old_dirfd,
			    const char *old_name, int new_dirfd,
			    const char *new_name, unsigned int flags,
			    const struct store_cred *cred);
MUST_CHECK ssize_t now_readlink(const struct store *s, int dirfd,
				const char *name, char *buf, size_t len);
MUST_CHECK int now_statat(const struct store *s, int dirfd, const char *name,
			  unsigned int want, struct store_stat *ret);
MUST_CHECK int now_fstat(const struct store *s, int fd, unsigned int want,
			 struct store_stat *ret);
MUST_CHECK ssize_t now_read(const struct store *s, int fd, void *buf,
			    size_t len, uint64_t off);
MUST_CHECK int now_write(const struct store *s, int fd, const void *buf,
			 size_t len, uint64_t off, size_t *ret_done);
MUST_CHECK int now_truncate(const struct store *s, int fd, uint64_t size);
MUST_CHECK int now_allocate(const struct store *s, int fd, int mode,
			    uint64_t off, uint64_t len);
MUST_CHECK int now_punch(const struct store *s, int fd, uint64_t off,
			 uint64_t len, bool *ret_punched);
MUST_CHECK int now_zero(const struct store *s, int fd, uint64_t off,
			uint64_t len, bool keep_size);
MUST_CHECK int now_seek(const struct store *s, int fd, uint64_t off, int whence,
			uint64_t *ret_off);
MUST_CHECK int now_next_mapped(const struct store *s, int fd, uint64_t off,
			       uint64_t *ret_start, uint64_t *ret_end);
MUST_CHECK int now_is_reserved(const struct store *s, int fd, uint64_t off);
MUST_CHECK int now_freeable(const struct store *s, int fd, uint64_t off,
			    uint64_t len, uint64_t *ret_bytes);
MUST_CHECK int now_fsync(const struct store *s, int fd, bool data_only);
void now_write_behind(const struct store *s, int fd, uint64_t off,
		      uint64_t len);
void now_read_ahead(const struct store *s, int fd, uint64_t off, uint64_t len);
void now_drop_cache(const struct store *s, int fd, uint64_t off, uint64_t len);
MUST_CHECK int now_chmod(const struct store *s, struct store_obj o,
			 mode_t mode);
MUST_CHECK int now_chown(const struct store *s, struct store_obj o, uid_t uid,
			 gid_t gid);
MUST_CHECK int now_utimens(const struct store *s, struct store_obj o,
			   const struct timespec times[2]);
MUST_CHECK int now_setxattr(const struct store *s, struct store_obj o,
			    const char *name, const void *value, size_t len,
			    int flags);
MUST_CHECK ssize_t now_getxattr(const struct store *s, struct store_obj o,
				const char *name, void *buf, size_t len);
MUST_CHECK ssize_t now_listxattr(const struct store *s, struct store_obj o,
				 char *buf, size_t len);
MUST_CHECK int now_removexattr(const struct store *s, struct store_obj o,
			       const char *name);
