/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/cli/changes.h"

#include <string.h>

#include "base/vec.h"

/* Rows taken in one snapshot. */
#define BATCH_ROWS 256
/* Longest path that is written; escaped it still fits a message. */
#define CHANGE_PATH_MAX 8192
/* Deeper than any path of that length: the map has a cycle. */
#define DEPTH_MAX (CHANGE_PATH_MAX / 2)

const char *changes_kind_name(enum meta_kind kind)
{
	switch (kind) {
	case META_FILE:
		return "file";
	case META_DIR:
		return "directory";
	case META_SYMLINK:
		return "symlink";
	case META_FIFO:
		return "fifo";
	case META_SOCK:
		return "socket";
	case META_CHR:
		return "character device";
	case META_BLK:
		return "block device";
	}
	return "unknown";
}

/* A row of the delta, of either kind, and where to go on after it. */
struct row {
	uint64_t node;
	uint64_t seq;
	uint64_t start;
	uint64_t end;
};

struct walk {
	struct meta *map;
	const struct changes_query *query;
	change_fn fn;
	void *arg;
	struct row last;
	struct row rows[BATCH_ROWS];
	size_t count;
	VEC(struct meta_dentry) names;
	char path[CHANGE_PATH_MAX];
};

static int read_nodes(struct walk *w, struct meta_reader *rd)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_node node;
	int r = meta_iter_nodes_since(rd, w->last.seq, w->last.node, &it);

	while (r >= 0 && w->count < BATCH_ROWS &&
	       (r = meta_next_node(&it, &node)) > 0) {
		if (node.seq > w->query->until)
			return 0;
		w->last = (struct row){.node = node.id, .seq = node.seq};
		w->rows[w->count++] = w->last;
	}
	return r < 0 ? r : 0;
}

static int read_extents(struct walk *w, struct meta_reader *rd)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_extent e;
	int r = meta_iter_extents_since(rd, w->last.seq, w->last.node,
					w->last.start, &it);

	while (r >= 0 && w->count < BATCH_ROWS &&
	       (r = meta_next_extent(&it, &e)) > 0) {
		if (e.seq > w->query->until)
			return 0;
		w->last = (struct row){e.node, e.seq, e.start, e.end};
		w->rows[w->count++] = w->last;
	}
	return r < 0 ? r : 0;
}

/* Put "/NAME" before what stands at @at of the path. */
static size_t prepend(struct walk *w, size_t at, const struct meta_dentry *d)
{
	size_t need = (size_t)d->name_len + 1;

	if (at < need)
		return 0;
	at -= need;
	w->path[at] = '/';
	memcpy(w->path + at + 1, d->name, d->name_len);
	return at;
}

/*
 * The path of one name, at the end of w->path.
 * Return: 1 and @ret_path (NULL: too long), 0 not under the root, -errno
 */
static int path_of(struct walk *w, struct meta_reader *rd,
		   const struct meta_dentry *name, const char **ret_path)
{
	size_t at = sizeof(w->path) - 1;
	struct meta_dentry d = *name;
	int err;

	w->path[at] = '\0';
	for (unsigned int depth = 0; depth < DEPTH_MAX; depth++) {
		at = prepend(w, at, &d);
		if (!at) {
			*ret_path = NULL;
			return 1;
		}
		if (d.parent == META_ROOT_ID) {
			*ret_path = w->path + at + 1;
			return 1;
		}
		err = meta_dentry_of(rd, d.parent, &d);
		if (err)
			return err == -ENOENT ? 0 : err;
	}
	return -EUCLEAN;
}

static int read_names(struct walk *w, struct meta_reader *rd, uint64_t node)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_dentry d;
	int r = meta_iter_names(rd, node, &it);

	vec_clear(&w->names);
	while (r >= 0 && (r = meta_next_dentry(&it, &d)) > 0)
		if (vec_push(&w->names, d))
			return -ENOMEM;
	return r < 0 ? r : 0;
}

static int tell(struct walk *w, struct meta_reader *rd, const struct row *row)
{
	struct change change = {
		.node = row->node,
		.seq = row->seq,
		.start = row->start,
		.end = row->end,
		.path = ".",
	};
	struct meta_node node;
	int err = meta_node_get(rd, row->node, &node);

	if (err)
		return err == -ENOENT ? 0 : err;
	change.kind = node.kind;
	if (row->node == META_ROOT_ID)
		return w->fn(w->arg, &change);
	err = read_names(w, rd, row->node);
	for (size_t i = 0; !err && i < w->names.count; i++) {
		int r = path_of(w, rd, &w->names.data[i], &change.path);

		if (r < 0)
			return r;
		if (r > 0)
			err = w->fn(w->arg, &change);
	}
	return err;
}

int changes_walk(struct meta *map, const struct changes_query *query,
		 change_fn fn, void *arg)
{
	_cleanup_free_ struct walk *w = calloc(1, sizeof(*w));
	struct meta_reader *rd = meta_reader_get(map);
	int err = 0;

	if (!w || !rd) {
		meta_reader_put(rd);
		return -ENOMEM;
	}
	w->map = map;
	w->query = query;
	w->fn = fn;
	w->arg = arg;
	/* After the last possible row of that number. */
	w->last = (struct row){INT64_MAX, query->since, INT64_MAX, 0};
	do {
		w->count = 0;
		err = query->blocks ? read_extents(w, rd) : read_nodes(w, rd);
		for (size_t i = 0; !err && i < w->count; i++)
			err = tell(w, rd, &w->rows[i]);
	} while (!err && w->count == BATCH_ROWS);
	vec_done(&w->names);
	meta_reader_put(rd);
	return err;
}
