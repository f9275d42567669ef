/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of nodes in memory: those that the kernel knows, that a call is
 * using, or whose changes are not in the maps yet.  It does not grow with the
 * tree.  A node may know one of its names; where it does not (loaded by id, or
 * the name it knew is gone and others remain) the lead's map is asked.
 */
#include "fs/mirror/node.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/mirror/internal.h"
#include "fs/mirror/nameless.h"
#include "fs/mirror/room.h"

#define KEY_MAX (sizeof(uint64_t) + META_NAME_MAX + 1)

static unsigned int key_make(char key[KEY_MAX], uint64_t parent,
			     const char *name)
{
	size_t len = strlen(name);

	assert(len > 0 && len <= META_NAME_MAX);
	memcpy(key, &parent, sizeof(parent));
	memcpy(key + sizeof(parent), name, len + 1);
	return (unsigned int)(sizeof(parent) + len);
}

void table_init(struct mirror *m)
{
	mutex_init(&m->table, LOCK_RANK_TABLE);
	m->nodes = NULL;
	m->named = NULL;
}

/* ---- places ---- */

static void places_init(struct node *n, struct node_place *v,
			unsigned int first, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		v[i].fd = -1;
		v[i].node = n;
		v[i].slot = first + i;
	}
}

struct node_place *node_place_more(struct node *n, unsigned int i)
{
	struct node_more *more = atomic_load(&n->more);

	while (i >= more->first + more->count)
		more = atomic_load(&more->next);
	return &more->place[i - more->first];
}

unsigned int node_place_count(struct node *n)
{
	unsigned int count = n->place_count;

	for (struct node_more *more = atomic_load(&n->more); more;
	     more = atomic_load(&more->next))
		count += more->count;
	return count;
}

/* Table locked, or nobody else has it yet. */
static int node_grow(struct node *n, unsigned int count)
{
	unsigned int have = node_place_count(n);
	struct node_more *_Atomic *tail = &n->more;
	struct node_more *more;

	if (have >= count)
		return 0;
	more = calloc(1,
		      sizeof(*more) + (count - have) * sizeof(more->place[0]));
	if (!more)
		return -ENOMEM;
	more->first = have;
	more->count = count - have;
	places_init(n, more->place, have, more->count);
	while (atomic_load(tail))
		tail = &atomic_load(tail)->next;
	atomic_store(tail, more); /* whole: it is read without a lock */
	return 0;
}

static void node_shrink(struct node *n)
{
	struct node_more *more = atomic_load(&n->more);

	while (more) {
		struct node_more *next = atomic_load(&more->next);

		free(more);
		more = next;
	}
}

int table_grow(struct mirror *m, unsigned int count)
{
	struct node *n, *tmp;
	int r = 0;

	mutex_lock(&m->table);
	HASH_ITER (by_id, m->nodes, n, tmp)
		if (!r)
			r = node_grow(n, count);
	if (!r && count > m->place_count)
		atomic_store(&m->place_count, count);
	mutex_unlock(&m->table);
	return r;
}

/* ---- one node ---- */

static struct node *node_alloc(struct mirror *m, uint64_t id,
			       enum meta_kind kind)
{
	const unsigned int places = atomic_load(&m->place_count);
	struct node *n;

	n = calloc(1, sizeof(*n) + places * sizeof(n->place[0]));
	if (!n)
		return NULL;
	n->place_count = places;
	n->id = id;
	n->kind = kind;
	n->refs = 1;
	mutex_init(&n->lock, LOCK_RANK_NODE);
	mutex_init(&n->ranges, LOCK_RANK_RANGE);
	cond_init(&n->ranges_freed);
	range_set_init(&n->since);
	for (int i = 0; i < 2; i++) {
		range_map_init(&n->dirty[i].data);
		range_set_init(&n->armed[i].data);
	}
	places_init(n, n->place, 0, places);
	return n;
}

static void node_destroy(struct mirror *m, struct node *n)
{
	unpark_all(m, n);
	node_fds_close(m, n);
	for (int i = 0; i < 2; i++) {
		range_map_done(&n->dirty[i].data);
		range_set_done(&n->armed[i].data);
	}
	range_set_done(&n->since);
	cond_done(&n->ranges_freed);
	mutex_done(&n->ranges);
	mutex_done(&n->lock);
	free(n->name_key);
	node_shrink(n);
	free(n);
	atomic_fetch_add(&m->nodes_freed, 1);
}

