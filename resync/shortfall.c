/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Has the target's disk room for what a lap will write?
 *
 * Only a dry run knows how much of it falls where the target has nothing yet.
 * It is made when the sum of the delta does not fit anyway, so that a lap for
 * which there is plenty of room is not planned twice.  Such a lap takes away all
 * that goes before it writes, so that room counts too (freed.c).
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/fault.h"
#include "base/text.h"
#include "resync/lap.h"

/* Rows summed up at most; more of them are planned. */
#define SUM_ROWS 8000000u

static int free_bytes(const struct store *s, uint64_t *ret)
{
	struct statvfs v;
	int r = store_statvfs(s, &v);

	if (r < 0)
		return r;
	*ret = (uint64_t)v.f_bavail * (v.f_frsize ? v.f_frsize : v.f_bsize);
	if (!v.f_blocks) /* it does not tell its size */
		*ret = UINT64_MAX;
	return 0;
}

int shortfall_count(struct lap *lap)
{
	struct resync_counts *n = lap->n;
	uint64_t room = 0;
	int r = free_bytes(lap->dst->store, &room);

	n->bytes_short = n->bytes_needed - MIN(n->bytes_needed, room);
	if (r == 0 && n->bytes_short)
		r = freed_sum(lap, n->bytes_short);
	n->bytes_short -= MIN(n->bytes_short, n->bytes_freed);
	return r;
}

/* 1: it certainly has room. */
static int is_plenty(const struct resync_lap_args *args)
{
	struct meta_reader *rd = meta_reader_get(args->source.meta);
	struct meta_delta_sum sum;
	uint64_t room = 0;
	int r;

	if (!rd)
		return -EIO;
	r = meta_delta_sum(rd, args->from, SUM_ROWS, &sum);
	meta_reader_put(rd);
	if (r == 0)
		r = free_bytes(args->target.store, &room);
	return r < 0 ? r : sum.exact && sum.bytes <= room;
}

int shortfall_plan(const struct resync_lap_args *args,
		   struct resync_counts *counts)
{
	struct resync_control control = {.dry_run = true};
	struct resync_lap_args dry = *args;
	struct resync_counts forecast = {0};
	int r;

	if (args->control) {
		control.should_stop = args->control->should_stop;
		control.arg = args->control->arg;
	}
	dry.control = &control;
	r = resync_lap(&dry, &forecast);
	if (r == 0)
		counts->bytes_short = forecast.bytes_short;
	return r;
}

int shortfall_tight(const struct resync_lap_args *args, bool *ret_tight)
{
	int r = is_plenty(args);

	*ret_tight = FAULT_NUMBER("resync.tight", r == 0) != 0;
	return MIN(r, 0);
}

int shortfall_check(const struct resync_lap_args *args,
		    struct resync_counts *counts)
{
	int r = shortfall_plan(args, counts);

	if (r < 0)
		return r;
	return counts->bytes_short ? -ENOSPC : 0;
}

void resync_why(int err, const struct resync_counts *counts, char *why,
		size_t why_len)
{
	char size[SIZE_TEXT_MAX];

	if (err == -ENOSPC && counts->bytes_short)
		(void)snprintf(why, why_len,
			       "its disk is too small: %s (%llu bytes) more "
			       "than is free are needed",
			       size_format(size, counts->bytes_short),
			       (unsigned long long)counts->bytes_short);
	else if (err == -EREMOTEIO && counts->bytes_unreadable)
		(void)snprintf(
			why, why_len,
			"%s can be read on no store that was asked; all "
			"else is there; the log names the files: restore "
			"or remove them",
			size_format(size, counts->bytes_unreadable));
	else if (err == -EXDEV)
		(void)snprintf(why, why_len,
			       "another filesystem is mounted inside of the "
			       "store; the log names the place: unmount it");
	else
		(void)snprintf(why, why_len, "%s", strerror(-err));
}
