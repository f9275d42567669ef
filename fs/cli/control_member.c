/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests that change who takes part.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"
#include "fs/cli/control_ops.h"
#include "fs/cli/json_util.h"
#include "fs/cli/report.h"
#include "fs/cli/ui.h"
#include "resync/reach.h"

/* By its name or UUID, or by where it was last. */
static bool slot_is(const struct mirror_slot_info *info, const char *word,
		    const char *path)
{
	if (!info->used)
		return false;
	return strcmp(info->name, word) == 0 || strcmp(info->uuid, word) == 0 ||
	       (*path && strcmp(info->path, path) == 0);
}

static bool slot_find(struct mirror *m, const char *word, const char *path,
		      unsigned int *ret_slot, struct mirror_slot_info *ret_info)
{
	unsigned int count = mirror_slot_count(m);

	for (unsigned int i = 0; i < count; i++) {
		mirror_slot_info(m, i, ret_info);
		if (!slot_is(ret_info, word, path))
			continue;
		*ret_slot = i;
		return true;
	}
	return false;
}

static bool is_in_use(const struct mirror_slot_info *info)
{
	return info->state == META_STORE_ONLINE ||
	       info->state == META_STORE_RESYNCING;
}

/* Is @path, however it is spelt, the directory that the volume has open as
 * this member? What cannot be looked at is taken for it. */
static bool is_open_at(struct control_op *op, unsigned int slot,
		       const char *path)
{
	struct mirror *m = op->target->mirror;
	struct mirror_ref ref;
	struct stat st;
	bool same;

	if (reach_stat(path, &st, NULL) < 0 ||
	    mirror_ref_get_now(m, slot, &ref) < 0)
		return true;
	same = !ref.store || store_is_at(ref.store, &st);
	mirror_ref_put(m, &ref);
	return same;
}

static int refuse_copy(struct control_op *op, const char *path,
		       const struct mirror_slot_info *info)
{
	char text[OP_PATH_MAX];

	return op_fail(op, -EEXIST, path,
		       "is a copy of store %s, which is %s at %s", info->name,
		       info->state == META_STORE_ONLINE ? "online"
							: "being resynced",
		       path_quote(text, sizeof(text), info->path));
}

/* Return: 1 found, 0 not, -errno (op_fail()). */
static int slot_at(struct control_op *op, const char *path,
		   unsigned int *ret_slot, struct mirror_slot_info *ret_info)
{
	struct mirror *m = op->target->mirror;
	struct store_identity id;

	if (slot_find(m, "", path, ret_slot, ret_info) && is_in_use(ret_info) &&
	    is_open_at(op, *ret_slot, path))
		return 1;
	/* A store that lies elsewhere now still says who it is. */
	if (reach_identity(path, &id) == 0 &&
	    slot_find(m, id.store_uuid, "", ret_slot, ret_info))
		return !is_in_use(ret_info) || is_open_at(op, *ret_slot, path)
			       ? 1
			       : refuse_copy(op, path, ret_info);
	/* Or it was there last, and cannot be reached now. */
	return slot_find(m, "", path, ret_slot, ret_info);
}

int op_slot(struct control_op *op, unsigned int *ret_slot,
	    struct mirror_slot_info *ret_info)
{
	const char *word = json_text(op->request, "store");
	char mountpoint[sizeof(op->error) / 2 - 64];
	char path[OP_PATH_MAX] = "";
	int r;

	r = json_get_bytes(op->request, "path", path, sizeof(path));
	if (r && r != -ENOENT)
		return op_fail(op, r, word, "bad path");
	if (slot_find(op->target->mirror, word, "", ret_slot, ret_info))
		return 0;
	r = *path == '/' ? slot_at(op, path, ret_slot, ret_info) : 0;
	if (r)
		return MIN(r, 0);
	return op_fail(op, -ENOENT, word,
		       "no such store in this volume (`seqmirror status %s` "
		       "lists them)",
		       shell_word(mountpoint, sizeof(mountpoint),
				  op->target->mountpoint, "MOUNTPOINT"));
}

static int put_store(struct control_op *op, const struct mirror_slot_info *info)
{
	if (json_put_bytes(op->reply, "store", info->name) ||
	    json_put_text(op->reply, "uuid", info->uuid))
		return -ENOMEM;
	return 0;
}

static const char only_there[] =
	"removed files that programs still have open lie on it alone: close "
	"them first (`lsof +L1` lists them)";

