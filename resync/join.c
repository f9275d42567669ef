/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of a resync between unmounted stores: the source and everyone who came
 * in step record an epoch together, as a mount does when a store comes back: the
 * source first, the targets after it, confirmed when all have it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "resync/present.h"

struct joining {
	struct present_set *set;
	size_t source;
	const bool *in_step;	  /* of the set: these and the source join */
	struct meta_member *rows; /* the volume's, as they are to be */
	size_t row_count;
	struct meta_epoch epoch;
	uint64_t seq_reserved;
	uint64_t node_reserved;
	bool clean;
};

static int compare_uuids(const void *a, const void *b)
{
	return strcmp(a, b);
}

static int highest(const struct joining *j, enum meta_number what,
		   uint64_t *ret)
{
	*ret = 0;
	for (size_t i = 0; i < j->set->count; i++) {
		struct meta_reader *rd = meta_reader_get(j->set->v[i].meta);
		uint64_t value;
		int err;

		if (!rd)
			return -ENOMEM;
		err = meta_number_get(rd, what, &value);
		meta_reader_put(rd);
		if (err)
			return err;
		*ret = MAX(*ret, value);
	}
	return 0;
}

/* The rows as everyone in step is to have them; whether all that should be
 * online are. */
static bool update_rows(struct joining *j)
{
	uint64_t cut = j->set->v[j->source].durable_seq;
	bool all = true;

	for (size_t k = 0; k < j->row_count; k++) {
		struct meta_member *row = &j->rows[k];
		int at = present_find(j->set, row->uuid);

		if (at < 0 || !j->in_step[at]) {
			all &= row->state != META_STORE_ONLINE;
			continue;
		}
		row->state = META_STORE_ONLINE;
		row->durable_seq = cut;
		snprintf(row->path_hint, sizeof(row->path_hint), "%s",
			 store_path(j->set->v[at].store));
	}
	return all;
}

static int plan(struct joining *j)
{
	struct meta_epoch *e = &j->epoch;
	int err;

	err = highest(j, META_NUM_SEQ_RESERVED, &j->seq_reserved);
	if (!err)
		err = highest(j, META_NUM_NODE_RESERVED, &j->node_reserved);
	if (!err)
		err = uuid_generate(e->id);
	if (err)
		return err;
	e->first_seq = ++j->seq_reserved;
	e->first_node = j->node_reserved + 1;
	e->by_copy = j->set->v[j->source].copy;
	e->base = j->set->v[j->source].durable_seq;
	for (size_t i = 0; i < j->set->count; i++) {
		if (j->in_step[i])
			memcpy(e->members[e->member_count++],
			       meta_store_uuid(j->set->v[i].meta),
			       META_UUID_LEN + 1);
	}
	qsort(e->members, e->member_count, sizeof(e->members[0]),
	      compare_uuids);
	j->clean = update_rows(j) || j->set->v[j->source].clean;
	return 0;
}

static int join_rows(const struct joining *j, struct meta *meta)
{
	int err = 0;

	for (size_t k = 0; !err && k < j->row_count; k++)
		err = meta_member_put(meta, &j->rows[k]);
	if (!err)
		err = meta_number_set(meta, META_NUM_SEQ_RESERVED,
				      j->seq_reserved);
	if (!err)
		err = meta_number_set(meta, META_NUM_NODE_RESERVED,
				      j->node_reserved);
	if (!err)
		err = meta_number_set(meta, META_NUM_RESYNCING, 0);
	if (!err)
		err = meta_laps_clear(meta);
	if (!err)
		err = meta_number_set(meta, META_NUM_COPY, 0);
	if (!err)
		err = meta_epoch_append(meta, &j->epoch);
	return err;
}

static int confirm_rows(const struct joining *j, struct meta *meta,
			uint64_t root_look)
{
	int err = meta_epoch_confirm(meta, j->epoch.id);

	if (!err)
		err = meta_number_set(meta, META_NUM_ROOT_LOOK, root_look);
	if (!err)
		err = meta_number_set(meta, META_NUM_CLEAN, j->clean);
	return err;
}

static int join_map(const struct joining *j, size_t i, bool confirm)
{
	struct meta *meta = j->set->v[i].meta;
	uint64_t look = 0;
	int err = confirm ? store_root_look(j->set->v[i].store, &look) : 0;

	if (!err)
		err = meta_begin(meta);
	if (err)
		return err;
	err = confirm ? confirm_rows(j, meta, look) : join_rows(j, meta);
	if (err) {
		meta_rollback(meta);
		return err;
	}
	return meta_commit(meta);
}

int present_join(struct present_set *set, size_t source, const bool in_step[],
		 struct meta_member *rows, size_t row_count)
{
	struct joining j = {
		.set = set,
		.source = source,
		.in_step = in_step,
		.rows = rows,
		.row_count = row_count,
	};
	int err = plan(&j);

	if (!err)
		err = join_map(&j, source, false);
	for (size_t i = 0; !err && i < set->count; i++) {
		if (i != source && in_step[i])
			err = join_map(&j, i, false);
	}
	for (size_t i = 0; !err && i < set->count; i++) {
		if (in_step[i])
			err = join_map(&j, i, true);
	}
	if (err)
		return present_refuse(set, err,
				      "cannot record that the stores are in "
				      "step: %s",
				      strerror(-err));
	return 0;
}
