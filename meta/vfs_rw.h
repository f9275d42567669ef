/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between vfs.c and vfs_rw.c; nobody else includes it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "meta/vfs.h"

struct sqlite3_vfs;
struct sqlite3_file;

/* Parts of a page are read only to look at the header. */
bool vfs_is_page(int len, int64_t off);
/* What a read of the database has given, @rc, its checksum compared. */
int vfs_check_read(int rc, const void *buf, int len, int64_t off);

/* vfs_rw_prepare - before the first open. Return: the size of its files. */
int vfs_rw_prepare(struct sqlite3_vfs *base);
int vfs_rw_open(struct sqlite3_vfs *self, const char *name,
		struct sqlite3_file *file, int flags, int *out_flags);
/* Each new connection asks whether there is a journal. */
int vfs_access(struct sqlite3_vfs *self, const char *name, int flags, int *ret);

/*
 * For VFS_RO, with files of the same kind: the database and its WAL, the real
 * file an object of its own, the calls below made under the guard. sqlite3_int64
 * is a long long.
 */
struct sqlite3_file *vfs_real(struct sqlite3_file *file);
int vfs_prepare_file(struct sqlite3_file *file, const char *name, int flags);
int vfs_is_there(struct sqlite3_file *file, const char *name, int *ret);
int vfs_open_real(struct sqlite3_vfs *base, struct sqlite3_file *file,
		  const char *name, int flags, int *out_flags);
int vfs_close(struct sqlite3_file *file);
int vfs_read(struct sqlite3_file *file, void *buf, int len, long long off);
int vfs_file_size(struct sqlite3_file *file, long long *ret_size);
int vfs_lock(struct sqlite3_file *file, int level);
int vfs_unlock(struct sqlite3_file *file, int level);
