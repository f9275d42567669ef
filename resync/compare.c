/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ranges of the target's files that its own intents put in doubt.
 *
 * There the target's map is not believed: what is mapped is asked of the file,
 * and contents are compared.  Only blocks that differ are written, holes are
 * punched where the source has none mapped.  The rows of the range become the
 * source's; the intents stay until the lap is closed, so nothing need be
 * durable before that.  A file that the source has no more is skipped: its rows
 * become the source's all the same, and its intents outlive the lap.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "resync/lap.h"

struct window {
	uint64_t node;
	struct range range;
	bool skipped;
};

struct compare {
	struct lap *lap;
	bool unmap; /* nothing else is done */
	/* the file at hand */
	uint64_t node;
	int sfd; /* -1: the source has it no more */
	int tfd;
	uint64_t source_size;
	struct range_set source; /* mapped, in the window */
	struct range_set target;
	/* rows to be written */
	VEC(struct window) windows;
	VEC(struct meta_extent) extents;
	uint64_t bytes;
};

/* Which of the windows stay in doubt. */
static int rows_keep(struct compare *c)
{
	int r = keep_look(c->lap);

	if (r < 0)
		return r;
	vec_for_each (w, &c->windows) {
		r = w->skipped ? keep_skipped(c->lap, w->node, w->range)
			       : keep_range(c->lap, w->node, w->range);
		if (r < 0)
			break;
	}
	keep_end(c->lap);
	return r;
}

static int rows_write(struct compare *c)
{
	struct meta *meta = c->lap->dst->meta;
	int r = lap_begin(c->lap);

	for (size_t i = 0; r == 0 && i < c->windows.count; i++)
		r = meta_extent_clear(meta, c->windows.data[i].node,
				      c->windows.data[i].range.start,
				      c->windows.data[i].range.end);
	for (size_t i = 0; r == 0 && i < c->extents.count; i++) {
		const struct meta_extent *e = &c->extents.data[i];
		uint64_t seq = lap_seq(c->lap, e->seq);

		r = meta_extent_set(meta, e->node, e->start, e->end, seq);
		if (r == 0)
			r = meta_node_raise(meta, e->node, 0, seq);
	}
	if (r == 0)
		r = keep_put(c->lap);
	return r < 0 ? r : lap_commit(c->lap);
}

static int rows_flush(struct compare *c)
{
	int r = 0;

	if (!c->lap->dry && c->windows.count > 0) {
		r = rows_keep(c);
		if (r == 0)
			r = rows_write(c);
	}
	vec_clear(&c->windows);
	vec_clear(&c->extents);
	c->bytes = 0;
	return r;
}

/* ---- one step ---- */

/* Write the runs of blocks in which the two buffers differ. */
static int write_differences(struct lap *lap, int tfd, uint64_t off, size_t len,
			     uint64_t source_size)
{
	size_t at = 0;
	int r = 0;

	while (r == 0 && at < len) {
		size_t end = at;
		size_t data;

		while (end < len &&
		       memcmp(lap->buffer[0] + end, lap->buffer[1] + end,
			      META_BLOCK) != 0)
			end += META_BLOCK;
		if (end == at) {
			at += META_BLOCK;
			continue;
		}
		/* Behind the source's end the size will take care. */
		data = (size_t)MIN((uint64_t)(end - at),
				   source_size - MIN(source_size, off + at));
		if (data > 0 && !lap->dry)
			r = target_write(lap, tfd, lap->buffer[0] + at, data,
					 off + at);
		if (r == 0)
			r = lap_moved(lap, end - at);
		at = end;
	}
	return r;
}

/* What a dry run has not cleared: no difference that would be copied. */
static void forget_tail(struct lap *lap, uint64_t off, size_t len,
			uint64_t source_size)
{
	size_t at = (size_t)(source_size - off);

	if (source_size < off || source_size >= off + len)
		return;
	memset(lap->buffer[1] + at, 0, -at & (META_BLOCK - 1));
}

int compare_range(struct lap *lap, uint64_t node, int sfd, int tfd,
		  struct range range, uint64_t source_size)
{
	/* Before the rest: it may punch out the block where the file ends, and that
	 * is written, since zeros would be equal to the hole. */
	int r = clear_tail(lap, tfd, range, source_size);

