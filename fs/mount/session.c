/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/mount/session.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse_log.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "fs/mount/mount.h"
#include "fs/mount/ops.h"
#include "fs/mount/options.h"
#include "fs/mount/unmount.h"

enum {
	THREADS_MAX = 64,
	BACKGROUND_MAX = 48,
};

/* What the kernel is asked for, as far as it offers it. */
#define WANTED                                                                \
	(FUSE_CAP_ASYNC_READ | FUSE_CAP_ASYNC_DIO | FUSE_CAP_EXPORT_SUPPORT | \
	 FUSE_CAP_DONT_MASK | FUSE_CAP_POSIX_ACL | FUSE_CAP_PARALLEL_DIROPS | \
	 FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO |                   \
	 FUSE_CAP_CACHE_SYMLINKS)

/*
 * What it is not to do, though the library would ask for some of it:
 *  - ATOMIC_O_TRUNC: with OPEN refused, nobody would hear of the truncation;
 *  - AUTO_INVAL_DATA: nothing changes behind the kernel's back untold;
 *  - HANDLE_KILLPRIV: set-id bits by WRITE alone, without knowing for whom;
 *    its second version is device.h's. With neither, the kernel clears them;
 *  - SPLICE: a copy less, two system calls more, and not to be looked into;
 *  - remote locks: all users are on this machine, the kernel's own serve;
 *  - IOCTL_DIR: all ioctls are refused.
 */
#define UNWANTED                                                               \
	(FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_AUTO_INVAL_DATA |                  \
	 FUSE_CAP_EXPLICIT_INVAL_DATA | FUSE_CAP_HANDLE_KILLPRIV |             \
	 FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE | \
	 FUSE_CAP_POSIX_LOCKS | FUSE_CAP_FLOCK_LOCKS | FUSE_CAP_IOCTL_DIR |    \
	 FUSE_CAP_WRITEBACK_CACHE)

/* By ring where it is wanted and goes. */
static void init_transport(struct mount_session *s, struct fuse_conn_info *conn)
{
	const char *missing = "not wanted";
	bool by_ring = false;
	int err;

	if (s->uring_wanted != MOUNT_OFF)
		missing = mount_uring_missing();
	if (!missing && !device_offers_uring(&s->device))
		missing = "not offered by the kernel";
	if (!missing) {
		err = uring_prepare(s, conn->max_write);
		by_ring = !err;
		missing = err ? strerror(-err) : NULL;
	}
	conn->max_background = by_ring ? URING_BACKGROUND_MAX : BACKGROUND_MAX;
	conn->congestion_threshold = conn->max_background * 3 / 4;
	atomic_store(&s->by_ring, by_ring);
	if (by_ring) {
		device_want_uring(&s->device);
		log_info("requests come by io_uring: queues=%u",
			 s->uring.queue_count);
	} else if (s->uring_wanted == MOUNT_ON) {
		log_err("io_uring=on: %s", missing);
		mount_session_stop(s);
	} else {
		log_info("requests come by /dev/fuse: io_uring: %s", missing);
	}
}

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	struct mount_session *s = userdata;

	conn->want &= ~(unsigned int)UNWANTED;
	conn->want |= WANTED & conn->capable;
	if (s->writeback)
		conn->want |= FUSE_CAP_WRITEBACK_CACHE & conn->capable;
	s->forgets_blocks = conn->want & FUSE_CAP_WRITEBACK_CACHE;
	mirror_set_kernel_times(s->mirror, s->forgets_blocks);
	init_transport(s, conn);
	conn->time_gran = 1;
	s->zero_open = conn->capable & FUSE_CAP_NO_OPEN_SUPPORT;
	s->zero_opendir = conn->capable & FUSE_CAP_NO_OPENDIR_SUPPORT;
	s->killpriv = device_want_killpriv(&s->device);
	log_debug("connected: protocol=%u.%u max_write=%u readahead=%u "
		  "want=%#x killpriv=%d",
		  conn->proto_major, conn->proto_minor, conn->max_write,
		  conn->max_readahead, conn->want, s->killpriv);
}

