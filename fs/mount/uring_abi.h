/* SPDX-License-Identifier: Apache-2.0 */
/*
 * FUSE over io_uring and what it needs of io_uring, as the kernel lays them
 * out: the headers of the systems that we build on are older than Linux 6.14,
 * where they appeared. The names are ours, so that newer headers do no harm.
 *
 * Ref: Linux include/uapi/linux/fuse.h (protocol 7.42) "fuse_uring_req_header",
 * "fuse_uring_cmd_req"; fs/fuse/dev_uring.c; include/uapi/linux/io_uring.h;
 * Documentation/filesystems/fuse/fuse-io-uring.rst
 */
#pragma once

#include <stdint.h>

/* FUSE_OVER_IO_URING is bit 41 of the flags of INIT: of their second word. */
#define URING_INIT_FLAG2 (1U << (41 - 32))

enum {
	URING_CMD_REGISTER = 1,		/* here is an entry: fetch into it */
	URING_CMD_COMMIT_AND_FETCH = 2, /* its answer; and the next request */

	URING_HEADER_MAX = 128, /* of each of the two below */

	/* The kernel refuses entries that hold less. */
	URING_PAYLOAD_MIN = 8192,
};

/* Of an entry, in both directions. */
struct uring_header {
	char in_out[URING_HEADER_MAX]; /* fuse_in_header, fuse_out_header */
	char op_in[URING_HEADER_MAX];  /* the first argument, if any */

	uint64_t flags;
	uint64_t commit_id; /* to be given back with the answer */
	uint32_t payload_size;
	uint32_t padding;
	uint64_t reserved;
};

/* Lies in the command area of a long submission entry. */
struct uring_command {
	uint64_t flags;
	uint64_t commit_id; /* not for REGISTER */
	uint16_t queue;
	uint8_t padding[6];
};

_Static_assert(sizeof(struct uring_header) == 2 * URING_HEADER_MAX + 32,
	       "as the kernel has it");
_Static_assert(sizeof(struct uring_command) == 24, "as the kernel has it");

/* io_uring, Linux 6.15: do not count an idle wait as waiting for a disk. */
#define URING_FEAT_NO_IOWAIT  (1U << 17)
#define URING_ENTER_NO_IOWAIT (1U << 7)
