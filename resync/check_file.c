/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One file's mapped ranges, as the filesystem and as the map have them.
 *
 * Zeros need no room: a resync makes holes of them, so a range that the map
 * has and the file has not reads the same and is only counted.  The other way
 * round matters: what the map calls a hole is never copied, so it must read as
 * zeros.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "resync/check_internal.h"

struct file {
	struct check *c;
	const struct check_place *p;
	int fd;
	uint64_t size;
	/* the map's, read once, forwards */
	struct meta_iter it;
	struct range row; /* the one at hand; empty: none is left */
	uint64_t row_bytes;
	uint64_t common_bytes;
};

static int next_row(struct file *f)
{
	struct meta_extent e;
	int r = meta_next_extent(&f->it, &e);

	f->row = (struct range){0, 0};
	if (r <= 0)
		return r;
	f->row = (struct range){e.start, e.end};
	f->row_bytes += e.end - e.start;
	return 0;
}

/* 1: only zeros there, 0: data. */
static int is_zero(struct file *f, struct range r)
{
	const struct store *s = f->c->side->store;

	r.end = MIN(r.end, f->size);
	while (r.start < r.end) {
		size_t len =
			(size_t)MIN(r.end - r.start, (uint64_t)CHECK_BUFFER);
		ssize_t got = store_read(s, f->fd, f->c->buffer, len, r.start);

		if (got < 0)
			return (int)got;
		if (got == 0)
			break;
		if (f->c->buffer[0] || memcmp(f->c->buffer, f->c->buffer + 1,
					      (size_t)got - 1) != 0)
			return 0;
		r.start += (uint64_t)got;
	}
	return 1;
}

static int tell_data(struct file *f, struct range r)
{
	const struct check_place *p = f->p;
	bool doubt = p->doubt || check_doubt_range(&f->c->doubt, p->row->id, r);
	int zero = is_zero(f, r);

	if (zero)
		return MIN(zero, 0);
	return check_tell(f->c,
			  &(struct check_finding){
				  .kind = CHECK_DATA,
				  .class = doubt ? CHECK_DOUBT : CHECK_WRONG,
				  .path = p->path,
				  .node = p->row->id,
				  .range = r,
			  });
}

/* The parts of a mapped range of the file that the map does not have. */
static int check_mapped(struct file *f, struct range r)
{
	int err = 0;

	while (!err && r.start < r.end) {
		uint64_t end;

		while (!err && !range_is_empty(f->row) && f->row.end <= r.start)
			err = next_row(f);
		if (err)
			return err;
		if (!range_is_empty(f->row) && f->row.start <= r.start) {
			end = MIN(f->row.end, r.end);
			f->common_bytes += end - r.start;
			r.start = end;
			continue;
		}
		end = range_is_empty(f->row) ? r.end : MIN(r.end, f->row.start);
		err = tell_data(f, (struct range){r.start, end});
		r.start = end;
	}
	return err;
}

static int check_ranges(struct file *f)
{
	uint64_t at = 0;
	int r = next_row(f);

	while (r == 0) {
		struct range hit;

		r = store_next_mapped(f->c->side->store, f->fd, at, &hit.start,
				      &hit.end);
		if (r <= 0)
			break;
		hit = range_align_out(hit, META_BLOCK);
		at = hit.end;
		r = check_mapped(f, hit);
	}
	while (r == 0 && !range_is_empty(f->row))
		r = next_row(f);
	return r;
}

int check_file(struct check *c, const struct check_place *p)
{
	struct file f = {.c = c, .p = p, .fd = -1};
	_cleanup_close_ int fd = store_openat_forced(c->side->store, p->dirfd,
						     p->name, O_RDONLY);
	int r;

	if (fd < 0)
		return fd;
	f.fd = fd;
	f.size = (uint64_t)p->st->st.st_size;
	r = meta_iter_extents(c->rd, p->row->id, 0, META_RANGE_MAX, &f.it);
	if (r == 0)
		r = check_ranges(&f);
	meta_iter_done(&f.it);
	if (r == 0 && f.row_bytes > f.common_bytes) {
		c->hole_files++;
		c->hole_bytes += f.row_bytes - f.common_bytes;
	}
	return r;
}
