/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sizes and allocation: truncate and fallocate.  Whole blocks that go leave
 * nothing behind in the map (I5); a block that is zeroed only in part counts
 * as written, if it is mapped at all.
 */
#include "fs/mirror/privs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>

#include "base/fault.h"
#include "fs/mirror/room.h"

struct spacing {
	struct node *n;
	uint64_t off;
	uint64_t len;
	uint64_t size; /* to be; of fallocate: before */
	int mode;
};

static uint64_t block_up(uint64_t x)
{
	return (x + META_BLOCK - 1) & ~(uint64_t)(META_BLOCK - 1);
}

static uint64_t block_down(uint64_t x)
{
	return x & ~(uint64_t)(META_BLOCK - 1);
}

/* ---- blocks that are zeroed in part ---- */

/* What is preallocated is none, where that can be told. */
static bool is_hole_on(struct mirror *m, struct node *n, unsigned int slot,
		       uint64_t block)
{
	uint64_t start, end;
	int fd, r;

	if (!store_caps(m->slot[slot].store)->fiemap)
		return false;
	r = node_fd_get(m, n, slot, false, &fd);
	if (r)
		return false;
	r = store_next_mapped(m->slot[slot].store, fd, block, &start, &end);
	node_fd_put(m, n, slot);
	return !r || (r > 0 && start >= block + META_BLOCK);
}

static bool is_zero_on(struct mirror *m, struct node *n, unsigned int slot,
		       uint64_t block)
{
	static const char zeros[META_BLOCK];
	char buf[META_BLOCK];
	ssize_t got;
	int fd;

	if (node_fd_get(m, n, slot, false, &fd))
		return false;
	got = store_read(m->slot[slot].store, fd, buf, sizeof(buf), block);
	node_fd_put(m, n, slot);
	return got >= 0 && !memcmp(buf, zeros, (size_t)got);
}

/*
 * A filesystem may have allocated what nobody wrote (xfs does, ahead of the end
 * of a file that grows).  What is a hole on another store and zeros on the lead
 * is a hole still: a store that is away gets no block for it, either.
 */
static bool is_still_hole(struct op *op, struct node *n, uint64_t block)
{
	unsigned int order[META_STORE_MAX];
	unsigned int count = fan_order(op->m, op_slots(op), order);

	for (unsigned int k = 0; k < count; k++)
		if (is_hole_on(op->m, n, order[k], block))
			return !k || is_zero_on(op->m, n, order[0], block);
	return false;
}

/* Does @slot have zeros there that a scrub would take for data? */
static bool is_written_on(struct mirror *m, struct node *n, unsigned int slot,
			  int fd, uint64_t block)
{
	const struct store *s = m->slot[slot].store;
	uint64_t at;

	return store_caps(s)->punch_hole && store_caps(s)->seek_hole &&
	       !store_seek(s, fd, block, SEEK_DATA, &at) &&
	       at < block + META_BLOCK && is_zero_on(m, n, slot, block);
}

/*
 * Where blocks are smaller than ours, one store may have written zeros where
 * another one has a hole: a copy is made of whole ones. What is left of such a
 * block is a hole on all or on none.
 */
static int free_zeros(struct op *op, struct node *n, uint64_t block)
{
	struct mirror *m = op->m;
	int fd, r = 0;

	for_each_slot(i, op_slots(op))
	{
		if (r)
			break;
		r = node_fd_get(m, n, i, false, &fd);
		if (r)
			break;
		if (is_written_on(m, n, i, fd, block))
			r = store_punch(m->slot[i].store, fd, block, META_BLOCK,
					NULL);
		node_fd_put(m, n, i);
	}
	return r;
}

/* The blocks of [start,end) hold what is left of them, if they are mapped. What
 * cannot be freed stays: as written zeros. */
static int note_part(struct op *op, struct node *n, uint64_t start,
		     uint64_t end)
{
	int r = 0;

	for (uint64_t at = block_down(start); !r && at < end; at += META_BLOCK)
		r = is_still_hole(op, n, at)
			    ? dirty_note(op, n, at, at + META_BLOCK,
					 !free_zeros(op, n, at))
			    : dirty_note_mapped(op, n, at, at + META_BLOCK);
	return r;
}

/* ---- truncate ---- */

static int truncate_slot(struct mirror *m, unsigned int slot, void *arg)
{
	const struct spacing *k = arg;
	int fd, r = FAULT_ERR("mirror.truncate");

	if (!r)
		r = node_fd_get(m, k->n, slot, false, &fd);
	if (r)
		return r;
	r = store_truncate(m->slot[slot].store, fd, k->size);
	node_fd_put(m, k->n, slot);
	return r;
}

