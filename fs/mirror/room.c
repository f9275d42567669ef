/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Room: a mirror is full before its fullest store is.
 *
 * What applications may take ends a little above zero, because the maps must
 * be able to note what is done on a full disk: deletions, put-outs, the next
 * checkpoint.  (The ballast, meta/ballast.c, is for those who fill the disk
 * from outside. While it is given up its room is kept as well: else contents
 * would take it, and nothing be left.)  The reserve is RESERVE bytes, or a 32nd
 * of a small filesystem; blocks that it keeps for root count towards it, but
 * not those that ext4 keeps for itself.  A quota is met with no such warning:
 * what the maps have then is their ballast, and while it is given up nothing more
 * is granted.
 *
 * Asking costs a statvfs per store, so a part of what is free is granted to
 * the operations that follow, and they only count it down.  A grant is an
 * eighth: what a checkpoint must write in the worst case (random blocks, each
 * with a page of the map and one of its index in the log) for what was
 * granted then has room, and each grant on a store that gets full asks for a
 * checkpoint.  What was taken by operations that have not ended is not free any
 * more, though the filesystem may not know it yet: on a small one, all that the
 * kernel has under way at once is more than the reserve.
 *
 * Called past no gate and with no lock.  A wrong answer is not a danger: who
 * meets ENOSPC at the call is reconciled as ever.
 */
#include "fs/mirror/room.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"

#define RESERVE	      (16ull << 20)
#define RESERVE_SHARE 32u
#define GRANT_SHARE   8u
/* ext4 keeps a 50th, and no more clusters than that, from root as well. */
#define OWN_SHARE  50u
#define OWN_BLOCKS 4096u
#define GRANT_MIN  (256ull << 10)
/* With more than this, checkpoints come at their interval. */
#define ROOM_WIDE (1ull << 30)
/* Who finds no room has a checkpoint made first: what was deleted is free when
 * nothing holds it any more. Where nothing was, at most this often. */
#define RETRY_NS (100 * CLOCK_NS_PER_MS)
/* Filesystems give back in the background, after the last close: so often it is
 * looked for. */
#define FREED_LOOKS 20u
#define FREED_MS    5u
/* Who has so much free, and says that there is none, is asked for a proof. */
#define PLENTY_BYTES (64ull << 20)
#define PLENTY_FILES 1024u
/* So often room is made for a map before it is given up. */
#define HUNT_TRIES 4u

static uint64_t room_of(const struct statvfs *v, uint64_t ballast)
{
	uint64_t unit = v->f_frsize ? v->f_frsize : v->f_bsize;
	uint64_t all = (uint64_t)v->f_blocks * unit;
	uint64_t avail = (uint64_t)v->f_bavail * unit;
	uint64_t kept = (uint64_t)v->f_bfree * unit;
	uint64_t reserve = MIN((uint64_t)RESERVE, all / RESERVE_SHARE);

	/* It does not tell its size: a tmpfs without limit, some of FUSE. */
	if (!all)
		return UINT64_MAX >> 1;
	kept -= MIN(kept, avail);
	kept -= MIN(kept, MIN(all / OWN_SHARE, OWN_BLOCKS * unit));
	reserve -= MIN(reserve, kept);
	reserve += MIN(ballast, all / GRANT_SHARE);
	return avail - MIN(avail, reserve);
}

/* A limit of its own (a directory's, a project's) is met with plenty, too. */
static bool has_plenty(const struct statvfs *v)
{
	uint64_t unit = v->f_frsize ? v->f_frsize : v->f_bsize;

	return (uint64_t)v->f_bavail * unit >= PLENTY_BYTES &&
	       (!v->f_files || v->f_favail >= PLENTY_FILES);
}

/* Whose map has met a limit that statvfs(3) does not tell has no room before it
 * has its ballast again. */
static uint64_t room_on(struct meta *map, const struct statvfs *v)
{
	if (meta_ballast_is_out(map) && has_plenty(v))
		return 0;
	return room_of(v, meta_ballast_missing(map));
}

