/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The entries of a directory: each that the maps have lies on every store and
 * is the node, and nothing else lies there.  Names are asked one by one, so
 * memory does not follow the size of the directory; what is suspect is kept,
 * up to a bound, and asked again under the directory's lock.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/mirror/scrub_internal.h"

#define BATCH_NAMES 256u
/* More in one directory are left to the next scrub. */
#define SUSPECTS_MAX 4096u

struct suspect {
	char name[META_NAME_MAX + 1];
};

struct names {
	struct scan *c;
	unsigned int slot; /* being listed */
	struct meta_reader *rd[META_STORE_MAX];
	slot_mask mask; /* that have a reader */
	unsigned int lead;
	VEC(struct suspect) suspects;
};

static int suspect_add(struct names *k, const char *name)
{
	struct suspect s;

	if (k->suspects.count >= SUSPECTS_MAX)
		return 0;
	(void)strncpy(s.name, name, sizeof(s.name) - 1);
	s.name[sizeof(s.name) - 1] = '\0';
	return vec_push(&k->suspects, s);
}

/* What one store has under a name. */
enum seen {
	SEEN_RIGHT, /* the node of the map, or nothing where it has none */
	SEEN_NOTHING,
	SEEN_OTHER,
	SEEN_EXTRA,  /* the map has no such name */
	SEEN_NO_ROW, /* it is there, its own map has it not as the lead's */
};

static int see_row(struct names *k, unsigned int i, const char *name,
		   const struct store_stat *st, enum seen *ret)
{
	struct meta_dentry own, lead;
	struct meta_node row;
	int r = meta_dentry_get(k->rd[k->lead], k->c->n->id, name, strlen(name),
				&lead);

	if (scrub_map(k->c, k->lead, r))
		return k->c->map_error;
	if (r) {
		*ret = SEEN_EXTRA;
		return 0;
	}
	r = meta_dentry_get(k->rd[i], k->c->n->id, name, strlen(name), &own);
	if (!r)
		r = meta_node_get(k->rd[i], own.node, &row);
	if (scrub_map(k->c, i, r))
		return k->c->map_error;
	if (r || own.node != lead.node) {
		*ret = SEEN_NO_ROW;
		return 0;
	}
	*ret = meta_kind_of(st->st.st_mode) == row.kind &&
			       (!row.backing.ino ||
				(row.backing.ino == st->st.st_ino &&
				 (!row.backing.gen ||
				  row.backing.gen == st->gen)))
		       ? SEEN_RIGHT
		       : SEEN_OTHER;
	return 0;
}

static int see(struct names *k, unsigned int i, const char *name,
	       enum seen *ret)
{
	struct scan *c = k->c;
	struct store_stat st;
	int dirfd, r = node_fd_get(c->m, c->n, i, false, &dirfd);

	if (r)
		return r;
	r = store_statat(c->m->slot[i].store, dirfd, name, STORE_STAT_GEN, &st);
	node_fd_put(c->m, c->n, i);
	if (!r)
		return see_row(k, i, name, &st, ret);
	*ret = SEEN_NOTHING;
	return r == -ENOENT ? 0 : r;
}

/* ---- the first look ---- */

/* A batch of the lead's entries after @cookie; how many. */
static int batch_read(struct names *k, uint64_t cookie, struct meta_dentry *v)
{
	struct meta_iter it = {0};
	int count = 0;
	int r = meta_iter_dentries(k->rd[k->lead], k->c->n->id, cookie, &it);

	while (!r && count < (int)BATCH_NAMES &&
	       (r = meta_next_dentry(&it, &v[count])) > 0) {
		count++;
		r = 0;
	}
	meta_iter_done(&it);
	if (r < 0 && scrub_map(k->c, k->lead, r))
		return k->c->map_error;
	return count;
}

static int check_entry(struct names *k, const struct meta_dentry *d)
{
	enum seen seen;

	for_each_slot(i, k->mask)
	{
		int r = see(k, i, d->name, &seen);

		if (k->c->map_error || (r && store_error_is_ours(r)))
			return r;
		if (r || seen != SEEN_RIGHT)
			return suspect_add(k, d->name);
	}
	k->c->s->entries++;
	return 0;
}

static int check_entries(struct names *k)
{
	_cleanup_free_ struct meta_dentry *v = calloc(BATCH_NAMES, sizeof(*v));
	uint64_t cookie = 0;
	int count, r = v ? 0 : -ENOMEM;

	while (!r) {
		count = batch_read(k, cookie, v);
		if (count <= 0)
			return count;
		for (int i = 0; !r && i < count; i++)
			r = check_entry(k, &v[i]);
		cookie = v[count - 1].cookie;
		if (!r)
			r = k->c->s->pace(k->c->s->arg, 0);
	}
	return r;
}

static int check_listed(void *arg, const struct store_dirent *e)
{
	struct names *k = arg;
	struct meta_dentry d;
	int r = meta_dentry_get(k->rd[k->lead], k->c->n->id, e->name,
				strlen(e->name), &d);

	if (scrub_map(k->c, k->lead, r))
		return k->c->map_error;
	return r ? suspect_add(k, e->name) : 0;
}

