/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows against rows: what no order of our own transactions can leave.
 *
 * While a resync is not finished, rows are ahead of the numbers and nodes wait
 * in limbo; under intents of a crash the map may be ahead of its durable seq.
 * Either way the rows are in doubt, not wrong.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "resync/check_internal.h"

/* A map that says a node lies deeper than this has a circle. */
#define DEPTH_MAX 100000u

struct rows {
	struct check *c;
	/* looked up last */
	uint64_t node;
	int there; /* 1 a row, 0 none */
	struct meta_node row;
};

static enum check_class class_of(const struct check *c, uint64_t node)
{
	return c->n->resyncing || check_doubt_any(&c->doubt, node)
		       ? CHECK_DOUBT
		       : CHECK_WRONG;
}

static int look_up(struct rows *s, uint64_t node)
{
	int r;

	if (s->node == node)
		return s->there;
	r = meta_node_get(s->c->rd, node, &s->row);
	if (r && r != -ENOENT)
		return r;
	s->node = node;
	s->there = !r;
	return s->there;
}

/* ---- paths ---- */

static int prepend(char **path, const struct meta_dentry *d)
{
	char *longer;

	if (asprintf(&longer, "%s%s%s", d->name, *path ? "/" : "",
		     *path ? *path : "") < 0)
		return -ENOMEM;
	free(*path);
	*path = longer;
	return 0;
}

/* Some path of a node, to be freed; NULL: none (or no memory: then a message
 * goes without). 1 it ends at the root, 0 it does not. */
static int path_of(struct check *c, const struct meta_dentry *name,
		   uint64_t node, char **ret)
{
	struct meta_dentry d;
	int r = 0;

	*ret = NULL;
	if (name)
		d = *name;
	else
		r = meta_dentry_of(c->rd, node, &d);
	for (unsigned int depth = 0; r == 0 && depth < DEPTH_MAX; depth++) {
		/* A circle of any length is as long as it need be by then. */
		if (depth < 512 && prepend(ret, &d))
			return 0;
		if (d.parent == META_ROOT_ID)
			return 1;
		if (d.parent == META_LIMBO_ID)
			return 0;
		r = meta_dentry_of(c->rd, d.parent, &d);
	}
	return r < 0 && r != -ENOENT ? r : 0;
}

static int tell_row(struct check *c, struct check_finding f,
		    const struct meta_dentry *name)
{
	_cleanup_free_ char *path = NULL;
	int r = path_of(c, name, f.node, &path);

	if (r < 0)
		return r;
	f.path = path;
	return check_tell(c, &f);
}

static int tell_number(struct check *c, enum check_kind kind,
		       const struct meta_dentry *name, uint64_t node,
		       const char *what, uint64_t have, uint64_t limit)
{
	char text[128];

	(void)snprintf(text, sizeof(text), "%s %" PRIu64 " above %" PRIu64,
		       what, have, limit);
	return tell_row(c,
			(struct check_finding){
				.kind = kind,
				.class = class_of(c, node),
				.node = node,
				.parent = name ? name->parent : 0,
				.detail = text,
				.count = have,
			},
			name);
}

/* ---- nodes ---- */

/* A circle has an edge from a directory to one with a higher id above it. */
static int check_cycle(struct check *c, const struct meta_node *row,
		       const struct meta_dentry *d)
{
	uint64_t at = d->parent, steps = 0;
	struct meta_dentry up;
	int r;

	if (row->kind != META_DIR || d->parent <= row->id)
		return 0;
	while (at != META_ROOT_ID && at != META_LIMBO_ID) {
		r = meta_dentry_of(c->rd, at, &up);
		if (r)
			return r == -ENOENT ? 0 : r;
		at = up.parent;
		if (at == row->id || ++steps == DEPTH_MAX)
			return check_tell(c, &(struct check_finding){
						     .kind = CHECK_CYCLE,
						     .class = CHECK_WRONG,
						     .node = row->id,
						     .path = d->name,
					     });
	}
	return 0;
}

static int check_names_of(struct check *c, const struct meta_node *row)
{
	struct meta_dentry d;
	uint64_t count = 0;
	int r;

	if (row->id == META_ROOT_ID)
		return 0;
	r = meta_dentry_of(c->rd, row->id, &d);
	if (r == -ENOENT)
		return check_tell(c, &(struct check_finding){
					     .kind = CHECK_NO_NAME,
					     .class = class_of(c, row->id),
					     .node = row->id,
				     });
	if (!r && row->kind == META_DIR)
		r = meta_dentry_count(c->rd, row->id, &count);
	if (!r && count > 1)
		r = tell_row(c,
			     (struct check_finding){
				     .kind = CHECK_TWO_PARENTS,
				     .class = class_of(c, row->id),
				     .node = row->id,
				     .count = count,
			     },
			     NULL);
	return r ? r : check_cycle(c, row, &d);
}

static int check_numbers(struct check *c, const struct meta_node *row)
{
	int r = 0;

	if (row->attr_seq > row->seq)
		r = tell_number(c, CHECK_NUMBER, NULL, row->id,
				"its attributes have seq", row->attr_seq,
				row->seq);
	if (!r && row->seq > c->seq_reserved)
		r = tell_number(c, CHECK_RESERVED, NULL, row->id, "seq",
				row->seq, c->seq_reserved);
	if (!r && row->id > c->node_reserved && row->id >= META_FIRST_ID)
		r = tell_number(c, CHECK_RESERVED, NULL, row->id, "node id",
				row->id, c->node_reserved);
	return r;
}

