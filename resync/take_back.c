/* SPDX-License-Identifier: Apache-2.0 */
#include "resync/take_back.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "resync/lineage.h"
#include "resync/present.h"
#include "resync/rebuild.h"

struct work {
	const struct take_back *args;
	struct present_set set; /* the preferred side alone */
	char *why;
	size_t why_len;
};

static int refuse(struct work *w, int err, const char *fmt, ...)
	__attribute__((__format__(__printf__, 3, 4)));

static int refuse(struct work *w, int err, const char *fmt, ...)
{
	va_list args;

	if (!w->why_len)
		return err;
	va_start(args, fmt);
	text_mark_cut(w->why, w->why_len,
		      vsnprintf(w->why, w->why_len, fmt, args));
	va_end(args);
	return err;
}

/* Has @store nothing in common with the preferred side? 1 yes, 0 no. */
static int is_foreign(struct work *w, const struct store *store)
{
	struct lineage_verdict verdict;
	struct meta *meta = NULL;
	int r = meta_open(store_privdir(store), META_OPEN_RO, &meta, NULL);

	if (r == 0)
		r = resync_relate_lineage(w->set.v[0].meta, meta, &verdict);
	if (r == 0)
		r = verdict.relation == RESYNC_FOREIGN &&
		    !strcmp(meta_volume_uuid(meta),
			    meta_volume_uuid(w->set.v[0].meta));
	meta_close(meta);
	return r;
}

/* One that was rebuilt alone knows no members: the others become some. */
static int add_member(struct work *w, const struct store *store)
{
	const struct store_identity *id = store_identity(store);
	struct meta *meta = w->set.v[0].meta;
	_cleanup_free_ struct meta_member *v =
		calloc(META_STORE_MAX + 1, sizeof(*v));
	struct meta_reader *rd = meta_reader_get(meta);
	struct meta_member row = {.state = META_STORE_MISSING};
	size_t count = 0;
	int r = v && rd ? meta_members(rd, v, &count) : -ENOMEM;

	meta_reader_put(rd);
	for (size_t i = 0; r == 0 && i < count; i++)
		if (!strcmp(v[i].uuid, id->store_uuid))
			return 0;
	for (size_t i = 0; r == 0 && i < count; i++)
		if (!strcmp(v[i].name, id->name))
			r = -ENOTUNIQ;
	if (r == 0 && count == META_STORE_MAX)
		r = -E2BIG;
	if (r < 0)
		return r;
	memcpy(row.uuid, id->store_uuid, sizeof(row.uuid));
	memcpy(row.name, id->name, sizeof(row.name));
	(void)snprintf(row.path_hint, sizeof(row.path_hint), "%s",
		       store_path(store));
	r = meta_begin(meta);
	if (r < 0)
		return r;
	r = meta_member_put(meta, &row);
	if (r < 0) {
		meta_rollback(meta);
		return r;
	}
	return meta_commit(meta);
}

static int open_preferred(struct work *w)
{
	const char *path = w->args->paths[w->args->prefer];
	int r;

	if (w->set.count)
		return 0;
	r = present_open(&w->set, path, NULL, true);
	if (r < 0)
		return refuse(w, r, "%s", w->set.why);
	return 0;
}

/*
 * What it has in doubt for the sake of a store that failed is compared and
 * numbered anew first, as by a mount of it alone.
 */
static int settle_doubts(struct work *w)
{
	uint64_t bytes;
	int r;

	if (!w->set.v[0].intents)
		return 0;
	r = present_recover(&w->set, 0, &bytes);
	return r < 0 ? refuse(w, r, "%s", w->set.why) : 0;
}

static int take_back(struct work *w, struct store *store, const char *lost)
{
	const struct resync_control *c = w->args->control;
	const char *name = store_identity(store)->name;
	const struct present *p = &w->set.v[0];
	const struct resync_side source = {.store = p->store, .meta = p->meta};
	struct rebuild_counts counts;
	struct meta *meta = NULL;
	int r;

	if (strcmp(store_identity(store)->volume_uuid,
		   store_identity(p->store)->volume_uuid))
		return refuse(w, -EINVAL,
			      "store %s belongs to another volume than %s",
			      name, present_name(&w->set, 0));
	if (p->resyncing || !p->clean || p->copy ||
	    (p->intents && !p->doubts_only))
		return refuse(w, -EBUSY,
			      "store %s was not left cleanly (or is a copy): "
			      "mount it without %s first, then attach that "
			      "with --rebuild",
			      present_name(&w->set, 0), name);
	if (c && c->dry_run)
		return refuse(w, -EUCLEAN,
			      "all of store %s would be compared (%s); a dry "
			      "run cannot tell what differs",
			      name, lost ? lost : "It shares no history.");
	r = add_member(w, store);
	if (r < 0)
		return refuse(w, r, "store %s cannot become a member: %s", name,
			      r == -ENOTUNIQ
				      ? "another member of the volume has its "
					"name ('seqmirror remove' that one, or "
					"'seqmirror add' an empty directory)"
				      : strerror(-r));
	r = settle_doubts(w);
	if (r < 0)
		return r;
	r = rebuild_like(&source, store, REBUILD_LOST,
			 c ? c->should_stop : NULL, c ? c->arg : NULL, &meta,
			 &counts, w->why, w->why_len);
	meta_close(meta);
	return r;
}

static int look_at(struct work *w, struct store *store)
{
	_cleanup_free_ char *lost = NULL;
	int r = rebuild_is_lost(store, w->args->prefer >= 0, &lost);

	/* Whatever else is wrong with it is told when it is opened. */
	if (r < 0 || (r == 0 && w->args->prefer < 0))
		return 0;
	if (w->args->prefer < 0)
		return refuse(w, -EUCLEAN,
			      "the map of store %s is lost (%s); 'seqmirror "
			      "resync --prefer STORE' with a good store "
			      "compares all of it with that one",
			      store_identity(store)->name, lost);
	r = open_preferred(w);
	if (r == 0 && !lost) {
		r = is_foreign(w, store);
		if (r <= 0)
			return MIN(r, 0);
		r = 0;
	}
	return r < 0 ? r : take_back(w, store, lost);
}

int take_back_all(const struct take_back *args, char *why, size_t why_len)
{
	struct work w = {.args = args, .why = why, .why_len = why_len};
	int r = 0;

	for (size_t i = 0; r == 0 && i < args->count; i++) {
		struct store *store = NULL;

		if ((int)i == args->prefer ||
		    store_open(args->paths[i], NULL, &store) < 0)
			continue;
		if (args->control && args->control->dry_run)
			store_keep_modes(store);
		r = look_at(&w, store);
		store_close(store);
	}
	present_done(&w.set);
	return r;
}
