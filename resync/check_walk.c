/* SPDX-License-Identifier: Apache-2.0 */
#include "resync/check_walk.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/vec.h"
#include "resync/side.h"

/* Directories of the way that keep their descriptor; those far above are
 * opened again by their path. */
#define WALK_FDS 32u

/* A directory on the way from the root to where the walk is. */
struct frame {
	uint64_t node;
	uint64_t after; /* subdirectories up to this number were entered */
	size_t path_len;
	int fd; /* -1: closed meanwhile */
	bool doubt;
	bool listed;
	bool shut; /* what is in it cannot be looked at */
	/* Before it was opened: where its mode had to be lifted for that, or is
	 * for what lies in it, the time moves. Zero: not known. */
	struct timespec changed;
};

/* A directory that lies in a frame's, and elsewhere in the map. */
struct moved {
	size_t depth; /* frames on the way, that one included */
	uint64_t node;
	char *name; /* owned */
};

struct walk {
	const struct check_walk *args;
	const struct store *store;
	struct meta_reader *rd;
	VEC(struct frame) way;
	VEC(struct moved) moved; /* those of the last frame are the last */
	VEC(char) path;		 /* of the last frame; ends in NUL */
	bool other_error;	 /* a callback's or the map's, not the tree's */
};

static void walk_done(struct walk *w)
{
	vec_for_each (f, &w->way)
		close_fd(&f->fd);
	vec_for_each (m, &w->moved)
		free(m->name);
	vec_done(&w->moved);
	vec_done(&w->way);
	vec_done(&w->path);
}

/* ---- paths ---- */

static int path_cut(struct walk *w, size_t len)
{
	w->path.count = len;
	return vec_push(&w->path, '\0');
}

static int path_enter(struct walk *w, size_t len, const char *name)
{
	static const char slash = '/';
	int r;

	w->path.count = len;
	r = len ? vec_splice(&w->path, len, 0, &slash, 1) : 0;
	if (r == 0)
		r = vec_splice(&w->path, w->path.count, 0, name,
			       strlen(name) + 1);
	return r;
}

/* ---- one place ---- */

/* Of one object, or of what keeps this user out of it: no reason to end. */
static bool is_unreadable(int r)
{
	return r == -EIO || r == -EACCES || r == -EPERM;
}

static bool is_match(const struct walk *w, const struct meta_node *row,
		     const struct store_stat *st)
{
	struct meta_node bare = *row;

	if (w->args->copied)
		bare.backing = (struct meta_backing){0};
	return side_matches(&bare, st);
}

/* Under a name: the map's side of @p. */
static int look_up(struct walk *w, const struct frame *here, const char *name,
		   struct meta_dentry *d, struct meta_node *row,
		   struct check_place *p)
{
	int r = meta_dentry_get(w->rd, here->node, name, strlen(name), d);

	if (r)
		return r == -ENOENT ? 0 : r;
	p->dentry = d;
	r = meta_node_get(w->rd, d->node, row);
	if (r)
		return r == -ENOENT ? 0 : r;
	p->row = row;
	return 0;
}

static int tell(struct walk *w, struct check_place *p, bool *ret_doubt)
{
	size_t len = vec_last(&w->way)->path_len;
	bool doubt = false;
	int r = path_enter(w, len, p->name);

	if (r)
		return r;
	p->path = w->path.data;
	p->doubt = vec_last(&w->way)->doubt;
	p->match = p->row && p->st && is_match(w, p->row, p->st);
	r = w->args->place(w->args->arg, p, &doubt);
	if (ret_doubt)
		*ret_doubt = doubt;
	return r ? r : path_cut(w, len);
}

/* ---- a directory ---- */

/* 1: what was found is a directory that the map has, under another name. */
static int note_moved(struct walk *w, const char *name,
		      const struct store_stat *st)
{
	struct moved m = {.depth = w->way.count};
	struct meta_node row;
	int r;

	if (w->args->copied || !S_ISDIR(st->st.st_mode))
		return 0;
	r = meta_node_find(w->rd, (struct meta_backing){st->st.st_ino, st->gen},
			   &row);
	if (r || row.kind != META_DIR || row.id == META_ROOT_ID)
		return r == -ENOENT ? 0 : r;
	m.node = row.id;
	m.name = strdup(name);
	r = m.name ? vec_push(&w->moved, m) : -ENOMEM;
	if (r)
		free(m.name);
	return r ? r : 1;
}

