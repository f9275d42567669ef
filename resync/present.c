/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening present stores, and what is done to them before a lap.
 */
#include "resync/present.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/text.h"
#include "resync/reach.h"
#include "resync/rebuild.h"
#include "resync/side.h"

enum {
	PATH_TEXT = 400,
};

int present_refuse(struct present_set *set, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	text_mark_cut(set->why, sizeof(set->why),
		      vsnprintf(set->why, sizeof(set->why), fmt, ap));
	va_end(ap);
	return err;
}

const char *present_name(const struct present_set *set, size_t i)
{
	return store_identity(set->v[i].store)->name;
}

int present_find(const struct present_set *set, const char *uuid)
{
	for (size_t i = 0; i < set->count; i++) {
		const struct store *s = set->v[i].store;

		if (!strcmp(store_identity(s)->store_uuid, uuid))
			return (int)i;
	}
	return -1;
}

static void present_close(struct present *p)
{
	reach_close(p->store, p->meta, p->path);
	free(p->path);
	*p = (struct present){0};
}

void present_leave(struct present_set *set, size_t i)
{
	present_close(&set->v[i]);
	set->v[i] = set->v[--set->count];
}

bool present_hangs(const struct present_set *set)
{
	for (size_t i = 0; i < set->count; i++)
		if (reach_hangs(set->v[i].store, set->v[i].meta))
			return true;
	return false;
}

void present_done(struct present_set *set)
{
	for (size_t i = 0; i < set->count; i++)
		present_close(&set->v[i]);
	set->count = 0;
}

/* ---- opening ---- */

static int refuse_busy(struct present_set *set, const char *path)
{
	char text[PATH_TEXT];
	char note[256] = "";

	if (store_lock_note_read(path, note, sizeof(note)) < 0 || !note[0])
		return present_refuse(set, -EBUSY,
				      "store %s is in use by another process",
				      path_quote(text, sizeof(text), path));
	text_escape(note, sizeof(note), strdupa(note));
	return present_refuse(set, -EBUSY, "store %s is in use (%s)",
			      path_quote(text, sizeof(text), path), note);
}

static int refuse_probe(struct present_set *set, const char *path, int err)
{
	char text[PATH_TEXT];

	path_quote(text, sizeof(text), path);
	if (err == -ENOENT || err == -ENOTDIR)
		return present_refuse(set, -ENOENT,
				      "%s is not a store of a volume", text);
	if (err == -EUCLEAN)
		return present_refuse(
			set, err, "the identity of store %s is damaged", text);
	if (err == -EPROTO)
		return present_refuse(
			set, err, "store %s was made by a newer version", text);
	if (err == -EPERM)
		return present_refuse(
			set, err,
			"cannot open store %s: its " STORE_PRIVATE
			" must belong to who mounts it, and nobody else may "
			"write there",
			text);
	if (err == -ETIMEDOUT && reach_limit_ms())
		return present_refuse(
			set, err,
			"store %s does not answer since %llu s; make it answer "
			"or unplug it, and try again",
			text, (unsigned long long)reach_limit_ms() / 1000);
	return present_refuse(set, err, "cannot open store %s: %s", text,
			      strerror(-err));
}

static int refuse_inside(struct present_set *set, const char *path)
{
	char text[PATH_TEXT];

	return present_refuse(set, -EUCLEAN,
			      "in the " STORE_PRIVATE " of store %s a link or "
			      "file lies where the lock or a directory of the "
			      "store belongs; move it away",
			      path_quote(text, sizeof(text), path));
}

static bool same_directory(const struct store *s, const char *path)
{
	struct stat st;

	return !reach_stat(path, &st, NULL) && store_is_at(s, &st);
}

