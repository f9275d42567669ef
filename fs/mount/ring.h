/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring - an io_uring that one thread uses, for one command at a time.
 *
 * The thread puts a command in (ring_command()) and sleeps until it is
 * completed (ring_wait()); submitting and sleeping are one system call. A
 * second entry of the ring watches an eventfd(2), so that all threads can be
 * told to leave.
 *
 * Raw system calls: of a library for rings nothing would be used but its names
 * for these.
 *
 * Locks: none; everything is called by the thread that called ring_open().
 *
 * Ref: io_uring_setup(2), io_uring_enter(2)
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "fs/mount/uring_abi.h"

struct io_uring_cqe;

struct ring {
	int fd;
	void *queues; /* both queues' indices, and the completions */
	size_t queues_len;
	void *entries; /* of the submission queue, 128 bytes each */
	size_t entries_len;
	unsigned int enter_flags;
	bool stopped;

	/* Into the mapping. */
	unsigned int *sq_head, *sq_tail, *sq_array, sq_mask;
	unsigned int *cq_head, *cq_tail, cq_mask;
	struct io_uring_cqe *completions;
};

/**
 * ring_open - make a ring for the calling thread.
 * @stop_fd: once this is readable, ring_wait() returns -ECANCELED
 * Return: 0, -ENOSYS, -EPERM (rings are forbidden), -EINVAL (a kernel before
 * 6.1), -ENOMEM, -EMFILE
 */
MUST_CHECK int ring_open(struct ring *ring, int stop_fd);

/** ring_close - a command that is under way is given up. May be called for a
 * ring that ring_open() failed to make. */
void ring_close(struct ring *ring);

/**
 * ring_command - put a command in. None may be under way.
 * @fd:     the file that it is for
 * @op:     URING_CMD_*
 * @addr:   its argument, and @len: how many; live until it completes
 */
void ring_command(struct ring *ring, int fd, uint32_t op,
		  const struct uring_command *command, const void *addr,
		  uint32_t len);

/**
 * ring_wait - submit what was put in and sleep until it completes.
 * Return: its result; -ECANCELED: the threads were told to leave, and the
 * command has not completed
 */
MUST_CHECK int ring_wait(struct ring *ring);