/* @error: it cannot be looked at, and @st says nothing. */
static int entry_tell(struct walk *w, const char *name,
		      const struct store_stat *st, int error)
{
	const struct frame *here = vec_last(&w->way);
	struct check_place p = {
		.name = name,
		.dirfd = here->fd,
		.parent = here->node,
		.error = error,
	};
	struct meta_dentry d;
	struct meta_node row;
	int r;

	if (error)
		return tell(w, &p, NULL);
	p.st = st;
	r = look_up(w, here, name, &d, &row, &p);
	if (r)
		return r;
	if (p.row && is_match(w, &row, st))
		return row.kind == META_DIR ? 0 : tell(w, &p, NULL);
	r = note_moved(w, name, st);
	if (r < 0)
		return r;
	p.moved = r;
	return tell(w, &p, NULL);
}

/* A name that the tree has. Directories that match are told when entered. */
static int walk_entry(void *arg, const struct store_dirent *e)
{
	struct walk *w = arg;
	struct store_stat st;
	int r = store_statat(w->store, vec_last(&w->way)->fd, e->name,
			     STORE_STAT_GEN, &st);

	if (r == -ENOENT)
		return 0;
	if (r && r != -EIO)
		return r;
	r = entry_tell(w, e->name, &st, r);
	w->other_error |= r != 0;
	return r;
}

/* Names that only the map has. */
static int walk_rows(struct walk *w)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	const struct frame *here = vec_last(&w->way);
	struct meta_dentry d;
	int r = meta_iter_dentries(w->rd, here->node, 0, &it);

	while (r == 0 && (r = meta_next_dentry(&it, &d)) > 0) {
		struct check_place p = {
			.name = d.name,
			.dirfd = here->fd,
			.parent = here->node,
			.dentry = &d,
		};
		struct meta_node row;
		struct store_stat st;

		r = store_statat(w->store, here->fd, d.name, 0, &st);
		if (!r || r == -EIO) { /* told by the listing */
			r = 0;
			continue;
		}
		if (r != -ENOENT && r != -EINVAL && r != -ENAMETOOLONG)
			return r;
		r = meta_node_get(w->rd, d.node, &row);
		if (r && r != -ENOENT)
			break;
		p.row = r ? NULL : &row;
		r = tell(w, &p, NULL);
	}
	w->other_error |= r != 0;
	return r;
}

static int tell_listed(struct walk *w)
{
	const struct frame *here = vec_last(&w->way);
	struct check_place p = {
		.path = w->path.data,
		.name = "",
		.dirfd = here->fd,
		.parent = 0,
		.match = true,
		.doubt = here->doubt,
	};
	struct meta_node row;
	struct store_stat st;
	int r;

	if (!w->args->listed)
		return 0;
	r = meta_node_get(w->rd, here->node, &row);
	if (!r)
		r = store_fstat(w->store, here->fd, STORE_STAT_GEN, &st);
	if (r)
		return r;
	if (here->changed.tv_sec || here->changed.tv_nsec)
		st.st.st_ctim = here->changed;
	p.row = &row;
	p.st = &st;
	return w->args->listed(w->args->arg, &p);
}

/* The last frame's directory itself. */
static int tell_shut(struct walk *w, int error)
{
	struct check_place p = {
		.path = w->path.data,
		.name = "",
		.dirfd = vec_last(&w->way)->fd,
		.error = error,
	};
	bool doubt = false;

	return w->args->place(w->args->arg, &p, &doubt);
}

static int walk_list(struct walk *w)
{
	struct frame *here = vec_last(&w->way);
	int r;

	here->listed = true;
	r = store_list(w->store, here->fd, walk_entry, w);
	if (!r)
		r = walk_rows(w);
	if (is_unreadable(r) && !w->other_error) {
		vec_last(&w->way)->shut = true;
		return tell_shut(w, r);
	}
	return r ? r : tell_listed(w);
}

/* ---- down and up ---- */

static int frame_open(struct walk *w)
{
	struct frame *here = vec_last(&w->way);
	int fd;

	if (here->fd >= 0)
		return 0;
	fd = store_open_path_forced(w->store, w->path.data,
				    O_RDONLY | O_DIRECTORY);
	if (fd < 0)
		return fd;
	here->fd = fd;
	return 0;
}

static int walk_enter(struct walk *w, uint64_t node, int fd, bool doubt,
		      const struct store_stat *before)
{
	struct frame f = {
		.node = node,
		.fd = fd,
		.path_len = strlen(w->path.data),
		.doubt = doubt,
	};
	int r;

	if (before)
		f.changed = before->st.st_ctim;
	if (w->way.count >= WALK_FDS)
		close_fd(&w->way.data[w->way.count - WALK_FDS].fd);
	r = vec_push(&w->way, f);
	if (r)
		close_fd(&fd);
	return r;
}

