/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "fs/mirror/room.h"
#include "tests/unit/mirror_fixture.h"

#define MIB ((uint64_t)1 << 20)

TestSuite(mirror_budget, .init = setup, .fini = teardown, .timeout = 300);

static void learn(uint64_t bytes, uint64_t ms)
{
	mutex_lock(&m->lock);
	budget_learn(m, bytes, ms * CLOCK_NS_PER_MS);
	mutex_unlock(&m->lock);
}

static uint64_t file_of(const char *name, uint64_t size)
{
	struct stat want = {.st_size = (off_t)size}, st;
	struct mirror_entry e;

	cr_assert_eq(mirror_create(m, META_ROOT_ID, name, 0644, &cred, &e), 0);
	cr_assert_eq(
		mirror_setattr(m, e.id, &want, MIRROR_SET_SIZE, &cred, &st), 0);
	cr_assert_eq(mirror_checkpoint(m, NULL), 0);
	return e.id;
}

static unsigned int windows_of(uint64_t node)
{
	struct node *n = node_peek(m, node);
	unsigned int count;

	mutex_lock(&m->lock);
	count = (unsigned int)n->armed[m->gen & 1].data.items.count;
	mutex_unlock(&m->lock);
	node_put(m, n);
	return count;
}

static uint64_t armed_of_all(void)
{
	uint64_t bytes;

	mutex_lock(&m->lock);
	bytes = m->armed_bytes[0] + m->armed_bytes[1];
	mutex_unlock(&m->lock);
	return bytes;
}

Test(mirror_budget, is_what_the_stores_write_in_eight_seconds)
{
	cr_assert_eq(m->budget, 2048 * MIB);
	learn(640 * MIB, 10000); /* 64 MiB/s, as nearly any disk */
	cr_assert_leq(m->budget, 2048 * MIB);
	learn(63 * MIB, 1); /* too little to prove anything */
	cr_assert_eq(m->budget, 2048 * MIB);
	learn(400 * MIB, 999);
	cr_assert_eq(m->budget, 3200 * MIB);
	learn(400 * MIB, 5000); /* they had other things to do */
	cr_assert_eq(m->budget, 3200 * MIB);
	learn(800 * MIB, 0);
	cr_assert_eq(m->budget, 4096 * MIB);
}

/* One commit for each of the first few places, not for each place. */
Test(mirror_budget, fast_stores_arm_all_of_a_large_file)
{
	uint64_t node = file_of("large", 1500 * MIB);

	for (uint64_t i = 0; i < 20; i++)
		cr_assert_eq(mirror_write(m, node, "x", 1, i * 371 % 1500 * MIB,
					  false),
			     0);
	cr_assert_eq(windows_of(node), 20);
	cr_assert_eq(mirror_checkpoint(m, NULL), 0);
	learn(450 * MIB, 1000);
	for (uint64_t i = 0; i < 1500; i++)
		cr_assert_eq(mirror_write(m, node, "x", 1, i * 371 % 1500 * MIB,
					  false),
			     0);
	cr_assert_eq(windows_of(node), 1, "%u", windows_of(node));
	cr_assert_lt(armed_of_all(), 1600 * MIB);
}

Test(mirror_budget, a_checkpoint_measures)
{
	static char buf[1 << 20];
	uint64_t node = file_of("stream", 0), ms, least;
	uint64_t before = clock_mono_ns();

	for (uint64_t i = 0; i < 100; i++)
		cr_assert_eq(
			mirror_write(m, node, buf, sizeof(buf), i * MIB, false),
			0);
	cr_assert_eq(mirror_checkpoint(m, NULL), 0);
	ms = (clock_mono_ns() - before) / CLOCK_NS_PER_MS + 1;
	least = 100 * MIB * 1000 / ms * 8;
	cr_assert_geq(m->budget, MIN(least, 4096 * MIB));
	budget_reset(m);
	cr_assert_eq(m->budget, 2048 * MIB);
}

static uint64_t commits(void)
{
	uint64_t count;

	mutex_lock(&m->lock);
	count = m->arm_done;
	mutex_unlock(&m->lock);
	return count;
}

/* What is written in sequence comes from several threads, not quite in order,
 * and its parts lie across the ends of windows. */
Test(mirror_budget, a_sequence_out_of_order_is_armed_far_ahead)
{
	static char buf[1 << 20];
	uint64_t node = file_of("large", 1500 * MIB), before = commits();

	for (uint64_t group = 0; group < 256; group += 8)
		for (uint64_t i = 8; i-- > 0;)
			cr_assert_eq(mirror_write(m, node, buf, sizeof(buf),
						  (group + i) * MIB + MIB / 2,
						  false),
				     0);
	/* Of the first groups each part, then 64 MiB at once. */
	cr_assert_leq(commits() - before, 64, "%llu commits",
		      (unsigned long long)(commits() - before));
	cr_assert_lt(armed_of_all(), 400 * MIB);
}

struct stream {
	uint64_t node;
	_Atomic uint64_t next;
};

static void *stream_write(void *arg)
{
	static const char buf[1 << 20];
	struct stream *s = arg;
	uint64_t i;

	while ((i = atomic_fetch_add(&s->next, 1)) < 512)
		cr_assert_eq(mirror_write(m, s->node, buf, sizeof(buf), i * MIB,
					  false),
			     0);
	return NULL;
}

Test(mirror_budget, threads_of_a_sequence_share_a_commit)
{
	struct stream s = {.node = file_of("large", 1500 * MIB)};
	uint64_t before = commits();
	pthread_t thread[8];

	for (unsigned int i = 0; i < ARRAY_SIZE(thread); i++)
		cr_assert_eq(pthread_create(&thread[i], NULL, stream_write, &s),
			     0);
	for (unsigned int i = 0; i < ARRAY_SIZE(thread); i++)
		cr_assert_eq(pthread_join(thread[i], NULL), 0);
	cr_assert_leq(commits() - before, 40, "%llu commits",
		      (unsigned long long)(commits() - before));
}
