/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names: open, make, move, take away.
 */
#include "differ.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* A fifo or terminal must not keep us waiting. */
#define NO_WAIT (O_NONBLOCK | O_NOCTTY | O_CLOEXEC)

static void opened(struct side *s, const struct op *op, struct outcome *o,
		   long fd)
{
	if (fd < 0) {
		say_result(o, -1);
		return;
	}
	o->good = true;
	say(o, " opened");
	slot_put(s, op->fd, (int)fd);
}

void do_open(struct side *s, const struct op *op, struct outcome *o)
{
	opened(s, op, o,
	       syscall(SYS_openat, at_of(s, op), path_a(s, op),
		       op->flags | NO_WAIT, op->mode));
}

void do_openat2(struct side *s, const struct op *op, struct outcome *o)
{
	static const uint64_t resolve[] = {
		0,
		RESOLVE_NO_SYMLINKS,
		RESOLVE_BENEATH,
		RESOLVE_IN_ROOT,
		RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS,
		1ull << 60,
	};
	struct open_how how = {
		.flags = op->flags | NO_WAIT,
		.resolve = resolve[op->val % 6],
	};

	/* This one is strict. */
	if (how.flags & (O_CREAT | __O_TMPFILE))
		how.mode = op->mode & 07777;
	opened(s, op, o,
	       syscall(SYS_openat2, at_of(s, op), path_a(s, op), &how,
		       sizeof(how)));
}

/* Allowed not to be there. */
void do_tmpfile(struct side *s, const struct op *op, struct outcome *o)
{
	long fd = syscall(SYS_openat, at_of(s, op), path_a(s, op),
			  O_TMPFILE | (op->flags & O_ACCMODE), op->mode);

	if (fd >= 0) {
		(void)close((int)fd);
		say(o, " EOPNOTSUPP");
	} else {
		say_result(o, -1);
	}
}

void do_mkdir(struct side *s, const struct op *op, struct outcome *o)
{
	say_result(o,
		   syscall(SYS_mkdirat, at_of(s, op), path_a(s, op), op->mode));
}

void do_rmdir(struct side *s, const struct op *op, struct outcome *o)
{
	say_result(o, syscall(SYS_unlinkat, at_of(s, op), path_a(s, op),
			      AT_REMOVEDIR));
}

void do_unlink(struct side *s, const struct op *op, struct outcome *o)
{
	say_result(o, syscall(SYS_unlinkat, at_of(s, op), path_a(s, op),
			      op->val % 50 ? 0 : 0x40));
}

void do_rename(struct side *s, const struct op *op, struct outcome *o)
{
	say_result(o, syscall(SYS_renameat2, at_of(s, op), path_a(s, op),
			      at_of(s, op), path_b(s, op), 0));
}

void do_renameat2(struct side *s, const struct op *op, struct outcome *o)
{
	say_result(o, syscall(SYS_renameat2, at_of(s, op), path_a(s, op),
			      at_of(s, op), path_b(s, op), op->flags));
}

void do_link(struct side *s, const struct op *op, struct outcome *o)
{
	say_result(o, syscall(SYS_linkat, at_of(s, op), path_a(s, op),
			      at_of(s, op), path_b(s, op), op->flags));
}

void do_link_fd(struct side *s, const struct op *op, struct outcome *o)
{
	say_result(o, syscall(SYS_linkat, s->fd[op->fd], "", at_of(s, op),
			      path_b(s, op), AT_EMPTY_PATH));
}

void do_symlink(struct side *s, const struct op *op, struct outcome *o)
{
	say_result(o, syscall(SYS_symlinkat, path_b(s, op), at_of(s, op),
			      path_a(s, op)));
}

void do_readlink(struct side *s, const struct op *op, struct outcome *o)
{
	long r = syscall(SYS_readlinkat, at_of(s, op), path_a(s, op), s->buf,
			 (int)op->len);

	say_result(o, r);
	if (r > 0)
		say_bytes(o, s->buf, (size_t)r);
}

/* The only devices that exist and do no harm, and some that do not exist. */
void do_mknod(struct side *s, const struct op *op, struct outcome *o)
{
	const dev_t devs[] = {makedev(1, 3), makedev(1, 5), makedev(300, 70000),
			      makedev(0, 0)};
	static const mode_t types[] = {S_IFREG, S_IFIFO, S_IFSOCK,
				       S_IFCHR, S_IFCHR, S_IFDIR,
				       S_IFLNK, 0,	 0170000};
	mode_t type = types[op->val % 9];
	dev_t dev = S_ISCHR(type) ? devs[op->val / 9 % 4] : 0;

	if (op->val % 97 == 0) {
		type = S_IFBLK;
		dev = makedev(300, 5);
	}
	say_result(o, syscall(SYS_mknodat, at_of(s, op), path_a(s, op),
			      type | op->mode, (unsigned int)dev));
}

static int access_flags(uint32_t val)
{
	static const int flags[] = {0, AT_EACCESS, AT_SYMLINK_NOFOLLOW,
				    AT_EACCESS | AT_SYMLINK_NOFOLLOW, 0x8000};

	return flags[val % 5];
}

void do_access(struct side *s, const struct op *op, struct outcome *o)
{
	say_result(o, syscall(SYS_faccessat2, at_of(s, op), path_a(s, op),
			      op->mode % 9, access_flags(op->val)));
}
