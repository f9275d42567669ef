/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What stays in doubt on the target when a batch is committed or a lap closed.
 *
 * A live source is ahead of its own map: a write that came after the cut lies
 * in its files already, under an intent, and its number follows with the next
 * checkpoint.  A lap copies what it finds.  Should the source then lose that
 * write, by a power loss or because it is put back to an older state, the
 * target has bytes that no map numbers.  The same goes for what was skipped
 * because the source's file had gone: the source may get it back.
 *
 * So the target keeps an intent (generation 0: its rows are true, its files
 * may differ) over whatever the source had in doubt, or numbered above the
 * cut, when it was read.  Intents and rows are asked for in one snapshot taken
 * after the reading: a change that was seen had its intent before, and a
 * checkpoint that took the intent away wrote the number in the same
 * transaction.  The next lap compares what lies under these intents.  The last
 * one finds a source that is held still, with none, and leaves none.
 *
 * Whatever else a checkpoint in the middle of a lap may do (it numbers a block
 * anew that the lap had still to copy, or unmaps it) shows on a source that is
 * put back to the cut, and only there.  Such a one is a copy, and a target with
 * any intent forks from it (lineage.h): hence one on the root, if the source
 * has moved at all.  Healing that fork looks at everything since the resync
 * began.
 *
 * docs/model.md, 1 and 2.
 */
#include <errno.h>

#include "resync/lap.h"

void keep_free(struct keep *k)
{
	vec_done(&k->source);
	vec_done(&k->kept);
}

static bool is_asked(const struct lap *lap)
{
	return !lap->dry && !lap->args->last;
}

/* ---- what is kept ---- */

static int keep_add(struct lap *lap, uint64_t node, enum meta_intent_kind kind,
		    struct range range)
{
	struct keep *k = &lap->keep;
	struct meta_intent in = {
		.node = node,
		.kind = kind,
		.start = range.start,
		.end = range.end,
	};

	if (k->kept.count > k->put) {
		struct meta_intent *last = vec_last(&k->kept);

		if (last->node == node && last->kind == kind &&
		    range.start >= last->start && range.start <= last->end) {
			last->end = MAX(last->end, range.end);
			return 0;
		}
	}
	return vec_push(&k->kept, in);
}

int keep_skipped(struct lap *lap, uint64_t node, struct range range)
{
	if (lap->dry)
		return 0;
	return keep_add(lap, node, META_INTENT_DATA, range);
}

int keep_skipped_attr(struct lap *lap, uint64_t node)
{
	if (lap->dry)
		return 0;
	return keep_add(lap, node, META_INTENT_ATTR, (struct range){0, 0});
}

/* ---- a look at the source ---- */

static int look(struct lap *lap)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_intent in;
	int r = meta_iter_intents(lap->s, &it);

	/* A doubt is about another store, or stays (close.c): no change of the
	 * source that it could lose, and nothing for each lap to compare again. */
	while (r == 0 && (r = meta_next_intent(&it, &in)) > 0)
		r = meta_intent_is_doubt(&in) ? 0
					      : vec_push(&lap->keep.source, in);
	return r;
}

int keep_look(struct lap *lap)
{
	int r;

	vec_clear(&lap->keep.source);
	if (!is_asked(lap))
		return 0;
	r = meta_read_begin(lap->s);
	if (r < 0)
		return lap_source_err(lap, r);
	r = look(lap);
	if (r < 0)
		keep_end(lap);
	return lap_source_err(lap, r);
}

void keep_end(struct lap *lap)
{
	if (is_asked(lap))
		meta_read_end(lap->s);
}

