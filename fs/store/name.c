/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directory entries: opened, made, moved, removed.
 *
 * Single names are opened with O_NOFOLLOW. A path of several components is
 * left to openat2(2), which stays below the root, follows no symlink and enters
 * no other mount.
 */
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fs/store/internal.h"

/* What openat2 allows together with O_PATH; openat ignores the others. */
#define OPATH_FLAGS (O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

static int open_flags(int flags)
{
	assert(!(flags & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY))));
	flags = atime_flags(flags) | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK |
		O_NOCTTY;
	return flags & O_PATH ? flags & OPATH_FLAGS : flags;
}

int now_openat(const struct store *s, int dirfd, const char *name, int flags)
{
	int err = store_gate(s, "store.openat");
	int fd;

	assert(store_name_ok(name));
	if (err)
		return err;
	flags = open_flags(flags);
	fd = RETRY_EINTR(openat(dirfd, name, flags));
	if (fd < 0 && atime_gives_way(flags))
		fd = RETRY_EINTR(openat(dirfd, name, flags & ~O_NOATIME));
	return sys_result(fd);
}

void store_keep_atime(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags >= 0)
		(void)fcntl(fd, F_SETFL, flags | O_NOATIME);
}

static int open_how(int dirfd, const char *path, int flags)
{
	struct open_how how = {
		.flags = (uint64_t)(unsigned int)flags,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS |
			   RESOLVE_NO_XDEV,
	};

	return (int)RETRY_EINTR(
		syscall(SYS_openat2, dirfd, path, &how, sizeof(how)));
}

static int open_beneath(int dirfd, const char *path, int flags)
{
	int fd;

	flags = open_flags(flags);
	fd = open_how(dirfd, path, flags);
	if (fd < 0 && atime_gives_way(flags))
		fd = open_how(dirfd, path, flags & ~O_NOATIME);
	return sys_result(fd);
}

static bool has_dotdot(const char *path)
{
	const char *p;

	for (p = path; (p = strstr(p, "..")); p += 2) {
		if ((p == path || p[-1] == '/') && (!p[2] || p[2] == '/'))
			return true;
	}
	return false;
}

/*
 * A path may be longer than one call takes: all but the last piece are opened
 * as directories. A piece ends at a slash, so each is relative.
 */
static int open_pieces(int root_fd, const char *path, int flags)
{
	_cleanup_close_ int held_fd = -1;
	int dirfd = root_fd;

	while (strlen(path) >= PATH_MAX) {
		char piece[PATH_MAX];
		const char *cut = path + PATH_MAX - 1;
		int fd;

		while (cut > path && *cut != '/')
			cut--;
		if (cut == path)
			return -ENAMETOOLONG;
		memcpy(piece, path, (size_t)(cut - path));
		piece[cut - path] = '\0';
		fd = open_beneath(dirfd, piece, O_PATH | O_DIRECTORY);
		if (fd < 0)
			return fd;
		close_fd(&held_fd);
		dirfd = held_fd = fd;
		path = cut + strspn(cut, "/");
	}
	return open_beneath(dirfd, path[0] ? path : ".", flags);
}

int now_open_path(const struct store *s, const char *path, int flags)
{
	int err = store_gate(s, "store.open_path");

	if (err)
		return err;
	if (path[0] == '/' || has_dotdot(path))
		return -EXDEV;
	return open_pieces(s->root_fd, path, flags);
}

int peek_open(const char *root, const char *path)
{
	_cleanup_close_ int root_fd = -1;

	if (path[0] == '/' || has_dotdot(path))
		return -EXDEV;
	root_fd = RETRY_EINTR(open(root, O_PATH | O_DIRECTORY | O_CLOEXEC));
	if (root_fd < 0)
		return -errno;
	return open_pieces(root_fd, path, O_PATH);
}

int store_peek(const char *root, const char *path, struct stat *ret_st)
{
	_cleanup_close_ int fd = peek_open(root, path);

	if (fd < 0)
		return fd;
	return sys_result(RETRY_EINTR(fstat(fd, ret_st)));
}

int now_create(const struct store *s, int dirfd, const char *name, mode_t mode,
	       const struct store_cred *cred)
{
	struct cred_scope scope;
	int result = store_gate(s, "store.create");

	assert(store_name_ok(name));
	if (result)
		return result;
	result = cred_enter(&scope, s, cred, false);
	if (result)
		return result;
	result = sys_result(RETRY_EINTR(openat(
		dirfd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
		mode & 07777 & scope.mode_mask)));
	cred_leave(&scope);
	return result;
}

