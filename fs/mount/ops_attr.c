/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attributes of nodes and of the filesystem.
 *
 * Ref: stat(2), chmod(2), chown(2), truncate(2), utimensat(2), statvfs(3)
 */
#include "fs/mount/ops.h"

#include <linux/fuse.h>

#include "fs/mount/reply.h"

enum {
	GROUPS_FEW = 256, /* more are rare, and there may be 65536 */
};

bool ops_in_group(fuse_req_t req, gid_t gid)
{
	_cleanup_free_ gid_t *more = NULL;
	gid_t few[GROUPS_FEW], *groups = few;
	int count, room = GROUPS_FEW;

	if (fuse_req_ctx(req)->gid == gid)
		return true;
	count = fuse_req_getgroups(req, room, groups);
	if (count > room) {
		groups = more = calloc((size_t)count, sizeof(*more));
		room = groups ? count : 0;
		count = fuse_req_getgroups(req, room, groups);
	}
	for (int i = 0; i < MIN(count, room); i++)
		if (groups[i] == gid)
			return true;
	return false;
}

unsigned int ops_kill(fuse_req_t req, fuse_ino_t node, bool kills,
		      bool *ret_bits)
{
	unsigned int kill = MIRROR_KILL_SUIDGID;
	struct stat st;

	*ret_bits = kills;
	if (!kills)
		return 0;
	/* If it cannot be told: yes. The call that follows will fail too. */
	if (mirror_getattr(mirror_of(req), node, &st))
		return kill;
	*ret_bits = false;
	if (!S_ISREG(st.st_mode))
		return kill;
	if ((st.st_mode & S_ISGID) && !ops_in_group(req, st.st_gid))
		kill |= MIRROR_KILL_SGID;
	*ret_bits = (st.st_mode & S_ISUID) ||
		    ((st.st_mode & S_ISGID) &&
		     ((st.st_mode & S_IXGRP) || (kill & MIRROR_KILL_SGID)));
	return kill;
}

/* relist.h */
static void list_anew(struct mount_session *s, uint64_t file)
{
	uint64_t dir = mirror_dir_peek(s->mirror, file);
	uint64_t beside[RELIST_AHEAD];
	size_t count;

	if (!relist_asked(&s->relist, dir))
		return;
	notify_invalidate(s, dir);
	count = mirror_dirs_beside(s->mirror, dir, beside, ARRAY_SIZE(beside));
	for (size_t i = 0; i < count; i++)
		if (relist_along(&s->relist, beside[i]))
			notify_invalidate(s, beside[i]);
	notify_wait(s); /* else who walks would be there first */
}

void op_getattr(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	struct mount_session *s = session_of(req);
	struct stat st;
	int err;

	/* With an open file it is asked before a write to the page cache. */
	err = fi ? mirror_refused(s->mirror, node) : 0;
	if (!err)
		err = mirror_getattr(s->mirror, node, &st);
	if (!err && S_ISREG(st.st_mode) && s->forgets_blocks)
		list_anew(s, node);
	reply_attr(req, err, &st);
}

/* "Now" comes along with the kernel's own time, which is taken: both times are
 * one then. */
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
	};
	unsigned int ours = 0;

	for (size_t i = 0; i < ARRAY_SIZE(map); i++)
		if (what & map[i].theirs)
			ours |= map[i].ours;
	return ours;
}

/*
 * chown(2) that names neither owner nor group takes set-id bits away all the
 * same. The kernel leaves those to us and has nothing else to say then: with
 * writeback caching the change time, else nothing at all, as before a write that
 * takes them away, and which he may do who does not own the file (@others).
 */
static int chown_none(fuse_req_t req, fuse_ino_t node, bool others,
		      struct stat *ret_st)
{
	const struct mirror_cred cred = ops_cred(req);
	struct mirror *mirror = mirror_of(req);
	struct stat want;
	int err = mirror_getattr(mirror, node, ret_st);

	if (err || !session_of(req)->killpriv || !S_ISREG(ret_st->st_mode))
		return err;
	want = *ret_st;
	want.st_mode &= ~(mode_t)S_ISUID;
	if ((want.st_mode & S_IXGRP) ||
	    (!cred.fsetid && !ops_in_group(req, want.st_gid)))
		want.st_mode &= ~(mode_t)S_ISGID;
	if (want.st_mode == ret_st->st_mode)
		return 0;
	if (cred.uid != 0 && cred.uid != want.st_uid)
		return others ? 0 : -EPERM;
	return mirror_setattr(mirror, node, &want, MIRROR_SET_MODE, ret_st);
}

void op_setattr(fuse_req_t req, fuse_ino_t node, struct stat *want, int what,
		struct fuse_file_info *fi)
{
	const struct mirror_cred cred = ops_cred(req);
	unsigned int ours = setattr_what(what);
	struct stat st;
	bool told = what & FUSE_SET_ATTR_CTIME;
	bool kills, had;
	int err;

	(void)fi;
	kills = device_request_kills(FUSE_SETATTR, cred.uid) &&
		session_of(req)->killpriv;
	if (ours & MIRROR_SET_SIZE)
		ours |= ops_kill(req, node, kills, &had);
	if (ours)
		err = mirror_setattr(mirror_of(req), node, want,
				     told ? ours | MIRROR_SET_CTIME : ours,
				     &st);
	else
		err = chown_none(req, node, !told, &st);
	if (!ours && !err && told)
		err = mirror_setattr(mirror_of(req), node, want,
				     MIRROR_SET_CTIME, &st);
	/* A part of it may be done. */
	if (err)
		notify_attributes(session_of(req), node);
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
