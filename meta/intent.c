/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Intents: what a crash would leave in doubt.
 *
 * The key of a row is the whole row, so that one of the next generation over
 * the same range stands beside the old one and outlives it.
 */
#include <assert.h>
#include <errno.h>

#include "meta/db.h"

/* Whole blocks, none, or what a file may have at most. */
static bool range_is_one(const struct meta_intent *in)
{
	return in->start % META_BLOCK == 0 && in->end % META_BLOCK == 0 &&
	       in->start <= in->end && in->end <= META_RANGE_MAX;
}

static void intent_bind(struct stmt *s, const struct meta_intent *in)
{
	stmt_bind_u64(s, ":node", in->node);
	stmt_bind_u64(s, ":kind", in->kind);
	stmt_bind_u64(s, ":start", in->start);
	stmt_bind_u64(s, ":end", in->end);
	stmt_bind_u64(s, ":generation", in->generation);
}

int meta_intent_put(struct meta *m, const struct meta_intent *in)
{
	_cleanup_stmt_ struct stmt *s = NULL;
	int r;

	assert(range_is_one(in));
	r = writer_borrow(m, STMT_INTENT_PUT, &s);
	if (r < 0)
		return r;
	intent_bind(s, in);
	r = writer_run(m, s);
	return r < 0 ? r : 0;
}

int meta_intent_drop_through(struct meta *m, uint64_t generation)
{
	_cleanup_stmt_ struct stmt *s = NULL;
	int r;

	r = writer_borrow(m, STMT_INTENT_DROP_THROUGH, &s);
	if (r < 0)
		return r;
	stmt_bind_bound(s, ":generation", generation);
	r = writer_run(m, s);
	return r < 0 ? r : 0;
}

int meta_intent_drop(struct meta *m, const struct meta_intent *in)
{
	_cleanup_stmt_ struct stmt *s = NULL;
	int r;

	r = writer_borrow(m, STMT_INTENT_DROP_ONE, &s);
	if (r < 0)
		return r;
	intent_bind(s, in);
	r = writer_run(m, s);
	return r < 0 ? r : 0;
}

int meta_intent_drop_all(struct meta *m)
{
	_cleanup_stmt_ struct stmt *s = NULL;
	int r;

	r = writer_borrow(m, STMT_INTENT_DROP_ALL, &s);
	if (r < 0)
		return r;
	r = writer_run(m, s);
	return r < 0 ? r : 0;
}

int meta_iter_intents(struct meta_reader *rd, struct meta_iter *ret_it)
{
	struct stmt *s;

	return iter_open(rd, STMT_INTENT_ITER_ALL, ret_it, &s);
}

int meta_next_intent(struct meta_iter *it, struct meta_intent *ret)
{
	struct meta_intent in = {0};
	uint64_t kind;
	int r = stmt_step(it->stmt);

	if (r <= 0)
		return r;
	r = stmt_column_u64(it->stmt, 0, &in.node);
	if (r == 0)
		r = stmt_column_u64(it->stmt, 1, &kind);
	if (r == 0)
		r = stmt_column_u64(it->stmt, 2, &in.start);
	if (r == 0)
		r = stmt_column_u64(it->stmt, 3, &in.end);
	if (r == 0)
		r = stmt_column_u64(it->stmt, 4, &in.generation);
	if (r < 0)
		return r;
	if (kind < META_INTENT_DATA || kind > META_INTENT_ATTR ||
	    !range_is_one(&in))
		return -EUCLEAN;
	in.kind = (enum meta_intent_kind)kind;
	*ret = in;
	return 1;
}

int meta_intent_count(struct meta_reader *rd, uint64_t *ret_count)
{
	_cleanup_stmt_ struct stmt *s = NULL;
	int r = stmt_borrow(&rd->conn, STMT_INTENT_COUNT_ALL, &s);

	return r < 0 ? r : stmt_count(s, ret_count);
}

int meta_intent_count_of(struct meta_reader *rd, uint64_t generation,
			 uint64_t *ret_count)
{
	_cleanup_stmt_ struct stmt *s = NULL;
	int r = stmt_borrow(&rd->conn, STMT_INTENT_COUNT_GENERATION, &s);

	if (r < 0)
		return r;
	stmt_bind_u64(s, ":generation", generation);
	return stmt_count(s, ret_count);
}