/* Table locked: to and from the list of its parent's directories. */
static void dir_list(struct node *n)
{
	struct node *p = n->parent;

	if (n->kind != META_DIR)
		return;
	n->dir_prev = p->dirs_last;
	n->dir_next = NULL;
	*(p->dirs_last ? &p->dirs_last->dir_next : &p->dirs_first) = n;
	p->dirs_last = n;
}

static void dir_unlist(struct node *n)
{
	struct node *p = n->parent;

	if (n->kind != META_DIR)
		return;
	*(n->dir_prev ? &n->dir_prev->dir_next : &p->dirs_first) = n->dir_next;
	*(n->dir_next ? &n->dir_next->dir_prev : &p->dirs_last) = n->dir_prev;
	n->dir_prev = n->dir_next = NULL;
}

/* Table locked: take the known name away; the parent to be released. */
static struct node *name_unset(struct mirror *m, struct node *n)
{
	struct node *parent = n->parent;

	if (!parent)
		return NULL;
	HASH_DELETE(by_name, m->named, n);
	free(n->name_key);
	n->name_key = NULL;
	dir_unlist(n);
	n->parent = NULL;
	parent->children--;
	return parent;
}

static bool node_is_idle(const struct node *n)
{
	return !n->refs && !n->nlookup && !n->children;
}

/*
 * Table locked: unlink what nobody needs from the table, upwards; the chain
 * (through `held`, unused in an idle node) is destroyed without the lock.
 */
static struct node *table_collect(struct mirror *m, struct node *n)
{
	struct node *dead = NULL;

	while (n && n != m->root && node_is_idle(n)) {
		struct node *parent = name_unset(m, n);

		HASH_DELETE(by_id, m->nodes, n);
		n->dirty[0].next = dead;
		dead = n;
		n = parent;
	}
	return dead;
}

static void nodes_destroy(struct mirror *m, struct node *dead)
{
	while (dead) {
		struct node *next = dead->dirty[0].next;

		node_destroy(m, dead);
		dead = next;
	}
}

void table_done(struct mirror *m)
{
	struct node *n, *tmp;

	HASH_CLEAR(by_name, m->named);
	HASH_ITER (by_id, m->nodes, n, tmp) {
		HASH_DELETE(by_id, m->nodes, n);
		node_destroy(m, n);
	}
	mutex_done(&m->table);
}

void node_put(struct mirror *m, struct node *n)
{
	struct node *dead;

	if (!n)
		return;
	mutex_lock(&m->table);
	assert(n->refs > 0);
	n->refs--;
	dead = table_collect(m, n);
	mutex_unlock(&m->table);
	nodes_destroy(m, dead);
}

void node_ref(struct mirror *m, struct node *n)
{
	mutex_lock(&m->table);
	n->refs++;
	mutex_unlock(&m->table);
}

/* Table locked: is it one of those that only the kernel keeps? */
static void nameless_count(struct mirror *m, struct node *n)
{
	bool nameless = n->unlinked && n->nlookup;

	if (nameless != n->nameless)
		m->nameless += nameless ? 1u : -1u;
	n->nameless = nameless;
}

void node_remember(struct mirror *m, struct node *n)
{
	mutex_lock(&m->table);
	n->nlookup++;
	nameless_count(m, n);
	mutex_unlock(&m->table);
}

void mirror_forget(struct mirror *m, uint64_t id, uint64_t nlookup)
{
	struct node *n, *dead = NULL, *gone = NULL;

	mutex_lock(&m->table);
	HASH_FIND(by_id, m->nodes, &id, sizeof(id), n);
	if (n) {
		n->nlookup -= nlookup < n->nlookup ? nlookup : n->nlookup;
		nameless_count(m, n);
		dead = table_collect(m, n);
		/* Its blocks are free now, not when the notes of its changes
		 * are dropped with the next checkpoint. */
		if (!dead && n->unlinked && !n->nlookup) {
			n->refs++;
			gone = n;
		}
	}
	mutex_unlock(&m->table);
	nodes_destroy(m, dead);
	if (gone) {
		unpark_all(m, gone);
		node_fds_close_idle(m, gone);
		node_put(m, gone);
		room_freed(m);
	}
}

