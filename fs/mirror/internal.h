/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private to fs/mirror: the structures, and which lock guards what.
 *
 * Locks, in the order in which they may be taken (base/lock.h):
 *
 *	ckpt		CONTROL	one checkpoint, detach or join at a time
 *	names		NAMES	rwlock: renames write, link reads
 *	node.lock	NODE	names in a directory, attributes of a node
 *	node.ranges	RANGE	list of byte ranges in use, dirty notes
 *	lock		ARM	gate, numbers, generations, arming, slots
 *	(meta writer)	META
 *	table		TABLE	nodes by id and by name, lists of dirty nodes
 *	feed, fds, pool	LEAF
 *
 * The gate comes before all of them: op_enter() waits for a hold or for the
 * budget while the thread holds nothing, so whoever is past the gate never
 * waits for a checkpoint, and a checkpoint may take any node's lock.
 *
 * docs/correctness.md argues the whole.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/lock.h"
#include "base/range.h"
#include "base/vec.h"
#include "fs/mirror/mirror.h"
#include "fs/mirror/node.h"
#include "fs/mirror/walks.h"

/* First ordinary seq: smaller numbers are readdir cookies of "." and "..". */
#define MIRROR_FIRST_SEQ 16u
#define SEQ_BLOCK	 65536u
#define NODE_BLOCK	 65536u
#define ARM_WINDOW	 ((uint64_t)1 << 20)
#define ARM_WINDOW_MAX	 ((uint64_t)64 << 20)
#define ARM_NEAR	 ((uint64_t)16 << 20) /* out of order, in a sequence */
#define ARM_SIBLINGS_MAX 63u
#define ARM_ATTRS_MAX	 255u
/* What an armed directory or attribute counts in the budget. */
#define ARM_SMALL (16ull << 10)

/* ---- slots ---- */

struct slot {
	bool used;
	bool online;
	bool recorded;	      /* its departure is durable where it must be */
	bool closing, adding; /* adding: its row is not on the maps yet */
	enum meta_store_state state, was; /* was: before it was attached, */
	bool untouched; /* and nothing was changed on it since */
	bool half;	/* a lap has begun on it, and it has not joined since */
	struct meta_member row;
	struct store *store;
	struct meta *meta;
	uint32_t users; /* calls that may use store or meta */
	uint64_t durable_seq;
	_Atomic uint64_t errors_read; /* these three since the mount */
	_Atomic uint64_t errors_write;
	_Atomic uint64_t repaired; /* ranges rewritten from another store */
	_Atomic unsigned int bad_ranges; /* found since it came online, */
	_Atomic unsigned int failures;	 /* and reads that failed otherwise */
	uint64_t away_since_ns;
	char why[MIRROR_WHY_MAX];
	bool hangs;		   /* its guards were given up */
	_Atomic uint64_t waits_ms; /* how long its oldest call has lasted */
};

/* ---- operations ---- */

struct op {
	struct mirror *m;
	uint64_t seq; /* the first of its numbers */
	uint64_t gen;
	slot_mask mask; /* online when it took its number */
	bool entered;
	bool numbered;
	/* A change of contents failed, and all stores have what the one that
	 * was asked last did of it. */
	bool in_part;
	struct range_hold *hold; /* of a change of contents or size */
	uint64_t room;		 /* what it has taken (room.c) */
	struct op *prev, *next;	 /* in flight; guarded by mirror.lock */
};

struct arm_request {
	struct meta_intent intent;
	struct node *node;
	bool along; /* nobody waits for it; has a reference of its own */
};

/* ---- map rows on their way (feed.c) ---- */

struct feed {
	struct mutex lock; /* LOCK_RANK_LEAF */
	struct cond fed, drained;
	struct feed_record *head, **tail, *lost; /* no map has these */
	/* Records so far: put, taken to be written, written, and how many of
	 * them somebody waits for. */
	uint64_t put_count, taken_count, done_count, wanted_count;
	bool stop;
	pthread_t thread;
};

/* ---- bad ranges to be rewritten (repair.c) ---- */

