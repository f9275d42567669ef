/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The extent map: small cases by hand, then everything against an array.
 */
#include "meta/db.h"
#include "meta_fixture.h"
#include "rng.h"

#define FILE_ID 16
#define B	META_BLOCK

struct row {
	uint64_t start; /* blocks */
	uint64_t end;
	uint64_t seq;
};

static void set(struct meta *m, uint64_t start, uint64_t end, uint64_t seq)
{
	must(meta_extent_set(m, FILE_ID, start * B, end * B, seq));
}

static void clear(struct meta *m, uint64_t start, uint64_t end)
{
	must(meta_extent_clear(m, FILE_ID, start * B, end * B));
}

static void expect_rows(struct meta *m, const struct row *v, size_t count)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_extent ext;
	size_t i = 0;
	int r;

	must(meta_iter_extents(meta_writer_view(m), FILE_ID, 0, META_RANGE_MAX,
			       &it));
	while ((r = meta_next_extent(&it, &ext)) > 0) {
		cr_assert(i < count, "one more: %lu-%lu seq %lu", ext.start / B,
			  ext.end / B, ext.seq);
		cr_assert(ext.start == v[i].start * B &&
				  ext.end == v[i].end * B &&
				  ext.seq == v[i].seq,
			  "row %zu is %lu-%lu seq %lu, not %lu-%lu seq %lu", i,
			  ext.start / B, ext.end / B, ext.seq, v[i].start,
			  v[i].end, v[i].seq);
		i++;
	}
	must(r);
	cr_assert_eq(i, count, "%zu rows, not %zu", i, count);
}

#define EXPECT(m, ...)                              \
	expect_rows(m, (struct row[]){__VA_ARGS__}, \
		    sizeof((struct row[]){__VA_ARGS__}) / sizeof(struct row))

static void start(struct fixture *f)
{
	fixture_open(f);
	must(meta_begin(f->m));
}

static void end(struct fixture *f)
{
	must(meta_commit(f->m));
	fixture_done(f);
}

Test(extent, append_with_the_same_seq_grows)
{
	struct fixture f;

	start(&f);
	set(f.m, 0, 1, 5);
	set(f.m, 1, 2, 5);
	EXPECT(f.m, {0, 2, 5});
	set(f.m, 2, 3, 6);
	EXPECT(f.m, {0, 2, 5}, {2, 3, 6});
	end(&f);
}

Test(extent, overwrite_inside_cuts_in_three)
{
	struct fixture f;

	start(&f);
	set(f.m, 0, 10, 5);
	set(f.m, 4, 6, 7);
	EXPECT(f.m, {0, 4, 5}, {4, 6, 7}, {6, 10, 5});
	set(f.m, 4, 6, 8);
	EXPECT(f.m, {0, 4, 5}, {4, 6, 8}, {6, 10, 5});
	end(&f);
}

Test(extent, overwrite_over_the_ends)
{
	struct fixture f;

	start(&f);
	set(f.m, 2, 4, 5);
	set(f.m, 6, 8, 6);
	set(f.m, 3, 7, 9);
	EXPECT(f.m, {2, 3, 5}, {3, 7, 9}, {7, 8, 6});
	set(f.m, 0, 20, 10);
	EXPECT(f.m, {0, 20, 10});
	end(&f);
}

Test(extent, same_seq_joins_both_sides)
{
	struct fixture f;

	start(&f);
	set(f.m, 0, 2, 5);
	set(f.m, 4, 6, 5);
	set(f.m, 2, 4, 5);
	EXPECT(f.m, {0, 6, 5});
	set(f.m, 1, 3, 5);
	EXPECT(f.m, {0, 6, 5});
	end(&f);
}

Test(extent, horizon_joins_under_the_higher_seq)
{
	struct fixture f;

	start(&f);
	must(meta_number_set(f.m, META_NUM_HORIZON, 10));
	set(f.m, 0, 2, 5);
	set(f.m, 4, 6, 8);
	set(f.m, 6, 8, 11);
	EXPECT(f.m, {0, 2, 5}, {4, 6, 8}, {6, 8, 11});
	set(f.m, 2, 4, 7);
	EXPECT(f.m, {0, 6, 8}, {6, 8, 11});
	/* Above the horizon nothing joins, and what is cut keeps its seq. */
	set(f.m, 1, 2, 12);
	EXPECT(f.m, {0, 1, 8}, {1, 2, 12}, {2, 6, 8}, {6, 8, 11});
	end(&f);
}

Test(extent, horizon_of_a_transaction_undone_is_undone)
{
	struct fixture f;

	start(&f);
	must(meta_number_set(f.m, META_NUM_HORIZON, 10));
	meta_rollback(f.m);
	must(meta_begin(f.m));
	set(f.m, 0, 2, 5);
	set(f.m, 2, 4, 6);
	EXPECT(f.m, {0, 2, 5}, {2, 4, 6});
	end(&f);
}

