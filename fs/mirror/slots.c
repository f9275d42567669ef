/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Members in their slots: who is online, and how one leaves.
 *
 * A departure has two steps.  Marked out (slot_mark_out_locked): no new call
 * goes there; at once, under mirror.lock.  Recorded (epoch_record): every
 * store that stays has it durably; until then nobody who saw the store in its
 * mask is answered.  Store and map are closed when their last user has gone;
 * only then may the member come back.
 */
#include "fs/mirror/internal.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/vec.h"
#include "fs/mirror/map_change.h"

/* Whoever asks for the status does not wait longer for one that hangs. */
#define INFO_MS 200u

int mirror_lead_locked(const struct mirror *m)
{
	int prefer = m->opt.prefer_slot;

	if (prefer >= 0 && (m->online & SLOT_BIT(prefer)))
		return prefer;
	if (m->lead >= 0 && (m->online & SLOT_BIT(m->lead)))
		return m->lead;
	return m->online ? __builtin_ctz(m->online) : -1;
}

int mirror_lead(struct mirror *m)
{
	int lead;

	mutex_lock(&m->lock);
	lead = mirror_lead_locked(m);
	mutex_unlock(&m->lock);
	return lead;
}

slot_mask slots_pin(struct mirror *m, int *ret_lead)
{
	slot_mask mask;

	mutex_lock(&m->lock);
	mask = m->online;
	for_each_slot(i, mask) m->slot[i].users++;
	if (ret_lead)
		*ret_lead = mirror_lead_locked(m);
	mutex_unlock(&m->lock);
	return mask;
}

void slots_unpin(struct mirror *m, slot_mask mask)
{
	mutex_lock(&m->lock);
	for_each_slot(i, mask)
	{
		assert(m->slot[i].users > 0);
		m->slot[i].users--;
		if (m->reap_due && !m->slot[i].users)
			cond_signal(&m->wake);
	}
	if (m->held)
		cond_broadcast(&m->ended);
	mutex_unlock(&m->lock);
}

void slots_notify(struct mirror *m)
{
	if (m->change_fn)
		m->change_fn(m->change_arg);
}

void slot_mark_out_locked(struct mirror *m, unsigned int i,
			  enum meta_store_state state, const char *why)
{
	struct slot *s = &m->slot[i];

	assert(s->online);
	m->lead = mirror_lead_locked(m);
	m->online &= ~SLOT_BIT(i);
	s->online = false;
	s->recorded = false;
	s->state = state;
	s->away_since_ns = clock_real_ns();
	(void)snprintf(s->why, sizeof(s->why), "%s", why);
	m->lead = mirror_lead_locked(m);
	m->reap_due = true;
	cond_signal(&m->wake);
	log_warn("store %s is out: %s", s->row.name, why);
	if (!mirror_is_short(m))
		return;
	log_warn("fewer stores online than min_stores=%u: read-only",
		 m->opt.min_stores);
	cond_broadcast(&m->recorded); /* nobody records it now */
}

void slot_map_failed_locked(struct mirror *m, unsigned int i, int err)
{
	char why[sizeof(m->slot[i].why)];

	(void)snprintf(why, sizeof(why), "its map could not be written: %s",
		       strerror(-err));
	slot_mark_out_locked(m, i, META_STORE_FAILED, why);
}

static const char *reason(int err)
{
	switch (err < 0 ? -err : err) {
	case ESTALE:
		return "its files are not what its map says";
	case EIDRM:
		return "it was removed while in use";
	default:
		return strerror(err < 0 ? -err : err);
	}
}

bool slot_put_out(struct mirror *m, unsigned int i, const char *what, int err)
{
	struct slot *s = &m->slot[i];
	char why[sizeof(s->why)];
	bool out = true;

	(void)snprintf(why, sizeof(why), "%s: %s", what, reason(err));
	mutex_lock(&m->lock);
	if (s->online) {
		if (m->online == SLOT_BIT(i)) {
			mutex_unlock(&m->lock);
			return false;
		}
		slot_mark_out_locked(m, i, META_STORE_FAILED, why);
	}
	while (!s->online && !s->recorded && out) {
		if (mirror_is_short(m)) {
			break; /* nothing is acknowledged: no epoch */
		} else if (m->broken) {
			out = false;
		} else if (m->recording) {
			cond_wait(&m->recorded, &m->lock);
		} else {
			record_begin(m);
			if (epoch_record(m, first_in_flight(m)))
				out = mirror_is_short(m);
			record_end(m);
		}
	}
	mutex_unlock(&m->lock);
	slots_notify(m);
	return out;
}