static int check_backing(struct check *c, const struct meta_node *row)
{
	struct meta_node other;
	int r;

	if (!row->backing.ino || c->n->copied)
		return 0;
	r = meta_node_find(c->rd, row->backing, &other);
	if (r)
		return r == -ENOENT ? 0 : r;
	if (other.id == row->id)
		return 0;
	return tell_row(c,
			(struct check_finding){
				.kind = CHECK_ONE_FILE,
				.class = class_of(c, row->id),
				.node = row->id,
				.count = other.id,
			},
			NULL);
}

/* Rows of one node come by start. */
static int check_extents(struct check *c, const struct meta_node *row)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_extent e;
	uint64_t end = 0, highest = 0;
	const char *detail = NULL;
	int r = meta_iter_extents(c->rd, row->id, 0, META_RANGE_MAX, &it);

	while (r == 0 && (r = meta_next_extent(&it, &e)) > 0) {
		if (e.start < end)
			detail = "they overlap";
		if (row->kind != META_FILE)
			detail = "it is no file";
		end = MAX(end, e.end);
		highest = MAX(highest, e.seq);
		r = check_poll(c, 0, 1);
	}
	meta_iter_done(&it);
	if (r == 0 && detail)
		r = tell_row(c,
			     (struct check_finding){
				     .kind = CHECK_EXTENT,
				     .class = class_of(c, row->id),
				     .node = row->id,
				     .detail = detail,
				     .range = {0, end},
			     },
			     NULL);
	if (r == 0 && highest > c->seq_reserved)
		r = tell_number(c, CHECK_RESERVED, NULL, row->id,
				"an extent's seq", highest, c->seq_reserved);
	if (r == 0 && highest > row->seq && highest <= c->seq_reserved)
		r = tell_number(c, CHECK_NUMBER, NULL, row->id,
				"an extent's seq", highest, row->seq);
	return r;
}

static int check_nodes(struct check *c)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_node row;
	int r = meta_iter_nodes(c->rd, 0, &it);

	while (r == 0 && (r = meta_next_node(&it, &row)) > 0) {
		r = check_names_of(c, &row);
		if (!r)
			r = check_numbers(c, &row);
		if (!r)
			r = check_backing(c, &row);
		if (!r)
			r = check_extents(c, &row);
		if (!r)
			r = check_poll(c, 0, 1);
	}
	return r;
}

/* ---- entries ---- */

static int check_parent(struct rows *s, const struct meta_dentry *d,
			uint64_t *told)
{
	struct check *c = s->c;
	int r;

	if (d->parent == META_LIMBO_ID || d->parent == *told)
		return 0;
	r = look_up(s, d->parent);
	if (r < 0 || (r > 0 && s->row.kind == META_DIR))
		return MIN(r, 0);
	*told = d->parent;
	return check_tell(c, &(struct check_finding){
				     .kind = CHECK_NO_DIRECTORY,
				     .class = class_of(c, d->parent),
				     .node = d->parent,
				     .path = d->name,
			     });
}

static int check_dentry(struct check *c, const struct meta_dentry *d)
{
	struct meta_node row;
	uint64_t highest = MAX(d->seq, d->cookie);
	int r = meta_node_get(c->rd, d->node, &row);

	if (r == -ENOENT)
		return tell_row(c,
				(struct check_finding){
					.kind = CHECK_DANGLING,
					.class = class_of(c, d->parent),
					.node = d->node,
					.parent = d->parent,
				},
				d);
	if (r == 0 && d->parent != META_LIMBO_ID && highest > c->seq_reserved)
		r = tell_number(c, CHECK_RESERVED, d, d->node, "an entry's seq",
				highest, c->seq_reserved);
	return r;
}

static int check_dentries(struct check *c)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct rows s = {.c = c};
	struct meta_dentry d;
	uint64_t told = 0;
	int r = meta_iter_dentries_all(c->rd, &it);

	while (r == 0 && (r = meta_next_dentry(&it, &d)) > 0) {
		r = check_parent(&s, &d, &told);
		if (!r)
			r = check_dentry(c, &d);
		if (!r)
			r = check_poll(c, 0, 1);
	}
	return r;
}

/* ---- extents of nobody ---- */

static int check_strays(struct check *c)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct rows s = {.c = c};
	struct meta_extent e;
	uint64_t told = 0;
	int r = meta_iter_extents_since(c->rd, 0, 0, 0, &it);

	while (r == 0 && (r = meta_next_extent(&it, &e)) > 0) {
		r = look_up(&s, e.node);
		if (r > 0 || e.node == told) {
			r = MIN(r, 0);
			continue;
		}
		told = e.node;
		if (r == 0)
			r = check_tell(c, &(struct check_finding){
						  .kind = CHECK_EXTENT,
						  .class = class_of(c, e.node),
						  .node = e.node,
						  .detail = "there is no such "
							    "node",
						  .range = {e.start, e.end},
					  });
	}
	return r;
}

int check_rows(struct check *c)
{
	int r = check_nodes(c);

	if (!r)
		r = check_dentries(c);
	return r ? r : check_strays(c);
}
