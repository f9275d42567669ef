/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the disk has back when a part of a file, or all of it, goes.
 *
 * Asked before a resync counts on it, so the answer may be too low and never
 * too high.  FIEMAP says of each extent whether another file or a snapshot
 * shares it.  A btrfs keeps an extent as long as any part of it is in use, so
 * there only a whole file counts, and a compressed extent, whose size on the
 * disk nobody tells, does not.  Elsewhere snapshots may hold everything without
 * saying so.
 */
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>

#include "fs/store/internal.h"

enum {
	EXTENTS_MAX = 32,
};

/* Of no use to anybody else when they go: those with none of these. */
#define NOT_FREED                                                   \
	(FIEMAP_EXTENT_SHARED | FIEMAP_EXTENT_ENCODED |             \
	 FIEMAP_EXTENT_DATA_ENCRYPTED | FIEMAP_EXTENT_DATA_INLINE | \
	 FIEMAP_EXTENT_DATA_TAIL | FIEMAP_EXTENT_UNKNOWN)

static bool is_freed(const struct fiemap_extent *e)
{
	/* Room is kept for it, wherever it will be. */
	if (e->fe_flags & FIEMAP_EXTENT_DELALLOC)
		return true;
	return !(e->fe_flags & NOT_FREED);
}

/* @ret_next: behind the last extent seen; @end when there are no more. */
static int by_fiemap(int fd, uint64_t off, uint64_t end, uint64_t *bytes,
		     uint64_t *ret_next)
{
	union {
		struct fiemap head;
		char room[sizeof(struct fiemap) +
			  EXTENTS_MAX * sizeof(struct fiemap_extent)];
	} q;

	memset(&q, 0, sizeof(q));
	q.head.fm_start = off;
	q.head.fm_length = end - off;
	q.head.fm_extent_count = EXTENTS_MAX;
	if (RETRY_EINTR(ioctl(fd, FS_IOC_FIEMAP, &q.head)))
		return -errno;
	*ret_next = end;
	for (uint32_t i = 0; i < q.head.fm_mapped_extents; i++) {
		const struct fiemap_extent *e = &q.head.fm_extents[i];
		uint64_t to =
			MIN((uint64_t)(e->fe_logical + e->fe_length), end);
		uint64_t from = MAX((uint64_t)e->fe_logical, off);

		if (from < to && is_freed(e))
			*bytes += to - from;
		*ret_next = e->fe_flags & FIEMAP_EXTENT_LAST ? end : to;
	}
	if (q.head.fm_mapped_extents < EXTENTS_MAX || *ret_next <= off)
		*ret_next = end;
	return 0;
}

static int by_mapped(const struct store *s, int fd, uint64_t off, uint64_t end,
		     uint64_t *bytes)
{
	uint64_t from, to;
	int found = 0;

	while (off < end &&
	       (found = now_next_mapped(s, fd, off, &from, &to)) > 0 &&
	       from < end) {
		*bytes += MIN(to, end) - from;
		off = to;
	}
	return MIN(found, 0);
}

int now_freeable(const struct store *s, int fd, uint64_t off, uint64_t len,
		 uint64_t *ret_bytes)
{
	const uint64_t block = MAX(s->caps.block_size, UINT32_C(1));
	const bool all = len == UINT64_MAX;
	uint64_t end = FIEMAP_MAX_OFFSET;
	uint64_t bytes = 0;
	int err = store_gate(s, "store.freeable");

	/* A block goes as a whole or not at all. */
	if (!all) {
		assert(store_range_ok(off, len));
		end = (off + len) / block * block;
		off = (off + block - 1) / block * block;
	}
	switch (s->caps.fs_type) {
	case EXT4_SUPER_MAGIC:
	case XFS_SUPER_MAGIC:
		break;
	case BTRFS_SUPER_MAGIC:
		end = all ? end : off;
		break;
	case TMPFS_MAGIC:
		if (!err)
			err = by_mapped(s, fd, off,
					MIN(end, (uint64_t)INT64_MAX), &bytes);
		end = off;
		break;
	default:
		end = off;
	}
	if (!all && !s->caps.punch_hole)
		end = off;
	while (!err && off < end)
		err = by_fiemap(fd, off, end, &bytes, &off);
	if (!err)
		*ret_bytes = bytes;
	return err;
}
