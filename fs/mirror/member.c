/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Membership: holding the volume still, leaving in good order, coming back
 * after a resync, new members and forgotten ones.
 */
#include "fs/mirror/internal.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "fs/mirror/map_change.h"
#include "fs/mirror/nameless.h"
#include "fs/mirror/room.h"

void mirror_hold(struct mirror *m)
{
	mutex_lock(&m->lock);
	while (m->held)
		cond_wait(&m->gate, &m->lock);
	m->held = 1;
	while (m->entered)
		cond_wait(&m->ended, &m->lock);
	mutex_unlock(&m->lock);
}

void mirror_release(struct mirror *m)
{
	mutex_lock(&m->lock);
	assert(m->held);
	m->held = 0;
	cond_broadcast(&m->gate);
	mutex_unlock(&m->lock);
}

void mirror_set_delay(struct mirror *m, unsigned int delay_us)
{
	atomic_store(&m->delay_us, delay_us);
}

uint64_t mirror_seq(struct mirror *m)
{
	uint64_t seq;

	mutex_lock(&m->lock);
	seq = m->seq;
	mutex_unlock(&m->lock);
	return seq;
}

bool mirror_all_in_maps(struct mirror *m)
{
	bool all;

	mutex_lock(&m->lock);
	all = !m->dirty_any && m->gen == atomic_load(&m->synced_gen) + 1;
	mutex_unlock(&m->lock);
	return all;
}

struct farewell {
	struct meta_member row;
	uint64_t root_look;
};

/* The leaving store's own map says that it was left in good order. */
static int farewell_write(struct meta *meta, const void *arg)
{
	const struct farewell *f = arg;
	int r = meta_member_put(meta, &f->row);

	if (!r)
		r = meta_number_set(meta, META_NUM_ROOT_LOOK, f->root_look);
	return r ? r : meta_number_set(meta, META_NUM_CLEAN, META_CLEAN);
}

static int farewell(struct mirror *m, unsigned int slot)
{
	struct farewell f = {.row = m->slot[slot].row};

	f.row.state = META_STORE_DETACHED;
	f.row.durable_seq = m->durable;
	f.root_look = map_root_look(m->slot[slot].store);
	return map_change(m, slot, farewell_write, &f);
}

/* Files that are open and have no name would be lost with it. */
static int nameless_check(struct mirror *m, unsigned int slot)
{
	slot_mask online;

	mutex_lock(&m->lock);
	online = m->online;
	mutex_unlock(&m->lock);
	if (online == SLOT_BIT(slot))
		return 0;
	return nameless_only_on(m, slot, online) ? -ETXTBSY : 0;
}

static int detach_held(struct mirror *m, unsigned int slot)
{
	struct slot *s = &m->slot[slot];
	int r = checkpoint_locked(m, NULL);

	if (!r) /* who has not failed in that */
		r = nameless_check(m, slot);
	if (r)
		return r;
	mutex_lock(&m->lock);
	if (!s->online || m->online == SLOT_BIT(slot)) {
		r = s->online ? -EBUSY : -ENODEV;
		mutex_unlock(&m->lock);
		return r;
	}
	s->users++; /* its map is written once more */
	slot_mark_out_locked(m, slot, META_STORE_DETACHED, MIRROR_DETACHED);
	record_begin(m);
	r = epoch_record(m, m->seq + 1);
	record_end(m);
	mutex_unlock(&m->lock);
	FAULT_POINT("mirror.detach.recorded");
	if (!r)
		unpark_left(m, slot); /* a copy has nothing in limbo */
	if (!r)
		r = farewell(m, slot);
	slots_unpin(m, SLOT_BIT(slot));
	return r;
}

/* It is out; "safe to remove" it is when it is closed. */
static int closed_wait(struct mirror *m, const struct slot *s)
{
	uint64_t until_ns =
		clock_mono_ns() + m->opt.timeout_ms * CLOCK_NS_PER_MS;
	bool late = false;

	mutex_lock(&m->lock);
	while (s->store && !m->closing && !late) {
		if (!m->opt.timeout_ms) {
			cond_wait(&m->ended, &m->lock);
			continue;
		}
		(void)cond_timedwait(&m->ended, &m->lock, 100);
		late = s->store && clock_mono_ns() > until_ns;
	}
	mutex_unlock(&m->lock);
	return late ? -ETIMEDOUT : 0;
}

