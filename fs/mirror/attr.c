/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attributes: owner, mode, times, size (truncate.c) and extended attributes.
 * "Now" is read from the clock once, so that all stores get the same time.
 */
#include "fs/mirror/privs.h"

#include <endian.h>
#include <errno.h>
#include <limits.h>
#include <linux/limits.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/fault.h"
#include "fs/mirror/times.h"

/* ---- chmod, chown, utimens ---- */

struct setting {
	struct node *n;
	const struct stat *want;
	unsigned int what;
	struct timespec times[2];
	struct stat before;
};

static bool is_no_room(int r)
{
	return store_error_is_space(r) || err_is_limit(r);
}

#define KILLS	  (MIRROR_KILL_SUIDGID | MIRROR_KILL_SGID)
#define SET_OWNER (MIRROR_SET_UID | MIRROR_SET_GID)
#define SET_TIMES                                                     \
	(MIRROR_SET_ATIME | MIRROR_SET_MTIME | MIRROR_SET_ATIME_NOW | \
	 MIRROR_SET_MTIME_NOW)

/* What was there before, as far as it was changed: @done of k->what. */
static int set_back(struct store *s, struct store_obj obj,
		    const struct setting *k, unsigned int done)
{
	const struct stat *was = &k->before;
	const struct timespec times[2] = {
		k->times[0].tv_nsec == UTIME_OMIT ? k->times[0] : was->st_atim,
		k->times[1].tv_nsec == UTIME_OMIT ? k->times[1] : was->st_mtim,
	};
	int r = 0;

	if (done & SET_OWNER)
		r = store_chown(s, obj, was->st_uid, was->st_gid);
	/* chown(2) takes set-id bits away */
	if (!r && !S_ISLNK(was->st_mode) &&
	    (done & (SET_OWNER | MIRROR_SET_MODE)))
		r = store_chmod(s, obj, was->st_mode & 07777);
	if (!r && (done & SET_TIMES))
		r = store_utimens(s, obj, times);
	return r;
}

static int set_undo(struct mirror *m, unsigned int slot, void *arg)
{
	const struct setting *k = arg;
	struct node_handle h;
	int r = node_handle_get(m, k->n, slot, &h);

	if (r)
		return r;
	r = set_back(m->slot[slot].store, h.obj, k, k->what);
	node_handle_put(m, &h);
	return r;
}

/* In the order of the kernel's own: owner, mode, times. */
static int set_each(struct store *s, struct store_obj obj,
		    const struct setting *k, unsigned int *done)
{
	unsigned int what = k->what;
	int r = 0;

	if (what & SET_OWNER)
		r = store_chown(
			s, obj,
			what & MIRROR_SET_UID ? k->want->st_uid : (uid_t)-1,
			what & MIRROR_SET_GID ? k->want->st_gid : (gid_t)-1);
	if (r)
		return r;
	*done |= what & SET_OWNER;
	if (what & MIRROR_SET_MODE)
		r = store_chmod(s, obj, k->want->st_mode & 07777);
	if (r)
		return r;
	*done |= what & MIRROR_SET_MODE;
	return what & SET_TIMES ? store_utimens(s, obj, k->times) : 0;
}

static int set_slot(struct mirror *m, unsigned int slot, void *arg)
{
	const struct setting *k = arg;
	struct store *s = m->slot[slot].store;
	unsigned int done = 0;
	struct node_handle h;
	int r = FAULT_ERR("mirror.setattr");

	if (!r)
		r = node_handle_get(m, k->n, slot, &h);
	if (r)
		return r;
	r = set_each(s, h.obj, k, &done);
	if ((is_no_room(r) || store_error_is_ours(r)) &&
	    set_back(s, h.obj, k, done))
		r = -EIO; /* a part of it is there now */
	node_handle_put(m, &h);
	return r;
}

static bool is_time(const struct timespec *want, const struct timespec *now)
{
	return want->tv_nsec == UTIME_OMIT ||
	       (want->tv_sec == now->tv_sec && want->tv_nsec == now->tv_nsec);
}

