/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a store: made, proved, opened once, watched, taken away.
 */
#include "test_store.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>

TestSuite(store_make, .init = box_init, .fini = box_done);
TestSuite(store_life, .init = store_init, .fini = store_done);

static int count_one(void *arg, const struct store_dirent *e)
{
	(void)e;
	++*(int *)arg;
	return 0;
}

static int entries_of(int fd)
{
	int n = 0;

	cr_assert_eq(store_list(store, fd, count_one, &n), 0);
	return n;
}

/* ---- made ---- */

static int map_made(void *arg, const char *privdir)
{
	cr_assert_eq(faccessat(AT_FDCWD, at(privdir, "store"), F_OK, 0), -1);
	put_text(at(privdir, "meta.db"), "map", 3);
	return *(int *)arg;
}

Test(store_make, everything_is_there)
{
	struct store_identity id;
	struct stat st;
	int result = 0;

	umask(0);
	cr_assert_eq(store_probe_identity(root, &id), -ENOENT);
	cr_assert_eq(store_make(root, &some_id, map_made, &result), 0);
	cr_assert_eq(store_probe_identity(root, &id), 0);
	cr_assert_eq(memcmp(&id, &some_id, sizeof(id)), 0);
	cr_assert_eq(stat(at(root, ".seqmirror"), &st), 0);
	cr_assert_eq(st.st_mode & 07777, 0700);
	cr_assert_eq(stat(at(root, ".seqmirror/limbo"), &st), 0);
	cr_assert_eq(st.st_mode & 07777, 0700);
	cr_assert_eq(stat(at(root, ".seqmirror/store"), &st), 0);
	cr_assert_eq(st.st_mode & 07777, 0600);
	cr_assert_eq(access(at(root, ".seqmirror/store.new"), F_OK), -1);
	cr_assert_eq(store_make(root, &some_id, NULL, NULL), -EEXIST);
}

Test(store_make, nothing_is_left_when_the_map_fails)
{
	int result = -ENOSPC;
	struct stat st;

	cr_assert_eq(store_make(root, &some_id, map_made, &result), -ENOSPC);
	cr_assert_eq(lstat(at(root, ".seqmirror"), &st), -1);
	result = 0;
	cr_assert_eq(store_make(root, &some_id, map_made, &result), 0);
}

Test(store_make, refusals)
{
	struct store_identity id = some_id;

	id.name[0] = '\0';
	cr_assert_eq(store_make(root, &id, NULL, NULL), -EINVAL);
	snprintf(id.name, sizeof(id.name), "two\nlines");
	cr_assert_eq(store_make(root, &id, NULL, NULL), -EINVAL);
	put_text(at(box, "file"), "", 0);
	cr_assert_eq(store_make(at(box, "file"), &some_id, NULL, NULL),
		     -ENOTDIR);
	cr_assert_eq(store_make(at(box, "none"), &some_id, NULL, NULL),
		     -ENOENT);
	/* half a store, or what looks like one */
	cr_assert_eq(mkdir(at(root, ".seqmirror"), 0700), 0);
	cr_assert_eq(store_make(root, &some_id, NULL, NULL), -ENOTEMPTY);
	cr_assert_eq(store_unmake(root), 0);
	cr_assert_eq(store_unmake(root), -ENOENT);
}

Test(store_make, unmake_keeps_what_is_the_users)
{
	struct stat st;

	cr_assert_eq(store_make(root, &some_id, NULL, NULL), 0);
	put_text(at(root, ".seqmirror/found/letter"), "x", 1);
	cr_assert_eq(store_unmake(root), -ENOTEMPTY);
	cr_assert_eq(store_open(root, NULL, &store), 0);
	cr_assert_eq(store_unmake(root), -EBUSY);
	store_close(store);
	store = NULL;
	cr_assert_eq(unlink(at(root, ".seqmirror/found/letter")), 0);
	cr_assert_eq(store_unmake(root), 0);
	cr_assert_eq(lstat(at(root, ".seqmirror"), &st), -1);
}

/* ---- the identity ---- */

#define VOLUME "volume=8f14e45f-ceea-467f-a0e6-9d3b1c7f5a10\n"
#define STORE  "store=45c48cce-2e2d-4fbd-aa1a-fc51c7c6ad26\n"

#define TEXT(err, text)                         \
	{                                       \
		(err), (text), sizeof(text) - 1 \
	}

