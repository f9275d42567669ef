/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sums over the delta, and the check of the whole database.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "meta/db.h"

/* Everything behind this id has a higher seq. */
#define PAST_ALL INT64_MAX

static int sum_nodes(struct meta_reader *rd, uint64_t seq, uint64_t row_max,
		     struct meta_delta_sum *sum)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_node node;
	int r = meta_iter_nodes_since(rd, seq, PAST_ALL, &it);

	if (r < 0)
		return r;
	while ((r = meta_next_node(&it, &node)) > 0) {
		if (sum->nodes == row_max) {
			sum->exact = false;
			return 0;
		}
		sum->nodes++;
	}
	return r;
}

static int sum_extents(struct meta_reader *rd, uint64_t seq, uint64_t row_max,
		       struct meta_delta_sum *sum)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_extent ext;
	uint64_t count = 0;
	uint64_t len;
	int r = meta_iter_extents_since(rd, seq, PAST_ALL, PAST_ALL, &it);

	if (r < 0)
		return r;
	while ((r = meta_next_extent(&it, &ext)) > 0) {
		if (count == row_max) {
			sum->exact = false;
			return 0;
		}
		count++;
		len = ext.end - ext.start;
		sum->bytes = len > UINT64_MAX - sum->bytes ? UINT64_MAX
							   : sum->bytes + len;
	}
	return r;
}

int meta_delta_sum(struct meta_reader *rd, uint64_t seq, uint64_t row_max,
		   struct meta_delta_sum *ret_sum)
{
	struct meta_delta_sum sum = {.exact = true};
	int r;

	r = sum_nodes(rd, seq, row_max, &sum);
	if (r == 0)
		r = sum_extents(rd, seq, row_max - sum.nodes, &sum);
	if (r < 0)
		return r;
	*ret_sum = sum;
	return 0;
}

int meta_integrity(struct meta_reader *rd)
{
	_cleanup_stmt_ struct stmt *s = NULL;
	char text[512];
	int sound = 1;
	int r = stmt_borrow(&rd->conn, STMT_DATABASE_CHECK_PAGES, &s);

	if (r < 0)
		return r == -EUCLEAN ? 0 : r;
	while ((r = stmt_step(s)) > 0) {
		r = stmt_column_copy(s, 0, text, sizeof(text));
		if (r >= 0 && strcmp(text, "ok") == 0)
			continue;
		log_err("the map is damaged: path=%s what=%s",
			rd->meta->told_path, r < 0 ? "?" : text);
		sound = 0;
	}
	if (r == -EUCLEAN) {
		log_err("the map is damaged: path=%s", rd->meta->told_path);
		return 0;
	}
	return r < 0 ? r : sound;
}
