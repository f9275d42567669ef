/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Contents: write, seek, fsync.  (Reading: read.c; sizes and allocation:
 * space.c.)
 */
#include "fs/mirror/internal.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/fault.h"
#include "fs/mirror/nameless.h"
#include "fs/mirror/privs.h"
#include "fs/mirror/room.h"
#include "fs/mirror/times.h"

#define RECONCILE_TRIES 3u

/* ---- changes to contents, for this file and space.c ---- */

/* From *@at on as the file on @slot has it mapped. Return: 0, or what the store
 * failed with; *@ret_err: that of noting it. */
static int note_mapped_on(struct op *op, struct node *n, unsigned int slot,
			  uint64_t *at, uint64_t end, int *ret_err)
{
	struct mirror *m = op->m;
	uint64_t s, e;
	int fd, r = node_fd_get(m, n, slot, false, &fd);

	if (r)
		return r;
	while (!*ret_err && *at < end) {
		r = store_next_mapped(m->slot[slot].store, fd, *at, &s, &e);
		if (r < 0)
			break;
		if (!r || s >= end)
			s = e = end;
		s = MAX(s & ~(uint64_t)(META_BLOCK - 1), *at);
		if (s > *at)
			*ret_err = dirty_note(op, n, *at, s, true);
		e = MIN((e + META_BLOCK - 1) & ~(uint64_t)(META_BLOCK - 1),
			end);
		if (!*ret_err && e > s)
			*ret_err = dirty_note(op, n, s, e, false);
		*at = e;
	}
	node_fd_put(m, n, slot);
	return MIN(r, 0);
}

/* Who can tell what is preallocated from a hole goes before who cannot. */
static void order_by_sight(struct mirror *m, unsigned int order[],
			   unsigned int count)
{
	for (unsigned int k = 0, seeing = 0; k < count; k++) {
		unsigned int i = order[k];

		if (!store_caps(m->slot[i].store)->fiemap)
			continue;
		for (unsigned int j = k; j > seeing; j--)
			order[j] = order[j - 1];
		order[seeing++] = i;
	}
}

/*
 * Extents of [start,end) as the lead's file has them mapped now: where only a
 * part of a block was zeroed, or where an operation failed half-way.  What the
 * lead cannot say, the next one does; where nobody can, it counts as written.
 */
int dirty_note_mapped(struct op *op, struct node *n, uint64_t start,
		      uint64_t end)
{
	struct range r =
		range_align_out((struct range){start, end}, META_BLOCK);
	unsigned int order[META_STORE_MAX], count, k;
	int res[META_STORE_MAX] = {0};
	uint64_t at = r.start;
	int err = 0;

	if (node_is_gone(n, op->gen) || range_is_empty(r))
		return 0;
	count = fan_order(op->m, op_slots(op), order);
	if (!count)
		return -EIO;
	order_by_sight(op->m, order, count);
	for (k = 0; !err && k < count; k++) {
		res[k] = note_mapped_on(op, n, order[k], &at, r.end, &err);
		if (!res[k])
			break;
	}
	if (!err && at < r.end)
		err = dirty_note(op, n, at, r.end, false);
	/* Only blame a store when another one had the answer. */
	for (unsigned int j = 0; k < count && j < k && !n->unlinked; j++)
		slot_blame(op->m, order[j], n, res[j], "seek");
	return err;
}

/* @ret_of_source: an error is that of slot @from. */
static int copy_state(struct mirror *m, struct node *n, unsigned int from,
		      unsigned int to, struct range r, bool *ret_of_source)
{
	static const size_t chunk = 1u << 20;
	struct store *a = m->slot[from].store, *b = m->slot[to].store;
	_cleanup_free_ void *buf = malloc(chunk);
	struct store_stat st, now;
	struct caps caps;
	int fd_a, fd_b, err;

	*ret_of_source = false;
	if (!buf)
		return -ENOMEM;
	err = node_fd_get(m, n, from, false, &fd_a);
	if (err) {
		*ret_of_source = true;
		return err;
	}
	err = node_fd_get(m, n, to, false, &fd_b);
	if (err) {
		node_fd_put(m, n, from);
		return err;
	}
	err = caps_look(b, fd_b, &caps);
	if (!err) {
		err = store_fstat(a, fd_a, STORE_STAT_NO_TIMES, &st);
		*ret_of_source = err;
	}
	for (uint64_t at = r.start; !err && at < r.end;) {
		uint64_t s = r.end, e = r.end;

		err = store_next_mapped(a, fd_a, at, &s, &e);
		if (err < 0) {
			*ret_of_source = true;
			break;
		}
		if (!err || s > r.end)
			s = e = r.end;
		err = 0;
		s = MAX(s, at);
		e = MIN(e, r.end);
		if (s > at)
			err = store_punch(b, fd_b, at, s - at, NULL);
		if (err == -EFBIG) /* further than its files go: nothing */
			err = 0;
		while (!err && s < e && s < (uint64_t)st.st.st_size) {
			ssize_t got = store_read(
				a, fd_a, buf, MIN(chunk, (size_t)(e - s)), s);

			if (got <= 0) {
				*ret_of_source = got < 0;
				err = (int)got;
				break;
			}
			err = store_write(b, fd_b, buf, (size_t)got, s, NULL);
			s += (uint64_t)got;
		}
		at = e;
	}
	if (!err)
		err = store_fstat(b, fd_b, STORE_STAT_NO_TIMES, &now);
	if (!err && now.st.st_size != st.st.st_size)
		err = store_truncate(b, fd_b, (uint64_t)st.st.st_size);
	if (!err)
		err = caps_put_back(b, fd_b, &caps);
	node_fd_put(m, n, to);
	node_fd_put(m, n, from);
	return err;
}

