/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arming: before a store is touched, an intent of the operation's generation
 * lies durably over the place on that store's own map (I2).
 *
 * Once per generation for a directory or a node's attributes; for data in
 * windows of 1 MiB that grow to 64 MiB ahead of a file written in sequence.
 * What was born in this generation lies under its directory's intent.
 *
 * Group commit: requests queue under mirror.lock; the first thread that finds
 * nobody committing takes the whole queue to all maps in parallel, the others
 * wait for their ticket.  A store whose map cannot take it is marked out
 * before anybody goes on, so that no call reaches it without cover.
 */
#include "fs/mirror/internal.h"

#include <errno.h>

#include "base/fault.h"

static struct node_armed *armed_of(struct node *n, uint64_t gen)
{
	struct node_armed *a = &n->armed[gen & 1];

	if (a->gen != gen) {
		a->gen = gen;
		a->attr = a->name = false;
		range_set_clear(&a->data);
	}
	return a;
}

static bool is_covered(struct op *op, struct node *n,
		       const struct meta_intent *in)
{
	struct node_armed *a;

	if (n->born_gen == op->gen)
		return true;
	a = armed_of(n, op->gen);
	switch (in->kind) {
	case META_INTENT_NAME:
		return a->name;
	case META_INTENT_ATTR:
		return a->attr || a->name || !range_set_is_empty(&a->data);
	case META_INTENT_DATA:
		return range_set_covers(&a->data,
					(struct range){in->start, in->end});
	}
	return false;
}

static void mark_armed(struct mirror *m, const struct arm_request *q)
{
	struct node_armed *a = armed_of(q->node, q->intent.generation);
	uint64_t before = range_set_bytes(&a->data), bytes = ARM_SMALL;

	switch (q->intent.kind) {
	case META_INTENT_NAME:
		a->name = true;
		break;
	case META_INTENT_ATTR:
		a->attr = true;
		break;
	case META_INTENT_DATA:
		/* Without memory it is armed again next time: harmless. */
		if (range_set_add(&a->data, (struct range){q->intent.start,
							   q->intent.end}))
			bytes = q->intent.end - q->intent.start;
		else
			bytes = range_set_bytes(&a->data) - before;
		break;
	}
	m->armed_bytes[q->intent.generation & 1] += bytes;
}

struct arm_batch {
	const struct arm_request *v;
	size_t count;
};

static int arm_commit(struct mirror *m, unsigned int slot, void *arg)
{
	const struct arm_batch *b = arg;
	struct meta *meta = m->slot[slot].meta;
	int r = FAULT_ERR("mirror.arm");

	for (int tries = 0; !r && tries < 2; tries++) {
		r = meta_begin(meta);
		for (size_t k = 0; !r && k < b->count; k++)
			r = meta_intent_put(meta, &b->v[k].intent);
		if (!r)
			r = meta_commit(meta);
		else
			meta_rollback(meta);
		if (r != -ENOSPC || tries)
			break;
		r = meta_ballast_release(meta);
	}
	return r;
}

/* Lock held: commit all that is queued; the lock is given up meanwhile. */
static void arm_lead(struct mirror *m)
{
	VEC(struct arm_request) batch;
	struct arm_batch arg;
	uint64_t ticket = m->arm_ticket;
	slot_mask mask = m->online, failed = 0;
	int res[META_STORE_MAX] = {0};

	m->arming = true;
	vec_init(&batch);
	batch.data = m->arm_queue.data;
	batch.count = m->arm_queue.count;
	batch.capacity = m->arm_queue.capacity;
	vec_init(&m->arm_queue);
	for_each_slot(i, mask) m->slot[i].users++;
	mutex_unlock(&m->lock);
	FAULT_POINT("mirror.arm.before");
	arg = (struct arm_batch){batch.data, batch.count};
	fan_run(m, mask, arm_commit, &arg, res);
	FAULT_POINT("mirror.arm.after");
	mutex_lock(&m->lock);
	for_each_slot(i, mask)
	{
		m->slot[i].users--;
		if (!res[i])
			continue;
		failed |= SLOT_BIT(i);
		if (m->slot[i].online && m->online != SLOT_BIT(i))
			slot_mark_out_locked(m, i, META_STORE_FAILED,
					     "its map could not be written");
	}
	if (failed & m->online) /* the last one: no cover, no change */
		mirror_break_locked(m, "the last store's map cannot be written",
				    0);
	vec_for_each (q, &batch)
		mark_armed(m, q);
	vec_done(&batch);
	m->arm_done = ticket;
	m->arming = false;
	cond_broadcast(&m->armed);
	mutex_unlock(&m->lock);
	for_each_slot(i, failed)(void) slot_put_out(m, i, "map", res[i]);
	mutex_lock(&m->lock);
}

static int arm(struct op *op, struct node *n, struct meta_intent in)
{
	struct mirror *m = op->m;
	uint64_t ticket;
	int r = 0;

	in.node = n->id;
	in.generation = op->gen;
	mutex_lock(&m->lock);
	if (is_covered(op, n, &in)) {
		mutex_unlock(&m->lock);
		return 0;
	}
	r = vec_push(&m->arm_queue, ((struct arm_request){in, n}));
	if (!r) {
		ticket = ++m->arm_ticket;
		while (m->arm_done < ticket) {
			if (m->arming)
				cond_wait(&m->armed, &m->lock);
			else
				arm_lead(m);
		}
		if (m->broken)
			r = -EROFS;
	}
	mutex_unlock(&m->lock);
	return r;
}

int op_arm_name(struct op *op, struct node *dir)
{
	return arm(op, dir, (struct meta_intent){.kind = META_INTENT_NAME});
}

int op_arm_attr(struct op *op, struct node *n)
{
	if (node_is_unlinked(op->m, n))
		return 0;
	return arm(op, n, (struct meta_intent){.kind = META_INTENT_ATTR});
}

/* How far ahead to arm: further and further while a file is streamed. */
static uint64_t window_end(struct node *n, uint64_t start, uint64_t end)
{
	uint64_t ahead = ARM_WINDOW;

	mutex_lock(&n->ranges);
	if (start <= n->stream_end && n->stream_end <= end &&
	    n->stream_end > 0) {
		ahead = n->stream_window ? n->stream_window * 2 : ARM_WINDOW;
		if (ahead > ARM_WINDOW_MAX)
			ahead = ARM_WINDOW_MAX;
	}
	n->stream_window = ahead;
	mutex_unlock(&n->ranges);
	return start + ahead;
}

int op_arm_data(struct op *op, struct node *n, uint64_t start, uint64_t end)
{
	struct meta_intent in = {.kind = META_INTENT_DATA};
	struct range r =
		range_align_out((struct range){start, end}, META_BLOCK);
	uint64_t ahead;

	if (node_is_unlinked(op->m, n))
		return 0;
	in.node = n->id;
	in.start = r.start;
	in.end = r.end;
	mutex_lock(&op->m->lock);
	if (is_covered(op, n, &in)) {
		mutex_unlock(&op->m->lock);
		return 0;
	}
	mutex_unlock(&op->m->lock);
	r = range_align_out(r, ARM_WINDOW);
	ahead = window_end(n, r.start, r.end);
	in.start = r.start;
	in.end = MAX(r.end, ahead);
	if (in.end > META_RANGE_MAX)
		in.end = META_RANGE_MAX;
	return arm(op, n, in);
}

void op_born(struct op *op, struct node *n)
{
	mutex_lock(&op->m->lock);
	n->born_gen = op->gen;
	mutex_unlock(&op->m->lock);
}
