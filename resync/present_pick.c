/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one among present stores that the others follow.
 */
#include <errno.h>
#include <string.h>

#include "base/text.h"
#include "resync/present.h"

int present_relate(struct present_set *set, size_t source, size_t target,
		   bool settled, struct lineage_verdict *ret)
{
	int err = lineage_ask(present_end(&set->v[source]),
			      present_end(&set->v[target]), settled, ret);

	if (err)
		return present_refuse(
			set, err, "cannot compare stores %s and %s: %s",
			present_name(set, source), present_name(set, target),
			strerror(-err));
	return 0;
}

/* 1: all others may follow @source; 0: not, and *ret_who is one. */
static int leads_all(struct present_set *set, size_t source, bool settled,
		     size_t *ret_who, enum resync_relation *ret_relation)
{
	struct lineage_verdict verdict;

	for (size_t i = 0; i < set->count; i++) {
		int err;

		if (i == source)
			continue;
		err = present_relate(set, source, i, settled, &verdict);
		if (err)
			return err;
		if (verdict.relation != RESYNC_STALE &&
		    verdict.relation != RESYNC_IN_STEP) {
			*ret_who = i;
			*ret_relation = verdict.relation;
			return 0;
		}
	}
	return 1;
}

static bool ranks_above(const struct present *a, const struct present *b)
{
	if (a->epochs != b->epochs)
		return a->epochs > b->epochs;
	if (a->durable_seq != b->durable_seq)
		return a->durable_seq > b->durable_seq;
	/* Files were found wrong, and the daemon ended before that store was out:
	 * its own map says so, or that of the other one. */
	if (a->doubts != b->doubts)
		return a->doubts < b->doubts;
	if (a->doubts_elsewhere != b->doubts_elsewhere)
		return a->doubts_elsewhere > b->doubts_elsewhere;
	return b->copy && !a->copy;
}

int present_whole_of(struct present_set *set, size_t half, int *ret_whole)
{
	*ret_whole = -1;
	for (size_t i = 0; *ret_whole < 0 && i < set->count; i++) {
		int r = i == half ? 0
				  : resync_completes(set->v[i].meta,
						     set->v[half].meta);

		if (r < 0)
			return present_refuse(
				set, r, "cannot compare stores %s and %s: %s",
				present_name(set, i), present_name(set, half),
				strerror(-r));
		if (r)
			*ret_whole = (int)i;
	}
	return 0;
}

void present_words(const struct present_set *set, size_t one, size_t other,
		   struct present_words *ret)
{
	const size_t room = sizeof(ret->text[0]);

	ret->one = shell_word(ret->text[0], room, store_path(set->v[one].store),
			      "STORE");
	ret->other = shell_word(ret->text[1], room,
				store_path(set->v[other].store), "STORE");
	/* What is to be done must not be cut off. */
	if (strlen(ret->one) + strlen(ret->other) > room)
		ret->one = ret->other = "STORE";
}

int present_refuse_half(struct present_set *set, size_t half, size_t whole)
{
	const char *x = present_name(set, whole), *y = present_name(set, half);
	struct present_words at;

	present_words(set, whole, half, &at);
	return present_refuse(
		set, -EREMCHG,
		"store %s is half overwritten by a resync that was not "
		"finished, and what it had alone may be gone; store %s is "
		"complete: finish with `seqmirror resync --prefer %s %s %s`",
		y, x, x, at.one, at.other);
}

int present_refuse_unclean(struct present_set *set, size_t i)
{
	struct present_words at;

	present_words(set, i, i, &at);
	return present_refuse(
		set, -EUCLEAN,
		"store %s is a copy of one that was in use, or was not left "
		"cleanly: its files may not be what its map says, and it is "
		"brought in step only by comparing all of it with another "
		"member; if there is none, `seqmirror check --rebuild %s` "
		"takes its files as they are",
		present_name(set, i), at.one);
}

/* What @b, such a copy, has alone may be lost. */
static int refuse_pick_unclean(struct present_set *set, size_t a, size_t b)
{
	const char *x = present_name(set, a), *y = present_name(set, b);
	struct present_words at;

	present_words(set, a, b, &at);
	return present_refuse(
		set, -EREMCHG,
		"store %s has what store %s has not, but is a copy of one that "
		"was in use, or was not left cleanly: its files may not be "
		"what its map says; keep the other one with `seqmirror resync "
		"--prefer %s %s %s`, or take the files of the copy as they "
		"are with 'seqmirror check --rebuild' first",
		y, x, at.one, at.one, at.other);
}

static int refuse_pick(struct present_set *set, size_t a, size_t b,
		       enum resync_relation relation)
{
	const char *x = present_name(set, a), *y = present_name(set, b);
	struct present_words at;
	int r = resync_completes(set->v[a].meta, set->v[b].meta);

	if (r < 0)
		return present_refuse(set, r,
				      "cannot compare stores %s and %s: %s", x,
				      y, strerror(-r));
	if (r)
		return present_refuse_half(set, b, a);
	if (set->v[b].unclean_copy && relation != RESYNC_FOREIGN)
		return refuse_pick_unclean(set, a, b);
	present_words(set, a, b, &at);
	if (relation == RESYNC_FOREIGN)
		return present_refuse(
			set, -EREMCHG,
			"stores %s and %s have no history in "
			"common (was a map made anew with 'check "
			"--rebuild'?); mount one of them alone "
			"and take the other with 'seqmirror attach "
			"--rebuild', or keep one with `seqmirror "
			"resync --prefer STORE %s %s`",
			x, y, at.one, at.other);
	if (set->v[b].resyncing)
		return present_refuse(
			set, -EREMCHG,
			"store %s has a part of what store %s has not, from a "
			"resync that was not finished: it is a mixture of old "
			"and new; bring the store it came from, or keep one "
			"with `seqmirror resync --prefer STORE %s %s`",
			y, x, at.one, at.other);
	return present_refuse(
		set, -EREMCHG,
		"stores %s and %s were changed independently of each other; "
		"see `seqmirror diff %s %s`, keep one with `seqmirror resync "
		"--prefer STORE %s %s`",
		x, y, at.one, at.other, at.one, at.other);
}

int present_pick(struct present_set *set, bool settled)
{
	enum resync_relation relation = RESYNC_FORK;
	size_t other = 0, loser = 0, who;
	int best = -1, first = -1, unclean = -1, r;

	for (size_t i = 0; i < set->count; i++) {
		enum resync_relation found;

		if (set->v[i].unclean_copy)
			unclean = (int)i;
		if (set->v[i].resyncing || set->v[i].unclean_copy)
			continue;
		r = leads_all(set, i, settled, &who, &found);
		if (r < 0)
			return r;
		/* A plain "the other is newer" is the least to be told. */
		if (!r && (first < 0 || relation == RESYNC_NEWER)) {
			loser = i;
			other = who;
			relation = found;
		}
		first = (int)i;
		if (r && (best < 0 || ranks_above(&set->v[i], &set->v[best])))
			best = (int)i;
	}
	if (best >= 0)
		return best;
	if (first < 0 && unclean >= 0)
		return present_refuse_unclean(set, (size_t)unclean);
	if (first < 0)
		return present_refuse(
			set, -ENODEV,
			"a resync of store %s was not finished, and no "
			"complete store is present",
			present_name(set, 0));
	return refuse_pick(set, loser, other, relation);
}
