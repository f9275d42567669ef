/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/cli/report.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "fs/cli/control.h"
#include "fs/cli/json_util.h"
#include "fs/mount/mount.h"

/* More rows than this are "more than": status stays quick. */
#define BEHIND_ROWS_MAX 200000

const char *report_state_name(enum meta_store_state state)
{
	switch (state) {
	case META_STORE_ONLINE:
		return "online";
	case META_STORE_DETACHED:
	case META_STORE_GIVEN_UP: /* "complete" tells them apart */
		return "detached";
	case META_STORE_MISSING:
		return "missing";
	case META_STORE_FAILED:
		return "failed";
	case META_STORE_RESYNCING:
		return "resyncing";
	}
	return "missing";
}

/* What a store lacks that is durable only through @seq, and for how long. */
struct behind {
	struct meta_delta_sum sum;
	double seconds; /* < 0: not known */
	bool at_most;	/* it may be further than is known */
};

static bool has_member(const struct meta_epoch *e, const char *uuid)
{
	for (uint32_t i = 0; i < e->member_count; i++)
		if (strcmp(e->members[i], uuid) == 0)
			return true;
	return false;
}

/*
 * A checkpoint records through what the one before it was durable everywhere:
 * the outcome of its own it cannot know yet. Who left in good order, or was seen
 * to fail, is recorded then. After a crash of all nobody was: the others were
 * further at the end of the last epoch that it took part in.
 */
static int read_at_most(struct meta_reader *rd,
			const struct mirror_slot_info *info, bool *ret)
{
	_cleanup_free_ struct meta_epoch *v = NULL;
	size_t count = 0;
	size_t with = 0; /* up to the last epoch that it took part in */
	uint64_t reached;
	int err = meta_number_get(rd, META_NUM_DURABLE_SEQ, &reached);

	*ret = false;
	if (!err)
		err = meta_epochs(rd, &v, &count);
	for (size_t i = 0; !err && i < count; i++)
		if (has_member(&v[i], info->uuid))
			with = i + 1;
	if (!err && with && with < count)
		reached = v[with].base;
	*ret = !err && with && reached > info->durable_seq;
	return err;
}

static int behind_read(struct meta *lead, const struct mirror_slot_info *info,
		       struct behind *ret)
{
	struct meta_reader *rd = meta_reader_get(lead);
	struct behind behind = {.seconds = -1.0};
	uint64_t since_ns = info->away_since_ns;
	uint64_t now_ns = clock_real_ns();
	uint64_t seq = info->durable_seq;
	int err;

	if (!rd)
		return -EIO;
	err = meta_delta_sum(rd, seq, BEHIND_ROWS_MAX, &behind.sum);
	if (!err)
		err = read_at_most(rd, info, &behind.at_most);
	if (!err) {
		err = meta_moment_at(rd, seq, &since_ns);
		if (err == -ENOENT)
			err = 0;
	}
	meta_reader_put(rd);
	if (err)
		return err;
	if (since_ns && since_ns <= now_ns)
		behind.seconds = (double)(now_ns - since_ns) / 1e9;
	/* A backup of last month is not late if nothing has changed. */
	if (!behind.sum.nodes)
		behind.seconds = 0.0;
	*ret = behind;
	return 0;
}

static int put_behind(json_t *store, const struct behind *behind)
{
	json_t *object = json_object();

	if (!object || json_put_number(object, "nodes", behind->sum.nodes) ||
	    json_put_number(object, "bytes", behind->sum.bytes) ||
	    json_put_seconds(object, "seconds", behind->seconds) ||
	    json_object_set_new(object, "exact",
				json_boolean(behind->sum.exact)) ||
	    json_object_set_new(object, "at_most",
				json_boolean(behind->at_most))) {
		json_decref(object);
		return -ENOMEM;
	}
	return json_object_set_new(store, "behind", object) ? -ENOMEM : 0;
}

static int put_errors(json_t *store, const struct mirror_slot_info *info)
{
	json_t *errors = json_pack("{s:I, s:I, s:I}", "read",
				   (json_int_t)info->errors_read, "write",
				   (json_int_t)info->errors_write, "repaired",
				   (json_int_t)info->repaired);

	return json_object_set_new(store, "errors", errors) ? -ENOMEM : 0;
}

