/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A mount on trial: the library, the kernel and fusermount3(1) have rules of
 * their own (for whom allow_other is, which contexts there are), and only they
 * can tell them.  Nobody answers requests meanwhile; what is asked in that
 * moment gets an error.
 */
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "fs/mount/mount.h"
#include "fs/mount/options.h"
#include "fs/mount/session.h"

struct trial {
	const struct mount_options *options;
	const char *fsname;
	char *path;
	bool attach; /* also to the mount point */
	int err;
};

static void trial_run(struct trial *t)
{
	static const struct fuse_lowlevel_ops no_ops = {0};
	struct fuse_session *fuse = NULL;
	struct fuse_args args;
	bool mounted = false;

	t->err = mount_options_args(t->options, t->fsname, &args);
	if (!t->err) {
		fuse_set_log_func(session_library_log);
		fuse = fuse_session_new(&args, &no_ops, sizeof(no_ops), NULL);
		t->err = fuse ? 0 : -EINVAL;
	}
	if (!t->err && t->attach) {
		errno = 0;
		if (fuse_session_mount(fuse, t->path))
			t->err = errno ? -errno : -EIO;
		mounted = !t->err;
	}
	if (mounted) {
		t->err = session_set_flags(t->path, t->options->flags);
		fuse_session_unmount(fuse);
	}
	if (fuse)
		fuse_session_destroy(fuse);
	fuse_opt_free_args(&args);
}

/*
 * In a mount namespace of this thread's own, which ends with it.  What is
 * unmounted outside is here too.  Who may not have one gets no trial mount.
 */
static void *trial_thread(void *arg)
{
	struct trial *t = arg;

	t->attach = unshare(CLONE_NEWNS) == 0 &&
		    mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) == 0;
	trial_run(t);
	return NULL;
}

static int trial_apart(struct trial *t)
{
	pthread_t thread;
	int err = session_thread_start(&thread, trial_thread, t);

	if (err)
		return err;
	(void)pthread_join(thread, NULL);
	return t->err;
}

/* Of a mount whose daemon is gone the kernel may still know the attributes, and let
 * another be put over it; that one taken away, it would be there again. */
static int mountpoint_check(const char *path)
{
	struct statx st;

	if (statx(AT_FDCWD, path, AT_STATX_FORCE_SYNC, STATX_TYPE, &st) < 0 &&
	    errno == ENOTCONN)
		return -ENOTCONN;
	return 0;
}

int mount_session_try(const struct mount_options *options,
		      const char *mountpoint, const char *fsname, bool matters)
{
	struct trial t = {.options = options, .fsname = fsname};
	int err = session_find_path(mountpoint, &t.path);

	if (!err)
		err = mountpoint_check(t.path);
	if (!err && options->uring == MOUNT_ON && mount_uring_missing())
		err = -EOPNOTSUPP;
	if (!err && options->low_latency == MOUNT_ON && mount_latency_missing())
		err = -EOPNOTSUPP;
	if (err)
		goto out;
	/* auto_unmount leaves a process behind that waits for the end of this
	 * one: the library's opinion must do. */
	t.attach = !options->auto_unmount && (matters || geteuid() == 0);
	if (t.attach && geteuid() == 0) {
		err = trial_apart(&t);
	} else {
		trial_run(&t);
		err = t.err;
	}
out:
	free(t.path);
	return err;
}