/* Go to the directory of the last frame's that @p is, if it can be opened. */
static int walk_go(struct walk *w, struct check_place *p, uint64_t node)
{
	const struct frame *here = vec_last(&w->way);
	_cleanup_close_ int fd = store_openat_forced(
		w->store, here->fd, p->name, O_RDONLY | O_DIRECTORY);
	bool doubt = here->doubt;
	int r;

	p->error = is_unreadable(fd) ? fd : 0;
	if (fd < 0 && !p->error)
		return fd;
	if (p->row || p->error) { /* the others are told by the listing */
		r = tell(w, p, &doubt);
		if (r || p->error)
			return r;
	}
	here = vec_last(&w->way);
	r = path_enter(w, here->path_len, p->name);
	return r ? r : walk_enter(w, node, steal_fd(&fd), doubt, p->st);
}

/* The entry @d of the last frame: if it is a directory and the node, tell it
 * and go there. */
static int walk_down(struct walk *w, const struct meta_dentry *d,
		     const struct meta_node *row)
{
	struct frame *here = vec_last(&w->way);
	struct check_place p = {
		.name = d->name,
		.dirfd = here->fd,
		.parent = here->node,
		.dentry = d,
		.row = row,
	};
	struct store_stat st;
	int r;

	r = store_statat(w->store, here->fd, d->name, STORE_STAT_GEN, &st);
	if (r == -ENOENT || r == -EIO || (!r && !is_match(w, row, &st)))
		return 0; /* told by the listing */
	if (r)
		return r;
	p.st = &st;
	return walk_go(w, &p, row->id);
}

/* 1: went to a directory of the last frame's that the map has elsewhere; 0: none
 * is left. */
static int walk_down_moved(struct walk *w)
{
	struct frame *here = vec_last(&w->way);
	struct check_place p = {.dirfd = here->fd, .parent = here->node};
	struct moved m;
	int r;

	if (!w->moved.count || vec_last(&w->moved)->depth != w->way.count)
		return 0;
	m = vec_pop(&w->moved);
	p.name = m.name;
	r = walk_go(w, &p, m.node);
	free(m.name);
	return r ? r : 1;
}

/* 1: a subdirectory to go on with; 0: none is left. */
static int next_dir(struct walk *w, struct meta_dentry *d,
		    struct meta_node *row)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct frame *here = vec_last(&w->way);
	int r = meta_iter_dentries(w->rd, here->node, here->after, &it);

	while (r == 0 && (r = meta_next_dentry(&it, d)) > 0) {
		here->after = d->cookie;
		r = meta_node_get(w->rd, d->node, row);
		if (r == 0 && row->kind == META_DIR)
			return 1;
		if (r == -ENOENT)
			r = 0;
	}
	return r;
}

/* A map may say that a directory lies below itself: files cannot. */
static int walk_step(struct walk *w)
{
	struct frame *here = vec_last(&w->way);
	struct meta_dentry d;
	struct meta_node row;
	int r = frame_open(w);

	if (r)
		return r;
	if (!here->listed)
		return walk_list(w);
	r = here->shut ? 0 : next_dir(w, &d, &row);
	if (r > 0)
		return walk_down(w, &d, &row);
	if (r == 0)
		r = walk_down_moved(w);
	if (r)
		return MIN(r, 0);
	close_fd(&here->fd);
	(void)vec_pop(&w->way);
	if (!w->way.count)
		return 0;
	return path_cut(w, vec_last(&w->way)->path_len);
}

static int walk_root(struct walk *w)
{
	struct check_place p = {.path = "", .name = ""};
	struct meta_node row;
	struct store_stat st;
	bool doubt = false;
	int fd, r;

	r = path_cut(w, 0);
	if (r)
		return r;
	fd = store_open_path(w->store, "", O_RDONLY | O_DIRECTORY);
	if (fd < 0)
		return fd;
	p.dirfd = fd;
	r = store_fstat(w->store, fd, STORE_STAT_GEN, &st);
	if (!r) {
		p.st = &st;
		r = meta_node_get(w->rd, META_ROOT_ID, &row);
	}
	if (!r)
		p.row = &row;
	if (r == -ENOENT)
		r = 0;
	p.match = p.row && row.kind == META_DIR;
	if (!r)
		r = w->args->place(w->args->arg, &p, &doubt);
	if (!r && p.match)
		return walk_enter(w, META_ROOT_ID, fd, doubt, &st);
	close_fd(&fd);
	return r;
}

int check_walk(const struct check_walk *args)
{
	_cleanup_(walk_done) struct walk w = {
		.args = args,
		.store = args->side->store,
		.rd = args->rd,
	};
	int r = walk_root(&w);

	while (!r && w.way.count)
		r = walk_step(&w);
	return r;
}
