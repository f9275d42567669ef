/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All attributes of one object onto another, across stores.
 *
 * The order matters. A change of owner clears set-user-id bits and file
 * capabilities, so it is first. An access ACL sets the group bits of the mode
 * and may drop the set-group-id bit, so the mode follows it. Times are last,
 * because anything may move them. What agrees already is left alone: most
 * calls are about objects that differ in one thing or in none.
 *
 * Root copies every namespace of extended attributes that holds plain values.
 * An ordinary user copies user.* and ACLs, tries security.* and is not told
 * when that is denied; trusted.* he does not even see.
 */
#include <linux/xattr.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <xxhash.h>

#include "fs/store/internal.h"

enum {
	XATTR_BUF_BYTES = XATTR_SIZE_MAX,
};

/* One side of the copy: the object and the names of its attributes. */
struct side {
	const struct store *s;
	struct store_obj o;
	struct stat st;
	char *names; /* NUL after NUL */
	size_t names_len;
	bool failed;			/* the error is of this side */
	struct store_attr_error *error; /* of the side that is copied to */
};

static bool has_prefix(const char *name, const char *prefix)
{
	return !strncmp(name, prefix, strlen(prefix));
}

/* Other names below system. are views of something else, not values. */
static bool is_copied(const char *name)
{
	return has_prefix(name, XATTR_USER_PREFIX) ||
	       has_prefix(name, XATTR_SECURITY_PREFIX) ||
	       has_prefix(name, XATTR_TRUSTED_PREFIX) ||
	       !strcmp(name, XATTR_NAME_POSIX_ACL_ACCESS) ||
	       !strcmp(name, XATTR_NAME_POSIX_ACL_DEFAULT);
}

/* Not ours to set, and not expected of us. */
static bool is_forgiven(const char *name, int err)
{
	return geteuid() != 0 && err == -EPERM &&
	       (has_prefix(name, XATTR_SECURITY_PREFIX) ||
		has_prefix(name, XATTR_TRUSTED_PREFIX));
}

static int names_read(struct side *side)
{
	for (;;) {
		ssize_t len = store_listxattr(side->s, side->o, NULL, 0);

		free(steal_pointer(&side->names));
		side->names_len = 0;
		if (len == 0 || len == -EOPNOTSUPP)
			return 0;
		if (len < 0)
			return (int)len;
		side->names = malloc((size_t)len);
		if (!side->names)
			return -ENOMEM;
		len = store_listxattr(side->s, side->o, side->names,
				      (size_t)len);
		if (len >= 0) {
			side->names_len = (size_t)len;
			return 0;
		}
		if (len != -ERANGE) /* grown meanwhile */
			return (int)len;
	}
}

static const char *names_next(const struct side *side, const char *name)
{
	if (!side->names_len)
		return NULL;
	if (!name)
		return side->names;
	name += strlen(name) + 1;
	return name < side->names + side->names_len ? name : NULL;
}

static bool names_contain(const struct side *side, const char *wanted)
{
	const char *name = NULL;

	while ((name = names_next(side, name))) {
		if (!strcmp(name, wanted))
			return true;
	}
	return false;
}

/*
 * user.* is guarded by the mode of the file, and to read or change it its
 * owner may have to give himself the right. Around one call on one side at a
 * time: the two stores' locks have one rank.
 * Return: 0 lifted, -EACCES as before, or another error.
 */
static int side_lift(const struct side *side, mode_t bits,
		     struct mode_lift *ret_lift)
{
	_cleanup_close_ int fd = obj_open_path(side->o);
	int err;

	if (fd < 0)
		return fd;
	err = mode_lift_begin(side->s, fd, bits, ret_lift);
	if (err)
		return err;
	return ret_lift->fd < 0 ? -EACCES : 0;
}

static ssize_t side_get(const struct side *side, const char *name, char *buf)
{
	ssize_t len =
		store_getxattr(side->s, side->o, name, buf, XATTR_BUF_BYTES);
	struct mode_lift lift;
	int err;

	if (len != -EACCES)
		return len;
	err = side_lift(side, S_IRUSR, &lift);
	if (err)
		return err;
	len = store_getxattr(side->s, side->o, name, buf, XATTR_BUF_BYTES);
	err = mode_lift_end(side->s, &lift);
	return err ? err : len;
}

/* @value NULL: remove. */
static int side_change_once(const struct side *side, const char *name,
			    const char *value, size_t len)
{
	if (!value)
		return store_removexattr(side->s, side->o, name);
	return store_setxattr(side->s, side->o, name, value, len, 0);
}

