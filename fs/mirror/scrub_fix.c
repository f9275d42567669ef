/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Repairs.  Blocks are not written here: a crash in the middle could make the
 * wrong side the source of the recovery.  Who is to be repaired is put out
 * first, durably, and is a target from then on; what is wrong is in doubt in
 * its map; the lap that brings it back compares and copies just that.
 *
 * The others number what they keep anew.  A store that is away may have been
 * in step with the loser, and must hear of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/text.h"
#include "fs/mirror/map_change.h"
#include "fs/mirror/scrub_internal.h"

#define FOUND_TRIES 100000u

/* ---- what nobody knows goes to found/ ---- */

static int keep_in_found(struct store *s, int dirfd, const char *name)
{
	char quoted[4 * META_NAME_MAX + 4];
	char kept[META_NAME_MAX + 1];
	int r = -EEXIST;

	for (unsigned int i = 1; r == -EEXIST && i < FOUND_TRIES; i++) {
		/* A long name loses its end, not the number. */
		(void)snprintf(kept, sizeof(kept), "%u-%.200s", i, name);
		r = store_rename(s, dirfd, name, store_found_fd(s), kept,
				 RENAME_NOREPLACE);
	}
	if (!r)
		log_warn("foreign object kept in found: store=%s name=%s as=%s",
			 store_path(s),
			 path_quote(quoted, sizeof(quoted), name), kept);
	return r;
}

/* As the directory was for everybody else. */
static int keep_times(struct store *s, int dirfd, const char *name)
{
	struct timespec times[2];
	struct store_stat st;
	int r = store_fstat(s, dirfd, 0, &st);

	if (!r)
		r = keep_in_found(s, dirfd, name);
	times[0] = st.st.st_atim;
	times[1] = st.st.st_mtim;
	return r ? r : store_utimens(s, (struct store_obj){.fd = dirfd}, times);
}

/*
 * Does the map of this store know the object, here (the name is right) or
 * anywhere?  0 no, 1 anywhere, 2 here.
 */
static int is_known(struct meta_reader *rd, struct node *dir, const char *name,
		    const struct store_stat *st)
{
	struct meta_backing b = {st->st.st_ino, st->gen};
	struct meta_dentry d;
	struct meta_node row;
	int r = meta_node_find(rd, b, &row);

	if (r)
		return r == -ENOENT ? 0 : r;
	r = meta_dentry_get(rd, dir->id, name, strlen(name), &d);
	if (r && r != -ENOENT)
		return r;
	return !r && d.node == row.id ? 2 : 1;
}

/* Does the name come after @cut?  A store that is out has it, perhaps, and its
 * map has never heard of it. 1 yes, 0 no. */
static int is_new(struct mirror *m, struct node *dir, const char *name,
		  uint64_t cut)
{
	struct meta_dentry d;
	int r = map_ask_child(m, dir->id, name, &d);

	if (r)
		return r == -ENOENT ? 0 : r;
	return d.seq > cut;
}

/* 0 moved or gone, 1 it is a node of the map. The directory is locked. */
static int aside_locked(struct mirror *m, unsigned int i, struct node *dir,
			struct meta_reader *rd, const char *name, uint64_t cut)
{
	struct store *s = m->slot[i].store;
	struct store_stat st;
	int dirfd, r = node_fd_get(m, dir, i, false, &dirfd);

	if (r)
		return r;
	r = store_statat(s, dirfd, name, STORE_STAT_GEN, &st);
	if (!r) {
		r = is_known(rd, dir, name, &st);
		if (!r)
			r = is_new(m, dir, name, cut);
		if (!r)
			r = keep_times(s, dirfd, name);
	}
	node_fd_put(m, dir, i);
	return r == -ENOENT ? 0 : MIN(r, 1);
}

/* @cut: how far the map of a store that is out has come. */
static int aside_one(struct mirror *m, unsigned int i, struct node *dir,
		     const char *name, uint64_t cut)
{
	struct meta_reader *rd = meta_reader_get(m->slot[i].meta);
	int r;

	if (!rd)
		return mirror_reader_error();
	mutex_lock(&dir->lock);
	feed_drain(m);
	r = aside_locked(m, i, dir, rd, name, cut);
	mutex_unlock(&dir->lock);
	meta_reader_put(rd);
	return r;
}

