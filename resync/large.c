/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of a new large file: all its bytes were copied by batches, perhaps
 * of several laps that were cut.  What the source has unmapped meanwhile goes,
 * then it takes its size and attributes, and the row that says it is whole.
 */
#include <errno.h>
#include <fcntl.h>

#include "resync/lap.h"

/* The source's file has gone: what is here is in doubt, and no more is to come
 * in this lap. */
static int large_skipped(struct lap *lap, const struct meta_node *theirs)
{
	struct meta_node row;
	int r = lap_target_row(lap, theirs->id, &row);

	if (r > 0)
		r = keep_skipped(lap, row.id,
				 (struct range){0, META_RANGE_MAX});
	else
		return r;
	if (r == 0)
		r = lap_begin(lap);
	if (r < 0)
		return r;
	lap_claim(lap, theirs, &row);
	r = meta_node_put(lap->dst->meta, &row);
	if (r == 0)
		r = keep_put(lap);
	return r < 0 ? r : lap_commit(lap);
}

static int next_extent(void *arg, struct meta_extent *ret)
{
	return meta_next_extent(arg, ret);
}

/* A lap that was cut may have filled what the source has unmapped since. */
static int large_unmap(struct lap *lap, uint64_t node, int tfd,
		       struct range_set *holes)
{
	_cleanup_meta_iter_ struct meta_iter own = {0};
	_cleanup_meta_iter_ struct meta_iter theirs = {0};
	_cleanup_(range_set_done) struct range_set doubt;
	int r;

	range_set_init(&doubt);
	/* What was in doubt has been compared; by a dry run only counted. */
	r = lap->dry ? doubt_ranges(lap, node, &doubt) : 0;
	if (r == 0)
		r = meta_iter_extents(lap->t, node, 0, META_RANGE_MAX, &own);
	if (r == 0)
		r = meta_iter_extents(lap->s, node, 0, META_RANGE_MAX, &theirs);
	if (r == 0)
		r = plan_unmap(next_extent, &own, next_extent, &theirs, &doubt,
			       holes);
	range_set_for_each (hole, holes) {
		if (r < 0)
			break;
		if (lap->dry) {
			r = freed_range(lap, node, *hole);
			continue;
		}
		lap->n->bytes_unmapped += range_len(*hole);
		r = store_punch(lap->dst->store, tfd, hole->start,
				range_len(*hole), NULL);
	}
	return r;
}

/* @ret_cut: what the target lost with its size. */
static int large_attrs(struct lap *lap, const struct meta_node *theirs, int sfd,
		       int tfd, struct meta_ctime *ret_ctime,
		       struct range *ret_cut)
{
	struct store_stat st, own;
	int r;

	*ret_cut = (struct range){0, 0};

	r = store_fstat(lap->src->store, sfd, 0, &st);
	if (r < 0)
		return lap_source_err(lap, r);
	r = store_fstat(lap->dst->store, tfd, 0, &own);
	if (r == 0 && own.st.st_size > st.st.st_size)
		*ret_cut = range_align_out(
			(struct range){meta_file_end(st.st.st_size),
				       meta_file_end(own.st.st_size)},
			META_BLOCK);
	if (r == 0 && own.st.st_size != st.st.st_size)
		r = target_resize(lap, theirs->id, tfd,
				  (uint64_t)st.st.st_size);
	if (r == 0)
		r = lap_copy_attrs(lap, theirs, sfd, tfd, ret_ctime);
	return r < 0 ? r : store_fsync(lap->dst->store, tfd, false);
}

static int large_keep(struct lap *lap, uint64_t node,
		      const struct range_set *holes, struct range cut_off)
{
	int r = keep_look(lap);

	if (r < 0)
		return r;
	r = keep_attr(lap, node);
	range_set_for_each (hole, holes) {
		if (r == 0)
			r = keep_range(lap, node, *hole);
	}
	if (r == 0)
		r = keep_range(lap, node, cut_off);
	keep_end(lap);
	return r;
}

static int large_row(struct lap *lap, const struct meta_node *theirs,
		     struct meta_node *row, const struct range_set *holes)
{
	struct meta *meta = lap->dst->meta;
	int r = lap_begin(lap);

	range_set_for_each (hole, holes) {
		if (r == 0)
			r = meta_extent_clear(meta, row->id, hole->start,
					      hole->end);
	}
	if (r < 0)
		return r;
	lap_claim(lap, theirs, row);
	r = meta_node_put(meta, row);
	if (r == 0)
		r = keep_put(lap);
	/* Complete: the attributes need no second look. */
	if (r == 0)
		r = idmap_set(&lap->written, row->id, 0);
	return r < 0 ? r : lap_commit(lap);
}

int large_finish(struct lap *lap, const struct meta_node *theirs)
{
	_cleanup_close_ int sfd = -1;
	_cleanup_close_ int tfd = -1;
	_cleanup_(range_set_done) struct range_set holes;
	struct meta_node row;
	struct range cut_off;
	int r;

	range_set_init(&holes);
	if (lap->dry)
		return large_unmap(lap, theirs->id, -1, &holes);
	sfd = lap_source_open(lap, theirs->id, O_RDONLY);
	if (sfd == -ENOENT)
		return large_skipped(lap, theirs);
	if (sfd < 0)
		return sfd;
	tfd = lap_target_open(lap, theirs->id, O_RDWR, &row);
	if (tfd < 0) /* batch_rows() has seen to it */
		return tfd == -ENOENT || tfd == -ESTALE ? 0 : tfd;
	r = large_unmap(lap, theirs->id, tfd, &holes);
	if (r == 0)
		r = large_attrs(lap, theirs, sfd, tfd, &row.ctime, &cut_off);
	if (r == 0)
		r = large_keep(lap, theirs->id, &holes, cut_off);
	return r < 0 ? r : large_row(lap, theirs, &row, &holes);
}