/* Before anything is opened: may this store come into the set? */
static int check_identity(struct present_set *set, const char *path,
			  const char *expect_uuid)
{
	struct store_identity id;
	char text[PATH_TEXT];
	int at;
	int err = reach_identity(path, &id);

	if (err)
		return refuse_probe(set, path, err);
	path_quote(text, sizeof(text), path);
	if (expect_uuid && strcmp(expect_uuid, id.store_uuid))
		return present_refuse(set, -ENOENT, "another store lies at %s",
				      text);
	if (set->count && strcmp(id.volume_uuid,
				 store_identity(set->v[0].store)->volume_uuid))
		return present_refuse(
			set, -EINVAL,
			"store %s belongs to another volume than %s", text,
			store_path(set->v[0].store));
	at = present_find(set, id.store_uuid);
	if (at < 0)
		return 0;
	if (same_directory(set->v[at].store, path))
		return present_refuse(set, -EALREADY, "store %s is named twice",
				      text);
	return present_refuse(
		set, -EEXIST,
		"%s and %s are copies of one store (%s); take one of them away",
		text, store_path(set->v[at].store), id.name);
}

static int read_numbers(struct present *p)
{
	const struct resync_side side = {.store = p->store, .meta = p->meta};
	struct meta_reader *rd = meta_reader_get(p->meta);
	uint64_t resyncing = 0, clean = 0;
	struct lineage_of of = {0};
	int unclean_copy = 0;
	bool copy;
	int r;

	if (!rd)
		return -ENOMEM;
	r = lineage_load(p->meta, rd, NULL, &of);
	if (!r)
		r = meta_number_get(rd, META_NUM_RESYNCING, &resyncing);
	if (!r)
		r = meta_number_get(rd, META_NUM_CLEAN, &clean);
	if (!r)
		r = meta_intent_count(rd, &p->intents);
	if (!r)
		r = meta_intent_count_of(rd, META_DOUBT_GENERATION, &p->doubts);
	if (!r)
		r = meta_intent_count_of(rd, META_DOUBT_ELSEWHERE,
					 &p->doubts_elsewhere);
	if (!r)
		r = unclean_copy = side_is_unclean_copy(&side, rd);
	if (r >= 0)
		r = side_is_copied(&side, rd);
	meta_reader_put(rd);
	p->durable_seq = of.view.durable_seq;
	p->epochs = of.view.count;
	p->doubts_only = of.view.doubts_only;
	copy = of.view.copy;
	lineage_done(&of);
	if (r < 0)
		return r;
	p->resyncing = resyncing;
	p->clean = clean;
	p->copy = r > 0 || copy;
	p->unclean_copy = unclean_copy > 0;
	return 0;
}

/* Without its map nobody can tell how far a store got. */
static int refuse_lost(struct present_set *set, const struct present *p,
		       bool missing, const char *why)
{
	const struct store_identity *id = store_identity(p->store);

	set->map_lost = true;
	set->lost = *id;
	return present_refuse(
		set, -EUCLEAN,
		"the map of store %s is %s (%s); take it back from a good "
		"member with 'seqmirror attach --rebuild' or 'resync "
		"--prefer', or, if there is none, 'seqmirror check --rebuild'",
		id->name, missing ? "missing" : "damaged",
		why ? why : "it cannot be read");
}

static int check_map(struct present_set *set, const struct present *p)
{
	const struct store_identity *id = store_identity(p->store);

	if (strcmp(meta_store_uuid(p->meta), id->store_uuid) ||
	    strcmp(meta_volume_uuid(p->meta), id->volume_uuid))
		return refuse_lost(set, p, false,
				   "It is the map of another store.");
	if (!p->epochs)
		return refuse_lost(set, p, false, "It was never finished.");
	return 0;
}

static int open_map(struct present_set *set, struct present *p)
{
	_cleanup_free_ char *why = NULL;
	const char *name = store_identity(p->store)->name;
	int err = 0;

	if (set->dry)
		err = reach_map_check_format(store_privdir(p->store), &why);
	if (!err)
		err = meta_open(store_privdir(p->store), META_OPEN_RW, &p->meta,
				&why);
	if (err == -ENOENT || err == -EUCLEAN)
		return refuse_lost(set, p, err == -ENOENT, why);
	if (err)
		return present_refuse(set, err,
				      "cannot open the map of store %s: %s",
				      name, why ? why : strerror(-err));
	err = read_numbers(p);
	if (err == -EUCLEAN)
		return refuse_lost(set, p, false, "Pages of it are damaged.");
	if (err)
		return present_refuse(set, err,
				      "cannot read the map of store %s: %s",
				      name, strerror(-err));
	return check_map(set, p);
}

