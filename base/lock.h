/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Locks, and the one order in which they are taken.
 *
 * A thread takes locks in rising rank only:
 *
 *	rank		guards				    across store I/O
 *	CONTROL		one command on the control socket	yes
 *	STORES		which stores are members and online	no
 *	NAMES		rename: two directories at once		yes
 *	NODE		one node; of two, the lower id first	yes
 *	RANGE		byte ranges of a node in use		(short, waits)
 *	ARM		generation, budget, arming		no
 *	META		the one writer of a store's map		(map only)
 *	TABLE		the table of nodes			no
 *	LEAF		tables, counters			no
 *	GUARD		calls under way on a store (guard.h)	no
 *
 * Two locks of one rank are never held together, except for NODE, where the
 * lower node id comes first. Whoever needs a store during I/O takes a
 * reference under STORES and lets the lock go. No lock is held across a reply
 * to the kernel (which may forget the node at once) or a notification to it
 * (which waits for writes that may need the lock).
 *
 * A locked byte range is not a mutex: RANGE is the rank of the short mutex
 * over the list of ranges in use. A thread waits for a range before it asks
 * for ARM, and waits for the budget before it takes a number, so that nobody
 * who holds a number waits for somebody who has none.
 *
 * Logging takes no lock and is allowed anywhere.
 *
 * Two checks stand behind these words. clang's -Wthread-safety reads the
 * attributes on functions (in C it cannot check struct fields, so GUARDED_BY
 * is for the reader). Builds with the option lock_debug keep the ranks that a
 * thread holds and abort at the first step out of order, with both names.
 *
 *	struct table {
 *		struct mutex lock;	// LOCK_RANK_LEAF
 *		size_t count GUARDED_BY(lock);
 *	};
 *
 *	mutex_init(&t->lock, LOCK_RANK_LEAF);
 *	mutex_lock(&t->lock);
 *	while (!t->count)
 *		cond_wait(&t->filled, &t->lock);
 *	mutex_unlock(&t->lock);
 *
 * None of the functions fails: the arguments are ours and the default kinds
 * of lock need no memory, so every error is a broken invariant and asserted.
 */
#pragma once

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#ifdef __clang__
#define THREAD_ANNOTATION_(x) __attribute__((x))
#else
#define THREAD_ANNOTATION_(x)
#endif

#define CAPABILITY(name) THREAD_ANNOTATION_(capability(name))
#define ACQUIRE(...)	 THREAD_ANNOTATION_(acquire_capability(__VA_ARGS__))
#define ACQUIRE_SHARED(...) \
	THREAD_ANNOTATION_(acquire_shared_capability(__VA_ARGS__))
#define TRY_ACQUIRE(...) THREAD_ANNOTATION_(try_acquire_capability(__VA_ARGS__))
#define RELEASE(...)	 THREAD_ANNOTATION_(release_capability(__VA_ARGS__))
#define RELEASE_GENERIC(...) \
	THREAD_ANNOTATION_(release_generic_capability(__VA_ARGS__))
#define REQUIRES(...) THREAD_ANNOTATION_(requires_capability(__VA_ARGS__))
#define REQUIRES_SHARED(...) \
	THREAD_ANNOTATION_(requires_shared_capability(__VA_ARGS__))
#define EXCLUDES(...)		  THREAD_ANNOTATION_(locks_excluded(__VA_ARGS__))
#define NO_THREAD_SAFETY_ANALYSIS THREAD_ANNOTATION_(no_thread_safety_analysis)
/* For the reader: C offers no way to name a sibling field here. */
#define GUARDED_BY(lock)

enum lock_rank {
	LOCK_RANK_CONTROL = 1,
	LOCK_RANK_STORES,
	LOCK_RANK_NAMES,
	LOCK_RANK_NODE,
	LOCK_RANK_RANGE,
	LOCK_RANK_ARM,
	LOCK_RANK_META,
	LOCK_RANK_TABLE,
	LOCK_RANK_LEAF,
	LOCK_RANK_GUARD,
};

struct CAPABILITY("mutex") mutex {
	pthread_mutex_t os;
	enum lock_rank rank; /* set at init, then read-only */
};

struct CAPABILITY("rwlock") rwlock {
	pthread_rwlock_t os;
	enum lock_rank rank; /* set at init, then read-only */
};

struct cond {
	pthread_cond_t os;
};

#ifdef SEQMIRROR_LOCK_DEBUG
/* lock_rank_take - note that this thread is about to wait for @lock; aborts
 * when that is out of order. */
void lock_rank_take(const void *lock, enum lock_rank rank);
/* lock_rank_note - note that @lock is held, without a check: what was tried
 * and not waited for cannot deadlock. */
void lock_rank_note(const void *lock, enum lock_rank rank);
/* lock_rank_drop - note that this thread lets @lock go; aborts if it does
 * not hold it. */
