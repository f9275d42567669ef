/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looking names up and making new ones: lookup, create, mkdir, mknod, symlink,
 * link.  The kernel holds the directory's own lock around these, and holds the
 * inode's around link and unlink of it; node.lock orders the rest.
 */
#include "fs/mirror/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "fs/mirror/room.h"
#include "fs/mirror/times.h"

/* ---- lookup ---- */

static void entry_is(struct mirror *m, struct node *n, struct mirror_entry *ret)
{
	ret->id = n->id;
	node_remember(m, n);
}

static int entry_of(struct mirror *m, struct node *n, struct mirror_entry *ret)
{
	int r = node_stat(m, n, 0, &ret->st);

	if (r)
		return r;
	entry_is(m, n, ret);
	return 0;
}

struct probe {
	struct node *parent;
	const char *name;
};

/* Is there anything by that name? The files know best. */
static int probe_slot(struct mirror *m, unsigned int slot, void *arg)
{
	const struct probe *p = arg;
	struct store_stat st;
	int dirfd, r;

	r = node_fd_get(m, p->parent, slot, false, &dirfd);
	if (r)
		return r;
	r = store_statat(m->slot[slot].store, dirfd, p->name,
			 STORE_STAT_NO_TIMES, &st);
	node_fd_put(m, p->parent, slot);
	return r;
}

int node_child_probe(struct mirror *m, struct node *parent, const char *name,
		     struct node **ret)
{
	struct probe p = {parent, name};
	int r;

	*ret = node_child_peek(m, parent->id, name);
	if (*ret)
		return 0;
	r = fan_ask(m, probe_slot, parent, &p, "lookup");
	return r ? r : node_child(m, parent, name, ret);
}

static int lookup_in(struct mirror *m, struct node *parent, const char *name,
		     struct mirror_entry *ret)
{
	struct node *n;
	int r = node_child_probe(m, parent, name, &n);

	if (r)
		return r;
	r = entry_of(m, n, ret);
	node_put(m, n);
	return r;
}

int mirror_lookup(struct mirror *m, uint64_t parent, const char *name,
		  struct mirror_entry *ret)
{
	struct node *dir;
	int r = name_check(name);

	if (r)
		return r;
	r = node_get(m, parent, &dir);
	if (r)
		return r == -ENOENT ? -ESTALE : r;
	if (dir->kind != META_DIR)
		r = -ENOTDIR;
	else if (name_is_private(m, dir, name))
		r = -ENOENT;
	else
		r = lookup_in(m, dir, name, ret);
	node_put(m, dir);
	return r;
}

int mirror_lookup_id(struct mirror *m, uint64_t id, struct mirror_entry *ret)
{
	struct node *n;
	int r = node_get(m, id, &n);

	if (r)
		return r == -ENOENT ? -ESTALE : r;
	r = entry_of(m, n, ret);
	node_put(m, n);
	return r == -ENOENT ? -ESTALE : r;
}

/* ---- making ---- */

struct make {
	struct node *parent;
	struct node *n; /* the new one */
	const char *name;
	mode_t mode;
	dev_t rdev;
	const char *target; /* symlink */
	struct store_cred cred;
	slot_mask made;
	slot_mask first;
	struct stat st; /* as the first store that made it has it */
};

static int make_call(struct mirror *m, unsigned int slot, int dirfd,
		     const struct make *k)
{
	struct store *s = m->slot[slot].store;

	switch (k->n->kind) {
	case META_FILE:
		return store_create(s, dirfd, k->name, k->mode, &k->cred);
	case META_DIR:
		return store_mkdir(s, dirfd, k->name, k->mode, &k->cred);
	case META_SYMLINK:
		return store_symlink(s, dirfd, k->name, k->target, &k->cred);
	default:
		return store_mknod(s, dirfd, k->name, k->mode, k->rdev,
				   &k->cred);
	}
}

static void make_take_back(struct store *s, int dirfd, const struct make *k)
{
	if (k->n->kind == META_DIR)
		ignore_result(store_rmdir(s, dirfd, k->name));
	else
		ignore_result(store_unlink(s, dirfd, k->name));
}

static int make_undo(struct mirror *m, unsigned int slot, void *arg)
{
	struct make *k = arg;
	struct store *s = m->slot[slot].store;
	int dirfd, r = node_fd_get(m, k->parent, slot, false, &dirfd);

	if (r)
		return r;
	r = k->n->kind == META_DIR ? store_rmdir(s, dirfd, k->name)
				   : store_unlink(s, dirfd, k->name);
	node_fd_put(m, k->parent, slot);
	return r;
}

