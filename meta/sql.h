/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The texts of meta/sql/, as the build put them into the program.
 */
#pragma once

#include <stddef.h>

#include "meta_sql.h"

/* One step: brings a map from format version - 1 to version. */
struct sql_migration {
	int version;
	const char *what;
	const char *sql;
};

/** sql_statement - the text of one statement of statements.sql. */
const char *sql_statement(enum meta_stmt_id id);

/** sql_statement_name - its name there. */
const char *sql_statement_name(enum meta_stmt_id id);

/** sql_schema - all of schema.sql. */
const char *sql_schema(void);

/** sql_migration_get - step @index of META_MIGRATION_COUNT, rising. */
struct sql_migration sql_migration_get(size_t index);
