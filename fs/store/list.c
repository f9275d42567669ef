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

/* A user's own directory that may not be searched, or not be read. */
static int reopen_forced(const struct store *s, int dirfd, int flags)
{
	_cleanup_close_ int fd = -1;
	struct mode_lift lift;
	int err = mode_lift_begin(s, dirfd, S_IRUSR | S_IXUSR, &lift);

	if (err)
		return err == -EPERM ? -EACCES : err;
	fd = now_reopen(s, dirfd, flags);
	err = mode_lift_end(s, &lift);
	return fd >= 0 && err ? err : steal_fd(&fd);
}

/* Reading must not move access times if that can be had. @flag: is it the
 * root of the store? */
static ssize_t make_reopen(struct store_call *k)
{
	int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
	int fd = RETRY_EINTR(openat(k->fd[0], ".", flags | O_NOATIME));
	struct stat st;

	if (fd < 0 && errno == EPERM)
		fd = RETRY_EINTR(openat(k->fd[0], ".", flags));
	if (fd < 0 && errno == EACCES && k->s->euid)
		fd = reopen_forced(k->s, k->fd[0], flags);
	else if (fd < 0)
		fd = -errno;
	if (fd < 0)
		return fd;
	if (fstat(fd, &st)) {
		int err = -errno;

		close_fd(&fd);
		return err;
	}
	k->flag = st.st_dev == k->s->dev && st.st_ino == k->s->root_ino;
	return fd;
}

static ssize_t make_getdents(struct store_call *k)
{
	ssize_t n = RETRY_EINTR(getdents64(k->fd[0], k->out, k->out_len));

	return n < 0 ? -errno : n;
}

struct lister {
	const struct store *s;
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
		struct store_call k = STORE_CALL(make_getdents);
		ssize_t n, at = 0;

		k.fd[0] = fd;
		k.out = buf;
		k.out_len = LIST_BUF_BYTES;
		k.counted = true;
		n = call_run(l->s, &k);
		if (n <= 0)
			return (int)n;
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
	struct store_call k = STORE_CALL(make_reopen);
	_cleanup_close_ int fd = -1;
	_cleanup_free_ char *buf = NULL;
	struct lister l = {.s = s, .fn = fn, .arg = arg};
	int err = store_gate(s, "store.list");

	if (err)
		return err;
	k.fd[0] = dirfd;
	k.gives_fd = true;
	fd = (int)call_run(s, &k);
	if (fd < 0)
		return fd;
	l.is_root = k.flag;
	buf = malloc(LIST_BUF_BYTES);
	if (!buf)
		return -ENOMEM;
	return list_all(&l, fd, buf);
}
