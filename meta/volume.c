/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The volume: its numbers, its members, and when a seq was reached.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "meta/db.h"

/* As they stand in the table. */
static const char *const number_keys[] = {
	[META_NUM_SEQ_RESERVED] = "seq_reserved",
	[META_NUM_NODE_RESERVED] = "node_reserved",
	[META_NUM_HORIZON] = "horizon",
	[META_NUM_CLEAN] = "clean",
	[META_NUM_DURABLE_SEQ] = "durable_seq",
	[META_NUM_RESYNCING] = "resyncing",
	[META_NUM_RESYNC_FROM] = "resync_from",
	[META_NUM_ROOT_INO] = "root_ino",
	[META_NUM_ROOT_GEN] = "root_gen",
	[META_NUM_COPY] = "copy",
	[META_NUM_SCRUB_BEGUN] = "scrub_begun",
	[META_NUM_SCRUB_NODE] = "scrub_node",
	[META_NUM_SCRUB_OFFSET] = "scrub_offset",
	[META_NUM_SCRUB_UNTIL] = "scrub_until",
	[META_NUM_SCRUB_NODES] = "scrub_nodes",
	[META_NUM_SCRUB_BYTES] = "scrub_bytes",
	[META_NUM_SCRUB_FOUND] = "scrub_found",
	[META_NUM_SCRUB_FIXED] = "scrub_fixed",
	[META_NUM_SCRUB_BUSY] = "scrub_busy",
	[META_NUM_SCRUBBED] = "scrubbed",
	[META_NUM_SCRUBBED_BEGUN] = "scrubbed_begun",
	[META_NUM_SCRUBBED_NODES] = "scrubbed_nodes",
	[META_NUM_SCRUBBED_BYTES] = "scrubbed_bytes",
	[META_NUM_SCRUBBED_FOUND] = "scrubbed_found",
	[META_NUM_SCRUBBED_FIXED] = "scrubbed_fixed",
	[META_NUM_SCRUBBED_BUSY] = "scrubbed_busy",
	[META_NUM_ROOT_LOOK] = "root_look",
};

static const char *number_key(enum meta_number what)
{
	assert(what >= 1 && what < ARRAY_SIZE(number_keys));
	return number_keys[what];
}

/* An inode number and a hash use all 64 bits. */
static bool number_is_bits(enum meta_number what)
{
	return what == META_NUM_ROOT_INO || what == META_NUM_ROOT_GEN;
}

/* ---- keys ---- */

/* The row of @key: 1 and a stepped statement, or 0. */
static int volume_find(struct meta_reader *rd, const char *key,
		       struct stmt **ret_stmt)
{
	int r = stmt_borrow(&rd->conn, STMT_VOLUME_GET, ret_stmt);

	if (r < 0)
		return r;
	stmt_bind_text(*ret_stmt, ":key", key);
	return stmt_step(*ret_stmt);
}

int volume_text_get(struct meta_reader *rd, const char *key, char *buf,
		    size_t size)
{
	_cleanup_stmt_ struct stmt *s = NULL;
	int r = volume_find(rd, key, &s);

	if (r < 0)
		return r;
	if (r == 0)
		return -ENOENT;
	r = stmt_column_copy(s, 0, buf, size);
	return r < 0 ? r : 0;
}

int volume_text_put(struct meta *m, const char *key, const char *text)
{
	_cleanup_stmt_ struct stmt *s = NULL;
	int r = writer_borrow(m, STMT_VOLUME_PUT, &s);

	if (r < 0)
		return r;
	stmt_bind_text(s, ":key", key);
	stmt_bind_text(s, ":value", text);
	r = writer_run(m, s);
	return r < 0 ? r : 0;
}

/* A key that was never set reads as 0. */
int volume_u64_get(struct meta_reader *rd, const char *key, uint64_t *ret_value)
{
	_cleanup_stmt_ struct stmt *s = NULL;
	int r = volume_find(rd, key, &s);

	if (r < 0)
		return r;
	if (r == 1)
		return stmt_column_u64(s, 0, ret_value);
	*ret_value = 0;
	return 0;
}

int volume_u64_put(struct meta *m, const char *key, uint64_t value)
{
	_cleanup_stmt_ struct stmt *s = NULL;
	int r = writer_borrow(m, STMT_VOLUME_PUT, &s);

	if (r < 0)
		return r;
	stmt_bind_text(s, ":key", key);
	stmt_bind_u64(s, ":value", value);
	r = writer_run(m, s);
	return r < 0 ? r : 0;
}

/* ---- numbers ---- */

static int number_put_bits(struct meta *m, const char *key, uint64_t value)
{
	_cleanup_stmt_ struct stmt *s = NULL;
	int r = writer_borrow(m, STMT_VOLUME_PUT, &s);

	if (r < 0)
		return r;
	stmt_bind_text(s, ":key", key);
	stmt_bind_bits(s, ":value", value);
	r = writer_run(m, s);
	return r < 0 ? r : 0;
}

