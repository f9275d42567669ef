/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/cli/diff.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "fs/cli/changes.h"
#include "fs/cli/json_util.h"
#include "fs/store/store.h"
#include "resync/diverge.h"
#include "resync/reach.h"

/* More rows than this are "more than": the answer stays quick. */
#define ROWS_MAX 200000

struct diff {
	struct diff_end *ends;
	diff_fn fn;
	void *arg;
};

/* ---- the head ---- */

static int read_number(struct meta *map, enum meta_number what, uint64_t *ret)
{
	struct meta_reader *rd = meta_reader_get(map);
	int err = rd ? meta_number_get(rd, what, ret) : -EIO;

	meta_reader_put(rd);
	return err;
}

static int read_behind(struct meta *ahead, uint64_t from,
		       struct meta_delta_sum *sum, double *ret_seconds)
{
	struct meta_reader *rd = meta_reader_get(ahead);
	uint64_t durable, then, now;
	int err = -EIO;

	*ret_seconds = -1.0;
	if (!rd)
		return err;
	err = meta_delta_sum(rd, from, ROWS_MAX, sum);
	if (!err)
		err = meta_number_get(rd, META_NUM_DURABLE_SEQ, &durable);
	if (!err && !meta_moment_at(rd, from, &then) &&
	    !meta_moment_at(rd, durable, &now) && now >= then)
		*ret_seconds = (double)(now - then) / 1e9;
	meta_reader_put(rd);
	return err;
}

/* @late is behind @ahead, which has all that is above @from. */
static int put_behind(json_t *head, const struct diff_end *late,
		      struct meta *ahead, uint64_t from)
{
	struct meta_delta_sum sum;
	json_t *behind;
	double seconds;
	int err = read_behind(ahead, from, &sum, &seconds);

	if (err)
		return err;
	behind = json_object();
	if (json_put_bytes(behind, "store", late->name) ||
	    json_put_number(behind, "nodes", sum.nodes) ||
	    json_put_number(behind, "bytes", sum.bytes) ||
	    json_put_seconds(behind, "seconds", seconds) ||
	    json_object_set_new(behind, "exact", json_boolean(sum.exact))) {
		json_decref(behind);
		return -ENOMEM;
	}
	return json_object_set_new(head, "behind", behind) ? -ENOMEM : 0;
}

static int read_intents(struct meta *map, uint64_t *ret)
{
	struct meta_reader *rd = meta_reader_get(map);
	int err = rd ? meta_intent_count(rd, ret) : -EIO;

	meta_reader_put(rd);
	return err;
}

static int put_store(const struct diff_end *end, json_t *stores)
{
	json_t *store = json_object();
	uint64_t durable, resyncing, intents;
	int err = read_number(end->map, META_NUM_DURABLE_SEQ, &durable);

	if (!err)
		err = read_number(end->map, META_NUM_RESYNCING, &resyncing);
	if (!err)
		err = read_intents(end->map, &intents);
	if (err || json_put_bytes(store, "name", end->name) ||
	    json_put_text(store, "uuid", meta_store_uuid(end->map)) ||
	    json_put_bytes(store, "path", end->path) ||
	    json_put_number(store, "durable_seq", durable) ||
	    json_object_set_new(store, "in_doubt",
				json_boolean(intents && !end->live)) ||
	    json_object_set_new(store, "resyncing", json_boolean(resyncing))) {
		json_decref(store);
		return err ? err : -ENOMEM;
	}
	return json_array_append_new(stores, store) ? -ENOMEM : 0;
}

static int put_stores(const struct diff_end ends[2], json_t *head)
{
	json_t *stores = json_array();
	int err = 0;

	if (json_object_set_new(head, "stores", stores))
		return -ENOMEM;
	for (int i = 0; !err && i < 2; i++)
		err = put_store(&ends[i], stores);
	return err;
}

/* Both are through the same number of one history. */
static bool is_level(const struct diff_end ends[2],
		     const struct lineage_verdict *v)
{
	uint64_t a, b;

	return !read_number(ends[0].map, META_NUM_DURABLE_SEQ, &a) &&
	       !read_number(ends[1].map, META_NUM_DURABLE_SEQ, &b) && a == b &&
	       v->from == a;
}

/* Who left with nothing done since is in step, if nobody has left anything in
 * doubt. What cannot be asked may be. */
static bool is_settled(const struct diff_end ends[2])
{
	for (int i = 0; i < 2; i++) {
		uint64_t resyncing, intents;

		if (read_number(ends[i].map, META_NUM_RESYNCING, &resyncing) ||
		    read_intents(ends[i].map, &intents) || resyncing ||
		    (intents && !ends[i].live))
			return false;
	}
	return true;
}

