/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between unmounted stores: nothing moves meanwhile, so one lap is enough for
 * each target, and it is the last one.
 *
 * A dry run opens the maps for writing too: a lap tries its changes in
 * transactions that are rolled back.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "resync/present.h"
#include "resync/take_back.h"

enum {
	PATH_TEXT = 300,
};

struct offline {
	struct present_set set;
	const struct resync_control *control;
	size_t target; /* of the lap under way */
	size_t source;
	bool dry;
	bool prefer;  /* the source was named by the user */
	bool half;    /* and is a mixture: its own resync was never finished */
	bool changed; /* a lap was done */
	bool in_step[META_STORE_MAX];
	struct resync_counts *counts;
	struct meta_member *rows; /* the source's; META_STORE_MAX of them */
	size_t row_count;
	size_t known; /* of them, to the source; the others were added since */
};

/* ---- choosing ---- */

static int open_all(struct offline *o, const char *const *paths, size_t count)
{
	if (count < 2)
		return present_refuse(&o->set, -EINVAL,
				      "two stores are needed at least");
	for (size_t i = 0; i < count; i++) {
		int err = present_open(&o->set, paths[i], NULL, true);

		if (err == -EALREADY)
			err = -EINVAL;
		if (err)
			return err;
	}
	return 0;
}

/* 1: there is nothing to prefer, and whoever is named has it all. */
static int is_in_step(struct offline *o, size_t a, size_t b)
{
	struct lineage_verdict verdict;
	int err = lineage_ask(present_end(&o->set.v[a]),
			      present_end(&o->set.v[b]), true, &verdict);

	if (err)
		return present_refuse(&o->set, err,
				      "cannot compare stores %s and %s: %s",
				      present_name(&o->set, a),
				      present_name(&o->set, b), strerror(-err));
	return verdict.relation == RESYNC_IN_STEP && !o->set.v[b].copy;
}

/*
 * In the middle of a resync it is no state that ever was. It is kept at the
 * user's word, but not over a store that is complete, has all that the resync
 * brought, and may be all that is left of it.
 */
static int check_half(struct offline *o, size_t prefer)
{
	int whole, err;

	if (!o->set.v[prefer].resyncing)
		return 0;
	err = present_whole_of(&o->set, prefer, &whole);
	if (err)
		return err;
	if (whole >= 0)
		return present_refuse_half(&o->set, prefer, (size_t)whole);
	o->half = true;
	if (!o->dry)
		log_warn("a mixture of two states is kept, a resync of it was "
			 "not finished: store=%s",
			 present_name(&o->set, prefer));
	return 0;
}

static int choose_alone(struct offline *o)
{
	int picked = present_pick(&o->set, true);

	if (picked == -EREMCHG)
		picked = present_pick(&o->set, false);
	if (picked >= 0)
		o->source = (size_t)picked;
	return MIN(picked, 0);
}

static int choose(struct offline *o, int prefer)
{
	int picked, same = 0, err;

	if (prefer < 0)
		return choose_alone(o);
	if (o->set.v[prefer].unclean_copy)
		return present_refuse_unclean(&o->set, (size_t)prefer);
	err = check_half(o, (size_t)prefer);
	if (err)
		return err;
	picked = present_pick(&o->set, true);
	if (picked == -EREMCHG)
		picked = present_pick(&o->set, false);
	if (picked >= 0 && picked != prefer)
		same = is_in_step(o, (size_t)picked, (size_t)prefer);
	if (same < 0)
		return same;
	if (picked >= 0 && picked != prefer && !same)
		return present_refuse(
			&o->set, -EINVAL,
			"store %s has all that store %s has, there is nothing "
			"to prefer; leave --prefer away",
			present_name(&o->set, (size_t)picked),
			present_name(&o->set, (size_t)prefer));
	if (picked < 0 && picked != -EREMCHG && picked != -ENODEV)
		return picked;
	o->prefer = picked < 0;
	o->source = (size_t)prefer;
	return 0;
}

static int check_members(struct offline *o)
{
	struct added_rows all = {.rows = o->rows};
	int err = present_members(&o->set, o->source, &all);

	o->row_count = all.count;
	o->known = all.known;
	for (size_t i = 0; !err && i < o->set.count; i++) {
		const char *uuid =
			store_identity(o->set.v[i].store)->store_uuid;
		bool known = false;

		for (size_t k = 0; k < o->row_count; k++)
			known |= !strcmp(o->rows[k].uuid, uuid);
		if (!known)
			err = present_refuse_stranger(&o->set, o->source, i);
	}
	return err;
}

