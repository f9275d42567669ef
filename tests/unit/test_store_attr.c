/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attributes, one at a time and all at once, on objects of every kind, named
 * in every way.
 */
#include "test_store.h"

#include <sys/xattr.h>

TestSuite(store_attr, .init = store_init, .fini = store_done);

#define ACL_ACCESS  "system.posix_acl_access"
#define ACL_DEFAULT "system.posix_acl_default"

/* u::rw- u:12345:r-- g::r-- m::r-- o::---, as stored */
static const unsigned char some_acl[] = {
	2,    0,    0,	  0,	0x01, 0,    6,	  0,
	0xff, 0xff, 0xff, 0xff,				/* USER_OBJ */
	0x02, 0,    4,	  0,	0x39, 0x30, 0,	  0,	/* USER */
	0x04, 0,    4,	  0,	0xff, 0xff, 0xff, 0xff, /* GROUP_OBJ */
	0x10, 0,    4,	  0,	0xff, 0xff, 0xff, 0xff, /* MASK */
	0x20, 0,    0,	  0,	0xff, 0xff, 0xff, 0xff, /* OTHER */
};

/* cap_net_raw+ep, as stored (revision 2) */
static const unsigned char some_caps[20] = {1, 0, 0, 2, 0, 0x20};

static int o_path(const char *name)
{
	int fd = store_openat(store, rootfd, name, O_PATH);

	cr_assert_geq(fd, 0);
	return fd;
}

static void set(const char *name, const char *attr, const char *value)
{
	int err = store_setxattr(store, by_name(name), attr, value,
				 strlen(value), 0);

	cr_assert_eq(err, 0, "%s %s: %s", name, attr, strerror(-err));
}

static bool has(struct store_obj o, const char *attr, const char *value)
{
	char buf[64];
	ssize_t len = store_getxattr(store, o, attr, buf, sizeof(buf));

	return len == (ssize_t)strlen(value) &&
	       !memcmp(buf, value, (size_t)len);
}

Test(store_attr, chmod_by_every_handle)
{
	int fd = make_file("f", 0644);
	int path_fd = o_path("f");

	cr_assert_eq(store_chmod(store, by_fd(fd), 0600), 0);
	cr_assert_eq(perms_of("f"), 0600);
	cr_assert_eq(store_chmod(store, by_fd(path_fd), 04711), 0);
	cr_assert_eq(perms_of("f"), 04711);
	cr_assert_eq(store_chmod(store, by_name("f"), 0), 0);
	cr_assert_eq(perms_of("f"), 0);
	cr_assert_eq(store_chmod(store, by_name("none"), 0600), -ENOENT);
	close(fd);
	close(path_fd);
	cr_assert_eq(
		store_mknod(store, rootfd, "fifo", S_IFIFO | 0600, 0, NULL), 0);
	cr_assert_eq(store_chmod(store, by_name("fifo"), 0640), 0);
	cr_assert_eq(perms_of("fifo"), 0640);
	cr_assert_eq(
		store_mknod(store, rootfd, "sock", S_IFSOCK | 0600, 0, NULL),
		0);
	cr_assert_eq(store_chmod(store, by_name("sock"), 0604), 0);
	cr_assert_eq(perms_of("sock"), 0604);
}

Test(store_attr, chmod_never_follows_and_never_touches_a_symlink)
{
	int fd;
	mode_t mode;

	close(make_file("f", 0644));
	cr_assert_eq(store_symlink(store, rootfd, "link", "f", NULL), 0);
	mode = perms_of("link");
	fd = o_path("link");
	cr_assert_eq(store_chmod(store, by_name("link"), 0), -EOPNOTSUPP);
	cr_assert_eq(store_chmod(store, by_fd(fd), 0), -EOPNOTSUPP);
	cr_assert_eq(perms_of("f"), 0644);
	cr_assert_eq(perms_of("link"), mode);
	close(fd);
}

Test(store_attr, chown_by_every_handle)
{
	int fd, link_fd;

	need_root();
	fd = make_file("f", 0644);
	cr_assert_eq(store_symlink(store, rootfd, "link", "f", NULL), 0);
	link_fd = o_path("link");
	cr_assert_eq(store_chown(store, by_fd(fd), 1, (gid_t)-1), 0);
	cr_assert_eq(store_chown(store, by_name("f"), (uid_t)-1, 2), 0);
	cr_assert_eq(store_chown(store, by_name("link"), 3, 4), 0);
	cr_assert_eq(stat_of("link").st_uid, 3);
	cr_assert_eq(store_chown(store, by_fd(link_fd), 5, (gid_t)-1), 0);
	cr_assert_eq(stat_of("link").st_uid, 5);
	cr_assert_eq(stat_of("link").st_gid, 4);
	cr_assert_eq(stat_of("f").st_uid, 1);
	cr_assert_eq(stat_of("f").st_gid, 2);
	close(fd);
	close(link_fd);
}

