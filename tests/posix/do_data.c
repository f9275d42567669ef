/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Contents of files.
 */
#include "differ.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static int fd_of(const struct side *s, const struct op *op)
{
	return s->fd[op->fd];
}

static void got(struct side *s, struct outcome *o, long r)
{
	say_result(o, r);
	if (r > 0)
		say_bytes(o, s->buf, (size_t)r);
}

void do_read(struct side *s, const struct op *op, struct outcome *o)
{
	got(s, o, syscall(SYS_read, fd_of(s, op), s->buf, (size_t)op->len));
}

void do_pread(struct side *s, const struct op *op, struct outcome *o)
{
	got(s, o,
	    syscall(SYS_pread64, fd_of(s, op), s->buf, (size_t)op->len,
		    op->off));
}

static void split(const struct side *s, const struct op *op,
		  struct iovec iov[3])
{
	size_t len = (size_t)op->len, one = len / 3, two = len / 2 - one;

	iov[0] = (struct iovec){s->buf, one};
	iov[1] = (struct iovec){s->buf + one, two};
	iov[2] = (struct iovec){s->buf + one + two, len - one - two};
}

void do_preadv2(struct side *s, const struct op *op, struct outcome *o)
{
	static const int flags[] = {0, 0, RWF_HIPRI, 0x4000};
	struct iovec iov[3];

	split(s, op, iov);
	got(s, o,
	    syscall(SYS_preadv2, fd_of(s, op), iov, 3, (long)op->off,
		    (long)(op->off >> 32), flags[op->val % 4]));
}

void do_write(struct side *s, const struct op *op, struct outcome *o)
{
	fill_data(s->buf, (size_t)op->len, op->val);
	say_result(o,
		   syscall(SYS_write, fd_of(s, op), s->buf, (size_t)op->len));
}

void do_pwrite(struct side *s, const struct op *op, struct outcome *o)
{
	fill_data(s->buf, (size_t)op->len, op->val);
	say_result(o, syscall(SYS_pwrite64, fd_of(s, op), s->buf,
			      (size_t)op->len, op->off));
}

void do_pwritev2(struct side *s, const struct op *op, struct outcome *o)
{
	static const int flags[] = {0,	       RWF_APPEND, RWF_DSYNC, RWF_SYNC,
				    RWF_HIPRI, RWF_APPEND, 0x4000};
	struct iovec iov[3];

	fill_data(s->buf, (size_t)op->len, op->val);
	split(s, op, iov);
	say_result(o, syscall(SYS_pwritev2, fd_of(s, op), iov, 3, (long)op->off,
			      (long)(op->off >> 32), flags[op->val % 7]));
}

void do_lseek(struct side *s, const struct op *op, struct outcome *o)
{
	static const int whence[] = {SEEK_SET, SEEK_CUR, SEEK_END, SEEK_SET, 9};
	int how = whence[op->val % 5];
	struct stat st;

	/* Positions in directories are cookies; beyond the largest file the
	 * sides differ. */
	if (!fstat(fd_of(s, op), &st) && S_ISDIR(st.st_mode))
		return;
	say_result(o,
		   syscall(SYS_lseek, fd_of(s, op),
			   how == SEEK_SET ? op->off : op->off % 65536, how));
}

static bool all_zero(int fd, off_t from, off_t to, char *buf)
{
	while (from < to) {
		size_t len = to - from < 65536 ? (size_t)(to - from) : 65536;
		ssize_t n = pread(fd, buf, len, from);

		if (n <= 0)
			return n == 0;
		for (ssize_t i = 0; i < n; i++)
			if (buf[i])
				return false;
		from += n;
	}
	return true;
}

/* Both bits of the access mode set is neither reading nor writing. */
static bool can_be_read(int fd)
{
	int flags = fcntl(fd, F_GETFL), mode = flags & O_ACCMODE;

	return (mode == O_RDONLY || mode == O_RDWR) &&
	       !(flags & (O_PATH | O_DIRECT));
}

/* Where nothing was preallocated the answer is one; elsewhere it depends on
 * what is cached, and what is called a hole must be zero. */
