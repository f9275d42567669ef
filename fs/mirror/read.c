/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading.  Any store can answer; what one cannot read is served from another
 * at once, and repair.c is told, which rewrites it later.  A store whose file
 * ends where another one's goes on has lost bytes as well.
 *
 * An error reaches the application only where no store has the block.
 */
#include "fs/mirror/internal.h"

#include <errno.h>

#include "base/fault.h"
#include "fs/mirror/nameless.h"

/* Questions of other kinds that it may fail to answer; ranges: repair.c. */
#define READ_ERRORS_MAX 64u

struct reading {
	struct node *n;
	char *buf;
	size_t len;
	uint64_t off;
};

/* EIO: all of it, not one block? */
static int device_error(struct mirror *m, unsigned int i)
{
	int r = store_alive(m->slot[i].store);

	return r == -EIO || store_error_is_fatal(r) ? r : 0;
}

void slot_blame(struct mirror *m, unsigned int i, struct node *about, int err,
		const char *what)
{
	int device = err == -EIO ? device_error(m, i) : 0;
	bool doubt = err == -ESTALE && about;
	unsigned int failures;

	if (store_error_is_ours(err) || err == -ETIME ||
	    err == -ENODE_ELSEWHERE)
		return;
	atomic_fetch_add(&m->slot[i].errors_read, 1);
	failures = atomic_fetch_add(&m->slot[i].failures, 1) + 1;
	if (doubt) {
		slot_doubt_begin(m);
		slot_suspect(m, i, about);
	}
	if (device || err == -ESTALE || store_error_is_fatal(err) ||
	    failures >= READ_ERRORS_MAX)
		(void)slot_put_out(m, i, what, device ? device : err);
	if (doubt)
		slot_doubt_end(m);
}

static int read_slot(struct mirror *m, unsigned int i, void *arg)
{
	const struct reading *k = arg;
	struct node_reader file;
	ssize_t got;
	int r = FAULT_ERR("mirror.read");

	if (!r)
		r = node_reader_get(m, k->n, i, &file);
	if (r)
		return r;
	got = store_read(m->slot[i].store, file.fd, k->buf, k->len, k->off);
	node_reader_put(m, k->n, i, &file);
	return (int)got;
}

/* Served by another one: a bad range, or worse? */
static void read_failed(struct mirror *m, unsigned int i,
			const struct reading *k, int err)
{
	int device = err == -EIO ? device_error(m, i) : 0;

	if (err != -EIO) {
		slot_blame(m, i, k->n, err, "read");
		return;
	}
	atomic_fetch_add(&m->slot[i].errors_read, 1);
	if (device)
		(void)slot_put_out(m, i, "read", device);
	else
		repair_want(m, k->n, i, k->off, k->off + k->len, false);
}

static bool read_is_done(int r, const void *arg)
{
	(void)arg;
	return r >= 0 || err_is_answer(r);
}

/* As ask_in_turn(): how many bytes, or -errno. */
static int read_first(struct mirror *m, struct reading *k,
		      const unsigned int order[], unsigned int count,
		      unsigned int *ret_by, int res[])
{
	return ask_in_turn(m, order, count, read_slot, k, read_is_done, res,
			   ret_by);
}

/*
 * No store has all of it, but perhaps each block is somewhere.  All or an
 * error: the kernel takes what is short for the end of the file, and asks for
 * single pages after an error.
 */
static int read_pieces(struct mirror *m, struct reading *k,
		       const unsigned int order[], unsigned int count)
{
	size_t done = 0;

	while (done < k->len) {
		uint64_t at = k->off + done;
		struct reading piece = {
			.n = k->n,
			.buf = k->buf + done,
			.len = MIN(k->len - done,
				   (size_t)(META_BLOCK - at % META_BLOCK)),
			.off = at,
		};
		int res[META_STORE_MAX], r;
		unsigned int by;

		r = read_first(m, &piece, order, count, &by, res);
		if (r < 0)
			return r;
		done += (size_t)r;
		if ((size_t)r < piece.len)
			break;
	}
	return (int)done;
}

/* The size on a store, if that is to be had without opening anything. */
static uint64_t size_peek(struct mirror *m, struct node *n, unsigned int i,
			  bool open_it)
{
	struct guard_hurry before;
	struct store_stat st;
	bool is_open;
	int fd, r;

	mutex_lock(&m->fds);
	is_open = node_place(n, i)->fd >= 0;
	mutex_unlock(&m->fds);
	if (!is_open && !open_it)
		return 0;
	before = guard_hurry_begin(hurry_ms(m));
	if (node_fd_get(m, n, i, false, &fd)) {
		(void)guard_hurry_end(before);
		return 0; /* no better than the one that answered */
	}
	r = store_fstat(m->slot[i].store, fd, STORE_STAT_NO_TIMES, &st);
	node_fd_put(m, n, i);
	(void)guard_hurry_end(before);
	return r ? 0 : (uint64_t)st.st.st_size;
}

/*
 * Slot order[@by] has only @got bytes.  The kernel asks for no page that lies
 * behind the end it knows, so a page that is missing is looked for elsewhere
 * at any cost; else only where a look costs little.
 */
static int read_longer(struct mirror *m, const struct reading *k, int got,
		       const unsigned int order[], unsigned int count,
		       unsigned int by)
{
	uint64_t end = k->off + (uint64_t)got, page = META_BLOCK;
	bool missing = !got || (end + page - 1) / page * page < k->off + k->len;

	for (unsigned int j = 0; j < count; j++) {
		struct reading more = *k;
		int r;

		if (j == by || size_peek(m, k->n, order[j], missing) <= end)
			continue;
		/* Perhaps one of them is just being changed: under the range's
		 * lock repair looks again. */
		repair_want(m, k->n, order[by], end, k->off + k->len, true);
		more.buf += got;
		more.off = end;
		more.len -= (size_t)got;
		r = read_slot(m, order[j], &more);
		if (r > 0)
			return got + r;
	}
	return got;
}

static int read_node(struct mirror *m, struct reading *k)
{
	unsigned int order[META_STORE_MAX], count, by;
	slot_mask pin = slots_pin(m, NULL);
	int res[META_STORE_MAX] = {0}, r;
	bool had;

	count = ask_order(m, pin, order);
	r = read_first(m, k, order, count, &by, res);
	had = by < count;
	if (r == -EIO && by == count && count > 1 && k->len > META_BLOCK) {
		r = read_pieces(m, k, order, count);
		had = r >= 0;
	} else if (r >= 0 && (size_t)r < k->len && count > 1 &&
		   !k->n->unlinked) {
		r = read_longer(m, k, r, order, count, by);
	}
	/* Only blame a store when another one had the answer. */
	for (unsigned int j = 0; had && j < count && !k->n->unlinked; j++)
		if (j != by && res[j] < 0 && !read_is_done(res[j], k))
			read_failed(m, order[j], k, res[j]);
	slots_unpin(m, pin);
	return r == -ESTALE || r == -ENODE_ELSEWHERE ? -EIO : r;
}

ssize_t mirror_read(struct mirror *m, uint64_t node, void *buf, size_t len,
		    uint64_t off)
{
	struct reading k = {.buf = buf, .len = len, .off = off};
	int r = node_get(m, node, &k.n);

	if (r)
		return r == -ENOENT ? -ESTALE : r;
	r = k.n->kind == META_FILE ? read_node(m, &k) : -EINVAL;
	node_put(m, k.n);
	return r;
}
