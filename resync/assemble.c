/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A volume from the stores that are there.
 *
 *	1. Open the stores that were named, then the members that lie where
 *	   they were last.  A named path that holds no store is one of a member
 *	   that is away (its hint says so), or a mistake, which is refused.
 *	   A store whose map cannot be used counts as missing: it may be behind
 *	   or ahead, nobody can tell.
 *	2. Pick the source; refuse a fork, and an unclean end without a member
 *	   that may have gone on alone.
 *	3. Ask whoever mounts; then settle a source that is a copy, and recover.
 *	4. Who agrees with it starts online; the others are resynced later.
 *
 * Nothing is changed before 3, and no tree is read in any step.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/text.h"
#include "base/vec.h"
#include "resync/present.h"
#include "resync/reach.h"
#include "resync/shut.h"

enum {
	PATH_TEXT = 400,
};

/* A path that was named, and what it holds if that can be told. */
struct absent_path {
	const char *path;
	char uuid[META_UUID_LEN + 1]; /* "": no store, or none that answers */
	char why[PRESENT_WHY_MAX];
};

struct assembly {
	struct present_set set;
	struct meta_member *rows; /* META_STORE_MAX of them */
	size_t row_count;
	/* named paths that hold no store, or one that cannot be opened */
	VEC(struct absent_path) absent;
	/* those without a map that could be used, and those that cannot be
	 * opened where they were: each map has a row of them */
	struct shut_list shut;
	char warned[PRESENT_WHY_MAX];
	size_t source;
	const struct resync_question *question; /* may be NULL */
};

static int load_members(struct assembly *a, size_t from)
{
	struct meta_reader *rd = meta_reader_get(a->set.v[from].meta);
	int err;

	if (!rd)
		return -ENOMEM;
	err = meta_members(rd, a->rows, &a->row_count);
	meta_reader_put(rd);
	if (err)
		return present_refuse(&a->set, err,
				      "cannot read the members from store %s: "
				      "%s",
				      present_name(&a->set, from),
				      strerror(-err));
	return 0;
}

/* ---- opening ---- */

/* A disk that is away, or answers nothing but errors any more. */
static bool is_absence(int err)
{
	return err == -ENOENT || err == -EIO || err == -ENODEV ||
	       err == -ENXIO || err == -ESTALE || err == -ENOTCONN ||
	       err == -ETIMEDOUT || err == -EHOSTDOWN;
}

/* Said only when the volume goes on without them. */
static void warn_of_lost(const struct assembly *a)
{
	vec_for_each (shut, &a->shut.v)
		if (shut->lost)
			log_warn("going on without a store: %s", shut->why);
}

static int check_lost_volume(struct assembly *a)
{
	const struct store_identity *id = store_identity(a->set.v[0].store);

	vec_for_each (shut, &a->shut.v) {
		if (strcmp(shut->id.volume_uuid, id->volume_uuid))
			return present_refuse(&a->set, -EINVAL,
					      "store %s belongs to another "
					      "volume than %s",
					      shut->id.name, id->name);
	}
	return 0;
}

/* Read-only or full, it still says who it is. */
static int note_absent(struct assembly *a, const char *path, int why)
{
	struct absent_path absent = {.path = path};
	struct store_identity id;

	if ((why == -EROFS || store_error_is_space(why)) &&
	    !reach_identity(path, &id))
		memcpy(absent.uuid, id.store_uuid, sizeof(absent.uuid));
	memcpy(absent.why, a->set.why, sizeof(absent.why));
	return vec_push(&a->absent, absent);
}

static int open_named(struct assembly *a, const char *const *paths,
		      size_t count)
{
	char first[PRESENT_WHY_MAX] = "";
	int err;

	for (size_t i = 0; i < count; i++) {
		err = present_open(&a->set, paths[i], NULL, true);
		if (err == -EALREADY)
			continue;
		/* Read-only, full, damaged: told of when it is looked for once
		 * more. */
		if (err && !is_absence(err) && err != -EROFS &&
		    err != -EUCLEAN && !store_error_is_space(err) &&
		    !a->set.map_lost)
			return err;
		if (!err)
			continue;
		/* A map that is lost says more than a disk that is away. */
		if (!first[0] || (a->set.map_lost && !a->shut.v.count))
			memcpy(first, a->set.why, sizeof(first));
		err = a->set.map_lost ? shut_note_lost(&a->shut, &a->set)
				      : note_absent(a, paths[i], err);
		if (err)
			return err;
	}
	if (a->set.count)
		return check_lost_volume(a);
	memcpy(a->set.why, first, sizeof(first));
	return a->shut.v.count ? -EUCLEAN : -EINVAL;
}

