/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the map of one unmounted store says. It knows itself for certain; of
 * the other members, what it last heard.
 */
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#include "fs/cli/json_util.h"
#include "fs/cli/report.h"
#include "resync/lineage.h"
#include "resync/reach.h"
#include "resync/side.h"

struct snapshot {
	struct meta_member members[META_STORE_MAX];
	size_t count;
	uint64_t durable_seq;
	uint64_t clean;
	uint64_t resyncing;
	uint64_t intents;
	bool armed; /* some of them by operations */
	/* Who shares its last epoch; 0: no epoch, or a resync was not finished. */
	char tip[META_STORE_MAX][META_UUID_LEN + 1];
	size_t tip_count;
};

static int number(struct meta_reader *rd, enum meta_number what, uint64_t *ret)
{
	int err = meta_number_get(rd, what, ret);

	if (err == -ENOENT) {
		*ret = 0;
		err = 0;
	}
	return err;
}

static void keep_tip(struct snapshot *s, const struct lineage_view *view)
{
	const struct meta_epoch *tip;

	if (view->resyncing || !view->count)
		return;
	tip = &view->epochs[view->count - 1];
	s->tip_count = tip->member_count;
	memcpy(s->tip, tip->members, sizeof(s->tip));
}

/*
 * Nobody is in step who is not of the last epoch, whatever his row says: a repair
 * and a resync without a mount found one with those who were there, and the next
 * mount gives the others their state.
 */
static void correct_rows(struct snapshot *s)
{
	for (size_t i = 0; s->tip_count && i < s->count; i++) {
		struct meta_member *row = &s->members[i];
		bool shares = false;

		for (size_t k = 0; k < s->tip_count; k++)
			shares |= strcmp(s->tip[k], row->uuid) == 0;
		if (!shares && row->state == META_STORE_ONLINE)
			row->state = META_STORE_MISSING;
	}
}

static int snapshot_read(struct meta *map, struct snapshot *ret)
{
	struct meta_reader *rd = meta_reader_get(map);
	struct lineage_of of = {0};
	int err;

	if (!rd)
		return -EIO;
	err = meta_members(rd, ret->members, &ret->count);
	if (!err)
		err = number(rd, META_NUM_DURABLE_SEQ, &ret->durable_seq);
	if (!err)
		err = number(rd, META_NUM_CLEAN, &ret->clean);
	if (!err)
		err = number(rd, META_NUM_RESYNCING, &ret->resyncing);
	if (!err)
		err = meta_intent_count(rd, &ret->intents);
	if (!err)
		err = lineage_load(map, rd, NULL, &of);
	meta_reader_put(rd);
	ret->armed = of.view.intents && !of.view.doubts_only;
	keep_tip(ret, &of.view);
	correct_rows(ret);
	lineage_done(&of);
	return err;
}

/* A copy whose files may not be what its map says? */
static int is_unclean_copy(const char *path, struct meta *map, bool *ret)
{
	struct meta_reader *rd = meta_reader_get(map);
	int r = rd ? reach_is_copied(path, rd) : -EIO;

	if (r >= 0)
		r = side_is_unclean(rd, r > 0);
	meta_reader_put(rd);
	*ret = r > 0;
	return MIN(r, 0);
}

static uint64_t free_bytes(const char *path)
{
	struct statvfs fs;

	if (statvfs(path, &fs) < 0)
		return 0;
	return (uint64_t)fs.f_bavail * fs.f_frsize;
}

/* Whether another member is known to be further than the one that is asked. */
static bool is_behind(const struct snapshot *s)
{
	if (s->resyncing)
		return true;
	for (size_t i = 0; i < s->count; i++)
		if (s->members[i].durable_seq > s->durable_seq)
			return true;
	return false;
}

static int put_member(const struct snapshot *s, const struct meta_member *row,
		      const char *own_path, struct meta *map, json_t *stores)
{
	struct mirror_slot_info info = {.state = row->state, .used = true};
	bool behind = is_behind(s);
	json_t *store;
	int err;

	(void)snprintf(info.uuid, sizeof(info.uuid), "%s", row->uuid);
	(void)snprintf(info.name, sizeof(info.name), "%s", row->name);
	(void)snprintf(info.path, sizeof(info.path), "%s",
		       own_path ? own_path : row->path_hint);
	/* Of itself it knows for certain. Who was online with it went through
	 * the same checkpoints; of others it has what it last heard. */
	info.durable_seq = row->durable_seq;
	if (own_path && s->resyncing)
		info.state = META_STORE_RESYNCING; /* its row may be older */
	if (own_path)
		info.durable_seq = s->durable_seq;
	else if (row->state == META_STORE_ONLINE)
		info.durable_seq = MAX(s->durable_seq, row->durable_seq);
	if (own_path)
		info.free_bytes = free_bytes(own_path);
	/* How far, only the one that is furthest can tell. */
	err = report_store(
		&info, own_path ? !behind : info.durable_seq >= s->durable_seq,
		own_path || behind ? NULL : map, &store);
	if (err)
		return err;
	return json_array_append_new(stores, store) ? -ENOMEM : 0;
}

static int put_stores(const struct snapshot *s, const char *path,
		      struct meta *map, json_t *report)
{
	json_t *stores = json_array();

	if (json_object_set_new(report, "stores", stores))
		return -ENOMEM;
	for (size_t i = 0; i < s->count; i++) {
		const struct meta_member *row = &s->members[i];
		bool own = strcmp(row->uuid, meta_store_uuid(map)) == 0;
		int err = put_member(s, row, own ? path : NULL, map, stores);

		if (err)
			return err;
	}
	return 0;
}

static const char *state_of(const struct snapshot *s)
{
	if (s->resyncing)
		return "resyncing";
	for (size_t i = 0; i < s->count; i++)
		if (s->members[i].state != META_STORE_ONLINE)
			return "degraded";
	/* What was in doubt at the end may differ between the stores. */
	return s->clean && !s->intents ? "healthy" : "degraded";
}

int report_unmounted(const char *path, struct meta *map, const char *store_name,
		     json_t **ret_report)
{
	_cleanup_json_ json_t *report = json_object();
	_cleanup_free_ struct snapshot *s = calloc(1, sizeof(*s));
	bool unclean_copy = false;
	bool clean;
	int err;

	if (!report || !s)
		return -ENOMEM;
	err = snapshot_read(map, s);
	if (!err)
		err = is_unclean_copy(path, map, &unclean_copy);
	if (err)
		return err;
	/* A mount that changed nothing leaves nothing in doubt but in a copy. */
	clean = s->clean && !s->armed &&
		!(unclean_copy && s->clean == META_CLEAN_MOUNTED);
	if (json_put_text(report, "volume", meta_volume_uuid(map)) ||
	    json_put_text(report, "state", state_of(s)) ||
	    json_put_number(report, "seq", s->durable_seq) ||
	    json_object_set_new(report, "resync", json_null()) ||
	    json_object_set_new(report, "mounted", json_false()) ||
	    json_put_bytes(report, "told_by", store_name) ||
	    json_object_set_new(report, "clean", json_boolean(clean)) ||
	    json_object_set_new(report, "unclean_copy",
				json_boolean(unclean_copy)) ||
	    json_put_number(report, "intents", s->intents))
		return -ENOMEM;
	err = put_stores(s, path, map, report);
	if (err)
		return err;
	*ret_report = steal_pointer(&report);
	return 0;
}
