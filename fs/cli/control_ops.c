/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of requests, strict about their keys, and those that only look.
 */
#include "fs/cli/control_ops.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "fs/cli/changes.h"
#include "fs/cli/json_util.h"
#include "fs/cli/report.h"
#include "fs/cli/ui.h"
#include "resync/reach.h"

/* A call that lasts longer is no reason to wait for. */
#define WAITS_MS 1000u

#define KEYS_MAX 8

struct op_row {
	const char *name;
	int (*run)(struct control_op *op);
	bool changes; /* one at a time */
	/* "key:type", s text, i number >= 0, b truth; '!' in front: needed */
	const char *keys[KEYS_MAX];
};

static const struct op_row op_rows[] = {
	{"status", op_status, false, {NULL}},
	{"options", op_options, false, {NULL}},
	{"detach", op_detach, true, {"!s:store", "s:path", "s:path_hex"}},
	{"attach",
	 op_attach,
	 true,
	 {"!s:store", "s:path", "s:path_hex", "b:rebuild"}},
	{"add", op_add, true, {"!s:path", "s:path_hex", "s:name"}},
	{"remove", op_remove, true, {"!s:store", "s:path", "s:path_hex"}},
	{"resync", op_resync, true, {"s:store", "s:path", "s:path_hex"}},
	{"resync-forecast",
	 op_resync_forecast,
	 false,
	 {"s:store", "s:path", "s:path_hex"}},
	{"resync-state", op_resync_state, false, {"!s:store"}},
	{"resync-set",
	 op_resync_set,
	 false,
	 {"b:paused", "i:rate", "b:cancel", "s:store", "s:path", "s:path_hex"}},
	{"changes",
	 op_changes,
	 false,
	 {"!s:since", "s:since_path", "s:since_path_hex", "s:until",
	  "s:until_path", "s:until_path_hex", "b:blocks"}},
	{"map", op_map, false, {"!i:node"}},
	{"scrub",
	 op_scrub,
	 false,
	 {"b:repair", "b:restart", "i:rate", "s:store", "s:path",
	  "s:path_hex"}},
	{"scrub-cancel", op_scrub_cancel, false, {NULL}},
	{"scrub-state", op_scrub_state, false, {"b:findings"}},
	{"diff", op_diff, false, {"!s:store", "s:path", "s:path_hex"}},
};

int op_fail(struct control_op *op, int err, const char *what,
	    const char *why_fmt, ...)
{
	size_t len;
	va_list args;

	(void)snprintf(op->error, sizeof(op->error) / 2, "%s: ", what);
	len = strlen(op->error);
	va_start(args, why_fmt);
	text_mark_cut(op->error + len, sizeof(op->error) - len,
		      vsnprintf(op->error + len, sizeof(op->error) - len,
				why_fmt, args));
	va_end(args);
	return err ? err : -EIO;
}

int op_item(struct control_op *op, json_t *item)
{
	json_t *message = json_object();
	int err = -ENOMEM;

	if (!item || !message) {
		json_decref(item);
	} else if (json_object_set_new(message, "item", item) == 0) {
		err = wire_send(op->wire, message);
		op->broken = err != 0;
	}
	json_decref(message);
	return err;
}

static bool value_fits(const json_t *value, char type)
{
	switch (type) {
	case 's':
		return json_is_string(value);
	case 'i':
		return json_is_integer(value) && json_integer_value(value) >= 0;
	default:
		return json_is_boolean(value);
	}
}

/* Every key needed is there, each is of its type, and there is no other. */
static int check_keys(struct control_op *op, const struct op_row *row)
{
	size_t known = 1; /* "op" */

	for (size_t i = 0; i < KEYS_MAX && row->keys[i]; i++) {
		const char *spec = row->keys[i];
		bool needed = *spec == '!';
		const json_t *value;

		spec += needed;
		value = json_object_get(op->request, spec + 2);
		if (!value && !needed)
			continue;
		if (!value || !value_fits(value, *spec))
			return op_fail(op, -EINVAL, row->name,
				       "bad or missing \"%s\"", spec + 2);
		known++;
	}
	if (known != json_object_size(op->request))
		return op_fail(op, -EINVAL, row->name, "unknown key");
	return 0;
}

static void gate_enter(struct control_gate *gate)
{
	mutex_lock(&gate->lock);
	while (gate->taken)
		cond_wait(&gate->left, &gate->lock);
	gate->taken = true;
	mutex_unlock(&gate->lock);
}

static void gate_leave(struct control_gate *gate)
{
	mutex_lock(&gate->lock);
	gate->taken = false;
	cond_signal(&gate->left);
	mutex_unlock(&gate->lock);
}

