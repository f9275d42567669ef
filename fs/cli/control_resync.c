/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests about resyncing: begin, foresee, watch, steer.
 */
#include <stdio.h>

#include "fs/cli/control_ops.h"
#include "fs/cli/json_util.h"
#include "fs/cli/report.h"
#include "fs/cli/ui.h"

/* The members that are away, or the one that the request names. */
struct away {
	unsigned int slots[META_STORE_MAX];
	size_t count;
	bool named;
};

static int away_find(struct control_op *op, struct away *ret)
{
	struct mirror *m = op->target->mirror;
	unsigned int count = mirror_slot_count(m);
	struct mirror_slot_info info;
	int err;

	*ret = (struct away){.count = 0};
	if (json_object_get(op->request, "store")) {
		err = op_slot(op, &ret->slots[0], &info);
		if (err)
			return err;
		ret->count = 1;
		ret->named = true;
		return 0;
	}
	for (unsigned int i = 0; i < count && ret->count < META_STORE_MAX;
	     i++) {
		mirror_slot_info(m, i, &info);
		if (info.used && info.state != META_STORE_ONLINE)
			ret->slots[ret->count++] = i;
	}
	return 0;
}

static int send_failure(struct control_op *op, const char *store,
			const char *why)
{
	json_t *item = json_object();

	if (json_put_bytes(item, "store", store) ||
	    json_put_text(item, "error", why)) {
		json_decref(item);
		return -ENOMEM;
	}
	return op_item(op, item);
}

static int begin_one(struct control_op *op, unsigned int slot, bool named)
{
	struct mirror_slot_info info;
	char buf[OP_PATH_MAX];
	const char *path = NULL;
	char why[MIRROR_WHY_MAX] = "";
	bool already;
	json_t *item;
	int err = 0;

	mirror_slot_info(op->target->mirror, slot, &info);
	already = info.state == META_STORE_ONLINE;
	if (!already && info.state != META_STORE_RESYNCING) {
		path = named ? op_path(op, &info, buf) : NULL;
		err = path ? op_place(op, path) : 0;
		if (err)
			return err;
		err = resync_engine_attach(op->target->engine, slot, path, why,
					   sizeof(why));
	}
	if (err && named)
		return op_fail(op, err, info.name, "%s",
			       *why ? why : ui_why(err));
	if (err)
		return send_failure(op, info.name, *why ? why : ui_why(err));
	mirror_slot_info(op->target->mirror, slot, &info);
	item = json_object();
	if ((already && op_put_online(&info, item)) ||
	    json_put_bytes(item, "store", info.name) ||
	    json_put_text(item, "uuid", info.uuid) ||
	    json_put_text(item, "state", report_state_name(info.state)) ||
	    op_put_paused(op, item)) {
		json_decref(item);
		return -ENOMEM;
	}
	return op_item(op, item);
}

int op_resync(struct control_op *op)
{
	struct away away;
	int err = away_find(op, &away);

	for (size_t i = 0; !err && i < away.count; i++)
		err = begin_one(op, away.slots[i], away.named);
	return err;
}

static int forecast_one(struct control_op *op, unsigned int slot, bool named)
{
	struct resync_counts counts = {0};
	struct mirror_slot_info info;
	char buf[OP_PATH_MAX];
	char why[MIRROR_WHY_MAX] = "";
	json_t *item;
	int err = 0;

	mirror_slot_info(op->target->mirror, slot, &info);
	if (info.state == META_STORE_ONLINE)
		counts.from_seq = counts.to_seq = info.durable_seq;
	else
		err = resync_engine_forecast(op->target->engine, slot,
					     named ? op_path(op, &info, buf)
						   : NULL,
					     &counts, why, sizeof(why));
	if (err && named)
		return op_fail(op, err, info.name, "%s",
			       *why ? why : ui_why(err));
	if (err)
		return send_failure(op, info.name, *why ? why : ui_why(err));
	item = json_object();
	if (report_counts(&counts, info.name, item)) {
		json_decref(item);
		return -ENOMEM;
	}
	return op_item(op, item);
}

