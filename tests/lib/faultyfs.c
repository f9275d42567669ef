/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The filesystem; what it is for is in faultyfs.h.
 */
#include "tests/lib/faultyfs.h"
#include "tests/lib/faultyfs_node.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#define CONTROL_NAME ".faultyfs"

/* ---- answers ---- */

static void reply(fuse_req_t req, int err)
{
	err = rules_late(err);
	(void)fuse_reply_err(req, err < 0 ? rules_error(-err) : 0);
}

static int result(int r)
{
	return r < 0 ? -errno : 0;
}

static int gate(enum rule_op op, fuse_ino_t ino)
{
	char name[256];

	return rules_gate(op, name_of(ino, name), 0, 0);
}

static void count_links(struct stat *st)
{
	if (!S_ISDIR(st->st_mode) && rules_uncounted())
		st->st_nlink = 1;
}

static void reply_entry(fuse_req_t req, fuse_ino_t parent, const char *name,
			int err)
{
	struct fuse_entry_param e;

	err = rules_late(err);
	if (!err)
		err = find(parent, name, &e);
	if (err) {
		reply(req, err);
		return;
	}
	count_links(&e.attr);
	(void)fuse_reply_entry(req, &e);
}

/* ---- the control file ---- */

static const struct stat control_stat = {.st_ino = CONTROL_INO,
					 .st_mode = S_IFREG | 0600,
					 .st_nlink = 1};

static void control_read(fuse_req_t req, size_t size, off_t off)
{
	char *text = rules_text();
	size_t len = text ? strlen(text) : 0;

	if (!text)
		reply(req, -ENOMEM);
	else if ((size_t)off >= len)
		(void)fuse_reply_buf(req, NULL, 0);
	else
		(void)fuse_reply_buf(
			req, text + off,
			len - (size_t)off < size ? len - (size_t)off : size);
	free(text);
}

static void control_write(fuse_req_t req, const char *buf, size_t size)
{
	char *text = strndup(buf, size);
	int err = text ? rules_command(text) : -ENOMEM;

	free(text);
	if (err)
		reply(req, err);
	else
		(void)fuse_reply_write(req, size);
}

/* ---- names ---- */

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	if (parent == FUSE_ROOT_ID && !strcmp(name, CONTROL_NAME)) {
		struct fuse_entry_param e = {.ino = CONTROL_INO,
					     .attr = control_stat};

		(void)fuse_reply_entry(req, &e);
		return;
	}
	reply_entry(req, parent, name, rules_gate(OP_LOOKUP, name, 0, 0));
}

static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup)
{
	node_forget(ino, nlookup);
	fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t n,
			    struct fuse_forget_data *v)
{
	for (size_t i = 0; i < n; i++)
		node_forget(v[i].ino, v[i].nlookup);
	fuse_reply_none(req);
}

/* As the caller would have made it. */
static int give_owner(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	struct stat dir;
	int fd = node_of(parent)->fd;

	if (fstatat(fd, "", &dir, AT_EMPTY_PATH))
		return -errno;
	if (!ctx->uid && !ctx->gid)
		return 0;
	return result(fchownat(fd, name, ctx->uid,
			       dir.st_mode & S_ISGID ? (gid_t)-1 : ctx->gid,
			       AT_SYMLINK_NOFOLLOW));
}

static void made(fuse_req_t req, fuse_ino_t parent, const char *name, int err)
{
	if (!err)
		err = give_owner(req, parent, name);
	reply_entry(req, parent, name, err);
}

static void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name,
		     mode_t mode, dev_t rdev)
{
	int err = rules_gate(OP_MKNOD, name, 0, 0);

	if (!err)
		err = result(mknodat(node_of(parent)->fd, name, mode, rdev));
	made(req, parent, name, err);
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name,
		     mode_t mode)
{
	int err = rules_gate(OP_MKDIR, name, 0, 0);

	if (!err)
		err = result(mkdirat(node_of(parent)->fd, name, mode));
	made(req, parent, name, err);
}

static void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent,
		       const char *name)
{
	int err = rules_gate(OP_SYMLINK, name, 0, 0);

	if (!err)
		err = result(symlinkat(target, node_of(parent)->fd, name));
	made(req, parent, name, err);
}

static void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent,
		    const char *name)
{
	int err = rules_gate(OP_LINK, name, 0, 0);

	if (!err)
		err = result(linkat(AT_FDCWD, proc_of(ino).text,
				    node_of(parent)->fd, name,
				    AT_SYMLINK_FOLLOW));
	reply_entry(req, parent, name, err);
}

