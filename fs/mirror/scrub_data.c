/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Contents, slice by slice, where any store has data.  What is a hole on all
 * of them reads as zeros on all of them.
 *
 * Clean pages are dropped before a slice is read, so that the disks are
 * compared and not what is remembered of them, and afterwards, so that a scrub
 * does not fill the memory.  Dirty ones stay.
 *
 * Data where a store's own map has a hole is a change behind the mirror's back,
 * which a resync would not see.  If it is zeros only, it counts where the
 * filesystem does not make such blocks itself: xfs writes zeros into what it had
 * preallocated when a file grows past it, btrfs into the last block of a hole
 * that a file is cut off in.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/mirror/scrub_internal.h"

#define SLICE_BLOCKS (SCRUB_SLICE / META_BLOCK)

struct slice {
	/* Whole blocks; read, no longer than the longest replica. */
	struct range range;
	slot_mask mask; /* whose file is the node */
	slot_mask unreadable[SLICE_BLOCKS];
	slot_mask unmapped[SLICE_BLOCKS]; /* data, and no row */
	slot_mask later; /* written after the last numbered change */
	size_t got;	 /* bytes, of the longest replica */
	/* Blocks in the buffer; behind them there is nothing. */
	size_t blocks[META_STORE_MAX];
};

static size_t block_of(const struct slice *sl, uint64_t off)
{
	return (size_t)((off - sl->range.start) / META_BLOCK);
}

static void blocks_zero(struct scan *c, unsigned int i, size_t from, size_t to)
{
	if (from < to)
		memset(c->s->buffer[i] + from * META_BLOCK, 0,
		       (to - from) * META_BLOCK);
}

/* ---- reading ---- */

/* Which block of a slice cannot be read. */
static void read_blocks(struct scan *c, unsigned int i, int fd,
			struct slice *sl)
{
	char *buf = c->s->buffer[i];

	for (uint64_t off = sl->range.start; off < sl->range.end;
	     off += META_BLOCK, buf += META_BLOCK) {
		ssize_t got = store_read(c->m->slot[i].store, fd, buf,
					 META_BLOCK, off);

		if (got < 0)
			sl->unreadable[block_of(sl, off)] |= SLOT_BIT(i);
		got = MAX(got, (ssize_t)0);
		memset(buf + got, 0, META_BLOCK - (size_t)got);
	}
}

/* Applications read through @shared, and it moves access times for them. An
 * ordinary user may not open again what shuts him out. */
static int open_quietly(const struct mirror *m, const struct store *s,
			int shared)
{
	int fd;

	if (m->opt.noatime)
		return shared;
	fd = store_reopen(s, shared, O_RDONLY);
	return fd < 0 ? shared : fd;
}

static void read_slice(struct scan *c, unsigned int i, int shared,
		       struct slice *sl)
{
	struct store *s = c->m->slot[i].store;
	size_t len = (size_t)range_len(sl->range);
	int fd = open_quietly(c->m, s, shared);
	size_t blocks = block_of(sl, sl->range.end);
	ssize_t got;

	store_drop_cache(s, fd, sl->range.start, len);
	got = store_read(s, fd, c->s->buffer[i], len, sl->range.start);
	if (got < 0)
		read_blocks(c, i, fd, sl);
	else
		blocks = ((size_t)got + META_BLOCK - 1) / META_BLOCK;
	if (got > 0)
		memset(c->s->buffer[i] + got, 0,
		       blocks * META_BLOCK - (size_t)got);
	sl->blocks[i] = blocks;
	sl->got = MAX(sl->got, (size_t)MAX(got, (ssize_t)0));
	store_drop_cache(s, fd, sl->range.start, len);
	if (fd != shared)
		store_close_fd(s, fd);
}

/* ---- data without a row ---- */

static bool map_is_exact(const struct store *s)
{
	const struct store_caps *caps = store_caps(s);

	return caps->punch_hole && caps->seek_hole &&
	       caps->block_size <= META_BLOCK;
}

