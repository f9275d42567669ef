/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One lap: the target is brought from whatever it is to what the source's map
 * says, up to the cut or a little beyond.
 *
 *	begin	the map says "resyncing", and from whom; the target's own
 *		intents are read
 *	names	what must leave its place goes to limbo/, everything is placed,
 *		limbo/ is drained, what is new is made
 *	data	ranges in doubt are compared, extents of the delta copied
 *	attrs	unmaps and attributes of files, then of directories
 *	close	one transaction: durable_seq, lineage, no intents but the kept
 *
 * Names, data and attributes make a round.  Where a round finds that files of
 * the target are not where its map says, they are forgotten there and another
 * round makes them anew.
 *
 * Where the target has room only for what is left when all that goes is gone,
 * limbo/ is drained before anything is placed too, and what the source has
 * unmapped goes before anything is made, all durably (lap_unmap()).  A plain lap
 * unmaps last: then each file is opened once for it and its attributes.
 *
 * What a crash or a cut leaves: every change of a directory lies under a NAME
 * intent committed before it, every change of a file under a DATA or ATTR
 * intent, or the file is new and lies in a directory under a NAME intent.  The
 * next lap begins with those (doubt.c, reconcile.c).  Rows are written when
 * what they say is durable, or lies under an intent that stays.
 *
 * A live source moves on.  Each directory is listed in a snapshot of its own,
 * so a node may be met twice or not at all; whatever does not fit is left, for
 * a change with a number above the cut explains it, and the next lap sees it.
 * Where the source was ahead of the cut the target's intents stay (keep.c).
 * The last lap, and one from an unmounted source, finds nothing of the kind:
 * there it is an error.
 *
 * No lock and no transaction is held while a live source's files are opened:
 * the mirror's own locks rank below the map's writer.
 *
 * A dry run goes the same way.  Its changes of rows are made in one
 * transaction of the target's map that is rolled back, its calls on files are
 * left out, and what is only worked out from rows comes out the same.
 */
#include "resync/lap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "resync/map_path.h"

/* Rows of the delta that are summed up at most, to tell how long it takes. */
#define SUM_ROWS 8000000u

/* ---- counts, limits, the caller's word ---- */

static void lap_report(struct lap *lap)
{
	const struct resync_control *c = lap->args->control;
	struct resync_progress p = {.counts = *lap->n, .phase = lap->phase};
	uint64_t extra = lap->skipped_bytes;
	double seconds;

	if (!c || !c->progress)
		return;
	/* New files are met again among the extents of the delta. */
	extra -= MIN(extra, lap->filled_bytes);
	p.bytes_done = lap->n->bytes_copied - lap->copied_before + extra;
	p.bytes_total = MAX(lap->total, p.bytes_done);
	seconds = (double)(clock_mono_ns() - lap->begun_ns) / 1e9;
	if (seconds > 0)
		p.rate_bytes = (double)p.bytes_done / seconds;
	p.eta_seconds = -1;
	if (lap->total_known && p.rate_bytes > 0)
		p.eta_seconds =
			(double)(p.bytes_total - p.bytes_done) / p.rate_bytes;
	p.counts.seconds += seconds;
	c->progress(c->arg, &p);
}

int lap_poll(struct lap *lap)
{
	const struct resync_control *c = lap->args->control;

	lap_report(lap);
	if (c && c->should_stop && c->should_stop(c->arg))
		return -ECANCELED;
	return 0;
}

/* Sleep until the bytes of the past are paid for. */
static int lap_throttle(struct lap *lap, uint64_t bytes)
{
	const struct resync_control *c = lap->args->control;
	uint64_t now;
	int r = 0;

	if (!c || !c->bytes_per_second || lap->dry)
		return 0;
	now = clock_mono_ns();
	/* A quarter of a second may be caught up after a pause, no more. */
	lap->throttle_ns = MAX(lap->throttle_ns, now - CLOCK_NS_PER_SEC / 4);
	lap->throttle_ns +=
		(uint64_t)((double)bytes * 1e9 / (double)c->bytes_per_second);
	while (r == 0 && (now = clock_mono_ns()) < lap->throttle_ns) {
		uint64_t wait_ms =
			(lap->throttle_ns - now) / CLOCK_NS_PER_MS + 1;

		clock_sleep_ms(MIN(wait_ms, (uint64_t)100));
		r = lap_poll(lap);
	}
	return r;
}