int data_copy_state(struct mirror *m, struct node *n, unsigned int from,
		    unsigned int to, struct range r)
{
	bool of_source;

	return copy_state(m, n, from, to, r, &of_source);
}

/* -1: all others are as slot @from is, or out; else who is to be @from next:
 * it has no room for that, or @from cannot be read and is out itself. */
static int reconcile_from(struct op *op, struct node *n, unsigned int from,
			  struct range r, bool last)
{
	struct mirror *m = op->m;

	for_each_slot(i, op_slots(op) & ~SLOT_BIT(from))
	{
		bool of_source;
		int err = copy_state(m, n, from, i, r, &of_source);

		if (err && of_source && !store_error_is_ours(err) &&
		    slot_put_out(m, from, "read", err))
			return (int)i;
		if (err && store_error_is_space(err) && !last)
			return (int)i;
		if (err && !slot_put_out(m, i, "write", err))
			op->in_part = false;
	}
	return -1;
}

/*
 * No room on slot @full: the application's error.  What it has there now, all
 * others get, also those that were not asked: it may have taken a part.  One
 * that has no room even for that has less, so its part is the next to be
 * tried.  The whole file is held meanwhile, for the sake of its size.
 */
static void reconcile(struct op *op, struct node *n, unsigned int full,
		      struct range r)
{
	unsigned int tries = 0;
	int from = (int)full;

	range_widen(n, op->hold);
	op->in_part = true;
	while (from >= 0)
		from = reconcile_from(op, n, (unsigned int)from, r,
				      ++tries >= RECONCILE_TRIES);
	if (tries > 1) /* it is somebody else's part */
		op->in_part = false;
}

/* A change that nobody has or everybody has in part. */
static void note_failed(struct op *op, struct node *n, uint64_t start,
			uint64_t end)
{
	if (dirty_note_mapped(op, n, start, end))
		ignore_result(dirty_note(op, n, start, end, false));
	dirty_attr(op, n); /* noted, whatever became of it */
}

static int change_data(struct op *op, struct node *n, slot_fn fn, void *arg,
		       uint64_t start, uint64_t end, const char *what)
{
	struct mirror *m = op->m;
	unsigned int order[META_STORE_MAX], count;
	int res[META_STORE_MAX] = {0};
	slot_mask tried = 0;
	int r;

	count = fan_order(m, op_slots(op), order);
	for (unsigned int k = 0; k < count; k++) {
		unsigned int i = order[k];

		r = fn(m, i, arg);
		if (store_error_is_space(r))
			r = room_doubt(m, i, r);
		res[i] = r;
		tried |= SLOT_BIT(i);
		if (r >= 0)
			continue;
		if (n->unlinked)
			continue;
		if (store_error_is_space(r) || store_error_is_ours(r) ||
		    err_is_limit(r)) {
			reconcile(op, n, i,
				  range_align_out((struct range){start, end},
						  META_BLOCK));
			note_failed(op, n, start, end);
			return r;
		}
		if (r == -ESTALE && count > 1)
			slot_suspect(m, i, n);
		else if (!k && err_is_answer(r))
			return r;
	}
	if (n->unlinked)
		return op_judge_unlinked(op, n, tried, res);
	r = op_judge(op, tried, res, what);
	if (r)
		note_failed(op, n, start, end);
	return r;
}

int data_change(struct op *op, struct node *n, slot_fn fn, void *arg,
		uint64_t start, uint64_t end, const char *what)
{
	struct mirror *m = op->m;
	slot_mask pinned;
	int r = node_fds_pin(m, n, op_slots(op), false, &pinned);

	if (r)
		return r; /* nothing was done */
	node_mtime_keep(m, n);
	r = change_data(op, n, fn, arg, start, end, what);
	nameless_changed(n, start, end);
	node_mtime_moved(m, n);
	if (!node_kernel_times(m, n))
		node_ctime_moved(m, n);
	node_fds_unpin(m, n, pinned);
	return r;
}

