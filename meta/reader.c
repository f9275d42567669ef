/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Readers: a pool of connections, snapshots, iterators.
 *
 * An idle reader keeps its prepared statements and its cache. More than
 * READER_IDLE_MAX are closed when they come back; how many are out at once is
 * up to the callers.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "meta/db.h"

#define READER_IDLE_MAX 8

static int stat_map(struct map_call *k)
{
	return fstatat(k->dir_fd, META_DB_NAME, &k->st, AT_SYMLINK_NOFOLLOW) < 0
		       ? -errno
		       : 0;
}

/* The path must still lead to the file that the writer has: another one there
 * would be read as if it were the map. */
static int reader_check_file(struct meta *m)
{
	struct map_call k = {.fn = stat_map, .dir_fd = m->dir_fd, .fd = -1};
	int r = map_call(m, &k);

	if (r < 0)
		return r;
	if (k.st.st_dev != m->dev || k.st.st_ino != m->ino)
		return -ESTALE;
	return 0;
}

static int stat_wal(struct map_call *k)
{
	return fstatat(k->dir_fd, META_DB_NAME "-wal", &k->st,
		       AT_SYMLINK_NOFOLLOW) < 0
		       ? -errno
		       : 0;
}

int meta_check_place(struct meta *m)
{
	struct map_call k = {.fn = stat_wal, .dir_fd = m->dir_fd, .fd = -1};
	int r = reader_check_file(m);

	if (r == 0 && m->mode == META_OPEN_RW)
		r = map_call(m, &k);
	return r == -ENOENT || r == -ESTALE ? -EIDRM : r;
}

static struct meta_reader *reader_new(struct meta *m)
{
	struct meta_reader *rd = calloc(1, sizeof(*rd));
	int r;

	if (!rd)
		return NULL;
	r = reader_check_file(m);
	if (r == 0)
		r = conn_open(&rd->conn, m->db_path,
			      m->mode == META_OPEN_RO ? CONN_RO : CONN_READER,
			      m->guard);
	if (r < 0) {
		if (!guard_was_late())
			log_err("the map cannot be read: path=%s error=%s",
				m->told_path, strerror(-r));
		free(rd);
		errno = -r;
		return NULL;
	}
	rd->meta = m;
	return rd;
}

static void reader_free(struct meta_reader *rd)
{
	conn_close(&rd->conn);
	free(rd);
}

struct meta_reader *meta_reader_get(struct meta *m)
{
	struct meta_reader *rd;

	mutex_lock(&m->pool_lock);
	rd = m->idle;
	if (rd) {
		m->idle = rd->next;
		m->idle_count--;
	}
	m->out_count++;
	mutex_unlock(&m->pool_lock);
	if (rd) {
		rd->next = NULL;
		return rd;
	}
	rd = reader_new(m);
	if (!rd) {
		mutex_lock(&m->pool_lock);
		m->out_count--;
		mutex_unlock(&m->pool_lock);
	}
	return rd;
}

void meta_reader_put(struct meta_reader *rd)
{
	struct meta_reader *surplus = NULL;
	struct meta *m;

	if (!rd)
		return;
	m = rd->meta;
	assert(rd != &m->writer && !rd->in_txn);
	mutex_lock(&m->pool_lock);
	assert(m->out_count > 0);
	/* One whose snapshot could not be ended shows what was for good. */
	if (m->idle_count < READER_IDLE_MAX &&
	    sqlite3_get_autocommit(rd->conn.db)) {
		rd->next = m->idle;
		m->idle = rd;
		m->idle_count++;
	} else {
		surplus = rd;
	}
	m->out_count--;
	mutex_unlock(&m->pool_lock);
	if (surplus)
		reader_free(surplus);
}

void reader_close_idle(struct meta *m)
{
	struct meta_reader *rd;

	assert(m->out_count == 0);
	while ((rd = m->idle)) {
		m->idle = rd->next;
		reader_free(rd);
	}
	m->idle_count = 0;
}

/* ---- snapshots ---- */

static int reader_exec(struct meta_reader *rd, enum meta_stmt_id id)
{
	_cleanup_stmt_ struct stmt *s = NULL;
	int r = stmt_borrow(&rd->conn, id, &s);

	if (r < 0)
		return r;
	r = stmt_step(s);
	assert(r <= 0);
	return r;
}

int meta_read_begin(struct meta_reader *rd)
{
	uint64_t ignored;
	int r;

	assert(rd != &rd->meta->writer && !rd->in_txn);
	r = reader_exec(rd, STMT_TXN_BEGIN_READ);
	if (r < 0)
		return r;
	rd->in_txn = true;
	/* The snapshot is that of the first read: here, and not some time
	 * later. */
	r = volume_u64_get(rd, VOLUME_KEY_COMPACTED, &ignored);
	if (r < 0)
		meta_read_end(rd);
	return r;
}

void meta_read_end(struct meta_reader *rd)
{
	int r;

	assert(rd->in_txn && rd != &rd->meta->writer);
	/* After an I/O error it is rolled back already. */
	r = sqlite3_get_autocommit(rd->conn.db)
		    ? 0
		    : reader_exec(rd, STMT_TXN_COMMIT);
	/* The end of a snapshot writes nothing. Want of memory for its
	 * statement leaves it open: the connection is then of no more use, and
	 * is closed by meta_reader_put(). */
	if (r < 0)
		log_err("a snapshot of the map could not be ended: path=%s "
			"error=%s",
			rd->meta->told_path, strerror(-r));
	rd->in_txn = false;
}

/* ---- iterators ---- */

int iter_open(struct meta_reader *rd, enum meta_stmt_id id,
	      struct meta_iter *ret_it, struct stmt **ret_stmt)
{
	struct stmt *s = NULL;
	int r = stmt_borrow(&rd->conn, id, &s);

	*ret_it = (struct meta_iter){.rd = rd};
	if (r < 0)
		return r;
	ret_it->stmt = s;
	*ret_stmt = s;
	return 0;
}

void meta_iter_done(struct meta_iter *it)
{
	stmt_return(it->stmt);
	it->stmt = NULL;
}
