/* SPDX-License-Identifier: Apache-2.0 */
#include "meta/vfs.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>
#include <string.h>
#include <xxhash.h>

#include "meta/format.h"
#include "meta/vfs_rw.h"

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
bool vfs_is_page(int len, int64_t off)
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
int vfs_check_read(int rc, const void *buf, int len, int64_t off)
{
	static const char zeros[META_PAGE_BYTES];

	if (!vfs_is_page(len, off))
		return rc;
	if (rc == SQLITE_OK)
		return sum_check(buf, off);
	if (rc == SQLITE_IOERR_SHORT_READ &&
	    memcmp(buf, zeros, sizeof(zeros)) != 0)
		return SQLITE_IOERR_DATA;
	return rc;
}

/* ---- read-only ---- */

/* A WAL that is not there has no real file. */

static int ro_close(sqlite3_file *file)
{
	return vfs_real(file) ? vfs_close(file) : SQLITE_OK;
}

static int ro_read(sqlite3_file *file, void *buf, int len, sqlite3_int64 off)
{
	if (vfs_real(file))
		return vfs_read(file, buf, len, off);
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
	if (vfs_real(file))
		return vfs_file_size(file, ret_size);
	*ret_size = 0;
	return SQLITE_OK;
}

/* What is above SHARED is for writers, and there are none: the shared lock
 * that is really held keeps them out. */
static int ro_lock(sqlite3_file *file, int level)
{
	if (!vfs_real(file) || level != SQLITE_LOCK_SHARED)
		return SQLITE_OK;
	return vfs_lock(file, level);
}

static int ro_unlock(sqlite3_file *file, int level)
{
	if (!vfs_real(file) || level != SQLITE_LOCK_NONE)
		return SQLITE_OK;
	return vfs_unlock(file, level);
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
	sqlite3_file *real = vfs_real(file);

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
	sqlite3_file *real = vfs_real(file);

	return real ? real->pMethods->xSectorSize(real) : 4096;
}

static int ro_characteristics(sqlite3_file *file)
{
	sqlite3_file *real = vfs_real(file);

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
	int there = 1;
	int rc = vfs_prepare_file(file, name, flags);

	if (rc != SQLITE_OK)
		return rc;
	flags &= ~(SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE |
		   SQLITE_OPEN_DELETEONCLOSE | SQLITE_OPEN_EXCLUSIVE);
	flags |= SQLITE_OPEN_READONLY;
	if (bare && (flags & SQLITE_OPEN_WAL)) {
		there = 0;
	} else if (flags & SQLITE_OPEN_WAL) {
		rc = vfs_is_there(file, name, &there);
		if (rc != SQLITE_OK)
			return rc;
	}
	if (there) {
		rc = vfs_open_real(vfs.ro_base, file, name, flags, &(int){0});
		if (rc != SQLITE_OK)
			return rc;
	}
	file->pMethods = &ro_methods;
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
	int files; /* the size of ours */

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
	vfs.rw.xOpen = vfs_rw_open;
	vfs.rw.xAccess = vfs_access;
	files = vfs_rw_prepare(vfs.rw_base);
	vfs.rw.szOsFile += files;
	vfs.rw.xFullPathname = vfs_full_pathname;

	vfs.ro = *vfs.ro_base;
	vfs.ro.pNext = NULL;
	vfs.ro.zName = VFS_RO;
	vfs.ro.szOsFile = files;
	vfs.ro.xOpen = vfs_ro_open;
	vfs.ro.xAccess = vfs_access;
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
