/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The public calls on names and on the store itself.  Each is what now_...()
 * does, made by call_run(): what they take and give is packed here.
 */
#include "fs/store/internal.h"

static const struct store_cred *cred_of(const struct store_call *k)
{
	return k->has_cred ? &k->cred : NULL;
}

/* ---- the store ---- */

static ssize_t make_alive(struct store_call *k)
{
	return now_alive(k->s);
}

int store_alive(const struct store *s)
{
	struct store_call k = STORE_CALL(make_alive);

	return (int)call_run(s, &k);
}

static ssize_t make_statvfs(struct store_call *k)
{
	return now_statvfs(k->s, k->out);
}

int store_statvfs(const struct store *s, struct statvfs *ret)
{
	struct store_call k = STORE_CALL(make_statvfs);

	k.out = ret;
	k.out_len = sizeof(*ret);
	return (int)call_run(s, &k);
}

static ssize_t make_syncfs(struct store_call *k)
{
	return now_syncfs(k->s);
}

int store_syncfs(const struct store *s)
{
	struct store_call k = STORE_CALL(make_syncfs);

	return (int)call_run(s, &k);
}

/* ---- names ---- */

static int call_name(const struct store *s, struct store_call *k, int dirfd,
		     const char *name)
{
	k->fd[0] = dirfd;
	k->name[0] = name;
	return (int)call_run(s, k);
}

static ssize_t make_openat(struct store_call *k)
{
	return now_openat(k->s, k->fd[0], k->name[0], k->flags);
}

int store_openat(const struct store *s, int dirfd, const char *name, int flags)
{
	struct store_call k = STORE_CALL(make_openat);

	k.flags = flags;
	k.gives_fd = true;
	return call_name(s, &k, dirfd, name);
}

static ssize_t make_openat_forced(struct store_call *k)
{
	return now_openat_forced(k->s, k->fd[0], k->name[0], k->flags);
}

int store_openat_forced(const struct store *s, int dirfd, const char *name,
			int flags)
{
	struct store_call k = STORE_CALL(make_openat_forced);

	k.flags = flags;
	k.gives_fd = true;
	return call_name(s, &k, dirfd, name);
}

static ssize_t make_reopen(struct store_call *k)
{
	return now_reopen(k->s, k->fd[0], k->flags);
}

int store_reopen(const struct store *s, int path_fd, int flags)
{
	struct store_call k = STORE_CALL(make_reopen);

	k.flags = flags;
	k.gives_fd = true;
	return call_name(s, &k, path_fd, NULL);
}

static ssize_t make_open_path(struct store_call *k)
{
	return now_open_path(k->s, k->name[0], k->flags);
}

int store_open_path(const struct store *s, const char *path, int flags)
{
	struct store_call k = STORE_CALL(make_open_path);

	k.flags = flags;
	k.gives_fd = true;
	return call_name(s, &k, -1, path);
}

int store_open_path_forced(const struct store *s, const char *path, int flags)
{
	_cleanup_free_ char *names = NULL;
	_cleanup_close_ int fd = store_open_path(s, path, flags);
	char *rest;
	int dirfd = store_root_fd(s);

	if (fd != -EACCES || !path[0])
		return steal_fd(&fd);
	names = strdup(path);
	if (!names)
		return -ENOMEM;
	rest = names;
	for (char *name; (name = strsep(&rest, "/"));) {
		int next = store_openat_forced(
			s, dirfd, name, rest ? O_PATH | O_DIRECTORY : flags);

		if (next < 0)
			return next;
		close_fd(&fd);
		dirfd = fd = next;
	}
	return steal_fd(&fd);
}

static ssize_t make_create(struct store_call *k)
{
	return now_create(k->s, k->fd[0], k->name[0], k->mode, cred_of(k));
}

int store_create(const struct store *s, int dirfd, const char *name,
		 mode_t mode, const struct store_cred *cred)
{
	struct store_call k = STORE_CALL(make_create);

	k.lifts = true;
	k.mode = mode;
	k.gives_fd = true;
	call_set_cred(&k, cred);
	return call_name(s, &k, dirfd, name);
}

static ssize_t make_mkdir(struct store_call *k)
{
	return now_mkdir(k->s, k->fd[0], k->name[0], k->mode, cred_of(k));
}

int store_mkdir(const struct store *s, int dirfd, const char *name, mode_t mode,
		const struct store_cred *cred)
{
	struct store_call k = STORE_CALL(make_mkdir);

	k.lifts = true;
	k.mode = mode;
	call_set_cred(&k, cred);
	return call_name(s, &k, dirfd, name);
}