/* As for a mount: who is missing may have gone on alone, and would be a fork
 * of what is made here. */
static int check_missing(struct offline *o)
{
	for (size_t k = 0; k < o->row_count; k++) {
		const struct meta_member *row = &o->rows[k];
		char text[PATH_TEXT];

		if (o->set.v[o->source].clean ||
		    row->state != META_STORE_ONLINE ||
		    present_find(&o->set, row->uuid) >= 0)
			continue;
		return present_refuse(
			&o->set, -ENODEV,
			"the volume was not left cleanly and store %s (last at "
			"%s) may have newer data: name it as well, or go on "
			"without it with --prefer %s",
			row->name,
			path_quote(text, sizeof(text), row->path_hint),
			present_name(&o->set, o->source));
	}
	return 0;
}

/* ---- one target ---- */

static int judge(struct offline *o, size_t i, struct lineage_verdict *v,
		 bool *ret_both)
{
	int err = lineage_ask(present_end(&o->set.v[o->source]),
			      present_end(&o->set.v[i]), true, v);

	*ret_both = false;
	if (err)
		return present_refuse(&o->set, err,
				      "cannot compare store %s: %s",
				      present_name(&o->set, i), strerror(-err));
	if (v->relation == RESYNC_IN_STEP || v->relation == RESYNC_STALE)
		return 0;
	if (v->relation == RESYNC_FOREIGN || !o->prefer) {
		struct present_words at;

		present_words(&o->set, o->source, i, &at);
		return present_refuse(
			&o->set, -EREMCHG,
			"stores %s and %s were changed independently of each "
			"other; see `seqmirror diff %s %s`, keep one with "
			"--prefer STORE",
			present_name(&o->set, o->source),
			present_name(&o->set, i), at.one, at.other);
	}
	*ret_both = true;
	v->from = v->fork_from;
	return 0;
}

static bool nothing_to_do(const struct offline *o, const struct present *t,
			  const struct lineage_verdict *v)
{
	return v->relation == RESYNC_IN_STEP && !t->copy && t->clean &&
	       o->set.v[o->source].clean;
}

/* The source's map may call it detached, and so whole: not from the first
 * change on. */
static int record_begun(void *arg)
{
	struct offline *o = arg;
	struct meta_member *row = NULL;

	for (size_t k = 0; !row && k < o->row_count; k++)
		if (!strcmp(o->rows[k].uuid,
			    meta_store_uuid(o->set.v[o->target].meta)))
			row = &o->rows[k];
	if (!row || row->state == META_STORE_RESYNCING)
		return 0;
	row->state = META_STORE_RESYNCING;
	return present_put_row(&o->set.v[o->source], row);
}

static int resync_one(struct offline *o, size_t i)
{
	struct present *s = &o->set.v[o->source], *t = &o->set.v[i];
	struct resync_counts *counts = &o->counts[i];
	uint64_t begin_ns = clock_mono_ns();
	struct resync_control control = {0};
	struct lineage_verdict verdict;
	struct resync_lap_args args = {
		.source = {.store = s->store, .meta = s->meta},
		.target = {.store = t->store, .meta = t->meta},
		.cut = s->durable_seq,
		.last = true,
		.control = &control,
	};
	int err = judge(o, i, &verdict, &args.both);

	if (err)
		return err;
	args.from = verdict.from;
	args.fork_node = verdict.fork_node;
	counts->from_seq = verdict.from;
	counts->to_seq = args.cut;
	if (nothing_to_do(o, t, &verdict)) {
		o->in_step[i] = true;
		return 0;
	}
	if (o->control)
		control = *o->control;
	control.begin = record_begun;
	control.begin_arg = o;
	o->target = i;
	if (!o->dry)
		err = resync_trim_void(s->meta, t->meta);
	if (!err)
		err = resync_lap(&args, counts);
	counts->seconds =
		(double)(clock_mono_ns() - begin_ns) / (double)CLOCK_NS_PER_SEC;
	if (err == -ECANCELED)
		return present_refuse(
			&o->set, err,
			"interrupted before store %s was in step%s",
			present_name(&o->set, i),
			o->dry ? "" : "; the same command goes on from here");
	if (err) {
		char why[300];

		(o->dry ? resync_why_dry : resync_why)(err, counts, why,
						       sizeof(why));
		return present_refuse(
			&o->set, err, "cannot bring store %s in step: %s%s",
			present_name(&o->set, i), why,
			err == -EREMOTEIO ? " (a mounted volume reads from "
					    "all its stores)"
					  : "");
	}
	o->in_step[i] = true;
	o->changed = true;
	return 0;
}