static const struct {
	int err;
	const char *text;
	size_t len;
} identities[] = {
	TEXT(0, "format=1\n" VOLUME STORE "name=left\n"),
	TEXT(0, "name=a = b\n" STORE VOLUME "format=1\n"),
	TEXT(-EUCLEAN, ""),
	TEXT(-EUCLEAN, "\n"),
	TEXT(-EUCLEAN, "format=1\n" VOLUME STORE "name=left"),
	TEXT(-EUCLEAN, "format=1\n" VOLUME STORE "name=left\n\n"),
	TEXT(-EUCLEAN, "format=1\n" VOLUME STORE "name=\n"),
	TEXT(-EUCLEAN, "format=1\n" VOLUME STORE "name=le\x01t\n"),
	TEXT(-EUCLEAN, "format=1\n" VOLUME STORE "name= left\n"),
	TEXT(-EUCLEAN, "format=1\n" VOLUME STORE "name=left\0\n"),
	TEXT(-EUCLEAN, "format=1\n" VOLUME STORE),
	TEXT(-EUCLEAN, "format=1\n" VOLUME "name=left\n"),
	TEXT(-EUCLEAN, VOLUME STORE "name=left\n"),
	TEXT(-EUCLEAN, "format=1\n" VOLUME VOLUME STORE "name=left\n"),
	TEXT(-EUCLEAN, "format=1\n" VOLUME STORE "name=left\nmore=1\n"),
	TEXT(-EUCLEAN, "format=1\nformat=1\n" VOLUME STORE "name=left\n"),
	TEXT(-EUCLEAN, "format=01\n" VOLUME STORE "name=left\n"),
	TEXT(-EUCLEAN, "format=+1\n" VOLUME STORE "name=left\n"),
	TEXT(-EUCLEAN, "format=0\n" VOLUME STORE "name=left\n"),
	TEXT(-EUCLEAN, "format=1 \n" VOLUME STORE "name=left\n"),
	TEXT(-EUCLEAN, "format=99999999999\n" VOLUME STORE "name=left\n"),
	TEXT(-EUCLEAN, "format=1\nvolume=8F14e45f-ceea-467f-a0e6-9d3b1c7f5a10"
		       "\n" STORE "name=left\n"),
	TEXT(-EUCLEAN, "format=1\nvolume=8f14e45f\n" STORE "name=left\n"),
	TEXT(-EUCLEAN, "format=1\r\n" VOLUME STORE "name=left\n"),
	TEXT(-EUCLEAN,
	     "format=1\n" VOLUME STORE "name="
	     "0123456789012345678901234567890123456789012345678901234567890123"
	     "\n"),
	TEXT(-EPROTO, "format=2\n" VOLUME STORE "name=left\n"),
	TEXT(-EPROTO, "format=2\nsomething=new\n"),
};

Test(store_make, damaged_identities)
{
	struct store_identity id;
	size_t i;

	cr_assert_eq(store_make(root, &some_id, NULL, NULL), 0);
	for (i = 0; i < ARRAY_SIZE(identities); i++) {
		put_text(at(root, ".seqmirror/store"), identities[i].text,
			 identities[i].len);
		cr_expect_eq(store_probe_identity(root, &id), identities[i].err,
			     "case %zu", i);
		cr_expect_eq(store_open(root, NULL, &store), identities[i].err,
			     "case %zu", i);
		if (!identities[i].err)
			store_close(store);
	}
	store = NULL;
}

/* Every byte of a good file turned into another: never a crash, and never
 * an identity that could not have been written. */
Test(store_make, mutated_identity)
{
	const char *path;
	struct store_identity id;
	char text[512];
	ssize_t len, i;
	int fd;

	cr_assert_eq(store_make(root, &some_id, NULL, NULL), 0);
	path = at(root, ".seqmirror/store");
	fd = open(path, O_RDWR | O_CLOEXEC);
	len = read(fd, text, sizeof(text));
	cr_assert_gt(len, 100);
	for (i = 0; i < len; i++) {
		static const char bytes[] = {'\0', '\n', '=', '\x80', 'Z'};
		size_t b;

		for (b = 0; b < sizeof(bytes); b++) {
			int err;

			cr_assert_eq(pwrite(fd, &bytes[b], 1, i), 1);
			err = store_probe_identity(root, &id);
			cr_assert(err == -EUCLEAN ||
				  (!err && identity_valid(&id)));
		}
		cr_assert_eq(pwrite(fd, &text[i], 1, i), 1);
	}
	close(fd);
}

