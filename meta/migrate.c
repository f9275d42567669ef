/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Format versions: user_version says which one a map has, and each step leads
 * to the next. A step and its version are one transaction, so that a map is
 * never between two versions.
 */
#include <assert.h>
#include <errno.h>

#include "base/log.h"
#include "meta/db.h"

static int migrate_step(struct conn *c, const struct sql_migration *step)
{
	int undone;
	int r;

	r = conn_exec(c, "BEGIN IMMEDIATE");
	if (r < 0)
		return r;
	r = conn_exec(c, step->sql);
	if (r == 0)
		r = conn_pragma_set(c, "user_version", step->version);
	if (r == 0)
		r = conn_exec(c, "COMMIT");
	if (r < 0) {
		/* Fails where SQLite has rolled back by itself. */
		undone = conn_exec(c, "ROLLBACK");
		log_debug("migration undone: version=%d result=%d",
			  step->version, undone);
		return r;
	}
	log_info("the map has a new format: version=%d what=%s", step->version,
		 step->what);
	return 0;
}

int migrate_run(struct conn *c, const struct sql_migration *steps, size_t count)
{
	int64_t version;
	int r;

	r = conn_pragma_get(c, "user_version", &version);
	if (r < 0 || count == 0)
		return r;
	if (version > steps[count - 1].version)
		return -EPROTO;
	for (size_t i = 0; i < count; i++) {
		assert(i == 0 || steps[i].version == steps[i - 1].version + 1);
		if (steps[i].version <= version)
			continue;
		if (steps[i].version != version + 1)
			return -EPROTO;
		r = migrate_step(c, &steps[i]);
		if (r < 0)
			return r;
		version = steps[i].version;
	}
	return 0;
}