int now_mkdir(const struct store *s, int dirfd, const char *name, mode_t mode,
	      const struct store_cred *cred)
{
	struct cred_scope scope;
	int err = store_gate(s, "store.mkdir");

	assert(store_name_ok(name));
	if (err)
		return err;
	err = cred_enter(&scope, s, cred, false);
	if (err)
		return err;
	err = sys_result(RETRY_EINTR(
		mkdirat(dirfd, name, mode & 07777 & scope.mode_mask)));
	cred_leave(&scope);
	return err;
}

int now_mknod(const struct store *s, int dirfd, const char *name, mode_t mode,
	      dev_t rdev, const struct store_cred *cred)
{
	struct cred_scope scope;
	int err = store_gate(s, "store.mknod");

	assert(store_name_ok(name));
	if (err)
		return err;
	err = cred_enter(&scope, s, cred, S_ISBLK(mode) || S_ISCHR(mode));
	if (err)
		return err;
	err = sys_result(RETRY_EINTR(
		mknodat(dirfd, name, mode & scope.mode_mask, rdev)));
	cred_leave(&scope);
	return err;
}

int now_symlink(const struct store *s, int dirfd, const char *name,
		const char *target, const struct store_cred *cred)
{
	struct cred_scope scope;
	int err = store_gate(s, "store.symlink");

	assert(store_name_ok(name));
	if (err)
		return err;
	err = cred_enter(&scope, s, cred, false);
	if (err)
		return err;
	err = sys_result(RETRY_EINTR(symlinkat(target, dirfd, name)));
	cred_leave(&scope);
	return err;
}

int now_link(const struct store *s, int old_dirfd, const char *old_name,
	     int new_dirfd, const char *new_name)
{
	int err = store_gate(s, "store.link");

	assert(store_name_ok(old_name) && store_name_ok(new_name));
	if (err)
		return err;
	return sys_result(RETRY_EINTR(
		linkat(old_dirfd, old_name, new_dirfd, new_name, 0)));
}

int now_unlink(const struct store *s, int dirfd, const char *name)
{
	int err = store_gate(s, "store.unlink");

	assert(store_name_ok(name));
	if (err)
		return err;
	return sys_result(RETRY_EINTR(unlinkat(dirfd, name, 0)));
}

int now_rmdir(const struct store *s, int dirfd, const char *name)
{
	int err = store_gate(s, "store.rmdir");

	assert(store_name_ok(name));
	if (err)
		return err;
	return sys_result(RETRY_EINTR(unlinkat(dirfd, name, AT_REMOVEDIR)));
}

int now_rename(const struct store *s, int old_dirfd, const char *old_name,
	       int new_dirfd, const char *new_name, unsigned int flags)
{
	struct stat st;
	int err = store_gate(s, "store.rename");

	assert(store_name_ok(old_name) && store_name_ok(new_name));
	assert(flags == 0 || flags == RENAME_NOREPLACE ||
	       flags == RENAME_EXCHANGE);
	if (err)
		return err;
	err = sys_result(RETRY_EINTR(
		renameat2(old_dirfd, old_name, new_dirfd, new_name, flags)));
	if (err != -EINVAL || flags != RENAME_NOREPLACE)
		return err;
	/* Filesystems without the flag say EINVAL. Nobody else writes here,
	 * and the caller holds the names: look first, then rename. */
	if (!fstatat(new_dirfd, new_name, &st, AT_SYMLINK_NOFOLLOW))
		return -EEXIST;
	if (errno != ENOENT)
		return -errno;
	return sys_result(RETRY_EINTR(
		renameat(old_dirfd, old_name, new_dirfd, new_name)));
}

int now_whiteout(const struct store *s, int old_dirfd, const char *old_name,
		 int new_dirfd, const char *new_name, unsigned int flags,
		 const struct store_cred *cred)
{
	struct cred_scope scope;
	int err = store_gate(s, "store.rename");

	assert(store_name_ok(old_name) && store_name_ok(new_name));
	assert(flags == 0 || flags == RENAME_NOREPLACE);
	if (err)
		return err;
	/* Kernels before 5.8 want CAP_MKNOD for it, as for a device. */
	err = cred_enter(&scope, s, cred, true);
	if (err)
		return err;
	err = sys_result(
		RETRY_EINTR(renameat2(old_dirfd, old_name, new_dirfd, new_name,
				      flags | RENAME_WHITEOUT)));
	cred_leave(&scope);
	return err;
}

ssize_t now_readlink(const struct store *s, int dirfd, const char *name,
		     char *buf, size_t len)
{
	ssize_t n;
	int err = store_gate(s, "store.readlink");

	assert((!*name || store_name_ok(name)) && len);
	if (err)
		return err;
	n = RETRY_EINTR(readlinkat(dirfd, name, buf, len));
	return n < 0 ? -errno : n;
}
