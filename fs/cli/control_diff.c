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

static int send_item(void *arg, const json_t *item)
{
	return op_item(arg, json_incref((json_t *)item));
}

/* Where the other store lies: as the word said, or where it was last. */
static int other_path(struct control_op *op,
		      const struct mirror_slot_info *info,
		      char path[sizeof(info->path)])
{
	struct store_identity id;

	if (!json_get_bytes(op->request, "path", path, sizeof(info->path)) &&
	    *path == '/' && !store_probe_identity(path, &id) &&
	    !strcmp(id.store_uuid, info->uuid))
		return 0;
	(void)snprintf(path, sizeof(info->path), "%s", info->path);
	if (store_probe_identity(path, &id) ||
	    strcmp(id.store_uuid, info->uuid))
		return op_fail(op, -ENOENT, info->name, "is not at %s", path);
	return 0;
}

static int open_map(struct control_op *op, const char *name, const char *path,
		    struct meta **ret_map)
{
	_cleanup_free_ char *privdir = NULL;
	_cleanup_free_ char *why = NULL;
	int err;

	if (asprintf(&privdir, "%s/%s", path, STORE_PRIVATE) < 0) {
		privdir = NULL;
		return -ENOMEM;
	}
	err = meta_open(privdir, META_OPEN_RO, ret_map, &why);
	if (err)
		return op_fail(op, err, name, "its map cannot be read: %s",
			       err == -EBUSY ? "in use by another process"
			       : why	     ? why
					     : ui_why(err));
	return 0;
}

static int report(struct control_op *op, const struct mirror_slot_info *info,
		  const char *path)
{
	struct mirror *m = op->target->mirror;
	struct mirror_slot_info lead_info;
	struct diff_end ends[2] = {0};
	struct mirror_ref lead;
	int slot = mirror_lead(m);
	int err = slot < 0 ? -ENODEV
			   : mirror_ref_get(m, (unsigned int)slot, &lead);

	if (err)
		return err;
	mirror_slot_info(m, (unsigned int)slot, &lead_info);
	ends[0] = (struct diff_end){lead_info.path, lead_info.name, lead.meta,
				    true};
	ends[1] = (struct diff_end){path, info->name, NULL, false};
	err = open_map(op, info->name, path, &ends[1].map);
	if (!err)
		err = diff_report(ends, send_item, op);
	meta_close(ends[1].map);
	mirror_ref_put(m, &lead);
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