int op_detach(struct control_op *op)
{
	struct mirror *m = op->target->mirror;
	struct mirror_slot_info info;
	unsigned int slot;
	int err = op_slot(op, &slot, &info);

	if (err)
		return err;
	if (info.state == META_STORE_RESYNCING)
		return op_fail(op, -EBUSY, info.name,
			       "is being resynced (`seqmirror resync --cancel` "
			       "ends that)");
	if (info.state == META_STORE_GIVEN_UP)
		return op_fail(op, -ENODEV, info.name,
			       "is out, and may be no complete copy: %s",
			       info.why);
	/* One that is out in good order already is what was asked for. */
	if (info.state != META_STORE_ONLINE &&
	    info.state != META_STORE_DETACHED)
		return op_fail(op, -ENODEV, info.name, "is not online");
	if (info.state == META_STORE_ONLINE)
		err = mirror_detach(m, slot);
	if (err == -EBUSY)
		return op_fail(op, err, info.name,
			       "is the last store online: unmount instead");
	if (err == -ETXTBSY)
		return op_fail(op, err, info.name, "%s", only_there);
	if (err)
		return op_fail(op, err, info.name, "cannot be detached: %s",
			       ui_why(err));
	mirror_slot_info(m, slot, &info);
	log_info("store detached: store=%s seq=%" PRIu64, info.name,
		 info.durable_seq);
	err = put_store(op, &info);
	return err ? err : json_put_number(op->reply, "seq", info.durable_seq);
}

const char *op_path(struct control_op *op, const struct mirror_slot_info *info,
		    char buf[OP_PATH_MAX])
{
	struct store_identity id;

	if (json_get_bytes(op->request, "path", buf, OP_PATH_MAX) < 0 ||
	    *buf != '/' || reach_identity(buf, &id) < 0 ||
	    strcmp(id.store_uuid, info->uuid) != 0)
		return NULL;
	return buf;
}

int op_put_online(const struct mirror_slot_info *info, json_t *reply)
{
	const struct resync_counts none = {
		.from_seq = info->durable_seq,
		.to_seq = info->durable_seq,
	};
	json_t *result = json_object();

	if (report_counts(&none, info->name, result)) {
		json_decref(result);
		return -ENOMEM;
	}
	return json_object_set_new(reply, "already", result) ? -ENOMEM : 0;
}

int op_attach(struct control_op *op)
{
	char buf[OP_PATH_MAX];
	const char *path;
	char why[MIRROR_WHY_MAX] = "";
	struct mirror_slot_info info;
	unsigned int slot;
	int err = op_slot(op, &slot, &info);

	if (err)
		return err;
	/* Back by itself, perhaps a moment ago: nothing is left to do. */
	if (info.state == META_STORE_ONLINE) {
		err = op_put_online(&info, op->reply);
	} else if (info.state != META_STORE_RESYNCING) {
		path = op_path(op, &info, buf);
		err = path ? op_place(op, path) : 0;
		if (err)
			return err;
		err = (json_flag(op->request, "rebuild")
			       ? resync_engine_take_back
			       : resync_engine_attach)(op->target->engine, slot,
						       path, why, sizeof(why));
	}
	if (err)
		return op_fail(op, err, info.name, "%s",
			       *why ? why : ui_why(err));
	mirror_slot_info(op->target->mirror, slot, &info);
	err = put_store(op, &info);
	if (!err)
		err = json_put_text(op->reply, "state",
				    report_state_name(info.state));
	return err ? err : op_put_paused(op, op->reply);
}

int op_remove(struct control_op *op)
{
	struct mirror *m = op->target->mirror;
	struct mirror_slot_info info;
	unsigned int slot;
	int err = op_slot(op, &slot, &info);

	if (err)
		return err;
	if (info.state == META_STORE_RESYNCING) {
		err = resync_engine_cancel(op->target->engine, slot);
		if (!err || err == -ENOENT)
			err = resync_engine_wait(op->target->engine, slot, -1);
		/* How it ended does not matter for one that is to go. */
	}
	mirror_slot_info(m, slot, &info);
	err = info.state == META_STORE_ONLINE ? mirror_detach(m, slot) : 0;
	if (!err)
		err = mirror_member_remove(m, slot);
	if (err == -EBUSY && info.state == META_STORE_ONLINE)
		return op_fail(op, err, info.name,
			       "is the last store online and cannot be "
			       "removed");
	if (err == -EBUSY)
		return op_fail(op, err, info.name,
			       "a resync of it has begun; try again");
	if (err == -ETIMEDOUT)
		return op_fail(op, err, info.name,
			       "cannot be removed yet: calls on it do not end");
	if (err == -ETXTBSY)
		return op_fail(op, err, info.name, "%s", only_there);
	if (err)
		return op_fail(op, err, info.name, "cannot be removed: %s",
			       ui_why(err));
	log_info("store removed: store=%s uuid=%s", info.name, info.uuid);
	return put_store(op, &info);
}
