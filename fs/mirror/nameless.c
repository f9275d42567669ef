/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nodes without a name on a store that comes back.
 *
 * A file that was removed while programs have it open lies nowhere but in the
 * descriptors of the stores that were online then, and no lap brings it along.
 * The store that returns gets a copy, which has no name either, before it
 * joins: whoever leaves after that takes nothing along.
 *
 * Twice: first while applications go on, all of it; what changes meanwhile is
 * remembered (node.since) and copied again when everybody is held, with the
 * attributes.  What is removed in between is copied then.
 *
 * A copy that cannot be had, for want of room or descriptors, does not keep
 * the store away: all that has a name is safer with it.  But then a
 * store that alone has such a node is not detached (nameless_only_on()).
 */
#include "fs/mirror/nameless.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/log.h"

/* So much is copied between two looks at whether to go on. */
#define SLICE_BYTES ((uint64_t)16 << 20)

struct giving {
	struct mirror *m;
	const struct mirror_giving *how;
	struct store *store;
	unsigned int from; /* a slot that has the node at hand */
	unsigned int lost; /* how many could not be copied */
	int why;	   /* the last of them */
};

struct node_list {
	VEC(struct node *) v;
};

/* Those that the kernel may still ask for, with a reference each. */
static int nameless_list(struct mirror *m, struct node_list *ret)
{
	struct node *n, *tmp;
	int r = 0;

	mutex_lock(&m->table);
	HASH_ITER (by_id, m->nodes, n, tmp) {
		if (r || !n->unlinked || !n->nlookup)
			continue;
		r = vec_push(&ret->v, n);
		if (!r)
			n->refs++;
	}
	mutex_unlock(&m->table);
	return r;
}

static void nameless_put(struct mirror *m, struct node_list *list)
{
	vec_for_each (n, &list->v)
		node_put(m, *n);
	vec_done(&list->v);
}

static bool place_has(struct mirror *m, struct node *n, unsigned int i)
{
	bool has;

	mutex_lock(&m->fds);
	has = (node_place(n, i)->fd >= 0 || node_place(n, i)->parked) &&
	      !node_place(n, i)->lost;
	mutex_unlock(&m->fds);
	return has;
}

static bool place_lost(struct mirror *m, struct node *n, unsigned int i)
{
	bool lost;

	mutex_lock(&m->fds);
	lost = node_place(n, i)->lost;
	mutex_unlock(&m->fds);
	return lost;
}

/* One that is being forgotten loses its places one after the other. */
static bool is_known(struct mirror *m, const struct node *n)
{
	bool known;

	mutex_lock(&m->table);
	known = n->nlookup;
	mutex_unlock(&m->table);
	return known;
}

/* ---- what changes meanwhile ---- */

void nameless_changed(struct node *n, uint64_t start, uint64_t end)
{
	struct range r =
		range_align_out((struct range){start, end}, META_BLOCK);

	if (!n->unlinked)
		return;
	mutex_lock(&n->ranges);
	/* Who cannot note it has all of it copied again. */
	if (n->watched && range_set_add(&n->since, r))
		n->watched = false;
	mutex_unlock(&n->ranges);
}

static void watch_begin(struct node *n)
{
	mutex_lock(&n->ranges);
	range_set_clear(&n->since);
	n->watched = true;
	mutex_unlock(&n->ranges);
}

/* What changed since; false: that is not known. */
static bool watch_take(struct node *n, struct range_set *ret)
{
	bool known;

	mutex_lock(&n->ranges);
	known = n->watched;
	*ret = n->since;
	range_set_init(&n->since);
	n->watched = true;
	mutex_unlock(&n->ranges);
	return known;
}

static void watch_end(struct node *n)
{
	mutex_lock(&n->ranges);
	range_set_done(&n->since);
	range_set_init(&n->since);
	n->watched = false;
	mutex_unlock(&n->ranges);
}

/* ---- making: in limbo, which is empty now ---- */

