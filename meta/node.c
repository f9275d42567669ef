/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nodes and the names that lead to them.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "meta/db.h"

/* ---- rows ---- */

static int node_row(struct stmt *s, struct meta_node *ret_node)
{
	struct meta_node node = {0};
	uint64_t kind = 0;
	int r;

	r = stmt_column_u64(s, 0, &node.id);
	if (r == 0)
		r = stmt_column_u64(s, 1, &kind);
	if (r == 0)
		r = stmt_column_u64(s, 4, &node.attr_seq);
	if (r == 0)
		r = stmt_column_u64(s, 5, &node.seq);
	if (r < 0)
		return r;
	if (kind < META_FILE || kind > META_BLK || node.id == 0 ||
	    node.attr_seq > node.seq || node.seq > META_SEQ_MAX)
		return -EUCLEAN;
	node.kind = (enum meta_kind)kind;
	node.backing.ino = stmt_column_bits(s, 2);
	node.backing.gen = stmt_column_bits(s, 3);
	node.ctime.shown = (int64_t)stmt_column_bits(s, 6);
	node.ctime.backing = (int64_t)stmt_column_bits(s, 7);
	*ret_node = node;
	return 0;
}

enum meta_kind meta_kind_of(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return META_FILE;
	case S_IFDIR:
		return META_DIR;
	case S_IFLNK:
		return META_SYMLINK;
	case S_IFIFO:
		return META_FIFO;
	case S_IFSOCK:
		return META_SOCK;
	case S_IFCHR:
		return META_CHR;
	case S_IFBLK:
		return META_BLK;
	default:
		return 0;
	}
}

/* One component of a path. */
static bool name_is_one(const struct meta_dentry *d)
{
	return d->name_len && strlen(d->name) == d->name_len &&
	       !strchr(d->name, '/') && strcmp(d->name, ".") != 0 &&
	       strcmp(d->name, "..") != 0;
}

/* In limbo/ an id stands for it, which may be a resync's own (resync/lap.h). */
static bool seq_is_one(const struct meta_dentry *d)
{
	return d->seq &&
	       (d->parent == META_LIMBO_ID ||
		(d->seq <= META_SEQ_MAX && d->cookie <= META_SEQ_MAX));
}

/* Copies no more than the name: these structs are large and many. */
static int dentry_row(struct stmt *s, struct meta_dentry *ret_dentry)
{
	int len;
	int r;

	r = stmt_column_u64(s, 0, &ret_dentry->parent);
	if (r == 0)
		r = stmt_column_u64(s, 2, &ret_dentry->node);
	if (r == 0)
		r = stmt_column_u64(s, 3, &ret_dentry->seq);
	if (r == 0)
		r = stmt_column_u64(s, 4, &ret_dentry->cookie);
	if (r < 0)
		return r;
	len = stmt_column_copy(s, 1, ret_dentry->name,
			       sizeof(ret_dentry->name));
	if (len < 0)
		return len;
	ret_dentry->name_len = (uint16_t)len;
	/* A map of somebody else's making: nobody below looks again. */
	if (!ret_dentry->parent || !ret_dentry->node ||
	    !seq_is_one(ret_dentry) || !name_is_one(ret_dentry))
		return -EUCLEAN;
	return 0;
}

static int node_one(struct stmt *s, struct meta_node *ret_node)
{
	int r = stmt_step(s);

	if (r < 0)
		return r;
	return r ? node_row(s, ret_node) : -ENOENT;
}

static int dentry_one(struct stmt *s, struct meta_dentry *ret_dentry)
{
	int r = stmt_step(s);

	if (r < 0)
		return r;
	return r ? dentry_row(s, ret_dentry) : -ENOENT;
}

static void bind_ctime(struct stmt *s, const struct meta_ctime *ctime)
{
	stmt_bind_bits(s, ":ctime", (uint64_t)ctime->shown);
	stmt_bind_bits(s, ":backing_ctime", (uint64_t)ctime->backing);
}

/* ---- nodes ---- */

