/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Map rows of the namespace, fed to the maps behind the reply.
 *
 * The files of the stores are the truth about names while the volume is
 * mounted; an armed directory is listed anew after a crash.  So the rows need
 * not be written before the application goes on: a thread of its own takes
 * them, in the order of the operations, in batches that readers can see
 * (meta_begin_soft) and that become durable with the next commit.
 *
 * A row costs little and a transaction much, so the thread sleeps until there
 * are FEED_WAKE of them or somebody needs them: who must read the maps waits
 * for what was put before (feed_drain(), or feed_drain_dir() where only one
 * directory matters), and a checkpoint drains before it closes its cut.
 * Meanwhile a record can still be changed: a directory is raised once for many
 * entries, and a name or a node that comes and goes leaves almost nothing.
 */
#include "fs/mirror/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FEED_WAKE  512u
#define FEED_BATCH 2048u

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
	case FEED_NOTHING:
		return 0;
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

/* Locked: is it time to write? */
static bool feed_is_due(const struct feed *f)
{
	return f->head && (f->stop || f->done_count < f->wanted_count ||
			   f->put_count - f->done_count >= FEED_WAKE);
}

/* Locked: the next batch; from now on its records stay as they are. */
static struct feed_record *batch_take(struct feed *f, uint64_t *ret_count)
{
	struct feed_record *head = f->head, *last = head;
	uint64_t count = 1;

	for (; last->next && count < FEED_BATCH; count++)
		last = last->next;
	f->head = last->next;
	if (!f->head)
		f->tail = &f->head;
	last->next = NULL;
	f->taken_count += count;
	*ret_count = count;
	return head;
}

