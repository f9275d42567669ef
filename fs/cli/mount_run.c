/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Up: assemble, open, mount, engine, control socket. Down: the same
 * backwards. Every step knows the ones before it, so that what failed half
 * way is taken down by the same code as what was unmounted.
 */
#include "fs/cli/mount_run.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/fault.h"
#include "base/guard.h"
#include "base/log.h"
#include "base/text.h"
#include "fs/cli/cli.h"
#include "fs/cli/control.h"
#include "fs/cli/daemon.h"
#include "fs/cli/ending.h"
#include "fs/cli/ui.h"
#include "fs/cli/waits.h"
#include "resync/reach.h"

struct volume {
	struct resync_assembly *assembly;
	struct mirror *mirror;
	struct mount_session *session;
	struct resync_engine *engine;
	struct scrub *scrub;
	struct control *control;
	uint64_t timeout_ms;
	char *options; /* as told to a remount */
};

/* For the signal handler: set while the session lives. */
static struct mount_session *_Atomic signalled;

static void on_end(int number)
{
	struct mount_session *session = signalled;

	(void)number;
	if (session)
		mount_session_stop(session);
}

/* Held back until there is something to stop; threads that are started
 * before that never see them. */
static void signals_prepare(bool block)
{
	const int ends[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT};
	struct sigaction action = {.sa_handler = on_end};
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigfillset(&action.sa_mask);
	for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
		(void)sigaddset(&set, ends[i]);
		(void)sigaction(ends[i], &action, NULL);
	}
	action.sa_handler = SIG_IGN;
	(void)sigaction(SIGPIPE, &action, NULL);
	(void)sigaction(SIGXFSZ, &action, NULL); /* EFBIG says it */
	(void)pthread_sigmask(block ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL);
}

/* One of them is held back: whoever asked for the mount gave up. */
static bool is_given_up(void)
{
	sigset_t set;

	return !sigpending(&set) &&
	       (sigismember(&set, SIGTERM) || sigismember(&set, SIGINT) ||
		sigismember(&set, SIGHUP) || sigismember(&set, SIGQUIT));
}

static void limit_raise(int resource)
{
	struct rlimit limit;

	if (getrlimit(resource, &limit) == 0 &&
	    limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(resource, &limit);
	}
}

/*
 * Every node in use costs a descriptor on each store. How large files may be is
 * a matter of whoever writes them, which the kernel has seen to, and no matter
 * of the shell that mounts.
 */
static void limits_raise(void)
{
	const struct rlimit none = {RLIM_INFINITY, RLIM_INFINITY};

	limit_raise(RLIMIT_NOFILE);
	if (setrlimit(RLIMIT_FSIZE, &none)) /* needs CAP_SYS_RESOURCE */
		limit_raise(RLIMIT_FSIZE);
}

/* ---- up ---- */

static void tell_assembly(const struct resync_assembly *a,
			  unsigned int min_stores)
{
	unsigned int online = 0;
	char size[SIZE_TEXT_MAX];

	if (a->recovered_bytes)
		ui_warn("a crash or a failing disk left something in doubt: %s "
			"checked again",
			size_format(size, a->recovered_bytes));
	for (size_t i = 0; i < a->count; i++) {
		const struct meta_member *row = &a->members[i].row;

		online += a->members[i].in_step;
		if (a->late_store[i])
			ui_warn("%s is stale and will be resynced", row->name);
		else if (a->unclean_copy[i])
			ui_warn("%s is a copy of a store that was in use, or "
				"was not left cleanly: all of it will be "
				"compared",
				row->name);
		else if (reach_is_stuck(row->path_hint))
			ui_warn("%s does not answer (last at %s): mounted "
				"without it",
				row->name, row->path_hint);
		else if (row->state == META_STORE_GIVEN_UP)
			ui_warn("%s stays out until it is attached: its "
				"resync was given up, it may be no complete "
				"copy",
				row->name);
		else if (!a->members[i].in_step &&
			 row->state != META_STORE_DETACHED)
			ui_warn("%s is missing (last at %s): mounted without "
				"it",
				row->name, row->path_hint);
	}
	if (online < min_stores)
		ui_warn("%u of min_stores=%u stores are online: read-only",
			online, min_stores);
}

/* read=prefer=, by the names that the members have. */
static int find_prefer(const struct resync_found *found,
		       struct mount_options *options)
{
	if (!*options->prefer)
		return 0;
	for (size_t i = 0; i < found->count; i++) {
		if (strcmp(found->rows[i].name, options->prefer) != 0)
			continue;
		options->mirror.prefer_slot = (int)i;
		return 0;
	}
	ui_error("mount", "read=prefer=%s: no such store", options->prefer);
	return -EINVAL;
}

