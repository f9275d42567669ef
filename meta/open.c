/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening and closing a map.
 *
 * meta_open() must change nothing when it refuses. So it looks first at the
 * header with its own eyes, then has SQLite read the map through the
 * read-only VFS, and only then opens it for writing.
 *
 * The locks of POSIX belong to the process and the inode: closing any
 * descriptor of the database gives up those that SQLite holds through
 * another. Hence a table of the maps that are open here: a second open of one
 * is refused before it touches the file. For the same reason a map must not
 * be kept open across fork(): the child does not have the lock.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "meta/mark.h"
#include "meta/vfs.h"

/* ---- the table of open maps ---- */

static struct {
	pthread_mutex_t lock; /* a leaf; taken alone */
	struct meta *first;
} open_maps = {.lock = PTHREAD_MUTEX_INITIALIZER};

static int open_claim(struct meta *m)
{
	int r = 0;

	lock_must_(pthread_mutex_lock(&open_maps.lock));
	for (struct meta *o = open_maps.first; o; o = o->open_next)
		if (o->dev == m->dev && o->ino == m->ino)
			r = -EBUSY;
	if (r == 0) {
		m->open_next = open_maps.first;
		open_maps.first = m;
	}
	lock_must_(pthread_mutex_unlock(&open_maps.lock));
	return r;
}

static void open_release(struct meta *m)
{
	lock_must_(pthread_mutex_lock(&open_maps.lock));
	for (struct meta **p = &open_maps.first; *p; p = &(*p)->open_next) {
		if (*p == m) {
			*p = m->open_next;
			break;
		}
	}
	lock_must_(pthread_mutex_unlock(&open_maps.lock));
}

/* ---- the object ---- */

void meta_free(struct meta *m)
{
	if (!m)
		return;
	/* Readers first, the writer last. */
	reader_close_idle(m);
	writer_close(m);
	guard_free(m->guard); /* what was left behind uses the files */
	open_release(m);
	close_fd(&m->mark_fd);
	close_fd(&m->dir_fd);
	free(m->db_path);
	free(m->told_path);
	mutex_done(&m->writer_lock);
	mutex_done(&m->pool_lock);
	free(m);
}

/* By way of the descriptor the database stays the one of this directory,
 * whatever is mounted over the path. */
static int meta_set_path(struct meta *m, const char *privdir, const char *name)
{
	char self[64];
	char *path, *told;

	if (asprintf(&told, "%s/%s", privdir, name) < 0)
		return -ENOMEM;
	free(m->told_path);
	m->told_path = told;
	(void)snprintf(self, sizeof(self), "/proc/self/fd/%d", m->dir_fd);
	if (access(self, X_OK) == 0)
		privdir = self;
	if (asprintf(&path, "%s/%s", privdir, name) < 0)
		return -ENOMEM;
	free(m->db_path);
	m->db_path = path;
	return 0;
}

int meta_new(const char *privdir, enum meta_open_mode mode, const char *name,
	     struct meta **ret_meta)
{
	_cleanup_meta_ struct meta *m = calloc(1, sizeof(*m));
	int r;

