/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The work list of directories, and what leaves them.
 *
 * Every directory of the list is compared with the source's listing, and what
 * it must not hold leaves, before anything is placed anywhere (place.c):
 * nothing can be in the way then, and no two moves can wait for each other.
 * Where the disk is nearly full, what goes for good is removed then, too.
 *
 * A directory keeps its node, so a moved one costs one rename, whatever is
 * below it, and its subtree is only entered where it changed itself.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "resync/lap.h"

/* ---- intents ---- */

int tree_arm_later(struct lap *lap, uint64_t dir)
{
	struct meta_intent in = {.node = dir, .kind = META_INTENT_NAME};
	int r;

	if (idmap_get(&lap->armed, dir))
		return 0;
	r = idmap_set(&lap->armed, dir, 1);
	if (r < 0 || lap->dry)
		return r;
	lap->arming = true;
	return meta_intent_put(lap->dst->meta, &in);
}

int tree_arm_now(struct lap *lap)
{
	int r;

	if (!lap->arming)
		return 0;
	r = lap_commit(lap);
	if (r < 0)
		return r;
	lap->arming = false;
	return lap_begin(lap);
}

int tree_arm(struct lap *lap, uint64_t dir)
{
	int r = tree_arm_later(lap, dir);

	return r < 0 ? r : tree_arm_now(lap);
}

/* ---- the list ---- */

int tree_push(struct lap *lap, const struct work_dir *wd)
{
	uint64_t before = idmap_get(&lap->dir_index, wd->id);
	struct work_dir next = *wd;
	int r;

	/* A pass whose attributes are still to come is followed by another one,
	 * which does what both have to. */
	if (before && !lap->dirs.data[before - 1].done)
		next.changed |= lap->dirs.data[before - 1].changed;
	r = vec_push(&lap->dirs, next);
	return r < 0 ? r : idmap_set(&lap->dir_index, wd->id, lap->dirs.count);
}

int tree_add(struct lap *lap, uint64_t dir)
{
	struct work_dir wd = {
		.id = dir, .after = UINT64_MAX, .since = UINT64_MAX};

	if (idmap_get(&lap->dir_index, dir) > lap->round_at)
		return 0;
	return tree_push(lap, &wd);
}

int tree_want(struct lap *lap, uint64_t node)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_dentry d;
	int r;

	if (node >= LAP_FOREIGN_ID)
		return 0;
	r = meta_iter_names(lap->s, node, &it);
	while (r == 0 && (r = meta_next_dentry(&it, &d)) > 0)
		r = vec_push(&lap->extra.v, d.parent);
	return lap_source_err(lap, r);
}

/*
 * A directory of the delta: on the list if the target has it.  If not, it is
 * met when the one above is placed; that one is on the list as well, unless
 * the target lost something that the source did not touch.
 */
static int add_source_dir(struct lap *lap, uint64_t dir)
{
	struct meta_dentry d;
	struct meta_node row;
	int r;

	for (;;) {
		r = lap_target_row(lap, dir, &row);
		if (r < 0)
			return r;
		if (r > 0)
			return tree_add(lap, dir);
		if (idmap_get(&lap->climbed, dir))
			return 0;
		r = idmap_set(&lap->climbed, dir, 1);
		if (r < 0)
			return r;
		r = meta_dentry_of(lap->s, dir, &d);
		if (r == 0)
			r = meta_node_get(lap->s, d.parent, &row);
		if (r < 0)
			return r == -ENOENT ? 0 : lap_source_err(lap, r);
		if (row.seq > lap->args->from && row.seq <= lap->limit)
			return 0;
		dir = d.parent;
	}
}