void slot_doubt_begin(struct mirror *m)
{
	mutex_lock(&m->lock);
	m->doubting++;
	m->epochs++;
	mutex_unlock(&m->lock);
}

void slot_doubt_end(struct mirror *m)
{
	mutex_lock(&m->lock);
	m->doubting--;
	cond_broadcast(&m->recorded);
	mutex_unlock(&m->lock);
}

static int suspect_put(struct meta *meta, const void *in)
{
	return meta_intent_put(meta, in);
}

/* On all other stores. False: nobody has it. */
static bool suspect_elsewhere(struct mirror *m, unsigned int i,
			      const struct meta_intent *in)
{
	slot_mask pin = slots_pin(m, NULL);
	bool known = false;

	for_each_slot(j, pin & ~SLOT_BIT(i))
	{
		int r = map_change(m, j, suspect_put, in);

		known |= !r;
		if (r)
			(void)slot_put_out(m, j, "map", r);
	}
	slots_unpin(m, pin);
	return known;
}

/*
 * No checkpoint clears this, whenever it comes: it drops what is of its own
 * generation or older.  Where the store's own map does not take it, those of the
 * others do: a recovery numbers it anew on its source, and who comes back before
 * has it in its map then (slot_doubts_give()).
 */
static void suspect(struct mirror *m, unsigned int i, struct meta_intent in)
{
	/* Whoever reads may be in a hurry: see record_all(). */
	struct guard_hurry before = guard_hurry_begin(0);
	bool known;
	int r;

	in.generation = META_DOUBT_GENERATION;
	r = map_change(m, i, suspect_put, &in);
	if (r) {
		log_warn("store %s: node %llu could not be marked as in doubt: "
			 "%s",
			 m->slot[i].row.name, (unsigned long long)in.node,
			 strerror(-r));
		slot_doubt_begin(m);
		in.generation = META_DOUBT_ELSEWHERE;
		known = suspect_elsewhere(m, i, &in);
		FAULT_POINT("mirror.suspect.told");
		if (!store_error_is_ours(r))
			known &= slot_put_out(m, i, "map", r);
		slot_doubt_end(m);
		if (!known)
			mirror_break(m, "what is in doubt cannot be recorded");
	}
	(void)guard_hurry_end(before);
}

struct doubts {
	VEC(struct meta_intent) v;
};

/* Names are still armed in the map of whoever left in doubt about them. */
static int doubts_read(struct meta_reader *rd, struct doubts *ret)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_intent in;
	int r = meta_iter_intents(rd, &it);

	while (!r && (r = meta_next_intent(&it, &in)) > 0)
		r = meta_intent_is_doubt(&in) && in.kind != META_INTENT_NAME
			    ? vec_push(&ret->v, in)
			    : 0;
	return r;
}

static int doubts_try(struct meta *meta, const struct doubts *doubts)
{
	int r = meta_begin(meta);

	if (r)
		return r;
	vec_for_each (in, &doubts->v) {
		in->generation = META_DOUBT_GENERATION;
		r = meta_intent_put(meta, in);
		if (r) {
			meta_rollback(meta);
			return r;
		}
	}
	return meta_commit(meta);
}

/* Its lap gives up the ballast of a disk that is full, too; a checkpoint has it
 * back. */
static int doubts_write(struct meta *meta, const struct doubts *doubts)
{
	int r = doubts_try(meta, doubts);

	if (store_error_is_space(r) && !meta_ballast_release(meta))
		r = doubts_try(meta, doubts);
	return r;
}

int slot_doubts_give(struct mirror *m, struct meta *meta)
{
	struct doubts doubts = {0};
	struct meta_reader *rd;
	struct mirror_ref ref;
	int lead = mirror_lead(m);
	int r = lead < 0 ? -ENODEV
			 : mirror_ref_get_now(m, (unsigned int)lead, &ref);

	if (r)
		return r;
	rd = meta_reader_get(ref.meta);
	r = rd ? doubts_read(rd, &doubts) : mirror_reader_error();
	meta_reader_put(rd);
	mirror_ref_put(m, &ref);
	if (!r && doubts.v.count)
		r = doubts_write(meta, &doubts);
	vec_done(&doubts.v);
	return r;
}

/*
 * Something else lies where the node should be on slot @i.  The next lap must
 * look at it although no seq says so: an intent in that store's own map.
 */
void slot_suspect(struct mirror *m, unsigned int i, struct node *n)
{
	struct meta_intent in = {.node = n->id, .kind = META_INTENT_ATTR};

	if (n->kind == META_FILE) {
		in.kind = META_INTENT_DATA;
		in.end = META_RANGE_MAX;
	}
	suspect(m, i, in);
}

