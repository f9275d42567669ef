/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The last steps for each node of the delta: unmap what the source has not
 * mapped, set the size, copy the attributes, and write the row that says so.
 *
 * What was unmapped left no trace in any map: it is what the target's map has
 * and the source's has not.  Nodes whose rows are equal on both sides are
 * complete, from this lap or an earlier one that was cut; files that batches
 * went to are not, and have an intent over their attributes that says so.
 *
 * Where there is no room for what comes else, the unmaps come before that, in a
 * pass of their own (attr_unmap()); the last one then finds what the source has
 * unmapped meanwhile, and does all else.
 *
 * The intents over a node stay until the lap is closed, and the files are made
 * durable then, all at once; a row may say before that what lies under them.
 *
 * A row of the source may be numbered above the cut: something of the node
 * came after, and was not copied.  The target's row then says the cut.  It is
 * else exactly the source's, also where it was higher: a row left higher would
 * make the next lap call the target a fork.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/fault.h"
#include "resync/lap.h"

struct attr_item {
	struct meta_node row; /* the source's */
	struct meta_node own; /* the target's */
	size_t unmap_at;      /* in ranges */
	size_t unmap_count;
	struct range cut_off; /* what the target lost with its size */
	bool lost;
	bool skipped;
};

struct attr_batch {
	VEC(struct attr_item) items;
	VEC(struct range) ranges;
};

struct attr_pass {
	struct lap *lap;
	bool early; /* only unmaps */
	struct attr_batch now, before;
	struct range_set doubt;
	struct range_set unmap;
};

static void attr_batch_clear(struct attr_batch *b)
{
	vec_clear(&b->items);
	vec_clear(&b->ranges);
}

/* ---- rows and intents ---- */

static int item_arm(struct lap *lap, const struct attr_batch *b,
		    const struct attr_item *item)
{
	struct plan_intents intents = {0};
	struct meta_intent attr = {
		.node = item->row.id,
		.kind = META_INTENT_ATTR,
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < item->unmap_count; i++)
		r = plan_cover(item->row.id, b->ranges.data[item->unmap_at + i],
			       LAP_GAP, &intents);
	for (size_t i = 0; r == 0 && i < intents.v.count; i++)
		r = meta_intent_put(lap->dst->meta, &intents.v.data[i]);
	vec_done(&intents.v);
	return r < 0 ? r : meta_intent_put(lap->dst->meta, &attr);
}

static int item_rows(struct lap *lap, const struct attr_batch *b,
		     struct attr_item *item, bool early)
{
	struct meta *meta = lap->dst->meta;
	int r = 0;

	if (item->lost)
		return early ? 0 : tree_lost(lap, item->row.id);
	for (size_t i = 0; r == 0 && i < item->unmap_count; i++) {
		struct range hole = b->ranges.data[item->unmap_at + i];

		r = meta_extent_clear(meta, item->row.id, hole.start, hole.end);
	}
	if (early)
		return r < 0 ? r : idmap_set(&lap->written, item->row.id, 1);
	lap_claim(lap, &item->row, &item->own);
	return r < 0 ? r : meta_node_put(meta, &item->own);
}

/* ---- files ---- */

static int item_unmap(struct lap *lap, const struct attr_batch *b,
		      const struct attr_item *item, int tfd)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < item->unmap_count; i++) {
		struct range hole = b->ranges.data[item->unmap_at + i];

		FAULT_POINT("resync.unmap");
		lap->n->bytes_unmapped += range_len(hole);
		r = store_punch(lap->dst->store, tfd, hole.start,
				range_len(hole), NULL);
		if (r == 0)
			r = lap_poll(lap);
	}
	return r;
}

static int item_data(struct lap *lap, const struct attr_batch *b,
		     struct attr_item *item, int sfd, int *tfd)
{
	struct store_stat st, own;
	int r;

	r = store_fstat(lap->src->store, sfd, 0, &st);
	if (r < 0)
		return lap_source_err(lap, r);
	r = store_fstat(lap->dst->store, *tfd, 0, &own);
	if (r < 0)
		return r;
	if (item->unmap_count == 0 && st.st.st_size == own.st.st_size)
		return 0;
	close_fd(tfd);
	*tfd = lap_target_open(lap, item->row.id, O_RDWR, NULL);
	if (*tfd < 0)
		return *tfd;
	if (st.st.st_size < own.st.st_size)
		item->cut_off = range_align_out(
			(struct range){meta_file_end(st.st.st_size),
				       meta_file_end(own.st.st_size)},
			META_BLOCK);
	r = item_unmap(lap, b, item, *tfd);
	if (r == 0 && st.st.st_size != own.st.st_size)
		r = target_resize(lap, item->row.id, *tfd,
				  (uint64_t)st.st.st_size);
	return r < 0 ? r : lap_sync_fd(lap, *tfd, false);
}