void do_seek_hole(struct side *s, const struct op *op, struct outcome *o)
{
	int fd = fd_of(s, op);
	off_t was = lseek(fd, 0, SEEK_CUR);
	int whence = op->val % 2 ? SEEK_DATA : SEEK_HOLE;
	struct stat st = {0};
	long r;

	if (fd >= 0 && (fstat(fd, &st) || !S_ISREG(st.st_mode)))
		return;
	r = syscall(SYS_lseek, fd, op->off, whence);
	if (s->opt->no_alloc || fd < 0) {
		say_result(o, r);
	} else if (whence == SEEK_DATA) {
		off_t end = r < 0 ? st.st_size : r;

		if (end - op->off < 1 << 22 && can_be_read(fd) &&
		    !all_zero(fd, op->off, end, s->buf))
			say(o, " data in a hole");
	}
	if (was >= 0)
		(void)lseek(fd, was, SEEK_SET);
}

/* ---- maps ---- */

static sigjmp_buf fault_jump;

static void on_fault(int sig)
{
	(void)sig;
	siglongjmp(fault_jump, 1);
}

static char *map_it(struct side *s, const struct op *op, struct outcome *o,
		    int prot)
{
	off_t start = op->off & ~(off_t)4095;
	size_t len = (size_t)op->len + (size_t)(op->off - start);
	struct sigaction act = {.sa_handler = on_fault, .sa_flags = SA_NODEFER};
	char *map;

	(void)sigaction(SIGBUS, &act, NULL);
	map = mmap(NULL, len, prot, op->val % 8 ? MAP_SHARED : MAP_PRIVATE,
		   fd_of(s, op), start);
	if (map == MAP_FAILED) {
		say_result(o, -1);
		return NULL;
	}
	return map;
}

static void unmap_it(const struct op *op, char *map)
{
	off_t start = op->off & ~(off_t)4095;

	(void)munmap(map, (size_t)op->len + (size_t)(op->off - start));
}

/* Through a volatile pointer and byte by byte, so that it is known how far it
 * came. */
static size_t copy_in(volatile char *to, const char *from, size_t len)
{
	static volatile size_t done;

	done = 0;
	if (sigsetjmp(fault_jump, 1))
		return done;
	for (size_t i = 0; i < len; i++) {
		to[i] = from[i];
		done = i + 1;
	}
	return done;
}

static size_t copy_out(char *to, const volatile char *from, size_t len)
{
	static volatile size_t done;

	done = 0;
	if (sigsetjmp(fault_jump, 1))
		return done;
	for (size_t i = 0; i < len; i++) {
		to[i] = from[i];
		done = i + 1;
	}
	return done;
}

void do_map_write(struct side *s, const struct op *op, struct outcome *o)
{
	size_t skip = (size_t)(op->off & 4095), done;
	char *map;

	/* A page of a map may be larger on one side than on the other, and all
	 * of it then counts as data. */
	if (op->len <= 0 || op->len > DATA_MAX || s->opt->no_alloc)
		return;
	map = map_it(s, op, o, PROT_READ | PROT_WRITE);
	if (!map)
		return;
	fill_data(s->buf, (size_t)op->len, op->val);
	done = copy_in(map + skip, s->buf, (size_t)op->len);
	say(o, " wrote %zu", done);
	o->good = done > 0;
	if (op->val % 3 == 0 || s->opt->strict_map)
		say_result(o, msync(map, skip + (size_t)op->len, MS_SYNC));
	unmap_it(op, map);
}

void do_map_read(struct side *s, const struct op *op, struct outcome *o)
{
	size_t skip = (size_t)(op->off & 4095), done;
	struct stat st;
	char *map;

	if (op->len <= 0 || op->len > DATA_MAX)
		return;
	map = map_it(s, op, o, PROT_READ);
	if (!map)
		return;
	done = copy_out(s->buf, map + skip, (size_t)op->len);
	say(o, " read %zu", done);
	/* What lies behind the end in its page is nobody's promise. */
	if (!fstat(fd_of(s, op), &st) && (off_t)done > st.st_size - op->off)
		done = st.st_size > op->off ? (size_t)(st.st_size - op->off)
					    : 0;
	say_bytes(o, s->buf, done);
	unmap_it(op, map);
}

