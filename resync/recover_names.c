/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Recovery of names: directories that were armed are listed anew.
 *
 * Directories are looked up by what the map says of their place, and that may
 * be wrong until the directory they were moved to or from has been listed.
 * So those that cannot be found wait, and are tried again as long as any other
 * was found; the rest has gone.
 *
 * Every entry of an armed directory takes a fresh seq, also one that agrees
 * with its row: on another store it may have been removed meanwhile by an
 * operation that this store never saw.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"
#include "resync/map_path.h"
#include "resync/recover.h"
#include "resync/side.h"

struct name_copy {
	uint16_t len;
	char name[META_NAME_MAX + 1];
};

struct listing {
	struct recover *r;
	uint64_t dir;
	int fd;
};

int recover_lost_name(struct recover *r, uint64_t node)
{
	return vec_push(&r->orphans, node);
}

static int add_dir(void *arg, uint64_t dir)
{
	struct recover *r = arg;

	return vec_push(&r->dirs, ((struct recover_dir){.node = dir}));
}

static bool is_in_doubt(const struct recover *r, const struct meta_node *row,
			const struct store_stat *st)
{
	return row->seq < r->numbers.fresh_seq &&
	       (row->seq > r->numbers.settled_seq || !scan_is_same(row, st));
}

/* The entry leads where its row says: 1 yes, 0 no. A void identity proves
 * nothing here: another file may have been renamed to this name. */
static int entry_agrees(struct listing *l, const char *name,
			const struct meta_dentry *d, struct meta_node *row,
			struct store_stat *st)
{
	int err;

	err = meta_node_get(l->r->rd, d->node, row);
	if (err)
		return err == -ENOENT ? 0 : err;
	err = store_statat(l->r->side->store, l->fd, name, STORE_STAT_GEN, st);
	if (err)
		return err;
	return row->kind == meta_kind_of(st->st.st_mode) &&
	       row->backing.ino == st->st.st_ino &&
	       row->backing.gen == st->gen &&
	       (row->seq >= l->r->numbers.fresh_seq ||
		!scan_is_unlike(row, st));
}

static int keep_entry(struct listing *l, const char *name,
		      struct meta_dentry *d, const struct meta_node *row,
		      const struct store_stat *st)
{
	struct recover *r = l->r;
	struct meta *meta = r->side->meta;
	int err;

	d->seq = r->numbers.next_seq++;
	err = meta_dentry_put(meta, d);
	if (err || !is_in_doubt(r, row, st))
		return err;
	if (row->kind == META_DIR)
		return add_dir(r, row->id);
	return scan_refresh(r->side->store, meta, l->fd, name, row,
			    &r->numbers);
}

static int scan_new_dir(struct listing *l, const char *name, uint64_t node)
{
	_cleanup_close_ int fd = -1;
	const struct resync_side *side = l->r->side;
	struct scan_counts counts = {0};
	int err;

	fd = store_openat_forced(side->store, l->fd, name,
				 O_RDONLY | O_DIRECTORY);
	if (fd < 0)
		return fd;
	err = scan_tree(side->store, side->meta, fd, node, &l->r->numbers, 0,
			&counts);
	l->r->bytes += counts.bytes;
	if (err)
		l->r->rd = NULL; /* rolled back already */
	return err;
}

static int take_entry(struct listing *l, const char *name)
{
	const struct resync_side *side = l->r->side;
	struct meta_node row;
	uint64_t node;
	bool is_new;
	int err;

	err = scan_object(side->store, side->meta, l->fd, l->dir, name,
			  &l->r->numbers, &node, &is_new);
	if (err == -EXDEV)
		return 0; /* not the volume's */
	if (err || !is_new)
		return err;
	err = meta_node_get(l->r->rd, node, &row);
	if (err || row.kind != META_DIR)
		return err;
	return scan_new_dir(l, name, node);
}

static int hidden_entry(const struct listing *l, const char *name)
{
	char text[4 * META_NAME_MAX + 4];

	log_err("another filesystem is mounted on what the volume has there, "
		"unmount it: store=%s path=%s",
		store_path(l->r->side->store),
		map_entry_text(l->r->rd, l->dir, name, text, sizeof(text)));
	return -EXDEV;
}

static int recover_entry(void *arg, const struct store_dirent *e)
{
	struct listing *l = arg;
	struct meta_dentry d;
	struct meta_node row;
	struct store_stat st;
	int err;

	err = meta_dentry_get(l->r->rd, l->dir, e->name, strlen(e->name), &d);
	if (err == -ENOENT)
		return take_entry(l, e->name);
	if (err)
		return err;
	err = entry_agrees(l, e->name, &d, &row, &st);
	if (err < 0)
		return err;
	if (err > 0)
		return keep_entry(l, e->name, &d, &row, &st);
	/* What the volume has there is hidden, not gone. */
	if (st.foreign)
		return hidden_entry(l, e->name);
	err = recover_lost_name(l->r, d.node);
	return err ? err : take_entry(l, e->name);
}

/* Remove the entries of @dir numbered below @seq_end, the nodes they led to
 * may be orphans. */
static int drop_entries(struct recover *r, uint64_t dir, uint64_t seq_end)
{
	VEC(struct name_copy) gone = {0};
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_dentry d;
	int err;

	err = meta_iter_dentries(r->rd, dir, 0, &it);
	while (!err && (err = meta_next_dentry(&it, &d)) > 0) {
		struct name_copy copy = {.len = d.name_len};

		err = 0;
		if (d.seq >= seq_end)
			continue;
		memcpy(copy.name, d.name, sizeof(copy.name));
		err = recover_lost_name(r, d.node);
		if (!err)
			err = vec_push(&gone, copy);
	}
	meta_iter_done(&it);
	it = (struct meta_iter){0};
	for (size_t i = 0; !err && i < gone.count; i++) {
		err = meta_dentry_del(r->side->meta, dir, gone.data[i].name,
				      gone.data[i].len);
		err = MIN(err, 0);
	}
	vec_done(&gone);
	return err;
}

