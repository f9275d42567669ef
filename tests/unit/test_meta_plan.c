/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plans of all statements, and that a small delta of a large map is fast.
 */
#include <sqlite3.h>

#include "base/clock.h"
#include "meta/db.h"
#include "meta_fixture.h"
#include "rng.h"

/* These read all of a table because that is what they are for. Only the one
 * that is asked for once in the life of a copied store reads a large one. */
static const struct {
	enum meta_stmt_id id;
	const char *table;
} whole_table[] = {
	{STMT_INTENT_DROP_THROUGH, "SCAN intent"},
	{STMT_INTENT_DROP_ALL, "SCAN intent"},
	{STMT_INTENT_ITER_ALL, "SCAN intent"},
	{STMT_INTENT_COUNT_ALL, "SCAN intent"},
	{STMT_INTENT_COUNT_GENERATION, "SCAN intent"},
	{STMT_STORE_ITER_ALL, "SCAN store"},
	{STMT_EPOCH_DEL_ALL, "SCAN epoch"},
	{STMT_EPOCH_COUNT_ALL, "SCAN epoch"},
	{STMT_EPOCH_ITER_ALL, "SCAN epoch"},
	{STMT_LAP_EPOCH_DEL_ALL, "SCAN lap_epoch"},
	{STMT_LAP_EPOCH_COUNT_ALL, "SCAN lap_epoch"},
	{STMT_LAP_EPOCH_ITER_ALL, "SCAN lap_epoch"},
	{STMT_NODE_FORGET_BACKING, "SCAN node"},
};

static bool may_scan(enum meta_stmt_id id, const char *line)
{
	for (size_t i = 0; i < ARRAY_SIZE(whole_table); i++)
		if (whole_table[i].id == id)
			return strncmp(line, whole_table[i].table,
				       strlen(whole_table[i].table)) == 0;
	return false;
}

static void check_line(enum meta_stmt_id id, const char *line)
{
	const char *name = sql_statement_name(id);

	check(strncmp(line, "SCAN", 4) != 0 || may_scan(id, line), "%s: %s",
	      name, line);
	check(!strstr(line, "TEMP B-TREE"), "%s: %s", name, line);
	check(!strstr(line, "AUTOMATIC"), "%s: %s", name, line);
	if (strstr(name, "since"))
		check(strncmp(line, "SEARCH", 6) == 0 &&
			      strstr(line, "_by_seq ("),
		      "%s: %s", name, line);
}

Test(meta_plan, every_statement)
{
	struct fixture f;
	char sql[2000];

	fixture_open(&f);
	for (int i = 0; i < STMT_COUNT; i++) {
		enum meta_stmt_id id = (enum meta_stmt_id)i;
		sqlite3_stmt *os;
		int rc;

		(void)snprintf(sql, sizeof(sql), "EXPLAIN QUERY PLAN %s",
			       sql_statement(id));
		rc = sqlite3_prepare_v2(f.m->writer.conn.db, sql, -1, &os,
					NULL);
		check(rc == SQLITE_OK, "%s", sql_statement_name(id));
		while (sqlite3_step(os) == SQLITE_ROW)
			check_line(id,
				   (const char *)sqlite3_column_text(os, 3));
		(void)sqlite3_finalize(os);
	}
	fixture_done(&f);
}

/* The one line that says what the delta is read through. */
static void expect_plan(struct meta *m, enum meta_stmt_id id,
			const char *wanted)
{
	char sql[2000];
	sqlite3_stmt *os;
	int rc;

	(void)snprintf(sql, sizeof(sql), "EXPLAIN QUERY PLAN %s",
		       sql_statement(id));
	rc = sqlite3_prepare_v2(m->writer.conn.db, sql, -1, &os, NULL);
	cr_assert_eq(rc, SQLITE_OK);
	cr_assert_eq(sqlite3_step(os), SQLITE_ROW);
	cr_assert_str_eq((const char *)sqlite3_column_text(os, 3), wanted);
	(void)sqlite3_finalize(os);
}

Test(meta_plan, delta)
{
	struct fixture f;

	fixture_open(&f);
	expect_plan(f.m, STMT_EXTENT_ITER_SINCE,
		    "SEARCH extent USING COVERING INDEX extent_by_seq "
		    "((seq,node,start)>(?,?,?))");
	expect_plan(f.m, STMT_NODE_ITER_SINCE,
		    "SEARCH node USING INDEX node_by_seq (seq>?)");
	expect_plan(f.m, STMT_EXTENT_ITER_BACK,
		    "SEARCH extent USING PRIMARY KEY (node=? AND start<?)");
	expect_plan(f.m, STMT_DENTRY_ITER_COOKIE,
		    "SEARCH dentry USING INDEX dentry_by_cookie "
		    "(parent=? AND cookie>?)");
	fixture_done(&f);
}

/* ---- a large map ---- */

#define PER_FILE     1000
#define CHANGED	     1000
#define DELTA_MS_MAX 50

static void build(struct meta *m, uint64_t row_count, uint64_t *seq)
{
	uint64_t t = clock_mono_ns();

	must(meta_begin(m));
	for (uint64_t i = 0; i < row_count; i++) {
		uint64_t start = i % PER_FILE * 8192;

		must(meta_extent_set(m, 16 + i / PER_FILE, start, start + 4096,
				     ++*seq));
	}
	must(meta_commit(m));
	(void)fprintf(stderr, "extent_set, new rows: %.2f us each\n",
		      (double)(clock_mono_ns() - t) / 1e3 / (double)row_count);
}

Test(meta_plan, small_delta_of_a_large_map, .timeout = 550)
{
	uint64_t row_count = getenv("SEQMIRROR_BIG") ? 10000000 : 1000000;
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_reader *rd;
	struct meta_extent ext;
	struct rng rng = rng_seed();
	struct fixture f;
	uint64_t count = 0;
	uint64_t seq = 0;
	uint64_t cut;
	uint64_t t;

	fixture_open(&f);
	build(f.m, row_count, &seq);
	cut = seq;
	must(meta_begin(f.m));
	for (int i = 0; i < CHANGED; i++) {
		uint64_t row = row_count / CHANGED * (uint64_t)i +
			       rng_below(&rng, row_count / CHANGED);
		uint64_t start = row % PER_FILE * 8192;

		must(meta_extent_set(f.m, 16 + row / PER_FILE, start,
				     start + 4096, ++seq));
	}
	must(meta_commit(f.m));
	/* A connection that has seen nothing yet. */
	fixture_reopen(&f, META_OPEN_RW);
	rd = meta_reader_get(f.m);
	t = clock_mono_ns();
	must(meta_iter_extents_since(rd, cut, INT64_MAX, INT64_MAX, &it));
	while (meta_next_extent(&it, &ext) > 0)
		count++;
	t = clock_mono_ns() - t;
	meta_iter_done(&it);
	(void)fprintf(stderr, "%lu of %lu rows in %.2f ms\n", count, row_count,
		      (double)t / 1e6);
	cr_assert_eq(count, CHANGED);
	cr_assert(t < DELTA_MS_MAX * CLOCK_NS_PER_MS);
	meta_reader_put(rd);
	fixture_done(&f);
}
