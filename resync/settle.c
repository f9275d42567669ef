/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of being a copy.
 *
 * A restored copy's identities are void, and each is found by path when it is
 * needed.  That ends with the first change of a directory: after a crash the
 * names in it prove nothing, and a node that has no identity is a stranger
 * there, with another number and without its other names.  So before a lap
 * changes anything in a copy, and before it is a source, all its nodes are
 * found: a walk over the map, once in the life of a copy.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/vec.h"
#include "resync/side.h"

#define SETTLE_ROWS 1024u

struct settled {
	bool clean; /* nothing was changed after its rows were written */
	VEC(struct meta_node) rows;
	uint64_t after;
	bool end;
};

/* The next nodes without an identity; the reader is free again afterwards. */
static int settle_read(struct settled *s, struct meta_reader *rd)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_node row;
	int r = meta_iter_nodes_unknown(rd, s->after, &it);

	vec_clear(&s->rows);
	while (r == 0 && s->rows.count < SETTLE_ROWS) {
		r = meta_next_node(&it, &row);
		if (r <= 0) {
			s->end = true;
			return r;
		}
		s->after = row.id;
		r = vec_push(&s->rows, row);
	}
	return r;
}

/* The file is new, what applications see of it is not. */
static int settle_ctime(const struct settled *s, const struct resync_side *side,
			struct meta_node *row, int fd)
{
	struct store_stat st;
	int r;

	if (!row->ctime.backing)
		return 0;
	if (!s->clean) {
		row->ctime = (struct meta_ctime){0};
		return 0;
	}
	r = store_fstat(side->store, fd, 0, &st);
	if (r == 0)
		row->ctime.backing = clock_timespec_ns(&st.st.st_ctim);
	return r;
}

/* What is not at its place, or in doubt there, stays void. */
static int settle_find(struct settled *s, const struct resync_side *side,
		       struct meta_reader *rd)
{
	vec_for_each (row, &s->rows) {
		int fd = side_open_node(side, rd, row->id, O_PATH | O_NOFOLLOW,
					row);
		int r = fd < 0 ? fd : settle_ctime(s, side, row, fd);

		if (fd >= 0)
			close_fd(&fd);
		if (r && r != -ENOENT && r != -ESTALE && r != -EACCES)
			return r;
	}
	return 0;
}

static int settle_write(const struct settled *s, struct meta *meta)
{
	int r = meta_begin_soft(meta);

	if (r < 0)
		return r;
	vec_for_each (row, &s->rows) {
		if (r == 0 && row->backing.ino)
			r = meta_node_set_backing(meta, row->id, row->backing);
		if (r == 0 && row->backing.ino)
			r = meta_node_raise_all(meta, row->id, 0, 0, row->ctime,
						NULL);
	}
	if (r == 0)
		return meta_commit(meta);
	meta_rollback(meta);
	return r;
}

int side_settle(const struct resync_side *side)
{
	struct meta_reader *rd = meta_reader_get(side->meta);
	struct settled s = {0};
	uint64_t copy = 0, clean = 0;
	int r;

	if (!rd)
		return -EIO;
	r = meta_number_get(rd, META_NUM_COPY, &copy);
	if (r == 0)
		r = meta_number_get(rd, META_NUM_CLEAN, &clean);
	s.clean = clean;
	if (r == 0 && copy)
		r = side_settle_links(side, rd);
	while (r == 0 && copy && !s.end) {
		r = settle_read(&s, rd);
		if (r == 0)
			r = settle_find(&s, side, rd);
		if (r == 0 && s.rows.count)
			r = settle_write(&s, side->meta);
		if (r == 0)
			r = side_poll(side);
	}
	meta_reader_put(rd);
	vec_done(&s.rows);
	return r;
}