/* 1 done, 0 not to be found as yet. */
static int recover_dir(struct recover *r, uint64_t dir)
{
	_cleanup_close_ int fd = -1;
	struct listing l = {.r = r, .dir = dir};
	uint64_t first = r->numbers.next_seq;
	struct meta_node row;
	int err;

	err = meta_node_get(r->rd, dir, &row);
	if (err || row.kind != META_DIR)
		return err == -ENOENT || !err ? 0 : err;
	fd = side_open_node(r->side, r->rd, dir, O_RDONLY | O_DIRECTORY, &row);
	if (fd == -ENOENT || fd == -ESTALE || fd == -ENOTDIR || fd == -ELOOP)
		return 0;
	if (fd < 0)
		return fd;
	l.fd = fd;
	err = store_list(r->side->store, fd, recover_entry, &l);
	if (!err)
		err = drop_entries(r, dir, first);
	if (err)
		return err;
	row.attr_seq = row.seq = r->numbers.next_seq++;
	err = meta_node_put(r->side->meta, &row);
	return err ? err : 1;
}

int recover_names(struct recover *r)
{
	bool progress;
	int done;

	r->numbers.doubtful_dir = add_dir;
	r->numbers.arg = r;
	do {
		progress = false;
		/* More may be added behind while this goes on. */
		for (size_t i = 0; i < r->dirs.count; i++) {
			if (r->dirs.data[i].done)
				continue;
			done = recover_dir(r, r->dirs.data[i].node);
			if (done < 0)
				return done;
			r->dirs.data[i].done = done;
			progress |= done;
		}
	} while (progress);
	return 0;
}

/* ---- orphans ---- */

static int recover_orphan(struct recover *r, uint64_t id)
{
	struct meta_node row;
	uint64_t names;
	int err;

	if (id == META_ROOT_ID)
		return 0;
	err = meta_node_get(r->rd, id, &row);
	if (err)
		return err == -ENOENT ? 0 : err;
	err = meta_dentry_count(r->rd, id, &names);
	if (err || names)
		return err;
	if (row.kind == META_DIR)
		err = drop_entries(r, id, UINT64_MAX);
	return err ? err : meta_node_del(r->side->meta, id);
}

int recover_orphans(struct recover *r)
{
	int err = 0;

	while (!err && r->orphans.count)
		err = recover_orphan(r, vec_pop(&r->orphans));
	return err;
}

/* ---- limbo ---- */

struct limbo {
	struct recover *r;
	VEC(struct name_copy) names;
};

static int limbo_name(void *arg, const struct store_dirent *e)
{
	struct limbo *l = arg;
	struct name_copy copy = {0};

	copy.len = (uint16_t)strnlen(e->name, META_NAME_MAX);
	memcpy(copy.name, e->name, copy.len);
	return vec_push(&l->names, copy);
}

static int limbo_to_found(struct store *store, const char *name)
{
	char to[META_NAME_MAX + 1];
	int err;

	for (unsigned int i = 0;; i++) {
		snprintf(to, sizeof(to), "limbo-%.200s-%u", name, i);
		err = store_rename(store, store_limbo_fd(store), name,
				   store_found_fd(store), to, RENAME_NOREPLACE);
		if (err != -EEXIST)
			break;
	}
	if (!err)
		log_warn("left over from an unfinished resync, kept: "
			 "store=%s file=%s/%s/%s",
			 store_identity(store)->name, STORE_PRIVATE,
			 STORE_FOUND, to);
	return err;
}

static int limbo_clear(struct recover *r, const char *name, bool copy)
{
	struct store *store = r->side->store;

	/* One more link of a file: a copy is settled after this, which needs what
	 * the name says, and removes it. */
	if (side_is_aside(name) && copy)
		return 0;
	/* It was removed, and only open: its programs are gone. */
	if (side_is_aside(name) ||
	    !strncmp(name, STORE_GONE, strlen(STORE_GONE)))
		return store_unlink(store, store_limbo_fd(store), name);
	return limbo_to_found(store, name);
}

static int read_copy(struct recover *r, uint64_t *ret_copy)
{
	struct meta_reader *rd = meta_reader_get(r->side->meta);
	int err = rd ? meta_number_get(rd, META_NUM_COPY, ret_copy) : -ENOMEM;

	meta_reader_put(rd);
	return err;
}

static int limbo_rows(struct recover *r)
{
	int err = meta_begin(r->side->meta);

	if (err)
		return err;
	r->rd = meta_writer_view(r->side->meta);
	err = drop_entries(r, META_LIMBO_ID, UINT64_MAX);
	if (!err)
		err = recover_orphans(r);
	r->rd = NULL;
	if (err) {
		meta_rollback(r->side->meta);
		return err;
	}
	return meta_commit(r->side->meta);
}

int recover_limbo(struct recover *r)
{
	struct limbo l = {.r = r};
	struct store *store = r->side->store;
	uint64_t copy;
	int err = read_copy(r, &copy);

	if (!err)
		err = store_list(store, store_limbo_fd(store), limbo_name, &l);
	for (size_t i = 0; !err && i < l.names.count; i++)
		err = limbo_clear(r, l.names.data[i].name, copy);
	vec_done(&l.names);
	return err ? err : limbo_rows(r);
}
