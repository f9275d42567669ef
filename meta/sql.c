/* SPDX-License-Identifier: Apache-2.0 */
#define META_SQL_TABLES
#include "meta/sql.h"

#include <assert.h>

const char *sql_statement(enum meta_stmt_id id)
{
	assert(id < STMT_COUNT);
	return meta_stmt_table[id].sql;
}

const char *sql_statement_name(enum meta_stmt_id id)
{
	assert(id < STMT_COUNT);
	return meta_stmt_table[id].name;
}

const char *sql_schema(void)
{
	return meta_schema_sql;
}

struct sql_migration sql_migration_get(size_t index)
{
	/* One more than the count: the table ends in zeros. */
	assert(index <= META_MIGRATION_COUNT);
	return (struct sql_migration){
		.version = meta_migrations[index].version,
		.what = meta_migrations[index].what,
		.sql = meta_migrations[index].sql,
	};
}
