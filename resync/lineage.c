/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lineage test.  docs: DESIGN "Lineage".
 */
#include "resync/lineage.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NOT_FOUND SIZE_MAX

/* ---- pure ---- */

static size_t epoch_index(const struct meta_epoch *v, size_t count,
			  const char *id)
{
	for (size_t i = count; i-- > 0;) {
		if (!strcmp(v[i].id, id))
			return i;
	}
	return NOT_FOUND;
}

static bool is_member(const struct meta_epoch *e, const char *uuid)
{
	for (uint32_t i = 0; i < e->member_count; i++) {
		if (!strcmp(e->members[i], uuid))
			return true;
	}
	return false;
}

/* The crash came while it was recorded, as @other shows. */
static bool is_unfinished(const struct meta_epoch *tip,
			  const struct lineage_view *other)
{
	return !tip->confirmed && is_member(tip, other->uuid);
}

/*
 * What is done is armed before, and durable above the base afterwards. What a lap
 * that was not closed did is another's; one that was leaves nothing else. So a map
 * says it of its own files, also of a copy's, whatever came after that was
 * taken; but one that was taken of a store in use may not fit its files.
 */
static bool is_idle(const struct lineage_view *own,
		    const struct meta_epoch *tip)
{
	return own->durable_seq <= tip->base &&
	       (!own->intents || own->doubts_only) && !own->lap_count &&
	       (own->clean || !own->copy) && !own->other_failed;
}

size_t lineage_live(const struct lineage_view *own,
		    const struct lineage_view *other)
{
	size_t n = own->count;

	/* The first epoch is never void: it was made with the volume. */
	while (n > 1) {
		const struct meta_epoch *tip = &own->epochs[n - 1];

		if (epoch_index(other->epochs, other->count, tip->id) !=
		    NOT_FOUND)
			break;
		if (!is_unfinished(tip, other) && !is_idle(own, tip))
			break;
		n--;
	}
	return n;
}

/* What came of laps that were not closed must lie in @ahead's past as well. */
static bool laps_follow(const struct lineage_view *ahead,
			const struct lineage_view *behind, uint64_t *from)
{
	for (size_t i = 0; i < behind->lap_count; i++) {
		const struct meta_lap *lap = &behind->laps[i];
		size_t at = epoch_index(ahead->epochs, ahead->count,
					lap->epochs[lap->count - 1].id);

		if (at == NOT_FOUND)
			return false;
		if (at + 1 < ahead->count)
			*from = MIN(*from, ahead->epochs[at + 1].base);
	}
	return true;
}

/* Was @behind further than a copy that was durable through @durable_seq? A file
 * in doubt is no operation. */
static bool beyond_copy(const struct lineage_view *behind, uint64_t durable_seq)
{
	return (behind->intents && !behind->doubts_only) ||
	       behind->durable_seq > durable_seq;
}

/* Whether @behind may follow @ahead, and from where. */
static bool follows(const struct lineage_view *ahead,
		    const struct lineage_view *behind, uint64_t *ret_from)
{
	size_t live = lineage_live(behind, ahead);
	const struct meta_epoch *next = NULL;
	uint64_t reached = ahead->durable_seq;
	uint64_t from = behind->durable_seq;
	size_t at;

	at = epoch_index(ahead->epochs, ahead->count,
			 behind->epochs[live - 1].id);
	if (at == NOT_FOUND)
		return false;
	if (at + 1 < ahead->count)
		next = &ahead->epochs[at + 1];
	if (next) {
		/* It took part in what the others did without it. */
		if (from >= next->first_seq)
			return false;
		if (next->by_copy && beyond_copy(behind, next->base))
			return false;
		from = MIN(from, next->base);
		reached = MIN(reached, next->base);
	} else if (ahead->copy && beyond_copy(behind, ahead->durable_seq)) {
		return false;
	}
	if (!laps_follow(ahead, behind, &from))
		return false;
	/* The one ahead was once seen further than where it went on from. */
	if (behind->other_durable > reached)
		return false;
	*ret_from = behind->rebuilt ? 0 : from;
	return true;
}

