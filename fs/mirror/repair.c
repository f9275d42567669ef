/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Read-repair: what a store cannot read any more is rewritten there from a
 * store that can, by a thread of its own, after the reader has been served.
 *
 * It is a write like any other: past the gate, under the node's lock (the
 * times are put back) and the whole file's range, numbered, armed, noted.  But
 * it changes nothing: the bytes are those that all other stores have.  Which
 * blocks are bad is found before, without locks, since a disk may try for
 * seconds.  Then the new blocks are made durable and read again, from the
 * disk: a store that cannot take them is put out, and so is one with more bad
 * ranges than are worth repairing.
 *
 * Locks: the queue's is a leaf.  The thread holds nothing when it enters.
 */
#include "fs/mirror/privs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/fault.h"
#include "base/log.h"
#include "fs/mirror/times.h"

/* Waiting to be repaired; what does not fit will be found again. */
#define QUEUE_MAX 256u
/* A store with more since it came online is not worth trusting. */
#define BAD_RANGES_MAX 64u

struct repair {
	struct repair *next;
	struct node *node; /* referenced */
	unsigned int slot;
	struct range range;
	bool early; /* the file ends too early */
};

/* What of it is bad, in order. */
struct runs {
	VEC(struct range) v;
};

/* ---- the queue ---- */

static bool is_queued(const struct repairs *q, const struct repair *want)
{
	for (const struct repair *r = q->head; r; r = r->next)
		if (r->node == want->node && r->slot == want->slot &&
		    r->early == want->early &&
		    (r->early || range_covers(r->range, want->range)))
			return true;
	return false;
}

/* False: it is known, or there is no room; then it will be found again. */
static bool queue_put(struct mirror *m, const struct repair *want)
{
	struct repairs *q = &m->repairs;
	struct repair *r = malloc(sizeof(*r));

	if (!r)
		return false;
	*r = *want;
	mutex_lock(&q->lock);
	if (q->stop || q->count >= QUEUE_MAX || is_queued(q, want)) {
		mutex_unlock(&q->lock);
		free(r);
		return false;
	}
	r->next = NULL;
	*q->tail = r;
	q->tail = &r->next;
	q->count++;
	cond_signal(&q->found);
	mutex_unlock(&q->lock);
	return true;
}

void repair_want(struct mirror *m, struct node *n, unsigned int i,
		 uint64_t start, uint64_t end, bool early)
{
	struct repair want = {
		.node = n,
		.slot = i,
		.range =
			range_align_out((struct range){start, end}, META_BLOCK),
		.early = early,
	};

	if (n->unlinked)
		return;
	node_ref(m, n); /* the queue's */
	if (!queue_put(m, &want)) {
		node_put(m, n);
		return;
	}
	if (!early &&
	    atomic_fetch_add(&m->slot[i].bad_ranges, 1) + 1 >= BAD_RANGES_MAX)
		(void)slot_put_out(m, i, "read", -EIO);
}

/* ---- which blocks ---- */

static int run_add(struct runs *runs, struct range r)
{
	struct range *last = runs->v.count ? &runs->v.data[runs->v.count - 1]
					   : NULL;

	if (last && last->end == r.start) {
		last->end = r.end;
		return 0;
	}
	return vec_push(&runs->v, r);
}

/* Blocks that slot @i cannot read now, each by itself. */
static int runs_find(struct mirror *m, const struct repair *rep,
		     struct runs *runs)
{
	char buf[META_BLOCK];
	int fd, r = node_fd_get(m, rep->node, rep->slot, false, &fd);

	if (r) /* -EIO: not its contents, what the filesystem keeps of it */
		return r == -EIO ? -EBADMSG : r;
	for (uint64_t at = rep->range.start; !r && at < rep->range.end;
	     at += META_BLOCK) {
		ssize_t got = store_read(m->slot[rep->slot].store, fd, buf,
					 sizeof(buf), at);

		if (got == -EIO)
			r = run_add(runs, (struct range){at, at + META_BLOCK});
		else if (got < 0)
			r = (int)got;
	}
	node_fd_put(m, rep->node, rep->slot);
	return r;
}