bool mirror_closed(struct mirror *m, unsigned int slot, unsigned int wait_ms)
{
	const struct slot *s = &m->slot[slot];
	uint64_t until_ns = clock_mono_ns() + wait_ms * CLOCK_NS_PER_MS;
	bool closed;

	mutex_lock(&m->lock);
	while (s->store && !m->closing && clock_mono_ns() < until_ns)
		(void)cond_timedwait(&m->ended, &m->lock, 100);
	closed = !s->store;
	mutex_unlock(&m->lock);
	return closed;
}

int mirror_detach(struct mirror *m, unsigned int slot)
{
	int r;

	if (slot >= mirror_slot_count(m) || !m->slot[slot].used)
		return -ENODEV;
	mirror_hold(m);
	mutex_lock(&m->ckpt);
	r = detach_held(m, slot);
	mutex_unlock(&m->ckpt);
	mirror_release(m);
	if (r)
		return r;
	r = closed_wait(m, &m->slot[slot]);
	slots_notify(m);
	return r;
}

struct numbers {
	uint64_t seq, node; /* what any store present has reserved may have been
			     * issued */
	uint64_t durable;
	uint64_t half; /* a lap has begun and was not closed */
};

static int numbers_read(struct meta *meta, struct numbers *ret)
{
	struct meta_reader *rd = meta_reader_get(meta);
	int r;

	if (!rd)
		return -EIO;
	r = meta_number_get(rd, META_NUM_SEQ_RESERVED, &ret->seq);
	if (!r)
		r = meta_number_get(rd, META_NUM_NODE_RESERVED, &ret->node);
	if (!r)
		r = meta_number_get(rd, META_NUM_DURABLE_SEQ, &ret->durable);
	if (!r)
		r = meta_number_get(rd, META_NUM_RESYNCING, &ret->half);
	meta_reader_put(rd);
	return r;
}

int mirror_attach(struct mirror *m, unsigned int slot, struct store *store,
		  struct meta *meta)
{
	struct slot *s = &m->slot[slot];
	struct numbers its;
	int r = numbers_read(meta, &its);

	if (!r)
		r = slot_doubts_give(m, meta);
	if (r)
		return r;
	mutex_lock(&m->lock);
	while (!s->online && s->store && s->state != META_STORE_RESYNCING &&
	       !m->closing && !s->hangs)
		cond_wait(&m->ended, &m->lock); /* still being closed */
	if (!s->used || s->online || s->store || m->closing) {
		r = -EBUSY;
	} else if (strcmp(meta_store_uuid(meta), s->row.uuid)) {
		r = -ENODEV; /* its member has been removed meanwhile */
	} else {
		if (its.seq > m->seq_reserved)
			m->seq = m->seq_reserved = its.seq;
		if (its.node > m->node_reserved)
			m->next_node = m->node_reserved = its.node;
		s->store = store;
		s->meta = meta;
		if (!s->untouched)
			s->was = s->state;
		s->untouched = !its.half || s->was == META_STORE_GIVEN_UP;
		s->half = its.half;
		s->state = META_STORE_RESYNCING;
		s->durable_seq = its.durable; /* of laps before it went, too */
		slot_guard_on(m, slot);
		s->why[0] = '\0';
		(void)snprintf(s->row.path_hint, sizeof(s->row.path_hint), "%s",
			       store_path(store));
	}
	mutex_unlock(&m->lock);
	if (!r)
		slots_notify(m);
	return r;
}

uint64_t mirror_epochs(struct mirror *m)
{
	uint64_t epochs;

	mutex_lock(&m->lock);
	/* One may be on some maps and not on others. */
	while (m->recording || m->doubting)
		cond_wait(&m->recorded, &m->lock);
	epochs = m->epochs;
	mutex_unlock(&m->lock);
	return epochs;
}

