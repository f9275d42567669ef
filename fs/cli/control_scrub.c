/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests about scrubs: begin, end, watch, what was found.
 */
#include <stdio.h>
#include <string.h>

#include "fs/cli/control_ops.h"
#include "fs/cli/json_util.h"
#include "fs/cli/report.h"
#include "fs/cli/ui.h"

int op_scrub(struct control_op *op)
{
	struct scrub_options o = {
		.repair = json_flag(op->request, "repair"),
		.restart = json_flag(op->request, "restart"),
		.prefer = -1,
		.has_rate = json_object_get(op->request, "rate") != NULL,
		.bytes_per_second = json_number(op->request, "rate"),
	};
	struct mirror_slot_info info;
	char why[MIRROR_WHY_MAX] = "";
	unsigned int slot;
	int err = 0;

	if (json_object_get(op->request, "store")) {
		err = op_slot(op, &slot, &info);
		if (!err && info.state != META_STORE_ONLINE)
			return op_fail(op, -ENODEV, info.name, "is not online");
		o.prefer = (int)slot;
	}
	if (err)
		return err;
	err = scrub_begin(op->target->scrub, &o, why, sizeof(why));
	return err ? op_fail(op, err, op->target->mountpoint, "%s", why) : 0;
}

int op_scrub_cancel(struct control_op *op)
{
	if (scrub_cancel(op->target->scrub))
		return op_fail(op, -ENOENT, op->target->mountpoint,
			       "no scrub is running");
	return 0;
}

static const char *by_word(enum scrub_by by)
{
	static const char *const words[] = {
		[SCRUB_BY_NOBODY] = "",
		[SCRUB_BY_PREFERENCE] = "preference",
		[SCRUB_BY_READING] = "reading",
		[SCRUB_BY_MAJORITY] = "majority",
		[SCRUB_BY_MAP] = "map",
	};

	return words[by];
}

static json_t *what_words(unsigned int what)
{
	static const char *const words[] = {"mode",  "owner", "size", "mtime",
					    "xattr", "value", "links"};
	json_t *list = json_array();

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (what & 1u << i &&
		    json_array_append_new(list, json_string(words[i]))) {
			json_decref(list);
			return NULL;
		}
	return list;
}

static json_t *loser_names(struct control_op *op, uint32_t losers)
{
	json_t *list = json_array();

	for (unsigned int i = 0; i < META_STORE_MAX; i++) {
		struct mirror_slot_info info;

		if (!(losers & 1u << i))
			continue;
		mirror_slot_info(op->target->mirror, i, &info);
		if (json_array_append_new(list, json_safe(info.name))) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

static int send_finding(struct control_op *op, const struct scrub_report *r)
{
	json_t *item = json_object();
	bool range = r->f.start < r->f.end;

	if ((r->path && json_put_bytes(item, "path", r->path)) ||
	    json_put_number(item, "node", r->f.node) ||
	    json_put_text(item, "kind", scrub_kind_word(r->f.kind)) ||
	    json_object_set_new(item, "what", what_words(r->f.what)) ||
	    (range && (json_put_number(item, "start", r->f.start) ||
		       json_put_number(item, "end", r->f.end))) ||
	    json_object_set_new(item, "stores", loser_names(op, r->f.losers)) ||
	    json_put_text(item, "decided_by", by_word(r->f.by)) ||
	    json_object_set_new(item, "repaired", json_boolean(r->fixed)) ||
	    json_put_text(item, "why", r->why ? r->why : "")) {
		json_decref(item);
		return -ENOMEM;
	}
	return op_item(op, item);
}

int op_scrub_state(struct control_op *op)
{
	struct scrub_report r;
	int err = 0;

	for (size_t i = 0; !err && json_flag(op->request, "findings") &&
			   scrub_report(op->target->scrub, i, &r);
	     i++) {
		err = send_finding(op, &r);
		free(r.path);
		free(r.why);
	}
	return err ? err
		   : report_scrub(op->target->mirror, op->target->scrub,
				  op->reply);
}
