/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Map rows of the namespace, fed to the maps behind the reply.
 *
 * The files of the stores are the truth about names while the volume is
 * mounted; an armed directory is listed anew after a crash.  So the rows need
 * not be written before the application goes on: a thread of its own takes
 * them, in the order of the operations, in batches that readers can see
 * (meta_begin_soft) and that become durable with the next commit.  Whoever
 * must read the maps waits for what was put before (feed_drain()), and a
 * checkpoint drains before it closes its cut.
 */
#include "fs/mirror/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FEED_BATCH 256

static int record_apply(struct meta *meta, unsigned int slot,
			const struct feed_record *rec)
{
	struct meta_dentry d;
	int r;

	switch (rec->kind) {
	case FEED_NODE_PUT:
		return meta_node_put(meta,
				     &(struct meta_node){
					     .id = rec->id,
					     .kind = rec->node_kind,
					     .backing = rec->backing[slot],
					     .attr_seq = rec->attr_seq,
					     .seq = rec->seq,
				     });
	case FEED_NODE_DEL:
		return meta_node_del(meta, rec->id);
	case FEED_NODE_RAISE:
		return meta_node_raise(meta, rec->id, rec->attr_seq, rec->seq);
	case FEED_DENTRY_PUT:
		d = (struct meta_dentry){.parent = rec->parent,
					 .node = rec->id,
					 .seq = rec->seq,
					 .name_len = rec->name_len};
		memcpy(d.name, rec->name, (size_t)rec->name_len + 1);
		return meta_dentry_put(meta, &d);
	case FEED_DENTRY_DEL:
		r = meta_dentry_del(meta, rec->parent, rec->name,
				    rec->name_len);
		return r < 0 ? r : 0;
	}
	return -EINVAL;
}

static int batch_apply(struct mirror *m, unsigned int slot,
		       const struct feed_record *head)
{
	struct meta *meta = m->slot[slot].meta;
	int r = meta_begin_soft(meta);

	if (r)
		return r;
	for (const struct feed_record *rec = head; rec && !r; rec = rec->next)
		if (rec->mask & SLOT_BIT(slot))
			r = record_apply(meta, slot, rec);
	if (r) {
		meta_rollback(meta);
		return r;
	}
	return meta_commit(meta);
}

static void batch_run(struct mirror *m, struct feed_record *head)
{
	slot_mask pin = slots_pin(m, NULL);

	for_each_slot(i, pin)
	{
		int r = batch_apply(m, i, head);

		if (r == -ENOSPC && !meta_ballast_release(m->slot[i].meta))
			r = batch_apply(m, i, head);
		if (r && !slot_put_out(m, i, "map", r))
			mirror_break(
				m,
				"the map of the last store cannot be written");
	}
	slots_unpin(m, pin);
	while (head) {
		struct feed_record *next = head->next;

		free(head);
		head = next;
	}
}

static void *feed_thread(void *arg)
{
	struct mirror *m = arg;
	struct feed *f = &m->feed;

	mutex_lock(&f->lock);
	for (;;) {
		struct feed_record *head = f->head, *last;
		uint64_t count = 1;

		if (!head) {
			if (f->stop)
				break;
			cond_wait(&f->fed, &f->lock);
			continue;
		}
		for (last = head; last->next && count < FEED_BATCH; count++)
			last = last->next;
		f->head = last->next;
		if (!f->head)
			f->tail = &f->head;
		last->next = NULL;
		mutex_unlock(&f->lock);
		batch_run(m, head);
		mutex_lock(&f->lock);
		f->done_count += count;
		cond_broadcast(&f->drained);
	}
	mutex_unlock(&f->lock);
	return NULL;
}

int feed_start(struct mirror *m)
{
	struct feed *f = &m->feed;

	mutex_init(&f->lock, LOCK_RANK_LEAF);
	cond_init(&f->fed);
	cond_init(&f->drained);
	f->head = NULL;
	f->tail = &f->head;
	return -pthread_create(&f->thread, NULL, feed_thread, m);
}

void feed_stop(struct mirror *m)
{
	struct feed *f = &m->feed;

	mutex_lock(&f->lock);
	f->stop = true;
	cond_signal(&f->fed);
	mutex_unlock(&f->lock);
	(void)pthread_join(f->thread, NULL);
	cond_done(&f->drained);
	cond_done(&f->fed);
	mutex_done(&f->lock);
}

void feed_drain(struct mirror *m)
{
	struct feed *f = &m->feed;
	uint64_t want;

	mutex_lock(&f->lock);
	want = f->put_count;
	while (f->done_count < want)
		cond_wait(&f->drained, &f->lock);
	mutex_unlock(&f->lock);
}

static void feed_push(struct mirror *m, struct feed_record *rec)
{
	struct feed *f = &m->feed;

	if (!rec) {
		mirror_break(m, "out of memory");
		return;
	}
	mutex_lock(&f->lock);
	if (!f->head)
		cond_signal(&f->fed);
	*f->tail = rec;
	f->tail = &rec->next;
	f->put_count++;
	mutex_unlock(&f->lock);
}

static struct feed_record *record_new(struct op *op, enum feed_kind kind,
				      size_t places, const char *name)
{
	size_t head = sizeof(struct feed_record) +
		      places * sizeof(struct meta_backing);
	size_t name_len = name ? strlen(name) : 0;
	struct feed_record *rec = calloc(1, head + name_len + 1);

	if (!rec)
		return NULL;
	rec->kind = kind;
	rec->mask = op->mask;
	if (name) {
		rec->name = (char *)rec + head;
		rec->name_len = (uint16_t)name_len;
		memcpy(rec->name, name, name_len + 1);
	}
	return rec;
}

void feed_node_put(struct op *op, slot_mask mask, const struct node *n,
		   uint64_t seq)
{
	struct mirror *m = op->m;
	struct feed_record *rec =
		record_new(op, FEED_NODE_PUT, m->place_count, NULL);

	if (rec) {
		rec->mask = mask;
		rec->id = n->id;
		rec->node_kind = n->kind;
		rec->attr_seq = rec->seq = seq;
		for_each_slot(i, mask) rec->backing[i] = n->place[i].backing;
	}
	feed_push(m, rec);
}

void feed_node_del(struct op *op, uint64_t id)
{
	struct feed_record *rec = record_new(op, FEED_NODE_DEL, 0, NULL);

	if (rec)
		rec->id = id;
	feed_push(op->m, rec);
}

void feed_node_raise(struct op *op, uint64_t id, uint64_t seq)
{
	struct feed_record *rec = record_new(op, FEED_NODE_RAISE, 0, NULL);

	if (rec) {
		rec->id = id;
		rec->attr_seq = rec->seq = seq;
	}
	feed_push(op->m, rec);
}

void feed_dentry_put(struct op *op, uint64_t parent, const char *name,
		     uint64_t node, uint64_t seq)
{
	struct feed_record *rec = record_new(op, FEED_DENTRY_PUT, 0, name);

	if (rec) {
		rec->parent = parent;
		rec->id = node;
		rec->seq = seq;
	}
	feed_push(op->m, rec);
}

void feed_dentry_del(struct op *op, uint64_t parent, const char *name)
{
	struct feed_record *rec = record_new(op, FEED_DENTRY_DEL, 0, name);

	if (rec)
		rec->parent = parent;
	feed_push(op->m, rec);
}