int mirror_scrub_set_aside(struct mirror *m, unsigned int slot, uint64_t dir,
			   const char *name)
{
	struct mirror_ref ref;
	struct node *n;
	int r = mirror_ref_get(m, slot, &ref);

	if (r)
		return r;
	r = node_get(m, dir, &n);
	if (!r) {
		r = aside_one(m, slot, n, name, UINT64_MAX);
		node_put(m, n);
	}
	mirror_ref_put(m, &ref);
	return r == -ENOENT || r == -ENODE_ELSEWHERE ? 0 : r;
}

/* ---- in doubt, in the loser's map ---- */

struct listed {
	VEC(char) names; /* NUL after NUL */
};

static int list_add(void *arg, const struct store_dirent *e)
{
	struct listed *l = arg;

	return vec_splice(&l->names, l->names.count, 0, e->name,
			  strlen(e->name) + 1);
}

/*
 * A lap takes what it does not know in a directory in doubt for a leftover of
 * its own, and removes it. The store is out: nobody else is at work there.
 */
static int aside_unknown(struct mirror *m, unsigned int i, uint64_t dir,
			 uint64_t cut)
{
	struct listed l = {0};
	struct node *n;
	int fd, r = node_get(m, dir, &n);

	if (r)
		return r == -ENOENT ? 0 : r;
	r = node_fd_get(m, n, i, false, &fd);
	if (!r) {
		r = store_list(m->slot[i].store, fd, list_add, &l);
		node_fd_put(m, n, i);
	}
	for (size_t at = 0; r >= 0 && at < l.names.count;
	     at += strlen(l.names.data + at) + 1)
		r = aside_one(m, i, n, l.names.data + at, cut);
	vec_done(&l.names);
	node_put(m, n);
	/* The directory itself is missing, or another thing lies there: a lap
	 * makes it anew, and what is in the other one is set aside with that. */
	return scrub_is_gone(r) ? 0 : MIN(r, 0);
}

static bool is_name(const struct scrub_finding *f)
{
	return f->dir != 0;
}

static int doubt_put(struct meta *meta, const struct scrub_finding *f)
{
	struct meta_intent in = {.node = f->node, .kind = META_INTENT_ATTR};
	int r;

	if (is_name(f)) {
		in.node = f->dir;
		in.kind = META_INTENT_NAME;
		return meta_intent_put(meta, &in);
	}
	r = f->kind == SCRUB_ATTR ? meta_intent_put(meta, &in) : 0;
	if (r || f->start >= f->end)
		return r;
	in.kind = META_INTENT_DATA;
	in.start = f->start;
	in.end = f->end;
	return meta_intent_put(meta, &in);
}

/* Before a lap may look at the directory. One that fails is left as it is. */
static bool is_prepared(struct mirror *m, unsigned int i,
			const struct scrub_finding *f, uint64_t cut)
{
	int r;

	if (!(f->losers & SLOT_BIT(i)))
		return false;
	r = is_name(f) ? aside_unknown(m, i, f->dir, cut) : 0;
	if (r)
		log_warn("store %s: directory %llu is not repaired: what "
			 "nobody knows there cannot be kept: %s",
			 m->slot[i].row.name, (unsigned long long)f->dir,
			 strerror(-r));
	return !r;
}

struct doubts {
	const struct scrub_finding *v;
	const bool *prepared;
	size_t count;
};

static int doubts_put(struct meta *meta, const void *arg)
{
	const struct doubts *d = arg;
	int r = 0;

	for (size_t k = 0; !r && k < d->count; k++)
		if (d->prepared[k])
			r = doubt_put(meta, &d->v[k]);
	return r;
}

static int doubt_write(struct mirror *m, unsigned int i,
		       const struct scrub_finding *v, size_t count,
		       uint64_t cut)
{
	_cleanup_free_ bool *prepared = calloc(count, sizeof(*prepared));

	if (!prepared)
		return -ENOMEM;
	for (size_t k = 0; k < count; k++)
		prepared[k] = is_prepared(m, i, &v[k], cut);
	return map_change(m, i, doubts_put,
			  &(struct doubts){v, prepared, count});
}

/* ---- out ---- */

