/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"
#include "resync/engine.h"
#include "resync/lineage.h"
#include "resync/reach.h"
#include "resync/rebuild.h"
#include "resync/side.h"

/* How long a store that was put out is waited for until it is closed. */
#define CLOSING_MS 5000u

static int refuse(char *why, size_t why_len, int err, const char *fmt, ...)
	__attribute__((__format__(__printf__, 4, 5)));

static int refuse(char *why, size_t why_len, int err, const char *fmt, ...)
{
	va_list args;

	if (!why || !why_len)
		return err;
	va_start(args, fmt);
	text_mark_cut(why, why_len, vsnprintf(why, why_len, fmt, args));
	va_end(args);
	return err;
}

void engine_store_close(struct engine_store *s)
{
	reach_close(s->store, s->meta, NULL);
	*s = (struct engine_store){0};
}

static int refuse_hung(char *why, size_t why_len, const char *path)
{
	return refuse(why, why_len, -ETIMEDOUT,
		      "%s does not answer; make it answer or unplug it, and "
		      "try again",
		      path);
}

/* What it had alone may be gone, and it is what nobody ever made it. */
static int refuse_half(struct meta *source, struct meta *meta, char *why,
		       size_t why_len)
{
	int r = resync_completes(source, meta);

	if (r < 0)
		return refuse(why, why_len, r, "its map cannot be compared: %s",
			      strerror(-r));
	if (r)
		return refuse(why, why_len, -EREMCHG,
			      "it is half overwritten by a resync that was not "
			      "finished, and what it had alone may be gone; "
			      "unmount, and finish with 'seqmirror resync "
			      "--prefer STORE STORE STORE'");
	return refuse(why, why_len, -EREMCHG,
		      "it is half overwritten by a resync that was not "
		      "finished, from a store that is not online here: a "
		      "mixture; bring that one, or unmount and choose with "
		      "'seqmirror resync --prefer STORE STORE STORE'");
}

static int is_resyncing(struct meta *meta, uint64_t *ret)
{
	struct meta_reader *rd = meta_reader_get(meta);
	int r = rd ? meta_number_get(rd, META_NUM_RESYNCING, ret)
		   : mirror_reader_error();

	meta_reader_put(rd);
	return r;
}

int engine_relate_to(struct meta *source, struct meta *meta,
		     enum resync_relation *ret_relation, uint64_t *ret_from,
		     char *why, size_t why_len)
{
	int r = resync_relate(source, meta, ret_relation, ret_from);
	uint64_t half = 0;

	if (r == 0)
		r = is_resyncing(meta, &half);
	if (r < 0)
		return refuse(why, why_len, r, "its map cannot be compared: %s",
			      strerror(-r));
	if (half &&
	    (*ret_relation == RESYNC_FORK || *ret_relation == RESYNC_NEWER))
		return refuse_half(source, meta, why, why_len);
	switch (*ret_relation) {
	case RESYNC_IN_STEP:
	case RESYNC_STALE:
		return 0;
	case RESYNC_FORK:
		return refuse(why, why_len, -EREMCHG,
			      "it was changed on its own since it left; see "
			      "'seqmirror diff', unmount, and choose with "
			      "'seqmirror resync --prefer STORE STORE STORE'");
	case RESYNC_NEWER:
		return refuse(why, why_len, -EREMCHG,
			      "it is newer than the mounted volume; unmount "
			      "and resync from it");
	case RESYNC_FOREIGN:
		break;
	}
	return refuse(why, why_len, -EINVAL,
		      "its history has nothing in common with this volume; "
		      "'attach --rebuild' compares all of it, and the volume "
		      "wins");
}

int engine_relate(struct resync_engine *e, struct meta *meta,
		  enum resync_relation *ret_relation, uint64_t *ret_from,
		  char *why, size_t why_len)
{
	struct mirror_ref ref;
	int lead = mirror_lead(e->m);
	int r;

	r = lead < 0 ? -ENODEV : mirror_ref_get(e->m, (unsigned int)lead, &ref);
	if (r < 0)
		return refuse(why, why_len, r, "no store is online");
	r = engine_relate_to(ref.meta, meta, ret_relation, ret_from, why,
			     why_len);
	mirror_ref_put(e->m, &ref);
	return r;
}

