/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the filesystem below can do, found by trying.
 *
 * Everything happens in .seqmirror/ with names that begin with "probe" and go
 * again. A trial needs no data blocks, so that a full store opens like any
 * other; where not even an empty file can be made, the kind of filesystem
 * decides. A trial that fails for want of the feature answers "no"; a device
 * that fails is an error.
 */
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/clock.h"
#include "fs/store/internal.h"

#define PROBE_FILE    "probe"
#define PROBE_CASE    "PROBE"
#define PROBE_LINK    "probe-link"
#define PROBE_SYMLINK "probe-symlink"
#define PROBE_FIFO    "probe-fifo"
#define PROBE_MOVED   "probe-moved"
#define PROBE_BYTES   "probe-\xff\xfe\n\x01"

/* Not in every <linux/magic.h>. */
#define MAGIC_BCACHEFS 0xca451a4e
#define MAGIC_VFAT     0x4d44
#define MAGIC_EXFAT    0x2011bab0

/* Further than any filesystem has limits, and still no limit of time_t. */
#define PROBE_TIME_MAX (INT64_MAX / 4)
#define PROBE_TIME_MIN (-PROBE_TIME_MAX)

enum {
	PROBE_SPARSE_BYTES = 1 << 20,
	PROBE_RANGE_BYTES = 1 << 16,
	NAME_LONGEST = 255,
};

static void long_name(char name[static NAME_LONGEST + 1])
{
	memset(name, 'x', NAME_LONGEST);
	memcpy(name, PROBE_FILE, sizeof(PROBE_FILE) - 1);
	name[NAME_LONGEST] = '\0';
}

static void remove_all(int priv_fd)
{
	static const char *const names[] = {
		PROBE_FILE, PROBE_LINK,	 PROBE_SYMLINK,
		PROBE_FIFO, PROBE_MOVED, PROBE_BYTES,
	};
	char name[NAME_LONGEST + 1];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(names); i++)
		(void)unlinkat(priv_fd, names[i], 0);
	long_name(name);
	(void)unlinkat(priv_fd, name, 0);
}

/* 1 it worked, 0 it cannot, -errno the device failed. No room means that the
 * call was understood. */
static int verdict(int result)
{
	if (result >= 0)
		return 1;
	if (errno == EIO || store_error_is_fatal(errno) ||
	    store_error_is_ours(errno))
		return -errno;
	return store_error_is_space(errno);
}

static int set_cap(bool *cap, int result)
{
	int can = verdict(result);

	if (can < 0)
		return can;
	*cap = can;
	return 0;
}

static int create_at(int dirfd, const char *name)
{
	return RETRY_EINTR(openat(
		dirfd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
		0600));
}

static int probe_name(int priv_fd, const char *name, bool *cap)
{
	int fd = create_at(priv_fd, name);
	int err = set_cap(cap, fd);

	close_fd(&fd);
	return err;
}

/* A file of nothing but a hole: is it seen as one? */
static int probe_seek(int fd, bool *cap)
{
	off_t hole;

	if (ftruncate(fd, PROBE_SPARSE_BYTES))
		return set_cap(cap, -1);
	hole = lseek(fd, 0, SEEK_HOLE);
	if (hole < 0)
		return set_cap(cap, -1);
	*cap = hole == 0 && lseek(fd, 0, SEEK_DATA) < 0 && errno == ENXIO;
	return 0;
}

static int probe_fiemap(int fd, bool *cap)
{
	struct fiemap q = {.fm_length = FIEMAP_MAX_OFFSET};

	return set_cap(cap, ioctl(fd, FS_IOC_FIEMAP, &q));
}