static unsigned int make_want(const struct make *k)
{
	return STORE_STAT_GEN |
	       (k->made ? STORE_STAT_NO_TIMES : STORE_STAT_BORN);
}

static void make_learn(struct mirror *m, unsigned int slot, struct make *k,
		       const struct store_stat *st)
{
	mutex_lock(&m->fds);
	node_place(k->n, slot)->backing =
		(struct meta_backing){.ino = st->st.st_ino, .gen = st->gen};
	mutex_unlock(&m->fds);
	if (!k->made) { /* the lead is asked first */
		k->st = st->st;
		k->first = SLOT_BIT(slot);
	}
	k->made |= SLOT_BIT(slot);
}

/* Make it and learn its identity; a file's descriptor goes to the cache. */
static int make_slot(struct mirror *m, unsigned int slot, void *arg)
{
	struct make *k = arg;
	struct store *s = m->slot[slot].store;
	unsigned int want = make_want(k);
	struct store_stat st;
	int dirfd, fd, r;

	r = FAULT_ERR("mirror.make");
	if (!r)
		r = node_fd_get(m, k->parent, slot, false, &dirfd);
	if (r)
		return r;
	fd = r = make_call(m, slot, dirfd, k);
	if (r >= 0) {
		r = k->n->kind == META_FILE
			    ? store_fstat(s, fd, want, &st)
			    : store_statat(s, dirfd, k->name, want, &st);
		if (!r)
			make_learn(m, slot, k, &st);
		if (r) /* nobody would know of it */
			make_take_back(s, dirfd, k);
		if (k->n->kind == META_FILE)
			node_fd_install(m, k->n, slot, fd);
	}
	node_fd_put(m, k->parent, slot);
	return r < 0 ? r : 0;
}

/* As the caller makes them; umask and ACLs only take permissions away. */
static bool is_callers(const struct make *k, const struct stat *st)
{
	uid_t own = geteuid();

	if (st->st_uid != (own ? own : k->cred.uid))
		return false;
	return k->n->kind == META_SYMLINK ||
	       !(st->st_mode & ~k->mode & (0777 | S_ISUID | S_ISVTX));
}

/* Could it have been made just now? Whatever had the name had been in its way. */
static bool is_as_made(const struct make *k, const struct stat *st)
{
	if (meta_kind_of(st->st_mode) != k->n->kind || !is_callers(k, st))
		return false;
	switch (k->n->kind) {
	case META_FILE:
		return !st->st_size && st->st_nlink == 1;
	case META_DIR:
		return st->st_nlink <= 2;
	case META_SYMLINK:
		return st->st_nlink == 1;
	default:
		return st->st_nlink == 1 &&
		       (st->st_rdev == k->rdev || S_ISFIFO(st->st_mode) ||
			S_ISSOCK(st->st_mode));
	}
}

/* 0; -ESTALE: it leads elsewhere. */
static int target_look(const struct store *s, int dirfd, const struct make *k)
{
	size_t len = strlen(k->target);
	_cleanup_free_ char *buf = malloc(len + 1);
	ssize_t got = buf ? store_readlink(s, dirfd, k->name, buf, len + 1)
			  : -ENOMEM;

	if (got < 0)
		return (int)got;
	return (size_t)got == len && !memcmp(buf, k->target, len) ? 0 : -ESTALE;
}

static int make_look(struct mirror *m, unsigned int slot, void *arg)
{
	struct make *k = arg;
	struct store_stat st;
	int dirfd, r = node_fd_get(m, k->parent, slot, false, &dirfd);

	if (r)
		return r == -ENOENT ? -EIO : r;
	r = store_statat(m->slot[slot].store, dirfd, k->name, make_want(k),
			 &st);
	if (r == -ENOENT) {
		node_fd_put(m, k->parent, slot);
		return HALF_NOT_DONE;
	}
	/* It may be what is not known to be there. */
	if (!r && (atomic_load(&m->by_half) || !is_as_made(k, &st.st)))
		r = -ESTALE;
	if (!r && k->n->kind == META_SYMLINK)
		r = target_look(m->slot[slot].store, dirfd, k);
	node_fd_put(m, k->parent, slot);
	if (r)
		return r;
	make_learn(m, slot, k, &st);
	return HALF_DONE;
}

