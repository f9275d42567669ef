/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "resync/scrub_run.h"

static void add(char stores[META_LIST_BYTES], const char *uuid)
{
	size_t len = strlen(stores);

	(void)snprintf(stores + len, META_LIST_BYTES - len, "%s,", uuid);
}

bool scrub_has(const char *stores, const char *uuid)
{
	const char *at = *uuid ? strstr(stores, uuid) : NULL;

	return at && at[strlen(uuid)] == ',';
}

void scrub_stores_begin(struct mirror *m, char stores[META_LIST_BYTES])
{
	stores[0] = '\0';
	for (unsigned int i = 0; i < mirror_slot_count(m); i++) {
		struct mirror_slot_info info;

		mirror_slot_look(m, i, &info);
		if (info.used && info.state == META_STORE_ONLINE)
			add(stores, info.uuid);
	}
}

void scrub_stores_keep(struct scrub *s, uint32_t missed, bool online)
{
	char kept[META_LIST_BYTES] = "";

	for (unsigned int i = 0; i < mirror_slot_count(s->m); i++) {
		struct mirror_slot_info info;

		mirror_slot_look(s->m, i, &info);
		if (!info.used || missed & UINT32_C(1) << i ||
		    (online && info.state != META_STORE_ONLINE) ||
		    !scrub_has(s->now.stores, info.uuid))
			continue;
		add(kept, info.uuid);
	}
	mutex_lock(&s->lock);
	memcpy(s->now.stores, kept, sizeof(kept));
	mutex_unlock(&s->lock);
}
