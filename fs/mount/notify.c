/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/mount/notify.h"

#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "fs/mount/reply.h"
#include "fs/mount/session.h"

/* Pages are dropped whole; a multiple of the page size of any machine. */
#define PAGE_ALIGN ((uint64_t)64 * 1024)
#define WAIT_NS	   (20 * CLOCK_NS_PER_MS)

struct notify_job {
	struct notify_job *next;
	uint64_t node;
	uint64_t off;
	fuse_req_t req; /* NULL: nobody waits */
	int whence;	/* of a seek */
};

void notify_init(struct notify *notify)
{
	*notify = (struct notify){.running = false};
	mutex_init(&notify->lock, LOCK_RANK_LEAF);
	cond_init(&notify->filled);
	cond_init(&notify->worked);
	notify->last_next = &notify->first;
}

void notify_done(struct notify *notify)
{
	struct notify_job *job, *next;

	for (job = notify->first; job; job = next) {
		next = job->next;
		if (job->req)
			reply_err(job->req, -ENOTCONN);
		free(job);
	}
	cond_done(&notify->filled);
	cond_done(&notify->worked);
	mutex_done(&notify->lock);
}

static void job_do(struct mount_session *session, const struct notify_job *job)
{
	uint64_t from = job->off & ~(PAGE_ALIGN - 1);
	uint64_t found;
	int err;

	/* A node that the kernel does not hold (-ENOENT), or a connection that
	 * is gone, leaves nothing to drop; length 0 is "to the end". */
	err = fuse_lowlevel_notify_inval_inode(session->fuse, job->node,
					       (off_t)from, 0);
	if (err && err != -ENOENT && err != -ENODEV)
		log_debug("invalidation refused: node=%" PRIu64 " error=%s",
			  job->node, strerror(-err));
	if (!job->req)
		return;
	err = mirror_seek(session->mirror, job->node, job->off, job->whence,
			  &found);
	if (err)
		reply_err(job->req, err);
	else
		(void)fuse_reply_lseek(job->req, (off_t)found);
}

static void *notify_thread(void *arg)
{
	struct mount_session *session = arg;
	struct notify *n = &session->notify;
	struct notify_job *job;

	mutex_lock(&n->lock);
	for (;;) {
		while (!n->first && !n->ending)
			cond_wait(&n->filled, &n->lock);
		job = n->first;
		if (!job)
			break;
		n->first = job->next;
		if (!n->first)
			n->last_next = &n->first;
		mutex_unlock(&n->lock);
		job_do(session, job);
		free(job);
		mutex_lock(&n->lock);
		n->done++;
		cond_broadcast(&n->worked);
	}
	mutex_unlock(&n->lock);
	return NULL;
}

int notify_start(struct mount_session *session)
{
	struct notify *n = &session->notify;
	int err = session_thread_start(&n->thread, notify_thread, session);

	n->running = !err;
	return err;
}

void notify_stop(struct mount_session *session)
{
	struct notify *n = &session->notify;

	if (!n->running)
		return;
	mutex_lock(&n->lock);
	n->ending = true;
	cond_signal(&n->filled);
	mutex_unlock(&n->lock);
	(void)pthread_join(n->thread, NULL);
	n->running = false;
}

static int notify_push(struct notify *n, const struct notify_job *what)
{
	struct notify_job *job = malloc(sizeof(*job));

	if (!job)
		return -ENOMEM;
	*job = *what;
	job->next = NULL;
	mutex_lock(&n->lock);
	*n->last_next = job;
	n->last_next = &job->next;
	n->pushed++;
	cond_signal(&n->filled);
	mutex_unlock(&n->lock);
	return 0;
}

void notify_seek(struct mount_session *session, fuse_req_t req, uint64_t node,
		 uint64_t off, int whence)
{
	const struct notify_job job = {
		.node = node,
		.off = off,
		.req = req,
		.whence = whence,
	};
	int err = notify_push(&session->notify, &job);

	if (err)
		reply_err(req, err);
}

void notify_invalidate(void *arg, uint64_t node)
{
	struct mount_session *session = arg;
	const struct notify_job job = {.node = node};

	if (notify_push(&session->notify, &job))
		log_err("no memory to invalidate: node=%" PRIu64, node);
}

void notify_wait(struct mount_session *session)
{
	struct notify *n = &session->notify;
	uint64_t until_ns = clock_mono_ns() + WAIT_NS;
	uint64_t last;

	mutex_lock(&n->lock);
	last = n->pushed;
	while (n->done < last && clock_mono_ns() < until_ns)
		(void)cond_timedwait(&n->worked, &n->lock, 1);
	mutex_unlock(&n->lock);
}

void notify_attributes(struct mount_session *session, uint64_t node)
{
	/* Whatever it returns: there is nobody who could do more. */
	(void)fuse_lowlevel_notify_inval_inode(session->fuse, node, -1, 0);
}
