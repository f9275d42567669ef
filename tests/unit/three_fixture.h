/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A live volume of three stores in a temporary directory, without a kernel in
 * front, and calls on it from other threads. The first one is the lead, and no
 * checkpoint comes by itself.
 *
 *	TestSuite(name, .init = setup, .fini = teardown, .timeout = 300);
 */
#pragma once

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/log.h"
#include "fs/mirror/mirror.h"
#include "resync/volume_make.h"
#include "tests/unit/remove_tree.h"

#define STORES 3

static char base[2048], dirs[STORES][2100];
static struct mirror *m;
static struct store *store[STORES];
static unsigned int slot_of[STORES];
static char uuids[STORES][META_UUID_LEN + 1]; /* who is out is closed */
static const struct mirror_cred cred = {.umask = 022};
static struct mirror_entry e;
static unsigned int min_stores;

static inline void volume_open(unsigned int fd_limit)
{
	const char *paths[STORES];
	struct resync_assembly *a = calloc(1, sizeof(*a));
	struct mirror_options o = {.checkpoint_ms = 60000,
				   .prefer_slot = -1,
				   .min_stores = min_stores,
				   .fd_limit = fd_limit};

	for (int k = 0; k < STORES; k++)
		paths[k] = dirs[k];
	cr_assert_eq(resync_assemble(paths, STORES, true, a), 0, "%s", a->why);
	for (size_t i = 0; i < a->count; i++)
		for (int k = 0; k < STORES; k++) {
			struct store *s = a->members[i].store;

			if (!s || strcmp(store_path(s), dirs[k]))
				continue;
			store[k] = s;
			memcpy(uuids[k], store_identity(s)->store_uuid,
			       sizeof(uuids[k]));
			slot_of[k] = (unsigned int)i;
			if (k == 0)
				o.prefer_slot = (int)i; /* the lead */
		}
	for (size_t i = 0; i < META_STORE_MAX; i++) {
		meta_close(a->late_meta[i]);
		store_close(a->late_store[i]);
	}
	cr_assert_eq(mirror_open(a->members, a->count, a->lead, &o, &m), 0);
	free(a);
}

static inline void volume_reopen(unsigned int fd_limit)
{
	cr_assert_eq(mirror_close(m), 0);
	volume_open(fd_limit);
}

static inline void setup(void)
{
	const char *paths[STORES];
	struct volume_make_result *made = calloc(1, sizeof(*made));
	const char *tmp = getenv("TMPDIR");

	(void)log_open(LOG_SINK_STDERR, LOG_LEVEL_ERR);
	(void)signal(SIGXFSZ, SIG_IGN);
	snprintf(base, sizeof(base), "%s/seqmirror-unit-XXXXXX",
		 tmp ? tmp : "/tmp");
	cr_assert(mkdtemp(base));
	for (int k = 0; k < STORES; k++) {
		snprintf(dirs[k], sizeof(dirs[k]), "%s/s%d", base, k);
		cr_assert(!mkdir(dirs[k], 0755));
		paths[k] = dirs[k];
	}
	cr_assert_eq(
		volume_make(&(struct volume_make_args){.paths = paths,
						       .path_count = STORES},
			    made),
		0, "%s", made->why);
	free(made);
	volume_open(0);
}

static inline void teardown(void)
{
	cr_assert_eq(fault_configure(""), 0);
	if (m)
		(void)mirror_close(m);
	remove_tree(base);
}

static inline uint64_t file(const char *name)
{
	cr_assert_eq(mirror_create(m, META_ROOT_ID, name, 0644, &cred, &e), 0);
	return e.id;
}