/* ---- rewriting ---- */

/* One block from slot @from to slot @to; both descriptors are pinned. */
static int block_copy(struct mirror *m, const int fd[], unsigned int from,
		      unsigned int to, uint64_t at)
{
	const struct store *a = m->slot[from].store, *b = m->slot[to].store;
	char buf[META_BLOCK];
	uint64_t s, e;
	ssize_t got = store_read(a, fd[from], buf, sizeof(buf), at);
	int r;

	if (got <= 0)
		return (int)got; /* behind the end: nothing to do */
	r = store_next_mapped(a, fd[from], at, &s, &e);
	if (r < 0)
		return r;
	if (!r || s >= at + META_BLOCK)
		r = store_punch(b, fd[to], at, META_BLOCK, NULL);
	else
		r = store_write(b, fd[to], buf, (size_t)got, at, NULL);
	return r ? -EREMOTEIO : 0; /* the target's fault, not the source's */
}

/* 0, -EREMOTEIO: the target cannot be written, -EIO: nobody has a block. */
static int run_copy(struct mirror *m, const int fd[], slot_mask from,
		    unsigned int to, struct range run)
{
	int result = 0;

	for (uint64_t at = run.start; at < run.end; at += META_BLOCK) {
		int r = -EIO;

		for_each_slot(i, from)
		{
			r = block_copy(m, fd, i, to, at);
			if (!r || r == -EREMOTEIO)
				break;
		}
		if (r == -EREMOTEIO)
			return r;
		if (r)
			result = -EIO;
	}
	return result;
}

/* What the rewriting moves and takes away. */
struct before {
	struct store_stat st;
	struct caps caps;
};

static int before_look(struct mirror *m, unsigned int i, int fd,
		       struct before *ret)
{
	int r = store_fstat(m->slot[i].store, fd, 0, &ret->st);

	return r ? r : caps_look(m->slot[i].store, fd, &ret->caps);
}

/* It is about to be written to. What another one says counts more. */
static void before_write(struct mirror *m, const struct repair *rep,
			 const struct before *was)
{
	if (mirror_lead(m) == (int)rep->slot)
		node_ctime_keep(m, rep->node, rep->slot, &was->st.st);
}

static int before_restore(struct mirror *m, unsigned int i, int fd,
			  const struct before *was)
{
	const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT},
					  was->st.st.st_mtim};
	int r = caps_put_back(m->slot[i].store, fd, &was->caps);

	return r ? r
		 : store_utimens(m->slot[i].store,
				 (struct store_obj){.fd = fd, .dirfd = -1},
				 times);
}

static int runs_copy(struct op *op, const struct repair *rep,
		     const struct runs *runs, const int fd[], slot_mask from)
{
	struct mirror *m = op->m;
	struct before was;
	int result = 0, r = 0;

	if (before_look(m, rep->slot, fd[rep->slot], &was))
		return -EREMOTEIO;
	vec_for_each (run, &runs->v) {
		if (r && r != -EIO)
			break;
		r = op_arm_data(op, rep->node, run->start, run->end);
		if (!r)
			r = FAULT_ERR("mirror.repair.write") ? -EREMOTEIO : 0;
		if (!r)
			before_write(m, rep, &was);
		if (!r)
			r = run_copy(m, fd, from, rep->slot, *run);
		FAULT_POINT("mirror.repair.written");
		result = r ? r : result;
		/* Whatever became of it. */
		if (dirty_note_mapped(op, rep->node, run->start, run->end))
			ignore_result(dirty_note(op, rep->node, run->start,
						 run->end, false));
	}
	r = before_restore(m, rep->slot, fd[rep->slot], &was);
	return result ? result : r ? -EREMOTEIO : 0;
}