static int check_identity(struct resync_engine *e,
			  const struct mirror_slot_info *info, const char *path,
			  char *why, size_t why_len)
{
	struct store_identity id;
	int r = reach_identity(path, &id);

	if (r == -ETIMEDOUT && reach_limit_ms())
		return refuse_hung(why, why_len, path);
	if (r < 0)
		return refuse(why, why_len, r, "no store at %s: %s", path,
			      strerror(-r));
	if (strcmp(id.volume_uuid, mirror_volume_uuid(e->m)))
		return refuse(why, why_len, -EINVAL,
			      "the store at %s belongs to another volume",
			      path);
	if (strcmp(id.store_uuid, info->uuid))
		return refuse(why, why_len, -EINVAL,
			      "the store at %s is %s, not %s", path, id.name,
			      info->name);
	return 0;
}

static int refuse_lost(char *why, size_t why_len, bool missing,
		       const char *cause)
{
	return refuse(why, why_len, -EUCLEAN,
		      "its map is %s (%s); 'seqmirror attach --rebuild' "
		      "compares all of it with the volume, which wins",
		      missing ? "missing" : "damaged",
		      cause ? cause : "It cannot be read.");
}

struct opening {
	struct reach_job base; /* first */
	struct mirror_slot_info info;
	bool with_map;
	bool dry; /* its map is not given a new format */
	struct engine_store s;
	char why[MIRROR_WHY_MAX];
};

static int open_store(struct opening *o)
{
	int r = store_open(o->base.at.path, o->info.uuid, &o->s.store);

	if (r < 0)
		return refuse(o->why, sizeof(o->why), r,
			      "%s cannot be opened: %s", o->base.at.path,
			      r == -EBUSY ? "another process has it"
					  : strerror(-r));
	if (o->dry)
		store_keep_modes(o->s.store);
	return 0;
}

static int open_map(const struct mirror_slot_info *info, const char *path,
		    bool dry, struct engine_store *ret, char *why,
		    size_t why_len)
{
	_cleanup_free_ char *meta_why = NULL;
	int r = dry ? reach_map_check_format(store_privdir(ret->store),
					     &meta_why)
		    : 0;

	if (r == 0)
		r = meta_open(store_privdir(ret->store), META_OPEN_RW,
			      &ret->meta, &meta_why);
	if (r == -ENOENT || r == -EUCLEAN)
		return refuse_lost(why, why_len, r == -ENOENT, meta_why);
	if (r < 0)
		return refuse(why, why_len, r, "%s: %s", path,
			      meta_why ? meta_why : strerror(-r));
	if (strcmp(meta_store_uuid(ret->meta), info->uuid))
		return refuse_lost(why, why_len, false,
				   "It is the map of another store.");
	return 0;
}

static int opening_run(struct reach_job *j)
{
	struct opening *o = (struct opening *)j;
	int r = open_store(o);

	if (r == 0 && o->with_map)
		r = open_map(&o->info, j->at.path, o->dry, &o->s, o->why,
			     sizeof(o->why));
	return r;
}

/* Nothing of it is under a guard yet. */
static void opening_drop(struct reach_job *j)
{
	struct opening *o = (struct opening *)j;

	meta_close(o->s.meta);
	store_close(o->s.store);
}

static int open_aside(const struct mirror_slot_info *info, const char *path,
		      bool with_map, bool dry, struct engine_store *ret,
		      char *why, size_t why_len)
{
	struct opening *o = calloc(1, sizeof(*o));
	int r;

	if (!o)
		return -ENOMEM;
	o->info = *info;
	o->with_map = with_map;
	o->dry = dry;
	r = reach_job_init(&o->base, path, opening_run, opening_drop);
	if (r < 0) {
		free(o);
		return r;
	}
	r = reach_run(&o->base);
	if (r == -ETIMEDOUT)
		return refuse_hung(why, why_len, path);
	if (r < 0)
		return r;
	r = o->base.result;
	if (r < 0) {
		ignore_result(refuse(why, why_len, r, "%s", o->why));
		opening_drop(&o->base);
	} else {
		*ret = o->s;
		reach_opened(ret->store, ret->meta);
	}
	free(o);
	return r;
}

