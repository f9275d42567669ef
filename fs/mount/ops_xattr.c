/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Extended attributes, ACLs among them.
 *
 * Ref: xattr(7), acl(5)
 */
#include "fs/mount/ops.h"

#include <string.h>

#include "fs/mount/reply.h"

#define ACL_ACCESS "system.posix_acl_access"

enum {
	GROUPS_MAX = 1024, /* a caller with more is taken for a stranger */
};

/* Whether the caller of a request belongs to a group. */
static bool caller_in_group(fuse_req_t req, gid_t gid)
{
	gid_t groups[GROUPS_MAX];
	int count;

	if (fuse_req_ctx(req)->gid == gid)
		return true;
	count = fuse_req_getgroups(req, GROUPS_MAX, groups);
	for (int i = 0; i < MIN(count, (int)GROUPS_MAX); i++)
		if (groups[i] == gid)
			return true;
	return false;
}

/*
 * Who sets an ACL sets the mode with it, and like chmod(2) loses the
 * set-group-id bit of a file whose group is foreign to him. On a store it is
 * root who sets it, so that the store does not see to this.
 */
static int drop_foreign_setgid(fuse_req_t req, uint64_t node)
{
	const struct mirror_cred cred = ops_cred(req);
	struct mirror *mirror = mirror_of(req);
	struct stat st;
	int err;

	if (cred.fsetid)
		return 0;
	err = mirror_getattr(mirror, node, &st);
	if (err || !(st.st_mode & S_ISGID) || caller_in_group(req, st.st_gid))
		return err;
	st.st_mode &= ~(mode_t)S_ISGID;
	return mirror_setattr(mirror, node, &st, MIRROR_SET_MODE, &cred, &st);
}

void op_setxattr(fuse_req_t req, fuse_ino_t node, const char *name,
		 const char *value, size_t len, int flags)
{
	int err = 0;

	/* First the bit, then the ACL: not the other way round if either
	 * fails. */
	if (strcmp(name, ACL_ACCESS) == 0)
		err = drop_foreign_setgid(req, node);
	if (!err)
		err = mirror_setxattr(mirror_of(req), node, name, value, len,
				      flags);
	reply_err(req, err);
}

void op_getxattr(fuse_req_t req, fuse_ino_t node, const char *name, size_t len)
{
	void *buf = len ? reply_buffer(len) : NULL;
	ssize_t got = -ENOMEM;

	if (buf || !len)
		got = mirror_getxattr(mirror_of(req), node, name, buf, len);
	if (got < 0 || len)
		reply_buf(req, buf, got);
	else
		(void)fuse_reply_xattr(req, (size_t)got);
}

void op_listxattr(fuse_req_t req, fuse_ino_t node, size_t len)
{
	char *buf = len ? reply_buffer(len) : NULL;
	ssize_t got = -ENOMEM;

	if (buf || !len)
		got = mirror_listxattr(mirror_of(req), node, buf, len);
	if (got < 0 || len)
		reply_buf(req, buf, got);
	else
		(void)fuse_reply_xattr(req, (size_t)got);
}

void op_removexattr(fuse_req_t req, fuse_ino_t node, const char *name)
{
	reply_err(req, mirror_removexattr(mirror_of(req), node, name));
}
