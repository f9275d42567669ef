/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A store in a directory of its own below TMPDIR, for each test, and a few
 * things to do to it from outside. Each test is a process, so a test that
 * becomes another user or enters a mount namespace harms nobody.
 */
#pragma once

#include <criterion/criterion.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/store/internal.h"

enum {
	OTHER_UID = 61234,
	OTHER_GID = 61235,
};

static char box[PATH_MAX];  /* the directory of this test */
static char root[PATH_MAX]; /* the store's, in it */
static struct store *store;
static int rootfd = -1;

static const struct store_identity some_id = {
	.volume_uuid = "8f14e45f-ceea-467f-a0e6-9d3b1c7f5a10",
	.store_uuid = "45c48cce-2e2d-4fbd-aa1a-fc51c7c6ad26",
	.name = "left",
	.format = STORE_FORMAT,
};

/* "DIR/NAME", in one of a few buffers that are used in turn. */
static inline const char *at(const char *dir, const char *name)
{
	static char bufs[4][PATH_MAX + 512];
	static unsigned int next;
	char *buf = bufs[next++ % ARRAY_SIZE(bufs)];

	snprintf(buf, sizeof(bufs[0]), "%s/%s", dir, name);
	return buf;
}

static inline int remove_entry(const char *path, const struct stat *st,
			       int kind, struct FTW *ftw)
{
	(void)st;
	(void)kind;
	(void)ftw;
	return remove(path);
}

static inline void box_init_in(const char *parent)
{
	char real[PATH_MAX];

	cr_assert(realpath(parent, real));
	snprintf(box, sizeof(box), "%.4000s/store-test-XXXXXX", real);
	cr_assert(mkdtemp(box));
	cr_assert_eq(chmod(box, 0755), 0);
	snprintf(root, sizeof(root), "%.4080s/root", box);
	cr_assert_eq(mkdir(root, 0755), 0);
}

static inline void box_init(void)
{
	const char *tmp = getenv("TMPDIR");

	umask(022);
	box_init_in(tmp && tmp[0] ? tmp : "/tmp");
}

static inline void box_done(void)
{
	(void)nftw(box, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static inline void store_up(void)
{
	cr_assert_eq(store_make(root, &some_id, NULL, NULL), 0);
	cr_assert_eq(store_open(root, some_id.store_uuid, &store), 0);
	rootfd = store_root_fd(store);
}

static inline void store_init(void)
{
	box_init();
	store_up();
}

static inline void store_done(void)
{
	store_close(store);
	store = NULL;
	box_done();
}

static inline int make_file(const char *name, mode_t mode)
{
	int fd = store_create(store, rootfd, name, 0600, NULL);

	cr_assert_geq(fd, 0, "%s: %s", name, strerror(-fd));
	cr_assert_eq(fchmod(fd, mode), 0);
	return fd;
}

static inline void put_text(const char *path, const char *text, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	cr_assert_geq(fd, 0);
	cr_assert_eq(write(fd, text, len), (ssize_t)len);
	close(fd);
}

static inline struct stat stat_of(const char *name)
{
	struct store_stat st;

	cr_assert_eq(store_statat(store, rootfd, name, 0, &st), 0);
	return st.st;
}

static inline mode_t perms_of(const char *name)
{
	return stat_of(name).st_mode & 07777;
}

static inline struct store_obj by_fd(int fd)
{
	return (struct store_obj){.fd = fd, .dirfd = -1};
}

static inline struct store_obj by_name(const char *name)
{
	return (struct store_obj){.fd = -1, .dirfd = rootfd, .name = name};
}

/* Criterion ends a skipped test without its .fini. */
#define skip(reason)                  \
	do {                          \
		box_done();           \
		cr_skip_test(reason); \
	} while (0)

static inline void need_root(void)
{
	if (geteuid() != 0)
		skip("needs root");
}

/*
 * Go on as an ordinary user with an empty, open store of his own. As root:
 * become one. The store of the fixture is closed and its files are given away
 * before.
 */
static inline void become_ordinary(void)
{
	if (geteuid() != 0)
		return;
	store_close(store);
	store = NULL;
	cr_assert_eq(store_unmake(root), 0);
	cr_assert_eq(chown(root, OTHER_UID, OTHER_GID), 0);
	cr_assert_eq(chown(box, OTHER_UID, OTHER_GID), 0);
	cr_assert_eq(setgroups(0, NULL), 0);
	cr_assert_eq(setresgid(OTHER_GID, OTHER_GID, OTHER_GID), 0);
	cr_assert_eq(setresuid(OTHER_UID, OTHER_UID, OTHER_UID), 0);
	store_up();
}
