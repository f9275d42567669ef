/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "resync/engine.h"

static int refuse(char *why, size_t why_len, int err, const char *fmt, ...)
	__attribute__((__format__(__printf__, 4, 5)));

static int refuse(char *why, size_t why_len, int err, const char *fmt, ...)
{
	va_list args;

	if (!why || !why_len)
		return err;
	va_start(args, fmt);
	(void)vsnprintf(why, why_len, fmt, args);
	va_end(args);
	return err;
}

void engine_store_close(struct engine_store *s)
{
	meta_close(s->meta);
	store_close(s->store);
	*s = (struct engine_store){0};
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
	r = resync_relate(ref.meta, meta, ret_relation, ret_from);
	mirror_ref_put(e->m, &ref);
	if (r < 0)
		return refuse(why, why_len, r, "its map cannot be compared: %s",
			      strerror(-r));
	switch (*ret_relation) {
	case RESYNC_IN_STEP:
	case RESYNC_STALE:
		return 0;
	case RESYNC_FORK:
		return refuse(why, why_len, -EREMCHG,
			      "it was changed on its own since it left; see "
			      "'seqmirror diff', unmount, and choose with "
			      "'seqmirror resync --prefer'");
	case RESYNC_NEWER:
		return refuse(why, why_len, -EREMCHG,
			      "it is newer than the mounted volume; unmount "
			      "and resync from it");
	case RESYNC_FOREIGN:
		break;
	}
	return refuse(why, why_len, -EINVAL,
		      "its history has nothing in common with this volume");
}

static int check_identity(struct resync_engine *e,
			  const struct mirror_slot_info *info, const char *path,
			  char *why, size_t why_len)
{
	struct store_identity id;
	int r = store_probe_identity(path, &id);

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

static int open_both(const struct mirror_slot_info *info, const char *path,
		     struct engine_store *ret, char *why, size_t why_len)
{
	_cleanup_free_ char *meta_why = NULL;
	int r;

	r = store_open(path, info->uuid, &ret->store);
	if (r < 0)
		return refuse(why, why_len, r, "%s cannot be opened: %s", path,
			      r == -EBUSY ? "another process has it"
					  : strerror(-r));
	r = meta_open(store_privdir(ret->store), META_OPEN_RW, &ret->meta,
		      &meta_why);
	if (r < 0)
		return refuse(why, why_len, r, "%s: %s", path,
			      meta_why ? meta_why : strerror(-r));
	if (strcmp(meta_store_uuid(ret->meta), info->uuid))
		return refuse(why, why_len, -EUCLEAN,
			      "the map in %s is that of another store", path);
	return 0;
}

int engine_store_open(struct resync_engine *e, unsigned int slot,
		      const char *path, struct engine_store *ret, char *why,
		      size_t why_len)
{
	struct mirror_slot_info info;
	int r;

	*ret = (struct engine_store){0};
	if (slot >= mirror_slot_count(e->m))
		return refuse(why, why_len, -ENODEV, "there is no such member");
	mirror_slot_info(e->m, slot, &info);
	if (!info.used)
		return refuse(why, why_len, -ENODEV, "there is no such member");
	if (info.state == META_STORE_ONLINE)
		return refuse(why, why_len, -EBUSY, "it is online already");
	if (info.state == META_STORE_RESYNCING)
		return refuse(why, why_len, -EBUSY,
			      "it is being resynced already");
	if (!path)
		path = info.path;
	r = check_identity(e, &info, path, why, why_len);
	if (r == 0)
		r = open_both(&info, path, ret, why, why_len);
	if (r == 0)
		r = engine_relate(e, ret->meta, &ret->relation, &ret->from, why,
				  why_len);
	if (r < 0)
		engine_store_close(ret);
	return r;
}

bool engine_store_is_back(struct resync_engine *e, unsigned int slot)
{
	struct mirror_slot_info info;

	mirror_slot_info(e->m, slot, &info);
	if (!info.used || !info.path[0])
		return false;
	if (info.state != META_STORE_MISSING && info.state != META_STORE_FAILED)
		return false;
	return check_identity(e, &info, info.path, NULL, 0) == 0;
}