	assert(privdir[0] == '/');
	if (!m)
		return -ENOMEM;
	m->mode = mode;
	m->mark_fd = m->dir_fd = -1;
	m->writer.meta = m;
	m->compact.node = INT64_MAX;
	m->compact.start = INT64_MAX;
	mutex_init(&m->writer_lock, LOCK_RANK_META);
	mutex_init(&m->pool_lock, LOCK_RANK_LEAF);
	m->guard = guard_new();
	if (!m->guard)
		return -ENOMEM;
	m->dir_fd = open(privdir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (m->dir_fd < 0)
		return -errno;
	r = meta_set_path(m, privdir, name);
	if (r < 0)
		return r;
	*ret_meta = steal_pointer(&m);
	return 0;
}

/* ---- what is said when it is refused ---- */

static int refuse(char **ret_why, int err, const char *fmt, ...)
	__attribute__((__format__(__printf__, 3, 4)));

/* The first reason stays: it is the closest to the cause. */
static int refuse(char **ret_why, int err, const char *fmt, ...)
{
	char *text;
	va_list args;
	int len;

	if (!ret_why || *ret_why)
		return err;
	va_start(args, fmt);
	len = vasprintf(&text, fmt, args);
	va_end(args);
	if (len >= 0)
		*ret_why = text;
	return err;
}

static int refuse_errno(char **ret_why, int err)
{
	switch (err) {
	case -ENOENT:
		return refuse(ret_why, err, "There is no map.");
	case -EBUSY:
		return refuse(ret_why, err,
			      "Another process has the map open.");
	case -EUCLEAN:
		return refuse(ret_why, err, "The map is damaged.");
	default:
		return refuse(ret_why, err, "The map cannot be opened: %s.",
			      strerror(-err));
	}
}

/* ---- the header ---- */

static uint32_t header_u32(const unsigned char *h, size_t off)
{
	return (uint32_t)h[off] << 24 | (uint32_t)h[off + 1] << 16 |
	       (uint32_t)h[off + 2] << 8 | h[off + 3];
}

/* What is the same in every map that we have made. See "The Database Header"
 * in the file format of SQLite. */
static bool header_is_ours(const unsigned char *h)
{
	static const struct {
		size_t off;
		uint32_t value;
	} words[] = {
		{44, 4}, /* schema format */
		{52, 0}, /* largest root page: no auto-vacuum */
		{56, 1}, /* UTF-8 */
		{64, 0}, /* incremental vacuum */
		{72, 0}, {76, 0}, {80, 0}, {84, 0}, {88, 0}, /* reserved */
	};
	/* Page size 4096; WAL for writing and reading; bytes reserved for the
	 * checksum; the fractions of a page that have one allowed value. */
	static const unsigned char bytes[] = {
		0x10, 0, 2, 2, VFS_SUM_BYTES, 64, 32, 32,
	};

	if (memcmp(h + 16, bytes, sizeof(bytes)) != 0)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (header_u32(h, words[i].off) != words[i].value)
			return false;
	return true;
}

static int check_header(struct meta *m, char **ret_why)
{
	static const char magic[16] = "SQLite format 3";
	_cleanup_close_ int fd = -1;
	unsigned char h[100];
	ssize_t len;

	fd = openat(m->dir_fd, META_DB_NAME,
		    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return refuse_errno(ret_why, -errno);
	len = pread(fd, h, sizeof(h), 0);
	if (len < 0)
		return refuse_errno(ret_why, -errno);
	if (len == 0)
		return refuse(ret_why, -EUCLEAN, "The map is an empty file.");
	if (len < (ssize_t)sizeof(h) || memcmp(h, magic, sizeof(magic)) != 0)
		return refuse(ret_why, -EUCLEAN,
			      "The map is no SQLite database.");
	if (header_u32(h, 68) != META_APPLICATION_ID)
		return refuse(ret_why, -EUCLEAN,
			      "The database is not a map of seqmirror.");
	/* What comes later may look otherwise in all the rest. */
	if (header_u32(h, 60) > META_FORMAT_VERSION)
		return refuse(ret_why, -EPROTO,
			      "The map has format version %" PRIu32
			      "; this program knows up to %d.",
			      header_u32(h, 60), META_FORMAT_VERSION);
	if (!header_is_ours(h))
		return refuse(ret_why, -EUCLEAN,
			      "The header of the map is damaged.");
	return 0;
}

/* SQLite opens what lies beside the map under its names, and would wait for who
 * is at the other end of a fifo. */
static int check_beside(const struct meta *m, char **ret_why)
{
	static const char *const names[] = {META_DB_NAME "-wal",
					    META_DB_NAME "-journal"};
	struct stat st;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (fstatat(m->dir_fd, names[i], &st, AT_SYMLINK_NOFOLLOW) <
		    0) {
			if (errno != ENOENT)
				return refuse_errno(ret_why, -errno);
		} else if (!S_ISREG(st.st_mode)) {
			return refuse(ret_why, -EUCLEAN,
				      "The log beside the map is not a regular "
				      "file.");
		}
	}
	return 0;
}

static int check_file(struct meta *m, char **ret_why)
{
	struct stat st;
	int r;

	if (fstatat(m->dir_fd, META_DB_NAME, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return refuse_errno(ret_why, -errno);
	if (!S_ISREG(st.st_mode))
		return refuse(ret_why, -EUCLEAN,
			      "The map is not a regular file.");
	r = check_beside(m, ret_why);
	if (r < 0)
		return r;
	m->dev = st.st_dev;
	m->ino = st.st_ino;
	r = open_claim(m);
	if (r < 0)
		return refuse(ret_why, r, "The map is open already.");
	if (m->mode == META_OPEN_RW &&
	    faccessat(m->dir_fd, META_DB_NAME, W_OK, 0) < 0)
		return refuse_errno(ret_why, -errno);
	return check_header(m, ret_why);
}

/* ---- what SQLite reads ---- */

static int check_version(struct conn *c, char **ret_why, int64_t *ret_version)
{
	int64_t application_id;
	int64_t version;
	int r;

	r = conn_pragma_get(c, "application_id", &application_id);
	if (r == 0)
		r = conn_pragma_get(c, "user_version", &version);
	if (r < 0)
		return refuse_errno(ret_why, r);
	if (application_id != META_APPLICATION_ID || version < 1)
		return refuse(ret_why, -EUCLEAN,
			      "The database is not a map of seqmirror.");
	if (version > META_FORMAT_VERSION)
		return refuse(ret_why, -EPROTO,
			      "The map has format version %" PRId64
			      "; this program knows up to %d.",
			      version, META_FORMAT_VERSION);
	*ret_version = version;
	return 0;
}

/* Each statement finds its tables, columns and indexes, or it is not our
 * schema. */
static int check_schema(struct conn *c, char **ret_why)
{
	for (size_t i = 0; i < STMT_COUNT; i++) {
		_cleanup_stmt_ struct stmt *s = NULL;
		int r = stmt_borrow(c, (enum meta_stmt_id)i, &s);

		if (r == -EUCLEAN)
			return refuse(ret_why, r,
				      "The schema of the map is damaged: %s.",
				      sqlite3_errmsg(c->db));
		if (r < 0)
			return refuse_errno(ret_why, r);
	}
	return 0;
}

/*
 * A WAL over the wrong database would be taken for right, and its pages with
 * it. Pages that were being moved when a crash came may be torn in the
 * database and are whole in the WAL: that is no answer then.
 */
static int check_bare(struct meta *m)
{
	struct meta_reader bare = {.meta = m};
	int r = conn_open(&bare.conn, m->db_path, CONN_BARE, NULL);

	if (r == 0) {
		r = volume_u64_get(&bare, VOLUME_KEY_MARK, &m->bare_token);
		conn_close(&bare.conn);
	}
	if (r == -EUCLEAN) {
		m->bare_token = UINT64_MAX;
		return 0;
	}
	return r < 0 || mark_fits_bare(m, m->bare_token) ? r : -ESTALE;
}

static int check_mark(struct meta *m, char **ret_why)
{
	const char *why = NULL;
	int r = mark_load(m, &why);

	if (why)
		return refuse(ret_why, r, "%s", why);
	if (r == 0)
		r = check_bare(m);
	if (r == -ESTALE)
		return refuse(ret_why, -EUCLEAN,
			      "The map is not the one that its write-ahead log "
			      "belongs to.");
	return r < 0 ? refuse_errno(ret_why, r) : 0;
}

/* Reads the map without a change. */
static int probe(struct meta *m, char **ret_why)
{
	struct conn c = {0};
	int64_t version;
	int r;

	r = conn_open(&c, m->db_path, CONN_RO, NULL);
	if (r < 0)
		return refuse_errno(ret_why, r);
	r = check_version(&c, ret_why, &version);
	/* No other process has the map now: its WAL does not change. */
	if (r == 0)
		r = check_mark(m, ret_why);
	if (r == 0 && version == META_FORMAT_VERSION)
		r = check_schema(&c, ret_why);
	else if (r == 0 && m->mode == META_OPEN_RO)
		r = refuse(ret_why, -EPROTO,
			   "The map has the older format version %" PRId64
			   " and must be mounted once first.",
			   version);
	conn_close(&c);
	return r;
}

static int migrate(struct meta *m, char **ret_why)
{
	struct sql_migration steps[META_MIGRATION_COUNT + 1];
	size_t count = META_MIGRATION_COUNT;
	int r;

	for (size_t i = 0; i < count; i++)
		steps[i] = sql_migration_get(i);
	r = migrate_run(&m->writer.conn, steps, count);
	if (r < 0)
		return refuse(ret_why, r,
			      "The map could not be brought to format version "
			      "%d: %s.",
			      META_FORMAT_VERSION, strerror(-r));
	return 0;
}

/* Is it the map that lay here last? */
static int load_mark(struct meta *m, struct meta_reader *rd)
{
	int r = volume_u64_get(rd, VOLUME_KEY_MARK, &m->mark_token);

	if (r < 0)
		return r;
	return mark_fits(m, m->mark_token) ? 0 : -ESTALE;
}

/* Whoever goes on from these must not come to an end of numbers. */
static int check_numbers(struct meta_reader *rd)
{
	static const enum meta_number numbers[] = {
		META_NUM_SEQ_RESERVED,
		META_NUM_NODE_RESERVED,
		META_NUM_DURABLE_SEQ,
		META_NUM_HORIZON,
	};
	uint64_t value = 0;
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(numbers); i++) {
		r = meta_number_get(rd, numbers[i], &value);
		if (r == 0 && value > META_SEQ_MAX)
			r = -EUCLEAN;
	}
	return r;
}

/* What is kept in memory, read through any connection. */
static int load(struct meta *m, struct meta_reader *rd, char **ret_why)
{
	int r;

	r = volume_text_get(rd, VOLUME_KEY_VOLUME_UUID, m->volume_uuid,
			    sizeof(m->volume_uuid));
	if (r == 0)
		r = volume_text_get(rd, VOLUME_KEY_STORE_UUID, m->store_uuid,
				    sizeof(m->store_uuid));
	if (r == -ENOENT)
		return refuse(ret_why, -EUCLEAN,
			      "The map does not say whose it is.");
	if (r == 0)
		r = check_numbers(rd);
	if (r == 0)
		r = meta_number_get(rd, META_NUM_HORIZON, &m->horizon);
	if (r == 0)
		r = volume_u64_get(rd, VOLUME_KEY_COMPACTED,
				   &m->compact.through_seq);
	if (r == 0)
		r = load_mark(m, rd);
	if (r == -ESTALE)
		return refuse(ret_why, -EUCLEAN,
			      "The map is not the one that this store was used "
			      "with last, but an older or another one.");
	if (r < 0)
		return refuse_errno(ret_why, r);
	m->horizon_committed = m->horizon;
	m->compact.done_seq = m->compact.through_seq;
	m->compact.seq = m->compact.through_seq;
	return 0;
}

static bool has_wal(const struct meta *m)
{
	return faccessat(m->dir_fd, META_DB_NAME "-wal", F_OK,
			 AT_SYMLINK_NOFOLLOW) == 0;
}

/*
 * A sync that failed may leave pages that are clean in memory and old on the
 * disk. Whoever left a WAL may have left such; what is appended to frames that
 * only memory has would be lost with them. So it is read from the disk, as after
 * a loss of power: what was not synced was not promised (docs/model.md, 8).
 */
static void drop_cache(const struct meta *m)
{
	static const char *const names[] = {META_DB_NAME, META_DB_NAME "-wal"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		_cleanup_close_ int fd =
			openat(m->dir_fd, names[i],
			       O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

		if (fd >= 0)
			(void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	}
}

/* A writer that is refused while it opens has made an empty WAL. */
static void drop_empty_wal(struct meta *m)
{
	struct stat st;

	writer_close(m);
	if (fstatat(m->dir_fd, META_DB_NAME "-wal", &st, AT_SYMLINK_NOFOLLOW) ==
		    0 &&
	    S_ISREG(st.st_mode) && st.st_size == 0)
		(void)unlinkat(m->dir_fd, META_DB_NAME "-wal", 0);
}

static int open_rw(struct meta *m, char **ret_why)
{
	bool had_wal = has_wal(m);
	int64_t version;
	int r;

	r = had_wal ? 0 : meta_wal_make(m);
	if (r == 0)
		r = writer_open(m, CONN_WRITER);
	if (r < 0)
		return refuse_errno(ret_why, r);
	/* Again: another process may have been there since the probe. */
	r = check_version(&m->writer.conn, ret_why, &version);
	if (r == 0)
		r = migrate(m, ret_why);
	if (r == 0)
		r = check_schema(&m->writer.conn, ret_why);
	if (r == 0)
		r = load(m, &m->writer, ret_why);
	m->mark_due = r == 0;
	if (r < 0) {
		/* Leaves the WAL as it was. */
		m->failed = r;
		if (!had_wal)
			drop_empty_wal(m);
	}
	return r;
}

static int open_ro(struct meta *m, char **ret_why)
{
	struct meta_reader *rd = meta_reader_get(m);
	int r;

	if (!rd)
		return refuse(ret_why, -EIO, "The map cannot be read.");
	r = load(m, rd, ret_why);
	meta_reader_put(rd);
	return r;
}

int meta_open(const char *privdir, enum meta_open_mode mode,
	      struct meta **ret_meta, char **ret_why)
{
	_cleanup_meta_ struct meta *m = NULL;
	int r;

	if (ret_why)
		*ret_why = NULL;
	r = meta_new(privdir, mode, META_DB_NAME, &m);
	if (r < 0)
		return refuse_errno(ret_why, r);
	r = check_file(m, ret_why);
	if (r == 0 && has_wal(m))
		drop_cache(m);
	if (r == 0)
		r = probe(m, ret_why);
	if (r == 0)
		r = mode == META_OPEN_RW ? open_rw(m, ret_why)
					 : open_ro(m, ret_why);
	if (r < 0)
		return r;
	*ret_meta = steal_pointer(&m);
	return 0;
}

void meta_close(struct meta *m)
{
	if (!m)
		return;
	assert(!m->writer.in_txn);
	meta_free(m);
}

const char *meta_volume_uuid(const struct meta *m)
{
	return m->volume_uuid;
}

const char *meta_store_uuid(const struct meta *m)
{
	return m->store_uuid;
}
