/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The checkpoint: the moment when all online stores are durable through one
 * seq.  Its steps, in the order that DESIGN "A write" demands:
 *
 *	1 flip the generation; C = the last number of the old one; wait until
 *	  the old one's operations have ended, then look who is online
 *	2 give the other stores the lead's modification times
 *	3 make every store durable: its files, then syncfs
 *	4 on every store one transaction: extents, intents of the old
 *	  generation away, durable_seq = C
 *
 * New operations go on during all of it, in the next generation, under
 * intents of their own.  What fails in 3 or 4 is never tried again: its
 * outcome is unknown, the store is put out.  Where 2 or 3 find no descriptor to
 * begin with, nothing has failed, and nothing is done either: they wait.
 */
#include "fs/mirror/internal.h"

#include <assert.h>
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "fs/mirror/room.h"
#include "fs/mirror/times.h"

#define ROWS_PER_COMMIT 4096u
/* Extents that are merged at most with one checkpoint. */
#define COMPACT_ROWS 2048u
#define OURS_WAIT_MS 20u
/* The kernel has forgotten so many nodes: what they took goes back. */
#define NODES_TRIM 16384u

struct cut {
	uint64_t gen;  /* the generation that ends */
	uint64_t seq;  /* C */
	bool numbered; /* C is another one than before */
	uint64_t horizon;
	uint64_t began_ns, synced_ns;
	uint64_t bytes; /* of contents that it changed */
	unsigned int parity;
	bool waited; /* for descriptors, which was said */
	/* How many of the nodes a slot has synced. */
	size_t synced[META_STORE_MAX];
	struct members *members;
	VEC(struct node *) nodes;
};

/* Step 1. Returns false when there is nothing to do. */
static bool cut_take(struct mirror *m, struct cut *c)
{
	mutex_lock(&m->lock);
	if (!m->dirty_any) {
		c->seq = m->durable;
		mutex_unlock(&m->lock);
		return false;
	}
	m->dirty_any = false;
	c->began_ns = m->gen_began_ns;
	m->ckpt_wanted = false;
	c->gen = m->gen++;
	c->parity = c->gen & 1;
	c->seq = m->seq;
	c->numbered = c->seq > m->durable;
	while (m->inflight[c->parity])
		cond_wait(&m->ended, &m->lock);
	mutex_unlock(&m->lock);
	return true;
}

static int cmp_node(const void *a, const void *b)
{
	const struct node *x = *(struct node *const *)a;
	const struct node *y = *(struct node *const *)b;

	return (x->id > y->id) - (x->id < y->id);
}

static int cut_collect(struct mirror *m, struct cut *c)
{
	struct node *n;
	int r = 0;

	mutex_lock(&m->table);
	for (n = m->dirty[c->parity]; n && !r; n = n->dirty[c->parity].next)
		r = vec_push(&c->nodes, n);
	if (!r)
		m->dirty[c->parity] = NULL;
	mutex_unlock(&m->table);
	if (!r && c->nodes.count)
		qsort(c->nodes.data, c->nodes.count, sizeof(c->nodes.data[0]),
		      cmp_node);
	return r;
}

/*
 * No descriptor left, no memory: nobody's fault, and whoever has them gives them
 * back, since no operation waits for a checkpoint. Nothing is held here that it
 * might wait for. False: @err is something else, or the volume is broken.
 */
static bool ours_wait(struct mirror *m, struct cut *c, int err)
{
	bool broken;

	if (!store_error_is_ours(err))
		return false;
	if (!c->waited)
		log_warn("a checkpoint waits: %s", strerror(-err));
	c->waited = true;
	mutex_lock(&m->lock);
	broken = m->broken;
	if (!broken)
		(void)cond_timedwait(&m->ended, &m->lock, OURS_WAIT_MS);
	mutex_unlock(&m->lock);
	return !broken;
}

static int handle_stat(struct mirror *m, struct node_handle *h,
		       struct store_stat *st)
{
	return store_fstat(m->slot[h->slot].store, h->obj.fd, 0, st);
}

/* Give slot @i the modification time, if it is @wanting. From then on what its
 * file says of the last change stands for what applications see. */
