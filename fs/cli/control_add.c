/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A new member: a store is made, recorded, and attached like one that was
 * away from the beginning.
 */
#include <stdio.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/text.h"
#include "fs/cli/control_ops.h"
#include "fs/cli/json_util.h"
#include "fs/cli/ui.h"
#include "resync/reach.h"
#include "resync/volume_make.h"

static void send_warning(void *arg, const char *sentence)
{
	struct control_op *op = arg;
	json_t *item = json_object();

	log_warn("%s", sentence);
	if (json_put_text(item, "warning", sentence))
		json_decref(item);
	else
		/* A client that is gone is noticed with the reply. */
		ignore_result(op_item(op, item));
}

/* The store and its row in every map; on failure neither, or where a map may
 * have the row, the store: it is a member then. */
static int make_member(struct control_op *op, const char *path,
		       unsigned int *ret_slot, struct meta_member *ret_row)
{
	struct mirror *m = op->target->mirror;
	const json_t *name = json_object_get(op->request, "name");
	int lead = mirror_lead(m);
	struct mirror_ref ref;
	char why[MIRROR_WHY_MAX] = "";
	int err = lead < 0 ? -ENODEV
			   : mirror_ref_get(m, (unsigned int)lead, &ref);

	if (err)
		return op_fail(op, err, path, "%s", ui_why(err));
	err = volume_add_store(
		&(struct volume_add_args){
			.source = ref.meta,
			.path = path,
			.name = name ? json_string_value(name) : NULL,
			.warn = send_warning,
			.arg = op,
		},
		ret_row, why, sizeof(why));
	mirror_ref_put(m, &ref);
	if (err)
		return op_fail(op, err, path, "%s", *why ? why : ui_why(err));
	err = mirror_member_add(m, ret_row, ret_slot);
	if (!err)
		return 0;
	if (err == -EIO)
		return op_fail(op, err, path,
			       "could not be recorded as a member; the status "
			       "after the next mount says whether it is one");
	ignore_result(volume_unmake(path)); /* the first error is the news */
	if (err == -ENOSPC)
		return op_fail(op, err, path, "%d stores at most",
			       META_STORE_MAX);
	if (err == -ENOTUNIQ) /* since it was looked for */
		return op_fail(op, err, path,
			       "the volume has a store named %s already; use "
			       "--name",
			       ret_row->name);
	return op_fail(op, err, path, "cannot become a member: %s",
		       ui_why(err));
}

int op_place(struct control_op *op, const char *path)
{
	const char *point = op->target->mountpoint;
	struct stat here, there;
	char real[PATH_MAX];
	int err = reach_stat(path, &there, real);

	if (!err)
		err = reach_stat(point, &here, NULL);
	if (err)
		return op_fail(op, err, path, "%s",
			       err == -ETIMEDOUT
				       ? "does not answer; make it answer or "
					 "unplug it, and try again"
				       : ui_why(err));
	if (here.st_dev != there.st_dev && !path_lies_in(point, real))
		return 0;
	return op_fail(op, -EINVAL, path,
		       "a mount point and a store cannot lie in one another "
		       "(%s)",
		       point);
}

int op_add(struct control_op *op)
{
	_cleanup_free_ struct meta_member *row = calloc(1, sizeof(*row));
	struct mirror *m = op->target->mirror;
	char path[PATH_MAX];
	char why[MIRROR_WHY_MAX] = "";
	unsigned int slot = 0;
	int err;

	if (!row)
		return -ENOMEM;
	err = json_get_bytes(op->request, "path", path, sizeof(path));
	if (err || *path != '/')
		return op_fail(op, err ? err : -EINVAL, "add", "bad path");
	err = op_place(op, path);
	if (err)
		return err;
	err = make_member(op, path, &slot, row);
	if (err)
		return err;
	err = resync_engine_attach(op->target->engine, slot, path, why,
				   sizeof(why));
	if (err) {
		/* Not of one that is a member still, or on its way back. */
		if (!mirror_member_remove(m, slot))
			ignore_result(volume_unmake(path));
		return op_fail(op, err, path, "%s", *why ? why : ui_why(err));
	}
	log_info("store added: store=%s path=%s", row->name, path);
	if (json_put_bytes(op->reply, "store", row->name) ||
	    json_put_text(op->reply, "uuid", row->uuid))
		return -ENOMEM;
	return op_put_paused(op, op->reply);
}
