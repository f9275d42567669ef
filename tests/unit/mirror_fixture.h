/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A live volume of two stores in a temporary directory, without a kernel in
 * front, for unit tests of fs/mirror: made and opened by setup(), closed and
 * removed by teardown(). The store in dir_a is the lead, and no checkpoint
 * comes by itself.
 *
 *	TestSuite(name, .init = setup, .fini = teardown, .timeout = 300);
 */
#pragma once

#include <criterion/criterion.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "fs/mirror/mirror.h"
#include "resync/volume_make.h"

static char base[2048], dir_a[4096], dir_b[4096];
static struct mirror *m;
static struct store *store_a, *store_b;
static const struct mirror_cred cred = {.umask = 022};

static inline void volume_open(void)
{
	const char *paths[] = {dir_a, dir_b};
	struct resync_assembly *a = calloc(1, sizeof(*a));
	struct mirror_options o = {.checkpoint_ms = 60000, .prefer_slot = -1};

	cr_assert_eq(resync_assemble(paths, 2, true, a), 0, "%s", a->why);
	store_a = store_b = NULL;
	for (size_t i = 0; i < a->count; i++) {
		struct store *s = a->members[i].store;

		if (!s)
			continue;
		if (!strcmp(store_path(s), dir_a)) {
			store_a = s;
			o.prefer_slot = (int)i; /* the lead */
		} else {
			store_b = s;
		}
	}
	for (size_t i = 0; i < META_STORE_MAX; i++) {
		meta_close(a->late_meta[i]);
		store_close(a->late_store[i]);
	}
	cr_assert_eq(mirror_open(a->members, a->count, a->lead, &o, &m), 0);
	free(a);
}

static inline void setup(void)
{
	static const char *const paths[] = {dir_a, dir_b};
	struct volume_make_result *made = calloc(1, sizeof(*made));
	const char *tmp = getenv("TMPDIR");

	(void)log_open(LOG_SINK_STDERR, LOG_LEVEL_ERR);
	snprintf(base, sizeof(base), "%s/seqmirror-unit-XXXXXX",
		 tmp ? tmp : "/tmp");
	cr_assert(mkdtemp(base));
	snprintf(dir_a, sizeof(dir_a), "%s/a", base);
	snprintf(dir_b, sizeof(dir_b), "%s/b", base);
	cr_assert(!mkdir(dir_a, 0755) && !mkdir(dir_b, 0755));
	cr_assert_eq(volume_make(&(struct volume_make_args){.paths = paths,
							    .path_count = 2},
				 made),
		     0, "%s", made->why);
	free(made);
	volume_open();
	cr_assert(store_a && store_b);
}

static inline int remove_one(const char *path, const struct stat *st, int flag,
			     struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static inline void teardown(void)
{
	if (m)
		(void)mirror_close(m);
	(void)nftw(base, remove_one, 32, FTW_PHYS | FTW_DEPTH);
}

static inline uint64_t file(const char *name)
{
	struct mirror_entry e;

	cr_assert_eq(mirror_create(m, META_ROOT_ID, name, 0644, &cred, &e), 0);
	return e.id;
}