static bool makes_zeros(const struct store *s)
{
	uint64_t type = store_caps(s)->fs_type;

	return type != EXT4_SUPER_MAGIC && type != TMPFS_MAGIC;
}

static void clear_mapped(struct slice *sl, unsigned int i, struct range r)
{
	r = range_intersect(r, sl->range);
	for (; r.start < r.end; r.start += META_BLOCK)
		sl->unmapped[block_of(sl, r.start)] &= ~SLOT_BIT(i);
}

static int clear_rows(struct scan *c, unsigned int i, struct slice *sl)
{
	struct meta_reader *rd = meta_reader_get(c->m->slot[i].meta);
	struct meta_iter it = {0};
	struct meta_extent e;
	int r;

	if (!rd)
		return scrub_map(c, i, mirror_reader_error());
	r = meta_iter_extents(rd, c->n->id, sl->range.start, sl->range.end,
			      &it);
	while (!r && (r = meta_next_extent(&it, &e)) > 0) {
		clear_mapped(sl, i, (struct range){e.start, e.end});
		r = 0;
	}
	meta_iter_done(&it);
	meta_reader_put(rd);
	return scrub_map(c, i, r);
}

static bool is_zero(const char *block)
{
	static const char zeros[META_BLOCK];

	return !memcmp(block, zeros, META_BLOCK);
}

static int find_unmapped(struct scan *c, unsigned int i, int fd,
			 struct slice *sl)
{
	struct store *s = c->m->slot[i].store;
	uint64_t at = sl->range.start, end;
	int r = 0;

	if (!map_is_exact(s))
		return 0;
	while (at < sl->range.end && !store_seek(s, fd, at, SEEK_DATA, &at) &&
	       at < sl->range.end) {
		if (store_seek(s, fd, at, SEEK_HOLE, &end))
			break;
		for (uint64_t b = at & ~(uint64_t)(META_BLOCK - 1);
		     b < MIN(end, sl->range.end); b += META_BLOCK)
			sl->unmapped[block_of(sl, b)] |= SLOT_BIT(i);
		at = end;
	}
	r = clear_rows(c, i, sl);
	for (size_t b = 0; b < block_of(sl, sl->range.end) && makes_zeros(s);
	     b++)
		if (b >= sl->blocks[i] ||
		    is_zero(c->s->buffer[i] + b * META_BLOCK))
			sl->unmapped[b] &= ~SLOT_BIT(i);
	return r;
}

/* ---- one slice ---- */

/* Most files are far shorter than a slice: no more than one of them has. */
static void slice_cut(struct scan *c, struct slice *sl)
{
	size_t blocks = 1;

	for_each_slot(i, sl->mask) blocks = MAX(blocks, sl->blocks[i]);
	for_each_slot(i, sl->mask) blocks_zero(c, i, sl->blocks[i], blocks);
	sl->range.end = sl->range.start + blocks * META_BLOCK;
}

static int slice_read(struct scan *c, struct slice *sl)
{
	struct range range = sl->range;
	struct node_reader file;
	int r = 0;

	*sl = (struct slice){.range = range};
	for_each_slot(i, scrub_online(c))
	{
		r = node_reader_get(c->m, c->n, i, &file);
		c->restless |= r == -ENODE_ELSEWHERE;
		/* Its directory tells what is wrong with the name. */
		if (scrub_is_answer(r))
			continue;
		if (r && store_error_is_ours(r))
			return r;
		sl->mask |= SLOT_BIT(i);
		if (r) {
			for (size_t b = 0; b < SLICE_BLOCKS; b++)
				sl->unreadable[b] |= SLOT_BIT(i);
			sl->blocks[i] = block_of(sl, sl->range.end);
			continue;
		}
		read_slice(c, i, file.fd, sl);
		r = find_unmapped(c, i, file.fd, sl);
		node_reader_put(c->m, c->n, i, &file);
		if (r)
			return r;
	}
	slice_cut(c, sl);
	return 0;
}