/* What lost its last name is called so, and meant by no pattern for names. */
#define NAMELESS "-"

/* Before a name goes: the node that it is the last one of, or NULL. */
static struct node *only_name_of(fuse_ino_t parent, const char *name)
{
	struct stat st;

	if (fstatat(node_of(parent)->fd, name, &st, AT_SYMLINK_NOFOLLOW) ||
	    S_ISDIR(st.st_mode) || st.st_nlink > 1)
		return NULL;
	return node_of(st.st_ino);
}

static void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	int err = rules_gate(OP_UNLINK, name, 0, 0);
	struct node *n = err ? NULL : only_name_of(parent, name);

	if (!err)
		err = result(unlinkat(node_of(parent)->fd, name, 0));
	if (!err && n)
		node_rename(n, NAMELESS);
	reply(req, err);
}

static void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	int err = rules_gate(OP_RMDIR, name, 0, 0);

	if (!err)
		err = result(unlinkat(node_of(parent)->fd, name, AT_REMOVEDIR));
	reply(req, err);
}

static void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name,
		      fuse_ino_t new_parent, const char *new_name,
		      unsigned int flags)
{
	int err = rules_gate(OP_RENAME, name, 0, 0);
	struct node *gone = err || flags ? NULL
					 : only_name_of(new_parent, new_name);
	struct stat st;

	if (!err)
		err = result(renameat2(node_of(parent)->fd, name,
				       node_of(new_parent)->fd, new_name,
				       flags));
	if (!err && gone)
		node_rename(gone, NAMELESS);
	if (!err && !fstatat(node_of(new_parent)->fd, new_name, &st,
			     AT_SYMLINK_NOFOLLOW)) {
		struct node *n = node_of(st.st_ino);

		if (n)
			node_rename(n, new_name);
	}
	reply(req, err);
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	char buf[4097];
	ssize_t n;
	int err = gate(OP_READLINK, ino);

	if (err) {
		reply(req, err);
		return;
	}
	n = readlinkat(node_of(ino)->fd, "", buf, sizeof(buf) - 1);
	if (n < 0) {
		reply(req, -errno);
		return;
	}
	buf[n] = '\0';
	(void)fuse_reply_readlink(req, buf);
}

/* ---- attributes ---- */

static void reply_attr(fuse_req_t req, fuse_ino_t ino, int err)
{
	struct stat st;

	if (!err)
		err = result(fstatat(node_of(ino)->fd, "", &st,
				     AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW));
	err = rules_late(err);
	if (err) {
		reply(req, err);
		return;
	}
	if (ino == FUSE_ROOT_ID)
		st.st_ino = FUSE_ROOT_ID;
	count_links(&st);
	(void)fuse_reply_attr(req, &st, 0.0);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino,
		       struct fuse_file_info *fi)
{
	(void)fi;
	if (ino == CONTROL_INO)
		(void)fuse_reply_attr(req, &control_stat, 0.0);
	else
		reply_attr(req, ino, gate(OP_GETATTR, ino));
}

static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *want,
		       int what, struct fuse_file_info *fi)
{
	int err;

	(void)fi;
	if (ino == CONTROL_INO) { /* O_TRUNC of a shell's redirection */
		(void)fuse_reply_attr(req, &control_stat, 0.0);
		return;
	}
	err = gate(OP_SETATTR, ino);
	if (!err)
		err = set_attrs(ino, want, what);
	reply_attr(req, ino, err);
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct statvfs v;
	int err = ino == CONTROL_INO ? 0 : gate(OP_STATFS, ino);

	if (!err)
		err = result(fstatvfs(root_node.fd, &v));
	if (err)
		reply(req, err);
	else
		(void)fuse_reply_statfs(req, rules_statfs(&v));
}

static void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name,
			const char *value, size_t size, int flags)
{
	int err = gate(OP_SETXATTR, ino);

	if (!err)
		err = result(
			setxattr(proc_of(ino).text, name, value, size, flags));
	reply(req, err);
}

static void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	int err = gate(OP_REMOVEXATTR, ino);

	if (!err)
		err = result(removexattr(proc_of(ino).text, name));
	reply(req, err);
}

static void reply_sized(fuse_req_t req, ssize_t n, const char *buf, size_t size)
{
	if (n < 0)
		reply(req, -errno);
	else if (!size)
		(void)fuse_reply_xattr(req, (size_t)n);
	else
		(void)fuse_reply_buf(req, buf, (size_t)n);
}

