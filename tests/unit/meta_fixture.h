/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A map in a directory of its own for unit tests, and shorthands.
 *
 *	struct fixture f;
 *
 *	fixture_open(&f);
 *	must(meta_begin(f.m));
 *	put_node(f.m, 16, META_FILE, 5);
 *	must(meta_commit(f.m));
 *	fixture_done(&f);
 */
#pragma once

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "meta/meta.h"

#define VOLUME_UUID "11111111-1111-4111-8111-111111111111"
#define STORE_UUID  "22222222-2222-4222-8222-222222222222"

struct fixture {
	char dir[64];
	struct meta *m;
};

/* The runner's own assertions tell it of each success as well, which is slow
 * in a loop. */
#define check(cond, ...)                             \
	do {                                         \
		if (!(cond))                         \
			cr_assert_fail(__VA_ARGS__); \
	} while (0)

#define must(call)                                           \
	do {                                                 \
		int must_r_ = (call);                        \
		check(must_r_ >= 0, "%s: %s", #call,         \
		      strerror(must_r_ < 0 ? -must_r_ : 0)); \
	} while (0)

#define expect_int(call, wanted)                                           \
	do {                                                               \
		int got_ = (call);                                         \
		check(got_ == (wanted), "%s: got %d, not %d", #call, got_, \
		      (int)(wanted));                                      \
	} while (0)

static inline void fixture_create(struct fixture *f)
{
	struct meta_node root = {
		.id = META_ROOT_ID,
		.kind = META_DIR,
		.backing = {.ino = 2, .gen = 3},
	};

	(void)snprintf(f->dir, sizeof(f->dir), "/tmp/test_meta_XXXXXX");
	cr_assert_not_null(mkdtemp(f->dir));
	f->m = NULL;
	must(meta_create(f->dir, VOLUME_UUID, STORE_UUID, &root));
}

static inline void fixture_reopen(struct fixture *f, enum meta_open_mode mode)
{
	char *why = NULL;
	int r;

	meta_close(f->m);
	f->m = NULL;
	r = meta_open(f->dir, mode, &f->m, &why);
	cr_assert_eq(r, 0, "open: %d %s", r, why ? why : "");
	cr_assert_null(why);
}

static inline void fixture_open(struct fixture *f)
{
	fixture_create(f);
	fixture_reopen(f, META_OPEN_RW);
}

static inline void fixture_done(struct fixture *f)
{
	char path[400];
	struct dirent *d;
	DIR *dir;

	meta_close(f->m);
	f->m = NULL;
	dir = opendir(f->dir);
	while (dir && (d = readdir(dir))) {
		(void)snprintf(path, sizeof(path), "%s/%s", f->dir, d->d_name);
		if (unlink(path) < 0)
			(void)rmdir(path);
	}
	if (dir)
		(void)closedir(dir);
	(void)rmdir(f->dir);
}

/* Names, sizes and contents of the directory as one number. */
static inline uint64_t fixture_hash(const struct fixture *f)
{
	static unsigned char buf[65536];
	uint64_t all = 0;
	char path[400];
	struct dirent *d;
	DIR *dir = opendir(f->dir);

	cr_assert_not_null(dir);
	while ((d = readdir(dir))) {
		uint64_t one = UINT64_C(14695981039346656037);
		ssize_t len;
		int fd;

		if (d->d_name[0] == '.')
			continue;
		for (const char *p = d->d_name; *p; p++)
			one = (one ^ (unsigned char)*p) *
			      UINT64_C(1099511628211);
		(void)snprintf(path, sizeof(path), "%s/%s", f->dir, d->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		cr_assert(fd >= 0);
		while ((len = read(fd, buf, sizeof(buf))) > 0)
			for (ssize_t i = 0; i < len; i++)
				one = (one ^ buf[i]) * UINT64_C(1099511628211);
		(void)close(fd);
		all += one;
	}
	(void)closedir(dir);
	return all;
}

static inline void put_node(struct meta *m, uint64_t id, enum meta_kind kind,
			    uint64_t seq)
{
	struct meta_node node = {
		.id = id,
		.kind = kind,
		.backing = {.ino = id + 1000, .gen = ~id},
		.attr_seq = seq,
		.seq = seq,
	};

	must(meta_node_put(m, &node));
}

static inline struct meta_dentry make_dentry(uint64_t parent, const char *name,
					     uint64_t node, uint64_t seq)
{
	struct meta_dentry d = {
		.parent = parent,
		.node = node,
		.seq = seq,
		.name_len = (uint16_t)strlen(name),
	};

	memcpy(d.name, name, strlen(name) + 1);
	return d;
}

static inline void put_dentry(struct meta *m, uint64_t parent, const char *name,
			      uint64_t node, uint64_t seq)
{
	struct meta_dentry d = make_dentry(parent, name, node, seq);

	must(meta_dentry_put(m, &d));
}