static struct scrub_votes block_votes(struct scan *c, const struct slice *sl,
				      size_t b)
{
	struct scrub_votes v = {
		.all = sl->mask,
		.unreadable = sl->unreadable[b],
		.edited = sl->unmapped[b] | sl->later,
	};

	for_each_slot(i, v.all & ~v.unreadable)
	{
		v.group[i] = (unsigned char)i;
		for_each_slot(k, v.all & ~v.unreadable)
		{
			if (k >= i)
				break;
			if (memcmp(c->s->buffer[i] + b * META_BLOCK,
				   c->s->buffer[k] + b * META_BLOCK,
				   META_BLOCK))
				continue;
			v.group[i] = v.group[k];
			break;
		}
	}
	return v;
}

/* Equal everywhere, but not as the maps have it: 1 and the finding. */
static int judge_unmapped(struct scan *c, const struct slice *sl, size_t b,
			  struct scrub_finding *f)
{
	slot_mask odd = sl->unmapped[b];
	unsigned int any;

	if (!odd)
		return 0;
	f->kind = SCRUB_MAP;
	f->by = SCRUB_BY_MAP;
	f->losers = odd;
	if (odd != sl->mask)
		return 1;
	/* All have it: what is missing is the rows. Zeros need none. */
	f->losers = 0;
	any = (unsigned int)__builtin_ctz(odd);
	return !is_zero(c->s->buffer[any] + b * META_BLOCK);
}

/* 1 and what is wrong with the block, 0 nothing. */
static int block_judge(struct scan *c, const struct slice *sl, size_t b,
		       struct scrub_finding *f)
{
	struct scrub_votes v = block_votes(c, sl, b);

	*f = (struct scrub_finding){
		.kind = SCRUB_DATA,
		.node = c->n->id,
		.start = sl->range.start + b * META_BLOCK,
		.end = sl->range.start + (b + 1) * META_BLOCK,
	};
	if (!sl->mask)
		return 0;
	if (scrub_agrees(&v))
		return judge_unmapped(c, sl, b, f);
	scrub_judge(c, &v, f);
	if (v.unreadable)
		f->kind = SCRUB_READ;
	return 1;
}

static bool slice_is_sound(struct scan *c, const struct slice *sl)
{
	struct scrub_finding f;

	for (size_t b = 0; b < block_of(sl, sl->range.end); b++)
		if (block_judge(c, sl, b, &f))
			return false;
	return true;
}

/* ---- a second look ---- */

/*
 * A plain write behind the mirror's back leaves one time as modification and
 * change time, later than the last change that has a number.  Other changes
 * of the node set the two apart, on every store.
 */
static void find_later(struct scan *c, struct slice *sl)
{
	struct timespec mtime[META_STORE_MAX] = {0};
	struct stat st;
	uint64_t ns;
	bool same = true;

	if (!scrub_is_settled(c->n, (struct range){0, 0}) ||
	    scrub_settled_ns(c, &ns))
		return;
	for_each_slot(i, sl->mask)
	{
		int first = __builtin_ctz(sl->mask);

		if (node_stat_on(c->m, c->n, i, 0, &st))
			return;
		mtime[i] = st.st_mtim;
		same &= !memcmp(&mtime[i], &mtime[first], sizeof(*mtime));
		if (st.st_mtim.tv_sec == st.st_ctim.tv_sec &&
		    st.st_mtim.tv_nsec == st.st_ctim.tv_nsec &&
		    scrub_is_later(&st.st_mtim, ns))
			sl->later |= SLOT_BIT(i);
	}
	if (same)
		sl->later = 0;
}

/* 1 settled and read, 0 at work, -errno. Under the range's lock meanwhile. */
static int slice_again(struct scan *c, struct slice *sl)
{
	struct range_hold hold;
	slot_mask before;
	int r = 0;

	range_lock(c->n, &hold, sl->range.start, sl->range.end);
	if (scrub_is_settled(c->n, sl->range)) {
		before = scrub_online(c);
		r = slice_read(c, sl);
		if (!r && !slice_is_sound(c, sl))
			find_later(c, sl);
		if (!r)
			r = c->map_error;
		if (!r)
			r = scrub_online(c) == before;
	}
	range_unlock(c->n, &hold);
	return r;
}

