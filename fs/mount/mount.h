/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mount - the kernel's side of a volume: FUSE requests in, mirror calls out.
 *
 * Each request is decoded here and is one call of fs/mirror; nothing about
 * stores, numbers or maps is known to this folder, and nothing about FUSE to
 * any other. The order of calls:
 *
 *	mount_options_init(&options);
 *	mount_options_parse(&options, "noatime,min_stores=2", why, sizeof why);
 *	mount_session_new(mirror, &options, "/mnt", "/a:/b", &session);
 *	... daemonise: no thread runs yet ...
 *	mount_session_serve(session);	// until unmounted
 *	mount_session_free(session);
 *	mirror_close(mirror);
 *
 * The mount point is attached when mount_session_new() returns; whoever looks
 * at it then waits until mount_session_serve() answers. That one returns when
 * the filesystem was unmounted from outside (umount(8), fusermount3(1)), when
 * mount_session_stop() was called, or when the connection was broken off. All
 * requests have been answered by then and no call of the mirror runs.
 *
 * Caching. All access goes through the mount, so the kernel may keep names,
 * attributes and pages for as long as it likes. What changes below the kernel
 * is told to it: mirror_on_invalidate() is taken by the session.
 *
 * Errors: 0 or -errno. Locks: none are held or taken.
 *
 * Ref: fuse(4), mount.fuse3(8), docs/design.md
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "fs/mirror/mirror.h"

/* ---- options ---- */

enum {
	MOUNT_WHY_MAX = 256, /* of the sentence that says what was wrong */
	MOUNT_NAME_MAX = 64,
};

enum mount_choice {
	MOUNT_AUTO, /* where it can be had */
	MOUNT_ON,   /* or refuse to mount */
	MOUNT_OFF,
};

struct mount_options {
	/* For mirror_open(). prefer_slot is -1: see prefer below. */
	struct mirror_options mirror;

	/* For whoever brings the volume up. */
	bool degraded;		/* mount although a member that was online at a
				 crash is missing */
	unsigned int wait_s;	/* for late disks; 0: not at all */
	bool auto_attach;	/* resync members when they come back */
	unsigned int timeout_s; /* put a hanging store out; 0: never */
	uint64_t resync_rate;	/* bytes per second; 0: no limit */
	char prefer[MOUNT_NAME_MAX]; /* store to read from; "": balance */
	char name[MOUNT_NAME_MAX];   /* what people call this mount, or "" */

	/* For the session. */
	enum mount_choice uring;
	enum mount_choice low_latency; /* idle processors poll */
	bool writeback;		       /* the kernel gathers small writes */
	bool read_only;
	bool allow_other; /* users other than the one who mounts */
	bool allow_root;
	bool debug;   /* every request to the log of the library */
	char *fsname; /* what mount(8) shows as the source; may be NULL */
	char *passed; /* flags for mount(2), comma separated; may be NULL */
	bool auto_unmount;

	/* For mount_remount(). */
	bool remount;	     /* change flags of what is mounted, no more */
	unsigned long flags; /* MS_... of mount(2) that were named */
	uint64_t given;	     /* which options were: OPTION_BIT() */
};

/** mount_options_init - the defaults; allow_other for root. */
void mount_options_init(struct mount_options *options);

/** mount_options_done - release what parsing allocated. */
void mount_options_done(struct mount_options *options);

/**
 * mount_options_parse - read what stood behind one -o.
 * @text:    "a,b=c"; a backslash protects a comma; "" is nothing
 * @ret_why: set on failure only: which option, and what is wrong with it
 *
 * May be called several times: later options win. Options that are meant for
 * mount(8) and fstab(5) alone (defaults, nofail, user, x-*, ...) are dropped.
 * Return: 0, -EINVAL (unknown, or a bad value), -ENOMEM
 * Ref: mount(8) "FILESYSTEM-INDEPENDENT MOUNT OPTIONS", fstab(5)
 */
MUST_CHECK int mount_options_parse(struct mount_options *options,
				   const char *text,
				   char ret_why[static MOUNT_WHY_MAX]);

/**
 * mount_options_text - what a remount cannot change, as one text that
 * mount_options_parse() reads.
 * Return: 0, -ENOMEM
 */
