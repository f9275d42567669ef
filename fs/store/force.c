/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Own files whose mode shuts their owner out.
 *
 * Root reads and writes everything. An ordinary user who mirrors his own
 * files meets some that he made read-only (git does so with its objects), and
 * that other members must still get. The owner may change the mode, so it is
 * lifted for the length of one call, by way of a descriptor, never by name
 * twice. A crash in between leaves the lifted mode on this store: under the
 * intent of a caller that changes the node, in a lap that begins anew, or, where
 * somebody only looked or changed a name, for a scrub to find.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "fs/store/internal.h"

int chmod_fd(int fd, mode_t mode)
{
	char path[PROC_PATH_MAX];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return sys_result(RETRY_EINTR(chmod(path, mode & 07777)));
}

void store_keep_modes(struct store *s)
{
	s->keeps_modes = true;
}

bool store_has_lifted(const struct store *s)
{
	return atomic_load(&s->state->lifted);
}

/* Lock held. @ret_lift->fd stays -1 where there is nothing to lift. */
static int lift_locked(const struct store *s, int fd, mode_t bits,
		       struct mode_lift *ret_lift) REQUIRES(s->state->lift)
{
	struct mode_lift lift = {.fd = -1};
	struct stat st;
	int err;

	*ret_lift = lift;
	/* Under the lock: another thread may have lifted it just now. */
	err = sys_result(fstat(fd, &st));
	if (err || st.st_uid != s->euid || S_ISLNK(st.st_mode) ||
	    (st.st_mode & bits) == bits)
		return err;
	lift.fd = RETRY_EINTR(fcntl(fd, F_DUPFD_CLOEXEC, 0));
	err = sys_result(lift.fd);
	if (err < 0)
		return err;
	lift.mode = st.st_mode & 07777;
	atomic_store(&s->state->lifted, true);
	err = chmod_fd(lift.fd, lift.mode | bits);
	if (err)
		close_fd(&lift.fd);
	else
		*ret_lift = lift;
	return err;
}

static int put_back(struct mode_lift *lift)
{
	int err = chmod_fd(lift->fd, lift->mode);

	close_fd(&lift->fd);
	return err;
}

int mode_lift_begin(const struct store *s, int fd, mode_t bits,
		    struct mode_lift *ret_lift) NO_THREAD_SAFETY_ANALYSIS
{
	int err;

	ret_lift->fd = -1;
	if (s->euid == 0 || s->keeps_modes)
		return 0;
	mutex_lock(&s->state->lift);
	err = lift_locked(s, fd, bits, ret_lift);
	if (ret_lift->fd < 0)
		mutex_unlock(&s->state->lift);
	return err;
}

int mode_lift_end(const struct store *s, struct mode_lift *lift)
	NO_THREAD_SAFETY_ANALYSIS
{
	int err;

	if (lift->fd < 0)
		return 0;
	err = put_back(lift);
	mutex_unlock(&s->state->lift);
	return err;
}

static mode_t bits_for(mode_t mode, int flags)
{
	switch (flags & O_ACCMODE) {
	case O_RDONLY:
		return S_ISDIR(mode) ? S_IRUSR | S_IXUSR : S_IRUSR;
	case O_WRONLY:
		return S_IWUSR;
	default:
		return S_IRUSR | S_IWUSR;
	}
}

/* Open again what @path_fd names: the very object, whatever the name is now. */
int now_reopen(const struct store *s, int path_fd, int flags)
{
	char path[PROC_PATH_MAX];
	int fd;

	(void)s;
	flags = (atime_flags(flags) & ~O_NOFOLLOW) | O_CLOEXEC | O_NONBLOCK |
		O_NOCTTY;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", path_fd);
	fd = RETRY_EINTR(open(path, flags));
	if (fd < 0 && atime_gives_way(flags))
		fd = RETRY_EINTR(open(path, flags & ~O_NOATIME));
	return sys_result(fd);
}

/* Its directory may be one that its owner may not search. */
static int open_path_forced(const struct store *s, int dirfd, const char *name)
{
	_cleanup_close_ int fd = now_openat(s, dirfd, name, O_PATH);
	struct mode_lift lift;
	int err;

	if (fd != -EACCES)
		return steal_fd(&fd);
	err = mode_lift_begin(s, dirfd, S_IXUSR, &lift);
	if (err)
		return err == -EPERM ? -EACCES : err;
	fd = now_openat(s, dirfd, name, O_PATH);
	err = mode_lift_end(s, &lift);
	if (fd >= 0 && err)
		return err;
	return steal_fd(&fd);
}

bool mode_hold(const struct store *s) NO_THREAD_SAFETY_ANALYSIS
{
	if (s->euid == 0)
		return false;
	mutex_lock(&s->state->lift);
	return true;
}

void mode_release(const struct store *s, bool held) NO_THREAD_SAFETY_ANALYSIS
{
	if (held)
		mutex_unlock(&s->state->lift);
}

int now_openat_forced(const struct store *s, int dirfd, const char *name,
		      int flags)
{
	_cleanup_close_ int path_fd = -1;
	_cleanup_close_ int fd = -1;
	struct mode_lift lift;
	struct stat st;
	int err;

	fd = now_openat(s, dirfd, name, flags);
	if (fd != -EACCES)
		return steal_fd(&fd);
	path_fd = open_path_forced(s, dirfd, name);
	if (path_fd < 0)
		return path_fd;
	if (flags & O_PATH)
		return steal_fd(&path_fd);
	if (fstat(path_fd, &st))
		return -errno;
	if (S_ISLNK(st.st_mode))
		return -ELOOP;
	err = mode_lift_begin(s, path_fd, bits_for(st.st_mode, flags), &lift);
	if (err)
		return err == -EPERM ? -EACCES : err;
	fd = now_reopen(s, path_fd, flags);
	err = mode_lift_end(s, &lift);
	if (fd >= 0 && err)
		return err;
	return steal_fd(&fd);
}

/* Lock held. Is it a directory, not the root, that has the @bits now only? */
static bool dir_lifted(const struct store *s, int fd, mode_t bits,
		       struct mode_lift *ret_lift) REQUIRES(s->state->lift)
{
	struct stat st;

	if (fd < 0 || fstat(fd, &st) || !S_ISDIR(st.st_mode) ||
	    (st.st_dev == s->dev && st.st_ino == s->root_ino))
		return false;
	return !lift_locked(s, fd, bits, ret_lift) && ret_lift->fd >= 0;
}

ssize_t now_lifted(struct store_call *k)
{
	const struct store *s = k->s;
	struct mode_lift lift[4];
	ssize_t r = -EACCES;
	int count = 0;

	if (s->euid == 0 || s->keeps_modes)
		return r;
	mutex_lock(&s->state->lift);
	for (int i = 0; i < 2; i++)
		count += dir_lifted(s, k->fd[i], S_IRWXU, &lift[count]);
	for (int i = 0; i < 2 && k->moves; i++) {
		int fd = now_openat(s, k->fd[i], k->name[i], O_PATH);

		/* Its ".." is about to change. */
		count += dir_lifted(s, fd, S_IWUSR, &lift[count]);
		close_fd(&fd);
	}
	if (count)
		r = k->fn(k);
	while (count) {
		int err = put_back(&lift[--count]);

		/* What was done is done, and told as it was. */
		if (err)
			log_warn("a mode that was lifted could not be put "
				 "back: store=%s error=%s",
				 s->id.name, strerror(-err));
	}
	mutex_unlock(&s->state->lift);
	return r;
}
