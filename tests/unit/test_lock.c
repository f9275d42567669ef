/* SPDX-License-Identifier: Apache-2.0 */
/*
 * That the order is enforced where lock_debug is on, and that a timed wait
 * ends. Contention is tried in tests/conc.
 */
#include "base/lock.h"

#include <criterion/criterion.h>
#include <signal.h>

/* Wrong on purpose, and locks tried inside the macros of Criterion. */
#ifdef __clang__
#pragma clang diagnostic ignored "-Wthread-safety-analysis"
#endif

static struct mutex leaf;
static struct mutex node;
static struct mutex other_node;
static struct rwlock stores;

static void init_all(void)
{
	mutex_init(&leaf, LOCK_RANK_LEAF);
	mutex_init(&node, LOCK_RANK_NODE);
	mutex_init(&other_node, LOCK_RANK_NODE);
	rwlock_init(&stores, LOCK_RANK_STORES);
}

static void done_all(void)
{
	mutex_done(&leaf);
	mutex_done(&node);
	mutex_done(&other_node);
	rwlock_done(&stores);
}

TestSuite(lock, .init = init_all, .fini = done_all);

Test(lock, rising_ranks_in_any_order_of_release)
{
	for (int i = 0; i < 3; i++) {
		rwlock_rdlock(&stores);
		mutex_lock(&node);
		mutex_lock(&other_node);
		rwlock_unlock(&stores);
		mutex_lock(&leaf);
		mutex_unlock(&node);
		mutex_unlock(&leaf);
		mutex_unlock(&other_node);
	}
	rwlock_wrlock(&stores);
	rwlock_unlock(&stores);
}

Test(lock, trylock)
{
	cr_assert(mutex_trylock(&leaf));
	cr_assert_not(mutex_trylock(&leaf));
	mutex_unlock(&leaf);
}

Test(lock, timed_wait_ends)
{
	struct cond never;
	int err;

	cond_init(&never);
	mutex_lock(&leaf);
	do {
		err = cond_timedwait(&never, &leaf, 5);
	} while (err == 0);
	mutex_unlock(&leaf);
	cr_assert_eq(err, -ETIMEDOUT);
	cond_done(&never);
}

#ifdef SEQMIRROR_LOCK_DEBUG

Test(lock, falling_rank_aborts, .signal = SIGABRT)
{
	mutex_lock(&leaf);
	mutex_lock(&node);
}

Test(lock, same_lock_twice_aborts, .signal = SIGABRT)
{
	mutex_lock(&node);
	mutex_lock(&node);
}

Test(lock, waiting_below_a_held_rank_aborts, .signal = SIGABRT)
{
	struct cond never;

	cond_init(&never);
	mutex_lock(&node);
	mutex_lock(&leaf);
	(void)cond_timedwait(&never, &node, 1);
}

Test(lock, unlocking_what_is_not_held_aborts, .signal = SIGABRT)
{
	mutex_unlock(&node);
}

#endif
