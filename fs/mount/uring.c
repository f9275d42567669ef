/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/mount/uring.h"

#include <errno.h>
#include <fuse_lowlevel.h>
#include <linux/fuse.h>
#include <sched.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/affinity.h"
#include "base/fault.h"
#include "base/log.h"
#include "fs/mount/device.h"
#include "fs/mount/ring.h"
#include "fs/mount/session.h"
#include "fs/mount/uring_cpus.h"

enum {
	ENTRIES_MAX = 32, /* of a queue; those that wait for others aside */
	HEAD_SIZE = 4096, /* of an entry, before the payload */
	ROAM_BYTES = 128 * 1024,

	ANSWER_RETRY_MS = 1000,

	/* What a kernel may ask for that was not told how many pages. */
	PAYLOAD_MIN = 128 * 1024,
};

_Static_assert((int)URING_BACKGROUND_MAX < (int)ENTRIES_MAX,
	       "applications find an entry while all writeback waits");
_Static_assert((int)PAYLOAD_MIN >= (int)URING_PAYLOAD_MIN, "no less");
_Static_assert(sizeof(struct uring_header) + sizeof(struct fuse_in_header) +
			       URING_HEADER_MAX <=
		       HEAD_SIZE,
	       "both ends of the head are in use");

struct uring_queue {
	unsigned int id; /* and number of the processor */
	atomic_int free; /* entries that wait for a request */
	atomic_int busy; /* those that do not, and are not waiting for others */
	atomic_bool growing; /* a thread was started and has no entry yet */
};

struct uring_worker {
	struct uring_worker *next; /* under uring.lock */
	struct mount_session *session;
	struct uring_queue *queue;
	pthread_t thread;
	struct ring ring;
	void *memory; /* HEAD_SIZE, then the payload */

	/* The request at hand: 0 when it is answered, or there is none. */
	_Atomic uint64_t unique;
	struct cond answered; /* with uring.lock */
	uint64_t commit_id;
	bool payload_free; /* the request has nothing in it */
	bool roams;	   /* on any processor for now */
};

/* Of the thread that serves by ring. */
static _Thread_local struct uring_worker *self;

static struct uring_header *header_of(const struct uring_worker *w)
{
	return w->memory;
}

static char *payload_of(const struct uring_worker *w)
{
	return (char *)w->memory + HEAD_SIZE;
}

int uring_init(struct uring *uring)
{
	*uring = (struct uring){.state = URING_OFF};
	mutex_init(&uring->lock, LOCK_RANK_LEAF);
	cond_init(&uring->changed);
	uring->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return uring->stop_fd < 0 ? -errno : 0;
}

void uring_done(struct uring *uring)
{
	assert(!uring->workers);
	free(uring->queues);
	close_fd(&uring->stop_fd);
	cond_done(&uring->changed);
	mutex_done(&uring->lock);
}

/* ---- answers ---- */

/* Return: the bytes of the answer, all told. */
static ssize_t answer(struct uring_worker *w, const struct iovec *iov,
		      int count)
{
	size_t room = w->session->uring.payload_size;
	struct uring_header *h = header_of(w);
	struct fuse_out_header out;
	char *payload = payload_of(w);
	size_t len = 0;

	memcpy(&out, iov[0].iov_base, sizeof(out));
	for (int i = 1; i < count; i++) {
		if (iov[i].iov_len > room - len) {
			/* The kernel asks for no more than it has room for. */
			out.error = -EIO;
			len = 0;
			break;
		}
		if (payload + len != iov[i].iov_base && iov[i].iov_len)
			memmove(payload + len, iov[i].iov_base, iov[i].iov_len);
		len += iov[i].iov_len;
	}
	memcpy(h->in_out, &out, sizeof(out));
	h->payload_size = (uint32_t)len;
	atomic_store_explicit(&w->unique, 0, memory_order_release);
	return (ssize_t)(sizeof(out) + len);
}

static bool answer_for_other(struct uring *u, uint64_t unique,
			     const struct iovec *iov, int count, ssize_t *ret)
{
	struct uring_worker *w;

	mutex_lock(&u->lock);
	for (w = u->workers; w; w = w->next)
		if (atomic_load(&w->unique) == unique)
			break;
	if (w) {
		*ret = answer(w, iov, count);
		cond_signal(&w->answered);
	}
	mutex_unlock(&u->lock);
	return w != NULL;
}

