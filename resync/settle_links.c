/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A copy whose hard links became files of their own (rsync without -H, cp -r).
 *
 * Its map says that these names are one node. Found by path, the node would be
 * the file under one of them, and the next write would leave the others behind
 * on this store alone. So they become one file again, which costs nothing where
 * the files are equal; one that is not goes to found/.
 *
 * Ref: rsync(1), --hard-links
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/range.h"
#include "base/text.h"
#include "base/vec.h"
#include "resync/map_path.h"
#include "resync/side.h"

#define LINKS_BUFFER ((size_t)64 * 1024)
#define LINKS_TARGET 4096u
#define PATH_QUOTED  4200
#define ASIDE_MAX    100u

/* Names that have the same. */
struct version {
	size_t name; /* the first of them */
	size_t count;
	struct timespec mtime; /* the oldest */
};

/* In limbo/: a link that is about to take over a name, or a note. */
struct aside {
	char name[ASIDE_MAX];
};

struct links {
	const struct resync_side *side;
	struct meta_reader *rd;
	char *buffer; /* 2 * LINKS_BUFFER */
	uint64_t made;
	VEC(struct aside) aside; /* left in limbo/ */
	bool gone_too; /* files that lost their last name among them */

	/* The node that is looked at. */
	struct meta_node row;
	VEC(struct meta_dentry) names; /* in the order in which it is found */
	VEC(struct version) versions;  /* what lies there, where it was asked */
};

/* A name of it, and what lies there. */
struct link_place {
	const struct meta_dentry *d;
	int dirfd; /* owned */
	struct store_stat st;
};

static void place_done(struct link_place *p)
{
	close_fd(&p->dirfd);
}
#define _cleanup_place_ _cleanup_(place_done)

/* What is hidden cannot be made one with the rest. 0: it is not there at all. */
static int look_hidden(struct links *l, const struct meta_dentry *d)
{
	_cleanup_free_ char *path = NULL;
	char quoted[PATH_QUOTED];
	int r = side_is_hidden(l->side, l->rd, d->parent);

	if (r <= 0)
		return r;
	r = map_path(l->rd, d, &path);
	if (r < 0)
		return r;
	log_err("another filesystem is mounted over a hard link of a copy, "
		"unmount it: store=%s name=%s",
		store_path(l->side->store),
		path_quote(quoted, sizeof(quoted), r ? path : d->name));
	return -EXDEV;
}

/* 1: the node; 0: something else, or nothing that proves anything. */
static int place_look(struct links *l, const struct meta_dentry *d,
		      struct link_place *p)
{
	int r;

	p->d = d;
	if (side_is_unproved(l->side, d->parent, &l->row))
		return 0;
	p->dirfd = side_open_dir(l->side, l->rd, d->parent);
	if (p->dirfd < 0)
		return p->dirfd == -ENOENT || p->dirfd == -ESTALE
			       ? look_hidden(l, d)
			       : p->dirfd;
	r = side_stat_entry(l->side, p->dirfd, d->name, &l->row, &p->st);
	return r == -ENOENT ? 0 : r;
}

/* ---- are they equal? ---- */

static ssize_t read_target(const struct store *s, const struct link_place *p,
			   char *ret)
{
	_cleanup_close_ int fd =
		store_openat_forced(s, p->dirfd, p->d->name, O_PATH);

	return fd < 0 ? fd : store_readlink(s, fd, "", ret, LINKS_TARGET);
}

static int same_target(struct links *l, const struct link_place *a,
		       const struct link_place *b)
{
	const struct store *s = l->side->store;
	char *other = l->buffer + LINKS_TARGET;
	ssize_t len = read_target(s, a, l->buffer);
	ssize_t r = len < 0 ? len : read_target(s, b, other);

	if (r < 0)
		return (int)r;
	return r == len && !memcmp(l->buffer, other, (size_t)len);
}

/* Where anything is mapped at or behind @at: of the two, what begins first. What
 * lies before that is a hole in both. 1, 0 nowhere, -errno. */
static int next_of_either(const struct store *s, int fd, int other_fd,
			  uint64_t at, struct range *ret)
{
	struct range other;
	int r = store_next_mapped(s, fd, at, &ret->start, &ret->end);
	int found = r < 0 ? r
			  : store_next_mapped(s, other_fd, at, &other.start,
					      &other.end);

	if (found < 0)
		return found;
	if (found && (!r || other.start < ret->start))
		*ret = other;
	return r || found;
}

