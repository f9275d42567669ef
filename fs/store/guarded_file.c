/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The public calls on open files and on attributes; as guarded.c.
 */
#include "fs/store/internal.h"

/* ---- open files ---- */

static ssize_t call_file(const struct store *s, struct store_call *k, int fd)
{
	k->fd[0] = fd;
	return call_run(s, k);
}

static ssize_t make_fstat(struct store_call *k)
{
	return now_fstat(k->s, k->fd[0], (unsigned int)k->flags, k->out);
}

int store_fstat(const struct store *s, int fd, unsigned int want,
		struct store_stat *ret)
{
	struct store_call k = STORE_CALL(make_fstat);

	k.flags = (int)want;
	k.out = ret;
	k.out_len = sizeof(*ret);
	return (int)call_file(s, &k, fd);
}

static ssize_t make_read(struct store_call *k)
{
	return now_read(k->s, k->fd[0], k->out, k->out_len, k->off);
}

ssize_t store_read(const struct store *s, int fd, void *buf, size_t len,
		   uint64_t off)
{
	struct store_call k = STORE_CALL(make_read);

	k.out = buf;
	k.out_len = len;
	k.counted = true;
	k.off = off;
	return call_file(s, &k, fd);
}

static ssize_t make_write(struct store_call *k)
{
	return now_write(k->s, k->fd[0], k->in, k->in_len, k->off, &k->done);
}

int store_write(const struct store *s, int fd, const void *buf, size_t len,
		uint64_t off, size_t *ret_done)
{
	struct store_call k = STORE_CALL(make_write);
	int r;

	k.in = buf;
	k.in_len = len;
	k.off = off;
	r = (int)call_file(s, &k, fd);
	if (ret_done)
		*ret_done = k.done;
	return r;
}

static ssize_t make_truncate(struct store_call *k)
{
	return now_truncate(k->s, k->fd[0], k->len);
}

int store_truncate(const struct store *s, int fd, uint64_t size)
{
	struct store_call k = STORE_CALL(make_truncate);

	k.len = size;
	return (int)call_file(s, &k, fd);
}

static ssize_t make_allocate(struct store_call *k)
{
	return now_allocate(k->s, k->fd[0], k->flags, k->off, k->len);
}

int store_allocate(const struct store *s, int fd, int mode, uint64_t off,
		   uint64_t len)
{
	struct store_call k = STORE_CALL(make_allocate);

	k.flags = mode;
	k.off = off;
	k.len = len;
	return (int)call_file(s, &k, fd);
}

static ssize_t make_punch(struct store_call *k)
{
	return now_punch(k->s, k->fd[0], k->off, k->len, &k->flag);
}

int store_punch(const struct store *s, int fd, uint64_t off, uint64_t len,
		bool *ret_punched)
{
	struct store_call k = STORE_CALL(make_punch);
	int r;

	k.off = off;
	k.len = len;
	r = (int)call_file(s, &k, fd);
	if (!r && ret_punched)
		*ret_punched = k.flag;
	return r;
}

static ssize_t make_zero(struct store_call *k)
{
	return now_zero(k->s, k->fd[0], k->off, k->len, k->flag);
}

int store_zero(const struct store *s, int fd, uint64_t off, uint64_t len,
	       bool keep_size)
{
	struct store_call k = STORE_CALL(make_zero);

	k.off = off;
	k.len = len;
	k.flag = keep_size;
	return (int)call_file(s, &k, fd);
}

static ssize_t make_seek(struct store_call *k)
{
	return now_seek(k->s, k->fd[0], k->off, k->flags, k->out);
}

int store_seek(const struct store *s, int fd, uint64_t off, int whence,
	       uint64_t *ret_off)
{
	struct store_call k = STORE_CALL(make_seek);

	k.off = off;
	k.flags = whence;
	k.out = ret_off;
	k.out_len = sizeof(*ret_off);
	return (int)call_file(s, &k, fd);
}

static ssize_t make_next_mapped(struct store_call *k)
{
	uint64_t *found = k->out;

	return now_next_mapped(k->s, k->fd[0], k->off, &found[0], &found[1]);
}

int store_next_mapped(const struct store *s, int fd, uint64_t off,
		      uint64_t *ret_start, uint64_t *ret_end)
{
	struct store_call k = STORE_CALL(make_next_mapped);
	uint64_t found[2] = {0, 0};
	int r;

	k.off = off;
	k.out = found;
	k.out_len = sizeof(found);
	r = (int)call_file(s, &k, fd);
	if (r > 0) {
		*ret_start = found[0];
		*ret_end = found[1];
	}
	return r;
}

static ssize_t make_is_reserved(struct store_call *k)
{
	return now_is_reserved(k->s, k->fd[0], k->off);
}

int store_is_reserved(const struct store *s, int fd, uint64_t off)
{
	struct store_call k = STORE_CALL(make_is_reserved);

	k.off = off;
	return (int)call_file(s, &k, fd);
}

static ssize_t make_freeable(struct store_call *k)
{
	return now_freeable(k->s, k->fd[0], k->off, k->len, k->out);
}