bool uring_reply(struct uring *uring, const struct iovec *iov, int count,
		 ssize_t *ret)
{
	struct fuse_out_header out;

	if (!atomic_load_explicit(&uring->in_use, memory_order_acquire))
		return false;
	memcpy(&out, iov[0].iov_base, sizeof(out));
	if (!out.unique) /* a notification */
		return false;
	if (self && atomic_load_explicit(&self->unique, memory_order_relaxed) ==
			    out.unique) {
		*ret = answer(self, iov, count);
		return true;
	}
	return answer_for_other(uring, out.unique, iov, count, ret);
}

void *uring_reply_buffer(size_t len)
{
	if (!self || !self->payload_free ||
	    len > self->session->uring.payload_size)
		return NULL;
	return payload_of(self);
}

/* ---- requests ---- */

static void grow(struct uring_worker *w);

/* An answer that the library has no part in. */
static void refuse(struct uring_worker *w, uint64_t unique, int error)
{
	struct fuse_out_header out = {
		.len = sizeof(out),
		.unique = unique,
		.error = -error,
	};
	const struct iovec iov = {.iov_base = &out, .iov_len = sizeof(out)};

	(void)answer(w, &iov, 1);
}

/* Somebody else has the request: the thread waits for his answer, and another
 * takes its place in the queue. */
static void wait_answered(struct uring_worker *w)
{
	struct uring *u = &w->session->uring;

	if (!atomic_load_explicit(&w->unique, memory_order_acquire))
		return;
	atomic_fetch_sub(&w->queue->busy, 1);
	if (!atomic_load(&w->queue->free))
		grow(w);
	mutex_lock(&u->lock);
	while (atomic_load(&w->unique)) {
		if (cond_timedwait(&w->answered, &u->lock, ANSWER_RETRY_MS) !=
		    -ETIMEDOUT)
			continue;
		/* No thread could be had, perhaps, when one was needed. */
		mutex_unlock(&u->lock);
		if (!atomic_load(&w->queue->free))
			grow(w);
		mutex_lock(&u->lock);
	}
	mutex_unlock(&u->lock);
	atomic_fetch_add(&w->queue->busy, 1);
}

/*
 * A thread sits on the processor that asks, which is the cheapest for all that
 * is small.  A file that streams in comes from one thread of the kernel, so that
 * one processor would make all of its copies while others have nothing to do.
 */
static void roam(struct uring_worker *w, bool on)
{
	if (w->roams == on)
		return;
	if (on)
		affinity_reset();
	else
		(void)affinity_bind(w->queue->id);
	w->roams = on;
}

static void serve_request(struct uring_worker *w)
{
	struct mount_session *session = w->session;
	const struct uring_header *h = header_of(w);
	struct fuse_in_header in;
	struct fuse_buf buf = {.fd = -1};
	size_t payload = h->payload_size;
	size_t argument;

	memcpy(&in, h->in_out, sizeof(in));
	w->commit_id = h->commit_id;
	w->payload_free = payload == 0;
	/* The header's length is that of all there is. */
	argument = in.len - sizeof(in) - payload;
	if (in.len < sizeof(in) + payload || argument > URING_HEADER_MAX ||
	    payload > session->uring.payload_size) {
		log_err("a request that cannot be: opcode=%u len=%u "
			"payload=%zu",
			in.opcode, in.len, payload);
		refuse(w, in.unique, EIO);
		return;
	}
	roam(w, payload >= ROAM_BYTES);
	buf.mem = payload_of(w) - argument - sizeof(in);
	buf.size = in.len;
	memcpy(buf.mem, &in, sizeof(in));
	memcpy((char *)buf.mem + sizeof(in), h->op_in, argument);
	atomic_store_explicit(&w->unique, in.unique, memory_order_release);
	device_see(&session->device, buf.mem, buf.size);
	fuse_session_process_buf(session->fuse, &buf);
	wait_answered(w);
}

