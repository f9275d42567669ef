/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arming: before a store is touched, an intent of the operation's generation
 * lies durably over the place on that store's own map (I2).
 *
 * Once per generation for a directory or a node's attributes; for data in
 * windows of 1 MiB that grow to 64 MiB ahead of a file written in sequence, or
 * around the places of one that is written here and there and that the budget
 * has room for as a whole (a wide window over a part of a large file would use
 * up the budget and hardly ever be hit again).  A small file is armed as far
 * as it goes.  Who works in one directory after the other gets those that
 * follow armed along, twice as many each time, and so does who changes the
 * attributes of one entry after the other.  More than what is touched may be
 * armed, never less.
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
#include "fs/mirror/map_change.h"
#include "fs/mirror/room.h"

static struct node_armed *armed_of(struct node *n, uint64_t gen)
{
	struct node_armed *a = &n->armed[gen & 1];

	if (a->gen != gen) {
		a->gen = gen;
		a->attr = a->attr_along = a->name = false;
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
		a->attr_along = q->along && !a->attr;
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

static int intents_put(struct meta *meta, const void *arg)
{
	const struct arm_batch *b = arg;
	int r = FAULT_ERR("mirror.arm");

	for (size_t k = 0; !r && k < b->count; k++)
		r = meta_intent_put(meta, &b->v[k].intent);
	return r;
}

static int arm_commit(struct mirror *m, unsigned int slot, void *arg)
{
	return map_change(m, slot, intents_put, arg);
}

/* Lock held: commit all that is queued; the lock is given up meanwhile. */
static void arm_lead(struct mirror *m) REQUIRES(m->lock)
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
			slot_map_failed_locked(m, i, res[i]);
	}
	if (failed & m->online) { /* the last one: no cover, no change */
		mirror_break_locked(m, "the last store's map cannot be written",
				    0);
	} else {
		vec_for_each (q, &batch)
			mark_armed(m, q);
	}
	m->arm_done = ticket;
	m->arming = false;
	cond_broadcast(&m->armed);
	mutex_unlock(&m->lock);
	for_each_slot(i, failed)(void) slot_put_out(m, i, "map", res[i]);
	vec_for_each (q, &batch)
		if (q->along)
			node_put(m, q->node);
	vec_done(&batch);
	mutex_lock(&m->lock);
}

/* Table locked: how many directories to arm along with @dir. */
static unsigned int siblings_wanted(const struct op *op, struct node *dir)
{
	struct node *parent = dir->parent;

	if (!parent)
		return 0;
	if (parent->dirs_gen != op->gen) {
		parent->dirs_gen = op->gen;
		parent->dirs_ahead = 0;
		return 0;
	}
	parent->dirs_ahead = MIN(parent->dirs_ahead * 2 + 1, ARM_SIBLINGS_MAX);
	return parent->dirs_ahead;
}

/*
 * Lock held: the directories after @dir in the one above, as they were looked
 * up, are queued as well.  Without memory they are armed when their turn comes.
 */
static void arm_siblings(struct op *op, struct node *dir)
{
	struct mirror *m = op->m;
	struct meta_intent in = {.kind = META_INTENT_NAME,
				 .generation = op->gen};
	unsigned int want;

	mutex_lock(&m->table);
	want = siblings_wanted(op, dir);
	if (want && vec_reserve(&m->arm_queue, m->arm_queue.count + want))
		want = 0;
	for (struct node *n = dir->dir_next; n && want; n = n->dir_next) {
		if (n->born_gen == op->gen || armed_of(n, op->gen)->name)
			continue;
		in.node = n->id;
		n->refs++;
		want--;
		if (vec_push(&m->arm_queue,
			     ((struct arm_request){in, n, true})))
			n->refs--; /* there is room: this does not happen */
	}
	mutex_unlock(&m->table);
}

static int arm_wait(struct mirror *m, uint64_t ticket) REQUIRES(m->lock)
{
	while (m->arm_done < ticket) {
		if (m->arming)
			cond_wait(&m->armed, &m->lock);
		else
			arm_lead(m);
	}
	return m->broken || mirror_is_short(m) ? -EROFS : 0;
}

/* Entries of one directory whose attributes may be armed along; references. */
struct others {
	unsigned int count;
	struct node *node[ARM_ATTRS_MAX];
};

/* Lock held: how many are wanted. Twice as many each time, as long as half of
 * the last ones were of use. */
static unsigned int others_wanted(struct mirror *m)
{
	m->attrs_ahead = m->attrs_used * 2 >= m->attrs_along
				 ? MIN(m->attrs_ahead * 2 + 1, ARM_ATTRS_MAX)
				 : m->attrs_ahead / 2;
	m->attrs_along = m->attrs_used = 0;
	return m->attrs_ahead;
}

