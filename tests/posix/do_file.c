/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Open files as such: locks, flags, handles; directories.
 */
#include "differ.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

void do_close(struct side *s, const struct op *op, struct outcome *o)
{
	int fd = s->fd[op->fd];

	s->fd[op->fd] = -1;
	say_result(o, syscall(SYS_close, fd));
}

void do_dup(struct side *s, const struct op *op, struct outcome *o)
{
	int fd = fcntl(s->fd[op->fd], F_DUPFD_CLOEXEC, 10);

	say_result(o, fd < 0 ? -1 : 0);
	if (fd >= 0)
		slot_put(s, op->fd2, fd);
}

void do_setfl(struct side *s, const struct op *op, struct outcome *o)
{
	static const int flags[] = {O_APPEND, 0, O_NOATIME, O_APPEND | O_RDWR,
				    O_ASYNC};

	say_result(o, fcntl(s->fd[op->fd], F_SETFL,
			    O_NONBLOCK | flags[op->val % 5]));
	say_result(o, fcntl(s->fd[op->fd], F_GETFL));
}

void do_umask(struct side *s, const struct op *op, struct outcome *o)
{
	(void)s;
	say_result(o, syscall(SYS_umask, op->mode & 0777));
}

/* ---- locks; nobody waits ---- */

void do_flock(struct side *s, const struct op *op, struct outcome *o)
{
	static const int what[] = {LOCK_SH, LOCK_EX, LOCK_UN, LOCK_SH, 77};

	say_result(o, syscall(SYS_flock, s->fd[op->fd],
			      what[op->val % 5] | LOCK_NB));
}

static struct flock lock_of(const struct op *op)
{
	static const short types[] = {F_RDLCK, F_WRLCK, F_UNLCK, F_RDLCK, 99};
	static const short whence[] = {SEEK_SET, SEEK_SET, SEEK_CUR,
				       SEEK_END, SEEK_SET, 9};

	return (struct flock){
		.l_type = types[op->val % 5],
		.l_whence = whence[op->val / 5 % 6],
		.l_start = op->off,
		.l_len = op->val % 3 ? op->len : 0,
	};
}

void do_setlk(struct side *s, const struct op *op, struct outcome *o)
{
	struct flock lock = lock_of(op);

	say_result(o, fcntl(s->fd[op->fd], F_SETLK, &lock));
}

void do_ofd_setlk(struct side *s, const struct op *op, struct outcome *o)
{
	struct flock lock = lock_of(op);

	say_result(o, fcntl(s->fd[op->fd], F_OFD_SETLK, &lock));
}

void do_getlk(struct side *s, const struct op *op, struct outcome *o)
{
	struct flock lock = lock_of(op);
	int r = fcntl(s->fd[op->fd], op->val % 2 ? F_OFD_GETLK : F_GETLK,
		      &lock);

	say_result(o, r);
	if (!r)
		say(o, " %d %d %lld %lld", lock.l_type, lock.l_whence,
		    (long long)lock.l_start, (long long)lock.l_len);
}

/* ---- handles ---- */

void do_handle_take(struct side *s, const struct op *op, struct outcome *o)
{
	unsigned int i = op->val % HANDLES;
	struct file_handle *h = (void *)s->handle[i].bytes;
	int mount_id, flags = op->val % 5 ? 0 : AT_SYMLINK_FOLLOW;
	long r;

	h->handle_bytes = op->val % 13 ? 128 : 1;
	r = syscall(SYS_name_to_handle_at, at_of(s, op), path_a(s, op), h,
		    &mount_id, flags);
	say_result(o, r);
	s->handle[i].taken = r == 0;
}

void do_handle_open(struct side *s, const struct op *op, struct outcome *o)
{
	unsigned int i = op->val % HANDLES;
	struct stat st;
	long fd;

	if (!s->handle[i].taken)
		return;
	fd = syscall(SYS_open_by_handle_at, s->root, s->handle[i].bytes,
		     O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC |
			     (op->val % 3 ? O_PATH : 0));
	if (fd < 0) {
		say_result(o, -1);
		return;
	}
	if (!fstat((int)fd, &st))
		say(o, " %o %lu %u %u", st.st_mode, (unsigned long)st.st_nlink,
		    st.st_uid, st.st_gid);
	(void)close((int)fd);
}

