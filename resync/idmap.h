/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A map from node ids to numbers: what a lap has seen, armed, put into limbo.
 *
 * Open addressing, grown by doubling.  An id is never 0; a number of 0 is the
 * same as no entry, so that nothing is ever taken out.
 */
#pragma once

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/cleanup.h"

struct idmap_slot {
	uint64_t id; /* 0: free */
	uint64_t value;
};

struct idmap {
	struct idmap_slot *slots;
	size_t capacity; /* a power of two, or 0 */
	size_t used;
};

static inline void idmap_done(struct idmap *map)
{
	free(map->slots);
	*map = (struct idmap){0};
}

static inline struct idmap_slot *idmap_find_(struct idmap_slot *slots,
					     size_t capacity, uint64_t id)
{
	uint64_t hash = id * UINT64_C(0x9e3779b97f4a7c15);
	size_t at = (size_t)(hash >> 20) & (capacity - 1);

	while (slots[at].id && slots[at].id != id)
		at = (at + 1) & (capacity - 1);
	return &slots[at];
}

/** idmap_get - the number of @id; 0: none. */
static inline uint64_t idmap_get(const struct idmap *map, uint64_t id)
{
	if (!map->capacity)
		return 0;
	return idmap_find_(map->slots, map->capacity, id)->value;
}

static inline int idmap_grow_(struct idmap *map)
{
	size_t capacity = map->capacity ? map->capacity * 2 : 64;
	struct idmap_slot *slots = calloc(capacity, sizeof(*slots));

	if (!slots)
		return -ENOMEM;
	for (size_t i = 0; i < map->capacity; i++)
		if (map->slots[i].id)
			*idmap_find_(slots, capacity, map->slots[i].id) =
				map->slots[i];
	free(map->slots);
	map->slots = slots;
	map->capacity = capacity;
	return 0;
}

/** idmap_set - give @id a number, whatever it had. Return: 0, -ENOMEM. */
MUST_CHECK static inline int idmap_set(struct idmap *map, uint64_t id,
				       uint64_t value)
{
	struct idmap_slot *slot;

	assert(id);
	if ((map->used + 1) * 4 > map->capacity * 3 && idmap_grow_(map))
		return -ENOMEM;
	slot = idmap_find_(map->slots, map->capacity, id);
	if (!slot->id) {
		slot->id = id;
		map->used++;
	}
	slot->value = value;
	return 0;
}
