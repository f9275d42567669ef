/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kinds of operations: name, how often, and what is looked at afterwards:
 * 'a', 'b' (both) paths by lstat(2), 'f' the slot by fstat(2), 'n' nothing.
 */
#pragma once

#define KINDS(X)                   \
	X(open, 95, 'a')           \
	X(openat2, 4, 'a')         \
	X(tmpfile, 2, 'a')         \
	X(close, 16, 'n')          \
	X(dup, 4, 'f')             \
	X(read, 18, 'f')           \
	X(pread, 22, 'f')          \
	X(preadv2, 5, 'f')         \
	X(write, 30, 'f')          \
	X(pwrite, 36, 'f')         \
	X(pwritev2, 9, 'f')        \
	X(lseek, 12, 'n')          \
	X(seek_hole, 14, 'n')      \
	X(map_write, 15, 'f')      \
	X(map_read, 8, 'f')        \
	X(truncate, 10, 'a')       \
	X(ftruncate, 14, 'f')      \
	X(fallocate, 22, 'f')      \
	X(copy_file_range, 9, 'f') \
	X(sendfile, 5, 'f')        \
	X(splice, 4, 'f')          \
	X(fsync, 2, 'f')           \
	X(fdatasync, 2, 'f')       \
	X(sync_file_range, 3, 'f') \
	X(syncfs, 1, 'n')          \
	X(fadvise, 3, 'f')         \
	X(readahead, 2, 'n')       \
	X(mkdir, 32, 'a')          \
	X(rmdir, 20, 'a')          \
	X(unlink, 36, 'a')         \
	X(rename, 32, 'b')         \
	X(renameat2, 18, 'b')      \
	X(link, 16, 'b')           \
	X(link_fd, 4, 'f')         \
	X(symlink, 14, 'a')        \
	X(readlink, 10, 'a')       \
	X(mknod, 12, 'a')          \
	X(chmod, 16, 'a')          \
	X(fchmod, 8, 'f')          \
	X(chown, 12, 'a')          \
	X(fchown, 6, 'f')          \
	X(utimens, 16, 'a')        \
	X(futimens, 8, 'f')        \
	X(setxattr, 15, 'a')       \
	X(fsetxattr, 5, 'f')       \
	X(getxattr, 10, 'a')       \
	X(listxattr, 8, 'a')       \
	X(flistxattr, 3, 'n')      \
	X(removexattr, 8, 'a')     \
	X(setacl, 9, 'a')          \
	X(access, 14, 'a')         \
	X(stat, 14, 'a')           \
	X(statx, 5, 'n')           \
	X(statfs, 2, 'n')          \
	X(list, 12, 'a')           \
	X(list_on, 5, 'n')         \
	X(seek_dir, 6, 'n')        \
	X(flock, 8, 'n')           \
	X(setlk, 8, 'n')           \
	X(ofd_setlk, 8, 'n')       \
	X(getlk, 5, 'n')           \
	X(setfl, 5, 'n')           \
	X(umask, 3, 'n')           \
	X(handle_take, 6, 'n')     \
	X(handle_open, 6, 'n')     \
	X(ioctl, 2, 'n')