/* 1 equal, 0 not, -errno. Behind the end both have nothing. */
static int same_range(struct links *l, int fd, int other_fd, struct range at)
{
	const struct store *s = l->side->store;
	char *other = l->buffer + LINKS_BUFFER;

	while (at.start < at.end) {
		size_t want = (size_t)MIN(range_len(at), LINKS_BUFFER);
		ssize_t len = store_read(s, fd, l->buffer, want, at.start);
		ssize_t r = len < 0 ? len
				    : store_read(s, other_fd, other, want,
						 at.start);

		if (r < 0)
			return (int)r;
		if (r != len || memcmp(l->buffer, other, (size_t)len) != 0)
			return 0;
		if (!len)
			return 1;
		at.start += (uint64_t)len;
		if (side_poll(l->side))
			return -ECANCELED;
	}
	return 1;
}

/* Of two files of one size. A hole may be far larger than any disk. */
static int same_contents(struct links *l, const struct link_place *a,
			 const struct link_place *b)
{
	const struct store *s = l->side->store;
	_cleanup_close_ int fd =
		store_openat_forced(s, a->dirfd, a->d->name, O_RDONLY);
	_cleanup_close_ int other_fd = -1;
	struct range hit = {0};
	int r;

	if (fd < 0)
		return fd;
	other_fd = store_openat_forced(s, b->dirfd, b->d->name, O_RDONLY);
	if (other_fd < 0)
		return other_fd;
	while ((r = next_of_either(s, fd, other_fd, hit.end, &hit)) > 0) {
		r = same_range(l, fd, other_fd, hit);
		if (r <= 0)
			return r;
	}
	return r < 0 ? r : 1;
}

static int is_same(struct links *l, const struct link_place *a,
		   const struct link_place *b)
{
	if (S_ISLNK(a->st.st.st_mode))
		return same_target(l, a, b);
	if (!S_ISREG(a->st.st.st_mode))
		return a->st.st.st_rdev == b->st.st.st_rdev;
	return a->st.st.st_size == b->st.st.st_size ? same_contents(l, a, b)
						    : 0;
}

/* ---- one again ---- */

/* By one that was cut before it had taken over the name. */
static bool is_kept(const struct store *s, const struct link_place *p,
		    const char *name)
{
	struct store_stat st;

	return !store_statat(s, store_found_fd(s), name, 0, &st) &&
	       st.st.st_dev == p->st.st.st_dev &&
	       st.st.st_ino == p->st.st.st_ino;
}

/* Under a further name: its own is taken over, and at no time free. */
static int keep_other(struct links *l, const struct link_place *p)
{
	const struct store *s = l->side->store;
	char quoted[4 * META_NAME_MAX + 4];
	char to[META_NAME_MAX + 1];
	int r = -EEXIST;

	for (unsigned int i = 0; r == -EEXIST; i++) {
		(void)snprintf(to, sizeof(to), "link-%.200s-%u", p->d->name, i);
		r = store_link(s, p->dirfd, p->d->name, store_found_fd(s), to);
		if (r == -EEXIST && is_kept(s, p, to))
			return 0;
	}
	if (!r)
		log_warn("a copy of a hard link that differs, kept in found: "
			 "store=%s name=%s as=%s",
			 store_path(s),
			 path_quote(quoted, sizeof(quoted), p->d->name), to);
	FAULT_POINT("resync.link.kept");
	return r;
}

static int set_mtime(const struct store *s, int dirfd, struct timespec mtime)
{
	const struct store_obj dir = {dirfd, -1, NULL};
	const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, mtime};

	return store_utimens(s, dir, times);
}

/* The modification time that the directory has, for whoever comes after a crash: in
 * the name of one more link of the file that is replaced. */
static int note_put(struct links *l, const struct link_place *p,
		    struct timespec mtime, char note[static ASIDE_MAX])
{
	const struct store *s = l->side->store;

	(void)snprintf(note, ASIDE_MAX,
		       STORE_LINK "%" PRIu64 "-%" PRIu64 "-%" PRIu64 "-%ld",
		       l->row.id, p->d->parent, (uint64_t)mtime.tv_sec,
		       mtime.tv_nsec);
	return store_link(s, p->dirfd, p->d->name, store_limbo_fd(s), note);
}

static bool note_read(const char *name, uint64_t *ret_dir,
		      struct timespec *ret_mtime)
{
	uint64_t sec;
	int end = 0;

	if (sscanf(name, STORE_LINK "%*[0-9]-%" SCNu64 "-%" SCNu64 "-%ld%n",
		   ret_dir, &sec, &ret_mtime->tv_nsec, &end) != 3 ||
	    name[end])
		return false;
	ret_mtime->tv_sec = (time_t)sec;
	return true;
}