static const char *relation_word(const struct diff_end ends[2],
				 const struct lineage_verdict *v)
{
	switch (v->relation) {
	case RESYNC_IN_STEP:
		return "equal";
	case RESYNC_STALE:
	case RESYNC_NEWER:
		if (!is_level(ends, v))
			return "behind";
		return is_settled(ends) ? "equal" : "doubt";
	case RESYNC_FORK:
		return "fork";
	case RESYNC_FOREIGN:
		break;
	}
	return "foreign";
}

/*
 * The one that is no state that ever was: in the middle of a resync, and not
 * merely behind the other. Return: its index, 2: none, -errno.
 */
static int find_half(const struct diff_end ends[2],
		     const struct lineage_verdict *v)
{
	int late = v->relation == RESYNC_STALE	 ? 1
		   : v->relation == RESYNC_NEWER ? 0
						 : 2;

	if (v->relation == RESYNC_FOREIGN)
		return 2;
	for (int i = 0; i < 2; i++) {
		uint64_t resyncing;
		int err = read_number(ends[i].map, META_NUM_RESYNCING,
				      &resyncing);

		if (err)
			return err;
		if (resyncing && i != late)
			return i;
	}
	return 2;
}

static int put_half(const struct diff_end *half, const struct diff_end *other,
		    json_t *head)
{
	int whole = resync_completes(other->map, half->map);

	if (whole < 0)
		return whole;
	if (json_put_text(head, "relation", "resyncing") ||
	    json_put_bytes(head, "store", half->name) ||
	    json_object_set_new(head, "behind", json_null()))
		return -ENOMEM;
	if (whole)
		return json_put_bytes(head, "complete", other->name);
	return json_object_set_new(head, "complete", json_null()) ? -ENOMEM : 0;
}

static int put_head(const struct diff_end ends[2],
		    const struct lineage_verdict *v, int half, json_t *head)
{
	uint64_t from = v->relation == RESYNC_FORK ? v->fork_from : v->from;
	const char *word = relation_word(ends, v);
	int err = put_stores(ends, head);

	if (err)
		return err;
	if (json_put_number(head, "from_seq", from))
		return -ENOMEM;
	if (half < 2)
		return put_half(&ends[half], &ends[!half], head);
	if (json_put_text(head, "relation", word))
		return -ENOMEM;
	if (!strcmp(word, "behind") && v->relation == RESYNC_STALE)
		return put_behind(head, &ends[1], ends[0].map, from);
	if (!strcmp(word, "behind"))
		return put_behind(head, &ends[0], ends[1].map, from);
	return json_object_set_new(head, "behind", json_null()) ? -ENOMEM : 0;
}

/* ---- one place ---- */

static const char *what_word(enum diverge_what what)
{
	static const char *const words[] = {
		[DIVERGE_NONE] = "",
		[DIVERGE_CHANGED] = "changed",
		[DIVERGE_GONE] = "removed or moved away",
		[DIVERGE_MOVED_AWAY] = "moved away",
		[DIVERGE_REMOVED] = "removed",
		[DIVERGE_MOVED_HERE] = "moved here",
		[DIVERGE_LINKED_HERE] = "linked here",
		[DIVERGE_MADE] = "made",
		[DIVERGE_REPLACED] = "replaced",
	};

	return words[what];
}

static const char *below_root(const char *path)
{
	return strcmp(path, ".") ? path : "";
}

static bool has_hung(struct diff_end *end, int err)
{
	end->hangs |= err == -ETIMEDOUT;
	return err == -ETIMEDOUT;
}

static int dirs_differ(void *arg, const char *on_a, const char *on_b)
{
	const struct diff *d = arg;
	const char *path[2] = {below_root(on_a), below_root(on_b)};
	uint64_t xattrs[2];
	struct stat st[2];

	for (int i = 0; i < 2; i++) {
		struct diff_end *end = &d->ends[i];
		int err = reach_peek(end->path, path[i], &st[i]);

		if (!err)
			err = reach_peek_xattrs(end->path, path[i], &xattrs[i]);
		if (has_hung(end, err))
			return err;
		if (err)
			return 1;
	}
	return st[0].st_mode != st[1].st_mode || st[0].st_uid != st[1].st_uid ||
	       st[0].st_gid != st[1].st_gid || xattrs[0] != xattrs[1];
}