/* Index of the first of the source's intents on @node, or where it would be. */
static size_t first_of(const struct keep *k, uint64_t node)
{
	size_t low = 0;
	size_t high = k->source.count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (k->source.data[mid].node < node)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

#define for_each_intent_of(in, k, id)                                       \
	for (const struct meta_intent *in =                                 \
		     (k)->source.data + first_of((k), (id));                \
	     in < (k)->source.data + (k)->source.count && in->node == (id); \
	     in++)

/* Has the source any doubt about the node, or changed it since the cut? */
static int is_moving(struct lap *lap, uint64_t node)
{
	struct meta_node row;
	int r;

	if (lap->keep.source.count > 0)
		for_each_intent_of(in, &lap->keep, node) return 1;
	r = lap_source_row(lap, node, &row);
	if (r < 0)
		return lap_source_err(lap, r);
	return r == 0 || row.seq > lap->args->cut;
}

/* Of the range: what is numbered above the cut, and what is a hole by now. */
static int keep_newer(struct lap *lap, uint64_t node, struct range range)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	uint64_t at = range.start;
	struct meta_extent e;
	int r;

	r = meta_iter_extents(lap->s, node, range.start, range.end, &it);
	while (r == 0 && (r = meta_next_extent(&it, &e)) > 0) {
		if (e.seq > lap->args->cut) {
			r = 0;
			continue;
		}
		r = e.start > at ? keep_add(lap, node, META_INTENT_DATA,
					    (struct range){at, e.start})
				 : 0;
		at = MAX(at, e.end);
	}
	if (r < 0)
		return lap_source_err(lap, r);
	if (at >= range.end)
		return 0;
	return keep_add(lap, node, META_INTENT_DATA,
			(struct range){at, range.end});
}

int keep_range(struct lap *lap, uint64_t node, struct range range)
{
	struct meta_node row;
	struct range hit;
	int r = 0;

	if (!is_asked(lap) || range_is_empty(range))
		return 0;
	if (lap->keep.source.count > 0)
		for_each_intent_of(in, &lap->keep, node)
		{
			if (r < 0 || in->kind != META_INTENT_DATA)
				continue;
			hit = range_intersect(
				range, (struct range){in->start, in->end});
			if (!range_is_empty(hit))
				r = keep_add(lap, node, META_INTENT_DATA, hit);
		}
	if (r < 0)
		return r;
	r = lap_source_row(lap, node, &row);
	if (r < 0)
		return lap_source_err(lap, r);
	if (r == 0)
		return keep_skipped(lap, node, range);
	return row.seq > lap->args->cut ? keep_newer(lap, node, range) : 0;
}

int keep_attr(struct lap *lap, uint64_t node)
{
	int r = is_asked(lap) ? is_moving(lap, node) : 0;

	return r > 0 ? keep_skipped_attr(lap, node) : r;
}

int keep_new(struct lap *lap, uint64_t node, enum meta_kind kind)
{
	int r = is_asked(lap) ? is_moving(lap, node) : 0;

	if (r <= 0)
		return r;
	if (kind != META_FILE)
		return keep_skipped_attr(lap, node);
	return keep_skipped(lap, node, (struct range){0, META_RANGE_MAX});
}

int keep_names(struct lap *lap, uint64_t dir)
{
	return is_asked(lap) ? is_moving(lap, dir) : 0;
}

/* ---- into the target's map ---- */

static int put_from(struct lap *lap, size_t from)
{
	struct keep *k = &lap->keep;
	int r = 0;

	for (size_t i = from; r == 0 && i < k->kept.count; i++)
		r = meta_intent_put(lap->dst->meta, &k->kept.data[i]);
	k->put = k->kept.count;
	return r;
}

int keep_put(struct lap *lap)
{
	return put_from(lap, lap->keep.put);
}

int keep_put_all(struct lap *lap)
{
	return put_from(lap, 0);
}

/* Has the source done anything that came after the cut? */
static int has_moved(struct lap *lap)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_node row;
	int r;

	if (lap->keep.source.count > 0)
		return 1;
	r = meta_iter_nodes_since(lap->s, lap->args->cut, UINT64_MAX, &it);
	if (r == 0)
		r = meta_next_node(&it, &row);
	return lap_source_err(lap, r);
}

int keep_close(struct lap *lap)
{
	int r = keep_look(lap);

	if (r < 0 || !is_asked(lap))
		return r;
	r = has_moved(lap);
	if (r > 0)
		r = keep_skipped_attr(lap, META_ROOT_ID);
	vec_for_each (wd, &lap->dirs) {
		if (r < 0)
			break;
		if (!wd->incomplete && !wd->gone)
			continue;
		r = keep_add(lap, wd->id, META_INTENT_NAME,
			     (struct range){0, 0});
		if (r == 0)
			r = keep_skipped_attr(lap, wd->id);
	}
	keep_end(lap);
	return r;
}
