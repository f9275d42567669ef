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

size_t lineage_live(const struct lineage_view *own,
		    const struct lineage_view *other)
{
	size_t n = own->count;

	/* The first epoch is never void: it was made with the volume. */
	while (n > 1) {
		const struct meta_epoch *tip = &own->epochs[n - 1];

		if (tip->confirmed || !is_member(tip, other->uuid) ||
		    epoch_index(other->epochs, other->count, tip->id) !=
			    NOT_FOUND)
			break;
		n--;
	}
	return n;
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
		from = MIN(from, next->base);
		reached = MIN(reached, next->base);
	}
	/* The one ahead was once seen further than where it went on from. */
	if (behind->other_durable > reached)
		return false;
	*ret_from = from;
	return true;
}

static uint64_t lowest_unshared(const struct lineage_view *own,
				const struct lineage_view *other,
				uint64_t lowest)
{
	for (size_t i = 0; i < own->count; i++) {
		const struct meta_epoch *e = &own->epochs[i];

		if (epoch_index(other->epochs, other->count, e->id) !=
		    NOT_FOUND)
			continue;
		lowest = MIN(lowest, e->base);
		lowest = MIN(lowest, e->first_seq ? e->first_seq - 1 : 0);
	}
	return lowest;
}

/* Lower than the word of the design where a base is: what lies between a base
 * and its first_seq was in flight, and each side numbered it for itself. */
static uint64_t fork_from(const struct lineage_view *source,
			  const struct lineage_view *target)
{
	uint64_t from = MIN(source->durable_seq, target->durable_seq);

	from = lowest_unshared(source, target, from);
	return lowest_unshared(target, source, from);
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
	ret->fork_from = fork_from(source, target);
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
		    !source->in_doubt && !target->in_doubt)
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

static int load_other_durable(struct meta_reader *rd, const char *other,
			      uint64_t *ret)
{
	_cleanup_free_ struct meta_member *v = NULL;
	size_t count = 0;
	int err;

	*ret = 0;
	if (!other)
		return 0;
	v = calloc(META_STORE_MAX, sizeof(*v));
	if (!v)
		return -ENOMEM;
	err = meta_members(rd, v, &count);
	if (err)
		return err;
	for (size_t i = 0; i < count; i++) {
		if (!strcmp(v[i].uuid, other))
			*ret = v[i].durable_seq;
	}
	return 0;
}

int lineage_load(struct meta *meta, struct meta_reader *rd, const char *other,
		 struct lineage_of *ret)
{
	uint64_t intents = 0, resyncing = 0;
	struct lineage_of of = {.view.uuid = meta_store_uuid(meta)};
	int err;

	err = meta_number_get(rd, META_NUM_DURABLE_SEQ, &of.view.durable_seq);
	if (!err)
		err = meta_number_get(rd, META_NUM_RESYNCING, &resyncing);
	if (!err)
		err = meta_intent_count(rd, &intents);
	if (!err)
		err = load_other_durable(rd, other, &of.view.other_durable);
	if (!err)
		err = meta_epochs(rd, &of.epochs, &of.view.count);
	if (err)
		return err;
	of.view.epochs = of.epochs;
	of.view.in_doubt = intents || resyncing;
	*ret = of;
	return 0;
}

void lineage_done(struct lineage_of *of)
{
	free(of->epochs);
	of->epochs = NULL;
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

static int verdict_of(struct meta *source, struct meta *target, bool ask,
		      struct lineage_verdict *ret)
{
	_cleanup_(pair_close) struct pair p = {
		.source_meta = source,
		.target_meta = target,
	};
	int err;

	if (strcmp(meta_volume_uuid(source), meta_volume_uuid(target))) {
		*ret = (struct lineage_verdict){.relation = RESYNC_FOREIGN};
		return 0;
	}
	err = pair_open(&p);
	if (err)
		return err;
	lineage_compare(&p.source.view, &p.target.view, ret);
	return ask ? ask_maps(&p, ret) : 0;
}

int resync_verdict(struct meta *source, struct meta *target,
		   struct lineage_verdict *ret)
{
	return verdict_of(source, target, true, ret);
}

int resync_relate_lineage(struct meta *source, struct meta *target,
			  struct lineage_verdict *ret)
{
	return verdict_of(source, target, false, ret);
}

int resync_relate(struct meta *source, struct meta *target,
		  enum resync_relation *ret_relation, uint64_t *ret_from)
{
	struct lineage_verdict v;
	int err = resync_verdict(source, target, &v);

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
