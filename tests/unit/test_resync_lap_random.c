/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Laps after histories made at random, cut anywhere, after crashes and forks.
 */
#include "tests/unit/lap_run.h"

/* ---- cuts ---- */

/* Scribbles of a crash, each under its intent. */
static void random_doubt(struct world *w, struct rng *rng)
{
	struct actor *b = &w->b;

	must(meta_begin(b->side.meta));
	for (unsigned int i = 0; i < 4; i++) {
		uint64_t file = some_node(b, rng, META_FILE);
		uint64_t dir = some_node(b, rng, META_DIR);
		_cleanup_close_ int in_dir = dir_fd(b, dir);
		_cleanup_close_ int fd = -1;
		char name[8];

		random_name(rng, name);
		put_intent(b, dir, META_INTENT_NAME, 0, 0);
		if (rng_below(rng, 2)) {
			fd = store_create(b->side.store, in_dir, name, 0600,
					  NULL);
			if (fd >= 0)
				continue;
			if (store_unlink(b->side.store, in_dir, name))
				continue;
		}
		if (!file)
			continue;
		fd = side_open_node(&b->side, view(b), file, O_RDWR, NULL);
		if (fd < 0)
			continue;
		put_intent(b, file, META_INTENT_DATA, 0, 16 * META_BLOCK);
		must(store_write(b->side.store, fd, "scribble", 8,
				 rng_below(rng, 16 * META_BLOCK - 8), NULL));
	}
	must(meta_commit(b->side.meta));
}

/* Cut at every step in turn, each time going on from what that left. */
static uint64_t lap_in_pieces(struct world *w, uint64_t from,
			      struct lap_how how, struct rng *rng)
{
	struct resync_counts n;
	unsigned int patience = 20;
	uint64_t bytes = 0;
	int r;

	do {
		struct cutter cutter = {
			.left = (unsigned int)rng_below(rng, patience++),
		};

		how.cutter = &cutter;
		r = lap_as(w, from, how, &n);
		cr_assert(r == 0 || r == -ECANCELED, "%s", strerror(-r));
		bytes += n.bytes_copied;
		/* A process that ended has no open files. */
		actor_close(&w->b);
		actor_open(&w->b);
	} while (r < 0);
	return bytes;
}

Test(resync_lap_random, cut_at_every_step)
{
	for (unsigned int step = 0;; step++) {
		struct rng rng = {.state = 4711};
		struct cutter cutter = {.left = step};
		struct resync_counts n;
		struct world w;
		uint64_t from;
		int r;

		world_init(&w);
		random_history(&w.a, &rng, 120);
		must(lap_as(&w, 0, (struct lap_how){0}, &n));
		from = w.a.seq;
		random_history(&w.a, &rng, 60);
		random_doubt(&w, &rng);
		r = lap_as(&w, from, (struct lap_how){.cutter = &cutter}, &n);
		if (r < 0) {
			cr_assert_eq(r, -ECANCELED);
			actor_close(&w.b);
			actor_open(&w.b);
			must(lap_as(&w, from, (struct lap_how){0}, &n));
		}
		world_equal(&w);
		world_done(&w);
		if (r == 0)
			break;
	}
}

/* ---- at random ---- */

Test(resync_lap_random, random_histories, .timeout = 500)
{
	struct rng rng = rng_seed();

	for (unsigned int run = 0; run < 12 / TEST_SHARE; run++) {
		struct resync_counts n;
		struct world w;
		uint64_t from = 0;

		world_init(&w);
		for (unsigned int round = 0; round < 6; round++) {
			random_history(&w.a, &rng,
				       10 + (unsigned int)rng_below(&rng, 80));
			if (round > 0 && rng_below(&rng, 2))
				random_doubt(&w, &rng);
			if (rng_below(&rng, 2))
				lap_in_pieces(&w, from, (struct lap_how){0},
					      &rng);
			else if (rng_below(&rng, 2))
				lap(&w, from);
			else
				must(lap_as(&w, from, (struct lap_how){0}, &n));
			world_equal(&w);
			from = w.a.seq;
		}
		world_done(&w);
	}
}

/* Intents over all that this store changed after @from, as the mirror has them
 * at a crash: what was born in a covered directory has none of its own. */