static struct meta_lap lineage_list(const struct lineage_view *v)
{
	return (struct meta_lap){.epochs = v->epochs, .count = v->count};
}

static void lowest_unshared(struct meta_lap own, struct meta_lap other,
			    struct lineage_verdict *low)
{
	for (size_t i = 0; i < own.count; i++) {
		const struct meta_epoch *e = &own.epochs[i];

		if (epoch_index(other.epochs, other.count, e->id) != NOT_FOUND)
			continue;
		low->fork_from = MIN(low->fork_from, e->base);
		low->fork_from = MIN(low->fork_from,
				     e->first_seq ? e->first_seq - 1 : 0);
		low->fork_node = MIN(low->fork_node, e->first_node);
	}
}

static void both_unshared(struct meta_lap a, struct meta_lap b,
			  struct lineage_verdict *low)
{
	lowest_unshared(a, b, low);
	lowest_unshared(b, a, low);
}

/* What a side in the middle of a resync has of its source counts as well. */
static void laps_unshared(const struct lineage_view *side,
			  const struct lineage_view *other,
			  struct lineage_verdict *low)
{
	for (size_t i = 0; i < side->lap_count; i++)
		both_unshared(side->laps[i], lineage_list(other), low);
	if (side->resyncing)
		low->fork_from = MIN(low->fork_from, side->resync_from);
}

/* Lower than the word of the design where a base is: what lies between a base
 * and its first_seq was in flight, and each side numbered it for itself. */
static void fork_start(const struct lineage_view *source,
		       const struct lineage_view *target,
		       struct lineage_verdict *ret)
{
	ret->fork_from = MIN(source->durable_seq, target->durable_seq);
	if (source->rebuilt || target->rebuilt)
		ret->fork_from = 0;
	ret->fork_node = UINT64_MAX;
	both_unshared(lineage_list(source), lineage_list(target), ret);
	laps_unshared(target, source, ret);
	laps_unshared(source, target, ret);
}

static bool share_any(const struct lineage_view *a,
		      const struct lineage_view *b)
{
	for (size_t i = 0; i < a->count; i++) {
		if (epoch_index(b->epochs, b->count, a->epochs[i].id) !=
		    NOT_FOUND)
			return true;
	}
	return false;
}

/* Is some of what cut laps left in @half from @whole's lineage? */
static bool gave_any(const struct lineage_view *whole,
		     const struct lineage_view *half)
{
	for (size_t i = 0; i < half->lap_count; i++) {
		const struct meta_lap *lap = &half->laps[i];

		if (epoch_index(whole->epochs, whole->count,
				lap->epochs[lap->count - 1].id) != NOT_FOUND)
			return true;
	}
	return false;
}

bool lineage_completes(const struct lineage_view *whole,
		       const struct lineage_view *half)
{
	struct lineage_verdict verdict;

	if (!half->resyncing || whole->resyncing)
		return false;
	if (gave_any(whole, half))
		return true;
	lineage_compare(whole, half, &verdict);
	return verdict.relation == RESYNC_STALE;
}

static bool in_doubt(const struct lineage_view *v)
{
	return v->intents || v->resyncing;
}

static bool same_tip(const struct lineage_view *a, const struct lineage_view *b)
{
	return !strcmp(a->epochs[a->count - 1].id, b->epochs[b->count - 1].id);
}

void lineage_compare(const struct lineage_view *source,
		     const struct lineage_view *target,
		     struct lineage_verdict *ret)
{
	uint64_t from = 0, reverse = 0;
	bool forward, backward;

	*ret = (struct lineage_verdict){.relation = RESYNC_FOREIGN};
	if (!source->count || !target->count || !share_any(source, target))
		return;
	fork_start(source, target, ret);
	forward = follows(source, target, &from);
	backward = follows(target, source, &reverse);
	/* Both in one epoch: who was made durable further is ahead. */
	if (forward && backward && target->durable_seq > source->durable_seq)
		forward = false;
	if (forward) {
		ret->relation = RESYNC_STALE;
		ret->from = from;
		if (same_tip(source, target) &&
		    target->durable_seq == source->durable_seq &&
		    !in_doubt(source) && !in_doubt(target))
			ret->relation = RESYNC_IN_STEP;
	} else if (backward) {
		ret->relation = RESYNC_NEWER;
		ret->from = reverse;
	} else {
		ret->relation = RESYNC_FORK;
	}
}