int lap_moved(struct lap *lap, uint64_t bytes)
{
	int r;

	lap->n->bytes_copied += bytes;
	r = lap_throttle(lap, bytes);
	return r < 0 ? r : lap_poll(lap);
}

/* ---- transactions of the target's map ---- */

int lap_begin(struct lap *lap)
{
	int r;

	if (lap->in_txn)
		return 0;
	r = meta_begin(lap->dst->meta);
	if (r < 0)
		return r;
	lap->in_txn = true;
	lap->rows = 0;
	lap->t = meta_writer_view(lap->dst->meta);
	return 0;
}

int lap_commit(struct lap *lap)
{
	int r;

	if (!lap->in_txn || lap->dry)
		return 0;
	r = meta_commit(lap->dst->meta);
	lap->in_txn = false;
	lap->t = lap->plain;
	return r;
}

static void lap_rollback(struct lap *lap)
{
	if (!lap->in_txn)
		return;
	meta_rollback(lap->dst->meta);
	lap->in_txn = false;
	lap->t = lap->plain;
}

int lap_step(struct lap *lap, unsigned int rows)
{
	int r;

	lap->rows += rows;
	if (lap->rows < LAP_ROWS || lap->dry)
		return 0;
	r = lap_commit(lap);
	if (r == 0)
		r = lap_poll(lap);
	return r < 0 ? r : lap_begin(lap);
}

/* ---- the two sides ---- */

int lap_source_err(const struct lap *lap, int r)
{
	if (r >= 0 || !lap->src->live || r == -ENOENT || r == -ECANCELED ||
	    store_error_is_ours(r))
		return r;
	log_warn("the source of a resync failed: store=%s error=%s",
		 store_path(lap->src->store), strerror(-r));
	return -EAGAIN;
}

int lap_copy_attrs(const struct lap *lap, const struct meta_node *theirs,
		   int sfd, int tfd, struct meta_ctime *ret_ctime)
{
	struct store_attr_error e;
	int r = store_copy_attrs(lap->src->store, (struct store_obj){sfd},
				 lap->dst->store, (struct store_obj){tfd}, &e);

	if (r >= 0)
		return ctime_copied(lap, theirs, sfd, tfd, ret_ctime);
	if (!e.of_source)
		return misfit_attrs(lap, r, theirs->id, &e);
	log_err("attributes cannot be read: store=%s node=%llu error=%s",
		store_path(lap->src->store), (unsigned long long)theirs->id,
		strerror(-r));
	return lap_source_err(lap, r);
}

int lap_incomplete(struct lap *lap, struct work_dir *wd, const char *what)
{
	if (wd)
		wd->incomplete = true;
	if (!lap->args->last)
		return 0;
	log_err("the source's map and files disagree: store=%s node=%llu "
		"what=%s",
		store_path(lap->src->store),
		(unsigned long long)(wd ? wd->id : 0), what);
	return -EUCLEAN;
}

void lap_claim(const struct lap *lap, const struct meta_node *theirs,
	       struct meta_node *own)
{
	own->seq = lap_seq(lap, theirs->seq);
	own->attr_seq = lap_seq(lap, theirs->attr_seq);
}

uint64_t lap_seq(const struct lap *lap, uint64_t seq)
{
	return MIN(seq, lap->args->cut);
}

/* Under a live source's hands a name may lead elsewhere for a moment, and a dry
 * run has the source as a crash has left it, or with identities of what it was
 * copied from. */
static bool leads_elsewhere(struct lap *lap)
{
	uint64_t intents;

	if (lap->src->live || !lap->dry)
		return lap->src->live;
	return (!meta_intent_count(lap->s, &intents) && intents) ||
	       side_is_copied(lap->src, lap->s) > 0;
}

int lap_source_open(struct lap *lap, uint64_t node, int flags)
{
	int fd = side_open_node(lap->src, lap->s, node, flags, NULL);

	if (fd == -ESTALE && leads_elsewhere(lap))
		return -ENOENT; /* as good as gone */
	return misfit_shut(lap, lap_source_err(lap, fd), node);
}

/* A void identity is known from now on. Outside of a transaction it waits for
 * the row to be written. */
static int lap_adopt(struct lap *lap, const struct meta_node *row)
{
	struct meta_node old;
	int r;

	if (lap->dry || !lap->in_txn)
		return 0;
	r = meta_node_get(lap->t, row->id, &old);
	if (r < 0 || old.backing.ino != 0)
		return r;
	return meta_node_set_backing(lap->dst->meta, row->id, row->backing);
}