static int item_apply(struct lap *lap, const struct attr_batch *b,
		      struct attr_item *item)
{
	_cleanup_close_ int sfd = lap_source_open(lap, item->row.id, O_PATH);
	_cleanup_close_ int tfd = -1;
	int r = 0;

	if (sfd == -ENOENT) {
		item->skipped = true;
		return lap_source_named(lap, item->row.id) > 0
			       ? lap_incomplete(lap, NULL, "attributes")
			       : 0;
	}
	if (sfd < 0)
		return sfd;
	tfd = lap_target_open(lap, item->row.id, O_PATH, &item->own);
	if (tfd == -ENOENT || tfd == -ESTALE) {
		item->lost = true;
		return 0;
	}
	if (tfd < 0)
		return tfd;
	if (item->row.kind == META_FILE)
		r = item_data(lap, b, item, sfd, &tfd);
	if (r < 0)
		return r;
	return lap_copy_attrs(lap, &item->row, sfd, tfd, &item->own.ctime);
}

/* Only its holes. One that is lost is left to the last pass. */
static int item_make_holes(struct lap *lap, const struct attr_batch *b,
			   struct attr_item *item)
{
	_cleanup_close_ int tfd =
		lap_target_open(lap, item->row.id, O_RDWR, NULL);

	if (tfd == -ENOENT || tfd == -ESTALE) {
		item->lost = true;
		return 0;
	}
	return tfd < 0 ? tfd : item_unmap(lap, b, item, tfd);
}

/* ---- batches ---- */

static int item_keep(struct lap *lap, const struct attr_batch *b,
		     const struct attr_item *item)
{
	uint64_t node = item->row.id;
	int r;

	if (item->lost)
		return 0;
	r = item->skipped ? keep_skipped_attr(lap, node) : keep_attr(lap, node);
	for (size_t i = 0; r == 0 && i < item->unmap_count; i++) {
		struct range hole = b->ranges.data[item->unmap_at + i];

		r = item->skipped ? keep_skipped(lap, node, hole)
				  : keep_range(lap, node, hole);
	}
	return r < 0 ? r : keep_range(lap, node, item->cut_off);
}

/* The intents of the pass stay until the lap is closed; these outlive it. */
static int pass_keep(struct attr_pass *p)
{
	int r = keep_look(p->lap);

	if (r < 0)
		return r;
	vec_for_each (item, &p->now.items) {
		r = item_keep(p->lap, &p->now, item);
		if (r < 0)
			break;
	}
	keep_end(p->lap);
	return r;
}

static int pass_rows(struct attr_pass *p, struct attr_batch *b)
{
	int r = 0;

	vec_for_each (item, &b->items) {
		r = item_rows(p->lap, b, item, p->early);
		if (r < 0)
			break;
	}
	return r;
}

static int pass_dry(struct attr_pass *p)
{
	int r = 0;

	vec_for_each (item, &p->now.items) {
		for (size_t i = 0; r == 0 && i < item->unmap_count; i++) {
			struct range hole =
				p->now.ranges.data[item->unmap_at + i];

			p->lap->n->bytes_unmapped += range_len(hole);
			r = freed_range(p->lap, item->row.id, hole);
		}
	}
	attr_batch_clear(&p->now);
	return r < 0 ? r : lap_poll(p->lap);
}

static int pass_run(struct attr_pass *p)
{
	struct lap *lap = p->lap;
	struct attr_batch swap;
	int r;

	if (p->now.items.count == 0)
		return 0;
	if (!p->early)
		lap->n->nodes += p->now.items.count;
	if (lap->dry)
		return pass_dry(p);
	r = lap_begin(lap);
	if (r == 0)
		r = pass_rows(p, &p->before);
	vec_for_each (item, &p->now.items) {
		if (r == 0)
			r = item_arm(lap, &p->now, item);
	}
	if (r == 0)
		r = lap_commit(lap);
	vec_for_each (item, &p->now.items) {
		if (r == 0)
			r = p->early ? item_make_holes(lap, &p->now, item)
				     : item_apply(lap, &p->now, item);
		if (r == 0)
			r = lap_poll(lap);
	}
	if (r == 0)
		r = pass_keep(p);
	swap = p->before;
	p->before = p->now;
	p->now = swap;
	attr_batch_clear(&p->now);
	return r;
}