static void command(struct uring_worker *w, uint32_t op, const void *addr,
		    uint32_t len)
{
	const struct uring_command c = {
		.commit_id = op == URING_CMD_REGISTER ? 0 : w->commit_id,
		.queue = (uint16_t)w->queue->id,
	};

	ring_command(&w->ring, fuse_session_fd(w->session->fuse), op, &c, addr,
		     len);
}

/* Serves until the connection ends. @ret_any: whether the kernel took the entry
 * at all. Return: why it ended, -errno. */
static int serve(struct uring_worker *w, bool *ret_any)
{
	struct uring_queue *q = w->queue;
	const size_t payload = w->session->uring.payload_size;
	const struct iovec iov[] = {
		{.iov_base = header_of(w),
		 .iov_len = sizeof(struct uring_header)},
		/* The kernel refuses what is too small. */
		{.iov_base = payload_of(w),
		 .iov_len = FAULT_ERR("mount.ring.register") ? 1 : payload},
	};
	int err;

	*ret_any = false;
	command(w, URING_CMD_REGISTER, iov, ARRAY_SIZE(iov));
	for (;;) {
		atomic_fetch_add(&q->free, 1);
		if (!*ret_any)
			atomic_store(&q->growing, false);
		err = ring_wait(&w->ring);
		atomic_fetch_add(&q->busy, 1);
		if (atomic_fetch_sub(&q->free, 1) == 1 && !err)
			grow(w);
		if (!err) {
			*ret_any = true;
			serve_request(w);
			command(w, URING_CMD_COMMIT_AND_FETCH, NULL, 0);
		}
		atomic_fetch_sub(&q->busy, 1);
		if (err)
			return err;
	}
}

/* ---- threads ---- */

static int worker_prepare(struct uring_worker *w)
{
	struct uring *u = &w->session->uring;
	int err = FAULT_ERR("mount.ring.open");
	void *memory;

	if (err)
		return err;
	(void)pthread_setname_np(pthread_self(), "fuse-ring");
	/* Where that one is absent, or is not ours, it goes anywhere. */
	affinity_reset();
	(void)affinity_bind(w->queue->id);
	memory = mmap(NULL, HEAD_SIZE + u->payload_size, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return -errno;
	w->memory = memory;
	return ring_open(&w->ring, u->stop_fd);
}

static void worker_release(struct uring_worker *w)
{
	ring_close(&w->ring);
	if (w->memory)
		(void)munmap(w->memory,
			     HEAD_SIZE + w->session->uring.payload_size);
	w->memory = NULL;
}

/* Tells how preparing went and waits for INIT to be answered.
 * Return: whether to serve. */
static bool worker_report(struct uring *u, int err)
{
	bool go;

	mutex_lock(&u->lock);
	u->starting--;
	if (err)
		u->failure = err;
	cond_broadcast(&u->changed);
	while (!err && u->state == URING_PREPARING)
		cond_wait(&u->changed, &u->lock);
	go = !err && u->state == URING_SERVING;
	mutex_unlock(&u->lock);
	return go;
}

/*
 * ENOTCONN and ECONNABORTED: unmounted, or broken off; ECANCELED: uring_stop().
 * An entry that the kernel did not take leaves everything to the others or, if
 * it was one of the first, to /dev/fuse. One that it does not take back may
 * hold a request that will never be answered.
 */
static void worker_ended(struct uring_worker *w, int err, bool any)
{
	if (err == -ENOTCONN || err == -ECONNABORTED || err == -ECANCELED)
		return;
	log_err("io_uring: %s: queue=%u error=%s",
		any ? "an answer was refused" : "refused by the kernel",
		w->queue->id, strerror(-err));
	if (any || w->session->uring_wanted == MOUNT_ON)
		mount_session_stop(w->session);
}

static void *worker_thread(void *arg)
{
	struct uring_worker *w = arg;
	int err = worker_prepare(w);
	bool any;

	if (worker_report(&w->session->uring, err)) {
		self = w;
		err = serve(w, &any);
		self = NULL;
		worker_ended(w, err, any);
	} else if (err) {
		log_warn("io_uring: no ring: queue=%u error=%s", w->queue->id,
			 strerror(-err));
	}
	atomic_store(&w->queue->growing, false);
	worker_release(w);
	return NULL;
}

/* One thread more for a queue. */
static int worker_start(struct mount_session *session, struct uring_queue *q)
{
	struct uring *u = &session->uring;
	struct uring_worker *w = calloc(1, sizeof(*w));
	int err = -ECANCELED;

	if (!w)
		return -ENOMEM;
	w->session = session;
	w->queue = q;
	w->ring.fd = -1;
	cond_init(&w->answered);
	mutex_lock(&u->lock);
	if (u->state == URING_PREPARING || u->state == URING_SERVING)
		err = session_thread_start(&w->thread, worker_thread, w);
	if (!err) {
		u->starting++;
		w->next = u->workers;
		u->workers = w;
	}
	mutex_unlock(&u->lock);
	if (err) {
		cond_done(&w->answered);
		free(w);
	}
	return err;
}

/* The last free entry of the worker's queue is taken. */
static void grow(struct uring_worker *w)
{
	struct uring_queue *q = w->queue;
	int err;

	if (atomic_load(&q->busy) >= ENTRIES_MAX ||
	    atomic_exchange(&q->growing, true))
		return;
	err = worker_start(w->session, q);
	if (!err)
		return;
	atomic_store(&q->growing, false);
	if (err != -ECANCELED)
		log_warn("io_uring: no further thread: queue=%u error=%s",
			 q->id, strerror(-err));
}

/* ---- the whole ---- */

static int make_queues(struct uring *u, size_t max_write)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	unsigned int count;
	int err = uring_cpus_possible(&count);

	if (err)
		return err;
	u->queues = calloc(count, sizeof(*u->queues));
	if (!u->queues)
		return -ENOMEM;
	u->queue_count = count;
	for (unsigned int i = 0; i < count; i++)
		u->queues[i].id = i;
	max_write = (max_write + page - 1) & ~(page - 1);
	u->payload_size = MAX(max_write, (size_t)PAYLOAD_MIN);
	return 0;
}