/* Was anything of it otherwise before? Access times are not always known. */
static bool set_is_news(const struct setting *k)
{
	const struct stat *want = k->want, *was = &k->before;
	const struct timespec *mtime = &k->times[1];

	return ((k->what & MIRROR_SET_UID) && was->st_uid != want->st_uid) ||
	       ((k->what & MIRROR_SET_GID) && was->st_gid != want->st_gid) ||
	       ((k->what & MIRROR_SET_MODE) &&
		((was->st_mode ^ want->st_mode) & 07777)) ||
	       !is_time(mtime, &was->st_mtim);
}

/* What looks the same before and after is not known to be done. Nor is a change
 * of owner that takes set-id bits along. */
static int set_look(struct mirror *m, unsigned int slot, void *arg)
{
	const struct setting *k = arg;
	const struct stat *want = k->want;
	struct stat now;
	int r = node_stat_on(m, k->n, slot, 0, &now);

	if (r)
		return r;
	if (!set_is_news(k) || ((k->what & SET_OWNER) &&
				(k->before.st_mode & (S_ISUID | S_ISGID))))
		return -EIO;
	if (((k->what & MIRROR_SET_UID) && now.st_uid != want->st_uid) ||
	    ((k->what & MIRROR_SET_GID) && now.st_gid != want->st_gid) ||
	    ((k->what & MIRROR_SET_MODE) &&
	     (now.st_mode & 07777) != (want->st_mode & 07777)))
		return HALF_NOT_DONE;
	return is_time(&k->times[0], &now.st_atim) &&
			       is_time(&k->times[1], &now.st_mtim)
		       ? HALF_DONE
		       : HALF_NOT_DONE;
}

static void times_fill(struct setting *k)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	k->times[0] = k->times[1] = (struct timespec){.tv_nsec = UTIME_OMIT};
	if (k->what & MIRROR_SET_ATIME)
		k->times[0] = k->want->st_atim;
	if (k->what & MIRROR_SET_MTIME)
		k->times[1] = k->want->st_mtim;
	if (k->what & MIRROR_SET_ATIME_NOW)
		k->times[0] = now;
	if (k->what & MIRROR_SET_MTIME_NOW)
		k->times[1] = now;
}

/*
 * The kernel tells a modification time again whenever the change time moves,
 * with a rename for one.  If the stores have it, or get it with the checkpoint
 * that is due for this node anyway, there is nothing to do but to remember it,
 * unless that time is all that somebody changed.
 */
static bool is_told_again(struct mirror *m, const struct setting *k)
{
	if ((k->what & ~(MIRROR_SET_MTIME | MIRROR_SET_CTIME)) ||
	    !node_kernel_times(m, k->n))
		return false;
	if ((k->what & MIRROR_SET_MTIME) &&
	    (k->want->st_mtim.tv_sec != k->before.st_mtim.tv_sec ||
	     k->want->st_mtim.tv_nsec != k->before.st_mtim.tv_nsec))
		return false;
	return !(k->what & MIRROR_SET_CTIME) ||
	       !node_ctime_is_news(k->n, &k->want->st_ctim);
}

/* What is there before, as far as it will be changed. */
static int set_before(struct mirror *m, struct setting *k)
{
	bool known = atomic_load(&m->kernel_times) &&
		     node_mtime_get(k->n, &k->before.st_mtim);

	if (known && !(k->what & ~(MIRROR_SET_MTIME | MIRROR_SET_CTIME)))
		return 0;
	return node_stat(m, k->n, known ? STORE_STAT_NO_TIMES : 0, &k->before);
}

int attr_change(struct op *op, struct node *n, slot_fn fn, slot_fn undo,
		slot_fn look, void *arg, const char *what)
{
	int r = op_number(op, 1);

	if (!r)
		r = op_arm_attr(op, n);
	if (r)
		return r;
	r = fan_change(op, fn, undo, n, arg, what);
	if (look)
		r = settle_change(op, look, arg, what, r);
	FAULT_POINT("mirror.attr.done");
	node_ctime_tried(op->m, n, r);
	dirty_attr(op, n);
	return r;
}

