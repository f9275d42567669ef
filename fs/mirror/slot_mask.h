/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sets of slots: a slot is the place of one store in a mounted volume, a bit its
 * number.
 */
#pragma once

#include <stdint.h>

#include "meta/meta.h"

typedef uint32_t slot_mask;

#define SLOT_BIT(i) ((slot_mask)1 << (i))
#define ALL_SLOTS   (~(slot_mask)0)
#define for_each_slot(i, mask)                            \
	for (unsigned int i = 0; i < META_STORE_MAX; i++) \
		if (!((mask)&SLOT_BIT(i)))                \
			;                                 \
		else
