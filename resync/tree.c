/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The work list of directories, and where each entry of them goes.
 *
 * First every directory of the list is compared with the source's listing,
 * and what it must not hold leaves: nothing can be in the way any more, and no
 * two moves can wait for each other.  Then what the source has and the target
 * lacks is placed: from limbo, by a further link, or from where it still is.
 * New directories are made at once and join the list; other new nodes are made
 * by fill.c, with their contents.
 *
 * A directory keeps its node, so a moved one costs one rename, whatever is
 * below it, and its subtree is only entered where it changed itself.
 */
#include <errno.h>
#include <fcntl.h>
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

static int dirs_push(struct lap *lap, const struct work_dir *wd)
{
	int r = vec_push(&lap->dirs, *wd);

	return r < 0 ? r :
		       idmap_set(&lap->dir_index, wd->id, lap->dirs.count);
}

int tree_add(struct lap *lap, uint64_t dir)
{
	struct work_dir wd = {.id = dir, .after = UINT64_MAX};

	if (idmap_get(&lap->dir_index, dir) > lap->round_at)
		return 0;
	return dirs_push(lap, &wd);
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
			r = target ? lap_source_row(lap, ids.v.data[i], &row) :
				     1;
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
		if (in->kind != META_INTENT_NAME || in->node == last)
			continue;
		last = in->node;
		r = lap_source_row(lap, in->node, &row);
		if (r > 0 && row.kind == META_DIR)
			r = add_source_dir(lap, in->node);
		r = lap_source_err(lap, r);
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
	VEC(struct meta_dentry) surplus;	/* the target's, to leave */
	VEC(struct meta_dentry) renumbered;	/* the source's, same node */
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
		return s->seq == t->seq ? 0 : vec_push(&diff->renumbered, *s);
	if (s) {
		wd->missing = true;
		wd->after = MIN(wd->after, s->seq - 1);
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
		int order = more_s <= 0 ? 1 :
			    more_t <= 0 ? -1 :
					  plan_name_order(&s, &t);

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

/* Numbers first away, then set: two entries may have changed theirs about. */
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
	wd->changed = wd->missing || diff.surplus.count > 0;
	/* Those that leave first: their numbers may be needed. */
	for (size_t i = 0; r >= 0 && i < diff.surplus.count; i++) {
		r = limbo_evacuate(lap, dirfd, &diff.surplus.data[i]);
		if (r == 0)
			r = lap_step(lap, 3);
	}
	return r < 0 ? r : diff_renumber(lap, &diff);
}

/* ---- placing ---- */

/* An entry that the source has and the target lacks. */
struct want {
	struct meta_dentry d;
	struct meta_node row; /* the source's */
};

#define WANT_CHUNK 512u

struct place {
	struct lap *lap;
	size_t index;	/* in lap->dirs, which may grow */
	int dirfd;	/* of the target's directory; -1 in a dry run */
	uint64_t after;
	bool end;
	size_t count;
	struct want want[WANT_CHUNK];
};

static int remember_incomplete(struct place *p, const char *what)
{
	return lap_incomplete(p->lap, &p->lap->dirs.data[p->index], what);
}

static int rename_or_later(struct place *p, int r, const char *what)
{
	/* Moved about while we looked: below itself, or not there. */
	if (r == -EINVAL || r == -ENOENT || r == -ENOTEMPTY || r == -EEXIST)
		return remember_incomplete(p, what);
	return r;
}

/*
 * Is the name free on the target?  0: it is now; 1: the node itself has it
 * already, as another link; what is not ours goes to found/.
 */
static int make_room(struct place *p, const struct meta_dentry *d,
		     const struct meta_node *row)
{
	struct lap *lap = p->lap;
	struct meta_dentry have;
	struct store_stat st;
	int r;

	r = lap_entry(lap->t, d->parent, d->name, d->name_len, &have);
	if (r > 0)
		r = limbo_evacuate(lap, p->dirfd, &have);
	if (r < 0 || lap->dry)
		return r;
	r = side_stat_entry(lap->dst, p->dirfd, d->name, row, &st);
	if (r == -ENOENT)
		return 0;
	if (r != 0)
		return r;
	return limbo_found(lap, p->dirfd, d->name);
}

/* Where the target has the node: limbo before anything else, then a place
 * that goes away, then one that stays. 1 and the entry, 0: nowhere. */
static int find_place(struct lap *lap, const struct meta_node *row,
		      struct meta_dentry *ret, bool *ret_stays)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_dentry d, theirs;
	bool any = false;
	int r;

	r = meta_iter_names(lap->t, row->id, &it);
	while (r == 0 && (r = meta_next_dentry(&it, &d)) > 0) {
		bool stays = false;

		if (d.parent != META_LIMBO_ID) {
			r = lap_entry(lap->s, d.parent, d.name, d.name_len,
				      &theirs);
			if (r < 0)
				return lap_source_err(lap, r);
			stays = r > 0 && theirs.node == row->id;
		}
		r = 0;
		if (any && !(*ret_stays && !stays) &&
		    d.parent != META_LIMBO_ID)
			continue;
		any = true;
		*ret = d;
		*ret_stays = stays;
		if (d.parent == META_LIMBO_ID)
			break;
	}
	return r < 0 ? r : any;
}