void slot_suspect_names(struct mirror *m, unsigned int i, struct node *dir)
{
	suspect(m, i,
		(struct meta_intent){.node = dir->id,
				     .kind = META_INTENT_NAME});
}

static bool slot_take_closing(struct mirror *m, unsigned int i,
			      struct store **ret_store, struct meta **ret_meta)
{
	struct slot *s = &m->slot[i];

	if (s->online || !s->store || s->users || s->closing ||
	    s->state == META_STORE_RESYNCING)
		return false;
	if (slot_calls_left(s)) /* it is still watched */
		return false;
	s->closing = true;
	*ret_store = s->store;
	*ret_meta = s->meta;
	return true;
}

static void slot_close(struct mirror *m, unsigned int i, struct store *store,
		       struct meta *meta)
{
	fds_close_slot(m, i);
	meta_close(meta);
	store_close(store);
	mutex_lock(&m->lock);
	m->slot[i].store = NULL;
	m->slot[i].meta = NULL;
	m->slot[i].closing = false;
	m->slot[i].hangs = false;
	cond_broadcast(&m->ended);
	mutex_unlock(&m->lock);
}

struct closing {
	struct mirror *m;
	unsigned int slot;
	struct store *store;
	struct meta *meta;
};

static void *closing_thread(void *arg)
{
	struct closing c = *(struct closing *)arg;

	free(arg);
	slot_close(c.m, c.slot, c.store, c.meta);
	slots_notify(c.m);
	mutex_lock(&c.m->lock);
	c.m->closers--;
	cond_broadcast(&c.m->ended);
	mutex_unlock(&c.m->lock);
	return NULL;
}

/* The last one to close waits for the calls that hang there: by itself. */
static bool slot_close_aside(struct mirror *m, unsigned int i,
			     struct store *store, struct meta *meta)
{
	struct closing *c = malloc(sizeof(*c));
	pthread_t thread;

	if (!c)
		return false;
	*c = (struct closing){m, i, store, meta};
	mutex_lock(&m->lock);
	m->closers++;
	mutex_unlock(&m->lock);
	if (!pthread_create(&thread, NULL, closing_thread, c)) {
		(void)pthread_detach(thread);
		return true;
	}
	free(c);
	mutex_lock(&m->lock);
	m->closers--;
	m->slot[i].closing = false; /* tried again */
	mutex_unlock(&m->lock);
	return false;
}

void slots_reap(struct mirror *m)
{
	bool again = false;

	/* Who goes from here on is told of anew, also while one is closed. */
	mutex_lock(&m->lock);
	m->reap_due = false;
	mutex_unlock(&m->lock);
	for (unsigned int i = 0; i < m->slot_count; i++) {
		struct store *store;
		struct meta *meta;
		bool mine;

		mutex_lock(&m->lock);
		mine = slot_take_closing(m, i, &store, &meta);
		if (!mine && !m->slot[i].online && m->slot[i].store &&
		    !m->slot[i].closing &&
		    m->slot[i].state != META_STORE_RESYNCING)
			again = true;
		mutex_unlock(&m->lock);
		if (!mine)
			continue;
		if (m->opt.timeout_ms) {
			again |= !slot_close_aside(m, i, store, meta);
			continue;
		}
		slot_close(m, i, store, meta);
		slots_notify(m);
	}
	mutex_lock(&m->lock);
	m->reap_due |= again;
	mutex_unlock(&m->lock);
}

/* Lock held: how many are open yet; @tell: who has not ended is named. */
static unsigned int slots_open(const struct mirror *m, bool tell)
{
	unsigned int count = 0;

	for (unsigned int i = 0; i < m->slot_count; i++) {
		if (!m->slot[i].store)
			continue;
		count++;
		if (tell)
			log_err("store %s was not released: calls on it do "
				"not end",
				m->slot[i].row.name);
	}
	return count;
}

bool slots_close_all(struct mirror *m)
{
	uint64_t until_ns = clock_mono_ns() + MIRROR_LATE_MS * CLOCK_NS_PER_MS;
	unsigned int stuck = 0;
	bool all;

	for (unsigned int i = 0; i < m->slot_count; i++) {
		struct slot *s = &m->slot[i];
		bool mine;

		mutex_lock(&m->lock);
		mine = s->store && !s->closing;
		if (mine && s->hangs && slot_calls_left(s)) {
			mine = false;
			stuck++;
		}
		s->closing |= mine;
		mutex_unlock(&m->lock);
		if (mine && !(m->opt.timeout_ms &&
			      slot_close_aside(m, i, s->store, s->meta)))
			slot_close(m, i, s->store, s->meta);
	}
	mutex_lock(&m->lock);
	while (slots_open(m, false) + m->closers > stuck &&
	       clock_mono_ns() < until_ns)
		(void)cond_timedwait(&m->ended, &m->lock, 100);
	all = !slots_open(m, true) && !m->closers;
	mutex_unlock(&m->lock);
	return all;
}

