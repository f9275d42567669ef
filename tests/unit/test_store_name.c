/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directory entries: odd names, symlinks in the way, and on whose behalf
 * things are made.
 */
#include "test_store.h"

#include <linux/capability.h>
#include <pthread.h>
#include <signal.h>
#include <sys/fsuid.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>

TestSuite(store_name, .init = store_init, .fini = store_done);

static bool exists(const char *name)
{
	struct store_stat st;
	int err = store_statat(store, rootfd, name, 0, &st);

	cr_assert(!err || err == -ENOENT);
	return !err;
}

/* ---- access times ---- */

static bool keeps_atime(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	cr_assert(fd >= 0 && flags >= 0);
	return flags & O_NOATIME;
}

static void check_opens(const char *name, bool quiet)
{
	int path_fd = store_openat(store, rootfd, name, O_PATH);

	cr_assert_eq(keeps_atime(store_openat(store, rootfd, name, O_RDONLY)),
		     quiet);
	cr_assert_eq(keeps_atime(store_open_path(store, name, O_RDONLY)),
		     quiet);
	cr_assert_eq(keeps_atime(store_reopen(store, path_fd, O_RDONLY)),
		     quiet);
	cr_assert_not(keeps_atime(
		store_openat(store, rootfd, name, O_RDONLY | STORE_ATIME)));
}

Test(store_name, access_times)
{
	int fd = store_create(store, rootfd, "f", 0644, NULL);

	cr_assert_not(keeps_atime(fd));
	store_keep_atime(fd);
	cr_assert(keeps_atime(fd));
	check_opens("f", true);
	if (geteuid() != 0)
		return;
	/* Of another one's file only its own user, or root, may ask for it. */
	cr_assert(!seteuid(OTHER_UID));
	check_opens("f", false);
	cr_assert(!seteuid(0));
}

/* ---- names ---- */

struct seen {
	const char *wanted;
	int hits;
	int all;
	int stop_at;
};

static int see(void *arg, const struct store_dirent *e)
{
	struct seen *seen = arg;

	cr_assert(e->ino && e->name[0]);
	seen->all++;
	if (seen->wanted && !strcmp(e->name, seen->wanted))
		seen->hits++;
	return seen->all == seen->stop_at ? 42 : 0;
}

Test(store_name, odd_names)
{
	char longest[256];
	const char *names[] = {
		longest, "\xff\xfe\x80", "new\nline", " ",    "-rf", "a\\b",
		"...",	 "\x01\x7f",	 ".hidden",   "\t*?", "\"",
	};
	size_t i;

	memset(longest, 'n', 255);
	longest[255] = '\0';
	for (i = 0; i < ARRAY_SIZE(names); i++) {
		struct seen seen = {.wanted = names[i]};
		int fd = store_create(store, rootfd, names[i], 0640, NULL);

		cr_assert_geq(fd, 0, "name %zu", i);
		close(fd);
		cr_assert_eq(store_create(store, rootfd, names[i], 0640, NULL),
			     -EEXIST);
		cr_assert_eq(store_list(store, rootfd, see, &seen), 0);
		cr_assert_eq(seen.hits, 1);
		fd = store_openat(store, rootfd, names[i], O_RDWR);
		cr_assert_geq(fd, 0);
		close(fd);
		fd = store_open_path(store, names[i], O_RDWR);
		cr_assert_geq(fd, 0);
		close(fd);
		cr_assert_eq(store_setxattr(store, by_name(names[i]), "user.a",
					    "1", 1, 0),
			     0);
		cr_assert_eq(store_rename(store, rootfd, names[i], rootfd,
					  "plain", 0),
			     0);
		cr_assert_eq(store_rename(store, rootfd, "plain", rootfd,
					  names[i], RENAME_NOREPLACE),
			     0);
		cr_assert_eq(store_unlink(store, rootfd, names[i]), 0);
		cr_assert_not(exists(names[i]));
	}
}

Test(store_name, a_name_that_is_too_long)
{
	char name[300];
	struct store_stat st;
	char value;

	memset(name, 'n', 256);
	name[256] = '\0';
	cr_assert_eq(store_create(store, rootfd, name, 0600, NULL),
		     -ENAMETOOLONG);
	cr_assert_eq(store_statat(store, rootfd, name, STORE_STAT_GEN, &st),
		     -ENAMETOOLONG);
	cr_assert_eq(store_getxattr(store, by_name(name), "user.a", &value, 1),
		     -ENAMETOOLONG);
}