int meta_node_put(struct meta *m, const struct meta_node *node)
{
	_cleanup_stmt_ struct stmt *s = NULL;
	int r;

	assert(node->id != 0 && node->seq >= node->attr_seq);
	r = writer_borrow(m, STMT_NODE_PUT, &s);
	if (r < 0)
		return r;
	stmt_bind_u64(s, ":id", node->id);
	stmt_bind_u64(s, ":kind", node->kind);
	stmt_bind_bits(s, ":backing_ino", node->backing.ino);
	stmt_bind_bits(s, ":backing_gen", node->backing.gen);
	stmt_bind_u64(s, ":attr_seq", node->attr_seq);
	stmt_bind_u64(s, ":seq", node->seq);
	bind_ctime(s, &node->ctime);
	r = writer_run(m, s);
	return r < 0 ? r : 0;
}

int meta_node_raise(struct meta *m, uint64_t id, uint64_t attr_seq,
		    uint64_t seq)
{
	_cleanup_stmt_ struct stmt *s = NULL;
	int r;

	r = writer_borrow(m, STMT_NODE_RAISE_SEQ, &s);
	if (r < 0)
		return r;
	stmt_bind_u64(s, ":id", id);
	stmt_bind_u64(s, ":attr_seq", attr_seq);
	stmt_bind_u64(s, ":seq", MAX(seq, attr_seq));
	r = writer_run(m, s);
	return r < 0 ? r : 0;
}

int meta_node_raise_all(struct meta *m, uint64_t id, uint64_t attr_seq,
			uint64_t seq, struct meta_ctime ctime,
			bool *ret_changed)
{
	_cleanup_stmt_ struct stmt *s = NULL;
	int r;

	r = writer_borrow(m, STMT_NODE_RAISE_ALL, &s);
	if (r < 0)
		return r;
	stmt_bind_u64(s, ":id", id);
	stmt_bind_u64(s, ":attr_seq", attr_seq);
	stmt_bind_u64(s, ":seq", MAX(seq, attr_seq));
	bind_ctime(s, &ctime);
	r = writer_run(m, s);
	if (ret_changed)
		*ret_changed = r > 0;
	return r < 0 ? r : 0;
}

int meta_node_set_backing(struct meta *m, uint64_t id,
			  struct meta_backing backing)
{
	_cleanup_stmt_ struct stmt *s = NULL;
	int r;

	r = writer_borrow(m, STMT_NODE_SET_BACKING, &s);
	if (r < 0)
		return r;
	stmt_bind_u64(s, ":id", id);
	stmt_bind_bits(s, ":backing_ino", backing.ino);
	stmt_bind_bits(s, ":backing_gen", backing.gen);
	r = writer_run(m, s);
	if (r < 0)
		return r;
	return r ? 0 : -ENOENT;
}

int meta_backing_forget_all(struct meta *m, uint64_t ino, uint64_t gen)
{
	_cleanup_stmt_ struct stmt *s = NULL;
	int r;

	r = writer_borrow(m, STMT_NODE_FORGET_BACKING, &s);
	if (r < 0)
		return r;
	r = writer_run(m, s);
	if (r >= 0)
		r = meta_number_set(m, META_NUM_ROOT_INO, ino);
	if (r >= 0)
		r = meta_number_set(m, META_NUM_ROOT_GEN, gen);
	return r < 0 ? r : 0;
}

int meta_node_del(struct meta *m, uint64_t id)
{
	_cleanup_stmt_ struct stmt *extents = NULL;
	_cleanup_stmt_ struct stmt *node = NULL;
	int r;

	r = writer_borrow(m, STMT_EXTENT_DEL_NODE, &extents);
	if (r < 0)
		return r;
	stmt_bind_u64(extents, ":node", id);
	r = writer_run(m, extents);
	if (r < 0)
		return r;
	r = writer_borrow(m, STMT_NODE_DEL, &node);
	if (r < 0)
		return r;
	stmt_bind_u64(node, ":id", id);
	r = writer_run(m, node);
	return r < 0 ? r : 0;
}

int meta_node_get(struct meta_reader *rd, uint64_t id,
		  struct meta_node *ret_node)
{
	_cleanup_stmt_ struct stmt *s = NULL;
	int r;

	r = stmt_borrow(&rd->conn, STMT_NODE_GET, &s);
	if (r < 0)
		return r;
	stmt_bind_bound(s, ":id", id);
	return node_one(s, ret_node);
}

int meta_node_below(struct meta_reader *rd, uint64_t id,
		    struct meta_node *ret_node)
{
	_cleanup_stmt_ struct stmt *s = NULL;
	int r;