Test(extent, clear)
{
	struct fixture f;

	start(&f);
	set(f.m, 0, 10, 5);
	clear(f.m, 3, 5);
	EXPECT(f.m, {0, 3, 5}, {5, 10, 5});
	clear(f.m, 0, 1);
	clear(f.m, 9, 12);
	EXPECT(f.m, {1, 3, 5}, {5, 9, 5});
	clear(f.m, 3, 5);
	clear(f.m, 7, 7);
	EXPECT(f.m, {1, 3, 5}, {5, 9, 5});
	must(meta_extent_clear(f.m, FILE_ID, 2 * B, META_RANGE_MAX));
	EXPECT(f.m, {1, 2, 5});
	must(meta_extent_clear(f.m, FILE_ID, 0, META_RANGE_MAX));
	expect_rows(f.m, NULL, 0);
	end(&f);
}

Test(extent, at_the_very_end)
{
	struct fixture f;

	start(&f);
	must(meta_extent_set(f.m, FILE_ID, META_RANGE_MAX - 2 * B,
			     META_RANGE_MAX, 5));
	must(meta_extent_clear(f.m, FILE_ID, META_RANGE_MAX - B,
			       META_RANGE_MAX));
	EXPECT(f.m, {META_RANGE_MAX / B - 2, META_RANGE_MAX / B - 1, 5});
	end(&f);
}

Test(extent, nodes_do_not_touch)
{
	struct fixture f;

	start(&f);
	must(meta_extent_set(f.m, FILE_ID - 1, 0, 8 * B, 5));
	must(meta_extent_set(f.m, FILE_ID + 1, 0, 8 * B, 5));
	set(f.m, 2, 4, 5);
	clear(f.m, 0, 3);
	EXPECT(f.m, {3, 4, 5});
	put_node(f.m, FILE_ID, META_FILE, 5);
	must(meta_node_del(f.m, FILE_ID));
	expect_rows(f.m, NULL, 0);
	end(&f);
}

Test(extent, iterators)
{
	struct meta_iter it;
	struct meta_extent ext;
	struct fixture f;

	start(&f);
	set(f.m, 0, 4, 5);
	set(f.m, 6, 8, 7);
	set(f.m, 8, 9, 6);
	must(meta_iter_extents(meta_writer_view(f.m), FILE_ID, 3 * B, 7 * B,
			       &it));
	expect_int(meta_next_extent(&it, &ext), 1);
	cr_assert_eq(ext.start, 0);
	expect_int(meta_next_extent(&it, &ext), 1);
	cr_assert_eq(ext.start, 6 * B);
	expect_int(meta_next_extent(&it, &ext), 0);
	meta_iter_done(&it);

	must(meta_iter_extents(meta_writer_view(f.m), FILE_ID, 4 * B, 6 * B,
			       &it));
	expect_int(meta_next_extent(&it, &ext), 0);
	meta_iter_done(&it);

	must(meta_iter_extents_since(meta_writer_view(f.m), 5, INT64_MAX,
				     INT64_MAX, &it));
	expect_int(meta_next_extent(&it, &ext), 1);
	cr_assert_eq(ext.seq, 6);
	expect_int(meta_next_extent(&it, &ext), 1);
	cr_assert_eq(ext.seq, 7);
	expect_int(meta_next_extent(&it, &ext), 0);
	meta_iter_done(&it);

	must(meta_iter_extents_since(meta_writer_view(f.m), 6, FILE_ID, 8 * B,
				     &it));
	expect_int(meta_next_extent(&it, &ext), 1);
	cr_assert_eq(ext.seq, 7);
	meta_iter_done(&it);
	end(&f);
}

/* ---- against an array ---- */

#define BLOCKS 48

struct model {
	uint64_t set[BLOCKS]; /* the seq given last; 0: hole */
	uint64_t horizon;
	uint64_t seq;
};

/* Every block is mapped or not as in the array, never numbered too low, and
 * higher than given only at or below the horizon. Rows are in order, do not
 * overlap, and none touches one that it was to join when it was written. */