/* A member that is away, and its store at @path (NULL: where it was last). */
static int find_member(struct resync_engine *e, unsigned int slot,
		       const char **path, struct mirror_slot_info *ret,
		       char *why, size_t why_len)
{
	if (slot >= mirror_slot_count(e->m))
		return refuse(why, why_len, -ENODEV, "there is no such member");
	mirror_slot_info(e->m, slot, ret);
	if (!ret->used)
		return refuse(why, why_len, -ENODEV, "there is no such member");
	if (ret->state == META_STORE_ONLINE)
		return refuse(why, why_len, -EBUSY, "it is online already");
	if (ret->state == META_STORE_RESYNCING)
		return refuse(why, why_len, -EBUSY,
			      "it is being resynced already");
	if (ret->hangs)
		return refuse(why, why_len, -EBUSY,
			      "calls on it have still not ended: it does not "
			      "answer yet");
	/* What reads there may last longer than whoever put it out. */
	if (!mirror_closed(e->m, slot, CLOSING_MS))
		return refuse(why, why_len, -EBUSY,
			      "it is still being closed: calls on it have not "
			      "ended; try again");
	if (!*path)
		*path = ret->path;
	return check_identity(e, ret, *path, why, why_len);
}

/* ---- a lost map ---- */

int engine_stops(void *arg)
{
	const struct resync_engine *e = arg;

	return atomic_load(&e->closing);
}

/* The map of @store, as it lies there, and what it says of its past. */
struct looking {
	struct reach_job base; /* first */
	const struct store *store;
	char source_uuid[META_UUID_LEN + 1];
	int lost;
	char *cause;
	struct lineage_of target; /* where it is not lost */
};

static int load_target(struct looking *k)
{
	struct meta *meta = NULL;
	struct meta_reader *rd = NULL;
	int r = meta_open(store_privdir(k->store), META_OPEN_RO, &meta, NULL);

	if (r == 0) {
		rd = meta_reader_get(meta);
		r = rd ? lineage_load(meta, rd, k->source_uuid, &k->target)
		       : -EIO;
	}
	/* What it points to outlives the map. */
	k->target.view.uuid = store_identity(k->store)->store_uuid;
	meta_reader_put(rd);
	meta_close(meta);
	return r;
}

static int looking_run(struct reach_job *j)
{
	struct looking *k = (struct looking *)j;
	int r = rebuild_is_lost(k->store, true, &k->cause);

	k->lost = r;
	return r ? MIN(r, 0) : load_target(k);
}

static void looking_drop(struct reach_job *j)
{
	struct looking *k = (struct looking *)j;

	lineage_done(&k->target);
	free(k->cause);
}

/* 1 foreign, 0 not. */
static int is_foreign(struct meta *source, const struct looking *k)
{
	struct lineage_of of = {0};
	struct lineage_verdict verdict;
	struct meta_reader *rd = meta_reader_get(source);
	int r = rd ? lineage_load(source, rd, k->target.view.uuid, &of)
		   : mirror_reader_error();

	meta_reader_put(rd);
	if (r < 0)
		return r;
	lineage_compare(&of.view, &k->target.view, &verdict);
	lineage_done(&of);
	return verdict.relation == RESYNC_FOREIGN;
}

static int judge_map(const struct looking *k, struct meta *source, char *why,
		     size_t why_len)
{
	int r = k->base.result;

	if (k->lost < 0)
		return refuse(why, why_len, r, "its map cannot be opened: %s",
			      k->cause ? k->cause : strerror(-r));
	if (k->lost > 0)
		return 1;
	if (r == 0)
		r = is_foreign(source, k);
	if (r < 0)
		return refuse(why, why_len, r, "its map cannot be compared: %s",
			      strerror(-r));
	return r;
}

/* Lost, or made anew from the files alone: foreign. 1 yes, 0 no. */
static int needs_rebuild(struct resync_engine *e, const struct store *store,
			 char *why, size_t why_len)
{
	struct looking *k = calloc(1, sizeof(*k));
	struct mirror_ref ref;
	int lead = mirror_lead(e->m);
	int r;

	if (!k)
		return -ENOMEM;
	k->base.run = looking_run;
	k->base.drop = looking_drop;
	k->store = store;
	r = lead < 0 ? -ENODEV : mirror_ref_get(e->m, (unsigned int)lead, &ref);
	if (r < 0) {
		free(k);
		return refuse(why, why_len, r, "no store is online");
	}
	memcpy(k->source_uuid, meta_store_uuid(ref.meta),
	       sizeof(k->source_uuid));
	r = reach_run_on(store, &k->base);
	if (r == 0) { /* and it is ours again */
		r = judge_map(k, ref.meta, why, why_len);
		looking_drop(&k->base);
		free(k);
	}
	mirror_ref_put(e->m, &ref);
	return r;
}

static int rebuild_from_lead(struct resync_engine *e, struct engine_store *s,
			     enum rebuild_what what, char *why, size_t why_len)
{
	struct rebuild_counts counts;
	struct resync_side source;
	struct mirror_ref ref;
	uint64_t cut;
	int r = mirror_checkpoint(e->m, &cut);
	int lead = mirror_lead(e->m);