static int pass_end(struct attr_pass *p)
{
	int r = pass_run(p);

	if (r == 0 && p->before.items.count > 0) {
		r = lap_begin(p->lap);
		if (r == 0)
			r = pass_rows(p, &p->before);
		if (r == 0)
			r = lap_commit(p->lap);
	}
	return r;
}

/* ---- what is to be done ---- */

static int next_extent(void *arg, struct meta_extent *ret)
{
	return meta_next_extent(arg, ret);
}

static int plan_holes(struct attr_pass *p, uint64_t node)
{
	_cleanup_meta_iter_ struct meta_iter own = {0};
	_cleanup_meta_iter_ struct meta_iter theirs = {0};
	struct lap *lap = p->lap;
	int r;

	range_set_clear(&p->unmap);
	r = doubt_ranges(lap, node, &p->doubt);
	if (r == 0)
		r = meta_iter_extents(lap->t, node, 0, META_RANGE_MAX, &own);
	if (r == 0)
		r = meta_iter_extents(lap->s, node, 0, META_RANGE_MAX, &theirs);
	if (r < 0)
		return r;
	return plan_unmap(next_extent, &own, next_extent, &theirs, &p->doubt,
			  &p->unmap);
}

/* A node that the target lacks, though its directory was not looked at:
 * lost, without the source having touched it. */
static int pass_absent(struct attr_pass *p, const struct meta_node *row)
{
	struct lap *lap = p->lap;
	struct meta_dentry d;
	int r = meta_dentry_of(lap->s, row->id, &d);

	if (r < 0)
		return r == -ENOENT ? 0 : lap_source_err(lap, r);
	if (idmap_get(&lap->dir_index, d.parent))
		return 0;
	return tree_want(lap, row->id);
}

static int pass_add(struct attr_pass *p, const struct meta_node *row)
{
	struct lap *lap = p->lap;
	struct attr_item item = {.row = *row};
	uint64_t filled = idmap_get(&lap->filled, row->id);
	int r;

	if (p->early && row->kind != META_FILE)
		return 0;
	r = lap_target_row(lap, row->id, &item.own);
	if (r <= 0)
		return r < 0 || p->early ? r : pass_absent(p, row);
	/* Of a large file that it goes on with the end is large.c's. */
	if (filled && !(p->early && filled == 2))
		return 0;
	if (!filled && !lap->args->both && !doubt_any(lap, row->id) &&
	    !idmap_get(&lap->written, row->id) && item.own.seq == row->seq &&
	    item.own.attr_seq == row->attr_seq)
		return 0;
	item.unmap_at = p->now.ranges.count;
	if (row->kind == META_FILE) {
		r = plan_holes(p, row->id);
		range_set_for_each (hole, &p->unmap) {
			if (r >= 0)
				r = vec_push(&p->now.ranges, *hole);
		}
		if (r < 0)
			return r;
	}
	item.unmap_count = p->now.ranges.count - item.unmap_at;
	if (p->early && item.unmap_count == 0)
		return 0;
	r = vec_push(&p->now.items, item);
	if (r == 0 && (p->now.items.count >= LAP_ROWS / 4 ||
		       p->now.ranges.count >= LAP_ROWS))
		r = pass_run(p);
	return r;
}

/* The source's nodes above from, by chunks of short reads. */
static int pass_delta(struct attr_pass *p)
{
	struct lap *lap = p->lap;
	VEC(struct meta_node) rows = {0};
	struct meta_node last = {
		.seq = lap->args->from,
		.id = UINT64_MAX,
	};
	bool end = false;
	int r = 0;

	while (r == 0 && !end) {
		_cleanup_meta_iter_ struct meta_iter it = {0};

		vec_clear(&rows);
		r = meta_iter_nodes_since(lap->s, last.seq, last.id, &it);
		while (r == 0 && rows.count < LAP_ROWS) {
			r = meta_next_node(&it, &last);
			end = r == 0 || (r > 0 && last.seq > lap->limit);
			if (r <= 0 || end)
				break;
			r = vec_push(&rows, last);
		}
		meta_iter_done(&it);
		r = lap_source_err(lap, r < 0 ? r : 0);
		for (size_t i = 0; r == 0 && i < rows.count; i++)
			if (rows.data[i].kind != META_DIR)
				r = pass_add(p, &rows.data[i]);
	}
	vec_done(&rows);
	return r;
}

