/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attributes of an object, and what tells it from another that got the same
 * inode number later: a hash of its file handle, which holds the filesystem's
 * own generation number, or the time of its birth.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <xxhash.h>

#include "base/clock.h"
#include "fs/store/internal.h"

static uint64_t gen_hash(const void *bytes, size_t len)
{
	uint64_t hash = XXH3_64bits(bytes, len);

	return hash ? hash : 1;
}

int handle_hash(int dirfd, const char *name, uint64_t *ret_gen)
{
	union {
		struct file_handle head;
		unsigned char room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
	} h;
	int mount_id;

	memset(&h, 0, sizeof(h));
	h.head.handle_bytes = MAX_HANDLE_SZ;
	if (name_to_handle_at(dirfd, name, &h.head, &mount_id,
			      name[0] ? 0 : AT_EMPTY_PATH)) {
		/* refused by a sandbox, or by the filesystem */
		if (errno == ENOSYS || errno == EPERM || errno == EOVERFLOW)
			return -EOPNOTSUPP;
		return -errno;
	}
	*ret_gen = gen_hash(h.room + offsetof(struct file_handle, f_handle),
			    h.head.handle_bytes);
	return 0;
}

static uint64_t stx_ns(const struct statx_timestamp *t)
{
	return (uint64_t)t->tv_sec * CLOCK_NS_PER_SEC + t->tv_nsec;
}

static struct timespec stx_timespec(const struct statx_timestamp *t)
{
	return (struct timespec){.tv_sec = t->tv_sec, .tv_nsec = t->tv_nsec};
}

/* Made a moment ago: it was changed last when it was made. */
static void stat_times(const struct statx *stx, struct stat *st)
{
	bool have = stx->stx_mask & STATX_MTIME;
	const struct statx_timestamp *born = &stx->stx_btime;

	st->st_atim = stx_timespec(&stx->stx_atime);
	st->st_mtim = stx_timespec(have ? &stx->stx_mtime : born);
	st->st_ctim = stx_timespec(have ? &stx->stx_ctime : born);
}

static void stat_from_statx(const struct statx *stx, struct stat *st)
{
	memset(st, 0, sizeof(*st));
	st->st_dev = makedev(stx->stx_dev_major, stx->stx_dev_minor);
	st->st_ino = stx->stx_ino;
	st->st_mode = stx->stx_mode;
	st->st_nlink = stx->stx_nlink;
	st->st_uid = stx->stx_uid;
	st->st_gid = stx->stx_gid;
	st->st_rdev = makedev(stx->stx_rdev_major, stx->stx_rdev_minor);
	st->st_size = (off_t)stx->stx_size;
	st->st_blksize = (blksize_t)stx->stx_blksize;
	st->st_blocks = (blkcnt_t)stx->stx_blocks;
	stat_times(stx, st);
}

static int stat_call(int dirfd, const char *name, unsigned int mask,
		     struct statx *stx)
{
	int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT |
		    (name[0] ? 0 : AT_EMPTY_PATH);

	return sys_result(RETRY_EINTR(statx(dirfd, name, flags, mask, stx)));
}

static int stat_wanted(const struct store *s, int dirfd, const char *name,
		       unsigned int want, struct statx *stx)
{
	const unsigned int all = STATX_BASIC_STATS | STATX_BTIME;
	const unsigned int times = STATX_MTIME | STATX_CTIME;
	bool born = (want & STORE_STAT_BORN) && s->caps.birth_times;
	int err;

	if (!born && !(want & STORE_STAT_NO_TIMES))
		return stat_call(dirfd, name, all, stx);
	err = stat_call(dirfd, name, all & ~times, stx);
	/* ext4 with small inodes knows no birth */
	if (!err && born && !(stx->stx_mask & (STATX_BTIME | STATX_MTIME)))
		err = stat_call(dirfd, name, all, stx);
	return err;
}

/* @handles: whether those of this filesystem tell one object from another. */
static int take_gen(bool handles, int dirfd, const char *name,
		    struct store_stat *st)
{
	int err = handles ? handle_hash(dirfd, name, &st->gen) : -EOPNOTSUPP;

	if (err && err != -EOPNOTSUPP)
		return err;
	if (err)
		st->gen = gen_hash(&st->btime_ns, sizeof(st->btime_ns));
	st->no_gen = err && !st->btime_ns;
	return 0;
}

static int stat_any(const struct store *s, int dirfd, const char *name,
		    unsigned int want, struct store_stat *ret)
{
	struct store_stat out = {0};
	bool held = mode_hold(s);
	struct statx stx;
	int err;

	err = stat_wanted(s, dirfd, name, want, &stx);
	mode_release(s, held);
	if (err)
		return err;
	stat_from_statx(&stx, &out.st);
	if (stx.stx_mask & STATX_BTIME)
		out.btime_ns = stx_ns(&stx.stx_btime);
	if (want & STORE_STAT_GEN) {
		err = take_gen(s->caps.file_handles, dirfd, name, &out);
		if (err)
			return err;
	}
	/* The root may be a mount point, and is ours. */
	out.mounted = (stx.stx_attributes & STATX_ATTR_MOUNT_ROOT) &&
		      (name[0] || out.st.st_ino != s->root_ino);
	out.foreign = out.st.st_dev != s->dev || out.mounted;
	*ret = out;
	return 0;
}

int now_statat(const struct store *s, int dirfd, const char *name,
	       unsigned int want, struct store_stat *ret)
{
	_cleanup_close_ int fd = -1;
	int err = store_gate(s, "store.statat");

	assert(store_name_ok(name));
	if (err)
		return err;
	err = stat_any(s, dirfd, name, want, ret);
	if (err == -EACCES && s->euid) {
		/* A user's own directory that may not be searched. */
		fd = now_openat_forced(s, dirfd, name, O_PATH);
		err = fd < 0 ? fd : stat_any(s, fd, "", want, ret);
	}
	return err;
}

int now_fstat(const struct store *s, int fd, unsigned int want,
	      struct store_stat *ret)
{
	int err = store_gate(s, "store.fstat");

	if (err)
		return err;
	return stat_any(s, fd, "", want, ret);
}

int store_peek_backing(const char *root, const char *path, uint64_t *ret_ino,
		       uint64_t *ret_gen)
{
	_cleanup_close_ int fd = peek_open(root, path);
	struct store_stat st = {0};
	struct statfs sfs;
	struct statx stx;
	int err;

	if (fd < 0)
		return fd;
	if (RETRY_EINTR(fstatfs(fd, &sfs)))
		return -errno;
	err = stat_call(fd, "", STATX_BASIC_STATS | STATX_BTIME, &stx);
	if (err)
		return err;
	if (stx.stx_mask & STATX_BTIME)
		st.btime_ns = stx_ns(&stx.stx_btime);
	err = take_gen(handles_last(fd, (uint32_t)sfs.f_type), fd, "", &st);
	if (err)
		return err;
	*ret_ino = stx.stx_ino;
	*ret_gen = st.gen;
	return 0;
}