/* Its file ends before that of another store: what is missing. */
static int tail_copy(struct op *op, const struct repair *rep, struct runs *runs,
		     const int fd[], slot_mask from)
{
	struct mirror *m = op->m;
	struct before was;
	struct store_stat st;
	uint64_t longest = 0;
	unsigned int by = 0;
	struct range r;
	int err;

	if (before_look(m, rep->slot, fd[rep->slot], &was))
		return -EREMOTEIO;
	for_each_slot(i, from)
	{
		if (store_fstat(m->slot[i].store, fd[i], STORE_STAT_NO_TIMES,
				&st) ||
		    meta_file_end(st.st.st_size) <= longest)
			continue;
		longest = meta_file_end(st.st.st_size);
		by = i;
	}
	if (longest <= (uint64_t)was.st.st.st_size)
		return 0; /* it was just being changed */
	r = range_align_out(
		(struct range){(uint64_t)was.st.st.st_size, longest},
		META_BLOCK);
	err = op_arm_data(op, rep->node, r.start, r.end);
	if (err)
		return err;
	atomic_fetch_add(&m->slot[rep->slot].errors_read, 1);
	err = run_add(runs, r);
	if (!err)
		before_write(m, rep, &was);
	if (!err)
		err = data_copy_state(m, rep->node, by, rep->slot, r);
	if (dirty_note_mapped(op, rep->node, r.start, r.end))
		ignore_result(dirty_note(op, rep->node, r.start, r.end, false));
	dirty_attr(op, rep->node);
	if (err || before_restore(m, rep->slot, fd[rep->slot], &was))
		return -EREMOTEIO;
	return 0;
}

/* All locks held, numbered: descriptors on every slot, and the copying. */
static int rewrite_on(struct op *op, const struct repair *rep,
		      struct runs *runs)
{
	slot_mask slots = op_slots(op), pinned = 0;
	struct mirror *m = op->m;
	int fd[META_STORE_MAX], r = 0;

	if (!(slots & SLOT_BIT(rep->slot)))
		return -ENODEV;
	for_each_slot(i, slots) if (!node_fd_get(m, rep->node, i, false,
						 &fd[i])) pinned |= SLOT_BIT(i);
	if (!(pinned & SLOT_BIT(rep->slot)))
		r = -EREMOTEIO;
	else if (pinned == SLOT_BIT(rep->slot))
		r = -EIO;
	else if (rep->early)
		r = tail_copy(op, rep, runs, fd, pinned & ~SLOT_BIT(rep->slot));
	else
		r = runs_copy(op, rep, runs, fd, pinned & ~SLOT_BIT(rep->slot));
	node_fds_unpin(m, rep->node, pinned);
	return r;
}

static int rewrite(struct mirror *m, const struct repair *rep,
		   struct runs *runs)
{
	struct node *n = rep->node;
	struct range_hold hold;
	struct op op;
	int r = op_enter(m, &op);

	if (!r) {
		mutex_lock(&n->lock);
		range_lock(n, &hold, 0, META_RANGE_MAX);
		op.hold = &hold;
		r = n->unlinked ? -ENOENT : op_number(&op, 1);
		if (!r)
			r = rewrite_on(&op, rep, runs);
		if (r == -EREMOTEIO)
			(void)slot_put_out(m, rep->slot, "repair", -EIO);
		range_unlock(n, &hold);
		mutex_unlock(&n->lock);
	}
	op_leave(&op);
	return r;
}

/* What was written is on the disk and can be read from there. */
static int runs_prove(struct mirror *m, const struct repair *rep,
		      const struct runs *runs)
{
	const struct store *s = m->slot[rep->slot].store;
	char buf[META_BLOCK];
	int fd, r = node_fd_get(m, rep->node, rep->slot, false, &fd);

	if (r)
		return r;
	FAULT_POINT("mirror.repair.done");
	r = store_fsync(s, fd, true);
	vec_for_each (run, &runs->v) {
		store_drop_cache(s, fd, run->start, range_len(*run));
		for (uint64_t at = run->start; r >= 0 && at < run->end;
		     at += META_BLOCK)
			r = (int)store_read(s, fd, buf, sizeof(buf), at);
	}
	node_fd_put(m, rep->node, rep->slot);
	return MIN(r, 0);
}

