/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads: one that accepts (and now and then leaves the socket's name with
 * stores that came in), one per client. A slot of the client table goes
 * FREE -> BUSY (accept thread) -> ENDED (client thread, as its last act) ->
 * FREE (accept thread, after joining it).
 */
#include <assert.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/log.h"
#include "fs/cli/control.h"
#include "fs/cli/control_ops.h"
#include "fs/cli/json_util.h"
#include "fs/cli/ui.h"

/* How often the accept thread looks for stores that came in. */
#define NOTE_MS 2000

enum client_state {
	CLIENT_FREE,
	CLIENT_BUSY,
	CLIENT_ENDED,
};

struct client_slot {
	struct control *control;
	pthread_t thread;
	enum client_state state; /* guarded by control.lock */
	int fd;			 /* guarded by control.lock; -1: its own now */
	struct wire wire;	 /* the thread's */
};

struct control {
	struct control_target target; /* set at start, then read-only */
	char path[CONTROL_PATH_MAX];  /* the same */
	struct stat socket;	      /* what lies there, as we made it */
	int listen_fd;
	int wake_fd;
	pthread_t thread;
	struct control_gate gate;
	struct mutex lock; /* LOCK_RANK_LEAF */
	struct cond end;   /* ended */
	bool stopping GUARDED_BY(lock);
	bool ended GUARDED_BY(lock); /* the accept thread, and all clients */
	struct client_slot clients[CONTROL_CLIENT_MAX];
	/* The accept thread's: which store of a slot has been told. */
	const struct store *noted[META_STORE_MAX];
};

const char *control_socket(const struct control *c)
{
	return c->path;
}

static void wake(struct control *c)
{
	uint64_t one = 1;

	/* Full means that it wakes already, closed that it need not: ending.h */
	if (write(c->wake_fd, &one, sizeof(one)) < 0)
		assert(errno == EAGAIN || errno == EBADF);
}

static bool is_stopping(struct control *c)
{
	bool stopping;

	mutex_lock(&c->lock);
	stopping = c->stopping;
	mutex_unlock(&c->lock);
	return stopping;
}

/* ---- a client's thread ---- */

/* Return: 0 to go on with this client. */
static int answer(struct control *c, struct wire *wire, const json_t *request)
{
	struct control_op op = {
		.target = &c->target,
		.request = request,
		.reply = json_object(),
		.wire = wire,
	};
	int err;

	if (!op.reply)
		return -ENOMEM;
	err = control_ops_run(&op, &c->gate);
	if (err && !op.broken) {
		(void)json_object_clear(op.reply);
		/* A name in it may be any bytes, and cut anywhere. */
		if (json_put_text(op.reply, "error", op.error))
			op.broken = true;
	}
	if (!op.broken &&
	    json_object_set_new(op.reply, "ok", json_boolean(!err)) < 0)
		op.broken = true;
	err = op.broken ? -EIO : wire_send(wire, op.reply);
	json_decref(op.reply);
	return err;
}

static void *client_main(void *arg)
{
	struct client_slot *slot = arg;
	struct control *c = slot->control;
	json_t *request;
	int err = 0;

	while (!err && !is_stopping(c)) {
		err = wire_receive(&slot->wire, CONTROL_IDLE_MS, &request);
		if (err)
			break;
		err = answer(c, &slot->wire, request);
		json_decref(request);
	}
	if (err && err != -ENODATA && err != -ETIMEDOUT)
		log_debug("control client dropped: error=%s", ui_why(err));
	/* The descriptor closes under the lock: control_stop() may be about
	 * to shut it down, and its number must not be another's by then. */
	mutex_lock(&c->lock);
	wire_done(&slot->wire);
	slot->fd = -1;
	slot->state = CLIENT_ENDED;
	mutex_unlock(&c->lock);
	wake(c);
	return NULL;
}

/* ---- the accept thread ---- */

static void reap(struct control *c, bool all)
{
	for (size_t i = 0; i < CONTROL_CLIENT_MAX; i++) {
		struct client_slot *slot = &c->clients[i];
		enum client_state state;

		mutex_lock(&c->lock);
		state = slot->state;
		mutex_unlock(&c->lock);
		if (state == CLIENT_ENDED || (all && state == CLIENT_BUSY)) {
			(void)pthread_join(slot->thread, NULL);
			mutex_lock(&c->lock);
			slot->state = CLIENT_FREE;
			mutex_unlock(&c->lock);
		}
	}
}

static bool may_speak(int fd)
{
	uid_t uid;
	pid_t pid;

	if (control_peer(fd, &uid, &pid) < 0)
		return false;
	return uid == 0 || uid == geteuid();
}

static void refuse(struct wire *wire, const char *why)
{
	json_t *reply = json_pack("{s:b, s:s}", "ok", 0, "error", why);

	if (reply)
		ignore_result(wire_send(wire, reply)); /* it is closed anyway */
	json_decref(reply);
	wire_done(wire);
}

static void admit(struct control *c, int fd)
{
	struct client_slot *slot = NULL;
	struct wire wire;

	if (wire_init(&wire, fd) < 0)
		return;
	if (!may_speak(fd)) {
		refuse(&wire, "control socket: not your volume");
		return;
	}
	mutex_lock(&c->lock);
	for (size_t i = 0; i < CONTROL_CLIENT_MAX && !slot; i++)
		if (c->clients[i].state == CLIENT_FREE)
			slot = &c->clients[i];
	if (slot) {
		slot->state = CLIENT_BUSY;
		slot->fd = fd;
		slot->wire = wire;
		slot->control = c;
		if (c->stopping) /* it came too late to be told */
			(void)shutdown(fd, SHUT_RD);
		if (pthread_create(&slot->thread, NULL, client_main, slot)) {
			slot->state = CLIENT_FREE;
			slot->fd = -1;
			slot = NULL;
		}
	}
	mutex_unlock(&c->lock);
	if (!slot)
		refuse(&wire, "control socket: too many clients, try again");
}

