/* SPDX-License-Identifier: Apache-2.0 */
/*
 * After a crash: a source that numbers anew whatever is in doubt.
 *
 * An operation commits its intent on every online store before it touches any
 * of them.  After a crash each store may have done it, done it in part, or
 * not at all, and so may every store that is away now.  Nobody can tell which;
 * nobody needs to.  One store is chosen, what it has is declared right, and
 * under every intent of every present member it is numbered above all that
 * was ever issued.  Whoever comes back from that crash then finds all of it in
 * the delta, and its own intents tell what else it has to compare.
 *
 *	1. One transaction reserves numbers above those of all members and
 *	   founds an epoch with the source alone; its base is the source's
 *	   durable seq, from which on the others may differ.
 *	2. The store is synced.  A file whose write-back failed once keeps pages
 *	   in memory that are marked clean and are on no disk; what lies under
 *	   data intents is dropped from the page cache, so that what is read
 *	   from now on is what the disk has.
 *	3. One transaction: directories first, since they say which nodes are
 *	   there; then data, then attributes, then nodes without a name are
 *	   deleted; the last fresh seq is the durable seq, the intents go.
 *
 * A crash before the commit of 3 leaves the intents, and an epoch in which
 * nothing was done; the next run founds another.  Others keep their intents
 * until the lap that heals them is closed.
 *
 * In a copy the identities are void, and a node is found by its path, but not
 * through a directory that is in doubt: what lies there is unknown, and new.
 *
 * Two kinds of other members' intents are left alone here.  Generation 0 is a
 * resync's own: it wrote there what some source had, and says nothing about
 * this one.  And a member that was never durable through anything took part
 * in no operation.
 */
#include "resync/recover.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/range.h"
#include "base/text.h"
#include "resync/side.h"

/* Reserved at once; a recovery that needs more commits that with its rows. */
#define RECOVER_RESERVE 65536u

/* ---- what is in doubt ---- */

static int compare_intents(const void *a, const void *b)
{
	const struct meta_intent *x = a, *y = b;

	if (x->node != y->node)
		return x->node < y->node ? -1 : 1;
	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	if (x->start != y->start)
		return x->start < y->start ? -1 : 1;
	return 0;
}

static int collect_from(struct recover *r, struct meta_reader *rd, bool others)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	struct meta_intent in;
	uint64_t durable, copy;
	int err;

	err = meta_number_get(rd, META_NUM_DURABLE_SEQ, &durable);
	if (!err)
		err = meta_number_get(rd, META_NUM_COPY, &copy);
	/* All is in doubt there, and nothing for the source's sake. */
	if (err || (others && (!durable ||
			       copy & (META_COPY_UNCLEAN | META_COPY_REBUILT))))
		return err;
	err = meta_iter_intents(rd, &it);
	while (!err && (err = meta_next_intent(&it, &in)) > 0) {
		err = 0;
		if (!others || in.generation)
			err = vec_push(&r->intents, in);
	}
	return err;
}

static int raise_reserved(struct recover *r, struct meta_reader *rd)
{
	uint64_t seq, node;
	int err = meta_number_get(rd, META_NUM_SEQ_RESERVED, &seq);

	if (!err)
		err = meta_number_get(rd, META_NUM_NODE_RESERVED, &node);
	if (err)
		return err;
	r->numbers.next_seq = MAX(r->numbers.next_seq, seq + 1);
	r->numbers.next_node = MAX(r->numbers.next_node, node + 1);
	return 0;
}

static int collect_meta(struct recover *r, struct meta *meta, bool others)
{
	struct meta_reader *rd = meta_reader_get(meta);
	int err;

	if (!rd)
		return -ENOMEM;
	err = collect_from(r, rd, others);
	if (!err)
		err = raise_reserved(r, rd);
	if (!err && !others)
		err = meta_number_get(rd, META_NUM_DURABLE_SEQ,
				      &r->numbers.settled_seq);
	meta_reader_put(rd);
	return err;
}

static int collect(struct recover *r, struct meta *const *others, size_t count)
{
	int err = collect_meta(r, r->side->meta, false);

	for (size_t i = 0; !err && i < count; i++)
		err = collect_meta(r, others[i], true);
	if (err)
		return err;
	r->numbers.next_node =
		MAX(r->numbers.next_node, (uint64_t)META_FIRST_ID);
	r->numbers.fresh_seq = r->numbers.next_seq;
	r->numbers.skips_foreign = true;
	r->numbers.drops_cache = true;
	if (r->intents.count)
		qsort(r->intents.data, r->intents.count,
		      sizeof(*r->intents.data), compare_intents);
	return 0;
}

/* ---- the epoch ---- */

