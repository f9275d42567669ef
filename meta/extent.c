/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Extents: which blocks of a file are mapped, and when each was last written.
 *
 * The rows of one node never overlap. A change of [start, end) looks once at
 * the rows that overlap or touch it, from its end backwards, and then writes
 * as little as it can:
 *
 *	what lies there			statements
 *	nothing, or far away		look, put
 *	a row that it continues		look, put (the row grows)
 *	exactly that row		look, put (the row gets the seq)
 *	the same already		look
 *	inside a row			look, cut, put, put the rest
 *	many rows			look, delete those that start inside,
 *					at most one cut, put, one put
 *
 * Rows join when they touch and have the same seq, or when both are at or
 * below the horizon; the higher seq counts then. A seq in the map is never
 * lower than that of the last write to any of its blocks: a join can only
 * raise it, and everything else writes the seq that was given.
 */
#include <assert.h>
#include <errno.h>

#include "meta/db.h"

struct piece {
	uint64_t start;
	uint64_t end;
	uint64_t seq;
};

/* What overlaps or touches [start, end). A row has one role of the first two;
 * one that begins inside counts as inner besides. */
struct around {
	bool has_left;	/* begins before start, and reaches it */
	bool has_right; /* begins in [start, end], and ends after end */
	bool has_exact; /* begins at start */
	struct piece left;
	struct piece right;
	struct piece exact;
	uint64_t inner_count; /* rows that begin in [start, end) */
};

static bool aligned(uint64_t off)
{
	return off % META_BLOCK == 0;
}

static int piece_row(struct stmt *s, int column, struct piece *ret)
{
	int r = stmt_column_u64(s, column, &ret->start);

	if (r == 0)
		r = stmt_column_u64(s, column + 1, &ret->end);
	if (r == 0)
		r = stmt_column_u64(s, column + 2, &ret->seq);
	if (r < 0)
		return r;
	if (ret->start >= ret->end || !aligned(ret->start) ||
	    !aligned(ret->end) || ret->seq > META_SEQ_MAX)
		return -EUCLEAN;
	return 0;
}

static void around_add(struct around *a, struct piece p, uint64_t start,
		       uint64_t end)
{
	if (p.start < start) {
		a->has_left = true;
		a->left = p;
		return;
	}
	if (p.end > end) {
		a->has_right = true;
		a->right = p;
	}
	if (p.start < end)
		a->inner_count++;
	if (p.start == start) {
		a->has_exact = true;
		a->exact = p;
	}
}

static int around_look(struct meta *m, uint64_t node, uint64_t start,
		       uint64_t end, struct around *ret)
{
	_cleanup_stmt_ struct stmt *s = NULL;
	struct piece p;
	int r;

	*ret = (struct around){0};
	r = writer_borrow(m, STMT_EXTENT_ITER_BACK, &s);
	if (r < 0)
		return r;
	stmt_bind_u64(s, ":node", node);
	stmt_bind_u64(s, ":end", end);
	while ((r = stmt_step(s)) > 0) {
		r = piece_row(s, 0, &p);
		if (r < 0)
			break;
		if (p.end < start)
			return 0;
		around_add(ret, p, start, end);
		if (p.start < start)
			return 0;
	}
	return writer_note(m, r);
}

static int extent_put(struct meta *m, uint64_t node, struct piece p)
{
	_cleanup_stmt_ struct stmt *s = NULL;
	int r;

	r = writer_borrow(m, STMT_EXTENT_PUT, &s);
	if (r < 0)
		return r;
	stmt_bind_u64(s, ":node", node);
	stmt_bind_u64(s, ":start", p.start);
	stmt_bind_u64(s, ":end", p.end);
	stmt_bind_u64(s, ":seq", p.seq);
	r = writer_run(m, s);
	return r < 0 ? r : 0;
}

static int extent_cut_end(struct meta *m, uint64_t node, uint64_t start,
			  uint64_t end)
{
	_cleanup_stmt_ struct stmt *s = NULL;
	int r;

	r = writer_borrow(m, STMT_EXTENT_CUT_END, &s);
	if (r < 0)
		return r;
	stmt_bind_u64(s, ":node", node);
	stmt_bind_u64(s, ":start", start);
	stmt_bind_u64(s, ":end", end);
	r = writer_run(m, s);
	return r < 0 ? r : 0;
}

