/* SPDX-License-Identifier: Apache-2.0 */
/* map_path - where a map says that something lies. */
#pragma once

#include "base/cleanup.h"
#include "meta/meta.h"

/**
 * map_path - the path of a name from the root of the volume, without a slash
 * in front, to be freed.
 * Return: 1, 0 (it lies nowhere under the root), -ENOMEM, -EIO, ...
 */
MUST_CHECK int map_path(struct meta_reader *rd, const struct meta_dentry *name,
			char **ret_path);

/** map_node_path - of some name of @node; "." for the root. */
MUST_CHECK int map_node_path(struct meta_reader *rd, uint64_t node,
			     char **ret_path);

/**
 * map_entry_text - an entry of directory @dir as it can stand in a message: its
 * path, or its name alone where the map has no path of @dir. Returns @buf.
 */
char *map_entry_text(struct meta_reader *rd, uint64_t dir, const char *name,
		     char *buf, size_t size);