static void set_state(struct uring *u, enum uring_state state)
{
	mutex_lock(&u->lock);
	u->state = state;
	cond_broadcast(&u->changed);
	mutex_unlock(&u->lock);
}

int uring_prepare(struct mount_session *session, size_t max_write)
{
	struct uring *u = &session->uring;
	int err = make_queues(u, max_write);

	set_state(u, URING_PREPARING);
	for (unsigned int i = 0; !err && i < u->queue_count; i++)
		err = worker_start(session, &u->queues[i]);
	mutex_lock(&u->lock);
	while (u->starting)
		cond_wait(&u->changed, &u->lock);
	if (!err)
		err = u->failure;
	mutex_unlock(&u->lock);
	if (err)
		uring_stop(session);
	return err;
}

void uring_serve(struct mount_session *session, bool accepted)
{
	struct uring *u = &session->uring;

	if (!accepted) {
		uring_stop(session);
		return;
	}
	atomic_store_explicit(&u->in_use, true, memory_order_release);
	set_state(u, URING_SERVING);
}

static struct uring_worker *take_worker(struct uring *u)
{
	struct uring_worker *w;

	mutex_lock(&u->lock);
	w = u->workers;
	mutex_unlock(&u->lock);
	return w;
}

void uring_stop(struct mount_session *session)
{
	const uint64_t one = 1;
	struct uring *u = &session->uring;
	struct uring_worker *w;

	set_state(u, URING_ENDING);
	/* An eventfd takes eight bytes; there is no other failure. */
	if (write(u->stop_fd, &one, sizeof(one)) != sizeof(one))
		log_err("eventfd: %s", strerror(errno));
	/* Nobody starts threads any more; those that are there can be found
	 * by late answers until they have ended. */
	while ((w = take_worker(u))) {
		(void)pthread_join(w->thread, NULL);
		mutex_lock(&u->lock);
		for (struct uring_worker **p = &u->workers; *p; p = &(*p)->next)
			if (*p == w) {
				*p = w->next;
				break;
			}
		mutex_unlock(&u->lock);
		cond_done(&w->answered);
		free(w);
	}
	atomic_store(&u->in_use, false);
}