static int make_numbered(struct op *op, struct make *k, enum meta_kind kind)
{
	struct mirror *m = op->m;
	uint64_t id;
	int r;

	r = op_arm_name(op, k->parent);
	if (!r)
		r = op_node_id(op, &id);
	if (!r)
		r = node_make(m, id, kind, &k->n);
	if (r)
		return r;
	r = fan_change(op, make_slot, make_undo, k->parent, k, "create");
	r = settle_names(op, make_look, k, "create", r);
	FAULT_POINT("mirror.make.done");
	/* The parent's times changed, perhaps, even where it failed. */
	feed_node_raise(op, k->parent, op->seq);
	node_ctime_tried(m, k->parent, r);
	dirty_attr(op, k->parent);
	if (r)
		return r;
	r = node_name_set(m, k->n, k->parent, k->name);
	if (r) {
		mirror_break(m, "out of memory");
		return r;
	}
	op_born(op, k->n);
	feed_born(op, k->made & op_slots(op), k->n, k->parent, k->name,
		  op->seq);
	dirty_attr(op, k->n);
	if (kind == META_FILE && !(k->st.st_mode & (S_ISUID | S_ISGID)))
		atomic_store(&k->n->no_privs, true);
	return 0;
}

/* Nothing has changed it since it was made: its name is ours. */
static void entry_made(struct mirror *m, struct make *k,
		       struct mirror_entry *ret)
{
	ret->st = k->st;
	stat_dress(m, k->n, &ret->st);
	entry_is(m, k->n, ret);
}

static int make_locked(struct op *op, struct make *k, enum meta_kind kind,
		       struct mirror_entry *ret)
{
	int r;

	if (k->parent->kind != META_DIR)
		return -ENOTDIR;
	if (node_is_unlinked(op->m, k->parent))
		return -ENOENT;
	r = op_number(op, 1);
	if (!r)
		r = make_numbered(op, k, kind);
	if (r)
		return r;
	entry_made(op->m, k, ret);
	/* what the kernel is told now */
	node_mtime_set(op->m, k->n, &ret->st.st_mtim, k->first);
	return 0;
}

/* What is not acknowledged, the kernel does not come to know. */
static int entry_end(struct op *op, int r, const struct mirror_entry *entry)
{
	int end = op_end(op, r);

	if (end && !r)
		mirror_forget(op->m, entry->id, 1);
	return end;
}

static int make(struct mirror *m, uint64_t parent, struct make *k,
		enum meta_kind kind, const struct mirror_cred *cred,
		struct mirror_entry *ret)
{
	struct op op = {0};
	int r = name_check(k->name);

	if (r)
		return r;
	k->cred = (struct store_cred){cred->uid, cred->gid, cred->umask};
	r = node_get(m, parent, &k->parent);
	if (r)
		return r == -ENOENT ? -ESTALE : r;
	if (name_is_private(m, k->parent, k->name)) {
		node_put(m, k->parent);
		return -EPERM;
	}
	r = op_enter_room(m, &op, ROOM_NAME);
	if (!r) {
		mutex_lock(&k->parent->lock);
		r = make_locked(&op, k, kind, ret);
		mutex_unlock(&k->parent->lock);
	}
	r = entry_end(&op, r, ret);
	node_put(m, k->n);
	node_put(m, k->parent);
	return r;
}

int mirror_create(struct mirror *m, uint64_t parent, const char *name,
		  mode_t mode, const struct mirror_cred *cred,
		  struct mirror_entry *ret)
{
	struct make k = {.name = name, .mode = mode & 07777};

	return make(m, parent, &k, META_FILE, cred, ret);
}

int mirror_mkdir(struct mirror *m, uint64_t parent, const char *name,
		 mode_t mode, const struct mirror_cred *cred,
		 struct mirror_entry *ret)
{
	struct make k = {.name = name, .mode = mode & 07777};

	return make(m, parent, &k, META_DIR, cred, ret);
}

int mirror_symlink(struct mirror *m, uint64_t parent, const char *name,
		   const char *target, const struct mirror_cred *cred,
		   struct mirror_entry *ret)
{
	struct make k = {.name = name, .target = target};

	return make(m, parent, &k, META_SYMLINK, cred, ret);
}

int mirror_mknod(struct mirror *m, uint64_t parent, const char *name,
		 mode_t mode, dev_t rdev, const struct mirror_cred *cred,
		 struct mirror_entry *ret)
{
	struct make k = {.name = name, .mode = mode, .rdev = rdev};