static int tell_refused(const struct mount_request *r, int err)
{
	const struct mount_options *o = &r->options;
	char word[4 * PATH_MAX];
	const char *missing;

	if (err == -EOPNOTSUPP && o->uring == MOUNT_ON &&
	    (missing = mount_uring_missing()))
		ui_error("io_uring=on", "%s", missing);
	else if (err == -EOPNOTSUPP && o->low_latency == MOUNT_ON &&
		 (missing = mount_latency_missing()))
		ui_error("low_latency=on", "%s", missing);
	else if (err == -ENOTCONN)
		ui_error(r->mountpoint,
			 "the daemon of what is mounted here is gone: "
			 "`seqmirror unmount %s` clears that away",
			 shell_word(word, sizeof(word), r->mountpoint,
				    "MOUNTPOINT"));
	else
		ui_error(r->mountpoint, "cannot be mounted: %s", ui_why(err));
	return err;
}

struct asked {
	struct mount_request *r;
	bool told;
};

/* Whatever can be refused is refused here: a recovery changes stores, and what
 * only it could have told of them is gone then; a copy gets its hard links again.
 * Where neither follows, a mount that the kernel refuses changes times of maps. */
static int may_mount(void *arg, const struct resync_found *found)
{
	struct asked *asked = arg;
	struct mount_request *r = asked->r;
	int err = mount_request_check_found(r, found);

	if (!err)
		err = find_prefer(found, &r->options);
	if (!err) {
		err = mount_session_try(&r->options, r->mountpoint, r->fsname,
					found->changes);
		if (err)
			(void)tell_refused(r, err);
	}
	asked->told = err;
	return err;
}

static int assemble(struct volume *v, struct mount_request *r)
{
	struct resync_assembly *a = calloc(1, sizeof(*a));
	struct asked asked = {.r = r};
	const struct resync_question question = {may_mount, &asked};
	int err;

	v->assembly = a;
	if (!a)
		return -ENOMEM;
	err = r->options.wait_s ? mount_wait(r, is_given_up) : 0;
	if (err) {
		ui_error("mount", "%s", ui_why(err));
		return err;
	}
	if (is_given_up()) {
		ui_error("mount", "given up while it waited for stores: "
				  "nothing is mounted");
		return -ECANCELED;
	}
	/* Which one, only the assembly knows: it finds some by itself. */
	waits_for("a store of the volume");
	err = resync_assemble_asking((const char *const *)r->stores.data,
				     r->stores.count, r->options.degraded,
				     &question, a);
	waits_end();
	if (err) {
		if (!asked.told)
			ui_error("mount", "%s", *a->why ? a->why : ui_why(err));
		a->count = 0;
		return err;
	}
	if (is_given_up()) {
		ui_error("mount", "given up: nothing is mounted");
		return -ECANCELED;
	}
	tell_assembly(a, r->options.mirror.min_stores);
	return 0;
}

static int open_mirror(struct volume *v, struct mount_request *r)
{
	struct resync_assembly *a = v->assembly;
	int err;

	err = mirror_open(a->members, a->count, a->lead, &r->options.mirror,
			  &v->mirror);
	if (err) {
		ui_error("mount", "the volume cannot be opened: %s",
			 ui_why(err));
		return err;
	}
	/* The mirror's from now on. */
	for (size_t i = 0; i < a->count; i++) {
		a->members[i].store = NULL;
		a->members[i].meta = NULL;
	}
	return 0;
}

static int start_engine(struct volume *v, const struct mount_options *options)
{
	struct resync_engine_options engine_options = {
		.bytes_per_second = options->resync_rate,
	};
	struct resync_assembly *a = v->assembly;
	int err = resync_engine_start(v->mirror, &engine_options, &v->engine);

	if (err) {
		ui_error("mount", "the resync engine: %s", ui_why(err));
		return err;
	}
	for (unsigned int i = 0; i < a->count; i++) {
		if (a->unclean_copy[i])
			resync_engine_expect(v->engine, i);
		if (!a->late_store[i])
			continue;
		err = resync_engine_attach_open(v->engine, i, a->late_store[i],
						a->late_meta[i]);
		if (err) {
			ui_warn("%s cannot be resynced: %s",
				a->members[i].row.name, ui_why(err));
			continue;
		}
		a->late_store[i] = NULL;
		a->late_meta[i] = NULL;
	}
	if (options->auto_attach)
		resync_engine_watch(v->engine);
	return 0;
}

static int start_scrub(struct volume *v, const struct mount_options *options)
{
	int err = scrub_start(v->mirror, v->engine, options->resync_rate,
			      &v->scrub);

	if (err)
		ui_error("mount", "the scrub: %s", ui_why(err));
	return err;
}

