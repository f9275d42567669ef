/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check, rows against rows: each row that no order of our own transactions can
 * leave is put into a sound map, and must be told once, as what it is; under an
 * intent the same is in doubt, not wrong.
 */
#include "resync/check.h"
#include "tests/unit/volume_fixture.h"

struct world {
	struct fixture f;
	struct resync_side a;
	uint64_t file, other, dir, sub, reserved;
};

struct told {
	enum check_kind kind;
	enum check_class class;
	uint64_t node;
};

struct report {
	struct told v[32];
	size_t count;
};

static int note(void *arg, const struct check_finding *f)
{
	struct report *r = arg;

	cr_assert_lt(r->count, 32);
	if (f->class != CHECK_NOTE)
		r->v[r->count++] = (struct told){f->kind, f->class, f->node};
	return 0;
}

static struct report check(struct world *w)
{
	struct check_result result;
	struct report r = {0};

	must(check_store(
		&(struct check_args){.side = w->a, .found = note, .arg = &r},
		&result, NULL));
	return r;
}

static void world_init(struct world *w)
{
	fixture_init(&w->f, 1);
	put_file(w->f.path[0], "file", 0, 3 * META_BLOCK);
	put_file(w->f.path[0], "other", 0, META_BLOCK);
	put_dir(w->f.path[0], "dir");
	put_dir(w->f.path[0], "dir/sub");
	fixture_volume(&w->f);
	fixture_open(&w->a, w->f.path[0]);
	w->file = node_of(&w->a, "file");
	w->other = node_of(&w->a, "other");
	w->dir = node_of(&w->a, "dir");
	w->sub = node_of(&w->a, "dir/sub");
	w->reserved = number_of(&w->a, META_NUM_SEQ_RESERVED);
	cr_assert_eq(check(w).count, 0, "a sound map is not told so");
	must(meta_begin(w->a.meta));
}

static void world_done(struct world *w)
{
	fixture_close(&w->a);
	fixture_done(&w->f);
}

/* The rows were put: @kind is told of @node, once, as @class. */
static void told(struct world *w, enum check_kind kind, uint64_t node,
		 enum check_class class)
{
	size_t count = 0;
	struct report r;

	must(meta_commit(w->a.meta));
	r = check(w);
	for (size_t i = 0; i < r.count; i++) {
		if (r.v[i].kind != kind || r.v[i].node != node)
			continue;
		count++;
		cr_expect_eq(r.v[i].class, class);
	}
	cr_expect_eq(count, 1, "%s of node %" PRIu64 " told %zu times",
		     check_kind_name(kind), node, count);
	must(meta_begin(w->a.meta));
}

static struct meta_dentry entry(uint64_t parent, uint64_t node,
				const char *name, uint64_t seq)
{
	struct meta_dentry d = {.parent = parent, .node = node, .seq = seq};

	d.name_len = (uint16_t)strlen(name);
	memcpy(d.name, name, d.name_len + 1u);
	return d;
}

static void put_entry(struct world *w, uint64_t parent, uint64_t node,
		      const char *name, uint64_t seq)
{
	struct meta_dentry d = entry(parent, node, name, seq);

	must(meta_dentry_put(w->a.meta, &d));
}

/* After the rows of @wrong it is told; with an intent there it is in doubt. */
static void wrong_then_doubt(void (*wrong)(struct world *w),
			     enum check_kind kind,
			     uint64_t (*node)(const struct world *w),
			     uint64_t (*place)(const struct world *w))
{
	struct world w;
	struct meta_intent in = {.kind = META_INTENT_NAME, .generation = 1};

	world_init(&w);
	wrong(&w);
	told(&w, kind, node(&w), CHECK_WRONG);
	in.node = place(&w);
	must(meta_intent_put(w.a.meta, &in));
	told(&w, kind, node(&w), CHECK_DOUBT);
	must(meta_commit(w.a.meta));
	world_done(&w);
}

static uint64_t file_of(const struct world *w)
{
	return w->file;
}

static uint64_t dir_of(const struct world *w)
{
	return w->dir;
}

static uint64_t sub_of(const struct world *w)
{
	return w->sub;
}

static uint64_t root_of(const struct world *w)
{
	(void)w;
	return META_ROOT_ID;
}

