/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows in and out: nodes, names, intents, numbers, members, epochs, moments.
 */
#include "base/clock.h"
#include "meta_fixture.h"

static struct meta_reader *start(struct fixture *f)
{
	fixture_open(f);
	must(meta_begin(f->m));
	return meta_writer_view(f->m);
}

static void end(struct fixture *f)
{
	must(meta_commit(f->m));
	fixture_done(f);
}

Test(meta, node)
{
	struct meta_node n = {
		.id = 16,
		.kind = META_SOCK,
		.backing = {.ino = UINT64_MAX, .gen = UINT64_MAX - 1},
		.attr_seq = 5,
		.seq = 6,
	};
	struct meta_reader *rd;
	struct meta_node got;
	struct fixture f;

	rd = start(&f);
	must(meta_node_put(f.m, &n));
	must(meta_node_get(rd, 16, &got));
	cr_assert(got.id == 16 && got.kind == META_SOCK && got.seq == 6 &&
		  got.attr_seq == 5 && got.backing.ino == n.backing.ino &&
		  got.backing.gen == n.backing.gen);
	expect_int(meta_node_get(rd, 17, &got), -ENOENT);
	expect_int(meta_node_get(rd, UINT64_MAX, &got), -ENOENT);

	must(meta_node_raise(f.m, 16, 0, 4));
	must(meta_node_get(rd, 16, &got));
	cr_assert(got.attr_seq == 5 && got.seq == 6);
	must(meta_node_raise(f.m, 16, 9, 7));
	must(meta_node_get(rd, 16, &got));
	cr_assert(got.attr_seq == 9 && got.seq == 9);
	must(meta_node_raise(f.m, 16, 0, 12));
	must(meta_node_get(rd, 16, &got));
	cr_assert(got.attr_seq == 9 && got.seq == 12);
	expect_int(meta_node_raise(f.m, 99, 1, 1), 0);
	cr_assert(got.ctime.shown == 0 && got.ctime.backing == 0);
	/* Of no number, before 1970 too. */
	must(meta_node_raise_all(f.m, 16, 0, 0, (struct meta_ctime){-5, 7},
				 NULL));
	must(meta_node_get(rd, 16, &got));
	cr_assert(got.attr_seq == 9 && got.seq == 12);
	cr_assert(got.ctime.shown == -5 && got.ctime.backing == 7);
	must(meta_node_raise(f.m, 16, 13, 13));
	must(meta_node_get(rd, 16, &got));
	cr_assert(got.seq == 13 && got.ctime.shown == -5);
	must(meta_node_raise_all(f.m, 16, 0, 14, (struct meta_ctime){0}, NULL));
	must(meta_node_get(rd, 16, &got));
	cr_assert(got.seq == 14 && !got.ctime.shown && !got.ctime.backing);

	n.kind = META_DIR;
	must(meta_node_put(f.m, &n));
	must(meta_node_get(rd, 16, &got));
	cr_assert(got.kind == META_DIR && got.seq == 6);
	must(meta_node_del(f.m, 16));
	expect_int(meta_node_get(rd, 16, &got), -ENOENT);
	expect_int(meta_node_del(f.m, 16), 0);
	end(&f);
}

Test(meta, node_find)
{
	struct meta_backing backing = {.ino = 77, .gen = UINT64_MAX};
	struct meta_reader *rd;
	struct meta_node got;
	struct fixture f;

	rd = start(&f);
	put_node(f.m, 16, META_FILE, 1);
	put_node(f.m, 17, META_FILE, 1);
	must(meta_node_set_backing(f.m, 16, backing));
	must(meta_node_find(rd, backing, &got));
	cr_assert_eq(got.id, 16);
	backing.gen = 5;
	expect_int(meta_node_find(rd, backing, &got), -ENOENT);
	backing.gen = 0;
	must(meta_node_find(rd, backing, &got));
	cr_assert_eq(got.id, 16);
	/* Not known is nobody's identity. */
	must(meta_node_set_backing(f.m, 17, (struct meta_backing){0}));
	expect_int(meta_node_find(rd, (struct meta_backing){0}, &got), -ENOENT);
	expect_int(meta_node_set_backing(f.m, 99, backing), -ENOENT);
	end(&f);
}