struct repair;
struct repairs {
	struct mutex lock; /* LOCK_RANK_LEAF */
	struct cond found;
	struct repair *head, **tail; /* the head is the one at work */
	unsigned int count;
	bool stop;
	pthread_t thread;
};

/* For members to come; more are made when they come (table_grow()). */
#define MIRROR_PLACES_SPARE 2u

struct pool_job;
struct pool {
	struct mutex lock; /* LOCK_RANK_LEAF */
	struct cond work;
	struct pool_job *head, **tail;
	unsigned int idle, threads;
	bool stop;
	struct cond gone;
};

struct mirror {
	struct mirror_options opt;
	char volume_uuid[META_UUID_LEN + 1];
	/* Slots that every node has room for; grows under table, never shrinks. */
	_Atomic unsigned int place_count;

	struct mutex ckpt;   /* LOCK_RANK_CONTROL */
	struct rwlock names; /* LOCK_RANK_NAMES */

	struct mutex lock;    /* LOCK_RANK_ARM; guards from here ... */
	struct cond gate;     /* held, budget */
	struct cond ended;    /* entered, inflight, users went down */
	struct cond recorded; /* recording is over */
	struct cond armed;    /* arm_done went up */
	struct cond moved;    /* a node.moving went down */
	struct cond wake;     /* the checkpoint thread has something to do */
	unsigned int held;    /* mutations wait at the gate */
	unsigned int entered; /* past the gate */
	unsigned int hunts;   /* for room; new changes wait at the gate */
	bool broken;	      /* the last store failed: read-only for good */
	bool epoch_due;	      /* one must begin before the next number */
	bool by_copy;	      /* a restored copy will be among its founders */
	bool closing, recording; /* a departure, epoch or reservation, */
	struct record *record;	 /* for which there is room at any time */
	uint64_t seq, seq_reserved;
	uint64_t next_node, node_reserved;
	uint64_t gen, epochs;  /* begun since the mount, and doubts likewise */
	unsigned int doubting; /* slot_doubt_begin() without its end */
	uint32_t inflight[2];
	struct op *ops;
	uint64_t durable; /* every online store is durable through it */
	uint64_t armed_bytes[2];
	uint64_t budget;       /* for both together (budget.c) */
	uint64_t gen_began_ns; /* when its first operation took a number */
	VEC(struct arm_request) arm_queue;
	uint64_t arm_ticket, arm_done; /* requests queued, committed */
	bool arming;
	/* Attributes armed along: how many are to be, were last, and were used
	 * of those. */
	unsigned int attrs_ahead, attrs_along, attrs_used;
	slot_mask online;
	unsigned int slot_count;
	int lead;
	struct slot slot[META_STORE_MAX];
	bool ckpt_wanted; /* now, not at the interval */
	bool dirty_any;	  /* since the last flip something became so */
	bool reap_due, watch_stop;
	struct cond watch_wake, record_wake; /* hang.c */
	unsigned int closers;		     /* threads that close a store */
	/* ... to here */
	pthread_t watch_thread, record_thread;
	bool watches;
	pthread_t ckpt_thread;
	_Atomic unsigned int delay_us;
	_Atomic int64_t room;	    /* bytes granted and not taken (room.c) */
	_Atomic uint64_t room_busy; /* taken by operations under way */
	_Atomic uint64_t room_retried_ns, room_lost;
	_Atomic bool kernel_times, by_half; /* by_half: settle_names() */
	_Atomic uint64_t nodes_freed;	    /* since memory was given back */
	_Atomic uint64_t synced_gen; /* the last that is durable everywhere */

	struct mutex table;	    /* LOCK_RANK_TABLE */
	struct node *nodes, *named; /* by id; by parent and name */
	struct node *dirty[2], *root;
	/* Lately opened ones that nobody else may need: so that the way down to
	 * what lies in them need not be gone again (path.c). */
	struct node *recent[8];
	unsigned int recent_at;
	uint64_t name_stamp;   /* goes up when a name is taken away */
	unsigned int nameless; /* nodes marked so */