	if (r > 0) {
		uint64_t last = source_size & ~(uint64_t)(META_BLOCK - 1);

		r = copy_range(lap, node, sfd, tfd,
			       (struct range){last, last + META_BLOCK},
			       source_size);
	}
	if (r < 0)
		return r;
	/* Equal in the cache is not equal on the disk (docs/model.md, 8). */
	store_drop_cache(lap->dst->store, tfd, range.start, range_len(range));
	for (uint64_t off = range.start; r == 0 && off < range.end;) {
		size_t len = (size_t)MIN(range.end - off, (uint64_t)LAP_BUFFER);

		r = source_read(lap, node, sfd, tfd, len, off);
		if (r < 0)
			return r;
		r = target_read(lap, tfd, len, off);
		if (r < 0)
			return r;
		lap->n->bytes_compared += len;
		if (lap->dry)
			forget_tail(lap, off, len, source_size);
		r = write_differences(lap, tfd, off, len, source_size);
		if (r == 0)
			r = lap_poll(lap);
		off += len;
	}
	return r;
}

static int step(struct compare *c, struct range range, enum plan_action action)
{
	struct lap *lap = c->lap;

	if (c->unmap && action != PLAN_PUNCH)
		return 0;
	if (action == PLAN_COMPARE)
		return compare_range(lap, c->node, c->sfd, c->tfd, range,
				     c->source_size);
	if (action == PLAN_WRITE) {
		lap->n->bytes_needed += range_len(range);
		if (lap->dry)
			return lap_moved(lap, range_len(range));
		return copy_range(lap, c->node, c->sfd, c->tfd, range,
				  c->source_size);
	}
	lap->n->bytes_unmapped += range_len(range);
	if (lap->dry)
		return freed_open(lap, c->tfd, range);
	return store_punch(lap->dst->store, c->tfd, range.start,
			   range_len(range), NULL);
}

/* ---- windows ---- */

/* The source's extents in the window: mapped set, and rows. */
static int source_window(struct compare *c, struct range w)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_extent e;
	int r;

	range_set_clear(&c->source);
	r = meta_iter_extents(c->lap->s, c->node, w.start, w.end, &it);
	while (r == 0 && (r = meta_next_extent(&it, &e)) > 0) {
		e.start = MAX(e.start, w.start);
		e.end = MIN(e.end, w.end);
		r = range_set_add(&c->source, (struct range){e.start, e.end});
		if (r == 0)
			r = vec_push(&c->extents, e);
	}
	return lap_source_err(c->lap, r);
}

/* The next mapped range of the target's file, in whole blocks. */
static int target_next(struct compare *c, uint64_t off, struct range *ret)
{
	uint64_t start, end;
	int r;

	/* Whole blocks: the file may be at its end, not the range. */
	r = store_next_mapped(c->lap->dst->store, c->tfd, off, &start, &end);
	if (r > 0)
		*ret = range_align_out((struct range){start, end}, META_BLOCK);
	return r;
}

static int target_window(struct compare *c, struct range w)
{
	struct range hit;
	uint64_t at = w.start;
	int r = 0;

	range_set_clear(&c->target);
	while (at < w.end && (r = target_next(c, at, &hit)) > 0) {
		if (hit.start >= w.end)
			return 0;
		hit.start = MAX(hit.start, w.start);
		at = hit.end;
		r = range_set_add(&c->target, range_intersect(hit, w));
		if (r < 0)
			return r;
	}
	return r < 0 ? r : 0;
}

/* Where in [at, end) anything is mapped on either side; end: nowhere. */
static int next_mapped(struct compare *c, uint64_t at, uint64_t end,
		       uint64_t *ret_at)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_extent e;
	struct range hit;
	uint64_t next = end;
	int r;

	r = meta_iter_extents(c->lap->s, c->node, at, end, &it);
	if (r == 0)
		r = meta_next_extent(&it, &e);
	if (r < 0)
		return lap_source_err(c->lap, r);
	if (r > 0)
		next = MIN(next, MAX(e.start, at));
	r = target_next(c, at, &hit);
	if (r < 0)
		return r;
	if (r > 0)
		next = MIN(next, MAX(hit.start, at));
	*ret_at = next;
	return 0;
}

static int compare_window(struct compare *c, struct range w)
{
	struct range within = w;
	enum plan_action action;
	struct range hit;
	int r;

	r = source_window(c, w);
	if (r < 0 || c->sfd < 0)
		return r;
	r = target_window(c, w);
	while (r == 0 && plan_compare_next(&c->source, &c->target, within, &hit,
					   &action)) {
		r = step(c, hit, action);
		within.start = hit.end;
	}
	return r;
}