void lineage_settle(struct lineage_verdict *verdict, bool newer)
{
	if (!newer || verdict->relation == RESYNC_FOREIGN ||
	    verdict->relation == RESYNC_FORK)
		return;
	verdict->relation = RESYNC_FORK;
	verdict->from = 0;
}

/* ---- over two maps ---- */

static int load_other(struct meta_reader *rd, const char *other,
		      struct lineage_view *ret)
{
	_cleanup_free_ struct meta_member *v = NULL;
	size_t count = 0;
	int err;

	if (!other)
		return 0;
	v = calloc(META_STORE_MAX, sizeof(*v));
	if (!v)
		return -ENOMEM;
	err = meta_members(rd, v, &count);
	if (err)
		return err;
	for (size_t i = 0; i < count; i++) {
		if (strcmp(v[i].uuid, other))
			continue;
		ret->other_durable = v[i].durable_seq;
		ret->other_failed = v[i].state == META_STORE_FAILED;
	}
	return 0;
}

bool lineage_is_doubt(const struct meta_intent *in)
{
	return meta_intent_is_doubt(in) && in->kind != META_INTENT_NAME;
}

bool lineage_is_begun(struct meta *meta)
{
	struct meta_reader *rd = meta_reader_get(meta);
	struct meta_epoch *v = NULL;
	size_t count = 1;

	if (!rd || meta_epochs(rd, &v, &count))
		count = 1;
	free(v);
	meta_reader_put(rd);
	return count > 0;
}

static int look_for_intents(struct meta_reader *rd, struct lineage_view *ret)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_intent in;
	bool armed = false;
	int r = meta_iter_intents(rd, &it);

	ret->intents = false;
	while (r == 0 && !armed && (r = meta_next_intent(&it, &in)) > 0) {
		ret->intents = true;
		armed = !lineage_is_doubt(&in);
		r = 0;
	}
	ret->doubts_only = ret->intents && !armed;
	return r;
}

int lineage_load(struct meta *meta, struct meta_reader *rd, const char *other,
		 struct lineage_of *ret)
{
	uint64_t resyncing = 0, copy = 0, clean = 0;
	struct lineage_of of = {.view.uuid = meta_store_uuid(meta)};
	int err;

	err = meta_number_get(rd, META_NUM_DURABLE_SEQ, &of.view.durable_seq);
	if (!err)
		err = meta_number_get(rd, META_NUM_RESYNCING, &resyncing);
	if (!err)
		err = meta_number_get(rd, META_NUM_RESYNC_FROM,
				      &of.view.resync_from);
	if (!err)
		err = meta_number_get(rd, META_NUM_COPY, &copy);
	if (!err)
		err = meta_number_get(rd, META_NUM_CLEAN, &clean);
	if (!err)
		err = look_for_intents(rd, &of.view);
	if (!err)
		err = load_other(rd, other, &of.view);
	if (!err)
		err = meta_epochs(rd, &of.epochs, &of.view.count);
	if (!err)
		err = meta_laps_get(rd, &of.laps);
	if (err) {
		lineage_done(&of);
		return err;
	}
	of.view.epochs = of.epochs;
	of.view.laps = of.laps.v;
	of.view.lap_count = of.laps.count;
	of.view.resyncing = resyncing;
	of.view.copy = copy;
	of.view.rebuilt = copy & (META_COPY_UNCLEAN | META_COPY_REBUILT);
	/* Those that it has were put when it was made. */
	if (of.view.rebuilt) {
		of.view.intents = copy & META_COPY_ARMED;
		of.view.doubts_only = false;
	}
	of.view.clean = clean == META_CLEAN;
	*ret = of;
	return 0;
}

void lineage_done(struct lineage_of *of)
{
	free(of->epochs);
	of->epochs = NULL;
	meta_laps_done(&of->laps);
}

