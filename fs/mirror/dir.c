/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directories are read from the lead's map, in the order of their entries'
 * cookies: the numbers under which the names came to be.  They are the same on
 * every store, so that a listing goes on after a failover, never reused, and
 * stay with a name that is given to another file, so that a walk neither
 * repeats nor skips what stays while others come and go.
 *
 * What the kernel gets, and brings back, is the cookie, and above it which walk
 * it belongs to (walks.h).
 */
#include "fs/mirror/internal.h"

#include <dirent.h>
#include <errno.h>

#define COOKIE_DOT    1u
#define COOKIE_DOTDOT 2u
#define COOKIE_BITS   48u

_Static_assert(META_SEQ_MAX < UINT64_C(1) << COOKIE_BITS, "a seq fits");

struct listing {
	struct node *dir;
	uint64_t cookie;
	uint64_t walk;	/* which of the ring, where it is in what is told */
	uint64_t limit; /* of the walk */
	bool plus;
	mirror_dir_fn fn;
	void *arg;
	bool full;
	bool any;
};

static unsigned char type_of(enum meta_kind kind)
{
	static const unsigned char type[] = {
		[META_FILE] = DT_REG,	 [META_DIR] = DT_DIR,
		[META_SYMLINK] = DT_LNK, [META_FIFO] = DT_FIFO,
		[META_SOCK] = DT_SOCK,	 [META_CHR] = DT_CHR,
		[META_BLK] = DT_BLK,
	};

	return type[kind];
}

static uint64_t parent_id(struct mirror *m, struct node *dir)
{
	char name[META_NAME_MAX + 1];
	struct node *parent;
	uint64_t id = dir->id;

	if (dir != m->root && !node_name_get(m, dir, &parent, name)) {
		id = parent->id;
		node_put(m, parent);
	}
	return id;
}

static void walk_find(struct mirror *m, struct listing *l, uint64_t cookie)
{
	uint64_t walk = cookie ? cookie >> COOKIE_BITS
			       : walks_begin(&m->walks, mirror_seq(m));

	l->cookie = cookie & ((UINT64_C(1) << COOKIE_BITS) - 1);
	l->limit = walks_limit(&m->walks, walk);
	l->walk = walk << COOKIE_BITS;
}

static void list_dots(struct mirror *m, struct listing *l)
{
	if (l->cookie < COOKIE_DOT) {
		l->full = l->fn(l->arg, ".", l->dir->id, DT_DIR,
				l->walk | COOKIE_DOT, NULL) != 0;
		l->any |= !l->full;
	}
	if (!l->full && l->cookie < COOKIE_DOTDOT) {
		l->full = l->fn(l->arg, "..", parent_id(m, l->dir), DT_DIR,
				l->walk | COOKIE_DOTDOT, NULL) != 0;
		l->any |= !l->full;
	}
}

/* What memory does not know of an entry, its node's row says. */
static int list_load(struct mirror *m, struct listing *l,
		     struct meta_reader *rd, const struct meta_dentry *d,
		     enum meta_kind *ret_kind, struct node **ret)
{
	struct node *n = NULL;
	struct meta_node row;
	int r = meta_node_get(rd, d->node, &row);

	if (r)
		return r == -ENOENT ? -EUCLEAN : r;
	if (l->plus) {
		r = node_make(m, d->node, row.kind, &n);
		if (!r && !n->unlinked)
			r = node_name_set(m, n, l->dir, d->name);
		if (r) {
			node_put(m, n);
			return r;
		}
	}
	*ret_kind = row.kind;
	*ret = n;
	return 0;
}

static int list_entry(struct mirror *m, struct listing *l,
		      struct meta_reader *rd, const struct meta_dentry *d)
{
	struct node *n = node_child_peek(m, l->dir->id, d->name);
	enum meta_kind kind;
	struct stat st;
	bool have = false;
	int r = 0;

	if (n && n->id == d->node) {
		kind = n->kind;
	} else {
		node_put(m, n);
		r = list_load(m, l, rd, d, &kind, &n);
	}
	if (r)
		return r;
	/* Without attributes the entry is shown all the same. */
	if (l->plus)
		have = !node_stat(m, n, 0, &st);
	l->full = l->fn(l->arg, d->name, d->node, type_of(kind),
			l->walk | d->cookie, have ? &st : NULL) != 0;
	if (!l->full) {
		l->any = true;
		if (have)
			node_remember(m, n);
	}
	node_put(m, n);
	return 0;
}

static int list_from(struct mirror *m, struct listing *l, struct meta *meta)
{
	struct meta_reader *rd = meta_reader_get(meta);
	struct meta_iter it = {0};
	struct meta_dentry d;
	uint64_t after = l->cookie < MIRROR_FIRST_SEQ ? 0 : l->cookie;
	int r;

	if (!rd)
		return mirror_reader_error();
	r = meta_read_begin(rd);
	if (r)
		goto out;
	r = meta_iter_dentries(rd, l->dir->id, after, &it);
	while (!r && !l->full) {
		r = meta_next_dentry(&it, &d);
		if (r <= 0 || d.cookie > l->limit)
			break;
		r = list_entry(m, l, rd, &d);
	}
	meta_iter_done(&it);
	meta_read_end(rd);
out:
	meta_reader_put(rd);
	return r < 0 ? r : 0;
}

struct list_ask {
	struct listing *l;
};

static int list_slot(struct mirror *m, unsigned int i, void *arg)
{
	const struct list_ask *a = arg;

	return list_from(m, a->l, m->slot[i].meta);
}

/* What was told already cannot be told again by another one. */
static bool list_is_done(int r, const void *arg)
{
	const struct list_ask *a = arg;

	return !r || a->l->any;
}

static int list_locked(struct mirror *m, struct listing *l)
{
	struct list_ask a = {l};
	unsigned int order[META_STORE_MAX], count, by;
	int res[META_STORE_MAX] = {0}, r;
	slot_mask pin;

	list_dots(m, l);
	if (l->full)
		return 0;
	r = feed_drain_dir(m, l->dir);
	if (r)
		return r;
	pin = slots_pin(m, NULL);
	count = ask_order(m, pin, order);
	r = ask_in_turn(m, order, count, list_slot, &a, list_is_done, res, &by);
	for (unsigned int j = 0; by < count && j < count; j++)
		if (j != by && res[j] < 0 && res[j] != -ETIME &&
		    !store_error_is_ours(res[j]))
			(void)slot_put_out(m, order[j], "map", res[j]);
	slots_unpin(m, pin);
	return l->full || l->any ? 0 : r;
}

int mirror_readdir(struct mirror *m, uint64_t dir, uint64_t cookie, bool plus,
		   mirror_dir_fn fn, void *arg)
{
	struct listing l = {.plus = plus, .fn = fn, .arg = arg};
	int r = node_get(m, dir, &l.dir);

	if (r)
		return r == -ENOENT ? -ESTALE : r;
	walk_find(m, &l, cookie);
	r = l.dir->kind == META_DIR ? list_locked(m, &l) : -ENOTDIR;
	node_put(m, l.dir);
	return r;
}