static const struct fuse_lowlevel_ops ops = {
	.init = op_init,
	.lookup = op_lookup,
	.forget = op_forget,
	.forget_multi = op_forget_multi,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.readlink = op_readlink,
	.mknod = op_mknod,
	.mkdir = op_mkdir,
	.unlink = op_unlink,
	.rmdir = op_rmdir,
	.symlink = op_symlink,
	.rename = op_rename,
	.link = op_link,
	.open = op_open,
	.read = op_read,
	.write = op_write,
	.flush = op_flush,
	.release = op_release,
	.fsync = op_fsync,
	.fallocate = op_fallocate,
	.lseek = op_lseek,
	.opendir = op_opendir,
	.readdir = op_readdir,
	.readdirplus = op_readdirplus,
	.releasedir = op_releasedir,
	.fsyncdir = op_fsync,
	.statfs = op_statfs,
	.ioctl = op_ioctl,
	.setxattr = op_setxattr,
	.getxattr = op_getxattr,
	.listxattr = op_listxattr,
	.removexattr = op_removexattr,
};

void session_library_log(enum fuse_log_level level, const char *fmt, va_list ap)
{
	char text[512];
	size_t len;

	(void)vsnprintf(text, sizeof(text), fmt, ap);
	len = strlen(text);
	while (len && text[len - 1] == '\n')
		text[--len] = '\0';
	if (level <= FUSE_LOG_ERR)
		log_err("%s", text);
	else if (level <= FUSE_LOG_WARNING)
		log_warn("%s", text);
	else
		log_info("%s", text);
}

int session_thread_start(pthread_t *ret_thread, void *(*fn)(void *), void *arg)
{
	sigset_t all, old;
	int err;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(ret_thread, NULL, fn, arg);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -err;
}

/* The library would mount over a plain file as well. */
int session_find_path(const char *mountpoint, char **ret_path)
{
	_cleanup_free_ char *path = realpath(mountpoint, NULL);
	struct stat st;

	if (!path || stat(path, &st))
		return -errno;
	if (!S_ISDIR(st.st_mode))
		return -ENOTDIR;
	*ret_path = steal_pointer(&path);
	return 0;
}

/* What the library does not know. Asks the daemon, who is not up, nothing. */
int session_set_flags(const char *path, unsigned long flags)
{
	struct mount_attr attr = {.attr_set = MOUNT_ATTR_NOSYMFOLLOW};

	if (!(flags & MS_NOSYMFOLLOW))
		return 0;
	if (mount_setattr(AT_FDCWD, path, 0, &attr, sizeof(attr)) == 0)
		return 0;
	log_err("nosymfollow cannot be set here: error=%s", strerror(errno));
	return -errno;
}

static int session_mount(struct mount_session *s,
			 const struct mount_options *options,
			 const char *fsname)
{
	struct fuse_args args;
	int err;

	err = mount_options_args(options, fsname, &args);
	if (err)
		goto out;
	fuse_set_log_func(session_library_log);
	s->fuse = fuse_session_new(&args, &ops, sizeof(ops), s);
	if (!s->fuse) {
		err = -EINVAL;
		goto out;
	}
	errno = 0;
	if (fuse_session_mount(s->fuse, s->path)) {
		err = errno ? -errno : -EIO;
		goto out;
	}
	err = session_set_flags(s->path, options->flags);
	if (!err)
		err = device_attach(s);
	if (!err)
		err = unmount_find_dev(s->path, &s->dev);
out:
	fuse_opt_free_args(&args);
	return err;
}

int mount_session_new(struct mirror *mirror,
		      const struct mount_options *options,
		      const char *mountpoint, const char *fsname,
		      struct mount_session **ret_session)
{
	struct mount_session *s = calloc(1, sizeof(*s));
	int err;

