/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Added or removed?  A row that the target has and the source has not may be
 * of a member that was removed where the source was, or of one that was added
 * where the target was.  Each addition makes a store with a UUID of its own and
 * ends with an epoch in which it is online; the lineage keeps that, and the map
 * who was removed.  So the source's say whether it ever had that member, and the
 * target's whether it took it in after the two had parted.
 */
#include "resync/added.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "resync/present.h"

struct past {
	struct meta_epoch *epochs;
	size_t count;
	char removed[META_LIST_BYTES];
};

static int past_load(struct meta *meta, struct past *ret,
		     struct meta_member *ret_rows, size_t *ret_row_count)
{
	struct meta_reader *rd = meta_reader_get(meta);
	int err;

	*ret = (struct past){0};
	if (!rd)
		return -ENOMEM;
	err = meta_epochs(rd, &ret->epochs, &ret->count);
	if (!err)
		err = meta_list_get(rd, META_LIST_REMOVED, ret->removed);
	if (!err && ret_rows)
		err = meta_members(rd, ret_rows, ret_row_count);
	meta_reader_put(rd);
	return err;
}

static void past_done(struct past *p)
{
	free(p->epochs);
}

static bool has_member(const struct meta_epoch *e, const char *uuid)
{
	for (uint32_t i = 0; i < e->member_count; i++)
		if (!strcmp(e->members[i], uuid))
			return true;
	return false;
}

static bool has_epoch(const struct past *p, const char *id)
{
	for (size_t i = 0; i < p->count; i++)
		if (!strcmp(p->epochs[i].id, id))
			return true;
	return false;
}

static bool was_member(const struct past *p, const char *uuid)
{
	for (size_t i = 0; i < p->count; i++)
		if (has_member(&p->epochs[i], uuid))
			return true;
	return strstr(p->removed, uuid);
}

static bool was_online_apart(const struct past *p, const struct past *other,
			     const char *uuid)
{
	for (size_t i = 0; i < p->count; i++)
		if (has_member(&p->epochs[i], uuid) &&
		    !has_epoch(other, p->epochs[i].id))
			return true;
	return false;
}

/* Of two with one name a person says which one is meant. */
static bool is_known(const struct added_rows *to, const struct meta_member *row)
{
	for (size_t i = 0; i < to->count; i++)
		if (!strcmp(to->rows[i].uuid, row->uuid) ||
		    !strcmp(to->rows[i].name, row->name))
			return true;
	return false;
}

int added_since(struct meta *source, struct meta *target, struct added_rows *to)
{
	_cleanup_free_ struct meta_member *rows =
		calloc(META_STORE_MAX, sizeof(*rows));
	_cleanup_(past_done) struct past mine = {0}, theirs = {0};
	size_t row_count = 0;
	int err, count = 0;

	if (!rows)
		return -ENOMEM;
	err = past_load(source, &mine, NULL, NULL);
	if (!err)
		err = past_load(target, &theirs, rows, &row_count);
	if (err)
		return err;
	for (size_t i = 0; i < row_count; i++) {
		/* Of itself it would say so also when it was removed. */
		if (!strcmp(rows[i].uuid, meta_store_uuid(target)) ||
		    is_known(to, &rows[i]) || was_member(&mine, rows[i].uuid) ||
		    !was_online_apart(&theirs, &mine, rows[i].uuid))
			continue;
		if (to->count == META_STORE_MAX)
			break;
		to->rows[to->count] = rows[i];
		to->rows[to->count++].state = META_STORE_MISSING;
		count++;
	}
	return count;
}

static int was_member_of(struct meta *meta, const char *uuid)
{
	_cleanup_(past_done) struct past p = {0};
	int err = past_load(meta, &p, NULL, NULL);

	return err ? err : was_member(&p, uuid);
}

static int members_of(struct meta *source, struct added_rows *ret)
{
	struct meta_reader *rd = meta_reader_get(source);
	int err;

	if (!rd)
		return -ENOMEM;
	err = meta_members(rd, ret->rows, &ret->count);
	meta_reader_put(rd);
	ret->known = ret->count;
	return err;
}

