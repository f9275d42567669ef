/* SPDX-License-Identifier: Apache-2.0 */
/*
 * device - reads requests from /dev/fuse and writes the answers, in place of
 * the library's own two calls.
 *
 * Why. Some of what is to be agreed with the kernel has no name in the library,
 * and some of what a request says is not handed on by it. Both are plain fields
 * of the messages, and fuse_session_custom_io() lets us see the messages.
 *
 * FUSE_HANDLE_KILLPRIV_V2 moves the clearing of set-id bits from the
 * kernel, which asks for security.capability before each write to find out
 * whether it has something to clear, to the filesystem, which is told with the
 * write. Libraries before 3.17 have no name for that flag, and none hands the
 * bit of a WRITE or SETATTR on to the operation:
 *
 *  - The INIT request says whether the kernel knows the flag; if the session
 *    wants it (device_want_killpriv()), it is set in the INIT reply.
 *  - Of every other request, the thread that read it remembers what it says
 *    about set-id bits. The library handles a request on the thread that read
 *    it, so the operation finds it there.
 *
 * FUSE_OVER_IO_URING is agreed upon in the same way. Answers to what came by
 * ring are then put there instead of being written (uring.h).
 *
 * It also counts requests by kind, which costs nothing beside a system call.
 *
 * Ref: linux/fuse.h (7.33), fuse(4)
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "fs/mount/latency.h"
#include "fs/mount/turn.h"

struct mount_session;

enum {
	DEVICE_OPCODES = 64, /* those of today end at 53 */
};

struct device {
	struct turn turn;
	struct latency latency;
	_Atomic uint64_t requests[DEVICE_OPCODES];

	/* Of the INIT request: it is alone, its reply lets the others in. */
	uint64_t init_unique;
	bool killpriv_offered;
	bool killpriv_wanted;
	bool uring_offered;
	bool uring_wanted;
	atomic_bool init_pending; /* read, and not answered yet */
};

/**
 * device_attach - serve the session's descriptor through this file. After the
 * mount, before the first request.
 */
MUST_CHECK int device_attach(struct mount_session *session);

/**
 * device_want_killpriv - to be called while INIT is handled.
 * Return: true if the kernel offers FUSE_HANDLE_KILLPRIV_V2; the reply then
 * accepts it.
 */
bool device_want_killpriv(struct device *device);

/** device_offers_uring - likewise: whether requests can come by io_uring. */
bool device_offers_uring(const struct device *device);

/** device_want_uring - the reply accepts it; uring_serve() is called once that
 * is sent. After device_offers_uring() and uring_prepare(). */
void device_want_uring(struct device *device);

/**
 * device_see - a request has come; for device_request_kills() on this thread.
 * @message: from its struct fuse_in_header on
 */
void device_see(struct device *device, const void *message, size_t size);

/**
 * device_request_kills - whether the request at hand says that its caller may
 * not keep set-id bits.
 * @opcode:  FUSE_WRITE or FUSE_SETATTR: what the calling operation is for
 * @uid:     the caller, should the request have come another way
 */
bool device_request_kills(uint32_t opcode, uint32_t uid);
