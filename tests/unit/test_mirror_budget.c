/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "mirror_commits.h"

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
	cr_assert_eq(mirror_setattr(m, e.id, &want, MIRROR_SET_SIZE, &st), 0);
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

static void write_mib(uint64_t node, uint64_t at)
{
	static char buf[1 << 20];

	cr_assert_eq(mirror_write(m, node, buf, sizeof(buf), at, false), 0);
}

/* What is written in sequence comes from several threads, not quite in order,
 * and its parts lie across the ends of windows. */
Test(mirror_budget, a_sequence_out_of_order_is_armed_far_ahead)
{
	uint64_t node = file_of("large", 1500 * MIB), before = commits();

	for (uint64_t i = 0; i < 16; i++)
		write_mib(node, (i ^ 1) * MIB + MIB / 2);
	for (uint64_t group = 16; group < 256; group += 8)
		for (uint64_t i = 8; i-- > 0;)
			write_mib(node, (group + i) * MIB + MIB / 2);
	/* 1, 2, 4 .. 64 MiB, with what the first ones leave out; then 64. */
	cr_assert_leq(commits() - before, 30, "%llu commits",
		      (unsigned long long)(commits() - before));
	cr_assert_lt(armed_of_all(), 400 * MIB);
}

/* A file that fits the budget, from its end to its beginning. */
Test(mirror_budget, backwards_is_no_sequence_out_of_order)
{
	uint64_t node = file_of("large", 512 * MIB), before = commits();

	for (uint64_t i = 512; i-- > 0;)
		write_mib(node, i * MIB);
	cr_assert_leq(commits() - before, 16, "%llu commits",
		      (unsigned long long)(commits() - before));
}

/* Far apart in a file that does not fit: what lies between is not armed. */
Test(mirror_budget, strides_arm_what_they_touch)
{
	uint64_t node = file_of("large", (uint64_t)1 << 40);

	for (uint64_t i = 0; i < 100; i++)
		cr_assert_eq(mirror_write(m, node, "x", 1, i * 8 * MIB, false),
			     0);
	cr_assert_leq(armed_of_all(), 101 * MIB);
}

/* Logs: a little in each generation, within the last block and past it. */
Test(mirror_budget, a_small_file_that_grows_is_armed_as_far_as_it_goes)
{
	static char buf[9000];
	uint64_t node = file_of("log", 5000), size = 5000;

	for (int i = 0; i < 10; i++) {
		size_t len = i % 2 ? 9000 : 500;

		cr_assert_eq(mirror_write(m, node, buf, len, size, false), 0);
		size += len;
		cr_assert_leq(armed_of_all(), size + META_BLOCK, "%d: %llu", i,
			      (unsigned long long)armed_of_all());
		cr_assert_eq(mirror_checkpoint(m, NULL), 0);
	}
}

/* The last window there can be ends at no multiple of its size. */
Test(mirror_budget, a_window_ends_where_files_do)
{
	const uint64_t end = (uint64_t)1 << 63;
	static char buf[8192];
	uint64_t node = file_of("long", 1);

	/* The stores may have smaller files: that is not the question. */
	ignore_result(mirror_write(m, node, buf, 4096, end - 8192, false));
	ignore_result(
		mirror_write(m, node, buf, 8192, end - MIB - 4096, false));
	ignore_result(mirror_write(m, node, buf, 4096, end - 16 * MIB, false));
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
