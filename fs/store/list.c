/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directories, read through a descriptor of their own, so that several
 * threads can list one directory at once.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "fs/store/internal.h"

enum {
	LIST_BUF_BYTES = 65536,
};

/* Reading must not move access times if that can be had. */
static int reopen_dir(int dirfd)
{
	int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
	int fd = RETRY_EINTR(openat(dirfd, ".", flags | O_NOATIME));

	if (fd < 0 && errno == EPERM)
		fd = RETRY_EINTR(openat(dirfd, ".", flags));
	return sys_result(fd);
}

struct lister {
	bool is_root; /* of the store: .seqmirror is nobody's entry */
	int (*fn)(void *arg, const struct store_dirent *e);
	void *arg;
};

static int list_one(const struct lister *l, const struct dirent64 *d)
{
	struct store_dirent e = {
		.ino = d->d_ino,
		.type = d->d_type,
		.name = d->d_name,
	};

	if (!strcmp(e.name, ".") || !strcmp(e.name, ".."))
		return 0;
	if (l->is_root && !strcmp(e.name, STORE_PRIVATE))
		return 0;
	if (!store_name_ok(e.name))
		return -EUCLEAN; /* a damaged filesystem */
	return l->fn(l->arg, &e);
}

static int list_all(const struct lister *l, int fd, char *buf)
{
	for (;;) {
		ssize_t n = RETRY_EINTR(getdents64(fd, buf, LIST_BUF_BYTES));
		ssize_t at = 0;

		if (n <= 0)
			return n < 0 ? -errno : 0;
		while (at < n) {
			/* The kernel pads every record to eight bytes. */
			const struct dirent64 *d = (const void *)(buf + at);
			int result = list_one(l, d);

			if (result)
				return result;
			at += d->d_reclen;
		}
	}
}

int store_list(const struct store *s, int dirfd,
	       int (*fn)(void *arg, const struct store_dirent *e), void *arg)
{
	_cleanup_close_ int fd = -1;
	_cleanup_free_ char *buf = NULL;
	struct lister l = {.fn = fn, .arg = arg};
	struct stat st;
	int err = store_gate(s, "store.list");

	if (err)
		return err;
	fd = reopen_dir(dirfd);
	if (fd < 0)
		return fd;
	if (fstat(fd, &st))
		return -errno;
	l.is_root = st.st_dev == s->dev && st.st_ino == s->root_ino;
	buf = malloc(LIST_BUF_BYTES);
	if (!buf)
		return -ENOMEM;
	return list_all(&l, fd, buf);
}
