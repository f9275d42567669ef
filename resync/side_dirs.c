/* SPDX-License-Identifier: Apache-2.0 */
#include "resync/side_dirs.h"

#include <fcntl.h>

#include "base/cleanup.h"

static bool is_same(const struct meta_backing *a, const struct meta_backing *b)
{
	return a->ino == b->ino && a->gen == b->gen;
}

int side_dirs_get(const struct side_dirs *dirs, const struct meta_node *row)
{
	const struct side_dir *d = &dirs->dir[row->id % SIDE_DIRS];

	if (d->node != row->id || !row->backing.ino ||
	    !is_same(&d->backing, &row->backing))
		return -1;
	return d->fd;
}

int side_dirs_take(struct side_dirs *dirs, const struct meta_node *row, int fd)
{
	struct side_dir *d = &dirs->dir[row->id % SIDE_DIRS];

	if (d->node)
		close_fd(&d->fd);
	*d = (struct side_dir){row->id, row->backing, fd};
	return fd;
}

void side_dirs_put(struct side_dirs *dirs, const struct meta_node *row, int fd)
{
	if (side_dirs_get(dirs, row) >= 0)
		return;
	fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (fd >= 0)
		ignore_result(side_dirs_take(dirs, row, fd));
}

void side_dirs_done(struct side_dirs *dirs)
{
	for (unsigned int i = 0; i < SIDE_DIRS; i++) {
		if (dirs->dir[i].node)
			close_fd(&dirs->dir[i].fd);
		dirs->dir[i].node = 0;
	}
}
