/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attributes of nodes and of the filesystem.
 *
 * Ref: stat(2), chmod(2), chown(2), truncate(2), utimensat(2), statvfs(3)
 */
#include "fs/mount/ops.h"

#include <linux/fuse.h>

#include "fs/mount/reply.h"

void op_getattr(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	struct stat st;
	int err;

	(void)fi;
	err = mirror_getattr(mirror_of(req), node, &st);
	reply_attr(req, err, &st);
}

/* "Now" comes along with the plain flag and replaces it here. The change time
 * cannot be set on any store: what changes a node moves it. */
static unsigned int setattr_what(int what)
{
	static const struct {
		int theirs;
		unsigned int ours;
	} map[] = {
		{FUSE_SET_ATTR_MODE, MIRROR_SET_MODE},
		{FUSE_SET_ATTR_UID, MIRROR_SET_UID},
		{FUSE_SET_ATTR_GID, MIRROR_SET_GID},
		{FUSE_SET_ATTR_SIZE, MIRROR_SET_SIZE},
		{FUSE_SET_ATTR_ATIME, MIRROR_SET_ATIME},
		{FUSE_SET_ATTR_MTIME, MIRROR_SET_MTIME},
		{FUSE_SET_ATTR_ATIME_NOW, MIRROR_SET_ATIME_NOW},
		{FUSE_SET_ATTR_MTIME_NOW, MIRROR_SET_MTIME_NOW},
	};
	unsigned int ours = 0;

	for (size_t i = 0; i < ARRAY_SIZE(map); i++)
		if (what & map[i].theirs)
			ours |= map[i].ours;
	if (ours & MIRROR_SET_ATIME_NOW)
		ours &= ~MIRROR_SET_ATIME;
	if (ours & MIRROR_SET_MTIME_NOW)
		ours &= ~MIRROR_SET_MTIME;
	return ours;
}

void op_setattr(fuse_req_t req, fuse_ino_t node, struct stat *want, int what,
		struct fuse_file_info *fi)
{
	const struct mirror_cred cred = ops_cred(req);
	unsigned int ours = setattr_what(what);
	struct stat st;
	bool kills;
	int err;

	(void)fi;
	kills = device_request_kills(FUSE_SETATTR, cred.uid);
	if ((ours & MIRROR_SET_SIZE) && session_of(req)->killpriv && kills)
		ours |= MIRROR_KILL_SUIDGID;
	if (ours)
		err = mirror_setattr(mirror_of(req), node, want, ours, &cred,
				     &st);
	else
		err = mirror_getattr(mirror_of(req), node, &st);
	reply_attr(req, err, &st);
}

void op_statfs(fuse_req_t req, fuse_ino_t node)
{
	struct statvfs st;
	int err;

	(void)node;
	err = mirror_statvfs(mirror_of(req), &st);
	if (err)
		reply_err(req, err);
	else
		(void)fuse_reply_statfs(req, &st);
}

/* None is passed on: what one does to the file of one store would be known to
 * nobody. The answer is that of a file which has none. */
void op_ioctl(fuse_req_t req, fuse_ino_t node, unsigned int cmd, void *arg,
	      struct fuse_file_info *fi, unsigned int flags, const void *in_buf,
	      size_t in_len, size_t out_len)
{
	(void)node;
	(void)cmd;
	(void)arg;
	(void)fi;
	(void)flags;
	(void)in_buf;
	(void)in_len;
	(void)out_len;
	reply_err(req, -ENOTTY);
}