static void cover_changes(struct actor *b, uint64_t from, uint64_t born)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_reader *rd = meta_reader_get(b->side.meta);
	struct meta_node row;

	must(meta_begin(b->side.meta));
	must(meta_number_set(b->side.meta, META_NUM_DURABLE_SEQ, from));
	must(meta_iter_nodes_since(rd, from, UINT64_MAX, &it));
	while (must(meta_next_node(&it, &row)) > 0) {
		if (row.id >= born)
			continue;
		if (row.kind == META_DIR)
			put_intent(b, row.id, META_INTENT_NAME, 0, 0);
		if (row.kind == META_FILE)
			put_intent(b, row.id, META_INTENT_DATA, 0,
				   META_RANGE_MAX);
		put_intent(b, row.id, META_INTENT_ATTR, 0, 0);
	}
	meta_iter_done(&it);
	meta_reader_put(rd);
	must(meta_commit(b->side.meta));
}

/* What the target did before a crash is nowhere else, and under intents. */
Test(resync_lap_random, random_crashes, .timeout = 500)
{
	struct rng rng = rng_seed();

	for (unsigned int run = 0; run < 12 / TEST_SHARE; run++) {
		struct resync_counts n;
		struct world w;
		uint64_t from;

		world_init(&w);
		random_history(&w.a, &rng, 80);
		must(lap_as(&w, 0, (struct lap_how){0}, &n));
		from = w.a.seq;
		w.b.seq = from;
		w.b.next_id = w.a.next_id + 1000;
		random_history(&w.b, &rng, 50);
		cover_changes(&w.b, from, w.a.next_id);
		w.a.seq += 1000;
		random_history(&w.a, &rng, 50);
		if (run % 3 == 0)
			lap_in_pieces(&w, from, (struct lap_how){0}, &rng);
		else
			lap(&w, from);
		world_equal(&w);
		cr_assert_eq(found_count(&w.b), 0);
		world_done(&w);
	}
}

/* Both went on alone, and gave the same numbers to other things. */
static void forks(struct rng rng, unsigned int runs)
{
	for (unsigned int run = 0; run < runs; run++) {
		struct resync_counts dry, n;
		struct world w;
		uint64_t from, born;
		struct lap_how fork;

		world_init(&w);
		random_history(&w.a, &rng, 80);
		must(lap_as(&w, 0, (struct lap_how){0}, &n));
		from = w.a.seq;
		born = w.a.next_id;
		w.b.seq = w.a.seq;
		w.b.next_id = w.a.next_id;
		fork = (struct lap_how){.both = true, .fork_node = born};
		random_history(&w.a, &rng, 60);
		random_history(&w.b, &rng, 60);
		fork.dry = true;
		must(lap_as(&w, from, fork, &dry));
		fork.dry = false;
		if (run % 3 == 0)
			lap_in_pieces(&w, from, fork, &rng);
		else
			must(lap_as(&w, from, fork, &n));
		world_equal(&w);
		if (run % 3)
			equal_counts(&dry, &n);
		world_done(&w);
	}
}

Test(resync_lap_random, random_forks, .timeout = 500)
{
	forks(rng_seed(), 12 / TEST_SHARE);
}

/* A cut lap has left something in a directory that has another id then. */
Test(resync_lap_random, a_fork_with_a_leftover_below_a_new_id, .timeout = 500)
{
	forks((struct rng){.state = UINT64_C(1795945353670786365)}, 12);
}

/* What a lap that was cut has made, and what it had set aside, have one number
 * when the next one begins. */
Test(resync_lap_random, a_fork_cut_twice, .timeout = 500)
{
	for (unsigned int step = 5, r = 1; r; step += 5 * TEST_SHARE) {
		struct lap_how fork = {.both = true};
		struct rng rng = {.state = 815};
		struct resync_counts n;
		struct world w;
		uint64_t from;

		world_init(&w);
		random_history(&w.a, &rng, 40);
		must(lap_as(&w, 0, (struct lap_how){0}, &n));
		from = w.b.seq = w.a.seq;
		fork.fork_node = w.b.next_id = w.a.next_id;
		random_history(&w.a, &rng, 40);
		random_history(&w.b, &rng, 40);
		r = 0;
		for (unsigned int cuts = 0; cuts < 2; cuts++) {
			struct cutter cutter = {.left = step};

			fork.cutter = &cutter;
			if (lap_as(&w, from, fork, &n) == -ECANCELED)
				r++;
			actor_close(&w.b);
			actor_open(&w.b);
		}
		fork.cutter = NULL;
		must(lap_as(&w, from, fork, &n));
		world_equal(&w);
		world_done(&w);
	}
}