static int probe_data(int fd, struct store_caps *c)
{
	int err;

	err = set_cap(&c->punch_hole,
		      fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				0, PROBE_RANGE_BYTES));
	if (!err)
		err = set_cap(
			&c->zero_range,
			fallocate(fd,
				  FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 0,
				  PROBE_RANGE_BYTES));
	if (!err && c->zero_range && ftruncate(fd, 0))
		err = -errno;
	if (!err)
		err = probe_seek(fd, &c->seek_hole);
	if (!err)
		err = probe_fiemap(fd, &c->fiemap);
	if (!err)
		err = set_cap(&c->xattr_user,
			      fsetxattr(fd, "user.seqmirror", "1", 1, 0));
	return err;
}

/* @time as it is kept. Who refuses it has no limit that could be told. */
static int time_kept(int fd, struct timespec *time)
{
	const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, *time};
	struct stat st;

	if (futimens(fd, times) || fstat(fd, &st))
		return MIN(verdict(-1), 0);
	*time = st.st_mtim;
	return 0;
}

static int probe_times(int fd, struct store_caps *c)
{
	struct timespec low = {.tv_sec = PROBE_TIME_MIN},
			high = {.tv_sec = PROBE_TIME_MAX},
			fine = {.tv_nsec = CLOCK_NS_PER_SEC - 1};
	int err = time_kept(fd, &low);

	if (!err)
		err = time_kept(fd, &high);
	if (!err)
		err = time_kept(fd, &fine);
	if (err)
		return err;
	if (low.tv_sec > PROBE_TIME_MIN)
		c->time_min = low.tv_sec;
	if (high.tv_sec < PROBE_TIME_MAX)
		c->time_max = high.tv_sec;
	c->time_step_ns = (uint32_t)(CLOCK_NS_PER_SEC - fine.tv_nsec);
	return 0;
}

/* The same as Linux does, timestamp_truncate(). */
struct timespec store_time_kept(const struct store_caps *c,
				struct timespec time)
{
	time.tv_sec = MIN(MAX(time.tv_sec, c->time_min), c->time_max);
	if (time.tv_sec == c->time_min || time.tv_sec == c->time_max)
		time.tv_nsec = 0;
	time.tv_nsec -= time.tv_nsec % c->time_step_ns;
	return time;
}

/* Some take the flag and do nothing about it. */
static int probe_whiteout(int priv_fd, bool *cap)
{
	struct stat st;
	int err = set_cap(cap, renameat2(priv_fd, PROBE_FIFO, priv_fd,
					 PROBE_MOVED, RENAME_WHITEOUT));

	*cap = *cap && !fstatat(priv_fd, PROBE_FIFO, &st, AT_SYMLINK_NOFOLLOW);
	return err;
}

/* A second name that is not counted is none: of two that are one, the first that
 * is removed would be taken for the last. */
static int probe_link(int priv_fd, bool *cap)
{
	struct stat st;
	int err = set_cap(cap,
			  linkat(priv_fd, PROBE_FILE, priv_fd, PROBE_LINK, 0));

	if (err || !*cap)
		return err;
	if (fstatat(priv_fd, PROBE_FILE, &st, 0))
		return -errno;
	*cap = st.st_nlink == 2;
	return 0;
}

static int probe_names(int priv_fd, struct store_caps *c)
{
	char name[NAME_LONGEST + 1];
	struct stat st;
	int err;

	err = probe_link(priv_fd, &c->hard_links);
	if (!err)
		err = set_cap(&c->symlinks,
			      symlinkat("target", priv_fd, PROBE_SYMLINK));
	if (!err)
		err = set_cap(&c->specials,
			      mknodat(priv_fd, PROBE_FIFO, S_IFIFO | 0600, 0));
	if (!err)
		err = probe_whiteout(priv_fd, &c->whiteouts);
	if (!err)
		err = probe_name(priv_fd, PROBE_BYTES, &c->any_bytes);
	long_name(name);
	if (!err)
		err = probe_name(priv_fd, name, &c->long_names);
	if (!err)
		c->case_sensitive = fstatat(priv_fd, PROBE_CASE, &st,
					    AT_SYMLINK_NOFOLLOW) &&
				    errno == ENOENT;
	return err;
}