int meta_number_set(struct meta *m, enum meta_number what, uint64_t value)
{
	const char *key = number_key(what);
	int r;

	if (number_is_bits(what))
		return number_put_bits(m, key, value);
	r = volume_u64_put(m, key, value);
	if (r == 0 && what == META_NUM_HORIZON)
		m->horizon = value;
	return r;
}

int meta_number_get(struct meta_reader *rd, enum meta_number what,
		    uint64_t *ret_value)
{
	_cleanup_stmt_ struct stmt *s = NULL;
	const char *key = number_key(what);
	int r;

	if (!number_is_bits(what))
		return volume_u64_get(rd, key, ret_value);
	r = volume_find(rd, key, &s);
	if (r < 0)
		return r;
	*ret_value = r ? stmt_column_bits(s, 0) : 0;
	return 0;
}

/* ---- when it was left ---- */

/* With the token of the writer that says so: every other one has its own in the map
 * with its first commit, whether it knows of this or not. */
int meta_left_set(struct meta *m, uint64_t time_ns) NO_THREAD_SAFETY_ANALYSIS
{
	int r = volume_u64_put(m, VOLUME_KEY_LEFT, time_ns);

	return r ? r
		 : volume_u64_put(m, VOLUME_KEY_LEFT_MARK,
				  time_ns ? m->mark_token : 0);
}

int meta_left_get(struct meta_reader *rd, uint64_t *ret_time_ns)
{
	uint64_t by, now;
	int r = volume_u64_get(rd, VOLUME_KEY_LEFT, ret_time_ns);

	if (!r)
		r = volume_u64_get(rd, VOLUME_KEY_LEFT_MARK, &by);
	if (!r)
		r = volume_u64_get(rd, VOLUME_KEY_MARK, &now);
	if (!r && (!by || by != now))
		*ret_time_ns = 0;
	return r;
}

/* ---- lists ---- */

static const char *list_key(enum meta_list what)
{
	switch (what) {
	case META_LIST_SCRUB:
		return "scrub_stores";
	case META_LIST_SCRUBBED:
		return "scrubbed_stores";
	case META_LIST_REMOVED:
	default:
		return "removed_stores";
	}
}

int meta_list_get(struct meta_reader *rd, enum meta_list what,
		  char ret_list[META_LIST_BYTES])
{
	int r = volume_text_get(rd, list_key(what), ret_list, META_LIST_BYTES);

	if (r)
		ret_list[0] = '\0';
	return r == -ENOENT ? 0 : r;
}

int meta_list_set(struct meta *m, enum meta_list what, const char *list)
{
	return volume_text_put(m, list_key(what), list);
}

/* ---- members ---- */

int meta_member_put(struct meta *m, const struct meta_member *row)
{
	_cleanup_stmt_ struct stmt *s = NULL;
	int r = writer_borrow(m, STMT_STORE_PUT, &s);

	if (r < 0)
		return r;
	stmt_bind_text(s, ":uuid", row->uuid);
	stmt_bind_text(s, ":name", row->name);
	stmt_bind_u64(s, ":state", row->state);
	stmt_bind_u64(s, ":durable_seq", row->durable_seq);
	/* A path is any bytes. */
	stmt_bind_blob(s, ":path_hint", row->path_hint,
		       strnlen(row->path_hint, sizeof(row->path_hint) - 1));
	r = writer_run(m, s);
	return r < 0 ? r : 0;
}

int meta_member_forget(struct meta *m, const char *uuid)
{
	char old[META_LIST_BYTES], now[META_LIST_BYTES];
	int r = meta_list_get(meta_writer_view(m), META_LIST_REMOVED, old);

	/* As many as there is room for: the last ones. */
	if (!r && strlen(old) + META_UUID_LEN + 1 >= sizeof(old))
		old[sizeof(old) - 1 - (META_UUID_LEN + 1)] = '\0';
	if (r)
		return r;
	(void)snprintf(now, sizeof(now), "%s,%s", uuid, old);
	r = meta_list_set(m, META_LIST_REMOVED, now);
	return r ? r : meta_member_del(m, uuid);
}

int meta_member_del(struct meta *m, const char *uuid)
{
	_cleanup_stmt_ struct stmt *s = NULL;
	int r = writer_borrow(m, STMT_STORE_DEL, &s);

	if (r < 0)
		return r;
	stmt_bind_text(s, ":uuid", uuid);
	r = writer_run(m, s);
	return r < 0 ? r : 0;
}

