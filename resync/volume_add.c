/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A new store for a volume that is there: empty, durable through nothing, and
 * with the first epoch alone for a lineage, so that it is merely stale.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/text.h"
#include "resync/volume_making.h"

enum {
	PATH_TEXT = 300,
};

static int read_source(struct making *mk, struct meta *source,
		       struct meta_member *rows, size_t *ret_count,
		       struct meta_epoch *ret_first)
{
	struct meta_reader *rd = meta_reader_get(source);
	struct meta_epoch *epochs = NULL;
	uint64_t seq = 0, node = 0;
	size_t count = 0;
	int err;

	if (!rd)
		return -ENOMEM;
	err = meta_members(rd, rows, ret_count);
	if (!err)
		err = meta_epochs(rd, &epochs, &count);
	if (!err)
		err = meta_number_get(rd, META_NUM_SEQ_RESERVED, &seq);
	if (!err)
		err = meta_number_get(rd, META_NUM_NODE_RESERVED, &node);
	meta_reader_put(rd);
	if (!err && !count)
		err = -EUCLEAN;
	if (!err)
		*ret_first = epochs[0];
	free(epochs);
	mk->numbers.next_seq = seq + 1;
	mk->numbers.next_node = node + 1;
	return err;
}

/* Members away are asked where they were last; who cannot answer is not on a
 * device that is lost together with this one now. */
static void warn_of_devices(struct making *mk, const struct meta_member *rows,
			    size_t row_count)
{
	char text[256];
	struct stat st;

	for (size_t i = 0; mk->warn && i < row_count; i++) {
		if (stat(rows[i].path_hint, &st) ||
		    st.st_dev != mk->check.v[0].dev)
			continue;
		snprintf(text, sizeof(text),
			 "stores %s and %s lie on one device: its loss would "
			 "take both",
			 rows[i].name, mk->check.v[0].name);
		mk->warn(mk->arg, text);
		return;
	}
}

static int check_added(struct making *mk, const struct volume_add_args *args,
		       const struct meta_member *rows, size_t row_count)
{
	struct volume_check *c = &mk->check;
	char text[PATH_TEXT];
	int err;

	if (row_count >= META_STORE_MAX)
		return volume_refuse(c, -EINVAL,
				     "a volume has %d stores at most",
				     META_STORE_MAX);
	err = volume_check_place(c, args->path, args->name);
	if (err)
		return err;
	if (!c->v[0].empty)
		return volume_refuse(
			c, -ENOTEMPTY, "%s is not empty",
			path_quote(text, sizeof(text), c->v[0].path));
	for (size_t i = 0; i < row_count; i++) {
		if (!strcmp(rows[i].name, c->v[0].name))
			return volume_refuse(c, -EEXIST,
					     "the volume has a store named %s "
					     "already; use --name",
					     c->v[0].name);
	}
	warn_of_devices(mk, rows, row_count);
	return 0;
}

static int fill_added(struct making *mk, const struct meta_member *rows,
		      size_t row_count, const struct meta_epoch *first,
		      const struct meta_member *own)
{
	const struct making_store *s = &mk->v[0];
	struct meta *meta = s->side.meta;
	int err = meta_begin(meta);

	if (err)
		return err;
	err = making_put_root(s, 1);
	for (size_t i = 0; !err && i < row_count; i++) {
		/* It has seen none of them do anything. */
		struct meta_member row = rows[i];

		row.durable_seq = 0;
		err = meta_member_put(meta, &row);
	}
	if (!err)
		err = meta_member_put(meta, own);
	if (!err)
		err = making_put_numbers(s, &mk->numbers, 0, false);
	if (!err)
		err = meta_epoch_append(meta, first);
	if (err) {
		meta_rollback(meta);
		return err;
	}
	return meta_commit(meta);
}

static int add_store(struct making *mk, const struct volume_add_args *args,
		     struct meta_member *rows, struct meta_member *ret_row)
{
	struct meta_epoch first;
	size_t row_count = 0;
	int err = read_source(mk, args->source, rows, &row_count, &first);

	if (!err)
		err = check_added(mk, args, rows, row_count);
	if (!err)
		err = making_store_make(mk, meta_volume_uuid(args->source));
	if (err)
		return err;
	*ret_row = (struct meta_member){.state = META_STORE_RESYNCING};
	memcpy(ret_row->uuid, mk->v[0].id.store_uuid, sizeof(ret_row->uuid));
	memcpy(ret_row->name, mk->v[0].id.name, sizeof(ret_row->name));
	memcpy(ret_row->path_hint, mk->check.v[0].path,
	       sizeof(ret_row->path_hint));
	err = fill_added(mk, rows, row_count, &first, ret_row);
	if (err)
		return volume_refuse(&mk->check, err,
				     "cannot write the map of store %s: %s",
				     ret_row->name, strerror(-err));
	return 0;
}

int volume_add_store(const struct volume_add_args *args,
		     struct meta_member *ret_row, char *why, size_t why_len)
{
	struct making *mk = making_new(args->warn, args->arg);
	struct meta_member *rows = calloc(META_STORE_MAX, sizeof(*rows));
	int err = -ENOMEM;

	if (mk && rows)
		err = add_store(mk, args, rows, ret_row);
	if (err && why_len)
		snprintf(why, why_len, "%s",
			 mk && mk->check.why[0] ? mk->check.why
						: strerror(-err));
	if (mk)
		making_free(mk, !err);
	free(rows);
	return err;
}