/* A store that was opened by another path than its hint: does a second one of
 * the same UUID lie there? */
static int check_twin(struct assembly *a, const struct meta_member *row,
		      size_t at)
{
	const struct store *s = a->set.v[at].store;
	struct store_identity id;
	struct stat other;
	char text[PATH_TEXT];

	if (!row->path_hint[0] || !strcmp(row->path_hint, store_path(s)))
		return 0;
	if (reach_identity(row->path_hint, &id) ||
	    strcmp(id.store_uuid, row->uuid))
		return 0;
	if (reach_stat(row->path_hint, &other, NULL) || store_is_at(s, &other))
		return 0;
	return present_refuse(
		&a->set, -EEXIST,
		"%s and %s are copies of one store (%s); take one of them away",
		store_path(s), path_quote(text, sizeof(text), row->path_hint),
		id.name);
}

/* What does not open is more than not there; of a hang, whoever mounts tells. */
static void warn_of_absence(struct assembly *a, int err)
{
	if (err == -ENOENT || err == -ETIMEDOUT ||
	    !strcmp(a->warned, a->set.why)) /* another map has it as well */
		return;
	memcpy(a->warned, a->set.why, sizeof(a->warned));
	log_warn("%s; going on without it", a->set.why);
}

/* Open one member where it was last; silently absent is fine. */
static int open_hint(struct assembly *a, const struct meta_member *row)
{
	const struct shut_store *shut = shut_find(&a->shut, row->uuid);
	int at = present_find(&a->set, row->uuid);
	int err;

	if (at >= 0)
		return check_twin(a, row, (size_t)at);
	if (shut && !shut->away)
		return 0;
	if (!row->path_hint[0] || meta_store_stays_out(row->state))
		return 0;
	err = present_open(&a->set, row->path_hint, row->uuid, false);
	if (!err)
		return 0;
	if (is_absence(err)) {
		warn_of_absence(a, err);
		return err == -ENOENT
			       ? 0
			       : shut_note_away(&a->shut, &a->set, row->uuid);
	}
	/* In use alone elsewhere, or two volumes in one: a person decides. */
	if (err == -EBUSY || err == -EINVAL || err == -EEXIST)
		return err;
	if (a->set.map_lost)
		return shut_note_lost(&a->shut, &a->set);
	log_warn("%s; going on without it", a->set.why);
	return shut_note_left(&a->shut, &a->set, row->uuid);
}

/* Every map may know members that the others do not. */
static int open_hints(struct assembly *a)
{
	int err = 0;

	for (size_t i = 0; !err && i < a->set.count; i++) {
		err = load_members(a, i);
		for (size_t k = 0; !err && k < a->row_count; k++)
			err = open_hint(a, &a->rows[k]);
	}
	return err;
}

/*
 * A store that nobody named, with a map of which no epoch is known here: made
 * anew by 'check --rebuild', or another's. It says as little as one that is
 * lost. Where both were named a person decides.
 */
static int leave_strange(struct assembly *a)
{
	struct present *first = &a->set.v[0];

	for (size_t i = 1; i < a->set.count;) {
		struct present *p = &a->set.v[i];
		struct lineage_verdict verdict = {.relation = RESYNC_STALE};
		int err = 0;

		if (!p->named)
			err = lineage_ask(present_end(first), present_end(p),
					  false, &verdict);
		if (err)
			return err;
		if (verdict.relation != RESYNC_FOREIGN) {
			i++;
			continue;
		}
		a->set.lost = *store_identity(p->store);
		present_refuse(
			&a->set, -EUCLEAN,
			"the map of store %s has no history in common with "
			"that of store %s; take it back with 'seqmirror "
			"attach --rebuild', which compares all of it",
			a->set.lost.name, store_identity(first->store)->name);
		err = shut_note_lost(&a->shut, &a->set);
		if (err)
			return err;
		present_leave(&a->set, i);
	}
	return 0;
}

static bool is_place_of(const char *path, const struct meta_member *row)
{
	char place[sizeof(row->path_hint)];

	return reach_absolute(path, place, sizeof(place)) &&
	       !strcmp(row->path_hint, place);
}

