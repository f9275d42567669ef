/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One new file, symlink or special file: made, filled, given its attributes.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "resync/fill.h"

/* The source's object, proved to be the node. */
static int source_open(struct fill_dir *fd, const struct fill_want *w)
{
	struct lap *lap = fd->lap;
	int flags = w->row.kind == META_FILE ? O_RDONLY : O_PATH;
	_cleanup_close_ int sfd = -1;
	struct store_stat st;
	int r;

	if (lap->src->live)
		return lap_source_open(lap, w->row.id, flags);
	sfd = store_openat_forced(lap->src->store, fd->sdir, w->d.name, flags);
	if (sfd < 0)
		return sfd;
	r = store_fstat(lap->src->store, sfd, STORE_STAT_GEN, &st);
	if (r < 0)
		return r;
	return side_matches(&w->row, &st) ? steal_fd(&sfd) : -ESTALE;
}

static int make_symlink(struct fill_dir *fd, const struct fill_want *w, int sfd)
{
	struct lap *lap = fd->lap;
	char text[PATH_MAX];
	ssize_t len;

	if (lap->src->live)
		len = mirror_readlink(lap->src->live, w->row.id, text,
				      sizeof(text));
	else
		len = store_readlink(lap->src->store, sfd, "", text,
				     sizeof(text));
	if (len < 0 && lap->src->live) {
		_cleanup_close_ int again =
			lap_source_open(lap, w->row.id, O_PATH);

		if (again < 0)
			return again;
	}
	if (len < 0)
		return lap_source_err(lap, (int)len);
	if ((size_t)len >= sizeof(text))
		return -ENAMETOOLONG;
	text[len] = '\0';
	return store_symlink(lap->dst->store, fd->tdir, w->d.name, text, NULL);
}

static mode_t special_mode(enum meta_kind kind)
{
	switch (kind) {
	case META_FIFO:
		return S_IFIFO | 0600;
	case META_SOCK:
		return S_IFSOCK | 0600;
	case META_CHR:
		return S_IFCHR | 0600;
	default:
		return S_IFBLK | 0600;
	}
}

/* Make the object; an fd of it, O_RDWR for a file, else O_PATH. */
static int make_once(struct fill_dir *fd, const struct fill_want *w, int sfd)
{
	struct lap *lap = fd->lap;
	struct store_stat st;
	int r;

	if (w->row.kind == META_FILE)
		return store_create(lap->dst->store, fd->tdir, w->d.name, 0600,
				    NULL);
	if (w->row.kind == META_SYMLINK) {
		r = make_symlink(fd, w, sfd);
	} else {
		r = store_fstat(lap->src->store, sfd, 0, &st);
		if (r < 0)
			return lap_source_err(lap, r);
		r = store_mknod(lap->dst->store, fd->tdir, w->d.name,
				special_mode(w->row.kind), st.st.st_rdev, NULL);
	}
	if (r < 0)
		return r;
	return store_openat_forced(lap->dst->store, fd->tdir, w->d.name,
				   O_PATH);
}

static int make(struct fill_dir *fd, const struct fill_want *w, int sfd)
{
	int tfd = make_once(fd, w, sfd);

	if (tfd != -EEXIST)
		return tfd;
	/* No row has the name: not ours. */
	tfd = limbo_found(fd->lap, fd->tdir, w->d.name);
	return tfd < 0 ? tfd : make_once(fd, w, sfd);
}

static int fill_data(struct fill_dir *fd, const struct fill_want *w, int sfd,
		     int tfd)
{
	struct lap *lap = fd->lap;
	struct store_stat st;
	uint64_t size;
	int r;

	r = store_fstat(lap->src->store, sfd, 0, &st);
	if (r < 0)
		return lap_source_err(lap, r);
	size = (uint64_t)st.st.st_size;
	for (size_t i = 0; r == 0 && i < w->extent_count; i++) {
		const struct meta_extent *e =
			&fd->extents.data[w->extent_at + i];

		r = copy_range(lap, w->row.id, sfd, tfd,
			       (struct range){e->start, e->end}, size);
		lap->filled_bytes += e->end - e->start;
	}
	if (r == 0)
		r = store_fstat(lap->dst->store, tfd, 0, &st);
	if (r == 0 && (uint64_t)st.st.st_size != size)
		r = target_resize(lap, w->row.id, tfd, size);
	return r;
}

int fill_make(struct fill_dir *fd, const struct fill_want *w,
	      struct meta_node *ret)
{
	struct lap *lap = fd->lap;
	_cleanup_close_ int sfd = source_open(fd, w);
	_cleanup_close_ int tfd = -1;
	struct store_stat st;
	int r;

	if (sfd < 0)
		return sfd;
	tfd = make(fd, w, sfd);
	if (tfd < 0)
		return misfit_new(lap, tfd, &w->d);
	r = w->row.kind == META_FILE && !w->large ? fill_data(fd, w, sfd, tfd)
						  : 0;
	if (r == 0)
		r = lap_copy_attrs(lap, &w->row, sfd, tfd, &ret->ctime);
	if (r == 0 && w->row.kind == META_FILE)
		r = lap_sync_fd(lap, tfd, false);
	if (r == 0)
		r = store_fstat(lap->dst->store, tfd, STORE_STAT_GEN, &st);
	if (r < 0)
		return r;
	ret->backing.ino = (uint64_t)st.st.st_ino;
	ret->backing.gen = st.gen;
	return 0;
}
