/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "resync/scrub_run.h"

struct field {
	enum meta_number number;
	uint64_t *value;
};

enum {
	FIELDS = 16,
};

static void fields_of(struct scrub_counts *now, struct scrub_counts *last,
		      struct scrub_position *at, struct field v[FIELDS])
{
	const struct field fields[FIELDS] = {
		{META_NUM_SCRUB_BEGUN, &now->begun_ns},
		{META_NUM_SCRUB_NODE, &at->node},
		{META_NUM_SCRUB_OFFSET, &at->offset},
		{META_NUM_SCRUB_UNTIL, &at->until},
		{META_NUM_SCRUB_NODES, &now->nodes},
		{META_NUM_SCRUB_BYTES, &now->bytes},
		{META_NUM_SCRUB_FOUND, &now->found},
		{META_NUM_SCRUB_FIXED, &now->fixed},
		{META_NUM_SCRUB_BUSY, &now->busy},
		{META_NUM_SCRUBBED, &last->ended_ns},
		{META_NUM_SCRUBBED_BEGUN, &last->begun_ns},
		{META_NUM_SCRUBBED_NODES, &last->nodes},
		{META_NUM_SCRUBBED_BYTES, &last->bytes},
		{META_NUM_SCRUBBED_FOUND, &last->found},
		{META_NUM_SCRUBBED_FIXED, &last->fixed},
		{META_NUM_SCRUBBED_BUSY, &last->busy},
	};

	memcpy(v, fields, sizeof(fields));
}

int scrub_load(struct mirror *m, unsigned int slot, struct scrub_counts *now,
	       struct scrub_counts *last, struct scrub_position *at)
{
	struct field v[FIELDS];
	struct meta_reader *rd;
	struct mirror_ref ref;
	int r = mirror_ref_get(m, slot, &ref);

	if (r)
		return r;
	fields_of(now, last, at, v);
	rd = meta_reader_get(ref.meta);
	r = rd ? 0 : mirror_reader_error();
	for (size_t i = 0; !r && i < FIELDS; i++)
		r = meta_number_get(rd, v[i].number, v[i].value);
	if (!r)
		r = meta_list_get(rd, META_LIST_SCRUB, now->stores);
	if (!r)
		r = meta_list_get(rd, META_LIST_SCRUBBED, last->stores);
	meta_reader_put(rd);
	mirror_ref_put(m, &ref);
	return r;
}

static int save_one(struct meta *meta, const struct field v[FIELDS],
		    const char *stores, const char *last_stores)
{
	int r = meta_begin(meta);

	if (r)
		return r;
	for (size_t i = 0; !r && i < FIELDS; i++)
		r = meta_number_set(meta, v[i].number, *v[i].value);
	if (!r)
		r = meta_list_set(meta, META_LIST_SCRUB, stores);
	if (!r)
		r = meta_list_set(meta, META_LIST_SCRUBBED, last_stores);
	if (r) {
		meta_rollback(meta);
		return r;
	}
	return meta_commit(meta);
}

void scrub_save(struct mirror *m, const struct scrub_counts *now,
		const struct scrub_counts *last,
		const struct scrub_position *at)
{
	struct scrub_counts a = *now, b = *last;
	struct scrub_position p = *at;
	struct field v[FIELDS];

	fields_of(&a, &b, &p, v);
	for (unsigned int i = 0; i < mirror_slot_count(m); i++) {
		struct mirror_slot_info info;
		struct mirror_ref ref;
		int r;

		mirror_slot_info(m, i, &info);
		if (info.state != META_STORE_ONLINE ||
		    mirror_ref_get(m, i, &ref))
			continue;
		r = save_one(ref.meta, v, a.stores, b.stores);
		mirror_ref_put(m, &ref);
		if (r)
			log_warn("the scrub's position is not recorded: "
				 "store=%s error=%s",
				 info.name, strerror(-r));
	}
}
