/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The database and its WAL, read and written: checksums (vfs.h), and calls that
 * may hang. The part that reads serves VFS_RO as well.
 *
 * The real file is an object of its own: a call on it that hangs is left
 * behind (base/guard.h), and then SQLite's memory is not there any more.
 */
#include "meta/vfs_rw.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "meta/format.h"

static sqlite3_vfs *rw_base; /* set once, then read-only */

struct rw_file {
	sqlite3_file base;
	sqlite3_file *real;  /* NULL: not open */
	struct guard *guard; /* NULL: nobody can set one on */
	bool is_database;
};

/* What the files that this thread opens are guarded by. */
static _Thread_local struct guard *opening;

void vfs_open_under(struct guard *g)
{
	opening = g;
}

static struct rw_file *rw_of(sqlite3_file *file)
{
	return (struct rw_file *)file;
}

sqlite3_file *vfs_real(sqlite3_file *file)
{
	return rw_of(file)->real;
}

#define RW_CALL(file, method, ...) \
	vfs_real(file)->pMethods->method(vfs_real(file), ##__VA_ARGS__)

/* One call on a real file that may hang. */
struct rw_call {
	struct guard_call base;
	int (*fn)(struct rw_call *k);
	sqlite3_file *real;
	sqlite3_vfs *vfs; /* that opens it */
	int flags;
	int len;
	sqlite3_int64 off;
	int result;
	int os_errno;	  /* of the thread that made it, where SQLite looks */
	const char *name; /* of the file to be opened; behind it */
	unsigned char buf[];
};

static void rw_call_made(struct guard_call *c)
{
	struct rw_call *k = (struct rw_call *)c;

	errno = 0;
	k->result = k->fn(k);
	k->os_errno = errno;
}

static void rw_call_late(struct guard_call *c)
{
	free(c);
}

static struct rw_call *rw_call_new(int (*fn)(struct rw_call *k),
				   sqlite3_file *real, size_t room)
{
	struct rw_call *k = malloc(sizeof(*k) + room);

	if (!k)
		return NULL;
	*k = (struct rw_call){
		.base = {.run = rw_call_made,
			 .late = rw_call_late,
			 .fd = {-1, -1}},
		.fn = fn,
		.real = real,
		.result = SQLITE_IOERR,
	};
	return k;
}

/* @ret: what was left in the buffer; NULL: nothing. Frees @k. @err: what
 * SQLite is told when it does not end. */
static int rw_call_run(struct guard *g, struct rw_call *k, void *ret, int err)
{
	int rc, os_errno;

	if (guard_run(g, &k->base)) {
		errno = EIO;
		return err;
	}
	rc = k->result;
	os_errno = k->os_errno;
	if (ret)
		memcpy(ret, k->buf, (size_t)k->len);
	free(k);
	if (rc != SQLITE_OK)
		errno = os_errno;
	return rc;
}

static bool rw_is_guarded(sqlite3_file *file)
{
	return rw_of(file)->guard && guard_is_on(rw_of(file)->guard);
}

static int make_close(struct rw_call *k)
{
	int rc = k->real->pMethods->xClose(k->real);

	free(k->real);
	return rc;
}

/* It was not made: it is, when all calls on the file that were left behind
 * have ended. */
static void close_late(struct guard_call *c)
{
	c->late = rw_call_late;
	if (c->step == GUARD_ENDED)
		free(c);
	else
		guard_post(c->guard, c);
}

int vfs_close(sqlite3_file *file)
{
	sqlite3_file *real = vfs_real(file);
	struct guard *g = rw_of(file)->guard;
	struct guard_state state = {0};
	struct rw_call *k;
	int rc;

	rw_of(file)->real = NULL;
	if (!rw_is_guarded(file)) {
		rc = real->pMethods->xClose(real);
		free(real);
		return rc;
	}
	k = rw_call_new(make_close, real, 0);
	if (!k)
		return SQLITE_IOERR_NOMEM; /* it stays open */
	k->base.late = close_late;
	guard_look(g, &state);
	if (!state.left)
		return rw_call_run(g, k, NULL, SQLITE_OK);
	k->base.late = rw_call_late;
	guard_post(g, &k->base);
	return SQLITE_OK;
}

static int make_read(struct rw_call *k)
{
	return k->real->pMethods->xRead(k->real, k->buf, k->len, k->off);
}

int vfs_read(sqlite3_file *file, void *buf, int len, sqlite3_int64 off)
{
	struct rw_call *k;
	int rc;

	if (!rw_is_guarded(file)) {
		rc = RW_CALL(file, xRead, buf, len, off);
		guard_progress();
	} else {
		k = rw_call_new(make_read, vfs_real(file), (size_t)len);
		if (!k)
			return SQLITE_IOERR_NOMEM;
		k->len = len;
		k->off = off;
		rc = rw_call_run(rw_of(file)->guard, k, buf, SQLITE_IOERR_READ);
	}
	return rw_of(file)->is_database ? vfs_check_read(rc, buf, len, off)
					: rc;
}

static int make_write(struct rw_call *k)
{
	return k->real->pMethods->xWrite(k->real, k->buf, k->len, k->off);
}

static int rw_write_real(sqlite3_file *file, const void *buf, int len,
			 sqlite3_int64 off)
{
	struct rw_call *k;
	int rc;

	if (!rw_is_guarded(file)) {
		guard_progress();
		errno = 0;
		rc = RW_CALL(file, xWrite, buf, len, off);
	} else {
		k = rw_call_new(make_write, vfs_real(file), (size_t)len);
		if (!k)
			return SQLITE_IOERR_NOMEM;
		k->len = len;
		k->off = off;
		memcpy(k->buf, buf, (size_t)len);
		rc = rw_call_run(rw_of(file)->guard, k, NULL,
				 SQLITE_IOERR_WRITE);
	}
	/* SQLite knows ENOSPC alone, and what it says of a COMMIT that failed
	 * has no errno. */
	return rc == SQLITE_IOERR_WRITE && errno == EDQUOT ? SQLITE_FULL : rc;
}

static int rw_write(sqlite3_file *file, const void *buf, int len,
		    sqlite3_int64 off)
{
	unsigned char page[META_PAGE_BYTES];
	uint64_t sum;

	if (!rw_of(file)->is_database || !vfs_is_page(len, off))
		return rw_write_real(file, buf, len, off);
	sum = vfs_page_sum(buf, (uint64_t)off / META_PAGE_BYTES);
	sum = htole64(sum);
	memcpy(page, buf, META_PAGE_BYTES - VFS_SUM_BYTES);
	memcpy(page + META_PAGE_BYTES - VFS_SUM_BYTES, &sum, sizeof(sum));
	return rw_write_real(file, page, len, off);
}

/* A call that takes a number. */
static int rw_call_number(sqlite3_file *file, int (*fn)(struct rw_call *k),
			  sqlite3_int64 off, int flags, int err)
{
	struct rw_call *k = rw_call_new(fn, vfs_real(file), 0);

	if (!k)
		return SQLITE_IOERR_NOMEM;
	k->off = off;
	k->flags = flags;
	return rw_call_run(rw_of(file)->guard, k, NULL, err);
}

static int make_truncate(struct rw_call *k)
{
	return k->real->pMethods->xTruncate(k->real, k->off);
}

static int rw_truncate(sqlite3_file *file, sqlite3_int64 size)
{
	if (!rw_is_guarded(file))
		return RW_CALL(file, xTruncate, size);
	return rw_call_number(file, make_truncate, size, 0,
			      SQLITE_IOERR_TRUNCATE);
}

static int make_sync(struct rw_call *k)
{
	return k->real->pMethods->xSync(k->real, k->flags);
}

static int rw_sync(sqlite3_file *file, int flags)
{
	if (!rw_is_guarded(file))
		return RW_CALL(file, xSync, flags);
	return rw_call_number(file, make_sync, 0, flags, SQLITE_IOERR_FSYNC);
}

static int make_file_size(struct rw_call *k)
{
	return k->real->pMethods->xFileSize(k->real,
					    (sqlite3_int64 *)(void *)k->buf);
}

int vfs_file_size(sqlite3_file *file, sqlite3_int64 *ret_size)
{
	struct rw_call *k;

	if (!rw_is_guarded(file))
		return RW_CALL(file, xFileSize, ret_size);
	k = rw_call_new(make_file_size, vfs_real(file), sizeof(*ret_size));
	if (!k)
		return SQLITE_IOERR_NOMEM;
	k->len = (int)sizeof(*ret_size);
	return rw_call_run(rw_of(file)->guard, k, ret_size, SQLITE_IOERR_FSTAT);
}

static int make_lock(struct rw_call *k)
{
	return k->real->pMethods->xLock(k->real, k->flags);
}

int vfs_lock(sqlite3_file *file, int level)
{
	if (!rw_is_guarded(file))
		return RW_CALL(file, xLock, level);
	return rw_call_number(file, make_lock, 0, level, SQLITE_IOERR_LOCK);
}

static int make_unlock(struct rw_call *k)
{
	return k->real->pMethods->xUnlock(k->real, k->flags);
}

int vfs_unlock(sqlite3_file *file, int level)
{
	if (!rw_is_guarded(file))
		return RW_CALL(file, xUnlock, level);
	return rw_call_number(file, make_unlock, 0, level, SQLITE_IOERR_UNLOCK);
}

/* From here on nothing that leaves the process's memory. */

static int rw_check_reserved(sqlite3_file *file, int *ret_reserved)
{
	return RW_CALL(file, xCheckReservedLock, ret_reserved);
}

static int rw_control(sqlite3_file *file, int op, void *arg)
{
	return RW_CALL(file, xFileControl, op, arg);
}

static int rw_sector_size(sqlite3_file *file)
{
	return RW_CALL(file, xSectorSize);
}

static int rw_characteristics(sqlite3_file *file)
{
	return RW_CALL(file, xDeviceCharacteristics);
}

static int rw_shm_map(sqlite3_file *file, int page, int size, int extend,
		      void volatile **ret)
{
	return RW_CALL(file, xShmMap, page, size, extend, ret);
}

static int rw_shm_lock(sqlite3_file *file, int off, int n, int flags)
{
	return RW_CALL(file, xShmLock, off, n, flags);
}

static void rw_shm_barrier(sqlite3_file *file)
{
	RW_CALL(file, xShmBarrier);
}

static int rw_shm_unmap(sqlite3_file *file, int remove)
{
	return RW_CALL(file, xShmUnmap, remove);
}

/* Version 2: no mapped pages. */
static const sqlite3_io_methods rw_methods = {
	.iVersion = 2,
	.xClose = vfs_close,
	.xRead = vfs_read,
	.xWrite = rw_write,
	.xTruncate = rw_truncate,
	.xSync = rw_sync,
	.xFileSize = vfs_file_size,
	.xLock = vfs_lock,
	.xUnlock = vfs_unlock,
	.xCheckReservedLock = rw_check_reserved,
	.xFileControl = rw_control,
	.xSectorSize = rw_sector_size,
	.xDeviceCharacteristics = rw_characteristics,
	.xShmMap = rw_shm_map,
	.xShmLock = rw_shm_lock,
	.xShmBarrier = rw_shm_barrier,
	.xShmUnmap = rw_shm_unmap,
};
static int make_open(struct rw_call *k)
{
	struct stat st;

	/* SQLite asks for it under a lock of the process: first here. */
	(void)lstat(k->name, &st);
	return k->vfs->xOpen(k->vfs, k->name, k->real, k->flags, &k->len);
}

static void open_late(struct guard_call *c)
{
	struct rw_call *k = (struct rw_call *)c;

	if (k->result == SQLITE_OK && k->real->pMethods)
		(void)k->real->pMethods->xClose(k->real);
	free(k->real);
	free(k);
}

/* The real file, with its name behind it: it looks at it as long as it is
 * open. */
static sqlite3_file *real_new(sqlite3_vfs *base, const char *name,
			      const char **ret_name)
{
	size_t head = (size_t)base->szOsFile;
	size_t len = strlen(name);
	char *real = calloc(1, head + len + 2);

	if (!real)
		return NULL;
	memcpy(real + head, name, len);
	*ret_name = real + head;
	return (sqlite3_file *)(void *)real;
}

static int real_open(sqlite3_vfs *base, struct rw_file *rw, sqlite3_file *real,
		     const char *name, int flags, int *out_flags)
{
	struct rw_call *k;
	int rc;

	if (!rw_is_guarded(&rw->base)) {
		rc = base->xOpen(base, name, real, flags, out_flags);
		if (rc != SQLITE_OK)
			free(real);
		return rc;
	}
	k = rw_call_new(make_open, real, 0);
	if (!k) {
		free(real);
		return SQLITE_NOMEM;
	}
	k->base.late = open_late;
	k->vfs = base;
	k->name = name;
	k->flags = flags;
	if (guard_run(rw->guard, &k->base)) {
		errno = EIO;
		return SQLITE_CANTOPEN;
	}
	rc = k->result;
	if (rc == SQLITE_OK && out_flags)
		*out_flags = k->len;
	if (rc != SQLITE_OK) {
		free(real);
		errno = k->os_errno;
	}
	free(k);
	return rc;
}

static int make_access(struct rw_call *k)
{
	return rw_base->xAccess(rw_base, k->name, k->flags, &k->len);
}

static int access_under(struct guard *g, const char *name, int flags, int *ret)
{
	struct rw_call *k;
	int rc;

	if (!g || !guard_is_on(g))
		return rw_base->xAccess(rw_base, name, flags, ret);
	k = rw_call_new(make_access, NULL, strlen(name) + 1);
	if (!k)
		return SQLITE_IOERR_NOMEM;
	k->name = memcpy(k->buf, name, strlen(name) + 1);
	k->flags = flags;
	if (guard_run(g, &k->base)) {
		errno = EIO;
		return SQLITE_IOERR_ACCESS;
	}
	rc = k->result;
	*ret = k->len;
	free(k);
	return rc;
}

int vfs_access(sqlite3_vfs *self, const char *name, int flags, int *ret)
{
	(void)self;
	return access_under(opening, name, flags, ret);
}

int vfs_prepare_file(sqlite3_file *file, const char *name, int flags)
{
	struct rw_file *rw = rw_of(file);

	memset(rw, 0, sizeof(*rw));
	if (!name)
		return SQLITE_CANTOPEN;
	rw->is_database = flags & SQLITE_OPEN_MAIN_DB;
	if (rw->is_database)
		rw->guard = opening;
	else if (flags & SQLITE_OPEN_WAL)
		rw->guard = rw_of(sqlite3_database_file_object(name))->guard;
	return SQLITE_OK;
}

int vfs_is_there(sqlite3_file *file, const char *name, int *ret)
{
	return access_under(rw_of(file)->guard, name, SQLITE_ACCESS_EXISTS,
			    ret);
}

int vfs_open_real(sqlite3_vfs *base, sqlite3_file *file, const char *name,
		  int flags, int *out_flags)
{
	const char *kept;
	sqlite3_file *real = real_new(base, name, &kept);
	int rc;

	if (!real)
		return SQLITE_NOMEM;
	rc = real_open(base, rw_of(file), real, kept, flags, out_flags);
	if (rc == SQLITE_OK)
		rw_of(file)->real = real;
	return rc;
}

/* The layer below tells its variants apart by the object it is given. */
int vfs_rw_open(sqlite3_vfs *self, const char *name, sqlite3_file *file,
		int flags, int *out_flags)
{
	int rc;

	(void)self;
	if (!(flags & (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_WAL)))
		return rw_base->xOpen(rw_base, name, file, flags, out_flags);
	rc = vfs_prepare_file(file, name, flags);
	if (rc == SQLITE_OK)
		rc = vfs_open_real(rw_base, file, name, flags, out_flags);
	if (rc == SQLITE_OK)
		file->pMethods = &rw_methods;
	return rc;
}

int vfs_rw_prepare(sqlite3_vfs *base)
{
	rw_base = base;
	return (int)sizeof(struct rw_file);
}
