/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unmount - how a mount ends when it is we who end it.
 *
 * Breaking the connection off would throw away what the kernel has not written
 * yet. So the end begins on the outside, while requests are still served:
 *
 *  1. syncfs(2) through the mount: dirty pages become WRITEs;
 *  2. an ordinary unmount, which flushes what came since;
 *  3. if the filesystem is in use, syncfs again, and it is taken out of the
 *     tree and cut off: whoever still has it open gets ENOTCONN. An ordinary
 *     user may be unable to cut it off; it then serves those who have it open
 *     until they are done.
 *
 * The thread that does it sleeps until it is asked to. The loop that serves
 * requests ends by itself once the kernel has let go.
 *
 * Ref: umount2(2), fusermount3(1), proc(5) "mountinfo",
 * Documentation/filesystems/fuse.rst "Aborting a filesystem connection"
 */
#pragma once

#include <sys/types.h>

#include "base/cleanup.h"

struct mount_session;

/**
 * unmount_find_dev - the device number of what is mounted on top at @path.
 * @path: absolute, without symlinks; not looked at itself
 * Return: 0, -ENOENT (no mount point of ours), -errno of /proc
 */
MUST_CHECK int unmount_find_dev(const char *path, dev_t *ret_dev);

/** unmount_start - make the thread. Return: 0 or -errno. */
MUST_CHECK int unmount_start(struct mount_session *session);

/** unmount_finish - no request is served any more: end the thread, and take
 * away a mount point that is still there. */
void unmount_finish(struct mount_session *session);
