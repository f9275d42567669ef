/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which parts of a file are mapped.
 *
 * SEEK_DATA skips preallocated blocks, which count as mapped here, so FIEMAP
 * is asked first. It reports what was written but has no place on the disk yet
 * as a delayed extent, on the filesystems named below; on others such data
 * could be missing from the answer, and the flag that writes it out first is
 * set. An extent of any kind is mapped, whatever its flags say.
 */
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "fs/store/internal.h"

enum {
	FIEMAP_BATCH = 16,
};

static int file_size(int fd, uint64_t *ret_size)
{
	struct stat st;

	if (RETRY_EINTR(fstat(fd, &st)))
		return -errno;
	*ret_size = (uint64_t)st.st_size;
	return 0;
}

/* Without the capability the whole file is data, as lseek(2) has it. */
static int seek_plain(int fd, uint64_t off, int whence, uint64_t *ret_off)
{
	uint64_t size = 0;
	int err = file_size(fd, &size);

	if (err)
		return err;
	if (off >= size)
		return -ENXIO;
	*ret_off = whence == SEEK_DATA ? off : size;
	return 0;
}

static int seek(const struct store *s, int fd, uint64_t off, int whence,
		uint64_t *ret_off)
{
	off_t found;

	if (!s->caps.seek_hole)
		return seek_plain(fd, off, whence, ret_off);
	found = RETRY_EINTR(lseek(fd, (off_t)off, whence));
	if (found < 0)
		return -errno;
	*ret_off = (uint64_t)found;
	return 0;
}

int now_seek(const struct store *s, int fd, uint64_t off, int whence,
	     uint64_t *ret_off)
{
	int err = store_gate(s, "store.seek");

	assert(whence == SEEK_DATA || whence == SEEK_HOLE);
	assert(store_range_ok(off, 0));
	if (err)
		return err;
	return seek(s, fd, off, whence, ret_off);
}

static bool reports_delayed(uint64_t fs_type)
{
	return fs_type == EXT4_SUPER_MAGIC || fs_type == XFS_SUPER_MAGIC ||
	       fs_type == BTRFS_SUPER_MAGIC;
}

/* 1 and the first run of extents that ends behind @off, 0 none, -errno;
 * -EOPNOTSUPP where the filesystem has no FIEMAP. */
static int next_by_fiemap(const struct store *s, int fd, uint64_t off,
			  uint64_t *ret_start, uint64_t *ret_end)
{
	union {
		struct fiemap head;
		char room[sizeof(struct fiemap) +
			  FIEMAP_BATCH * sizeof(struct fiemap_extent)];
	} q;
	const struct fiemap_extent *e = q.head.fm_extents;
	uint64_t end;
	uint32_t i;

	memset(&q, 0, sizeof(q));
	q.head.fm_start = off;
	q.head.fm_length = FIEMAP_MAX_OFFSET - off;
	q.head.fm_flags = reports_delayed(s->caps.fs_type) ? 0
							   : FIEMAP_FLAG_SYNC;
	q.head.fm_extent_count = FIEMAP_BATCH;
	if (RETRY_EINTR(ioctl(fd, FS_IOC_FIEMAP, &q.head))) {
		/* each says in its way that it has none, or not the flag */
		if (errno == ENOTTY || errno == EBADR || errno == EINVAL ||
		    errno == ENOSYS)
			return -EOPNOTSUPP;
		return -errno;
	}
	for (i = 0; i < q.head.fm_mapped_extents; i++) {
		if (e[i].fe_logical + e[i].fe_length > off)
			break;
	}
	if (i == q.head.fm_mapped_extents)
		return 0;
	*ret_start = MAX((uint64_t)e[i].fe_logical, off);
	end = e[i].fe_logical + e[i].fe_length;
	for (i++; i < q.head.fm_mapped_extents && e[i].fe_logical <= end; i++)
		end = MAX(end, (uint64_t)(e[i].fe_logical + e[i].fe_length));
	*ret_end = end;
	return 1;
}

static int next_by_seek(const struct store *s, int fd, uint64_t off,
			uint64_t *ret_start, uint64_t *ret_end)
{
	uint64_t start = 0, end = 0;
	int err;

	err = seek(s, fd, off, SEEK_DATA, &start);
	if (!err)
		err = seek(s, fd, start, SEEK_HOLE, &end);
	if (err == -ENXIO)
		return 0; /* also: cut off between the two calls */
	if (err)
		return err;
	*ret_start = start;
	*ret_end = end;
	return 1;
}

int now_next_mapped(const struct store *s, int fd, uint64_t off,
		    uint64_t *ret_start, uint64_t *ret_end)
{
	uint64_t size = 0, start = 0, end = 0, limit;
	uint64_t block = s->caps.block_size;
	int found = store_gate(s, "store.next_mapped");

	assert(store_range_ok(off, 0));
	if (!found)
		found = file_size(fd, &size);
	if (found)
		return found;
	if (off >= size)
		return 0;
	limit = (size + block - 1) & ~(block - 1);

	found = next_by_fiemap(s, fd, off, &start, &end);
	if (found == -EOPNOTSUPP)
		found = next_by_seek(s, fd, off, &start, &end);
	if (found <= 0)
		return found;
	/* Preallocated behind the size: there is nothing to mirror. */
	if (start >= limit)
		return 0;
	*ret_start = start;
	*ret_end = end >= size ? limit : end;
	return 1;
}