/* Store and map; what they say goes to a set of their own. */
struct opening {
	struct reach_job base; /* first */
	char expect_uuid[40];
	struct present p;
	struct present_set said;
};

static int open_both(struct reach_job *j)
{
	struct opening *o = (struct opening *)j;
	const char *expect = o->expect_uuid[0] ? o->expect_uuid : NULL;
	int err = store_open(j->at.path, expect, &o->p.store);

	if (err == -EBUSY)
		return refuse_busy(&o->said, j->at.path);
	/* Its identity was read: this is about what lies beside. */
	if (err == -ENOTDIR || err == -ELOOP || err == -EISDIR)
		return refuse_inside(&o->said, j->at.path);
	if (err)
		return refuse_probe(&o->said, j->at.path, err);
	if (o->said.dry)
		store_keep_modes(o->p.store);
	return open_map(&o->said, &o->p);
}

/* Nothing of it is under a guard yet. */
static void opening_drop(struct reach_job *j)
{
	struct opening *o = (struct opening *)j;

	meta_close(o->p.meta);
	store_close(o->p.store);
	free(o->p.path);
}

static void opening_free(struct opening *o)
{
	opening_drop(&o->base);
	free(o);
}

static int opening_new(const char *path, const char *expect_uuid, bool named,
		       struct opening **ret)
{
	struct opening *o = calloc(1, sizeof(*o));
	int err;

	if (!o)
		return -ENOMEM;
	(void)snprintf(o->expect_uuid, sizeof(o->expect_uuid), "%s",
		       expect_uuid ? expect_uuid : "");
	o->p.named = named;
	o->p.path = strdup(path);
	err = o->p.path
		      ? reach_job_init(&o->base, path, open_both, opening_drop)
		      : -ENOMEM;
	if (err)
		opening_free(o);
	else
		*ret = o;
	return err;
}

int present_open(struct present_set *set, const char *path,
		 const char *expect_uuid, bool named)
{
	struct opening *o;
	int err;

	set->map_lost = false;
	if (set->count == META_STORE_MAX)
		return present_refuse(set, -E2BIG,
				      "a volume has %d stores at most",
				      META_STORE_MAX);
	err = check_identity(set, path, expect_uuid);
	if (err)
		return err;
	err = opening_new(path, expect_uuid, named, &o);
	if (!err) {
		o->said.dry = set->dry;
		err = reach_run(&o->base);
	}
	if (err)
		return refuse_probe(set, path, err);
	err = o->base.result;
	if (err) {
		set->map_lost = o->said.map_lost;
		set->lost = o->said.lost;
		memcpy(set->why, o->said.why, sizeof(set->why));
	} else {
		reach_opened(o->p.store, o->p.meta);
		set->v[set->count++] = o->p;
		o->p = (struct present){0};
	}
	opening_free(o);
	return err;
}

/* ---- recovery ---- */

bool present_needs_recovery(const struct present_set *set, size_t source)
{
	for (size_t i = 0; i < set->count; i++) {
		if (set->v[i].intents)
			return true;
	}
	return !set->v[source].clean;
}

int present_forget(struct present_set *set, size_t i)
{
	const struct resync_side side = {
		.store = set->v[i].store,
		.meta = set->v[i].meta,
	};
	int r = set->v[i].copy ? side_forget_if_copied(&side) : 0;

	if (r < 0)
		return present_refuse(set, r,
				      "cannot take store %s for the copy that "
				      "it is: %s",
				      present_name(set, i), strerror(-r));
	if (r)
		log_warn("store is a copy, its files are found anew by path: "
			 "store=%s",
			 present_name(set, i));
	/* What was left in order has its names where its map says, whatever others
	 * have in doubt. Else its recovery does it, which knows where not. */
	r = set->v[i].clean && !set->v[i].intents ? side_settle(&side) : 0;
	return r < 0 ? present_refuse(set, r,
				      "cannot find the files of store %s: %s",
				      present_name(set, i), strerror(-r))
		     : 0;
}