/* ---- write ---- */

struct writing {
	struct node *n;
	bool keeps; /* capabilities that the file may have */
	struct caps caps;
	const void *buf;
	size_t len;
	uint64_t off;
	bool some;	    /* a part is better than an error */
	size_t done;	    /* by the slot that was asked last */
	size_t least, most; /* by those that have the file */
};

static int write_slot(struct mirror *m, unsigned int slot, void *arg)
{
	struct writing *k = arg;
	int fd, caps, r = FAULT_ERR("mirror.write");

	k->done = 0;
	if (!r)
		r = node_fd_get(m, k->n, slot, false, &fd);
	if (r)
		return r;
	r = store_write(m->slot[slot].store, fd, k->buf, k->len, k->off,
			&k->done);
	k->least = MIN(k->least, k->done);
	k->most = MAX(k->most, k->done);
	/* Whatever became of it: a part may be written. */
	caps = caps_put_back(m->slot[slot].store, fd, &k->caps);
	node_fd_put(m, k->n, slot);
	return r ? r : caps;
}

static bool write_keeps(const struct writing *k)
{
	return k->keeps && !atomic_load(&k->n->no_privs);
}

/* The range, or all of the file where capabilities may have to be put back. */
static void write_lock(struct writing *k, struct range_hold *hold)
{
	if (!write_keeps(k)) {
		range_lock(k->n, hold, k->off, k->off + k->len);
		if (!write_keeps(k)) {
			k->keeps = false;
			return;
		}
		range_unlock(k->n, hold);
	}
	range_lock(k->n, hold, 0, META_RANGE_MAX);
}

/* After an error: what all stores have of it. Nobody makes them alike where the
 * file has no name. */
static size_t part_of(const struct op *op, const struct writing *k)
{
	if (op->in_part)
		return k->done;
	return k->n->unlinked && k->least == k->most ? k->most : 0;
}

static int write_locked(struct op *op, struct writing *k)
{
	uint64_t end = k->off + k->len;
	int r = op_number(op, 1);
	size_t part;

	if (!r && k->keeps)
		r = node_caps_look(op->m, k->n, &k->caps);
	if (!r)
		r = op_arm_data(op, k->n, k->off, end);
	if (r)
		return r;
	FAULT_POINT("mirror.write.armed");
	r = data_change(op, k->n, write_slot, k, k->off, end, "write");
	FAULT_POINT("mirror.write.done");
	part = r && k->some ? part_of(op, k) : 0;
	if (part) {
		k->len = part;
		end = k->off + part;
		r = 0;
	}
	return r ? r : dirty_note(op, k->n, k->off, end, false);
}

static int write_node(struct mirror *m, uint64_t node, struct writing *k,
		      unsigned int kill)
{
	struct range_hold hold;
	struct op op = {0};
	int r;

	if (!k->len)
		return 0;
	if (k->off > META_RANGE_MAX || k->len > META_RANGE_MAX - k->off)
		return -EFBIG;
	r = node_get(m, node, &k->n);
	if (r)
		return r == -ENOENT ? -ESTALE : r;
	if (k->n->kind != META_FILE)
		r = -EINVAL;
	if (!r && (kill & ~MIRROR_KEEP_CAPS))
		r = node_privs_drop(m, k->n, kill);
	if (!r)
		r = op_enter_data(m, &op, k->n, k->off, k->off + k->len);
	if (!r) {
		write_lock(k, &hold);
		op.hold = &hold;
		r = write_locked(&op, k);
		range_unlock(k->n, &hold);
	}
	r = op_end(&op, r);
	if (!r)
		stream_note(m, k->n, k->off, k->off + k->len);
	node_put(m, k->n);
	return r;
}

int mirror_write(struct mirror *m, uint64_t node, const void *buf, size_t len,
		 uint64_t off, unsigned int kill)
{
	struct writing k = {.keeps = kill & MIRROR_KEEP_CAPS,
			    .buf = buf,
			    .len = len,
			    .off = off};

	return write_node(m, node, &k, kill);
}

ssize_t mirror_write_some(struct mirror *m, uint64_t node, const void *buf,
			  size_t len, uint64_t off, unsigned int kill)
{
	struct writing k = {
		.buf = buf, .len = len, .off = off, .some = true, .least = len};
	int r;

	assert(!(kill & MIRROR_KEEP_CAPS));
	r = write_node(m, node, &k, kill);
	return r ? r : (ssize_t)k.len;
}

/* ---- seek ---- */

