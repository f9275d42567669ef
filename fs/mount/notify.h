/* SPDX-License-Identifier: Apache-2.0 */
/*
 * notify - tells the kernel that what it holds of a node is old, on a thread
 * that serves no requests.
 *
 * To drop a page the kernel first writes it if it is dirty, and the
 * notification returns when that WRITE was answered. Sent by a thread that
 * answers requests, or under a lock that a write takes, it can wait for
 * itself; here it cannot.
 *
 * Two things are sent from here:
 *
 *  - SEEK_DATA and SEEK_HOLE. With dirty pages in the kernel the stores do not
 *    know yet where data is, and the kernel asks without writing them first.
 *    The pages from the offset on are dropped, hence written, and then the
 *    request is answered.
 *  - What mirror_on_invalidate() reports.
 *
 * The queue holds no more than the requests in flight and what the mirror
 * reports.
 *
 * Ref: fuse_lowlevel_notify_inval_inode() in fuse_lowlevel.h, lseek(2)
 */
#pragma once

#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/lock.h"

struct mount_session;
struct notify_job;

struct notify {
	struct mutex lock; /* LOCK_RANK_LEAF */
	struct cond filled, worked;
	struct notify_job *first GUARDED_BY(lock);
	struct notify_job **last_next GUARDED_BY(lock);
	uint64_t pushed GUARDED_BY(lock), done GUARDED_BY(lock); /* jobs */
	bool ending GUARDED_BY(lock);
	pthread_t thread;
	bool running; /* of the thread that serves the session */
};

void notify_init(struct notify *notify);

/** notify_done - no thread runs; jobs that came too late are dropped. */
void notify_done(struct notify *notify);

/** notify_start - from now on jobs are worked off. Return: 0 or -errno. */
MUST_CHECK int notify_start(struct mount_session *session);

/**
 * notify_stop - do what is in the queue and end the thread. The connection
 * must be broken by then, or a job could wait for a WRITE without end.
 */
void notify_stop(struct mount_session *session);

/** notify_seek - answer @req once the node's pages from @off on are written.
 * Takes the request over; never fails (the request may be answered with
 * ENOMEM). */
void notify_seek(struct mount_session *session, fuse_req_t req, uint64_t node,
		 uint64_t off, int whence);

/** notify_invalidate - drop all that the kernel holds of a node, soon. For
 * mirror_on_invalidate(); @session is a struct mount_session. */
void notify_invalidate(void *session, uint64_t node);

/**
 * notify_wait - until what was invalidated by now is, a moment at most: for a
 * thread that serves requests, which must not depend on it.
 */
void notify_wait(struct mount_session *session);

/**
 * notify_attributes - attributes only, at once.
 *
 * Waits for no page and may be called while a request of the same node is
 * served: the waiting caller keeps the inode, so that this cannot be its end.
 */
void notify_attributes(struct mount_session *session, uint64_t node);