/* ---- all of it ---- */

/* 1: @i, not the source, has left in doubt what the source is to recover. Of a
 * fork's, the lap looks itself. */
static int leaves_doubt(struct offline *o, size_t i)
{
	struct lineage_verdict verdict;
	int err;

	if (!o->set.v[i].intents)
		return 0;
	err = lineage_ask(present_end(&o->set.v[o->source]),
			  present_end(&o->set.v[i]), false, &verdict);
	if (err)
		return err;
	return verdict.relation == RESYNC_STALE ||
	       verdict.relation == RESYNC_IN_STEP;
}

/* A dry run can only say so. */
static int remark_on_source(struct offline *o)
{
	const struct present *s = &o->set.v[o->source];
	int who = !s->clean || s->intents ? (int)o->source : -1;

	for (size_t i = 0; who < 0 && i < o->set.count; i++) {
		int r = i == o->source ? 0 : leaves_doubt(o, i);

		if (r < 0)
			return r;
		if (r)
			who = (int)i;
	}
	if (who >= 0 && o->set.v[who].clean && o->set.v[who].doubts_only)
		return present_refuse(
			&o->set, 0,
			"what store %s has in doubt, for the sake of a store "
			"that failed, would be compared anew first; more than "
			"this may differ",
			present_name(&o->set, (size_t)who));
	if (who >= 0)
		return present_refuse(
			&o->set, 0,
			"store %s was not left cleanly, and what that left in "
			"doubt would be recovered first; more than this may "
			"differ",
			present_name(&o->set, (size_t)who));
	if (s->copy)
		return present_refuse(
			&o->set, 0,
			"store %s is a copy whose files would be found anew "
			"by path first",
			present_name(&o->set, o->source));
	return 0;
}

/* The highest numbers that laps which were cut can have brought. */
static int highest_brought(struct meta_reader *rd, uint64_t *ret_seq,
			   uint64_t *ret_node)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_node row;
	uint64_t from, durable;
	int r = meta_number_get(rd, META_NUM_SEQ_RESERVED, ret_seq);

	if (r == 0)
		r = meta_number_get(rd, META_NUM_NODE_RESERVED, ret_node);
	if (r == 0)
		r = meta_number_get(rd, META_NUM_RESYNC_FROM, &from);
	if (r == 0)
		r = meta_number_get(rd, META_NUM_DURABLE_SEQ, &durable);
	if (r == 0)
		r = meta_iter_nodes_since(rd, MIN(from, durable), INT64_MAX,
					  &it);
	while (r == 0 && (r = meta_next_node(&it, &row)) > 0) {
		*ret_seq = MAX(*ret_seq, row.seq);
		*ret_node = MAX(*ret_node, row.id);
		r = 0;
	}
	return r;
}

static int write_brought(struct meta *meta, uint64_t seq, uint64_t node)
{
	int err = meta_begin(meta);

	if (err)
		return err;
	err = meta_number_set(meta, META_NUM_SEQ_RESERVED, seq);
	if (!err)
		err = meta_number_set(meta, META_NUM_NODE_RESERVED, node);
	if (!err)
		err = meta_intent_put(meta, &(struct meta_intent){
						    .node = META_ROOT_ID,
						    .kind = META_INTENT_NAME,
						    .generation = 1,
					    });
	if (err) {
		meta_rollback(meta);
		return err;
	}
	return meta_commit(meta);
}

/*
 * A mixture has numbers of the store it came from, above all that are reserved
 * here: none may be issued again. And it is durable through none of them: an
 * intent has the recovery begin an epoch above.
 */
static int prepare_half(struct offline *o)
{
	struct present *s = &o->set.v[o->source];
	struct meta_reader *rd = meta_reader_get(s->meta);
	uint64_t seq, node;
	int err = rd ? highest_brought(rd, &seq, &node) : -ENOMEM;

	meta_reader_put(rd);
	if (!err)
		err = write_brought(s->meta, seq, node);
	if (err)
		return present_refuse(
			&o->set, err, "cannot prepare store %s: %s",
			present_name(&o->set, o->source), strerror(-err));
	s->intents++;
	return 0;
}

