/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/mount/ring.h"

#include <assert.h>
#include <errno.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
	SUBMISSIONS = 2, /* the command, and the watch of the eventfd */
	SUBMISSION_SIZE = 128,
	ENTER_SIGSET = 8, /* what the kernel wants to hear about no sigset */
};

enum user_data {
	USER_COMMAND = 1,
	USER_STOP,
};

static int enter(const struct ring *r, unsigned int submit, unsigned int wait)
{
	return (int)syscall(SYS_io_uring_enter, r->fd, submit, wait,
			    r->enter_flags, NULL, ENTER_SIGSET);
}

/* ---- making it ---- */

static void *map(const struct ring *r, size_t len, uint64_t offset)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_POPULATE, r->fd, (off_t)offset);

	return p == MAP_FAILED ? NULL : p;
}

static unsigned int *index_at(const struct ring *r, unsigned int offset)
{
	return (void *)((char *)r->queues + offset);
}

static int map_queues(struct ring *r, const struct io_uring_params *p)
{
	size_t sq_len = p->sq_off.array + p->sq_entries * sizeof(unsigned int);
	size_t cq_len =
		p->cq_off.cqes + p->cq_entries * sizeof(struct io_uring_cqe);

	r->queues_len = MAX(sq_len, cq_len);
	r->queues = map(r, r->queues_len, IORING_OFF_SQ_RING);
	r->entries_len = (size_t)p->sq_entries * SUBMISSION_SIZE;
	r->entries = map(r, r->entries_len, IORING_OFF_SQES);
	if (!r->queues || !r->entries)
		return -ENOMEM;
	r->sq_head = index_at(r, p->sq_off.head);
	r->sq_tail = index_at(r, p->sq_off.tail);
	r->sq_array = index_at(r, p->sq_off.array);
	r->sq_mask = *index_at(r, p->sq_off.ring_mask);
	r->cq_head = index_at(r, p->cq_off.head);
	r->cq_tail = index_at(r, p->cq_off.tail);
	r->cq_mask = *index_at(r, p->cq_off.ring_mask);
	r->completions = (void *)((char *)r->queues + p->cq_off.cqes);
	return 0;
}

/* The next free place of the submission queue. There always is one. */
static struct io_uring_sqe *next_entry(struct ring *r)
{
	unsigned int at = *r->sq_tail & r->sq_mask;
	struct io_uring_sqe *sqe =
		(void *)((char *)r->entries + (size_t)at * SUBMISSION_SIZE);

	assert(*r->sq_tail - __atomic_load_n(r->sq_head, __ATOMIC_ACQUIRE) <=
	       r->sq_mask);
	memset(sqe, 0, SUBMISSION_SIZE);
	r->sq_array[at] = at;
	return sqe;
}

static void push_entry(struct ring *r)
{
	__atomic_store_n(r->sq_tail, *r->sq_tail + 1, __ATOMIC_RELEASE);
}

static void watch(struct ring *r, int stop_fd)
{
	struct io_uring_sqe *sqe = next_entry(r);

	sqe->opcode = IORING_OP_POLL_ADD;
	sqe->fd = stop_fd;
	sqe->poll32_events = POLLIN;
	sqe->user_data = USER_STOP;
	push_entry(r);
}

int ring_open(struct ring *ring, int stop_fd)
{
	/* The kernel's part of a completion runs when this thread enters the
	 * kernel, or by another's hand if it was killed. Deferred until it
	 * waits (DEFER_TASKRUN), which is no faster here, it would not run at
	 * all then: requests that were on their way to the ring hang beyond
	 * the end of the connection. */
	struct io_uring_params p = {
		.flags = IORING_SETUP_SQE128 | IORING_SETUP_SINGLE_ISSUER |
			 IORING_SETUP_COOP_TASKRUN,
	};
	int err;

	*ring = (struct ring){.fd = -1};
	ring->fd = (int)syscall(SYS_io_uring_setup, SUBMISSIONS, &p);
	if (ring->fd < 0)
		return -errno;
	ring->enter_flags = IORING_ENTER_GETEVENTS;
	if (p.features & URING_FEAT_NO_IOWAIT)
		ring->enter_flags |= URING_ENTER_NO_IOWAIT;
	err = p.features & IORING_FEAT_SINGLE_MMAP ? map_queues(ring, &p)
						   : -EINVAL;
	if (err)
		ring_close(ring);
	else
		watch(ring, stop_fd);
	return err;
}

void ring_close(struct ring *ring)
{
	if (ring->entries)
		(void)munmap(ring->entries, ring->entries_len);
	if (ring->queues)
		(void)munmap(ring->queues, ring->queues_len);
	close_fd(&ring->fd);
	ring->entries = NULL;
	ring->queues = NULL;
}

/* ---- using it ---- */

void ring_command(struct ring *ring, int fd, uint32_t op,
		  const struct uring_command *command, const void *addr,
		  uint32_t len)
{
	struct io_uring_sqe *sqe = next_entry(ring);

	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = fd;
	sqe->cmd_op = op;
	sqe->addr = (uint64_t)(uintptr_t)addr;
	sqe->len = len;
	sqe->user_data = USER_COMMAND;
	memcpy(sqe->cmd, command, sizeof(*command));
	push_entry(ring);
}

/* Takes completions out. Return: true if the command's was there. */
static bool reap(struct ring *r, int *ret_result)
{
	while (*r->cq_head != __atomic_load_n(r->cq_tail, __ATOMIC_ACQUIRE)) {
		const struct io_uring_cqe done =
			r->completions[*r->cq_head & r->cq_mask];

		__atomic_store_n(r->cq_head, *r->cq_head + 1, __ATOMIC_RELEASE);
		if (done.user_data == USER_COMMAND) {
			*ret_result = done.res;
			return true;
		}
		r->stopped = true;
	}
	return false;
}

int ring_wait(struct ring *ring)
{
	unsigned int pending;
	int result;

	while (!reap(ring, &result)) {
		if (ring->stopped)
			return -ECANCELED;
		pending = *ring->sq_tail -
			  __atomic_load_n(ring->sq_head, __ATOMIC_ACQUIRE);
		/* A signal, or the freezer of a suspend; or the kernel is
		 * short of memory, and says so before anything is lost. */
		if (enter(ring, pending, 1) < 0 && errno != EINTR &&
		    errno != EAGAIN && errno != EBUSY)
			return -errno;
	}
	return result;
}
