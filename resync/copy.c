/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes from the source's files to the target's.
 *
 * Extents go in batches: intents over all of a batch are committed, the bytes
 * are copied and made durable, then one transaction writes the rows and drops
 * the intents, and with it goes the next batch's arming: one commit for each.
 * What the target has already under the same number is not copied again, so a
 * lap that was cut repeats at most the batch it was in.
 *
 * At or below the source's horizon neighbours were merged under the higher
 * number, so that a target older than the horizon (one restored from a copy)
 * would get much that it has.  What it has mapped there is compared first.
 *
 * Bytes are counted in whole blocks, as the map has them: the last block of a
 * file counts whole, though only what lies within its size is written.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "resync/lap.h"

/* With more files than this in a batch one syncfs is cheaper. */
#define SYNC_FILES 8u
/* So many small pieces of a file are asked for before they are read: the disk
 * has a queue to choose from, and is not waited for once for each. */
#define AHEAD_ITEMS 64u
#define AHEAD_BYTES (128u << 10)

void batch_done(struct batch *b)
{
	vec_done(&b->items);
	vec_done(&b->intents.v);
	idmap_done(&b->skipped);
}

static void batch_clear(struct batch *b)
{
	vec_clear(&b->items);
	vec_clear(&b->intents.v);
	idmap_done(&b->skipped);
	b->bytes = 0;
}

/* ---- bytes ---- */

/*
 * What the map has behind the end of the file, be it reserved there or cut off
 * since the source's map was read, is left alone: room that was reserved is not
 * reserved on the target.
 */
int copy_range(struct lap *lap, uint64_t node, int sfd, int tfd,
	       struct range range, uint64_t source_size)
{
	int r = MIN(clear_tail(lap, tfd, range, source_size), 0);

	for (uint64_t off = range.start; r == 0 && off < range.end;) {
		uint64_t len = MIN(range.end - off, (uint64_t)LAP_BUFFER);
		size_t data =
			(size_t)MIN(len, source_size - MIN(source_size, off));

		if (data > 0) {
			/* It may be cut off meanwhile; the next lap knows. */
			r = source_read(lap, node, sfd, tfd, data, off);
			if (r < 0)
				return r;
			FAULT_POINT("resync.copy.write");
			r = misfit_node(lap,
					target_write(lap, tfd, lap->buffer[0],
						     data, off),
					node, "contents");
		}
		if (r == 0)
			r = lap_moved(lap, len);
		off += len;
	}
	return r;
}

/* ---- batches ---- */

/* A node is never numbered below its extents, not even for a moment: where it
 * is, the target seems to have a hole of an older number. */
static int extent_row(struct lap *lap, const struct meta_extent *e)
{
	uint64_t seq = lap_seq(lap, e->seq);
	int r = meta_extent_set(lap->dst->meta, e->node, e->start, e->end, seq);

	return r < 0 ? r : meta_node_raise(lap->dst->meta, e->node, 0, seq);
}

static int batch_rows(struct lap *lap, struct batch *b)
{
	struct meta *meta = lap->dst->meta;
	uint64_t lost = 0;
	int r = 0;

	vec_for_each (item, &b->items) {
		const struct meta_extent *e = &item->e;
		uint64_t skipped = idmap_get(&b->skipped, e->node);

		if (skipped != 2)
			r = extent_row(lap, e);
		else if (e->node != lost)
			r = tree_lost(lap, lost = e->node);
		if (r < 0)
			return r;
	}
	vec_for_each (in, &b->intents.v) {
		r = meta_intent_drop(meta, in);
		if (r < 0)
			return r;
	}
	return keep_put(lap);
}

/* What was skipped, and what the source may yet take back. */
static int batch_keep(struct lap *lap, const struct batch *b)
{
	int r = keep_look(lap);

	if (r < 0)
		return r;
	vec_for_each (item, &b->items) {
		struct range range = {item->e.start, item->e.end};

		if (idmap_get(&b->skipped, item->e.node) == 1)
			r = keep_skipped(lap, item->e.node, range);
		else
			r = keep_range(lap, item->e.node, range);
		if (r < 0)
			break;
	}
	keep_end(lap);
	return r;
}