/* The name leads to one of the two at any time. */
static int link_again(struct links *l, const struct link_place *first,
		      const struct link_place *p)
{
	const struct store *s = l->side->store;
	struct store_stat before;
	char aside[ASIDE_MAX], note[ASIDE_MAX];
	int r = store_fstat(s, p->dirfd, 0, &before);

	if (!r)
		r = l->versions.count == 1 || is_same(l, first, p);
	if (r == 0)
		r = keep_other(l, p);
	if (r < 0)
		return r;
	(void)snprintf(aside, sizeof(aside), STORE_LINK "%" PRIu64, l->row.id);
	r = note_put(l, p, before.st.st_mtim, note);
	if (!r)
		r = store_link(s, first->dirfd, first->d->name,
			       store_limbo_fd(s), aside);
	FAULT_POINT("resync.link.aside");
	if (!r)
		r = store_rename(s, store_limbo_fd(s), aside, p->dirfd,
				 p->d->name, 0);
	if (r)
		return r;
	l->made++;
	r = set_mtime(s, p->dirfd, before.st.st_mtim);
	return r ? r : store_unlink(s, store_limbo_fd(s), note);
}

static int links_names(struct links *l, uint64_t node)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_dentry d;
	int r = meta_node_get(l->rd, node, &l->row);

	vec_clear(&l->names);
	if (r || l->row.kind == META_DIR)
		return r == -ENOENT ? 0 : r;
	r = meta_iter_names(l->rd, node, &it);
	while (r == 0 && (r = meta_next_dentry(&it, &d)) > 0)
		r = d.parent == META_LIMBO_ID ? 0 : vec_push(&l->names, d);
	return r;
}

/* The name under which the node is found. 1, 0: none. */
static int links_first(struct links *l, struct link_place *ret_first)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < l->names.count; i++) {
		close_fd(&ret_first->dirfd);
		r = place_look(l, &l->names.data[i], ret_first);
	}
	if (r > 0)
		l->row.backing = (struct meta_backing){ret_first->st.st.st_ino,
						       ret_first->st.gen};
	return r;
}

/* In a directory in doubt another file may have been given the name, and is no
 * copy of this one. */
static bool is_lost_link(const struct links *l, const struct link_place *p)
{
	const struct meta_node unknown = {0};

	return meta_kind_of(p->st.st.st_mode) == l->row.kind &&
	       !side_is_unproved(l->side, p->d->parent, &unknown);
}

static bool is_older(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec != b->tv_sec ? a->tv_sec < b->tv_sec
				      : a->tv_nsec < b->tv_nsec;
}

/* Which version lies at @p? Return: its index, or their count: a new one. */
static int version_find(struct links *l, const struct link_place *p)
{
	for (size_t i = 0; i < l->versions.count; i++) {
		const struct version *v = &l->versions.data[i];
		_cleanup_place_ struct link_place known = {.dirfd = -1};
		int r = place_look(l, &l->names.data[v->name], &known);

		if (r >= 0)
			r = is_same(l, &known, p);
		if (r)
			return r < 0 ? r : (int)i;
	}
	return (int)l->versions.count;
}

static int version_add(struct links *l, size_t name, const struct link_place *p,
		       int at)
{
	const struct version one = {name, 1, p->st.st.st_mtim};
	struct version *v;

	if ((size_t)at == l->versions.count)
		return vec_push(&l->versions, one);
	v = &l->versions.data[at];
	v->count++;
	if (is_older(&one.mtime, &v->mtime))
		v->mtime = one.mtime;
	return 0;
}

static int versions_find(struct links *l, const struct link_place *first)
{
	int r = version_add(l, (size_t)(first->d - l->names.data), first, 0);

	for (size_t i = 0; r == 0 && i < l->names.count; i++) {
		_cleanup_place_ struct link_place p = {.dirfd = -1};
		const struct meta_dentry *d = &l->names.data[i];

		if (d == first->d)
			continue;
		r = place_look(l, d, &p);
		if (r > 0) /* a link of it */
			r = version_add(l, i, &p, 0);
		else if (r == 0 && is_lost_link(l, &p) &&
			 (r = version_find(l, &p)) >= 0)
			r = version_add(l, i, &p, r);
	}
	return r;
}

/* Nothing but its names says which file a node of a copy is. */
static int links_choose(struct links *l, struct link_place *first)
{
	const struct version *best;
	struct link_place p = {.dirfd = -1};
	int r = versions_find(l, first);

	if (r)
		return r;
	best = &l->versions.data[0];
	vec_for_each (v, &l->versions)
		if (v->count > best->count ||
		    (v->count == best->count &&
		     is_older(&v->mtime, &best->mtime)))
			best = v;
	if (best == l->versions.data)
		return 0;
	r = place_look(l, &l->names.data[best->name], &p);
	if (r < 0) {
		place_done(&p);
		return r;
	}
	place_done(first);
	*first = p;
	l->row.backing = (struct meta_backing){p.st.st.st_ino, p.st.gen};
	return 0;
}