static bool same_verdict(const struct scrub_finding *a,
			 const struct scrub_finding *b)
{
	return a->end == b->start && a->kind == b->kind && a->by == b->by &&
	       a->losers == b->losers;
}

/* Each range that a store cannot read counts once. True: one is out now. */
static bool slice_blame(struct scan *c, const struct slice *sl)
{
	slot_mask before = 0, out = 0;

	for (size_t b = 0; b < block_of(sl, sl->range.end); b++) {
		for_each_slot(i, sl->unreadable[b] & ~before & ~out)
		{
			if (scrub_blame_range(c, i))
				out |= SLOT_BIT(i);
		}
		before = sl->unreadable[b];
	}
	return out != 0;
}

static int slice_tell(struct scan *c, const struct slice *sl)
{
	struct scrub_finding run = {0}, f;
	int r = 0;

	if (node_is_unlinked(c->m, c->n))
		return 0;
	if (slice_blame(c, sl))
		return -EAGAIN;
	for (size_t b = 0; !r && b < block_of(sl, sl->range.end); b++) {
		if (!block_judge(c, sl, b, &f))
			continue;
		if (run.end && same_verdict(&run, &f)) {
			run.end = f.end;
			continue;
		}
		if (run.end)
			r = c->s->found(c->s->arg, &run);
		run = f;
	}
	return !r && run.end ? c->s->found(c->s->arg, &run) : r;
}

static int slice_confirm(struct scan *c, struct slice *sl)
{
	for (unsigned int tries = 0; tries < SCRUB_TRIES; tries++) {
		int r = slice_again(c, sl);

		if (r < 0)
			return r;
		if (r > 0)
			return slice_tell(c, sl);
		r = mirror_checkpoint(c->m, NULL);
		if (r)
			return r;
	}
	c->s->busy++;
	return 0;
}

/* ---- the file ---- */

/* The first data of any store. 1, 0 none. */
static int next_data(struct scan *c, uint64_t off, uint64_t *ret)
{
	struct node_reader file;
	int found = 0;
	uint64_t at;

	for_each_slot(i, scrub_online(c))
	{
		int r = node_reader_get(c->m, c->n, i, &file);

		if (r && store_error_is_ours(r))
			return r;
		if (r)
			continue;
		r = store_seek(c->m->slot[i].store, file.fd, off, SEEK_DATA,
			       &at);
		node_reader_put(c->m, c->n, i, &file);
		if (r && r != -ENXIO)
			at = off; /* reading will say what is wrong */
		else if (r)
			continue;
		*ret = found ? MIN(*ret, at) : at;
		found = 1;
	}
	return found;
}

static int buffers_get(struct scan *c)
{
	for_each_slot(i, c->mask)
	{
		if (!c->s->buffer[i])
			c->s->buffer[i] = malloc(SCRUB_SLICE);
		if (!c->s->buffer[i])
			return -ENOMEM;
	}
	return 0;
}

int scrub_data(struct scan *c, uint64_t *offset)
{
	_cleanup_free_ struct slice *sl = malloc(sizeof(*sl));
	uint64_t at = *offset;
	int r = sl ? buffers_get(c) : -ENOMEM;

	while (!r && at < META_RANGE_MAX) {
		*offset = at;
		r = next_data(c, at, &at);
		/* Behind that no map says anything. */
		if (r <= 0 || at >= META_RANGE_MAX)
			return MIN(r, 0);
		sl->range.start = at & ~(uint64_t)(META_BLOCK - 1);
		sl->range.end =
			MIN(sl->range.start + SCRUB_SLICE, META_RANGE_MAX);
		r = slice_read(c, sl);
		if (!r && !slice_is_sound(c, sl))
			r = slice_confirm(c, sl);
		at = sl->range.end;
		c->s->bytes += sl->got;
		if (!r) {
			*offset = at;
			r = c->s->pace(c->s->arg, sl->got);
		}
	}
	return r;
}
