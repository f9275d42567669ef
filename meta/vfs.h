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
 */
#pragma once

#include "base/cleanup.h"

#define VFS_RW "seqmirror"
#define VFS_RO "seqmirror-ro"

/**
 * vfs_register - make both known; once per process, from any thread.
 *
 * SQLite's own counting of memory is switched off on the way: it takes a lock
 * per allocation.
 * Return: 0, -ENOMEM, -EIO (SQLite could not be started)
 */
MUST_CHECK int vfs_register(void);