static int times_give(struct mirror *m, struct node *n, unsigned int i,
		      const struct timespec times[2], bool wanting)
{
	struct store_stat st;
	struct node_handle h;
	int r = node_handle_get(m, n, i, &h);

	if (r)
		return r;
	if (wanting)
		r = store_error_of_call(times_put(m, i, h.obj, times));
	/* One that cannot tell shows what its file says. */
	if (!r && !n->unlinked)
		node_ctime_seal(m, n, i,
				handle_stat(m, &h, &st) ? 0 : ctime_of(&st.st));
	node_handle_put(m, &h);
	return r;
}

/* The times of the lead, or of the next one that can tell; and who that was. */
static int times_look(struct mirror *m, struct node *n, slot_mask mask,
		      unsigned int lead, struct stat *ret_st,
		      unsigned int *ret_by)
{
	unsigned int others[META_STORE_MAX];
	unsigned int count = fan_order(m, mask & ~SLOT_BIT(lead), others);
	struct store_stat st;
	int first = -EIO;

	for (unsigned int k = 0; k <= count; k++) {
		unsigned int i = k ? others[k - 1] : lead;
		struct node_handle h;
		int r = node_handle_get(m, n, i, &h);

		if (!r) {
			r = store_error_of_call(handle_stat(m, &h, &st));
			node_handle_put(m, &h);
		}
		if (!r) {
			*ret_st = st.st;
			*ret_by = i;
			return 0;
		}
		if (store_error_is_ours(r))
			return r; /* nobody's fault: nobody is told another */
		if (k == 0)
			first = r;
	}
	return first;
}

/*
 * On the slots of @mask the time that is @times[1], where they are of @todo.
 * @ret_all: they took it.
 */
static int times_give_all(struct mirror *m, struct node *n, slot_mask mask,
			  slot_mask todo, const struct timespec times[2],
			  bool *ret_all)
{
	*ret_all = true;
	for_each_slot(i, mask)
	{
		bool wanting = todo & SLOT_BIT(i);
		int err;

		if (n->unlinked && !wanting)
			continue;
		err = times_give(m, n, i, times, wanting);
		if (!err || n->unlinked)
			continue;
		if (store_error_is_ours(err)) {
			*ret_all = false;
			return err;
		}
		if (wanting && !slot_put_out(m, i, "times", err))
			*ret_all = false;
	}
	return 0;
}

/*
 * Step 2, for one node. The lead's time counts, unless the kernel has said one:
 * that may be of a store which is out, or pages that came afterwards may have
 * moved the lead's.  Where only what applications see as its ctime is new,
 * nothing is given. -EMFILE, -ENOMEM: not everybody has it yet, to be called
 * again.
 */
static int times_equalize(struct mirror *m, struct node *n, bool numbered,
			  slot_mask mask, unsigned int lead)
{
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}};
	slot_mask todo = numbered ? mask & ~SLOT_BIT(lead) : 0;
	bool all, known = false, ask;
	slot_mask given;
	unsigned int by = lead;
	struct stat st = {0};
	int ours = 0, r = 0;

	mutex_lock(&n->lock);
	if (numbered)
		known = node_mtime_take(n, &times[1], &given);
	if (known)
		todo = mask & ~given;
	ask = todo && !known;
	if (ask || (!n->unlinked && !node_ctime_is_kept(n))) {
		r = times_look(m, n, mask, lead, &st, &by);
		if (!r)
			node_ctime_keep(m, n, by, &st);
	}
	if (ask) {
		times[1] = st.st_mtim;
		todo = r ? 0 : mask & ~SLOT_BIT(by);
	}
	if (store_error_is_ours(r) && !n->unlinked)
		ours = r;
	all = !ours;
	if (!ours)
		ours = times_give_all(m, n, mask, todo, times, &all);
	if (!ours)
		node_ctime_sealed(n);
	if (known)
		node_mtime_given(n, &times[1], all);
	mutex_unlock(&n->lock);
	if (ours || !r || !ask || n->unlinked)
		return ours;
	log_warn("node %llu: times could not be read: %s",
		 (unsigned long long)n->id, strerror(-r));
	/* They may differ, and the intents that say so end with this cut. */
	for_each_slot(i, mask) slot_suspect(m, i, n);
	return 0;
}

static void cut_times(struct mirror *m, struct cut *c, slot_mask mask,
		      unsigned int lead)
{
	vec_for_each (np, &c->nodes) {
		bool numbered = (*np)->dirty[c->parity].seq;

		while (ours_wait(m, c,
				 times_equalize(m, *np, numbered, mask, lead)))
			;
	}
}

