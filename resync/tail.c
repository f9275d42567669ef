/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of the target's file, where it lies within a block: what the disk has
 * behind it is not part of the file, and must not become so.
 */
#include <errno.h>

#include "resync/lap.h"

static const char zeros[META_BLOCK];

int clear_tail(struct lap *lap, int tfd, struct range range,
	       uint64_t source_size)
{
	uint64_t block = source_size & ~(uint64_t)(META_BLOCK - 1);
	uint64_t stop = block + META_BLOCK;
	struct store_stat st;
	int r;

	if (lap->dry || block == source_size || source_size < range.start ||
	    source_size >= range.end)
		return 0;
	r = store_fstat(lap->dst->store, tfd, 0, &st);
	if (r < 0)
		return r;
	stop = MIN(stop, (uint64_t)st.st.st_size);
	if (stop <= source_size)
		return 0;
	r = store_write(lap->dst->store, tfd, zeros,
			(size_t)(stop - source_size), source_size, NULL);
	if (r != -EIO)
		return r;
	r = store_punch(lap->dst->store, tfd, block, META_BLOCK, NULL);
	return r < 0 ? r : 1;
}

int fill_tail(struct lap *lap, int tfd, uint64_t start)
{
	const struct store *s = lap->dst->store;
	const uint64_t block =
		MAX(store_caps(s)->block_size, (uint32_t)META_BLOCK);
	uint64_t size, mapped, end, part;
	struct store_stat st;
	int r;

	if (lap->dry)
		return 0;
	r = store_fstat(s, tfd, STORE_STAT_NO_TIMES, &st);
	if (r < 0)
		return r;
	size = (uint64_t)st.st.st_size;
	part = size % block;
	if (part == 0 || size >= start)
		return 0;
	r = store_next_mapped(s, tfd, size - part, &mapped, &end);
	if (r <= 0 || mapped >= size) /* it ends in a hole */
		return MIN(r, 0);
	/* Nothing can show of what xfs reserves unasked, and zeros in it would be
	 * data where the source has none. */
	r = store_is_reserved(s, tfd, size - 1);
	if (r != 0)
		return MIN(r, 0);
	end = size - part + block;
	for (r = 0; r == 0 && size < end; size += part) {
		part = MIN(end - size, (uint64_t)sizeof(zeros));
		r = store_write(s, tfd, zeros, part, size, NULL);
	}
	if (r == -EIO) /* nobody can read it, so nothing will show */
		return 0;
	return r < 0 ? r : store_fsync(s, tfd, true);
}

int target_resize(struct lap *lap, uint64_t node, int tfd, uint64_t size)
{
	int r = fill_tail(lap, tfd, size);

	return r < 0 ? r
		     : misfit_size(lap,
				   store_truncate(lap->dst->store, tfd, size),
				   node, size);
}
