/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making a volume.  The epoch, which finishes a store, is written on the first
 * store before the others.
 */
#include "resync/volume_make.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/text.h"
#include "resync/volume_making.h"

enum {
	MAKE_COMMIT_ROWS = 100000,
	PATH_TEXT = 300,
};

/* ---- rows ---- */

static int scan_first(struct making *mk)
{
	struct making_store *s = &mk->v[0];
	struct meta *meta = s->side.meta;
	struct stat st;
	int err;

	if (fstat(store_root_fd(s->side.store), &st))
		return -errno;
	mk->numbers.own_only = true;
	if (!scan_is_own(&st)) {
		mk->numbers.foreign[0] = '.';
		return -EPERM;
	}
	err = meta_begin(meta);
	if (err)
		return err;
	err = making_put_root(s, mk->numbers.next_seq++);
	if (err) {
		meta_rollback(meta);
		return err;
	}
	err = scan_tree(s->side.store, meta, store_root_fd(s->side.store),
			META_ROOT_ID, &mk->numbers, MAKE_COMMIT_ROWS,
			&mk->counts);
	if (!err)
		err = meta_commit(meta);
	return err ? err : store_syncfs(s->side.store);
}

/* Others: the root, and the rows of a copy if they hold one. */
static int fill_other(struct making *mk, size_t i)
{
	struct making_store *s = &mk->v[i];
	struct meta *meta = s->side.meta;
	int err = meta_begin(meta);

	if (err)
		return err;
	s->in_step = !mk->counts.entries && mk->check.v[i].empty;
	err = making_put_root(s, s->in_step ? VOLUME_FIRST_SEQ : 1);
	if (err) {
		meta_rollback(meta);
		return err;
	}
	err = meta_commit(meta);
	s->adopted.should_stop = mk->numbers.should_stop;
	s->adopted.stop_arg = mk->numbers.stop_arg;
	if (!err && !mk->check.v[i].empty)
		err = volume_adopt(&mk->v[0].side, &s->side, &s->adopted);
	return err;
}

static uint64_t durable_of(const struct making *mk, size_t i)
{
	return mk->v[i].in_step ? mk->numbers.next_seq - 1 : 0;
}

