/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Contents of files.
 *
 * Set-id bits. The kernel leaves them to us (device.h). A WRITE says whether
 * they must go; fallocate does not, and there everyone but root loses them. The
 * kernel goes on with the mode that it remembers, which with our long timeouts
 * could let a file that was just overwritten run with its old set-user-id bit:
 * so where there was one, it is told to forget the attributes before the
 * answer. Nothing of this happens to writes through the
 * page cache: the kernel sends a write past it when there is a bit to lose.
 *
 * No room. A page that was accepted from an application and is refused here
 * is lost, and only fsync or close says so. So that who goes on writing hears
 * of it, the kernel is told to forget the attributes: it then asks for them
 * before the next write, and passes on what that is answered (ops_attr.c).
 *
 * copy_file_range(2) is left out: the stores would read the source one after
 * the other while it may change, and the copies could differ. The kernel then
 * reads and writes through its page cache.
 *
 * File capabilities. The kernel removes the attribute before the first write.
 * When pages are written that it had gathered it may be there again, and stays.
 *
 * Ref: inode(7), write(2), fallocate(2), lseek(2), fsync(2)
 */
#include "fs/mount/ops.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fuse.h>

#include "fs/mount/reply.h"

/* Older kernels do not know "never ask again"; they get an empty handle. */
void op_open(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	(void)node;
	if (session_of(req)->zero_open) {
		reply_unsupported(req);
		return;
	}
	fi->fh = 0;
	fi->keep_cache = 1;
	(void)fuse_reply_open(req, fi);
}

/* Nothing is pending here that a close could report: errors of cached pages
 * are the kernel's to tell. */
void op_flush(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	(void)node;
	(void)fi;
	reply_unsupported(req);
}

/* Of files that older kernels opened. */
void op_release(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	(void)node;
	(void)fi;
	reply_err(req, 0);
}

void op_read(fuse_req_t req, fuse_ino_t node, size_t len, off_t off,
	     struct fuse_file_info *fi)
{
	void *buf = reply_buffer(len);
	ssize_t got = -ENOMEM;

	(void)fi;
	if (buf)
		got = mirror_read(mirror_of(req), node, buf, len,
				  (uint64_t)off);
	reply_buf(req, buf, got);
}

/*
 * A part of it is an answer to a write through the kernel's pages alone. Of a page
 * that it had gathered the kernel knows an error or none. A direct write that ends
 * in an error it cuts off again, and makes EIO of a part; with writeback caching it
 * puts the rest of one into its cache.
 */
static ssize_t write_to(struct mount_session *s, fuse_ino_t node,
			const char *buf, size_t len, uint64_t off,
			unsigned int kill, const struct fuse_file_info *fi)
{
	int err;

	if (!fi->writepage && !s->writeback && !(fi->flags & O_DIRECT))
		return mirror_write_some(s->mirror, node, buf, len, off, kill);
	if (fi->writepage)
		kill |= MIRROR_KEEP_CAPS;
	err = mirror_write(s->mirror, node, buf, len, off, kill);
	return err ? err : (ssize_t)len;
}

void op_write(fuse_req_t req, fuse_ino_t node, const char *buf, size_t len,
	      off_t off, struct fuse_file_info *fi)
{
	struct mount_session *session = session_of(req);
	unsigned int kill;
	bool kills, had;
	ssize_t count;

	kills = device_request_kills(FUSE_WRITE, fuse_req_ctx(req)->uid) &&
		session->killpriv && !fi->writepage;
	kill = ops_kill(req, node, kills, &had);
	count = write_to(session, node, buf, len, (uint64_t)off, kill, fi);
	if (fi->writepage && (count == -ENOSPC || count == -EDQUOT)) {
		mirror_refuse(session->mirror, node, (int)count, len);
		had = true;
		/* Of all errors of its pages the kernel knows this one alone
		 * when a file is closed: any other is EIO there. */
		count = -ENOSPC;
	}
	if (had)
		notify_attributes(session, node);
	reply_count(req, count);
}

void op_fsync(fuse_req_t req, fuse_ino_t node, int data_only,
	      struct fuse_file_info *fi)
{
	(void)fi;
	reply_err(req, mirror_fsync(mirror_of(req), node, data_only != 0));
}

void op_fallocate(fuse_req_t req, fuse_ino_t node, int mode, off_t off,
		  off_t len, struct fuse_file_info *fi)
{
	struct mount_session *session = session_of(req);
	bool kills = session->killpriv && fuse_req_ctx(req)->uid != 0;
	bool had;
	unsigned int kill = ops_kill(req, node, kills, &had);
	int err;

	(void)fi;
	err = mirror_fallocate(session->mirror, node, mode, (uint64_t)off,
			       (uint64_t)len, kill);
	if (had || err)
		notify_attributes(session, node);
	/* A part may have been zeroed, and nobody knows which. */
	if (err && err != -EOPNOTSUPP &&
	    (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)))
		notify_invalidate(session, node);
	reply_err(req, err);
}

void op_lseek(fuse_req_t req, fuse_ino_t node, off_t off, int whence,
	      struct fuse_file_info *fi)
{
	(void)fi;
	if (whence != SEEK_DATA && whence != SEEK_HOLE)
		reply_err(req, -EINVAL);
	else if (off < 0)
		reply_err(req, -ENXIO);
	else
		notify_seek(session_of(req), req, node, (uint64_t)off, whence);
}
