/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/mirror/map_change.h"

#include "fs/mirror/room.h"

struct change {
	map_change_fn fn;
	const void *arg;
};

static int change_once(struct mirror *m, unsigned int i, const void *arg)
{
	struct meta *meta = m->slot[i].meta;
	const struct change *c = arg;
	int r = meta_begin(meta);

	if (r)
		return r;
	r = c->fn(meta, c->arg);
	if (!r)
		return meta_commit(meta);
	meta_rollback(meta);
	return r;
}

int map_change(struct mirror *m, unsigned int i, map_change_fn fn,
	       const void *arg)
{
	return room_try(m, i, change_once, &(struct change){fn, arg});
}

uint64_t map_root_look(const struct store *store)
{
	uint64_t look;

	return store_root_look(store, &look) ? 0 : look;
}