static void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name,
			size_t size)
{
	char buf[65536];
	int err = ino == CONTROL_INO ? -ENODATA : gate(OP_GETXATTR, ino);

	size = size > sizeof(buf) ? sizeof(buf) : size;
	if (err)
		reply(req, err);
	else
		reply_sized(req, getxattr(proc_of(ino).text, name, buf, size),
			    buf, size);
}

static void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	char buf[65536];
	int err = ino == CONTROL_INO ? -EOPNOTSUPP : gate(OP_LISTXATTR, ino);

	size = size > sizeof(buf) ? sizeof(buf) : size;
	if (err)
		reply(req, err);
	else
		reply_sized(req, listxattr(proc_of(ino).text, buf, size), buf,
			    size);
}

/* ---- contents ---- */

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	int fd = -1, err = ino == CONTROL_INO ? 0 : gate(OP_OPEN, ino);

	if (!err && ino != CONTROL_INO) {
		fd = open(proc_of(ino).text,
			  (fi->flags & ~(O_NOFOLLOW | O_DIRECT | O_APPEND)) |
				  O_CLOEXEC);
		err = result(fd);
	}
	if (err) {
		reply(req, err);
		return;
	}
	fi->fh = (uint64_t)(int64_t)fd;
	fi->direct_io = 1;
	if (fuse_reply_open(req, fi) && fd >= 0)
		(void)close(fd);
}

static void op_create(fuse_req_t req, fuse_ino_t parent, const char *name,
		      mode_t mode, struct fuse_file_info *fi)
{
	struct fuse_entry_param e;
	int fd = -1, err = rules_gate(OP_CREATE, name, 0, 0);

	if (!err) {
		fd = openat(node_of(parent)->fd, name,
			    (fi->flags & ~(O_DIRECT | O_APPEND)) | O_CREAT |
				    O_NOFOLLOW | O_CLOEXEC,
			    mode);
		err = result(fd);
	}
	if (!err)
		err = give_owner(req, parent, name);
	err = rules_late(err);
	if (!err)
		err = find(parent, name, &e);
	if (err) {
		if (fd >= 0)
			(void)close(fd);
		reply(req, err);
		return;
	}
	fi->fh = (uint64_t)fd;
	fi->direct_io = 1;
	(void)fuse_reply_create(req, &e, fi);
}

static void op_release(fuse_req_t req, fuse_ino_t ino,
		       struct fuse_file_info *fi)
{
	if (ino != CONTROL_INO)
		(void)close((int)fi->fh);
	reply(req, 0);
}

static void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)fi;
	reply(req, ino == CONTROL_INO ? 0 : gate(OP_FLUSH, ino));
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	char name[256], *buf;
	ssize_t n = -1;
	int err;

	if (ino == CONTROL_INO) {
		control_read(req, size, off);
		return;
	}
	buf = malloc(size);
	err = buf ? rules_gate(OP_READ, name_of(ino, name), off, size)
		  : -ENOMEM;
	if (!err) {
		n = pread((int)fi->fh, buf, size, off);
		err = n < 0 ? -errno : 0;
	}
	if (err)
		reply(req, err);
	else
		(void)fuse_reply_buf(req, buf, (size_t)n);
	free(buf);
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf,
		     size_t size, off_t off, struct fuse_file_info *fi)
{
	char name[256];
	ssize_t n = -1;
	int err;

	if (ino == CONTROL_INO) {
		control_write(req, buf, size);
		return;
	}
	err = rules_gate(OP_WRITE, name_of(ino, name), off, size);
	if (!err) {
		n = pwrite((int)fi->fh, buf, size, off);
		err = n < 0 ? -errno : 0;
	}
	if (!err)
		rules_written(name, off, (size_t)n);
	err = rules_late(err);
	if (err) {
		reply(req, err);
		return;
	}
	(void)fuse_reply_write(req, (size_t)n);
}

static void op_fsync(fuse_req_t req, fuse_ino_t ino, int data_only,
		     struct fuse_file_info *fi)
{
	int err = ino == CONTROL_INO ? 0 : gate(OP_FSYNC, ino);

	if (!err && ino != CONTROL_INO)
		err = result(data_only ? fdatasync((int)fi->fh)
				       : fsync((int)fi->fh));
	reply(req, err);
}

static void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off,
			 off_t len, struct fuse_file_info *fi)
{
	int err = gate(OP_FALLOCATE, ino);

	if (!err)
		err = result(fallocate((int)fi->fh, mode, off, len));
	reply(req, err);
}

static void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
		     struct fuse_file_info *fi)
{
	int err = gate(OP_LSEEK, ino);

	if (!err) {
		off = lseek((int)fi->fh, off, whence);
		err = off < 0 ? -errno : 0;
	}
	if (err)
		reply(req, err);
	else
		(void)fuse_reply_lseek(req, off);
}