static int members_from(struct present_set *set, size_t source, size_t i,
			struct added_rows *to)
{
	struct lineage_verdict verdict;
	int r = lineage_ask(present_end(&set->v[source]),
			    present_end(&set->v[i]), false, &verdict);

	if (r || (verdict.relation != RESYNC_STALE &&
		  verdict.relation != RESYNC_IN_STEP))
		return r;
	r = added_since(set->v[source].meta, set->v[i].meta, to);
	return MIN(r, 0);
}

int present_members(struct present_set *set, size_t source,
		    struct added_rows *ret)
{
	int err = members_of(set->v[source].meta, ret);

	for (size_t i = 0; !err && i < set->count; i++)
		if (i != source)
			err = members_from(set, source, i, ret);
	if (err)
		return present_refuse(set, err,
				      "cannot read the members from store %s: "
				      "%s",
				      present_name(set, source),
				      strerror(-err));
	return 0;
}

int present_put_added(const struct present *source,
		      const struct added_rows *rows)
{
	int err = 0;

	for (size_t k = rows->known; !err && k < rows->count; k++)
		err = present_put_row(source, &rows->rows[k]);
	return err;
}

/* 1: it is in the rows of @meta. */
static int is_member_of(struct meta *meta, const char *uuid)
{
	_cleanup_free_ struct meta_member *rows =
		calloc(META_STORE_MAX, sizeof(*rows));
	struct added_rows all = {.rows = rows};
	int err = rows ? members_of(meta, &all) : -ENOMEM;

	for (size_t k = 0; !err && k < all.count; k++)
		if (!strcmp(rows[k].uuid, uuid))
			return 1;
	return err;
}

/* Beside @source and itself, who has @i as a member; -1: nobody here. */
static int find_adder(const struct present_set *set, size_t source, size_t i)
{
	const char *uuid = store_identity(set->v[i].store)->store_uuid;

	for (size_t j = 0; j < set->count; j++)
		if (j != i && j != source &&
		    is_member_of(set->v[j].meta, uuid) > 0)
			return (int)j;
	return -1;
}

/*
 * Whom it was added with is here, and it is none of those who come with that one: the
 * two sides have parted, or a member of the source's has its name. Who is a member is
 * what the source says then, as with all that was done on either side.
 */
static int refuse_other_sides(struct present_set *set, size_t source, size_t i,
			      size_t adder)
{
	const char *name = store_identity(set->v[i].store)->name;
	struct lineage_verdict verdict;
	char keep[128] = "";
	int err = lineage_ask(present_end(&set->v[source]),
			      present_end(&set->v[adder]), false, &verdict);

	if (!err && verdict.relation == RESYNC_FORK)
		(void)snprintf(keep, sizeof(keep),
			       ", or keep that side with --prefer %s",
			       present_name(set, adder));
	return present_refuse(
		set, -EINVAL,
		"store %s was added where store %s was and store "
		"%s was not, whose members do not have it: leave "
		"it out, and when the volume is mounted empty its "
		"directory and add it again%s",
		name, present_name(set, adder), present_name(set, source),
		keep);
}

int present_refuse_stranger(struct present_set *set, size_t source, size_t i)
{
	const struct store_identity *id = store_identity(set->v[i].store);
	int was = was_member_of(set->v[source].meta, id->store_uuid);
	int adder = was ? -1 : find_adder(set, source, i);

	if (adder >= 0)
		return refuse_other_sides(set, source, i, (size_t)adder);
	if (was)
		return present_refuse(set, -EINVAL,
				      "store %s is no member of this volume "
				      "any more",
				      id->name);
	return present_refuse(set, -EINVAL,
			      "store %s is no member of this volume that store "
			      "%s has heard of; name the store with which it "
			      "was added as well, or add it again",
			      id->name, present_name(set, source));
}