static int extent_del_starts(struct meta *m, uint64_t node, uint64_t start,
			     uint64_t end)
{
	_cleanup_stmt_ struct stmt *s = NULL;
	int r;

	r = writer_borrow(m, STMT_EXTENT_DEL_STARTS, &s);
	if (r < 0)
		return r;
	stmt_bind_u64(s, ":node", node);
	stmt_bind_u64(s, ":start", start);
	stmt_bind_u64(s, ":end", end);
	r = writer_run(m, s);
	return r < 0 ? r : 0;
}

static bool joins(const struct meta *m, uint64_t seq_a, uint64_t seq_b)
{
	return seq_a == seq_b || MAX(seq_a, seq_b) <= m->horizon;
}

/* What a change of [start, end) makes of the rows around it. */
struct plan {
	bool put;	    /* write the new row */
	bool cut_left;	    /* the left row ends at start */
	bool put_rest;	    /* what lies behind the range keeps its seq */
	uint64_t del_start; /* rows that start in [del_start, del_end) go */
	uint64_t del_end;
	struct piece row;
	struct piece rest;
};

/* What reaches over the ends of the range and does not join it. */
static void plan_ends(struct plan *p, const struct around *a, uint64_t start,
		      uint64_t end, bool left_stays, bool right_stays)
{
	if (a->has_left && left_stays && a->left.end > start) {
		p->cut_left = true;
		if (a->left.end > end) {
			p->put_rest = true;
			p->rest = (struct piece){end, a->left.end, a->left.seq};
		}
	}
	if (a->has_right && right_stays && a->right.start < end) {
		p->put_rest = true;
		p->rest = (struct piece){end, a->right.end, a->right.seq};
	}
}

static struct plan plan_set(const struct meta *m, const struct around *a,
			    uint64_t start, uint64_t end, uint64_t seq)
{
	struct plan p = {.put = true, .row = {start, end, seq}};
	bool left = a->has_left && joins(m, a->left.seq, seq);
	bool right = a->has_right && joins(m, a->right.seq, seq);
	bool replaces = !left && a->has_exact;
	uint64_t del_count = a->inner_count;

	if (left) {
		p.row.start = a->left.start;
		p.row.end = MAX(end, a->left.end);
		p.row.seq = MAX(p.row.seq, a->left.seq);
	}
	if (right) {
		p.row.end = a->right.end;
		p.row.seq = MAX(p.row.seq, a->right.seq);
	}
	plan_ends(&p, a, start, end, !left, !right);

	/* The row at the new start is overwritten, not deleted. */
	p.del_start = start;
	p.del_end = end;
	if (replaces) {
		p.del_start++;
		del_count--;
	}
	if (right && a->right.start == end) {
		p.del_end++;
		del_count++;
	}
	if (del_count == 0)
		p.del_end = p.del_start;

	/* Nothing new? */
	if (del_count == 0 && left)
		p.put = a->left.end != p.row.end || a->left.seq != p.row.seq;
	else if (del_count == 0 && replaces)
		p.put = a->exact.end != p.row.end || a->exact.seq != p.row.seq;
	return p;
}

static int plan_do(struct meta *m, uint64_t node, const struct plan *p,
		   uint64_t left_start, uint64_t start)
{
	int r = 0;

	if (p->del_start < p->del_end)
		r = extent_del_starts(m, node, p->del_start, p->del_end);
	if (r == 0 && p->cut_left)
		r = extent_cut_end(m, node, left_start, start);
	if (r == 0 && p->put)
		r = extent_put(m, node, p->row);
	if (r == 0 && p->put_rest)
		r = extent_put(m, node, p->rest);
	return r;
}

int meta_extent_set(struct meta *m, uint64_t node, uint64_t start, uint64_t end,
		    uint64_t seq)
{
	struct around a;
	struct plan p;
	int r;

	assert(start < end && end <= META_RANGE_MAX);
	assert(aligned(start) && aligned(end));
	r = around_look(m, node, start, end, &a);
	if (r < 0)
		return r;
	p = plan_set(m, &a, start, end, seq);
	return plan_do(m, node, &p, a.left.start, start);
}