static int set_reserved(struct recover *r, uint64_t ahead)
{
	struct meta *meta = r->side->meta;
	int err;

	err = meta_number_set(meta, META_NUM_SEQ_RESERVED,
			      r->numbers.next_seq + ahead);
	if (!err)
		err = meta_number_set(meta, META_NUM_NODE_RESERVED,
				      r->numbers.next_node + ahead);
	return err;
}

static int found_epoch(struct recover *r)
{
	struct meta *meta = r->side->meta;
	struct meta_epoch e = {
		.first_seq = r->numbers.next_seq,
		.first_node = r->numbers.next_node,
		.base = r->numbers.settled_seq,
		.member_count = 1,
		.confirmed = true,
	};
	uint64_t copy;
	int err = uuid_generate(e.id);

	if (err)
		return err;
	memcpy(e.members[0], meta_store_uuid(meta), META_UUID_LEN + 1);
	err = meta_begin(meta);
	if (err)
		return err;
	err = meta_number_get(meta_writer_view(meta), META_NUM_COPY, &copy);
	e.by_copy = copy;
	if (!err)
		err = meta_number_set(meta, META_NUM_COPY, 0);
	if (!err)
		err = set_reserved(r, RECOVER_RESERVE);
	if (!err)
		err = meta_epoch_append(meta, &e);
	if (err) {
		meta_rollback(meta);
		return err;
	}
	return meta_commit(meta);
}

/* ---- data and attributes ---- */

/* The runs under data intents of one node: [from, to) of r->intents. */
static int data_ranges(struct recover *r, size_t from, size_t to,
		       struct range_set *set)
{
	int err = 0;

	for (size_t i = from; !err && i < to; i++) {
		const struct meta_intent *in = &r->intents.data[i];

		err = range_set_add(set, (struct range){in->start, in->end});
	}
	return err;
}

static int recover_range(struct recover *r, int fd, uint64_t node,
			 struct range at, uint64_t size, uint64_t seq)
{
	struct range in_file;

	in_file = range_intersect(at, (struct range){0, size});
	r->bytes += range_len(in_file);
	if (!range_is_empty(in_file))
		store_drop_cache(r->side->store, fd, in_file.start,
				 range_len(in_file));
	return scan_file_range(r->side->store, r->side->meta, fd, node,
			       at.start, at.end, seq);
}

static int recover_ranges(struct recover *r, int fd, uint64_t node,
			  const struct range_set *set, uint64_t seq)
{
	struct store_stat st;
	uint64_t size;
	int err = store_fstat(r->side->store, fd, 0, &st);

	if (err)
		return err;
	size = meta_file_end(st.st.st_size);
	range_set_for_each (at, set) {
		err = recover_range(r, fd, node, *at, size, seq);
		if (err)
			return err;
	}
	/* Nothing is mapped behind the end, whatever the windows say. */
	return meta_extent_clear(
		r->side->meta, node,
		range_align_out((struct range){0, size}, META_BLOCK).end,
		META_RANGE_MAX);
}

static int recover_file(struct recover *r, size_t from, size_t to,
			const struct meta_node *row, uint64_t seq)
{
	_cleanup_(range_set_done) struct range_set set;
	_cleanup_close_ int fd = -1;
	struct meta_node seen;
	int err;

	range_set_init(&set);
	fd = side_open_node(r->side, r->rd, row->id, O_RDONLY, &seen);
	if (fd == -ENOENT || fd == -ESTALE) {
		log_warn("file in doubt is not where the map has it: "
			 "store=%s node=%" PRIu64,
			 store_identity(r->side->store)->name, row->id);
		return 0;
	}
	if (fd < 0)
		return fd;
	if (!row->backing.ino) {
		err = meta_node_set_backing(r->side->meta, row->id,
					    seen.backing);
		if (err)
			return err;
	}
	err = data_ranges(r, from, to, &set);
	return err ? err : recover_ranges(r, fd, row->id, &set, seq);
}

/* The intents [from, to) of one node and one kind. */
static int recover_node(struct recover *r, size_t from, size_t to)
{
	const struct meta_intent *in = &r->intents.data[from];
	struct meta_node row;
	uint64_t seq, names;
	int err;

	if (in->kind == META_INTENT_NAME)
		return 0;
	err = meta_node_get(r->rd, in->node, &row);
	if (err)
		return err == -ENOENT ? 0 : err;
	err = meta_dentry_count(r->rd, row.id, &names);
	if (err)
		return err;
	if (!names && row.id != META_ROOT_ID)
		return recover_lost_name(r, row.id);
	seq = r->numbers.next_seq++;
	if (in->kind != META_INTENT_DATA)
		return meta_node_raise(r->side->meta, row.id, seq, seq);
	if (row.kind == META_FILE)
		err = recover_file(r, from, to, &row, seq);
	/* What applications saw of its ctime may be of before the last write. */
	return err ? err
		   : meta_node_raise_all(r->side->meta, row.id, seq, seq,
					 (struct meta_ctime){0}, NULL);
}