/* Others: @ids that the delta does not have. */
static int pass_others(struct attr_pass *p, const struct idvec *ids)
{
	struct lap *lap = p->lap;
	struct meta_node row;
	int r = 0;

	for (size_t i = 0; r == 0 && i < ids->v.count; i++) {
		r = lap_source_row(lap, ids->v.data[i], &row);
		if (r < 0)
			return lap_source_err(lap, r);
		if (r == 0 || row.kind == META_DIR ||
		    (row.seq > lap->args->from && row.seq <= lap->limit))
			r = 0;
		else
			r = pass_add(p, &row);
	}
	return r;
}

/* After a fork: what the target changed. */
static int changed_here(struct lap *lap, struct idvec *out)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_node row;
	int r;

	r = meta_iter_nodes_since(lap->t, lap->args->from, UINT64_MAX, &it);
	while (r == 0 && (r = meta_next_node(&it, &row)) > 0)
		r = doubt_any(lap, row.id) ? 0 : vec_push(&out->v, row.id);
	return r;
}

static int pass_all(struct lap *lap, bool early)
{
	struct attr_pass p = {.lap = lap, .early = early};
	struct idvec ids = {0};
	int r;

	range_set_init(&p.doubt);
	range_set_init(&p.unmap);
	/* First: this lap's own rows will be numbered above from as well. */
	r = doubt_nodes(lap, &ids);
	if (r == 0 && lap->args->both)
		r = changed_here(lap, &ids);
	if (r == 0)
		r = pass_delta(&p);
	if (r == 0)
		r = pass_others(&p, &ids);
	if (r == 0)
		r = pass_end(&p);
	range_set_done(&p.doubt);
	range_set_done(&p.unmap);
	vec_done(&p.now.items);
	vec_done(&p.now.ranges);
	vec_done(&p.before.items);
	vec_done(&p.before.ranges);
	vec_done(&ids.v);
	return r;
}

int attr_unmap(struct lap *lap)
{
	return pass_all(lap, true);
}

int attr_files(struct lap *lap)
{
	return pass_all(lap, false);
}

/* ---- directories ---- */

/* 1 and the row to be written, 0 nothing to write. */
static int dir_apply(struct lap *lap, struct work_dir *wd,
		     struct meta_node *own)
{
	const int flags = O_RDONLY | O_DIRECTORY;
	_cleanup_close_ int sfd = lap_source_open(lap, wd->id, flags);
	_cleanup_close_ int tfd = -1;
	int r;

	if (sfd == -ENOENT) {
		r = lap_incomplete(lap, wd, "directory");
		return r < 0 ? r : own->id == wd->id;
	}
	if (sfd < 0)
		return sfd;
	tfd = lap_target_open(lap, wd->id, flags, own);
	if (tfd == -ENOENT || tfd == -ESTALE) {
		wd->gone = true;
		r = lap_begin(lap);
		if (r == 0)
			r = tree_lost(lap, wd->id);
		return r < 0 ? r : lap_commit(lap);
	}
	if (tfd < 0)
		return tfd;
	r = lap_copy_attrs(lap, &wd->row, sfd, tfd, &own->ctime);
	if (r >= 0)
		r = lap_sync_fd(lap, tfd, false);
	return r < 0 ? r : 1;
}

static int dir_finish(struct lap *lap, struct work_dir *wd)
{
	struct meta_node own = {0};
	int r = lap_target_row(lap, wd->id, &own);

	if (r < 0)
		return r;
	wd->done = true;
	if (r > 0 && !wd->changed && !lap->args->both &&
	    !doubt_any(lap, wd->id) && own.seq == wd->row.seq &&
	    own.attr_seq == wd->row.attr_seq)
		return 0;
	if (!wd->fresh)
		lap->n->nodes++;
	if (lap->dry)
		return 0;
	r = dir_apply(lap, wd, &own);
	if (r <= 0)
		return r;
	lap_claim(lap, &wd->row, &own);
	return vec_push(&lap->dir_rows, own);
}

int attr_dirs(struct lap *lap)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < lap->dirs.count; i++) {
		struct work_dir *wd = &lap->dirs.data[i];

		/* The newest of several passes over it knows best. */
		if (wd->gone || wd->done ||
		    idmap_get(&lap->dir_index, wd->id) != i + 1)
			continue;
		r = dir_finish(lap, wd);
		if (r == 0)
			r = lap_poll(lap);
	}
	return r;
}
