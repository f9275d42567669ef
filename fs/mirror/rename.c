/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rename(2) with its flags.  Both directories are locked, the lower id first;
 * renames exclude one another (mirror.names), so that the tree has no cycles
 * in any store at any time.
 *
 * With RENAME_WHITEOUT a device 0:0 takes the old name, in one call of each
 * store.  It is a node that is made, as in make.c: born under the intent of its
 * directory, with a number of its own.
 */
#include "fs/mirror/internal.h"

#include <errno.h>
#include <stdio.h>

#include "base/fault.h"
#include "fs/mirror/nameless.h"
#include "fs/mirror/room.h"
#include "fs/mirror/times.h"

struct moving {
	struct node *from, *to; /* directories */
	const char *old_name, *new_name;
	unsigned int flags;
	struct node *n;	     /* what moves */
	struct node *victim; /* what is replaced or exchanged; NULL */
	bool victim_last;
	bool park;
	slot_mask pinned; /* the victim's descriptors: it loses its last name */
	slot_mask pinned_to; /* those of another directory */
	struct node *white;  /* RENAME_WHITEOUT: what takes the old name */
	slot_mask made;	     /* who has it */
	struct store_cred cred;
};

static bool destroys(const struct moving *k)
{
	return k->victim && !(k->flags & RENAME_EXCHANGE);
}

static int rename_undo(struct mirror *m, unsigned int slot, void *arg);

/* Its identity, and without the ACL that not every filesystem gives to it. */
static int whiteout_learn(struct mirror *m, unsigned int slot, int dirfd,
			  struct moving *k)
{
	const struct store_obj o = {-1, dirfd, k->old_name};
	struct store *s = m->slot[slot].store;
	struct store_stat st;
	int r = store_removexattr(s, o, "system.posix_acl_access");

	if (r && r != -ENODATA && r != -EOPNOTSUPP)
		return r;
	r = store_statat(s, dirfd, k->old_name,
			 STORE_STAT_GEN | STORE_STAT_NO_TIMES, &st);
	if (r)
		return r;
	mutex_lock(&m->fds);
	node_place(k->white, slot)->backing =
		(struct meta_backing){.ino = st.st.st_ino, .gen = st.gen};
	mutex_unlock(&m->fds);
	k->made |= SLOT_BIT(slot);
	return 0;
}

static int rename_call(struct mirror *m, unsigned int slot, int old_fd,
		       int new_fd, struct moving *k)
{
	struct store *s = m->slot[slot].store;
	int r;

	if (!k->white)
		return store_rename(s, old_fd, k->old_name, new_fd, k->new_name,
				    k->flags);
	r = store_whiteout(s, old_fd, k->old_name, new_fd, k->new_name,
			   k->flags & RENAME_NOREPLACE, &k->cred);
	if (r)
		return r;
	r = whiteout_learn(m, slot, old_fd, k);
	/* Nobody would know of it: taken back, or the store's fault. */
	if (r && (destroys(k) || rename_undo(m, slot, k)))
		r = -EIO;
	return r;
}

/* A link that was made, and called an error, may have taken the new name: to
 * rename another name of the file to it does nothing, and succeeds. */
static int old_name_go(struct mirror *m, unsigned int slot, int old_fd,
		       int new_fd, const struct moving *k)
{
	struct store *s = m->slot[slot].store;
	struct store_stat old, now;
	int r;

	if (!atomic_load(&m->by_half) || k->victim || k->white ||
	    (k->flags & RENAME_EXCHANGE))
		return 0;
	r = store_statat(s, old_fd, k->old_name, STORE_STAT_NO_TIMES, &old);
	if (r)
		return r == -ENOENT ? 0 : r;
	r = store_statat(s, new_fd, k->new_name, STORE_STAT_NO_TIMES, &now);
	if (r || S_ISDIR(old.st.st_mode) || old.st.st_ino != now.st.st_ino)
		return r;
	return store_unlink(s, old_fd, k->old_name);
}