static int node_sync(struct mirror *m, unsigned int i, const struct cut *c,
		     struct node *n)
{
	struct store *s = m->slot[i].store;
	struct node_reader file;
	int r;

	if (!n->dirty[c->parity].seq ||
	    (n->kind != META_FILE && n->kind != META_DIR))
		return 0;
	r = node_reader_get(m, n, i, &file);
	if (r)
		return n->unlinked ? 0 : r;
	r = store_error_of_call(store_fsync(s, file.fd, false));
	node_reader_put(m, n, i, &file);
	return r;
}

/* Step 3 on one store. -EMFILE, -ENOMEM: so far only those before synced[i]. */
static int slot_sync(struct mirror *m, unsigned int i, void *arg)
{
	struct cut *c = arg;
	struct store *s = m->slot[i].store;
	int r = FAULT_ERR("mirror.ckpt.sync");

	/* Where syncfs writes and reports everything, it is enough alone. */
	while (!r && c->synced[i] < c->nodes.count &&
	       !store_caps(s)->syncfs_complete) {
		r = node_sync(m, i, c, c->nodes.data[c->synced[i]]);
		c->synced[i] += !r;
	}
	return r ? r : store_error_of_call(store_syncfs(s));
}

/* Step 3. Results by slot. */
static void cut_sync(struct mirror *m, struct cut *c, slot_mask mask, int res[])
{
	int ours;

	do {
		ours = 0;
		fan_run(m, mask, slot_sync, c, res);
		for_each_slot(i, mask)
		{
			if (store_error_is_ours(res[i]))
				ours = res[i];
			else
				mask &= ~SLOT_BIT(i);
		}
	} while (ours_wait(m, c, ours));
}

/*
 * What lost its name in this generation has no row any more, and gets none.
 * What lost it in the next one, while this checkpoint runs, may get it back by a
 * power loss, and needs what it had until then; the rows go when the feed comes
 * to it. It may be there before memory knows: only the map itself says, inside
 * of the transaction, whether extents have a node that they go with.
 */
static int node_has_row(struct meta *meta, const struct node *n)
{
	struct meta_node row;
	int r = meta_node_get(meta_writer_view(meta), n->id, &row);

	return r == -ENOENT ? 0 : r < 0 ? r : 1;
}

static int node_rows(struct mirror *m, unsigned int i, struct node *n,
		     const struct node_dirty *d, unsigned int *rows)
{
	struct meta *meta = m->slot[i].meta;
	bool changed;
	int r;

	r = meta_node_raise_all(meta, n->id, d->attr_seq, d->seq,
				node_ctime_row(m, n, i), &changed);
	if (r || !d->data.items.count)
		return r;
	r = changed ? 1 : node_has_row(meta, n);
	if (r <= 0)
		return r;
	r = 0;
	range_map_for_each (item, &d->data) {
		if (r)
			break;
		r = item->value
			    ? meta_extent_set(meta, n->id, item->range.start,
					      item->range.end, item->value)
			    : meta_extent_clear(meta, n->id, item->range.start,
						item->range.end);
		(*rows)++;
	}
	return r;
}

/*
 * The extents of a large checkpoint are written in parts beforehand, so that
 * readers and arming get their turn; until the last transaction the intents
 * still lie over all of it.
 */
static int rows_write(struct mirror *m, unsigned int i, const struct cut *c,
		      bool parts)
{
	struct meta *meta = m->slot[i].meta;
	unsigned int rows = 0;
	int r = 0;

	vec_for_each (np, &c->nodes) {
		if (!r)
			r = node_rows(m, i, *np, &(*np)->dirty[c->parity],
				      &rows);
		if (!r && parts && rows > ROWS_PER_COMMIT) {
			rows = 0;
			r = meta_commit(meta);
			if (!r)
				r = meta_begin_soft(meta);
			if (r)
				return r;
		}
	}
	if (r)
		meta_rollback(meta);
	return r;
}

static bool cut_is_large(const struct cut *c)
{
	size_t rows = c->nodes.count;

	vec_for_each (np, &c->nodes)
		rows += (*np)->dirty[c->parity].data.items.count;
	return rows > ROWS_PER_COMMIT;
}

static uint64_t cut_bytes(const struct cut *c)
{
	uint64_t bytes = 0;

	vec_for_each (np, &c->nodes)
		range_map_for_each (item, &(*np)->dirty[c->parity].data)
			if (item->value)
				bytes += item->range.end - item->range.start;
	return bytes;
}

