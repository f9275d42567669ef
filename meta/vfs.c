/* SPDX-License-Identifier: Apache-2.0 */
#include "meta/vfs.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "meta/format.h"

static struct {
	sqlite3_vfs *rw_base; /* set once, then read-only */
	sqlite3_vfs *ro_base;
	sqlite3_vfs rw;
	sqlite3_vfs ro;
	sqlite3_vfs bare;
	int result;
} vfs;

/* ---- both ---- */

static int vfs_full_pathname(sqlite3_vfs *self, const char *name, int size,
			     char *out)
{
	size_t len = strlen(name);

	(void)self;
	assert(name[0] == '/');
	if (len >= (size_t)size)
		return SQLITE_CANTOPEN;
	memcpy(out, name, len + 1);
	return SQLITE_OK;
}

/* ---- checksums ---- */

uint64_t vfs_page_sum(const void *page, uint64_t index)
{
	return XXH3_64bits_withSeed(page, META_PAGE_BYTES - VFS_SUM_BYTES,
				    index);
}

/* Parts of a page are read only to look at the header. */
static bool is_page(int len, sqlite3_int64 off)
{
	return len == META_PAGE_BYTES && off % META_PAGE_BYTES == 0;
}

static int sum_check(const void *page, sqlite3_int64 off)
{
	uint64_t sum = vfs_page_sum(page, (uint64_t)off / META_PAGE_BYTES);
	uint64_t have;

	memcpy(&have, (const char *)page + META_PAGE_BYTES - VFS_SUM_BYTES,
	       sizeof(have));
	return have == htole64(sum) ? SQLITE_OK : SQLITE_IOERR_DATA;
}

/* What a read of the database has given. The half of a page at the end of a
 * file that was cut is no page of zeros, as SQLite would have it. */
static int sum_check_read(int rc, const void *buf, int len, sqlite3_int64 off)
{
	static const char zeros[META_PAGE_BYTES];

	if (!is_page(len, off))
		return rc;
	if (rc == SQLITE_OK)
		return sum_check(buf, off);
	if (rc == SQLITE_IOERR_SHORT_READ &&
	    memcmp(buf, zeros, sizeof(zeros)) != 0)
		return SQLITE_IOERR_DATA;
	return rc;
}

/* ---- read and write ---- */

/*
 * The real file is an object of its own: a call on it that hangs is left
 * behind (base/guard.h), and then SQLite's memory is not there any more.
 */