Test(meta, node_iterators)
{
	struct meta_iter it;
	struct meta_reader *rd;
	struct meta_node got;
	struct fixture f;

	rd = start(&f);
	put_node(f.m, 20, META_FILE, 5);
	put_node(f.m, 18, META_FILE, 5);
	put_node(f.m, 16, META_FILE, 7);
	must(meta_iter_nodes_since(rd, 5, 18, &it));
	expect_int(meta_next_node(&it, &got), 1);
	cr_assert_eq(got.id, 20);
	expect_int(meta_next_node(&it, &got), 1);
	cr_assert_eq(got.id, 16);
	expect_int(meta_next_node(&it, &got), 0);
	meta_iter_done(&it);
	must(meta_iter_nodes(rd, 16, &it));
	expect_int(meta_next_node(&it, &got), 1);
	cr_assert_eq(got.id, 18);
	meta_iter_done(&it);
	meta_iter_done(&it);
	must(meta_node_below(rd, UINT64_MAX, &got));
	cr_assert_eq(got.id, 20);
	must(meta_node_below(rd, 20, &got));
	cr_assert_eq(got.id, 18);
	expect_int(meta_node_below(rd, META_ROOT_ID, &got), -ENOENT);
	end(&f);
}

Test(meta, dentry)
{
	struct meta_dentry d = {.parent = 1, .node = 16, .seq = 5};
	struct meta_reader *rd;
	struct meta_dentry got;
	struct fixture f;
	uint64_t count;
	bool several;

	rd = start(&f);
	/* Any bytes, and as long as a name may be. */
	memset(d.name, 0xff, META_NAME_MAX);
	d.name_len = META_NAME_MAX;
	must(meta_dentry_put(f.m, &d));
	must(meta_dentry_get(rd, 1, d.name, d.name_len, &got));
	cr_assert(got.name_len == 255 && got.name[255] == '\0' &&
		  memcmp(got.name, d.name, 255) == 0);
	cr_assert(got.node == 16 && got.seq == 5 && got.parent == 1);
	expect_int(meta_dentry_get(rd, 1, d.name, 254, &got), -ENOENT);

	put_dentry(f.m, 1, "a", 16, 6);
	put_dentry(f.m, 2, "b", 16, 6);
	must(meta_dentry_count(rd, 16, &count));
	cr_assert_eq(count, 3);
	must(meta_dentry_several(rd, 16, &several));
	cr_assert(several);
	must(meta_dentry_several(rd, 18, &several));
	cr_assert(!several);
	must(meta_dentry_of(rd, 16, &got));
	cr_assert_str_eq(got.name, "a");
	/* Another node under the name. */
	put_dentry(f.m, 1, "a", 17, 7);
	must(meta_dentry_count(rd, 16, &count));
	cr_assert_eq(count, 2);
	must(meta_dentry_several(rd, 17, &several));
	cr_assert(!several);
	expect_int(meta_dentry_del(f.m, 1, "a", 1), 1);
	expect_int(meta_dentry_del(f.m, 1, "a", 1), 0);
	expect_int(meta_dentry_of(rd, 17, &got), -ENOENT);
	end(&f);
}

Test(meta, dentry_iterators)
{
	struct meta_iter outer;
	struct meta_iter inner;
	struct meta_reader *rd;
	struct meta_dentry got;
	struct fixture f;
	int count = 0;

	rd = start(&f);
	put_dentry(f.m, 1, "c", 16, 5);
	put_dentry(f.m, 1, "a", 17, 6);
	put_dentry(f.m, 1, "b", 18, 7);
	must(meta_iter_dentries(rd, 1, 5, &outer));
	expect_int(meta_next_dentry(&outer, &got), 1);
	cr_assert_str_eq(got.name, "a");
	/* The same statement a second time meanwhile. */
	must(meta_iter_dentries(rd, 1, 0, &inner));
	while (meta_next_dentry(&inner, &got) > 0)
		count++;
	cr_assert_eq(count, 3);
	meta_iter_done(&inner);
	expect_int(meta_next_dentry(&outer, &got), 1);
	cr_assert_str_eq(got.name, "b");
	expect_int(meta_next_dentry(&outer, &got), 0);
	meta_iter_done(&outer);

	must(meta_iter_dentries_by_name(rd, 1, &outer));
	expect_int(meta_next_dentry(&outer, &got), 1);
	cr_assert_str_eq(got.name, "a");
	meta_iter_done(&outer);

	put_dentry(f.m, 2, "z", 16, 8);
	must(meta_iter_names(rd, 16, &outer));
	expect_int(meta_next_dentry(&outer, &got), 1);
	cr_assert_str_eq(got.name, "c");
	expect_int(meta_next_dentry(&outer, &got), 1);
	cr_assert_str_eq(got.name, "z");
	expect_int(meta_next_dentry(&outer, &got), 0);
	meta_iter_done(&outer);
	must(meta_iter_names_beyond(rd, 16, 1, &outer));
	expect_int(meta_next_dentry(&outer, &got), 1);
	cr_assert_str_eq(got.name, "z");
	expect_int(meta_next_dentry(&outer, &got), 0);
	meta_iter_done(&outer);
	must(meta_iter_names_beyond(rd, 16, 2, &outer));
	expect_int(meta_next_dentry(&outer, &got), 0);
	meta_iter_done(&outer);
	end(&f);
}