int meta_extent_clear(struct meta *m, uint64_t node, uint64_t start,
		      uint64_t end)
{
	struct plan p = {0};
	struct around a;
	int r;

	assert(start <= end && end <= META_RANGE_MAX);
	assert(aligned(start) && aligned(end));
	if (start == end)
		return 0;
	r = around_look(m, node, start, end, &a);
	if (r < 0)
		return r;
	plan_ends(&p, &a, start, end, true, true);
	if (a.inner_count > 0) {
		p.del_start = start;
		p.del_end = end;
	}
	return plan_do(m, node, &p, a.left.start, start);
}

/* ---- readers ---- */

int meta_iter_extents_since(struct meta_reader *rd, uint64_t seq, uint64_t node,
			    uint64_t start, struct meta_iter *ret_it)
{
	struct stmt *s;
	int r = iter_open(rd, STMT_EXTENT_ITER_SINCE, ret_it, &s);

	if (r < 0)
		return r;
	stmt_bind_bound(s, ":seq", seq);
	stmt_bind_bound(s, ":node", node);
	stmt_bind_bound(s, ":start", start);
	return 0;
}

int meta_iter_extents(struct meta_reader *rd, uint64_t node, uint64_t start,
		      uint64_t end, struct meta_iter *ret_it)
{
	struct stmt *s;
	int r = iter_open(rd, STMT_EXTENT_ITER_RANGE, ret_it, &s);

	if (r < 0)
		return r;
	stmt_bind_bound(s, ":node", node);
	stmt_bind_bound(s, ":start", start);
	stmt_bind_bound(s, ":end", end);
	return 0;
}

int meta_next_extent(struct meta_iter *it, struct meta_extent *ret)
{
	struct piece p;
	int r = stmt_step(it->stmt);

	if (r <= 0)
		return r;
	r = stmt_column_u64(it->stmt, 0, &ret->node);
	if (r == 0)
		r = piece_row(it->stmt, 1, &p);
	if (r < 0)
		return r;
	ret->start = p.start;
	ret->end = p.end;
	ret->seq = p.seq;
	return 1;
}

/* ---- merging behind the horizon ---- */

#define COMPACT_BATCH 64

/* The next rows by (seq, node, start) that the horizon has passed. */
static int compact_fetch(struct meta *m, size_t row_max,
			 struct meta_extent *ret_rows, size_t *ret_count)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	size_t count = 0;
	int r;

	r = meta_iter_extents_since(&m->writer, m->compact.seq, m->compact.node,
				    m->compact.start, &it);
	if (r < 0)
		return r;
	while (count < row_max) {
		r = meta_next_extent(&it, &ret_rows[count]);
		if (r < 0)
			return r;
		if (r == 0 || ret_rows[count].seq > m->horizon)
			break;
		count++;
	}
	*ret_count = count;
	return 0;
}

/*
 * Joins the row with its neighbours, or finds that a join has already taken it
 * in. A row that grew may touch further old ones, which the walk has passed
 * or would pass where it no longer finds them: it goes on until it stands alone.
 */
static int compact_row(struct meta *m, const struct meta_extent *row)
{
	struct piece is = {row->start, row->end, row->seq}, was;
	struct around a;
	struct plan p;
	int r;

	do {
		was = is;
		r = around_look(m, row->node, is.start, is.end, &a);
		if (r < 0)
			return r;
		p = plan_set(m, &a, is.start, is.end, is.seq);
		r = plan_do(m, row->node, &p, a.left.start, is.start);
		is = p.row;
	} while (r == 0 && (is.start != was.start || is.end != was.end));
	return r;
}

static int compact_done(struct meta *m)
{
	if (m->compact.done_seq == m->horizon)
		return 0;
	m->compact.done_seq = m->horizon;
	return volume_u64_put(m, VOLUME_KEY_COMPACTED, m->horizon);
}

int meta_compact_step(struct meta *m, size_t row_max)
{
	struct meta_extent rows[COMPACT_BATCH];
	size_t batch = 0;
	int r;

	for (size_t done = 0; done < row_max; done += batch) {
		r = compact_fetch(m, MIN(row_max - done, (size_t)COMPACT_BATCH),
				  rows, &batch);
		if (r < 0)
			return writer_note(m, r);
		if (batch == 0)
			return compact_done(m);
		for (size_t i = 0; i < batch; i++) {
			r = compact_row(m, &rows[i]);
			if (r < 0)
				return r;
			m->compact.seq = rows[i].seq;
			m->compact.node = rows[i].node;
			m->compact.start = rows[i].start;
		}
	}
	return 1;
}
