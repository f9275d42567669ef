/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attributes.
 */
#include "differ.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/stat.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

void do_chmod(struct side *s, const struct op *op, struct outcome *o)
{
	say_result(o, syscall(SYS_fchmodat, at_of(s, op), path_a(s, op),
			      op->mode));
}

void do_fchmod(struct side *s, const struct op *op, struct outcome *o)
{
	say_result(o, syscall(SYS_fchmod, s->fd[op->fd], op->mode));
}

/* Neither owner nor group: one of the things that are told otherwise. */
static void ids_of(const struct op *op, uid_t *uid, gid_t *gid)
{
	static const uid_t some[] = {(uid_t)-1, 0,     12001, 12002,
				     12003,	65534, 12001};
	static const gid_t groups[] = {(gid_t)-1, 0, 12011, 12012, 12050, 77};

	*uid = some[op->val % 7];
	*gid = groups[op->val / 7 % 6];
	if (*uid == (uid_t)-1 && *gid == (gid_t)-1)
		*gid = 12011;
}

void do_chown(struct side *s, const struct op *op, struct outcome *o)
{
	uid_t uid;
	gid_t gid;

	ids_of(op, &uid, &gid);
	say_result(o, syscall(SYS_fchownat, at_of(s, op), path_a(s, op), uid,
			      gid, op->val % 3 ? 0 : AT_SYMLINK_NOFOLLOW));
}

void do_fchown(struct side *s, const struct op *op, struct outcome *o)
{
	uid_t uid;
	gid_t gid;

	ids_of(op, &uid, &gid);
	say_result(o, syscall(SYS_fchown, s->fd[op->fd], uid, gid));
}

static long time_of(uint32_t val, bool bounded, int64_t *sec)
{
	*sec = 1000 + val % 999999000;
	switch (val % 11) {
	case 0:
		return UTIME_NOW;
	case 1:
	case 2:
		return UTIME_OMIT;
	case 3:
		return val % 4 ? 999999999 : 0;
	case 4:
		return val % 5 ? 5 : 1000000000;
	case 5:
		*sec = -(int64_t)(val % 2147483647);
		return 7;
	case 6:
		*sec = 4294967296 + val % 1000000000;
		return 1;
	case 7: /* beyond what an inode can keep */
		if (bounded)
			return UTIME_OMIT;
		*sec = val % 2 ? -2147483649 - val : 15032385536 + val;
		return 3;
	default:
		return (long)(val / 7 % 1000000000);
	}
}

/* The modification times of files are kept by the kernel, which knows no bounds
 * of the stores. */
static const struct timespec *times_of(const struct op *op,
				       const struct stat *st,
				       struct timespec times[2])
{
	bool bounded = S_ISREG(st->st_mode);
	int64_t sec;

	if (op->val % 9 == 0)
		return NULL;
	times[0].tv_nsec = time_of((uint32_t)op->off, bounded, &sec);
	times[0].tv_sec = sec;
	times[1].tv_nsec = time_of((uint32_t)op->off2, bounded, &sec);
	times[1].tv_sec = sec;
	return times;
}

void do_utimens(struct side *s, const struct op *op, struct outcome *o)
{
	int flags = op->val % 4 ? AT_SYMLINK_NOFOLLOW : 0;
	const char *path = path_a(s, op);
	struct timespec times[2];
	struct stat st = {0};

	(void)syscall(SYS_newfstatat, at_of(s, op), path, &st, flags);
	say_result(o, syscall(SYS_utimensat, at_of(s, op), path,
			      times_of(op, &st, times), flags));
}

void do_futimens(struct side *s, const struct op *op, struct outcome *o)
{
	struct timespec times[2];
	int fd = s->fd[op->fd];
	struct stat st;

	if (fd < 0 || fstat(fd, &st))
		return;
	say_result(o, syscall(SYS_utimensat, fd, NULL, times_of(op, &st, times),
			      0));
}

/* ---- extended attributes ---- */

static const char *attr_name(uint32_t val)
{
	static char long_name[300];
	static const char *const names[] = {
		"user.a",
		"user.b",
		"user.c",
		"user.d",
		"trusted.x",
		"security.y",
		"user.",
		"nonsense",
		"trusted.z",
		"user.a",
		"user.b",
		"security.z",
		"system.posix_acl_access",
		"system.posix_acl_default",
		"",
		"user.\xff\n",
	};

	if (val % 61 < 2) {
		memset(long_name, 'n', sizeof(long_name));
		memcpy(long_name, "user.", 5);
		long_name[255 + val % 61] = '\0';
		return long_name;
	}
	return names[val % 16];
}

/* The value, in s->buf; its length. */
static size_t attr_value(struct side *s, const struct op *op)
{
	static const size_t sizes[] = {0, 1, 10, 100, 300, 1000, 3000, 70000};
	size_t len = sizes[op->val / 16 % 8];

	fill_data(s->buf, len, op->val);
	return len;
}

void do_setxattr(struct side *s, const struct op *op, struct outcome *o)
{
	size_t len = attr_value(s, op);

	say_result(o, syscall(op->val % 5 ? SYS_lsetxattr : SYS_setxattr,
			      path_a(s, op), attr_name(op->val), s->buf, len,
			      op->flags % 9 > 2 ? 0 : op->flags % 9));
}