Test(store_make, identity_of_the_wrong_kind)
{
	struct store_identity id;
	char big[2048];

	cr_assert_eq(store_make(root, &some_id, NULL, NULL), 0);
	cr_assert_eq(rename(at(root, ".seqmirror/store"), at(box, "moved")), 0);
	cr_assert_eq(store_probe_identity(root, &id), -ENOENT);
	cr_assert_eq(symlink(at(box, "moved"), at(root, ".seqmirror/store")),
		     0);
	cr_assert_eq(store_probe_identity(root, &id), -EUCLEAN);
	cr_assert_eq(unlink(at(root, ".seqmirror/store")), 0);
	cr_assert_eq(mkfifo(at(root, ".seqmirror/store"), 0600), 0);
	cr_assert_eq(store_probe_identity(root, &id), -EUCLEAN);
	cr_assert_eq(unlink(at(root, ".seqmirror/store")), 0);
	memset(big, '\n', sizeof(big));
	put_text(at(root, ".seqmirror/store"), big, sizeof(big));
	cr_assert_eq(store_probe_identity(root, &id), -EUCLEAN);
}

/* ---- trust ---- */

Test(store_make, a_symlink_is_no_private_directory)
{
	struct store_identity id;

	cr_assert_eq(store_make(root, &some_id, NULL, NULL), 0);
	cr_assert_eq(rename(at(root, ".seqmirror"), at(box, "moved")), 0);
	cr_assert_eq(symlink(at(box, "moved"), at(root, ".seqmirror")), 0);
	cr_assert_eq(store_probe_identity(root, &id), -ENOTDIR);
	cr_assert_eq(store_open(root, NULL, &store), -ENOTDIR);
	cr_assert_eq(store_unmake(root), -ENOTDIR);
	cr_assert_eq(store_make(root, &some_id, NULL, NULL), -EEXIST);
}

Test(store_make, others_may_not_write_to_the_private_directory)
{
	cr_assert_eq(store_make(root, &some_id, NULL, NULL), 0);
	cr_assert_eq(chmod(at(root, ".seqmirror"), 0770), 0);
	cr_assert_eq(store_open(root, NULL, &store), -EPERM);
	cr_assert_eq(chmod(at(root, ".seqmirror"), 0702), 0);
	cr_assert_eq(store_open(root, NULL, &store), -EPERM);
	cr_assert_eq(chmod(at(root, ".seqmirror"), 0755), 0);
	cr_assert_eq(store_open(root, NULL, &store), 0);
	store_close(store);
}

Test(store_make, somebody_elses_private_directory)
{
	need_root();
	cr_assert_eq(store_make(root, &some_id, NULL, NULL), 0);
	cr_assert_eq(chown(at(root, ".seqmirror"), OTHER_UID, OTHER_GID), 0);
	cr_assert_eq(store_open(root, NULL, &store), -EPERM);
}

Test(store_make, symlinks_in_place_of_limbo_and_lock)
{
	cr_assert_eq(store_make(root, &some_id, NULL, NULL), 0);
	cr_assert_eq(rmdir(at(root, ".seqmirror/limbo")), 0);
	cr_assert_eq(symlink(box, at(root, ".seqmirror/limbo")), 0);
	cr_assert_lt(store_open(root, NULL, &store), 0);
	cr_assert_eq(unlink(at(root, ".seqmirror/limbo")), 0);
	cr_assert_eq(unlink(at(root, ".seqmirror/lock")), 0);
	cr_assert_eq(symlink(at(box, "lock"), at(root, ".seqmirror/lock")), 0);
	cr_assert_eq(store_open(root, NULL, &store), -ELOOP);
	cr_assert_eq(access(at(box, "lock"), F_OK), -1);
	/* a lost holder is made anew */
	cr_assert_eq(unlink(at(root, ".seqmirror/lock")), 0);
	cr_assert_eq(store_open(root, NULL, &store), 0);
	cr_assert_eq(access(at(root, ".seqmirror/limbo"), F_OK), 0);
	store_close(store);
}

/* ---- open ---- */

Test(store_life, accessors)
{
	char here[PATH_MAX];
	struct stat st;

	cr_assert_eq(memcmp(store_identity(store), &some_id, sizeof(some_id)),
		     0);
	cr_assert_str_eq(store_path(store), root);
	cr_assert_str_eq(store_privdir(store), at(root, ".seqmirror"));
	cr_assert_eq(stat(root, &st), 0);
	cr_assert_eq(store_dev(store), st.st_dev);
	cr_assert_eq(entries_of(rootfd), 0);
	cr_assert_eq(entries_of(store_limbo_fd(store)), 0);
	cr_assert_eq(entries_of(store_found_fd(store)), 0);
	/* a relative path with a symlink in it becomes an absolute one */
	store_close(store);
	cr_assert_eq(symlink("root", at(box, "link")), 0);
	cr_assert(getcwd(here, sizeof(here)));
	cr_assert_eq(chdir(box), 0);
	cr_assert_eq(store_open("link", NULL, &store), 0);
	cr_assert_eq(chdir(here), 0);
	cr_assert_str_eq(store_path(store), root);
}