	struct mutex fds;			  /* LOCK_RANK_LEAF */
	struct node_place *fd_oldest, *fd_newest; /* idle, by last use */
	unsigned int fd_count, fd_limit;

	struct feed feed;
	struct repairs repairs;
	struct pool pool;
	struct walks walks;

	void (*change_fn)(void *arg);
	void *change_arg;
	void (*inval_fn)(void *arg, uint64_t node);
	void *inval_arg;
};

/* ---- op.c: gate, numbers, generations, arming ---- */

/* Past the gate, or -EROFS. Holds nothing before. */
MUST_CHECK int op_enter(struct mirror *m, struct op *op);
/* The same with room_take(), room_take_data() before it; given back at its end.
 * -ENOSPC. */
MUST_CHECK int op_enter_room(struct mirror *m, struct op *op, uint64_t bytes);
MUST_CHECK int op_enter_data(struct mirror *m, struct op *op, struct node *n,
			     uint64_t start, uint64_t end);
/* Take @count seqs and the generation, and the online mask. */
MUST_CHECK int op_number(struct op *op, unsigned int count);
MUST_CHECK int op_node_id(struct op *op, uint64_t *ret_id);
/* Intents for what the operation is about to change. */
MUST_CHECK int op_arm_name(struct op *op, struct node *dir);
MUST_CHECK int op_arm_attr(struct op *op, struct node *n);
MUST_CHECK int op_arm_data(struct op *op, struct node *n, uint64_t start,
			   uint64_t end);
void op_born(struct op *op, struct node *n);
/* Put out whoever missed it, durably; then leave. Before the reply. */
void op_leave(struct op *op);
/*
 * The same, and what the application is told: -EROFS for a change that @r says
 * succeeded, when fewer than min_stores of those that took it are left.
 */
MUST_CHECK int op_end(struct op *op, int r);
/* Lock held: is a departure from @mask not recorded yet? */
bool departure_pending(const struct mirror *m, slot_mask mask)
	REQUIRES(m->lock);
/* Lock held: fewer online than min_stores, nothing is acknowledged. */
bool mirror_is_short(const struct mirror *m) REQUIRES(m->lock);
/* Slots that the calls go to now: of op->mask, those not put out meanwhile. */
slot_mask op_slots(struct op *op);
/*
 * What the application is told, when slot i answered res[i] for the slots of
 * @tried: success if one that stays online took it; whoever did not is put
 * out, durably.  Where nobody took it and the reason lies in the stores, the
 * lead alone stays.
 */
MUST_CHECK int op_judge(struct op *op, slot_mask tried, const int res[],
			const char *what);
/* Nothing can be promised any more: read-only until the next mount. */
void mirror_break(struct mirror *m, const char *why);
/* The same with the lock held; @err 0: nothing to say of it. */
void mirror_break_locked(struct mirror *m, const char *why, int err)
	REQUIRES(m->lock);
/* Before a reply that promises durability: whoever left is recorded as gone. */
MUST_CHECK int departures_wait(struct mirror *m);

/* ---- dirty.c ---- */

/* @start == @end: attributes only. @seq_or_hole 0 in the map: a hole. */
MUST_CHECK int dirty_note(struct op *op, struct node *n, uint64_t start,
			  uint64_t end, bool hole);
void dirty_attr(struct op *op, struct node *n);
/* Only what applications see as its ctime; of no number, and with the next
 * checkpoint or the one after it. Past the gate. */
void dirty_ctime(struct mirror *m, struct node *n);
/* Lock held: there is something for a checkpoint from now on. */
void dirty_any_locked(struct mirror *m) REQUIRES(m->lock);

/* ---- slots.c: members, departures ---- */

/* Online slots, pinned against closing. */
slot_mask slots_pin(struct mirror *m, int *ret_lead);
void slots_unpin(struct mirror *m, slot_mask mask);
/*
 * Mark out and record it; returns when that is durable, or when too few are
 * left for anything to be acknowledged (mirror_is_short()). False: it is the
 * last one, which is never put out.
 */