Test(store_attr, times_by_every_handle)
{
	struct timespec times[2] = {{1000, 1}, {2000, 999999999}};
	struct timespec omit[2] = {{0, UTIME_OMIT}, {-5, 7}};
	int fd = make_file("f", 0644);
	int path_fd = o_path("f");

	cr_assert_eq(store_symlink(store, rootfd, "link", "f", NULL), 0);
	cr_assert_eq(store_utimens(store, by_name("link"), times), 0);
	cr_assert_eq(stat_of("link").st_mtim.tv_sec, 2000);
	cr_assert_neq(stat_of("f").st_mtim.tv_sec, 2000);
	cr_assert_eq(store_utimens(store, by_fd(path_fd), times), 0);
	cr_assert_eq(stat_of("f").st_mtim.tv_nsec, 999999999);
	cr_assert_eq(stat_of("f").st_atim.tv_nsec, 1);
	cr_assert_eq(store_utimens(store, by_fd(fd), omit), 0);
	cr_assert_eq(stat_of("f").st_mtim.tv_sec, -5);
	cr_assert_eq(stat_of("f").st_mtim.tv_nsec, 7);
	cr_assert_eq(stat_of("f").st_atim.tv_sec, 1000);
	close(fd);
	close(path_fd);
}

Test(store_attr, xattrs_by_every_handle)
{
	int fd = make_file("f", 0644);
	int path_fd = o_path("f");
	struct store_obj ways[] = {by_fd(fd), by_fd(path_fd), by_name("f")};
	char list[256];
	size_t i;

	if (!store_caps(store)->xattr_user)
		skip("no xattrs");
	for (i = 0; i < ARRAY_SIZE(ways); i++) {
		struct store_obj o = ways[i];

		cr_assert_eq(store_removexattr(store, o, "user.a"), -ENODATA);
		cr_assert_eq(store_setxattr(store, o, "user.a", "1", 1, 0), 0);
		cr_assert_eq(store_setxattr(store, o, "user.a", "1", 1,
					    XATTR_CREATE),
			     -EEXIST);
		cr_assert_eq(store_getxattr(store, o, "user.a", NULL, 0), 1);
		cr_assert(has(o, "user.a", "1"));
		cr_assert_eq(store_setxattr(store, o, "user.a", "", 0, 0), 0);
		cr_assert(has(o, "user.a", ""));
		cr_assert_eq(store_listxattr(store, o, list, sizeof(list)), 7);
		cr_assert_str_eq(list, "user.a");
		cr_assert_eq(store_listxattr(store, o, list, 3), -ERANGE);
		cr_assert_eq(store_removexattr(store, o, "user.a"), 0);
		cr_assert_eq(store_getxattr(store, o, "user.a", list, 10),
			     -ENODATA);
	}
	close(fd);
	close(path_fd);
}

Test(store_attr, xattrs_of_a_symlink_are_its_own)
{
	int path_fd;

	need_root();
	close(make_file("f", 0644));
	cr_assert_eq(store_symlink(store, rootfd, "link", "f", NULL), 0);
	path_fd = o_path("link");
	set("link", "trusted.a", "by name");
	cr_assert(has(by_fd(path_fd), "trusted.a", "by name"));
	cr_assert_eq(store_setxattr(store, by_fd(path_fd), "trusted.a", "fd", 2,
				    XATTR_REPLACE),
		     0);
	cr_assert(has(by_name("link"), "trusted.a", "fd"));
	cr_assert_eq(store_listxattr(store, by_name("f"), NULL, 0), 0);
	cr_assert_eq(store_removexattr(store, by_name("link"), "trusted.a"), 0);
	cr_assert_eq(
		store_setxattr(store, by_name("link"), "user.a", "1", 1, 0),
		-EPERM);
	close(path_fd);
}

/* ---- all at once ---- */

static int copy(const char *from, const char *to)
{
	return store_copy_attrs(store, by_name(from), store, by_name(to), NULL);
}

static void expect_same(const char *a, const char *b)
{
	struct stat x = stat_of(a), y = stat_of(b);

	cr_expect_eq(x.st_mode, y.st_mode, "%o %o", x.st_mode, y.st_mode);
	cr_expect(x.st_uid == y.st_uid && x.st_gid == y.st_gid);
	cr_expect_eq(x.st_mtim.tv_sec, y.st_mtim.tv_sec);
	cr_expect_eq(x.st_mtim.tv_nsec, y.st_mtim.tv_nsec);
	cr_expect_eq(x.st_atim.tv_sec, y.st_atim.tv_sec);
	cr_expect_eq(x.st_atim.tv_nsec, y.st_atim.tv_nsec);
	cr_expect_eq(copy(a, b), 0, "something was left");
}

