/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/text.h"
#include "fs/cli/mount_run.h"
#include "fs/cli/mountinfo.h"
#include "fs/cli/ui.h"
#include "resync/reach.h"

static int add_one(struct mount_request *r, const char *path)
{
	char absolute[PATH_MAX];
	char *copy;
	int err = path_absolute(path, absolute);

	if (err) {
		ui_error(*path ? path : "an empty store", "%s", ui_why(err));
		return err;
	}
	copy = strdup(absolute);
	if (!copy || vec_push(&r->stores, copy)) {
		free(copy);
		return -ENOMEM;
	}
	return 0;
}

int mount_request_add(struct mount_request *r, const char *word)
{
	_cleanup_free_ char *copy = NULL;
	struct stat st;
	char *rest;
	char *path;
	int err = 0;

	if (!strchr(word, ':') || stat(word, &st) == 0)
		return add_one(r, word);
	copy = strdup(word);
	if (!copy)
		return -ENOMEM;
	rest = copy;
	while (!err && (path = strsep(&rest, ":")))
		err = add_one(r, path);
	return err;
}

void mount_request_done(struct mount_request *r)
{
	vec_for_each (path, &r->stores)
		free(*path);
	vec_done(&r->stores);
	free(r->fsname);
	mount_options_done(&r->options);
}

/* Of a store that is away, or does not answer, the assembly says it. */
static int check_store(const char *point, const char *word, const char *path)
{
	char store[PATH_MAX];
	struct stat st;

	if (reach_stat(path, &st, store) ||
	    (!path_lies_in(point, store) && !path_lies_in(store, point)))
		return 0;
	ui_error(word,
		 "a mount point and a store cannot lie in one another (%s)",
		 store);
	return -EINVAL;
}

static int find_point(const struct mount_request *r, char **ret_point)
{
	int err;

	*ret_point = realpath(r->mountpoint, NULL);
	if (*ret_point)
		return 0;
	err = -errno;
	ui_error(r->mountpoint, "%s", ui_why(err));
	return err;
}

int mount_request_check(const struct mount_request *r)
{
	_cleanup_free_ char *point = NULL;
	int err = find_point(r, &point);

	for (size_t i = 0; !err && i < r->stores.count; i++)
		err = check_store(point, r->mountpoint, r->stores.data[i]);
	return err;
}

int mount_request_check_found(const struct mount_request *r,
			      const struct resync_found *found)
{
	_cleanup_free_ char *point = NULL;
	int err = find_point(r, &point);

	for (size_t i = 0; !err && i < found->path_count; i++)
		err = check_store(point, r->mountpoint, found->paths[i]);
	return err;
}
