/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reach - stores that may not answer while they are opened (`timeout=`).
 *
 * Until a store is open nobody watches calls on it.  So what leads there is
 * made aside, by a helper (base/guard.h), on an object that owns all it
 * touches, and is left behind when it has not gone on for the limit.  What it
 * opens after that, it closes.  From then on the store's guards have the limit,
 * until the volume watches them; and a store that was given up is closed by a
 * thread of its own, which waits for what was left behind.
 *
 * As long as anything is stuck at a path, it is not tried there again.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "base/guard.h"
#include "fs/store/store.h"
#include "meta/meta.h"

/**
 * reach_limit - from now on, for all of this process: once, before the first
 * store is opened and after the last fork().  0: as long as it takes, which is
 * how it begins.
 */
MUST_CHECK int reach_limit(uint64_t ms);
uint64_t reach_limit_ms(void);

/* A path where something may be stuck. */
struct reach_path {
	char path[PATH_MAX];
	bool stuck;
	struct reach_path *next;
};

struct reach_job {
	struct guard_call base; /* first */
	int (*run)(struct reach_job *j);
	/* It was left behind: release what it got, perhaps nothing. NULL: it
	 * gets nothing. On any thread; it is freed then. */
	void (*drop)(struct reach_job *j);
	struct reach_path at;
	int result;
};

/* reach_job_init - for what is at @path. Return: 0, -ENAMETOOLONG */
MUST_CHECK int reach_job_init(struct reach_job *j, const char *path,
			      int (*run)(struct reach_job *j),
			      void (*drop)(struct reach_job *j));
/**
 * reach_run - have @j made, which was malloc()ed.
 * Return: 0 it has ended, @j->result says how, and @j is the caller's again;
 * else it is not: -ETIMEDOUT, -ENOMEM
 */
MUST_CHECK int reach_run(struct reach_job *j);

/**
 * reach_run_on - the same on @store, which was opened aside, under its guard:
 * it stays open until what was left behind has ended (reach_close()).
 */
MUST_CHECK int reach_run_on(const struct store *store, struct reach_job *j);

/* Is something stuck there? */
bool reach_is_stuck(const char *path);

/*
 * For a dry run, which changes nothing: -EPROTO and @ret_why (owned by the
 * caller) if the map there has an older format, which opening it for writing
 * would change. Whatever else is wrong with it is told by that.
 */
MUST_CHECK int reach_map_check_format(const char *privdir, char **ret_why);

/** reach_identity - store_probe_identity(), -ETIMEDOUT */
MUST_CHECK int reach_identity(const char *path, struct store_identity *ret_id);

/** reach_stat - stat(2), -ETIMEDOUT. @ret_real: NULL, or where it really is. */
MUST_CHECK int reach_stat(const char *path, struct stat *ret,
			  char ret_real[PATH_MAX]);

/** reach_absolute - where @path really leads; absolute as well where nothing is
 * found there. False: it is too long. */
bool reach_absolute(const char *path, char *buf, size_t size);

/** reach_peek - store_peek(), store_peek_xattrs(); -ETIMEDOUT */
MUST_CHECK int reach_peek(const char *root, const char *path, struct stat *ret);
MUST_CHECK int reach_peek_xattrs(const char *root, const char *path,
				 uint64_t *ret_hash);

/**
 * reach_is_copied - is the store at @path, which is not open, not the one that the
 * map of @rd was made beside? As side_is_copied() of one that is open.
 * Return: 1, 0, -ETIMEDOUT, -errno
 */
MUST_CHECK int reach_is_copied(const char *path, struct meta_reader *rd);

/**
 * reach_map_open - the map of the store at @path, which is not open, to be read
 * alone: meta_open(), -ETIMEDOUT. Its calls have the limit; reach_close() with
 * @path closes it. @ret_why (owned by the caller) may be set when it fails.
 */
MUST_CHECK int reach_map_open(const char *path, struct meta **ret_meta,
			      char **ret_why);

/* What was opened aside (NULL: nothing): calls on it have the limit. */
void reach_opened(struct store *store, struct meta *meta);

/* A call on one of them did not end, and both are given up. */
bool reach_hangs(const struct store *store, const struct meta *meta);

/**
 * reach_close - close both (NULL: nothing), and do not wait for what hangs.
 * @path: where it was asked for; NULL: where @store lies
 */
void reach_close(struct store *store, struct meta *meta, const char *path);