Test(meta, intent)
{
	struct meta_intent v[] = {
		{17, 0, 0, META_INTENT_NAME, 1},
		{16, 0, 1 << 20, META_INTENT_DATA, 2},
		{16, 0, 1 << 20, META_INTENT_DATA, 1},
		{16, 0, 0, META_INTENT_ATTR, 3},
		{18, 0, 4096, META_INTENT_DATA, 0},
	};
	struct meta_iter it;
	struct meta_reader *rd;
	struct meta_intent got;
	struct fixture f;
	uint64_t count;

	rd = start(&f);
	for (size_t i = 0; i < ARRAY_SIZE(v); i++) {
		must(meta_intent_put(f.m, &v[i]));
		must(meta_intent_put(f.m, &v[i]));
	}
	must(meta_intent_count(rd, &count));
	cr_assert_eq(count, 5);
	must(meta_iter_intents(rd, &it));
	expect_int(meta_next_intent(&it, &got), 1);
	cr_assert(got.node == 16 && got.kind == META_INTENT_DATA &&
		  got.generation == 1 && got.end == 1 << 20);
	meta_iter_done(&it);

	must(meta_intent_drop_through(f.m, 0));
	must(meta_intent_count(rd, &count));
	cr_assert_eq(count, 4);
	/* That of the next generation outlives the same range of the last. */
	must(meta_intent_drop_through(f.m, 1));
	must(meta_intent_count(rd, &count));
	cr_assert_eq(count, 2);
	must(meta_intent_drop(f.m, &v[2]));
	must(meta_intent_drop(f.m, &v[1]));
	must(meta_intent_count(rd, &count));
	cr_assert_eq(count, 1);
	must(meta_intent_drop_all(f.m));
	must(meta_intent_count(rd, &count));
	cr_assert_eq(count, 0);
	end(&f);
}

Test(meta, numbers)
{
	struct meta_reader *rd;
	struct fixture f;
	uint64_t value;

	rd = start(&f);
	for (int i = META_NUM_SEQ_RESERVED; i <= META_NUM_ROOT_GEN; i++)
		must(meta_number_set(f.m, (enum meta_number)i,
				     i >= META_NUM_ROOT_INO
					     ? UINT64_MAX - (uint64_t)i
					     : INT64_MAX - i));
	for (int i = META_NUM_SEQ_RESERVED; i <= META_NUM_ROOT_GEN; i++) {
		must(meta_number_get(rd, (enum meta_number)i, &value));
		cr_assert_eq(value, i >= META_NUM_ROOT_INO
					    ? UINT64_MAX - (uint64_t)i
					    : (uint64_t)(INT64_MAX - i));
	}
	end(&f);
}

Test(meta, members)
{
	struct meta_member v[META_STORE_MAX];
	struct meta_member row = {
		.uuid = STORE_UUID,
		.name = "disk one",
		.path_hint = "/mnt/a\xff",
		.state = META_STORE_RESYNCING,
		.durable_seq = 9,
	};
	struct meta_reader *rd;
	struct fixture f;
	size_t count;

	rd = start(&f);
	must(meta_member_put(f.m, &row));
	row.durable_seq = 10;
	must(meta_member_put(f.m, &row));
	memcpy(row.uuid, VOLUME_UUID, sizeof(row.uuid));
	must(meta_member_put(f.m, &row));
	must(meta_members(rd, v, &count));
	cr_assert_eq(count, 2);
	cr_assert_str_eq(v[0].uuid, VOLUME_UUID);
	cr_assert_str_eq(v[1].path_hint, "/mnt/a\xff");
	cr_assert_str_eq(v[1].name, "disk one");
	cr_assert(v[1].durable_seq == 10 && v[1].state == META_STORE_RESYNCING);
	must(meta_member_del(f.m, VOLUME_UUID));
	must(meta_members(rd, v, &count));
	cr_assert_eq(count, 1);
	end(&f);
}

