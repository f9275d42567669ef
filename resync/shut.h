/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Members whose store is there, or does not answer, and that a volume goes on
 * without: why, for the message of the mount and for whoever asks later.
 */
#pragma once

#include "base/vec.h"
#include "resync/present.h"

struct shut_store {
	struct store_identity id; /* of one left out, its UUID alone */
	bool lost; /* it has no map that could be used; else it cannot be opened */
	bool away; /* there; where another map has it, it may be */
	char why[PRESENT_WHY_MAX];
};

struct shut_list {
	VEC(struct shut_store) v;
};

/* As @set has just said it, of the store without a map that it found, or (@uuid)
 * of the member that did not open. 0, -ENOMEM */
MUST_CHECK int shut_note_lost(struct shut_list *list,
			      const struct present_set *set);
MUST_CHECK int shut_note_left(struct shut_list *list,
			      const struct present_set *set, const char *uuid);
MUST_CHECK int shut_note_away(struct shut_list *list,
			      const struct present_set *set, const char *uuid);
/* NULL: none of them; one that is not away comes first. */
const struct shut_store *shut_find(const struct shut_list *list,
				   const char *uuid);
bool shut_is_lost(const struct shut_list *list, const char *uuid);
void shut_done(struct shut_list *list);
