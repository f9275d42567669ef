/* SPDX-License-Identifier: Apache-2.0 */
#include "resync/rebuild.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/text.h"
#include "resync/lineage.h"
#include "resync/reach.h"
#include "resync/side.h"
#include "resync/volume_making.h"

#define REBUILD_COMMIT_ROWS 100000u

/* What the map of a copy is still believed. */
struct past {
	uint64_t reserved_seq;
	uint64_t reserved_node;
	uint64_t durable_seq;
	bool begun; /* it is that of an attempt that was cut */
	bool armed; /* by operations, or a lap that was cut */
	struct meta_epoch *epochs;
	size_t count;
	struct meta_laps laps;
};

static void past_done(struct past *p)
{
	free(p->epochs);
	meta_laps_done(&p->laps);
	*p = (struct past){0};
}

struct rebuild {
	struct store *store;
	struct making_store made; /* the store and its new map */
	struct scan_numbers numbers;
	char *why;
	size_t why_len;
	enum rebuild_what what;
	struct past past; /* of a copy */
};

static int refuse(struct rebuild *r, int err, const char *fmt, ...)
	__attribute__((__format__(__printf__, 3, 4)));

static int refuse(struct rebuild *r, int err, const char *fmt, ...)
{
	va_list args;

	if (!r->why_len || r->why[0])
		return err;
	va_start(args, fmt);
	(void)vsnprintf(r->why, r->why_len, fmt, args);
	va_end(args);
	return err;
}

/* ---- is it lost? ---- */

static int lost(char **ret_why, const char *why)
{
	*ret_why = strdup(why);
	return *ret_why ? 1 : -ENOMEM;
}

static int look_inside(const struct store *store, struct meta *meta,
		       bool thorough, char **ret_why)
{
	const struct store_identity *id = store_identity(store);
	_cleanup_free_ struct meta_epoch *epochs = NULL;
	struct meta_reader *rd;
	size_t count = 0;
	int r;

	if (strcmp(meta_store_uuid(meta), id->store_uuid) ||
	    strcmp(meta_volume_uuid(meta), id->volume_uuid))
		return lost(ret_why, "It is the map of another store.");
	rd = meta_reader_get(meta);
	if (!rd)
		return -EIO;
	r = meta_epochs(rd, &epochs, &count);
	if (r == 0 && thorough) {
		r = meta_integrity(rd);
		r = r == 0 ? -EUCLEAN : MIN(r, 0);
	}
	meta_reader_put(rd);
	if (r == -EUCLEAN)
		return lost(ret_why, "Pages of the map are damaged.");
	if (r == 0 && !count)
		return lost(ret_why, "The map was never finished.");
	return r;
}

int rebuild_is_lost(const struct store *store, bool thorough, char **ret_why)
{
	struct meta *meta = NULL;
	int r;

	*ret_why = NULL;
	r = meta_open(store_privdir(store), META_OPEN_RO, &meta, ret_why);
	if (r == -EUCLEAN || r == -ENOENT)
		return *ret_why ? 1 : lost(ret_why, "There is no map.");
	if (r < 0)
		return r;
	r = look_inside(store, meta, thorough, ret_why);
	meta_close(meta);
	return r;
}

/* ---- the old map aside, a new one in its place ---- */

enum {
	MAP_NOW,
	MAP_OLD,
};

/* The mark last: without it nobody would miss the WAL. */
static const char *const map_names[][2] = {
	{"meta.db-wal", "meta.db.old-wal"},
	{"meta.db", "meta.db.old"},
	{"meta.mark", "meta.mark.old"},
};

static int map_unlink(int fd, unsigned int which)
{
	for (size_t i = 0; i < ARRAY_SIZE(map_names); i++)
		if (unlinkat(fd, map_names[i][which], 0) < 0 && errno != ENOENT)
			return -errno;
	return 0;
}

static int map_rename(int fd, unsigned int from, unsigned int to)
{
	for (size_t i = 0; i < ARRAY_SIZE(map_names); i++)
		if (renameat(fd, map_names[i][from], fd, map_names[i][to]) <
			    0 &&
		    errno != ENOENT)
			return -errno;
	return 0;
}

