/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the control sockets lie, and who may be trusted there.
 *
 * A directory of mode 0700 that belongs to the user who runs the daemon:
 * /run/seqmirror for root, $XDG_RUNTIME_DIR/seqmirror for others, and
 * /tmp/seqmirror-UID where there is neither. In it one socket per mount,
 * named MAJOR-MINOR after the device number of the mount.
 */
#pragma once

#include <stddef.h>
#include <sys/types.h>
#include <sys/un.h>

#include "base/cleanup.h"

enum {
	CONTROL_PATH_MAX = sizeof(((struct sockaddr_un *)NULL)->sun_path),
};

/**
 * control_dir - the @index-th place where a daemon of user @uid may have put
 * its directory, in order of preference.
 * Return: 1, 0 no more places (an unusable one is skipped)
 */
MUST_CHECK int control_dir(uid_t uid, unsigned int index,
			   char ret[static CONTROL_PATH_MAX]);

/**
 * control_dir_check - @dir is a directory and no symlink, belongs to @uid and
 * is closed to others. Return: 0, -ENOENT, -EPERM (it is not), -errno
 */
MUST_CHECK int control_dir_check(const char *dir, uid_t uid);

/** control_path_make - the directory made and checked, and the name of the
 * socket in it, which does not exist. Return: 0, -errno. */
MUST_CHECK int control_path_make(unsigned int major, unsigned int minor,
				 char ret[static CONTROL_PATH_MAX]);

/** control_peer - who is at the other end. @ret_pid: 0 if it cannot be seen. */
MUST_CHECK int control_peer(int fd, uid_t *ret_uid, pid_t *ret_pid);