bool slot_put_out(struct mirror *m, unsigned int i, const char *what, int err);
/* A node on it is not what its map says: in doubt until a lap heals it. */
void slot_suspect(struct mirror *m, unsigned int i, struct node *n);
/*
 * From before others' maps take a doubt about a store until that one is out: a
 * store that joins in between has it in no map.  mirror_epochs() waits for the
 * end, and what begins later is one more for mirror_join().  Not within each
 * other's way: any number may be under way.
 */
void slot_doubt_begin(struct mirror *m);
void slot_doubt_end(struct mirror *m);
/* Whoever comes back gets what is in doubt and its own map did not take. */
MUST_CHECK int slot_doubts_give(struct mirror *m, struct meta *meta);
void slots_notify(struct mirror *m);
/* Close stores that are out and that nobody uses any more. */
void slots_reap(struct mirror *m);
/* All of them, at the end. False: not within the timeout, those that hang. */
MUST_CHECK bool slots_close_all(struct mirror *m);
int mirror_lead_locked(const struct mirror *m) REQUIRES(m->lock);
void slot_mark_out_locked(struct mirror *m, unsigned int i,
			  enum meta_store_state state, const char *why)
	REQUIRES(m->lock);
/* The same: @err is what a commit to its map ended with. */
void slot_map_failed_locked(struct mirror *m, unsigned int i, int err)
	REQUIRES(m->lock);

/* ---- epoch.c: what is recorded on all online maps at once ---- */

/* Lock held. Be the only recorder; wait for another one before. */
void record_begin(struct mirror *m) REQUIRES(m->lock);
void record_end(struct mirror *m) REQUIRES(m->lock);
/*
 * Lock held, recording: an epoch of the online stores from @first_seq, the
 * members' states and the reservations, committed on each. A store that
 * fails is out as well, and it begins again. -EIO: the last one failed, -EROFS:
 * fewer than min_stores are left, nothing counts as recorded.
 */
MUST_CHECK int epoch_record(struct mirror *m, uint64_t first_seq)
	REQUIRES(m->lock);
/* Lock held, recording: more numbers. */
MUST_CHECK int numbers_record(struct mirror *m) REQUIRES(m->lock);
/* All members' rows as of now (no lock held), to be freed with their count. */
struct members {
	unsigned int count;
	struct meta_member row[];
};
struct members *members_collect(struct mirror *m);
/* Into one map, inside its transaction. */
MUST_CHECK int members_write(struct meta *meta, const struct members *v);
/* The same in a checkpoint, which others may have overtaken. */
MUST_CHECK int members_raise(struct meta *meta, const struct members *v);
uint64_t first_in_flight(const struct mirror *m);

/* ---- feed.c ---- */

MUST_CHECK int feed_start(struct mirror *m);
void feed_stop(struct mirror *m);
/* Everything put so far is in the maps, visible to readers. */
void feed_drain(struct mirror *m);
/* The same for the entries of @dir and the nodes they lead to. 0; -EIO: no. */
MUST_CHECK int feed_drain_dir(struct mirror *m, struct node *dir);
/*
 * Where the order matters, the caller holds the directory's lock. These never
 * fail the operation: -ENOMEM breaks the volume.
 */
/* Its row, and its name with this seq. */
void feed_born(struct op *op, slot_mask mask, struct node *n,
	       struct node *parent, const char *name, uint64_t seq);
/* A row that is not written yet is written with this seq at once. */
void feed_birth_raise(struct op *op, struct node *n);
void feed_node_raise(struct op *op, struct node *n, uint64_t seq);
void feed_named(struct op *op, struct node *parent, const char *name,
		struct node *n, uint64_t seq);
/* @last: it was the node's last name. */
void feed_unnamed(struct op *op, struct node *parent, const char *name,
		  struct node *n, bool last);
struct feed_move {
	struct node *n, *from, *to;
	const char *old_name, *new_name;
	struct node *gone; /* lost its last name by that; NULL */
};
void feed_moved(struct op *op, const struct feed_move *move);
/* move->n and @other, which had the new name. */
void feed_exchanged(struct op *op, const struct feed_move *move,
		    struct node *other);

