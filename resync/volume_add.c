/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A new store for a volume that is there: empty, durable through nothing, and
 * with the first epoch alone for a lineage, so that it is merely stale.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/text.h"
#include "resync/reach.h"
#include "resync/volume_making.h"

enum {
	PATH_TEXT = 300,
	WARNING_TEXT = 400,
};

/* What touches the new directory before it is an open store, made aside: the
 * disk may hang. Owns all it uses. */
struct adding {
	struct reach_job base; /* first */
	struct making *mk;
	char volume_uuid[UUID_TEXT_MAX];
	/* "": its own. One byte more: what is too long still is, when cut. */
	char name[sizeof(((struct volume_place *)0)->name) + 1];
	struct meta_member rows[META_STORE_MAX];
	size_t row_count;
	char warning[WARNING_TEXT]; /* of the filesystem; "": none */
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
static void warn_of_devices(const struct adding *a,
			    const struct volume_add_args *args)
{
	const struct volume_place *p = &a->mk->check.v[0];
	char text[256];
	struct stat st;

	for (size_t i = 0; args->warn && i < a->row_count; i++) {
		if (reach_stat(a->rows[i].path_hint, &st, NULL) ||
		    st.st_dev != p->dev)
			continue;
		snprintf(text, sizeof(text),
			 "stores %s and %s lie on one device: its loss would "
			 "take both",
			 a->rows[i].name, p->name);
		args->warn(args->arg, text);
		return;
	}
}

static bool holds_nothing_else(const char *path)
{
	_cleanup_closedir_ DIR *dir = opendir(path);
	struct dirent *e;

	if (!dir)
		return false;
	errno = 0;
	while ((e = readdir(dir)))
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..") &&
		    strcmp(e->d_name, STORE_PRIVATE))
			return false;
	return !errno;
}

/*
 * An empty store of this volume that its maps do not name: what an add that was
 * cut short leaves, or a member that was removed.  It stays, whatever it is; a
 * person is told what is in the way.
 */
static int refuse_left(struct adding *a, int err)
{
	static const char left[] = "holds an empty store that is no member (an "
				   "add was interrupted, or it was removed)";
	static const char plain[] = "abcdefghijklmnopqrstuvwxyz"
				    "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789/._-+:@%=,";
	const char *path = a->base.at.path;
	struct store_identity id;
	char private[PATH_MAX];

	if (err != -EEXIST || store_probe_identity(path, &id) ||
	    strcmp(id.volume_uuid, a->volume_uuid) || !holds_nothing_else(path))
		return err;
	for (size_t i = 0; i < a->row_count; i++)
		if (!strcmp(a->rows[i].uuid, id.store_uuid))
			return err;
	if (snprintf(private, sizeof(private), "%s/%s", path, STORE_PRIVATE) >=
	    (int)sizeof(private))
		return err;
	/* To be copied as it is, or not at all. */
	if (strlen(private) >= PATH_TEXT || private[strspn(private, plain)])
		return volume_refuse(&a->mk->check, err,
				     "%s; remove " STORE_PRIVATE
				     " in it and try again",
				     left);
	return volume_refuse(&a->mk->check, err, "%s; rm -r %s, and try again",
			     left, private);
}

static int check_added(struct adding *a)
{
	struct volume_check *c = &a->mk->check;
	char text[PATH_TEXT];
	int err;

	if (a->row_count >= META_STORE_MAX)
		return volume_refuse(c, -EINVAL,
				     "a volume has %d stores at most",
				     META_STORE_MAX);
	err = volume_check_place(c, a->base.at.path, a->name);
	if (err)
		return refuse_left(a, err);
	if (!c->v[0].empty)
		return volume_refuse(
			c, -ENOTEMPTY, "%s is not empty",
			path_quote(text, sizeof(text), c->v[0].path));
	for (size_t i = 0; i < a->row_count; i++) {
		if (!strcmp(a->rows[i].name, c->v[0].name))
			return volume_refuse(c, -EEXIST,
					     "the volume has a store named %s "
					     "already; use --name",
					     c->v[0].name);
	}
	return 0;
}