static int rename_slot(struct mirror *m, unsigned int slot, void *arg)
{
	struct moving *k = arg;
	int old_fd, new_fd, r = FAULT_ERR("mirror.rename");

	if (!r)
		r = node_fd_get(m, k->from, slot, false, &old_fd);
	if (r)
		return r;
	r = node_fd_get(m, k->to, slot, false, &new_fd);
	if (!r) {
		if (k->n) /* else it is taken back */
			r = name_leads_to(m, slot, old_fd, k->old_name, k->n);
		if (!r && k->victim)
			r = name_leads_to(m, slot, new_fd, k->new_name,
					  k->victim);
		if (!r && k->park)
			park(m, k->victim, slot, new_fd, k->new_name);
		if (!r)
			r = rename_call(m, slot, old_fd, new_fd, k);
		if (!r)
			r = old_name_go(m, slot, old_fd, new_fd, k);
		if (r && k->park)
			unpark(m, k->victim, slot);
		node_fd_put(m, k->to, slot);
	}
	node_fd_put(m, k->from, slot);
	return r;
}

/* Only what destroyed nothing can be taken back. */
static int rename_undo(struct mirror *m, unsigned int slot, void *arg)
{
	const struct moving *k = arg;
	struct moving back = {
		.from = k->to,
		.to = k->from,
		.old_name = k->new_name,
		.new_name = k->old_name,
		.flags = k->flags & RENAME_EXCHANGE,
	};

	int dirfd, r = 0;

	if (k->white) { /* no directory can replace it */
		r = node_fd_get(m, k->from, slot, false, &dirfd);
		if (r)
			return r;
		r = store_unlink(m->slot[slot].store, dirfd, k->old_name);
		node_fd_put(m, k->from, slot);
	}
	return r ? r : rename_slot(m, slot, &back);
}

/* A whiteout that was made is nobody's yet: that is not known as done. */
static int rename_look(struct mirror *m, unsigned int slot, void *arg)
{
	const struct moving *k = arg;
	struct node *other = k->flags & RENAME_EXCHANGE ? k->victim : k->n;
	struct node *there = k->victim ? k->victim : k->n;
	int was = name_now(m, slot, k->from, k->old_name, k->n);
	int took = name_now(m, slot, k->to, k->new_name, k->n);
	int old, new;

	if (was < 0 || took < 0)
		return MIN(was, took);
	old = name_now(m, slot, k->from, k->old_name, other);
	new = name_now(m, slot, k->to, k->new_name, there);
	if (!k->white && took == NAME_OF_IT &&
	    old == (k->flags & RENAME_EXCHANGE ? NAME_OF_IT : NAME_ABSENT))
		return HALF_DONE;
	if (was == NAME_OF_IT && new == (k->victim ? NAME_OF_IT : NAME_ABSENT))
		return HALF_NOT_DONE;
	return -ESTALE;
}

static int find_victim(struct mirror *m, struct moving *k)
{
	int r = node_child_probe(m, k->to, k->new_name, &k->victim);

	if (r == -ENOENT)
		return k->flags & RENAME_EXCHANGE ? -ENOENT : 0;
	if (r)
		return r;
	if (k->flags & (RENAME_EXCHANGE | RENAME_NOREPLACE))
		return 0;
	k->victim_last = true;
	return k->victim->kind == META_DIR
		       ? 0
		       : name_is_last(m, k->victim, &k->victim_last);
}