static int set_change(struct op *op, struct setting *k)
{
	int r;

	if (k->times[1].tv_nsec == UTIME_OMIT)
		return attr_change(op, k->n, set_slot, set_undo, set_look, k,
				   "attributes");
	node_mtime_giving(k->n);
	r = attr_change(op, k->n, set_slot, set_undo, set_look, k,
			"attributes");
	if (!r)
		node_mtime_set(op->m, k->n, &k->times[1], 0);
	node_mtime_given(k->n, &k->times[1], !r);
	return r;
}

static int setattr_locked(struct op *op, struct setting *k)
{
	unsigned int other = MIRROR_SET_MODE | MIRROR_SET_UID | MIRROR_SET_GID |
			     MIRROR_SET_ATIME | MIRROR_SET_MTIME |
			     MIRROR_SET_ATIME_NOW | MIRROR_SET_MTIME_NOW |
			     MIRROR_SET_CTIME;
	struct range_hold hold;
	bool held;
	int r;

	if (!(k->what & other))
		return 0;
	if (k->n->kind == META_SYMLINK)
		k->what &= ~MIRROR_SET_MODE;
	r = set_before(op->m, k);
	if (r)
		return r;
	if (is_told_again(op->m, k)) {
		if (k->what & MIRROR_SET_MTIME)
			node_mtime_set(op->m, k->n, &k->want->st_mtim, 0);
		return 0;
	}
	times_fill(k);
	if (!(k->what & (SET_OWNER | MIRROR_SET_MODE)))
		return set_change(op, k);
	/* The one takes capabilities away, the other sets set-id bits. */
	node_caps_lock(k->n, &hold, &held);
	atomic_store(&k->n->no_privs, false);
	r = set_change(op, k);
	node_caps_unlock(k->n, &hold, held);
	return r;
}

int mirror_setattr(struct mirror *m, uint64_t node, const struct stat *want,
		   unsigned int what, struct stat *ret_st)
{
	struct setting k = {.want = want, .what = what};
	struct op op = {0};
	int r = node_get(m, node, &k.n);

	if (r)
		return r == -ENOENT ? -ESTALE : r;
	if (what & MIRROR_SET_SIZE)
		r = mirror_truncate(m, k.n, (uint64_t)want->st_size,
				    what & KILLS);
	if (!r && (what & ~(MIRROR_SET_SIZE | KILLS))) {
		r = op_enter(m, &op);
		if (!r) {
			mutex_lock(&k.n->lock);
			r = setattr_locked(&op, &k);
			if (!r && (what & MIRROR_SET_CTIME)) {
				node_ctime_told(m, k.n, &want->st_ctim);
				dirty_ctime(m, k.n);
			}
			mutex_unlock(&k.n->lock);
		}
		r = op_end(&op, r);
	}
	if (!r)
		r = node_stat(m, k.n, node_stat_want(m, k.n), ret_st);
	node_put(m, k.n);
	return r;
}

/* ---- extended attributes ---- */

static const char acl[] = "system.posix_acl_access";

struct xattr {
	struct node *n;
	const char *name;
	const void *value;
	void *buf;
	size_t len;
	int flags;
	ssize_t got;
	ssize_t had; /* length of the value before; < 0: none */
	char *before;
	mode_t mode; /* an ACL is a part of it */
};

static int getx_slot(struct mirror *m, unsigned int slot, void *arg)
{
	struct xattr *k = arg;
	struct store *s = m->slot[slot].store;
	struct node_handle h;
	int r = node_handle_get(m, k->n, slot, &h);

	if (r)
		return r;
	k->got = k->name ? store_getxattr(s, h.obj, k->name, k->buf, k->len)
			 : store_listxattr(s, h.obj, k->buf, k->len);
	node_handle_put(m, &h);
	return k->got < 0 ? (int)k->got : 0;
}

static int setx_slot(struct mirror *m, unsigned int slot, void *arg)
{
	const struct xattr *k = arg;
	struct store *s = m->slot[slot].store;
	struct node_handle h;
	int r = FAULT_ERR("mirror.xattr");

	if (!r)
		r = node_handle_get(m, k->n, slot, &h);
	if (r)
		return r;
	r = k->value ? store_setxattr(s, h.obj, k->name, k->value, k->len,
				      k->flags)
		     : store_removexattr(s, h.obj, k->name);
	node_handle_put(m, &h);
	return r;
}

