/* SPDX-License-Identifier: Apache-2.0 */
/*
 * New files, symlinks and special files: made where they belong, filled, given
 * their attributes, and closed for good, each opened once.
 *
 * Their rows wait in memory until the files of the whole batch are durable,
 * and are then committed complete.  A cut before that leaves objects that no
 * row knows, in directories under a NAME intent: leftovers, which the next lap
 * removes.
 *
 * A file too large for one batch is made empty, under a row with attr_seq 0,
 * and filled by copy_large().
 *
 * A directory made by this lap whose entries are all there and durable needs
 * its intent no more; a lap that goes on after a cut need not list it again.
 *
 * Outside of transactions: a live source's files are opened here.
 */
#include "resync/fill.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"

/* Files that map more than this are filled by batches of their own. */
#define SMALL_BYTES   (16ull << 20)
#define CHUNK_EXTENTS 4096u

void fill_done(struct fill *f)
{
	vec_done(&f->rows);
	vec_done(&f->extents);
	vec_done(&f->finished.v);
	idmap_done(&f->nodes);
}

/* ---- rows ---- */

static int flush_row(struct lap *lap, const struct fill_row *row)
{
	struct meta *meta = lap->dst->meta;
	int r = 0;

	if (row->node.id != 0) {
		r = meta_node_put(meta, &row->node);
		for (size_t i = 0; r == 0 && i < row->extent_count; i++) {
			const struct meta_extent *e =
				&lap->fill.extents.data[row->extent_at + i];

			r = meta_extent_set(meta, e->node, e->start, e->end,
					    lap_seq(lap, e->seq));
		}
	}
	return r < 0 ? r : meta_dentry_put(meta, &row->dentry);
}

static int drop_finished(struct lap *lap)
{
	int r = 0;

	/* Where only files are made durable, names may not be. */
	if (!store_caps(lap->dst->store)->syncfs_complete)
		return 0;
	for (size_t i = 0; r == 0 && i < lap->fill.finished.v.count; i++) {
		struct meta_intent in = {
			.node = lap->fill.finished.v.data[i],
			.kind = META_INTENT_NAME,
		};

		r = meta_intent_drop(lap->dst->meta, &in);
		if (r == 0)
			r = idmap_set(&lap->armed, in.node, 0);
	}
	return r;
}

/* What the source may yet take back of what was made; a directory that is so
 * stays unfinished. */
static int keep_made(struct lap *lap)
{
	struct fill *f = &lap->fill;
	size_t finished = 0;
	int r = keep_look(lap);

	if (r < 0)
		return r;
	for (size_t i = 0; r == 0 && i < f->rows.count; i++) {
		const struct meta_node *node = &f->rows.data[i].node;

		if (node->id != 0)
			r = keep_new(lap, node->id, node->kind);
	}
	for (size_t i = 0; r >= 0 && i < f->finished.v.count; i++) {
		r = keep_names(lap, f->finished.v.data[i]);
		if (r == 0)
			f->finished.v.data[finished++] = f->finished.v.data[i];
	}
	f->finished.v.count = finished;
	keep_end(lap);
	return r < 0 ? r : 0;
}

static int flush(struct lap *lap)
{
	struct fill *f = &lap->fill;
	int r = 0;

	if (f->rows.count > 0 || f->finished.v.count > 0) {
		r = lap_sync(lap);
		FAULT_POINT("resync.fill.synced");
		if (r == 0)
			r = keep_made(lap);
		if (r == 0)
			r = lap_begin(lap);
		for (size_t i = 0; r == 0 && i < f->rows.count; i++)
			r = flush_row(lap, &f->rows.data[i]);
		if (r == 0)
			r = drop_finished(lap);
		if (r == 0)
			r = keep_put(lap);
		if (r == 0)
			r = lap_commit(lap);
	}
	vec_clear(&f->rows);
	vec_clear(&f->extents);
	vec_clear(&f->finished.v);
	idmap_done(&f->nodes);
	f->bytes = 0;
	return r;
}

/* ---- what is wanted ---- */

/* The extents of a small file, read together with its row. */
static int want_extents(struct fill_dir *fd, struct fill_want *w)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_extent e;
	int r;

	w->extent_at = fd->extents.count;
	w->extent_count = 0;
	w->bytes = 0;
	w->large = false;
	if (w->row.kind != META_FILE)
		return 0;
	r = meta_iter_extents(fd->lap->s, w->row.id, 0, META_RANGE_MAX, &it);
	while (r == 0 && (r = meta_next_extent(&it, &e)) > 0) {
		w->bytes += e.end - e.start;
		w->large = w->large || w->bytes > SMALL_BYTES ||
			   fd->extents.count - w->extent_at >= CHUNK_EXTENTS;
		r = w->large ? 0 : vec_push(&fd->extents, e);
	}
	if (w->large)
		fd->extents.count = w->extent_at;
	w->extent_count = fd->extents.count - w->extent_at;
	return r;
}

