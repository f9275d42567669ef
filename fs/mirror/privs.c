/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/mirror/privs.h"

#include <errno.h>
#include <string.h>

static const char capability[] = "security.capability";

bool is_capability(const char *name)
{
	return !strcmp(name, capability);
}

/* ---- on one store ---- */

int caps_look(const struct store *s, int fd, struct caps *ret)
{
	const struct store_obj o = {.fd = fd, .dirfd = -1};

	ret->len = store_getxattr(s, o, capability, ret->value,
				  sizeof(ret->value));
	if (ret->len == -ENODATA || ret->len == -EOPNOTSUPP)
		ret->len = 0;
	return ret->len < 0 ? (int)ret->len : 0;
}

int caps_put_back(const struct store *s, int fd, const struct caps *caps)
{
	const struct store_obj o = {.fd = fd, .dirfd = -1};
	int r = caps->len ? store_setxattr(s, o, capability, caps->value,
					   (size_t)caps->len, 0)
			  : 0;

	return r == -EPERM ? 0 : r;
}

/* ---- of a node ---- */

struct caps_question {
	struct node *n;
	struct caps *caps;
};

static int caps_slot(struct mirror *m, unsigned int slot, void *arg)
{
	const struct caps_question *k = arg;
	int fd, r = node_fd_get(m, k->n, slot, false, &fd);

	if (r)
		return r;
	r = caps_look(m->slot[slot].store, fd, k->caps);
	node_fd_put(m, k->n, slot);
	return r;
}

static int caps_ask(struct mirror *m, struct node *n, struct caps *ret)
{
	struct caps_question k = {n, ret};

	return fan_ask(m, caps_slot, n, &k, "capability");
}

int node_caps_look(struct mirror *m, struct node *n, struct caps *ret)
{
	struct stat st;
	int r = caps_ask(m, n, ret);

	if (!r && !ret->len)
		r = node_stat(m, n, STORE_STAT_NO_TIMES, &st);
	if (!r && !ret->len && !(st.st_mode & (S_ISUID | S_ISGID)))
		atomic_store(&n->no_privs, true);
	return r;
}

void node_caps_lock(struct node *n, struct range_hold *hold, bool *ret_held)
{
	*ret_held = n->kind == META_FILE;
	if (*ret_held)
		range_lock(n, hold, 0, META_RANGE_MAX);
}

void node_caps_unlock(struct node *n, struct range_hold *hold, bool held)
{
	if (held)
		range_unlock(n, hold);
}

/* ---- what a writer takes away ---- */

struct dropping {
	struct node *n;
	mode_t mode;
	bool set_mode;
};

static int privs_slot(struct mirror *m, unsigned int slot, void *arg)
{
	const struct dropping *k = arg;
	struct store *s = m->slot[slot].store;
	struct node_handle h;
	int r = node_handle_get(m, k->n, slot, &h);

	if (r)
		return r;
	r = store_removexattr(s, h.obj, capability);
	if (r == -ENODATA || r == -EOPNOTSUPP || r == -EPERM)
		r = 0;
	if (!r && k->set_mode)
		r = store_chmod(s, h.obj, k->mode & 07777);
	node_handle_put(m, &h);
	return r;
}

/*
 * What write(2), truncate(2) and fallocate(2) do to set-id bits: S_ISUID goes,
 * S_ISGID where group-execute is set or the writer is not of the group, file
 * capabilities always.
 */
static int privs_drop_locked(struct op *op, struct node *n, unsigned int kill)
{
	struct dropping k = {.n = n};
	struct mirror *m = op->m;
	struct caps caps;
	struct stat st;
	int r = node_stat(m, n, STORE_STAT_NO_TIMES, &st);

	if (r)
		return r;
	k.mode = st.st_mode & ~(mode_t)S_ISUID;
	if ((st.st_mode & S_IXGRP) || (kill & MIRROR_KILL_SGID))
		k.mode &= ~(mode_t)S_ISGID;
	k.set_mode = k.mode != st.st_mode;
	r = caps_ask(m, n, &caps);
	if (!r && (caps.len || k.set_mode))
		r = attr_change(op, n, privs_slot, NULL, NULL, &k,
				"set-id bits");
	if (!r && !(k.mode & S_ISGID))
		atomic_store(&n->no_privs, true);
	return r;
}

int node_privs_drop(struct mirror *m, struct node *n, unsigned int kill)
{
	struct range_hold hold;
	struct op op;
	bool held;
	int r;

	if (atomic_load(&n->no_privs))
		return 0;
	r = op_enter(m, &op);
	if (!r) {
		mutex_lock(&n->lock);
		node_caps_lock(n, &hold, &held);
		r = privs_drop_locked(&op, n, kill);
		node_caps_unlock(n, &hold, held);
		mutex_unlock(&n->lock);
	}
	return op_end(&op, r);
}
