/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Options, the side of them that faces the FUSE library.
 */
#pragma once

#include <fuse_opt.h>

#include "fs/mount/mount.h"

/**
 * mount_options_args - the arguments of fuse_session_new().
 * @fsname:   unless the options name another
 * @ret_args: to be released with fuse_opt_free_args(), after a failure too
 * Return: 0, -ENOMEM
 */
MUST_CHECK int mount_options_args(const struct mount_options *options,
				  const char *fsname,
				  struct fuse_args *ret_args);