/* Directories that @rd numbers above from, by chunks of short reads. */
static int add_delta(struct lap *lap, struct meta_reader *rd, bool target)
{
	struct idvec ids = {0};
	uint64_t seq = lap->args->from;
	uint64_t id = UINT64_MAX;
	bool end = false;
	int r = 0;

	while (r == 0 && !end) {
		_cleanup_meta_iter_ struct meta_iter it = {0};
		struct meta_node row;

		vec_clear(&ids.v);
		r = meta_iter_nodes_since(rd, seq, id, &it);
		for (unsigned int i = 0; r == 0 && i < LAP_ROWS; i++) {
			int found = meta_next_node(&it, &row);

			end = found == 0 ||
			      (found > 0 && !target && row.seq > lap->limit);
			if (found < 0)
				r = found;
			if (r < 0 || end)
				break;
			seq = row.seq;
			id = row.id;
			if (row.kind == META_DIR)
				r = vec_push(&ids.v, row.id);
		}
		meta_iter_done(&it);
		if (r < 0 && !target)
			r = lap_source_err(lap, r);
		for (size_t i = 0; r == 0 && i < ids.v.count; i++) {
			r = target ? lap_source_row(lap, ids.v.data[i], &row)
				   : 1;
			if (r > 0)
				r = add_source_dir(lap, ids.v.data[i]);
		}
		if (r == 0)
			r = lap_poll(lap);
	}
	vec_done(&ids.v);
	return r;
}

int tree_begin(struct lap *lap)
{
	struct meta_node row;
	uint64_t last = 0;
	int r = 0;

	for (size_t i = 0; r == 0 && i < lap->extra.v.count; i++)
		r = add_source_dir(lap, lap->extra.v.data[i]);
	vec_clear(&lap->extra.v);
	vec_for_each (in, &lap->doubt.own) {
		if (r < 0)
			return r;
		/* One that was chmod'ed alone, too: attr_dirs() has the list. */
		if (in->kind == META_INTENT_DATA || in->node == last)
			continue;
		last = in->node;
		r = lap_source_err(lap, lap_source_row(lap, in->node, &row));
		if (r > 0 && row.kind == META_DIR)
			r = add_source_dir(lap, in->node);
	}
	if (r >= 0)
		r = add_delta(lap, lap->s, false);
	if (r == 0 && lap->args->both)
		r = add_delta(lap, lap->t, true);
	return r;
}

/* ---- what the target lost ---- */

int tree_lost(struct lap *lap, uint64_t node)
{
	struct idvec stack = {0};
	struct meta_dentry d;
	int r;

	if (node == META_ROOT_ID)
		return -EIO; /* the store itself has proved that it is there */
	r = tree_want(lap, node);
	/* All its names. */
	while (r == 0 && (r = meta_dentry_of(lap->t, node, &d)) == 0)
		r = limbo_forget_entry(lap, &d);
	if (r == -ENOENT)
		r = meta_node_del(lap->dst->meta, node);
	if (r == 0)
		r = vec_push(&stack.v, node);
	/* What was below it lies nowhere either. */
	while (r == 0 && stack.v.count > 0) {
		uint64_t dir = *vec_last(&stack.v);

		do {
			_cleanup_meta_iter_ struct meta_iter it = {0};

			r = meta_iter_dentries(lap->t, dir, 0, &it);
			if (r == 0)
				r = meta_next_dentry(&it, &d);
		} while (0);
		if (r == 0)
			(void)vec_pop(&stack.v);
		if (r <= 0)
			continue;
		r = limbo_forget_entry(lap, &d);
		if (r == 0)
			r = vec_push(&stack.v, d.node);
		if (r == 0)
			r = lap_step(lap, 1);
	}
	vec_done(&stack.v);
	return r;
}

/* ---- comparing ---- */

struct diff {
	VEC(struct meta_dentry) surplus;    /* the target's, to leave */
	VEC(struct meta_dentry) renumbered; /* the source's, same node */
};

static void diff_done(struct diff *d)
{
	vec_done(&d->surplus);
	vec_done(&d->renumbered);
}

/* One pair of the merge: names are equal, or one side has none. */
static int diff_pair(struct work_dir *wd, const struct meta_dentry *s,
		     const struct meta_dentry *t, struct diff *diff)
{
	if (s && t && s->node == t->node)
		return s->seq == t->seq && s->cookie == t->cookie
			       ? 0
			       : vec_push(&diff->renumbered, *s);
	if (s) {
		wd->missing = true;
		wd->after = MIN(wd->after, s->cookie - 1);
		wd->since = MIN(wd->since, s->seq - 1);
	}
	return t ? vec_push(&diff->surplus, *t) : 0;
}