static void model_check(struct meta *m, const struct model *md)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_extent ext;
	uint64_t at = 0;
	uint64_t blk;
	uint64_t last_seq = 0;
	uint64_t last_end = UINT64_MAX;
	int r;

	must(meta_iter_extents(meta_writer_view(m), FILE_ID, 0, META_RANGE_MAX,
			       &it));
	while ((r = meta_next_extent(&it, &ext)) > 0) {
		check(ext.start / B >= at, "overlap");
		for (blk = at; blk < ext.start / B; blk++)
			check(md->set[blk] == 0, "hole at %lu", blk);
		for (; blk < ext.end / B; blk++) {
			check(md->set[blk] != 0, "mapped at %lu", blk);
			check(ext.seq >= md->set[blk],
			      "too low at %lu: %lu below %lu", blk, ext.seq,
			      md->set[blk]);
			check(ext.seq == md->set[blk] || ext.seq <= md->horizon,
			      "raised above the horizon at %lu", blk);
		}
		/* What a join made touch further old rows waits for the
		 * merge behind the horizon. */
		check(ext.start != last_end || ext.seq != last_seq ||
			      ext.seq <= md->horizon,
		      "not joined at %lu", ext.start / B);
		at = ext.end / B;
		last_end = ext.end;
		last_seq = ext.seq;
	}
	must(r);
	for (blk = at; blk < BLOCKS; blk++)
		check(md->set[blk] == 0, "hole at %lu", blk);
}

/* After a merge behind the horizon no two old rows touch. */
static void model_check_compact(struct meta *m, const struct model *md)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_extent ext;
	uint64_t last_seq = UINT64_MAX;
	uint64_t last_end = UINT64_MAX;

	must(meta_iter_extents(meta_writer_view(m), FILE_ID, 0, META_RANGE_MAX,
			       &it));
	while (meta_next_extent(&it, &ext) > 0) {
		check(ext.start != last_end || ext.seq > md->horizon ||
			      last_seq > md->horizon,
		      "two old rows at %lu", ext.start / B);
		last_end = ext.end;
		last_seq = ext.seq;
	}
}

static void model_step(struct rng *rng, struct meta *m, struct model *md)
{
	uint64_t from = rng_below(rng, BLOCKS);
	uint64_t to = from + 1 +
		      rng_below(rng, MIN((uint64_t)BLOCKS - from,
					 1 + rng_below(rng, 12)));
	uint64_t what = rng_below(rng, 20);
	uint64_t seq;
	int r;

	if (what == 0) {
		md->horizon = MAX(md->horizon,
				  md->seq - MIN(md->seq, rng_below(rng, 30)));
		must(meta_number_set(m, META_NUM_HORIZON, md->horizon));
	} else if (what == 1) {
		while ((r = meta_compact_step(m, 1 + rng_below(rng, 9))) > 0)
			;
		must(r);
		model_check_compact(m, md);
	} else if (what < 6) {
		clear(m, from, to);
		for (uint64_t blk = from; blk < to; blk++)
			md->set[blk] = 0;
	} else {
		/* Mostly a new seq, at times an old one, as a resync has. */
		seq = what < 16 ? ++md->seq : 1 + rng_below(rng, md->seq + 1);
		md->seq = MAX(md->seq, seq);
		set(m, from, to, seq);
		for (uint64_t blk = from; blk < to; blk++)
			md->set[blk] = seq;
	}
}

static void against_an_array(struct rng rng)
{
	struct fixture f;

	start(&f);
	for (int round = 0; round < 60; round++) {
		struct model md = {0};

		must(meta_extent_clear(f.m, FILE_ID, 0, META_RANGE_MAX));
		must(meta_number_set(f.m, META_NUM_HORIZON, 0));
		/* As if opened anew. */
		f.m->compact = (struct meta_compact){.node = INT64_MAX,
						     .start = INT64_MAX};
		for (int step = 0; step < 400; step++) {
			model_step(&rng, f.m, &md);
			model_check(f.m, &md);
		}
	}
	end(&f);
}

Test(extent, against_an_array, .timeout = 300)
{
	against_an_array(rng_seed());
}

/* A row that grew by a join at a batch's end touched another old one. */
Test(extent, against_an_array_once_more, .timeout = 300)
{
	against_an_array((struct rng){1795371346270729674u});
}

Test(extent, compact_follows_the_horizon)
{
	struct fixture f;

	start(&f);
	for (uint64_t i = 0; i < 200; i++)
		set(f.m, i, i + 1, i + 1);
	must(meta_number_set(f.m, META_NUM_HORIZON, 100));
	expect_int(meta_compact_step(f.m, 10), 1);
	must(meta_commit(f.m));
	must(meta_begin(f.m));
	while (meta_compact_step(f.m, 10) > 0)
		;
	must(meta_commit(f.m));
	fixture_reopen(&f, META_OPEN_RW);
	must(meta_begin(f.m));
	expect_int(meta_compact_step(f.m, 10), 0);
	must(meta_number_set(f.m, META_NUM_HORIZON, 300));
	while (meta_compact_step(f.m, 10) > 0)
		;
	EXPECT(f.m, {0, 200, 200});
	end(&f);
}