	if (r == 0)
		r = lead < 0 ? -ENODEV
			     : mirror_ref_get(e->m, (unsigned int)lead, &ref);
	if (r < 0)
		return refuse(why, why_len, r, "no store is online");
	source = (struct resync_side){ref.store, ref.meta, e->m, ref.slot};
	r = rebuild_like(&source, s->store, what, engine_stops, e, &s->meta,
			 &counts, why, why_len);
	mirror_ref_put(e->m, &ref);
	if (r == 0)
		log_info("%s was made anew: store=%s compare=%llu found=%llu",
			 what == REBUILD_COPY
				 ? "the map of a copy of a store that was "
				   "in use, or was not left cleanly,"
				 : "a lost map",
			 store_path(s->store),
			 (unsigned long long)counts.compared,
			 (unsigned long long)counts.found);
	return r;
}

/* ---- a copy of a store that was in use ---- */

/* 1 yes, 0 no. */
static int is_unclean_copy(const struct engine_store *s)
{
	const struct resync_side side = {.store = s->store, .meta = s->meta};
	struct meta_reader *rd = meta_reader_get(s->meta);
	int r = rd ? side_is_unclean_copy(&side, rd) : mirror_reader_error();

	meta_reader_put(rd);
	return r;
}

/* It may follow, as its map says; what else that says is not to be believed. */
static int take_unclean_copy(struct resync_engine *e, struct engine_store *s,
			     bool dry, char *why, size_t why_len)
{
	int r = is_unclean_copy(s);

	if (r < 0)
		return refuse(why, why_len, r, "its map cannot be read: %s",
			      strerror(-r));
	if (r == 0)
		return 0;
	if (dry)
		return refuse(why, why_len, -EUCLEAN,
			      "it is a copy of a store that was in use, or was "
			      "not left cleanly: all of it would be compared, "
			      "and a forecast cannot tell what differs");
	r = meta_ballast_spend(s->meta);
	if (r < 0)
		return refuse(why, why_len, r,
			      "it gives no room for its map: %s", strerror(-r));
	reach_close(NULL, steal_pointer(&s->meta), NULL);
	r = rebuild_from_lead(e, s, REBUILD_COPY, why, why_len);
	if (r == 0)
		r = engine_relate(e, s->meta, &s->relation, &s->from, why,
				  why_len);
	return r;
}

int engine_store_open(struct resync_engine *e, unsigned int slot,
		      const char *path, bool dry, struct engine_store *ret,
		      char *why, size_t why_len)
{
	struct mirror_slot_info info;
	int r;

	*ret = (struct engine_store){0};
	r = find_member(e, slot, &path, &info, why, why_len);
	if (r == 0)
		r = open_aside(&info, path, true, dry, ret, why, why_len);
	if (r == 0)
		r = engine_relate(e, ret->meta, &ret->relation, &ret->from, why,
				  why_len);
	if (r == 0)
		r = take_unclean_copy(e, ret, dry, why, why_len);
	if (r < 0 && reach_hangs(ret->store, ret->meta))
		r = refuse_hung(why, why_len, path);
	if (r < 0)
		engine_store_close(ret);
	return r;
}

/* ---- a lost map, at the user's word ---- */

int engine_store_rebuild(struct resync_engine *e, unsigned int slot,
			 const char *path, char *why, size_t why_len)
{
	struct mirror_slot_info info;
	struct engine_store s = {0};
	int r = find_member(e, slot, &path, &info, why, why_len);

	if (r == 0)
		r = open_aside(&info, path, false, false, &s, why, why_len);
	if (r < 0)
		return r;
	r = needs_rebuild(e, s.store, why, why_len);
	if (r > 0)
		r = rebuild_from_lead(e, &s, REBUILD_LOST, why, why_len);
	if (r < 0 && reach_hangs(s.store, s.meta))
		r = refuse_hung(why, why_len, path);
	engine_store_close(&s);
	return r;
}

bool engine_store_is_back(struct resync_engine *e, unsigned int slot)
{
	struct mirror_slot_info info;

	mirror_slot_info(e->m, slot, &info);
	if (!info.used || !info.path[0] || info.hangs)
		return false;
	if (info.state != META_STORE_MISSING && info.state != META_STORE_FAILED)
		return false;
	if (!mirror_closed(e->m, slot, 0))
		return false; /* not before it has gone */
	return check_identity(e, &info, info.path, NULL, 0) == 0;
}
