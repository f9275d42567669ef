/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The volume against a store that is not in use: its map is the daemon's to
 * read while the volume is mounted.
 */
#include <stdio.h>
#include <string.h>

#include "fs/cli/control_ops.h"
#include "fs/cli/diff.h"
#include "fs/cli/json_util.h"
#include "fs/cli/ui.h"
#include "resync/reach.h"

static int send_item(void *arg, const json_t *item)
{
	return op_item(arg, json_incref((json_t *)item));
}

static int fail_hung(struct control_op *op, const char *name)
{
	return op_fail(op, -ETIMEDOUT, name,
		       "does not answer; make it answer and try again");
}

/* Where the other store lies: as the word said, or where it was last. */
static int other_path(struct control_op *op,
		      const struct mirror_slot_info *info,
		      char path[sizeof(info->path)])
{
	struct store_identity id;
	int err;

	if (!json_get_bytes(op->request, "path", path, sizeof(info->path)) &&
	    *path == '/' && !reach_identity(path, &id) &&
	    !strcmp(id.store_uuid, info->uuid))
		return 0;
	(void)snprintf(path, sizeof(info->path), "%s", info->path);
	err = reach_identity(path, &id);
	if (err == -ETIMEDOUT)
		return fail_hung(op, info->name);
	if (err || strcmp(id.store_uuid, info->uuid))
		return op_fail(op, -ENOENT, info->name, "is not at %s", path);
	return 0;
}

static int open_map(struct control_op *op, const char *name, const char *path,
		    struct meta **ret_map)
{
	_cleanup_free_ char *why = NULL;
	int err = reach_map_open(path, ret_map, &why);

	if (err == -ETIMEDOUT)
		return fail_hung(op, name);
	if (err)
		return op_fail(op, err, name, "its map cannot be read: %s",
			       err == -EBUSY ? "in use by another process"
			       : why	     ? why
					     : ui_why(err));
	return 0;
}

/* Nothing is awaited with the lead pinned but what the list itself takes. */
static int compare(struct control_op *op, struct diff_end *other)
{
	struct mirror *m = op->target->mirror;
	struct mirror_slot_info lead_info;
	struct diff_end ends[2] = {{0}, *other};
	struct mirror_ref lead;
	int slot = mirror_lead(m);
	int err = slot < 0 ? -ENODEV
			   : mirror_ref_get(m, (unsigned int)slot, &lead);

	if (err)
		return err;
	mirror_slot_info(m, (unsigned int)slot, &lead_info);
	ends[0] = (struct diff_end){
		.path = lead_info.path,
		.name = lead_info.name,
		.map = lead.meta,
		.live = true,
	};
	err = diff_report(ends, send_item, op);
	mirror_ref_put(m, &lead);
	for (int i = 1; i >= 0; i--)
		if (err && ends[i].hangs)
			return fail_hung(op, ends[i].name);
	return err;
}

static int report(struct control_op *op, const struct mirror_slot_info *info,
		  const char *path)
{
	struct diff_end other = {.path = path, .name = info->name};
	int err = open_map(op, info->name, path, &other.map);

	if (err)
		return err;
	err = compare(op, &other);
	reach_close(NULL, other.map, path);
	return err;
}

static int report_online(struct control_op *op,
			 const struct mirror_slot_info *info)
{
	return op_item(op,
		       json_pack("{s:s, s:s}", "relation",
				 info->state == META_STORE_ONLINE ? "equal"
								  : "resyncing",
				 "store", info->name));
}

int op_diff(struct control_op *op)
{
	struct mirror_slot_info info;
	char path[sizeof(info.path)];
	unsigned int slot;
	/* The map holds what was there at the last checkpoint. */
	int err = mirror_checkpoint(op->target->mirror, NULL);

	if (!err)
		err = op_slot(op, &slot, &info);
	if (err)
		return err;
	if (info.state == META_STORE_ONLINE ||
	    info.state == META_STORE_RESYNCING)
		return report_online(op, &info);
	err = other_path(op, &info, path);
	return err ? err : report(op, &info, path);
}
