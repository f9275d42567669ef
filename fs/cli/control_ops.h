/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control_ops - what the daemon does for each request. Private to the server
 * (control_server.c) and its three files of operations.
 */
#pragma once

#include <jansson.h>

#include "base/lock.h"
#include "fs/cli/control.h"
#include "fs/cli/wire.h"

/*
 * One request that changes the membership at a time. Not a mutex that is
 * held meanwhile: the volume takes its own locks from the first rank on.
 */
struct control_gate {
	struct mutex lock; /* LOCK_RANK_LEAF */
	struct cond left;
	bool taken GUARDED_BY(lock);
};

struct control_op {
	const struct control_target *target;
	const json_t *request;
	json_t *reply;	   /* to be filled */
	struct wire *wire; /* for items */
	bool broken;	   /* an item could not be sent: no reply either */
	/* "WHAT: WHY", when the result is not 0 */
	char error[2 * MIRROR_WHY_MAX];
};

/** control_ops_run - do it. Return: 0, -errno with op->error set. */
MUST_CHECK int control_ops_run(struct control_op *op,
			       struct control_gate *gate);

/** op_fail - set the error text. Return: @err, or -EIO when that is 0. */
int op_fail(struct control_op *op, int err, const char *what,
	    const char *why_fmt, ...)
	__attribute__((__format__(__printf__, 4, 5)));

/** op_item - send one item, taken over (NULL: no memory). */
MUST_CHECK int op_item(struct control_op *op, json_t *item);

/**
 * op_slot - the member that the request's "store" names: by name, UUID or
 * path (also of a store that lies elsewhere than it did). A path to a copy of
 * a store that is in use elsewhere is refused.
 */
MUST_CHECK int op_slot(struct control_op *op, unsigned int *ret_slot,
		       struct mirror_slot_info *ret_info);

enum {
	OP_PATH_MAX = 4096,
};

/**
 * op_path - where this member, which is away, lies now, if the word was a path
 * to it; else NULL: where it was last. "attach MOUNT spare" while ./spare is
 * something else is the second case.
 */
const char *op_path(struct control_op *op, const struct mirror_slot_info *info,
		    char buf[OP_PATH_MAX]);

/** op_put_online - under "already", where a resync was asked for: the result
 * of one that had nothing to do. */
MUST_CHECK int op_put_online(const struct mirror_slot_info *info,
			     json_t *reply);

/** op_place - a store cannot lie in the mount of its own volume, by whatever
 * path, nor the mount in it. Return: 0, -errno (op_fail()). */
MUST_CHECK int op_place(struct control_op *op, const char *path);

/** op_put_paused - under "paused" whether resyncs rest, those that have not
 * begun too. */
MUST_CHECK int op_put_paused(struct control_op *op, json_t *reply);

int op_status(struct control_op *op);
int op_options(struct control_op *op);
int op_detach(struct control_op *op);
int op_attach(struct control_op *op);
int op_add(struct control_op *op);
int op_remove(struct control_op *op);
int op_resync(struct control_op *op);
int op_resync_forecast(struct control_op *op);
int op_resync_state(struct control_op *op);
int op_resync_set(struct control_op *op);
int op_changes(struct control_op *op);
int op_map(struct control_op *op);
int op_diff(struct control_op *op);
int op_scrub(struct control_op *op);
int op_scrub_cancel(struct control_op *op);
int op_scrub_state(struct control_op *op);