static int set_aside(int fd)
{
	int err = 0;

	/* Of a second attempt only what it has made itself would be kept. */
	if (faccessat(fd, "meta.db.old", F_OK, AT_SYMLINK_NOFOLLOW) < 0)
		err = map_rename(fd, MAP_NOW, MAP_OLD);
	if (!err)
		err = map_unlink(fd, MAP_NOW);
	return !err && fsync(fd) < 0 ? -errno : err;
}

/* @made: what lies in its place now is of a new one. */
static int put_back(int fd, bool made)
{
	int err = made ? map_unlink(fd, MAP_NOW) : 0;

	if (!err)
		err = map_rename(fd, MAP_OLD, MAP_NOW);
	return !err && fsync(fd) < 0 ? -errno : err;
}

struct new_map {
	struct reach_job base; /* first */
	const struct store *store;
	bool of_copy;
	struct past past;
	struct meta *meta;
	char *why;
};

static int read_past(struct meta *meta, struct past *ret)
{
	struct meta_reader *rd = meta_reader_get(meta);
	struct lineage_of of = {0};
	uint64_t copy = 0;
	int err = rd ? lineage_load(meta, rd, NULL, &of) : -EIO;

	if (!err)
		err = meta_number_get(rd, META_NUM_COPY, &copy);
	if (!err)
		err = meta_number_get(rd, META_NUM_SEQ_RESERVED,
				      &ret->reserved_seq);
	if (!err)
		err = meta_number_get(rd, META_NUM_NODE_RESERVED,
				      &ret->reserved_node);
	meta_reader_put(rd);
	ret->durable_seq = of.view.durable_seq;
	ret->begun = copy & META_COPY_UNCLEAN;
	ret->armed = of.view.intents && !of.view.doubts_only;
	ret->epochs = of.epochs;
	ret->count = of.view.count;
	ret->laps = of.laps;
	return err;
}

static int ask_old(struct new_map *n)
{
	struct meta *meta = NULL;
	int err = meta_open(store_privdir(n->store), META_OPEN_RO, &meta,
			    &n->why);

	if (!err)
		err = read_past(meta, &n->past);
	meta_close(meta);
	return err;
}

static int make_map(struct new_map *n)
{
	const struct store_identity *id = store_identity(n->store);
	const struct meta_node root = {.id = META_ROOT_ID, .kind = META_DIR};
	int err = FAULT_ERR("resync.rebuild.create");

	if (!err)
		err = meta_create(store_privdir(n->store), id->volume_uuid,
				  id->store_uuid, &root);
	guard_progress();
	if (!err)
		err = meta_open(store_privdir(n->store), META_OPEN_RW, &n->meta,
				&n->why);
	return err;
}

/* Where that fails a copy has its old map again: it is none whose map is lost, and
 * still tells a fork. */