/* Is the file there? 1; 0 and the row of that name is gone. */
static int check_place(struct lap *lap, int dirfd, const struct meta_dentry *at,
		       struct meta_node *row)
{
	struct store_stat st;
	int r;

	if (lap->dry)
		return 1;
	r = dirfd < 0 ? dirfd :
			side_stat_entry(lap->dst, dirfd, at->name, row, &st);
	if (r == -ENOENT || r == -ESTALE)
		r = 0;
	if (r < 0)
		return r;
	if (r > 0 && row->backing.ino == 0) {
		row->backing.ino = (uint64_t)st.st.st_ino;
		row->backing.gen = st.gen;
		r = meta_node_set_backing(lap->dst->meta, row->id,
					  row->backing);
		return r < 0 ? r : 1;
	}
	if (r > 0)
		return 1;
	r = meta_dentry_del(lap->dst->meta, at->parent, at->name,
			    at->name_len);
	return r < 0 ? r : 0;
}

static int place_rename(struct place *p, const struct meta_dentry *to,
			const struct meta_dentry *from, int from_fd, bool there)
{
	struct lap *lap = p->lap;
	int r = 0;

	if (from->parent != META_LIMBO_ID)
		r = tree_arm(lap, from->parent);
	/* Renaming onto another link of the same file does nothing. */
	if (r == 0 && !lap->dry)
		r = there ? store_unlink(lap->dst->store, from_fd, from->name) :
			    store_rename(lap->dst->store, from_fd, from->name,
					 p->dirfd, to->name, 0);
	if (r < 0)
		return rename_or_later(p, r, "rename");
	lap->n->entries_renamed++;
	r = meta_dentry_del(lap->dst->meta, from->parent, from->name,
			    from->name_len);
	return r < 0 ? r : meta_dentry_put(lap->dst->meta, to);
}

static int place_link(struct place *p, const struct meta_dentry *to,
		      const struct meta_dentry *from, int from_fd, bool there)
{
	struct lap *lap = p->lap;
	int r = 0;

	if (!lap->dry && !there)
		r = store_link(lap->dst->store, from_fd, from->name, p->dirfd,
			       to->name);
	if (r < 0)
		return rename_or_later(p, r, "link");
	lap->n->entries_created++;
	return meta_dentry_put(lap->dst->meta, to);
}

/* A node that the target has. 0: it turned out to be nowhere, 1 placed. */
static int place_known(struct place *p, const struct want *w,
		       struct meta_node *row)
{
	struct lap *lap = p->lap;
	struct meta_dentry from;
	bool stays;
	int r;

	while ((r = find_place(lap, row, &from, &stays)) > 0) {
		_cleanup_close_ int from_fd = -1;

		if (row->kind == META_DIR)
			stays = false;
		if (!lap->dry)
			from_fd = side_open_dir(lap->dst, lap->t, from.parent);
		r = check_place(lap, from_fd, &from, row);
		if (r < 0)
			return r;
		if (r == 0)
			continue;
		r = make_room(p, &w->d, row);
		if (r < 0)
			return r;
		r = stays ? place_link(p, &w->d, &from, from_fd, r > 0) :
			    place_rename(p, &w->d, &from, from_fd, r > 0);
		return r < 0 ? r : 1;
	}
	if (r < 0)
		return r;
	return meta_node_del(lap->dst->meta, row->id);
}

static int make_dir(struct place *p, const struct meta_dentry *d,
		    struct meta_backing *ret)
{
	struct lap *lap = p->lap;
	_cleanup_close_ int fd = -1;
	struct store_stat st;
	int r;

	*ret = (struct meta_backing){0};
	if (lap->dry)
		return 0;
	r = store_mkdir(lap->dst->store, p->dirfd, d->name, 0700, NULL);
	if (r == 0)
		r = store_statat(lap->dst->store, p->dirfd, d->name, true, &st);
	if (r < 0)
		return r;
	ret->ino = (uint64_t)st.st.st_ino;
	ret->gen = st.gen;
	return 0;
}