Test(store_life, capabilities)
{
	const struct store_caps *c = store_caps(store);

	cr_assert(c->block_size >= 512 && c->fs_type);
	if (c->fs_type != 0xef53)
		skip("not ext4");
	cr_assert(c->punch_hole && c->zero_range && c->seek_hole);
	cr_assert(c->xattr_user && c->hard_links && c->symlinks);
	cr_assert(c->specials && c->case_sensitive && c->long_names);
	cr_assert(c->whiteouts);
	cr_assert(c->any_bytes && c->file_handles && c->syncfs_complete);
}

Test(store_life, probing_leaves_nothing_and_bears_leftovers)
{
	char path[PATH_MAX];
	int n;

	store_close(store);
	put_text(at(root, ".seqmirror/probe"), "x", 1);
	cr_assert_eq(mkfifo(at(root, ".seqmirror/probe-fifo"), 0600), 0);
	cr_assert_eq(store_open(root, NULL, &store), 0);
	snprintf(path, sizeof(path), "%s", store_privdir(store));
	n = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_assert_eq(entries_of(n), 4); /* store, lock, limbo, found */
	close(n);
}

Test(store_life, another_store_was_expected)
{
	struct store *other;

	store_close(store);
	store = NULL;
	cr_assert_eq(store_open(root, some_id.volume_uuid, &other), -ESTALE);
	cr_assert_eq(store_open(root, some_id.store_uuid, &store), 0);
}

Test(store_life, second_open_is_refused)
{
	struct store *other;
	int status;
	pid_t pid;

	cr_assert_eq(store_open(root, NULL, &other), -EBUSY);
	pid = fork();
	if (!pid)
		_exit(store_open(root, NULL, &other) == -EBUSY ? 0 : 1);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert_eq(status, 0);
}

Test(store_life, note_in_the_lock_file)
{
	char buf[64];

	cr_assert_eq(store_lock_note_read(root, buf, sizeof(buf)), -ENOENT);
	cr_assert_eq(store_lock_note(store, "/run/user/1000/long/socket"), 0);
	cr_assert_eq(store_lock_note_read(root, buf, sizeof(buf)), 0);
	cr_assert_str_eq(buf, "/run/user/1000/long/socket");
	cr_assert_eq(store_lock_note(store, "/run/sock"), 0);
	cr_assert_eq(store_lock_note_read(root, buf, sizeof(buf)), 0);
	cr_assert_str_eq(buf, "/run/sock");
	cr_assert_eq(store_lock_note_read(root, buf, 9), -ERANGE);
	cr_assert_eq(store_lock_note_read(root, buf, 10), 0);
	cr_assert_eq(store_lock_note(store, "two\nlines"), -EINVAL);
	store_close(store);
	store = NULL;
	cr_assert_eq(store_lock_note_read(root, buf, sizeof(buf)), -ENOENT);
}

Test(store_life, a_copied_identity_file_has_another_backing)
{
	uint64_t ino, gen, ino_copy, gen_copy;
	char text[512];
	ssize_t len;
	int fd;

	cr_assert_eq(store_self_backing(store, &ino, &gen), 0);
	cr_assert_neq(gen, 0);
	cr_assert_eq(store_self_backing(store, &ino_copy, &gen_copy), 0);
	cr_assert(ino == ino_copy && gen == gen_copy);
	fd = open(at(root, ".seqmirror/store"), O_RDONLY | O_CLOEXEC);
	len = read(fd, text, sizeof(text));
	close(fd);
	cr_assert_eq(unlink(at(root, ".seqmirror/store")), 0);
	put_text(at(root, ".seqmirror/store"), text, (size_t)len);
	cr_assert_eq(store_self_backing(store, &ino_copy, &gen_copy), 0);
	cr_assert(ino != ino_copy || gen != gen_copy);
}

/* ---- watched ---- */

Test(store_life, alive_until_it_lies_elsewhere)
{
	char moved[PATH_MAX];

	snprintf(moved, sizeof(moved), "%s", at(box, "moved"));
	cr_assert_eq(store_alive(store), 0);
	cr_assert_eq(rename(root, moved), 0);
	cr_assert_eq(store_alive(store), -ESTALE);
	cr_assert_eq(mkdir(root, 0755), 0);
	cr_assert_eq(store_alive(store), -ESTALE);
	cr_assert_eq(rmdir(root), 0);
	cr_assert_eq(rename(moved, root), 0);
	cr_assert_eq(store_alive(store), 0);
}