int mirror_join(struct mirror *m, unsigned int slot, uint64_t epochs)
{
	struct slot *s = &m->slot[slot];
	int r;

	mutex_lock(&m->ckpt);
	mutex_lock(&m->lock);
	assert(m->held && !m->entered);
	if (s->state != META_STORE_RESYNCING || !s->store || m->broken) {
		r = -ENODEV;
		goto out;
	}
	assert(!m->dirty_any); /* checkpointed under the hold */
	record_begin(m);
	/*
	 * Its lineage is the source's of the lap. An epoch that it lacks may be
	 * the tip of a store that fails right now: that one would be a fork.
	 */
	if (m->epochs != epochs) {
		record_end(m);
		r = -EAGAIN;
		goto out;
	}
	s->state = META_STORE_ONLINE;
	s->online = true;
	s->untouched = false;
	s->half = false;
	s->recorded = true;
	s->durable_seq = m->durable;
	s->why[0] = '\0';
	atomic_store(&s->bad_ranges, 0); /* it starts with a clean slate */
	atomic_store(&s->failures, 0);
	m->online |= SLOT_BIT(slot);
	budget_reset(m); /* it may be slower than the others */
	r = epoch_record(m, m->seq + 1);
	record_end(m);
	if (!r && !s->online)
		r = -EIO;
out:
	mutex_unlock(&m->lock);
	mutex_unlock(&m->ckpt);
	slots_notify(m);
	return r;
}

int mirror_members_record(struct mirror *m)
{
	int r;

	mutex_lock(&m->lock);
	record_begin(m);
	r = m->broken ? -EIO : numbers_record(m);
	record_end(m);
	mutex_unlock(&m->lock);
	return r;
}

void mirror_touches(struct mirror *m, unsigned int slot)
{
	mutex_lock(&m->lock);
	m->slot[slot].untouched = false;
	m->slot[slot].half = true;
	mutex_unlock(&m->lock);
}

void mirror_unattach(struct mirror *m, unsigned int slot,
		     enum meta_store_state state, const char *why)
{
	struct slot *s = &m->slot[slot];

	mutex_lock(&m->lock);
	if (s->state == META_STORE_RESYNCING && !s->online) {
		s->state = state; /* and not recorded, if it was not before */
		if (state == META_STORE_GIVEN_UP && s->untouched &&
		    s->was == META_STORE_DETACHED) {
			s->state = s->was;
			why = MIRROR_DETACHED;
		}
		s->away_since_ns = clock_real_ns();
		(void)snprintf(s->why, sizeof(s->why), "%s", why);
		m->reap_due = true;
		cond_signal(&m->wake);
	}
	mutex_unlock(&m->lock);
	slots_notify(m);
}

/* Whoever asked before that was asked too early: another may have come since. */
static int member_like(const struct mirror *m, const struct meta_member *row)
	REQUIRES(m->lock)
{
	int r = 0;

	for (unsigned int i = 0; i < m->slot_count; i++) {
		if (!m->slot[i].used)
			continue;
		if (!strcmp(m->slot[i].row.uuid, row->uuid))
			return -EEXIST;
		if (!strcmp(m->slot[i].row.name, row->name))
			r = -ENOTUNIQ;
	}
	return r;
}

static unsigned int slot_free(const struct mirror *m) REQUIRES(m->lock)
{
	unsigned int i = 0;

	while (i < m->slot_count && m->slot[i].used)
		i++;
	return i;
}

/* What nodes have for each slot follows the members, not what there may be. */
static int slot_make_room(struct mirror *m)
{
	unsigned int i;

	mutex_lock(&m->lock);
	i = slot_free(m);
	mutex_unlock(&m->lock);
	if (i >= META_STORE_MAX)
		return -ENOSPC;
	if (i < atomic_load(&m->place_count))
		return 0;
	return table_grow(
		m, MIN(i + MIRROR_PLACES_SPARE, (unsigned int)META_STORE_MAX));
}

