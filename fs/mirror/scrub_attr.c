/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attributes of one node on all stores.  Modification times are equal on all
 * of them after a checkpoint, so a node that waits for one is not judged.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "fs/mirror/scrub_internal.h"

struct look {
	struct store_stat st;
	uint64_t xattrs;
	char target[PATH_MAX];
	ssize_t target_len;
	struct store_caps caps; /* the store may be closed by then */
};

struct looks {
	slot_mask mask; /* whose file is the node */
	slot_mask unreadable;
	int err[META_STORE_MAX]; /* why */
	struct look look[META_STORE_MAX];
};

static int look_at(struct scan *c, struct node_handle *h, struct look *l)
{
	struct store *s = c->m->slot[h->slot].store;
	struct store_obj o = h->obj;
	int r;

	*l = (struct look){.caps = *store_caps(s)};
	r = store_fstat(s, o.fd, 0, &l->st);
	if (!r)
		r = store_xattr_hash(s, o, &l->xattrs);
	if (r || c->n->kind != META_SYMLINK)
		return r;
	l->target_len =
		store_readlink(s, o.fd, "", l->target, sizeof(l->target));
	return l->target_len < 0 ? (int)l->target_len : 0;
}

static int look_all(struct scan *c, struct looks *all)
{
	struct node_handle h;

	all->mask = all->unreadable = 0;
	for_each_slot(i, scrub_online(c))
	{
		int r = node_handle_get(c->m, c->n, i, &h);

		if (!r) {
			r = look_at(c, &h, &all->look[i]);
			node_handle_put(c->m, &h);
		}
		c->unseen |= scrub_is_gone(r);
		c->restless |= r == -ENODE_ELSEWHERE;
		if (scrub_is_answer(r))
			continue; /* its directory tells */
		if (r && store_error_is_ours(r))
			return r;
		all->mask |= SLOT_BIT(i);
		all->err[i] = r;
		if (r)
			all->unreadable |= SLOT_BIT(i);
	}
	return 0;
}

/* ---- comparing ---- */

/* What the other's filesystem cannot keep is no difference. */
static bool same_time(const struct look *a, const struct look *b)
{
	const struct timespec x = store_time_kept(&b->caps, a->st.st.st_mtim),
			      y = store_time_kept(&a->caps, b->st.st.st_mtim);

	return x.tv_sec == y.tv_sec && x.tv_nsec == y.tv_nsec;
}

static unsigned int differ(const struct scan *c, const struct look *a,
			   const struct look *b)
{
	const struct stat *x = &a->st.st, *y = &b->st.st;
	bool file = c->n->kind == META_FILE;
	unsigned int what = 0;

	if (c->n->kind != META_SYMLINK && x->st_mode != y->st_mode)
		what |= SCRUB_WHAT_MODE;
	if (x->st_uid != y->st_uid || x->st_gid != y->st_gid)
		what |= SCRUB_WHAT_OWNER;
	if (file && x->st_size != y->st_size)
		what |= SCRUB_WHAT_SIZE;
	if (!same_time(a, b))
		what |= SCRUB_WHAT_MTIME;
	if (a->xattrs != b->xattrs)
		what |= SCRUB_WHAT_XATTR;
	if (x->st_rdev != y->st_rdev || a->target_len != b->target_len ||
	    memcmp(a->target, b->target,
		   (size_t)MAX(a->target_len, (ssize_t)0)))
		what |= SCRUB_WHAT_VALUE;
	if (c->n->kind != META_DIR && x->st_nlink != y->st_nlink && !c->linked)
		what |= SCRUB_WHAT_LINKS;
	return what;
}

static unsigned int differ_any(const struct scan *c, const struct looks *all)
{
	unsigned int what = 0;
	int first = -1;

	for_each_slot(i, all->mask & ~all->unreadable)
	{
		if (first < 0)
			first = (int)i;
		what |= differ(c, &all->look[first], &all->look[i]);
	}
	return what;
}

static bool is_sound(const struct scan *c, const struct looks *all)
{
	return !all->unreadable && !differ_any(c, all);
}

/* ---- a second look ---- */

/* 1 settled and read, 0 at work, -errno. */
static int look_again(struct scan *c, struct looks *all)
{
	struct range_hold hold;
	slot_mask before;
	int r = 0;

	mutex_lock(&c->n->lock);
	range_lock(c->n, &hold, 0, META_RANGE_MAX);
	if (scrub_is_settled(c->n, (struct range){0, 0})) {
		before = scrub_online(c);
		r = look_all(c, all);
		if (!r)
			r = scrub_online(c) == before;
	}
	range_unlock(c->n, &hold);
	mutex_unlock(&c->n->lock);
	return r;
}

/* Names come and go under their directories' locks: nobody may be at work. */
static int look_held(struct scan *c, struct looks *all)
{
	int r;

	mirror_hold(c->m);
	r = look_again(c, all);
	mirror_release(c->m);
	return r;
}

static slot_mask later_than_map(struct scan *c, const struct looks *all)
{
	slot_mask later = 0;
	uint64_t ns;

	if (scrub_settled_ns(c, &ns))
		return 0;
	for_each_slot(
		i,
		all->mask &
			~all->unreadable) if (scrub_is_later(&all->look[i]
								      .st.st
								      .st_ctim,
							     ns))
		later |= SLOT_BIT(i);
	return later;
}