/* Without the socket the volume can still be used and unmounted. */
static void start_control(struct volume *v, const struct mount_options *options)
{
	struct control_target target = {
		.mirror = v->mirror,
		.engine = v->engine,
		.scrub = v->scrub,
		.session = v->session,
		.mountpoint = mount_session_path(v->session),
		.name = options->name,
	};
	dev_t dev = mount_session_dev(v->session);
	int err = mount_options_text(options, &v->options);

	FAULT_POINT("control.start");
	target.options = v->options;
	if (!err)
		err = control_start(&target, major(dev), minor(dev),
				    &v->control);
	if (err)
		ui_warn("no control socket: %s", ui_why(err));
}

static int bring_up(struct volume *v, struct mount_request *r)
{
	int err = mount_request_check(r);

	if (!err)
		err = assemble(v, r);
	if (!err)
		err = open_mirror(v, r);
	if (err)
		return err;
	err = mount_session_new(v->mirror, &r->options, r->mountpoint,
				r->fsname, &v->session);
	if (err)
		return tell_refused(r, err);
	signalled = v->session;
	err = start_engine(v, &r->options);
	if (!err)
		err = start_scrub(v, &r->options);
	if (!err)
		start_control(v, &r->options);
	return err;
}

/* ---- down ---- */

static void assembly_free(struct resync_assembly *a)
{
	if (!a)
		return;
	resync_assembly_close(a);
	free(a);
}

/* How long a call on a store, or what was asked for, may take at the end. */
static unsigned int patience_ms(const struct volume *v)
{
	return (unsigned int)((v->timeout_ms ? v->timeout_ms
					     : MIRROR_CLOSE_MS) +
			      MIRROR_LATE_MS);
}

static int take_down(struct volume *v)
{
	int err = 0;

	resync_engine_closing(v->engine);
	if (!control_stop(v->control, patience_ms(v)))
		ending_now(patience_ms(v));
	scrub_stop(v->scrub);
	if (v->engine)
		resync_engine_stop(v->engine);
	signalled = NULL;
	mount_session_free(v->session);
	if (v->mirror)
		err = mirror_close(v->mirror);
	if (err)
		log_err("the last checkpoint failed: error=%s", ui_why(err));
	assembly_free(v->assembly);
	free(v->options);
	return err;
}

static int serve(struct volume *v, const char *mountpoint, int *pipe_fd)
{
	int err;

	if (*pipe_fd >= 0) {
		log_open(LOG_SINK_SYSLOG, LOG_LEVEL_INFO);
		daemon_ready(pipe_fd);
	} else {
		log_open(LOG_SINK_STDERR, LOG_LEVEL_INFO);
	}
	err = ending_watch(mount_session_fd(v->session), patience_ms(v));
	if (err) /* then an unmount may have to wait */
		log_warn("the end is not watched: error=%s", ui_why(err));
	log_info("mounted: point=%s volume=%s", mountpoint,
		 mirror_volume_uuid(v->mirror));
	signals_prepare(false);
	err = mount_session_serve(v->session);
	signals_prepare(true);
	if (err)
		log_err("serving ended: error=%s", ui_why(err));
	return err;
}

static int run_here(struct mount_request *r, int pipe_fd)
{
	struct volume v = {0};
	int err;
	int down;

	v.timeout_ms = r->options.mirror.timeout_ms;
	signals_prepare(true);
	limits_raise();
	(void)umask(077);
	if (chdir("/") < 0 || reach_limit(v.timeout_ms))
		return MOUNT_SYSTEM;
	err = bring_up(&v, r);
	if (!err)
		err = serve(&v, r->mountpoint, &pipe_fd);
	down = take_down(&v);
	if (!err && !down)
		log_info("unmounted: point=%s", r->mountpoint);
	err = err == -ENOMEM ? MOUNT_SYSTEM
	      : err || down  ? MOUNT_FAILED
			     : MOUNT_DONE;
	daemon_failed(&pipe_fd, err);
	if (guard_any_left()) /* a thread is stuck that nobody can join */
		_exit(err);
	return err;
}

int mount_run(struct mount_request *r)
{
	int pipe_fd = -1;
	int status;
	int forked;

	if (r->options.remount)
		return mount_remount(r);
	if (r->fake)
		return mount_request_check(r) ? MOUNT_FAILED : MOUNT_DONE;
	if (r->foreground)
		return run_here(r, -1);
	forked = daemon_fork(&pipe_fd, &status);
	if (forked < 0) {
		ui_error("mount", "%s", ui_why(forked));
		return MOUNT_SYSTEM;
	}
	if (!forked)
		return status;
	waits_in_background();
	return run_here(r, pipe_fd);
}
