/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a mutation.
 *
 *	op_enter()	the gate: waits while mutations are held (a last lap, a
 *			detach), a map looks for room, or the budget of armed
 *			ranges is used up.  The thread holds no lock here, so a
 *			checkpoint never waits for somebody who waits for a
 *			checkpoint.
 *	(locks)		the node's lock or byte range: one order on all stores
 *	op_number()	seq and generation at once, and who is online.  First
 *			whatever must be durable before: an epoch, a block of
 *			numbers, a departure that is being recorded.
 *	op_arm_*()	an intent of this generation (arm.c)
 *	(calls)		on every slot of op_slots(), the lead first
 *	dirty_note()	in memory, whatever the outcome (dirty.c)
 *	op_judge()	puts out, durably, whoever missed it (I3)
 *	op_end()	lets the generation end
 *
 * A generation ends when no operation of it is in flight; only then may a
 * checkpoint of it look who is online.  An operation that saw a store in its
 * mask and finds it out at the end waits until that departure is recorded.
 */
#include "fs/mirror/internal.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/fault.h"
#include "base/log.h"
#include "fs/mirror/nameless.h"
#include "fs/mirror/room.h"

bool mirror_is_short(const struct mirror *m)
{
	return (unsigned int)__builtin_popcount(m->online) < m->opt.min_stores;
}

int op_enter(struct mirror *m, struct op *op)
{
	unsigned int delay_us = atomic_load(&m->delay_us);
	int r = 0;

	*op = (struct op){.m = m};
	if (delay_us)
		(void)nanosleep(
			&(struct timespec){.tv_nsec = (long)delay_us * 1000 %
						      1000000000},
			NULL);
	mutex_lock(&m->lock);
	for (;;) {
		uint64_t armed = m->armed_bytes[0] + m->armed_bytes[1];

		if (m->broken)
			break;
		if (armed >= m->budget / 2 && !m->ckpt_wanted) {
			m->ckpt_wanted = true;
			cond_signal(&m->wake);
		}
		if (!m->held && !m->hunts && armed < m->budget)
			break;
		cond_wait(&m->gate, &m->lock);
	}
	if (m->broken || mirror_is_short(m)) {
		r = -EROFS;
	} else {
		m->entered++;
		op->entered = true;
	}
	mutex_unlock(&m->lock);
	return r;
}

/* @r: of taking @bytes. */
static int enter_with(struct mirror *m, struct op *op, uint64_t bytes, int r)
{
	if (r) {
		*op = (struct op){.m = m};
		return r;
	}
	r = op_enter(m, op);
	if (r)
		room_done(m, bytes);
	else
		op->room = bytes;
	return r;
}

int op_enter_room(struct mirror *m, struct op *op, uint64_t bytes)
{
	return enter_with(m, op, bytes, room_take(m, bytes));
}

int op_enter_data(struct mirror *m, struct op *op, struct node *n,
		  uint64_t start, uint64_t end)
{
	return enter_with(m, op, end - start, room_take_data(m, n, start, end));
}

static void op_link(struct mirror *m, struct op *op)
{
	op->prev = NULL;
	op->next = m->ops;
	if (m->ops)
		m->ops->prev = op;
	m->ops = op;
	m->inflight[op->gen & 1]++;
	for_each_slot(i, op->mask) m->slot[i].users++;
	op->numbered = true;
}

bool departure_pending(const struct mirror *m, slot_mask mask)
{
	for_each_slot(i, mask)
	{
		const struct slot *s = &m->slot[i];

		if (s->used && !s->online && !s->recorded)
			return true;
	}
	return false;
}