/* Before a lap may copy from it. */
static int prepare_source(struct offline *o)
{
	uint64_t bytes;
	int err;

	if (o->dry)
		return remark_on_source(o);
	err = o->half ? prepare_half(o) : 0;
	if (!err)
		err = present_forget(&o->set, o->source);
	if (!err && present_needs_recovery(&o->set, o->source))
		err = present_recover(&o->set, o->source, &bytes);
	return err;
}

/* They are stale from the beginning then, whatever they were. */
static int rebuild_unclean(struct offline *o)
{
	for (size_t i = 0; i < o->set.count; i++) {
		struct lineage_verdict verdict;
		bool both;
		int err;

		if (i == o->source || !o->set.v[i].unclean_copy)
			continue;
		err = judge(o, i, &verdict, &both);
		if (err)
			return err;
		if (o->dry)
			return present_refuse(
				&o->set, -EUCLEAN,
				"store %s is a copy of one that was in use, or "
				"was not left cleanly: all of it would be "
				"compared, and a dry run cannot tell what "
				"differs",
				present_name(&o->set, i));
		err = present_rebuild(&o->set, o->source, i, both, o->control,
				      &o->counts[i].found);
		if (err)
			return err;
	}
	return 0;
}

/* Nothing may be changed while any of them would be refused. */
static int judge_all(struct offline *o)
{
	struct lineage_verdict verdict;
	bool both;
	int err = 0;

	for (size_t i = 0; !err && i < o->set.count; i++) {
		if (i != o->source)
			err = judge(o, i, &verdict, &both);
	}
	return err;
}

static void remark_on_all(struct offline *o)
{
	if (o->half)
		(void)present_refuse(
			&o->set, 0,
			"store %s is a mixture: a resync of it was not "
			"finished, and the store that it came from is not here",
			present_name(&o->set, o->source));
	else if (!o->changed)
		(void)present_refuse(
			&o->set, 0,
			"the stores are in step, there was nothing "
			"to do");
}

static int run(struct offline *o, const char *const *paths, size_t count,
	       int prefer)
{
	int err, joined = 0;

	o->rows = calloc(META_STORE_MAX, sizeof(*o->rows));
	if (!o->rows)
		return -ENOMEM;
	err = take_back_all(
		&(struct take_back){
			.paths = paths,
			.count = count,
			.prefer = prefer,
			.control = o->control,
		},
		o->set.why, sizeof(o->set.why));
	if (!err)
		err = open_all(o, paths, count);
	if (!err)
		err = choose(o, prefer);
	if (err)
		return err;
	o->set.why[0] = '\0';
	err = check_members(o);
	if (!err && prefer < 0)
		err = check_missing(o);
	if (!err)
		err = prepare_source(o);
	if (!err && !o->dry)
		err = judge_all(o);
	if (!err && !o->dry)
		err = present_make_room(&o->set);
	if (!err && !o->dry)
		err = present_put_added(&o->set.v[o->source],
					&(struct added_rows){
						.rows = o->rows,
						.count = o->row_count,
						.known = o->known,
					});
	if (!err)
		err = rebuild_unclean(o);
	if (err)
		return err;
	o->in_step[o->source] = true;
	for (size_t i = 0; !err && i < o->set.count; i++) {
		if (i != o->source)
			err = resync_one(o, i);
	}
	if (!err)
		remark_on_all(o);
	/* Those before one that failed are in step all the same. */
	if (o->changed && !o->dry)
		joined = present_join(&o->set, o->source, o->in_step, o->rows,
				      o->row_count);
	else if (!err && !o->dry)
		joined = present_note_paths(&o->set, o->in_step);
	return err ? err : joined;
}

int resync_offline(const char *const *paths, size_t count, int prefer,
		   const struct resync_control *control,
		   unsigned int *ret_source, struct resync_counts *ret_counts,
		   char *why, size_t why_len)
{
	struct offline *o = calloc(1, sizeof(*o));
	int err;

	if (!o)
		return -ENOMEM;
	memset(ret_counts, 0, count * sizeof(*ret_counts));
	o->control = control;
	o->counts = ret_counts;
	o->dry = control && control->dry_run;
	o->set.dry = o->dry;
	err = run(o, paths, count, prefer);
	if (!err)
		*ret_source = (unsigned int)o->source;
	if (why_len)
		snprintf(why, why_len, "%s",
			 o->set.why[0] || !err ? o->set.why : strerror(-err));
	present_done(&o->set);
	free(o->rows);
	free(o);
	return err;
}
