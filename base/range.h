/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Half-open byte ranges [start, end), sets of them, and maps from them to a
 * number. Pure: no I/O, no locks, no globals.
 *
 * struct range		one range; start <= end, empty when they are equal
 * struct range_set	bytes that are in, as sorted ranges that neither
 *			overlap nor touch
 * struct range_map	bytes that have a value, as sorted items that do not
 *			overlap; items that touch have different values
 *
 *	struct range_set dirty;
 *	struct range hit;
 *
 *	range_set_init(&dirty);
 *	err = range_set_add(&dirty, (struct range){ 0, 4096 });
 *	...
 *	for (uint64_t at = 0; range_set_next(&dirty, at, &hit); at = hit.end)
 *		use(hit);
 *	range_set_done(&dirty);
 *
 * Sets and maps are vectors searched by halves: a change costs a search and
 * a move of what lies behind it. Whatever can allocate returns 0 or -ENOMEM
 * and has changed nothing in the second case. A range with start > end is
 * asserted; an empty one is in everything and changes nothing.
 */
#pragma once

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/vec.h"

struct range {
	uint64_t start; /* bytes, inclusive */
	uint64_t end;	/* bytes, exclusive */
};

/** range_of - the range of @len_bytes from @off_bytes on; must not wrap. */
static inline struct range range_of(uint64_t off_bytes, uint64_t len_bytes)
{
	assert(len_bytes <= UINT64_MAX - off_bytes);
	return (struct range){off_bytes, off_bytes + len_bytes};
}

static inline uint64_t range_len(struct range r)
{
	assert(r.start <= r.end);
	return r.end - r.start;
}

static inline bool range_is_empty(struct range r)
{
	assert(r.start <= r.end);
	return r.start == r.end;
}

/** range_overlaps - whether the two have a byte in common. */
bool range_overlaps(struct range a, struct range b);

/** range_covers - whether all bytes of @inner are in @outer. */
bool range_covers(struct range outer, struct range inner);

/** range_intersect - the bytes in both; an empty range if there are none. */
struct range range_intersect(struct range a, struct range b);

/**
 * range_align_out - the smallest range of whole units that covers @r.
 * @unit_bytes: a power of two
 *
 * An empty range stays empty. The end must not pass UINT64_MAX: asserted.
 */
struct range range_align_out(struct range r, uint64_t unit_bytes);

/**
 * range_align_in - the largest range of whole units inside @r, possibly empty.
 * @unit_bytes: a power of two
 */
struct range range_align_in(struct range r, uint64_t unit_bytes);

struct range_set {
	VEC(struct range) items;
	uint64_t len_bytes; /* sum over items */
};

void range_set_init(struct range_set *set);
void range_set_done(struct range_set *set);

/** range_set_clear - empty the set and keep its memory. */
void range_set_clear(struct range_set *set);

/** range_set_add - put @r in, merging with what it overlaps or touches. */
MUST_CHECK int range_set_add(struct range_set *set, struct range r);

/** range_set_remove - take @r out; may split a range, hence may be -ENOMEM. */
MUST_CHECK int range_set_remove(struct range_set *set, struct range r);

/** range_set_add_set - put all of @other in. */
MUST_CHECK int range_set_add_set(struct range_set *set,
				 const struct range_set *other);

/** range_set_subtract - take all of @other out. Linear in both sizes. */
MUST_CHECK int range_set_subtract(struct range_set *set,
				  const struct range_set *other);

/** range_set_contains - whether the byte at @off_bytes is in. */
bool range_set_contains(const struct range_set *set, uint64_t off_bytes);

/** range_set_covers - whether every byte of @r is in. */
bool range_set_covers(const struct range_set *set, struct range r);

/** range_set_overlaps - whether any byte of @r is in. */
bool range_set_overlaps(const struct range_set *set, struct range r);

/**
 * range_set_next - the first range of the set that ends after @off_bytes,
 * whole, also where it begins before it.
 * Return: true and @ret_range set, false if there is none.
 */
bool range_set_next(const struct range_set *set, uint64_t off_bytes,
		    struct range *ret_range);

/**
 * range_set_next_gap - the first run of bytes of @within that are not
 * in the set.
 * Return: true and @ret_range set, false if the set covers @within.
 */
bool range_set_next_gap(const struct range_set *set, struct range within,
			struct range *ret_range);

/** range_set_bytes - how many bytes are in. */
static inline uint64_t range_set_bytes(const struct range_set *set)
{
	return set->len_bytes;
}

static inline bool range_set_is_empty(const struct range_set *set)
{
	return set->items.count == 0;
}

/* @p: const-like pointer to each struct range in order; no change meanwhile */
#define range_set_for_each(p, set) vec_for_each (p, &(set)->items)

struct range_map_item {
	struct range range;
	uint64_t value;
};

struct range_map {
	VEC(struct range_map_item) items;
};

void range_map_init(struct range_map *map);
void range_map_done(struct range_map *map);

/** range_map_reset - empty the map and keep its memory. */
void range_map_reset(struct range_map *map);

/**
 * range_map_set - give every byte of @r this value, whatever it had before.
 * Neighbours of the same value become one item.
 */
MUST_CHECK int range_map_set(struct range_map *map, struct range r,
			     uint64_t value);

/**
 * range_map_raise - like range_map_set(), but a byte that has a higher value
 * keeps it. On -ENOMEM a part of @r may have been raised.
 */
MUST_CHECK int range_map_raise(struct range_map *map, struct range r,
			       uint64_t value);

/** range_map_clear - no byte of @r has a value; may split, hence -ENOMEM. */
MUST_CHECK int range_map_clear(struct range_map *map, struct range r);

/**
 * range_map_lookup - the item that the byte at @off_bytes lies in.
 * Return: true and @ret_item set, false if the byte has no value.
 */
bool range_map_lookup(const struct range_map *map, uint64_t off_bytes,
		      struct range_map_item *ret_item);

/**
 * range_map_next - the first item that ends after @off_bytes, whole.
 * Return: true and @ret_item set, false if there is none.
 */
bool range_map_next(const struct range_map *map, uint64_t off_bytes,
		    struct range_map_item *ret_item);

static inline bool range_map_is_empty(const struct range_map *map)
{
	return map->items.count == 0;
}

#define range_map_for_each(p, map) vec_for_each (p, &(map)->items)
