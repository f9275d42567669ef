/* SPDX-License-Identifier: Apache-2.0 */
#include "resync/side.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/vec.h"
#include "resync/idmap.h"
#include "resync/side_dirs.h"

/* A map that says a node lies deeper than this has a circle. */
#define DEPTH_MAX 100000u
/* How many names of one node are tried before it is given up. */
#define NAMES_MAX 64u

struct path_part {
	size_t at;
	size_t len;
};

/* A path that grows at its front: the climb goes from the node to the root. */
struct path {
	VEC(char) names; /* one after the other, without slashes */
	VEC(struct path_part) parts;
	uint64_t top;  /* META_ROOT_ID or META_LIMBO_ID */
	bool unproved; /* through a directory in doubt */
};

static void path_done(struct path *p)
{
	vec_done(&p->names);
	vec_done(&p->parts);
}

bool side_matches(const struct meta_node *row, const struct store_stat *st)
{
	if (meta_kind_of(st->st.st_mode) != row->kind)
		return false;
	if (row->backing.ino == 0)
		return !store_stat_is_apart(st);
	return row->backing.ino == (uint64_t)st->st.st_ino &&
	       (row->backing.gen == 0 || row->backing.gen == st->gen);
}

static bool is_unproved(const struct resync_side *side, uint64_t dir)
{
	return side->unproved && idmap_get(side->unproved, dir);
}

bool side_is_unproved(const struct resync_side *side, uint64_t dir,
		      const struct meta_node *row)
{
	return row->backing.ino == 0 && is_unproved(side, dir);
}

int side_poll(const struct resync_side *side)
{
	return side->should_stop && side->should_stop(side->stop_arg)
		       ? -ECANCELED
		       : 0;
}

static int path_add(struct path *p, const struct meta_dentry *d)
{
	struct path_part part = {p->names.count, d->name_len};
	int r = vec_splice(&p->names, p->names.count, 0, d->name, d->name_len);

	if (r == 0)
		r = vec_push(&p->parts, part);
	return r;
}

/* From @first up to the root or limbo. */
static int path_climb(const struct resync_side *side, struct meta_reader *rd,
		      const struct meta_dentry *first, struct path *p)
{
	struct meta_dentry d = *first;
	int r;

	for (unsigned int depth = 0; depth < DEPTH_MAX; depth++) {
		r = path_add(p, &d);
		if (r < 0)
			return r;
		p->unproved = p->unproved || is_unproved(side, d.parent);
		if (d.parent == META_ROOT_ID || d.parent == META_LIMBO_ID) {
			p->top = d.parent;
			return 0;
		}
		r = meta_dentry_of(rd, d.parent, &d);
		if (r < 0)
			return r;
	}
	return -ESTALE; /* names from before and after a move: a circle */
}

static char *path_text(const struct path *p)
{
	static const char limbo[] = STORE_PRIVATE "/" STORE_LIMBO;
	size_t room = sizeof(limbo) + 1 + p->names.count + p->parts.count;
	char *text = malloc(room);
	char *at = text;

	if (!text)
		return NULL;
	if (p->top == META_LIMBO_ID)
		at = mempcpy(at, limbo, sizeof(limbo) - 1);
	for (size_t i = p->parts.count; i > 0; i--) {
		const struct path_part *part = &p->parts.data[i - 1];

		if (at != text)
			*at++ = '/';
		at = mempcpy(at, p->names.data + part->at, part->len);
	}
	*at = '\0';
	return text;
}

/* What a file server calls stale is no answer about what lies there. */
static int call_error(int r)
{
	return r == -ESTALE ? -EIO : r;
}

/* Something else lies on the way. */
static int stale_if_foreign(int r)
{
	r = call_error(r);
	return r == -ENOTDIR || r == -ELOOP || r == -EXDEV || r == -ENXIO
		       ? -ESTALE
		       : r;
}

static void part_name(const struct path *p, size_t i,
		      char ret[META_NAME_MAX + 1])
{
	const struct path_part *part = &p->parts.data[i];

	memcpy(ret, p->names.data + part->at, part->len);
	ret[part->len] = '\0';
}

/* Name by name: an ordinary user's own directories may shut him out, one in
 * another. */
