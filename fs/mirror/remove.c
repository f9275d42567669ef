/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unlink and rmdir.  A node whose last name goes while the kernel still knows
 * it keeps its descriptors (an O_PATH one will do) until it is forgotten: the
 * kernel told us nothing about opens.  When the removal is durable everywhere
 * it concerns this mount alone: no seq, no intent, no map.  Until then a power
 * loss may bring the name back, on one store or on all.
 */
#include "fs/mirror/internal.h"

#include <errno.h>
#include <fcntl.h>

#include "base/fault.h"
#include "fs/mirror/nameless.h"
#include "fs/mirror/room.h"
#include "fs/mirror/times.h"

struct removal {
	struct node *parent;
	const char *name;
	struct node *n;
	bool dir;
	bool park;
};

static int remove_slot(struct mirror *m, unsigned int slot, void *arg)
{
	const struct removal *k = arg;
	struct store *s = m->slot[slot].store;
	int dirfd, r = FAULT_ERR("mirror.remove");

	if (!r)
		r = node_fd_get(m, k->parent, slot, false, &dirfd);
	if (r)
		return r;
	r = name_leads_to(m, slot, dirfd, k->name, k->n);
	if (r) {
		node_fd_put(m, k->parent, slot);
		return r;
	}
	if (k->park)
		park(m, k->n, slot, dirfd, k->name);
	r = k->dir ? store_rmdir(s, dirfd, k->name)
		   : store_unlink(s, dirfd, k->name);
	if (r && k->park)
		unpark(m, k->n, slot);
	node_fd_put(m, k->parent, slot);
	return r;
}

static int remove_look(struct mirror *m, unsigned int slot, void *arg)
{
	const struct removal *k = arg;
	int now = name_now(m, slot, k->parent, k->name, k->n);

	switch (now) {
	case NAME_ABSENT:
		return HALF_DONE;
	case NAME_OF_IT:
		return HALF_NOT_DONE;
	default:
		return now < 0 ? now : -ESTALE;
	}
}

void removal_note(struct op *op, struct node *n, struct node *parent,
		  const char *name, bool last)
{
	node_name_drop(op->m, n, parent, name);
	if (last)
		node_set_unlinked(op->m, n, op->gen);
}

/*
 * A link count above 1 says nothing: somebody may have a hard link outside of the
 * tree, and the map must not keep a node that no name leads to. Names of a node
 * come and go under the kernel's lock of it, and are put to the feed before.
 */
int name_is_last(struct mirror *m, struct node *n, bool *ret_last)
{
	bool several = false;
	struct stat st;
	int r = node_stat(m, n, STORE_STAT_NO_TIMES, &st);

	if (!r && st.st_nlink > 1)
		r = map_ask_several(m, n, &several);
	if (!r)
		*ret_last = !several;
	return r;
}

static int remove_locked(struct op *op, struct removal *k)
{
	struct mirror *m = op->m;
	slot_mask pinned = 0;
	bool last = true;
	int r;

	if (k->parent->kind != META_DIR)
		return -ENOTDIR;
	r = node_child(m, k->parent, k->name, &k->n);
	if (r)
		return r;
	if (k->dir != (k->n->kind == META_DIR))
		return k->dir ? -ENOTDIR : -EISDIR;
	if (!k->dir)
		r = name_is_last(m, k->n, &last);
	if (!r)
		r = op_number(op, 1);
	if (!r)
		r = op_arm_name(op, k->parent);
	if (!r && last) /* pinned until memory knows that they must stay */
		r = node_fds_pin(m, k->n, op_slots(op), true, &pinned);
	if (r)
		return r;
	k->park = last && !k->dir && park_wanted(m, op_slots(op));
	move_begin(m, k->n, NULL);
	r = fan_change(op, remove_slot, NULL, k->parent, k, "remove");
	r = settle_names(op, remove_look, k, "remove", r);
	FAULT_POINT("mirror.remove.done");
	feed_node_raise(op, k->parent, op->seq);
	node_ctime_tried(m, k->parent, r);
	dirty_attr(op, k->parent);
	if (!last) {
		node_ctime_tried(m, k->n, r);
		dirty_ctime(m, k->n);
	}
	if (!r) {
		feed_unnamed(op, k->parent, k->name, k->n, last);
		FAULT_POINT("mirror.remove.fed");
		removal_note(op, k->n, k->parent, k->name, last);
	}
	move_end(m, k->n, NULL);
	node_fds_unpin(m, k->n, pinned);
	return r;
}

static int remove_name(struct mirror *m, uint64_t parent, struct removal *k)
{
	struct op op;
	int r = name_check(k->name);

	if (r)
		return r;
	r = node_get(m, parent, &k->parent);
	if (r)
		return r == -ENOENT ? -ESTALE : r;
	if (name_is_private(m, k->parent, k->name)) {
		node_put(m, k->parent);
		return -ENOENT;
	}
	r = op_enter(m, &op);
	if (!r) {
		mutex_lock(&k->parent->lock);
		r = remove_locked(&op, k);
		mutex_unlock(&k->parent->lock);
	}
	r = op_end(&op, r);
	if (!r)
		room_freed(m);
	node_put(m, k->n);
	node_put(m, k->parent);
	return r;
}

int mirror_unlink(struct mirror *m, uint64_t parent, const char *name)
{
	struct removal k = {.name = name};

	return remove_name(m, parent, &k);
}

int mirror_rmdir(struct mirror *m, uint64_t parent, const char *name)
{
	struct removal k = {.name = name, .dir = true};

	return remove_name(m, parent, &k);
}