static int replace_map(struct new_map *n)
{
	_cleanup_close_ int fd = open(store_privdir(n->store),
				      O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int err = fd < 0 ? -errno : 0, back;
	bool made;

	/* Its own is sound, and the one to be kept. */
	if (!err && n->of_copy && !n->past.begun)
		err = map_unlink(fd, MAP_OLD);
	if (err)
		return err;
	err = set_aside(fd);
	guard_progress();
	made = !err;
	if (!err)
		err = make_map(n);
	if (!err || !n->of_copy)
		return err;
	back = put_back(fd, made);
	if (back)
		log_err("the map cannot be put back, it is kept as "
			"meta.db.old: store=%s error=%s",
			store_path(n->store), strerror(-back));
	return err;
}

static int new_map_run(struct reach_job *j)
{
	struct new_map *n = (struct new_map *)j;
	int err = n->of_copy ? ask_old(n) : 0;

	return err ? err : replace_map(n);
}

static void new_map_drop(struct reach_job *j)
{
	struct new_map *n = (struct new_map *)j;

	meta_close(n->meta);
	past_done(&n->past);
	free(n->why);
}

static int new_map(struct rebuild *r)
{
	const struct store_identity *id = store_identity(r->store);
	struct new_map *n = calloc(1, sizeof(*n));
	int err;

	if (!n)
		return -ENOMEM;
	n->base.run = new_map_run;
	n->base.drop = new_map_drop;
	n->store = r->store;
	n->of_copy = r->what != REBUILD_LOST;
	err = reach_run_on(r->store, &n->base);
	if (err) /* and it is gone */
		return err;
	err = n->base.result;
	if (err)
		err = refuse(r, err, "cannot make a new map for store %s: %s",
			     id->name, n->why ? n->why : strerror(-err));
	r->made.side.meta = n->meta;
	r->past = n->past;
	free(n->why);
	free(n);
	if (err)
		return err;
	reach_opened(r->store, r->made.side.meta);
	r->made.side.store = r->store;
	r->made.id = *id;
	return 0;
}

/* Of a copy: what the old map has said holds, until a lap is closed. */
static int put_past(struct rebuild *r)
{
	struct meta *meta = r->made.side.meta;
	struct past *p = &r->past;
	int err = meta_epoch_replace(meta, p->epochs, p->count);

	if (!err)
		err = meta_number_set(meta, META_NUM_DURABLE_SEQ,
				      p->durable_seq);
	if (!err)
		err = meta_number_set(meta, META_NUM_CLEAN, 0);
	for (size_t i = 0; !err && i < p->laps.count; i++)
		err = meta_laps_add(meta, p->laps.v[i].epochs,
				    p->laps.v[i].count);
	return err;
}

/* What it is said to be from now on; @copy: META_NUM_COPY. */
static int put_state(struct rebuild *r, const struct meta_member *rows,
		     size_t row_count, const struct meta_epoch *epoch,
		     uint64_t durable, bool in_step, uint64_t copy)
{
	struct meta *meta = r->made.side.meta;
	int err = meta_begin(meta);

	if (err)
		return err;
	for (size_t i = 0; !err && i < row_count; i++)
		err = meta_member_put(meta, &rows[i]);
	if (!err)
		err = making_put_numbers(&r->made, &r->numbers, durable,
					 in_step);
	if (!err && r->what == REBUILD_COPY)
		err = put_past(r);
	else if (!err)
		err = meta_epoch_replace(meta, epoch, 1);
	if (r->what == REBUILD_COPY && r->past.armed)
		copy |= META_COPY_ARMED;
	if (!err)
		err = meta_number_set(meta, META_NUM_COPY, copy);
	if (!err)
		return meta_commit(meta);
	meta_rollback(meta);
	return err;
}

static int finish(struct rebuild *r, const struct meta_member *rows,
		  size_t row_count, const struct meta_epoch *epoch,
		  uint64_t durable, bool in_step)
{
	struct meta *meta = r->made.side.meta;
	int err;

	FAULT_POINT("resync.rebuild.finish");
	err = put_state(r, rows, row_count, epoch, durable, in_step,
			in_step ? 0 : META_COPY | META_COPY_REBUILT);
	/* Where there is no room now the next mount makes it. */
	if (!err)
		ignore_result(meta_ballast_ensure(meta));
	return err;
}

static struct meta_member own_row(const struct rebuild *r)
{
	const struct store_identity *id = store_identity(r->store);
	struct meta_member row = {0};

	memcpy(row.uuid, id->store_uuid, sizeof(row.uuid));
	memcpy(row.name, id->name, sizeof(row.name));
	(void)snprintf(row.path_hint, sizeof(row.path_hint), "%s",
		       store_path(r->store));
	return row;
}

/* What a cut resync has left in limbo/ is nobody's now, and kept. */
static int add_limbo(void *arg, const struct store_dirent *e)
{
	struct volume_adopted *a = arg;
	char *path;
	int err;

	if (asprintf(&path, STORE_PRIVATE "/" STORE_LIMBO "/%s", e->name) < 0)
		return -ENOMEM;
	err = vec_push(&a->extra, path);
	if (err)
		free(path);
	return err;
}

/* Before the map counts: whoever is cut here begins anew. */
static int sweep(struct rebuild *r, struct volume_adopted *a,
		 uint64_t *ret_found)
{
	char text[300];
	int err = side_drop_leftovers(r->store);

	if (!err)
		err = store_list(r->store, store_limbo_fd(r->store), add_limbo,
				 a);
	if (!err)
		err = volume_adopt_sweep(&r->made.side, a, ret_found);
	if (err && a->stuck)
		return refuse(r, -EIO,
			      "cannot rebuild the map of store %s: what the "
			      "volume does not have there cannot be moved to "
			      ".seqmirror/found: %s: %s",
			      store_identity(r->store)->name,
			      path_quote(text, sizeof(text), a->stuck),
			      strerror(-err));
	return err ? err : store_syncfs(r->store);
}

/* ---- from its files alone ---- */

static int refuse_foreign(struct rebuild *r)
{
	char text[300];

	return refuse(r, -EXDEV,
		      "cannot rebuild the map of store %s: another filesystem "
		      "is mounted inside it, on %s",
		      store_identity(r->store)->name,
		      path_quote(text, sizeof(text), r->numbers.foreign));
}

static int scan_all(struct rebuild *r, struct rebuild_counts *ret)
{
	struct meta *meta = r->made.side.meta;
	struct scan_counts counts = {0};
	int err = meta_begin(meta);

	if (err)
		return err;
	err = making_put_root(&r->made, r->numbers.next_seq++);
	if (err) {
		meta_rollback(meta);
		return err;
	}
	err = scan_tree(r->store, meta, store_root_fd(r->store), META_ROOT_ID,
			&r->numbers, REBUILD_COMMIT_ROWS, &counts);
	if (err == -EXDEV && *r->numbers.foreign)
		return refuse_foreign(r);
	if (!err)
		err = meta_commit(meta);
	*ret = (struct rebuild_counts){.nodes = counts.nodes,
				       .entries = counts.entries,
				       .bytes = counts.bytes};
	return err;
}

static int finish_alone(struct rebuild *r)
{
	struct meta_member row = own_row(r);
	struct meta_epoch e = {
		.first_seq = VOLUME_FIRST_SEQ,
		.base = VOLUME_FIRST_SEQ - 1,
		.member_count = 1,
		.confirmed = true,
	};
	int err = uuid_generate(e.id);

	if (err)
		return err;
	memcpy(e.members[0], row.uuid, sizeof(e.members[0]));
	row.state = META_STORE_ONLINE;
	row.durable_seq = r->numbers.next_seq - 1;
	return finish(r, &row, 1, &e, row.durable_seq, true);
}

int rebuild_alone(struct store *store, struct rebuild_counts *ret, char *why,
		  size_t why_len)
{
	struct rebuild r = {
		.store = store,
		.numbers = {.next_seq = VOLUME_FIRST_SEQ,
			    .next_node = META_FIRST_ID},
		.why = why,
		.why_len = why_len,
	};
	struct volume_adopted left = {0};
	int err;

	if (why_len)
		why[0] = '\0';
	err = new_map(&r);
	if (!err)
		err = scan_all(&r, ret);
	if (!err)
		err = sweep(&r, &left, &ret->found);
	if (!err)
		err = finish_alone(&r);
	volume_adopted_done(&left);
	if (err)
		err = refuse(&r, err, "cannot rebuild the map of store %s: %s",
			     store_identity(store)->name, strerror(-err));
	meta_close(r.made.side.meta);
	return err;
}

/* ---- like another member ---- */

struct source_says {
	struct meta_member *rows; /* META_STORE_MAX and one */
	size_t row_count;
	struct meta_epoch first;
};

static int ask_source(struct rebuild *r, struct meta *source,
		      struct source_says *ret)
{
	struct meta_reader *rd = meta_reader_get(source);
	_cleanup_free_ struct meta_epoch *epochs = NULL;
	uint64_t seq = 0, node = 0;
	size_t count = 0;
	int err;

	if (!rd)
		return -EIO;
	err = meta_members(rd, ret->rows, &ret->row_count);
	if (!err)
		err = meta_epochs(rd, &epochs, &count);
	if (!err)
		err = meta_number_get(rd, META_NUM_SEQ_RESERVED, &seq);
	if (!err)
		err = meta_number_get(rd, META_NUM_NODE_RESERVED, &node);
	meta_reader_put(rd);
	if (!err && !count)
		err = -EUCLEAN;
	if (err)
		return err;
	ret->first = epochs[0];
	r->numbers.next_seq = seq + 1;
	r->numbers.next_node = node + 1;
	return 0;
}

/* It has seen none of them do anything, itself included. */
static void forget_progress(struct rebuild *r, struct source_says *says)
{
	struct meta_member own = own_row(r);

	own.state = META_STORE_RESYNCING;
	for (size_t i = 0; i < says->row_count; i++) {
		says->rows[i].durable_seq = 0;
		if (strcmp(says->rows[i].uuid, own.uuid) != 0)
			continue;
		memcpy(own.name, says->rows[i].name, sizeof(own.name));
		says->rows[i] = own;
	}
}

static int put_root(struct rebuild *r)
{
	struct meta *meta = r->made.side.meta;
	int err = meta_begin(meta);

	if (err)
		return err;
	err = making_put_root(&r->made, 1);
	if (err) {
		meta_rollback(meta);
		return err;
	}
	return meta_commit(meta);
}

/* Cut, it is begun anew by whoever brings it in step. */
static int begin_copy(struct rebuild *r, const struct source_says *says)
{
	const struct past *p = &r->past;

	/* No number may be issued twice, whoever reserved it. */
	r->numbers.next_seq = MAX(r->numbers.next_seq, p->reserved_seq + 1);
	r->numbers.next_node = MAX(r->numbers.next_node, p->reserved_node + 1);
	return put_state(r, says->rows, says->row_count, &says->first, 0, false,
			 META_COPY | META_COPY_UNCLEAN);
}

static int like(struct rebuild *r, const struct resync_side *source,
		struct volume_adopted *adopted, struct source_says *says,
		uint64_t *ret_found)
{
	int err = ask_source(r, source->meta, says);

	if (!err)
		err = new_map(r);
	if (!err)
		err = put_root(r);
	if (err)
		return err;
	forget_progress(r, says);
	if (r->what != REBUILD_LOST)
		err = begin_copy(r, says);
	FAULT_POINT("resync.rebuild.begun");
	if (!err)
		err = volume_adopt(source, &r->made.side, adopted);
	if (!err)
		err = sweep(r, adopted, ret_found);
	return err ? err
		   : finish(r, says->rows, says->row_count, &says->first, 0,
			    false);
}

int rebuild_like(const struct resync_side *source, struct store *store,
		 enum rebuild_what what, int (*should_stop)(void *arg),
		 void *arg, struct meta **ret_meta, struct rebuild_counts *ret,
		 char *why, size_t why_len)
{
	struct volume_adopted adopted = {.should_stop = should_stop,
					 .stop_arg = arg};
	struct source_says says = {
		.rows = calloc(META_STORE_MAX, sizeof(*says.rows)),
	};
	struct rebuild r = {
		.store = store, .why = why, .why_len = why_len, .what = what};
	int err = -ENOMEM;

	if (why_len)
		why[0] = '\0';
	*ret = (struct rebuild_counts){0};
	if (says.rows)
		err = like(&r, source, &adopted, &says, &ret->found);
	if (err)
		err = refuse(&r, err, "cannot rebuild the map of store %s: %s",
			     store_identity(store)->name,
			     err == -EXDEV ? "another filesystem is mounted "
					     "inside it"
			     : err == -ECANCELED ? "interrupted"
						 : strerror(-err));
	else
		ret->compared = adopted.compared;
	*ret_meta = r.made.side.meta;
	volume_adopted_done(&adopted);
	past_done(&r.past);
	free(says.rows);
	return err;
}
