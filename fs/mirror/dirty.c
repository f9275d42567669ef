/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What operations changed, kept in memory until their generation's checkpoint
 * writes it into the maps: byte ranges with their seq (0: now a hole) and the
 * attributes.  Noted whatever the outcome on any store (I4): a seq may say too
 * much, never too little.
 */
#include "fs/mirror/internal.h"

#include "base/clock.h"

static void dirty_list(struct mirror *m, struct node *n, unsigned int parity)
{
	struct node_dirty *d = &n->dirty[parity];

	if (d->listed)
		return;
	d->listed = true;
	mutex_lock(&m->table);
	n->refs++;
	d->next = m->dirty[parity];
	m->dirty[parity] = n;
	mutex_unlock(&m->table);
}

void dirty_attr(struct op *op, struct node *n)
{
	unsigned int parity = op->gen & 1;
	struct node_dirty *d = &n->dirty[parity];

	if (node_is_gone(n, op->gen))
		return;
	mutex_lock(&n->ranges);
	if (op->seq > d->attr_seq)
		d->attr_seq = op->seq;
	if (op->seq > d->seq)
		d->seq = op->seq;
	dirty_list(op->m, n, parity);
	mutex_unlock(&n->ranges);
	feed_birth_raise(op, n);
}

void dirty_any_locked(struct mirror *m)
{
	if (m->dirty_any)
		return;
	m->dirty_any = true;
	m->gen_began_ns = clock_mono_ns();
	cond_signal(&m->wake);
}

void dirty_ctime(struct mirror *m, struct node *n)
{
	unsigned int parity;

	if (n->unlinked)
		return;
	mutex_lock(&n->ranges);
	mutex_lock(&m->lock); /* the cut of this generation comes after */
	parity = m->gen & 1;
	/* No durable_seq moves before an epoch has begun. */
	if (!m->epoch_due)
		dirty_any_locked(m);
	dirty_list(m, n, parity);
	mutex_unlock(&m->lock);
	mutex_unlock(&n->ranges);
}

int dirty_note(struct op *op, struct node *n, uint64_t start, uint64_t end,
	       bool hole)
{
	struct mirror *m = op->m;
	unsigned int parity = op->gen & 1;
	struct range r =
		range_align_out((struct range){start, end}, META_BLOCK);
	bool born;
	int err;

	if (node_is_gone(n, op->gen))
		return 0;
	mutex_lock(&n->ranges);
	err = range_map_set(&n->dirty[parity].data, r, hole ? 0 : op->seq);
	mutex_unlock(&n->ranges);
	dirty_attr(op, n);
	if (err) {
		/* The intent stays for good: nothing is checkpointed again. */
		mirror_break(m, "out of memory");
		return err;
	}
	mutex_lock(&m->lock);
	born = n->born_gen == op->gen;
	if (born && !hole)
		m->armed_bytes[parity] += range_len(r);
	mutex_unlock(&m->lock);
	return 0;
}
