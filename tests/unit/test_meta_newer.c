/* SPDX-License-Identifier: Apache-2.0 */
/*
 * meta_newer_than(): small cases, each with a map that went on and one that
 * stayed behind. Up to seq 10 both are the same.
 */
#include "meta_fixture.h"

#define BLK  META_BLOCK
#define FROM 10

enum {
	DIR_ID = 16,
	FILE_ID,
	SUB_ID,
	DEEP_ID,
};

struct pair {
	struct fixture a;
	struct fixture b;
	struct fixture *now;
};

/* /dir (16), /dir/file (17) with blocks 0-4 mapped */
static void common(struct meta *m)
{
	put_node(m, META_ROOT_ID, META_DIR, 1);
	put_node(m, DIR_ID, META_DIR, 3);
	put_dentry(m, META_ROOT_ID, "dir", DIR_ID, 1);
	put_node(m, FILE_ID, META_FILE, 5);
	put_dentry(m, DIR_ID, "file", FILE_ID, 3);
	must(meta_extent_set(m, FILE_ID, 0, 4 * BLK, 5));
}

/* The map to write to now: no thread holds two writers at once. */
static struct meta *on(struct pair *p, struct fixture *f)
{
	if (p->now == f)
		return f->m;
	if (p->now)
		must(meta_commit(p->now->m));
	p->now = f;
	if (f)
		must(meta_begin(f->m));
	return f ? f->m : NULL;
}
#define A on(&p, &p.a)
#define B on(&p, &p.b)

static void start(struct pair *p)
{
	p->now = NULL;
	fixture_open(&p->a);
	fixture_open(&p->b);
	common(on(p, &p->a));
	common(on(p, &p->b));
}

/* a about b, then b about a. */
static void end(struct pair *p, int a_newer, int b_newer)
{
	struct meta_reader *a;
	struct meta_reader *b;

	(void)on(p, NULL);
	a = meta_reader_get(p->a.m);
	b = meta_reader_get(p->b.m);
	expect_int(meta_newer_than(a, b, FROM), a_newer);
	expect_int(meta_newer_than(b, a, FROM), b_newer);
	expect_int(meta_newer_than(a, a, 0), 0);
	meta_reader_put(a);
	meta_reader_put(b);
	fixture_done(&p->a);
	fixture_done(&p->b);
}

static void write_blocks(struct meta *m, uint64_t from, uint64_t to,
			 uint64_t seq)
{
	must(meta_extent_set(m, FILE_ID, from * BLK, to * BLK, seq));
	must(meta_node_raise(m, FILE_ID, 0, seq));
}

static void punch(struct meta *m, uint64_t from, uint64_t to, uint64_t seq)
{
	must(meta_extent_clear(m, FILE_ID, from * BLK, to * BLK));
	must(meta_node_raise(m, FILE_ID, 0, seq));
}

Test(meta_newer, equal)
{
	struct pair p;

	start(&p);
	end(&p, 0, 0);
}

Test(meta_newer, written_once)
{
	struct pair p;

	start(&p);
	write_blocks(A, 1, 2, 11);
	end(&p, 1, 0);
}

Test(meta_newer, written_by_both_in_order)
{
	struct pair p;

	start(&p);
	write_blocks(A, 1, 2, 11);
	write_blocks(B, 1, 2, 11);
	write_blocks(A, 0, 4, 12);
	end(&p, 1, 0);
}

/* The same file, different places: both have something. */
Test(meta_newer, written_apart)
{
	struct pair p;

	start(&p);
	write_blocks(A, 0, 1, 11);
	write_blocks(B, 3, 4, 12);
	end(&p, 1, 1);
}

/* One block of b's in the range must not hide the others. */
Test(meta_newer, written_in_part)
{
	struct pair p;

	start(&p);
	write_blocks(A, 0, 4, 11);
	write_blocks(B, 1, 2, 12);
	end(&p, 1, 1);
}

Test(meta_newer, hole_counts_as_its_node)
{
	struct pair p;

	start(&p);
	write_blocks(A, 0, 4, 11);
	write_blocks(B, 0, 4, 11);
	punch(B, 0, 2, 12);
	end(&p, 0, 1);
}

Test(meta_newer, hole_older_than_the_write)
{
	struct pair p;

	start(&p);
	punch(B, 0, 4, 11);
	write_blocks(A, 2, 3, 12);
	end(&p, 1, 0);
}