static int slot_write(struct mirror *m, unsigned int i, const void *arg)
{
	const struct cut *c = arg;
	struct meta *meta = m->slot[i].meta;
	bool large = cut_is_large(c);
	int r = large ? meta_begin_soft(meta) : meta_begin(meta);

	if (!r)
		r = rows_write(m, i, c, large);
	if (!r && large) {
		r = meta_commit(meta);
		if (!r)
			r = meta_begin(meta);
	}
	if (r)
		return r;
	r = meta_intent_drop_through(meta, c->gen);
	if (!r)
		r = members_raise(meta, c->members);
	if (!r)
		r = meta_number_set(meta, META_NUM_HORIZON, c->horizon);
	if (!r)
		r = meta_number_set(meta, META_NUM_DURABLE_SEQ, c->seq);
	if (!r) /* 1: the next checkpoint goes on with it */
		r = MIN(meta_compact_step(meta, COMPACT_ROWS), 0);
	if (!r && c->numbered)
		r = meta_moment_put(meta, c->seq, clock_real_ns());
	if (r) {
		meta_rollback(meta);
		return r;
	}
	FAULT_POINT("mirror.ckpt.commit");
	return meta_commit(meta);
}

/* Step 4 on one store. */
static int slot_commit(struct mirror *m, unsigned int i, void *arg)
{
	int r = room_try(m, i, slot_write, arg);

	if (!r)
		room_ballast(m, i);
	return r;
}

/* Put out who failed. 0, or -EIO when nobody is left. */
static int failures_put_out(struct mirror *m, slot_mask mask, const int res[],
			    const char *what)
{
	for_each_slot(i, mask) if (res[i] && !slot_put_out(m, i, what, res[i]))
	{
		mirror_break(m, "the last store failed in a checkpoint");
		return -EIO;
	}
	return 0;
}

static void cut_release(struct mirror *m, struct cut *c, bool done)
{
	vec_for_each (np, &c->nodes) {
		struct node *n = *np;
		struct node_dirty *d = &n->dirty[c->parity];

		if (!done) /* broken: kept, as are the intents */
			continue;
		mutex_lock(&n->ranges);
		range_map_reset(&d->data);
		d->attr_seq = d->seq = 0;
		d->listed = false;
		mutex_unlock(&n->ranges);
		node_put(m, n);
	}
	vec_done(&c->nodes);
	free(c->members);
}

static void cut_close(struct mirror *m, const struct cut *c, slot_mask done)
{
	mutex_lock(&m->lock);
	for_each_slot(i, done) if (m->slot[i].online) m->slot[i].durable_seq =
		c->seq;
	m->durable = c->seq;
	atomic_store(&m->synced_gen, c->gen);
	m->armed_bytes[c->parity] = 0;
	budget_learn(m, c->bytes, c->synced_ns - c->began_ns);
	cond_broadcast(&m->gate);
	mutex_unlock(&m->lock);
}

static uint64_t horizon_of(struct mirror *m)
{
	uint64_t horizon = UINT64_MAX;

	mutex_lock(&m->lock);
	for (unsigned int i = 0; i < m->slot_count; i++)
		if (m->slot[i].used && m->slot[i].durable_seq < horizon)
			horizon = m->slot[i].durable_seq;
	mutex_unlock(&m->lock);
	return horizon == UINT64_MAX ? 0 : horizon;
}

/* Steps 2 to 4. */
static int cut_run(struct mirror *m, struct cut *c)
{
	int res[META_STORE_MAX] = {0};
	int lead, r;
	slot_mask mask = slots_pin(m, &lead);
	slot_mask pinned = mask;

	feed_drain(m);
	r = cut_collect(m, c);
	if (r) {
		mirror_break(m, "out of memory");
		goto out;
	}
	cut_times(m, c, mask, (unsigned int)lead);
	FAULT_POINT("mirror.ckpt.times");
	cut_sync(m, c, mask, res);
	r = failures_put_out(m, mask, res, "sync");
	if (r)
		goto out;
	mutex_lock(&m->lock);
	mask &= m->online;
	mutex_unlock(&m->lock);
	FAULT_POINT("mirror.ckpt.synced");
	c->synced_ns = clock_mono_ns();
	c->bytes = cut_bytes(c);
	c->horizon = horizon_of(m);
	c->members = members_collect(m);
	if (!c->members) {
		mirror_break(m, "out of memory");
		r = -ENOMEM;
		goto out;
	}
	memset(res, 0, sizeof(res));
	fan_run(m, mask, slot_commit, c, res);
	r = failures_put_out(m, mask, res, "map");
	if (!r)
		cut_close(m, c, mask);
out:
	slots_unpin(m, pinned);
	return r;
}

