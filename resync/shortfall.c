/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Has the target's disk room for what a lap will write, and inodes?
 *
 * Only a dry run knows how much of it falls where the target has nothing yet.
 * It is made when the sum of the delta does not fit anyway, so that a lap for
 * which there is plenty of room is not planned twice.  Such a lap takes away all
 * that goes before it writes, so that room counts too (freed.c).
 */
#include <errno.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/text.h"
#include "resync/lap.h"

/* Rows summed up at most; more of them are planned. */
#define SUM_ROWS 8000000u

/* What the target's disk has; UINT64_MAX: it does not tell. */
struct room {
	uint64_t bytes;
	uint64_t inodes;
};

/* What a new node takes besides: its entry, an inode of an xfs, rows and their
 * indexes in the map. */
#define NODE_BYTES 512u

/* xfs makes inodes of free blocks as it needs them, others have no limit. */
static bool inodes_are_counted(const struct store *s, const struct statvfs *v)
{
	return v->f_files && store_caps(s)->fs_type != XFS_SUPER_MAGIC;
}

/* Without the map's ballast, where that was given up. */
static int room_get(const struct resync_side *side, struct room *ret)
{
	const struct store *s = side->store;
	uint64_t ballast = meta_ballast_missing(side->meta);
	struct statvfs v;
	int r = store_statvfs(s, &v);

	if (r < 0)
		return r;
	ret->bytes = UINT64_MAX;
	if (v.f_blocks) {
		ret->bytes = (uint64_t)v.f_bavail *
			     (v.f_frsize ? v.f_frsize : v.f_bsize);
		ret->bytes -= MIN(ret->bytes, ballast);
	}
	ret->inodes = inodes_are_counted(s, &v) ? (uint64_t)v.f_favail
						: UINT64_MAX;
	return 0;
}

int shortfall_count(struct lap *lap)
{
	struct resync_counts *n = lap->n;
	struct room room;
	uint64_t bytes = n->bytes_needed + n->inodes_needed * NODE_BYTES;
	int r = room_get(lap->dst, &room);

	if (r < 0)
		return r;
	n->bytes_short = bytes - MIN(bytes, room.bytes);
	n->inodes_short = n->inodes_needed - MIN(n->inodes_needed, room.inodes);
	if (n->bytes_short || n->inodes_short)
		r = freed_sum(lap, n->bytes_short, n->inodes_short);
	n->bytes_short -= MIN(n->bytes_short, n->bytes_freed);
	n->inodes_short -= MIN(n->inodes_short, n->inodes_freed);
	return r;
}

/* 1: it certainly has room. */
static int is_plenty(const struct resync_lap_args *args)
{
	struct meta_reader *rd = meta_reader_get(args->source.meta);
	struct meta_delta_sum sum;
	struct room room;
	int r;

	if (!rd)
		return -EIO;
	r = meta_delta_sum(rd, args->from, SUM_ROWS, &sum);
	meta_reader_put(rd);
	if (r == 0)
		r = room_get(&args->target, &room);
	return r < 0 ? r
		     : sum.exact && sum.nodes <= room.inodes &&
			       sum.bytes + sum.nodes * NODE_BYTES <= room.bytes;
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
	if (r == 0) {
		counts->bytes_short = forecast.bytes_short;
		counts->inodes_short = forecast.inodes_short;
	}
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
	return counts->bytes_short || counts->inodes_short ? -ENOSPC : 0;
}

static const char *refusal_hint(int err)
{
	if (err == -EBUSY)
		return " (is another filesystem mounted there? unmount it)";
	if (err != -EPERM)
		return "";
	return geteuid() == 0 ? " (is it immutable? lsattr)"
			      : " (has it an owner or a group that you may not "
				"give, or is it immutable? ls -l, lsattr)";
}

void resync_why_dry(int err, const struct resync_counts *counts, char *why,
		    size_t why_len)
{
	if (err != -EACCES) {
		resync_why(err, counts, why, why_len);
		return;
	}
	(void)snprintf(why, why_len,
		       "%s shuts its owner out by its mode, and a dry run "
		       "changes no modes: only the resync itself can look "
		       "there",
		       counts->misfit_err == err ? counts->misfit
						 : "something in it");
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
	else if (err == -ENOSPC && counts->inodes_short)
		(void)snprintf(why, why_len,
			       "its filesystem has too few inodes: %llu more "
			       "than are free are needed",
			       (unsigned long long)counts->inodes_short);
	else if (err == counts->misfit_err && misfit_is_refusal(err))
		(void)snprintf(why, why_len, "%s: %s%s", counts->misfit,
			       strerror(-err), refusal_hint(err));
	else if (err == counts->misfit_err)
		(void)snprintf(why, why_len,
			       "its filesystem cannot hold %s: %s",
			       counts->misfit, strerror(-err));
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
	else if (err == -EUCLEAN)
		(void)snprintf(why, why_len,
			       "damage was found, in a map or in a filesystem; "
			       "'seqmirror check' of both stores, or the "
			       "kernel's log, says where");
	else
		(void)snprintf(why, why_len, "%s", strerror(-err));
}
