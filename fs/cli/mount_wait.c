/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Late disks. Of the stores that were named and are there, the map that is
 * furthest says who was online last, and where; those are waited for.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "fs/cli/mount_run.h"
#include "fs/cli/ui.h"
#include "resync/reach.h"

#define POLL_MS 200

struct expected {
	struct meta_member members[META_STORE_MAX];
	size_t count;
	uint64_t durable_seq;
	bool known;
};

/* Take the members over if this map is further than what we have. */
static void learn_from(struct expected *e, struct meta *map)
{
	struct meta_reader *rd = meta_reader_get(map);
	uint64_t durable_seq;

	if (!rd)
		return;
	if (meta_number_get(rd, META_NUM_DURABLE_SEQ, &durable_seq) == 0 &&
	    (!e->known || durable_seq > e->durable_seq) &&
	    meta_members(rd, e->members, &e->count) == 0) {
		e->durable_seq = durable_seq;
		e->known = true;
	}
	meta_reader_put(rd);
}

struct lesson {
	struct reach_job base; /* first */
	struct expected e;
};

static int lesson_run(struct reach_job *j)
{
	char privdir[PATH_MAX + 16];
	struct meta *map;
	int err;

	(void)snprintf(privdir, sizeof(privdir), "%s/%s", j->at.path,
		       STORE_PRIVATE);
	err = meta_open(privdir, META_OPEN_RO, &map, NULL);
	if (err)
		return err;
	learn_from(&((struct lesson *)j)->e, map);
	meta_close(map);
	return 0;
}

/* In use, damaged, silent: the assembly will say so. */
static void learn_at(struct expected *e, const char *path)
{
	struct lesson *l = calloc(1, sizeof(*l));

	if (!l)
		return;
	l->e = *e;
	if (reach_job_init(&l->base, path, lesson_run, NULL)) {
		free(l);
		return;
	}
	if (reach_run(&l->base))
		return;
	*e = l->e;
	free(l);
}

/* Return: how many of the named paths hold a store. */
static size_t learn(const struct mount_request *r, struct expected *e)
{
	struct store_identity id;
	size_t present = 0;

	e->known = false;
	vec_for_each (path, &r->stores) {
		if (reach_identity(*path, &id) < 0)
			continue;
		present++;
		learn_at(e, *path);
	}
	return present;
}

static bool is_there(const struct mount_request *r,
		     const struct meta_member *member)
{
	struct store_identity id;

	if (reach_identity(member->path_hint, &id) == 0 &&
	    strcmp(id.store_uuid, member->uuid) == 0)
		return true;
	vec_for_each (path, &r->stores)
		if (reach_identity(*path, &id) == 0 &&
		    strcmp(id.store_uuid, member->uuid) == 0)
			return true;
	return false;
}

static bool all_there(const struct mount_request *r, const struct expected *e)
{
	if (!e->known)
		return false;
	for (size_t i = 0; i < e->count; i++)
		if (e->members[i].state == META_STORE_ONLINE &&
		    !is_there(r, &e->members[i]))
			return false;
	return true;
}

int mount_wait(const struct mount_request *r, bool (*is_given_up)(void))
{
	_cleanup_free_ struct expected *e = calloc(1, sizeof(*e));
	uint64_t until_ns =
		clock_mono_ns() + r->options.wait_s * CLOCK_NS_PER_SEC;
	const struct ui_progress_state state = {
		.what = "waiting for stores that were online",
		.eta_seconds = -1.0,
	};
	struct ui_progress progress;
	size_t present = SIZE_MAX;

	if (!e)
		return -ENOMEM;
	ui_progress_begin(&progress);
	while (!is_given_up()) {
		size_t now_present = 0;
		struct store_identity id;

		vec_for_each (path, &r->stores)
			now_present += reach_identity(*path, &id) == 0;
		if (now_present != present)
			present = learn(r, e);
		if (all_there(r, e) || clock_mono_ns() >= until_ns)
			break;
		ui_progress_draw(&progress, &state);
		clock_sleep_ms(POLL_MS);
	}
	ui_progress_end(&progress);
	return 0;
}
