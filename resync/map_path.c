/* SPDX-License-Identifier: Apache-2.0 */
#include "resync/map_path.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

/* A map that says a node lies deeper than this has a circle. */
#define DEPTH_MAX 100000u

/* "NAME/REST"; takes @rest over. */
static char *put_before(const struct meta_dentry *name, char *rest)
{
	size_t len = rest ? strlen(rest) : 0;
	char *path = malloc(name->name_len + len + 2);

	if (path) {
		char *at = mempcpy(path, name->name, name->name_len);

		if (rest)
			*at++ = '/';
		if (rest)
			at = mempcpy(at, rest, len);
		*at = '\0';
	}
	free(rest);
	return path;
}

int map_path(struct meta_reader *rd, const struct meta_dentry *name,
	     char **ret_path)
{
	struct meta_dentry d = *name;
	char *path = NULL;
	int r = 0;

	for (unsigned int depth = 0; depth < DEPTH_MAX; depth++) {
		if (d.parent == META_LIMBO_ID)
			break;
		path = put_before(&d, path);
		if (!path)
			return -ENOMEM;
		if (d.parent == META_ROOT_ID) {
			*ret_path = path;
			return 1;
		}
		r = meta_dentry_of(rd, d.parent, &d);
		if (r < 0)
			break;
	}
	free(path);
	return r == -ENOENT ? 0 : r;
}

int map_node_path(struct meta_reader *rd, uint64_t node, char **ret_path)
{
	struct meta_dentry name;
	int r;

	if (node == META_ROOT_ID) {
		*ret_path = strdup(".");
		return *ret_path ? 1 : -ENOMEM;
	}
	r = meta_dentry_of(rd, node, &name);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	return map_path(rd, &name, ret_path);
}

char *map_entry_text(struct meta_reader *rd, uint64_t dir, const char *name,
		     char *buf, size_t size)
{
	_cleanup_free_ char *path = NULL;
	_cleanup_free_ char *whole = NULL;

	if (dir != META_ROOT_ID && map_node_path(rd, dir, &path) > 0 &&
	    asprintf(&whole, "%s/%s", path, name) < 0)
		whole = NULL;
	return path_quote(buf, size, whole ? whole : name);
}