/* What a fork left in doubt says nothing about the source. */
static int followers(struct present_set *set, size_t source,
		     struct meta *others[static META_STORE_MAX],
		     size_t *ret_count)
{
	struct lineage_verdict verdict;

	*ret_count = 0;
	for (size_t i = 0; i < set->count; i++) {
		int err;

		if (i == source)
			continue;
		err = present_relate(set, source, i, false, &verdict);
		if (err)
			return err;
		if (verdict.relation == RESYNC_STALE ||
		    verdict.relation == RESYNC_IN_STEP)
			others[(*ret_count)++] = set->v[i].meta;
	}
	return 0;
}

int present_recover(struct present_set *set, size_t source, uint64_t *ret_bytes)
{
	struct meta *others[META_STORE_MAX];
	struct resync_side side = {
		.store = set->v[source].store,
		.meta = set->v[source].meta,
	};
	size_t count;
	int err = followers(set, source, others, &count);

	if (err)
		return err;
	err = resync_recover(&side, others, count, ret_bytes);
	if (!err)
		err = read_numbers(&set->v[source]);
	if (err)
		return present_refuse(set, err, "cannot recover store %s: %s",
				      present_name(set, source),
				      strerror(-err));
	return 0;
}

int present_rebuild(struct present_set *set, size_t source, size_t i,
		    bool overruled, const struct resync_control *control,
		    uint64_t *ret_found)
{
	struct present *s = &set->v[source], *t = &set->v[i];
	const struct resync_side side = {.store = s->store, .meta = s->meta};
	struct rebuild_counts counts;
	int err;

	reach_close(NULL, steal_pointer(&t->meta), NULL);
	err = rebuild_like(&side, t->store,
			   overruled ? REBUILD_COPY_OVERRULED : REBUILD_COPY,
			   control ? control->should_stop : NULL,
			   control ? control->arg : NULL, &t->meta, &counts,
			   set->why, sizeof(set->why));
	if (err)
		return err;
	*ret_found = counts.found;
	log_warn("a copy of a store that was in use, or not left cleanly: all "
		 "of it is compared: store=%s",
		 present_name(set, i));
	err = read_numbers(t);
	return err ? present_refuse(set, err,
				    "cannot read the map of store %s: %s",
				    present_name(set, i), strerror(-err))
		   : 0;
}

int present_make_room(struct present_set *set)
{
	for (size_t i = 0; i < set->count; i++) {
		int err = meta_ballast_spend(set->v[i].meta);

		if (err)
			return present_refuse(
				set, err,
				"store %s gives no room for its map: %s",
				present_name(set, i), strerror(-err));
	}
	return 0;
}

int present_put_row(const struct present *p, const struct meta_member *row)
{
	int err = meta_begin(p->meta);

	if (err)
		return err;
	err = meta_member_put(p->meta, row);
	if (!err)
		return meta_commit(p->meta);
	meta_rollback(p->meta);
	return err;
}

/* Each map may know another place. */
static int note_paths_on(struct present_set *set, const bool in_step[],
			 const struct present *p, struct meta_member *rows)
{
	struct meta_reader *rd = meta_reader_get(p->meta);
	size_t count = 0;
	int err = rd ? meta_members(rd, rows, &count) : -ENOMEM;

	meta_reader_put(rd);
	for (size_t k = 0; !err && k < count; k++) {
		int at = present_find(set, rows[k].uuid);

		if (at < 0 || !in_step[at] ||
		    !strcmp(rows[k].path_hint, store_path(set->v[at].store)))
			continue;
		snprintf(rows[k].path_hint, sizeof(rows[k].path_hint), "%s",
			 store_path(set->v[at].store));
		err = present_put_row(p, &rows[k]);
	}
	return err;
}

int present_note_paths(struct present_set *set, const bool in_step[])
{
	_cleanup_free_ struct meta_member *rows =
		calloc(META_STORE_MAX, sizeof(*rows));
	int err = rows ? 0 : -ENOMEM;

	for (size_t i = 0; !err && i < set->count; i++)
		if (in_step[i])
			err = note_paths_on(set, in_step, &set->v[i], rows);
	if (err)
		return present_refuse(set, err,
				      "cannot record where the stores lie: %s",
				      strerror(-err));
	return 0;
}
