/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all online maps record together, before anything goes on: an epoch
 * (who is online from which seq on), the states of the members, and blocks of
 * numbers.  One recorder at a time; operations wait in op_number() meanwhile.
 *
 * I3: when epoch_record() returns 0, every store that took an operation which
 * another one missed has durably committed that the other is out.
 */
#include "fs/mirror/internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/text.h"
#include "fs/mirror/map_change.h"

void record_begin(struct mirror *m)
{
	while (m->recording)
		cond_wait(&m->recorded, &m->lock);
	m->recording = true;
}

void record_end(struct mirror *m)
{
	m->recording = false;
	cond_broadcast(&m->recorded);
}

struct record {
	struct meta_epoch epoch; /* member_count 0: numbers only */
	struct meta_member member[META_STORE_MAX];
	unsigned int member_count;
	uint64_t seq_reserved, node_reserved;
	slot_mask away; /* who is out in it: recorded once this is committed */
};

/* Before it is needed: whoever waits for a record is let go by nothing else. */
struct record *record_alloc(void)
{
	return calloc(1, sizeof(struct record));
}

static void member_row(const struct slot *s, struct meta_member *ret)
{
	*ret = s->row;
	ret->state = s->online ? META_STORE_ONLINE : s->state;
	/* Whole or half, it is what it was before a resync that did nothing. */
	if (ret->state == META_STORE_FAILED && s->untouched &&
	    meta_store_stays_out(s->was))
		ret->state = s->was;
	ret->durable_seq = s->durable_seq;
}

struct members *members_collect(struct mirror *m)
{
	struct members *v;

	v = malloc(sizeof(*v) + META_STORE_MAX * sizeof(v->row[0]));
	if (!v)
		return NULL;
	v->count = 0;
	mutex_lock(&m->lock);
	for (unsigned int k = 0; k < m->slot_count; k++)
		if (m->slot[k].used)
			member_row(&m->slot[k], &v->row[v->count++]);
	mutex_unlock(&m->lock);
	return v;
}

int members_write(struct meta *meta, const struct members *v)
{
	int r = 0;

	for (unsigned int k = 0; !r && k < v->count; k++)
		r = meta_member_put(meta, &v->row[k]);
	return r;
}

static const struct meta_member *member_of(const struct members *v,
					   const char *uuid)
{
	for (unsigned int k = 0; k < v->count; k++)
		if (!strcmp(v->row[k].uuid, uuid))
			return &v->row[k];
	return NULL;
}

/*
 * What is newer than @v stays: a departure that was recorded since then, a
 * member that was forgotten.
 */
int members_raise(struct meta *meta, const struct members *v)
{
	struct meta_member *now;
	size_t count = 0;
	int r;

	now = malloc(META_STORE_MAX * sizeof(*now));
	if (!now)
		return -ENOMEM;
	r = meta_members(meta_writer_view(meta), now, &count);
	for (size_t k = 0; !r && k < count; k++) {
		const struct meta_member *row = member_of(v, now[k].uuid);

		if (!row)
			continue;
		if (row->state != META_STORE_ONLINE)
			now[k].state = row->state;
		now[k].durable_seq = row->durable_seq;
		r = meta_member_put(meta, &now[k]);
	}
	free(now);
	return r;
}

static int record_write(struct meta *meta, const void *arg)
{
	const struct record *rec = arg;
	int r = FAULT_ERR("mirror.record");

	if (!r && rec->epoch.member_count)
		r = meta_epoch_append(meta, &rec->epoch);
	if (!r && rec->epoch.member_count) /* the epoch says it from now on */
		r = meta_number_set(meta, META_NUM_COPY, 0);
	for (unsigned int k = 0; !r && k < rec->member_count; k++)
		r = meta_member_put(meta, &rec->member[k]);
	if (!r)
		r = meta_number_set(meta, META_NUM_SEQ_RESERVED,
				    rec->seq_reserved);
	if (!r)
		r = meta_number_set(meta, META_NUM_NODE_RESERVED,
				    rec->node_reserved);
	if (!r)
		r = meta_number_set(meta, META_NUM_CLEAN, 0);
	if (!r) /* who is online is in step: a resync of it has ended */
		r = meta_number_set(meta, META_NUM_RESYNCING, 0);
	return r;
}

static int record_commit(struct mirror *m, unsigned int slot, void *arg)
{
	return map_change(m, slot, record_write, arg);
}