	if (!s)
		return -ENOMEM;
	s->mirror = mirror;
	s->writeback = options->writeback;
	s->uring_wanted = options->uring;
	notify_init(&s->notify);
	relist_init(&s->relist);
	turn_init(&s->device.turn);
	latency_init(&s->device.latency);
	s->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	err = uring_init(&s->uring);
	if (!err && (s->stop_fd < 0 || s->ended_fd < 0))
		err = -EMFILE;
	if (!err && s->uring_wanted == MOUNT_ON && mount_uring_missing())
		err = -EOPNOTSUPP;
	if (!err && options->low_latency == MOUNT_ON && mount_latency_missing())
		err = -EOPNOTSUPP;
	latency_open(&s->device.latency, options->low_latency);
	if (!err)
		err = session_find_path(mountpoint, &s->path);
	if (!err)
		err = session_mount(s, options, fsname);
	if (err) {
		mount_session_free(s);
		return err;
	}
	mirror_on_invalidate(mirror, notify_invalidate, s);
	*ret_session = s;
	return 0;
}

static int serve_requests(struct mount_session *s)
{
	struct fuse_loop_config *config = fuse_loop_cfg_create();
	int err;

	if (!config)
		return -ENOMEM;
	fuse_loop_cfg_set_max_threads(config, THREADS_MAX);
	/*
	 * libfuse cancels its threads at the end, for which glibc loads this
	 * and aborts where it cannot: then there may be no descriptor left.
	 */
	(void)dlopen("libgcc_s.so.1", RTLD_NOW);
	err = fuse_session_loop_mt(s->fuse, config);
	fuse_loop_cfg_destroy(config);
	/* Positive values would be signals, whose handlers we do not use. */
	return MIN(err, 0);
}

static void log_requests(const struct mount_session *s)
{
	for (unsigned int i = 0; i < DEVICE_OPCODES; i++) {
		uint64_t count = mount_session_requests(s, i);

		if (count)
			log_debug("requests: opcode=%u count=%llu", i,
				  (unsigned long long)count);
	}
}

int mount_session_serve(struct mount_session *session)
{
	int err;

	err = notify_start(session);
	if (err)
		return err;
	err = latency_start(&session->device.latency);
	if (!err)
		err = unmount_start(session);
	if (err) {
		latency_stop(&session->device.latency);
		notify_stop(session);
		return err;
	}
	err = serve_requests(session);
	if (err)
		log_err("serving ended: mount=%s error=%s", session->path,
			strerror(-err));
	unmount_finish(session);
	/* In this order: the notifier answers some of their requests. */
	uring_stop(session);
	latency_stop(&session->device.latency);
	notify_stop(session);
	if (log_enabled(LOG_LEVEL_DEBUG))
		log_requests(session);
	return err;
}

void mount_session_stop(struct mount_session *session)
{
	const uint64_t one = 1;
	int saved_errno = errno;

	/* Fails when it was asked for 2^64 times before, which is enough. */
	ignore_result(write(session->stop_fd, &one, sizeof(one)));
	errno = saved_errno;
}

void mount_session_free(struct mount_session *session)
{
	if (!session)
		return;
	if (session->fuse) {
		mirror_on_invalidate(session->mirror, NULL, NULL);
		/* Does nothing to a mount that is gone, or never was. */
		fuse_session_unmount(session->fuse);
	}
	notify_done(&session->notify);
	relist_done(&session->relist);
	turn_done(&session->device.turn);
	latency_done(&session->device.latency);
	uring_done(&session->uring);
	if (session->fuse)
		fuse_session_destroy(session->fuse);
	close_fd(&session->stop_fd);
	close_fd(&session->ended_fd);
	free(session->path);
	free(session);
}

dev_t mount_session_dev(const struct mount_session *session)
{
	return session->dev;
}

int mount_session_fd(const struct mount_session *session)
{
	return fuse_session_fd(session->fuse);
}

const char *mount_session_transport(const struct mount_session *session)
{
	return atomic_load(&session->by_ring) ? "io_uring" : "/dev/fuse";
}

const char *mount_session_path(const struct mount_session *session)
{
	return session->path;
}

uint64_t mount_session_requests(const struct mount_session *session,
				unsigned int opcode)
{
	if (opcode >= DEVICE_OPCODES)
		return 0;
	return atomic_load_explicit(&session->device.requests[opcode],
				    memory_order_relaxed);
}