static void keep_warning(void *arg, const char *sentence)
{
	struct adding *a = arg;

	snprintf(a->warning, sizeof(a->warning), "%s", sentence);
}

static int adding_run(struct reach_job *j)
{
	struct adding *a = (struct adding *)j;
	int err = check_added(a);

	return err ? err : making_store_make(a->mk, a->volume_uuid);
}

static void adding_drop(struct reach_job *j)
{
	making_free(((struct adding *)j)->mk, false);
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

static int adding_new(const struct volume_add_args *args, struct adding **ret)
{
	struct adding *a = calloc(1, sizeof(*a));
	int err;

	if (!a)
		return -ENOMEM;
	err = reach_job_init(&a->base, args->path, adding_run, adding_drop);
	if (!err) {
		a->mk = making_new(keep_warning, a);
		err = a->mk ? 0 : -ENOMEM;
	}
	if (err) {
		free(a);
		return err;
	}
	memcpy(a->volume_uuid, meta_volume_uuid(args->source),
	       sizeof(a->volume_uuid));
	snprintf(a->name, sizeof(a->name), "%s", args->name ? args->name : "");
	*ret = a;
	return 0;
}

/* It is open: calls on it have a limit of their own from now on. */
static int finish_added(struct adding *a, const struct volume_add_args *args,
			const struct meta_epoch *first,
			struct meta_member *ret_row)
{
	struct making *mk = a->mk;
	int err;

	reach_opened(mk->v[0].side.store, mk->v[0].side.meta);
	warn_of_devices(a, args);
	if (args->warn && *a->warning)
		args->warn(args->arg, a->warning);
	*ret_row = (struct meta_member){.state = META_STORE_RESYNCING};
	memcpy(ret_row->uuid, mk->v[0].id.store_uuid, sizeof(ret_row->uuid));
	memcpy(ret_row->name, mk->v[0].id.name, sizeof(ret_row->name));
	memcpy(ret_row->path_hint, mk->check.v[0].path,
	       sizeof(ret_row->path_hint));
	err = fill_added(mk, a->rows, a->row_count, first, ret_row);
	if (err)
		return volume_refuse(&mk->check, err,
				     "cannot write the map of store %s: %s",
				     ret_row->name, strerror(-err));
	return 0;
}

static void adding_end(struct adding *a, bool keep)
{
	struct making_store *s = &a->mk->v[0];

	reach_close(s->side.store, s->side.meta, a->base.at.path);
	s->side = (struct resync_side){0};
	/* The first error is the news. */
	if (s->made && !keep)
		ignore_result(volume_unmake(a->base.at.path));
	making_free(a->mk, true);
	free(a);
}

int volume_add_store(const struct volume_add_args *args,
		     struct meta_member *ret_row, char *why, size_t why_len)
{
	struct meta_epoch first;
	struct adding *a;
	int err = adding_new(args, &a);

	if (err)
		return err;
	err = read_source(a->mk, args->source, a->rows, &a->row_count, &first);
	if (!err) {
		err = reach_run(&a->base);
		if (err) { /* and @a is gone */
			if (err == -ETIMEDOUT)
				snprintf(why, why_len,
					 "does not answer; make it answer or "
					 "unplug it, and try again");
			return err;
		}
		err = a->base.result;
	}
	if (!err)
		err = finish_added(a, args, &first, ret_row);
	if (err && why_len)
		snprintf(why, why_len, "%s",
			 *a->mk->check.why ? a->mk->check.why : strerror(-err));
	adding_end(a, !err);
	return err;
}

/* ---- and away again ---- */

static int unmake_run(struct reach_job *j)
{
	return store_unmake(j->at.path);
}

int volume_unmake(const char *path)
{
	struct reach_job *j = calloc(1, sizeof(*j));
	int err = j ? reach_job_init(j, path, unmake_run, NULL) : -ENOMEM;

	if (!err) {
		err = reach_run(j);
		if (err)
			return err;
		err = j->result;
	}
	free(j);
	return err;
}
