/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control - the local socket of a mounted volume, both ends.
 *
 * The daemon listens; one thread accepts, and each client has a thread of its
 * own, at most CONTROL_CLIENT_MAX at once. Only the user who runs the daemon
 * and root are answered. A request is one message (wire.h):
 *
 *	{"op": "detach", "store": "disk-b"}
 *
 * The answer is any number of
 *
 *	{"item": {...}}
 *
 * and then one of
 *
 *	{"ok": true, ...}
 *	{"ok": false, "error": "WHAT: WHY"}
 *
 * A connection serves one request after the other. Whatever breaks the rules
 * of the wire ends the connection, and nothing else.
 *
 * Requests (all of "op"; what is not listed is refused):
 *
 *	status				items: stores; reply: as `status --json`
 *	options				reply: options, mount_options_text()
 *	detach, remove	STORE		reply: store, uuid, seq
 *	attach		STORE		reply: store, uuid, state, paused; "already" of
 *					one online: as `resync --json`
 *	add		path, [name]	items: {warning}; reply: store, uuid, paused
 *	resync		[STORE]		items: {store, state, paused} begun, {store, error},
 *					or with "already" as of attach
 *	resync-forecast [STORE]		items: as `resync --json`
 *	resync-state	store		reply: running, paused, progress, result
 *	resync-set	[paused], [rate], [cancel], [STORE]	reply: paused,
 *					running (any)
 *	changes		since, [until], [blocks]	items: changes
 *	map		node		items: extents; reply: seq, stores
 *	scrub		[repair], [restart], [rate], [STORE]
 *	scrub-cancel
 *	scrub-state	[findings]	items: findings; reply: as in `status`
 *	diff		STORE		items: as diff.h; against the lead
 *
 * STORE is the key "store" (a name or UUID) with, if the word may be a path,
 * the absolute one as "path". Requests that change the membership run one at
 * a time.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "fs/cli/control_path.h"
#include "resync/resync.h"
#include "resync/scrub.h"

enum {
	CONTROL_CLIENT_MAX = 16,
	CONTROL_IDLE_MS = 30000, /* between two requests of a client */
};

/* ---- the daemon's end ---- */

struct control;
struct mount_session;

struct control_target {
	struct mirror *mirror;
	struct resync_engine *engine;
	struct scrub *scrub;
	/* These live as long as the server. */
	const struct mount_session *session;
	const char *mountpoint; /* absolute */
	const char *name;	/* what people call the mount, or "" */
	const char *options;	/* mount_options_text() */
};

/**
 * control_start - listen for the mount with this device number.
 * Also leaves the socket's name in each present store's lock file, now and
 * when stores come in later.
 */
MUST_CHECK int control_start(const struct control_target *target,
			     unsigned int major, unsigned int minor,
			     struct control **ret_control);

/**
 * control_stop - no more requests; waits for those that run, @wait_ms at most.
 * NULL ok. Return: whether all have ended; else one is stuck on a store that
 * hangs, still uses the target, and @c is kept.
 */
MUST_CHECK bool control_stop(struct control *c, unsigned int wait_ms);

/** control_socket - the path of the socket. */
const char *control_socket(const struct control *c);

/* ---- the client's end; all of it reports errors with ui_error() ---- */

struct client;

/**
 * client_open_mount - the daemon of the volume mounted at @mountpoint.
 * Return: 0, -ENOENT (no volume of ours there; not reported), -errno
 */
MUST_CHECK int client_open_mount(const char *mountpoint,
				 struct client **ret_client);

/** client_try_mount - the same, reporting nothing. */
MUST_CHECK int client_try_mount(const char *mountpoint,
				struct client **ret_client);

/** client_open_dev - the same by device number; @what is for messages. */
MUST_CHECK int client_open_dev(unsigned int major, unsigned int minor,
			       const char *what, struct client **ret_client);

/**
 * client_open_store - the daemon that has the store at @path, if any.
 * The note in the store may be an old one, and lead to a daemon that has nothing
 * to do with it: until client_proved(), one that hangs up is nobody who answers,
 * and client_call() is -ENOENT then.
 * Return: 0, -ENOENT (nobody answers; not reported)
 */
MUST_CHECK int client_open_store(const char *path, struct client **ret_client);
void client_proved(struct client *c);

void client_close(struct client *c);

static inline void client_closep(struct client **c)
{
	client_close(*c);
}
#define _cleanup_client_ _cleanup_(client_closep)

/** client_mountpoint - where the volume is mounted, or what was asked for. */
const char *client_mountpoint(const struct client *c);
/** client_pid - of the daemon; 0 when it cannot be seen from here. */
pid_t client_pid(const struct client *c);

/* Gets each item (borrowed); nonzero ends the call with that. */
typedef int (*client_item_fn)(void *arg, const json_t *item);

/**
 * client_call - one request, taken over.
 * @wait_ms: how long the daemon may be silent, -1: for ever
 * @ret_reply: a new reference
 */
MUST_CHECK int client_call(struct client *c, json_t *request, int wait_ms,
			   client_item_fn fn, void *arg, json_t **ret_reply);

/**
 * client_ask - the same without items; what the daemon refuses is the caller's to
 * tell (-EREMOTEIO, @ret_refusal: the message, a new reference).
 */
MUST_CHECK int client_ask(struct client *c, json_t *request, int wait_ms,
			  json_t **ret_reply, json_t **ret_refusal);

/** client_hush - no call of it reports an error any more. */
void client_hush(struct client *c);

/** client_sync - write the kernel's dirty pages of the mount out. */
MUST_CHECK int client_sync(const struct client *c);