static const struct timespec old_times[2] = {{1234, 5}, {5678, 123456789}};

Test(store_attr, copy_everything)
{
	struct store_obj from = by_name("from"), to = by_name("to");

	need_root();
	close(make_file("from", 0600));
	close(make_file("to", 0777));
	cr_assert_eq(store_chown(store, from, OTHER_UID, OTHER_GID), 0);
	set("from", "user.a", "1");
	set("from", "user.b", "same");
	set("from", "trusted.c", "3");
	set("to", "user.b", "same");
	set("to", "user.gone", "x");
	set("to", "trusted.c", "4");
	cr_assert_eq(store_setxattr(store, from, "security.capability",
				    some_caps, sizeof(some_caps), 0),
		     0);
	cr_assert_eq(store_setxattr(store, from, ACL_ACCESS, some_acl,
				    sizeof(some_acl), 0),
		     0);
	cr_assert_eq(store_chmod(store, from, 06750), 0);
	cr_assert_eq(store_utimens(store, from, old_times), 0);
	/* owner, 5 xattrs and one away, times; the ACL brings half the mode */
	cr_assert_eq(copy("from", "to"), 8);
	expect_same("from", "to");
	cr_assert_eq(perms_of("to"), 06750);
	cr_assert(has(to, "user.a", "1") && has(to, "trusted.c", "3"));
	cr_assert_eq(store_getxattr(store, to, "user.gone", NULL, 0), -ENODATA);
	cr_assert_eq(store_getxattr(store, to, "security.capability", NULL, 0),
		     20);
}

Test(store_attr, copy_takes_an_acl_away)
{
	close(make_file("from", 0664));
	close(make_file("to", 0600));
	if (store_setxattr(store, by_name("to"), ACL_ACCESS, some_acl,
			   sizeof(some_acl), 0))
		skip("no ACLs");
	cr_assert_gt(copy("from", "to"), 0);
	expect_same("from", "to");
	cr_assert_eq(store_listxattr(store, by_name("to"), NULL, 0), 0);
}

Test(store_attr, copy_keeps_set_user_id_over_a_change_of_owner)
{
	need_root();
	close(make_file("from", 06755));
	close(make_file("to", 06755));
	cr_assert_eq(store_chown(store, by_name("to"), OTHER_UID, OTHER_GID),
		     0);
	cr_assert_eq(store_chmod(store, by_name("to"), 06755), 0);
	cr_assert_gt(copy("from", "to"), 0);
	cr_assert_eq(perms_of("to"), 06755);
	expect_same("from", "to");
}

Test(store_attr, copy_of_directories)
{
	cr_assert_eq(store_mkdir(store, rootfd, "from", 0755, NULL), 0);
	cr_assert_eq(store_mkdir(store, rootfd, "to", 0700, NULL), 0);
	if (store_setxattr(store, by_name("from"), ACL_DEFAULT, some_acl,
			   sizeof(some_acl), 0))
		skip("no ACLs");
	cr_assert_eq(store_chmod(store, by_name("from"), 03775), 0);
	cr_assert_eq(store_utimens(store, by_name("from"), old_times), 0);
	cr_assert_eq(copy("from", "to"), 3);
	expect_same("from", "to");
	cr_assert_eq(store_getxattr(store, by_name("to"), ACL_DEFAULT, NULL, 0),
		     (ssize_t)sizeof(some_acl));
}

Test(store_attr, copy_of_symlinks_and_specials)
{
	close(make_file("target", 0600));
	cr_assert_eq(store_symlink(store, rootfd, "l1", "target", NULL), 0);
	cr_assert_eq(store_symlink(store, rootfd, "l2", "target", NULL), 0);
	cr_assert_eq(store_utimens(store, by_name("l1"), old_times), 0);
	if (geteuid() == 0) {
		cr_assert_eq(store_chown(store, by_name("l1"), 7, 8), 0);
		set("l1", "trusted.a", "1");
	}
	cr_assert_eq(copy("l1", "l2"), geteuid() == 0 ? 3 : 1);
	expect_same("l1", "l2");
	cr_assert_neq(stat_of("target").st_mtim.tv_sec, 5678);

	cr_assert_eq(store_mknod(store, rootfd, "p1", S_IFIFO | 0600, 0, NULL),
		     0);
	cr_assert_eq(store_mknod(store, rootfd, "p2", S_IFIFO | 0600, 0, NULL),
		     0);
	cr_assert_eq(store_chmod(store, by_name("p1"), 0666), 0);
	cr_assert_eq(store_utimens(store, by_name("p1"), old_times), 0);
	cr_assert_eq(copy("p1", "p2"), 2);
	expect_same("p1", "p2");
	cr_assert_eq(copy("p1", "l2"), -EINVAL);
}