static bool is_of(const struct absent_path *p, const struct meta_member *row)
{
	return !strcmp(p->uuid, row->uuid) || is_place_of(p->path, row);
}

static int refuse_absent(struct assembly *a, const struct absent_path *p)
{
	char text[PATH_TEXT];

	path_quote(text, sizeof(text), p->path);
	if (*p->uuid)
		return present_refuse(&a->set, -EINVAL,
				      "%s, and it is no member of this volume",
				      p->why);
	if (reach_is_stuck(p->path))
		return present_refuse(
			&a->set, -ETIMEDOUT,
			"store %s does not answer, and no member of this "
			"volume was there last",
			text);
	return present_refuse(&a->set, -EINVAL,
			      "%s is not a store of a volume, and no member of "
			      "this one was there last",
			      text);
}

/* Paths that hold no store must be those of members, as the source knows. */
static int check_absent(struct assembly *a)
{
	vec_for_each (p, &a->absent) {
		bool known = false, placed = false;

		for (size_t k = 0; k < a->row_count; k++) {
			known |= is_of(p, &a->rows[k]);
			placed |= is_place_of(p->path, &a->rows[k]);
		}
		if (!known)
			return refuse_absent(a, p);
		if (!placed) /* else it was said when it was looked for there */
			log_warn("%s; going on without it", p->why);
	}
	return 0;
}

/* ---- judging ---- */

/* Who was added while the source was away is a member all the same; the maps
 * have it before anything is done to a store. */
static int load_all_members(struct assembly *a)
{
	struct added_rows all = {.rows = a->rows};
	int err = present_members(&a->set, a->source, &all);

	a->row_count = all.count;
	return err;
}

/* Present stores that the source's map does not count among the members. */
static int drop_strangers(struct assembly *a)
{
	for (size_t i = 0; i < a->set.count;) {
		struct present *p = &a->set.v[i];
		const struct store_identity *id = store_identity(p->store);
		bool member = false;

		for (size_t k = 0; k < a->row_count; k++)
			member |= !strcmp(a->rows[k].uuid, id->store_uuid);
		if (!member && (p->named || i == a->source))
			return present_refuse_stranger(&a->set, a->source, i);
		if (member) {
			i++;
			continue;
		}
		present_leave(&a->set, i);
		if (a->source == a->set.count)
			a->source = i;
	}
	return 0;
}

/* Does the source know that the others went on without it? */
static bool is_left_behind(const struct assembly *a)
{
	const struct present *p = &a->set.v[a->source];

	for (size_t k = 0; k < a->row_count; k++)
		if (!strcmp(a->rows[k].uuid,
			    store_identity(p->store)->store_uuid))
			return a->rows[k].state != META_STORE_ONLINE;
	return false;
}

static int refuse_missing(struct assembly *a, const struct meta_member *row,
			  const char *since)
{
	char text[PATH_TEXT];

	if (shut_is_lost(&a->shut, row->uuid))
		return present_refuse(
			&a->set, -ENODEV,
			"%s and the map of store %s is damaged, missing or "
			"made anew: it may have newer data; mount with -o "
			"degraded to go on without it, then 'seqmirror "
			"attach --rebuild'",
			since, row->name);
	(void)path_quote(text, sizeof(text), row->path_hint);
	if (reach_is_stuck(row->path_hint))
		return present_refuse(
			&a->set, -ENODEV,
			"%s and store %s (last at %s) does not answer: it may "
			"have newer data; make it answer, or mount with -o "
			"degraded to go on without it",
			since, row->name, text);
	return present_refuse(&a->set, -ENODEV,
			      "%s and store %s (last at %s) is missing: it may "
			      "have newer data; bring it, or mount with -o "
			      "degraded",
			      since, row->name, text);
}

/*
 * Who is missing may have newer data: after a crash each that was online then;
 * where the source is one that left, each that stayed, if it was asked for. Who
 * names the one that left alone wants that copy.
 */
static int check_missing(struct assembly *a)
{
	const struct present *p = &a->set.v[a->source];
	char since[NAME_MAX + 64] = "the volume was not left cleanly";

	if (p->clean && !is_left_behind(a))
		return 0;
	if (p->clean)
		(void)snprintf(since, sizeof(since),
			       "store %s left the volume before the others,",
			       store_identity(p->store)->name);
	for (size_t k = 0; k < a->row_count; k++) {
		const struct meta_member *row = &a->rows[k];
		bool asked = !p->clean || shut_is_lost(&a->shut, row->uuid);

		if (row->state != META_STORE_ONLINE ||
		    present_find(&a->set, row->uuid) >= 0)
			continue;
		for (size_t i = 0; !asked && i < a->absent.count; i++)
			asked = is_of(&a->absent.data[i], row);
		if (asked)
			return refuse_missing(a, row, since);
	}
	return 0;
}

