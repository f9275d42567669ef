/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A name that was removed comes back where the removal was not synced when the
 * power failed. Until it is durable, a change of the nameless file needs its
 * intent like any other, and a checkpoint of what came before must not leave
 * its rows out.
 */
#include <pthread.h>
#include <sched.h>

#include "base/fault.h"
#include "fs/mirror/internal.h"
#include "mirror_fixture.h"

TestSuite(mirror_gone, .init = setup, .fini = teardown, .timeout = 300);

#define LEN 8192u

static void write_to(uint64_t id, uint64_t off)
{
	static const char data[LEN] = "x";

	cr_assert_eq(mirror_write(m, id, data, sizeof(data), off, false), 0);
}

/* Data intents over @id in the map of slot @i. */
static unsigned int intents_of(unsigned int i, uint64_t id)
{
	struct mirror_ref ref;
	struct meta_reader *rd;
	struct meta_iter it;
	struct meta_intent in;
	unsigned int count = 0;

	cr_assert_eq(mirror_ref_get_now(m, i, &ref), 0);
	rd = meta_reader_get(ref.meta);
	cr_assert_eq(meta_iter_intents(rd, &it), 0);
	while (meta_next_intent(&it, &in) > 0)
		count += in.node == id && in.kind == META_INTENT_DATA;
	meta_iter_done(&it);
	meta_reader_put(rd);
	mirror_ref_put(m, &ref);
	return count;
}

static void intents_are(uint64_t id, unsigned int want)
{
	for (unsigned int i = 0; i < 2; i++)
		cr_assert_eq(intents_of(i, id), want, "slot %u: %u", i,
			     intents_of(i, id));
}

Test(mirror_gone, is_armed_until_the_removal_is_durable)
{
	uint64_t id = file("f");

	write_to(id, 0);
	cr_assert_eq(mirror_checkpoint(m, NULL), 0);
	cr_assert_eq(mirror_unlink(m, META_ROOT_ID, "f"), 0);
	write_to(id, 0);
	intents_are(id, 1);
	/* The generation of the removal ends, and one that comes after. */
	cr_assert_eq(mirror_checkpoint(m, NULL), 0);
	(void)file("g");
	cr_assert_eq(mirror_checkpoint(m, NULL), 0);
	intents_are(id, 0);
	write_to(id, LEN);
	intents_are(id, 0);
}

/* A checkpoint may come between the mark and the departure it is made for. */
Test(mirror_gone, doubt_outlives_a_checkpoint)
{
	uint64_t id = file("f");
	struct node *n;

	write_to(id, 0);
	cr_assert_eq(mirror_checkpoint(m, NULL), 0);
	(void)file("g");
	cr_assert_eq(node_get(m, id, &n), 0);
	slot_suspect(m, 1, n);
	node_put(m, n);
	cr_assert_eq(mirror_checkpoint(m, NULL), 0);
	cr_assert_eq(intents_of(1, id), 1);
}

#ifdef SEQMIRROR_FAULT_INJECTION

static void *checkpoint_run(void *arg)
{
	*(int *)arg = mirror_checkpoint(m, NULL);
	return NULL;
}

static uint64_t generation(void)
{
	uint64_t gen;

	mutex_lock(&m->lock);
	gen = m->gen;
	mutex_unlock(&m->lock);
	return gen;
}

/* 1 if the map of slot @i has the node, with all that was written; 0 if it is
 * gone from there. */
static int row_of(unsigned int i, uint64_t id, uint64_t mapped)
{
	struct mirror_ref ref;
	struct meta_reader *rd;
	struct meta_iter it;
	struct meta_extent e;
	struct meta_node row;
	uint64_t bytes = 0;
	int r;

	cr_assert_eq(mirror_ref_get_now(m, i, &ref), 0);
	rd = meta_reader_get(ref.meta);
	r = meta_node_get(rd, id, &row);
	cr_assert_eq(meta_iter_extents(rd, id, 0, META_RANGE_MAX, &it), 0);
	while (meta_next_extent(&it, &e) > 0)
		bytes += e.end - e.start;
	meta_iter_done(&it);
	meta_reader_put(rd);
	mirror_ref_put(m, &ref);
	cr_assert_eq(bytes, r ? 0 : mapped, "slot %u: %llu bytes", i,
		     (unsigned long long)bytes);
	return !r;
}

/* The name goes after the cut and before the rows are written. */
Test(mirror_gone, rows_of_before_are_written)
{
	uint64_t id = file("f"), gen;
	pthread_t thread;
	int result = -1;

	cr_assert_eq(mirror_checkpoint(m, NULL), 0);
	write_to(id, 0);
	cr_assert_eq(fault_configure("mirror.ckpt.synced:delay=500:1"), 0);
	gen = generation();
	cr_assert_eq(pthread_create(&thread, NULL, checkpoint_run, &result), 0);
	while (generation() == gen)
		(void)sched_yield();
	cr_assert_eq(mirror_unlink(m, META_ROOT_ID, "f"), 0);
	cr_assert_eq(pthread_join(thread, NULL), 0);
	cr_assert_eq(result, 0);
	for (unsigned int i = 0; i < 2; i++)
		(void)row_of(i, id, LEN);
	feed_drain(m);
	for (unsigned int i = 0; i < 2; i++)
		cr_assert_eq(row_of(i, id, 0), 0);
	cr_assert_eq(fault_configure(NULL), 0);
}

static void *unlink_run(void *arg)
{
	*(int *)arg = mirror_unlink(m, META_ROOT_ID, "f");
	return NULL;
}

static uint64_t records_put(void)
{
	uint64_t count;

	mutex_lock(&m->feed.lock);
	count = m->feed.put_count;
	mutex_unlock(&m->feed.lock);
	return count;
}

/* The maps have lost it, memory does not know yet, and the rows come then. */
Test(mirror_gone, rows_do_not_outlive_their_node)
{
	uint64_t id = file("f"), gen, put;
	pthread_t checkpoint, unlink;
	int result[2] = {-1, -1};

	cr_assert_eq(mirror_checkpoint(m, NULL), 0);
	write_to(id, 0);
	cr_assert_eq(fault_configure("mirror.ckpt.synced:delay=500:1,"
				     "mirror.remove.fed:delay=1000:1"),
		     0);
	gen = generation();
	cr_assert(!pthread_create(&checkpoint, NULL, checkpoint_run, result));
	while (generation() == gen)
		(void)sched_yield();
	put = records_put();
	cr_assert(!pthread_create(&unlink, NULL, unlink_run, result + 1));
	/* The directory is raised, the name and the row are taken away. */
	while (records_put() < put + 3)
		(void)sched_yield();
	feed_drain(m);
	cr_assert(!pthread_join(checkpoint, NULL) && !result[0]);
	for (unsigned int i = 0; i < 2; i++)
		cr_assert_eq(row_of(i, id, LEN), 0);
	cr_assert(!pthread_join(unlink, NULL) && !result[1]);
	cr_assert_eq(mirror_checkpoint(m, NULL), 0);
	for (unsigned int i = 0; i < 2; i++)
		cr_assert_eq(row_of(i, id, LEN), 0);
}

#endif
