/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/cli/control_path.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

/* Room for "/MAJOR-MINOR" behind the directory. */
#define NAME_ROOM 24

static int place(uid_t uid, unsigned int index, char *buf, size_t size)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");

	switch (index) {
	case 0:
		if (uid != 0)
			return 0;
		return snprintf(buf, size, "/run/seqmirror");
	case 1:
		if (uid != geteuid() || uid == 0 || !runtime || *runtime != '/')
			return 0;
		return snprintf(buf, size, "%s/seqmirror", runtime);
	case 2:
		if (uid == 0)
			return 0;
		return snprintf(buf, size, "/run/user/%u/seqmirror",
				(unsigned int)uid);
	case 3:
		return snprintf(buf, size, "/tmp/seqmirror-%u",
				(unsigned int)uid);
	default:
		return -1;
	}
}

int control_dir(uid_t uid, unsigned int index,
		char ret[static CONTROL_PATH_MAX])
{
	int n;

	/* The @index-th of those that exist for this user and fit. */
	for (unsigned int i = 0;; i++) {
		n = place(uid, i, ret, CONTROL_PATH_MAX);
		if (n < 0)
			return 0;
		if (n == 0 || n + NAME_ROOM > CONTROL_PATH_MAX)
			continue;
		if (index-- == 0)
			return 1;
	}
}

int control_dir_check(const char *dir, uid_t uid)
{
	struct stat st;

	if (lstat(dir, &st) < 0)
		return -errno;
	if (!S_ISDIR(st.st_mode) || st.st_uid != uid || (st.st_mode & 077))
		return -EPERM;
	return 0;
}

int control_path_make(unsigned int major, unsigned int minor,
		      char ret[static CONTROL_PATH_MAX])
{
	char dir[CONTROL_PATH_MAX];
	uid_t uid = geteuid();
	int err = -ENOENT;

	for (unsigned int i = 0; control_dir(uid, i, dir) == 1; i++) {
		if (mkdir(dir, 0700) < 0 && errno != EEXIST) {
			err = -errno;
			continue;
		}
		err = control_dir_check(dir, uid);
		if (err)
			continue;
		(void)snprintf(ret, CONTROL_PATH_MAX, "%.*s/%u-%u",
			       CONTROL_PATH_MAX - NAME_ROOM, dir, major, minor);
		/* The number is ours: who had it before is gone. */
		if (unlink(ret) < 0 && errno != ENOENT) {
			err = -errno;
			continue;
		}
		return 0;
	}
	return err;
}

int control_peer(int fd, uid_t *ret_uid, pid_t *ret_pid)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return -errno;
	*ret_uid = peer.uid;
	*ret_pid = peer.pid;
	return 0;
}