static int pick_source(struct assembly *a, bool degraded)
{
	int picked = present_pick(&a->set, true);
	int err;

	/* A map may run ahead of its durable seq under its intents; then only
	 * the recovered source can tell. */
	if (picked == -EREMCHG)
		picked = present_pick(&a->set, false);
	if (picked < 0)
		return picked;
	a->source = (size_t)picked;
	err = load_all_members(a);
	if (!err)
		err = check_absent(a);
	if (!err)
		err = drop_strangers(a);
	if (!err && !degraded)
		err = check_missing(a);
	return err;
}

/* ---- handing over ---- */

static bool starts_online(const struct assembly *a, const struct present *p,
			  const struct meta_member *row,
			  const struct lineage_verdict *verdict)
{
	const struct present *source = &a->set.v[a->source];

	if (p == source)
		return true;
	/* Not left cleanly: an empty lap tells that nothing is amiss. */
	return verdict->relation == RESYNC_IN_STEP && p->clean &&
	       source->clean && !p->copy && row->state == META_STORE_ONLINE;
}

/* What was found in place of a member, for those who ask later. "": nothing was. */
static const char *why_away(const struct assembly *a,
			    const struct meta_member *row)
{
	const struct shut_store *shut = shut_find(&a->shut, row->uuid);

	vec_for_each (p, &a->absent) {
		if (!shut && is_of(p, row))
			return p->why;
	}
	return shut ? shut->why : "";
}

static int fill_member(struct assembly *a, size_t k,
		       struct resync_assembly *ret)
{
	struct mirror_member_in *in = &ret->members[k];
	struct lineage_verdict verdict = {.relation = RESYNC_IN_STEP};
	int at = present_find(&a->set, a->rows[k].uuid);
	struct present *p, *source = &a->set.v[a->source];
	int err;

	in->row = a->rows[k];
	if (at < 0) {
		if (in->row.state == META_STORE_ONLINE ||
		    in->row.state == META_STORE_RESYNCING)
			in->row.state = META_STORE_MISSING;
		if (!meta_store_stays_out(in->row.state))
			text_mark_cut(in->why, sizeof(in->why),
				      snprintf(in->why, sizeof(in->why), "%.*s",
					       PRESENT_WHY_MAX,
					       why_away(a, &a->rows[k])));
		return 0;
	}
	p = &a->set.v[at];
	if (p != source && p->resyncing && in->row.state == META_STORE_DETACHED)
		in->row.state = META_STORE_GIVEN_UP; /* as its own map says */
	/* Found through the map of one that had not heard that it was taken
	 * out: what is safe to remove is not taken back unasked. */
	if (p != source && !p->named && meta_store_stays_out(in->row.state))
		return 0;
	snprintf(in->row.path_hint, sizeof(in->row.path_hint), "%s",
		 store_path(p->store));
	in->row.durable_seq = p->durable_seq;
	if (p != source) {
		err = lineage_ask(present_end(source), present_end(p), true,
				  &verdict);
		if (err)
			return err;
	}
	if (p->unclean_copy) {
		/* And is attached as one that is missing, and is back. */
		in->row.state = META_STORE_MISSING;
		(void)snprintf(in->why, sizeof(in->why),
			       "it is a copy of a store that was in use, or "
			       "was not left cleanly: when it is attached, all "
			       "of it is compared");
		ret->unclean_copy[k] = true;
		return 0;
	}
	in->in_step = starts_online(a, p, &a->rows[k], &verdict);
	if (in->in_step) {
		in->row.state = META_STORE_ONLINE;
		in->store = p->store;
		in->meta = p->meta;
		if (p == source)
			ret->lead = (unsigned int)k;
		p->handed_over = true;
	} else {
		if (in->row.state == META_STORE_ONLINE ||
		    in->row.state == META_STORE_RESYNCING)
			in->row.state = META_STORE_MISSING;
		ret->late_store[k] = p->store;
		ret->late_meta[k] = p->meta;
		p->handed_over = true;
	}
	return 0;
}

