/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making volumes: what is refused and leaves no trace, and what is made.
 */
#include "base/fault.h"
#include "tests/unit/volume_fixture.h"

static int make(struct fixture *f, const char *const *paths, size_t count,
		bool adopt)
{
	return volume_make(&(struct volume_make_args){.paths = paths,
						      .path_count = count,
						      .adopt = adopt},
			   &f->made);
}

static bool is_store(const char *path)
{
	char priv[FIXTURE_PATH];

	path_of(priv, path, ".seqmirror");
	return access(priv, F_OK) == 0;
}

/* ---- refusals ---- */

static void refused(struct fixture *f, int want, const char *a, const char *b)
{
	const char *paths[] = {a, b};
	int err = make(f, paths, b ? 2 : 1, false);

	cr_expect_eq(err, want, "%s %s: %d (%s)", a, b ? b : "", err,
		     f->made.why);
	cr_expect_neq(f->made.why[0], '\0');
	cr_expect_not(is_store(a), "%s", a);
	cr_expect_not(b && is_store(b), "%s", b);
}

Test(volume, refused_places)
{
	char inside[FIXTURE_PATH], file[FIXTURE_PATH], link[FIXTURE_PATH];
	struct fixture f;

	fixture_init(&f, 3);
	put_dir(f.path[0], "inside");
	put_file(f.path[0], "file", 0, 10);
	path_of(inside, f.path[0], "inside");
	path_of(file, f.path[0], "file");
	path_of(link, f.path[2], "link");
	must(symlink(f.path[0], link));
	refused(&f, -ENOENT, "/nowhere/at/all", NULL);
	refused(&f, -ENOTDIR, file, NULL);
	refused(&f, -EINVAL, f.path[0], f.path[0]);
	refused(&f, -EINVAL, f.path[0], link);
	refused(&f, -EINVAL, f.path[0], inside);
	refused(&f, -EINVAL, inside, f.path[0]);
	/* The second one is not empty. */
	refused(&f, -ENOTEMPTY, f.path[1], f.path[0]);
	fixture_done(&f);
}

Test(volume, refused_stores)
{
	const char *paths[] = {NULL};
	char inside[FIXTURE_PATH];
	struct fixture f;

	fixture_init(&f, 2);
	put_dir(f.path[0], "inside");
	put_dir(f.path[0], "inside/more");
	paths[0] = f.path[0];
	must(make(&f, paths, 1, false));
	path_of(inside, f.path[0], "inside/more");
	refused(&f, -EINVAL, inside, NULL);
	refused(&f, -EINVAL, f.path[1], inside);
	cr_expect_eq(make(&f, paths, 1, false), -EEXIST);
	cr_expect(is_store(f.path[0]));
	fixture_done(&f);
}

Test(volume, names)
{
	static const char *const bad[] = {
		"",
		"-x",
		"a,b",
		"a/b",
		"a b",
		".x",
		"x\n",
		("01234567890123456789012345678901"
		 "23456789012345678901234567890123"),
		"01234567-89ab-4def-8123-456789abcdef",
	};
	const char *paths[2], *names[2] = {NULL, NULL};
	struct volume_make_args args = {.paths = paths, .names = names};
	struct fixture f;

	fixture_init(&f, 2);
	paths[0] = f.path[0];
	paths[1] = f.path[1];
	args.path_count = 1;
	args.name_count = 1;
	for (size_t i = 1; i < ARRAY_SIZE(bad); i++) {
		names[0] = bad[i];
		cr_expect_eq(volume_make(&args, &f.made), -EINVAL, "%s",
			     bad[i]);
	}
	names[0] = names[1] = "same";
	args.path_count = args.name_count = 2;
	cr_expect_eq(volume_make(&args, &f.made), -EINVAL);
	args.path_count = 1;
	cr_expect_eq(volume_make(&args, &f.made), -EINVAL);
	cr_expect_not(is_store(f.path[0]));

	names[0] = "left";
	names[1] = "";
	args.path_count = 2;
	must(volume_make(&args, &f.made));
	cr_expect_str_eq(f.made.stores[0].name, "left");
	cr_expect_str_eq(f.made.stores[1].name, "b");
	fixture_done(&f);
}

Test(volume, names_of_directories_are_made_unique)
{
	char a[FIXTURE_PATH], b[FIXTURE_PATH];
	const char *paths[] = {a, b};
	struct fixture f;

	fixture_init(&f, 2);
	put_dir(f.path[0], "my data");
	put_dir(f.path[1], "my data");
	path_of(a, f.path[0], "my data");
	path_of(b, f.path[1], "my data");
	must(make(&f, paths, 2, false));
	cr_expect_str_eq(f.made.stores[0].name, "my_data");
	cr_expect_str_eq(f.made.stores[1].name, "my_data-2");
	fixture_done(&f);
}