static int member_row(struct stmt *s, struct meta_member *ret)
{
	uint64_t state;
	int r;

	r = stmt_column_copy(s, 0, ret->uuid, sizeof(ret->uuid));
	if (r >= 0)
		r = stmt_column_copy(s, 1, ret->name, sizeof(ret->name));
	if (r >= 0)
		r = stmt_column_copy(s, 4, ret->path_hint,
				     sizeof(ret->path_hint));
	if (r >= 0)
		r = stmt_column_u64(s, 2, &state);
	if (r >= 0)
		r = stmt_column_u64(s, 3, &ret->durable_seq);
	if (r < 0)
		return r;
	if (state < META_STORE_ONLINE || state > META_STORE_GIVEN_UP)
		return -EUCLEAN;
	ret->state = (enum meta_store_state)state;
	return 0;
}

int meta_members(struct meta_reader *rd, struct meta_member *ret_v,
		 size_t *ret_count)
{
	_cleanup_stmt_ struct stmt *s = NULL;
	size_t count = 0;
	int r = stmt_borrow(&rd->conn, STMT_STORE_ITER_ALL, &s);

	if (r < 0)
		return r;
	while ((r = stmt_step(s)) > 0) {
		if (count == META_STORE_MAX)
			return -EUCLEAN;
		r = member_row(s, &ret_v[count]);
		if (r < 0)
			return r;
		count++;
	}
	if (r < 0)
		return r;
	*ret_count = count;
	return 0;
}

/* ---- moments ---- */

/* The moments that are kept as they came; of those before, one or two a minute. */
#define MOMENTS_DENSE	UINT64_C(720)
#define MOMENT_APART_NS (60 * CLOCK_NS_PER_SEC)

/* The three moments behind the dense ones, the newest first. 1: there are three. */
static int moments_behind(struct meta *m, uint64_t seq, uint64_t ret_seq[3],
			  uint64_t ret_ns[3])
{
	_cleanup_stmt_ struct stmt *s = NULL;
	int r = writer_borrow(m, STMT_MOMENT_ITER_BEHIND, &s);

	if (r < 0)
		return r;
	stmt_bind_u64(s, ":seq", seq);
	stmt_bind_u64(s, ":newer", MOMENTS_DENSE);
	for (size_t i = 0; i < 3; i++) {
		r = stmt_step(s);
		if (r <= 0)
			return r;
		r = stmt_column_u64(s, 0, &ret_seq[i]);
		if (r == 0)
			r = stmt_column_u64(s, 1, &ret_ns[i]);
		if (r < 0)
			return r;
	}
	return 1;
}

/*
 * Each moment pushes one out of the dense ones. The one before that goes if those
 * beside it are not a minute apart, so that their number follows the minutes in
 * which something was changed. Where the clock was set back none goes.
 */
static int moments_thin(struct meta *m, uint64_t seq)
{
	_cleanup_stmt_ struct stmt *s = NULL;
	uint64_t at[3], ns[3];
	int r = moments_behind(m, seq, at, ns);

	if (r <= 0 || ns[0] < ns[2] || ns[0] - ns[2] >= MOMENT_APART_NS)
		return MIN(r, 0);
	r = writer_borrow(m, STMT_MOMENT_DEL, &s);
	if (r < 0)
		return r;
	stmt_bind_u64(s, ":seq", at[1]);
	r = writer_run(m, s);
	return MIN(r, 0);
}

int meta_moment_put(struct meta *m, uint64_t seq, uint64_t time_ns)
{
	_cleanup_stmt_ struct stmt *s = NULL;
	int r = writer_borrow(m, STMT_MOMENT_PUT, &s);

	if (r < 0)
		return r;
	stmt_bind_u64(s, ":seq", seq);
	stmt_bind_u64(s, ":time_ns", time_ns);
	r = writer_run(m, s);
	return r < 0 ? r : moments_thin(m, seq);
}

int meta_moment_at(struct meta_reader *rd, uint64_t seq, uint64_t *ret_time_ns)
{
	_cleanup_stmt_ struct stmt *s = NULL;
	int r = stmt_borrow(&rd->conn, STMT_MOMENT_GET_AT, &s);

	if (r < 0)
		return r;
	stmt_bind_bound(s, ":seq", seq);
	r = stmt_step(s);
	if (r < 0)
		return r;
	return r ? stmt_column_u64(s, 0, ret_time_ns) : -ENOENT;
}

int meta_moment_from(struct meta_reader *rd, uint64_t seq,
		     uint64_t *ret_time_ns)
{
	_cleanup_stmt_ struct stmt *s = NULL;
	int r = stmt_borrow(&rd->conn, STMT_MOMENT_GET_FROM, &s);

	if (r < 0)
		return r;
	stmt_bind_bound(s, ":seq", seq);
	r = stmt_step(s);
	if (r < 0)
		return r;
	return r ? stmt_column_u64(s, 0, ret_time_ns) : -ENOENT;
}