static ssize_t make_mknod(struct store_call *k)
{
	return now_mknod(k->s, k->fd[0], k->name[0], k->mode, k->rdev,
			 cred_of(k));
}

int store_mknod(const struct store *s, int dirfd, const char *name, mode_t mode,
		dev_t rdev, const struct store_cred *cred)
{
	struct store_call k = STORE_CALL(make_mknod);

	k.lifts = true;
	k.mode = mode;
	k.rdev = rdev;
	call_set_cred(&k, cred);
	return call_name(s, &k, dirfd, name);
}

static ssize_t make_symlink(struct store_call *k)
{
	return now_symlink(k->s, k->fd[0], k->name[0], k->name[1], cred_of(k));
}

int store_symlink(const struct store *s, int dirfd, const char *name,
		  const char *target, const struct store_cred *cred)
{
	struct store_call k = STORE_CALL(make_symlink);

	k.lifts = true;
	k.name[1] = target;
	call_set_cred(&k, cred);
	return call_name(s, &k, dirfd, name);
}

static ssize_t make_link(struct store_call *k)
{
	return now_link(k->s, k->fd[0], k->name[0], k->fd[1], k->name[1]);
}

int store_link(const struct store *s, int old_dirfd, const char *old_name,
	       int new_dirfd, const char *new_name)
{
	struct store_call k = STORE_CALL(make_link);

	k.lifts = true;
	k.fd[1] = new_dirfd;
	k.name[1] = new_name;
	return call_name(s, &k, old_dirfd, old_name);
}

static ssize_t make_unlink(struct store_call *k)
{
	return now_unlink(k->s, k->fd[0], k->name[0]);
}

int store_unlink(const struct store *s, int dirfd, const char *name)
{
	struct store_call k = STORE_CALL(make_unlink);

	k.lifts = true;
	return call_name(s, &k, dirfd, name);
}

static ssize_t make_rmdir(struct store_call *k)
{
	return now_rmdir(k->s, k->fd[0], k->name[0]);
}

int store_rmdir(const struct store *s, int dirfd, const char *name)
{
	struct store_call k = STORE_CALL(make_rmdir);

	k.lifts = true;
	return call_name(s, &k, dirfd, name);
}

static ssize_t make_rename(struct store_call *k)
{
	return now_rename(k->s, k->fd[0], k->name[0], k->fd[1], k->name[1],
			  (unsigned int)k->flags);
}

int store_rename(const struct store *s, int old_dirfd, const char *old_name,
		 int new_dirfd, const char *new_name, unsigned int flags)
{
	struct store_call k = STORE_CALL(make_rename);

	k.lifts = true;
	k.moves = true;
	k.fd[1] = new_dirfd;
	k.name[1] = new_name;
	k.flags = (int)flags;
	return call_name(s, &k, old_dirfd, old_name);
}

static ssize_t make_whiteout(struct store_call *k)
{
	return now_whiteout(k->s, k->fd[0], k->name[0], k->fd[1], k->name[1],
			    (unsigned int)k->flags, cred_of(k));
}

int store_whiteout(const struct store *s, int old_dirfd, const char *old_name,
		   int new_dirfd, const char *new_name, unsigned int flags,
		   const struct store_cred *cred)
{
	struct store_call k = STORE_CALL(make_whiteout);

	k.lifts = true;
	k.moves = true;
	k.fd[1] = new_dirfd;
	k.name[1] = new_name;
	k.flags = (int)flags;
	call_set_cred(&k, cred);
	return call_name(s, &k, old_dirfd, old_name);
}

static ssize_t make_readlink(struct store_call *k)
{
	return now_readlink(k->s, k->fd[0], k->name[0], k->out, k->out_len);
}

ssize_t store_readlink(const struct store *s, int dirfd, const char *name,
		       char *buf, size_t len)
{
	struct store_call k = STORE_CALL(make_readlink);

	k.out = buf;
	k.out_len = len;
	k.counted = true;
	return call_name(s, &k, dirfd, name);
}

static ssize_t make_statat(struct store_call *k)
{
	return now_statat(k->s, k->fd[0], k->name[0], (unsigned int)k->flags,
			  k->out);
}

int store_statat(const struct store *s, int dirfd, const char *name,
		 unsigned int want, struct store_stat *ret)
{
	struct store_call k = STORE_CALL(make_statat);

	k.flags = (int)want;
	k.out = ret;
	k.out_len = sizeof(*ret);
	return call_name(s, &k, dirfd, name);
}