int store_freeable(const struct store *s, int fd, uint64_t off, uint64_t len,
		   uint64_t *ret_bytes)
{
	struct store_call k = STORE_CALL(make_freeable);

	k.off = off;
	k.len = len;
	k.out = ret_bytes;
	k.out_len = sizeof(*ret_bytes);
	return (int)call_file(s, &k, fd);
}

static ssize_t make_fsync(struct store_call *k)
{
	return now_fsync(k->s, k->fd[0], k->flag);
}

int store_fsync(const struct store *s, int fd, bool data_only)
{
	struct store_call k = STORE_CALL(make_fsync);

	k.flag = data_only;
	return (int)call_file(s, &k, fd);
}

/* Whether it is taken says nothing. */
static void hint(const struct store *s, struct store_call k, int fd,
		 uint64_t off, uint64_t len)
{
	k.off = off;
	k.len = len;
	ignore_result(call_file(s, &k, fd));
}

static ssize_t make_write_behind(struct store_call *k)
{
	now_write_behind(k->s, k->fd[0], k->off, k->len);
	return 0;
}

void store_write_behind(const struct store *s, int fd, uint64_t off,
			uint64_t len)
{
	hint(s, STORE_CALL(make_write_behind), fd, off, len);
}

static ssize_t make_read_ahead(struct store_call *k)
{
	now_read_ahead(k->s, k->fd[0], k->off, k->len);
	return 0;
}

void store_read_ahead(const struct store *s, int fd, uint64_t off, uint64_t len)
{
	hint(s, STORE_CALL(make_read_ahead), fd, off, len);
}

static ssize_t make_drop_cache(struct store_call *k)
{
	now_drop_cache(k->s, k->fd[0], k->off, k->len);
	return 0;
}

void store_drop_cache(const struct store *s, int fd, uint64_t off, uint64_t len)
{
	hint(s, STORE_CALL(make_drop_cache), fd, off, len);
}

/* ---- attributes ---- */

static ssize_t call_obj(const struct store *s, struct store_call *k,
			struct store_obj o)
{
	call_set_obj(k, o);
	return call_run(s, k);
}

static ssize_t make_chmod(struct store_call *k)
{
	return now_chmod(k->s, k->obj, k->mode);
}

int store_chmod(const struct store *s, struct store_obj o, mode_t mode)
{
	struct store_call k = STORE_CALL(make_chmod);

	k.mode = mode;
	return (int)call_obj(s, &k, o);
}

static ssize_t make_chown(struct store_call *k)
{
	return now_chown(k->s, k->obj, k->uid, k->gid);
}

int store_chown(const struct store *s, struct store_obj o, uid_t uid, gid_t gid)
{
	struct store_call k = STORE_CALL(make_chown);

	k.uid = uid;
	k.gid = gid;
	return (int)call_obj(s, &k, o);
}

static ssize_t make_utimens(struct store_call *k)
{
	return now_utimens(k->s, k->obj, k->times);
}

int store_utimens(const struct store *s, struct store_obj o,
		  const struct timespec times[2])
{
	struct store_call k = STORE_CALL(make_utimens);

	memcpy(k.times, times, sizeof(k.times));
	return (int)call_obj(s, &k, o);
}

static ssize_t make_setxattr(struct store_call *k)
{
	return now_setxattr(k->s, k->obj, k->name[1], k->in, k->in_len,
			    k->flags);
}

int store_setxattr(const struct store *s, struct store_obj o, const char *name,
		   const void *value, size_t len, int flags)
{
	struct store_call k = STORE_CALL(make_setxattr);

	k.name[1] = name;
	k.in = value;
	k.in_len = len;
	k.flags = flags;
	return (int)call_obj(s, &k, o);
}

static ssize_t make_getxattr(struct store_call *k)
{
	return now_getxattr(k->s, k->obj, k->name[1], k->out, k->out_len);
}

ssize_t store_getxattr(const struct store *s, struct store_obj o,
		       const char *name, void *buf, size_t len)
{
	struct store_call k = STORE_CALL(make_getxattr);

	k.name[1] = name;
	k.out = buf;
	k.out_len = len;
	k.counted = true;
	return call_obj(s, &k, o);
}

static ssize_t make_listxattr(struct store_call *k)
{
	return now_listxattr(k->s, k->obj, k->out, k->out_len);
}

ssize_t store_listxattr(const struct store *s, struct store_obj o, char *buf,
			size_t len)
{
	struct store_call k = STORE_CALL(make_listxattr);

	k.out = buf;
	k.out_len = len;
	k.counted = true;
	return call_obj(s, &k, o);
}

static ssize_t make_removexattr(struct store_call *k)
{
	return now_removexattr(k->s, k->obj, k->name[1]);
}

int store_removexattr(const struct store *s, struct store_obj o,
		      const char *name)
{
	struct store_call k = STORE_CALL(make_removexattr);

	k.name[1] = name;
	return (int)call_obj(s, &k, o);
}