void do_fsetxattr(struct side *s, const struct op *op, struct outcome *o)
{
	size_t len = attr_value(s, op);

	say_result(o,
		   syscall(SYS_fsetxattr, s->fd[op->fd], attr_name(op->val),
			   s->buf, len, op->flags % 9 > 4 ? 0 : op->flags % 9));
}

void do_getxattr(struct side *s, const struct op *op, struct outcome *o)
{
	static const size_t sizes[] = {0, 1, 28, 100, 65536, 65536, 65536};
	size_t len = sizes[op->val / 64 % 7];
	long r = syscall(SYS_lgetxattr, path_a(s, op), attr_name(op->val),
			 s->buf, len);

	say_result(o, r);
	if (r > 0 && len)
		say_bytes(o, s->buf, (size_t)r);
}

/* Their order is nobody's promise. */
static void say_names(struct side *s, struct outcome *o, long r)
{
	uint64_t sum = 0;

	say_result(o, r);
	for (long i = 0; i < r; i += (long)strlen(s->buf + i) + 1)
		sum += hash_bytes(HASH_START, s->buf + i, strlen(s->buf + i));
	say(o, " names %016llx", (unsigned long long)sum);
}

void do_listxattr(struct side *s, const struct op *op, struct outcome *o)
{
	size_t len = op->val % 4 ? 65536 : op->val % 30;
	long r = syscall(SYS_llistxattr, path_a(s, op), s->buf, len);

	if (len)
		say_names(s, o, r);
	else
		say_result(o, r);
}

void do_flistxattr(struct side *s, const struct op *op, struct outcome *o)
{
	say_names(s, o, syscall(SYS_flistxattr, s->fd[op->fd], s->buf, 65536));
}

void do_removexattr(struct side *s, const struct op *op, struct outcome *o)
{
	say_result(o, syscall(SYS_lremovexattr, path_a(s, op),
			      attr_name(op->val)));
}

/* ---- ACLs ---- */

struct acl_entry {
	uint16_t tag, perm;
	uint32_t id;
};

void do_setacl(struct side *s, const struct op *op, struct outcome *o)
{
	const uint32_t none = UINT32_MAX;
	const uint16_t p = op->mode & 7, q = op->mode >> 3 & 7;
	struct {
		uint32_t version;
		struct acl_entry e[6];
	} acl = {2,
		 {{1, 7, none},
		  {2, p, 12001},
		  {4, q, none},
		  {8, p, 12012},
		  {16, op->mode >> 6 & 7, none},
		  {32, op->mode >> 4 & 7, none}}};
	size_t len = sizeof(acl);
	const char *name = op->val % 3 ? "system.posix_acl_access"
				       : "system.posix_acl_default";

	switch (op->val / 3 % 8) {
	case 0: /* what a mode can say */
		acl.e[1] = acl.e[2];
		acl.e[2] = acl.e[5];
		len = 4 + 3 * sizeof(acl.e[0]);
		break;
	case 1: /* out of order */
		acl.e[3].tag = 2;
		break;
	case 2: /* no mask */
		acl.e[4] = acl.e[5];
		len -= sizeof(acl.e[0]);
		break;
	case 3:
		acl.e[0].perm = op->mode & 15;
		break;
	}
	say_result(o, syscall(SYS_setxattr, path_a(s, op), name, &acl, len, 0));
}

/* ---- asking ---- */

void do_stat(struct side *s, const struct op *op, struct outcome *o)
{
	struct stat st;
	long r = syscall(SYS_newfstatat, at_of(s, op), path_a(s, op), &st,
			 op->val % 3 ? 0 : AT_SYMLINK_NOFOLLOW);

	say_result(o, r);
	if (!r)
		say(o, " %o %lu %u %u", st.st_mode, (unsigned long)st.st_nlink,
		    st.st_uid, st.st_gid);
}

void do_statx(struct side *s, const struct op *op, struct outcome *o)
{
	static const int flags[] = {0, AT_SYMLINK_NOFOLLOW, AT_STATX_FORCE_SYNC,
				    AT_STATX_DONT_SYNC, 0x6000};
	static const uint32_t masks[] = {STATX_BASIC_STATS, 0, STATX_SIZE,
					 0x80000000u};
	struct statx st = {0};
	long r = syscall(SYS_statx, at_of(s, op), path_a(s, op),
			 flags[op->val % 5], masks[op->val / 5 % 4], &st);

	say_result(o, r);
	if (!r)
		say(o, " %o %u %u %u", st.stx_mode, st.stx_nlink, st.stx_uid,
		    st.stx_gid);
	if (!r && !S_ISDIR(st.stx_mode))
		say(o, " %llu", (unsigned long long)st.stx_size);
}

void do_statfs(struct side *s, const struct op *op, struct outcome *o)
{
	struct statfs st;
	long r = syscall(SYS_statfs, path_a(s, op), &st);

	say_result(o, r);
	if (!r)
		say(o, " %ld %ld %ld", (long)st.f_namelen, (long)st.f_bsize,
		    (long)st.f_frsize);
}