static int compare_doubtful(struct compare *c, struct range range)
{
	uint64_t at = range.start;
	int r = 0;

	while (r == 0 && at < range.end) {
		struct range w = {at, range.end};

		r = next_mapped(c, at, range.end, &w.start);
		if (r < 0)
			return r;
		w.end = MIN(range.end, w.start + (uint64_t)LAP_BYTES);
		if (w.start < w.end)
			r = compare_window(c, w);
		if (c->unmap) { /* the rows follow when all is equal */
			vec_clear(&c->extents);
			at = w.end;
			continue;
		}
		/* The gap before it too: rows there are not to be believed. */
		w.start = at;
		if (r == 0)
			r = vec_push(&c->windows,
				     ((struct window){c->node, w, c->sfd < 0}));
		c->bytes += MIN(range_len(w), (uint64_t)LAP_BYTES);
		at = w.end;
		if (r == 0 &&
		    (c->extents.count >= LAP_ROWS ||
		     c->windows.count >= LAP_ROWS || c->bytes >= LAP_BYTES))
			r = rows_flush(c);
	}
	return r;
}

/* ---- files ---- */

static int compare_open(struct compare *c, int *sfd, int *tfd)
{
	struct lap *lap = c->lap;
	struct store_stat st;
	int r;

	*sfd = lap_source_open(lap, c->node, O_RDONLY);
	if (*sfd < 0 && *sfd != -ENOENT)
		return *sfd;
	*tfd = lap_target_open(lap, c->node, lap->dry ? O_RDONLY : O_RDWR,
			       NULL);
	if (*tfd == -ENOENT || *tfd == -ESTALE) {
		if (lap->dry || c->unmap)
			return 0;
		r = lap_begin(lap);
		if (r == 0)
			r = tree_lost(lap, c->node);
		return r < 0 ? r : lap_commit(lap);
	}
	if (*tfd < 0)
		return *tfd;
	c->sfd = MAX(*sfd, -1);
	c->tfd = *tfd;
	if (*sfd < 0)
		return 1;
	r = store_fstat(lap->src->store, *sfd, 0, &st);
	if (r < 0)
		return lap_source_err(lap, r);
	c->source_size = (uint64_t)st.st.st_size;
	r = c->unmap ? 0 : fill_tail(lap, *tfd, c->source_size);
	return r < 0 ? r : 1;
}

static int compare_node(struct compare *c, struct range_set *doubt)
{
	_cleanup_close_ int sfd = -1;
	_cleanup_close_ int tfd = -1;
	struct meta_node row;
	int r;

	r = lap_source_row(c->lap, c->node, &row);
	if (r > 0 && row.kind == META_FILE)
		r = lap_target_row(c->lap, c->node, &row);
	else
		r = r < 0 ? lap_source_err(c->lap, r) : 0;
	if (r <= 0 || idmap_get(&c->lap->filled, c->node) == 1)
		return r < 0 ? r : 0;
	r = doubt_ranges(c->lap, c->node, doubt);
	if (r < 0 || range_set_is_empty(doubt))
		return r;
	r = compare_open(c, &sfd, &tfd);
	if (r <= 0)
		return r;
	r = 0;
	range_set_for_each (range, doubt) {
		r = compare_doubtful(c, *range);
		if (r < 0)
			return r;
	}
	return c->unmap ? 0 : lap_sync_fd(c->lap, tfd, true);
}

static int compare_all(struct lap *lap, bool unmap)
{
	struct compare c = {.lap = lap, .unmap = unmap};
	struct range_set doubt;
	struct idvec nodes = {0};
	int r;

	range_set_init(&doubt);
	range_set_init(&c.source);
	range_set_init(&c.target);
	r = doubt_nodes(lap, &nodes);
	for (size_t i = 0; r == 0 && i < nodes.v.count; i++) {
		c.node = nodes.v.data[i];
		r = compare_node(&c, &doubt);
		if (r == 0)
			r = lap_poll(lap);
	}
	if (r == 0)
		r = rows_flush(&c);
	range_set_done(&doubt);
	range_set_done(&c.source);
	range_set_done(&c.target);
	vec_done(&c.windows);
	vec_done(&c.extents);
	vec_done(&nodes.v);
	return r;
}

int compare_doubt(struct lap *lap)
{
	return compare_all(lap, false);
}

int compare_unmap(struct lap *lap)
{
	return compare_all(lap, true);
}
