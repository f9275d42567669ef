/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of a lap: everything durable first, then one transaction that says
 * so, with the source's lineage and members, and without any intent but those
 * over what a source that moves on may yet take back (keep.c), or has in doubt for
 * others.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "resync/lap.h"
#include "resync/lineage.h"

/* What stays in limbo of a lap that must leave nothing. */
static int lap_check_limbo(struct lap *lap)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_dentry d;
	int r;

	if (lap->dry)
		return 0;
	r = meta_iter_dentries(lap->t, META_LIMBO_ID, 0, &it);
	if (r == 0)
		r = meta_next_dentry(&it, &d);
	if (r <= 0)
		return r;
	return lap_incomplete(lap, NULL, "a node was left in limbo");
}

static int close_numbers(struct lap *lap)
{
	static const enum meta_number taken_over[] = {
		META_NUM_SEQ_RESERVED,
		META_NUM_NODE_RESERVED,
	};
	struct meta *meta = lap->dst->meta;
	uint64_t theirs, own;
	int r;

	/* No number may be issued twice, whoever reserved it. */
	for (size_t i = 0; i < ARRAY_SIZE(taken_over); i++) {
		r = meta_number_get(lap->s, taken_over[i], &theirs);
		if (r == 0)
			r = meta_number_get(lap->t, taken_over[i], &own);
		if (r == 0)
			r = meta_number_set(meta, taken_over[i],
					    MAX(theirs, own));
		if (r < 0)
			return r;
	}
	r = meta_number_get(lap->s, META_NUM_HORIZON, &theirs);
	if (r == 0)
		r = meta_number_set(meta, META_NUM_HORIZON,
				    MIN(theirs, lap->args->cut));
	if (r == 0)
		r = meta_number_set(meta, META_NUM_DURABLE_SEQ, lap->args->cut);
	return r;
}

static const struct meta_member *member_find(const struct meta_member *v,
					     size_t count, const char *uuid)
{
	for (size_t i = 0; i < count; i++)
		if (!strcmp(v[i].uuid, uuid))
			return &v[i];
	return NULL;
}

static int close_members(struct lap *lap)
{
	_cleanup_free_ struct meta_member *theirs = NULL;
	_cleanup_free_ struct meta_member *own = NULL;
	struct meta *meta = lap->dst->meta;
	char removed[META_LIST_BYTES];
	size_t count, own_count;
	int r;

	theirs = calloc(META_STORE_MAX, sizeof(*theirs));
	own = calloc(META_STORE_MAX, sizeof(*own));
	if (!theirs || !own)
		return -ENOMEM;
	r = meta_members(lap->s, theirs, &count);
	if (r == 0)
		r = meta_members(lap->t, own, &own_count);
	if (r == 0)
		r = meta_list_get(lap->s, META_LIST_REMOVED, removed);
	if (r == 0)
		r = meta_list_set(meta, META_LIST_REMOVED, removed);
	for (size_t i = 0; r == 0 && i < own_count; i++)
		if (!member_find(theirs, count, own[i].uuid))
			r = meta_member_del(meta, own[i].uuid);
	for (size_t i = 0; r == 0 && i < count; i++) {
		if (!strcmp(theirs[i].uuid, meta_store_uuid(meta)))
			theirs[i].durable_seq = lap->args->cut;
		r = meta_member_put(meta, &theirs[i]);
	}
	return r;
}

/* As good as its source when the last lap is closed; what a map that was made anew
 * says holds from the first one on. */
static int close_copy(struct lap *lap)
{
	uint64_t copy;
	int r = meta_number_get(lap->t, META_NUM_COPY, &copy);

	if (r < 0 || !(lap->args->last || copy & META_COPY_REBUILT))
		return r;
	return meta_number_set(lap->dst->meta, META_NUM_COPY, 0);
}

static int close_lineage(struct lap *lap)
{
	_cleanup_free_ struct meta_epoch *epochs = NULL;
	uint64_t time_ns;
	size_t count;
	int r;

	r = meta_epochs(lap->s, &epochs, &count);
	if (r == 0)
		r = meta_epoch_replace(lap->dst->meta, epochs, count);
	if (r == 0)
		r = meta_laps_clear(lap->dst->meta);
	if (r == 0)
		r = close_copy(lap);
	if (r < 0)
		return r;
	r = meta_moment_at(lap->s, lap->args->cut, &time_ns);
	if (r == 0)
		return meta_moment_put(lap->dst->meta, lap->args->cut, time_ns);
	return r == -ENOENT ? 0 : r;
}

/* With too few stores it is recorded nowhere that one has left. */
static bool misses_one_live(const struct lap *lap)
{
	struct mirror *m = lap->src->live;
	bool misses = false;

	for (unsigned int i = 0; i < mirror_slot_count(m); i++) {
		struct mirror_slot_info info;

		mirror_slot_look(m, i, &info);
		misses |= info.used && info.state != META_STORE_ONLINE &&
			  strcmp(info.uuid, meta_store_uuid(lap->dst->meta));
	}
	return misses;
}

/* Is a member besides the target away? Asked when the doubts about it are in the
 * maps, since those that begin later end the lap without a join. */
static int misses_one(struct lap *lap)
{
	_cleanup_free_ struct meta_member *v =
		calloc(META_STORE_MAX, sizeof(*v));
	size_t count = 0;
	int r = v ? meta_members(lap->s, v, &count) : -ENOMEM;

	if (r == 0 && lap->src->live)
		return misses_one_live(lap);
	for (size_t i = 0; r == 0 && i < count; i++)
		r = v[i].state != META_STORE_ONLINE &&
		    strcmp(v[i].uuid, meta_store_uuid(lap->dst->meta)) != 0;
	return r;
}

/*
 * What the source's map has in doubt for the sake of a store that is away
 * (fs/mirror/slots.c) is in the target's too from now on: the source may be away
 * when that one comes back. In the last lap: here it has been compared, and
 * nothing will look at it again before.
 */
static int close_doubts(struct lap *lap, bool misses)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_intent in;
	int r;

	if (!misses)
		return 0;
	r = meta_iter_intents(lap->s, &it);
	while (r == 0 && (r = meta_next_intent(&it, &in)) > 0) {
		r = 0;
		if (!lineage_is_doubt(&in))
			continue;
		in.generation = META_DOUBT_ELSEWHERE;
		r = meta_intent_put(lap->dst->meta, &in);
	}
	return r;
}

int lap_close(struct lap *lap)
{
	bool misses;
	int r = 0;

	/* The last lap of a live source is short: others came before it. */
	if (!lap->args->last || !lap->src->live)
		r = side_settle(lap->dst);
	if (r == 0)
		r = lap_sync(lap);
	if (r == 0)
		r = lap_check_limbo(lap);
	if (r == 0)
		r = keep_close(lap);
	if (r == 0 && lap->args->last)
		r = misses_one(lap);
	if (r < 0)
		return r;
	misses = r;
	FAULT_POINT("resync.close.before");
	r = lap_begin(lap);
	if (r == 0)
		r = meta_intent_drop_all(lap->dst->meta);
	if (r == 0)
		r = keep_put_all(lap);
	if (r == 0)
		r = close_doubts(lap, misses);
	for (size_t i = 0; r == 0 && i < lap->dir_rows.count; i++)
		r = meta_node_put(lap->dst->meta, &lap->dir_rows.data[i]);
	if (r == 0)
		r = close_numbers(lap);
	if (r == 0)
		r = close_members(lap);
	if (r == 0)
		r = close_lineage(lap);
	if (r < 0)
		return r;
	r = lap_commit(lap);
	FAULT_POINT("resync.close.after");
	return r;
}