/* A removal leaves a higher seq of the node and nothing else. */
Test(meta_newer, punched_alone)
{
	struct pair p;

	start(&p);
	punch(A, 0, 4, 11);
	end(&p, 1, 0);
}

Test(meta_newer, attributes)
{
	struct pair p;

	start(&p);
	must(meta_node_raise(A, FILE_ID, 11, 11));
	write_blocks(B, 0, 4, 12);
	end(&p, 1, 1);
}

/* What is not above "from" is not asked about. */
Test(meta_newer, below_from)
{
	struct pair p;

	start(&p);
	write_blocks(A, 0, 1, FROM);
	must(meta_node_raise(A, DIR_ID, FROM, FROM));
	end(&p, 0, 0);
}

Test(meta_newer, entry_made_alone)
{
	struct pair p;

	start(&p);
	put_node(A, SUB_ID, META_FILE, 11);
	put_dentry(A, DIR_ID, "new", SUB_ID, 11);
	must(meta_node_raise(A, DIR_ID, 11, 11));
	end(&p, 1, 0);
}

static void make_sub(struct meta *m, uint64_t seq)
{
	put_node(m, SUB_ID, META_DIR, seq + 1);
	put_dentry(m, DIR_ID, "sub", SUB_ID, seq);
	must(meta_node_raise(m, DIR_ID, seq, seq));
	put_node(m, DEEP_ID, META_FILE, seq + 1);
	put_dentry(m, SUB_ID, "deep", DEEP_ID, seq + 1);
	must(meta_extent_set(m, DEEP_ID, 0, BLK, seq + 1));
}

/* Both had it, b removed it since: absent counts as the nearest directory. */
Test(meta_newer, tree_removed_since)
{
	struct pair p;

	start(&p);
	make_sub(A, 11);
	must(meta_node_raise(B, DIR_ID, 20, 20));
	end(&p, 0, 1);
}

Test(meta_newer, tree_removed_then_written)
{
	struct pair p;

	start(&p);
	make_sub(A, 11);
	must(meta_extent_set(A, DEEP_ID, BLK, 2 * BLK, 30));
	must(meta_node_raise(A, DEEP_ID, 0, 30));
	must(meta_node_raise(B, DIR_ID, 20, 20));
	end(&p, 1, 1);
}

/* b has another file under the name, made later. */
Test(meta_newer, name_taken_since)
{
	struct pair p;

	start(&p);
	put_node(A, SUB_ID, META_FILE, 11);
	put_dentry(A, DIR_ID, "x", SUB_ID, 11);
	must(meta_node_raise(A, DIR_ID, 11, 11));
	put_node(B, DEEP_ID, META_FILE, 12);
	put_dentry(B, DIR_ID, "x", DEEP_ID, 12);
	must(meta_node_raise(B, DIR_ID, 12, 12));
	end(&p, 0, 1);
}

Test(meta_newer, entry_removed_alone)
{
	struct pair p;

	start(&p);
	expect_int(meta_dentry_del(A, DIR_ID, "file", 4), 1);
	must(meta_node_raise(A, DIR_ID, 11, 11));
	end(&p, 1, 0);
}

Test(meta_newer, kind_differs)
{
	struct pair p;

	start(&p);
	put_node(A, SUB_ID, META_FILE, 11);
	put_node(B, SUB_ID, META_DIR, 12);
	end(&p, 1, 1);
}

/* Unlinked while open, or in limbo: in no place. */
Test(meta_newer, without_a_place)
{
	struct pair p;

	start(&p);
	put_node(A, SUB_ID, META_FILE, 11);
	must(meta_extent_set(A, SUB_ID, 0, BLK, 11));
	put_node(A, DEEP_ID, META_FILE, 12);
	put_dentry(A, META_LIMBO_ID, "19", DEEP_ID, 12);
	end(&p, 0, 0);
}

/* Below a directory that has no place in either. */
Test(meta_newer, no_directory_to_compare)
{
	struct pair p;

	start(&p);
	put_node(A, DEEP_ID, META_FILE, 11);
	put_dentry(A, SUB_ID, "lost", DEEP_ID, 11);
	end(&p, 1, 0);
}

/* A circle in a damaged map ends. */
Test(meta_newer, circle)
{
	struct pair p;

	start(&p);
	put_node(A, SUB_ID, META_DIR, 11);
	put_node(A, DEEP_ID, META_DIR, 11);
	put_dentry(A, SUB_ID, "x", DEEP_ID, 11);
	put_dentry(A, DEEP_ID, "x", SUB_ID, 11);
	end(&p, 1, 0);
}
