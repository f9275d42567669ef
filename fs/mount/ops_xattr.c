/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Extended attributes, ACLs among them.
 *
 * Ref: xattr(7), acl(5)
 */
#include "fs/mount/ops.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "fs/mount/reply.h"

#define ACL_ACCESS "system.posix_acl_access"
#define TRUSTED	   "trusted."

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
	if (err || !(st.st_mode & S_ISGID) || ops_in_group(req, st.st_gid))
		return err;
	st.st_mode &= ~(mode_t)S_ISGID;
	return mirror_setattr(mirror, node, &st, MIRROR_SET_MODE, &st);
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

/* Takes the names of a list away that only root may see; returns its length. */
static ssize_t drop_trusted(char *names, ssize_t len)
{
	char *to = names;

	for (const char *p = names; p < names + len;) {
		size_t size = strlen(p) + 1;

		if (strncmp(p, TRUSTED, strlen(TRUSTED)) != 0) {
			memmove(to, p, size);
			to += size;
		}
		p += size;
	}
	return to - names;
}

void op_listxattr(fuse_req_t req, fuse_ino_t node, size_t len)
{
	char *buf = reply_buffer(XATTR_LIST_MAX);
	ssize_t got = -ENOMEM;

	if (buf)
		got = mirror_listxattr(mirror_of(req), node, buf,
				       XATTR_LIST_MAX);
	if (got > 0 && fuse_req_ctx(req)->uid != 0)
		got = drop_trusted(buf, got);
	if (got > 0 && len && (size_t)got > len)
		got = -ERANGE;
	if (got < 0 || len)
		reply_buf(req, buf, got);
	else
		(void)fuse_reply_xattr(req, (size_t)got);
}

void op_removexattr(fuse_req_t req, fuse_ino_t node, const char *name)
{
	reply_err(req, mirror_removexattr(mirror_of(req), node, name));
}