/* Under m->ckpt: no checkpoint clears what is written here. */
static int put_out(struct mirror *m, slot_mask losers,
		   const struct scrub_finding *v, size_t count)
{
	uint64_t cut;
	int r = checkpoint_locked(m, &cut);

	for_each_slot(i, losers) if (!r && !slot_put_out(m, i, "scrub",
							 -ESTALE)) r = -EIO;
	FAULT_POINT("mirror.scrub.out");
	if (r)
		return r;
	for_each_slot(i, losers)
	{
		int err = doubt_write(m, i, v, count, cut);

		if (!err)
			continue;
		log_err("store %s: what differs there could not be noted in "
			"its map: %s",
			m->slot[i].row.name, strerror(-err));
		r = -EREMOTEIO;
	}
	FAULT_POINT("mirror.scrub.marked");
	return r;
}

static int losers_pin(struct mirror *m, slot_mask losers)
{
	int stay, r = 0;

	mutex_lock(&m->lock);
	stay = __builtin_popcount(m->online & ~losers);
	if (stay < (int)MAX(m->opt.min_stores, 1u))
		r = -EBUSY;
	else if ((m->online & losers) != losers)
		r = -EAGAIN;
	for_each_slot(i, r ? 0 : losers) m->slot[i].users++;
	mutex_unlock(&m->lock);
	return r;
}

/* ---- fresh numbers for what stays ---- */

static int renumber_data(struct op *op, struct node *n, uint64_t start,
			 uint64_t end)
{
	struct range_hold hold;
	int r;

	range_lock(n, &hold, start, end);
	op->hold = &hold;
	r = op_number(op, 1);
	if (!r)
		r = op_arm_data(op, n, start, end);
	if (!r)
		r = dirty_note_mapped(op, n, start, end);
	range_unlock(n, &hold);
	return r;
}

static int renumber_attr(struct op *op, struct node *n)
{
	int r;

	mutex_lock(&n->lock);
	r = op_number(op, 1);
	if (!r)
		r = op_arm_attr(op, n);
	if (!r)
		dirty_attr(op, n);
	mutex_unlock(&n->lock);
	return r;
}

static int renumber(struct mirror *m, const struct scrub_finding *f)
{
	struct node *n;
	struct op op;
	int r = node_get(m, f->node, &n);

	if (r)
		return r == -ENOENT ? 0 : r;
	r = op_enter(m, &op);
	if (!r)
		r = f->start < f->end && n->kind == META_FILE
			    ? renumber_data(&op, n, f->start, f->end)
			    : renumber_attr(&op, n);
	op_leave(&op);
	node_put(m, n);
	if (!r && m->inval_fn)
		m->inval_fn(m->inval_arg, f->node);
	return r;
}

static void wait_closed(struct mirror *m, slot_mask losers)
{
	mutex_lock(&m->lock);
	for_each_slot(i, losers) while (
		!m->slot[i].online && m->slot[i].store &&
		m->slot[i].state != META_STORE_RESYNCING && !m->closing)
		cond_wait(&m->ended, &m->lock);
	mutex_unlock(&m->lock);
}

int mirror_scrub_put_out(struct mirror *m, uint32_t losers,
			 const struct scrub_finding *v, size_t count)
{
	int r = losers_pin(m, losers);

	if (r)
		return r;
	if (losers) {
		mutex_lock(&m->ckpt);
		r = put_out(m, losers, v, count);
		mutex_unlock(&m->ckpt);
	}
	slots_unpin(m, losers);
	for (size_t k = 0; !r && k < count; k++)
		if (!is_name(&v[k]))
			r = renumber(m, &v[k]);
	wait_closed(m, losers);
	return r;
}

/* ---- what cannot be read ---- */

int mirror_scrub_rewrite(struct mirror *m, const struct scrub_finding *f)
{
	struct node *n;
	slot_mask pin;
	int r = node_get(m, f->node, &n);

	if (r)
		return r;
	pin = slots_pin(m, NULL);
	for_each_slot(i, pin & f->losers)
		repair_want(m, n, i, f->start, f->end, false);
	slots_unpin(m, pin);
	node_put(m, n);
	return 0;
}

bool mirror_scrub_rewriting(struct mirror *m)
{
	bool working;

	mutex_lock(&m->repairs.lock);
	working = m->repairs.head != NULL;
	mutex_unlock(&m->repairs.lock);
	return working;
}