	switch (mode & S_IFMT) {
	case 0:
	case S_IFREG:
		k.mode &= 07777;
		return make(m, parent, &k, META_FILE, cred, ret);
	case S_IFIFO:
		return make(m, parent, &k, META_FIFO, cred, ret);
	case S_IFSOCK:
		return make(m, parent, &k, META_SOCK, cred, ret);
	case S_IFCHR:
		return make(m, parent, &k, META_CHR, cred, ret);
	case S_IFBLK:
		return make(m, parent, &k, META_BLK, cred, ret);
	default:
		return -EINVAL;
	}
}

/* ---- link ---- */

struct linking {
	struct node *n;
	struct node *old_parent;
	const char *old_name;
	struct node *parent;
	const char *name;
};

static int link_slot(struct mirror *m, unsigned int slot, void *arg)
{
	const struct linking *k = arg;
	int old_fd, new_fd, r;

	r = node_fd_get(m, k->old_parent, slot, false, &old_fd);
	if (r)
		return r;
	r = node_fd_get(m, k->parent, slot, false, &new_fd);
	if (!r) {
		r = store_link(m->slot[slot].store, old_fd, k->old_name, new_fd,
			       k->name);
		node_fd_put(m, k->parent, slot);
	}
	node_fd_put(m, k->old_parent, slot);
	return r;
}

static int link_undo(struct mirror *m, unsigned int slot, void *arg)
{
	const struct linking *k = arg;
	int dirfd, r = node_fd_get(m, k->parent, slot, false, &dirfd);

	if (r)
		return r;
	r = store_unlink(m->slot[slot].store, dirfd, k->name);
	node_fd_put(m, k->parent, slot);
	return r;
}

static int link_look(struct mirror *m, unsigned int slot, void *arg)
{
	const struct linking *k = arg;
	int now = name_now(m, slot, k->parent, k->name, k->n);

	switch (now) {
	case NAME_ABSENT:
		return HALF_NOT_DONE;
	case NAME_OF_IT:
		return HALF_DONE;
	default:
		return now < 0 ? now : -ESTALE;
	}
}

static int link_locked(struct op *op, struct linking *k,
		       struct mirror_entry *ret)
{
	char name[META_NAME_MAX + 1];
	struct mirror *m = op->m;
	int r;

	if (k->parent->kind != META_DIR)
		return -ENOTDIR;
	if (node_is_unlinked(m, k->parent))
		return -ENOENT;
	r = node_name_get(m, k->n, &k->old_parent, name);
	if (r)
		return r;
	k->old_name = name;
	r = op_number(op, 1);
	if (!r)
		r = op_arm_name(op, k->parent);
	if (!r) {
		r = fan_change(op, link_slot, link_undo, k->parent, k, "link");
		r = settle_names(op, link_look, k, "link", r);
		feed_node_raise(op, k->parent, op->seq);
		node_ctime_tried(m, k->parent, r);
		dirty_attr(op, k->parent);
		node_ctime_tried(m, k->n, r);
		dirty_ctime(m, k->n);
	}
	if (!r) {
		feed_named(op, k->parent, k->name, k->n, op->seq);
		r = entry_of(m, k->n, ret);
	}
	node_put(m, k->old_parent);
	return r;
}

int mirror_link(struct mirror *m, uint64_t node, uint64_t new_parent,
		const char *new_name, struct mirror_entry *ret)
{
	struct linking k = {.name = new_name};
	struct op op;
	int r = name_check(new_name);

	if (r)
		return r;
	r = node_get(m, node, &k.n);
	if (r)
		return r == -ENOENT ? -ESTALE : r;
	r = node_get(m, new_parent, &k.parent);
	if (!r && name_is_private(m, k.parent, new_name))
		r = -EPERM;
	else if (!r && k.n->kind == META_DIR)
		r = -EPERM;
	if (!r)
		r = op_enter_room(m, &op, ROOM_NAME);
	if (!r) {
		rwlock_rdlock(&m->names);
		mutex_lock(&k.parent->lock);
		r = link_locked(&op, &k, ret);
		mutex_unlock(&k.parent->lock);
		rwlock_unlock(&m->names);
		r = entry_end(&op, r, ret);
	}
	node_put(m, k.parent);
	node_put(m, k.n);
	return r;
}
