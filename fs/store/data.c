/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes of open files: read, written, zeroed, unmapped, made durable.
 *
 * What a filesystem cannot do is done by writing zeros. Only the range within
 * the size matters then: behind it there is nothing that could be read.
 */
#include <fcntl.h>
#include <linux/falloc.h>
#include <unistd.h>

#include "fs/store/internal.h"

/* Never written: without an initialiser it takes no room in the program. */
static char zeros[STORE_ZERO_BYTES];

static ssize_t read_full(int fd, char *buf, size_t len, uint64_t off)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = RETRY_EINTR(
			pread(fd, buf + done, len - done, (off_t)(off + done)));

		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

static int write_full(int fd, const char *buf, size_t len, uint64_t off,
		      size_t *done)
{
	*done = 0;
	while (*done < len) {
		ssize_t n = RETRY_EINTR(pwrite(fd, buf + *done, len - *done,
					       (off_t)(off + *done)));

		if (n < 0)
			return -errno;
		if (n == 0)
			return -EIO; /* neither progress nor a reason */
		*done += (size_t)n;
		guard_progress();
	}
	return 0;
}

ssize_t now_read(const struct store *s, int fd, void *buf, size_t len,
		 uint64_t off)
{
	int err = store_gate(s, "store.read");

	assert(store_range_ok(off, len));
	if (err)
		return err;
	return read_full(fd, buf, len, off);
}

int now_write(const struct store *s, int fd, const void *buf, size_t len,
	      uint64_t off, size_t *ret_done)
{
	size_t done = 0;
	int err = store_gate(s, "store.write");

	assert(store_range_ok(off, len));
	if (!err)
		err = write_full(fd, buf, len, off, &done);
	if (ret_done)
		*ret_done = done;
	return err;
}

int now_truncate(const struct store *s, int fd, uint64_t size)
{
	int err = store_gate(s, "store.truncate");

	assert(store_range_ok(size, 0));
	if (err)
		return err;
	return sys_result(RETRY_EINTR(ftruncate(fd, (off_t)size)));
}

static int allocate(int fd, int mode, uint64_t off, uint64_t len)
{
	return sys_result(
		RETRY_EINTR(fallocate(fd, mode, (off_t)off, (off_t)len)));
}

int now_allocate(const struct store *s, int fd, int mode, uint64_t off,
		 uint64_t len)
{
	int err = store_gate(s, "store.allocate");

	assert(mode == 0 || mode == FALLOC_FL_KEEP_SIZE);
	assert(store_range_ok(off, len) && len);
	if (err)
		return err;
	return allocate(fd, mode, off, len);
}

static int write_zeros(int fd, uint64_t off, uint64_t end)
{
	while (off < end) {
		size_t len = (size_t)MIN(end - off, (uint64_t)STORE_ZERO_BYTES);
		size_t done;
		int err = write_full(fd, zeros, len, off, &done);

		if (err)
			return err;
		off += len;
	}
	return 0;
}

static int size_of(int fd, uint64_t *ret_size)
{
	struct stat st;

	if (RETRY_EINTR(fstat(fd, &st)))
		return -errno;
	*ret_size = (uint64_t)st.st_size;
	return 0;
}

/* Write zeros over what is mapped between the two, within the size: a hole
 * reads as zeros already, and filling it would fill the disk. */
static int zero_mapped(const struct store *s, int fd, uint64_t off,
		       uint64_t end)
{
	uint64_t size, from, to;
	int err = size_of(fd, &size);

	if (err)
		return err;
	end = MIN(end, size);
	while (off < end) {
		err = store_next_mapped(s, fd, off, &from, &to);
		if (err <= 0)
			return err;
		if (from >= end)
			return 0;
		to = MIN(to, end);
		err = write_zeros(fd, from, to);
		if (err)
			return err;
		off = to;
	}
	return 0;
}

int now_punch(const struct store *s, int fd, uint64_t off, uint64_t len,
	      bool *ret_punched)
{
	bool punched = false;
	int err = store_gate(s, "store.punch");

	assert(store_range_ok(off, len) && len);
	if (err)
		return err;
	err = -EOPNOTSUPP;
	if (s->caps.punch_hole) {
		err = allocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			       off, len);
		punched = !err;
	}
	if (err == -EOPNOTSUPP)
		err = zero_mapped(s, fd, off, off + len);
	if (!err && ret_punched)
		*ret_punched = punched;
	return err;
}

/* The part behind the size: allocated, where the filesystem can, and part of
 * the file, if it is to grow. */
static int zero_beyond(int fd, uint64_t off, uint64_t end, bool keep_size)
{
	int err = allocate(fd, keep_size ? FALLOC_FL_KEEP_SIZE : 0, off,
			   end - off);

	if (err != -EOPNOTSUPP)
		return err;
	return keep_size ? 0 : write_zeros(fd, off, end);
}

int now_zero(const struct store *s, int fd, uint64_t off, uint64_t len,
	     bool keep_size)
{
	uint64_t size = 0, end = off + len;
	int err = store_gate(s, "store.zero");

	assert(store_range_ok(off, len) && len);
	if (err)
		return err;
	if (s->caps.zero_range) {
		err = allocate(fd,
			       FALLOC_FL_ZERO_RANGE |
				       (keep_size ? FALLOC_FL_KEEP_SIZE : 0),
			       off, len);
		if (err != -EOPNOTSUPP)
			return err;
	}
	err = size_of(fd, &size);
	if (!err && off < size)
		err = write_zeros(fd, off, MIN(end, size));
	if (!err && end > size)
		err = zero_beyond(fd, MAX(off, size), end, keep_size);
	return err;
}

/*
 * A filesystem that shuts itself down while an fsync waits (its journal could
 * not be written) may answer 0: ext4 and xfs look before, and then find that
 * the transaction is over. Opening a file says what has become of them.
 */
static int still_runs(const struct store *s)
{
	int fd, err = store_gate(s, "store.still_runs");

	if (err)
		return err;
	fd = RETRY_EINTR(openat(s->priv_fd, STORE_FILE,
				O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
	if (fd < 0)
		return errno == ENOENT || store_error_is_ours(errno) ? 0
								     : -errno;
	(void)close(fd);
	return 0;
}

int now_fsync(const struct store *s, int fd, bool data_only)
{
	int err = store_gate(s, "store.fsync");

	if (err)
		return err;
	/* Cut by a signal it has said nothing yet, so it may be asked again;
	 * after any other failure it would lie. */
	err = sys_result(data_only ? RETRY_EINTR(fdatasync(fd))
				   : RETRY_EINTR(fsync(fd)));
	return err ? err : still_runs(s);
}

void now_write_behind(const struct store *s, int fd, uint64_t off, uint64_t len)
{
	(void)s;
	/* Whatever goes wrong is said by the fsync that comes after it. */
	(void)sync_file_range(fd, (off_t)off, (off_t)len,
			      SYNC_FILE_RANGE_WRITE);
}

void now_read_ahead(const struct store *s, int fd, uint64_t off, uint64_t len)
{
	(void)s;
	(void)posix_fadvise(fd, (off_t)off, (off_t)len, POSIX_FADV_WILLNEED);
}

void now_drop_cache(const struct store *s, int fd, uint64_t off, uint64_t len)
{
	(void)s;
	(void)posix_fadvise(fd, (off_t)off, (off_t)len, POSIX_FADV_DONTNEED);
}