void do_ioctl(struct side *s, const struct op *op, struct outcome *o)
{
	int value = 0, fd = s->fd[op->fd];
	struct stat st;

	/* What is not of the file or known to every file. */
	if (fd >= 0 && (fstat(fd, &st) || !S_ISREG(st.st_mode)))
		return;
	say_result(o, syscall(SYS_ioctl, fd, op->val % 2 ? FIONBIO : TIOCGPGRP,
			      &value));
}

/* ---- directories ---- */

struct entry64 {
	uint64_t ino;
	int64_t off;
	unsigned short len;
	unsigned char type;
	char name[];
};

struct names {
	uint64_t sum;
	unsigned long count;
};

static void names_add(struct names *n, const struct entry64 *e)
{
	n->count++;
	n->sum += hash_bytes(HASH_START + e->type, e->name, strlen(e->name));
}

/* To the end from where @fd stands. @cookies: positions behind the entries. */
static int list_rest(struct side *s, int fd, size_t len, struct names *ret,
		     int64_t *cookies, unsigned int max)
{
	long r;

	while ((r = syscall(SYS_getdents64, fd, s->buf, len)) > 0) {
		for (long i = 0; i < r;) {
			const struct entry64 *e = (void *)(s->buf + i);

			if (cookies && ret->count < max)
				cookies[ret->count] = e->off;
			names_add(ret, e);
			i += e->len;
		}
	}
	return r < 0 ? -1 : 0;
}

static void say_list(struct outcome *o, int r, const struct names *n)
{
	say_result(o, r);
	say(o, " %lu names %016llx", n->count, (unsigned long long)n->sum);
}

void do_list(struct side *s, const struct op *op, struct outcome *o)
{
	static const size_t sizes[] = {300, 1024, 32768, 65536};
	struct names n = {0};
	long fd = syscall(SYS_openat, at_of(s, op), path_a(s, op),
			  O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0) {
		say_result(o, -1);
		return;
	}
	say_list(o, list_rest(s, (int)fd, sizes[op->val % 4], &n, NULL, 0), &n);
	(void)close((int)fd);
}

/* From the beginning on a descriptor that may be of a removed directory. */
void do_list_on(struct side *s, const struct op *op, struct outcome *o)
{
	struct names n = {0};
	int fd = s->fd[op->fd], r;
	struct stat st;

	if (fd >= 0 && (fstat(fd, &st) || !S_ISDIR(st.st_mode)))
		return;
	(void)lseek(fd, 0, SEEK_SET);
	r = list_rest(s, fd, 4096, &n, NULL, 0);
	say_list(o, r, &n);
	/* What a read says there depends on the cookie. */
	(void)lseek(fd, 0, SEEK_SET);
}

/* Back to a place in the middle: what comes is what came before. */
void do_seek_dir(struct side *s, const struct op *op, struct outcome *o)
{
	enum {
		MAX = 300
	};
	int64_t cookies[MAX];
	struct names all = {0}, head = {0}, tail = {0};
	unsigned long at;
	long fd = syscall(SYS_openat, at_of(s, op), path_a(s, op),
			  O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0) {
		say_result(o, -1);
		return;
	}
	if (list_rest(s, (int)fd, 500, &all, cookies, MAX) || !all.count ||
	    all.count > MAX) {
		(void)close((int)fd);
		return;
	}
	at = op->val % all.count;
	(void)syscall(SYS_lseek, (int)fd, 0, SEEK_SET);
	while (head.count <= at) {
		long r = syscall(SYS_getdents64, (int)fd, s->buf, 300);

		if (r <= 0)
			break;
		for (long i = 0; i < r && head.count <= at;) {
			const struct entry64 *e = (void *)(s->buf + i);

			names_add(&head, e);
			i += e->len;
		}
	}
	if (syscall(SYS_lseek, (int)fd, cookies[at], SEEK_SET) != cookies[at])
		say(o, " not there");
	if (list_rest(s, (int)fd, 400, &tail, NULL, 0))
		say_result(o, -1);
	(void)close((int)fd);
	say(o, " %s", head.sum + tail.sum == all.sum ? "whole" : "torn");
}
