/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which parts of a file are mapped.
 *
 * SEEK_DATA skips preallocated blocks, which count as mapped here, so FIEMAP
 * is asked too. It reports what was written but has no place on the disk yet
 * as a delayed extent, on the filesystems named below; on others such data
 * could be missing from the answer, and the flag that writes it out first is
 * set. An extent of any kind is mapped, whatever its flags say.
 *
 * Neither is enough, also where nobody writes meanwhile: xfs keeps what is
 * written beside a shared block (cp --reflink) out of FIEMAP's sight until it
 * is on the disk, and older ext4 look for an extent first and for a delayed
 * one then, so that both calls can miss what gets its place in between.
 * SEEK_DATA finds the first kind. And what it missed of the second has its
 * place when it returns: so FIEMAP comes after it, and mapped is what either
 * says.
 *
 * Neither sees what has no place yet in a file of ext4 without extents (made as
 * ext2 or ext3, or before its filesystem became an ext4), when it is asked from a
 * hole before it: Linux 6.18 takes the hole to be as long as no block is listed.
 * Such a file is written out before it is asked.
 *
 * Ref: xfs_buffered_write_iomap_begin(), xfs_seek_iomap_begin(),
 *	ext4_iomap_begin_report(), ext4_ind_map_blocks() in the kernel's fs
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

static bool reports_delayed(uint64_t fs_type)
{
	return fs_type == EXT4_SUPER_MAGIC || fs_type == XFS_SUPER_MAGIC ||
	       fs_type == BTRFS_SUPER_MAGIC;
}

/* Is what has no place yet called a hole, by SEEK_DATA as well? */
static bool hides_delayed(const struct store *s, int fd)
{
	int flags = 0; /* the kernel writes an int, whatever its name says */

	return s->caps.fs_type == EXT4_SUPER_MAGIC &&
	       (RETRY_EINTR(ioctl(fd, FS_IOC_GETFLAGS, &flags)) ||
		!(flags & FS_EXTENT_FL));
}

/* Not by sync_file_range(2): of what fails, an fsync would not hear any more. */
static int write_out(int fd)
{
	struct fiemap q = {.fm_length = 1, .fm_flags = FIEMAP_FLAG_SYNC};

	return sys_result(RETRY_EINTR(ioctl(fd, FS_IOC_FIEMAP, &q)));
}

static int seek(const struct store *s, int fd, uint64_t off, int whence,
		uint64_t *ret_off)
{
	off_t found;
	int err;

	if (!s->caps.seek_hole && whence != SEEK_SET)
		return seek_plain(fd, off, whence, ret_off);
	if (whence != SEEK_SET && hides_delayed(s, fd)) {
		err = write_out(fd);
		if (err)
			return err;
	}
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

	assert(whence == SEEK_DATA || whence == SEEK_HOLE ||
	       whence == SEEK_SET);
	assert(store_range_ok(off, 0));
	if (err)
		return err;
	return seek(s, fd, off, whence, ret_off);
}

struct fiemap_answer {
	struct fiemap head;
	struct fiemap_extent room[FIEMAP_BATCH];
};

/* The extents from @off on: 0, -errno; -EOPNOTSUPP where the filesystem has no
 * FIEMAP. */
static int fiemap_ask(const struct store *s, int fd, uint64_t off,
		      struct fiemap_answer *ret)
{
	*ret = (struct fiemap_answer){0};
	ret->head.fm_start = off;
	ret->head.fm_length = FIEMAP_MAX_OFFSET - off;
	ret->head.fm_flags = reports_delayed(s->caps.fs_type) &&
					     !hides_delayed(s, fd)
				     ? 0
				     : FIEMAP_FLAG_SYNC;
	ret->head.fm_extent_count = FIEMAP_BATCH;
	if (!RETRY_EINTR(ioctl(fd, FS_IOC_FIEMAP, &ret->head)))
		return 0;
	/* each says in its way that it has none, or not the flag */
	if (errno == ENOTTY || errno == EBADR || errno == EINVAL ||
	    errno == ENOSYS)
		return -EOPNOTSUPP;
	return -errno;
}

/* 1 and the first run of extents that ends behind @off, 0 none, -errno;
 * -EOPNOTSUPP where the filesystem has no FIEMAP. */
static int next_by_fiemap(const struct store *s, int fd, uint64_t off,
			  uint64_t *ret_start, uint64_t *ret_end)
{
	struct fiemap_answer q;
	const struct fiemap_extent *e = q.room;
	uint64_t end;
	uint32_t i;
	int err = fiemap_ask(s, fd, off, &q);

	if (err)
		return err;
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

/* Where the first data at or behind @off begins: 1, or 0 none, -errno. */
static int data_from(const struct store *s, int fd, uint64_t off,
		     uint64_t *ret_start)
{
	int err = seek(s, fd, off, SEEK_DATA, ret_start);

	if (err == -ENXIO)
		return 0;
	return err ? err : 1;
}

/* The run of data that begins at @start: 1, or 0 if it was cut off since. */
static int data_run(const struct store *s, int fd, uint64_t start,
		    uint64_t *ret_start, uint64_t *ret_end)
{
	int err = seek(s, fd, start, SEEK_HOLE, ret_end);

	if (err == -ENXIO)
		return 0;
	*ret_start = start;
	return err ? err : 1;
}

/* As next_by_fiemap(). SEEK_HOLE only where it has to be: in a file of many
 * pieces it goes through all of them. */
static int next_by_both(const struct store *s, int fd, uint64_t off,
			uint64_t *ret_start, uint64_t *ret_end)
{
	uint64_t data = 0;
	int has_data = 0, found;

	if (s->caps.seek_hole)
		has_data = data_from(s, fd, off, &data);
	if (has_data < 0)
		return has_data;
	found = next_by_fiemap(s, fd, off, ret_start, ret_end);
	if (found < 0 && found != -EOPNOTSUPP)
		return found;
	if (found < 0 && !s->caps.seek_hole)
		has_data = data_from(s, fd, off, &data);
	if (has_data < 0)
		return has_data;
	if (has_data && (found <= 0 || data < *ret_start))
		return data_run(s, fd, data, ret_start, ret_end);
	return MAX(found, 0);
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
	if (limit > INT64_MAX) /* no offset is as high */
		limit -= block;

	found = next_by_both(s, fd, off, &start, &end);
	if (found <= 0)
		return found;
	/* Preallocated behind the size: there is nothing to mirror. */
	if (start >= limit)
		return 0;
	*ret_start = start;
	*ret_end = end >= size ? limit : end;
	return 1;
}

int now_is_reserved(const struct store *s, int fd, uint64_t off)
{
	struct fiemap_answer q;
	int err = store_gate(s, "store.is_reserved");

	assert(store_range_ok(off, 0));
	if (!err)
		err = fiemap_ask(s, fd, off, &q);
	if (err)
		return err == -EOPNOTSUPP ? 0 : err;
	return q.head.fm_mapped_extents && q.room[0].fe_logical <= off &&
	       (q.room[0].fe_flags & FIEMAP_EXTENT_UNWRITTEN);
}