/*
 * A map that somebody has removed takes every commit, and is gone with the last
 * descriptor of it: nothing else would tell before the next mount.
 */
static int maps_check(struct mirror *m)
{
	slot_mask pinned = slots_pin(m, NULL);
	int r = 0;

	for_each_slot(i, pinned)
	{
		if (meta_check_place(m->slot[i].meta) != -EIDRM ||
		    slot_put_out(m, i, "map", -EIDRM))
			continue;
		mirror_break(m, "the map of the last store was removed");
		r = -EIO;
	}
	slots_unpin(m, pinned);
	return r;
}

int checkpoint_locked(struct mirror *m, uint64_t *ret_seq)
{
	struct cut c = {0};
	bool broken;
	int r = 0;

	mutex_lock(&m->lock);
	broken = m->broken;
	mutex_unlock(&m->lock);
	if (broken)
		return -EIO;
	r = maps_check(m);
	if (r)
		return r;
	if (cut_take(m, &c)) {
		r = cut_run(m, &c);
		cut_release(m, &c, !r);
	} else {
		room_ballasts(m);
	}
	if (!r && ret_seq)
		*ret_seq = c.seq;
	return r;
}

int mirror_checkpoint(struct mirror *m, uint64_t *ret_seq)
{
	int r;

	mutex_lock(&m->ckpt);
	r = checkpoint_locked(m, ret_seq);
	mutex_unlock(&m->ckpt);
	return r;
}

/* ---- the thread ---- */

/* Nodes are as many as the kernel has cached, and lie among others that stay: of
 * itself the C library would keep their pages for ever. */
static void memory_give_back(struct mirror *m) REQUIRES(m->lock)
{
	if (atomic_load(&m->nodes_freed) < NODES_TRIM)
		return;
	atomic_store(&m->nodes_freed, 0);
	mutex_unlock(&m->lock);
	(void)malloc_trim(0);
	mutex_lock(&m->lock);
}

static void *checkpoint_thread(void *arg)
{
	struct mirror *m = arg;
	uint64_t since = 0; /* when the volume was first seen dirty */

	mutex_lock(&m->lock);
	while (!m->closing) {
		uint64_t now = clock_mono_ns() / CLOCK_NS_PER_MS;
		uint64_t wait_ms = m->opt.checkpoint_ms;

		if (!m->dirty_any)
			since = 0;
		else if (!since)
			since = now;
		if (m->ckpt_wanted || (since && now - since >= wait_ms)) {
			bool broken = m->broken;

			m->ckpt_wanted = false;
			mutex_unlock(&m->lock);
			if (!broken)
				ignore_result(mirror_checkpoint(m, NULL));
			mutex_lock(&m->lock); /* it broke, loudly, if at all */
			since = 0;
			cond_broadcast(&m->gate);
			continue;
		}
		if (m->reap_due) {
			mutex_unlock(&m->lock);
			slots_reap(m);
			mutex_lock(&m->lock);
			if (m->reap_due)
				wait_ms = MIN(wait_ms, (uint64_t)100);
		}
		memory_give_back(m);
		if (since)
			wait_ms = MIN(wait_ms,
				      since + m->opt.checkpoint_ms - now);
		if (!m->closing && !m->ckpt_wanted)
			(void)cond_timedwait(&m->wake, &m->lock,
					     MAX(wait_ms, (uint64_t)1));
	}
	mutex_unlock(&m->lock);
	return NULL;
}

int checkpoint_start(struct mirror *m)
{
	return -pthread_create(&m->ckpt_thread, NULL, checkpoint_thread, m);
}

void checkpoint_stop(struct mirror *m)
{
	mutex_lock(&m->lock);
	m->closing = true;
	cond_signal(&m->wake);
	cond_broadcast(&m->ended);
	mutex_unlock(&m->lock);
	(void)pthread_join(m->ckpt_thread, NULL);
}