Test(meta, epochs)
{
	_cleanup_free_ struct meta_epoch *v = NULL;
	struct meta_epoch e = {
		.first_seq = 5,
		.first_node = 17,
		.base = 4,
		.ordinal = 99,
		.by_copy = true,
	};
	struct meta_reader *rd;
	struct fixture f;
	size_t count;

	rd = start(&f);
	must(meta_epochs(rd, &v, &count));
	cr_assert_eq(count, 0);
	free(v);
	e.member_count = META_STORE_MAX;
	for (int i = 0; i < META_STORE_MAX; i++)
		memcpy(e.members[i], STORE_UUID, sizeof(e.members[i]));
	memcpy(e.id, VOLUME_UUID, sizeof(e.id));
	must(meta_epoch_append(f.m, &e));
	expect_int(meta_epoch_append(f.m, &e), -EEXIST);
	memcpy(e.id, STORE_UUID, sizeof(e.id));
	e.member_count = 0;
	must(meta_epoch_append(f.m, &e));
	must(meta_epoch_confirm(f.m, STORE_UUID));
	expect_int(meta_epoch_confirm(f.m, "nobody"), -ENOENT);
	must(meta_epochs(rd, &v, &count));
	cr_assert_eq(count, 2);
	cr_assert(v[0].ordinal == 1 && v[0].member_count == META_STORE_MAX &&
		  !v[0].confirmed && v[0].base == 4 && v[0].first_seq == 5 &&
		  v[0].first_node == 17 && v[0].by_copy);
	cr_assert_str_eq(v[0].members[15], STORE_UUID);
	cr_assert(v[1].ordinal == 2 && v[1].confirmed &&
		  v[1].member_count == 0);
	must(meta_epoch_replace(f.m, &v[1], 1));
	free(v);
	must(meta_epochs(rd, &v, &count));
	cr_assert_eq(count, 1);
	cr_assert(v[0].ordinal == 1 && v[0].confirmed);
	end(&f);
}

Test(meta, laps)
{
	struct meta_epoch v[3] = {
		{.id = "x", .first_seq = 5, .first_node = 7},
		{.id = "y", .first_seq = 9, .by_copy = true, .member_count = 1},
		{.id = "z"},
	};
	struct meta_reader *rd;
	struct meta_laps laps;
	struct fixture f;

	rd = start(&f);
	memcpy(v[1].members[0], STORE_UUID, sizeof(v[1].members[0]));
	must(meta_laps_get(rd, &laps));
	cr_assert_eq(laps.count, 0);
	meta_laps_done(&laps);
	/* A longer one is another, the same one is not. */
	must(meta_laps_add(f.m, v, 2));
	must(meta_laps_add(f.m, v, 3));
	must(meta_laps_add(f.m, v, 2));
	must(meta_laps_get(rd, &laps));
	cr_assert_eq(laps.count, 2);
	cr_assert_eq(laps.v[0].count, 2);
	cr_assert_eq(laps.v[1].count, 3);
	cr_assert_str_eq(laps.v[1].epochs[2].id, "z");
	cr_assert_eq(laps.v[0].epochs[0].first_node, 7);
	cr_assert(laps.v[0].epochs[1].by_copy);
	cr_assert_str_eq(laps.v[0].epochs[1].members[0], STORE_UUID);
	meta_laps_done(&laps);
	must(meta_laps_clear(f.m));
	must(meta_laps_get(rd, &laps));
	cr_assert_eq(laps.count, 0);
	meta_laps_done(&laps);
	end(&f);
}