#ifdef SEQMIRROR_FAULT_INJECTION
Test(volume, failure_leaves_nothing)
{
	static const char *const faults[] = {
		"store.make:eio:2",	   "meta.commit.error:eio:1",
		"meta.commit.error:eio:2", "meta.commit.error:eio:3",
		"meta.commit.error:eio:4", "meta.commit.error:eio:5",
		"store.syncfs:eio:1",
	};
	const char *paths[2];
	struct fixture f;

	fixture_init(&f, 2);
	put_file(f.path[0], "file", 0, 10);
	paths[0] = f.path[0];
	paths[1] = f.path[1];
	for (size_t i = 0; i < ARRAY_SIZE(faults); i++) {
		int err;

		must(fault_configure(faults[i]));
		err = make(&f, paths, 2, false);
		must(fault_configure(NULL));
		if (!err && i > 3)
			break; /* fewer commits than that */
		cr_expect_eq(err, -EIO, "%s: %d", faults[i], err);
		cr_expect_not(is_store(f.path[0]), "%s", faults[i]);
		cr_expect_not(is_store(f.path[1]), "%s", faults[i]);
	}
	fixture_done(&f);
}
#endif

/* ---- what is made ---- */

static struct meta_member member_of(struct resync_side *side, const char *name)
{
	static struct meta_member v[META_STORE_MAX];
	struct meta_reader *rd = meta_reader_get(side->meta);
	size_t count, i = 0;

	must(meta_members(rd, v, &count));
	meta_reader_put(rd);
	while (i < count && strcmp(v[i].name, name))
		i++;
	cr_assert_lt(i, count, "no member %s", name);
	return v[i];
}

Test(volume, empty_stores_are_in_step)
{
	struct resync_side a, b;
	struct fixture f;
	enum resync_relation relation;
	uint64_t from;

	fixture_init(&f, 2);
	fixture_volume(&f);
	cr_expect(f.made.stores[0].in_step);
	cr_expect(f.made.stores[1].in_step);
	fixture_open(&a, f.path[0]);
	fixture_open(&b, f.path[1]);
	check_map(&a);
	check_map(&b);
	must(resync_relate(a.meta, b.meta, &relation, &from));
	cr_expect_eq(relation, RESYNC_IN_STEP);
	cr_expect_eq(member_of(&a, "b").state, META_STORE_ONLINE);
	cr_expect_str_eq(member_of(&b, "b").path_hint, f.path[1]);
	cr_expect_eq(number_of(&a, META_NUM_CLEAN), 1);
	cr_expect_eq(number_of(&b, META_NUM_DURABLE_SEQ),
		     number_of(&a, META_NUM_DURABLE_SEQ));
	cr_expect_geq(number_of(&a, META_NUM_DURABLE_SEQ), VOLUME_FIRST_SEQ);
	fixture_close(&b);
	fixture_close(&a);
	fixture_done(&f);
}

Test(volume, files_of_the_first_are_adopted)
{
	struct resync_side a, b;
	struct fixture f;
	enum resync_relation relation;
	uint64_t from;

	fixture_init(&f, 2);
	put_dir(f.path[0], "dir");
	put_file(f.path[0], "dir/file", 0, 5000);
	fixture_volume(&f);
	cr_expect_not(f.made.stores[1].in_step);
	fixture_open(&a, f.path[0]);
	fixture_open(&b, f.path[1]);
	check_map(&a);
	must(resync_relate(a.meta, b.meta, &relation, &from));
	cr_expect_eq(relation, RESYNC_STALE);
	cr_expect_eq(from, 0);
	cr_expect_eq(number_of(&b, META_NUM_RESYNCING), 1);
	cr_expect_eq(member_of(&a, "b").state, META_STORE_RESYNCING);
	fixture_close(&b);
	fixture_close(&a);
	fixture_done(&f);
}

/* ---- adopting copies ---- */

static void fill_copy(const char *store, char content)
{
	char path[FIXTURE_PATH];

	put_dir(store, "dir");
	put_file(store, "dir/file", 0, 5000);
	put_file(store, "empty", 0, 0);
	put_file(store, "longer", 0, content == 'a' ? 100 : 9000);
	put_file(store, "linked", 0, 10);
	link_file(store, "linked", "dir/linked");
	path_of(path, store, "link");
	must(symlink("dir/file", path));
	path_of(path, store, "other-link");
	must(symlink(content == 'a' ? "here" : "there", path));
}