static int setx_undo(struct mirror *m, unsigned int slot, void *arg)
{
	const struct xattr *k = arg;
	struct store *s = m->slot[slot].store;
	struct node_handle h;
	int r = node_handle_get(m, k->n, slot, &h);

	if (r)
		return r;
	r = k->had >= 0 ? store_setxattr(s, h.obj, k->name, k->before,
					 (size_t)k->had, 0)
			: store_removexattr(s, h.obj, k->name);
	if (r == -ENODATA)
		r = 0;
	if (!r && !strcmp(k->name, acl))
		r = store_chmod(s, h.obj, k->mode & 07777);
	node_handle_put(m, &h);
	return r;
}

/* An ACL that says no more than a mode is one from then on. True: @ret, its
 * permissions. */
static bool acl_is_mode(const struct xattr *k, mode_t *ret)
{
	struct posix_acl_xattr_header head;
	struct posix_acl_xattr_entry e;
	const char *at = k->value;
	unsigned int seen = 0, shift;

	if (!k->value || strcmp(k->name, acl) != 0 ||
	    k->len != sizeof(head) + 3 * sizeof(e))
		return false;
	memcpy(&head, at, sizeof(head));
	if (le32toh(head.a_version) != POSIX_ACL_XATTR_VERSION)
		return false;
	*ret = 0;
	at += sizeof(head);
	for (int i = 0; i < 3; i++, at += sizeof(e)) {
		memcpy(&e, at, sizeof(e));
		switch (le16toh(e.e_tag)) {
		case ACL_USER_OBJ:
			shift = 6;
			break;
		case ACL_GROUP_OBJ:
			shift = 3;
			break;
		case ACL_OTHER:
			shift = 0;
			break;
		default:
			return false;
		}
		seen |= 1u << shift;
		*ret |= (mode_t)(le16toh(e.e_perm) & 7) << shift;
	}
	return seen == (1u << 6 | 1u << 3 | 1u);
}

static bool setx_is_news(const struct xattr *k)
{
	mode_t mode;

	if (!k->value)
		return k->had >= 0;
	if (k->had < 0 && acl_is_mode(k, &mode))
		return (k->mode & 0777) != mode;
	return k->had < 0 || (size_t)k->had != k->len ||
	       memcmp(k->before, k->value, k->len) != 0;
}

/* There is none now. */
static int setx_look_none(struct mirror *m, unsigned int slot,
			  const struct xattr *k)
{
	struct stat st;
	mode_t mode;
	int r;

	if (!k->value)
		return HALF_DONE;
	if (!acl_is_mode(k, &mode))
		return HALF_NOT_DONE;
	r = node_stat_on(m, k->n, slot, STORE_STAT_NO_TIMES, &st);
	if (r)
		return r;
	if ((st.st_mode & 0777) == mode)
		return HALF_DONE;
	return k->had < 0 ? HALF_NOT_DONE : -EIO;
}

/* As set_look(): of what was so before nothing is known. */
static int setx_look(struct mirror *m, unsigned int slot, void *arg)
{
	const struct xattr *k = arg;
	struct xattr now = {.n = k->n, .name = k->name, .len = XATTR_SIZE_MAX};
	_cleanup_free_ char *buf = malloc(XATTR_SIZE_MAX);
	int r;

	if (!setx_is_news(k))
		return -EIO;
	if (!buf)
		return -ENOMEM;
	now.buf = buf;
	r = getx_slot(m, slot, &now);
	if (r == -ENODATA)
		return setx_look_none(m, slot, k);
	if (r)
		return r;
	return k->value && (size_t)now.got == k->len &&
			       !memcmp(buf, k->value, k->len)
		       ? HALF_DONE
		       : HALF_NOT_DONE;
}