/* Lock held: make durable what must be before another number is taken. */
static int number_prepare(struct mirror *m, unsigned int count)
	REQUIRES(m->lock)
{
	int r = 0;

	while (!r) {
		if (m->broken || mirror_is_short(m))
			return -EROFS;
		if (m->recording) {
			cond_wait(&m->recorded, &m->lock);
		} else if (m->epoch_due) {
			record_begin(m);
			r = epoch_record(m, m->seq + 1);
			record_end(m);
		} else if (departure_pending(m, ALL_SLOTS)) {
			/* Who begins now does not wait for it at its end. */
			record_begin(m);
			r = epoch_record(m, first_in_flight(m));
			record_end(m);
		} else if (m->seq + count > m->seq_reserved ||
			   m->next_node + 1 > m->node_reserved) {
			record_begin(m);
			r = numbers_record(m);
			record_end(m);
		} else {
			break;
		}
	}
	return r;
}

int op_number(struct op *op, unsigned int count)
{
	struct mirror *m = op->m;
	int r;

	assert(op->entered && !op->numbered);
	mutex_lock(&m->lock);
	r = number_prepare(m, count);
	if (!r) {
		op->seq = m->seq + 1;
		m->seq += count;
		op->gen = m->gen;
		op->mask = m->online;
		dirty_any_locked(m);
		op_link(m, op);
	}
	mutex_unlock(&m->lock);
	FAULT_POINT("mirror.numbered");
	return r;
}

int op_node_id(struct op *op, uint64_t *ret_id)
{
	struct mirror *m = op->m;
	int r;

	mutex_lock(&m->lock);
	r = number_prepare(m, 0);
	if (!r)
		*ret_id = ++m->next_node;
	mutex_unlock(&m->lock);
	return r;
}

slot_mask op_slots(struct op *op)
{
	struct mirror *m = op->m;
	slot_mask mask;

	mutex_lock(&m->lock);
	mask = op->mask & m->online;
	mutex_unlock(&m->lock);
	return mask;
}

int departures_wait(struct mirror *m)
{
	bool pending;

	mutex_lock(&m->lock);
	while ((pending = departure_pending(m, ALL_SLOTS)) && !m->broken &&
	       !mirror_is_short(m))
		cond_wait(&m->recorded, &m->lock);
	mutex_unlock(&m->lock);
	return pending ? -EIO : 0;
}

int op_end(struct op *op, int r)
{
	struct mirror *m = op->m;

	if (!op->entered)
		return r;
	FAULT_POINT("mirror.leave");
	mutex_lock(&m->lock);
	if (op->numbered) {
		while (departure_pending(m, op->mask) && !m->broken &&
		       !mirror_is_short(m))
			cond_wait(&m->recorded, &m->lock);
		/* Done here, but perhaps nowhere else: not acknowledged. */
		if (!r && mirror_is_short(m))
			r = -EROFS;
		/* No map says who lacks it: the next mount could follow him. */
		if (!r && departure_pending(m, op->mask))
			r = -EIO;
		*(op->prev ? &op->prev->next : &m->ops) = op->next;
		if (op->next)
			op->next->prev = op->prev;
		m->inflight[op->gen & 1]--;
		for_each_slot(i, op->mask) m->slot[i].users--;
	}
	m->entered--;
	cond_broadcast(&m->ended);
	mutex_unlock(&m->lock);
	op->entered = false;
	room_done(m, op->room);
	return r;
}

void op_leave(struct op *op)
{
	ignore_result(op_end(op, 0));
}

uint64_t first_in_flight(const struct mirror *m)
{
	uint64_t first = m->seq + 1;

	for (const struct op *op = m->ops; op; op = op->next)
		if (op->seq < first)
			first = op->seq;
	return first;
}

/* ---- judging ---- */

bool err_is_answer(int err)
{
	switch (err < 0 ? -err : err) {
	case EACCES:
	case EPERM:
	case EEXIST:
	case ENOENT:
	case ENOTDIR:
	case EISDIR:
	case ENOTEMPTY:
	case EMLINK:
	case ENAMETOOLONG:
	case EINVAL:
	case EFBIG:
	case EXDEV:
	case EILSEQ:
	case ENODATA:
	case ERANGE:
	case E2BIG:
	case EOPNOTSUPP:
	case ETXTBSY:
	case ELOOP:
	case EBUSY:
	case ENXIO:
		return true;
	default:
		return false;
	}
}

