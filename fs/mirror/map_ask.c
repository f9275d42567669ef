/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Questions that any map can answer: the lead's is asked first.  One that
 * cannot be read is of no use for writing either, so its store is put out.
 */
#include "fs/mirror/internal.h"

#include <errno.h>
#include <string.h>

#include "base/fault.h"
#include "fs/mirror/nameless.h"

struct map_question {
	uint64_t id;
	const char *name;
	struct meta_node *node;
	struct meta_dentry *dentry;
	bool *flag;
	int (*fn)(struct meta_reader *rd, const struct map_question *q);
};

int mirror_reader_error(void)
{
	int err = -errno;

	return store_error_is_ours(err) ? err : -EIO;
}

static int ask_one(struct mirror *m, unsigned int i, void *arg)
{
	const struct map_question *q = arg;
	int r = FAULT_ERR("mirror.map.read");
	struct meta_reader *rd;

	if (r)
		return r;
	rd = meta_reader_get(m->slot[i].meta);
	if (!rd)
		return mirror_reader_error();
	r = q->fn(rd, q);
	meta_reader_put(rd);
	return r;
}

bool map_blame(struct mirror *m, unsigned int i, int err)
{
	bool online;

	if (store_error_is_ours(err) || err == -ETIME)
		return false;
	mutex_lock(&m->lock);
	online = m->online & SLOT_BIT(i);
	mutex_unlock(&m->lock);
	if (online)
		atomic_fetch_add(&m->slot[i].errors_read, 1);
	return slot_put_out(m, i, "map", err);
}

static bool is_answered(int r, const void *arg)
{
	(void)arg;
	return r >= 0 || r == -ENOENT;
}

static int ask(struct mirror *m, struct map_question q)
{
	unsigned int order[META_STORE_MAX], count, by;
	int res[META_STORE_MAX] = {0}, r;
	slot_mask pin;

	pin = slots_pin(m, NULL);
	count = ask_order(m, pin, order);
	r = ask_in_turn(m, order, count, ask_one, &q, is_answered, res, &by);
	/* Only blame a store when another one had the answer. */
	for (unsigned int j = 0; by < count && j < count; j++)
		if (j != by && !is_answered(res[j], NULL))
			(void)map_blame(m, order[j], res[j]);
	slots_unpin(m, pin);
	return r;
}

static int get_node(struct meta_reader *rd, const struct map_question *q)
{
	return meta_node_get(rd, q->id, q->node);
}

int map_ask_node(struct mirror *m, uint64_t id, struct meta_node *ret)
{
	return ask(m, (struct map_question){
			      .id = id, .node = ret, .fn = get_node});
}

static int get_child(struct meta_reader *rd, const struct map_question *q)
{
	return meta_dentry_get(rd, q->id, q->name, strlen(q->name), q->dentry);
}

int map_ask_child(struct mirror *m, uint64_t parent, const char *name,
		  struct meta_dentry *ret)
{
	return ask(m, (struct map_question){.id = parent,
					    .name = name,
					    .dentry = ret,
					    .fn = get_child});
}

static int get_name(struct meta_reader *rd, const struct map_question *q)
{
	return meta_dentry_of(rd, q->id, q->dentry);
}

int map_ask_name(struct mirror *m, uint64_t id, struct meta_dentry *ret)
{
	return ask(m, (struct map_question){
			      .id = id, .dentry = ret, .fn = get_name});
}

static int get_several(struct meta_reader *rd, const struct map_question *q)
{
	return meta_dentry_several(rd, q->id, q->flag);
}

int map_ask_several(struct mirror *m, struct node *n, bool *ret_several)
{
	feed_drain_names(m, n);
	return ask(m, (struct map_question){.id = n->id,
					    .flag = ret_several,
					    .fn = get_several});
}
