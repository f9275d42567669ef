/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ballast: a file beside the map that holds room on the disk. When the disk
 * is full it is cut to nothing, so that the transactions which must succeed
 * (a deletion, a store that is put out, a checkpoint) find space for the WAL. What
 * the WAL holds is moved into the database then, and its own room is had again.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "meta/db.h"

static bool no_room(int err)
{
	return err == -ENOSPC || err == -EDQUOT;
}

static int ballast_write_zeros(int fd)
{
	static const char zeros[65536];
	off_t off = 0;

	while (off < (off_t)META_BALLAST_BYTES) {
		ssize_t len = pwrite(fd, zeros, sizeof(zeros), off);

		if (len < 0 && errno == EINTR)
			continue;
		if (len < 0)
			return -errno;
		off += len;
	}
	return 0;
}

static int ballast_fill(int fd)
{
	int r = fallocate(fd, 0, 0, META_BALLAST_BYTES) < 0 ? -errno : 0;

	if (r == -EOPNOTSUPP || r == -ENOSYS || r == -EINVAL || r == -ENODEV)
		r = ballast_write_zeros(fd);
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	return r;
}

static int ensure(struct map_call *k)
{
	_cleanup_close_ int fd = -1;
	struct stat st;
	int r;

	fd = openat(k->dir_fd, META_BALLAST_NAME,
		    O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC,
		    0600);
	if (fd < 0)
		return no_room(-errno) ? 1 : -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EUCLEAN;
	if (st.st_size == (off_t)META_BALLAST_BYTES &&
	    (uint64_t)st.st_blocks * 512 >= META_BALLAST_BYTES)
		return 0;
	r = ballast_fill(fd);
	if (!no_room(r))
		return r;
	/* Half of it would only make the disk fuller. */
	return ftruncate(fd, 0) < 0 ? -errno : 1;
}

int meta_ballast_ensure(struct meta *m)
{
	struct map_call k = {.fn = ensure, .dir_fd = m->dir_fd, .fd = -1};
	int r = m->mode == META_OPEN_RW ? map_call(m, &k) : -EROFS;

	if (r >= 0)
		atomic_store(&m->ballast_out, r > 0);
	return r;
}

bool meta_ballast_is_out(const struct meta *m)
{
	return atomic_load(&m->ballast_out);
}

static int release(struct map_call *k)
{
	_cleanup_close_ int fd = -1;
	struct stat st;

	fd = openat(k->dir_fd, META_BALLAST_NAME,
		    O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 && errno != ENOENT)
		return -errno;
	if (fd >= 0 && fstat(fd, &st) < 0)
		return -errno;
	/* It is out already. Who copies on write has what was written over until
	 * this, and so has a journal what was removed. */
	if (fd < 0 || !st.st_blocks)
		return syncfs(k->dir_fd) < 0 ? -errno : 0;
	if (ftruncate(fd, 0) < 0) {
		if (!no_room(-errno))
			return -errno;
		/* A btrfs at its quota refuses to cut a file, and lets one go
		 * with the last descriptor of it. */
		if (unlinkat(k->dir_fd, META_BALLAST_NAME, 0) < 0)
			return -errno;
		close_fd(&fd);
		return syncfs(k->dir_fd) < 0 ? -errno : 0;
	}
	/* Some file systems hand the blocks out again only then. */
	return fsync(fd) < 0 ? -errno : 0;
}

/* The owner and the mode are those of the database, as SQLite has it. */
static int wal_make(struct meta *m)
{
	_cleanup_close_ int fd = -1;
	struct stat db;

	if (fstatat(m->dir_fd, META_DB_NAME, &db, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	fd = openat(m->dir_fd, META_DB_NAME "-wal",
		    O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC,
		    db.st_mode & 0666);
	if (fd < 0)
		return -errno;
	if (geteuid() == 0 && fchown(fd, db.st_uid, db.st_gid) < 0)
		return -errno;
	return 0;
}

int meta_wal_make(struct meta *m)
{
	int r = wal_make(m);

	/* Removed, it gives its inode too. */
	if (no_room(r) && unlinkat(m->dir_fd, META_BALLAST_NAME, 0) == 0) {
		atomic_store(&m->ballast_out, true);
		r = syncfs(m->dir_fd) < 0 ? -errno : wal_make(m);
	}
	return r == -EDQUOT ? -ENOSPC : r;
}

static int look(struct map_call *k)
{
	return fstatat(k->dir_fd, META_BALLAST_NAME, &k->st,
		       AT_SYMLINK_NOFOLLOW) < 0
		       ? -errno
		       : 0;
}

uint64_t meta_ballast_missing(struct meta *m)
{
	struct map_call k = {.fn = look, .dir_fd = m->dir_fd, .fd = -1};
	uint64_t held = 0;

	if (!map_call(m, &k))
		held = (uint64_t)k.st.st_blocks * 512;
	return META_BALLAST_BYTES - MIN(held, (uint64_t)META_BALLAST_BYTES);
}

int meta_ballast_release(struct meta *m)
{
	struct map_call k = {.fn = release, .dir_fd = m->dir_fd, .fd = -1};

	int r;

	atomic_store(&m->ballast_out, true);
	r = map_call(m, &k);
	if (!r)
		writer_make_room(m);
	return r;
}

static int is_tight(struct map_call *k)
{
	struct statvfs v;

	if (fstatvfs(k->dir_fd, &v) < 0)
		return -errno;
	return v.f_blocks &&
	       (uint64_t)v.f_bavail * v.f_frsize < (uint64_t)META_BALLAST_BYTES;
}

int meta_ballast_spend(struct meta *m)
{
	struct map_call k = {.fn = is_tight, .dir_fd = m->dir_fd, .fd = -1};
	int r = map_call(m, &k);

	return r > 0 ? meta_ballast_release(m) : r;
}