/* The attributes of what is written to are equal again when the lap is closed,
 * not before. */
static int batch_arm_attr(struct lap *lap, uint64_t node)
{
	struct meta_intent in = {.node = node, .kind = META_INTENT_ATTR};
	int r;

	if (idmap_get(&lap->written, node))
		return 0;
	r = meta_intent_put(lap->dst->meta, &in);
	return r < 0 ? r : idmap_set(&lap->written, node, 1);
}

static int batch_arm(struct lap *lap, struct batch *b)
{
	int r = 0;

	vec_for_each (in, &b->intents.v) {
		r = batch_arm_attr(lap, in->node);
		if (r == 0)
			r = meta_intent_put(lap->dst->meta, in);
		if (r < 0)
			break;
	}
	return r;
}

static int copy_item(struct lap *lap, const struct batch_item *item, int sfd,
		     int tfd, uint64_t source_size)
{
	const struct meta_extent *e = &item->e;

	if (item->compare)
		return compare_range(lap, e->node, sfd, tfd,
				     (struct range){e->start, e->end},
				     source_size);
	if (lap->dry)
		return lap_moved(lap, e->end - e->start);
	return copy_range(lap, e->node, sfd, tfd,
			  (struct range){e->start, e->end}, source_size);
}

/* Forecast where there is nothing to compare with. */
static int count_items(struct lap *lap, struct batch *b, size_t first,
		       size_t last)
{
	int r = 0;

	for (size_t i = first; r == 0 && i < last; i++)
		r = lap_moved(lap, b->items.data[i].e.end -
					   b->items.data[i].e.start);
	return r;
}

/* The source's only: a target that is compared is to be read from its disk, and
 * what is larger the kernel reads ahead of by itself. */
static void read_ahead(struct lap *lap, int sfd, const struct meta_extent *e,
		       uint64_t source_size)
{
	uint64_t len = MIN(e->end, source_size) - MIN(e->start, source_size);

	if (!lap->dry && len > 0 && len <= AHEAD_BYTES)
		store_read_ahead(lap->src->store, sfd, e->start, len);
}

static int copy_items(struct lap *lap, const struct batch *b, size_t first,
		      size_t last, int sfd, int tfd)
{
	struct store_stat st;
	uint64_t size;
	size_t ahead = first + 1; /* the first is read at once */
	int r = store_fstat(lap->src->store, sfd, 0, &st);

	if (r < 0)
		return lap_source_err(lap, r);
	size = (uint64_t)st.st.st_size;
	if (size > b->items.data[first].e.start)
		r = fill_tail(lap, tfd, b->items.data[first].e.start);
	for (size_t i = first; r == 0 && i < last; i++) {
		for (; ahead < MIN(last, i + AHEAD_ITEMS); ahead++)
			read_ahead(lap, sfd, &b->items.data[ahead].e, size);
		r = copy_item(lap, &b->items.data[i], sfd, tfd, size);
	}
	return r;
}

/* The items of one node, [first, last). */
static int copy_node(struct lap *lap, struct batch *b, size_t first,
		     size_t last, bool sync)
{
	uint64_t node = b->items.data[first].e.node;
	_cleanup_close_ int sfd = lap_source_open(lap, node, O_RDONLY);
	_cleanup_close_ int tfd = -1;
	int r;

	if (sfd == -ENOENT)
		return idmap_set(&b->skipped, node, 1);
	if (sfd < 0)
		return sfd;
	tfd = lap_target_open(lap, node, lap->dry ? O_RDONLY : O_RDWR, NULL);
	if (tfd == -ENOENT || tfd == -ESTALE)
		return lap->dry ? count_items(lap, b, first, last)
				: idmap_set(&b->skipped, node, 2);
	if (tfd < 0)
		return tfd;
	r = copy_items(lap, b, first, last, sfd, tfd);
	if (r == 0 && sync)
		r = store_fsync(lap->dst->store, tfd, true);
	return r;
}