/* A lineage half replaced must not be committed. */
Test(meta, epoch_replace_fails_whole)
{
	struct meta_epoch twice[2] = {{.id = "x"}, {.id = "x"}};
	_cleanup_free_ struct meta_epoch *v = NULL;
	struct meta_reader *rd;
	struct fixture f;
	size_t count;

	start(&f);
	must(meta_epoch_append(f.m, &(struct meta_epoch){.id = "old"}));
	must(meta_commit(f.m));
	must(meta_begin(f.m));
	expect_int(meta_epoch_replace(f.m, twice, 2), -EEXIST);
	expect_int(meta_commit(f.m), -EEXIST);
	rd = meta_reader_get(f.m);
	must(meta_epochs(rd, &v, &count));
	cr_assert_eq(count, 1);
	cr_assert_str_eq(v[0].id, "old");
	meta_reader_put(rd);
	fixture_done(&f);
}

Test(meta, moments)
{
	struct meta_reader *rd;
	struct fixture f;
	uint64_t time_ns;

	rd = start(&f);
	must(meta_moment_put(f.m, 10, 1000));
	must(meta_moment_put(f.m, 20, 2000));
	must(meta_moment_put(f.m, 20, 2001));
	expect_int(meta_moment_at(rd, 9, &time_ns), -ENOENT);
	must(meta_moment_at(rd, 19, &time_ns));
	cr_assert_eq(time_ns, 1000);
	must(meta_moment_at(rd, UINT64_MAX, &time_ns));
	cr_assert_eq(time_ns, 2001);
	end(&f);
}

/* Checkpoints of a day come every five seconds; the clock is set back at noon. */
Test(meta, moments_do_not_pile_up)
{
	const uint64_t step = 5 * CLOCK_NS_PER_SEC;
	const uint64_t day = 24 * 720, count = day + 720;
	uint64_t kept = 0, last = 0, time_ns, real = 0;
	struct meta_reader *rd;
	struct fixture f;

	rd = start(&f);
	for (uint64_t i = 1; i <= count; i++) {
		real = (i < count / 2 ? i : i - 100) * step;
		must(meta_moment_put(f.m, 10 * i, real));
	}
	for (uint64_t i = 1; i <= count; i++) {
		uint64_t own = (i < count / 2 ? i : i - 100) * step;

		must(meta_moment_at(rd, 10 * i, &time_ns));
		if (i > day)
			cr_assert_eq(time_ns, own);
		else if (i < count / 2 || i >= count / 2 + 12)
			cr_assert(time_ns <= own &&
				  own - time_ns <= 60 * CLOCK_NS_PER_SEC);
		kept += time_ns != last;
		last = time_ns;
	}
	cr_assert_eq(time_ns, real);
	cr_assert_leq(kept, 720 + 2 * 24 * 60);
	end(&f);
}

Test(meta, delta_sum)
{
	struct meta_delta_sum sum;
	struct meta_reader *rd;
	struct fixture f;

	rd = start(&f);
	for (uint64_t i = 0; i < 10; i++) {
		put_node(f.m, 16 + i, META_FILE, i + 1);
		must(meta_extent_set(f.m, 16 + i, 0, 8192, i + 1));
	}
	must(meta_delta_sum(rd, 4, 100, &sum));
	cr_assert(sum.nodes == 6 && sum.bytes == 6 * 8192 && sum.exact);
	must(meta_delta_sum(rd, 4, 12, &sum));
	cr_assert(sum.nodes == 6 && sum.bytes == 6 * 8192 && sum.exact);
	must(meta_delta_sum(rd, 4, 8, &sum));
	cr_assert(sum.nodes == 6 && sum.bytes == 2 * 8192 && !sum.exact);
	must(meta_delta_sum(rd, 4, 3, &sum));
	cr_assert(sum.nodes == 3 && !sum.exact);
	must(meta_delta_sum(rd, 10, 0, &sum));
	cr_assert(sum.nodes == 0 && sum.bytes == 0 && sum.exact);
	end(&f);
}

/* Applications see what was kept until somebody else changes the file. */
Test(meta, ctime_shown)
{
	const struct meta_ctime known = {.shown = 10, .backing = 20};

	cr_assert(meta_ctime_shown(known, 20) == 10);
	cr_assert(meta_ctime_shown(known, 21) == 21);
	cr_assert(meta_ctime_shown((struct meta_ctime){0}, 21) == 21);
	cr_assert(meta_ctime_shown((struct meta_ctime){0}, 0) == 0);
}