struct node *node_peek(struct mirror *m, uint64_t id)
{
	struct node *n;

	mutex_lock(&m->table);
	HASH_FIND(by_id, m->nodes, &id, sizeof(id), n);
	if (n)
		n->refs++;
	mutex_unlock(&m->table);
	return n;
}

uint64_t mirror_dir_peek(struct mirror *m, uint64_t node)
{
	struct node *n;
	uint64_t id = 0;

	mutex_lock(&m->table);
	HASH_FIND(by_id, m->nodes, &node, sizeof(node), n);
	if (n && n->parent)
		id = n->parent->id;
	mutex_unlock(&m->table);
	return id;
}

size_t mirror_dirs_beside(struct mirror *m, uint64_t dir, uint64_t *ret_dirs,
			  size_t max)
{
	size_t count = 0;
	struct node *n;

	mutex_lock(&m->table);
	HASH_FIND(by_id, m->nodes, &dir, sizeof(dir), n);
	for (n = n ? n->dir_next : NULL; n && count < max; n = n->dir_next)
		ret_dirs[count++] = n->id;
	mutex_unlock(&m->table);
	return count;
}

int node_make(struct mirror *m, uint64_t id, enum meta_kind kind,
	      struct node **ret)
{
	struct node *n = node_alloc(m, id, kind), *other;

	if (!n)
		return -ENOMEM;
	mutex_lock(&m->table);
	HASH_FIND(by_id, m->nodes, &id, sizeof(id), other);
	if (other) {
		other->refs++;
	} else if (!node_grow(n, m->place_count)) { /* since it was made */
		HASH_ADD(by_id, m->nodes, id, sizeof(n->id), n);
		if (n->by_id.tbl)
			other = n;
	}
	mutex_unlock(&m->table);
	if (other != n)
		node_destroy(m, n);
	if (!other)
		return -ENOMEM;
	*ret = other;
	return 0;
}

/* One whose row is written: memory, then the lead's map. */
static int node_load(struct mirror *m, uint64_t id, struct node **ret)
{
	struct node *n = node_peek(m, id);
	struct meta_node row;
	int r;

	if (n) {
		*ret = n;
		return 0;
	}
	r = map_ask_node(m, id, &row);
	if (r)
		return r;
	return node_make(m, id, row.kind, ret);
}

int node_get(struct mirror *m, uint64_t id, struct node **ret)
{
	*ret = node_peek(m, id);
	if (*ret)
		return 0;
	feed_drain(m);
	return node_load(m, id, ret);
}

/* @stamp: only what was read since then, if no name is known; NULL: set it. */
static int name_set(struct mirror *m, struct node *n, struct node *parent,
		    const char *name, const uint64_t *stamp)
{
	char key[KEY_MAX];
	unsigned int len = key_make(key, parent->id, name);
	char *copy = malloc(len + 1);
	struct node *old, *other, *dead;
	int r = 0;

	if (!copy)
		return -ENOMEM;
	memcpy(copy, key, len + 1);
	mutex_lock(&m->table);
	HASH_FIND(by_name, m->named, key, len, other);
	if (other == n ||
	    (stamp && (*stamp != m->name_stamp || n->parent || n->unlinked))) {
		free(copy);
		mutex_unlock(&m->table);
		return 0;
	}
	parent->refs++; /* so that nothing below frees it */
	dead = NULL;
	if (other)
		(void)name_unset(m, other); /* its parent is ours: referenced */
	old = name_unset(m, n);
	n->name_key = copy;
	n->name_key_len = len;
	HASH_ADD_KEYPTR(by_name, m->named, n->name_key, len, n);
	if (n->by_name.tbl) {
		n->parent = parent;
		parent->children++;
		dir_list(n);
	} else {
		n->name_key = NULL;
		free(copy);
		r = -ENOMEM;
	}
	parent->refs--;
	if (old)
		dead = table_collect(m, old);
	mutex_unlock(&m->table);
	nodes_destroy(m, dead);
	return r;
}

int node_name_set(struct mirror *m, struct node *n, struct node *parent,
		  const char *name)
{
	return name_set(m, n, parent, name, NULL);
}

