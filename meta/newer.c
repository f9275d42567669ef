/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether one map has something that another has not: the question between
 * "merely stale" and "went on alone".
 *
 * Asked about every row of self that is numbered above "from":
 *
 *	row of self		newer when its seq is above, in other,
 *	node			the node's seq
 *	node, attr_seq		the node's attr_seq
 *	extent			the seq of any extent in the same range; where
 *				a part of it is a hole, the node's seq
 *	dentry			the entry's seq; without such an entry, the
 *				directory's seq
 *	anything of a node	the seq of the directory where self has it;
 *	that other lacks	where other lacks that too, of the nearest
 *				directory above that it has
 *
 * The node's own seq has to be asked about because a removal leaves no other
 * trace: a punched range, or a deleted entry, is a row less and a higher seq
 * of the file or directory.
 *
 * A part of a range is compared by itself, not the whole with the highest
 * seq that other has in it: one block written by other must not hide that the
 * rest was written by self alone.
 *
 * A node under several names that other lacks is newer when it is above any
 * of the directories: other has removed every name, each with a number above
 * all that self knew.
 *
 * A node that has no name in self (unlinked while open), or lies in limbo, is
 * in no place where other could have something: it concerns nobody else. Of
 * different kind under one id, or in directories of which other has none at
 * all, it is newer: there is no telling.
 *
 * The rows come from the indexes led by seq, and the entries of changed
 * directories from the one by (parent, seq): the work follows the delta.
 */
#include <errno.h>

#include "meta/db.h"

/* More levels than a path has bytes would be a circle. */
#define DEPTH_MAX 4096

struct newer {
	struct meta_reader *self;
	struct meta_reader *other;
	uint64_t from;
};

/* A seq of self against the nearest directory, from @dir_id upwards, that
 * other has. */
static int newer_than_dir(const struct newer *n, uint64_t dir_id, uint64_t seq)
{
	struct meta_dentry up;
	struct meta_node dir;
	int r;

	for (int depth = 0; depth < DEPTH_MAX; depth++) {
		if (dir_id == META_LIMBO_ID)
			return 0;
		r = meta_node_get(n->other, dir_id, &dir);
		if (r == 0)
			return seq > dir.seq;
		if (r != -ENOENT)
			return r;
		r = meta_dentry_of(n->self, dir_id, &up);
		if (r == -ENOENT)
			return 1;
		if (r < 0)
			return r;
		dir_id = up.parent;
	}
	return 1;
}

/* Something of a node that other does not have. */
static int newer_absent(const struct newer *n, uint64_t node, uint64_t seq)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_dentry name;
	int r;

	r = meta_iter_names(n->self, node, &it);
	if (r < 0)
		return r;
	while ((r = meta_next_dentry(&it, &name)) > 0) {
		r = newer_than_dir(n, name.parent, seq);
		if (r != 0)
			return r;
	}
	return r;
}

static int newer_entries(const struct newer *n, const struct meta_node *other)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_dentry mine;
	struct meta_dentry theirs;
	int r;

	r = meta_iter_dentries(n->self, other->id, 0, &it);
	if (r < 0)
		return r;
	while ((r = meta_next_dentry(&it, &mine)) > 0) {
		if (mine.seq <= n->from)
			continue;
		r = meta_dentry_get(n->other, mine.parent, mine.name,
				    mine.name_len, &theirs);
		if (r == -ENOENT)
			theirs.seq = other->seq;
		else if (r < 0)
			return r;
		if (mine.seq > theirs.seq)
			return 1;
	}
	return r;
}

static int newer_node(const struct newer *n, const struct meta_node *mine)
{
	struct meta_node theirs;
	int r = meta_node_get(n->other, mine->id, &theirs);

	if (r == -ENOENT)
		return newer_absent(n, mine->id, mine->seq);
	if (r < 0)
		return r;
	if (mine->kind != theirs.kind || mine->seq > theirs.seq)
		return 1;
	if (mine->attr_seq > n->from && mine->attr_seq > theirs.attr_seq)
		return 1;
	return mine->kind == META_DIR ? newer_entries(n, &theirs) : 0;
}

static int newer_nodes(const struct newer *n)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_node node;
	int r;

	/* Behind every row that has this seq. */
	r = meta_iter_nodes_since(n->self, n->from, INT64_MAX, &it);
	if (r < 0)
		return r;
	while ((r = meta_next_node(&it, &node)) > 0) {
		r = newer_node(n, &node);
		if (r != 0)
			return r;
	}
	return r;
}

static int newer_extent(const struct newer *n, const struct meta_extent *mine)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_extent theirs;
	struct meta_node node;
	uint64_t at = mine->start;
	int r;

	r = meta_node_get(n->other, mine->node, &node);
	if (r == -ENOENT)
		return newer_absent(n, mine->node, mine->seq);
	if (r < 0)
		return r;
	r = meta_iter_extents(n->other, mine->node, mine->start, mine->end,
			      &it);
	if (r < 0)
		return r;
	while ((r = meta_next_extent(&it, &theirs)) > 0) {
		if (theirs.start > at && mine->seq > node.seq)
			return 1;
		if (mine->seq > theirs.seq)
			return 1;
		at = theirs.end;
	}
	if (r < 0)
		return r;
	return at < mine->end && mine->seq > node.seq;
}

static int newer_extents(const struct newer *n)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_extent ext;
	int r;

	r = meta_iter_extents_since(n->self, n->from, INT64_MAX, INT64_MAX,
				    &it);
	if (r < 0)
		return r;
	while ((r = meta_next_extent(&it, &ext)) > 0) {
		r = newer_extent(n, &ext);
		if (r != 0)
			return r;
	}
	return r;
}

int meta_newer_than(struct meta_reader *self, struct meta_reader *other,
		    uint64_t from)
{
	struct newer n = {.self = self, .other = other, .from = from};
	int r = newer_nodes(&n);

	return r != 0 ? r : newer_extents(&n);
}
