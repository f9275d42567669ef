/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The same call on several slots at once: what waits for disks (fsync, syncfs,
 * commits) runs in parallel, so that a mirror costs its slowest store and not
 * the sum.  Threads are made as needed and kept.
 */
#include "fs/mirror/internal.h"

#include <errno.h>
#include <pthread.h>

#include "base/affinity.h"

#define POOL_THREADS_MAX 64u

struct pool_group {
	struct mirror *m;
	fan_fn fn;
	void *arg;
	struct cond done;
	unsigned int left; /* guarded by pool.lock */
};

struct pool_job {
	struct pool_job *next;
	struct pool_group *group;
	unsigned int slot;
	int *ret;
};

static void *pool_thread(void *arg)
{
	struct pool *p = arg;

	affinity_reset(); /* made by a thread of a ring, perhaps */
	(void)pthread_setname_np(pthread_self(), "pool");
	mutex_lock(&p->lock);
	for (;;) {
		struct pool_job *job = p->head;

		if (!job) {
			if (p->stop)
				break;
			p->idle++;
			cond_wait(&p->work, &p->lock);
			p->idle--;
			continue;
		}
		p->head = job->next;
		if (!p->head)
			p->tail = &p->head;
		mutex_unlock(&p->lock);
		*job->ret = job->group->fn(job->group->m, job->slot,
					   job->group->arg);
		mutex_lock(&p->lock);
		if (!--job->group->left)
			cond_signal(&job->group->done);
	}
	p->threads--;
	cond_signal(&p->gone);
	mutex_unlock(&p->lock);
	return NULL;
}

int pool_start(struct pool *p)
{
	mutex_init(&p->lock, LOCK_RANK_LEAF);
	cond_init(&p->work);
	cond_init(&p->gone);
	p->head = NULL;
	p->tail = &p->head;
	p->idle = p->threads = 0;
	p->stop = false;
	return 0;
}

void pool_stop(struct pool *p)
{
	mutex_lock(&p->lock);
	p->stop = true;
	cond_broadcast(&p->work);
	while (p->threads)
		cond_wait(&p->gone, &p->lock);
	mutex_unlock(&p->lock);
	cond_done(&p->gone);
	cond_done(&p->work);
	mutex_done(&p->lock);
}

/* Pool locked: somebody will run the job, once woken; false: the caller runs
 * it itself. */
static bool pool_give(struct pool *p, struct pool_job *job)
{
	pthread_attr_t attr;
	pthread_t thread;
	unsigned int queued = 0;
	int r;

	for (const struct pool_job *j = p->head; j; j = j->next)
		queued++;
	if (queued >= p->idle) {
		if (p->threads >= POOL_THREADS_MAX || pthread_attr_init(&attr))
			return false;
		(void)pthread_attr_setdetachstate(&attr,
						  PTHREAD_CREATE_DETACHED);
		r = pthread_create(&thread, &attr, pool_thread, p);
		(void)pthread_attr_destroy(&attr);
		if (r)
			return false;
		p->threads++;
	}
	job->next = NULL;
	*p->tail = job;
	p->tail = &job->next;
	return true;
}

void fan_run(struct mirror *m, slot_mask mask, fan_fn fn, void *arg,
	     int results[META_STORE_MAX])
{
	struct pool_group group = {.m = m, .fn = fn, .arg = arg};
	struct pool_job job[META_STORE_MAX];
	slot_mask here = 0;
	unsigned int given;

	if (!mask)
		return;
	/* The lowest runs here, the others elsewhere. */
	here = mask & (~mask + 1);
	cond_init(&group.done);
	mutex_lock(&m->pool.lock);
	for_each_slot(i, mask & ~here)
	{
		job[i] = (struct pool_job){NULL, &group, i, &results[i]};
		if (pool_give(&m->pool, &job[i]))
			group.left++;
		else
			here |= SLOT_BIT(i);
	}
	given = group.left;
	mutex_unlock(&m->pool.lock);
	/* Who wakes up now finds the lock free. */
	while (given--)
		cond_signal(&m->pool.work);
	for_each_slot(i, here) results[i] = fn(m, i, arg);
	mutex_lock(&m->pool.lock);
	while (group.left)
		cond_wait(&group.done, &m->pool.lock);
	mutex_unlock(&m->pool.lock);
	cond_done(&group.done);
}
