/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which of the mounts in /proc/self/mountinfo are ours.
 *
 * Asking here touches no mount: a volume whose daemon hangs still has a
 * device number, and by that its control socket.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/cleanup.h"

#define MOUNT_TYPE "fuse.seqmirror"

struct mount_entry {
	unsigned int major;
	unsigned int minor;
	uid_t owner; /* user_id= of the mount: who runs the daemon */
	char point[PATH_MAX];
	char source[PATH_MAX]; /* cut off if it is longer */
};

/**
 * mountinfo_parse_line - one line of mountinfo.
 * Return: 1 a mount of ours, 0 another's, -EINVAL not such a line
 */
MUST_CHECK int mountinfo_parse_line(const char *line,
				    struct mount_entry *ret_entry);

/**
 * mountinfo_find - the volume mounted exactly at @path (the topmost one).
 *
 * The text is compared first; symlinks are then resolved in the directory
 * above @path only, never in the mount itself.
 * Return: 0, -ENOENT (nothing of ours), -errno
 */
MUST_CHECK int mountinfo_find(const char *path, struct mount_entry *ret_entry);

/** mountinfo_find_dev - the volume with this device number. */
MUST_CHECK int mountinfo_find_dev(unsigned int major, unsigned int minor,
				  struct mount_entry *ret_entry);

/* Somebody who has a volume mounted that is not mounted here any more. */
struct mount_holder {
	pid_t pid;
	char name[16];
};

/**
 * mountinfo_elsewhere - is it mounted in another mount namespace?  Who has copied
 * all mounts (a container, unshare(1)) keeps it until that is gone.
 * Return: 0 one of them, -ENOENT none that can be seen, -errno
 */
MUST_CHECK int mountinfo_elsewhere(const struct mount_entry *entry,
				   struct mount_holder *ret_holder);

/** path_absolute - lexically: the working directory in front, no "." or
 * doubled or last slash; ".." and symlinks stay. Return: 0, -errno. */
MUST_CHECK int path_absolute(const char *path, char ret[static PATH_MAX]);