int lap_copied_open(struct lap *lap, const struct meta_node *row, int flags)
{
	_cleanup_free_ char *path = NULL;
	_cleanup_close_ int fd = -1;
	struct store_stat st;
	int r;

	if (lap->doubt.own.count > 0)
		return -ESTALE;
	r = map_node_path(lap->plain, row->id, &path);
	if (r <= 0)
		return r < 0 ? r : -ENOENT;
	fd = store_open_path(lap->dst->store, path, flags);
	if (fd < 0)
		return fd == -EXDEV ? -ESTALE : fd;
	r = store_fstat(lap->dst->store, fd, 0, &st);
	if (r < 0)
		return r;
	return meta_kind_of(st.st.st_mode) == row->kind &&
			       !store_stat_is_apart(&st)
		       ? steal_fd(&fd)
		       : -ESTALE;
}

int lap_target_open(struct lap *lap, uint64_t node, int flags,
		    struct meta_node *ret_row)
{
	_cleanup_close_ int fd = -1;
	struct meta_node row;
	int r;

	if (lap->dry && lap->copied) {
		r = meta_node_get(lap->plain, node, &row);
		fd = r < 0 ? r : lap_copied_open(lap, &row, flags);
	} else {
		fd = side_open_node(lap->dst, lap->t, node, flags, &row);
	}
	if (fd < 0)
		return misfit_node(lap, fd, node, "contents");
	r = lap_adopt(lap, &row);
	if (r < 0)
		return r;
	if (ret_row)
		*ret_row = row;
	return steal_fd(&fd);
}

static int found_or_not(int r)
{
	if (r == -ENOENT)
		return 0;
	return r < 0 ? r : 1;
}

int lap_source_row(struct lap *lap, uint64_t node, struct meta_node *ret)
{
	if (node >= LAP_FOREIGN_ID)
		return 0;
	return found_or_not(meta_node_get(lap->s, node, ret));
}

int lap_target_row(struct lap *lap, uint64_t node, struct meta_node *ret)
{
	/* Once a dry run has rolled back, the numbers are the old ones. */
	if (lap->dry && !lap->in_txn && idmap_get(&lap->renumbered, node))
		return 0;
	return found_or_not(meta_node_get(lap->t, node, ret));
}

int lap_source_named(struct lap *lap, uint64_t node)
{
	struct meta_dentry d;

	if (node == META_ROOT_ID)
		return 1;
	if (node >= LAP_FOREIGN_ID)
		return 0;
	return found_or_not(meta_dentry_of(lap->s, node, &d));
}

int lap_entry(struct meta_reader *rd, uint64_t parent, const char *name,
	      size_t len, struct meta_dentry *ret)
{
	return found_or_not(meta_dentry_get(rd, parent, name, len, ret));
}

int lap_sync_fd(struct lap *lap, int fd, bool data_only)
{
	if (store_caps(lap->dst->store)->syncfs_complete)
		return 0;
	return store_fsync(lap->dst->store, fd, data_only);
}

int lap_sync(struct lap *lap)
{
	int r = lap->dry ? 0 : FAULT_ERR("resync.sync");

	if (r < 0 || lap->dry)
		return r;
	return store_syncfs(lap->dst->store);
}

/* ---- begin and end ---- */

/* Above from the sides number each for itself: rows of the source are not to be
 * merged with the target's own under a number that the source never gave. */
static int lower_horizon(struct lap *lap)
{
	uint64_t own;
	int r = meta_number_get(lap->t, META_NUM_HORIZON, &own);

	if (r < 0 || own <= lap->args->from)
		return r;
	return meta_number_set(lap->dst->meta, META_NUM_HORIZON,
			       lap->args->from);
}

static int mark_rows(struct lap *lap)
{
	_cleanup_free_ struct meta_epoch *epochs = NULL;
	struct meta *meta = lap->dst->meta;
	uint64_t marked, from;
	size_t count;
	int r;

	r = meta_epochs(lap->s, &epochs, &count);
	if (r < 0)
		return lap_source_err(lap, r);
	r = meta_number_get(lap->t, META_NUM_RESYNCING, &marked);
	if (r == 0)
		r = meta_number_get(lap->t, META_NUM_RESYNC_FROM, &from);
	if (r == 0)
		r = meta_number_set(meta, META_NUM_RESYNCING, 1);
	if (r == 0 && (!marked || from > lap->args->from))
		r = meta_number_set(meta, META_NUM_RESYNC_FROM,
				    lap->args->from);
	if (r == 0 && lap->args->both)
		r = lower_horizon(lap);
	return r < 0 ? r : meta_laps_add(meta, epochs, count);
}

