/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A session: one mount, from mount(2) to the last reply.
 *
 * Threads of a session: those that serve requests from /dev/fuse (the library's,
 * as many as requests wait, up to THREADS_MAX), those that serve requests by
 * io_uring (uring.c; the library's are then but two), one that tells the kernel
 * what is old (notify.c), and one that unmounts when asked to (unmount.c). The
 * kernel has at most BACKGROUND_MAX requests of readahead and writeback under
 * way, fewer than there are threads: what an application waits for finds one
 * even while all writeback waits for a store.
 *
 * Ref: fuse_lowlevel.h, fuse_common.h "Capability bits"
 */
#pragma once

#include <fuse_log.h>
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#include "fs/mirror/mirror.h"
#include "fs/mount/device.h"
#include "fs/mount/notify.h"
#include "fs/mount/relist.h"
#include "fs/mount/uring.h"

struct mount_session {
	/* Set at init, then read-only. */
	struct mirror *mirror;
	struct fuse_session *fuse;
	char *path; /* the mount point, absolute */
	dev_t dev;
	bool writeback; /* wanted */
	enum mount_choice uring_wanted;

	/* Set by the INIT request before any other, then read-only. */
	_Atomic bool by_ring; /* asked for at any time */
	bool zero_open;	      /* ENOSYS ends OPEN requests */
	bool zero_opendir;    /* and OPENDIR requests */
	bool killpriv;	      /* who writes says whether set-id bits must go */
	bool forgets_blocks;  /* with each close: writeback caching is on */

	struct device device;
	struct uring uring;
	struct notify notify;
	struct relist relist;

	/* unmount.c: both are eventfd(2), and never read. */
	int stop_fd;  /* somebody asked for the end */
	int ended_fd; /* no request is served any more */
	pthread_t stopper;
};

/** session_of - the session that a request belongs to. */
static inline struct mount_session *session_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

/** mirror_of - its volume. */
static inline struct mirror *mirror_of(fuse_req_t req)
{
	return session_of(req)->mirror;
}

/** session_library_log - the library's own messages, as lines of our log. */
void session_library_log(enum fuse_log_level level, const char *fmt, va_list ap)
	__attribute__((__format__(__printf__, 2, 0)));

/** session_find_path - the mount point, absolute, to be freed; a directory. */
MUST_CHECK int session_find_path(const char *mountpoint, char **ret_path);

/** session_set_flags - of mount(2), those that the library does not know. */
MUST_CHECK int session_set_flags(const char *path, unsigned long flags);

/** session_thread_start - a thread that no signal of the process reaches. */
MUST_CHECK int session_thread_start(pthread_t *ret_thread, void *(*fn)(void *),
				    void *arg);