static int diff_merge(struct lap *lap, struct work_dir *wd, struct diff *diff)
{
	_cleanup_meta_iter_ struct meta_iter si = {0};
	_cleanup_meta_iter_ struct meta_iter ti = {0};
	struct meta_dentry s, t;
	int more_s, more_t;
	int r;

	r = meta_iter_dentries_by_name(lap->s, wd->id, &si);
	if (r == 0)
		r = meta_iter_dentries_by_name(lap->t, wd->id, &ti);
	if (r < 0)
		return r;
	more_s = meta_next_dentry(&si, &s);
	more_t = meta_next_dentry(&ti, &t);
	while (more_s > 0 || more_t > 0) {
		int order = more_s <= 0	  ? 1
			    : more_t <= 0 ? -1
					  : plan_name_order(&s, &t);

		/* What came after the lap began is the next one's. */
		if (order <= 0 && s.seq > lap->limit && order < 0) {
			more_s = meta_next_dentry(&si, &s);
			continue;
		}
		r = diff_pair(wd, order <= 0 ? &s : NULL,
			      order >= 0 ? &t : NULL, diff);
		if (r < 0)
			return r;
		if (order <= 0)
			more_s = meta_next_dentry(&si, &s);
		if (order >= 0)
			more_t = meta_next_dentry(&ti, &t);
	}
	return more_s < 0 ? more_s : more_t;
}

/* 1, or 0 when the source has the directory no more. */
static int diff_read(struct lap *lap, struct work_dir *wd, struct diff *diff)
{
	int r = meta_read_begin(lap->s);

	if (r < 0)
		return lap_source_err(lap, r);
	r = meta_node_get(lap->s, wd->id, &wd->row);
	if (r == 0)
		r = diff_merge(lap, wd, diff);
	meta_read_end(lap->s);
	if (r == -ENOENT)
		return 0;
	return r < 0 ? lap_source_err(lap, r) : 1;
}

/* Places first away, then set: two entries may have changed theirs about. */
static int diff_renumber(struct lap *lap, const struct diff *diff)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < diff->renumbered.count; i++)
		r = meta_dentry_del(lap->dst->meta,
				    diff->renumbered.data[i].parent,
				    diff->renumbered.data[i].name,
				    diff->renumbered.data[i].name_len);
	for (size_t i = 0; r >= 0 && i < diff->renumbered.count; i++)
		r = meta_dentry_put(lap->dst->meta, &diff->renumbered.data[i]);
	return r < 0 ? r : lap_step(lap, (unsigned int)diff->renumbered.count);
}

static int evacuate(struct lap *lap, size_t index)
{
	_cleanup_(diff_done) struct diff diff = {0};
	struct work_dir *wd = &lap->dirs.data[index];
	_cleanup_close_ int dirfd = -1;
	int r;

	r = diff_read(lap, wd, &diff);
	if (r <= 0) {
		wd->gone = true;
		return r;
	}
	if (!lap->dry) {
		dirfd = side_open_dir(lap->dst, lap->t, wd->id);
		if (dirfd == -ENOENT || dirfd == -ESTALE) {
			wd->gone = true;
			return tree_lost(lap, wd->id);
		}
		if (dirfd < 0)
			return dirfd;
	}
	wd->changed |= wd->missing || diff.surplus.count > 0;
	/* Those that leave first: their places may be needed. */
	for (size_t i = 0; r >= 0 && i < diff.surplus.count; i++) {
		r = limbo_evacuate(lap, dirfd, &diff.surplus.data[i]);
		if (r == 0)
			r = lap_step(lap, 3);
	}
	return r < 0 ? r : diff_renumber(lap, &diff);
}

int tree_round(struct lap *lap)
{
	size_t listed = lap->dirs.count;
	int r = 0;

	for (size_t i = lap->round_at; r == 0 && i < listed; i++)
		r = tree_arm_later(lap, lap->dirs.data[i].id);
	if (r == 0)
		r = tree_arm_now(lap);
	for (size_t i = lap->round_at; r == 0 && i < listed; i++) {
		r = evacuate(lap, i);
		if (r == 0)
			r = lap_poll(lap);
	}
	if (r == 0 && lap->tight)
		r = limbo_drain(lap);
	return r < 0 ? r : place_round(lap);
}