static int cmp_uuid(const void *a, const void *b)
{
	return strcmp(a, b);
}

static int record_fill(struct mirror *m, struct record *rec, uint64_t first_seq)
{
	struct meta_epoch *e = &rec->epoch;

	memset(rec, 0, sizeof(*rec));
	if (first_seq) {
		int r = uuid_generate(e->id);

		if (r)
			return r;
		e->first_seq = first_seq;
		e->first_node = m->next_node + 1;
		e->base = m->durable;
		e->by_copy = m->by_copy;
		for_each_slot(i, m->online)
			memcpy(e->members[e->member_count++],
			       m->slot[i].row.uuid, META_UUID_LEN + 1);
		qsort(e->members, e->member_count, sizeof(e->members[0]),
		      cmp_uuid);
	}
	for (unsigned int k = 0; k < m->slot_count; k++) {
		if (m->slot[k].used)
			member_row(&m->slot[k],
				   &rec->member[rec->member_count++]);
		if (!m->slot[k].online)
			rec->away |= SLOT_BIT(k);
	}
	rec->seq_reserved = MAX(m->seq_reserved, m->seq + SEQ_BLOCK);
	rec->node_reserved = MAX(m->node_reserved, m->next_node + NODE_BLOCK);
	return 0;
}

/* Lock held and given up meanwhile: commit on all online; who failed is out. */
static int record_round(struct mirror *m, fan_fn fn, void *arg,
			slot_mask *ret_failed) REQUIRES(m->lock)
{
	int res[META_STORE_MAX] = {0};
	slot_mask mask = m->online, failed = 0;

	for_each_slot(i, mask) m->slot[i].users++;
	mutex_unlock(&m->lock);
	FAULT_POINT("mirror.record.before");
	fan_run(m, mask, fn, arg, res);
	FAULT_POINT("mirror.record.after");
	mutex_lock(&m->lock);
	for_each_slot(i, mask)
	{
		m->slot[i].users--;
		if (!res[i])
			continue;
		failed |= SLOT_BIT(i);
		if (m->online == SLOT_BIT(i))
			return res[i];
		if (m->slot[i].online)
			slot_map_failed_locked(m, i, res[i]);
	}
	*ret_failed = failed;
	return 0;
}

static int confirm_write(struct meta *meta, const void *epoch)
{
	int r = FAULT_ERR("mirror.confirm");

	return r ? r : meta_epoch_confirm(meta, epoch);
}

static int confirm_commit(struct mirror *m, unsigned int slot, void *arg)
{
	return map_change(m, slot, confirm_write, arg);
}

static int record_all(struct mirror *m, uint64_t first_seq) REQUIRES(m->lock)
{
	struct record *rec = m->record;
	struct guard_hurry before;
	slot_mask failed;
	int r;

	assert(m->recording);
	/* Whoever reads may be in a hurry; a store that is put out meanwhile
	 * takes its time, or a slow one would look like one that fails. */
	before = guard_hurry_begin(0);
	do {
		failed = 0;
		m->epochs += first_seq != 0;
		r = record_fill(m, rec, first_seq);
		if (!r)
			r = record_round(m, record_commit, rec, &failed);
		/*
		 * Durable before anything is done in the epoch: else one in
		 * which operations were acknowledged could be called void by
		 * a restored member that lacks it.
		 */
		if (!r && !failed && first_seq)
			r = record_round(m, confirm_commit, rec->epoch.id,
					 &failed);
		/* Whoever left in this round needs an epoch, whatever began it. */
		if (failed && !first_seq)
			first_seq = first_in_flight(m);
	} while (!r && failed && !mirror_is_short(m));
	(void)guard_hurry_end(before);
	if (!r && failed)
		return -EROFS; /* too few are left: no epoch of theirs */
	if (!r) {
		m->seq_reserved = rec->seq_reserved;
		m->node_reserved = rec->node_reserved;
		if (first_seq) {
			m->epoch_due = false;
			m->by_copy = false;
			/* Who left during the commit is not in it. */
			for_each_slot(k, rec->away) m->slot[k].recorded = true;
		}
	} else {
		mirror_break_locked(m, "the last store's map cannot be written",
				    r);
		r = -EIO;
	}
	return r;
}

int epoch_record(struct mirror *m, uint64_t first_seq)
{
	return record_all(m, first_seq);
}

int numbers_record(struct mirror *m)
{
	return record_all(m, 0);
}