static int put_look(struct diff_end *end, const char *path,
		    const struct diverge_side *side, json_t *json)
{
	char text[CLOCK_TEXT_MAX];
	struct stat st;
	int err = -ENOENT;

	if (side->path)
		path = side->path;
	if (side->kind)
		err = reach_peek(end->path, below_root(path), &st);
	if (has_hung(end, err))
		return err;
	if (err)
		return json_object_set_new(json, "size", json_null()) ||
				       json_object_set_new(json, "mtime",
							   json_null())
			       ? -ENOMEM
			       : 0;
	(void)clock_rfc3339(text, (uint64_t)MAX(st.st_mtim.tv_sec, (time_t)0) *
					  CLOCK_NS_PER_SEC);
	return json_put_number(json, "size", (uint64_t)st.st_size) ||
			       json_put_text(json, "mtime", text)
		       ? -ENOMEM
		       : 0;
}

static int put_side(json_t *sides, struct diff_end *end, const char *path,
		    const struct diverge_side *side)
{
	json_t *json;
	int err = 0;

	if (!side->what)
		return json_array_append_new(sides, json_null()) ? -ENOMEM : 0;
	json = json_object();
	if (json_put_text(json, "what", what_word(side->what)) ||
	    json_put_text(json, "kind",
			  side->kind ? changes_kind_name(side->kind) : "") ||
	    json_put_number(json, "seq", side->seq) ||
	    json_put_number(json, "bytes", side->bytes))
		err = -ENOMEM;
	if (!err)
		err = put_look(end, path, side, json);
	if (err) {
		json_decref(json);
		return err;
	}
	return json_array_append_new(sides, json) ? -ENOMEM : 0;
}

static int on_item(void *arg, const struct diverge_item *item)
{
	const struct diff *d = arg;
	_cleanup_json_ json_t *json = json_object();
	json_t *sides = json_array();
	const char *in = "both";
	int err = 0;

	if (json_object_set_new(json, "sides", sides))
		return -ENOMEM;
	for (int i = 0; !err && i < 2; i++)
		err = put_side(sides, &d->ends[i], item->path, &item->side[i]);
	if (err)
		return err;
	if (!item->side[0].what)
		in = d->ends[1].name;
	else if (!item->side[1].what)
		in = d->ends[0].name;
	if (json_put_bytes(json, "path", item->path) ||
	    json_put_bytes(json, "in", in))
		return -ENOMEM;
	return d->fn(d->arg, json);
}

/*
 * Is it a copy, of which the map that was copied along says nothing yet? Of what a
 * daemon has open the map says it.
 */
static int find_copy(struct diff_end *end, struct lineage_end *ret)
{
	struct meta_reader *rd;
	int r;

	*ret = (struct lineage_end){.meta = end->map};
	if (end->live)
		return 0;
	rd = meta_reader_get(end->map);
	if (!rd)
		return -EIO;
	r = reach_is_copied(end->path, rd);
	meta_reader_put(rd);
	if (has_hung(end, r) || r < 0)
		return r;
	ret->copy = r;
	return 0;
}

/*
 * After a crash a map may have run ahead of its files, under its intents:
 * that alone is no fork.
 */
static int judge(struct diff_end ends[2], struct lineage_verdict *ret)
{
	struct lineage_end of[2];
	uint64_t intents[2] = {0};
	int err = find_copy(&ends[0], &of[0]);

	if (!err)
		err = find_copy(&ends[1], &of[1]);
	if (!err)
		err = lineage_ask(of[0], of[1], true, ret);

	for (int i = 0; !err && i < 2; i++)
		err = read_intents(ends[i].map, &intents[i]);
	if (err || ret->relation != RESYNC_FORK || !(intents[0] + intents[1]))
		return err;
	return lineage_ask(of[0], of[1], false, ret);
}

static int report(struct diff *d)
{
	struct diff_end *ends = d->ends;
	_cleanup_json_ json_t *head = json_object();
	struct lineage_verdict v;
	int half = 2;
	int err = judge(ends, &v);

	if (!err) {
		half = find_half(ends, &v);
		err = MIN(half, 0);
	}
	if (!err)
		err = head ? put_head(ends, &v, half, head) : -ENOMEM;
	if (!err)
		err = d->fn(d->arg, head);
	if (err || half < 2 || v.relation != RESYNC_FORK)
		return err;
	return diverge_walk(ends[0].map, ends[1].map, v.fork_from,
			    &(struct diverge_ask){
				    .item = on_item,
				    .dirs_differ = dirs_differ,
				    .arg = d,
			    });
}

int diff_report(struct diff_end ends[2], diff_fn fn, void *arg)
{
	struct diff d = {.ends = ends, .fn = fn, .arg = arg};
	int err;

	ends[0].hangs = ends[1].hangs = false;
	err = report(&d);
	/* SQLite has one error for all that ails a file. */
	for (int i = 0; err && i < 2; i++)
		if (ends[i].hangs || reach_hangs(NULL, ends[i].map)) {
			ends[i].hangs = true;
			err = -ETIMEDOUT;
		}
	return err;
}