Test(store_attr, copy_of_large_and_many_xattrs)
{
	static char value[3000];
	char name[64];
	int i, n;

	close(make_file("from", 0600));
	close(make_file("to", 0600));
	memset(value, 'v', sizeof(value));
	if (store_setxattr(store, by_name("from"), "user.large", value,
			   sizeof(value), 0))
		skip("no room for xattrs");
	for (n = 0; n < 20; n++) {
		snprintf(name, sizeof(name), "user.number.%d", n);
		if (store_setxattr(store, by_name("from"), name, "x", 1, 0))
			break;
	}
	for (i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "user.old.%d", i);
		set("to", name, "old");
	}
	cr_assert_eq(store_utimens(store, by_name("to"), old_times), 0);
	cr_assert_eq(copy("from", "to"), 1 + n + 20 + 1);
	expect_same("from", "to");
}

/* ext4 has one block for all of a file's that do not lie in its inode: there is no
 * room for one that grows before another shrinks, whichever comes first. */
Test(store_attr, copy_of_xattrs_that_share_their_room)
{
	static const char *const names[2][2] = {{"user.a", "user.b"},
						{"user.b", "user.a"}};
	static char value[3500];

	for (int k = 0; k < 2; k++) {
		const char *large = names[k][0], *little = names[k][1];
		struct store_obj from = {.fd = make_file(k ? "f" : "g", 0644),
					 .dirfd = -1};
		struct store_obj to = {.fd = make_file(k ? "h" : "i", 0644),
				       .dirfd = -1};

		memset(value, 'z', 60);
		cr_assert_eq(
			store_setxattr(store, from, "user.z", value, 60, 0), 0);
		cr_assert_eq(store_setxattr(store, to, "user.z", value, 60, 0),
			     0);
		memset(value, 'x', sizeof(value));
		cr_assert_eq(store_setxattr(store, from, large, value, 300, 0),
			     0);
		cr_assert_eq(
			store_setxattr(store, from, little, value, 3500, 0), 0);
		cr_assert_eq(store_setxattr(store, to, large, value, 3500, 0),
			     0);
		cr_assert_eq(store_setxattr(store, to, little, value, 300, 0),
			     0);
		cr_assert_geq(store_copy_attrs(store, from, store, to, NULL),
			      1);
		cr_assert_eq(store_getxattr(store, to, large, NULL, 0), 300);
		cr_assert_eq(store_getxattr(store, to, little, NULL, 0), 3500);
		cr_assert_eq(store_getxattr(store, to, "user.z", NULL, 0), 60);
		close(from.fd);
		close(to.fd);
	}
}

Test(store_attr, copy_as_an_ordinary_user)
{
	int fd;

	need_root(); /* to have security.* on a file at all */
	close(make_file("from", 0444));
	set("from", "security.seqmirror", "x");
	set("from", "trusted.seqmirror", "x");
	set("from", "user.a", "1");
	cr_assert_eq(store_setxattr(store, by_name("from"), ACL_ACCESS,
				    some_acl, sizeof(some_acl), 0),
		     0);
	cr_assert_eq(store_chmod(store, by_name("from"), 0404), 0);
	cr_assert_eq(store_chown(store, by_name("from"), OTHER_UID, OTHER_GID),
		     0);
	become_ordinary();
	close(make_file("to", 0600));
	cr_assert_gt(copy("from", "to"), 0);
	cr_assert(has(by_name("to"), "user.a", "1"));
	cr_assert_eq(store_getxattr(store, by_name("to"), ACL_ACCESS, NULL, 0),
		     (ssize_t)sizeof(some_acl));
	cr_assert_eq(store_getxattr(store, by_name("to"), "security.seqmirror",
				    NULL, 0),
		     -ENODATA);
	cr_assert_eq(perms_of("to"), 0404);
	expect_same("from", "to");

	/* neither side lets its owner in */
	cr_assert_eq(store_chmod(store, by_name("from"), 0), 0);
	cr_assert_eq(store_chmod(store, by_name("to"), 0400), 0);
	fd = store_openat_forced(store, rootfd, "to", O_RDWR);
	cr_assert_geq(fd, 0);
	cr_assert_eq(store_setxattr(store, by_fd(fd), "user.a", "2", 1, 0),
		     -EACCES);
	close(fd);
	cr_assert_eq(store_chmod(store, by_name("to"), 0700), 0);
	set("to", "user.a", "2");
	set("to", "user.b", "3");
	cr_assert_eq(store_chmod(store, by_name("to"), 0), 0);
	cr_assert_eq(copy("from", "to"), 2);
	cr_assert_eq(perms_of("to"), 0);
	cr_assert_eq(perms_of("from"), 0);
	cr_assert_eq(store_chmod(store, by_name("to"), 0700), 0);
	cr_assert(has(by_name("to"), "user.a", "1"));
}