static int side_change(const struct side *side, const char *name,
		       const char *value, size_t len)
{
	int err = side_change_once(side, name, value, len);
	struct mode_lift lift;
	int end_err;

	if (err != -EACCES)
		return err;
	err = side_lift(side, S_IWUSR, &lift);
	if (err)
		return err;
	err = side_change_once(side, name, value, len);
	end_err = mode_lift_end(side->s, &lift);
	return err ? err : end_err;
}

/* 1 changed, 0 nothing to do, -errno. @buf: two values of the largest size */
static int xattr_copy_one(struct side *from, const struct side *to,
			  const char *name, char *buf)
{
	char *old = buf + XATTR_BUF_BYTES;
	ssize_t len, old_len;
	int err;

	len = side_get(from, name, buf);
	if (len == -ENODATA)
		return 0; /* removed meanwhile; it will come again */
	if (len < 0) {
		from->failed = true;
		return (int)len;
	}
	if (names_contain(to, name)) {
		old_len = side_get(to, name, old);
		if (old_len == len && !memcmp(buf, old, (size_t)len))
			return 0;
	}
	err = side_change(to, name, buf, (size_t)len);
	if (err && is_forgiven(name, err))
		return 0;
	if (err) {
		(void)snprintf(to->error->xattr, sizeof(to->error->xattr), "%s",
			       name);
		to->error->xattr_len = (size_t)len;
	}
	return err ? err : 1;
}

static int xattr_remove_one(const struct side *to, const char *name)
{
	int err = side_change(to, name, NULL, 0);

	if (err == -ENODATA || (err && is_forgiven(name, err)))
		return 0;
	return err ? err : 1;
}

/* Where it differs it goes. */
static int xattr_clear_one(struct side *from, const struct side *to,
			   const char *name, char *buf)
{
	char *old = buf + XATTR_BUF_BYTES;
	ssize_t len, old_len;

	if (!names_contain(to, name))
		return 0;
	len = side_get(from, name, buf);
	old_len = side_get(to, name, old);
	if (len >= 0 && len == old_len && !memcmp(buf, old, (size_t)len))
		return 0;
	return xattr_remove_one(to, name);
}

/* @fn for each that is copied. Return: what it changed, -errno */
static int xattrs_each(struct side *from, const struct side *to,
		       int (*fn)(struct side *from, const struct side *to,
				 const char *name, char *buf),
		       char *buf)
{
	const char *name = NULL;
	int changes = 0;

	while ((name = names_next(from, name))) {
		int n = is_copied(name) ? fn(from, to, name, buf) : 0;

		if (n < 0)
			return n;
		changes += n;
	}
	return changes;
}

static int xattrs_copy_listed(struct side *from, const struct side *to)
{
	_cleanup_free_ char *buf = NULL;
	const char *name = NULL;
	int n, changes = 0;

	/* Removals first: they make room where it is tight. */
	while ((name = names_next(to, name))) {
		if (!is_copied(name) || names_contain(from, name))
			continue;
		n = xattr_remove_one(to, name);
		if (n < 0)
			return n;
		changes += n;
	}
	if (!from->names_len)
		return changes;
	buf = malloc((size_t)XATTR_BUF_BYTES * 2);
	if (!buf)
		return -ENOMEM;
	n = xattrs_each(from, to, xattr_copy_one, buf);
	/* One may grow before another shrinks, and all share a block: none of
	 * them, and then what the source has room for, in its order. */
	if (store_error_is_space(n) && !from->failed) {
		n = xattrs_each(from, to, xattr_clear_one, buf);
		if (n >= 0)
			n = xattrs_each(from, to, xattr_copy_one, buf);
		changes++;
	}
	return n < 0 ? n : changes + n;
}

static int xattrs_copy(struct side *from, struct side *to)
{
	int err;

	err = names_read(from);
	from->failed = err;
	if (!err)
		err = names_read(to);
	if (err || (!from->names_len && !to->names_len))
		return err;
	return xattrs_copy_listed(from, to);
}

