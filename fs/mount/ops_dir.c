/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directories.
 *
 * There are no directory handles: a walk goes on from the cookie of its last
 * entry, which means the same after a failover and a remount.
 *
 * Ref: getdents(2), readdir(3), seekdir(3)
 */
#include "fs/mount/ops.h"

#include <dirent.h>
#include <string.h>

#include "fs/mount/reply.h"

/* A reply that is being filled. */
struct listing {
	fuse_req_t req;
	char *buf;
	size_t len;
	size_t used;
};

void op_opendir(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	(void)node;
	if (session_of(req)->zero_opendir) {
		reply_unsupported(req);
		return;
	}
	/* What refusing would have meant. */
	fi->fh = 0;
	fi->keep_cache = 1;
	fi->cache_readdir = 1;
	(void)fuse_reply_open(req, fi);
}

void op_releasedir(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	(void)node;
	(void)fi;
	reply_err(req, 0);
}

/* Counts an entry in if it fits; an entry of no size did not. */
static int listing_took(struct listing *l, size_t size)
{
	if (size > l->len - l->used)
		return 1;
	l->used += size;
	return 0;
}

static int list_name(void *arg, const char *name, uint64_t id,
		     unsigned char type, uint64_t next_cookie,
		     const struct stat *st)
{
	struct listing *l = arg;
	const struct stat kind = {
		.st_ino = id,
		.st_mode = DTTOIF((mode_t)type),
	};

	(void)st;
	return listing_took(l, fuse_add_direntry(l->req, l->buf + l->used,
						 l->len - l->used, name, &kind,
						 (off_t)next_cookie));
}

static bool is_dots(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static int list_entry(void *arg, const char *name, uint64_t id,
		      unsigned char type, uint64_t next_cookie,
		      const struct stat *st)
{
	struct listing *l = arg;
	struct fuse_entry_param param = {
		/* Node 0: a name alone, with nothing to look up or count. */
		.attr.st_ino = id,
		.attr.st_mode = DTTOIF((mode_t)type),
	};

	if (st && !is_dots(name))
		param = reply_entry_param(id, st);
	return listing_took(l,
			    fuse_add_direntry_plus(l->req, l->buf + l->used,
						   l->len - l->used, name,
						   &param, (off_t)next_cookie));
}

/*
 * What was listed before an error goes out: its lookup counts were raised. The
 * next request meets the error again. Should this reply not arrive, then
 * because the connection is gone, and all counts with it.
 */
static void list(fuse_req_t req, uint64_t node, size_t len, off_t cookie,
		 bool plus)
{
	struct listing l = {.req = req, .len = len};
	int err;

	l.buf = reply_buffer(len);
	if (!l.buf) {
		reply_err(req, -ENOMEM);
		return;
	}
	err = mirror_readdir(mirror_of(req), node, (uint64_t)cookie, plus,
			     plus ? list_entry : list_name, &l);
	if (!err && !l.used && relist_ended(&session_of(req)->relist, node))
		notify_invalidate(session_of(req), node);
	if (err && !l.used)
		reply_err(req, err);
	else
		reply_buf(req, l.buf, (ssize_t)l.used);
}

void op_readdir(fuse_req_t req, fuse_ino_t node, size_t len, off_t cookie,
		struct fuse_file_info *fi)
{
	(void)fi;
	list(req, node, len, cookie, false);
}

void op_readdirplus(fuse_req_t req, fuse_ino_t node, size_t len, off_t cookie,
		    struct fuse_file_info *fi)
{
	(void)fi;
	list(req, node, len, cookie, true);
}