/* The least of all stores; one that does not answer is not asked. */
static uint64_t room_ask(struct mirror *m)
{
	slot_mask pin = slots_pin(m, NULL);
	uint64_t least = UINT64_MAX >> 1;
	struct guard_hurry before = guard_hurry_begin(hurry_ms(m));
	struct statvfs v;

	for_each_slot(i, pin) if (!store_statvfs(m->slot[i].store, &v))
		least = MIN(least, room_on(m->slot[i].meta, &v));
	(void)guard_hurry_end(before);
	slots_unpin(m, pin);
	return least;
}

/* Of @free bytes: what is left, @bytes included, or less and nothing taken. */
static uint64_t room_claim(struct mirror *m, uint64_t free, uint64_t bytes)
{
	uint64_t busy = atomic_load(&m->room_busy), left;

	do
		left = free - MIN(free, busy);
	while (left >= bytes && !atomic_compare_exchange_weak(
					&m->room_busy, &busy, busy + bytes));
	return left;
}

/* @ret_freed: something has been given back since the last time, or it was just
 * then; the lowest bit of that time says so. */
static bool retry_allowed(struct mirror *m, bool *ret_freed)
{
	uint64_t now = clock_mono_ns(), last = atomic_load(&m->room_retried_ns);
	bool soon = last && now - last < RETRY_NS;

	*ret_freed = !last || (soon && (last & 1));
	now = (now & ~1ull) | !last;
	return !soon &&
	       atomic_compare_exchange_strong(&m->room_retried_ns, &last, now);
}

void room_freed(struct mirror *m)
{
	atomic_store(&m->room_retried_ns, 0);
}

static void checkpoint_soon(struct mirror *m)
{
	mutex_lock(&m->lock);
	if (m->dirty_any && !m->ckpt_wanted) {
		m->ckpt_wanted = true;
		cond_signal(&m->wake);
	}
	mutex_unlock(&m->lock);
}

static int room_grant(struct mirror *m, uint64_t bytes)
{
	uint64_t lost = atomic_load(&m->room_lost);
	uint64_t have = room_claim(m, room_ask(m), bytes);
	bool freed = false;

	if (have < bytes && retry_allowed(m, &freed)) {
		int r = mirror_checkpoint(m, NULL);

		if (r)
			return r;
		have = room_claim(m, room_ask(m), bytes);
	}
	for (unsigned int i = 0; freed && have < bytes && i < FREED_LOOKS;
	     i++) {
		clock_sleep_ms(FREED_MS);
		have = room_claim(m, room_ask(m), bytes);
	}
	if (have < bytes) {
		atomic_store(&m->room, 0);
		return -ENOSPC;
	}
	if (have < ROOM_WIDE)
		checkpoint_soon(m);
	have = MAX(have / GRANT_SHARE,
		   MIN(have, MAX((uint64_t)GRANT_MIN, bytes)));
	atomic_store(&m->room, (int64_t)(have - bytes));
	/* It may have been asked for before a map gave up its ballast. */
	if (atomic_load(&m->room_lost) != lost)
		atomic_store(&m->room, 0);
	return 0;
}

int room_take(struct mirror *m, uint64_t bytes)
{
	if (atomic_fetch_sub(&m->room, (int64_t)bytes) < (int64_t)bytes)
		return room_grant(m, bytes);
	atomic_fetch_add(&m->room_busy, bytes);
	return 0;
}

void room_done(struct mirror *m, uint64_t bytes)
{
	atomic_fetch_sub(&m->room_busy, bytes);
}

/* Does slot @i have all of [start,end) mapped? */
static bool mapped_on(struct mirror *m, struct node *n, unsigned int i,
		      uint64_t start, uint64_t end)
{
	uint64_t s = 0, e = 0;
	bool all = false;
	int fd;

	if (node_fd_get(m, n, i, false, &fd))
		return false;
	while (store_next_mapped(m->slot[i].store, fd, start, &s, &e) > 0 &&
	       s <= start && !all) {
		all = e >= end;
		start = e;
	}
	node_fd_put(m, n, i);
	return all;
}