static bool time_equal(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static int owner_copy(const struct side *from, const struct side *to)
{
	bool uid = from->st.st_uid != to->st.st_uid;
	bool gid = from->st.st_gid != to->st.st_gid;
	int err;

	if (!uid && !gid)
		return 0;
	err = store_chown(to->s, to->o, uid ? from->st.st_uid : (uid_t)-1,
			  gid ? from->st.st_gid : (gid_t)-1);
	return err ? err : 1;
}

static int mode_copy(const struct side *from, const struct side *to)
{
	int err;

	if (S_ISLNK(from->st.st_mode) || from->st.st_mode == to->st.st_mode)
		return 0;
	err = store_chmod(to->s, to->o, from->st.st_mode & 07777);
	return err ? err : 1;
}

static int times_copy(const struct side *from, const struct side *to)
{
	struct timespec times[2] = {from->st.st_atim, from->st.st_mtim};
	int err;

	if (time_equal(&times[0], &to->st.st_atim) &&
	    time_equal(&times[1], &to->st.st_mtim))
		return 0;
	err = store_utimens(to->s, to->o, times);
	return err ? err : 1;
}

static int sides_copy(struct side *from, struct side *to)
{
	int n, changes;

	n = owner_copy(from, to);
	if (n < 0)
		return n;
	changes = n;
	n = xattrs_copy(from, to);
	if (n < 0)
		return n;
	changes += n;
	if (changes) { /* the mode may have changed with either */
		n = obj_stat(to->s, to->o, &to->st);
		if (n)
			return n;
	}
	n = mode_copy(from, to);
	if (n < 0)
		return n;
	changes += n;
	n = times_copy(from, to);
	return n < 0 ? n : changes + n;
}

int store_copy_attrs(const struct store *src, struct store_obj from_obj,
		     const struct store *dst, struct store_obj to_obj,
		     struct store_attr_error *ret_error)
{
	struct store_attr_error error = {0};
	struct side from = {.s = src, .o = from_obj};
	struct side to = {.s = dst, .o = to_obj, .error = &error};
	int err;

	err = store_gate(dst, "store.copy_attrs");
	if (!err) {
		err = obj_stat(src, from.o, &from.st);
		from.failed = err;
	}
	if (!err)
		err = obj_stat(dst, to.o, &to.st);
	if (!err && (from.st.st_mode & S_IFMT) != (to.st.st_mode & S_IFMT))
		err = -EINVAL;
	if (!err)
		err = sides_copy(&from, &to);
	free(from.names);
	free(to.names);
	error.of_source = from.failed;
	if (ret_error)
		*ret_error = error;
	return err;
}

/* ---- for comparing ---- */

static int xattr_hash_one(const struct side *side, const char *name, char *buf,
			  uint64_t *hash)
{
	/* Nothing is lifted to read it: a look leaves no trace. */
	ssize_t len =
		store_getxattr(side->s, side->o, name, buf, XATTR_BUF_BYTES);

	if (len == -ENODATA || len == -EACCES || len == -EPERM)
		return 0;
	if (len < 0)
		return (int)len;
	*hash += XXH3_64bits_withSeed(buf, (size_t)len,
				      XXH3_64bits(name, strlen(name))) |
		 1;
	return 0;
}

int store_xattr_hash(const struct store *s, struct store_obj o,
		     uint64_t *ret_hash)
{
	struct side side = {.s = s, .o = o};
	_cleanup_free_ char *buf = NULL;
	const char *name = NULL;
	uint64_t hash = 0;
	int err = names_read(&side);

	while (!err && (name = names_next(&side, name))) {
		if (!is_copied(name))
			continue;
		if (!buf)
			buf = malloc(XATTR_BUF_BYTES);
		err = buf ? xattr_hash_one(&side, name, buf, &hash) : -ENOMEM;
	}
	free(side.names);
	if (!err)
		*ret_hash = hash;
	return err;
}

int store_root_look(const struct store *s, uint64_t *ret_look)
{
	_cleanup_close_ int fd = store_open_path(s, "", O_RDONLY | O_DIRECTORY);
	struct store_stat st;
	uint64_t own[6] = {0};
	int err;

	if (fd < 0)
		return fd;
	err = store_fstat(s, fd, 0, &st);
	if (!err)
		err = store_xattr_hash(s, (struct store_obj){.fd = fd},
				       &own[0]);
	if (err)
		return err;
	own[1] = st.st.st_mode;
	own[2] = st.st.st_uid;
	own[3] = st.st.st_gid;
	own[4] = (uint64_t)st.st.st_mtim.tv_sec;
	own[5] = (uint64_t)st.st.st_mtim.tv_nsec;
	*ret_look = (XXH3_64bits(own, sizeof(own)) >> 1) | 1;
	return 0;
}

int store_peek_xattrs(const char *root, const char *path, uint64_t *ret_hash)
{
	_cleanup_close_ int fd = peek_open(root, path);
	struct store_state state = {0};
	struct store unopened = {.state = &state};
	int err;

	if (fd < 0)
		return fd;
	unopened.guard = guard_new();
	if (!unopened.guard)
		return -ENOMEM;
	err = store_xattr_hash(&unopened, (struct store_obj){.fd = fd},
			       ret_hash);
	guard_free(unopened.guard);
	return err;
}
