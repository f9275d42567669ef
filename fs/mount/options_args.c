/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From parsed options to the arguments of the FUSE library.
 *
 * Ref: fuse_session_new() in fuse_lowlevel.h
 */
#include "fs/mount/options.h"

#include <errno.h>
#include <fuse_lowlevel.h>
#include <stdio.h>
#include <unistd.h>

static int add_source(const struct mount_options *o, const char *fsname,
		      char **opts)
{
	_cleanup_free_ char *text = NULL;

	if (asprintf(&text, "fsname=%s", o->fsname ? o->fsname : fsname) < 0) {
		text = NULL;
		return -ENOMEM;
	}
	return fuse_opt_add_opt_escaped(opts, text) ? -ENOMEM : 0;
}

int mount_options_args(const struct mount_options *options, const char *fsname,
		       struct fuse_args *ret_args)
{
	_cleanup_free_ char *opts = NULL;
	int err = -ENOMEM;

	*ret_args = (struct fuse_args)FUSE_ARGS_INIT(0, NULL);
	/* As with any filesystem that root mounts; the library would forbid
	 * both. Where mount(8) lets users do it, it passes on nosuid,nodev. */
	if (!geteuid() && fuse_opt_add_opt(&opts, "suid,dev"))
		return err;
	if (fuse_opt_add_opt(&opts, "default_permissions") ||
	    fuse_opt_add_opt(&opts, "subtype=seqmirror") ||
	    (options->allow_other && fuse_opt_add_opt(&opts, "allow_other")) ||
	    (options->allow_root && fuse_opt_add_opt(&opts, "allow_root")) ||
	    (options->debug && fuse_opt_add_opt(&opts, "debug")) ||
	    fuse_opt_add_opt(&opts, options->read_only ? "ro" : "rw") ||
	    (options->passed && fuse_opt_add_opt(&opts, options->passed)))
		return err;
	err = add_source(options, fsname, &opts);
	if (err)
		return err;
	if (fuse_opt_add_arg(ret_args, "seqmirror") ||
	    fuse_opt_add_arg(ret_args, "-o") ||
	    fuse_opt_add_arg(ret_args, opts))
		return -ENOMEM;
	return 0;
}