int control_ops_run(struct control_op *op, struct control_gate *gate)
{
	const char *name = json_text(op->request, "op");
	int err;

	for (size_t i = 0; i < ARRAY_SIZE(op_rows); i++) {
		const struct op_row *row = &op_rows[i];

		if (strcmp(row->name, name) != 0)
			continue;
		err = check_keys(op, row);
		if (err)
			return err;
		if (row->changes)
			gate_enter(gate);
		err = row->run(op);
		if (row->changes)
			gate_leave(gate);
		if (err && !*op->error)
			(void)op_fail(op, err, row->name, "%s", ui_why(err));
		return err;
	}
	return op_fail(op, -EINVAL, "control socket", "unknown request");
}

/* ---- looking ---- */

/* Then what has to be written first, or read, may take as long. */
static bool somebody_waits(struct mirror *m)
{
	unsigned int count = mirror_slot_count(m);

	for (unsigned int i = 0; i < count; i++) {
		struct mirror_slot_info info;

		mirror_slot_info(m, i, &info);
		if (info.waits_ms >= WAITS_MS)
			return true;
	}
	return false;
}

/* The lead's map, held for as long as the reference. */
static int lead_get(struct control_op *op, struct mirror_ref *ret_ref)
{
	struct mirror *m = op->target->mirror;
	int slot = mirror_lead(m);

	if (slot < 0)
		return -ENODEV;
	if (somebody_waits(m))
		return -EBUSY;
	return mirror_ref_get(m, (unsigned int)slot, ret_ref);
}

/* Contents and attributes come to the maps with the next checkpoint. */
static int put_uncounted(json_t *store)
{
	return json_object_set_new(json_object_get(store, "behind"), "exact",
				   json_false())
		       ? -ENOMEM
		       : 0;
}

int op_status(struct control_op *op)
{
	struct mirror *m = op->target->mirror;
	unsigned int count = mirror_slot_count(m);
	bool all = mirror_all_in_maps(m);
	struct mirror_ref lead;
	bool has_lead = lead_get(op, &lead) == 0;
	int err = 0;

	for (unsigned int i = 0; !err && i < count; i++) {
		struct mirror_slot_info info;
		json_t *store = NULL;

		mirror_slot_info(m, i, &info);
		if (!info.used)
			continue;
		err = report_store(&info, info.state == META_STORE_ONLINE,
				   has_lead ? lead.meta : NULL, &store);
		if (!err && !all && info.state != META_STORE_ONLINE)
			err = put_uncounted(store);
		if (!err)
			err = op_item(op, store);
	}
	if (has_lead)
		mirror_ref_put(m, &lead);
	if (!err)
		err = report_volume(op->target, op->reply);
	return err;
}

int op_options(struct control_op *op)
{
	return json_put_bytes(op->reply, "options", op->target->options);
}

static int send_change(void *arg, const struct change *change)
{
	struct control_op *op = arg;
	json_t *item = json_object();
	int err = 0;

	if (change->path)
		err = json_put_bytes(item, "path", change->path);
	if (err || json_put_number(item, "node", change->node) ||
	    json_put_text(item, "kind", changes_kind_name(change->kind)) ||
	    json_put_number(item, "seq", change->seq) ||
	    (change->end && (json_put_number(item, "start", change->start) ||
			     json_put_number(item, "end", change->end)))) {
		json_decref(item);
		return -ENOMEM;
	}
	return op_item(op, item);
}

/* One end of the question. */
struct point_words {
	const char *word;	      /* as it was said; "": nothing */
	char uuid[META_UUID_LEN + 1]; /* of the store that lies there; "" */
};

/* The member that was there last: who does not answer is asked nothing. */
static bool find_silent(struct control_op *op, const char *path,
			char uuid[META_UUID_LEN + 1])
{
	unsigned int count = mirror_slot_count(op->target->mirror);
	struct mirror_slot_info info;

	for (unsigned int i = 0; i < count; i++) {
		mirror_slot_info(op->target->mirror, i, &info);
		if (!info.used || strcmp(info.path, path) != 0)
			continue;
		memcpy(uuid, info.uuid, META_UUID_LEN + 1);
		return true;
	}
	return false;
}

/* A word may be a store's directory: then its UUID is what is meant. */
static int point_look(struct control_op *op, const char *key,
		      const char *path_key, struct point_words *ret)
{
	struct store_identity id;
	char path[OP_PATH_MAX];
	int err;

	*ret = (struct point_words){.word = json_text(op->request, key)};
	err = json_get_bytes(op->request, path_key, path, sizeof(path));
	if (err == -ENOENT)
		return 0;
	if (err || *path != '/')
		return op_fail(op, -EINVAL, ret->word, "bad path");
	err = reach_identity(path, &id);
	if (!err)
		memcpy(ret->uuid, id.store_uuid, sizeof(ret->uuid));
	else if (err == -ETIMEDOUT && !find_silent(op, path, ret->uuid))
		return op_fail(op, err, ret->word,
			       "does not answer; make it answer and try again");
	return 0;
}

