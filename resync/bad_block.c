/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks of the target that its disk cannot read.
 *
 * They are in doubt like all that the lap looks at, and the source has them:
 * what cannot be read differs and is written anew, which is what heals a bad
 * sector. Part of a block (the end of a file) can only be written once the
 * block could be read, or is gone: so it is punched out first. A crash in
 * between finds intents over it and a store that is never a source.  A store
 * where writing fails too is no use.
 */
#include <errno.h>
#include <string.h>

#include "resync/lap.h"

/* Whole blocks into the second buffer, zeros behind the end. */
static int read_padded(struct lap *lap, int tfd, size_t at, size_t len,
		       uint64_t off)
{
	char *buf = lap->buffer[1] + at;
	ssize_t got = store_read(lap->dst->store, tfd, buf, len, off + at);

	if (got < 0)
		return (int)got;
	memset(buf + got, 0, len - (size_t)got);
	return 0;
}

int target_read(struct lap *lap, int tfd, size_t len, uint64_t off)
{
	int r = read_padded(lap, tfd, 0, len, off);

	if (r != -EIO)
		return r;
	for (size_t at = 0; at < len; at += META_BLOCK) {
		r = read_padded(lap, tfd, at, META_BLOCK, off);
		if (r == -EIO) /* anything but what the source has */
			for (size_t i = at; i < at + META_BLOCK; i++)
				lap->buffer[1][i] = (char)~lap->buffer[0][i];
		else if (r < 0)
			return r;
	}
	return 0;
}

int target_write(struct lap *lap, int tfd, const char *buf, size_t len,
		 uint64_t off)
{
	const struct store *s = lap->dst->store;
	size_t part = len % META_BLOCK;
	int r = store_write(s, tfd, buf, len, off, NULL);

	if (r != -EIO || part == 0)
		return r;
	r = store_punch(s, tfd, off + len - part, META_BLOCK, NULL);
	return r < 0 ? r : store_write(s, tfd, buf, len, off, NULL);
}

int clear_tail(struct lap *lap, int tfd, struct range range,
	       uint64_t source_size)
{
	static const char zeros[META_BLOCK];
	uint64_t block = source_size & ~(uint64_t)(META_BLOCK - 1);
	uint64_t stop = block + META_BLOCK;
	struct store_stat st;
	int r;

	if (lap->dry || block == source_size || source_size < range.start ||
	    source_size >= range.end)
		return 0;
	r = store_fstat(lap->dst->store, tfd, false, &st);
	if (r < 0)
		return r;
	stop = MIN(stop, (uint64_t)st.st.st_size);
	if (stop <= source_size)
		return 0;
	r = store_write(lap->dst->store, tfd, zeros,
			(size_t)(stop - source_size), source_size, NULL);
	return r == -EIO ? store_punch(lap->dst->store, tfd, block, META_BLOCK,
				       NULL)
			 : r;
}
