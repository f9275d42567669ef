/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One map, two threads that write and several that read.
 *
 * Every transaction gives all the nodes of a group one seq, higher than
 * before. So each snapshot must find one seq in the whole group, and a later
 * snapshot of the same thread none that is lower. The rows are many enough
 * that the WAL is moved and begins anew meanwhile.
 */
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "meta/meta.h"

enum {
	GROUP = 64, /* nodes */
	GROUPS = 2, /* one per writer */
	FIRST_ID = META_FIRST_ID,
	READERS = 4,
	RUN_MS = 4000,
};

static struct meta *map;
static atomic_bool stop;
static atomic_ulong commits;
static atomic_ulong snapshots;

static uint64_t node_id(int group, int i)
{
	return (uint64_t)(FIRST_ID + group * GROUP + i);
}

static void write_group(int group, uint64_t seq)
{
	int r;

	for (int i = 0; i < GROUP; i++) {
		struct meta_node node = {
			.id = node_id(group, i),
			.kind = META_FILE,
			.backing = {.ino = seq * 1000 + (uint64_t)i, .gen = 1},
			.attr_seq = seq,
			.seq = seq,
		};
		uint64_t start = seq % 500 * 3 * META_BLOCK;

		r = meta_node_put(map, &node);
		assert(r == 0);
		r = meta_extent_set(map, node.id, start, start + 2 * META_BLOCK,
				    seq);
		assert(r == 0);
	}
}

static void *writer(void *arg)
{
	int group = *(int *)arg;
	int r;

	for (uint64_t seq = 2; !atomic_load(&stop); seq++) {
		r = seq % 3 ? meta_begin(map) : meta_begin_soft(map);
		assert(r == 0);
		write_group(group, seq);
		if (seq % 7 == 0) {
			meta_rollback(map);
			continue;
		}
		r = meta_commit(map);
		assert(r == 0);
		atomic_fetch_add(&commits, 1);
	}
	return NULL;
}

static uint64_t read_group(struct meta_reader *rd, int group)
{
	struct meta_node node;
	uint64_t seq = 0;
	int r;

	for (int i = 0; i < GROUP; i++) {
		r = meta_node_get(rd, node_id(group, i), &node);
		assert(r == 0);
		assert(i == 0 || node.seq == seq);
		seq = node.seq;
	}
	return seq;
}

/* The delta above a seq is what the nodes say. */
static void read_delta(struct meta_reader *rd, const uint64_t *seqs)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	uint64_t lower = seqs[0] < seqs[1] ? seqs[0] : seqs[1];
	struct meta_extent ext;
	int r;

	r = meta_iter_extents_since(rd, lower - 1, INT64_MAX, INT64_MAX, &it);
	assert(r == 0);
	while ((r = meta_next_extent(&it, &ext)) > 0) {
		int group = (int)((ext.node - FIRST_ID) / GROUP);

		assert(ext.seq >= lower && ext.seq <= seqs[group]);
	}
	assert(r == 0);
}

static void *reader(void *arg)
{
	uint64_t last[GROUPS] = {0};

	(void)arg;
	while (!atomic_load(&stop)) {
		struct meta_reader *rd = meta_reader_get(map);
		uint64_t seqs[GROUPS];
		int r;

		assert(rd);
		r = meta_read_begin(rd);
		assert(r == 0);
		for (int g = 0; g < GROUPS; g++) {
			seqs[g] = read_group(rd, g);
			assert(seqs[g] >= last[g]);
			last[g] = seqs[g];
		}
		read_delta(rd, seqs);
		meta_read_end(rd);
		meta_reader_put(rd);
		atomic_fetch_add(&snapshots, 1);
	}
	return NULL;
}

static void open_map(const char *dir)
{
	struct meta_node root = {.id = META_ROOT_ID, .kind = META_DIR};
	int r;

	r = meta_create(dir, "volume", "store", &root);
	assert(r == 0);
	r = meta_open(dir, META_OPEN_RW, &map, NULL);
	assert(r == 0);
	r = meta_begin(map);
	assert(r == 0);
	for (int g = 0; g < GROUPS; g++)
		write_group(g, 1);
	r = meta_commit(map);
	assert(r == 0);
}

static void close_map(const char *dir)
{
	static const char *const names[] = {"meta.db", "meta.db-wal",
					    "meta.mark"};
	struct meta_reader *rd = meta_reader_get(map);
	char path[128];
	int r;

	assert(rd && meta_integrity(rd) == 1);
	meta_reader_put(rd);
	meta_close(map);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		(void)unlink(path);
	}
	r = rmdir(dir);
	assert(r == 0);
}

int main(void)
{
	char dir[] = "/tmp/test_meta_conc_XXXXXX";
	pthread_t threads[GROUPS + READERS];
	int groups[GROUPS];
	int err = 0;
	int n = 0;

	if (!mkdtemp(dir))
		return 1;
	open_map(dir);
	for (int i = 0; i < GROUPS; i++) {
		groups[i] = i;
		err |= pthread_create(&threads[n++], NULL, writer, &groups[i]);
	}
	for (int i = 0; i < READERS; i++)
		err |= pthread_create(&threads[n++], NULL, reader, NULL);
	assert(err == 0);
	clock_sleep_ms(RUN_MS);
	atomic_store(&stop, true);
	for (int i = 0; i < n; i++)
		err |= pthread_join(threads[i], NULL);
	assert(err == 0);
	close_map(dir);
	printf("%lu commits, %lu snapshots\n", atomic_load(&commits),
	       atomic_load(&snapshots));
	assert(atomic_load(&commits) > 10 && atomic_load(&snapshots) > 10);
	return 0;
}