static int table_move(struct op *op, const struct moving *k)
{
	const struct feed_move move = {
		.n = k->n,
		.from = k->from,
		.to = k->to,
		.old_name = k->old_name,
		.new_name = k->new_name,
		.gone = k->victim_last ? k->victim : NULL,
	};
	struct mirror *m = op->m;
	int r;

	if (k->flags & RENAME_EXCHANGE) {
		feed_exchanged(op, &move, k->victim);
		node_name_drop(m, k->victim, k->to, k->new_name);
		r = node_name_set(m, k->n, k->to, k->new_name);
		if (!r)
			r = node_name_set(m, k->victim, k->from, k->old_name);
		return r;
	}
	feed_moved(op, &move);
	if (k->victim)
		removal_note(op, k->victim, k->to, k->new_name, k->victim_last);
	node_name_drop(m, k->n, k->from, k->old_name);
	return node_name_set(m, k->n, k->to, k->new_name);
}

/*
 * Exchanged across directories, some filesystems (xfs) move the times of a
 * directory that gets another "..", and others do not.
 */
static bool is_exchanged_dir(const struct moving *k, const struct node *n)
{
	return (k->flags & RENAME_EXCHANGE) && k->to != k->from &&
	       n->kind == META_DIR;
}

static int arm_exchanged(struct op *op, const struct moving *k)
{
	int r = 0;

	if (is_exchanged_dir(k, k->n))
		r = op_arm_attr(op, k->n);
	if (!r && k->victim && is_exchanged_dir(k, k->victim))
		r = op_arm_attr(op, k->victim);
	return r;
}

static void note_moved(struct op *op, const struct moving *k, struct node *n,
		       int r)
{
	node_ctime_tried(op->m, n, r);
	dirty_ctime(op->m, n);
	if (!is_exchanged_dir(k, n))
		return;
	feed_node_raise(op, n, op->seq);
	dirty_attr(op, n);
}

static int whiteout_node(struct op *op, struct moving *k)
{
	uint64_t id;
	int r;

	for_each_slot(i, op_slots(op)) if (!store_caps(op->m->slot[i].store)
						    ->whiteouts) return -EINVAL;
	r = op_node_id(op, &id);
	return r ? r : node_make(op->m, id, META_CHR, &k->white);
}

/* Behind table_move(), which took the name from what had it. */
static int whiteout_note(struct op *op, const struct moving *k)
{
	op_born(op, k->white);
	feed_born(op, k->made & op_slots(op), k->white, k->from, k->old_name,
		  op->seq + 1);
	dirty_attr(op, k->white);
	return node_name_set(op->m, k->white, k->from, k->old_name);
}

static int rename_numbered(struct op *op, struct moving *k)
{
	struct mirror *m = op->m;
	int r;

	k->park = k->victim_last && k->victim->kind != META_DIR &&
		  park_wanted(m, op_slots(op));
	move_begin(m, k->n, k->victim);
	r = fan_change(op, rename_slot, destroys(k) ? NULL : rename_undo,
		       k->from, k, "rename");
	FAULT_POINT("mirror.rename.done");
	if (k->to != k->from)
		change_in_doubt(op, k->to, r);
	r = settle_names(op, rename_look, k, "rename", r);
	if (!r && (table_move(op, k) || (k->white && whiteout_note(op, k))))
		mirror_break(m, "out of memory");
	move_end(m, k->n, k->victim);
	feed_node_raise(op, k->from, op->seq);
	node_ctime_tried(m, k->from, r);
	dirty_attr(op, k->from);
	if (k->to != k->from) {
		feed_node_raise(op, k->to, op->seq);
		node_ctime_tried(m, k->to, r);
		dirty_attr(op, k->to);
	}
	note_moved(op, k, k->n, r);
	if (k->victim)
		note_moved(op, k, k->victim, r);
	return r;
}