static int make_link(struct giving *g, const char *name, int from_fd)
{
	char target[PATH_MAX];
	ssize_t len = store_readlink(g->m->slot[g->from].store, from_fd, "",
				     target, sizeof(target) - 1);

	if (len < 0)
		return (int)len;
	target[len] = '\0';
	return store_symlink(g->store, store_limbo_fd(g->store), name, target,
			     NULL);
}

static int limbo_remove(struct giving *g, const struct node *n,
			const char *name)
{
	int dir = store_limbo_fd(g->store);

	return n->kind == META_DIR ? store_rmdir(g->store, dir, name)
				   : store_unlink(g->store, dir, name);
}

/* A descriptor such as node_fd_get() gives. */
static int make_named(struct giving *g, const struct node *n, const char *name,
		      int from_fd)
{
	int dir = store_limbo_fd(g->store), r;
	struct store_stat st;

	r = store_fstat(g->m->slot[g->from].store, from_fd, 0, &st);
	if (r)
		return r;
	if (n->kind == META_FILE)
		return store_create(g->store, dir, name, 0600, NULL);
	if (n->kind == META_DIR)
		r = store_mkdir(g->store, dir, name, 0700, NULL);
	else if (n->kind == META_SYMLINK)
		r = make_link(g, name, from_fd);
	else
		r = store_mknod(g->store, dir, name,
				(st.st.st_mode & S_IFMT) | 0600, st.st.st_rdev,
				NULL);
	if (r)
		return r;
	r = store_openat(g->store, dir, name,
			 n->kind == META_DIR ? O_RDONLY | O_DIRECTORY : O_PATH);
	if (r < 0)
		ignore_result(limbo_remove(g, n, name));
	return r;
}

/* @parked: it keeps that name, and needs no descriptor. */
static int make_nameless(struct giving *g, struct node *n, int from_fd,
			 bool parked)
{
	char name[PARK_NAME_LEN];
	int fd, r = 0;

	if (parked && n->kind == META_DIR)
		return -EMFILE;
	park_name(n, name);
	fd = make_named(g, n, name, from_fd);
	if (fd < 0)
		return fd;
	FAULT_POINT("mirror.nameless.made");
	if (parked)
		set_parked(g->m, n, g->how->slot, true);
	else
		r = limbo_remove(g, n, name);
	if (r) {
		/* It was refused once; the name would stay until the next crash. */
		ignore_result(limbo_remove(g, n, name));
		close_fd(&fd);
		return r;
	}
	node_fd_adopt(g->m, n, g->how->slot, fd);
	return 0;
}

/* ---- copying ---- */

static int copy_range(struct giving *g, struct node *n, struct range r)
{
	const struct mirror_giving *how = g->how;
	struct stat st;
	int err = 0;

	for (uint64_t at = r.start; !err && at < r.end;) {
		struct range slice = {at, r.end};

		err = node_stat_on(g->m, n, g->from, STORE_STAT_NO_TIMES, &st);
		if (err)
			break;
		/* Behind the end there is one hole, whatever its length. */
		if (at < (uint64_t)st.st_size)
			slice.end = MIN(r.end, at + SLICE_BYTES);
		err = data_copy_state(g->m, n, g->from, how->slot, slice);
		if (!err && how->should_stop(how->arg))
			err = -ECANCELED;
		at = slice.end;
	}
	return err;
}

static int copy_contents(struct giving *g, struct node *n, bool fresh)
{
	const struct range all = {0, META_RANGE_MAX}, none = {0, 0};
	struct range_set since;
	int r;

	if (fresh)
		return copy_range(g, n, all);
	if (!watch_take(n, &since)) {
		range_set_done(&since);
		return copy_range(g, n, all);
	}
	r = data_copy_state(g->m, n, g->from, g->how->slot, none); /* size */
	range_set_for_each (hit, &since)
		if (!r)
			r = copy_range(g, n, *hit);
	range_set_done(&since);
	return r;
}