static int put_time(json_t *store, const char *key, uint64_t real_ns)
{
	char text[CLOCK_TEXT_MAX];

	if (real_ns)
		return json_put_text(store, key, clock_rfc3339(text, real_ns));
	return json_object_set_new(store, key, json_null()) ? -ENOMEM : 0;
}

/* Whether it is a whole copy, as of its durable seq. */
static json_t *complete(const struct mirror_slot_info *info)
{
	if (info->whole)
		return json_true();
	if (info->half)
		return json_false();
	switch (info->state) {
	case META_STORE_ONLINE:
	case META_STORE_DETACHED:
		return json_true();
	case META_STORE_RESYNCING:
	case META_STORE_GIVEN_UP:
		return json_false();
	case META_STORE_MISSING:
	case META_STORE_FAILED:
		break;
	}
	return json_null(); /* not known */
}

int report_store(const struct mirror_slot_info *info, bool in_step,
		 struct meta *lead, json_t **ret_store)
{
	_cleanup_json_ json_t *store = json_object();
	struct behind behind = {.sum.exact = true};
	bool online = info->state == META_STORE_ONLINE;

	if (!in_step && (!lead || behind_read(lead, info, &behind)))
		behind = (struct behind){.seconds = -1.0};
	if (json_put_bytes(store, "name", info->name) ||
	    json_put_text(store, "uuid", info->uuid) ||
	    json_put_bytes(store, "path", info->path) ||
	    json_put_text(store, "state", report_state_name(info->state)) ||
	    json_put_number(store, "durable_seq", info->durable_seq) ||
	    json_object_set_new(store, "complete", complete(info)) ||
	    put_behind(store, &behind) || put_errors(store, info) ||
	    json_put_number(store, "free_bytes", info->free_bytes) ||
	    json_put_number(store, "waits_seconds", info->waits_ms / 1000) ||
	    json_object_set_new(store, "hangs", json_boolean(info->hangs)) ||
	    put_time(store, "away_since", online ? 0 : info->away_since_ns) ||
	    json_put_text(store, "why", online ? "" : info->why))
		return -ENOMEM;
	*ret_store = steal_pointer(&store);
	return 0;
}

int report_progress(const struct resync_progress *progress, const char *store,
		    json_t *report)
{
	if (json_put_bytes(report, "store", store) ||
	    json_put_number(report, "lap", progress->counts.laps + 1) ||
	    json_put_number(report, "bytes_done", progress->bytes_done) ||
	    json_put_number(report, "bytes_total", progress->bytes_total) ||
	    json_put_seconds(report, "eta_seconds", progress->eta_seconds) ||
	    json_put_number(report, "rate_bytes",
			    (uint64_t)MAX(progress->rate_bytes, 0.0)) ||
	    json_put_text(report, "phase",
			  progress->phase ? progress->phase : ""))
		return -ENOMEM;
	return 0;
}

int report_counts(const struct resync_counts *counts, const char *store,
		  json_t *report)
{
	const struct {
		const char *key;
		uint64_t value;
	} numbers[] = {
		{"from_seq", counts->from_seq},
		{"to_seq", counts->to_seq},
		{"laps", counts->laps},
		{"nodes", counts->nodes},
		{"entries_created", counts->entries_created},
		{"entries_removed", counts->entries_removed},
		{"entries_renamed", counts->entries_renamed},
		{"bytes_copied", counts->bytes_copied},
		{"bytes_compared", counts->bytes_compared},
		{"bytes_unmapped", counts->bytes_unmapped},
		{"found", counts->found},
		{"bytes_short", counts->bytes_short},
		{"inodes_short", counts->inodes_short},
	};

	if (json_put_bytes(report, "store", store))
		return -ENOMEM;
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		if (json_put_number(report, numbers[i].key, numbers[i].value))
			return -ENOMEM;
	return json_put_seconds(report, "seconds", MAX(counts->seconds, 0.0));
}

/* The running resync, if one is: under the key "resync". */
static int put_resync(struct mirror *m, struct resync_engine *e, json_t *report,
		      bool *ret_running)
{
	unsigned int count = mirror_slot_count(m);

	for (unsigned int i = 0; i < count; i++) {
		struct resync_engine_state state;
		struct mirror_slot_info info;
		json_t *running;

		resync_engine_state(e, i, &state);
		if (!state.running || state.slot != i)
			continue;
		mirror_slot_info(m, i, &info);
		running = json_object();
		if (!running ||
		    report_progress(&state.progress, info.name, running) ||
		    json_object_set_new(running, "paused",
					json_boolean(state.paused))) {
			json_decref(running);
			return -ENOMEM;
		}
		*ret_running = true;
		return json_object_set_new(report, "resync", running) ? -ENOMEM
								      : 0;
	}
	*ret_running = false;
	return json_object_set_new(report, "resync", json_null()) ? -ENOMEM : 0;
}