/* ---- directories ---- */

static void op_opendir(fuse_req_t req, fuse_ino_t ino,
		       struct fuse_file_info *fi)
{
	int fd, err = gate(OP_OPENDIR, ino);
	DIR *dir;

	if (err) {
		reply(req, err);
		return;
	}
	fd = openat(node_of(ino)->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		reply(req, -errno);
		return;
	}
	fi->fh = (uint64_t)(uintptr_t)dir;
	(void)fuse_reply_open(req, fi);
}

static void op_releasedir(fuse_req_t req, fuse_ino_t ino,
			  struct fuse_file_info *fi)
{
	(void)ino;
	(void)closedir((DIR *)(uintptr_t)fi->fh);
	reply(req, 0);
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		       struct fuse_file_info *fi)
{
	DIR *dir = (DIR *)(uintptr_t)fi->fh;
	char *buf = malloc(size);
	size_t used = 0;
	int err = buf ? gate(OP_READDIR, ino) : -ENOMEM;

	if (!err)
		seekdir(dir, off);
	while (!err) {
		const struct dirent *d = readdir(dir);
		struct stat st = {0};
		size_t need;

		if (!d)
			break;
		st.st_ino = d->d_ino;
		st.st_mode = (mode_t)d->d_type << 12;
		need = fuse_add_direntry(req, buf + used, size - used,
					 d->d_name, &st, d->d_off);
		if (need > size - used)
			break;
		used += need;
	}
	if (err)
		reply(req, err);
	else
		(void)fuse_reply_buf(req, buf, used);
	free(buf);
}

static void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int data_only,
			struct fuse_file_info *fi)
{
	int err = gate(OP_FSYNCDIR, ino);

	(void)data_only;
	if (!err)
		err = result(fsync(dirfd((DIR *)(uintptr_t)fi->fh)));
	reply(req, err);
}

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	(void)userdata;
	conn->want |= conn->capable &
		      (FUSE_CAP_POSIX_ACL | FUSE_CAP_EXPORT_SUPPORT);
	conn->want &= ~(unsigned int)FUSE_CAP_ATOMIC_O_TRUNC;
	conn->max_background = 256;
}

static const struct fuse_lowlevel_ops ops = {
	.init = op_init,
	.lookup = op_lookup,
	.forget = op_forget,
	.forget_multi = op_forget_multi,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.readlink = op_readlink,
	.mknod = op_mknod,
	.mkdir = op_mkdir,
	.unlink = op_unlink,
	.rmdir = op_rmdir,
	.symlink = op_symlink,
	.rename = op_rename,
	.link = op_link,
	.open = op_open,
	.create = op_create,
	.read = op_read,
	.write = op_write,
	.flush = op_flush,
	.release = op_release,
	.fsync = op_fsync,
	.fallocate = op_fallocate,
	.lseek = op_lseek,
	.opendir = op_opendir,
	.readdir = op_readdir,
	.releasedir = op_releasedir,
	.fsyncdir = op_fsyncdir,
	.statfs = op_statfs,
	.setxattr = op_setxattr,
	.getxattr = op_getxattr,
	.listxattr = op_listxattr,
	.removexattr = op_removexattr,
};

int main(int argc, char **argv)
{
	char *words[] = {(char *)"faultyfs", (char *)"-o",
			 (char *)"allow_other,default_permissions,dev,suid,"
				 "fsname=faultyfs,subtype=faultyfs",
			 NULL};
	struct fuse_args args = FUSE_ARGS_INIT(3, words);
	struct fuse_loop_config *config = fuse_loop_cfg_create();
	struct fuse_session *se;
	int err = 1;

	if (argc != 3) {
		(void)fprintf(stderr, "usage: faultyfs SOURCE MOUNTPOINT\n");
		return 2;
	}
	(void)umask(0);
	root_node.fd = open(argv[1], O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root_node.fd < 0) {
		perror(argv[1]);
		return 1;
	}
	se = fuse_session_new(&args, &ops, sizeof(ops), NULL);
	if (!se || !config)
		return 1;
	/* A thread for each call that hangs, and some more. */
	fuse_loop_cfg_set_max_threads(config, 512);
	if (!fuse_set_signal_handlers(se) && !fuse_session_mount(se, argv[2])) {
		err = fuse_session_loop_mt(se, config);
		(void)rules_command("clear");
		fuse_session_unmount(se);
	}
	fuse_session_destroy(se);
	fuse_loop_cfg_destroy(config);
	return err ? 1 : 0;
}