static size_t node_end(const struct batch *b, size_t first)
{
	size_t i = first;

	while (i < b->items.count &&
	       b->items.data[i].e.node == b->items.data[first].e.node)
		i++;
	return i;
}

static int batch_copy(struct lap *lap, struct batch *b)
{
	bool sync = true;
	size_t nodes = 0;
	int r = 0;

	if (store_caps(lap->dst->store)->syncfs_complete) {
		for (size_t i = 0; i < b->items.count; i = node_end(b, i))
			nodes++;
		sync = nodes <= SYNC_FILES;
	}
	for (size_t i = 0; r == 0 && i < b->items.count;) {
		size_t end = node_end(b, i);

		r = copy_node(lap, b, i, end, sync);
		i = end;
	}
	if (r == 0 && !sync)
		r = lap_sync(lap);
	return r;
}

/* Files are looked at where something is to be compared, and only there. */
static int batch_dry(struct lap *lap, struct batch *b)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < b->items.count;) {
		size_t end = node_end(b, i);
		bool compare = false;

		for (size_t k = i; k < end; k++)
			compare = compare || b->items.data[k].compare;
		if (compare)
			r = copy_node(lap, b, i, end, false);
		else
			r = count_items(lap, b, i, end);
		i = end;
	}
	batch_clear(b);
	return r;
}

static int batch_run(struct lap *lap)
{
	struct batch swap;
	int r;

	if (lap->dry)
		return batch_dry(lap, &lap->now);
	r = lap_begin(lap);
	if (r == 0)
		r = batch_rows(lap, &lap->before);
	if (r == 0)
		r = batch_arm(lap, &lap->now);
	if (r == 0)
		r = lap_commit(lap);
	FAULT_POINT("resync.batch.armed");
	if (r == 0)
		r = batch_copy(lap, &lap->now);
	if (r == 0)
		r = batch_keep(lap, &lap->now);
	FAULT_POINT("resync.batch.copied");
	if (r < 0)
		return r;
	swap = lap->before;
	lap->before = lap->now;
	lap->now = swap;
	batch_clear(&lap->now);
	return 0;
}

static int batch_add(struct lap *lap, struct meta_extent e, bool compare)
{
	struct batch *b = &lap->now;
	int r;

	while (e.start < e.end) {
		struct batch_item item = {e, compare};

		if (b->bytes >= LAP_BYTES || b->items.count >= LAP_ROWS) {
			r = batch_run(lap);
			if (r < 0)
				return r;
		}
		item.e.end = MIN(e.end, e.start + (LAP_BYTES - b->bytes));
		r = vec_push(&b->items, item);
		if (r == 0)
			r = plan_cover(e.node,
				       (struct range){e.start, item.e.end},
				       LAP_GAP, &b->intents);
		if (r < 0)
			return r;
		b->bytes += item.e.end - e.start;
		e.start = item.e.end;
	}
	return 0;
}

static int batch_end(struct lap *lap)
{
	int r = lap->now.items.count > 0 ? batch_run(lap) : 0;

	if (r < 0 || lap->before.items.count == 0)
		return r;
	r = lap_begin(lap);
	if (r == 0)
		r = batch_rows(lap, &lap->before);
	if (r == 0)
		r = lap_commit(lap);
	batch_clear(&lap->before);
	return r;
}

/* ---- what of an extent is to be copied ---- */

/* For one node at a time; the ranges in doubt are read once for each. */
struct chooser {
	struct lap *lap;
	uint64_t node;
	bool file;  /* the target has it, and it is a file */
	bool delta; /* new files are done with */
	struct range_set doubt;
	VEC(struct meta_extent) have;
	struct plan_extents out;
};

static void chooser_done(struct chooser *c)
{
	range_set_done(&c->doubt);
	vec_done(&c->have);
	vec_done(&c->out.v);
}