static int path_open_forced(const struct resync_side *side,
			    const struct path *p, int flags)
{
	_cleanup_close_ int fd = -1;
	char name[META_NAME_MAX + 1];
	int dirfd = p->top == META_LIMBO_ID ? store_limbo_fd(side->store)
					    : store_root_fd(side->store);

	for (size_t i = p->parts.count; i > 0; i--) {
		int next;

		part_name(p, i - 1, name);
		next = store_openat_forced(side->store, dirfd, name,
					   i > 1 ? O_PATH | O_DIRECTORY
						 : flags);
		if (next < 0)
			return next;
		close_fd(&fd);
		dirfd = fd = next;
	}
	return steal_fd(&fd);
}

static int path_open(const struct resync_side *side, const struct path *p,
		     int flags)
{
	_cleanup_free_ char *text = path_text(p);
	int fd;

	if (!text)
		return -ENOMEM;
	fd = store_open_path(side->store, text, flags);
	if (fd == -EACCES)
		fd = path_open_forced(side, p, flags);
	return stale_if_foreign(fd);
}

/* Is what @fd is the node? Its identity is known then. */
static int prove(const struct resync_side *side, int fd, struct meta_node *row)
{
	struct store_stat st;
	int r = store_fstat(side->store, fd, STORE_STAT_GEN, &st);

	if (r < 0)
		return call_error(r);
	if (!side_matches(row, &st))
		return -ESTALE;
	row->backing.ino = (uint64_t)st.st.st_ino;
	row->backing.gen = st.gen;
	return 0;
}

/* The names from the nearest open directory down to one, the last one first. */
struct descent {
	struct path path;
	VEC(uint64_t) dirs;
};

static void descent_done(struct descent *way)
{
	path_done(&way->path);
	vec_done(&way->dirs);
}

/* Up from @dir: the descriptor of the nearest one, borrowed. */
static int climb_near(const struct resync_side *side, struct meta_reader *rd,
		      uint64_t dir, struct descent *way)
{
	struct meta_node row;
	struct meta_dentry d;
	int fd;

	while (dir != META_ROOT_ID && dir != META_LIMBO_ID) {
		if (meta_node_get(rd, dir, &row) || !row.backing.ino)
			return -ENOENT;
		fd = side_dirs_get(side->dirs, &row);
		if (fd >= 0)
			return fd;
		if (way->dirs.count > DEPTH_MAX ||
		    meta_dentry_of(rd, dir, &d) || path_add(&way->path, &d) ||
		    vec_push(&way->dirs, dir))
			return -ENOENT;
		dir = d.parent;
	}
	return dir == META_ROOT_ID ? store_root_fd(side->store)
				   : store_limbo_fd(side->store);
}

/* The next one down from @above, proved and kept: its descriptor, borrowed. */
static int descend(const struct resync_side *side, struct meta_reader *rd,
		   const struct descent *way, size_t i, int above)
{
	_cleanup_close_ int fd = -1;
	char name[META_NAME_MAX + 1];
	struct meta_node row;

	if (meta_node_get(rd, way->dirs.data[i], &row) || !row.backing.ino)
		return -ENOENT;
	part_name(&way->path, i, name);
	fd = store_openat(side->store, above, name, O_PATH | O_DIRECTORY);
	if (fd < 0 || prove(side, fd, &row))
		return -ENOENT;
	return side_dirs_take(side->dirs, &row, steal_fd(&fd));
}

/*
 * By way of directories that were opened a moment ago. -ENOENT where that is of
 * no use, for whatever reason: the path from the root will say it.
 */
static int open_near(const struct resync_side *side, struct meta_reader *rd,
		     const struct meta_dentry *d, int flags,
		     struct meta_node *row)
{
	_cleanup_(descent_done) struct descent way = {0};
	_cleanup_close_ int fd = -1;
	int dirfd;

	if (!side->dirs || !row->backing.ino)
		return -ENOENT;
	dirfd = climb_near(side, rd, d->parent, &way);
	for (size_t i = way.dirs.count; dirfd >= 0 && i > 0; i--)
		dirfd = descend(side, rd, &way, i - 1, dirfd);
	if (dirfd < 0)
		return -ENOENT;
	fd = store_openat(side->store, dirfd, d->name, flags);
	if (fd < 0 || prove(side, fd, row))
		return -ENOENT;
	return steal_fd(&fd);
}