/* -EAGAIN: another one has taken the room. */
static int member_add(struct mirror *m, const struct meta_member *row,
		      unsigned int *ret_slot)
{
	unsigned int i;
	int r;

	mutex_lock(&m->lock);
	record_begin(m);
	r = member_like(m, row);
	if (r)
		goto out;
	i = slot_free(m);
	if (i >= atomic_load(&m->place_count)) {
		r = -EAGAIN;
		goto out;
	}
	if (m->broken || mirror_is_short(m)) {
		r = -EROFS;
		goto out;
	}
	/* Nobody sees it before it is a member: it would be taken back. */
	m->slot[i] = (struct slot){.used = true,
				   .adding = true,
				   .recorded = true,
				   .row = *row,
				   .state = META_STORE_MISSING,
				   .away_since_ns = clock_real_ns()};
	if (i == m->slot_count)
		m->slot_count++;
	r = numbers_record(m);
	m->slot[i].adding = false;
	if (r) {
		m->slot[i].used = false;
		r = -EIO; /* some map may have it all the same */
	} else {
		*ret_slot = i;
	}
out:
	record_end(m);
	mutex_unlock(&m->lock);
	slots_notify(m);
	return r;
}

int mirror_member_add(struct mirror *m, const struct meta_member *row,
		      unsigned int *ret_slot)
{
	int r;

	do {
		r = slot_make_room(m);
		if (!r)
			r = member_add(m, row, ret_slot);
	} while (r == -EAGAIN);
	return r;
}

static int forget_write(struct meta *meta, const void *uuid)
{
	return meta_member_forget(meta, uuid);
}

static int member_forget(struct mirror *m, unsigned int i, void *arg)
{
	return map_change(m, i, forget_write, arg);
}

/*
 * Who is away now still has it in its rows: a store that these are not ahead of
 * would be as good as they are, and bring it back. A number is what tells them
 * apart, as with any change; an epoch alone, in which nothing was done, would be
 * void. With fewer stores than min_stores nobody goes ahead, the others neither.
 */
static int removal_number(struct mirror *m)
{
	struct op op = {0};
	bool is_short;
	int r;

	mutex_lock(&m->lock);
	is_short = mirror_is_short(m);
	mutex_unlock(&m->lock);
	if (is_short)
		return 0;
	r = op_enter(m, &op);
	if (!r) {
		mutex_lock(&m->root->lock);
		r = op_number(&op, 1);
		if (!r)
			r = op_arm_attr(&op, m->root);
		if (!r)
			dirty_attr(&op, m->root);
		mutex_unlock(&m->root->lock);
	}
	return op_end(&op, r);
}

int mirror_member_remove(struct mirror *m, unsigned int slot)
{
	struct slot *s = &m->slot[slot];
	int res[META_STORE_MAX] = {0};
	char uuid[META_UUID_LEN + 1];
	slot_mask pin;
	bool online, leaving;
	int r = 0;

	if (slot >= mirror_slot_count(m) || !s->used)
		return -ENODEV;
	mutex_lock(&m->lock);
	online = s->online;
	leaving = !online && s->store && s->state != META_STORE_RESYNCING;
	mutex_unlock(&m->lock);
	if (online)
		r = mirror_detach(m, slot);
	else if (leaving)
		r = closed_wait(m, s);
	if (r)
		return r;
	mutex_lock(&m->lock);
	record_begin(m); /* one that has it in its rows would put it back */
	if (s->store || s->online) {
		record_end(m);
		mutex_unlock(&m->lock);
		return -EBUSY; /* a resync of it is running */
	}
	memcpy(uuid, s->row.uuid, sizeof(uuid));
	s->used = false;
	mutex_unlock(&m->lock);
	pin = slots_pin(m, NULL);
	fan_run(m, pin, member_forget, uuid, res);
	mutex_lock(&m->lock);
	record_end(m);
	mutex_unlock(&m->lock);
	for_each_slot(i, pin) if (res[i] && !slot_put_out(m, i, "map", res[i]))
		r = res[i];
	slots_unpin(m, pin);
	if (!r)
		r = removal_number(m);
	slots_notify(m);
	return r;
}