static int truncate_look(struct mirror *m, unsigned int slot, void *arg)
{
	const struct spacing *k = arg;
	struct stat now;
	int r = node_stat_on(m, k->n, slot, STORE_STAT_NO_TIMES, &now);

	if (r)
		return r;
	return (uint64_t)now.st_size == k->size ? HALF_DONE : HALF_NOT_DONE;
}

static int truncate_locked(struct op *op, struct spacing *k)
{
	uint64_t low, high;
	struct stat st;
	int r = node_stat(op->m, k->n, STORE_STAT_NO_TIMES, &st);

	if (r)
		return r;
	low = MIN(k->size, meta_file_end(st.st_size));
	high = MAX(k->size, meta_file_end(st.st_size));
	r = op_number(op, 1);
	if (!r)
		r = low < high ? op_arm_data(op, k->n, low, high)
			       : op_arm_attr(op, k->n);
	if (r)
		return r;
	r = data_change(op, k->n, truncate_slot, k, low, high, "truncate");
	/* To the same size: nothing says that it was done, or need be. */
	r = settle_change(op, truncate_look, k, "truncate", r);
	FAULT_POINT("mirror.truncate.done");
	if (r)
		return r;
	dirty_attr(op, k->n);
	if (k->size >= (uint64_t)st.st_size)
		return 0;
	r = dirty_note(op, k->n, block_up(k->size), META_RANGE_MAX, true);
	if (!r && k->size % META_BLOCK)
		r = note_part(op, k->n, k->size, block_up(k->size));
	return r;
}

int mirror_truncate(struct mirror *m, struct node *n, uint64_t size,
		    unsigned int kill)
{
	struct spacing k = {.n = n, .size = size};
	struct range_hold hold;
	struct op op;
	int r = 0;

	if (n->kind != META_FILE)
		return n->kind == META_DIR ? -EISDIR : -EINVAL;
	if (size > META_RANGE_MAX)
		return -EFBIG;
	if (kill)
		r = node_privs_drop(m, n, kill);
	if (r)
		return r;
	r = op_enter(m, &op);
	if (!r) {
		range_lock(n, &hold, 0, META_RANGE_MAX);
		op.hold = &hold;
		r = truncate_locked(&op, &k);
		range_unlock(n, &hold);
	}
	r = op_end(&op, r);
	if (!r)
		room_freed(m);
	return r;
}

/* ---- fallocate ---- */

static int space_slot(struct mirror *m, unsigned int slot, void *arg)
{
	const struct spacing *k = arg;
	struct store *s = m->slot[slot].store;
	bool keep = k->mode & FALLOC_FL_KEEP_SIZE;
	int fd, r = FAULT_ERR("mirror.fallocate");

	if (!r)
		r = node_fd_get(m, k->n, slot, false, &fd);
	if (r)
		return r;
	if (k->mode & FALLOC_FL_PUNCH_HOLE)
		r = store_punch(s, fd, k->off, k->len, NULL);
	else if (k->mode & FALLOC_FL_ZERO_RANGE)
		r = store_zero(s, fd, k->off, k->len, keep);
	else
		r = store_allocate(s, fd, k->mode, k->off, k->len);
	node_fd_put(m, k->n, slot);
	return r;
}

/* What makes a file longer shows; of the rest, nothing is there to be seen. */
static int space_look(struct mirror *m, unsigned int slot, void *arg)
{
	const struct spacing *k = arg;
	uint64_t end = k->off + k->len;
	struct stat now;
	int r = node_stat_on(m, k->n, slot, STORE_STAT_NO_TIMES, &now);

	if (r)
		return r;
	return k->size < end && (uint64_t)now.st_size >= end ? HALF_DONE
							     : HALF_NOT_DONE;
}

static int space_change(struct op *op, struct spacing *k, uint64_t end)
{
	struct stat st;
	int r = k->mode ? 0 : node_stat(op->m, k->n, STORE_STAT_NO_TIMES, &st);

	if (r)
		return r;
	r = data_change(op, k->n, space_slot, k, k->off, end, "fallocate");
	if (k->mode)
		return r;
	k->size = (uint64_t)st.st_size;
	return settle_change(op, space_look, k, "fallocate", r);
}

static int note_punched(struct op *op, const struct spacing *k)
{
	uint64_t end = k->off + k->len;
	struct range in =
		range_align_in((struct range){k->off, end}, META_BLOCK);
	int r = 0;

	dirty_attr(op, k->n);
	if (!range_is_empty(in)) {
		r = dirty_note(op, k->n, in.start, in.end, true);
		if (!r && k->off < in.start)
			r = note_part(op, k->n, k->off, in.start);
		if (!r && in.end < end)
			r = note_part(op, k->n, in.end, end);
		return r;
	}
	return note_part(op, k->n, k->off, end);
}