MUST_CHECK int mount_options_text(const struct mount_options *options,
				  char **ret_text);

/**
 * mount_options_differ - the first option named in @options that the mount
 * has not: it cannot be changed in place.
 * @text:   mount_options_text() of the mount; NULL: not known
 * @source: what mount(8) shows as the source of it
 *
 * Of what is not known, whatever was named differs. What is about mounting
 * alone (degraded, wait=) does not.
 * Return: 0 with "name" or, if all are as they were, NULL in @ret_name; -ENOMEM,
 * -EINVAL (@text)
 */
MUST_CHECK int mount_options_differ(const struct mount_options *options,
				    const char *text, const char *source,
				    const char **ret_name);

/* ---- session ---- */

struct mount_session;

/**
 * mount_uring_missing - why requests cannot come by io_uring here.
 * Return: NULL if they can, else what there is to be said about it
 */
const char *mount_uring_missing(void);

/** mount_latency_missing - likewise, why idle processors cannot be made poll. */
const char *mount_latency_missing(void);

/**
 * mount_session_try - would mount_session_new() be refused?
 *
 * To be asked before anything is changed for the sake of the mount. Mounts, and
 * unmounts at once: root where nobody sees it, a user at the mount point, for
 * which reason only if it @matters.
 * Return: as mount_session_new(), and what there is to be said was logged
 */
MUST_CHECK int mount_session_try(const struct mount_options *options,
				 const char *mountpoint, const char *fsname,
				 bool matters);

/**
 * mount_session_new - mount.
 * @mirror:     outlives the session
 * @options:    copied where needed
 * @mountpoint: an existing directory
 * @fsname:     shown as the source unless the options name another
 *
 * Starts no thread. What the library or the kernel has to say about a failure
 * was logged.
 * Return: 0, -ENOENT, -ENOTDIR, -EACCES and the like (of the mount point),
 * -ENODEV (no /dev/fuse), -EPERM, -EOPNOTSUPP (io_uring=on, and
 * mount_uring_missing() says why not; the same of low_latency=on), -ENOMEM, -EIO
 */
MUST_CHECK int mount_session_new(struct mirror *mirror,
				 const struct mount_options *options,
				 const char *mountpoint, const char *fsname,
				 struct mount_session **ret_session);

/**
 * mount_session_serve - answer requests until unmounted.
 *
 * Called once. Makes its own threads, which block all signals that a process
 * is told to end with.
 * Return: 0 after an unmount of any kind, -errno when serving broke down (the
 * mount point is detached all the same)
 */
MUST_CHECK int mount_session_serve(struct mount_session *session);

/**
 * mount_session_stop - ask for an unmount in good order; returns at once.
 *
 * The kernel's dirty pages are written first. A filesystem that is in use is
 * detached nevertheless and its users get ENOTCONN: this is what SIGTERM means.
 * (Without the right to cut them off, they are served until they are done.)
 * Async-signal-safe; any number of calls from any thread, also before
 * mount_session_serve().
 */
void mount_session_stop(struct mount_session *session);

/** mount_session_free - detach if still attached, and release. NULL is fine.
 * Nothing may use the session any more: no signal handler stops it, and no
 * thread of the mirror (a resync, say) has something to invalidate. */
void mount_session_free(struct mount_session *session);

/**
 * mount_session_dev - st_dev of everything inside the mount.
 *
 * Known without asking the filesystem, hence safe also when it hangs.
 */
dev_t mount_session_dev(const struct mount_session *session);

/** mount_session_fd - of the connection; poll(2) says POLLERR when it is cut. */
int mount_session_fd(const struct mount_session *session);

/** mount_session_transport - how requests come: "io_uring" or "/dev/fuse". */
const char *mount_session_transport(const struct mount_session *session);

/** mount_session_path - the mount point, absolute and without symlinks. */
const char *mount_session_path(const struct mount_session *session);

/**
 * mount_session_requests - how many requests of one kind came so far.
 * @opcode: enum fuse_opcode of linux/fuse.h; others count as 0
 */
uint64_t mount_session_requests(const struct mount_session *session,
				unsigned int opcode);