static uint64_t count_intents(struct resync_side *side,
			      enum meta_intent_kind kind, uint64_t node)
{
	struct meta_reader *rd = meta_reader_get(side->meta);
	struct meta_intent in;
	struct meta_iter it;
	uint64_t n = 0;

	must(meta_iter_intents(rd, &it));
	while (meta_next_intent(&it, &in) > 0)
		n += in.kind == kind && (!node || in.node == node);
	meta_iter_done(&it);
	meta_reader_put(rd);
	return n;
}

Test(volume, copies_are_matched_by_path)
{
	const char *paths[2];
	struct resync_side a, b;
	struct fixture f;
	enum resync_relation relation;
	char path[FIXTURE_PATH];
	uint64_t from;

	fixture_init(&f, 2);
	fill_copy(f.path[0], 'a');
	fill_copy(f.path[1], 'b');
	put_file(f.path[0], "only-here", 0, 10);
	put_dir(f.path[0], "kind");
	put_file(f.path[1], "kind", 0, 10);
	put_file(f.path[1], "dir/surplus", 0, 10);
	/* One file there, two here. */
	put_file(f.path[0], "p", 0, 10);
	link_file(f.path[0], "p", "q");
	put_file(f.path[1], "p", 0, 10);
	put_file(f.path[1], "q", 0, 10);
	paths[0] = f.path[0];
	paths[1] = f.path[1];
	cr_assert_eq(make(&f, paths, 2, true), 0, "%s", f.made.why);
	cr_expect_eq(f.made.stores[1].compared, 8);
	cr_expect_eq(f.made.stores[1].found, 4);
	path_of(path, f.path[1], ".seqmirror/found/surplus");
	must(access(path, F_OK));
	path_of(path, f.path[1], "kind");
	cr_expect_eq(access(path, F_OK), -1);

	fixture_open(&a, f.path[0]);
	fixture_open(&b, f.path[1]);
	check_map(&a);
	check_map_of(&b, true);
	cr_expect_eq(node_of(&a, "dir/file"), node_of(&b, "dir/file"));
	cr_expect_eq(node_of(&b, "dir/linked"), node_of(&b, "linked"));
	cr_expect_eq(node_of(&b, "other-link"), 0);
	cr_expect_eq(count_intents(&b, META_INTENT_DATA, node_of(&b, "longer")),
		     1);
	cr_expect_eq(count_intents(&b, META_INTENT_ATTR, node_of(&b, "empty")),
		     1);
	cr_expect_eq(count_intents(&b, META_INTENT_NAME, 0), 0);
	must(resync_relate(a.meta, b.meta, &relation, &from));
	cr_expect_eq(relation, RESYNC_STALE);
	cr_expect_eq(from, 0);
	fixture_close(&b);
	fixture_close(&a);
	fixture_done(&f);
}

/* ---- one more ---- */

Test(volume, a_store_is_added)
{
	struct resync_side a, b;
	struct meta_member row;
	struct fixture f;
	enum resync_relation relation;
	struct volume_add_args args = {0};
	char why[256] = "";
	uint64_t from;

	fixture_init(&f, 2);
	put_file(f.path[0], "file", 0, 10);
	{
		const char *paths[] = {f.path[0]};

		must(make(&f, paths, 1, false));
	}
	fixture_open(&a, f.path[0]);
	args.source = a.meta;
	args.path = f.path[1];
	args.name = "a";
	cr_expect_eq(volume_add_store(&args, &row, why, sizeof(why)), -EEXIST);
	cr_expect_not(is_store(f.path[1]));
	args.name = NULL;
	cr_assert_eq(volume_add_store(&args, &row, why, sizeof(why)), 0, "%s",
		     why);
	cr_expect_str_eq(row.name, "b");
	cr_expect_str_eq(row.path_hint, f.path[1]);
	cr_expect_eq(row.state, META_STORE_RESYNCING);
	fixture_open(&b, f.path[1]);
	must(resync_relate(a.meta, b.meta, &relation, &from));
	cr_expect_eq(relation, RESYNC_STALE);
	cr_expect_eq(from, 0);
	cr_expect_eq(member_of(&b, "a").state, META_STORE_ONLINE);
	fixture_close(&b);
	args.path = f.path[1];
	args.name = "c";
	cr_expect_eq(volume_add_store(&args, &row, why, sizeof(why)), -EEXIST);
	fixture_close(&a);
	fixture_done(&f);
}