static int compare_uuids(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* In step stores have the same root attributes only after a resync: an empty
 * directory has an owner and a mode too. */
static int copy_root_attrs(struct making *mk)
{
	const struct resync_side *from = &mk->v[0].side;

	for (size_t i = 1; i < mk->count; i++) {
		const struct resync_side *to = &mk->v[i].side;
		int r;

		if (!mk->v[i].in_step)
			continue;
		r = store_copy_attrs(
			from->store,
			(struct store_obj){store_root_fd(from->store), -1,
					   NULL},
			to->store,
			(struct store_obj){store_root_fd(to->store), -1, NULL},
			NULL);
		if (r >= 0)
			r = store_syncfs(to->store);
		if (r < 0)
			return r;
	}
	return 0;
}

static int make_epoch(struct making *mk, struct meta_epoch *ret)
{
	*ret = (struct meta_epoch){
		.first_seq = VOLUME_FIRST_SEQ,
		.first_node = META_FIRST_ID,
		.base = VOLUME_FIRST_SEQ - 1,
		.confirmed = true,
	};
	for (size_t i = 0; i < mk->count; i++) {
		if (!mk->v[i].in_step)
			continue;
		memcpy(ret->members[ret->member_count++],
		       mk->v[i].id.store_uuid, META_UUID_LEN + 1);
	}
	qsort(ret->members, ret->member_count, sizeof(ret->members[0]),
	      compare_uuids);
	return uuid_generate(ret->id);
}

static int put_members(struct making *mk, struct meta *meta)
{
	int err = 0;

	for (size_t i = 0; !err && i < mk->count; i++) {
		struct meta_member row = {
			.state = mk->v[i].in_step ? META_STORE_ONLINE
						  : META_STORE_RESYNCING,
			.durable_seq = durable_of(mk, i),
		};

		memcpy(row.uuid, mk->v[i].id.store_uuid, sizeof(row.uuid));
		memcpy(row.name, mk->v[i].id.name, sizeof(row.name));
		memcpy(row.path_hint, mk->check.v[i].path,
		       sizeof(row.path_hint));
		err = meta_member_put(meta, &row);
	}
	return err;
}

static int finish_store(struct making *mk, size_t i,
			const struct meta_epoch *epoch)
{
	struct meta *meta = mk->v[i].side.meta;
	int err = meta_begin(meta);

	if (err)
		return err;
	err = put_members(mk, meta);
	if (!err)
		err = making_put_numbers(&mk->v[i], &mk->numbers,
					 durable_of(mk, i), mk->v[i].in_step);
	if (!err)
		err = meta_epoch_append(meta, epoch);
	if (err) {
		meta_rollback(meta);
		return err;
	}
	err = meta_commit(meta);
	/* Room for deletes on a full disk; where there is none now, the mount
	 * makes it. */
	if (!err)
		ignore_result(meta_ballast_ensure(meta));
	return err;
}

/* ---- the volume ---- */

static int check_all(struct making *mk, const struct volume_make_args *args)
{
	struct volume_check *c = &mk->check;
	char text[PATH_TEXT];
	int err;

	if (!args->path_count)
		return volume_refuse(c, -EINVAL, "no store was named");
	if (args->name_count > args->path_count)
		return volume_refuse(c, -EINVAL,
				     "there are more names than stores");
	for (size_t i = 0; i < args->path_count; i++) {
		err = volume_check_place(c, args->paths[i],
					 i < args->name_count ? args->names[i]
							      : NULL);
		if (err)
			return err;
		if (!i || c->v[i].empty || args->adopt)
			continue;
		return volume_refuse(
			c, -ENOTEMPTY,
			"%s is not empty; name it first to adopt its files, "
			"use --adopt if it holds a copy, or use an empty "
			"directory in it",
			path_quote(text, sizeof(text), c->v[i].path));
	}
	volume_check_devices(c, mk->warn, mk->arg);
	return 0;
}

static int fill_all(struct making *mk)
{
	const char *foreign = mk->numbers.foreign;
	struct meta_epoch epoch;
	char text[PATH_TEXT];
	int err = scan_first(mk);

	mk->v[0].in_step = true;
	for (size_t i = 1; !err && i < mk->count; i++)
		err = fill_other(mk, i);
	if (!err)
		err = copy_root_attrs(mk);
	if (!err)
		err = make_epoch(mk, &epoch);
	for (size_t i = 0; !err && i < mk->count; i++)
		err = finish_store(mk, i, &epoch);
	if (err == -EXDEV)
		return volume_refuse(&mk->check, err,
				     "another filesystem is mounted inside a "
				     "store%s%s; a store is one filesystem",
				     *foreign ? ", on " : "",
				     path_quote(text, sizeof(text), foreign));
	if (err == -EPERM && *foreign)
		return volume_refuse(
			&mk->check, err,
			"in store %s %s has an owner or group that an ordinary "
			"user cannot give to a copy of it; change that, or "
			"make and mount the volume as root",
			mk->v[0].id.name,
			path_quote(text, sizeof(text), foreign));
	if (err == -ECANCELED)
		return volume_refuse(&mk->check, err,
				     "interrupted, no volume was made");
	if (err)
		return volume_refuse(&mk->check, err,
				     "cannot make the volume: %s",
				     strerror(-err));
	return 0;
}

static void report(struct making *mk, struct volume_make_result *ret)
{
	ret->store_count = mk->count;
	ret->counts = mk->counts;
	memcpy(ret->volume_uuid, mk->v[0].id.volume_uuid,
	       sizeof(ret->volume_uuid));
	for (size_t i = 0; i < mk->count; i++) {
		struct volume_made *out = &ret->stores[i];
		struct making_store *s = &mk->v[i];

		memcpy(out->uuid, s->id.store_uuid, sizeof(out->uuid));
		memcpy(out->name, s->id.name, sizeof(out->name));
		memcpy(out->path, mk->check.v[i].path, sizeof(out->path));
		out->in_step = s->in_step;
		out->compared = s->adopted.compared;
		ignore_result(
			volume_adopt_sweep(&s->side, &s->adopted, &out->found));
	}
}

static int make_all(struct making *mk, const struct volume_make_args *args)
{
	char volume_uuid[UUID_TEXT_MAX];
	int err = check_all(mk, args);

	mk->numbers.should_stop = args->should_stop;
	mk->numbers.stop_arg = args->arg;
	if (!err)
		err = uuid_generate(volume_uuid);
	for (size_t i = 0; !err && i < mk->check.count; i++)
		err = making_store_make(mk, volume_uuid);
	return err ? err : fill_all(mk);
}

int volume_make(const struct volume_make_args *args,
		struct volume_make_result *ret)
{
	struct making *mk = making_new(args->warn, args->arg);
	int err;

	*ret = (struct volume_make_result){0};
	if (!mk)
		return -ENOMEM;
	err = make_all(mk, args);
	if (err)
		snprintf(ret->why, sizeof(ret->why), "%s",
			 mk->check.why[0] ? mk->check.why : strerror(-err));
	else
		report(mk, ret);
	making_free(mk, !err);
	return err;
}