static uint64_t nobody(const struct world *w)
{
	(void)w;
	return 999999;
}

/* ---- entries ---- */

static void dangle(struct world *w)
{
	put_entry(w, META_ROOT_ID, 999999, "nobody", 3);
}

Test(check_rows, an_entry_that_leads_nowhere)
{
	wrong_then_doubt(dangle, CHECK_DANGLING, nobody, root_of);
}

static void below_a_file(struct world *w)
{
	put_entry(w, w->file, w->other, "below", 3);
}

Test(check_rows, an_entry_in_what_is_no_directory)
{
	wrong_then_doubt(below_a_file, CHECK_NO_DIRECTORY, file_of, file_of);
}

static void second_parent(struct world *w)
{
	put_entry(w, META_ROOT_ID, w->sub, "again", 3);
}

Test(check_rows, a_directory_with_two_names)
{
	wrong_then_doubt(second_parent, CHECK_TWO_PARENTS, sub_of, sub_of);
}

static void nameless(struct world *w)
{
	must(meta_dentry_del(w->a.meta, META_ROOT_ID, "file", 4));
}

Test(check_rows, a_node_without_a_name)
{
	wrong_then_doubt(nameless, CHECK_NO_NAME, file_of, file_of);
}

static void above_reserved(struct world *w)
{
	put_entry(w, META_ROOT_ID, w->file, "file", w->reserved + 1);
}

Test(check_rows, an_entry_numbered_above_all_that_may_be)
{
	wrong_then_doubt(above_reserved, CHECK_RESERVED, file_of, file_of);
}

Test(check_rows, a_directory_below_itself)
{
	struct world w;

	world_init(&w);
	must(meta_dentry_del(w.a.meta, META_ROOT_ID, "dir", 3));
	put_entry(&w, w.sub, w.dir, "round", 3);
	told(&w, CHECK_CYCLE, MIN(w.dir, w.sub), CHECK_WRONG);
	must(meta_commit(w.a.meta));
	world_done(&w);
}

/* ---- nodes ---- */

static void same_file(struct world *w)
{
	/* One is found by its identity, so the other one is told. */
	must(meta_node_set_backing(w->a.meta, w->file,
				   row_of(&w->a, "other").backing));
}

Test(check_rows, two_nodes_of_one_file)
{
	struct report r;
	struct world w;
	size_t count = 0;

	world_init(&w);
	same_file(&w);
	must(meta_commit(w.a.meta));
	r = check(&w);
	for (size_t i = 0; i < r.count; i++)
		count += r.v[i].kind == CHECK_ONE_FILE;
	cr_expect_eq(count, 1);
	world_done(&w);
}

static void number_of_node(struct world *w)
{
	struct meta_node row = row_of(&w->a, "file");

	row.seq = w->reserved + 7;
	must(meta_node_put(w->a.meta, &row));
}

Test(check_rows, a_node_numbered_above_all_that_may_be)
{
	wrong_then_doubt(number_of_node, CHECK_RESERVED, file_of, file_of);
}

/* ---- extents ---- */

static void extent(struct world *w, uint64_t node, uint64_t seq)
{
	must(meta_extent_set(w->a.meta, node, 0, META_BLOCK, seq));
}

static void of_nobody(struct world *w)
{
	extent(w, 999999, 3);
}

Test(check_rows, an_extent_of_nobody)
{
	wrong_then_doubt(of_nobody, CHECK_EXTENT, nobody, nobody);
}

static void of_a_directory(struct world *w)
{
	extent(w, w->dir, 3);
}

Test(check_rows, an_extent_of_a_directory)
{
	wrong_then_doubt(of_a_directory, CHECK_EXTENT, dir_of, dir_of);
}

static void above_its_node(struct world *w)
{
	extent(w, w->file, row_of(&w->a, "file").seq + 1);
}

Test(check_rows, an_extent_numbered_above_its_node)
{
	wrong_then_doubt(above_its_node, CHECK_NUMBER, file_of, file_of);
}

static void extent_above_reserved(struct world *w)
{
	extent(w, w->file, w->reserved + 1);
}

Test(check_rows, an_extent_numbered_above_all_that_may_be)
{
	wrong_then_doubt(extent_above_reserved, CHECK_RESERVED, file_of,
			 file_of);
}
