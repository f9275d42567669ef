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

int mount_request_check(const struct mount_request *r)
{
	_cleanup_free_ char *point = realpath(r->mountpoint, NULL);

	if (!point) {
		int err = -errno;

		ui_error(r->mountpoint, "%s", ui_why(err));
		return err;
	}
	vec_for_each (path, &r->stores) {
		char store[PATH_MAX];
		struct stat st;

		/* One that is away, or does not answer, is the assembly's
		 * business. */
		if (reach_stat(*path, &st, store))
			continue;
		if (path_lies_in(point, store) || path_lies_in(store, point)) {
			ui_error(r->mountpoint,
				 "a mount point and a store cannot lie in one "
				 "another (%s)",
				 store);
			return -EINVAL;
		}
	}
	return 0;
}
