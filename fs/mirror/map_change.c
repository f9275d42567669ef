/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/mirror/map_change.h"

#include <errno.h>

#include "fs/mirror/room.h"

static int change_once(struct meta *meta, map_change_fn fn, const void *arg)
{
	int r = meta_begin(meta);

	if (r)
		return r;
	r = fn(meta, arg);
	if (!r)
		return meta_commit(meta);
	meta_rollback(meta);
	return r;
}

int map_change(struct mirror *m, unsigned int i, map_change_fn fn,
	       const void *arg)
{
	struct meta *meta = m->slot[i].meta;
	int r = change_once(meta, fn, arg);

	if (r == -ENOSPC && !room_for_map(m, i))
		r = change_once(meta, fn, arg);
	return r;
}

uint64_t map_root_look(const struct store *store)
{
	uint64_t look;

	return store_root_look(store, &look) ? 0 : look;
}
