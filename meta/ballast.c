/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ballast: a file beside the map that holds room on the disk. When the disk
 * is full it is cut to nothing, so that the transactions which must succeed
 * (a deletion, a store that is put out, a checkpoint) find space for the WAL.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
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

int meta_ballast_ensure(struct meta *m)
{
	_cleanup_close_ int fd = -1;
	struct stat st;
	int r;

	if (m->mode != META_OPEN_RW)
		return -EROFS;
	fd = openat(m->dir_fd, META_BALLAST_NAME,
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

int meta_ballast_release(struct meta *m)
{
	_cleanup_close_ int fd = -1;

	fd = openat(m->dir_fd, META_BALLAST_NAME,
		    O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	if (ftruncate(fd, 0) < 0)
		return -errno;
	/* Some file systems hand the blocks out again only then. */
	return fsync(fd) < 0 ? -errno : 0;
}

uint64_t meta_ballast_missing(const struct meta *m)
{
	uint64_t held = 0;
	struct stat st;

	if (!fstatat(m->dir_fd, META_BALLAST_NAME, &st, AT_SYMLINK_NOFOLLOW))
		held = (uint64_t)st.st_blocks * 512;
	return META_BALLAST_BYTES - MIN(held, (uint64_t)META_BALLAST_BYTES);
}
