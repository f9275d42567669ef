/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attributes of an object that is named by a descriptor or by its entry.
 *
 * Descriptors made with O_PATH name symlinks, devices and sockets without
 * opening them, and serve most calls only by way of /proc/self/fd. No symlink
 * is followed: the link in /proc leads to the object itself, also where that
 * is a symlink, and an entry is named as /proc/self/fd/DIRFD/NAME.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "fs/store/internal.h"

static bool obj_ok(struct store_obj o)
{
	return o.fd >= 0 || store_name_ok(o.name);
}

int obj_open_path(struct store_obj o)
{
	if (o.fd >= 0)
		return sys_result(RETRY_EINTR(fcntl(o.fd, F_DUPFD_CLOEXEC, 0)));
	return sys_result(RETRY_EINTR(
		openat(o.dirfd, o.name, O_PATH | O_NOFOLLOW | O_CLOEXEC)));
}

int obj_stat(const struct store *s, struct store_obj o, struct stat *ret)
{
	struct store_stat st;
	int err;

	if (o.fd >= 0)
		err = store_fstat(s, o.fd, 0, &st);
	else
		err = store_statat(s, o.dirfd, o.name, 0, &st);
	if (!err)
		*ret = st.st;
	return err;
}

static int chmod_obj(struct store_obj o, mode_t mode)
{
	_cleanup_close_ int fd = -1;
	struct stat st;

	if (o.fd >= 0 && !RETRY_EINTR(fchmod(o.fd, mode & 07777)))
		return 0;
	if (o.fd >= 0 && errno != EBADF)
		return -errno;
	/* There is no chmod that keeps from following a symlink in all
	 * kernels, and some change the mode of the link itself. */
	fd = obj_open_path(o);
	if (fd < 0)
		return fd;
	if (fstat(fd, &st))
		return -errno;
	if (S_ISLNK(st.st_mode))
		return -EOPNOTSUPP;
	return chmod_fd(fd, mode);
}

int now_chmod(const struct store *s, struct store_obj o, mode_t mode)
{
	int err = store_gate(s, "store.chmod");
	bool held;

	assert(obj_ok(o));
	if (err)
		return err;
	held = mode_hold(s);
	err = chmod_obj(o, mode);
	mode_release(s, held);
	return err;
}

int now_chown(const struct store *s, struct store_obj o, uid_t uid, gid_t gid)
{
	int err = store_gate(s, "store.chown");

	assert(obj_ok(o));
	if (err)
		return err;
	if (o.fd >= 0)
		return sys_result(RETRY_EINTR(
			fchownat(o.fd, "", uid, gid, AT_EMPTY_PATH)));
	return sys_result(RETRY_EINTR(
		fchownat(o.dirfd, o.name, uid, gid, AT_SYMLINK_NOFOLLOW)));
}

int now_utimens(const struct store *s, struct store_obj o,
		const struct timespec times[2])
{
	int err = store_gate(s, "store.utimens");

	assert(obj_ok(o));
	if (err)
		return err;
	if (o.fd >= 0)
		return sys_result(
			RETRY_EINTR(utimensat(o.fd, "", times, AT_EMPTY_PATH)));
	return sys_result(RETRY_EINTR(
		utimensat(o.dirfd, o.name, times, AT_SYMLINK_NOFOLLOW)));
}

/* The path for the l*xattr or *xattr call. Return: whether a last symlink
 * would be one of the store's and must not be followed. */
static bool obj_proc_path(struct store_obj o, char path[static PROC_PATH_MAX])
{
	if (o.fd >= 0) {
		snprintf(path, PROC_PATH_MAX, "/proc/self/fd/%d", o.fd);
		return false;
	}
	snprintf(path, PROC_PATH_MAX, "/proc/self/fd/%d/%s", o.dirfd, o.name);
	return true;
}

/* A name longer than any filesystem has would be cut by the above. */
static int obj_check(const struct store *s, struct store_obj o,
		     const char *call)
{
	assert(obj_ok(o));
	if (o.fd < 0 && strlen(o.name) > 255)
		return -ENAMETOOLONG;
	return store_gate(s, call);
}

/*
 * xfs keeps ACLs in these and shows them to root.  As attributes of their own
 * they would be surplus on an xfs whose replica is an ext4, and to take them away
 * takes the ACL away.  No store has them.
 */
static bool is_acl_of_xfs(const char *name)
{
	return !strcmp(name, "trusted.SGI_ACL_FILE") ||
	       !strcmp(name, "trusted.SGI_ACL_DEFAULT");
}

static ssize_t without_acls_of_xfs(char *names, ssize_t len)
{
	ssize_t kept = 0, size;

	for (ssize_t at = 0; at < len; at += size) {
		size = (ssize_t)strlen(names + at) + 1;
		if (is_acl_of_xfs(names + at))
			continue;
		memmove(names + kept, names + at, (size_t)size);
		kept += size;
	}
	return kept;
}

int now_setxattr(const struct store *s, struct store_obj o, const char *name,
		 const void *value, size_t len, int flags)
{
	char path[PROC_PATH_MAX];
	int err = obj_check(s, o, "store.setxattr");

	if (!err && is_acl_of_xfs(name))
		err = -EOPNOTSUPP;
	if (err)
		return err;
	if (o.fd >= 0 && !fsetxattr(o.fd, name, value, len, flags))
		return 0;
	if (o.fd >= 0 && errno != EBADF)
		return -errno;
	if (obj_proc_path(o, path))
		return sys_result(lsetxattr(path, name, value, len, flags));
	return sys_result(setxattr(path, name, value, len, flags));
}

ssize_t now_getxattr(const struct store *s, struct store_obj o,
		     const char *name, void *buf, size_t len)
{
	char path[PROC_PATH_MAX];
	ssize_t n;
	int err = obj_check(s, o, "store.getxattr");

	if (!err && is_acl_of_xfs(name))
		err = -ENODATA;
	if (err)
		return err;
	if (o.fd >= 0) {
		n = fgetxattr(o.fd, name, buf, len);
		if (n >= 0 || errno != EBADF)
			return n < 0 ? -errno : n;
	}
	n = obj_proc_path(o, path) ? lgetxattr(path, name, buf, len)
				   : getxattr(path, name, buf, len);
	return n < 0 ? -errno : n;
}

ssize_t now_listxattr(const struct store *s, struct store_obj o, char *buf,
		      size_t len)
{
	char path[PROC_PATH_MAX];
	ssize_t n;
	int err = obj_check(s, o, "store.listxattr");

	if (err)
		return err;
	n = o.fd >= 0 ? flistxattr(o.fd, buf, len) : -1;
	if (n < 0 && (o.fd < 0 || errno == EBADF))
		n = obj_proc_path(o, path) ? llistxattr(path, buf, len)
					   : listxattr(path, buf, len);
	if (n < 0)
		return -errno;
	/* How much room they take may be more than they do then. */
	return len ? without_acls_of_xfs(buf, n) : n;
}

int now_removexattr(const struct store *s, struct store_obj o, const char *name)
{
	char path[PROC_PATH_MAX];
	int err = obj_check(s, o, "store.removexattr");

	if (!err && is_acl_of_xfs(name))
		err = -ENODATA;
	if (err)
		return err;
	if (o.fd >= 0 && !fremovexattr(o.fd, name))
		return 0;
	if (o.fd >= 0 && errno != EBADF)
		return -errno;
	if (obj_proc_path(o, path))
		return sys_result(lremovexattr(path, name));
	return sys_result(removexattr(path, name));
}