void lock_rank_drop(const void *lock);
#else
#define lock_rank_take(lock, rank) ((void)(lock), (void)(rank))
#define lock_rank_note(lock, rank) ((void)(lock), (void)(rank))
#define lock_rank_drop(lock)	   ((void)(lock))
#endif

/* A call that cannot fail unless the program is wrong. */
static inline void lock_must_(int err)
{
	assert(err == 0);
	(void)err;
}

static inline void mutex_init(struct mutex *m, enum lock_rank rank)
{
	lock_must_(pthread_mutex_init(&m->os, NULL));
	m->rank = rank;
}

/** mutex_done - nobody holds or waits for it. */
static inline void mutex_done(struct mutex *m)
{
	lock_must_(pthread_mutex_destroy(&m->os));
}

static inline void mutex_lock(struct mutex *m) ACQUIRE(*m)
	NO_THREAD_SAFETY_ANALYSIS
{
	lock_rank_take(m, m->rank);
	lock_must_(pthread_mutex_lock(&m->os));
}

/** mutex_trylock - Return: true if the lock was free and is now held. */
static inline bool mutex_trylock(struct mutex *m) TRY_ACQUIRE(true, *m)
	NO_THREAD_SAFETY_ANALYSIS
{
	int err = pthread_mutex_trylock(&m->os);

	assert(err == 0 || err == EBUSY);
	if (err)
		return false;
	lock_rank_note(m, m->rank);
	return true;
}

static inline void mutex_unlock(struct mutex *m) RELEASE(*m)
	NO_THREAD_SAFETY_ANALYSIS
{
	lock_rank_drop(m);
	lock_must_(pthread_mutex_unlock(&m->os));
}

static inline void rwlock_init(struct rwlock *l, enum lock_rank rank)
{
	lock_must_(pthread_rwlock_init(&l->os, NULL));
	l->rank = rank;
}

static inline void rwlock_done(struct rwlock *l)
{
	lock_must_(pthread_rwlock_destroy(&l->os));
}

/** rwlock_rdlock - shared; not to be taken again by its holder. */
static inline void rwlock_rdlock(struct rwlock *l) ACQUIRE_SHARED(*l)
	NO_THREAD_SAFETY_ANALYSIS
{
	lock_rank_take(l, l->rank);
	lock_must_(pthread_rwlock_rdlock(&l->os));
}

static inline void rwlock_wrlock(struct rwlock *l) ACQUIRE(*l)
	NO_THREAD_SAFETY_ANALYSIS
{
	lock_rank_take(l, l->rank);
	lock_must_(pthread_rwlock_wrlock(&l->os));
}

/** rwlock_unlock - lets go of either kind. */
static inline void rwlock_unlock(struct rwlock *l) RELEASE_GENERIC(*l)
	NO_THREAD_SAFETY_ANALYSIS
{
	lock_rank_drop(l);
	lock_must_(pthread_rwlock_unlock(&l->os));
}

/* Waits are measured on the monotonic clock: a host whose time is set must
 * not make a checkpoint late. */
static inline void cond_init(struct cond *c)
{
	pthread_condattr_t attr;

	lock_must_(pthread_condattr_init(&attr));
	lock_must_(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC));
	lock_must_(pthread_cond_init(&c->os, &attr));
	lock_must_(pthread_condattr_destroy(&attr));
}

static inline void cond_done(struct cond *c)
{
	lock_must_(pthread_cond_destroy(&c->os));
}

/** cond_wait - wakes up without a reason at times: call it in a loop. */
static inline void cond_wait(struct cond *c, struct mutex *m) REQUIRES(*m)
	NO_THREAD_SAFETY_ANALYSIS
{
	lock_rank_drop(m);
	lock_must_(pthread_cond_wait(&c->os, &m->os));
	lock_rank_take(m, m->rank);
}

/**
 * cond_timedwait - like cond_wait(), for at most @wait_ms milliseconds.
 * Return: 0 woken, -ETIMEDOUT. The mutex is held either way.
 */
static inline int cond_timedwait(struct cond *c, struct mutex *m,
				 uint64_t wait_ms) REQUIRES(*m)
	NO_THREAD_SAFETY_ANALYSIS
{
	struct timespec until;
	int err;

	lock_must_(clock_gettime(CLOCK_MONOTONIC, &until));
	until.tv_sec += (time_t)(wait_ms / 1000);
	until.tv_nsec += (long)(wait_ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_nsec -= 1000000000;
		until.tv_sec++;
	}
	lock_rank_drop(m);
	err = pthread_cond_timedwait(&c->os, &m->os, &until);
	lock_rank_take(m, m->rank);
	assert(err == 0 || err == ETIMEDOUT);
	return -err;
}

static inline void cond_signal(struct cond *c)
{
	lock_must_(pthread_cond_signal(&c->os));
}

static inline void cond_broadcast(struct cond *c)
{
	lock_must_(pthread_cond_broadcast(&c->os));
}