static int links_node(struct links *l, uint64_t node)
{
	_cleanup_place_ struct link_place first = {.dirfd = -1};
	int r = links_names(l, node);

	vec_clear(&l->versions);
	if (!r)
		r = links_first(l, &first);
	if (r <= 0)
		return r;
	r = links_choose(l, &first);
	if (r)
		return r;
	vec_for_each (d, &l->names) {
		_cleanup_place_ struct link_place p = {.dirfd = -1};

		r = place_look(l, d, &p);
		if (r == 0 && is_lost_link(l, &p))
			r = link_again(l, &first, &p);
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- what a crash has left ---- */

bool side_is_aside(const char *limbo_name)
{
	const char *id = limbo_name + strlen(STORE_LINK);

	return !strncmp(limbo_name, STORE_LINK, strlen(STORE_LINK)) && *id &&
	       strlen(limbo_name) < ASIDE_MAX && !id[strspn(id, "0123456789-")];
}

static bool is_gone(const char *limbo_name)
{
	const char *id = limbo_name + strlen(STORE_GONE);

	return !strncmp(limbo_name, STORE_GONE, strlen(STORE_GONE)) && *id &&
	       strlen(limbo_name) < ASIDE_MAX && !id[strspn(id, "0123456789")];
}

static int aside_note(void *arg, const struct store_dirent *e)
{
	struct links *l = arg;
	struct aside a;

	if (!side_is_aside(e->name) && !(l->gone_too && is_gone(e->name)))
		return 0;
	(void)snprintf(a.name, sizeof(a.name), "%s", e->name);
	return vec_push(&l->aside, a);
}

/* 1 done, or there is nobody for it; 0: not now. */
static int note_use(struct links *l, const char *name)
{
	_cleanup_close_ int dirfd = -1;
	struct timespec mtime;
	uint64_t dir;
	int r;

	if (!note_read(name, &dir, &mtime))
		return 1;
	dirfd = side_open_dir(l->side, l->rd, dir);
	if (dirfd == -ENOENT || dirfd == -ESTALE) {
		r = side_is_hidden(l->side, l->rd, dir);
		return r < 0 ? r : !r;
	}
	r = dirfd < 0 ? dirfd : set_mtime(l->side->store, dirfd, mtime);
	return r ? r : 1;
}

/* What it is a link of has another name, or was equal to what has that name now.
 * Also of nodes for which there is nothing to make any more: nobody else would
 * remove it. */
static int aside_remove(struct links *l)
{
	const struct store *s = l->side->store;
	int r = store_list(s, store_limbo_fd(s), aside_note, l);

	vec_for_each (a, &l->aside) {
		if (r)
			break;
		r = note_use(l, a->name);
		if (r > 0)
			r = store_unlink(s, store_limbo_fd(s), a->name);
		if (r == -ENOENT)
			r = 0;
	}
	return r;
}

/* ---- where the map is lost ---- */

int side_drop_leftovers(const struct store *s)
{
	struct links l = {.gone_too = true};
	int r = store_list(s, store_limbo_fd(s), aside_note, &l);

	vec_for_each (a, &l.aside) {
		/* What cannot be removed (a directory) is none of these. */
		int err = r ? 0 : store_unlink(s, store_limbo_fd(s), a->name);

		if (err && err != -ENOENT)
			log_warn("left over, and cannot be removed: store=%s "
				 "file=" STORE_PRIVATE "/" STORE_LIMBO
				 "/%s error=%s",
				 store_path(s), a->name, strerror(-err));
	}
	vec_done(&l.aside);
	return r;
}

/* ---- all of them ---- */

/* The next node; the reader is free again. Nodes get an identity when this was
 * done for all: what lies under a name of such a one was put there since.
 * 1, 0: none. */
static int links_next(struct links *l, uint64_t *node)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	int r = meta_iter_linked(l->rd, *node, &it);

	return r ? r : meta_next_linked(&it, node);
}

int side_settle_links(const struct resync_side *side, struct meta_reader *rd)
{
	struct links l = {.side = side, .rd = rd};
	uint64_t node = 0;
	int r;

	l.buffer = malloc(2 * LINKS_BUFFER);
	if (!l.buffer)
		return -ENOMEM;
	r = aside_remove(&l);
	while (!r && (r = links_next(&l, &node)) > 0) {
		r = links_node(&l, node);
		if (!r)
			r = side_poll(side);
		if (r)
			break;
	}
	free(l.buffer);
	vec_done(&l.aside);
	vec_done(&l.names);
	vec_done(&l.versions);
	if (!r && l.made) {
		r = store_syncfs(side->store);
		log_info("hard links that the copy had lost: store=%s "
			 "made=%" PRIu64,
			 store_path(side->store), l.made);
	}
	return r;
}