static void size_range(const struct looks *all, struct scrub_finding *f)
{
	uint64_t low = UINT64_MAX, high = 0;

	for_each_slot(i, all->mask & ~all->unreadable)
	{
		uint64_t size = meta_file_end(all->look[i].st.st.st_size);

		low = MIN(low, size);
		high = MAX(high, size);
	}
	f->start = low & ~(uint64_t)(META_BLOCK - 1);
	f->end = (high + META_BLOCK - 1) & ~(uint64_t)(META_BLOCK - 1);
}

/* Names that came and went moved the time on, and it is nobody's secret. */
static void judge_dir_time(const struct looks *all, struct scrub_votes *v,
			   struct scrub_finding *f)
{
	int first = -1;

	for_each_slot(i, v->all & ~v->unreadable)
	{
		const struct timespec *t = &all->look[i].st.st.st_mtim, *best;

		best = first < 0 ? NULL : &all->look[first].st.st.st_mtim;
		if (!best || t->tv_sec < best->tv_sec ||
		    (t->tv_sec == best->tv_sec && t->tv_nsec < best->tv_nsec))
			first = (int)i;
	}
	f->by = SCRUB_BY_MAP;
	f->losers = 0;
	for_each_slot(i, v->all & ~v->unreadable) if (v->group[i] !=
						      v->group[first])
		f->losers |= SLOT_BIT(i);
}

static int names_count(struct scan *c, unsigned int i, uint64_t *ret)
{
	struct meta_reader *rd = meta_reader_get(c->m->slot[i].meta);
	int r = rd ? meta_dentry_count(rd, c->n->id, ret)
		   : mirror_reader_error();

	meta_reader_put(rd);
	return scrub_map(c, i, r);
}

/*
 * Links beyond the names that the maps have lie outside of the tree, as in
 * found/, where a foreign directory took one along: nothing of the volume is
 * wrong, but whoever writes there writes here.  Names that are missing or
 * unknown are found by themselves.
 */
static int tell_linked(struct scan *c, const struct looks *all)
{
	struct scrub_finding f = {.kind = SCRUB_LINKED, .node = c->n->id};
	uint64_t names;

	feed_drain(c->m);
	for_each_slot(i, all->mask & ~all->unreadable)
	{
		uint64_t links = all->look[i].st.st.st_nlink;

		if (names_count(c, i, &names))
			return c->map_error;
		if (links < names)
			return 0; /* some are missing, too */
		if (links > names)
			f.losers |= SLOT_BIT(i);
	}
	c->linked = f.losers;
	return f.losers ? c->s->found(c->s->arg, &f) : 0;
}

static int tell(struct scan *c, const struct looks *all)
{
	struct scrub_votes v = {
		.all = all->mask,
		.unreadable = all->unreadable,
	};
	struct scrub_finding f = {
		.kind = SCRUB_ATTR,
		.node = c->n->id,
	};
	int r = 0;

	if (node_is_unlinked(c->m, c->n))
		return 0;
	if (differ_any(c, all) & SCRUB_WHAT_LINKS)
		r = tell_linked(c, all);
	if (r)
		return r;
	f.what = differ_any(c, all);
	for_each_slot(
		i, v.unreadable) if (scrub_blame(c, i,
						 all->err[i])) return -EAGAIN;
	for_each_slot(i, v.all & ~v.unreadable)
	{
		v.group[i] = (unsigned char)i;
		for_each_slot(
			k, v.all & ~v.unreadable) if (k < i &&
						      v.group[i] == i &&
						      !differ(c, &all->look[i],
							      &all->look[k]))
			v.group[i] = v.group[k];
	}
	if (scrub_agrees(&v))
		return 0;
	v.edited = later_than_map(c, all);
	if (c->map_error)
		return c->map_error;
	scrub_judge(c, &v, &f);
	if (f.by == SCRUB_BY_NOBODY && c->n->kind == META_DIR &&
	    f.what == SCRUB_WHAT_MTIME && v.edited)
		judge_dir_time(all, &v, &f);
	if (f.what & SCRUB_WHAT_SIZE)
		size_range(all, &f);
	return c->s->found(c->s->arg, &f);
}

static int confirm(struct scan *c, struct looks *all)
{
	unsigned int what = 0;

	for (unsigned int tries = 0; tries < SCRUB_TRIES; tries++) {
		int r = mirror_checkpoint(c->m, NULL);

		if (!r)
			r = what & SCRUB_WHAT_LINKS ? look_held(c, all)
						    : look_again(c, all);
		if (r < 0)
			return r;
		if (r > 0 && is_sound(c, all))
			return 0;
		if (r > 0 && (what & SCRUB_WHAT_LINKS))
			return tell(c, all);
		what = differ_any(c, all);
		if (r > 0 && !(what & SCRUB_WHAT_LINKS))
			return tell(c, all);
	}
	c->s->busy++;
	return 0;
}

int scrub_attr(struct scan *c)
{
	_cleanup_free_ struct looks *all = malloc(sizeof(*all));
	int r = all ? look_all(c, all) : -ENOMEM;

	/* Nobody could look at it: that is not the same as equal. */
	if (!r && !all->mask && !node_is_unlinked(c->m, c->n))
		c->s->busy++;
	return r || is_sound(c, all) ? r : confirm(c, all);
}