static int fallocate_locked(struct op *op, struct spacing *k)
{
	uint64_t end = k->off + k->len;
	int r = op_number(op, 1);

	if (!r)
		r = op_arm_data(op, k->n, k->off, end);
	if (!r)
		r = space_change(op, k, end);
	FAULT_POINT("mirror.fallocate.done");
	if (r)
		return r;
	if (k->mode & FALLOC_FL_PUNCH_HOLE)
		return note_punched(op, k);
	/* What was preallocated counts as mapped. */
	return dirty_note(op, k->n, k->off, end, false);
}

/* Is no file of some store's so long? Then there is no room for it, either. */
static bool is_too_far(struct mirror *m, struct node *n, uint64_t end)
{
	slot_mask pin = slots_pin(m, NULL);
	bool too_far = false;
	uint64_t at;
	int fd;

	for_each_slot(i, pin)
	{
		if (node_fd_get(m, n, i, false, &fd))
			continue; /* what it cannot do, the others say */
		too_far = too_far || store_seek(m->slot[i].store, fd, end,
						SEEK_SET, &at) == -EINVAL;
		node_fd_put(m, n, i);
	}
	slots_unpin(m, pin);
	return too_far;
}

/*
 * Range locked to the end of the block. A punch over the end of a file frees its
 * last block on some filesystems and leaves zeros in it on others: there it goes
 * to the end of the block, where nothing is, on all.
 */
static bool is_over_end(struct mirror *m, struct node *n, uint64_t end)
{
	slot_mask pin = slots_pin(m, NULL);
	struct store_stat st;
	bool over = false;
	int fd, r = -ENODEV;

	for_each_slot(i, pin)
	{
		if (!r || node_fd_get(m, n, i, false, &fd))
			continue;
		r = store_fstat(m->slot[i].store, fd, STORE_STAT_NO_TIMES, &st);
		over = !r && (uint64_t)st.st.st_size <= end;
		node_fd_put(m, n, i);
	}
	slots_unpin(m, pin);
	return over;
}

static int fallocate_hold(struct op *op, struct spacing *k)
{
	struct range locked = {k->off, k->off + k->len};
	struct range_hold hold;
	int r;

	if (k->mode & FALLOC_FL_PUNCH_HOLE)
		locked.end = range_align_out(locked, META_BLOCK).end;
	if (!k->mode) /* nobody else makes it longer: space_look() */
		locked = (struct range){0, META_RANGE_MAX};
	range_lock(k->n, &hold, locked.start, locked.end);
	op->hold = &hold;
	if (k->mode && locked.end > k->off + k->len &&
	    is_over_end(op->m, k->n, k->off + k->len))
		k->len = MIN(locked.end, META_RANGE_MAX) - k->off;
	r = fallocate_locked(op, k);
	range_unlock(k->n, &hold);
	return r;
}

int mirror_fallocate(struct mirror *m, uint64_t node, int mode, uint64_t off,
		     uint64_t len, unsigned int kill)
{
	const int known = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE |
			  FALLOC_FL_ZERO_RANGE;
	struct spacing k = {.off = off, .len = len, .mode = mode};
	struct op op = {0};
	int r;

	if (mode & ~known ||
	    ((mode & FALLOC_FL_PUNCH_HOLE) &&
	     mode != (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)))
		return -EOPNOTSUPP;
	if (!len)
		return -EINVAL;
	if (off > META_RANGE_MAX || len > META_RANGE_MAX - off)
		return -EFBIG;
	r = node_get(m, node, &k.n);
	if (r)
		return r == -ENOENT ? -ESTALE : r;
	if (k.n->kind != META_FILE)
		r = k.n->kind == META_DIR ? -EISDIR : -ENODEV;
	if (!r && kill)
		r = node_privs_drop(m, k.n, kill);
	if (!r)
		r = mode & FALLOC_FL_PUNCH_HOLE
			    ? op_enter(m, &op)
			    : op_enter_data(m, &op, k.n, off, off + len);
	if (r == -ENOSPC && is_too_far(m, k.n, off + len))
		r = -EFBIG;
	if (!r)
		r = fallocate_hold(&op, &k);
	r = op_end(&op, r);
	if (!r && (mode & FALLOC_FL_PUNCH_HOLE))
		room_freed(m);
	node_put(m, k.n);
	return r;
}
