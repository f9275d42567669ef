/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The map is brought in line with the files, by the means of a recovery: what
 * disagrees is put in doubt, and what is in doubt is numbered anew from the
 * files of the source.  Rows that lead nowhere are put right in place.
 *
 * The intents and an epoch with this store alone are one transaction.  Without
 * the epoch another member could be chosen as the source of the recovery, and
 * its files would win.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "base/vec.h"
#include "resync/check.h"
#include "resync/side.h"

/* As if left by a crash: not a resync's own. */
#define REPAIR_GENERATION 1u
#define REPAIR_NUMBER_MAX (UINT64_C(1) << 56)

struct step {
	enum check_kind kind;
	uint64_t node;
	uint64_t parent;
	uint64_t number;
	struct range range;
	int64_t ctime;
};

struct check_repair {
	VEC(struct step) steps;
	struct resync_side *side;
	struct meta *meta;
	struct meta_reader *rd; /* the writer's view */
	uint64_t looked_ns;
};

struct check_repair *check_repair_new(void)
{
	return calloc(1, sizeof(struct check_repair));
}

void check_repair_free(struct check_repair *r)
{
	if (!r)
		return;
	vec_done(&r->steps);
	free(r);
}

int check_repair_note(struct check_repair *r, const struct check_finding *f)
{
	switch (f->kind) {
	case CHECK_INTEGRITY:
	case CHECK_NOT_ITS_MAP:
	case CHECK_UNFINISHED:
	case CHECK_NO_MEMBER:
	case CHECK_MOUNTED:
	case CHECK_UNREADABLE:
		return 0; /* not by this */
	default:
		return vec_push(&r->steps, ((struct step){
						   .kind = f->kind,
						   .node = f->node,
						   .parent = f->parent,
						   .number = f->count,
						   .range = f->range,
						   .ctime = f->ctime,
					   }));
	}
}

/* ---- one step ---- */

static int put_intent(struct check_repair *r, uint64_t node,
		      enum meta_intent_kind kind, struct range range)
{
	struct meta_intent in = {
		.node = node,
		.kind = kind,
		.start = range.start,
		.end = range.end,
		.generation = REPAIR_GENERATION,
	};

	return meta_intent_put(r->meta, &in);
}

static int doubt_names(struct check_repair *r, uint64_t dir)
{
	struct meta_node row;
	int err;

	if (dir == META_LIMBO_ID || !dir)
		return 0; /* recovery empties it anyway */
	err = meta_node_get(r->rd, dir, &row);
	if (err)
		return err == -ENOENT ? 0 : err;
	err = put_intent(r, dir, META_INTENT_NAME, (struct range){0, 0});
	/* Its times say that entries changed, and nothing of its mode. */
	return err ? err
		   : put_intent(r, dir, META_INTENT_ATTR, (struct range){0, 0});
}

/* The directories that hold its names, and the node itself. */
static int doubt_everywhere(struct check_repair *r, uint64_t node)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	VEC(uint64_t) parents = {0};
	struct meta_dentry d;
	int err = meta_iter_names(r->rd, node, &it);

	while (err == 0 && (err = meta_next_dentry(&it, &d)) > 0)
		err = vec_push(&parents, d.parent);
	meta_iter_done(&it);
	for (size_t i = 0; err == 0 && i < parents.count; i++)
		err = doubt_names(r, parents.data[i]);
	vec_done(&parents);
	return err ? err
		   : put_intent(r, node, META_INTENT_ATTR,
				(struct range){0, 0});
}

static int doubt_contents(struct check_repair *r, uint64_t node,
			  struct range range)
{
	struct meta_node row;
	int err = meta_node_get(r->rd, node, &row);

	if (err == -ENOENT || (!err && row.kind != META_FILE))
		return err ? 0
			   : put_intent(r, node, META_INTENT_ATTR,
					(struct range){0, 0});
	if (err)
		return err;
	range = range_align_out(range, META_BLOCK);
	range.end = MIN(range.end, META_RANGE_MAX);
	return put_intent(r, node, META_INTENT_DATA, range);
}

/* Rows that no listing would meet. */
static int drop_names(struct check_repair *r, uint64_t node)
{
	struct meta_dentry d;
	int err;

	while ((err = meta_dentry_of(r->rd, node, &d)) == 0) {
		err = meta_dentry_del(r->meta, d.parent, d.name, d.name_len);
		if (err < 0)
			return err;
	}
	return err == -ENOENT ? put_intent(r, node, META_INTENT_ATTR,
					   (struct range){0, 0})
			      : err;
}

static int drop_entries(struct check_repair *r, uint64_t dir)
{
	for (;;) {
		struct meta_iter it = {0};
		struct meta_dentry d;
		int err = meta_iter_dentries(r->rd, dir, 0, &it);

		if (!err)
			err = meta_next_dentry(&it, &d);
		meta_iter_done(&it);
		if (err <= 0)
			return err;
		err = meta_dentry_del(r->meta, d.parent, d.name, d.name_len);
		/* The node may have no other. */
		if (err >= 0)
			err = put_intent(r, d.node, META_INTENT_ATTR,
					 (struct range){0, 0});
		if (err)
			return err;
	}
}