static int chooser_node(struct chooser *c, uint64_t node)
{
	struct meta_node row;
	int r;

	if (c->node == node)
		return 0;
	c->node = node;
	r = lap_target_row(c->lap, node, &row);
	c->file = r > 0 && row.kind == META_FILE &&
		  !(c->delta && idmap_get(&c->lap->filled, node));
	/* Of what was made anew nothing is there that could be compared. */
	if (r >= 0 && idmap_get(&c->lap->filled, node) == 1) {
		range_set_clear(&c->doubt);
		return 0;
	}
	return r < 0 ? r : doubt_ranges(c->lap, node, &c->doubt);
}

/* To the batch; what is mapped on both, and was merged, to be compared. */
static int add_piece(struct chooser *c, struct meta_extent e)
{
	struct meta_extent part = e;
	int r = 0;

	if (e.seq > c->lap->horizon)
		return batch_add(c->lap, e, false);
	for (size_t i = 0; r == 0 && i < c->have.count; i++) {
		const struct meta_extent *h = &c->have.data[i];

		if (h->end <= part.start || h->start >= e.end)
			continue;
		part.end = MAX(part.start, h->start);
		r = batch_add(c->lap, part, false);
		part.start = part.end;
		part.end = MIN(e.end, h->end);
		if (r == 0)
			r = batch_add(c->lap, part, true);
		part.start = part.end;
	}
	part.end = e.end;
	return r < 0 ? r : batch_add(c->lap, part, false);
}

/* What of it the target has nothing for. */
static void count_needed(struct chooser *c, const struct meta_extent *e)
{
	uint64_t bytes = e->end - e->start;

	for (size_t i = 0; i < c->have.count; i++) {
		uint64_t start = MAX(e->start, c->have.data[i].start);
		uint64_t end = MIN(e->end, c->have.data[i].end);

		bytes -= end > start ? end - start : 0;
	}
	c->lap->n->bytes_needed += bytes;
}

static int choose(struct chooser *c, const struct meta_extent *want)
{
	struct plan_trust trust = {
		.same_through = c->lap->args->both ? c->lap->args->from
						   : UINT64_MAX,
		.doubt = &c->doubt,
	};
	uint64_t bytes = want->end - want->start;
	struct meta_extent e;
	int r = chooser_node(c, want->node);

	if (r < 0 || !c->file)
		return r;
	vec_clear(&c->have);
	vec_clear(&c->out.v);
	do {
		_cleanup_meta_iter_ struct meta_iter it = {0};

		r = meta_iter_extents(c->lap->t, want->node, want->start,
				      want->end, &it);
		while (r == 0 && (r = meta_next_extent(&it, &e)) > 0)
			r = vec_push(&c->have, e);
	} while (0);
	if (r == 0)
		r = plan_copy(want, c->have.data, c->have.count, &trust,
			      &c->out);
	for (size_t i = 0; r == 0 && i < c->out.v.count; i++) {
		bytes -= c->out.v.data[i].end - c->out.v.data[i].start;
		count_needed(c, &c->out.v.data[i]);
		r = add_piece(c, c->out.v.data[i]);
	}
	c->lap->skipped_bytes += bytes;
	return r;
}

/* ---- the delta ---- */

static int by_node_start(const void *a, const void *b)
{
	const struct meta_extent *x = a;
	const struct meta_extent *y = b;

	if (x->node != y->node)
		return x->node < y->node ? -1 : 1;
	return x->start < y->start ? -1 : x->start > y->start;
}

struct extent_chunk {
	VEC(struct meta_extent) rows;
	struct meta_extent last; /* the cursor */
	bool end;
};

static int chunk_read(struct lap *lap, struct extent_chunk *c)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_extent e;
	uint64_t bytes = 0;
	int r;

	vec_clear(&c->rows);
	r = meta_iter_extents_since(lap->s, c->last.seq, c->last.node,
				    c->last.start, &it);
	while (r == 0 && c->rows.count < LAP_ROWS && bytes < LAP_BYTES) {
		r = meta_next_extent(&it, &e);
		/* What has a higher number is the next lap's. */
		c->end = r == 0 || (r > 0 && e.seq > lap->args->cut);
		if (r < 0 || c->end)
			break;
		c->last = e;
		bytes += e.end - e.start;
		r = vec_push(&c->rows, e);
	}
	if (r < 0)
		return lap_source_err(lap, r);
	if (c->rows.count > 0)
		qsort(c->rows.data, c->rows.count, sizeof(e), by_node_start);
	return 0;
}

