/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Format versions, with steps made up for the test.
 */
#include "meta/db.h"
#include "meta_fixture.h"

static const struct sql_migration steps[] = {
	{2, "one-more", "CREATE TABLE more (a INTEGER) STRICT;"},
	{3, "fill",
	 "INSERT INTO more VALUES (1); INSERT INTO more VALUES (2);"},
	{4, "fails",
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
	cr_assert_eq(version(&f), 2);
	must(migrate_run(&f.m->writer.conn, steps, 2));
	must(migrate_run(&f.m->writer.conn, steps, 2));
	cr_assert_eq(version(&f), 3);
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
	cr_assert_eq(version(&f), 3);
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
	cr_assert_eq(version(&f), 1);
	fixture_done(&f);
}

/* The steps that are in the program end at its version. */
Test(meta_migrate, embedded_steps)
{
	size_t count = META_MIGRATION_COUNT;

	if (count > 0)
		cr_assert_eq(sql_migration_get(count - 1).version,
			     META_FORMAT_VERSION);
	else
		cr_assert_eq(META_FORMAT_VERSION, 1);
}