/* ---- sizes and space ---- */

/* To the size that it has: one of the things that are told otherwise. */
static int64_t other_size(const struct stat *st, int r, int64_t size)
{
	return !r && st->st_size == size ? size + 1 : size;
}

void do_truncate(struct side *s, const struct op *op, struct outcome *o)
{
	const char *path = path_a(s, op);
	struct stat st;
	long r;

	r = syscall(SYS_newfstatat, AT_FDCWD, path, &st, 0);
	say_result(o, syscall(SYS_truncate, path,
			      other_size(&st, (int)r, op->off)));
}

void do_ftruncate(struct side *s, const struct op *op, struct outcome *o)
{
	struct stat st;
	int r = fstat(fd_of(s, op), &st);

	say_result(o, syscall(SYS_ftruncate, fd_of(s, op),
			      other_size(&st, r, op->off)));
}

void do_fallocate(struct side *s, const struct op *op, struct outcome *o)
{
	static const int with[] = {
		0,
		FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_ZERO_RANGE,
		FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_PUNCH_HOLE,
		FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE |
			FALLOC_FL_KEEP_SIZE,
		0x100,
	};
	int mode = with[s->opt->no_alloc ? 4 + op->val % 5 : op->val % 9];

	say_result(o, syscall(SYS_fallocate, fd_of(s, op), mode, op->off,
			      op->len));
}

/* ---- from file to file ---- */

void do_copy_file_range(struct side *s, const struct op *op, struct outcome *o)
{
	off_t in = op->off, out = op->off2;

	say_result(o, syscall(SYS_copy_file_range, s->fd[op->fd2], &in,
			      fd_of(s, op), &out, (size_t)op->len,
			      op->val % 20 ? 0 : 1));
	say(o, " at %lld %lld", (long long)in, (long long)out);
}

void do_sendfile(struct side *s, const struct op *op, struct outcome *o)
{
	off_t in = op->off;

	say_result(o, syscall(SYS_sendfile, fd_of(s, op), s->fd[op->fd2], &in,
			      (size_t)op->len));
}

void do_splice(struct side *s, const struct op *op, struct outcome *o)
{
	loff_t in = op->off, out = op->off2;
	int ends[2];
	long r;

	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK))
		abort();
	r = syscall(SYS_splice, s->fd[op->fd2], &in, ends[1], NULL,
		    (size_t)(op->len & 0xffff), 0);
	say_result(o, r);
	if (r > 0)
		say_result(o, syscall(SYS_splice, ends[0], NULL, fd_of(s, op),
				      &out, (size_t)r, 0));
	(void)close(ends[0]);
	(void)close(ends[1]);
}

/* ---- to the disk ---- */

void do_fsync(struct side *s, const struct op *op, struct outcome *o)
{
	say_result(o, syscall(SYS_fsync, fd_of(s, op)));
}

void do_fdatasync(struct side *s, const struct op *op, struct outcome *o)
{
	say_result(o, syscall(SYS_fdatasync, fd_of(s, op)));
}

void do_sync_file_range(struct side *s, const struct op *op, struct outcome *o)
{
	say_result(o, syscall(SYS_sync_file_range, fd_of(s, op), op->off,
			      op->len, op->val % 9));
}

void do_syncfs(struct side *s, const struct op *op, struct outcome *o)
{
	say_result(o, syscall(SYS_syncfs, fd_of(s, op)));
}

void do_fadvise(struct side *s, const struct op *op, struct outcome *o)
{
	say_result(o, syscall(SYS_fadvise64, fd_of(s, op), op->off, op->len,
			      op->val % 7));
}

void do_readahead(struct side *s, const struct op *op, struct outcome *o)
{
	say_result(o, syscall(SYS_readahead, fd_of(s, op), op->off,
			      (size_t)op->len));
}
