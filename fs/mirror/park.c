/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nodes without a name, when there are more of them than descriptors.
 *
 * Such a node lives in a descriptor on each store, which costs nothing but a
 * descriptor.  Where these would run short, files that lose their last name get
 * one in limbo/ instead, linked there before: STORE_GONE and the node's id.
 * Their descriptors are opened and closed like any others.  The link goes with
 * the kernel's FORGET, when the store leaves in good order, and when the volume
 * is closed; after a crash, recovery and laps remove what they find.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "base/vec.h"
#include "fs/mirror/nameless.h"

void park_name(const struct node *n, char name[PARK_NAME_LEN])
{
	(void)snprintf(name, PARK_NAME_LEN, STORE_GONE "%llu",
		       (unsigned long long)n->id);
}

bool park_wanted(struct mirror *m, slot_mask slots)
{
	unsigned int count;

	mutex_lock(&m->table);
	count = m->nameless;
	mutex_unlock(&m->table);
	return (uint64_t)count * (unsigned int)__builtin_popcount(slots) >=
	       m->fd_limit / 2;
}

bool is_parked(struct mirror *m, struct node *n, unsigned int i)
{
	bool parked;

	mutex_lock(&m->fds);
	parked = node_place(n, i)->parked;
	mutex_unlock(&m->fds);
	return parked;
}

void set_parked(struct mirror *m, struct node *n, unsigned int i, bool parked)
{
	mutex_lock(&m->fds);
	node_place(n, i)->parked = parked;
	mutex_unlock(&m->fds);
}

void park(struct mirror *m, struct node *n, unsigned int i, int dirfd,
	  const char *name)
{
	struct store *s = m->slot[i].store;
	char gone[PARK_NAME_LEN];

	park_name(n, gone);
	/* Where it cannot be linked it keeps its descriptor. */
	if (!store_link(s, dirfd, name, store_limbo_fd(s), gone))
		set_parked(m, n, i, true);
}

/* True: it was. What stays is removed by the next lap or recovery. */
static bool unpark_on(struct mirror *m, struct node *n, unsigned int i,
		      struct store *s)
{
	char gone[PARK_NAME_LEN];

	if (!is_parked(m, n, i))
		return false;
	set_parked(m, n, i, false);
	park_name(n, gone);
	ignore_result(store_unlink(s, store_limbo_fd(s), gone));
	return true;
}

void unpark(struct mirror *m, struct node *n, unsigned int i)
{
	struct mirror_ref ref;

	if (!is_parked(m, n, i) || mirror_ref_get_now(m, i, &ref))
		return;
	(void)unpark_on(m, n, i, ref.store);
	mirror_ref_put(m, &ref);
}

void unpark_all(struct mirror *m, struct node *n)
{
	for (unsigned int i = 0; n->unlinked && i < node_place_count(n); i++)
		unpark(m, n, i);
}

static bool unpark_slot_on(struct mirror *m, unsigned int i, struct store *s)
{
	VEC(struct node *) parked = {0};
	struct node *n, *tmp;
	bool any = false;

	mutex_lock(&m->table);
	HASH_ITER (by_id, m->nodes, n, tmp)
		if (n->unlinked && !vec_push(&parked, n))
			n->refs++;
	mutex_unlock(&m->table);
	vec_for_each (p, &parked) {
		any |= unpark_on(m, *p, i, s);
		node_put(m, *p);
	}
	vec_done(&parked);
	return any;
}

void unpark_slot(struct mirror *m, unsigned int i)
{
	struct mirror_ref ref;

	if (mirror_ref_get_now(m, i, &ref))
		return;
	(void)unpark_slot_on(m, i, ref.store);
	mirror_ref_put(m, &ref);
}

void unpark_left(struct mirror *m, unsigned int i)
{
	struct store *s = m->slot[i].store;

	if (unpark_slot_on(m, i, s))
		ignore_result(store_syncfs(s));
}

int park_open(struct mirror *m, struct node *n, unsigned int i, int flags,
	      int *ret_fd)
{
	struct store *s = m->slot[i].store;
	char gone[PARK_NAME_LEN];
	int fd;

	if (!is_parked(m, n, i))
		return -ENODE_ELSEWHERE;
	park_name(n, gone);
	fd = store_openat(s, store_limbo_fd(s), gone, flags);
	if (fd == -EACCES)
		fd = store_openat_forced(s, store_limbo_fd(s), gone, flags);
	if (fd == -EROFS && (flags & O_ACCMODE) == O_RDWR)
		fd = store_openat(s, store_limbo_fd(s), gone, flags & ~O_RDWR);
	if (fd == -ENOENT)
		return -ENODE_ELSEWHERE;
	if (fd < 0)
		return fd;
	*ret_fd = fd;
	return 0;
}