/* ---- pool.c: the same call on several slots at once ---- */

MUST_CHECK int pool_start(struct pool *p);
void pool_stop(struct pool *p);
typedef int (*fan_fn)(struct mirror *m, unsigned int slot, void *arg);
/* Runs fn for every slot of mask, in parallel; results by slot. */
void fan_run(struct mirror *m, slot_mask mask, fan_fn fn, void *arg,
	     int results[META_STORE_MAX]);

/* ---- checkpoint.c ---- */

MUST_CHECK int checkpoint_start(struct mirror *m);
void checkpoint_stop(struct mirror *m);
/* Under m->ckpt. */
MUST_CHECK int checkpoint_locked(struct mirror *m, uint64_t *ret_seq);

/* Slots of @mask in the order in which calls go to them: lead first. */
unsigned int fan_order(struct mirror *m, slot_mask mask,
		       unsigned int order[META_STORE_MAX]);
/* Is @err what the call itself says (EEXIST...), not a failing store? */
bool err_is_answer(int err);
/* Is it what this filesystem cannot do, though another one may? */
bool err_is_limit(int err);

#include "fs/mirror/calls.h"

/* ---- repair.c: what one store cannot read, rewritten from another ---- */

MUST_CHECK int repair_start(struct mirror *m);
/* What is not repaired yet will be found again. */
void repair_stop(struct mirror *m);
/*
 * Slot @i could not read all of [start,end) of @n (EIO), another one could.
 * @early: its file ends before that of another one, perhaps.  Returns at
 * once; what is queued already is not queued again.  Any locks but leaves.
 */
void repair_want(struct mirror *m, struct node *n, unsigned int i,
		 uint64_t start, uint64_t end, bool early);

/* ---- remove.c ---- */

/* A name of @n is gone from memory. */
void removal_note(struct op *op, struct node *n, struct node *parent,
		  const char *name, bool last);

/* ---- attr.c, data.c ---- */

/* In node.lock: number, intent, @fn on every slot, noted. @look: half.c, or NULL */
MUST_CHECK int attr_change(struct op *op, struct node *n, slot_fn fn,
			   slot_fn undo, slot_fn look, void *arg,
			   const char *what);
/* Extents as the lead's file has them now, under the operation's seq. */
MUST_CHECK int dirty_note_mapped(struct op *op, struct node *n, uint64_t start,
				 uint64_t end);
/*
 * A change of contents or size in [start,end) on every slot, op->hold locked.
 * No room on one, or more than it can do: all others get what is there, the
 * error is the application's, and the range is noted. Noting success is the
 * caller's.
 */
MUST_CHECK int data_change(struct op *op, struct node *n, slot_fn fn, void *arg,
			   uint64_t start, uint64_t end, const char *what);
/*
 * Make [r) and the size on slot @to what they are on slot @from.  Nobody else
 * changes the file.
 */
MUST_CHECK int data_copy_state(struct mirror *m, struct node *n,
			       unsigned int from, unsigned int to,
			       struct range r);
MUST_CHECK int mirror_truncate(struct mirror *m, struct node *n, uint64_t size,
			       unsigned int kill);

/* ---- stat.c ---- */

/* The lead's, and that of one slot. @want: STORE_STAT_*, or 0. */
MUST_CHECK int node_stat(struct mirror *m, struct node *n, unsigned int want,
			 struct stat *ret_st);
MUST_CHECK int node_stat_on(struct mirror *m, struct node *n, unsigned int i,
			    unsigned int want, struct stat *ret_st);
/* Does the kernel keep the times of this node, once it knows it?  Then none need
 * be asked for to answer it. */
unsigned int node_stat_want(struct mirror *m, const struct node *n);
/* What the application sees. */
void stat_dress(struct mirror *m, struct node *n, struct stat *st);
/* Is this a name that the volume keeps for itself? */
bool name_is_private(const struct mirror *m, const struct node *parent,
		     const char *name);
MUST_CHECK int name_check(const char *name);