Test(store_name, a_path_is_not_a_name)
{
	struct rlimit none = {0};
	int status;
	pid_t pid = fork();

	if (!pid) {
		setrlimit(RLIMIT_CORE, &none);
		fclose(stderr);
		signal(SIGABRT, SIG_DFL);
		_exit(store_mkdir(store, rootfd, "a/b", 0755, NULL) ? 1 : 0);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

Test(store_name, list)
{
	struct seen seen = {.wanted = STORE_PRIVATE};
	off_t before = lseek(rootfd, 0, SEEK_CUR);
	char name[32];
	int i, fd;

	cr_assert_eq(store_mkdir(store, rootfd, "d", 0755, NULL), 0);
	for (i = 0; i < 2000; i++) {
		snprintf(name, sizeof(name), "file-number-%d", i);
		close(make_file(name, 0644));
	}
	cr_assert_eq(store_list(store, rootfd, see, &seen), 0);
	cr_assert_eq(seen.all, 2001);
	cr_assert_eq(seen.hits, 0);
	cr_assert_eq(lseek(rootfd, 0, SEEK_CUR), before);
	seen = (struct seen){.stop_at = 7};
	cr_assert_eq(store_list(store, rootfd, see, &seen), 42);
	cr_assert_eq(seen.all, 7);

	/* the name is private at the root only; O_PATH is enough */
	fd = store_openat(store, rootfd, "d", O_PATH | O_DIRECTORY);
	cr_assert_geq(fd, 0);
	cr_assert_eq(store_mkdir(store, fd, STORE_PRIVATE, 0755, NULL), 0);
	seen = (struct seen){.wanted = STORE_PRIVATE};
	cr_assert_eq(store_list(store, fd, see, &seen), 0);
	cr_assert_eq(seen.hits, 1);
	close(fd);
	fd = store_openat(store, rootfd, "file-number-0", O_PATH);
	cr_assert_eq(store_list(store, fd, see, &seen), -ENOTDIR);
	close(fd);
}

/* ---- paths ---- */

Test(store_name, paths_stay_below_the_root)
{
	int fd;

	cr_assert_eq(mkdir(at(root, "a"), 0755), 0);
	cr_assert_eq(mkdir(at(root, "a/b"), 0755), 0);
	put_text(at(root, "a/b/..c"), "x", 1);
	put_text(at(box, "outside"), "x", 1);
	cr_assert_eq(symlink("b", at(root, "a/inner")), 0);
	cr_assert_eq(symlink(box, at(root, "a/outer")), 0);
	fd = store_open_path(store, "a/b/..c", O_RDONLY);
	cr_assert_geq(fd, 0);
	close(fd);
	fd = store_open_path(store, "", O_RDONLY | O_DIRECTORY);
	cr_assert_geq(fd, 0);
	close(fd);
	cr_assert_eq(store_open_path(store, "a/inner/..c", O_RDONLY), -ELOOP);
	cr_assert_eq(store_open_path(store, "a/inner", O_RDONLY), -ELOOP);
	cr_assert_eq(store_open_path(store, "a/outer/outside", O_RDONLY),
		     -ELOOP);
	cr_assert_eq(store_open_path(store, "../outside", O_RDONLY), -EXDEV);
	cr_assert_eq(store_open_path(store, "a/../a/b", O_RDONLY), -EXDEV);
	cr_assert_eq(store_open_path(store, "/etc", O_RDONLY), -EXDEV);
	cr_assert_eq(store_open_path(store, "a/none", O_RDONLY), -ENOENT);
	fd = store_open_path(store, "a/b", O_PATH | O_RDWR | O_NONBLOCK);
	cr_assert_geq(fd, 0);
	close(fd);
}

Test(store_name, a_path_longer_than_one_call_takes)
{
	static char path[40 * 201 + 8];
	char name[201];
	int fds[41], i, fd;

	memset(name, 'd', 200);
	name[200] = '\0';
	fds[0] = dup(rootfd);
	for (i = 0; i < 40; i++) {
		cr_assert_eq(store_mkdir(store, fds[i], name, 0755, NULL), 0);
		fds[i + 1] = store_openat(store, fds[i], name, O_PATH);
		cr_assert_geq(fds[i + 1], 0);
		memcpy(path + (size_t)i * 201, name, 200);
		path[(size_t)i * 201 + 200] = '/';
	}
	memcpy(path + 40 * 201, "leaf", 5);
	close(store_create(store, fds[40], "leaf", 0644, NULL));
	fd = store_open_path(store, path, O_RDONLY);
	cr_assert_geq(fd, 0);
	close(fd);
	memcpy(path + 40 * 201, "none", 5);
	cr_assert_eq(store_open_path(store, path, O_RDONLY), -ENOENT);
	cr_assert_eq(store_unlink(store, fds[40], "leaf"), 0);
	for (i = 40; i > 0; i--) {
		close(fds[i]);
		cr_assert_eq(store_rmdir(store, fds[i - 1], name), 0);
	}
	close(fds[0]);
}

Test(store_name, symlinks_and_fifos_are_not_entered)
{
	char target[64];
	int fd;

	put_text(at(box, "outside"), "x", 1);
	cr_assert_eq(store_symlink(store, rootfd, "link", "../outside", NULL),
		     0);
	cr_assert_eq(store_openat(store, rootfd, "link", O_RDONLY), -ELOOP);
	fd = store_openat(store, rootfd, "link", O_PATH);
	cr_assert_geq(fd, 0);
	close(fd);
	cr_assert_eq(store_readlink(store, rootfd, "link", target, 64), 10);
	cr_assert_eq(memcmp(target, "../outside", 10), 0);
	cr_assert_eq(store_create(store, rootfd, "link", 0644, NULL), -EEXIST);
	cr_assert_eq(
		store_mknod(store, rootfd, "fifo", S_IFIFO | 0644, 0, NULL), 0);
	fd = store_openat(store, rootfd, "fifo", O_RDONLY);
	cr_assert_geq(fd, 0); /* and did not wait for a writer */
	close(fd);
	cr_assert_eq(store_openat(store, rootfd, "fifo", O_WRONLY), -ENXIO);
}

/* ---- moved and removed ---- */

Test(store_name, link_rename_remove)
{
	struct store_stat a, b;

	close(make_file("a", 0644));
	close(make_file("b", 0644));
	cr_assert_eq(store_link(store, rootfd, "a", rootfd, "c"), 0);
	cr_assert_eq(stat_of("a").st_nlink, 2);
	cr_assert_eq(store_link(store, rootfd, "a", rootfd, "b"), -EEXIST);
	cr_assert_eq(
		store_rename(store, rootfd, "a", rootfd, "b", RENAME_NOREPLACE),
		-EEXIST);
	cr_assert_eq(store_statat(store, rootfd, "a", STORE_STAT_GEN, &a), 0);
	cr_assert_eq(
		store_rename(store, rootfd, "a", rootfd, "b", RENAME_EXCHANGE),
		0);
	cr_assert_eq(store_statat(store, rootfd, "b", STORE_STAT_GEN, &b), 0);
	cr_assert(a.st.st_ino == b.st.st_ino && a.gen == b.gen);
	cr_assert_eq(store_rename(store, rootfd, "a", store_limbo_fd(store),
				  "17", 0),
		     0);
	cr_assert_eq(
		store_rename(store, rootfd, "a", rootfd, "d", RENAME_NOREPLACE),
		-ENOENT);
	cr_assert_eq(store_unlink(store, store_limbo_fd(store), "17"), 0);
	cr_assert_eq(store_mkdir(store, rootfd, "dir", 0755, NULL), 0);
	cr_assert_eq(store_unlink(store, rootfd, "dir"), -EISDIR);
	cr_assert_eq(store_rmdir(store, rootfd, "b"), -ENOTDIR);
	cr_assert_eq(store_rmdir(store, rootfd, "dir"), 0);
	cr_assert_eq(store_unlink(store, rootfd, "dir"), -ENOENT);
}

/* ---- identity ---- */

Test(store_name, a_reused_inode_number_is_another_object)
{
	struct store_stat old, again;
	bool reused = false;
	int i, fd;

	for (i = 0; i < 20; i++) {
		fd = make_file("f", 0644);
		cr_assert_eq(store_fstat(store, fd, STORE_STAT_GEN, &old), 0);
		cr_assert_eq(store_statat(store, rootfd, "f", STORE_STAT_GEN,
					  &again),
			     0);
		cr_assert(old.gen && old.gen == again.gen);
		cr_assert_eq(old.btime_ns, again.btime_ns);
		close(fd);
		cr_assert_eq(store_unlink(store, rootfd, "f"), 0);
		fd = make_file("f", 0644);
		cr_assert_eq(store_fstat(store, fd, STORE_STAT_GEN, &again), 0);
		close(fd);
		cr_assert_eq(store_unlink(store, rootfd, "f"), 0);
		if (old.st.st_ino == again.st.st_ino) {
			reused = true;
			cr_assert_neq(old.gen, again.gen);
		}
	}
	if (!reused)
		skip("no number was reused");
}

Test(store_name, stat_agrees_with_the_system)
{
	struct store_stat st;
	struct stat sys;
	int fd = make_file("f", 0640);

	cr_assert_eq(store_write(store, fd, "abc", 3, 0, NULL), 0);
	cr_assert_eq(store_fstat(store, fd, 0, &st), 0);
	cr_assert_eq(fstat(fd, &sys), 0);
	cr_assert_eq(st.gen, 0);
	cr_assert(sys.st_dev == st.st.st_dev && sys.st_ino == st.st.st_ino);
	cr_assert(sys.st_mode == st.st.st_mode && sys.st_uid == st.st.st_uid);
	cr_assert(sys.st_gid == st.st.st_gid && sys.st_size == st.st.st_size);
	cr_assert(sys.st_nlink == st.st.st_nlink);
	cr_assert(sys.st_blocks == st.st.st_blocks);
	cr_assert_eq(memcmp(&sys.st_mtim, &st.st.st_mtim, sizeof(sys.st_mtim)),
		     0);
	cr_assert_eq(memcmp(&sys.st_ctim, &st.st.st_ctim, sizeof(sys.st_ctim)),
		     0);
	close(fd);
	/* no handles: the birth time tells objects apart */
	store->caps.file_handles = false;
	cr_assert_eq(store_statat(store, rootfd, "f", STORE_STAT_GEN, &st), 0);
	cr_assert_neq(st.gen, 0);
	cr_assert_neq(st.btime_ns, 0);
}

/* ---- on whose behalf ---- */

static void effective(uint32_t ret_caps[2])
{
	struct __user_cap_header_struct head = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[2];

	cr_assert_eq(syscall(SYS_capget, &head, data), 0);
	ret_caps[0] = data[0].effective;
	ret_caps[1] = data[1].effective;
}

static mode_t umask_now(void)
{
	mode_t mask = umask(0);

	umask(mask);
	return mask;
}

static const struct store_cred other = {OTHER_UID, OTHER_GID, 027};

static void expect_owner(const char *name, uid_t uid, gid_t gid, mode_t mode)
{
	struct stat st = stat_of(name);

	cr_expect_eq(st.st_uid, uid, "%s: uid %u", name, st.st_uid);
	cr_expect_eq(st.st_gid, gid, "%s: gid %u", name, st.st_gid);
	cr_expect_eq(st.st_mode & 07777, mode, "%s: mode %o", name, st.st_mode);
}

Test(store_name, the_umask_is_the_callers)
{
	struct store_cred me = {geteuid(), getegid(), 077};

	umask(022);
	close(store_create(store, rootfd, "f", 0666, &me));
	expect_owner("f", geteuid(), getegid(), 0600);
	cr_assert_eq(store_mkdir(store, rootfd, "d", 0777, &me), 0);
	expect_owner("d", geteuid(), getegid(), 0700);
	me.umask = 0;
	close(store_create(store, rootfd, "g", 0666, &me));
	expect_owner("g", geteuid(), getegid(), 0666);
	cr_assert_eq(umask_now(), 022);
	close(store_create(store, rootfd, "h", 0666, NULL));
	expect_owner("h", geteuid(), getegid(), 0644);
}

Test(store_name, made_for_somebody_else)
{
	uint32_t before[2], after[2];

	need_root();
	effective(before);
	close(store_create(store, rootfd, "file", 0666, &other));
	expect_owner("file", OTHER_UID, OTHER_GID, 0640);
	cr_assert_eq(store_mkdir(store, rootfd, "dir", 0777, &other), 0);
	expect_owner("dir", OTHER_UID, OTHER_GID, 0750);
	cr_assert_eq(store_symlink(store, rootfd, "link", "x", &other), 0);
	cr_assert_eq(stat_of("link").st_uid, OTHER_UID);
	cr_assert_eq(
		store_mknod(store, rootfd, "fifo", S_IFIFO | 0666, 0, &other),
		0);
	expect_owner("fifo", OTHER_UID, OTHER_GID, 0640);
	cr_assert_eq(
		store_mknod(store, rootfd, "file", S_IFIFO | 0666, 0, &other),
		-EEXIST);
	effective(after);
	cr_assert_eq(memcmp(before, after, sizeof(before)), 0);
	cr_assert_eq(setfsuid((uid_t)-1), 0);
	cr_assert_eq(setfsgid((gid_t)-1), 0);
	cr_assert_eq(umask_now(), 022);
}

Test(store_name, a_device_for_somebody_else)
{
	dev_t null = makedev(1, 3);
	int err;

	need_root();
	err = mknod(at(box, "null"), S_IFCHR | 0600, null);
	if (err)
		skip("may not make devices");
	cr_assert_eq(store_mknod(store, rootfd, "null", S_IFCHR | 0666, null,
				 &other),
		     0);
	expect_owner("null", OTHER_UID, OTHER_GID, 0640);
	cr_assert_eq(stat_of("null").st_rdev, null);
}

Test(store_name, closed_directories_are_passed)
{
	int fd;

	need_root();
	cr_assert_eq(store_mkdir(store, rootfd, "shut", 0700, NULL), 0);
	cr_assert_eq(chmod(root, 0700), 0);
	cr_assert_eq(chmod(box, 0700), 0);
	fd = store_openat(store, rootfd, "shut", O_RDONLY | O_DIRECTORY);
	cr_assert_eq(store_mkdir(store, fd, "in", 0755, &other), 0);
	close(fd);
}

Test(store_name, a_set_group_id_directory_gives_its_group)
{
	int fd;

	need_root();
	cr_assert_eq(store_mkdir(store, rootfd, "d", 0755, NULL), 0);
	cr_assert_eq(chown(at(root, "d"), 0, OTHER_GID + 1), 0);
	cr_assert_eq(chmod(at(root, "d"), 02777), 0);
	fd = store_openat(store, rootfd, "d", O_RDONLY | O_DIRECTORY);
	close(store_create(store, fd, "f", 02770, &other));
	cr_assert_eq(store_mkdir(store, fd, "sub", 0755, &other), 0);
	rootfd = fd;
	/* not a member: no program that runs under that group */
	expect_owner("f", OTHER_UID, OTHER_GID + 1, 0750);
	expect_owner("sub", OTHER_UID, OTHER_GID + 1, 02750);
	close(fd);
}

/* u::rwx g::rwx m::rwx o::--- and a named user, as stored. */
static const unsigned char default_acl[] = {
	2,    0, 0, 0,			       /* version */
	0x01, 0, 7, 0, 0xff, 0xff, 0xff, 0xff, /* USER_OBJ */
	0x02, 0, 6, 0, 0x39, 0x30, 0,	 0,    /* USER 12345 */
	0x04, 0, 7, 0, 0xff, 0xff, 0xff, 0xff, /* GROUP_OBJ */
	0x10, 0, 7, 0, 0xff, 0xff, 0xff, 0xff, /* MASK */
	0x20, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, /* OTHER */
};

Test(store_name, a_default_acl_overrules_the_umask)
{
	struct store_cred cred = {geteuid(), getegid(), 077};
	char acl[128];
	int fd;

	if (geteuid() == 0)
		cred = (struct store_cred){OTHER_UID, OTHER_GID, 077};
	cr_assert_eq(store_mkdir(store, rootfd, "d", 0755, NULL), 0);
	if (setxattr(at(root, "d"), "system.posix_acl_default", default_acl,
		     sizeof(default_acl), 0))
		skip("no ACLs");
	fd = store_openat(store, rootfd, "d", O_RDONLY | O_DIRECTORY);
	close(store_create(store, fd, "f", 0666, &cred));
	rootfd = fd;
	expect_owner("f", cred.uid, cred.gid, 0660);
	cr_assert_gt(store_getxattr(store, by_name("f"),
				    "system.posix_acl_access", acl,
				    sizeof(acl)),
		     0);
	close(fd);
}

static void *create_many(void *arg)
{
	const struct store_cred *cred = arg;
	char name[64];
	int i;

	for (i = 0; i < 200; i++) {
		snprintf(name, sizeof(name), "%o-%d", cred->umask, i);
		close(store_create(store, rootfd, name, 0666, cred));
		cr_assert_eq(perms_of(name), 0666 & ~cred->umask);
		cr_assert_eq(stat_of(name).st_uid, cred->uid);
	}
	cr_assert_eq(umask_now(), 022);
	return NULL;
}

Test(store_name, threads_do_not_mix)
{
	struct store_cred creds[4] = {
		{geteuid(), getegid(), 077},
		{geteuid(), getegid(), 002},
		{geteuid(), getegid(), 027},
		{geteuid(), getegid(), 0},
	};
	pthread_t threads[4];
	int i;

	if (geteuid() == 0)
		creds[0].uid = creds[3].uid = OTHER_UID;
	umask(022);
	for (i = 0; i < 4; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, create_many,
					    &creds[i]),
			     0);
	for (i = 0; i < 4; i++)
		cr_assert_eq(pthread_join(threads[i], NULL), 0);
	cr_assert_eq(umask_now(), 022);
}

/* ---- closed to their owner ---- */

Test(store_name, own_files_without_the_bit_are_forced)
{
	int fd;

	become_ordinary();
	close(make_file("ro", 0444));
	close(make_file("none", 0));
	cr_assert_eq(store_mkdir(store, rootfd, "d", 0, NULL), 0);
	cr_assert_eq(store_openat(store, rootfd, "ro", O_RDWR), -EACCES);
	fd = store_openat_forced(store, rootfd, "ro", O_RDWR);
	cr_assert_geq(fd, 0);
	cr_assert_eq(store_write(store, fd, "x", 1, 0, NULL), 0);
	close(fd);
	cr_assert_eq(perms_of("ro"), 0444);
	fd = store_openat_forced(store, rootfd, "none", O_RDONLY);
	cr_assert_geq(fd, 0);
	close(fd);
	cr_assert_eq(perms_of("none"), 0);
	fd = store_openat_forced(store, rootfd, "d", O_RDONLY | O_DIRECTORY);
	cr_assert_geq(fd, 0);
	close(fd);
	cr_assert_eq(perms_of("d"), 0);
	cr_assert_eq(store_openat_forced(store, rootfd, "no", O_RDWR), -ENOENT);
	cr_assert_eq(store_symlink(store, rootfd, "link", "ro", NULL), 0);
	cr_assert_eq(store_openat_forced(store, rootfd, "link", O_RDWR),
		     -ELOOP);
	cr_assert_eq(chmod(at(root, "d"), 0700), 0);
}

Test(store_name, somebody_elses_files_are_not_forced)
{
	need_root();
	close(make_file("ro", 0444));
	rootfd = dup(rootfd);
	become_ordinary();
	cr_assert_eq(store_openat_forced(store, rootfd, "ro", O_RDWR), -EACCES);
	cr_assert_eq(perms_of("ro"), 0444);
}

static void *force_many(void *arg)
{
	int i;

	(void)arg;
	for (i = 0; i < 200; i++) {
		int fd = store_openat_forced(store, rootfd, "ro", O_RDWR);

		cr_assert_geq(fd, 0);
		close(fd);
	}
	return NULL;
}

Test(store_name, forcing_in_threads_restores_the_mode)
{
	pthread_t threads[3];
	int i;

	become_ordinary();
	close(make_file("ro", 0400));
	for (i = 0; i < 3; i++)
		cr_assert_eq(
			pthread_create(&threads[i], NULL, force_many, NULL), 0);
	for (i = 0; i < 3; i++)
		cr_assert_eq(pthread_join(threads[i], NULL), 0);
	cr_assert_eq(perms_of("ro"), 0400);
}