/* Before anything changes: what is to be found here belongs to the source's
 * lineage as well, until the lap is closed (docs/model.md, 3). */
static int lap_mark(struct lap *lap)
{
	const struct resync_control *c = lap->args->control;
	int r = c && c->begin ? c->begin(c->begin_arg) : 0;

	if (r < 0)
		return r;
	/* It needs room to take away, too: the next checkpoint that finds some
	 * has it back. */
	if (lap->tight)
		ignore_result(meta_ballast_release(lap->dst->meta));
	/* First: a copy of which a resync has begun may be one that was in use. */
	r = side_forget_if_copied(lap->dst);
	if (r >= 0)
		r = lap_begin(lap);
	if (r == 0)
		r = mark_rows(lap);
	if (r == 0)
		r = lap_commit(lap);
	FAULT_POINT("resync.marked");
	return r;
}

static int lap_sum(struct lap *lap)
{
	const struct resync_control *c = lap->args->control;
	struct meta_delta_sum sum;
	int r;

	if (!c || !c->progress)
		return 0;
	r = meta_delta_sum(lap->s, lap->args->from, SUM_ROWS, &sum);
	if (r < 0)
		return lap_source_err(lap, r);
	lap->total = sum.bytes;
	lap->total_known = sum.exact;
	return 0;
}

/* Whose map has none is at fault, and another source may have one. */
static int lap_readers(struct lap *lap)
{
	int r = FAULT_ERR("resync.reader");

	lap->s = r < 0 ? NULL : meta_reader_get(lap->src->meta);
	if (!lap->s)
		return lap_source_err(lap, r < 0 ? r : mirror_reader_error());
	lap->plain = meta_reader_get(lap->dst->meta);
	lap->t = lap->plain;
	return lap->plain ? 0 : mirror_reader_error();
}

static int lap_open(struct lap *lap)
{
	int r = lap_readers(lap);

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(lap->buffer); i++) {
		lap->buffer[i] = malloc(LAP_BUFFER);
		if (!lap->buffer[i])
			r = -ENOMEM;
	}
	if (r < 0)
		return r;
	r = lap->dry ? side_is_copied(lap->dst, lap->plain) : lap_mark(lap);
	if (r < 0)
		return r;
	lap->copied = r > 0;
	r = meta_number_get(lap->s, META_NUM_HORIZON, &lap->horizon);
	if (r < 0)
		return lap_source_err(lap, r);
	r = meta_number_get(lap->plain, META_NUM_DURABLE_SEQ, &lap->durable);
	if (r == 0)
		r = lap_sum(lap);
	return r;
}

static void lap_done(struct lap *lap)
{
	lap_rollback(lap);
	meta_reader_put(lap->s);
	meta_reader_put(lap->plain);
	doubt_done(&lap->doubt);
	keep_free(&lap->keep);
	vec_done(&lap->dirs);
	vec_done(&lap->dir_rows);
	idmap_done(&lap->dir_index);
	vec_done(&lap->extra.v);
	vec_done(&lap->moved.v);
	idmap_done(&lap->armed);
	idmap_done(&lap->written);
	idmap_done(&lap->climbed);
	idmap_done(&lap->renumbered);
	idmap_done(&lap->renumbered_from);
	freed_done(&lap->freed);
	idmap_done(&lap->filled);
	idmap_done(&lap->linked);
	vec_done(&lap->large.v);
	fill_done(&lap->fill);
	batch_done(&lap->now);
	batch_done(&lap->before);
	side_dirs_done(&lap->source_dirs);
	side_dirs_done(&lap->target_dirs);
	for (size_t i = 0; i < ARRAY_SIZE(lap->buffer); i++)
		free(lap->buffer[i]);
}

/*
 * Room for what comes, in a lap that has none else.  All that was removed and
 * unmapped lies under intents that stay until the lap is closed, as it would if
 * that came last; what the source has written there meanwhile has a number above
 * the cut.  Some filesystems have the room only when it is durable.
 */
static int lap_unmap(struct lap *lap, bool first)
{
	int r = 0;

	if (first)
		r = compare_unmap(lap);
	if (r == 0 && first)
		r = attr_unmap(lap);
	FAULT_POINT("resync.unmapped");
	return r < 0 ? r : lap_sync(lap);
}

