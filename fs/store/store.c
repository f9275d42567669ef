/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a store: opened, watched, closed.
 */
#include "fs/store/store.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/text.h"
#include "fs/store/internal.h"

static struct store *store_new(void)
{
	struct store *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->root_fd = s->priv_fd = s->limbo_fd = -1;
	s->found_fd = s->lock_fd = s->sync_fd = -1;
	s->state = calloc(1, sizeof(*s->state));
	s->guard = guard_new();
	if (!s->state || !s->guard) {
		free(s->state);
		guard_free(s->guard);
		free(s);
		return NULL;
	}
	mutex_init(&s->state->lift, LOCK_RANK_LEAF);
	return s;
}

static int open_dir(int dirfd, const char *name)
{
	return sys_result(RETRY_EINTR(openat(
		dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)));
}

/* limbo/ and found/ are empty most of the time, and a copy of a store made by
 * hand may have lost them. */
static int open_holder(int priv_fd, const char *name)
{
	int fd = open_dir(priv_fd, name);

	if (fd != -ENOENT)
		return fd;
	if (mkdirat(priv_fd, name, 0700))
		return -errno;
	return open_dir(priv_fd, name);
}

static int take_lock(struct store *s)
{
	_cleanup_close_ int fd = -1;

	fd = RETRY_EINTR(openat(
		s->priv_fd, STORE_LOCK,
		O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600));
	if (fd < 0)
		return -errno;
	if (RETRY_EINTR(flock(fd, LOCK_EX | LOCK_NB)))
		return errno == EWOULDBLOCK ? -EBUSY : -errno;
	s->lock_fd = steal_fd(&fd);
	return 0;
}

/* Up to here nothing was written: the identity comes first. */
static int open_proved(struct store *s, const char *expect_uuid)
{
	struct stat st;
	int err;

	s->root_fd = open_dir(AT_FDCWD, s->path);
	if (s->root_fd < 0)
		return s->root_fd;
	guard_progress();
	if (fstat(s->root_fd, &st))
		return -errno;
	s->dev = st.st_dev;
	s->root_ino = st.st_ino;
	s->euid = geteuid();
	s->priv_fd = priv_open(s->root_fd);
	if (s->priv_fd < 0)
		return s->priv_fd;
	guard_progress();
	err = identity_read(s->priv_fd, &s->id);
	if (err)
		return err;
	if (expect_uuid && strcmp(expect_uuid, s->id.store_uuid) != 0)
		return -ESTALE;
	return 0;
}

static int open_rest(struct store *s)
{
	int err = take_lock(s);

	if (err)
		return err;
	guard_progress();
	s->limbo_fd = open_holder(s->priv_fd, STORE_LIMBO);
	if (s->limbo_fd < 0)
		return s->limbo_fd;
	s->found_fd = open_holder(s->priv_fd, STORE_FOUND);
	if (s->found_fd < 0)
		return s->found_fd;
	s->sync_fd = open_dir(s->root_fd, ".");
	if (s->sync_fd < 0)
		return s->sync_fd;
	guard_progress();
	return probe_caps(s->root_fd, s->priv_fd, &s->caps);
}

static int open_at(struct store *s, const char *path, const char *expect_uuid)
{
	int err;

	s->path = realpath(path, NULL);
	if (!s->path)
		return -errno;
	s->privdir = priv_path(s->path);
	if (!s->privdir)
		return -ENOMEM;
	err = open_proved(s, expect_uuid);
	return err ? err : open_rest(s);
}

int store_open(const char *path, const char *expect_uuid,
	       struct store **ret_store)
{
	struct store *s;
	int err = FAULT_ERR("store.open");

	if (err)
		return err;
	s = store_new();
	if (!s)
		return -ENOMEM;
	err = open_at(s, path, expect_uuid);
	if (err) {
		store_close(s);
		return err;
	}
	*ret_store = s;
	return 0;
}

void store_close(struct store *s)
{
	struct store_inject *inject;

	if (!s)
		return;
	guard_free(s->guard); /* what is under way uses all of it */
	if (s->lock_fd >= 0 && atomic_load(&s->state->noted)) {
		/* Whoever reads a stale line finds nobody listening. */
		int unused = ftruncate(s->lock_fd, 0);

		(void)unused;
	}
	while ((inject = s->state->injects)) {
		s->state->injects = inject->next;
		free(inject);
	}
	mutex_done(&s->state->lift);
	free(s->state);
	close_fd(&s->sync_fd);
	close_fd(&s->found_fd);
	close_fd(&s->limbo_fd);
	close_fd(&s->priv_fd);
	close_fd(&s->root_fd);
	close_fd(&s->lock_fd); /* last: it keeps others out until here */
	free(s->privdir);
	free(s->path);
	free(s);
}

const struct store_identity *store_identity(const struct store *s)
{
	return &s->id;
}

const struct store_caps *store_caps(const struct store *s)
{
	return &s->caps;
}

const char *store_path(const struct store *s)
{
	return s->path;
}

const char *store_privdir(const struct store *s)
{
	return s->privdir;
}

dev_t store_dev(const struct store *s)
{
	return s->dev;
}