void node_name_drop(struct mirror *m, struct node *n, struct node *parent,
		    const char *name)
{
	char key[KEY_MAX];
	unsigned int len = key_make(key, parent->id, name);

	mutex_lock(&m->table);
	m->name_stamp++;
	if (n->parent && n->name_key_len == len &&
	    !memcmp(n->name_key, key, len))
		(void)name_unset(m, n); /* the caller references the parent */
	mutex_unlock(&m->table);
}

void node_set_unlinked(struct mirror *m, struct node *n, uint64_t gen)
{
	struct node *parent, *dead = NULL;

	mutex_lock(&m->table);
	n->unlinked_gen = gen;
	n->unlinked = true;
	nameless_count(m, n);
	parent = name_unset(m, n);
	if (parent)
		dead = table_collect(m, parent);
	mutex_unlock(&m->table);
	nodes_destroy(m, dead);
}

/*
 * Does no name come back with a power loss any more?  Then what is done to it
 * in generation @gen concerns nobody else; until then it needs its intents and
 * numbers like any other.  The checkpoint of one generation has ended when the
 * next but one begins.
 */
bool node_is_gone(const struct node *n, uint64_t gen)
{
	return n->unlinked && n->unlinked_gen + 2 <= gen;
}

bool node_is_unlinked(struct mirror *m, struct node *n)
{
	bool gone;

	mutex_lock(&m->table);
	gone = n->unlinked;
	mutex_unlock(&m->table);
	return gone;
}

/* 1: known, 0: ask the map, -ENOENT. */
static int name_from_memory(struct mirror *m, struct node *n,
			    struct node **ret_parent,
			    char name[META_NAME_MAX + 1], uint64_t *ret_stamp)
{
	int r = 0;

	mutex_lock(&m->table);
	if (ret_stamp)
		*ret_stamp = m->name_stamp;
	if (n->unlinked) {
		r = -ENOENT;
	} else if (n->parent) {
		n->parent->refs++;
		*ret_parent = n->parent;
		memcpy(name, n->name_key + sizeof(uint64_t),
		       n->name_key_len - sizeof(uint64_t));
		name[n->name_key_len - sizeof(uint64_t)] = '\0';
		r = 1;
	}
	mutex_unlock(&m->table);
	return r;
}

int node_name_get(struct mirror *m, struct node *n, struct node **ret_parent,
		  char name[META_NAME_MAX + 1])
{
	struct node *parent;
	struct meta_dentry d;
	uint64_t stamp;
	int r;

	r = name_from_memory(m, n, ret_parent, name, &stamp);
	if (r)
		return r < 0 ? r : 0;
	feed_drain(m);
	r = map_ask_name(m, n->id, &d);
	if (r)
		return r;
	r = node_get(m, d.parent, ret_parent);
	if (r)
		return r;
	/* Remembered from now on, unless a rename or an unlink was faster:
	 * memory must never know a name that is gone. */
	parent = *ret_parent;
	r = name_from_memory(m, n, ret_parent, name, NULL);
	if (r) {
		node_put(m, parent);
		return r < 0 ? r : 0;
	}
	memcpy(name, d.name, (size_t)d.name_len + 1);
	r = name_set(m, n, parent, name, &stamp);
	if (r)
		node_put(m, parent);
	return r;
}

struct node *node_child_peek(struct mirror *m, uint64_t parent,
			     const char *name)
{
	char key[KEY_MAX];
	unsigned int len = key_make(key, parent, name);
	struct node *n;

	mutex_lock(&m->table);
	HASH_FIND(by_name, m->named, key, len, n);
	if (n)
		n->refs++;
	mutex_unlock(&m->table);
	return n;
}

int node_child(struct mirror *m, struct node *parent, const char *name,
	       struct node **ret)
{
	struct node *n = node_child_peek(m, parent->id, name);
	struct meta_dentry d;
	int r;

	if (n) {
		*ret = n;
		return 0;
	}
	/* Its entries, and the nodes' rows before. */
	r = feed_drain_dir(m, parent);
	if (!r)
		r = map_ask_child(m, parent->id, name, &d);
	if (r)
		return r;
	r = node_load(m, d.node, &n);
	if (r)
		return r;
	r = node_name_set(m, n, parent, name);
	if (r) {
		node_put(m, n);
		return r;
	}
	*ret = n;
	return 0;
}
