/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stores under way.
 */
#include "resync/volume_making.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

enum {
	PATH_TEXT = 300,
};

struct making *making_new(void (*warn)(void *arg, const char *sentence),
			  void *arg)
{
	struct making *mk = calloc(1, sizeof(*mk));

	if (!mk)
		return NULL;
	mk->warn = warn;
	mk->arg = arg;
	mk->numbers.next_seq = VOLUME_FIRST_SEQ;
	mk->numbers.next_node = META_FIRST_ID;
	return mk;
}

void making_free(struct making *mk, bool keep)
{
	for (size_t i = 0; i < mk->count; i++) {
		struct making_store *s = &mk->v[i];

		meta_close(s->side.meta);
		store_close(s->side.store);
		/* Nothing can be done about what cannot be removed. */
		if (s->made && !keep)
			(void)store_unmake(mk->check.v[i].path);
		volume_adopted_done(&s->adopted);
	}
	free(mk);
}

/* ---- one store ---- */

static int make_map(void *arg, const char *privdir)
{
	const struct making_store *s = arg;
	struct meta_node root = {
		.id = META_ROOT_ID,
		.kind = META_DIR,
		.attr_seq = 0,
		.seq = 0,
	};

	return meta_create(privdir, s->id.volume_uuid, s->id.store_uuid, &root);
}

static int open_made(struct making *mk, struct making_store *s,
		     const char *path)
{
	_cleanup_free_ char *why = NULL;
	int err;

	err = store_open(path, s->id.store_uuid, &s->side.store);
	if (err)
		return volume_refuse(&mk->check, err,
				     "cannot open store %s: %s", s->id.name,
				     strerror(-err));
	err = volume_check_caps(&mk->check, s->side.store, mk->warn, mk->arg);
	if (err)
		return err;
	err = meta_open(store_privdir(s->side.store), META_OPEN_RW,
			&s->side.meta, &why);
	if (err)
		return volume_refuse(&mk->check, err,
				     "cannot open the map of store %s: %s",
				     s->id.name, why ? why : strerror(-err));
	return 0;
}

int making_store_make(struct making *mk, const char *volume_uuid)
{
	const struct volume_place *p = &mk->check.v[mk->count];
	struct making_store *s = &mk->v[mk->count];
	char text[PATH_TEXT];
	int err;

	memcpy(s->id.volume_uuid, volume_uuid, sizeof(s->id.volume_uuid));
	memcpy(s->id.name, p->name, sizeof(s->id.name));
	s->id.format = STORE_FORMAT;
	err = uuid_generate(s->id.store_uuid);
	if (!err)
		err = store_make(p->path, &s->id, make_map, s);
	if (err)
		return volume_refuse(&mk->check, err,
				     "cannot make %s a store: %s",
				     path_quote(text, sizeof(text), p->path),
				     strerror(-err));
	s->made = true;
	mk->count++;
	return open_made(mk, s, p->path);
}

int making_put_root(const struct making_store *s, uint64_t seq)
{
	struct meta_node root = {
		.id = META_ROOT_ID,
		.kind = META_DIR,
		.attr_seq = seq,
		.seq = seq,
	};
	struct store_stat st;
	int err = store_fstat(s->side.store, store_root_fd(s->side.store),
			      STORE_STAT_GEN, &st);

	if (err)
		return err;
	root.backing = (struct meta_backing){st.st.st_ino, st.gen};
	return meta_node_put(s->side.meta, &root);
}

int making_put_numbers(const struct making_store *s,
		       const struct scan_numbers *n, uint64_t durable,
		       bool in_step)
{
	uint64_t ino, gen;
	int err = store_self_backing(s->side.store, &ino, &gen);
	const struct {
		enum meta_number what;
		uint64_t value;
	} v[] = {
		{META_NUM_SEQ_RESERVED, n->next_seq - 1},
		{META_NUM_NODE_RESERVED, n->next_node - 1},
		{META_NUM_DURABLE_SEQ, durable},
		{META_NUM_RESYNCING, in_step ? 0 : 1},
		{META_NUM_RESYNC_FROM, 0},
		{META_NUM_ROOT_INO, err ? 0 : ino},
		{META_NUM_ROOT_GEN, err ? 0 : gen},
		{META_NUM_CLEAN, 1},
	};

	for (size_t i = 0; !err && i < ARRAY_SIZE(v); i++)
		err = meta_number_set(s->side.meta, v[i].what, v[i].value);
	return err;
}