static int want_one(struct fill_dir *fd, struct fill_want *w)
{
	struct lap *lap = fd->lap;
	struct meta_dentry have;
	int r;

	r = lap_entry(lap->t, w->d.parent, w->d.name, w->d.name_len, &have);
	if (r < 0 || (r > 0 && have.node == w->d.node))
		return r < 0 ? r : 0;
	if (r > 0) /* the source gave the name to another meanwhile */
		return lap_incomplete(lap, &lap->dirs.data[fd->index],
				      "name taken");
	r = meta_node_get(lap->s, w->d.node, &w->row);
	if (r < 0)
		return lap_source_err(lap, r);
	if (w->row.kind == META_DIR) {
		r = lap_incomplete(lap, &lap->dirs.data[fd->index],
				   "new directory");
		return r;
	}
	r = want_extents(fd, w);
	return r < 0 ? lap_source_err(lap, r) : 1;
}

static int want_read(struct fill_dir *fd)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct lap *lap = fd->lap;
	int r;

	fd->count = 0;
	vec_clear(&fd->extents);
	r = meta_iter_dentries(lap->s, lap->dirs.data[fd->index].id, fd->after,
			       &it);
	while (r >= 0 && fd->count < CHUNK_ENTRIES &&
	       fd->extents.count < CHUNK_EXTENTS) {
		struct fill_want *w = &fd->want[fd->count];

		r = meta_next_dentry(&it, &w->d);
		fd->end = r == 0;
		if (r < 0)
			return lap_source_err(lap, r);
		if (fd->end)
			return 0;
		fd->after = w->d.cookie;
		if (w->d.seq > lap->limit || w->d.seq <= fd->since)
			continue;
		r = want_one(fd, w);
		if (r > 0)
			fd->count++;
	}
	return r < 0 ? r : 0;
}

static int want_chunk(struct fill_dir *fd)
{
	int r = meta_read_begin(fd->lap->s);

	if (r < 0)
		return lap_source_err(fd->lap, r);
	r = want_read(fd);
	meta_read_end(fd->lap->s);
	return r;
}

/* ---- making ---- */

static int push_row(struct fill_dir *fd, const struct fill_want *w,
		    const struct meta_node *made)
{
	struct fill *f = &fd->lap->fill;
	struct fill_row row = {
		.dentry = w->d,
		.node = w->row,
		.extent_at = f->extents.count,
		.extent_count = w->extent_count,
	};
	int r = 0;

	row.node.backing = made->backing;
	row.node.ctime = made->ctime;
	lap_claim(fd->lap, &w->row, &row.node);
	if (w->large)
		row.node.seq = row.node.attr_seq = 0;
	if (w->extent_count)
		r = vec_splice(&f->extents, f->extents.count, 0,
			       fd->extents.data + w->extent_at,
			       w->extent_count);
	if (r == 0)
		r = vec_push(&f->rows, row);
	if (r == 0)
		r = idmap_set(&f->nodes, w->row.id, f->rows.count);
	f->bytes += w->large ? 0 : w->bytes;
	return r;
}

static int make_new(struct fill_dir *fd, const struct fill_want *w)
{
	struct work_dir *wd = &fd->lap->dirs.data[fd->index];
	struct lap *lap = fd->lap;
	struct meta_node made = {0};
	int r;

	r = fill_make(fd, w, &made);
	if (r == -ENOENT) {
		/* It went away between the listing and now. */
		return lap_incomplete(lap, wd, "new file");
	}
	if (r < 0)
		return r;
	lap->n->entries_created++;
	lap->n->nodes++;
	if (w->large) {
		wd->large = true;
		r = vec_push(&lap->large.v, w->row.id);
	}
	if (r == 0 && (lap->args->both || doubt_any(lap, w->row.id)))
		r = idmap_set(&lap->filled, w->row.id, 1);
	return r < 0 ? r : push_row(fd, w, &made);
}

/* A dry run: the same counts. Names of one node are made once. */
static int count_new(struct fill_dir *fd, const struct fill_want *w)
{
	struct lap *lap = fd->lap;
	struct meta_node lost;
	uint64_t names = 0;
	int r;

	lap->n->entries_created++;
	if (idmap_get(&lap->linked, w->row.id))
		return 0;
	lap->n->nodes++;
	lap->n->inodes_needed++;
	lap->filled_bytes += w->bytes;
	lap->n->bytes_needed += w->bytes;
	r = lap_moved(lap, w->bytes);
	if (r == 0)
		r = meta_dentry_count(lap->s, w->row.id, &names);
	if (r == 0 && names > 1)
		r = idmap_set(&lap->linked, w->row.id, 1);
	if (r < 0)
		return r;
	/* The map may still have a node that was found to be gone: what comes
	 * after the names would take it for one that is there. */
	r = meta_node_get(lap->plain, w->row.id, &lost);
	if (r == -ENOENT)
		return 0;
	return r < 0 ? r : idmap_set(&lap->filled, w->row.id, 1);
}

/* ---- further names ---- */

