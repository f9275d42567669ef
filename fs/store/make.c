/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The private directory .seqmirror/: trusted, made, taken away.
 *
 * Whoever can write into it can make this process believe anything, so it is
 * used only if it is a real directory that belongs to us and that nobody else
 * can write to. It becomes a store with its last step, the identity file, and
 * stops being one with the first step of its removal.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "fs/store/internal.h"

static int open_dir_at(int dirfd, const char *name)
{
	return sys_result(RETRY_EINTR(openat(
		dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)));
}

static int open_root(const char *path)
{
	return sys_result(
		RETRY_EINTR(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)));
}

int priv_open(int root_fd)
{
	_cleanup_close_ int fd = -1;
	struct stat root_st, st;

	fd = open_dir_at(root_fd, STORE_PRIVATE);
	if (fd < 0)
		return fd == -ELOOP ? -ENOTDIR : fd;
	if (fstat(root_fd, &root_st) || fstat(fd, &st))
		return -errno;
	if (st.st_uid != geteuid() || (st.st_mode & (S_IWGRP | S_IWOTH)))
		return -EPERM;
	if (st.st_dev != root_st.st_dev)
		return -EXDEV;
	return steal_fd(&fd);
}

char *priv_path(const char *root)
{
	char *path;

	if (asprintf(&path, "%s/%s", strcmp(root, "/") ? root : "",
		     STORE_PRIVATE) < 0)
		return NULL;
	return path;
}

int store_probe_identity(const char *path, struct store_identity *ret_id)
{
	_cleanup_close_ int root_fd = -1;
	_cleanup_close_ int priv_fd = -1;

	root_fd = open_root(path);
	if (root_fd < 0)
		return root_fd;
	priv_fd = priv_open(root_fd);
	if (priv_fd < 0)
		return priv_fd;
	return identity_read(priv_fd, ret_id);
}

/* Remove the two directories, or neither: what lies in them is the user's. */
static int remove_holders(int priv_fd)
{
	bool had_limbo;
	int err;

	had_limbo = unlinkat(priv_fd, STORE_LIMBO, AT_REMOVEDIR) == 0;
	if (!had_limbo && errno != ENOENT)
		return -errno;
	if (!unlinkat(priv_fd, STORE_FOUND, AT_REMOVEDIR) || errno == ENOENT)
		return 0;
	err = -errno;
	if (had_limbo)
		(void)mkdirat(priv_fd, STORE_LIMBO, 0700);
	return err;
}

static int remove_files(int priv_fd)
{
	_cleanup_closedir_ DIR *dir = NULL;
	_cleanup_close_ int fd = -1;
	struct dirent *e;

	fd = open_dir_at(priv_fd, ".");
	if (fd < 0)
		return fd;
	dir = fdopendir(fd);
	if (!dir)
		return -errno;
	(void)steal_fd(&fd);
	for (;;) {
		errno = 0;
		e = readdir(dir);
		if (!e)
			return -errno;
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		if (unlinkat(priv_fd, e->d_name, 0) && errno != ENOENT)
			return -errno;
	}
}

static int unmake_at(int root_fd, int priv_fd)
{
	int err;

	err = remove_holders(priv_fd);
	if (err)
		return err;
	if (unlinkat(priv_fd, STORE_FILE, 0) && errno != ENOENT)
		return -errno;
	err = sys_result(fsync(priv_fd));
	if (!err)
		err = remove_files(priv_fd);
	if (err)
		return err;
	if (unlinkat(root_fd, STORE_PRIVATE, AT_REMOVEDIR))
		return -errno;
	return sys_result(fsync(root_fd));
}

int store_unmake(const char *path)
{
	_cleanup_close_ int root_fd = -1;
	_cleanup_close_ int priv_fd = -1;
	_cleanup_close_ int lock_fd = -1;

	root_fd = open_root(path);
	if (root_fd < 0)
		return root_fd;
	priv_fd = priv_open(root_fd);
	if (priv_fd < 0)
		return priv_fd;
	lock_fd = RETRY_EINTR(
		openat(priv_fd, STORE_LOCK,
		       O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
	if (lock_fd < 0 && errno != ENOENT)
		return -errno;
	if (lock_fd >= 0 && RETRY_EINTR(flock(lock_fd, LOCK_EX | LOCK_NB)))
		return errno == EWOULDBLOCK ? -EBUSY : -errno;
	return unmake_at(root_fd, priv_fd);
}

/* mkdir lets the umask and default ACLs of the parent speak: overrule both. */
static int make_dir(int dirfd, const char *name)
{
	_cleanup_close_ int fd = -1;

	if (mkdirat(dirfd, name, 0700))
		return -errno;
	fd = open_dir_at(dirfd, name);
	if (fd < 0)
		return fd;
	return sys_result(fchmod(fd, 0700));
}

static int fill_priv(int priv_fd, const struct store_identity *id,
		     const char *privdir,
		     int (*make_map)(void *arg, const char *privdir), void *arg)
{
	int err;

	err = make_dir(priv_fd, STORE_LIMBO);
	if (!err)
		err = make_dir(priv_fd, STORE_FOUND);
	if (!err && make_map)
		err = make_map(arg, privdir);
	if (!err)
		err = sys_result(fsync(priv_fd));
	if (!err)
		err = identity_write(priv_fd, id);
	return err;
}

/* .seqmirror was there before: a store, or something that looks like half of
 * one and is for the user to judge. */
static int make_refused(int root_fd)
{
	if (!faccessat(root_fd, STORE_PRIVATE "/" STORE_FILE, F_OK,
		       AT_SYMLINK_NOFOLLOW))
		return -EEXIST;
	return errno == ENOENT ? -ENOTEMPTY : -EEXIST;
}

int store_make(const char *path, const struct store_identity *id,
	       int (*make_map)(void *arg, const char *privdir), void *arg)
{
	_cleanup_free_ char *real = NULL;
	_cleanup_free_ char *privdir = NULL;
	_cleanup_close_ int root_fd = -1;
	_cleanup_close_ int priv_fd = -1;
	int err;

	if (!identity_valid(id))
		return -EINVAL;
	real = realpath(path, NULL);
	if (!real)
		return -errno;
	privdir = priv_path(real);
	if (!privdir)
		return -ENOMEM;
	root_fd = open_root(real);
	if (root_fd < 0)
		return root_fd;
	err = FAULT_ERR("store.make");
	if (err)
		return err;

	err = make_dir(root_fd, STORE_PRIVATE);
	if (err == -EEXIST)
		return make_refused(root_fd);
	if (err) {
		(void)unlinkat(root_fd, STORE_PRIVATE, AT_REMOVEDIR);
		return err;
	}
	priv_fd = priv_open(root_fd);
	if (priv_fd < 0) {
		(void)unlinkat(root_fd, STORE_PRIVATE, AT_REMOVEDIR);
		return priv_fd;
	}
	err = fill_priv(priv_fd, id, privdir, make_map, arg);
	if (!err)
		err = sys_result(RETRY_EINTR(fsync(root_fd)));
	if (err)
		(void)unmake_at(root_fd, priv_fd);
	return err;
}