int store_root_fd(const struct store *s)
{
	return s->root_fd;
}

bool store_is_at(const struct store *s, const struct stat *st)
{
	return st->st_dev == s->dev && st->st_ino == s->root_ino;
}

int store_limbo_fd(const struct store *s)
{
	return s->limbo_fd;
}

int store_found_fd(const struct store *s)
{
	return s->found_fd;
}

int store_self_backing(const struct store *s, uint64_t *ret_ino,
		       uint64_t *ret_gen)
{
	struct store_stat st;
	int err = store_statat(s, s->priv_fd, STORE_FILE, STORE_STAT_GEN, &st);

	if (err)
		return err;
	*ret_ino = st.st.st_ino;
	*ret_gen = st.gen;
	return 0;
}

/*
 * The line is written over the old one before the rest is cut off: a reader
 * takes the first line and sees one or the other.
 */
int store_lock_note(struct store *s, const char *text)
{
	char line[PATH_MAX + 1];
	size_t len = strlen(text);
	int err;

	if (!len || len >= PATH_MAX || strchr(text, '\n'))
		return -EINVAL;
	snprintf(line, sizeof(line), "%s\n", text);
	err = store_write(s, s->lock_fd, line, len + 1, 0, NULL);
	if (err)
		return err;
	atomic_store(&s->state->noted, true);
	return store_truncate(s, s->lock_fd, len + 1);
}

int store_lock_note_read(const char *path, char *buf, size_t len)
{
	_cleanup_close_ int root_fd = -1;
	_cleanup_close_ int priv_fd = -1;
	_cleanup_close_ int fd = -1;
	char line[PATH_MAX + 1];
	char *end;
	ssize_t n;

	root_fd = RETRY_EINTR(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	if (root_fd < 0)
		return -errno;
	priv_fd = priv_open(root_fd);
	if (priv_fd < 0)
		return priv_fd;
	fd = RETRY_EINTR(
		openat(priv_fd, STORE_LOCK,
		       O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
	if (fd < 0)
		return -errno;
	n = RETRY_EINTR(pread(fd, line, sizeof(line), 0));
	if (n < 0)
		return -errno;
	end = memchr(line, '\n', (size_t)n);
	if (!end)
		return -ENOENT;
	if ((size_t)(end - line) >= len)
		return -ERANGE;
	memcpy(buf, line, (size_t)(end - line));
	buf[end - line] = '\0';
	return 0;
}

int now_alive(const struct store *s)
{
	struct statvfs vfs;
	struct stat st;
	int err = store_gate(s, "store.alive");

	if (err)
		return err;
	if (fstat(s->root_fd, &st) || fstatvfs(s->root_fd, &vfs))
		return -errno;
	if (vfs.f_flag & ST_RDONLY)
		return -EROFS;
	if (!st.st_nlink)
		return -ESTALE; /* removed */
	if (stat(s->path, &st))
		return errno == ENOENT || errno == ENOTDIR || errno == ELOOP
			       ? -ESTALE
			       : -errno;
	if (st.st_dev != s->dev || st.st_ino != s->root_ino)
		return -ESTALE;
	return 0;
}

int now_statvfs(const struct store *s, struct statvfs *ret)
{
	int err = store_gate(s, "store.statvfs");

	if (err)
		return err;
	return sys_result(RETRY_EINTR(fstatvfs(s->root_fd, ret)));
}

int now_syncfs(const struct store *s)
{
	int err = store_gate(s, "store.syncfs");

	if (err)
		return err;
	return sys_result(RETRY_EINTR(syncfs(s->sync_fd)));
}

bool store_error_is_fatal(int err)
{
	switch (err < 0 ? -err : err) {
	case ENODEV:
	case ENOMEDIUM:
	case EROFS:
	case ESHUTDOWN:
	case ENOTCONN:	/* the server of a FUSE filesystem died */
	case ETIMEDOUT: /* it hangs */
	case EHOSTDOWN:
	case EHOSTUNREACH:
	case ENETUNREACH:
		return true;
	default:
		/* EIO may be one bad block, ESTALE one file on a server,
		 * ENXIO is an answer of lseek(2). */
		return false;
	}
}

bool store_error_is_space(int err)
{
	err = err < 0 ? -err : err;
	return err == ENOSPC || err == EDQUOT;
}

bool store_error_is_ours(int err)
{
	err = err < 0 ? -err : err;
	return err == EMFILE || err == ENFILE || err == ENOMEM;
}

int store_error_of_call(int err)
{
	return store_error_is_ours(err) ? -EIO : err;
}

int store_injected(const struct store_inject *inject, const char *call)
{
	return strncmp(call, inject->what, strlen(inject->what)) ? 0
								 : inject->err;
}

void store_fail_inject(struct store *s, const char *what, int err)
{
	struct store_inject *inject = NULL;

	if (err) {
		inject = calloc(1, sizeof(*inject));
		assert(inject && strlen(what) < sizeof(inject->what));
		inject->err = err < 0 ? err : -err;
		memcpy(inject->what, what, strlen(what));
		inject->next = s->state->injects;
		s->state->injects = inject;
	}
	atomic_store_explicit(&s->state->inject, inject, memory_order_release);
}
