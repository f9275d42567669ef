/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one thing that a target cannot hold or does not let be changed, by its
 * path.
 *
 * Filesystems differ in what an attribute, a file or their number may be, and
 * somebody may have made a file immutable; a single one keeps the whole store
 * out.  Then the error alone is of no use: the log has the whole path, the
 * sentence for people its end.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"
#include "resync/lap.h"
#include "resync/map_path.h"

/* What of a path fits into the sentence, and of a name of an attribute. */
#define PATH_SHOWN 80
#define NAME_SHOWN 48

bool misfit_is_refusal(int err)
{
	return err == -EPERM || err == -EACCES || err == -EBUSY;
}

/* Errors that say something of the object, and not of the disk. */
static bool is_of_object(int err)
{
	return misfit_is_refusal(err) || store_error_is_space(err) ||
	       err == -EFBIG || err == -E2BIG || err == -EMLINK ||
	       err == -ENAMETOOLONG || err == -EOPNOTSUPP || err == -ERANGE ||
	       err == -EILSEQ;
}

/* The end of a path, from a name on if one begins there. */
static const char *path_end(const char *path)
{
	size_t len = strlen(path);
	const char *end = path + len - MIN(len, (size_t)PATH_SHOWN / 2);
	const char *name = strchr(end, '/');

	return end == path || !name ? end : name + 1;
}

static void note(const struct lap *lap, int err, const char *path,
		 const char *what)
{
	size_t room = MAX(4 * strlen(path) + 3, (size_t)16);
	_cleanup_free_ char *quoted = malloc(room);
	const char *end = path_end(path);
	char shown[PATH_SHOWN];

	/* Between unmounted stores the sentence follows on the same screen. */
	if (quoted && (lap->src->live || end != path))
		log_err("a store %s: store=%s path=%s what=%s error=%s",
			misfit_is_refusal(err) ? "does not let this be changed"
					       : "cannot hold this",
			store_path(lap->dst->store),
			path_quote(quoted, room, path), what, strerror(-err));
	lap->n->misfit_err = err;
	(void)snprintf(lap->n->misfit, sizeof(lap->n->misfit), "%s%s: %s",
		       end == path ? "" : ".../",
		       path_quote(shown, sizeof(shown), end), what);
}

int misfit_shut(const struct lap *lap, int r, uint64_t node)
{
	_cleanup_free_ char *path = NULL;
	char shown[PATH_SHOWN];
	const char *end;

	if (r != -EACCES || !lap->dry)
		return r;
	lap->n->misfit_err = r;
	if (map_node_path(lap->s, node, &path) <= 0 &&
	    map_node_path(lap->plain, node, &path) <= 0) {
		(void)snprintf(lap->n->misfit, sizeof(lap->n->misfit),
			       "node %llu", (unsigned long long)node);
		return r;
	}
	end = path_end(path);
	(void)snprintf(lap->n->misfit, sizeof(lap->n->misfit), "%s%s",
		       end == path ? "" : ".../",
		       path_quote(shown, sizeof(shown), end));
	return r;
}

int misfit_name(const struct lap *lap, int r, const struct meta_dentry *d,
		const char *what)
{
	_cleanup_free_ char *path = NULL;

	if (r < 0 && is_of_object(r))
		note(lap, r, map_path(lap->s, d, &path) > 0 ? path : d->name,
		     what);
	return r;
}

int misfit_node(const struct lap *lap, int r, uint64_t node, const char *what)
{
	_cleanup_free_ char *path = NULL;
	char number[32];

	if (r >= 0 || !is_of_object(r))
		return r;
	if (r == -EACCES && lap->dry)
		return misfit_shut(lap, r, node);
	(void)snprintf(number, sizeof(number), "node %llu",
		       (unsigned long long)node);
	note(lap, r, map_node_path(lap->s, node, &path) > 0 ? path : number,
	     what);
	return r;
}

int misfit_at(const struct lap *lap, int r, int dirfd, const char *name)
{
	char proc[sizeof("/proc/self/fd/") + 3 * sizeof(int)];
	char path[PATH_MAX + META_NAME_MAX + 2];
	const char *root = store_path(lap->dst->store);
	size_t skip = strlen(root);
	ssize_t len;

	if (r >= 0 || !is_of_object(r))
		return r;
	(void)snprintf(proc, sizeof(proc), "/proc/self/fd/%d", dirfd);
	len = readlink(proc, path, PATH_MAX);
	if (len < 0)
		len = 0;
	(void)snprintf(path + len, sizeof(path) - (size_t)len, "/%s", name);
	if ((size_t)len < skip || strncmp(path, root, skip) != 0)
		skip = 0;
	while (path[skip] == '/')
		skip++;
	note(lap, r, path + skip, "its name");
	return r;
}

int misfit_size(const struct lap *lap, int r, uint64_t node, uint64_t bytes)
{
	char what[64];

	(void)snprintf(what, sizeof(what), "size of %llu bytes",
		       (unsigned long long)bytes);
	return misfit_node(lap, r, node, what);
}

int misfit_new(const struct lap *lap, int r, const struct meta_dentry *d)
{
	struct statvfs v;

	if (r == -ENOSPC && store_statvfs(lap->dst->store, &v) == 0 &&
	    v.f_files && !v.f_favail)
		return misfit_name(lap, r, d, "no inode is left for it");
	return misfit_name(lap, r, d, "its name and inode");
}

int misfit_attrs(const struct lap *lap, int r, uint64_t node,
		 const struct store_attr_error *e)
{
	char name[NAME_SHOWN];
	char what[NAME_SHOWN + 64];

	if (!e->xattr[0])
		return misfit_node(lap, r, node, "attributes");
	(void)snprintf(what, sizeof(what), "extended attribute %s of %zu bytes",
		       path_quote(name, sizeof(name), e->xattr), e->xattr_len);
	return misfit_node(lap, r, node, what);
}