static int fix_extents(struct check_repair *r, const struct step *s)
{
	const struct range all = {0, META_RANGE_MAX};
	struct meta_node row;
	int err = meta_node_get(r->rd, s->node, &row);

	if (err == -ENOENT)
		return meta_node_del(r->meta, s->node); /* its extents too */
	if (!err && row.kind == META_FILE)
		return doubt_contents(r, s->node, all);
	return err ? err
		   : meta_extent_clear(r->meta, s->node, 0, META_RANGE_MAX);
}

/* A number that leaves none to count on with is for a new map to get rid of:
 * the next check says so. */
static int raise(struct check_repair *r, enum meta_number what, uint64_t value)
{
	uint64_t have;
	int err = meta_number_get(r->rd, what, &have);

	if (err || have >= value || value > REPAIR_NUMBER_MAX)
		return err;
	return meta_number_set(r->meta, what, value);
}

static int forget_file(struct check_repair *r, uint64_t node)
{
	int err =
		meta_node_set_backing(r->meta, node, (struct meta_backing){0});

	return err ? err : doubt_everywhere(r, node);
}

/* A node is not where it was. If it lies elsewhere, it was perhaps changed too,
 * and nothing tells that from the rename. */
static int doubt_moved(struct check_repair *r, const struct step *s)
{
	int err = doubt_names(r, s->parent);

	if (!err && s->node)
		err = doubt_contents(r, s->node,
				     (struct range){0, META_RANGE_MAX});
	return err;
}

static int put_step(struct check_repair *r, const struct step *s)
{
	int err;

	switch (s->kind) {
	case CHECK_UNKNOWN:
	case CHECK_DANGLING:
		return doubt_names(r, s->parent);
	case CHECK_MISSING:
	case CHECK_KIND:
	case CHECK_IDENTITY:
	case CHECK_LOST_LINK:
		return doubt_moved(r, s);
	case CHECK_DATA:
		/* Whoever wrote there may have written elsewhere in it. */
		return doubt_contents(r, s->node,
				      (struct range){0, META_RANGE_MAX});
	case CHECK_CHANGED:
		return doubt_contents(r, s->node, s->range);
	case CHECK_NO_NAME:
		return put_intent(r, s->node, META_INTENT_ATTR,
				  (struct range){0, 0});
	case CHECK_TWO_PARENTS:
		return doubt_everywhere(r, s->node);
	case CHECK_NUMBER:
		return doubt_contents(r, s->node,
				      (struct range){0, META_RANGE_MAX});
	case CHECK_CYCLE:
		return drop_names(r, s->node);
	case CHECK_NO_DIRECTORY:
		return drop_entries(r, s->node);
	case CHECK_ONE_FILE:
		return forget_file(r, s->node);
	case CHECK_EXTENT:
		return fix_extents(r, s);
	case CHECK_RESERVED:
		/* A seq or a node id: neither may be given again. */
		err = raise(r, META_NUM_SEQ_RESERVED, s->number);
		return err ? err : raise(r, META_NUM_NODE_RESERVED, s->number);
	default:
		return 0;
	}
}

/* ---- the transaction ---- */

static int found_epoch(struct check_repair *r)
{
	struct meta_epoch e = {.member_count = 1, .confirmed = true};
	uint64_t reserved, node, copy;
	int err = meta_number_get(r->rd, META_NUM_SEQ_RESERVED, &reserved);

	if (!err)
		err = meta_number_get(r->rd, META_NUM_NODE_RESERVED, &node);
	if (!err)
		err = meta_number_get(r->rd, META_NUM_COPY, &copy);
	if (!err)
		err = meta_number_get(r->rd, META_NUM_DURABLE_SEQ, &e.base);
	if (!err)
		err = uuid_generate(e.id);
	if (err)
		return err;
	e.first_seq = reserved + 1;
	e.first_node = node + 1;
	e.by_copy = copy;
	memcpy(e.members[0], meta_store_uuid(r->meta), META_UUID_LEN + 1);
	err = meta_number_set(r->meta, META_NUM_SEQ_RESERVED, reserved + 1);
	if (!err)
		err = meta_number_set(r->meta, META_NUM_COPY, 0);
	return err ? err : meta_epoch_append(r->meta, &e);
}

static int put_all(struct check_repair *r)
{
	int err = meta_begin(r->meta);

	if (err)
		return err;
	r->rd = meta_writer_view(r->meta);
	for (size_t i = 0; !err && i < r->steps.count; i++)
		err = put_step(r, &r->steps.data[i]);
	if (!err)
		err = found_epoch(r);
	if (!err && r->looked_ns)
		err = meta_left_set(r->meta, r->looked_ns);
	if (err) {
		meta_rollback(r->meta);
		return err;
	}
	return meta_commit(r->meta);
}