/* Some name of a node that the target has: pending, or in the map. */
static int find_name(struct lap *lap, uint64_t node, struct meta_dentry *ret)
{
	uint64_t at = idmap_get(&lap->fill.nodes, node);
	struct meta_node row;
	int r;

	if (at) {
		*ret = lap->fill.rows.data[at - 1].dentry;
		return 1;
	}
	r = lap_target_row(lap, node, &row);
	if (r <= 0)
		return r;
	r = meta_dentry_of(lap->t, node, ret);
	if (r == -ENOENT)
		return 0;
	return r < 0 ? r : 1;
}

static int make_link(struct fill_dir *fd, const struct fill_want *w,
		     const struct meta_dentry *from)
{
	struct work_dir *wd = &fd->lap->dirs.data[fd->index];
	struct fill_row row = {.dentry = w->d};
	struct lap *lap = fd->lap;
	_cleanup_close_ int from_fd = -1;
	int r;

	lap->n->entries_created++;
	if (lap->dry)
		return 0;
	from_fd = side_open_dir(lap->dst, lap->t, from->parent);
	if (from_fd < 0)
		return from_fd;
	r = store_link(lap->dst->store, from_fd, from->name, fd->tdir,
		       w->d.name);
	if (r == -EEXIST) {
		r = limbo_found(lap, fd->tdir, w->d.name);
		if (r == 0)
			r = store_link(lap->dst->store, from_fd, from->name,
				       fd->tdir, w->d.name);
	}
	r = misfit_name(lap, r, &w->d, "one more link");
	if (r == -ENOENT) {
		lap->n->entries_created--;
		return lap_incomplete(lap, wd, "link");
	}
	if (r == 0)
		r = ctime_moved(lap, w->row.id);
	return r < 0 ? r : vec_push(&lap->fill.rows, row);
}

static int want_done(struct fill_dir *fd, const struct fill_want *w)
{
	struct lap *lap = fd->lap;
	struct meta_dentry from;
	int r;

	r = find_name(lap, w->row.id, &from);
	if (r > 0)
		r = make_link(fd, w, &from);
	else if (r == 0)
		r = lap->dry ? count_new(fd, w) : make_new(fd, w);
	if (r < 0)
		return r;
	if (lap->fill.rows.count >= LAP_ROWS / 2 ||
	    lap->fill.extents.count >= LAP_ROWS || lap->fill.bytes >= LAP_BYTES)
		r = flush(lap);
	return r < 0 ? r : lap_poll(lap);
}

/* ---- directories ---- */

static int open_both(struct fill_dir *fd, uint64_t dir)
{
	struct lap *lap = fd->lap;

	if (lap->dry || fd->tdir >= 0)
		return 0;
	fd->tdir = side_open_dir(lap->dst, lap->t, dir);
	if (fd->tdir < 0)
		return fd->tdir;
	if (lap->src->live)
		return 0;
	fd->sdir = side_open_dir(lap->src, lap->s, dir);
	return fd->sdir < 0 ? lap_source_err(lap, fd->sdir) : 0;
}

static int fill_entries(struct fill_dir *fd)
{
	struct lap *lap = fd->lap;
	struct work_dir *wd = &lap->dirs.data[fd->index];
	int r = 0;

	while (r == 0 && !fd->end) {
		r = want_chunk(fd);
		if (r == 0 && fd->count > 0)
			r = open_both(fd, wd->id);
		for (size_t i = 0; r == 0 && i < fd->count; i++)
			r = want_done(fd, &fd->want[i]);
	}
	if (r < 0 || lap->dry || !wd->fresh || wd->incomplete || wd->large)
		return r;
	/* The delta brings the next lap back here: the intent need not. */
	if (wd->row.seq <= lap->args->from)
		return 0;
	return vec_push(&lap->fill.finished.v, wd->id);
}

static int fill_dir(struct fill_dir *fd, size_t index)
{
	struct work_dir *wd = &fd->lap->dirs.data[index];
	int r;

	if (wd->gone || !wd->missing)
		return 0;
	fd->index = index;
	fd->tdir = -1;
	fd->sdir = -1;
	fd->after = wd->after;
	fd->since = wd->since;
	fd->end = false;
	r = fill_entries(fd);
	/* One above it was lost, and it with that one. */
	if (fd->tdir == -ENOENT || fd->tdir == -ESTALE) {
		wd->gone = true;
		r = lap_begin(fd->lap);
		if (r == 0)
			r = tree_lost(fd->lap, wd->id);
		if (r == 0)
			r = lap_commit(fd->lap);
	}
	close_fd(&fd->tdir);
	close_fd(&fd->sdir);
	return r;
}

int fill_round(struct lap *lap)
{
	struct fill_dir *fd = calloc(1, sizeof(*fd));
	int r = 0;

	if (!fd)
		return -ENOMEM;
	fd->lap = lap;
	for (size_t i = lap->round_at; r == 0 && i < lap->dirs.count; i++)
		r = fill_dir(fd, i);
	vec_done(&fd->extents);
	free(fd);
	return r < 0 ? r : flush(lap);
}
