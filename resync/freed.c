/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a lap would take away from the target, counted by its dry run.
 *
 * A returning store may be as full as the others, and has its room only when
 * what went meanwhile is gone from it.  So that is credited: files that lose
 * their last name, ranges that are unmapped, leftovers of a lap that was cut.
 * The lap does all of that before it writes anything, if it has to (lap.c).
 *
 * The credit is never too high.  Rows say what goes, the files what it gives
 * back: a file that is not the one of the row, has a name that no row knows, or
 * shares its blocks, gives nothing.  Nor does one that the source has under any
 * name: it only moves.
 */
#include <errno.h>
#include <fcntl.h>

#include "resync/lap.h"
#include "resync/map_path.h"

void freed_done(struct freed *f)
{
	vec_done(&f->nodes.v);
	vec_done(&f->ranges);
	idmap_done(&f->scrapped);
}

/* ---- while the lap is tried ---- */

int freed_node(struct lap *lap, uint64_t node)
{
	return lap->dry ? vec_push(&lap->freed.nodes.v, node) : 0;
}

int freed_range(struct lap *lap, uint64_t node, struct range range)
{
	struct freed_range f = {node, range};

	return lap->dry ? vec_push(&lap->freed.ranges, f) : 0;
}

/* A file that cannot be asked gives nothing. */
static void credit(struct lap *lap, int tfd, uint64_t off, uint64_t len)
{
	uint64_t bytes;

	if (store_freeable(lap->dst->store, tfd, off, len, &bytes) == 0)
		lap->n->bytes_freed += bytes;
}

int freed_open(struct lap *lap, int tfd, struct range range)
{
	if (lap->dry)
		credit(lap, tfd, range.start, range_len(range));
	return 0;
}

int freed_scrap(struct lap *lap, int dirfd, const char *name,
		const struct store_stat *st)
{
	uint64_t ino = (uint64_t)st->st.st_ino;
	struct idmap *met = &lap->freed.scrapped;
	_cleanup_close_ int fd = -1;
	int r;

	if (!lap->dry)
		return 0;
	r = idmap_set(met, ino, idmap_get(met, ino) + 1);
	if (r < 0 || idmap_get(met, ino) != (uint64_t)st->st.st_nlink)
		return r;
	lap->n->inodes_freed++;
	if (!S_ISREG(st->st.st_mode))
		return 0;
	fd = store_openat(lap->dst->store, dirfd, name, O_RDONLY);
	if (fd >= 0)
		credit(lap, fd, 0, UINT64_MAX);
	return 0;
}

/* ---- at the end ---- */

/* Where the file lies now: a dry run has moved nothing. */
static int open_node(struct lap *lap, uint64_t node, struct meta_node *ret_row)
{
	int r = meta_node_get(lap->plain, node, ret_row);
	int flags = ret_row->kind == META_FILE ? O_RDONLY : O_PATH;

	if (r < 0)
		return r;
	if (lap->copied)
		return lap_copied_open(lap, ret_row, flags);
	return side_open_node(lap->dst, lap->plain, node, flags, NULL);
}

static int sum_node(struct lap *lap, uint64_t node)
{
	uint64_t was = idmap_get(&lap->renumbered_from, node);
	_cleanup_close_ int fd = -1;
	struct meta_node row = {0};
	uint64_t names = 0;
	struct store_stat st;
	int r = lap_source_named(lap, node);

	if (r != 0)
		return lap_source_err(lap, MIN(r, 0));
	was = was ? was : node;
	fd = open_node(lap, was, &row);
	if (fd < 0 || meta_dentry_count(lap->plain, was, &names) < 0 ||
	    store_fstat(lap->dst->store, fd, 0, &st) < 0)
		return 0;
	if (row.kind != META_DIR && (uint64_t)st.st.st_nlink > names)
		return 0;
	lap->n->inodes_freed++;
	if (row.kind == META_FILE)
		credit(lap, fd, 0, UINT64_MAX);
	return 0;
}

static int sum_ranges(struct lap *lap, uint64_t wanted)
{
	_cleanup_close_ int fd = -1;
	struct meta_node row = {0};
	uint64_t node = 0;
	int r = 0;

	vec_for_each (f, &lap->freed.ranges) {
		if (r < 0 || lap->n->bytes_freed >= wanted)
			break;
		if (f->node != node) {
			close_fd(&fd);
			node = f->node;
			fd = open_node(lap, node, &row);
			r = lap_poll(lap);
		}
		if (fd >= 0)
			credit(lap, fd, f->range.start, range_len(f->range));
	}
	return r;
}

int freed_sum(struct lap *lap, uint64_t bytes, uint64_t inodes)
{
	const struct resync_counts *n = lap->n;
	int r = sum_ranges(lap, bytes);

	vec_for_each (node, &lap->freed.nodes.v) {
		if (r < 0 ||
		    (n->bytes_freed >= bytes && n->inodes_freed >= inodes))
			break;
		r = sum_node(lap, *node);
		if (r == 0)
			r = lap_poll(lap);
	}
	return r;
}
