/* SPDX-License-Identifier: Apache-2.0 */
#include "resync/shut.h"

#include <stdio.h>
#include <string.h>

static int note(struct shut_list *list, const struct present_set *set,
		struct shut_store *shut)
{
	memcpy(shut->why, set->why, sizeof(shut->why));
	return vec_push(&list->v, *shut);
}

int shut_note_lost(struct shut_list *list, const struct present_set *set)
{
	struct shut_store shut = {.id = set->lost, .lost = true};

	return note(list, set, &shut);
}

int shut_note_left(struct shut_list *list, const struct present_set *set,
		   const char *uuid)
{
	struct shut_store shut = {.lost = false};

	(void)snprintf(shut.id.store_uuid, sizeof(shut.id.store_uuid), "%s",
		       uuid);
	return note(list, set, &shut);
}

int shut_note_away(struct shut_list *list, const struct present_set *set,
		   const char *uuid)
{
	struct shut_store shut = {.away = true};

	if (shut_find(list, uuid)) /* another map has it as well */
		return 0;
	(void)snprintf(shut.id.store_uuid, sizeof(shut.id.store_uuid), "%s",
		       uuid);
	return note(list, set, &shut);
}

const struct shut_store *shut_find(const struct shut_list *list,
				   const char *uuid)
{
	const struct shut_store *found = NULL;

	vec_for_each (shut, &list->v) {
		if (!strcmp(shut->id.store_uuid, uuid) &&
		    (!found || found->away))
			found = shut;
	}
	return found;
}

bool shut_is_lost(const struct shut_list *list, const char *uuid)
{
	const struct shut_store *shut = shut_find(list, uuid);

	return shut && shut->lost;
}

void shut_done(struct shut_list *list)
{
	vec_done(&list->v);
}
