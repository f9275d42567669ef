/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/cli/target.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/cli/json_util.h"
#include "fs/cli/mountinfo.h"
#include "fs/cli/ui.h"
#include "fs/cli/waits.h"
#include "resync/lineage.h"

#define ANSWER_MS 30000

void target_done(struct target *t)
{
	client_close(t->client);
	meta_close(t->map);
	t->client = NULL;
	t->map = NULL;
}

int target_open_map(const char *path, struct meta **ret_map,
		    struct store_identity *ret_id)
{
	_cleanup_free_ char *privdir = NULL;
	_cleanup_free_ char *why = NULL;
	int err = store_probe_identity(path, ret_id);

	if (err) {
		ui_error(path, "%s",
			 err == -ENOENT ? "not a store" : ui_why(err));
		return err;
	}
	if (asprintf(&privdir, "%s/%s", path, STORE_PRIVATE) < 0) {
		privdir = NULL;
		return -ENOMEM;
	}
	err = meta_open(privdir, META_OPEN_RO, ret_map, &why);
	if (err == -EBUSY)
		ui_error(path, "in use by another process");
	else if (err)
		ui_error(path, "its map cannot be read: %s",
			 why ? why : ui_why(err));
	if (err)
		return err;
	if (strcmp(meta_store_uuid(*ret_map), ret_id->store_uuid) == 0 &&
	    lineage_is_begun(*ret_map))
		return 0;
	if (strcmp(meta_store_uuid(*ret_map), ret_id->store_uuid))
		ui_error(path, "its map is that of another store");
	else
		ui_error(path, "its map was never finished; begin again what "
			       "was interrupted: a rebuild, or an init or add, "
			       "for which its " STORE_PRIVATE
			       " is to be removed first");
	meta_close(*ret_map);
	*ret_map = NULL;
	return -EUCLEAN;
}

struct wanted {
	const char *uuid;
	const char *path;
	bool in_use;
};

/* Two directories, and not one under two names. A store that the daemon sees and
 * we do not, as in another mount namespace, is taken for the one asked for. */
static bool lies_elsewhere(const json_t *item, const char *path)
{
	struct stat st[2];
	char other[PATH_MAX];

	if (json_get_bytes(item, "path", other, sizeof(other)) < 0 ||
	    strcmp(other, path) == 0 || store_peek(path, "", &st[0]) ||
	    store_peek(other, "", &st[1]))
		return false;
	return st[0].st_dev != st[1].st_dev || st[0].st_ino != st[1].st_ino;
}

static int look_for_store(void *arg, const json_t *item)
{
	const char *state = json_text(item, "state");
	struct wanted *w = arg;

	/* A copy has the UUID as well. */
	if (strcmp(json_text(item, "uuid"), w->uuid) == 0)
		w->in_use = (strcmp(state, "online") == 0 ||
			     strcmp(state, "resyncing") == 0) &&
			    !lies_elsewhere(item, w->path);
	return 0;
}

/*
 * The daemon that has this store in use. A note in the store may be an old
 * one: the store has been detached since, or the number of the mount is
 * another volume's by now.
 */
static int open_daemon(struct target *t)
{
	_cleanup_json_ json_t *reply = NULL;
	struct wanted w = {.uuid = t->id.store_uuid, .path = t->path};
	int err = client_open_store(t->path, &t->client);

	if (!err)
		err = client_call(t->client, json_pack("{s:s}", "op", "status"),
				  ANSWER_MS, look_for_store, &w, &reply);
	if (!err && !w.in_use)
		err = -ENOENT;
	if (!err)
		client_proved(t->client);
	if (err == -ENOENT) {
		client_close(t->client);
		t->client = NULL;
	}
	return err;
}

/* Return: 0, -ENOENT (unmounted; not reported), -errno */
static int open_store(const char *word, struct target *t)
{
	int err = store_probe_identity(t->path, &t->id);

	if (err == -ENOENT || err == -ENOTDIR) {
		ui_error(word, "neither a mounted volume nor a store");
		return -EINVAL;
	}
	if (err) {
		ui_error(word, "%s", ui_why(err));
		return err;
	}
	return open_daemon(t);
}

int target_open(const char *word, struct target *ret_target)
{
	struct target t = {0};
	int err;

	waits_for(word);
	err = client_open_mount(word, &t.client);

	if (err && err != -ENOENT)
		return err;
	if (path_absolute(word, t.path) < 0)
		(void)snprintf(t.path, sizeof(t.path), "%s", word);
	if (err == -ENOENT)
		err = open_store(word, &t);
	if (err == -ENOENT) {
		waits_for(word);
		err = target_open_map(t.path, &t.map, &t.id);
	}
	if (err)
		target_done(&t);
	else
		*ret_target = t;
	return err;
}

int target_open_mount(const char *word, struct client **ret_client)
{
	int err = client_open_mount(word, ret_client);

	if (err == -ENOENT)
		ui_error(word, "no seqmirror volume is mounted there");
	return err;
}

int target_put_store(json_t *request, const char *word)
{
	char path[PATH_MAX];
	int err = json_put_text(request, "store", word);

	if (err || path_absolute(word, path) < 0)
		return err;
	return json_put_bytes(request, "path", path);
}
