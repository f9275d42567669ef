/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/mount/reply.h"

#include <assert.h>

enum {
	BUFFER_ALIGN = 4096,
	BUFFER_MIN = 128 * 1024, /* a read of the default readahead */
};

void reply_err(fuse_req_t req, int err)
{
	assert(err <= 0);
	if (err == -ENOSYS)
		err = -EOPNOTSUPP;
	/* A reply fails when nobody waits any more. So everywhere below. */
	(void)fuse_reply_err(req, -err);
}

void reply_unsupported(fuse_req_t req)
{
	(void)fuse_reply_err(req, ENOSYS);
}

/*
 * The kernel may hold pages of any file that are on no store as yet, tells
 * nobody, and shows the number of blocks that it was told last until the file is
 * closed.  To tar --sparse a file with a size and no block is one hole, and it
 * is archived as that.  So no file is said to have none: with one of 512 bytes
 * programs look for data, which the kernel writes out for that (notify.h).
 */
static struct stat with_a_block(const struct stat *st)
{
	struct stat told = *st;

	if (S_ISREG(told.st_mode) && told.st_blocks == 0)
		told.st_blocks = 1;
	return told;
}

struct fuse_entry_param reply_entry_param(uint64_t id, const struct stat *st)
{
	/* Ids are never used again, so that the generation can stay 0. */
	return (struct fuse_entry_param){
		.ino = id,
		.attr = with_a_block(st),
		.attr_timeout = REPLY_KEEP,
		.entry_timeout = REPLY_KEEP,
	};
}

void reply_entry(fuse_req_t req, int err, const struct mirror_entry *entry)
{
	struct mirror *mirror = mirror_of(req);
	struct fuse_entry_param param;

	if (err) {
		reply_err(req, err);
		return;
	}
	param = reply_entry_param(entry->id, &entry->st);
	if (fuse_reply_entry(req, &param))
		mirror_forget(mirror, entry->id, 1);
}

void reply_absent(fuse_req_t req, bool keep)
{
	const struct fuse_entry_param param = {.entry_timeout = REPLY_KEEP};

	if (keep)
		(void)fuse_reply_entry(req, &param);
	else
		reply_err(req, -ENOENT);
}

void reply_attr(fuse_req_t req, int err, const struct stat *st)
{
	struct stat told;

	if (err) {
		reply_err(req, err);
		return;
	}
	told = with_a_block(st);
	(void)fuse_reply_attr(req, &told, REPLY_KEEP);
}

void reply_count(fuse_req_t req, ssize_t count)
{
	if (count < 0)
		reply_err(req, (int)count);
	else
		(void)fuse_reply_write(req, (size_t)count);
}

void reply_buf(fuse_req_t req, const void *buf, ssize_t len)
{
	if (len < 0)
		reply_err(req, (int)len);
	else
		(void)fuse_reply_buf(req, buf, (size_t)len);
}

/* ---- the buffer of a thread ---- */

struct buffer {
	size_t len;
	void *mem;
};

static _Thread_local struct buffer buffer;
static pthread_once_t buffer_once = PTHREAD_ONCE_INIT;
static pthread_key_t buffer_key;
static bool buffer_freed_at_exit;

/* The key exists for its destructor only: threads come and go. */
static void buffer_make_key(void)
{
	buffer_freed_at_exit = pthread_key_create(&buffer_key, free) == 0;
}

void *reply_buffer(size_t len)
{
	size_t want = MAX(len, (size_t)BUFFER_MIN);
	void *mem = uring_reply_buffer(len);

	if (mem)
		return mem;
	if (buffer.len >= len)
		return buffer.mem;
	(void)pthread_once(&buffer_once, buffer_make_key);
	want = (want + BUFFER_ALIGN - 1) & ~(size_t)(BUFFER_ALIGN - 1);
	if (posix_memalign(&mem, BUFFER_ALIGN, want))
		return NULL;
	free(buffer.mem);
	buffer = (struct buffer){.len = want, .mem = mem};
	if (buffer_freed_at_exit)
		(void)pthread_setspecific(buffer_key, mem);
	return mem;
}
