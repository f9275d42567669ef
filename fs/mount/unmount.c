/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/mount/unmount.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "fs/mount/session.h"

extern char **environ;

enum {
	/* After the unmount, until the connection is cut off. Others may hold
	 * the filesystem in a mount namespace of their own. */
	LINGER_MS = 5000,
};

/* mountinfo writes blanks and backslashes as three octal digits. */
static void unescape(char *text)
{
	char *to = text;

	for (const char *p = text; *p; to++) {
		if (p[0] == '\\' && p[1] && p[2] && p[3]) {
			*to = (char)((p[1] - '0') * 64 + (p[2] - '0') * 8 +
				     (p[3] - '0'));
			p += 4;
		} else {
			*to = *p++;
		}
	}
	*to = '\0';
}

/* "36 35 98:0 /root /point options - type source": Return: 1 if it is
 * ours and at @path. */
static int match_line(char *line, const char *path, dev_t *ret_dev)
{
	unsigned int major_nr, minor_nr;
	char *point, *end, *type;

	if (sscanf(line, "%*u %*u %u:%u", &major_nr, &minor_nr) != 2)
		return 0;
	type = strstr(line, " - ");
	if (!type || strncmp(type, " - fuse", strlen(" - fuse")) != 0)
		return 0;
	point = line;
	for (int field = 0; field < 4; field++) {
		point = strchr(point, ' ');
		if (!point)
			return 0;
		point++;
	}
	end = strchr(point, ' ');
	if (!end)
		return 0;
	*end = '\0';
	unescape(point);
	if (strcmp(point, path) != 0)
		return 0;
	*ret_dev = makedev(major_nr, minor_nr);
	return 1;
}

int unmount_find_dev(const char *path, dev_t *ret_dev)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/self/mountinfo", "re");
	_cleanup_free_ char *line = NULL;
	size_t size = 0;
	int err = -ENOENT;

	if (!f)
		return -errno;
	/* What was mounted later stands later, and on top. */
	while (getline(&line, &size, f) > 0)
		if (match_line(line, path, ret_dev))
			err = 0;
	return err;
}

static bool still_mounted(const struct mount_session *s)
{
	dev_t dev;

	return unmount_find_dev(s->path, &dev) == 0 && dev == s->dev;
}

/* ---- ways to unmount ---- */

static void write_dirty_pages(const struct mount_session *s)
{
	_cleanup_close_ int fd = -1;
	struct stat st;

	fd = open(s->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) || st.st_dev != s->dev)
		return;
	if (syncfs(fd))
		log_err("dirty pages not written: mount=%s error=%s", s->path,
			strerror(errno));
}

/* The ordinary user's way. @lazy: also if it is in use. */
static void run_fusermount(const char *path, bool lazy)
{
	char *const argv[] = {
		(char *)"fusermount3",
		(char *)"-u",
		(char *)(lazy ? "-z" : "-q"),
		(char *)"--",
		(char *)path,
		NULL,
	};
	int status;
	pid_t pid;

	if (posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ))
		return;
	/* Success is what the mount table says afterwards. */
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
}

static void detach(const struct mount_session *s, bool force)
{
	int flags = UMOUNT_NOFOLLOW | (force ? MNT_FORCE | MNT_DETACH : 0);

	/* Forcing breaks the connection as well. */
	if (umount2(s->path, flags) && (errno == EPERM || errno == EACCES))
		run_fusermount(s->path, force);
}

/* Works where the control filesystem is mounted, for the one who mounted; the
 * force of detach() is root's alone. */
static void abort_connection(const struct mount_session *s)
{
	_cleanup_close_ int fd = -1;
	char path[64];

	(void)snprintf(path, sizeof(path), "/sys/fs/fuse/connections/%u/abort",
		       minor(s->dev));
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd >= 0 && write(fd, "1", 1) == 1)
		return;
	/* Nothing else can end it without losing what they write. */
	log_warn("still in use, ends with its last user: mount=%s", s->path);
}

/* Return: true if no request is served any more. */
static bool wait_ended(const struct mount_session *s, int wait_ms)
{
	struct pollfd ended = {.fd = s->ended_fd, .events = POLLIN};

	return poll(&ended, 1, wait_ms) == 1;
}

static void leave(const struct mount_session *s)
{
	if (still_mounted(s)) {
		write_dirty_pages(s);
		detach(s, false);
	}
	if (still_mounted(s)) {
		log_warn("unmounted while in use: mount=%s", s->path);
		write_dirty_pages(s);
		detach(s, true);
	}
	if (!wait_ended(s, LINGER_MS))
		abort_connection(s);
}

static void *unmount_thread(void *arg)
{
	const struct mount_session *s = arg;
	struct pollfd fds[] = {
		{.fd = s->ended_fd, .events = POLLIN},
		{.fd = s->stop_fd, .events = POLLIN},
	};

	while (poll(fds, ARRAY_SIZE(fds), -1) < 0)
		assert(errno == EINTR);
	if (!fds[0].revents)
		leave(s);
	return NULL;
}

int unmount_start(struct mount_session *session)
{
	return session_thread_start(&session->stopper, unmount_thread, session);
}

void unmount_finish(struct mount_session *session)
{
	const uint64_t one = 1;

	/* An eventfd takes eight bytes; there is no other failure. */
	if (write(session->ended_fd, &one, sizeof(one)) != sizeof(one))
		log_err("eventfd: %s", strerror(errno));
	(void)pthread_join(session->stopper, NULL);
	/* A connection that was broken off leaves a dead mount behind. */
	if (still_mounted(session))
		detach(session, true);
}
