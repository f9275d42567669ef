/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names: what leads to a node, makes one, or takes it away.
 *
 * Ref: openat(2), mknod(2), mkdir(2), symlink(2), link(2), unlink(2),
 * rename(2), RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT
 */
#include "fs/mount/ops.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "fs/mount/reply.h"
#include "fs/store/store.h"

/* The kernel passes longer names on than any store could hold. */
static int name_check(const char *name)
{
	return strlen(name) > META_NAME_MAX ? -ENAMETOOLONG : 0;
}

/* Stops a walk at "..". */
static int find_parent(void *arg, const char *name, uint64_t id,
		       unsigned char type, uint64_t next_cookie,
		       const struct stat *st)
{
	uint64_t *ret_id = arg;

	(void)type;
	(void)next_cookie;
	(void)st;
	if (strcmp(name, "..") != 0)
		return 0;
	*ret_id = id;
	return 1;
}

/* Servers of NFS handles go up from a directory that they know by its id. */
static int lookup_parent(struct mirror *mirror, uint64_t dir,
			 struct mirror_entry *ret)
{
	uint64_t id = 0;
	int err = mirror_readdir(mirror, dir, 0, false, find_parent, &id);

	if (err)
		return err;
	return id ? mirror_lookup_id(mirror, id, ret) : -ESTALE;
}

/*
 * A handle of a file that is gone leads nowhere. Should somebody hold it open
 * still, then the kernel holds it too and need not ask.
 */
static int lookup_handle(struct mirror *mirror, uint64_t node,
			 struct mirror_entry *ret)
{
	int err = mirror_lookup_id(mirror, node, ret);

	if (err || ret->st.st_nlink)
		return err;
	mirror_forget(mirror, node, 1);
	return -ESTALE;
}

void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct mirror *mirror = mirror_of(req);
	struct mirror_entry entry;
	int err = name_check(name);

	if (err)
		goto out;
	if (strcmp(name, ".") == 0)
		err = lookup_handle(mirror, parent, &entry);
	else if (strcmp(name, "..") == 0)
		err = lookup_parent(mirror, parent, &entry);
	else
		err = mirror_lookup(mirror, parent, name, &entry);
	if (err == -ENOENT) {
		/* Our own directory is not to be seen, and nothing of it is to
		 * be remembered. */
		reply_absent(req, parent != META_ROOT_ID ||
					  strcmp(name, STORE_PRIVATE) != 0);
		return;
	}
out:
	reply_entry(req, err, &entry);
}

void op_forget(fuse_req_t req, fuse_ino_t node, uint64_t nlookup)
{
	mirror_forget(mirror_of(req), node, nlookup);
	fuse_reply_none(req);
}

void op_forget_multi(fuse_req_t req, size_t count,
		     struct fuse_forget_data *forgets)
{
	struct mirror *mirror = mirror_of(req);

	for (size_t i = 0; i < count; i++)
		mirror_forget(mirror, forgets[i].ino, forgets[i].nlookup);
	fuse_reply_none(req);
}

/*
 * A new file, or fifo and the like, keeps its set-group-id bit in a directory
 * that hands its group on if the caller belongs to that group. A store knows
 * but one of his groups and takes the bit away; here it is put back. What was
 * asked for counts, before the umask.
 */
static void keep_setgid(fuse_req_t req, mode_t mode, struct mirror_entry *entry)
{
	const mode_t both = S_ISGID | S_IXGRP;
	struct stat want = entry->st;

	if ((mode & both) != both || (want.st_mode & S_ISGID) ||
	    !ops_in_group(req, want.st_gid))
		return;
	want.st_mode |= S_ISGID;
	/* Without it the file is there all the same, and is not said to have
	 * it. */
	ignore_result(mirror_setattr(mirror_of(req), entry->id, &want,
				     MIRROR_SET_MODE, &entry->st));
}

/*
 * Files are made here too. CREATE, which makes and opens, is not in the table:
 * the kernel then sends MKNOD, one message as well, and opens by itself. A file
 * that came out of CREATE would be released by a message, until the first OPEN
 * of some other file has taught the kernel that there are no handles.
 */
void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
	      dev_t rdev)
{
	const struct mirror_cred cred = ops_cred(req);
	struct mirror_entry entry;
	int err = name_check(name);

	if (err)
		goto out;
	if (S_ISREG(mode))
		err = mirror_create(mirror_of(req), parent, name,
				    mode & ALLPERMS, &cred, &entry);
	else
		err = mirror_mknod(mirror_of(req), parent, name, mode, rdev,
				   &cred, &entry);
	if (!err)
		keep_setgid(req, mode, &entry);
out:
	reply_entry(req, err, &entry);
}

void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	const struct mirror_cred cred = ops_cred(req);
	struct mirror_entry entry;
	int err = name_check(name);

	if (!err)
		err = mirror_mkdir(mirror_of(req), parent, name,
				   mode & ALLPERMS, &cred, &entry);
	reply_entry(req, err, &entry);
}

void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent,
		const char *name)
{
	const struct mirror_cred cred = ops_cred(req);
	struct mirror_entry entry;
	int err = name_check(name);

	if (!err)
		err = mirror_symlink(mirror_of(req), parent, name, target,
				     &cred, &entry);
	reply_entry(req, err, &entry);
}

void op_link(fuse_req_t req, fuse_ino_t node, fuse_ino_t new_parent,
	     const char *new_name)
{
	struct mirror_entry entry;
	int err = name_check(new_name);

	if (!err)
		err = mirror_link(mirror_of(req), node, new_parent, new_name,
				  &entry);
	reply_entry(req, err, &entry);
}

void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	int err = name_check(name);

	if (!err)
		err = mirror_unlink(mirror_of(req), parent, name);
	reply_err(req, err);
}

void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	int err = name_check(name);

	if (!err)
		err = mirror_rmdir(mirror_of(req), parent, name);
	reply_err(req, err);
}

void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name,
	       fuse_ino_t new_parent, const char *new_name, unsigned int flags)
{
	const struct mirror_cred cred = ops_cred(req);
	int err = name_check(name);

	if (!err)
		err = name_check(new_name);
	if (!err && (flags & RENAME_WHITEOUT))
		err = mirror_whiteout(
			mirror_of(req), parent, name, new_parent, new_name,
			flags & ~(unsigned int)RENAME_WHITEOUT, &cred);
	else if (!err)
		err = mirror_rename(mirror_of(req), parent, name, new_parent,
				    new_name, flags);
	reply_err(req, err);
}

void op_readlink(fuse_req_t req, fuse_ino_t node)
{
	char target[PATH_MAX + 1];
	ssize_t len;

	len = mirror_readlink(mirror_of(req), node, target, PATH_MAX);
	if (len < 0) {
		reply_err(req, (int)len);
		return;
	}
	target[len] = '\0';
	(void)fuse_reply_readlink(req, target);
}
