/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Format versions, with steps made up for the test.
 */
#include "meta/db.h"
#include "base/text.h"
#include "meta_fixture.h"

static const struct sql_migration steps[] = {
	{META_FORMAT_VERSION + 1, "one-more",
	 "CREATE TABLE more (a INTEGER) STRICT;"},
	{META_FORMAT_VERSION + 2, "fill",
	 "INSERT INTO more VALUES (1); INSERT INTO more VALUES (2);"},
	{META_FORMAT_VERSION + 3, "fails",
	 "INSERT INTO more VALUES (3); INSERT INTO nothing VALUES (1);"},
};

static int64_t version(struct fixture *f)
{
	int64_t value = -1;

	must(conn_pragma_get(&f->m->writer.conn, "user_version", &value));
	return value;
}

Test(meta_migrate, steps_in_order)
{
	struct fixture f;

	fixture_open(&f);
	must(migrate_run(&f.m->writer.conn, steps, 0));
	must(migrate_run(&f.m->writer.conn, steps, 1));
	cr_assert_eq(version(&f), META_FORMAT_VERSION + 1);
	must(migrate_run(&f.m->writer.conn, steps, 2));
	must(migrate_run(&f.m->writer.conn, steps, 2));
	cr_assert_eq(version(&f), META_FORMAT_VERSION + 2);
	expect_int(migrate_run(&f.m->writer.conn, steps, 1), -EPROTO);
	fixture_done(&f);
}

/* The failed step leaves nothing; those before it stay. */
Test(meta_migrate, a_step_fails)
{
	struct conn *c;
	struct fixture f;

	fixture_open(&f);
	c = &f.m->writer.conn;
	expect_int(migrate_run(c, steps, 3), -EUCLEAN);
	cr_assert_eq(version(&f), META_FORMAT_VERSION + 2);
	must(conn_exec(c, "BEGIN"));
	must(conn_exec(c, "INSERT INTO more VALUES (9)"));
	must(conn_exec(c, "COMMIT"));
	fixture_done(&f);
}

Test(meta_migrate, no_step_from_here)
{
	struct fixture f;

	fixture_open(&f);
	expect_int(migrate_run(&f.m->writer.conn, steps + 1, 1), -EPROTO);
	cr_assert_eq(version(&f), META_FORMAT_VERSION);
	fixture_done(&f);
}

/* The steps that are in the program end at its version. */
Test(meta_migrate, embedded_steps)
{
	cr_assert_eq(sql_migration_get(META_MIGRATION_COUNT - 1).version,
		     META_FORMAT_VERSION);
}

/* A map as version 1 had it. */
static void make_old(struct fixture *f)
{
	struct conn *c = &f->m->writer.conn;

	must(conn_exec(c, "BEGIN; DROP INDEX dentry_by_cookie;"
			  "ALTER TABLE dentry DROP COLUMN cookie;"
			  "ALTER TABLE node DROP COLUMN ctime;"
			  "ALTER TABLE node DROP COLUMN backing_ctime;"
			  "CREATE UNIQUE INDEX dentry_by_seq "
			  "ON dentry (parent, seq); COMMIT"));
	must(conn_pragma_set(c, "user_version", 1));
}

/* The members as they were before one could be given up. */
static void make_members_old(struct fixture *f)
{
	struct conn *c = &f->m->writer.conn;

	must(conn_exec(c, "BEGIN; CREATE TABLE before ("
			  "uuid TEXT PRIMARY KEY, name TEXT NOT NULL, "
			  "state INTEGER NOT NULL "
			  "CHECK (state BETWEEN 1 AND 5), "
			  "durable_seq INTEGER NOT NULL, "
			  "path_hint BLOB NOT NULL) STRICT, WITHOUT ROWID;"
			  "INSERT INTO before SELECT * FROM store;"
			  "DROP TABLE store;"
			  "ALTER TABLE before RENAME TO store; COMMIT"));
	must(conn_pragma_set(c, "user_version", 3));
}

Test(meta_migrate, members_from_version_3)
{
	static struct meta_member before[META_STORE_MAX], v[META_STORE_MAX];
	struct meta_reader *rd;
	size_t count = 0, had = 0;
	struct fixture f;
	char *why = NULL;

	fixture_open(&f);
	must(meta_begin(f.m));
	for (int i = 1; i <= META_STORE_RESYNCING; i++) {
		struct meta_member *row = &before[had++];

		must(uuid_generate(row->uuid));
		snprintf(row->name, sizeof(row->name), "n%d", i);
		snprintf(row->path_hint, sizeof(row->path_hint), "/p%d", i);
		row->state = (enum meta_store_state)i;
		row->durable_seq = (uint64_t)i * 7;
		must(meta_member_put(f.m, row));
	}
	must(meta_commit(f.m));
	rd = meta_reader_get(f.m);
	must(meta_members(rd, before, &had)); /* in their order */
	meta_reader_put(rd);
	cr_assert_eq(had, META_STORE_RESYNCING);
	make_members_old(&f);
	meta_close(f.m);
	must(meta_open(f.dir, META_OPEN_RW, &f.m, &why));
	cr_assert_eq(version(&f), META_FORMAT_VERSION);
	before[0].state = META_STORE_GIVEN_UP;
	must(meta_begin(f.m));
	must(meta_member_put(f.m, &before[0]));
	must(meta_commit(f.m));
	rd = meta_reader_get(f.m);
	must(meta_members(rd, v, &count));
	meta_reader_put(rd);
	cr_assert_eq(count, had);
	cr_assert(!memcmp(v, before, had * sizeof(*v)));
	fixture_done(&f);
}

Test(meta_migrate, from_version_1)
{
	struct meta_dentry d;
	struct meta_reader *rd;
	struct meta_iter it;
	struct fixture f;
	char *why = NULL;

	fixture_open(&f);
	must(meta_begin(f.m));
	put_dentry(f.m, META_ROOT_ID, "b", 17, 5);
	put_dentry(f.m, META_ROOT_ID, "a", 18, 6);
	must(meta_commit(f.m));
	make_old(&f);
	meta_close(f.m);
	expect_int(meta_open(f.dir, META_OPEN_RO, &f.m, &why), -EPROTO);
	free(why);
	must(meta_open(f.dir, META_OPEN_RW, &f.m, &why));
	cr_assert_eq(version(&f), META_FORMAT_VERSION);
	rd = meta_reader_get(f.m);
	must(meta_iter_dentries(rd, META_ROOT_ID, 5, &it));
	expect_int(meta_next_dentry(&it, &d), 1);
	cr_assert(!strcmp(d.name, "a") && d.node == 18 && d.seq == 6 &&
		  d.cookie == 6);
	expect_int(meta_next_dentry(&it, &d), 0);
	meta_iter_done(&it);
	meta_reader_put(rd);
	fixture_done(&f);
}