/* Extents of one node that the delta does not have, if @all; or all. */
static int choose_node(struct chooser *c, uint64_t node, uint64_t seq_max)
{
	struct lap *lap = c->lap;
	VEC(struct meta_extent) rows = {0};
	uint64_t at = 0;
	int r = 0;

	do {
		_cleanup_meta_iter_ struct meta_iter it = {0};
		struct meta_extent e;

		vec_clear(&rows);
		r = meta_iter_extents(lap->s, node, at, META_RANGE_MAX, &it);
		while (r == 0 && rows.count < LAP_ROWS &&
		       (r = meta_next_extent(&it, &e)) > 0) {
			at = e.end;
			r = vec_push(&rows, e);
		}
		meta_iter_done(&it);
		r = lap_source_err(lap, r);
		for (size_t i = 0; r == 0 && i < rows.count; i++)
			if (rows.data[i].seq <= seq_max)
				r = choose(c, &rows.data[i]);
	} while (r == 0 && rows.count == LAP_ROWS);
	vec_done(&rows);
	return r;
}

/* After a fork: files that the target changed, the source did not. */
static int copy_reverted(struct lap *lap, struct chooser *c)
{
	struct idvec ids = {0};
	struct meta_node row;
	int r;

	do {
		_cleanup_meta_iter_ struct meta_iter it = {0};

		r = meta_iter_nodes_since(lap->t, lap->args->from, UINT64_MAX,
					  &it);
		while (r == 0 && (r = meta_next_node(&it, &row)) > 0)
			r = row.kind == META_FILE ? vec_push(&ids.v, row.id)
						  : 0;
	} while (0);
	for (size_t i = 0; r == 0 && i < ids.v.count; i++) {
		if (idmap_get(&lap->filled, ids.v.data[i]))
			continue;
		r = lap_source_row(lap, ids.v.data[i], &row);
		if (r > 0)
			r = choose_node(c, row.id, lap->args->from);
	}
	vec_done(&ids.v);
	return r < 0 ? r : 0;
}

int copy_delta(struct lap *lap)
{
	_cleanup_(chooser_done) struct chooser c = {.lap = lap, .delta = true};
	struct extent_chunk chunk = {
		.last =
			{
				.seq = lap->args->from,
				.node = UINT64_MAX,
				.start = UINT64_MAX,
			},
	};
	int r = 0;

	while (r == 0 && !chunk.end) {
		r = chunk_read(lap, &chunk);
		for (size_t i = 0; r == 0 && i < chunk.rows.count; i++)
			r = choose(&c, &chunk.rows.data[i]);
		if (r == 0)
			r = lap_poll(lap);
	}
	if (r == 0 && lap->args->both)
		r = copy_reverted(lap, &c);
	vec_done(&chunk.rows);
	return r < 0 ? r : batch_end(lap);
}

/* ---- new large files ---- */

int copy_large(struct lap *lap)
{
	_cleanup_(chooser_done) struct chooser c = {.lap = lap};
	struct meta_node row;
	int r = 0;

	for (size_t i = 0; r >= 0 && i < lap->large.v.count; i++) {
		/* Read before its extents: never too high. */
		r = lap_source_err(
			lap, lap_source_row(lap, lap->large.v.data[i], &row));
		if (r <= 0)
			continue;
		c.node = 0;
		r = choose_node(&c, row.id, UINT64_MAX);
		if (r == 0)
			r = batch_end(lap);
		if (r == 0)
			r = large_finish(lap, &row);
	}
	vec_clear(&lap->large.v);
	return MIN(r, 0);
}
