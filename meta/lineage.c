/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lineage: which epochs this store has been through, oldest first.
 *
 * The members of an epoch are one text, their UUIDs with a blank between
 * them, as they are only ever written and read together.
 *
 * Beside it lie the lineages of sources whose laps were not closed, each whole:
 * what such a lap has left here is theirs.
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

/* @members must live as long as the statement. */
static void epoch_bind(struct stmt *s, const struct meta_epoch *e,
		       char members[static MEMBERS_TEXT_MAX])
{
	members_format(members, e);
	stmt_bind_text(s, ":id", e->id);
	stmt_bind_u64(s, ":first_seq", e->first_seq);
	stmt_bind_u64(s, ":first_node", e->first_node);
	stmt_bind_u64(s, ":base", e->base);
	stmt_bind_text(s, ":members", members);
	stmt_bind_u64(s, ":confirmed", e->confirmed);
	stmt_bind_u64(s, ":by_copy", e->by_copy);
}

int meta_epoch_append(struct meta *m, const struct meta_epoch *e)
{
	char members[MEMBERS_TEXT_MAX];
	_cleanup_stmt_ struct stmt *s = NULL;
	int r = writer_borrow(m, STMT_EPOCH_APPEND, &s);

	if (r < 0)
		return r;
	epoch_bind(s, e, members);
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
	uint64_t ordinal, confirmed, by_copy;
	int r;

	r = stmt_column_u64(s, 0, &ordinal);
	if (r >= 0)
		r = stmt_column_copy(s, 1, ret->id, sizeof(ret->id));
	if (r >= 0)
		r = stmt_column_u64(s, 2, &ret->first_seq);
	if (r >= 0)
		r = stmt_column_u64(s, 3, &ret->first_node);
	if (r >= 0)
		r = stmt_column_u64(s, 4, &ret->base);
	if (r >= 0)
		r = stmt_column_copy(s, 5, members, sizeof(members));
	if (r >= 0)
		r = stmt_column_u64(s, 6, &confirmed);
	if (r >= 0)
		r = stmt_column_u64(s, 7, &by_copy);
	if (r < 0)
		return r;
	if (ordinal > UINT32_MAX)
		return -EUCLEAN;
	ret->ordinal = (uint32_t)ordinal;
	ret->confirmed = confirmed != 0;
	ret->by_copy = by_copy != 0;
	return members_parse(members, ret);
}

static int row_count(struct meta_reader *rd, enum meta_stmt_id id,
		     uint64_t *ret_count)
{
	_cleanup_stmt_ struct stmt *s = NULL;
	int r = stmt_borrow(&rd->conn, id, &s);

	return r < 0 ? r : stmt_count(s, ret_count);
}

static int epochs_read(struct meta_reader *rd, enum meta_stmt_id iter,
		       enum meta_stmt_id count_all, struct meta_epoch **ret_v,
		       size_t *ret_count)
{
	_cleanup_free_ struct meta_epoch *v = NULL;
	_cleanup_stmt_ struct stmt *s = NULL;
	uint64_t capacity;
	size_t count = 0;
	int r;

	/* First begun, then counted: both see the same, or outside a snapshot
	 * the count may be larger. */
	r = stmt_borrow(&rd->conn, iter, &s);
	if (r < 0)
		return r;
	r = stmt_step(s);
	if (r < 0)
		return r;
	if (r == 0)
		capacity = 0;
	else if ((r = row_count(rd, count_all, &capacity)) < 0)
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

int meta_epochs(struct meta_reader *rd, struct meta_epoch **ret_v,
		size_t *ret_count)
{
	return epochs_read(rd, STMT_EPOCH_ITER_ALL, STMT_EPOCH_COUNT_ALL, ret_v,
			   ret_count);
}

/* ---- laps that were not closed ---- */

void meta_laps_done(struct meta_laps *laps)
{
	free(laps->v);
	free(laps->epochs);
	*laps = (struct meta_laps){0};
}

int meta_laps_get(struct meta_reader *rd, struct meta_laps *ret)
{
	struct meta_laps laps = {0};
	size_t count;
	int r = epochs_read(rd, STMT_LAP_EPOCH_ITER_ALL,
			    STMT_LAP_EPOCH_COUNT_ALL, &laps.epochs, &count);

	if (r < 0)
		return r;
	laps.v = calloc(count + 1, sizeof(*laps.v));
	if (!laps.v) {
		meta_laps_done(&laps);
		return -ENOMEM;
	}
	for (size_t i = 0; i < count; i++) {
		if (laps.epochs[i].ordinal == 1)
			laps.v[laps.count++].epochs = &laps.epochs[i];
		if (laps.count)
			laps.v[laps.count - 1].count++;
	}
	if (count && !laps.count) {
		meta_laps_done(&laps);
		return -EUCLEAN;
	}
	*ret = laps;
	return 0;
}

static bool same_lineage(const struct meta_lap *lap, const struct meta_epoch *v,
			 size_t count)
{
	for (size_t i = 0; lap->count == count && i < count; i++)
		if (strcmp(lap->epochs[i].id, v[i].id))
			return false;
	return lap->count == count;
}

static int lap_put(struct meta *m, uint64_t lap, uint64_t ordinal,
		   const struct meta_epoch *e)
{
	char members[MEMBERS_TEXT_MAX];
	_cleanup_stmt_ struct stmt *s = NULL;
	int r = writer_borrow(m, STMT_LAP_EPOCH_PUT, &s);

	if (r < 0)
		return r;
	epoch_bind(s, e, members);
	stmt_bind_u64(s, ":lap", lap);
	stmt_bind_u64(s, ":ordinal", ordinal);
	r = writer_run(m, s);
	return r < 0 ? r : 0;
}

int meta_laps_add(struct meta *m, const struct meta_epoch *v, size_t count)
{
	struct meta_laps laps;
	bool known = false;
	uint64_t lap;
	int r = meta_laps_get(meta_writer_view(m), &laps);

	if (r < 0)
		return r;
	for (size_t i = 0; i < laps.count; i++)
		known = known || same_lineage(&laps.v[i], v, count);
	lap = laps.count + 1;
	meta_laps_done(&laps);
	if (known)
		return 0;
	for (size_t i = 0; i < count; i++) {
		r = lap_put(m, lap, i + 1, &v[i]);
		if (r < 0)
			return writer_spoil(m, r);
	}
	return 0;
}

int meta_laps_clear(struct meta *m)
{
	_cleanup_stmt_ struct stmt *s = NULL;
	int r = writer_borrow(m, STMT_LAP_EPOCH_DEL_ALL, &s);

	if (r < 0)
		return r;
	r = writer_run(m, s);
	return r < 0 ? r : 0;
}
