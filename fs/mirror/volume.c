/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A volume begins and ends.
 */
#include "fs/mirror/internal.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "fs/mirror/map_change.h"
#include "fs/mirror/nameless.h"
#include "fs/mirror/room.h"

static int numbers_load(struct mirror *m, struct meta *meta)
{
	struct meta_reader *rd = meta_reader_get(meta);
	uint64_t seq = 0, node = 0, copy = 0;
	int r;

	if (!rd)
		return -EIO;
	r = meta_number_get(rd, META_NUM_SEQ_RESERVED, &seq);
	if (!r)
		r = meta_number_get(rd, META_NUM_NODE_RESERVED, &node);
	if (!r)
		r = meta_number_get(rd, META_NUM_COPY, &copy);
	meta_reader_put(rd);
	if (r)
		return r;
	m->by_copy |= copy != 0;
	/* Whatever was reserved may have been issued: begin above it. */
	m->seq = m->seq_reserved = MAX(m->seq_reserved, seq);
	m->next_node = m->node_reserved = MAX(m->node_reserved, node);
	return 0;
}

static int slots_load(struct mirror *m, const struct mirror_member_in *members,
		      size_t count, unsigned int lead)
{
	struct meta_reader *rd;
	int r = 0;

	for (unsigned int i = 0; i < count && !r; i++) {
		struct slot *s = &m->slot[i];

		s->used = true;
		s->row = members[i].row;
		s->state = s->row.state;
		s->recorded = true;
		s->durable_seq = s->row.durable_seq;
		if (!members[i].in_step) {
			assert(!members[i].store && !members[i].meta);
			if (s->state == META_STORE_ONLINE ||
			    s->state == META_STORE_RESYNCING)
				s->state = META_STORE_MISSING;
			s->away_since_ns = clock_real_ns();
			memcpy(s->why, members[i].why, sizeof(s->why));
			if (s->state == META_STORE_GIVEN_UP)
				(void)snprintf(s->why, sizeof(s->why), "%s",
					       MIRROR_GIVEN_UP);
			continue;
		}
		s->store = members[i].store;
		s->meta = members[i].meta;
		s->state = META_STORE_ONLINE;
		s->online = true;
		m->online |= SLOT_BIT(i);
		r = numbers_load(m, s->meta);
	}
	m->slot_count = (unsigned int)count;
	m->lead = (int)lead;
	if (r)
		return r;
	rd = meta_reader_get(m->slot[lead].meta);
	if (!rd)
		return -EIO;
	r = meta_number_get(rd, META_NUM_DURABLE_SEQ, &m->durable);
	meta_reader_put(rd);
	for_each_slot(i, m->online) m->slot[i].durable_seq = m->durable;
	return r;
}

static void mirror_free(struct mirror *m)
{
	table_done(m);
	walks_done(&m->walks);
	mutex_done(&m->fds);
	cond_done(&m->gate);
	cond_done(&m->ended);
	cond_done(&m->recorded);
	cond_done(&m->armed);
	cond_done(&m->moved);
	cond_done(&m->wake);
	cond_done(&m->watch_wake);
	cond_done(&m->record_wake);
	mutex_done(&m->lock);
	rwlock_done(&m->names);
	mutex_done(&m->ckpt);
	vec_done(&m->arm_queue);
	free(m->record);
	free(m);
}

static struct mirror *mirror_alloc(const struct mirror_options *options,
				   size_t count)
{
	struct mirror *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->record = record_alloc();
	if (!m->record) {
		free(m);
		return NULL;
	}
	m->opt = *options;
	if (!m->opt.checkpoint_ms)
		m->opt.checkpoint_ms = 5000;
	if (!m->opt.min_stores)
		m->opt.min_stores = 1;
	m->place_count = (unsigned int)MIN(count + MIRROR_PLACES_SPARE,
					   (size_t)META_STORE_MAX);
	m->gen = 1;
	budget_reset(m);
	m->epoch_due = true;
	m->seq_reserved = MIRROR_FIRST_SEQ;
	m->node_reserved = META_FIRST_ID;
	mutex_init(&m->ckpt, LOCK_RANK_CONTROL);
	rwlock_init(&m->names, LOCK_RANK_NAMES);
	mutex_init(&m->lock, LOCK_RANK_ARM);
	cond_init(&m->gate);
	cond_init(&m->ended);
	cond_init(&m->recorded);
	cond_init(&m->armed);
	cond_init(&m->moved);
	cond_init(&m->wake);
	cond_init(&m->watch_wake);
	cond_init(&m->record_wake);
	vec_init(&m->arm_queue);
	table_init(m);
	fds_init(m);
	walks_init(&m->walks);
	return m;
}

