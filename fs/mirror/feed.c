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
 *
 * What the last store's map could not take is acknowledged, and listed by the next
 * recovery. Until then whoever asks for names of such a directory gets an error,
 * not an old answer.
 *
 * A batch is all that there is, and what belongs together is put at once: no map
 * ever has a node without a name, which nobody would find after a crash, and which
 * a lap would take for one that was removed.
 */
#include "fs/mirror/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/mirror/nameless.h"
#include "fs/mirror/room.h"

#define FEED_WAKE 512u

enum feed_kind {
	FEED_NODE_PUT,
	FEED_NODE_DEL,
	FEED_NODE_RAISE,
	FEED_DENTRY_PUT,
	FEED_DENTRY_DEL,
	FEED_NOTHING, /* was taken back before it was written */
};

struct feed_record {
	struct feed_record *next;
	enum feed_kind kind;
	slot_mask mask;
	uint64_t id; /* node */
	uint64_t parent;
	uint64_t attr_seq;
	uint64_t seq;
	enum meta_kind node_kind;
	uint16_t name_len;
	char *name; /* behind the backings in the same block */
	struct meta_backing backing[];
};

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

static int batch_apply(struct mirror *m, unsigned int slot, const void *arg)
{
	const struct feed_record *head = arg;
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

/* False: no map has it, as that of the last store cannot be written. */
static bool batch_run(struct mirror *m, const struct feed_record *head)
{
	slot_mask pin = slots_pin(m, NULL);
	bool done = true;

	for_each_slot(i, pin)
	{
		int r = room_try(m, i, batch_apply, head);

		if (r && !slot_put_out(m, i, "map", r)) {
			mirror_break(
				m,
				"the map of the last store cannot be written");
			done = false;
		}
	}
	slots_unpin(m, pin);
	return done;
}

static void batch_free(struct feed_record *head)
{
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
	struct feed_record *head = f->head;

	f->head = NULL;
	f->tail = &f->head;
	*ret_count = f->put_count - f->taken_count;
	f->taken_count = f->put_count;
	return head;
}

/* Locked: kept, to be known as what the maps do not say. */
static void batch_lose(struct feed *f, struct feed_record *head)
{
	struct feed_record *last = head;

	while (last->next)
		last = last->next;
	last->next = f->lost;
	f->lost = head;
}

static void *feed_thread(void *arg)
{
	struct mirror *m = arg;
	struct feed *f = &m->feed;

	mutex_lock(&f->lock);
	for (;;) {
		struct feed_record *head;
		uint64_t count;
		bool done;

		if (!feed_is_due(f)) {
			if (f->stop)
				break;
			cond_wait(&f->fed, &f->lock);
			continue;
		}
		head = batch_take(f, &count);
		mutex_unlock(&f->lock);
		done = batch_run(m, head);
		if (done)
			batch_free(head);
		mutex_lock(&f->lock);
		if (!done)
			batch_lose(f, head);
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
	f->lost = NULL;
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
	batch_free(f->lost);
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

/* Locked: was an entry of it changed, and no map has it? */
static bool names_lost(const struct feed *f, uint64_t dir)
{
	for (const struct feed_record *rec = f->lost; rec; rec = rec->next)
		if (rec->parent == dir && (rec->kind == FEED_DENTRY_PUT ||
					   rec->kind == FEED_DENTRY_DEL))
			return true;
	return false;
}

int feed_drain_dir(struct mirror *m, struct node *dir)
{
	struct feed *f = &m->feed;
	bool lost;

	mutex_lock(&f->lock);
	drain_through(f, dir->fed.entries);
	lost = names_lost(f, dir->id);
	mutex_unlock(&f->lock);
	return lost ? -EIO : 0;
}

void feed_drain_names(struct mirror *m, const struct node *n)
{
	struct feed *f = &m->feed;

	mutex_lock(&f->lock);
	drain_through(f, n->fed.names);
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

/* No record came of it: what was to go along with it is lost, too. */
static bool have_all(struct feed_record *const *rec, unsigned int count)
{
	bool all = true;

	for (unsigned int i = 0; i < count; i++)
		all = all && rec[i];
	for (unsigned int i = 0; !all && i < count; i++)
		free(rec[i]);
	return all;
}

static struct feed_record *row_record(struct op *op, slot_mask mask,
				      struct node *n, uint64_t seq)
{
	struct feed_record *rec =
		record_new(op, FEED_NODE_PUT, op->m->place_count, NULL);

	if (!rec)
		return NULL;
	rec->mask = mask;
	rec->id = n->id;
	rec->node_kind = n->kind;
	rec->attr_seq = rec->seq = seq;
	for_each_slot(i, mask) rec->backing[i] = node_place(n, i)->backing;
	return rec;
}

static struct feed_record *name_record(struct op *op, enum feed_kind kind,
				       struct node *parent, const char *name,
				       struct node *n, uint64_t seq)
{
	struct feed_record *rec = record_new(op, kind, 0, name);

	if (!rec)
		return NULL;
	rec->parent = parent->id;
	rec->id = n->id;
	rec->seq = seq;
	return rec;
}

static struct feed_record *gone_record(struct op *op, struct node *n)
{
	struct feed_record *rec = record_new(op, FEED_NODE_DEL, 0, NULL);

	if (rec)
		rec->id = n->id;
	return rec;
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
 * Locked. One whose row is not written yet needs no row, and has no extents: a
 * checkpoint drains before it writes them.
 */
static void push_gone(struct feed *f, struct node *n, struct feed_record *rec)
{
	struct feed_record *old = mark_open(f, &n->fed.birth);

	if (old && !(old->mask & ~rec->mask)) {
		old->kind = FEED_NOTHING;
		free(rec);
	} else {
		(void)feed_push(f, rec);
	}
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

/* Locked. */
static void push_name(struct feed *f, struct node *parent, struct node *n,
		      struct feed_record *rec)
{
	parent->fed.entries = n->fed.names = feed_push(f, rec);
	n->fed.name = (struct feed_mark){rec, n->fed.names};
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

/* Locked. What took back a record has its place, which is no later one. */
static void push_nameless(struct feed *f, struct node *parent, struct node *n,
			  struct feed_record *rec)
{
	if (name_take_back(f, n, rec))
		free(rec);
	else
		parent->fed.entries = n->fed.names = feed_push(f, rec);
}

void feed_born(struct op *op, slot_mask mask, struct node *n,
	       struct node *parent, const char *name, uint64_t seq)
{
	struct feed *f = &op->m->feed;
	struct feed_record *rec[] = {
		row_record(op, mask, n, op->seq),
		name_record(op, FEED_DENTRY_PUT, parent, name, n, seq),
	};

	if (!have_all(rec, ARRAY_SIZE(rec)))
		return;
	mutex_lock(&f->lock);
	n->fed.birth = (struct feed_mark){rec[0], feed_push(f, rec[0])};
	push_name(f, parent, n, rec[1]);
	mutex_unlock(&f->lock);
}

void feed_named(struct op *op, struct node *parent, const char *name,
		struct node *n, uint64_t seq)
{
	struct feed *f = &op->m->feed;
	struct feed_record *rec =
		name_record(op, FEED_DENTRY_PUT, parent, name, n, seq);

	if (!rec)
		return;
	mutex_lock(&f->lock);
	push_name(f, parent, n, rec);
	mutex_unlock(&f->lock);
}

void feed_moved(struct op *op, const struct feed_move *move)
{
	struct feed *f = &op->m->feed;
	struct node *n = move->n, *gone = move->gone;
	struct feed_record *rec[] = {
		name_record(op, FEED_DENTRY_DEL, move->from, move->old_name, n,
			    0),
		name_record(op, FEED_DENTRY_PUT, move->to, move->new_name, n,
			    op->seq),
		gone ? gone_record(op, gone) : NULL,
	};

	if (!have_all(rec, gone ? 3 : 2))
		return;
	mutex_lock(&f->lock);
	push_nameless(f, move->from, n, rec[0]);
	push_name(f, move->to, n, rec[1]);
	if (gone)
		push_gone(f, gone, rec[2]);
	mutex_unlock(&f->lock);
}

void feed_exchanged(struct op *op, const struct feed_move *move,
		    struct node *other)
{
	struct feed *f = &op->m->feed;
	struct feed_record *rec[] = {
		name_record(op, FEED_DENTRY_PUT, move->to, move->new_name,
			    move->n, op->seq),
		name_record(op, FEED_DENTRY_PUT, move->from, move->old_name,
			    other, op->seq + 1),
	};

	if (!have_all(rec, ARRAY_SIZE(rec)))
		return;
	mutex_lock(&f->lock);
	push_name(f, move->to, move->n, rec[0]);
	push_name(f, move->from, other, rec[1]);
	mutex_unlock(&f->lock);
}

void feed_unnamed(struct op *op, struct node *parent, const char *name,
		  struct node *n, bool last)
{
	struct feed *f = &op->m->feed;
	struct feed_record *rec[] = {
		name_record(op, FEED_DENTRY_DEL, parent, name, n, 0),
		last ? gone_record(op, n) : NULL,
	};

	if (!have_all(rec, last ? 2 : 1))
		return;
	mutex_lock(&f->lock);
	push_nameless(f, parent, n, rec[0]);
	if (last)
		push_gone(f, n, rec[1]);
	mutex_unlock(&f->lock);
}