static int hand_over(struct assembly *a, struct resync_assembly *ret)
{
	int err = 0;

	ret->count = a->row_count;
	for (size_t k = 0; !err && k < a->row_count; k++)
		err = fill_member(a, k, ret);
	if (err)
		return present_refuse(&a->set, err,
				      "cannot compare the stores: %s",
				      strerror(-err));
	/* The others stay in the set, to be closed with it: whoever wants a
	 * store back that stays out finds it free. */
	for (size_t i = 0; i < a->set.count; i++) {
		if (!a->set.v[i].handed_over)
			continue;
		a->set.v[i].store = NULL;
		a->set.v[i].meta = NULL;
	}
	return 0;
}

static int ask(const struct assembly *a)
{
	struct resync_found found = {
		.rows = a->rows,
		.count = a->row_count,
		.path_count = a->set.count,
		.changes = a->set.v[a->source].copy ||
			   present_needs_recovery(&a->set, a->source),
	};

	if (!a->question)
		return 0;
	for (size_t i = 0; i < a->set.count; i++)
		found.paths[i] = store_path(a->set.v[i].store);
	return a->question->may(a->question->arg, &found);
}

static int assemble(struct assembly *a, const char *const *paths, size_t count,
		    bool degraded, struct resync_assembly *ret)
{
	int picked, err;

	a->rows = calloc(META_STORE_MAX, sizeof(*a->rows));
	if (!a->rows)
		return -ENOMEM;
	err = open_named(a, paths, count);
	if (!err)
		err = open_hints(a);
	if (!err)
		err = leave_strange(a);
	if (!err)
		err = pick_source(a, degraded);
	if (!err)
		err = ask(a);
	if (!err)
		err = present_forget(&a->set, a->source);
	if (!err && present_needs_recovery(&a->set, a->source))
		err = present_recover(&a->set, a->source,
				      &ret->recovered_bytes);
	if (err)
		return err;
	/* Now the maps must agree that all others may follow. */
	picked = present_pick(&a->set, true);
	if (picked < 0)
		return picked;
	assert((size_t)picked == a->source);
	warn_of_lost(a);
	return hand_over(a, ret);
}

void resync_assembly_close(struct resync_assembly *a)
{
	for (size_t i = 0; i < a->count; i++) {
		reach_close(a->members[i].store, a->members[i].meta, NULL);
		reach_close(a->late_store[i], a->late_meta[i], NULL);
	}
	*a = (struct resync_assembly){0};
}

static bool assembly_hangs(const struct resync_assembly *a)
{
	for (size_t i = 0; i < a->count; i++) {
		const struct mirror_member_in *in = &a->members[i];

		if (reach_hangs(in->store, in->meta) ||
		    reach_hangs(a->late_store[i], a->late_meta[i]))
			return true;
	}
	return false;
}

/* @ret_hangs: one of the stores was given up, and is closed when it answers:
 * until then it is not there. */
static int assemble_once(const struct resync_question *question,
			 const char *const *paths, size_t path_count,
			 bool degraded, struct resync_assembly *ret,
			 bool *ret_hangs)
{
	struct assembly *a = calloc(1, sizeof(*a));
	int err;

	*ret = (struct resync_assembly){0};
	*ret_hangs = false;
	if (!a)
		return -ENOMEM;
	a->question = question;
	err = assemble(a, paths, path_count, degraded, ret);
	if (err) {
		const char *why = a->set.why[0] ? a->set.why : strerror(-err);

		*ret = (struct resync_assembly){0};
		snprintf(ret->why, sizeof(ret->why), "%s", why);
		*ret_hangs = present_hangs(&a->set);
	} else if (assembly_hangs(ret)) {
		*ret_hangs = true;
		err = -ETIMEDOUT;
		resync_assembly_close(ret);
		snprintf(ret->why, sizeof(ret->why), "a store does not answer");
	}
	present_done(&a->set);
	vec_done(&a->absent);
	shut_done(&a->shut);
	free(a->rows);
	free(a);
	return err;
}

int resync_assemble_asking(const char *const *paths, size_t path_count,
			   bool degraded,
			   const struct resync_question *question,
			   struct resync_assembly *ret)
{
	bool hangs;
	int err;

	/* What a store did that then gave no answer, it may have done before a
	 * crash just as well. */
	for (unsigned int tries = 0;; tries++) {
		err = assemble_once(question, paths, path_count, degraded, ret,
				    &hangs);
		if (!err || !hangs || tries == META_STORE_MAX)
			return err;
	}
}