/* So that `status STORE` finds us. */
static void note_stores(struct control *c)
{
	unsigned int count = mirror_slot_count(c->target.mirror);

	for (unsigned int i = 0; i < count && i < META_STORE_MAX; i++) {
		struct mirror_ref ref;

		if (mirror_ref_get_now(c->target.mirror, i, &ref) < 0) {
			c->noted[i] = NULL;
			continue;
		}
		if (ref.store && ref.store != c->noted[i] &&
		    store_lock_note(ref.store, c->path) == 0)
			c->noted[i] = ref.store;
		mirror_ref_put(c->target.mirror, &ref);
	}
}

static void *accept_main(void *arg)
{
	struct control *c = arg;

	while (!is_stopping(c)) {
		struct pollfd p[2] = {
			{.fd = c->listen_fd, .events = POLLIN},
			{.fd = c->wake_fd, .events = POLLIN},
		};
		uint64_t count;
		int fd;

		note_stores(c);
		if (poll(p, ARRAY_SIZE(p), NOTE_MS) < 0 && errno != EINTR)
			break;
		if (read(c->wake_fd, &count, sizeof(count)) < 0) {
			if (errno == EBADF)
				return NULL; /* all are closed: ending.h */
			assert(errno == EAGAIN || errno == EINTR);
		}
		reap(c, false);
		fd = accept4(c->listen_fd, NULL, NULL, SOCK_CLOEXEC);
		if (fd >= 0)
			admit(c, fd);
	}
	reap(c, true);
	mutex_lock(&c->lock);
	c->ended = true;
	cond_broadcast(&c->end);
	mutex_unlock(&c->lock);
	return NULL;
}

/* ---- life ---- */

static int listen_at(const char *path, int *ret_fd, struct stat *ret_st)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd = -1;

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 ||
	    bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	if (chmod(path, 0600) < 0 || lstat(path, ret_st) < 0 ||
	    listen(fd, CONTROL_CLIENT_MAX) < 0) {
		int err = -errno;

		(void)unlink(path);
		return err;
	}
	*ret_fd = steal_fd(&fd);
	return 0;
}

static int start_thread(struct control *c)
{
	sigset_t all;
	sigset_t old;
	int err;

	/* Signals belong to the thread that runs the mount. */
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&c->thread, NULL, accept_main, c);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -err;
}

/* The mount is gone by now, and its number perhaps another's already. */
static bool is_ours(const struct control *c)
{
	struct stat st;

	return !lstat(c->path, &st) && st.st_ino == c->socket.st_ino &&
	       st.st_dev == c->socket.st_dev &&
	       st.st_ctim.tv_sec == c->socket.st_ctim.tv_sec &&
	       st.st_ctim.tv_nsec == c->socket.st_ctim.tv_nsec;
}

static void control_free(struct control *c)
{
	if (c->listen_fd >= 0 && is_ours(c))
		(void)unlink(c->path);
	close_fd(&c->listen_fd);
	close_fd(&c->wake_fd);
	cond_done(&c->end);
	mutex_done(&c->lock);
	cond_done(&c->gate.left);
	mutex_done(&c->gate.lock);
	free(c);
}

int control_start(const struct control_target *target, unsigned int major,
		  unsigned int minor, struct control **ret_control)
{
	struct control *c = calloc(1, sizeof(*c));
	int err;

	if (!c)
		return -ENOMEM;
	c->target = *target;
	c->listen_fd = -1;
	for (size_t i = 0; i < CONTROL_CLIENT_MAX; i++)
		c->clients[i].fd = -1;
	mutex_init(&c->gate.lock, LOCK_RANK_LEAF);
	cond_init(&c->gate.left);
	mutex_init(&c->lock, LOCK_RANK_LEAF);
	cond_init(&c->end);
	c->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	err = c->wake_fd < 0 ? -errno : 0;
	if (!err)
		err = control_path_make(major, minor, c->path);
	if (!err)
		err = listen_at(c->path, &c->listen_fd, &c->socket);
	if (!err)
		err = start_thread(c);
	if (err) {
		control_free(c);
		return err;
	}
	*ret_control = c;
	return 0;
}

bool control_stop(struct control *c, unsigned int wait_ms)
{
	uint64_t until_ns = clock_mono_ns() + wait_ms * CLOCK_NS_PER_MS;
	bool ended;

	if (!c)
		return true;
	mutex_lock(&c->lock);
	c->stopping = true;
	/* Ends waits for a request, not a request that is being done. */
	for (size_t i = 0; i < CONTROL_CLIENT_MAX; i++)
		if (c->clients[i].fd >= 0)
			(void)shutdown(c->clients[i].fd, SHUT_RD);
	mutex_unlock(&c->lock);
	wake(c);
	mutex_lock(&c->lock);
	while (!c->ended && clock_mono_ns() < until_ns)
		(void)cond_timedwait(&c->end, &c->lock, 100);
	ended = c->ended;
	mutex_unlock(&c->lock);
	if (!ended)
		return false;
	(void)pthread_join(c->thread, NULL);
	control_free(c);
	return true;
}