static int lap_names(struct lap *lap, bool first)
{
	int r;

	lap->phase = "names";
	r = lap_begin(lap);
	if (r == 0 && first) {
		if (lap->args->both)
			r = tree_renumber(lap);
		if (r == 0)
			r = reconcile(lap);
		if (r == 0)
			r = tree_begin(lap);
	}
	if (r == 0)
		r = tree_round(lap);
	if (r == 0)
		r = limbo_drain(lap);
	if (r == 0)
		r = lap_commit(lap);
	if (r == 0 && lap->tight && !lap->dry)
		r = lap_unmap(lap, first);
	if (r == 0)
		r = fill_round(lap);
	/* A dry run's changes end here: files still lie where they did. */
	lap_rollback(lap);
	return r;
}

/* The directories that were asked for meanwhile are the next round's. */
static int lap_next_round(struct lap *lap)
{
	int r = 0;

	lap->round_at = lap->dirs.count;
	for (size_t i = 0; r == 0 && i < lap->extra.v.count; i++)
		r = tree_add(lap, lap->extra.v.data[i]);
	vec_clear(&lap->extra.v);
	return r;
}

/* Each round can only ask for directories further up: it ends. */
#define ROUNDS_MAX 4096u

static int lap_rounds(struct lap *lap)
{
	int r = 0;

	for (unsigned int round = 0; r == 0 && round < ROUNDS_MAX; round++) {
		r = lap_names(lap, round == 0);
		lap->phase = "data";
		if (r == 0 && round == 0)
			r = compare_doubt(lap);
		if (r == 0)
			r = copy_large(lap);
		if (r == 0 && round == 0)
			r = copy_delta(lap);
		lap->phase = "attributes";
		if (r == 0 && round == 0)
			r = attr_files(lap);
		if (r == 0 && lap->extra.v.count == 0)
			r = attr_dirs(lap);
		if (r == 0 && lap->extra.v.count == 0)
			return ctime_names(lap);
		if (r == 0)
			r = lap_next_round(lap);
	}
	return r < 0 ? r : -EUCLEAN;
}

static int lap_run(const struct resync_lap_args *args,
		   struct resync_counts *counts, bool tight)
{
	struct lap *lap = calloc(1, sizeof(*lap));
	int r;

	if (!lap)
		return -ENOMEM;
	lap->args = args;
	lap->source = args->source;
	lap->source.dirs = &lap->source_dirs;
	lap->src = &lap->source;
	lap->target = args->target;
	lap->target.dirs = &lap->target_dirs;
	lap->target.unproved = &lap->doubt.dirs;
	lap->dst = &lap->target;
	lap->n = counts;
	lap->dry = args->control && args->control->dry_run;
	if (args->control) {
		lap->target.should_stop = args->control->should_stop;
		lap->target.stop_arg = args->control->arg;
	}
	lap->tight = tight;
	/* A live source goes on counting while the lap looks at it. */
	lap->limit = args->source.live ? mirror_seq(args->source.live)
				       : UINT64_MAX;
	lap->begun_ns = clock_mono_ns();
	lap->copied_before = counts->bytes_copied;
	counts->bytes_unreadable = 0;
	counts->misfit_err = 0;
	lap->phase = "begin";
	r = lap_open(lap);
	if (r == 0)
		r = doubt_load(lap);
	if (r == 0)
		r = lap_settle(lap);
	if (r == 0)
		r = lap_poll(lap);
	if (r == 0)
		r = lap_rounds(lap);
	/* All else is there, and need not be copied again. */
	if (r == 0 && !lap->dry)
		r = counts->bytes_unreadable ? -EREMOTEIO : lap_close(lap);
	if (r == 0 && lap->dry)
		r = shortfall_count(lap);
	if (counts->laps == 0)
		counts->from_seq = args->from;
	counts->to_seq = args->cut;
	counts->laps++;
	counts->seconds += (double)(clock_mono_ns() - lap->begun_ns) / 1e9;
	lap_done(lap);
	free(lap);
	return r;
}

int resync_lap(const struct resync_lap_args *args, struct resync_counts *counts)
{
	bool dry = args->control && args->control->dry_run;
	bool tight;
	int r;

	r = shortfall_tight(args, &tight);
	/* What applications write during the first lap nobody could foresee. */
	if (r == 0 && tight && !dry && counts->laps == 0)
		r = shortfall_check(args, counts);
	if (r < 0)
		return r;
	r = lap_run(args, counts, tight);
	/* Somebody else was faster: what is lacking now. */
	if (!dry && r == -ENOSPC && shortfall_plan(args, counts) < 0)
		counts->bytes_short = counts->inodes_short = 0;
	return r;
}
