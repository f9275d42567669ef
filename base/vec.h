/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A typed growable array, as macros over an anonymous struct.
 *
 *	struct plan {
 *		VEC(struct step) steps;
 *	};
 *
 *	int err = vec_push(&plan->steps, ((struct step){ ... }));
 *	if (err)
 *		return err;
 *	vec_for_each (step, &plan->steps)
 *		step_run(step);
 *	vec_done(&plan->steps);
 *
 * An array of all zeros is an empty one. Items are moved with memmove(3) and
 * must not point into themselves. Whatever grows the array returns 0 or
 * -ENOMEM, leaves it as it was in the second case, and makes pointers to its
 * items void in the first. Indexes out of range are asserted. No locks.
 */
#pragma once

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define VEC(type)                \
	struct {                 \
		type *data;      \
		size_t count;    \
		size_t capacity; \
	}

/* Returns the array with room for at least @need items, or NULL. Doubling
 * keeps a row of pushes linear. */
static inline void *vec_grow_(void *data, size_t *capacity, size_t need,
			      size_t item_bytes)
{
	size_t want = *capacity ? *capacity : 8;
	void *grown;

	while (want < need) {
		if (want > SIZE_MAX / 2)
			return NULL;
		want *= 2;
	}
	if (want > PTRDIFF_MAX / item_bytes)
		return NULL;
	grown = realloc(data, want * item_bytes);
	if (grown)
		*capacity = want;
	return grown;
}

static inline void vec_splice_(void *data, size_t count, size_t at,
			       size_t old_count, const void *items,
			       size_t new_count, size_t item_bytes)
{
	char *base = data;

	assert(at <= count && old_count <= count - at);
	if (old_count != new_count && count > at + old_count)
		memmove(base + (at + new_count) * item_bytes,
			base + (at + old_count) * item_bytes,
			(count - at - old_count) * item_bytes);
	if (new_count)
		memcpy(base + at * item_bytes, items, new_count * item_bytes);
}

/** vec_init - an empty array; allocates nothing. */
#define vec_init(v) ((v)->data = NULL, (v)->count = 0, (v)->capacity = 0)

/** vec_done - free the memory; the array is empty and usable afterwards. */
#define vec_done(v) (free((v)->data), (void)vec_init(v))

/** vec_clear - no items, memory kept. */
#define vec_clear(v) ((void)((v)->count = 0))

/** vec_reserve - room for @n items in all. Return: 0, -ENOMEM. */
#define vec_reserve(v, n)                                                     \
	__extension__({                                                       \
		size_t vec_need_ = (n);                                       \
		int vec_err_ = 0;                                             \
		if (vec_need_ > (v)->capacity) {                              \
			void *vec_new_ = vec_grow_((v)->data, &(v)->capacity, \
						   vec_need_,                 \
						   sizeof(*(v)->data));       \
			if (vec_new_)                                         \
				(v)->data = vec_new_;                         \
			else                                                  \
				vec_err_ = -ENOMEM;                           \
		}                                                             \
		vec_err_;                                                     \
	})

/** vec_push - append one item. Return: 0, -ENOMEM. */
#define vec_push(v, item)                                           \
	__extension__({                                             \
		int vec_push_err_ = vec_reserve(v, (v)->count + 1); \
		if (!vec_push_err_)                                 \
			(v)->data[(v)->count++] = (item);           \
		vec_push_err_;                                      \
	})

/**
 * vec_splice - put @new_count items from @items where @old_count items lie
 * at index @at. @items must not lie in the array. Return: 0, -ENOMEM.
 */
#define vec_splice(v, at, old_count_, items, new_count_)                       \
	__extension__({                                                        \
		size_t vec_at_ = (at);                                         \
		size_t vec_old_ = (old_count_);                                \
		size_t vec_add_ = (new_count_);                                \
		const __typeof__(*(v)->data) *vec_items_ = (items);            \
		int vec_splice_err_ =                                          \
			vec_reserve(v, (v)->count - vec_old_ + vec_add_);      \
		if (!vec_splice_err_) {                                        \
			vec_splice_((v)->data, (v)->count, vec_at_, vec_old_,  \
				    vec_items_, vec_add_, sizeof(*(v)->data)); \
			(v)->count = (v)->count - vec_old_ + vec_add_;         \
		}                                                              \
		vec_splice_err_;                                               \
	})

/** vec_insert - put one item before index @at. Return: 0, -ENOMEM. */
#define vec_insert(v, at, item)                            \
	__extension__({                                    \
		__typeof__(*(v)->data) vec_item_ = (item); \
		vec_splice(v, at, 0, &vec_item_, 1);       \
	})

/** vec_remove - take out @n items from index @at on. Never fails. */
#define vec_remove(v, at, n)                                              \
	__extension__({                                                   \
		size_t vec_n_ = (n);                                      \
		vec_splice_((v)->data, (v)->count, (at), vec_n_, NULL, 0, \
			    sizeof(*(v)->data));                          \
		(v)->count -= vec_n_;                                     \
		(void)0;                                                  \
	})

/** vec_last - pointer to the last item; the array is not empty. */
#define vec_last(v)                         \
	__extension__({                     \
		assert((v)->count > 0);     \
		&(v)->data[(v)->count - 1]; \
	})

/** vec_pop - take the last item out and return it. */
#define vec_pop(v)                       \
	__extension__({                  \
		assert((v)->count > 0);  \
		(v)->data[--(v)->count]; \
	})

/**
 * vec_for_each - @p points to each item in turn. The array may not grow or
 * shrink meanwhile.
 */
#define vec_for_each(p, v)                          \
	for (__typeof__(*(v)->data) *p = (v)->data; \
	     p && p < (v)->data + (v)->count; p++)
