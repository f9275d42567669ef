/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lineage: which epochs this store has been through, oldest first.
 *
 * The members of an epoch are one text, their UUIDs with a blank between
 * them, as they are only ever written and read together.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "meta/db.h"

#define MEMBERS_TEXT_MAX (META_STORE_MAX * (META_UUID_LEN + 1) + 1)

static void members_format(char buf[static MEMBERS_TEXT_MAX],
			   const struct meta_epoch *e)
{
	char *at = buf;

	assert(e->member_count <= META_STORE_MAX);
	for (uint32_t i = 0; i < e->member_count; i++) {
		size_t len = strnlen(e->members[i], META_UUID_LEN);

		assert(len > 0 && !memchr(e->members[i], ' ', len));
		if (i > 0)
			*at++ = ' ';
		memcpy(at, e->members[i], len);
		at += len;
	}
	*at = '\0';
}

static int members_parse(const char *text, struct meta_epoch *ret)
{
	uint32_t count = 0;

	while (*text) {
		size_t len = strcspn(text, " ");

		if (len == 0 || len > META_UUID_LEN || count == META_STORE_MAX)
			return -EUCLEAN;
		memcpy(ret->members[count], text, len);
		ret->members[count][len] = '\0';
		count++;
		text += len;
		if (*text == ' ')
			text++;
	}
	ret->member_count = count;
	return 0;
}

int meta_epoch_append(struct meta *m, const struct meta_epoch *e)
{
	_cleanup_stmt_ struct stmt *s = NULL;
	char members[MEMBERS_TEXT_MAX];
	int r = writer_borrow(m, STMT_EPOCH_APPEND, &s);

	if (r < 0)
		return r;
	members_format(members, e);
	stmt_bind_text(s, ":id", e->id);
	stmt_bind_u64(s, ":first_seq", e->first_seq);
	stmt_bind_u64(s, ":base", e->base);
	stmt_bind_text(s, ":members", members);
	stmt_bind_u64(s, ":confirmed", e->confirmed);
	r = writer_run(m, s);
	return r < 0 ? r : 0;
}

int meta_epoch_confirm(struct meta *m, const char *epoch_id)
{
	_cleanup_stmt_ struct stmt *s = NULL;
	int r = writer_borrow(m, STMT_EPOCH_CONFIRM, &s);

	if (r < 0)
		return r;
	stmt_bind_text(s, ":id", epoch_id);
	r = writer_run(m, s);
	if (r < 0)
		return r;
	return r ? 0 : -ENOENT;
}

int meta_epoch_replace(struct meta *m, const struct meta_epoch *v, size_t count)
{
	_cleanup_stmt_ struct stmt *s = NULL;
	int r = writer_borrow(m, STMT_EPOCH_DEL_ALL, &s);

	if (r < 0)
		return r;
	r = writer_run(m, s);
	if (r < 0)
		return r;
	for (size_t i = 0; i < count; i++) {
		r = meta_epoch_append(m, &v[i]);
		if (r < 0)
			/* Without the old lineage and without the new one:
			 * this must not be committed. */
			return writer_spoil(m, r);
	}
	return 0;
}

static int epoch_row(struct stmt *s, struct meta_epoch *ret)
{
	char members[MEMBERS_TEXT_MAX];
	uint64_t ordinal;
	uint64_t confirmed;
	int r;

	r = stmt_column_u64(s, 0, &ordinal);
	if (r >= 0)
		r = stmt_column_copy(s, 1, ret->id, sizeof(ret->id));
	if (r >= 0)
		r = stmt_column_u64(s, 2, &ret->first_seq);
	if (r >= 0)
		r = stmt_column_u64(s, 3, &ret->base);
	if (r >= 0)
		r = stmt_column_copy(s, 4, members, sizeof(members));
	if (r >= 0)
		r = stmt_column_u64(s, 5, &confirmed);
	if (r < 0)
		return r;
	if (ordinal > UINT32_MAX)
		return -EUCLEAN;
	ret->ordinal = (uint32_t)ordinal;
	ret->confirmed = confirmed != 0;
	return members_parse(members, ret);
}

static int epoch_count(struct meta_reader *rd, uint64_t *ret_count)
{
	_cleanup_stmt_ struct stmt *s = NULL;
	int r = stmt_borrow(&rd->conn, STMT_EPOCH_COUNT_ALL, &s);

	if (r < 0)
		return r;
	r = stmt_step(s);
	if (r < 0)
		return r;
	assert(r == 1);
	return stmt_column_u64(s, 0, ret_count);
}

int meta_epochs(struct meta_reader *rd, struct meta_epoch **ret_v,
		size_t *ret_count)
{
	_cleanup_free_ struct meta_epoch *v = NULL;
	_cleanup_stmt_ struct stmt *s = NULL;
	uint64_t capacity;
	size_t count = 0;
	int r;

	/* First begun, then counted: both see the same, or outside a snapshot
	 * the count may be larger. */
	r = stmt_borrow(&rd->conn, STMT_EPOCH_ITER_ALL, &s);
	if (r < 0)
		return r;
	r = stmt_step(s);
	if (r < 0)
		return r;
	if (r == 0)
		capacity = 0;
	else if ((r = epoch_count(rd, &capacity)) < 0)
		return r;
	v = calloc(capacity + 1, sizeof(*v));
	if (!v)
		return -ENOMEM;
	for (r = capacity ? 1 : 0; r > 0; r = stmt_step(s)) {
		if (count == capacity)
			return -EUCLEAN;
		r = epoch_row(s, &v[count]);
		if (r < 0)
			return r;
		count++;
	}
	if (r < 0)
		return r;
	*ret_v = steal_pointer(&v);
	*ret_count = count;
	return 0;
}