static int others_read(struct op *op, struct meta_reader *rd, struct node *n,
		       unsigned int want, struct others *ret)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_dentry d;
	int r = meta_dentry_of(rd, n->id, &d);

	if (!r)
		r = meta_iter_dentries(rd, d.parent, d.cookie, &it);
	for (unsigned int rows = 0; !r && ret->count < want && rows < want * 2;
	     rows++) {
		r = meta_next_dentry(&it, &d);
		if (r <= 0)
			break;
		r = 0;
		ret->node[ret->count] = node_peek(op->m, d.node);
		if (ret->node[ret->count])
			ret->count++;
	}
	return r;
}

/* Those behind @n in the order of readdir, which the kernel knows: who changes
 * one after the other goes by it, and has looked at them before. A hint. */
static void others_find(struct op *op, struct node *n, unsigned int want,
			struct others *ret)
{
	unsigned int order[META_STORE_MAX];
	struct meta_reader *rd;

	if (!want || !fan_order(op->m, op_slots(op), order))
		return;
	rd = meta_reader_get(op->m->slot[order[0]].meta);
	if (!rd)
		return;
	if (!meta_read_begin(rd)) {
		ignore_result(others_read(op, rd, n, want, ret));
		meta_read_end(rd);
	}
	meta_reader_put(rd);
}

/* Lock held: they are queued as well. A reference that went along is NULL. */
static void arm_others(struct op *op, struct others *others)
{
	struct mirror *m = op->m;
	struct meta_intent in = {.kind = META_INTENT_ATTR,
				 .generation = op->gen};

	if (vec_reserve(&m->arm_queue, m->arm_queue.count + others->count))
		return;
	for (unsigned int i = 0; i < others->count; i++) {
		struct node *n = others->node[i];

		in.node = n->id;
		if (is_covered(op, n, &in) ||
		    vec_push(&m->arm_queue,
			     ((struct arm_request){in, n, true})))
			continue;
		others->node[i] = NULL;
		m->attrs_along++;
	}
}

static int arm_ask(struct mirror *m, struct op *op, struct node *n,
		   const struct meta_intent *in, struct others *others)
	REQUIRES(m->lock)
{
	int r = vec_push(&m->arm_queue, ((struct arm_request){*in, n, false}));

	if (r)
		return r;
	if (in->kind == META_INTENT_NAME)
		arm_siblings(op, n);
	if (others)
		arm_others(op, others);
	m->arm_ticket++;
	if (in->kind == META_INTENT_DATA) {
		n->arming = (struct range){in->start, in->end};
		n->arming_ticket = m->arm_ticket;
	}
	return arm_wait(m, m->arm_ticket);
}

/* Lock held: has somebody asked for that range already, who is not done? */
static bool is_arming(struct mirror *m, const struct node *n,
		      const struct meta_intent *in)
{
	return in->kind == META_INTENT_DATA && m->arm_done < n->arming_ticket &&
	       range_covers(n->arming, (struct range){in->start, in->end});
}

static int arm(struct op *op, struct node *n, struct meta_intent in,
	       struct others *others)
{
	struct mirror *m = op->m;
	int r = 0;

	in.node = n->id;
	in.generation = op->gen;
	mutex_lock(&m->lock);
	if (is_arming(m, n, &in))
		r = arm_wait(m, n->arming_ticket);
	if (!r && !is_covered(op, n, &in))
		r = arm_ask(m, op, n, &in, others);
	mutex_unlock(&m->lock);
	return r;
}

int op_arm_name(struct op *op, struct node *dir)
{
	return arm(op, dir, (struct meta_intent){.kind = META_INTENT_NAME},
		   NULL);
}

int op_arm_attr(struct op *op, struct node *n)
{
	struct meta_intent in = {.kind = META_INTENT_ATTR};
	struct mirror *m = op->m;
	struct others others;
	unsigned int want;
	bool covered;
	int r;

	if (node_is_gone(n, op->gen))
		return 0;
	mutex_lock(&m->lock);
	covered = is_covered(op, n, &in);
	if (covered && armed_of(n, op->gen)->attr_along) {
		armed_of(n, op->gen)->attr_along = false;
		m->attrs_used++;
	}
	want = covered ? 0 : others_wanted(m);
	mutex_unlock(&m->lock);
	if (covered)
		return 0;
	others.count = 0;
	others_find(op, n, want, &others);
	r = arm(op, n, in, &others);
	for (unsigned int i = 0; i < others.count; i++)
		node_put(m, others.node[i]);
	return r;
}

/*
 * Ranges locked.  What comes in sequence comes from several threads, not quite in
 * order: one that lies in the last window has that armed by another thread in
 * this moment, and one close before it ends no sequence.
 */
static bool window_known(const struct op *op, const struct node *n,
			 struct range r, struct range *ret)
{
	const struct range *at = &n->window_at;

	if (!n->window || n->window_gen != op->gen || r.end > at->end)
		return false;
	if (range_covers(*at, r)) {
		*ret = *at;
		return true;
	}
	*ret = range_align_out(r, ARM_WINDOW);
	return n->in_sequence && at->start - r.start <= ARM_NEAR;
}