int mirror_ref_get_now(struct mirror *m, unsigned int slot,
		       struct mirror_ref *ret_ref)
{
	struct slot *s = &m->slot[slot];
	int r = 0;

	if (slot >= META_STORE_MAX)
		return -EINVAL;
	mutex_lock(&m->lock);
	if (!s->store || s->closing ||
	    (!s->online && s->state != META_STORE_RESYNCING)) {
		r = -ENODEV;
	} else {
		s->users++;
		*ret_ref = (struct mirror_ref){slot, s->store, s->meta};
	}
	mutex_unlock(&m->lock);
	return r;
}

int mirror_ref_get(struct mirror *m, unsigned int slot,
		   struct mirror_ref *ret_ref)
{
	int r = mirror_ref_get_now(m, slot, ret_ref);

	if (!r)
		feed_drain(m);
	return r;
}

void mirror_ref_put(struct mirror *m, struct mirror_ref *ref)
{
	if (!ref->store)
		return;
	slots_unpin(m, SLOT_BIT(ref->slot));
	ref->store = NULL;
	ref->meta = NULL;
}

unsigned int mirror_slot_count(const struct mirror *m)
{
	struct mirror *w = (struct mirror *)(uintptr_t)m;
	unsigned int count;

	mutex_lock(&w->lock);
	count = m->slot_count;
	mutex_unlock(&w->lock);
	return count;
}

void mirror_slot_look(struct mirror *m, unsigned int slot,
		      struct mirror_slot_info *ret)
{
	const struct slot *s = &m->slot[slot];

	memset(ret, 0, sizeof(*ret));
	mutex_lock(&m->lock);
	memcpy(ret->uuid, s->row.uuid, sizeof(ret->uuid));
	(void)snprintf(ret->name, sizeof(ret->name), "%s", s->row.name);
	(void)snprintf(ret->path, sizeof(ret->path), "%s", s->row.path_hint);
	(void)snprintf(ret->why, sizeof(ret->why), "%s", s->why);
	ret->state = s->online ? META_STORE_ONLINE : s->state;
	ret->used = s->used && !s->adding;
	ret->whole = !s->online && s->untouched &&
		     s->was == META_STORE_DETACHED;
	ret->half = !s->online && s->half;
	ret->durable_seq = s->durable_seq;
	ret->away_since_ns = s->online ? 0 : s->away_since_ns;
	ret->hangs = s->hangs;
	ret->waits_ms = s->store && !s->hangs ? atomic_load(&s->waits_ms) : 0;
	mutex_unlock(&m->lock);
	ret->errors_read = atomic_load(&s->errors_read);
	ret->errors_write = atomic_load(&s->errors_write);
	ret->repaired = atomic_load(&s->repaired);
}

void mirror_slot_info(struct mirror *m, unsigned int slot,
		      struct mirror_slot_info *ret)
{
	struct guard_hurry before;
	struct mirror_ref ref;
	struct statvfs vfs;

	mirror_slot_look(m, slot, ret);
	if (mirror_ref_get_now(m, slot, &ref))
		return;
	before = guard_hurry_begin(INFO_MS);
	if (!store_statvfs(ref.store, &vfs))
		ret->free_bytes = (uint64_t)vfs.f_bavail * vfs.f_frsize;
	(void)guard_hurry_end(before);
	mirror_ref_put(m, &ref);
}

bool mirror_read_only(struct mirror *m, unsigned int *ret_min_stores)
{
	bool read_only;

	mutex_lock(&m->lock);
	read_only = m->broken || mirror_is_short(m);
	mutex_unlock(&m->lock);
	*ret_min_stores = m->opt.min_stores;
	return read_only;
}

void mirror_on_change(struct mirror *m, void (*fn)(void *arg), void *arg)
{
	m->change_arg = arg;
	m->change_fn = fn;
}

void mirror_on_invalidate(struct mirror *m,
			  void (*fn)(void *arg, uint64_t node), void *arg)
{
	m->inval_arg = arg;
	m->inval_fn = fn;
}