bool err_is_limit(int err)
{
	switch (err < 0 ? -err : err) {
	case EFBIG:
	case E2BIG:
	case ERANGE:
	case EMLINK:
	case ENAMETOOLONG:
	case EILSEQ:
	case EOPNOTSUPP:
		return true;
	default:
		return false;
	}
}

unsigned int fan_order(struct mirror *m, slot_mask mask,
		       unsigned int order[META_STORE_MAX])
{
	unsigned int count = 0;
	int lead;

	mutex_lock(&m->lock);
	lead = mirror_lead_locked(m);
	mutex_unlock(&m->lock);
	if (lead >= 0 && (mask & SLOT_BIT(lead)))
		order[count++] = (unsigned int)lead;
	for_each_slot(i, mask) if ((int)i != lead) order[count++] = i;
	return count;
}

/* Nobody took it. Where stores are to blame they may differ now. */
static int judge_failure(struct op *op, slot_mask tried, const int res[],
			 const char *what)
{
	struct mirror *m = op->m;
	unsigned int order[META_STORE_MAX];
	unsigned int count = fan_order(m, tried, order);
	int r;

	if (!count)
		return -EIO;
	r = res[order[0]];
	if (err_is_answer(r) || store_error_is_space(r) ||
	    store_error_is_ours(r)) {
		/* Whoever failed otherwise than the first is in doubt. */
		for (unsigned int k = 1; k < count; k++)
			if (res[order[k]] != r &&
			    !store_error_is_ours(res[order[k]]))
				(void)slot_put_out(m, order[k], what,
						   res[order[k]]);
		return r;
	}
	for (unsigned int k = 1; k < count; k++)
		(void)slot_put_out(m, order[k], what, res[order[k]]);
	return r;
}

int op_judge(struct op *op, slot_mask tried, const int res[], const char *what)
{
	struct mirror *m = op->m;
	slot_mask ok = 0;

	for_each_slot(i, tried) if (res[i] >= 0) ok |= SLOT_BIT(i);
	if (ok == tried && ok)
		return 0;
	if (!ok)
		return judge_failure(op, tried, res, what);
	for_each_slot(i, tried & ~ok)
	{
		atomic_fetch_add(&m->slot[i].errors_write, 1);
		if (!slot_put_out(m, i, what, res[i]))
			return res[i]; /* those that took it left meanwhile */
	}
	return 0;
}

/*
 * A node without a name concerns nobody else: who has it, has it, and who
 * missed a change of it is not asked about it again.
 */
int op_judge_unlinked(struct op *op, struct node *n, slot_mask tried,
		      const int res[])
{
	unsigned int order[META_STORE_MAX];
	unsigned int count = fan_order(op->m, tried, order);
	bool taken = false;

	for (unsigned int k = 0; k < count; k++)
		taken |= res[order[k]] >= 0;
	if (!taken && count && res[order[0]] != -ENODE_ELSEWHERE)
		return res[order[0]];
	if (!taken)
		return -EIO;
	for_each_slot(i, tried) if (res[i] < 0) node_fd_lose(op->m, n, i);
	return 0;
}

void mirror_break_locked(struct mirror *m, const char *why, int err)
{
	if (!m->broken)
		log_err("volume is read-only from now on: %s%s%s; unmount and "
			"mount again",
			why, err ? ": " : "", err ? strerror(-err) : "");
	m->broken = true;
	cond_broadcast(&m->gate);
	cond_broadcast(&m->recorded);
	cond_broadcast(&m->armed);
	cond_broadcast(&m->ended);
}

void mirror_break(struct mirror *m, const char *why)
{
	mutex_lock(&m->lock);
	mirror_break_locked(m, why, 0);
	mutex_unlock(&m->lock);
}