/* The value before, to be put back where another store has no room. */
static int setx_remember(struct mirror *m, struct xattr *k)
{
	struct xattr ask = {.n = k->n, .name = k->name, .len = XATTR_SIZE_MAX};
	struct stat st;
	int r = node_stat(m, k->n, STORE_STAT_NO_TIMES, &st);

	if (r)
		return r;
	k->mode = st.st_mode;
	k->before = ask.buf = malloc(XATTR_SIZE_MAX);
	if (!ask.buf)
		return -ENOMEM;
	r = fan_ask(m, getx_slot, k->n, &ask, "xattr");
	k->had = r ? -1 : ask.got;
	/* Else the change itself will say what is wrong. */
	return r && !err_is_answer(r) ? r : 0;
}

static int setx_locked(struct op *op, struct xattr *k)
{
	struct range_hold hold;
	bool held = false;
	int r;

	if (is_capability(k->name))
		node_caps_lock(k->n, &hold, &held);
	r = setx_remember(op->m, k);
	if (!r) {
		atomic_store(&k->n->no_privs, false);
		r = attr_change(op, k->n, setx_slot, setx_undo, setx_look, k,
				"xattr");
	}
	node_caps_unlock(k->n, &hold, held);
	free(k->before);
	return r;
}

static int xattr_change(struct mirror *m, uint64_t node, struct xattr *k)
{
	struct op op = {0};
	int r = node_get(m, node, &k->n);

	if (r)
		return r == -ENOENT ? -ESTALE : r;
	r = k->value ? op_enter_room(m, &op, k->len) : op_enter(m, &op);
	if (!r) {
		mutex_lock(&k->n->lock);
		r = setx_locked(&op, k);
		mutex_unlock(&k->n->lock);
	}
	r = op_end(&op, r);
	node_put(m, k->n);
	return r;
}

int mirror_setxattr(struct mirror *m, uint64_t node, const char *name,
		    const void *value, size_t len, int flags)
{
	struct xattr k = {.name = name,
			  .value = value ? value : "",
			  .len = len,
			  .flags = flags};

	return xattr_change(m, node, &k);
}

int mirror_removexattr(struct mirror *m, uint64_t node, const char *name)
{
	struct xattr k = {.name = name};

	return xattr_change(m, node, &k);
}

static ssize_t xattr_ask(struct mirror *m, uint64_t node, struct xattr *k)
{
	int r = node_get(m, node, &k->n);

	if (r)
		return r == -ENOENT ? -ESTALE : r;
	r = fan_ask(m, getx_slot, k->n, k, "xattr");
	node_put(m, k->n);
	return r ? r : k->got;
}

ssize_t mirror_getxattr(struct mirror *m, uint64_t node, const char *name,
			void *buf, size_t len)
{
	struct xattr k = {.name = name, .buf = buf, .len = len};
	struct node *n;
	bool none;

	/* The kernel asks for it before the first write to each file. */
	if (is_capability(name)) {
		n = node_peek(m, node);
		none = n && atomic_load(&n->no_privs);
		node_put(m, n);
		if (none)
			return -ENODATA;
	}
	return xattr_ask(m, node, &k);
}

ssize_t mirror_listxattr(struct mirror *m, uint64_t node, char *buf, size_t len)
{
	struct xattr k = {.buf = buf, .len = len};

	return xattr_ask(m, node, &k);
}

/* ---- readlink ---- */

struct link_ask {
	struct node *n;
	char *buf;
	size_t len;
};

static int readlink_slot(struct mirror *m, unsigned int slot, void *arg)
{
	const struct link_ask *k = arg;
	struct store *s = m->slot[slot].store;
	struct node_handle h;
	ssize_t got;
	int r = node_handle_get(m, k->n, slot, &h);

	if (r)
		return r;
	/* readlinkat(2): an empty name means the O_PATH descriptor itself */
	got = store_readlink(s, h.obj.fd, "", k->buf, k->len);
	node_handle_put(m, &h);
	return (int)got;
}

ssize_t mirror_readlink(struct mirror *m, uint64_t node, char *buf, size_t len)
{
	struct link_ask k = {.buf = buf, .len = len};
	int r = node_get(m, node, &k.n);

	if (r)
		return r == -ENOENT ? -ESTALE : r;
	r = k.n->kind == META_SYMLINK
		    ? fan_ask(m, readlink_slot, k.n, &k, "readlink")
		    : -EINVAL;
	node_put(m, k.n);
	return r;
}