static int threads_start(struct mirror *m)
{
	int r = watch_start(m);

	if (r)
		return r;
	r = feed_start(m);
	if (r)
		goto watch;
	r = repair_start(m);
	if (r)
		goto feed;
	r = checkpoint_start(m);
	if (!r)
		return 0;
	repair_stop(m);
feed:
	feed_stop(m);
watch:
	watch_stop(m);
	return r;
}

/* Before the first change: whoever copies the store from now on has files that may be
 * newer than the map. */
static int mounted_write(struct meta *meta, const void *arg)
{
	uint64_t clean;
	int r = meta_number_get(meta_writer_view(meta), META_NUM_CLEAN, &clean);

	(void)arg;
	if (r || clean != META_CLEAN)
		return r;
	return meta_number_set(meta, META_NUM_CLEAN, META_CLEAN_MOUNTED);
}

static int mounted_commit(struct mirror *m, unsigned int i, void *arg)
{
	(void)arg;
	return map_change(m, i, mounted_write, NULL);
}

/* Who cannot write that is found out, and put out, by the first change. */
static void mounted_all(struct mirror *m)
{
	int res[META_STORE_MAX] = {0};
	slot_mask pin = slots_pin(m, NULL);

	fan_run(m, pin, mounted_commit, NULL, res);
	for_each_slot(i, pin)
	{
		if (res[i])
			log_warn("store %s cannot note that it is mounted: %s",
				 m->slot[i].row.name, strerror(-res[i]));
	}
	slots_unpin(m, pin);
}

int mirror_open(const struct mirror_member_in *members, size_t count,
		unsigned int lead, const struct mirror_options *options,
		struct mirror **ret_mirror)
{
	struct mirror *m;
	int r;

	if (!count || count > META_STORE_MAX || lead >= count ||
	    !members[lead].in_step)
		return -EINVAL;
	m = mirror_alloc(options, count);
	if (!m)
		return -ENOMEM;
	r = slots_load(m, members, count, lead);
	if (!r) {
		memcpy(m->volume_uuid, meta_volume_uuid(m->slot[lead].meta),
		       sizeof(m->volume_uuid));
		r = node_make(m, META_ROOT_ID, META_DIR, &m->root);
	}
	if (!r)
		r = pool_start(&m->pool);
	if (!r)
		r = threads_start(m);
	if (r) {
		mirror_free(m);
		return r;
	}
	mounted_all(m);
	*ret_mirror = m;
	return 0;
}

const char *mirror_volume_uuid(const struct mirror *m)
{
	return m->volume_uuid;
}

struct clean {
	const struct members *members;
	uint64_t look;
};

static int clean_write(struct meta *meta, const void *arg)
{
	const struct clean *c = arg;
	int r = members_write(meta, c->members);

	if (!r)
		r = meta_number_set(meta, META_NUM_ROOT_LOOK, c->look);
	if (!r)
		r = meta_number_set(meta, META_NUM_CLEAN, META_CLEAN);
	return r;
}

static int clean_commit(struct mirror *m, unsigned int i, void *arg)
{
	const struct clean c = {arg, map_root_look(m->slot[i].store)};

	return map_change(m, i, clean_write, &c);
}

/*
 * All is durable where it is online; what is missing is the word that this was
 * the end. Who cannot write that is looked at by the next mount; the others
 * need not be.
 */
static int clean_all(struct mirror *m)
{
	struct members *members = members_collect(m);
	int res[META_STORE_MAX] = {0}, r = 0;
	bool any = false;
	slot_mask pin;

	if (!members)
		return -ENOMEM;
	pin = slots_pin(m, NULL);
	fan_run(m, pin, clean_commit, members, res);
	for_each_slot(i, pin)
	{
		any |= !res[i];
		if (!res[i])
			continue;
		log_warn("store %s could not be left in good order: %s",
			 m->slot[i].row.name, strerror(-res[i]));
		r = r ? r : res[i];
	}
	slots_unpin(m, pin);
	free(members);
	return any ? 0 : r;
}

int mirror_close(struct mirror *m)
{
	int r;

	repair_stop(m);
	checkpoint_stop(m);
	if (!m->opt.timeout_ms) {
		m->opt.timeout_ms = MIRROR_CLOSE_MS;
		/* Else it waits as it did before. */
		ignore_result(watch_start(m));
	}
	for (unsigned int i = 0; i < m->slot_count; i++)
		unpark_slot(m, i);
	r = mirror_checkpoint(m, NULL);
	feed_drain(m);
	if (!r)
		r = clean_all(m);
	feed_stop(m);
	watch_stop(m);
	pool_stop(&m->pool);
	if (slots_close_all(m))
		mirror_free(m); /* else it belongs to who is stuck */
	return r;
}