/* Open under one of its names, and prove that it is the node. */
static int open_as(const struct resync_side *side, struct meta_reader *rd,
		   const struct meta_dentry *d, int flags,
		   struct meta_node *row)
{
	_cleanup_(path_done) struct path path = {0};
	_cleanup_close_ int fd = open_near(side, rd, d, flags, row);
	int r;

	if (fd >= 0)
		return steal_fd(&fd);
	r = path_climb(side, rd, d, &path);
	if (r < 0)
		return r;
	if (row->backing.ino == 0 && path.unproved)
		return -ESTALE;
	fd = path_open(side, &path, flags);
	if (fd < 0)
		return fd;
	r = prove(side, fd, row);
	if (r < 0)
		return r;
	return steal_fd(&fd);
}

static int open_root(const struct resync_side *side, int flags,
		     struct meta_node *row)
{
	_cleanup_close_ int fd = store_open_path(side->store, "", flags);
	struct store_stat st;
	int r;

	if (fd < 0)
		return call_error(fd);
	/* The store has proved itself: its root is the root. */
	r = store_fstat(side->store, fd, STORE_STAT_GEN, &st);
	if (r < 0)
		return call_error(r);
	row->backing.ino = (uint64_t)st.st.st_ino;
	row->backing.gen = st.gen;
	return steal_fd(&fd);
}

/* Any name will do; the first that holds the node is taken. */
static int open_any(const struct resync_side *side, struct meta_reader *rd,
		    int flags, struct meta_node *row)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_dentry d;
	int result = -ENOENT;
	int r;

	r = meta_iter_names(rd, row->id, &it);
	for (unsigned int i = 0; r == 0 && i < NAMES_MAX; i++) {
		int found = meta_next_dentry(&it, &d);

		if (found < 0)
			return found;
		if (found == 0)
			break;
		found = open_as(side, rd, &d, flags, row);
		if (found >= 0)
			return found;
		if (found != -ENOENT && found != -ESTALE)
			return found;
		if (result == -ENOENT)
			result = found;
	}
	return r < 0 ? r : result;
}

int side_open_node(const struct resync_side *side, struct meta_reader *rd,
		   uint64_t node, int flags, struct meta_node *ret_row)
{
	struct meta_node row;
	int fd;
	int r;

	r = meta_node_get(rd, node, &row);
	if (side->live && (r == 0 || r == -ENOENT)) {
		if (ret_row && r < 0)
			return r;
		fd = mirror_node_open(side->live, node, side->slot, flags);
	} else if (r < 0) {
		return r;
	} else if (node == META_ROOT_ID) {
		fd = open_root(side, flags, &row);
	} else {
		fd = open_any(side, rd, flags, &row);
	}
	if (fd >= 0 && side->dirs && !side->live && row.kind == META_DIR)
		side_dirs_put(side->dirs, &row, fd);
	if (fd >= 0 && ret_row)
		*ret_row = row;
	return fd;
}

int side_open_dir(const struct resync_side *side, struct meta_reader *rd,
		  uint64_t dir)
{
	const int flags = O_RDONLY | O_DIRECTORY;

	if (dir == META_LIMBO_ID) {
		int fd = fcntl(store_limbo_fd(side->store), F_DUPFD_CLOEXEC, 0);

		return fd < 0 ? -errno : fd;
	}
	return side_open_node(side, rd, dir, flags, NULL);
}

int side_is_hidden(const struct resync_side *side, struct meta_reader *rd,
		   uint64_t dir)
{
	_cleanup_(path_done) struct path path = {0};
	_cleanup_free_ char *text = NULL;
	_cleanup_close_ int fd = -1;
	struct meta_dentry d;
	struct store_stat st;
	int r;

	if (dir == META_ROOT_ID || dir == META_LIMBO_ID)
		return 0;
	r = meta_dentry_of(rd, dir, &d);
	if (!r)
		r = path_climb(side, rd, &d, &path);
	if (r)
		return r == -ENOENT || r == -ESTALE ? 0 : r;
	text = path_text(&path);
	if (!text)
		return -ENOMEM;
	fd = store_open_path(side->store, text, O_PATH);
	if (fd == -EXDEV)
		return 1;
	if (fd < 0)
		return fd == -ENOENT || stale_if_foreign(fd) == -ESTALE ? 0
									: fd;
	r = store_fstat(side->store, fd, 0, &st);
	return r < 0 ? r : st.foreign;
}

