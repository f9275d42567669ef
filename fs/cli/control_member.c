/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests that change who takes part.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "fs/cli/control_ops.h"
#include "fs/cli/json_util.h"
#include "fs/cli/report.h"
#include "fs/cli/ui.h"
#include "resync/reach.h"

#define PATH_TEXT_MAX 4096

static bool slot_is(const struct mirror_slot_info *info, const char *name,
		    const char *uuid, const char *path)
{
	if (!info->used)
		return false;
	if (*uuid)
		return strcmp(info->uuid, uuid) == 0;
	return strcmp(info->name, name) == 0 || strcmp(info->uuid, name) == 0 ||
	       (*path && strcmp(info->path, path) == 0);
}

static bool slot_find(struct mirror *m, const char *name, const char *uuid,
		      const char *path, unsigned int *ret_slot,
		      struct mirror_slot_info *ret_info)
{
	unsigned int count = mirror_slot_count(m);

	for (unsigned int i = 0; i < count; i++) {
		mirror_slot_info(m, i, ret_info);
		if (!slot_is(ret_info, name, uuid, path))
			continue;
		*ret_slot = i;
		return true;
	}
	return false;
}

int op_slot(struct control_op *op, unsigned int *ret_slot,
	    struct mirror_slot_info *ret_info)
{
	const char *name = json_text(op->request, "store");
	struct mirror *m = op->target->mirror;
	char path[PATH_TEXT_MAX] = "";
	struct store_identity id;
	int err;

	err = json_get_bytes(op->request, "path", path, sizeof(path));
	if (err && err != -ENOENT)
		return op_fail(op, err, name, "bad path");
	if (slot_find(m, name, "", path, ret_slot, ret_info))
		return 0;
	/* A store that lies elsewhere now still says who it is. */
	if (*path == '/' && reach_identity(path, &id) == 0 &&
	    slot_find(m, name, id.store_uuid, "", ret_slot, ret_info))
		return 0;
	return op_fail(op, -ENOENT, name,
		       "no such store in this volume (`seqmirror status %s` "
		       "lists them)",
		       op->target->mountpoint);
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
	if (info.state != META_STORE_ONLINE &&
	    info.state != META_STORE_DETACHED)
		return op_fail(op, -ENODEV, info.name, "is not online");
	/* One that is out in good order already is what was asked for. */
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

/*
 * Where this member lies now, if the word was a path to it; else NULL: where
 * it was last. "attach MOUNT spare" while ./spare is something else is the
 * second case.
 */
static const char *attach_path(struct control_op *op,
			       const struct mirror_slot_info *info,
			       char buf[PATH_TEXT_MAX])
{
	struct store_identity id;

	if (json_get_bytes(op->request, "path", buf, PATH_TEXT_MAX) < 0 ||
	    *buf != '/' || reach_identity(buf, &id) < 0 ||
	    strcmp(id.store_uuid, info->uuid) != 0)
		return NULL;
	return buf;
}

int op_attach(struct control_op *op)
{
	char buf[PATH_TEXT_MAX];
	const char *path;
	char why[512] = "";
	struct mirror_slot_info info;
	unsigned int slot;
	int err = op_slot(op, &slot, &info);

	if (err)
		return err;
	path = attach_path(op, &info, buf);
	err = path ? op_place(op, path) : 0;
	if (err)
		return err;
	/* Back by itself, perhaps a moment ago: nothing is left to do. */
	if (info.state != META_STORE_ONLINE &&
	    info.state != META_STORE_RESYNCING)
		err = (json_flag(op->request, "rebuild")
			       ? resync_engine_take_back
			       : resync_engine_attach)(op->target->engine, slot,
						       path, why, sizeof(why));
	if (err)
		return op_fail(op, err, info.name, "%s",
			       *why ? why : ui_why(err));
	mirror_slot_info(op->target->mirror, slot, &info);
	err = put_store(op, &info);
	return err ? err
		   : json_put_text(op->reply, "state",
				   report_state_name(info.state));
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
