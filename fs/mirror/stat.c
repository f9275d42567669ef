/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attributes as the application sees them: the lead's, with the node id as
 * inode number.
 */
#include "fs/mirror/times.h"

#include <errno.h>
#include <string.h>

bool name_is_private(const struct mirror *m, const struct node *parent,
		     const char *name)
{
	return parent == m->root && !strcmp(name, STORE_PRIVATE);
}

int name_check(const char *name)
{
	size_t len = strlen(name);

	if (!len)
		return -ENOENT;
	return len > META_NAME_MAX ? -ENAMETOOLONG : 0;
}

void stat_dress(struct mirror *m, struct node *n, struct stat *st)
{
	st->st_ino = n->id;
	if (n->unlinked)
		st->st_nlink = 0; /* parked: one in limbo */
	(void)node_mtime_get(n, &st->st_mtim);
	if (n == m->root && st->st_nlink > 2)
		st->st_nlink--; /* the private directory's ".." */
}

/* By descriptor if there is one: 1 done, 0 there is none, -errno. */
static int stat_by_fd(struct mirror *m, struct node *n, unsigned int i,
		      unsigned int want, struct store_stat *st)
{
	struct node_place *p = node_place(n, i);
	bool have;
	int fd = -1, r;

	mutex_lock(&m->fds);
	have = p->fd >= 0;
	mutex_unlock(&m->fds);
	if (!have && !node_is_unlinked(m, n) && n != m->root)
		return 0;
	r = node_fd_get(m, n, i, true, &fd);
	if (r)
		return r;
	r = store_fstat(m->slot[i].store, fd, want, st);
	node_fd_put(m, n, i);
	return r ? r : 1;
}

static int stat_by_name(struct mirror *m, struct node *n, unsigned int i,
			unsigned int want, struct store_stat *st)
{
	char name[META_NAME_MAX + 1];
	struct meta_backing known;
	struct node *parent;
	int dirfd, r;

	r = node_name_get(m, n, &parent, name);
	if (r)
		return r;
	r = node_fd_get(m, parent, i, false, &dirfd);
	if (!r) {
		r = store_statat(m->slot[i].store, dirfd, name, want, st);
		node_fd_put(m, parent, i);
	}
	if (!r)
		r = node_backing_load(m, n, i, &known);
	if (!r && known.ino != st->st.st_ino)
		r = -ESTALE;
	node_put(m, parent);
	return r;
}

int node_stat_on(struct mirror *m, struct node *n, unsigned int i,
		 unsigned int want, struct stat *ret_st)
{
	struct store_stat st;
	int fd, r;

	r = stat_by_fd(m, n, i, want, &st);
	if (!r) {
		r = stat_by_name(m, n, i, want, &st);
		if (r == -ENOENT || r == -ESTALE || r == -ENOTDIR ||
		    r == -EACCES) {
			/* It moved, or its identity is not known yet. */
			r = node_fd_get(m, n, i, true, &fd);
			if (r)
				return r;
			r = store_fstat(m->slot[i].store, fd, want, &st);
			node_fd_put(m, n, i);
		}
	}
	if (r < 0)
		return r;
	*ret_st = st.st;
	return 0;
}

struct stat_ask {
	struct node *n;
	unsigned int want;
	struct stat st;
};

static int stat_slot(struct mirror *m, unsigned int slot, void *arg)
{
	struct stat_ask *a = arg;
	int r = node_stat_on(m, a->n, slot, a->want, &a->st);

	if (!r && !(a->want & STORE_STAT_NO_TIMES))
		node_ctime_show(m, a->n, slot, &a->st);
	return r;
}

int node_stat(struct mirror *m, struct node *n, unsigned int want,
	      struct stat *ret_st)
{
	struct stat_ask a = {.n = n, .want = want};
	int r = fan_ask(m, stat_slot, n, &a, "stat");

	if (r)
		return r;
	stat_dress(m, n, &a.st);
	*ret_st = a.st;
	return 0;
}

unsigned int node_stat_want(struct mirror *m, const struct node *n)
{
	return atomic_load(&m->kernel_times) && n->kind == META_FILE
		       ? STORE_STAT_NO_TIMES
		       : 0;
}

int mirror_getattr(struct mirror *m, uint64_t node, struct stat *ret_st)
{
	struct node *n;
	int r = node_get(m, node, &n);

	if (r)
		return r == -ENOENT ? -ESTALE : r;
	r = node_stat(m, n, node_stat_want(m, n), ret_st);
	node_put(m, n);
	return r;
}

static int statvfs_slot(struct mirror *m, unsigned int slot, void *arg)
{
	return store_statvfs(m->slot[slot].store, arg);
}

/* What every store can take: the least of all that answer in time. */
static int statvfs_least(struct mirror *m, struct statvfs *ret,
			 uint64_t wait_ms)
{
	slot_mask pin = slots_pin(m, NULL);
	struct statvfs v, least = {0};
	bool first = true;
	int r = -EIO;

	for_each_slot(i, pin)
	{
		struct guard_hurry before = guard_hurry_begin(wait_ms);
		int err = statvfs_slot(m, i, &v);
		unsigned long unit;

		(void)guard_hurry_end(before);
		if (err) {
			r = first ? err : r;
			continue;
		}
		unit = v.f_frsize ? v.f_frsize : 1;
		if (first)
			least = v;
		if (first || (uint64_t)v.f_bavail * unit <
				     (uint64_t)ret->f_bavail * ret->f_frsize)
			*ret = v;
		least.f_files = MIN(least.f_files, v.f_files);
		least.f_ffree = MIN(least.f_ffree, v.f_ffree);
		least.f_favail = MIN(least.f_favail, v.f_favail);
		first = false;
		r = 0;
	}
	slots_unpin(m, pin);
	if (r)
		return r;
	ret->f_files = least.f_files;
	ret->f_ffree = least.f_ffree;
	ret->f_favail = least.f_favail;
	ret->f_namemax = META_NAME_MAX;
	return 0;
}

int mirror_statvfs(struct mirror *m, struct statvfs *ret)
{
	int r = statvfs_least(m, ret, hurry_ms(m));

	return r == -ETIME ? statvfs_least(m, ret, 0) : r;
}