struct rw_file {
	sqlite3_file base;
	sqlite3_file *real;
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

static sqlite3_file *rw_real(sqlite3_file *file)
{
	return rw_of(file)->real;
}

#define RW_CALL(file, method, ...) \
	rw_real(file)->pMethods->method(rw_real(file), ##__VA_ARGS__)

/* One call on a real file that may hang. */
struct rw_call {
	struct guard_call base;
	int (*fn)(struct rw_call *k);
	sqlite3_file *real;
	int flags;
	int len;
	sqlite3_int64 off;
	int result;
	const char *name; /* of the file to be opened; behind it */
	unsigned char buf[];
};

static void rw_call_made(struct guard_call *c)
{
	struct rw_call *k = (struct rw_call *)c;

	k->result = k->fn(k);
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
	int rc;

	if (guard_run(g, &k->base))
		return err;
	rc = k->result;
	if (ret)
		memcpy(ret, k->buf, (size_t)k->len);
	free(k);
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

static int rw_close(sqlite3_file *file)
{
	sqlite3_file *real = rw_real(file);
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

static int rw_read(sqlite3_file *file, void *buf, int len, sqlite3_int64 off)
{
	struct rw_call *k;
	int rc;

	if (!rw_is_guarded(file)) {
		rc = RW_CALL(file, xRead, buf, len, off);
	} else {
		k = rw_call_new(make_read, rw_real(file), (size_t)len);
		if (!k)
			return SQLITE_IOERR_NOMEM;
		k->len = len;
		k->off = off;
		rc = rw_call_run(rw_of(file)->guard, k, buf, SQLITE_IOERR_READ);
	}
	return rw_of(file)->is_database ? sum_check_read(rc, buf, len, off)
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

	if (!rw_is_guarded(file))
		return RW_CALL(file, xWrite, buf, len, off);
	k = rw_call_new(make_write, rw_real(file), (size_t)len);
	if (!k)
		return SQLITE_IOERR_NOMEM;
	k->len = len;
	k->off = off;
	memcpy(k->buf, buf, (size_t)len);
	return rw_call_run(rw_of(file)->guard, k, NULL, SQLITE_IOERR_WRITE);
}

static int rw_write(sqlite3_file *file, const void *buf, int len,
		    sqlite3_int64 off)
{
	unsigned char page[META_PAGE_BYTES];
	uint64_t sum;

	if (!rw_of(file)->is_database || !is_page(len, off))
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
	struct rw_call *k = rw_call_new(fn, rw_real(file), 0);

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

static int rw_file_size(sqlite3_file *file, sqlite3_int64 *ret_size)
{
	struct rw_call *k;

	if (!rw_is_guarded(file))
		return RW_CALL(file, xFileSize, ret_size);
	k = rw_call_new(make_file_size, rw_real(file), sizeof(*ret_size));
	if (!k)
		return SQLITE_IOERR_NOMEM;
	k->len = (int)sizeof(*ret_size);
	return rw_call_run(rw_of(file)->guard, k, ret_size, SQLITE_IOERR_FSTAT);
}

static int make_lock(struct rw_call *k)
{
	return k->real->pMethods->xLock(k->real, k->flags);
}

static int rw_lock(sqlite3_file *file, int level)
{
	if (!rw_is_guarded(file))
		return RW_CALL(file, xLock, level);
	return rw_call_number(file, make_lock, 0, level, SQLITE_IOERR_LOCK);
}

static int make_unlock(struct rw_call *k)
{
	return k->real->pMethods->xUnlock(k->real, k->flags);
}

static int rw_unlock(sqlite3_file *file, int level)
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
	.xClose = rw_close,
	.xRead = rw_read,
	.xWrite = rw_write,
	.xTruncate = rw_truncate,
	.xSync = rw_sync,
	.xFileSize = rw_file_size,
	.xLock = rw_lock,
	.xUnlock = rw_unlock,
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
	return vfs.rw_base->xOpen(vfs.rw_base, k->name, k->real, k->flags,
				  &k->len);
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
static sqlite3_file *real_new(const char *name, const char **ret_name)
{
	size_t head = (size_t)vfs.rw_base->szOsFile;
	size_t len = strlen(name);
	char *real = calloc(1, head + len + 2);

	if (!real)
		return NULL;
	memcpy(real + head, name, len);
	*ret_name = real + head;
	return (sqlite3_file *)(void *)real;
}

static int real_open(struct rw_file *rw, sqlite3_file *real, const char *name,
		     int flags, int *out_flags)
{
	struct rw_call *k;
	int rc;

	if (!rw_is_guarded(&rw->base)) {
		rc = vfs.rw_base->xOpen(vfs.rw_base, name, real, flags,
					out_flags);
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
	k->name = name;
	k->flags = flags;
	if (guard_run(rw->guard, &k->base))
		return SQLITE_CANTOPEN;
	rc = k->result;
	if (rc != SQLITE_OK)
		free(real);
	else if (out_flags)
		*out_flags = k->len;
	free(k);
	return rc;
}

/* The layer below tells its variants apart by the object it is given. */
static int vfs_rw_open(sqlite3_vfs *self, const char *name, sqlite3_file *file,
		       int flags, int *out_flags)
{
	struct rw_file *rw = rw_of(file);
	sqlite3_file *real;
	const char *kept;
	int rc;

	(void)self;
	if (!(flags & (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_WAL)))
		return vfs.rw_base->xOpen(vfs.rw_base, name, file, flags,
					  out_flags);
	memset(rw, 0, sizeof(*rw));
	rw->is_database = flags & SQLITE_OPEN_MAIN_DB;
	rw->guard = rw->is_database
			    ? opening
			    : rw_of(sqlite3_database_file_object(name))->guard;
	real = real_new(name, &kept);
	if (!real)
		return SQLITE_NOMEM;
	rc = real_open(rw, real, kept, flags, out_flags);
	if (rc != SQLITE_OK)
		return rc;
	rw->real = real;
	rw->base.pMethods = &rw_methods;
	return SQLITE_OK;
}

/* ---- read-only ---- */

/* The real file lies behind it in the same allocation. */
struct ro_file {
	sqlite3_file base;
	sqlite3_file *real; /* NULL: a WAL that is not there */
	bool is_database;
};

static struct ro_file *ro_of(sqlite3_file *file)
{
	return (struct ro_file *)file;
}

static int ro_close(sqlite3_file *file)
{
	sqlite3_file *real = ro_of(file)->real;

	ro_of(file)->real = NULL;
	return real ? real->pMethods->xClose(real) : SQLITE_OK;
}

static int ro_read(sqlite3_file *file, void *buf, int len, sqlite3_int64 off)
{
	sqlite3_file *real = ro_of(file)->real;

	if (real) {
		int rc = real->pMethods->xRead(real, buf, len, off);

		return ro_of(file)->is_database
			       ? sum_check_read(rc, buf, len, off)
			       : rc;
	}
	memset(buf, 0, (size_t)len);
	return SQLITE_IOERR_SHORT_READ;
}

static int ro_write(sqlite3_file *file, const void *buf, int len,
		    sqlite3_int64 off)
{
	(void)file;
	(void)buf;
	(void)len;
	(void)off;
	return SQLITE_READONLY;
}

static int ro_truncate(sqlite3_file *file, sqlite3_int64 size)
{
	(void)file;
	(void)size;
	return SQLITE_READONLY;
}

static int ro_sync(sqlite3_file *file, int flags)
{
	(void)file;
	(void)flags;
	return SQLITE_OK;
}

static int ro_file_size(sqlite3_file *file, sqlite3_int64 *ret_size)
{
	sqlite3_file *real = ro_of(file)->real;

	if (real)
		return real->pMethods->xFileSize(real, ret_size);
	*ret_size = 0;
	return SQLITE_OK;
}

/* What is above SHARED is for writers, and there are none: the shared lock
 * that is really held keeps them out. */
static int ro_lock(sqlite3_file *file, int level)
{
	sqlite3_file *real = ro_of(file)->real;

	if (!real || level != SQLITE_LOCK_SHARED)
		return SQLITE_OK;
	return real->pMethods->xLock(real, level);
}

static int ro_unlock(sqlite3_file *file, int level)
{
	sqlite3_file *real = ro_of(file)->real;

	if (!real || level != SQLITE_LOCK_NONE)
		return SQLITE_OK;
	return real->pMethods->xUnlock(real, level);
}

static int ro_check_reserved(sqlite3_file *file, int *ret_reserved)
{
	(void)file;
	*ret_reserved = 0;
	return SQLITE_OK;
}

/* Only what cannot lead to a write. */
static int ro_control(sqlite3_file *file, int op, void *arg)
{
	sqlite3_file *real = ro_of(file)->real;

	if (!real)
		return SQLITE_NOTFOUND;
	switch (op) {
	case SQLITE_FCNTL_LAST_ERRNO:
	case SQLITE_FCNTL_HAS_MOVED:
		return real->pMethods->xFileControl(real, op, arg);
	default:
		return SQLITE_NOTFOUND;
	}
}

static int ro_sector_size(sqlite3_file *file)
{
	sqlite3_file *real = ro_of(file)->real;

	return real ? real->pMethods->xSectorSize(real) : 4096;
}

static int ro_characteristics(sqlite3_file *file)
{
	sqlite3_file *real = ro_of(file)->real;

	return real ? real->pMethods->xDeviceCharacteristics(real) : 0;
}

/* Version 1: no shared memory, no mapped pages. */
static const sqlite3_io_methods ro_methods = {
	.iVersion = 1,
	.xClose = ro_close,
	.xRead = ro_read,
	.xWrite = ro_write,
	.xTruncate = ro_truncate,
	.xSync = ro_sync,
	.xFileSize = ro_file_size,
	.xLock = ro_lock,
	.xUnlock = ro_unlock,
	.xCheckReservedLock = ro_check_reserved,
	.xFileControl = ro_control,
	.xSectorSize = ro_sector_size,
	.xDeviceCharacteristics = ro_characteristics,
};

static int ro_open(const char *name, sqlite3_file *file, int flags,
		   int *out_flags, bool bare)
{
	struct ro_file *ro = ro_of(file);
	sqlite3_file *real = (sqlite3_file *)(ro + 1);
	int there = 1;
	int rc;

	memset(ro, 0, sizeof(*ro) + (size_t)vfs.ro_base->szOsFile);
	if (!name)
		return SQLITE_CANTOPEN;
	flags &= ~(SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE |
		   SQLITE_OPEN_DELETEONCLOSE | SQLITE_OPEN_EXCLUSIVE);
	flags |= SQLITE_OPEN_READONLY;
	if (bare && (flags & SQLITE_OPEN_WAL)) {
		there = 0;
	} else if (flags & SQLITE_OPEN_WAL) {
		rc = vfs.ro_base->xAccess(vfs.ro_base, name,
					  SQLITE_ACCESS_EXISTS, &there);
		if (rc != SQLITE_OK)
			return rc;
	}
	if (there) {
		rc = vfs.ro_base->xOpen(vfs.ro_base, name, real, flags,
					&(int){0});
		if (rc != SQLITE_OK)
			return rc;
		ro->real = real;
	}
	ro->is_database = flags & SQLITE_OPEN_MAIN_DB;
	ro->base.pMethods = &ro_methods;
	if (out_flags)
		*out_flags = flags;
	return SQLITE_OK;
}

static int vfs_ro_open(sqlite3_vfs *self, const char *name, sqlite3_file *file,
		       int flags, int *out_flags)
{
	(void)self;
	return ro_open(name, file, flags, out_flags, false);
}

static int vfs_bare_open(sqlite3_vfs *self, const char *name,
			 sqlite3_file *file, int flags, int *out_flags)
{
	(void)self;
	return ro_open(name, file, flags, out_flags, true);
}

static int vfs_ro_delete(sqlite3_vfs *self, const char *name, int sync_dir)
{
	(void)self;
	(void)name;
	(void)sync_dir;
	return SQLITE_READONLY;
}

/* ---- start ---- */

static void vfs_start(void)
{
	/* Refused when somebody has started SQLite before: no harm. */
	(void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);

	vfs.result = -EIO;
	if (sqlite3_initialize() != SQLITE_OK)
		return;
	vfs.rw_base = sqlite3_vfs_find("unix-excl");
	vfs.ro_base = sqlite3_vfs_find("unix");
	if (!vfs.rw_base || !vfs.ro_base)
		return;

	vfs.rw = *vfs.rw_base;
	vfs.rw.pNext = NULL;
	vfs.rw.zName = VFS_RW;
	vfs.rw.szOsFile += (int)sizeof(struct rw_file);
	vfs.rw.xOpen = vfs_rw_open;
	vfs.rw.xFullPathname = vfs_full_pathname;

	vfs.ro = *vfs.ro_base;
	vfs.ro.pNext = NULL;
	vfs.ro.zName = VFS_RO;
	vfs.ro.szOsFile += (int)sizeof(struct ro_file);
	vfs.ro.xOpen = vfs_ro_open;
	vfs.ro.xDelete = vfs_ro_delete;
	vfs.ro.xFullPathname = vfs_full_pathname;

	vfs.bare = vfs.ro;
	vfs.bare.zName = VFS_BARE;
	vfs.bare.xOpen = vfs_bare_open;

	if (sqlite3_vfs_register(&vfs.rw, 0) == SQLITE_OK &&
	    sqlite3_vfs_register(&vfs.ro, 0) == SQLITE_OK &&
	    sqlite3_vfs_register(&vfs.bare, 0) == SQLITE_OK)
		vfs.result = 0;
}

int vfs_register(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	int err = pthread_once(&once, vfs_start);

	assert(err == 0);
	return vfs.result;
}