static int check_listings(struct names *k)
{
	struct scan *c = k->c;
	int fd, r = 0;

	for_each_slot(i, k->mask)
	{
		r = node_fd_get(c->m, c->n, i, false, &fd);
		if (r && store_error_is_ours(r))
			return r;
		if (r)
			continue; /* the directory above tells */
		r = store_list(c->m->slot[i].store, fd, check_listed, k);
		node_fd_put(c->m, c->n, i);
		if (r == -ENOMEM || c->map_error)
			return r;
		if (r >= 0 || scrub_is_answer(r))
			continue;
		/* The names that the map has are asked for one by one. */
		if (scrub_blame(c, i, r))
			return -EAGAIN;
		c->s->busy++;
	}
	return 0;
}

/* ---- a second look, under the directory's lock ---- */

struct entry_votes {
	slot_mask with[SEEN_NO_ROW + 1];
	slot_mask failed;
	int err[META_STORE_MAX]; /* why */
	slot_mask shut;		 /* an ordinary user, to oneself */
	uint64_t node;		 /* of the lead's map; 0: it has no such name */
};

static int map_node(struct names *k, const char *name, uint64_t *ret)
{
	struct meta_dentry d;
	int r = meta_dentry_get(k->rd[k->lead], k->c->n->id, name, strlen(name),
				&d);

	if (scrub_map(k->c, k->lead, r))
		return k->c->map_error;
	*ret = r ? 0 : d.node;
	return 0;
}

static int look_again(struct names *k, const char *name, struct entry_votes *v)
{
	enum seen seen;

	*v = (struct entry_votes){0};
	feed_drain(k->c->m);
	for_each_slot(i, k->mask & scrub_online(k->c))
	{
		int r = see(k, i, name, &seen);

		if (k->c->map_error || (r && store_error_is_ours(r)))
			return r;
		v->err[i] = r;
		if (r == -EACCES || r == -EPERM)
			v->shut |= SLOT_BIT(i);
		k->c->restless |= r == -ENODE_ELSEWHERE;
		if (scrub_is_answer(r))
			continue; /* the directory above tells */
		if (r)
			v->failed |= SLOT_BIT(i);
		else
			v->with[seen] |= SLOT_BIT(i);
	}
	return map_node(k, name, &v->node);
}

static int tell(struct names *k, struct scrub_finding *f, enum scrub_kind kind,
		slot_mask losers, slot_mask right)
{
	f->kind = kind;
	f->losers = losers;
	f->by = right || kind == SCRUB_EXTRA ? SCRUB_BY_MAP : SCRUB_BY_NOBODY;
	return losers ? k->c->s->found(k->c->s->arg, f) : 0;
}

static int judge(struct names *k, const char *name, const struct entry_votes *v)
{
	slot_mask right = v->with[SEEN_RIGHT];
	struct scrub_finding f = {.dir = k->c->n->id, .node = v->node};
	int r;

	(void)strncpy(f.name, name, sizeof(f.name) - 1);
	for_each_slot(i, v->failed) if (scrub_blame(k->c, i,
						    v->err[i])) return -EAGAIN;
	if (v->failed) {
		f.by = SCRUB_BY_READING;
		r = tell(k, &f, SCRUB_READ, v->failed, right);
		if (r)
			return r;
	}
	if (!f.node)
		return tell(k, &f, SCRUB_EXTRA, v->with[SEEN_EXTRA], 0);
	r = tell(k, &f, SCRUB_MISSING, v->with[SEEN_NOTHING], right);
	return r ? r
		 : tell(k, &f, SCRUB_OTHER,
			v->with[SEEN_OTHER] | v->with[SEEN_NO_ROW], right);
}

static int confirm(struct names *k, const char *name)
{
	struct node *dir = k->c->n;
	struct entry_votes v;
	bool gone;
	int r = 0;

	mutex_lock(&dir->lock);
	gone = node_is_unlinked(k->c->m, dir);
	if (!gone)
		r = look_again(k, name, &v);
	/* Its lock keeps its entries; it is removed under the one above. */
	if (!gone)
		gone = node_is_unlinked(k->c->m, dir);
	mutex_unlock(&dir->lock);
	if (r || gone)
		return r;
	if (v.shut)
		k->c->s->busy++;
	return judge(k, name, &v);
}

static int by_name(const void *a, const void *b)
{
	const struct suspect *x = a, *y = b;

	return strcmp(x->name, y->name);
}

static int confirm_all(struct names *k)
{
	const char *last = NULL;
	int r = 0;

	if (k->suspects.count)
		qsort(k->suspects.data, k->suspects.count,
		      sizeof(*k->suspects.data), by_name);
	vec_for_each (s, &k->suspects) {
		if (r || (last && !strcmp(last, s->name)))
			continue;
		last = s->name;
		r = confirm(k, s->name);
	}
	return r;
}

int scrub_names(struct scan *c)
{
	struct names k = {.c = c};
	int lead = mirror_lead(c->m);
	int r = 0;

	if (lead < 0 || !(c->mask & SLOT_BIT(lead)))
		return 0; /* it has just left */
	k.lead = (unsigned int)lead;
	feed_drain(c->m);
	for_each_slot(i, c->mask)
	{
		k.rd[i] = meta_reader_get(c->m->slot[i].meta);
		if (k.rd[i])
			k.mask |= SLOT_BIT(i);
		else if (!r)
			r = scrub_map(c, i, mirror_reader_error());
	}
	if (!r)
		r = check_entries(&k);
	if (!r)
		r = check_listings(&k);
	if (!r)
		r = confirm_all(&k);
	for_each_slot(i, k.mask) meta_reader_put(k.rd[i]);
	vec_done(&k.suspects);
	return r;
}