static int rename_locked(struct op *op, struct moving *k)
{
	struct mirror *m = op->m;
	int r;

	if (k->from->kind != META_DIR || k->to->kind != META_DIR)
		return -ENOTDIR;
	if (node_is_unlinked(m, k->from) || node_is_unlinked(m, k->to))
		return -ENOENT;
	r = node_child(m, k->from, k->old_name, &k->n);
	if (!r)
		r = find_victim(m, k);
	if (r)
		return r;
	if (k->n == k->victim && !(k->flags & RENAME_NOREPLACE))
		return 0; /* two names of one file: rename(2) does nothing */
	r = op_number(op, 2);
	if (!r && (k->flags & RENAME_WHITEOUT))
		r = whiteout_node(op, k);
	if (!r)
		r = op_arm_name(op, k->from);
	if (!r && k->to != k->from)
		r = op_arm_name(op, k->to);
	if (!r)
		r = arm_exchanged(op, k);
	if (!r && k->victim_last)
		r = node_fds_pin(m, k->victim, op_slots(op), true, &k->pinned);
	/* That of the other one fan_change() pins. */
	if (!r && k->to != k->from)
		r = node_fds_pin(m, k->to, op_slots(op), false, &k->pinned_to);
	if (!r)
		r = rename_numbered(op, k);
	node_fds_unpin(m, k->to, k->pinned_to);
	if (k->pinned)
		node_fds_unpin(m, k->victim, k->pinned);
	return r;
}

/* Which two locks is known only here: the analysis cannot follow. */
static void dirs_lock(struct moving *k) NO_THREAD_SAFETY_ANALYSIS
{
	struct node *a = k->from, *b = k->to;

	if (a->id > b->id) {
		a = k->to;
		b = k->from;
	}
	mutex_lock(&a->lock);
	if (a != b)
		mutex_lock(&b->lock);
}

static void dirs_unlock(struct moving *k) NO_THREAD_SAFETY_ANALYSIS
{
	mutex_unlock(&k->from->lock);
	if (k->to != k->from)
		mutex_unlock(&k->to->lock);
}

static int rename_named(struct mirror *m, uint64_t parent, uint64_t new_parent,
			struct moving k)
{
	const char *name = k.old_name, *new_name = k.new_name;
	struct op op = {0};
	int r = name_check(name);

	if (!r)
		r = name_check(new_name);
	if (!r)
		r = node_get(m, parent, &k.from);
	if (!r)
		r = node_get(m, new_parent, &k.to);
	if (r == -ENOENT && *name && *new_name)
		r = -ESTALE;
	if (!r && name_is_private(m, k.from, name))
		r = -ENOENT;
	else if (!r && name_is_private(m, k.to, new_name))
		r = -EPERM;
	if (!r)
		r = k.flags & RENAME_WHITEOUT ? op_enter_room(m, &op, ROOM_NAME)
					      : op_enter(m, &op);
	if (!r) {
		rwlock_wrlock(&m->names);
		dirs_lock(&k);
		r = rename_locked(&op, &k);
		dirs_unlock(&k);
		rwlock_unlock(&m->names);
	}
	r = op_end(&op, r);
	if (!r && k.victim)
		room_freed(m);
	node_put(m, k.white);
	node_put(m, k.victim);
	node_put(m, k.n);
	node_put(m, k.to);
	node_put(m, k.from);
	return r;
}

int mirror_rename(struct mirror *m, uint64_t parent, const char *name,
		  uint64_t new_parent, const char *new_name, unsigned int flags)
{
	if (flags & ~(unsigned int)(RENAME_NOREPLACE | RENAME_EXCHANGE))
		return -EINVAL;
	return rename_named(m, parent, new_parent,
			    (struct moving){.old_name = name,
					    .new_name = new_name,
					    .flags = flags});
}

int mirror_whiteout(struct mirror *m, uint64_t parent, const char *name,
		    uint64_t new_parent, const char *new_name,
		    unsigned int flags, const struct mirror_cred *cred)
{
	if (flags & ~(unsigned int)RENAME_NOREPLACE)
		return -EINVAL;
	return rename_named(
		m, parent, new_parent,
		(struct moving){.old_name = name,
				.new_name = new_name,
				.flags = flags | RENAME_WHITEOUT,
				.cred = {cred->uid, cred->gid, cred->umask}});
}
