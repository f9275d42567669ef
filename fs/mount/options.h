/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Options, the side of them that faces the FUSE library.
 */
#pragma once

#include <fuse_opt.h>

#include "fs/mount/mount.h"

enum option_key {
	KEY_DROP,
	KEY_PASS,
	KEY_NOATIME,
	KEY_SHOWN,
	KEY_RO,
	KEY_RW,
	KEY_ALLOW_OTHER,
	KEY_ALLOW_ROOT,
	KEY_AUTO_UNMOUNT,
	KEY_DEBUG,
	KEY_CONTEXT,
	KEY_FSNAME,
	KEY_SUBTYPE,
	/* of mounting alone */
	KEY_DEGRADED,
	KEY_WAIT,
	/* what the daemon does while it serves */
	KEY_MIN_STORES,
	KEY_TIMEOUT,
	KEY_URING,
	KEY_LATENCY,
	KEY_READ,
	KEY_PREFER,
	KEY_CACHE,
	KEY_CHECKPOINT,
	KEY_BUDGET,
	KEY_RATE,
	KEY_ATTACH,
	KEY_NO_ATTACH,
	KEY_NAME,
};

/* In mount_options.given. */
#define OPTION_BIT(key) (UINT64_C(1) << (key))

/** mount_flag_apply - what @name, if it is a flag of mount(2), does to them. */
void mount_flag_apply(const char *name, unsigned long *flags);

/**
 * mount_options_args - the arguments of fuse_session_new().
 * @fsname:   unless the options name another
 * @ret_args: to be released with fuse_opt_free_args(), after a failure too
 * Return: 0, -ENOMEM
 */
MUST_CHECK int mount_options_args(const struct mount_options *options,
				  const char *fsname,
				  struct fuse_args *ret_args);