static int copy_attrs(struct giving *g, struct node *n)
{
	struct store *s = g->m->slot[g->from].store;
	struct node_handle from, to;
	int r = node_handle_get(g->m, n, g->from, &from);

	if (r)
		return r;
	r = node_handle_get(g->m, n, g->how->slot, &to);
	if (!r) {
		r = store_copy_attrs(s, from.obj, g->store, to.obj, NULL);
		node_handle_put(g->m, &to);
	}
	node_handle_put(g->m, &from);
	return r < 0 ? r : 0;
}

/* There must be some left for what has a name. */
static bool fds_short(struct mirror *m)
{
	bool is_short;

	mutex_lock(&m->fds);
	is_short = m->fd_count >= m->fd_limit - m->fd_limit / 4;
	mutex_unlock(&m->fds);
	return is_short;
}

static int give_from(struct giving *g, struct node *n, int from_fd)
{
	bool fresh = !place_has(g->m, n, g->how->slot);
	int r = 0;

	if (fresh) {
		watch_begin(n); /* before the first look at it */
		r = make_nameless(g, n, from_fd, fds_short(g->m));
	}
	FAULT_POINT("mirror.nameless.copy");
	if (!r && n->kind == META_FILE)
		r = copy_contents(g, n, fresh);
	return r ? r : copy_attrs(g, n);
}

/* 0 also where nobody has it, or wants it, any more: then nothing is lost. */
static int give_one(struct giving *g, struct node *n, slot_mask mask)
{
	unsigned int order[META_STORE_MAX];
	unsigned int count = fan_order(g->m, mask, order);
	int r = 0;

	for (unsigned int k = 0; k < count; k++) {
		int fd;

		g->from = order[k];
		if (node_fd_get(g->m, n, g->from, n->kind != META_FILE, &fd))
			continue;
		r = give_from(g, n, fd);
		node_fd_put(g->m, n, g->from);
		break;
	}
	if (g->how->held || r)
		watch_end(n);
	if (!r || r == -ECANCELED)
		return r;
	/* Not tried again while everybody waits. */
	node_fd_drop(g->m, n, g->how->slot);
	node_fd_lose(g->m, n, g->how->slot);
	if (store_error_is_fatal(r))
		return r;
	if (!is_known(g->m, n))
		return 0;
	g->lost++;
	g->why = r;
	return 0;
}

int mirror_nameless_give(struct mirror *m, const struct mirror_giving *how)
{
	struct giving g = {.m = m, .how = how};
	struct node_list list = {0};
	struct mirror_ref ref;
	slot_mask pin;
	int r = mirror_ref_get_now(m, how->slot, &ref);

	if (r)
		return r;
	g.store = ref.store;
	pin = slots_pin(m, NULL);
	r = nameless_list(m, &list);
	vec_for_each (n, &list.v) {
		if (r)
			break;
		if (!how->held || !place_lost(m, *n, how->slot))
			r = give_one(&g, *n, pin);
	}
	nameless_put(m, &list);
	slots_unpin(m, pin);
	if (g.lost)
		log_warn("store %s: %u open files without a name could not be "
			 "copied to it: %s",
			 m->slot[how->slot].row.name, g.lost, strerror(-g.why));
	mirror_ref_put(m, &ref);
	return r;
}

bool nameless_only_on(struct mirror *m, unsigned int slot, slot_mask online)
{
	struct node_list list = {0};
	bool only = nameless_list(m, &list) != 0;

	FAULT_POINT("mirror.nameless.listed");
	vec_for_each (n, &list.v) {
		bool elsewhere = false;

		if (only || !place_has(m, *n, slot))
			continue;
		for_each_slot(i, online & ~SLOT_BIT(slot))
			elsewhere = elsewhere || place_has(m, *n, i);
		only = !elsewhere && is_known(m, *n);
	}
	nameless_put(m, &list);
	return only;
}
