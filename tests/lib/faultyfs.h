/* SPDX-License-Identifier: Apache-2.0 */
/*
 * faultyfs - a filesystem for tests: shows a directory as it is, and fails,
 * waits or hangs where it is told to.
 *
 *	faultyfs SOURCE MOUNTPOINT	(stays in the foreground, root only)
 *
 * It is told through the file MOUNTPOINT/.faultyfs, which no listing shows.
 * Each write is one command, in force when write(2) returns, -EINVAL when it
 * cannot be read:
 *
 *	[then] [after N] [times N] [late] fail OPS ERRNO [NAME [OFF LEN]]
 *	delay OPS MS [NAME]
 *	hang OPS [NAME]
 *	bad NAME OFF LEN
 *	uncounted
 *	quota
 *	clear
 *
 * OPS is a list of names as below, or of the words all, modify (whatever
 * changes something, fsync included) and sync (fsync, fsyncdir), with commas.
 * ERRNO is EIO, ENOSPC, EDQUOT, EROFS, ENODEV, ESTALE, ENOTCONN, EACCES or a
 * number.  NAME is a pattern as in sh(1) for the last part of the path; rules
 * without one match everything, .seqmirror included; a file without a name is
 * called "-".  With OFF and LEN only
 * reads and writes that touch this range fail.  The first N calls after it go
 * well; it strikes so many times and then no more; "then", not before the rule
 * above it has struck; late, the call is done, and
 * then told to have failed, as by a server whose answer was lost.
 *
 * "bad" is a bad sector: reads of the range give EIO until it was written
 * over as a whole, which cures it.  "uncounted": files have a link count of 1,
 * however many names.  "quota": the end of the source's room is that of a quota,
 * of which statfs(2) knows nothing.  "clear" ends all rules; what hangs goes on as
 * if nothing had been.
 *
 * Reading the file gives a line for each rule: how often it struck, and how
 * many calls wait in it now:
 *
 *	hits=3 waiting=0 fail read EIO f 0 4096
 *
 * Nothing is cached above it: all files are opened for direct I/O, names and
 * attributes are asked for each time.  Inode numbers and file handles are
 * those of the source, so that a store keeps its identity across mounts.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/statvfs.h>
#include <sys/types.h>

enum rule_op {
	OP_LOOKUP,
	OP_GETATTR,
	OP_SETATTR,
	OP_READLINK,
	OP_MKNOD,
	OP_MKDIR,
	OP_UNLINK,
	OP_RMDIR,
	OP_SYMLINK,
	OP_RENAME,
	OP_LINK,
	OP_OPEN,
	OP_CREATE,
	OP_READ,
	OP_WRITE,
	OP_FSYNC,
	OP_OPENDIR,
	OP_READDIR,
	OP_FSYNCDIR,
	OP_STATFS,
	OP_SETXATTR,
	OP_GETXATTR,
	OP_LISTXATTR,
	OP_REMOVEXATTR,
	OP_FALLOCATE,
	OP_LSEEK,
	OP_FLUSH,
	OP_COUNT,
};

/* Return: 0, -EINVAL (nothing changed) */
int rules_command(const char *text);
/* The text of all rules, terminated; to be freed. NULL: no memory. */
char *rules_text(void);
/*
 * A call is about to be made: waits if told to. @len 0: not a range.
 * Return: 0 or the -errno to answer.
 */
int rules_gate(enum rule_op op, const char *name, off_t off, size_t len);
/* The answer of a call that was done, with @err: 0 may be a failure, told late. */
int rules_late(int err);
/* Are link counts not told? */
bool rules_uncounted(void);
/* What is told of an errno, and of the room that there is. */
int rules_error(int err);
const struct statvfs *rules_statfs(struct statvfs *v);
/* [off, off+len) of @name was written: bad sectors in it are cured. */
void rules_written(const char *name, off_t off, size_t len);
