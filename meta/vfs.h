/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How SQLite reaches the file system: two thin layers over its own for Unix.
 *
 * VFS_RW stands on "unix-excl": the first read takes an exclusive lock on the
 * database for the whole process, all connections of the process share one
 * WAL index in memory, and no file of shared memory is made. Paths are used
 * as they are given, not resolved: "/proc/self/fd/N/meta.db" stays below the
 * directory that descriptor N holds, also when something is mounted over it.
 *
 * VFS_RO changes nothing at all: no file is created, written, cut or removed,
 * and it works on a read-only mount. It takes a shared lock, so that no other
 * process writes meanwhile, and reads a WAL that a killed writer has left
 * (SQLite itself wants to write an index beside it for that). Its connections
 * must be in locking_mode EXCLUSIVE, which keeps the index in the memory of
 * the connection; the locks above SHARED that this mode asks for are granted
 * in name only. Where there is no WAL, an empty one is pretended.
 *
 * Both keep a checksum with each page of the database, in the bytes that its
 * header reserves for that: put there when a page is written, compared when it
 * is read. SQLite has none of its own, and would take a number with a flipped
 * bit for another number. A page that does not fit is SQLITE_IOERR_DATA,
 * -EUCLEAN here. The frames of the WAL have SQLite's checksums.
 */
#pragma once

#include <stdint.h>

#include "base/cleanup.h"
#include "base/guard.h"

#define VFS_RW "seqmirror"
#define VFS_RO "seqmirror-ro"
/* As VFS_RO, and a WAL that is there is not seen: what the file itself says. */
#define VFS_BARE "seqmirror-bare"

/* Bytes at the end of each page; in the header at offset 20. */
#define VFS_SUM_BYTES 8

/**
 * vfs_page_sum - the checksum of page @index (from 0) of META_PAGE_BYTES.
 */
uint64_t vfs_page_sum(const void *page, uint64_t index);

/**
 * vfs_register - make both known; once per process, from any thread.
 *
 * SQLite's own counting of memory is switched off on the way: it takes a lock
 * per allocation.
 * Return: 0, -ENOMEM, -EIO (SQLite could not be started)
 */
MUST_CHECK int vfs_register(void);

/**
 * vfs_open_under - databases that this thread opens from now on have their
 * calls made under @g (base/guard.h), and their WALs as well. NULL: under none.
 *
 * SQLite holds no lock of the process across a read, write or sync, so what
 * hangs on one map stops nobody on another; a call that was given up is an I/O
 * error to it.
 */
void vfs_open_under(struct guard *g);