/* Nothing said: @otherwise. */
static int point(struct control_op *op, struct meta *map,
		 const struct point_words *words, uint64_t otherwise,
		 uint64_t *ret_seq)
{
	const char *text = *words->uuid ? words->uuid : words->word;
	struct mirror_slot_info info;
	unsigned int count = mirror_slot_count(op->target->mirror);
	int err;

	*ret_seq = otherwise;
	if (!*text)
		return 0;
	/* Fresher than what the map says of members. */
	for (unsigned int i = 0; i < count; i++) {
		mirror_slot_info(op->target->mirror, i, &info);
		if (info.used && (strcmp(info.name, text) == 0 ||
				  strcmp(info.uuid, text) == 0)) {
			*ret_seq = info.durable_seq;
			return 0;
		}
	}
	err = changes_point(map, text, ret_seq);
	if (err == -EINVAL)
		return op_fail(op, err, words->word,
			       "neither a number, a time nor a store");
	return err;
}

int op_changes(struct control_op *op)
{
	struct changes_query query = {
		.blocks = json_flag(op->request, "blocks"),
	};
	struct mirror *m = op->target->mirror;
	struct point_words since, until;
	struct mirror_ref lead;
	uint64_t cut;
	int err = point_look(op, "since", "since_path", &since);

	if (!err)
		err = point_look(op, "until", "until_path", &until);
	/* The map holds what was there at the last checkpoint. */
	if (!err)
		err = mirror_checkpoint(m, &cut);
	if (!err)
		err = lead_get(op, &lead);
	if (err)
		return err;
	err = point(op, lead.meta, &since, 0, &query.since);
	if (!err)
		err = point(op, lead.meta, &until, cut, &query.until);
	if (!err)
		err = changes_walk(lead.meta, &query, send_change, op);
	mirror_ref_put(m, &lead);
	if (err)
		return err;
	return json_put_number(op->reply, "since", query.since) ||
			       json_put_number(op->reply, "until", query.until)
		       ? -ENOMEM
		       : 0;
}

/* Every extent of the node, in batches so that no snapshot stays open. */
static int send_extents(struct control_op *op, struct meta_reader *rd,
			uint64_t node)
{
	struct meta_extent batch[64];
	uint64_t from = 0;
	size_t count;
	int err = 0;

	do {
		_cleanup_meta_iter_ struct meta_iter it = {0};
		int r = meta_iter_extents(rd, node, from, META_RANGE_MAX, &it);

		count = 0;
		while (r >= 0 && count < ARRAY_SIZE(batch) &&
		       (r = meta_next_extent(&it, &batch[count])) > 0)
			from = batch[count++].end;
		if (r < 0)
			return r;
		meta_iter_done(&it);
		it = (struct meta_iter){0};
		for (size_t i = 0; !err && i < count; i++)
			err = op_item(
				op, json_pack("{s:I, s:I, s:I}", "start",
					      (json_int_t)batch[i].start, "end",
					      (json_int_t)batch[i].end, "seq",
					      (json_int_t)batch[i].seq));
	} while (!err && count == ARRAY_SIZE(batch));
	return err;
}

/* Which members have all of it: those online, and those that left later. */
static int put_holders(struct control_op *op, uint64_t seq)
{
	struct mirror *m = op->target->mirror;
	unsigned int count = mirror_slot_count(m);
	json_t *stores = json_array();

	if (json_object_set_new(op->reply, "stores", stores))
		return -ENOMEM;
	for (unsigned int i = 0; i < count; i++) {
		struct mirror_slot_info info;
		json_t *store = json_object();
		bool online;

		mirror_slot_info(m, i, &info);
		online = info.state == META_STORE_ONLINE;
		if (!info.used) {
			json_decref(store);
			continue;
		}
		if (json_put_bytes(store, "name", info.name) ||
		    json_put_text(store, "uuid", info.uuid) ||
		    json_put_text(store, "state",
				  report_state_name(info.state)) ||
		    json_object_set_new(
			    store, "current",
			    json_boolean(online || info.durable_seq >= seq))) {
			json_decref(store);
			return -ENOMEM;
		}
		if (json_array_append_new(stores, store))
			return -ENOMEM;
	}
	return 0;
}

int op_map(struct control_op *op)
{
	uint64_t id = json_number(op->request, "node");
	struct mirror *m = op->target->mirror;
	struct meta_reader *rd = NULL;
	struct mirror_ref lead;
	struct meta_node node;
	int err = mirror_checkpoint(m, NULL);

	if (!err)
		err = lead_get(op, &lead);
	if (err)
		return err;
	rd = meta_reader_get(lead.meta);
	err = rd ? meta_node_get(rd, id, &node) : -ENOMEM;
	if (!err)
		err = send_extents(op, rd, id);
	meta_reader_put(rd);
	mirror_ref_put(m, &lead);
	if (!err &&
	    (json_put_number(op->reply, "seq", node.seq) ||
	     json_put_number(op->reply, "attr_seq", node.attr_seq) ||
	     json_put_text(op->reply, "kind", changes_kind_name(node.kind))))
		err = -ENOMEM;
	return err ? err : put_holders(op, node.seq);
}
