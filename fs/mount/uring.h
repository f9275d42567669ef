/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uring - requests by io_uring instead of read(2) and write(2) on /dev/fuse.
 *
 * What costs in a request is to wake a thread on another processor, twice. The
 * kernel keeps a queue per processor for rings, hands a request to the queue of
 * the processor that asks, and one system call both answers a request and
 * waits for the next. So threads are bound to processors here, and each of them
 * has a ring with one *entry*: memory that the kernel writes a request to and
 * reads the answer from.
 *
 * How many threads. A request that finds no free entry in its queue waits,
 * however many are free in others. So each queue begins with one thread (the
 * kernel wants that, for processors too that are absent), and whoever takes the
 * last free entry starts one more before he does his work, up to
 * ENTRIES_MAX in a queue: a thread that sits in an fsync holds up nobody. The
 * kernel is allowed fewer requests of readahead and writeback than that
 * (URING_BACKGROUND_MAX), so that they alone cannot fill a queue. Not counted
 * are threads whose request somebody else will answer (SEEK_DATA): what he
 * waits for may be a WRITE in the same queue.
 *
 * An entry takes a page and a payload of the size of the largest request, 1 MiB:
 * at most that much per thread is ever used, and only as much as its largest
 * request so far really had.
 *
 * By ring come all requests that are answered. FORGET and INTERRUPT, and INIT,
 * still come through /dev/fuse, and notifications go out there. If the kernel
 * takes to the rings not at all, everything does.
 *
 * The kernel puts header, first argument and the rest into three places, the
 * library wants them one after the other. The first two are copied before the
 * third, which stays where it is: so are the bytes of a WRITE. Those of a READ
 * are put in place by the mirror, through reply_buffer().
 *
 * The end. When the connection ends, the kernel completes each entry with an
 * error, and its thread leaves. If serving ends otherwise, uring_stop() makes
 * them leave.
 *
 * Ref: uring_abi.h
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/cleanup.h"
#include "base/lock.h"
#include "fs/mount/mount.h"

enum {
	URING_BACKGROUND_MAX = 24,
};

struct mount_session;
struct uring_worker;
struct uring_queue;

enum uring_state {
	URING_OFF,	 /* nothing was made */
	URING_PREPARING, /* threads are made, INIT is not answered */
	URING_SERVING,
	URING_ENDING,
};

struct uring {
	struct mutex lock; /* LOCK_RANK_LEAF */
	struct cond changed;
	enum uring_state state GUARDED_BY(lock);
	unsigned int starting GUARDED_BY(lock); /* threads without a ring yet */
	int failure GUARDED_BY(lock);		/* of one of those, -errno */
	struct uring_worker *workers GUARDED_BY(lock);

	/* Set at INIT, then read-only. */
	struct uring_queue *queues; /* one per possible processor */
	unsigned int queue_count;
	size_t payload_size;

	int stop_fd;	    /* eventfd(2), never read: all leave */
	atomic_bool in_use; /* requests may come by ring */
};

/** uring_init - no ring, no thread. Return: 0 or -errno. */
MUST_CHECK int uring_init(struct uring *uring);

/** uring_done - after uring_stop(). */
void uring_done(struct uring *uring);

/**
 * uring_prepare - make rings and threads; to be called while INIT is handled,
 * when the kernel offers them.
 * @max_write: of the connection
 * Return: 0 (the answer to INIT may now accept), -errno (all is as before)
 */
MUST_CHECK int uring_prepare(struct mount_session *session, size_t max_write);

/** uring_serve - INIT was answered: register the entries; @accepted: or end the
 * threads. */
void uring_serve(struct mount_session *session, bool accepted);

/** uring_stop - end the threads. What they answer is answered before. */
void uring_stop(struct mount_session *session);

/**
 * uring_reply - put an answer into the entry that its request came by.
 * @iov: a struct fuse_out_header, and what follows it
 * Return: false if the request came through /dev/fuse, or none did; @ret is
 * what writev(2) would have returned
 */
bool uring_reply(struct uring *uring, const struct iovec *iov, int count,
		 ssize_t *ret);

/**
 * uring_reply_buffer - memory that an answer need not be copied from.
 * Return: NULL if the request of this thread has none that is free
 */
void *uring_reply_buffer(size_t len);