/* A filesystem of its own for @root, in a mount namespace of its own. */
static void mount_small(const char *options)
{
	need_root();
	if (unshare(CLONE_NEWNS) ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("tmpfs", root, "tmpfs", 0, options))
		skip("no mount namespace");
}

Test(store_make, read_only_is_not_alive)
{
	mount_small("mode=755");
	store_up();
	cr_assert_eq(store_alive(store), 0);
	/* A filesystem with a writer stays writable, unless it fails. */
	close_fd(&store->lock_fd);
	store->lock_fd = open(at(root, ".seqmirror/lock"), O_RDONLY);
	cr_assert_eq(mount("tmpfs", root, NULL, MS_REMOUNT | MS_RDONLY, NULL),
		     0);
	cr_assert_eq(store_alive(store), -EROFS);
	store_close(store);
	cr_assert_eq(store_open(root, NULL, &store), -EROFS);
	cr_assert_eq(umount2(root, MNT_DETACH), 0);
}

Test(store_make, a_mount_point_is_no_private_directory)
{
	mount_small("mode=755");
	cr_assert_eq(umount2(root, MNT_DETACH), 0);
	cr_assert_eq(store_make(root, &some_id, NULL, NULL), 0);
	cr_assert_eq(
		mount("tmpfs", at(root, ".seqmirror"), "tmpfs", 0, "mode=700"),
		0);
	cr_assert_eq(store_open(root, NULL, &store), -EXDEV);
	cr_assert_eq(umount2(at(root, ".seqmirror"), MNT_DETACH), 0);
}

Test(store_make, a_full_filesystem_opens)
{
	char block[4096] = {1};
	int fd;

	/* root, .seqmirror, limbo, found, store, lock, the filler: no more */
	mount_small("size=256k,nr_inodes=8,mode=755");
	cr_assert_eq(store_make(root, &some_id, NULL, NULL), 0);
	put_text(at(root, ".seqmirror/lock"), "", 0);
	fd = open(at(root, "filler"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	cr_assert_geq(fd, 0);
	while (write(fd, block, sizeof(block)) > 0)
		;
	cr_assert_eq(errno, ENOSPC);
	close(fd);
	while ((fd = open(at(root, "."), O_TMPFILE | O_RDWR, 0600)) >= 0)
		; /* the process ends soon */
	cr_assert_eq(errno, ENOSPC);
	cr_assert_eq(store_open(root, NULL, &store), 0);
	cr_assert(store_caps(store)->punch_hole);
	cr_assert(store_caps(store)->case_sensitive);
	store_close(store);
	cr_assert_eq(umount2(root, MNT_DETACH), 0);
}

/* ---- errors ---- */

Test(store_life, injected_failures)
{
	struct statvfs vfs;
	char c;
	int fd = make_file("f", 0644);

	store_fail_inject(store, "store.write", EIO);
	cr_assert_eq(store_write(store, fd, "x", 1, 0, NULL), -EIO);
	cr_assert_eq(store_read(store, fd, &c, 1, 0), 0);
	store_fail_inject(store, "", -ENODEV);
	cr_assert_eq(store_read(store, fd, &c, 1, 0), -ENODEV);
	cr_assert_eq(store_fsync(store, fd, true), -ENODEV);
	cr_assert_eq(store_alive(store), -ENODEV);
	cr_assert_eq(store_statvfs(store, &vfs), -ENODEV);
	cr_assert_eq(store_syncfs(store), -ENODEV);
	store_fail_inject(store, "", 0);
	cr_assert_eq(store_write(store, fd, "x", 1, 0, NULL), 0);
	cr_assert_eq(store_statvfs(store, &vfs), 0);
	cr_assert_eq(store_syncfs(store), 0);
	close(fd);
}

Test(store_errors, kinds)
{
	cr_assert(store_error_is_fatal(-EROFS) && store_error_is_fatal(ENODEV));
	cr_assert_not(store_error_is_fatal(-EIO));
	cr_assert_not(store_error_is_fatal(-ENXIO));
	cr_assert(store_error_is_space(-ENOSPC) &&
		  store_error_is_space(-EDQUOT));
	cr_assert_not(store_error_is_space(-EFBIG));
	cr_assert(store_error_is_ours(-EMFILE) && store_error_is_ours(-ENOMEM));
	cr_assert_not(store_error_is_ours(0));
}
