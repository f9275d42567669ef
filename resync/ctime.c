/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The times of the last change, which no call can set: the target's rows get what
 * applications see on the source, and what the target's own files have when all
 * has been done to them (fs/mirror/times.h).
 *
 * Where attributes are copied that comes along with them.  What only lost, got
 * or changed a name is looked at once at the end of the lap.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "base/clock.h"
#include "resync/lap.h"

#define CHUNK 512u

static int64_t ctime_ns(const struct store_stat *st)
{
	return clock_timespec_ns(&st->st.st_ctim);
}

int ctime_copied(const struct lap *lap, const struct meta_node *theirs, int sfd,
		 int tfd, struct meta_ctime *ret)
{
	struct store_stat st, own;
	int r = store_fstat(lap->src->store, sfd, 0, &st);

	if (r < 0)
		return lap_source_err(lap, r);
	r = store_fstat(lap->dst->store, tfd, 0, &own);
	if (r < 0)
		return r;
	ret->shown = meta_ctime_shown(theirs->ctime, ctime_ns(&st));
	ret->backing = ctime_ns(&own);
	return 0;
}

int ctime_moved(struct lap *lap, uint64_t node)
{
	return lap->dry ? 0 : vec_push(&lap->moved.v, node);
}

/* 1 and what the target's row is to say; 0: it is not there, or cannot tell, and
 * applications will see what its file says. */
static int look(struct lap *lap, uint64_t node, struct meta_ctime *ret)
{
	_cleanup_close_ int sfd = -1;
	_cleanup_close_ int tfd = -1;
	struct meta_node row;
	int r = lap_source_row(lap, node, &row);

	if (r <= 0)
		return lap_source_err(lap, r);
	sfd = lap_source_open(lap, node, O_PATH | O_NOFOLLOW);
	if (sfd >= 0)
		tfd = lap_target_open(lap, node, O_PATH | O_NOFOLLOW, NULL);
	if (sfd < 0 || tfd < 0)
		return 0;
	return !ctime_copied(lap, &row, sfd, tfd, ret);
}

static int chunk_write(struct lap *lap, const uint64_t *nodes,
		       const struct meta_ctime *ctimes, size_t count)
{
	int r = lap_begin(lap);

	for (size_t i = 0; r == 0 && i < count; i++)
		r = meta_node_raise_all(lap->dst->meta, nodes[i], 0, 0,
					ctimes[i], NULL);
	return r < 0 ? r : lap_commit(lap);
}

static int cmp_id(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

int ctime_names(struct lap *lap)
{
	struct meta_ctime ctimes[CHUNK];
	uint64_t nodes[CHUNK], before = 0;
	size_t count = 0;
	int r = 0;

	if (lap->moved.v.count == 0)
		return 0;
	qsort(lap->moved.v.data, lap->moved.v.count,
	      sizeof(lap->moved.v.data[0]), cmp_id);
	vec_for_each (node, &lap->moved.v) {
		if (*node != before)
			r = look(lap, *node, &ctimes[count]);
		else
			r = 0;
		if (r > 0)
			nodes[count++] = *node;
		before = *node;
		if (r >= 0)
			r = lap_poll(lap);
		if (r == 0 && count == CHUNK) {
			r = chunk_write(lap, nodes, ctimes, count);
			count = 0;
		}
		if (r < 0)
			return r;
	}
	return count ? chunk_write(lap, nodes, ctimes, count) : 0;
}