struct pair {
	struct meta *source_meta;
	struct meta *target_meta;
	struct meta_reader *source_rd;
	struct meta_reader *target_rd;
	struct lineage_of source;
	struct lineage_of target;
};

static void pair_close(struct pair *p)
{
	lineage_done(&p->source);
	lineage_done(&p->target);
	if (p->source_rd)
		meta_reader_put(p->source_rd);
	if (p->target_rd)
		meta_reader_put(p->target_rd);
}

static int pair_open(struct pair *p)
{
	int err;

	p->source_rd = meta_reader_get(p->source_meta);
	p->target_rd = meta_reader_get(p->target_meta);
	if (!p->source_rd || !p->target_rd)
		return -ENOMEM;
	err = lineage_load(p->source_meta, p->source_rd,
			   meta_store_uuid(p->target_meta), &p->source);
	if (err)
		return err;
	return lineage_load(p->target_meta, p->target_rd,
			    meta_store_uuid(p->source_meta), &p->target);
}

static int ask_maps(struct pair *p, struct lineage_verdict *verdict)
{
	int newer;

	switch (verdict->relation) {
	case RESYNC_IN_STEP:
	case RESYNC_STALE:
		newer = meta_newer_than(p->target_rd, p->source_rd,
					verdict->from);
		break;
	case RESYNC_NEWER:
		newer = meta_newer_than(p->source_rd, p->target_rd,
					verdict->from);
		break;
	case RESYNC_FORK:
	case RESYNC_FOREIGN:
	default:
		return 0;
	}
	if (newer < 0)
		return newer;
	lineage_settle(verdict, newer > 0);
	return 0;
}

int lineage_ask(struct lineage_end source, struct lineage_end target, bool maps,
		struct lineage_verdict *ret)
{
	_cleanup_(pair_close) struct pair p = {
		.source_meta = source.meta,
		.target_meta = target.meta,
	};
	int err;

	if (strcmp(meta_volume_uuid(source.meta),
		   meta_volume_uuid(target.meta))) {
		*ret = (struct lineage_verdict){.relation = RESYNC_FOREIGN};
		return 0;
	}
	err = pair_open(&p);
	if (err)
		return err;
	p.source.view.copy |= source.copy;
	p.target.view.copy |= target.copy;
	lineage_compare(&p.source.view, &p.target.view, ret);
	return maps ? ask_maps(&p, ret) : 0;
}

int resync_completes(struct meta *whole, struct meta *half)
{
	_cleanup_(pair_close) struct pair p = {
		.source_meta = whole,
		.target_meta = half,
	};
	int err = pair_open(&p);

	return err ? err : lineage_completes(&p.source.view, &p.target.view);
}

int resync_relate_lineage(struct meta *source, struct meta *target,
			  struct lineage_verdict *ret)
{
	return lineage_ask((struct lineage_end){.meta = source},
			   (struct lineage_end){.meta = target}, false, ret);
}

int resync_relate(struct meta *source, struct meta *target,
		  enum resync_relation *ret_relation, uint64_t *ret_from)
{
	struct lineage_verdict v;
	int err = lineage_ask((struct lineage_end){.meta = source},
			      (struct lineage_end){.meta = target}, true, &v);

	if (err)
		return err;
	*ret_relation = v.relation;
	if (v.relation == RESYNC_FORK)
		*ret_from = v.fork_from;
	else
		*ret_from = v.from;
	return 0;
}

int resync_trim_void(struct meta *source, struct meta *target)
{
	_cleanup_(pair_close) struct pair p = {
		.source_meta = source,
		.target_meta = target,
	};
	size_t live;
	int err = pair_open(&p);

	if (err)
		return err;
	live = lineage_live(&p.target.view, &p.source.view);
	if (live == p.target.view.count)
		return 0;
	err = meta_begin(target);
	if (err)
		return err;
	err = meta_epoch_replace(target, p.target.epochs, live);
	if (err) {
		meta_rollback(target);
		return err;
	}
	return meta_commit(target);
}