/* Ranges locked: does @r go on where the last window ended? */
static bool window_follows(const struct node *n, struct range r, uint64_t ahead)
{
	const struct range *at = &n->window_at;

	return n->window && r.end > at->end && r.start >= at->start &&
	       r.start <= at->end + ahead;
}

/* Ranges locked. @last: where the file ends, with @r; @armed: bytes of it that
 * are armed already. */
static struct range window_new(struct op *op, struct node *n, struct range r,
			       uint64_t last, uint64_t armed, uint64_t spare)
{
	uint64_t ahead = n->window_gen == op->gen ? n->window : n->window / 4;
	struct range w;

	ahead = MAX(ahead, ARM_WINDOW);
	n->in_sequence = false;
	if (last <= ARM_WINDOW) {
		ahead = ARM_WINDOW;
		w = range_align_out((struct range){0, last}, META_BLOCK);
	} else if (window_follows(n, r, ahead)) {
		ahead = MIN(ahead * 2, ARM_WINDOW_MAX);
		w = range_align_out(r, ARM_WINDOW);
		w.start = MIN(w.start, n->window_at.end);
		w.end = MAX(w.end, w.start + ahead);
		n->in_sequence = true;
	} else {
		/* The first one of all is as narrow as any. */
		if (last - MIN(armed, last) > spare)
			ahead = ARM_WINDOW;
		else if (n->window)
			ahead = MIN(ahead * 4, ARM_WINDOW_MAX);
		w = range_align_out(r, ahead);
	}
	n->window = ahead;
	n->window_gen = op->gen;
	return w;
}

/* @size: of the file now, of which @armed bytes are armed already. */
static struct range window_choose(struct op *op, struct node *n, struct range r,
				  uint64_t size, uint64_t armed, uint64_t spare)
{
	struct range w, all = {0, size};
	bool known;

	mutex_lock(&n->ranges);
	known = window_known(op, n, r, &w);
	if (!known)
		w = window_new(op, n, r, MAX(size, r.end), armed, spare);
	/* It is not being extended. */
	if (!known && r.end <= range_align_out(all, META_BLOCK).end)
		w.end = MIN(w.end, range_align_out(all, ARM_WINDOW).end);
	w.end = MIN(w.end, META_RANGE_MAX);
	if (!known)
		n->window_at = w;
	mutex_unlock(&n->ranges);
	return w;
}

/* The end of one generation and the beginning of the next go on together. */
static void note_writing(struct node *n, uint64_t gen)
{
	uint64_t was = atomic_load(&n->written_gen);

	while (was < gen &&
	       !atomic_compare_exchange_weak(&n->written_gen, &was, gen))
		;
}

/* The largest that a filesystem of theirs has; of the map's own at least. */
static uint64_t largest_block(struct op *op)
{
	uint64_t block = META_BLOCK;
	slot_mask mask = op_slots(op);

	for_each_slot(i, mask)
	{
		const struct store_caps *c = store_caps(op->m->slot[i].store);

		block = MAX(block, (uint64_t)c->block_size);
	}
	return block;
}

/*
 * A file of @size bytes that goes on at @start, further behind: what is left of
 * the block that it ends in, be it a large one, is armed as well.  What a cut left
 * on the disk behind the end, a filesystem may show again when it loses its power
 * before the zeros there are written: btrfs does (tests/crash/plain_btrfs.py).
 */
static int arm_end(struct op *op, struct node *n, uint64_t size, uint64_t start)
{
	struct meta_intent in = {.kind = META_INTENT_DATA};
	uint64_t block = largest_block(op);

	if (size % block == 0 || size >= start)
		return 0;
	in.start = size - size % META_BLOCK;
	in.end = size - size % block + block;
	return arm(op, n, in, NULL);
}

int op_arm_data(struct op *op, struct node *n, uint64_t start, uint64_t end)
{
	struct meta_intent in = {.kind = META_INTENT_DATA};
	struct range r =
		range_align_out((struct range){start, end}, META_BLOCK);
	struct mirror *m = op->m;
	uint64_t armed, spare;
	struct stat st;
	bool covered;
	int err;

	note_writing(n, op->gen);
	if (node_is_gone(n, op->gen))
		return 0;
	in.node = n->id;
	in.start = r.start;
	in.end = r.end;
	mutex_lock(&m->lock);
	covered = is_covered(op, n, &in);
	armed = covered ? 0 : range_set_bytes(&armed_of(n, op->gen)->data);
	spare = budget_spare(m);
	mutex_unlock(&m->lock);
	if (covered)
		return 0;
	err = node_stat(m, n, STORE_STAT_NO_TIMES, &st);
	if (err)
		return err;
	r = window_choose(op, n, r, (uint64_t)st.st_size, armed, spare);
	err = arm_end(op, n, (uint64_t)st.st_size, r.start);
	if (err)
		return err;
	in.start = r.start;
	in.end = r.end;
	return arm(op, n, in, NULL);
}

void op_born(struct op *op, struct node *n)
{
	mutex_lock(&op->m->lock);
	n->born_gen = op->gen;
	mutex_unlock(&op->m->lock);
}