/* Members that it has compared, and those that it has not, by name. */
static int put_scrub_stores(struct mirror *m, json_t *report,
			    const struct scrub_counts *n)
{
	json_t *compared = json_array(), *left_out = json_array();
	int err = json_object_set_new(report, "stores", compared);

	if (json_object_set_new(report, "not_compared", left_out) || err)
		return -ENOMEM;
	for (unsigned int i = 0; n->begun_ns && i < mirror_slot_count(m); i++) {
		struct mirror_slot_info info;

		mirror_slot_look(m, i, &info);
		if (info.used &&
		    json_array_append_new(scrub_has(n->stores, info.uuid)
						  ? compared
						  : left_out,
					  json_safe(info.name)))
			return -ENOMEM;
	}
	return 0;
}

static int put_scrub_counts(struct mirror *m, json_t *report,
			    const struct scrub_counts *n)
{
	return put_scrub_stores(m, report, n) ||
	       put_time(report, "begun", n->begun_ns) ||
	       json_put_number(report, "nodes", n->nodes) ||
	       json_put_number(report, "bytes", n->bytes) ||
	       json_put_number(report, "found", n->found) ||
	       json_put_number(report, "repaired", n->fixed) ||
	       json_put_number(report, "busy", n->busy);
}

int report_scrub(struct mirror *m, struct scrub *scrub, json_t *report)
{
	struct scrub_state s;
	json_t *last = json_null();

	scrub_state(scrub, &s);
	if (json_object_set_new(report, "running", json_boolean(s.running)) ||
	    json_put_text(report, "phase", s.phase) ||
	    put_scrub_counts(m, report, &s.now) ||
	    json_put_number(report, "linked", s.now.linked) ||
	    json_put_number(report, "rate_bytes",
			    (uint64_t)MAX(s.rate_bytes, 0.0)) ||
	    json_put_text(report, "failed", s.result < 0 ? s.why : ""))
		return -ENOMEM;
	if (s.last.ended_ns) {
		last = json_object();
		if (put_scrub_counts(m, last, &s.last) ||
		    put_time(last, "ended", s.last.ended_ns)) {
			json_decref(last);
			return -ENOMEM;
		}
	}
	return json_object_set_new(report, "last", last) ? -ENOMEM : 0;
}

static int put_scrub(struct mirror *m, struct scrub *scrub, json_t *report)
{
	json_t *object = json_object();

	if (json_object_set_new(report, "scrub", object))
		return -ENOMEM;
	return report_scrub(m, scrub, object);
}

int report_volume(const struct control_target *target, json_t *report)
{
	struct mirror *m = target->mirror;
	unsigned int count = mirror_slot_count(m);
	bool whole = true;
	bool running;
	unsigned int min_stores;
	bool read_only = mirror_read_only(m, &min_stores);
	struct resync_engine_state engine;

	for (unsigned int i = 0; i < count; i++) {
		struct mirror_slot_info info;

		mirror_slot_info(m, i, &info);
		if (info.used && info.state != META_STORE_ONLINE)
			whole = false;
	}
	resync_engine_state(target->engine, 0, &engine);
	if (json_put_text(report, "volume", mirror_volume_uuid(m)) ||
	    json_put_text(report, "name", target->name) ||
	    put_resync(m, target->engine, report, &running) ||
	    json_object_set_new(report, "resync_paused",
				json_boolean(engine.paused)) ||
	    put_scrub(m, target->scrub, report) ||
	    json_put_text(report, "state",
			  running		? "resyncing"
			  : whole && !read_only ? "healthy"
						: "degraded") ||
	    json_put_number(report, "seq", mirror_seq(m)) ||
	    json_object_set_new(report, "read_only", json_boolean(read_only)) ||
	    json_put_number(report, "min_stores", min_stores) ||
	    json_object_set_new(report, "mounted", json_true()) ||
	    json_put_text(report, "transport",
			  mount_session_transport(target->session)) ||
	    json_put_bytes(report, "mountpoint", target->mountpoint))
		return -ENOMEM;
	return 0;
}