	r = stmt_borrow(&rd->conn, STMT_NODE_BELOW, &s);
	if (r < 0)
		return r;
	stmt_bind_bound(s, ":id", id);
	return node_one(s, ret_node);
}

int meta_node_find(struct meta_reader *rd, struct meta_backing backing,
		   struct meta_node *ret_node)
{
	_cleanup_stmt_ struct stmt *s = NULL;
	int r;

	/* All that are not known have this number. */
	if (backing.ino == 0)
		return -ENOENT;
	r = stmt_borrow(&rd->conn, STMT_NODE_FIND_BACKING, &s);
	if (r < 0)
		return r;
	stmt_bind_bits(s, ":backing_ino", backing.ino);
	stmt_bind_bits(s, ":backing_gen", backing.gen);
	return node_one(s, ret_node);
}

int meta_iter_nodes_since(struct meta_reader *rd, uint64_t seq, uint64_t id,
			  struct meta_iter *ret_it)
{
	struct stmt *s;
	int r = iter_open(rd, STMT_NODE_ITER_SINCE, ret_it, &s);

	if (r < 0)
		return r;
	stmt_bind_bound(s, ":seq", seq);
	stmt_bind_bound(s, ":id", id);
	return 0;
}

static int iter_nodes(struct meta_reader *rd, enum meta_stmt_id stmt,
		      uint64_t after_id, struct meta_iter *ret_it)
{
	struct stmt *s;
	int r = iter_open(rd, stmt, ret_it, &s);

	if (r < 0)
		return r;
	stmt_bind_bound(s, ":id", after_id);
	return 0;
}

int meta_iter_nodes(struct meta_reader *rd, uint64_t after_id,
		    struct meta_iter *ret_it)
{
	return iter_nodes(rd, STMT_NODE_ITER_ID, after_id, ret_it);
}

int meta_iter_nodes_unknown(struct meta_reader *rd, uint64_t after_id,
			    struct meta_iter *ret_it)
{
	return iter_nodes(rd, STMT_NODE_ITER_UNKNOWN, after_id, ret_it);
}

int meta_next_node(struct meta_iter *it, struct meta_node *ret)
{
	int r = stmt_step(it->stmt);

	if (r <= 0)
		return r;
	r = node_row(it->stmt, ret);
	return r < 0 ? r : 1;
}

/* ---- names ---- */

static void name_check(const char *name, size_t name_len)
{
	assert(name_len >= 1 && name_len <= META_NAME_MAX);
	assert(!memchr(name, '/', name_len) && !memchr(name, 0, name_len));
}

int meta_dentry_put(struct meta *m, const struct meta_dentry *d)
{
	_cleanup_stmt_ struct stmt *s = NULL;
	int r;

	name_check(d->name, d->name_len);
	assert(d->parent != 0 && d->node != 0 && d->seq != 0);
	r = writer_borrow(m, STMT_DENTRY_PUT, &s);
	if (r < 0)
		return r;
	stmt_bind_u64(s, ":parent", d->parent);
	stmt_bind_blob(s, ":name", d->name, d->name_len);
	stmt_bind_u64(s, ":node", d->node);
	stmt_bind_u64(s, ":seq", d->seq);
	stmt_bind_u64(s, ":cookie", d->cookie);
	r = writer_run(m, s);
	return r < 0 ? r : 0;
}

int meta_dentry_del(struct meta *m, uint64_t parent, const char *name,
		    size_t name_len)
{
	_cleanup_stmt_ struct stmt *s = NULL;
	int r;

	name_check(name, name_len);
	r = writer_borrow(m, STMT_DENTRY_DEL, &s);
	if (r < 0)
		return r;
	stmt_bind_u64(s, ":parent", parent);
	stmt_bind_blob(s, ":name", name, name_len);
	return writer_run(m, s);
}

int meta_dentry_get(struct meta_reader *rd, uint64_t parent, const char *name,
		    size_t name_len, struct meta_dentry *ret_dentry)
{
	_cleanup_stmt_ struct stmt *s = NULL;
	int r;

	r = stmt_borrow(&rd->conn, STMT_DENTRY_GET, &s);
	if (r < 0)
		return r;
	stmt_bind_bound(s, ":parent", parent);
	stmt_bind_blob(s, ":name", name, name_len);
	return dentry_one(s, ret_dentry);
}

