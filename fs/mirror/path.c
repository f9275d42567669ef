/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way down to a node.  A directory is opened by its name in the one above
 * it, which must be open before; a tree may be deeper than the stack, so this
 * goes step by step and not by recursion.
 */
#include "fs/mirror/internal.h"

#include <errno.h>

#include "fs/mirror/nameless.h"

#define PATH_TRIES 3u

struct path {
	VEC(struct node *) dirs; /* referenced; the highest last */
};

static bool fd_is_open(struct mirror *m, struct node *n, unsigned int i)
{
	bool is_open;

	mutex_lock(&m->fds);
	is_open = node_place(n, i)->fd >= 0;
	mutex_unlock(&m->fds);
	return is_open;
}

/* The directories above @n, up to one that has a descriptor. */
static int path_collect(struct mirror *m, struct node *n, unsigned int i,
			struct path *path)
{
	char name[META_NAME_MAX + 1];

	while (n != m->root) {
		struct node *parent;
		int r = node_name_get(m, n, &parent, name);

		if (!r && !path->dirs.count && fd_is_open(m, parent, i)) {
			node_put(m, parent);
			return 0; /* as nearly always */
		}
		if (!r) {
			r = vec_push(&path->dirs, parent);
			if (r)
				node_put(m, parent);
		}
		if (r)
			return r;
		n = parent;
		if (fd_is_open(m, n, i))
			break;
	}
	return 0;
}

/* Its node and those above it stay in memory for a while. */
static void dir_remember(struct mirror *m, struct node *dir)
{
	struct node *old;

	mutex_lock(&m->table);
	dir->refs++;
	m->recent_at = (m->recent_at + 1) % ARRAY_SIZE(m->recent);
	old = m->recent[m->recent_at];
	m->recent[m->recent_at] = dir;
	mutex_unlock(&m->table);
	node_put(m, old);
}

/* From the top down, each while the one before is pinned. */
static int path_walk(struct mirror *m, struct node *n, unsigned int i)
{
	struct path path = {0};
	struct node *pinned = NULL;
	int fd, r = path_collect(m, n, i, &path);

	for (size_t k = path.dirs.count; !r && k-- > 0;) {
		struct node *dir = path.dirs.data[k];

		r = node_fd_get(m, dir, i, false, &fd);
		if (pinned)
			node_fd_put(m, pinned, i);
		pinned = r ? NULL : dir;
	}
	if (pinned)
		node_fd_put(m, pinned, i);
	if (!r && path.dirs.count)
		dir_remember(m, path.dirs.data[0]);
	vec_for_each (dir, &path.dirs)
		node_put(m, *dir);
	vec_done(&path.dirs);
	return r;
}

int path_open(struct mirror *m, struct node *n, unsigned int i)
{
	int r = 0;

	/* Directories may be moved meanwhile, and where they were removed. */
	for (unsigned int tries = 0; tries < PATH_TRIES; tries++) {
		r = path_walk(m, n, i);
		if (r != -ENOENT && r != -ESTALE && r != -ENODE_ELSEWHERE)
			break;
	}
	return r;
}