int op_resync_forecast(struct control_op *op)
{
	struct away away;
	int err = away_find(op, &away);

	for (size_t i = 0; !err && i < away.count; i++)
		err = forecast_one(op, away.slots[i], away.named);
	return err;
}

/* The last result of this member, if it has one. */
static int put_result(struct control_op *op,
		      const struct mirror_slot_info *info,
		      const struct resync_engine_state *state)
{
	struct resync_counts counts = state->last_counts;
	json_t *result;

	/* In step without one: nothing was done, and that is a result too. */
	if (state->last_result > 0 && info->state == META_STORE_ONLINE)
		counts = (struct resync_counts){
			.from_seq = info->durable_seq,
			.to_seq = info->durable_seq,
		};
	else if (state->last_result > 0)
		return json_object_set_new(op->reply, "result", json_null())
			       ? -ENOMEM
			       : 0;
	if (state->last_result < 0)
		return json_put_text(op->reply, "failed",
				     *state->last_why
					     ? state->last_why
					     : ui_why(state->last_result));
	result = json_object();
	if (report_counts(&counts, info->name, result)) {
		json_decref(result);
		return -ENOMEM;
	}
	return json_object_set_new(op->reply, "result", result) ? -ENOMEM : 0;
}

int op_resync_state(struct control_op *op)
{
	struct resync_engine_state state;
	struct mirror_slot_info info;
	json_t *progress;
	unsigned int slot;
	int err = op_slot(op, &slot, &info);

	if (err)
		return err;
	resync_engine_state(op->target->engine, slot, &state);
	/* Look again: it may have come online between the two. */
	mirror_slot_info(op->target->mirror, slot, &info);
	if (json_put_bytes(op->reply, "store", info.name) ||
	    json_put_text(op->reply, "state", report_state_name(info.state)) ||
	    json_object_set_new(op->reply, "running",
				json_boolean(state.running)) ||
	    json_object_set_new(op->reply, "paused",
				json_boolean(state.paused)))
		return -ENOMEM;
	if (!state.running)
		return put_result(op, &info, &state);
	progress = json_object();
	if (report_progress(&state.progress, info.name, progress)) {
		json_decref(progress);
		return -ENOMEM;
	}
	return json_object_set_new(op->reply, "progress", progress) ? -ENOMEM
								    : 0;
}

static int cancel_some(struct control_op *op)
{
	struct away away;
	size_t cancelled = 0;
	int err = away_find(op, &away);

	for (size_t i = 0; !err && i < away.count; i++) {
		struct resync_engine_state state;

		resync_engine_state(op->target->engine, away.slots[i], &state);
		if (!state.running)
			continue;
		err = resync_engine_cancel(op->target->engine, away.slots[i]);
		cancelled += !err;
	}
	if (!err && !cancelled)
		return op_fail(op, -ENOENT, op->target->mountpoint,
			       "no resync is running");
	return err;
}

int op_put_paused(struct control_op *op, json_t *reply)
{
	struct resync_engine_state state;

	resync_engine_state(op->target->engine, 0, &state);
	return json_object_set_new(reply, "paused", json_boolean(state.paused))
		       ? -ENOMEM
		       : 0;
}

static bool any_runs(struct control_op *op)
{
	for (unsigned int i = 0; i < META_STORE_MAX; i++) {
		struct resync_engine_state state;

		resync_engine_state(op->target->engine, i, &state);
		if (state.running)
			return true;
	}
	return false;
}

int op_resync_set(struct control_op *op)
{
	const json_t *paused = json_object_get(op->request, "paused");
	struct resync_engine *e = op->target->engine;
	int err = 0;

	if (json_object_get(op->request, "rate"))
		resync_engine_set_rate(e, json_number(op->request, "rate"));
	if (paused)
		err = resync_engine_pause(e, json_is_true(paused));
	if (!err && json_flag(op->request, "cancel"))
		err = cancel_some(op);
	if (err)
		return err;
	if (json_object_set_new(op->reply, "running",
				json_boolean(any_runs(op))))
		return -ENOMEM;
	return op_put_paused(op, op->reply);
}