int meta_dentry_of(struct meta_reader *rd, uint64_t node,
		   struct meta_dentry *ret_dentry)
{
	_cleanup_stmt_ struct stmt *s = NULL;
	int r;

	r = stmt_borrow(&rd->conn, STMT_DENTRY_ITER_NODE, &s);
	if (r < 0)
		return r;
	stmt_bind_bound(s, ":node", node);
	return dentry_one(s, ret_dentry);
}

int meta_dentry_count(struct meta_reader *rd, uint64_t node,
		      uint64_t *ret_count)
{
	_cleanup_stmt_ struct stmt *s = NULL;
	int r = stmt_borrow(&rd->conn, STMT_DENTRY_COUNT_NODE, &s);

	if (r < 0)
		return r;
	stmt_bind_bound(s, ":node", node);
	return stmt_count(s, ret_count);
}

int meta_dentry_several(struct meta_reader *rd, uint64_t node,
			bool *ret_several)
{
	_cleanup_stmt_ struct stmt *s = NULL;
	int r;

	r = stmt_borrow(&rd->conn, STMT_DENTRY_ITER_NODE, &s);
	if (r < 0)
		return r;
	stmt_bind_bound(s, ":node", node);
	r = stmt_step(s);
	if (r > 0)
		r = stmt_step(s);
	if (r < 0)
		return r;
	*ret_several = r > 0;
	return 0;
}

int meta_iter_dentries(struct meta_reader *rd, uint64_t parent,
		       uint64_t after_cookie, struct meta_iter *ret_it)
{
	struct stmt *s;
	int r = iter_open(rd, STMT_DENTRY_ITER_COOKIE, ret_it, &s);

	if (r < 0)
		return r;
	stmt_bind_bound(s, ":parent", parent);
	stmt_bind_bound(s, ":cookie", after_cookie);
	return 0;
}

int meta_iter_dentries_by_name(struct meta_reader *rd, uint64_t parent,
			       struct meta_iter *ret_it)
{
	struct stmt *s;
	int r = iter_open(rd, STMT_DENTRY_ITER_NAME, ret_it, &s);

	if (r < 0)
		return r;
	stmt_bind_bound(s, ":parent", parent);
	return 0;
}

int meta_iter_dentries_all(struct meta_reader *rd, struct meta_iter *ret_it)
{
	struct stmt *s;
	int r = iter_open(rd, STMT_DENTRY_ITER_ALL, ret_it, &s);

	if (r < 0)
		return r;
	stmt_bind_bound(s, ":parent", 0);
	stmt_bind_blob(s, ":name", "", 0);
	return 0;
}

int meta_iter_names(struct meta_reader *rd, uint64_t node,
		    struct meta_iter *ret_it)
{
	struct stmt *s;
	int r = iter_open(rd, STMT_DENTRY_ITER_NODE, ret_it, &s);

	if (r < 0)
		return r;
	stmt_bind_bound(s, ":node", node);
	return 0;
}

int meta_iter_names_beyond(struct meta_reader *rd, uint64_t node,
			   uint64_t parent, struct meta_iter *ret_it)
{
	struct stmt *s;
	int r = iter_open(rd, STMT_DENTRY_ITER_NODE_BEYOND, ret_it, &s);

	if (r < 0)
		return r;
	stmt_bind_bound(s, ":node", node);
	stmt_bind_bound(s, ":parent", parent);
	return 0;
}

int meta_iter_linked(struct meta_reader *rd, uint64_t after,
		     struct meta_iter *ret_it)
{
	struct stmt *s;
	int r = iter_open(rd, STMT_NODE_ITER_LINKED, ret_it, &s);

	if (r < 0)
		return r;
	stmt_bind_bound(s, ":node", after);
	return 0;
}

int meta_next_linked(struct meta_iter *it, uint64_t *ret_node)
{
	int r = stmt_step(it->stmt);

	if (r <= 0)
		return r;
	r = stmt_column_u64(it->stmt, 0, ret_node);
	return r < 0 ? r : 1;
}

int meta_next_dentry(struct meta_iter *it, struct meta_dentry *ret)
{
	int r = stmt_step(it->stmt);

	if (r <= 0)
		return r;
	r = dentry_row(it->stmt, ret);
	return r < 0 ? r : 1;
}