static int place_new_dir(struct place *p, const struct want *w)
{
	struct lap *lap = p->lap;
	struct meta_node row = {.id = w->row.id, .kind = META_DIR};
	struct work_dir wd = {
		.id = w->row.id,
		.row = w->row,
		.fresh = true,
		.missing = true,
		.changed = true,
	};
	int r = make_room(p, &w->d, NULL);

	if (r == 0)
		r = make_dir(p, &w->d, &row.backing);
	if (r == 0)
		r = meta_node_put(lap->dst->meta, &row);
	if (r == 0)
		r = meta_dentry_put(lap->dst->meta, &w->d);
	/* Committed together with the row: until then it is a leftover. */
	if (r == 0 && !lap->dry)
		r = meta_intent_put(lap->dst->meta,
				    &(struct meta_intent){
					    .node = row.id,
					    .kind = META_INTENT_NAME,
				    });
	if (r == 0)
		r = idmap_set(&lap->armed, row.id, 1);
	if (r < 0)
		return r;
	lap->n->entries_created++;
	lap->n->nodes++;
	return dirs_push(lap, &wd);
}

static int place_one(struct place *p, const struct want *w)
{
	struct meta_node row;
	int r = lap_target_row(p->lap, w->d.node, &row);

	if (r > 0 && row.kind != w->row.kind)
		return -EUCLEAN; /* ids are never given twice */
	if (r > 0)
		r = place_known(p, w, &row);
	if (r == 0 && w->row.kind == META_DIR)
		r = place_new_dir(p, w);
	return r < 0 ? r : lap_step(p->lap, 4);
}

/* 1: something for this pass; 0: there already, or a new file. */
static int wanted(struct place *p, const struct meta_dentry *d,
		  struct meta_node *ret_row)
{
	struct lap *lap = p->lap;
	struct meta_dentry have;
	struct meta_node row;
	int r;

	r = lap_entry(lap->t, d->parent, d->name, d->name_len, &have);
	if (r < 0 || (r > 0 && have.node == d->node))
		return r < 0 ? r : 0;
	r = meta_node_get(lap->s, d->node, ret_row);
	if (r < 0)
		return lap_source_err(lap, r);
	r = lap_target_row(lap, d->node, &row);
	return r < 0 ? r : r > 0 || ret_row->kind == META_DIR;
}

static int want_read(struct place *p)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct lap *lap = p->lap;
	struct meta_dentry *d;
	int r;

	p->count = 0;
	r = meta_iter_dentries(lap->s, lap->dirs.data[p->index].id, p->after,
			       &it);
	while (r >= 0 && p->count < WANT_CHUNK) {
		d = &p->want[p->count].d;
		r = meta_next_dentry(&it, d);
		p->end = r == 0 || (r > 0 && d->seq > lap->limit);
		if (r < 0)
			return lap_source_err(lap, r);
		if (p->end)
			return 0;
		p->after = d->seq;
		r = wanted(p, d, &p->want[p->count].row);
		if (r > 0)
			p->count++;
	}
	return r < 0 ? r : 0;
}

static int want_chunk(struct place *p)
{
	int r = meta_read_begin(p->lap->s);

	if (r < 0)
		return lap_source_err(p->lap, r);
	r = want_read(p);
	meta_read_end(p->lap->s);
	return r;
}

static int place(struct lap *lap, struct place *p, size_t index)
{
	_cleanup_close_ int dirfd = -1;
	struct work_dir *wd = &lap->dirs.data[index];
	int r = 0;

	if (wd->gone || !wd->missing)
		return 0;
	if (!lap->dry) {
		dirfd = side_open_dir(lap->dst, lap->t, wd->id);
		if (dirfd == -ENOENT || dirfd == -ESTALE) {
			wd->gone = true;
			return tree_lost(lap, wd->id);
		}
		if (dirfd < 0)
			return dirfd;
	}
	p->index = index;
	p->dirfd = dirfd;
	p->after = wd->after;
	p->end = false;
	while (r == 0 && !p->end) {
		r = want_chunk(p);
		for (size_t i = 0; r == 0 && i < p->count; i++)
			r = place_one(p, &p->want[i]);
		if (r == 0)
			r = lap_poll(lap);
	}
	return r;
}

int tree_round(struct lap *lap)
{
	_cleanup_free_ struct place *p = NULL;
	size_t listed = lap->dirs.count;
	int r = 0;

	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->lap = lap;
	for (size_t i = lap->round_at; r == 0 && i < listed; i++)
		r = tree_arm_later(lap, lap->dirs.data[i].id);
	if (r == 0)
		r = tree_arm_now(lap);
	for (size_t i = lap->round_at; r == 0 && i < listed; i++) {
		r = evacuate(lap, i);
		if (r == 0)
			r = lap_poll(lap);
	}
	/* The list grows by the directories made here. */
	for (size_t i = lap->round_at; r == 0 && i < lap->dirs.count; i++)
		r = place(lap, p, i);
	return r;
}