#define WAIT_UNTIL(condition)                                     \
	for (int tries_ = 0; !(condition); tries_++) {            \
		cr_assert_lt(tries_, 5000, "never: " #condition); \
		(void)poll(NULL, 0, 1);                           \
	}

static inline enum meta_store_state state_of(int k)
{
	struct mirror_slot_info info;

	mirror_slot_info(m, slot_of[k], &info);
	return info.state;
}

static inline void all_online(void)
{
	for (int k = 0; k < STORES; k++)
		cr_expect_eq(state_of(k), META_STORE_ONLINE, "store %d", k);
}

/* What the map of store @k says of the state of store @who. */
static inline enum meta_store_state recorded_state(int k, int who)
{
	static struct meta_member v[META_STORE_MAX];
	enum meta_store_state state = 0;
	struct mirror_ref ref;
	struct meta_reader *rd;
	size_t count;

	cr_assert_eq(mirror_ref_get(m, slot_of[k], &ref), 0);
	rd = meta_reader_get(ref.meta);
	cr_assert_eq(meta_members(rd, v, &count), 0);
	for (size_t i = 0; i < count; i++)
		if (!strcmp(v[i].uuid, uuids[who]))
			state = v[i].state;
	meta_reader_put(rd);
	mirror_ref_put(m, &ref);
	return state;
}

/* Members of the newest epoch in the map of store @k. */
static inline unsigned int epoch_members(int k)
{
	struct mirror_ref ref;
	struct meta_reader *rd;
	struct meta_epoch *v;
	unsigned int n;
	size_t count;

	cr_assert_eq(mirror_ref_get(m, slot_of[k], &ref), 0);
	rd = meta_reader_get(ref.meta);
	cr_assert_eq(meta_epochs(rd, &v, &count), 0);
	n = v[count - 1].member_count;
	free(v);
	meta_reader_put(rd);
	mirror_ref_put(m, &ref);
	return n;
}

/* How many epochs the map of store @k has. */
static inline size_t epochs(int k)
{
	struct mirror_ref ref;
	struct meta_reader *rd;
	struct meta_epoch *v;
	size_t count;

	cr_assert_eq(mirror_ref_get(m, slot_of[k], &ref), 0);
	rd = meta_reader_get(ref.meta);
	cr_assert_eq(meta_epochs(rd, &v, &count), 0);
	free(v);
	meta_reader_put(rd);
	mirror_ref_put(m, &ref);
	return count;
}

/* Of the file "f" on store @k: -1 behind its end, -2 there is none. */
static inline int first_byte(int k, off_t off)
{
	unsigned char byte;
	char path[8192];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/f", dirs[k]);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return -2;
	n = pread(fd, &byte, 1, off);
	close(fd);
	return n == 1 ? byte : -1;
}

static inline char *slurp(int k, const char *name, size_t *len)
{
	static char buf[STORES][1 << 18];
	char path[8192];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dirs[k], name);
	fd = open(path, O_RDONLY);
	cr_assert_geq(fd, 0, "%s", path);
	n = read(fd, buf[k], sizeof(buf[k]));
	close(fd);
	*len = (size_t)n;
	return buf[k];
}

static inline void same_on_all(const char *name)
{
	size_t len, other;
	const char *first = slurp(0, name, &len);

	for (int k = 1; k < STORES; k++) {
		const char *it = slurp(k, name, &other);

		cr_assert_eq(len, other, "store %d: %zu, not %zu", k, other,
			     len);
		cr_assert(!memcmp(first, it, len), "store %d", k);
	}
}

struct call {
	pthread_t thread;
	int (*fn)(const struct call *c);
	uint64_t id;
	uint64_t off;
	size_t len;
	int result;
};

static inline void *call_run(void *arg)
{
	struct call *c = arg;

	c->result = c->fn(c);
	return NULL;
}

static inline void begin(struct call *c)
{
	cr_assert_eq(pthread_create(&c->thread, NULL, call_run, c), 0);
}

static inline int end(struct call *c)
{
	cr_assert_eq(pthread_join(c->thread, NULL), 0);
	return c->result;
}

static inline int call_write(const struct call *c)
{
	static const char text[1 << 16] = "contents";

	return mirror_write(m, c->id, text, c->len, c->off, false);
}

static inline int call_fsync(const struct call *c)
{
	return mirror_fsync(m, c->id, true);
}

static inline int call_unlink(const struct call *c)
{
	(void)c;
	return mirror_unlink(m, META_ROOT_ID, "f");
}

static inline int call_checkpoint(const struct call *c)
{
	(void)c;
	return mirror_checkpoint(m, NULL);
}