static int recover_nodes(struct recover *r)
{
	size_t from = 0, to;
	int err = 0;

	for (; !err && from < r->intents.count; from = to) {
		const struct meta_intent *v = r->intents.data;

		for (to = from + 1; to < r->intents.count; to++) {
			if (v[to].node != v[from].node ||
			    v[to].kind != v[from].kind)
				break;
		}
		err = recover_node(r, from, to);
	}
	return err;
}

static int armed_dirs(struct recover *r)
{
	int err = 0;

	vec_for_each (in, &r->intents) {
		if (in->kind != META_INTENT_NAME)
			continue;
		if (r->dirs.count && vec_last(&r->dirs)->node == in->node)
			continue;
		err = vec_push(&r->dirs,
			       ((struct recover_dir){.node = in->node}));
		if (!err)
			err = idmap_set(&r->armed, in->node, 1);
		if (err)
			break;
	}
	return err;
}

/* ---- the transaction ---- */

static int set_own_member(struct recover *r, uint64_t durable)
{
	_cleanup_free_ struct meta_member *v = NULL;
	struct meta *meta = r->side->meta;
	size_t count = 0;
	int err;

	v = calloc(META_STORE_MAX, sizeof(*v));
	if (!v)
		return -ENOMEM;
	err = meta_members(r->rd, v, &count);
	for (size_t i = 0; !err && i < count; i++) {
		if (strcmp(v[i].uuid, meta_store_uuid(meta)))
			continue;
		v[i].durable_seq = durable;
		err = meta_member_put(meta, &v[i]);
	}
	return err;
}

static int close_recovery(struct recover *r)
{
	struct meta *meta = r->side->meta;
	uint64_t durable = r->numbers.next_seq++;
	uint64_t reserved;
	int err;

	err = store_syncfs(r->side->store);
	if (!err)
		err = meta_number_get(r->rd, META_NUM_SEQ_RESERVED, &reserved);
	if (!err && reserved < r->numbers.next_seq)
		err = set_reserved(r, RECOVER_RESERVE);
	if (!err)
		err = meta_number_get(r->rd, META_NUM_NODE_RESERVED, &reserved);
	if (!err && reserved < r->numbers.next_node)
		err = set_reserved(r, RECOVER_RESERVE);
	if (!err)
		err = meta_number_set(meta, META_NUM_DURABLE_SEQ, durable);
	if (!err)
		err = set_own_member(r, durable);
	if (!err)
		err = meta_intent_drop_all(meta);
	return err;
}

static int renumber(struct recover *r)
{
	struct meta *meta = r->side->meta;
	int err = meta_begin(meta);

	if (err)
		return err;
	r->rd = meta_writer_view(meta);
	err = recover_names(r);
	if (!err)
		err = recover_nodes(r);
	if (!err)
		err = recover_orphans(r);
	if (!err)
		err = close_recovery(r);
	if (!err)
		return meta_commit(meta);
	if (r->rd)
		meta_rollback(meta);
	return err;
}

static int recover_run(struct recover *r, struct meta *const *others,
		       size_t other_count)
{
	int err = recover_limbo(r);

	if (!err)
		err = collect(r, others, other_count);
	if (!err)
		err = armed_dirs(r);
	if (!err) /* a copy: as long as the directories in doubt are known */
		err = side_settle(r->side);
	if (err || !r->intents.count)
		return err;
	err = found_epoch(r);
	if (!err)
		err = store_syncfs(r->side->store);
	if (!err)
		err = renumber(r);
	if (!err)
		log_info("recovered: store=%s intents=%zu bytes=%" PRIu64
			 " durable=%" PRIu64,
			 store_identity(r->side->store)->name, r->intents.count,
			 r->bytes, r->numbers.next_seq - 1);
	return err;
}

static int recover_once(struct resync_side *source, struct meta *const *others,
			size_t other_count, uint64_t *ret_bytes)
{
	struct resync_side side = *source;
	struct recover r = {.side = &side};
	int err;

	side.unproved = &r.armed;
	err = recover_run(&r, others, other_count);

	vec_done(&r.intents);
	vec_done(&r.dirs);
	vec_done(&r.orphans);
	idmap_done(&r.armed);
	if (!err)
		*ret_bytes = r.bytes;
	return err;
}

/* As after a crash in the middle of it: the second time it begins anew. */
int resync_recover(struct resync_side *source, struct meta *const *others,
		   size_t other_count, uint64_t *ret_bytes)
{
	int err = recover_once(source, others, other_count, ret_bytes);

	if (err && store_error_is_space(err) &&
	    !meta_ballast_release(source->meta))
		err = recover_once(source, others, other_count, ret_bytes);
	return err;
}