/* Filesystems on disks of this host, known to write everything in syncfs. */
static bool is_local_disk(uint64_t fs_type)
{
	switch (fs_type) {
	case EXT4_SUPER_MAGIC:
	case XFS_SUPER_MAGIC:
	case BTRFS_SUPER_MAGIC:
	case F2FS_SUPER_MAGIC:
	case TMPFS_MAGIC:
	case MAGIC_BCACHEFS:
	case MAGIC_VFAT:
	case MAGIC_EXFAT:
		return true;
	default:
		return false;
	}
}

static bool has_birth_times(uint64_t fs_type)
{
	return fs_type == EXT4_SUPER_MAGIC || fs_type == XFS_SUPER_MAGIC ||
	       fs_type == BTRFS_SUPER_MAGIC || fs_type == TMPFS_MAGIC;
}

/* Errors of writeback reach syncfs(2) since Linux 5.8, which also brought
 * faccessat2(2): the one can be asked about, the other cannot. */
static bool syncfs_reports(int dirfd)
{
	return !syscall(SYS_faccessat2, dirfd, ".", F_OK, 0) || errno != ENOSYS;
}

bool handles_last(int fd, uint64_t fs_type)
{
	uint64_t gen;

	return fs_type != FUSE_SUPER_MAGIC && fs_type != MAGIC_VFAT &&
	       fs_type != MAGIC_EXFAT && !handle_hash(fd, "", &gen);
}

/* No room for a single file: believe the usual ones, nothing of others. */
static void caps_by_type(struct store_caps *c)
{
	bool usual = is_local_disk(c->fs_type) && c->fs_type != MAGIC_VFAT &&
		     c->fs_type != MAGIC_EXFAT;

	c->punch_hole = c->seek_hole = usual;
	c->zero_range = c->fiemap = usual && c->fs_type != TMPFS_MAGIC;
	c->xattr_user = c->hard_links = c->symlinks = usual;
	c->specials = c->whiteouts = c->case_sensitive = usual;
	c->long_names = c->any_bytes = usual;
}

static int probe_by_trying(int priv_fd, struct store_caps *c)
{
	_cleanup_close_ int fd = -1;
	int err;

	remove_all(priv_fd); /* of a run that was killed */
	fd = create_at(priv_fd, PROBE_FILE);
	if (fd < 0 && store_error_is_space(errno)) {
		caps_by_type(c);
		return 0;
	}
	if (fd < 0)
		return -errno;
	guard_progress();
	err = probe_data(fd, c);
	guard_progress();
	if (!err)
		err = probe_times(fd, c);
	guard_progress();
	if (!err)
		err = probe_names(priv_fd, c);
	guard_progress();
	remove_all(priv_fd);
	return err;
}

int probe_caps(int root_fd, int priv_fd, struct store_caps *ret_caps)
{
	struct store_caps c = {
		.time_min = INT64_MIN,
		.time_max = INT64_MAX,
		.time_step_ns = 1,
	};
	struct statfs sfs;
	uint64_t block;
	int err;

	if (RETRY_EINTR(fstatfs(root_fd, &sfs)))
		return -errno;
	/* Bits of the kernel's constants, whatever the width of the field. */
	c.fs_type = (uint32_t)sfs.f_type;
	block = sfs.f_frsize ? (uint64_t)sfs.f_frsize : (uint64_t)sfs.f_bsize;
	if (block < 512 || block > 65536 || (block & (block - 1)))
		block = 4096;
	c.block_size = (uint32_t)block;
	c.syncfs_complete = is_local_disk(c.fs_type) && syncfs_reports(root_fd);
	c.birth_times = has_birth_times(c.fs_type);
	c.file_handles = handles_last(root_fd, c.fs_type);
	err = probe_by_trying(priv_fd, &c);
	if (err)
		return err;
	*ret_caps = c;
	return 0;
}