/*
 * What was changed at a time that is still to come would be a change for ever. It has
 * that time since before it was read, and no later change gives it the same: from now
 * on the map knows it.
 */
static int know_future(struct check_repair *r, int64_t now)
{
	int err = meta_begin(r->meta);

	if (err)
		return err;
	vec_for_each (s, &r->steps) {
		const struct meta_ctime own = {s->ctime, s->ctime};

		if (!err && s->ctime > now)
			err = meta_node_raise_all(r->meta, s->node, 0, 0, own,
						  NULL);
	}
	if (!err)
		return meta_commit(r->meta);
	meta_rollback(r->meta);
	return err;
}

/* What was moved since by ourselves is later than the look as well. */
static int forget_look(struct check_repair *r)
{
	int err = meta_begin(r->meta);

	if (err)
		return err;
	err = meta_left_set(r->meta, 0);
	if (!err)
		return meta_commit(r->meta);
	meta_rollback(r->meta);
	return err;
}

static bool has_future(const struct check_repair *r, int64_t *ret_now)
{
	*ret_now = (int64_t)check_time_now(store_privdir(r->side->store));
	vec_for_each (s, &r->steps)
		if (*ret_now && s->ctime > *ret_now)
			return true;
	return false;
}

static bool has_intents(struct meta_reader *rd, int *ret_err)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_intent in;

	*ret_err = meta_iter_intents(rd, &it);
	if (!*ret_err)
		*ret_err = meta_next_intent(&it, &in);
	return *ret_err > 0;
}

/*
 * In a copy no file is the one that the map means: all that is in doubt would be
 * lost and found as something new, or be looked for in vain. A mount finds the
 * files by their paths. One that was ended in the middle of that has left the
 * mark of a copy; where its names prove what they lead to, the repair does the
 * rest first (side_settle()), or with the mark it would be forgotten.
 */
static int check_copied(const struct resync_side *side, bool clean)
{
	struct meta_reader *rd = meta_reader_get(side->meta);
	uint64_t copy = 0;
	int err = rd ? side_is_copied(side, rd) : -ENOMEM;
	bool is_copied = err > 0;

	if (!err)
		err = meta_number_get(rd, META_NUM_COPY, &copy);
	if (!err && copy)
		is_copied = !clean || has_intents(rd, &err);
	meta_reader_put(rd);
	return err < 0 ? err : is_copied ? -ESTALE : 0;
}

/* Whether this store may say by itself what is right. */
static int may_repair(const struct resync_side *side)
{
	_cleanup_free_ struct meta_member *v =
		calloc(META_STORE_MAX, sizeof(*v));
	struct meta_reader *rd = meta_reader_get(side->meta);
	uint64_t clean = 0, resyncing = 0;
	size_t count = 0, online = 0;
	int err = v && rd ? 0 : -ENOMEM;

	if (!err)
		err = meta_number_get(rd, META_NUM_CLEAN, &clean);
	if (!err)
		err = meta_number_get(rd, META_NUM_RESYNCING, &resyncing);
	if (!err)
		err = meta_members(rd, v, &count);
	meta_reader_put(rd);
	for (size_t i = 0; !err && i < count; i++)
		online += v[i].state == META_STORE_ONLINE &&
			  strcmp(v[i].uuid, meta_store_uuid(side->meta)) != 0;
	if (!err && (resyncing || (!clean && online)))
		err = -EBUSY;
	return err ? err : check_copied(side, clean);
}

static int durable_seq(struct meta *meta, uint64_t *ret)
{
	struct meta_reader *rd = meta_reader_get(meta);
	int err = rd ? meta_number_get(rd, META_NUM_DURABLE_SEQ, ret) : -ENOMEM;

	meta_reader_put(rd);
	return err;
}

int check_repair_may(const struct check_repair *r,
		     const struct resync_side *side)
{
	int err = r->steps.count ? may_repair(side) : 0;

	return err ? err : r->steps.count > 0;
}

int check_repair_run(struct check_repair *r, struct resync_side *side,
		     uint64_t looked_ns, uint64_t *ret_seq)
{
	uint64_t bytes;
	int64_t now;
	int err;

	if (!r->steps.count)
		return 0;
	r->side = side;
	r->meta = side->meta;
	r->looked_ns = looked_ns;
	err = may_repair(side);
	if (!err)
		err = meta_ballast_spend(r->meta);
	if (!err)
		err = side_settle(side);
	if (!err)
		err = put_all(r);
	if (!err)
		err = resync_recover(side, NULL, 0, &bytes);
	if (!err && has_future(r, &now))
		err = know_future(r, now);
	if (!err && looked_ns && store_has_lifted(side->store))
		err = forget_look(r);
	if (!err)
		err = durable_seq(side->meta, ret_seq);
	return err ? err : 1;
}