/* ---- the thread ---- */

/* The one line about a range. */
static void tell(struct mirror *m, const struct repair *rep,
		 const struct runs *runs, const char *outcome)
{
	struct range all = rep->range;
	char name[META_NAME_MAX + 1];
	struct node *parent;

	if (node_name_get(m, rep->node, &parent, name))
		(void)snprintf(name, sizeof(name), "?");
	else
		node_put(m, parent);
	if (runs->v.count) {
		all.start = runs->v.data[0].start;
		all.end = runs->v.data[runs->v.count - 1].end;
	}
	log_warn("store %s: cannot read bytes %llu to %llu of node %llu (%s): "
		 "%s",
		 m->slot[rep->slot].row.name, (unsigned long long)all.start,
		 (unsigned long long)all.end, (unsigned long long)rep->node->id,
		 name, outcome);
}

static void repair_online(struct mirror *m, const struct repair *rep)
{
	struct runs runs = {0};
	int r = 0;

	if (!rep->early) {
		r = runs_find(m, rep, &runs);
		if (!r && !runs.v.count) {
			tell(m, rep, &runs, "it could when asked again");
			goto out;
		}
	}
	if (!r)
		r = rewrite(m, rep, &runs);
	if (!r && !runs.v.count)
		goto out; /* nothing was wrong */
	if (!r) {
		r = runs_prove(m, rep, &runs);
		if (r)
			(void)slot_put_out(m, rep->slot, "repair", r);
	}
	if (!r)
		atomic_fetch_add(&m->slot[rep->slot].repaired, 1);
	if (r != -ENOENT && r != -EROFS && r != -ENODEV)
		tell(m, rep, &runs,
		     !r		 ? "rewritten from another store"
		     : r == -EIO ? "not repaired, no other store has all of it"
		     : r == -EBADMSG
			     ? "not repaired: it cannot be opened there, that "
			       "filesystem needs a check"
			     : "not repaired");
out:
	vec_done(&runs.v);
}

static void repair_one(struct mirror *m, const struct repair *rep)
{
	slot_mask pin = slots_pin(m, NULL);

	if ((pin & SLOT_BIT(rep->slot)) && !node_is_unlinked(m, rep->node))
		repair_online(m, rep);
	slots_unpin(m, pin);
}

static void *repair_thread(void *arg)
{
	struct mirror *m = arg;
	struct repairs *q = &m->repairs;

	mutex_lock(&q->lock);
	while (!q->stop) {
		struct repair *rep = q->head;

		if (!rep) {
			cond_wait(&q->found, &q->lock);
			continue;
		}
		mutex_unlock(&q->lock);
		repair_one(m, rep);
		mutex_lock(&q->lock);
		q->head = rep->next;
		if (!q->head)
			q->tail = &q->head;
		q->count--;
		mutex_unlock(&q->lock);
		node_put(m, rep->node);
		free(rep);
		mutex_lock(&q->lock);
	}
	mutex_unlock(&q->lock);
	return NULL;
}

int repair_start(struct mirror *m)
{
	struct repairs *q = &m->repairs;

	mutex_init(&q->lock, LOCK_RANK_LEAF);
	cond_init(&q->found);
	q->tail = &q->head;
	return -pthread_create(&q->thread, NULL, repair_thread, m);
}

void repair_stop(struct mirror *m)
{
	struct repairs *q = &m->repairs;

	mutex_lock(&q->lock);
	q->stop = true;
	cond_signal(&q->found);
	mutex_unlock(&q->lock);
	(void)pthread_join(q->thread, NULL);
	while (q->head) {
		struct repair *rep = q->head;

		q->head = rep->next;
		node_put(m, rep->node);
		free(rep);
	}
	cond_done(&q->found);
	mutex_done(&q->lock);
}