struct seeking {
	struct node *n;
	uint64_t off;
	int whence;
	uint64_t found;
};

static int seek_slot(struct mirror *m, unsigned int slot, void *arg)
{
	struct seeking *k = arg;
	struct node_reader file;
	int r = node_reader_get(m, k->n, slot, &file);

	if (r)
		return r;
	r = store_seek(m->slot[slot].store, file.fd, k->off, k->whence,
		       &k->found);
	node_reader_put(m, k->n, slot, &file);
	return r;
}

int mirror_seek(struct mirror *m, uint64_t node, uint64_t off, int whence,
		uint64_t *ret_off)
{
	struct seeking k = {.off = off, .whence = whence};
	int r = node_get(m, node, &k.n);

	if (r)
		return r == -ENOENT ? -ESTALE : r;
	r = k.n->kind == META_FILE ? fan_ask(m, seek_slot, k.n, &k, "seek")
				   : -EINVAL;
	if (!r)
		*ret_off = k.found;
	node_put(m, k.n);
	return r;
}

/* ---- fsync ---- */

struct syncing {
	struct node *n;
	bool data_only;
	_Atomic slot_mask whole; /* whose filesystem as a whole failed */
};

static int fsync_slot(struct mirror *m, unsigned int slot, void *arg)
{
	struct syncing *k = arg;
	const struct store *s = m->slot[slot].store;
	uint64_t lost = store_caps(s)->syncfs_complete
				? node_sync_lost(m, k->n, slot)
				: 0;
	struct node_reader file;
	int r = FAULT_ERR("mirror.fsync");

	if (!r)
		r = node_reader_get(m, k->n, slot, &file);
	if (r)
		return r;
	/* The descriptor that a failed write would be told to is closed, and
	 * its inode may be gone from memory: the filesystem still knows. */
	r = lost ? store_syncfs(s) : 0;
	if (r)
		atomic_fetch_or(&k->whole, SLOT_BIT(slot));
	else
		r = store_fsync(s, file.fd, k->data_only);
	node_reader_put(m, k->n, slot, &file);
	if (!r && lost)
		node_sync_found(m, k->n, slot, lost);
	return store_error_of_call(r);
}

/*
 * A syncfs tells of any file's lost writes, and once: the next checkpoint does
 * not hear of them.  So they are judged as it would have, whatever this file is.
 */
static void syncfs_judge(struct mirror *m, slot_mask failed, const int res[])
{
	for_each_slot(i, failed) if (!slot_put_out(m, i, "sync", res[i]))
		mirror_break(m, "the last store could not be synced");
}

/*
 * Every store or it is out: one that could not do it has lost writes that were
 * acknowledged, and a later success would prove nothing.  So all are judged
 * before the application is told that one of them was not tried.
 */
static int fsync_judge(struct mirror *m, struct node *n, slot_mask pin,
		       int lead, const int res[])
{
	slot_mask ok = 0, untried = 0, failed;
	int ours = 0;

	for_each_slot(i, pin)
	{
		if (!res[i]) {
			ok |= SLOT_BIT(i);
		} else if (store_error_is_ours(res[i])) {
			untried |= SLOT_BIT(i);
			ours = res[i];
		}
	}
	failed = pin & ~ok & ~untried;
	if (n->unlinked) { /* who failed is not asked for it any more */
		for_each_slot(i, ok | untried ? failed : 0)
			node_fd_lose(m, n, i);
		if (ok || ours)
			return ok ? 0 : ours;
		return res[lead] == -ENODE_ELSEWHERE ? -EIO : res[lead];
	}
	for_each_slot(i, failed)
	{
		atomic_fetch_add(&m->slot[i].errors_write, 1);
		if (!ok && !untried && (int)i == lead)
			continue;
		if (!slot_put_out(m, i, "fsync", res[i]))
			return res[i];
	}
	if (ours)
		return ours;
	return ok ? 0 : res[lead];
}

int mirror_fsync(struct mirror *m, uint64_t node, bool data_only)
{
	struct syncing k = {.data_only = data_only};
	int res[META_STORE_MAX] = {0};
	slot_mask pin;
	int lead, r = node_get(m, node, &k.n);

	if (r)
		return r == -ENOENT ? -ESTALE : r;
	if (k.n->kind == META_FILE || k.n->kind == META_DIR) {
		pin = slots_pin(m, &lead);
		fan_run(m, pin, fsync_slot, &k, res);
		syncfs_judge(m, atomic_load(&k.whole), res);
		r = fsync_judge(m, k.n, pin, lead, res);
		slots_unpin(m, pin);
		/* Another thread's put-out: this store alone has it now. */
		if (!r)
			r = departures_wait(m);
	}
	node_put(m, k.n);
	return r;
}