static void *feed_thread(void *arg)
{
	struct mirror *m = arg;
	struct feed *f = &m->feed;

	mutex_lock(&f->lock);
	for (;;) {
		struct feed_record *head;
		uint64_t count;

		if (!feed_is_due(f)) {
			if (f->stop)
				break;
			cond_wait(&f->fed, &f->lock);
			continue;
		}
		head = batch_take(f, &count);
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

/* Locked: wait until the first @count records are in the maps. */
static void drain_through(struct feed *f, uint64_t count) REQUIRES(f->lock)
{
	if (f->done_count < count && f->wanted_count < count) {
		f->wanted_count = count;
		cond_signal(&f->fed);
	}
	while (f->done_count < count)
		cond_wait(&f->drained, &f->lock);
}

void feed_drain(struct mirror *m)
{
	struct feed *f = &m->feed;

	mutex_lock(&f->lock);
	drain_through(f, f->put_count);
	mutex_unlock(&f->lock);
}

void feed_drain_dir(struct mirror *m, struct node *dir)
{
	struct feed *f = &m->feed;

	mutex_lock(&f->lock);
	drain_through(f, dir->fed.entries);
	mutex_unlock(&f->lock);
}

/* Locked: the record that @mark stands for, while it can be changed. */
static struct feed_record *mark_open(const struct feed *f,
				     const struct feed_mark *mark)
{
	return mark->at > f->taken_count ? mark->rec : NULL;
}

/* Locked: returns its place in the order of all, from 1. */
static uint64_t feed_push(struct feed *f, struct feed_record *rec)
{
	*f->tail = rec;
	f->tail = &rec->next;
	f->put_count++;
	if (f->put_count - f->done_count == FEED_WAKE)
		cond_signal(&f->fed);
	return f->put_count;
}

/* NULL: no memory, which is said. */
static struct feed_record *record_new(struct op *op, enum feed_kind kind,
				      size_t places, const char *name)
{
	size_t head = sizeof(struct feed_record) +
		      places * sizeof(struct meta_backing);
	size_t name_len = name ? strlen(name) : 0;
	struct feed_record *rec = calloc(1, head + name_len + 1);

	if (!rec) {
		mirror_break(op->m, "out of memory");
		return NULL;
	}
	rec->kind = kind;
	rec->mask = op->mask;
	if (name) {
		rec->name = (char *)rec + head;
		rec->name_len = (uint16_t)name_len;
		memcpy(rec->name, name, name_len + 1);
	}
	return rec;
}

void feed_node_put(struct op *op, slot_mask mask, struct node *n, uint64_t seq)
{
	struct mirror *m = op->m;
	struct feed *f = &m->feed;
	struct feed_record *rec =
		record_new(op, FEED_NODE_PUT, m->place_count, NULL);

	if (!rec)
		return;
	rec->mask = mask;
	rec->id = n->id;
	rec->node_kind = n->kind;
	rec->attr_seq = rec->seq = seq;
	for_each_slot(i, mask) rec->backing[i] = n->place[i].backing;
	mutex_lock(&f->lock);
	n->fed.birth = (struct feed_mark){rec, feed_push(f, rec)};
	mutex_unlock(&f->lock);
}

void feed_birth_raise(struct op *op, struct node *n)
{
	struct feed *f = &op->m->feed;
	struct feed_record *rec;

	mutex_lock(&f->lock);
	rec = mark_open(f, &n->fed.birth);
	if (rec)
		rec->attr_seq = rec->seq = MAX(rec->seq, op->seq);
	mutex_unlock(&f->lock);
}

/*
 * One whose row is not written yet needs no row, and has no extents: a
 * checkpoint drains before it writes them.
 */
void feed_node_del(struct op *op, struct node *n)
{
	struct feed *f = &op->m->feed;
	struct feed_record *rec = record_new(op, FEED_NODE_DEL, 0, NULL), *old;

	if (!rec)
		return;
	rec->id = n->id;
	mutex_lock(&f->lock);
	old = mark_open(f, &n->fed.birth);
	if (old && !(old->mask & ~rec->mask))
		old->kind = FEED_NOTHING;
	else
		old = NULL;
	if (!old)
		(void)feed_push(f, rec);
	mutex_unlock(&f->lock);
	if (old)
		free(rec);
}

void feed_node_raise(struct op *op, struct node *n, uint64_t seq)
{
	struct feed *f = &op->m->feed;
	struct feed_record *rec = record_new(op, FEED_NODE_RAISE, 0, NULL),
			   *old;

	if (!rec)
		return;
	rec->id = n->id;
	rec->attr_seq = rec->seq = seq;
	mutex_lock(&f->lock);
	old = mark_open(f, &n->fed.raise);
	if (old && old->mask == rec->mask)
		old->attr_seq = old->seq = MAX(old->seq, seq);
	else
		old = NULL;
	if (!old)
		n->fed.raise = (struct feed_mark){rec, feed_push(f, rec)};
	mutex_unlock(&f->lock);
	if (old)
		free(rec);
}

void feed_dentry_put(struct op *op, struct node *parent, const char *name,
		     struct node *n, uint64_t seq)
{
	struct feed *f = &op->m->feed;
	struct feed_record *rec = record_new(op, FEED_DENTRY_PUT, 0, name);

	if (!rec)
		return;
	rec->parent = parent->id;
	rec->id = n->id;
	rec->seq = seq;
	mutex_lock(&f->lock);
	parent->fed.entries = feed_push(f, rec);
	n->fed.name = (struct feed_mark){rec, parent->fed.entries};
	mutex_unlock(&f->lock);
}

/*
 * A name that is not written yet is turned into its own removal: it may have
 * taken the place of one that is written.  Nobody else has had it since then.
 */
static bool name_take_back(struct feed *f, const struct node *n,
			   const struct feed_record *rec)
{
	struct feed_record *old = mark_open(f, &n->fed.name);

	if (!old || old->kind != FEED_DENTRY_PUT || old->mask != rec->mask ||
	    old->parent != rec->parent || old->name_len != rec->name_len ||
	    memcmp(old->name, rec->name, rec->name_len) != 0)
		return false;
	old->kind = FEED_DENTRY_DEL;
	return true;
}

void feed_dentry_del(struct op *op, struct node *parent, const char *name,
		     struct node *n)
{
	struct feed *f = &op->m->feed;
	struct feed_record *rec = record_new(op, FEED_DENTRY_DEL, 0, name);
	bool gone;

	if (!rec)
		return;
	rec->parent = parent->id;
	mutex_lock(&f->lock);
	gone = name_take_back(f, n, rec);
	if (!gone)
		parent->fed.entries = feed_push(f, rec);
	mutex_unlock(&f->lock);
	if (gone)
		free(rec);
}