int side_stat_entry(const struct resync_side *side, int dirfd, const char *name,
		    const struct meta_node *row, struct store_stat *ret)
{
	struct store_stat st;
	int r = store_statat(side->store, dirfd, name, STORE_STAT_GEN, &st);

	if (r < 0)
		return call_error(r);
	if (ret)
		*ret = st;
	return row && side_matches(row, &st);
}

int side_open_parent(const struct resync_side *side, struct meta_reader *rd,
		     uint64_t node, struct meta_dentry *ret_dentry)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_dentry d;
	struct meta_node row;
	int result = -ENOENT;
	int r;

	r = meta_node_get(rd, node, &row);
	if (r == 0)
		r = meta_iter_names(rd, node, &it);
	if (r < 0)
		return r;
	for (unsigned int i = 0; i < NAMES_MAX; i++) {
		_cleanup_close_ int dirfd = -1;

		r = meta_next_dentry(&it, &d);
		if (r <= 0)
			return r < 0 ? r : result;
		dirfd = side_is_unproved(side, d.parent, &row)
				? -ESTALE
				: side_open_dir(side, rd, d.parent);
		r = dirfd < 0
			    ? dirfd
			    : side_stat_entry(side, dirfd, d.name, &row, NULL);
		if (r == 1) {
			*ret_dentry = d;
			return steal_fd(&dirfd);
		}
		if (r < 0 && r != -ENOENT && r != -ESTALE)
			return r;
		result = r == 0 ? -ESTALE : r;
	}
	return result;
}

/* ---- copies ---- */

int side_is_copied(const struct resync_side *side, struct meta_reader *rd)
{
	uint64_t ino, gen, known_ino, known_gen;
	int r;

	r = store_self_backing(side->store, &ino, &gen);
	if (r == 0)
		r = meta_number_get(rd, META_NUM_ROOT_INO, &known_ino);
	if (r == 0)
		r = meta_number_get(rd, META_NUM_ROOT_GEN, &known_gen);
	if (r < 0)
		return r;
	return ino != known_ino || gen != known_gen;
}

/* Are there any but those about files of a store that failed? 1, 0. */
static int is_armed(struct meta_reader *rd)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_intent in;
	int r = meta_iter_intents(rd, &it);

	while (r == 0 && (r = meta_next_intent(&it, &in)) > 0) {
		if (!meta_intent_is_doubt(&in))
			return 1;
		r = 0;
	}
	return r;
}

int side_is_unclean(struct meta_reader *rd, bool copied)
{
	uint64_t copy, clean, resyncing;
	int r = meta_number_get(rd, META_NUM_COPY, &copy);

	if (r == 0)
		r = meta_number_get(rd, META_NUM_CLEAN, &clean);
	if (r == 0)
		r = meta_number_get(rd, META_NUM_RESYNCING, &resyncing);
	if (r < 0)
		return r;
	if (copy & META_COPY_UNCLEAN)
		return 1;
	if (!copied)
		return 0;
	return clean != META_CLEAN || resyncing ? 1 : is_armed(rd);
}

int side_is_unclean_copy(const struct resync_side *side, struct meta_reader *rd)
{
	int r = side_is_copied(side, rd);

	return r < 0 ? r : side_is_unclean(rd, r > 0);
}

int side_forget_if_copied(const struct resync_side *side)
{
	uint64_t ino, gen;
	int r;

	r = meta_begin(side->meta);
	if (r < 0)
		return r;
	r = side_is_copied(side, meta_writer_view(side->meta));
	if (r <= 0)
		goto undo;
	r = store_self_backing(side->store, &ino, &gen);
	if (r == 0)
		r = meta_backing_forget_all(side->meta, ino, gen);
	if (r == 0)
		r = meta_number_set(side->meta, META_NUM_COPY, 1);
	if (r < 0)
		goto undo;
	r = meta_commit(side->meta);
	return r < 0 ? r : 1;
undo:
	meta_rollback(side->meta);
	return r;
}