int room_take_data(struct mirror *m, struct node *n, uint64_t start,
		   uint64_t end)
{
	slot_mask pin;
	bool in_place = true;
	int r = room_take(m, end - start);

	if (r != -ENOSPC)
		return r;
	pin = slots_pin(m, NULL);
	for_each_slot(i, pin)
		in_place = in_place && mapped_on(m, n, i, start, end);
	slots_unpin(m, pin);
	if (!in_place)
		return -ENOSPC;
	atomic_fetch_add(&m->room_busy, end - start);
	return 0;
}

void mirror_refuse(struct mirror *m, uint64_t node, int err, uint64_t bytes)
{
	struct node *n = node_peek(m, node);

	if (n) {
		atomic_store(&n->refused_bytes, bytes);
		atomic_store(&n->refused, err);
	}
	node_put(m, n);
}

int mirror_refused(struct mirror *m, uint64_t node)
{
	struct node *n = node_peek(m, node);
	int err = n ? atomic_load(&n->refused) : 0;
	uint64_t bytes;

	if (err == -ENOSPC) {
		bytes = atomic_load(&n->refused_bytes);
		if (!room_take(m, bytes)) {
			room_done(m, bytes);
			err = 0;
		}
	}
	if (n && err != -ENOSPC)
		atomic_store(&n->refused, 0);
	node_put(m, n);
	return err;
}

static void room_lose(struct mirror *m)
{
	atomic_fetch_add(&m->room_lost, 1);
	atomic_store(&m->room, 0);
}

static int room_for_map(struct mirror *m, unsigned int i)
{
	int r;

	room_lose(m);
	r = meta_ballast_release(m->slot[i].meta);
	/* Who asked before that was known has got some more. */
	room_lose(m);
	return r;
}

/*
 * A btrfs takes room for what is removed as well, and counts it in its quota as
 * taken until it commits, without asking: a removal of many files takes all that a
 * commit has given back before the map is written. So nothing new is begun
 * meanwhile. What is under way may take some more, but not for long.
 */
int room_try(struct mirror *m, unsigned int i, room_try_fn fn, const void *arg)
{
	int r = fn(m, i, arg);

	if (!store_error_is_space(r))
		return r;
	mutex_lock(&m->lock);
	m->hunts++;
	mutex_unlock(&m->lock);
	for (unsigned int n = 0; n < HUNT_TRIES && store_error_is_space(r); n++)
		if (!room_for_map(m, i))
			r = fn(m, i, arg);
	mutex_lock(&m->lock);
	if (!--m->hunts)
		cond_broadcast(&m->gate);
	mutex_unlock(&m->lock);
	return r;
}

void room_ballast(struct mirror *m, unsigned int i)
{
	/* 1: no room for it now; tried again next time. */
	int r = meta_ballast_ensure(m->slot[i].meta);

	if (r < 0)
		log_warn("store %s: ballast: %s", m->slot[i].row.name,
			 strerror(-r));
}

void room_ballasts(struct mirror *m)
{
	slot_mask pinned = slots_pin(m, NULL);

	for_each_slot(i, pinned) if (meta_ballast_is_out(m->slot[i].meta))
		room_ballast(m, i);
	slots_unpin(m, pinned);
}

/*
 * ext4 looks for a free inode in one group after the other, passes over those
 * whose bitmap cannot be read, and has none in the end.
 */
int room_doubt(struct mirror *m, unsigned int i, int err)
{
	const struct store *s = m->slot[i].store;
	struct statvfs v;
	int r = err == -ENOSPC ? store_statvfs(s, &v) : err;

	if (!r)
		r = has_plenty(&v) ? store_fsync(s, store_root_fd(s), false)
				   : err;
	return !r || store_error_is_space(r) || store_error_is_ours(r) ? err
								       : r;
}
