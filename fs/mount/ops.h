/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ops - one function per kind of request; session.c puts them into the table.
 *
 * Each decodes, calls the mirror once, and answers. What they have in common:
 *
 *  - node ids of the kernel are those of the mirror, and there are no file
 *    handles: OPEN and OPENDIR are refused with ENOSYS, which the kernel takes
 *    for "always fine, do not ask again". CREATE is refused likewise.
 *  - permissions were checked by the kernel (default_permissions).
 *  - the caller's identity matters for what is made, and for set-id bits.
 *
 * Ref: struct fuse_lowlevel_ops in fuse_lowlevel.h
 */
#pragma once

#include "fs/mount/session.h"

/** ops_cred - who asks. */
static inline struct mirror_cred ops_cred(fuse_req_t req)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);

	return (struct mirror_cred){
		.uid = ctx->uid,
		.gid = ctx->gid,
		.umask = ctx->umask,
		.fsetid = ctx->uid == 0,
	};
}

/** ops_in_group - whether who asks belongs to a group. */
bool ops_in_group(fuse_req_t req, gid_t gid);

/**
 * ops_kill - what a change of contents takes away from a file, MIRROR_KILL_*.
 * @kills:     the kernel says, or we know, that the caller may not keep it
 * @ret_bits:  whether it takes set-id bits
 */
unsigned int ops_kill(fuse_req_t req, fuse_ino_t node, bool kills,
		      bool *ret_bits);

/* ops_name.c */
void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_forget(fuse_req_t req, fuse_ino_t node, uint64_t nlookup);
void op_forget_multi(fuse_req_t req, size_t count,
		     struct fuse_forget_data *forgets);
void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
	      dev_t rdev);
void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent,
		const char *name);
void op_link(fuse_req_t req, fuse_ino_t node, fuse_ino_t new_parent,
	     const char *new_name);
void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name,
	       fuse_ino_t new_parent, const char *new_name, unsigned int flags);
void op_readlink(fuse_req_t req, fuse_ino_t node);

/* ops_attr.c */
void op_getattr(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi);
void op_setattr(fuse_req_t req, fuse_ino_t node, struct stat *want, int what,
		struct fuse_file_info *fi);
void op_statfs(fuse_req_t req, fuse_ino_t node);
void op_ioctl(fuse_req_t req, fuse_ino_t node, unsigned int cmd, void *arg,
	      struct fuse_file_info *fi, unsigned int flags, const void *in_buf,
	      size_t in_len, size_t out_len);

/* ops_data.c */
void op_open(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi);
void op_read(fuse_req_t req, fuse_ino_t node, size_t len, off_t off,
	     struct fuse_file_info *fi);
void op_write(fuse_req_t req, fuse_ino_t node, const char *buf, size_t len,
	      off_t off, struct fuse_file_info *fi);
void op_flush(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi);
void op_release(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi);
void op_fsync(fuse_req_t req, fuse_ino_t node, int data_only,
	      struct fuse_file_info *fi);
void op_fallocate(fuse_req_t req, fuse_ino_t node, int mode, off_t off,
		  off_t len, struct fuse_file_info *fi);
void op_lseek(fuse_req_t req, fuse_ino_t node, off_t off, int whence,
	      struct fuse_file_info *fi);

/* ops_dir.c */
void op_opendir(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi);
void op_readdir(fuse_req_t req, fuse_ino_t node, size_t len, off_t cookie,
		struct fuse_file_info *fi);
void op_readdirplus(fuse_req_t req, fuse_ino_t node, size_t len, off_t cookie,
		    struct fuse_file_info *fi);
void op_releasedir(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi);

/* ops_xattr.c */
void op_setxattr(fuse_req_t req, fuse_ino_t node, const char *name,
		 const char *value, size_t len, int flags);
void op_getxattr(fuse_req_t req, fuse_ino_t node, const char *name, size_t len);
void op_listxattr(fuse_req_t req, fuse_ino_t node, size_t len);
void op_removexattr(fuse_req_t req, fuse_ino_t node, const char *name);
