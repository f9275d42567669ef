/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checks on directories that are to become stores.
 */
#include "resync/volume_check.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "resync/lineage.h"

enum {
	PATH_TEXT = 300,
	NAME_MAX_BYTES = 63,
};

int volume_refuse(struct volume_check *c, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(c->why, sizeof(c->why), fmt, ap);
	va_end(ap);
	return err;
}

/* ---- names ---- */

/* A name stands in lists (commas), in options and before a path. */
static const char *name_fault(const char *name)
{
	size_t len = strlen(name);

	if (!len)
		return "is empty";
	if (len > NAME_MAX_BYTES)
		return "is longer than 63 bytes";
	if (name[0] == '-' || name[0] == '.')
		return "begins with a dash or a dot";
	for (size_t i = 0; i < len; i++) {
		unsigned char ch = (unsigned char)name[i];

		if (ch <= ' ' || ch == 0x7f || strchr(",:=/\"\\", ch))
			return "has a blank, a control character or one of "
			       ",:=/\"\\";
	}
	return uuid_valid(name) ? "looks like a UUID" : NULL;
}

static bool name_taken(const struct volume_check *c, const char *name)
{
	for (size_t i = 0; i < c->count; i++) {
		if (!strcmp(c->v[i].name, name))
			return true;
	}
	return false;
}

/* The directory's own name, without what a name may not have. */
static void default_name(const struct volume_check *c, const char *path,
			 char out[static 64])
{
	const char *base = strrchr(path, '/');
	char stem[56];
	size_t n = 0;

	for (base = base ? base + 1 : path; *base && n + 1 < sizeof(stem);
	     base++) {
		unsigned char ch = (unsigned char)*base;

		if (ch <= ' ' || ch == 0x7f || strchr(",:=/\"\\", ch))
			ch = '_';
		if (n || (ch != '-' && ch != '.'))
			stem[n++] = (char)ch;
	}
	/* Not in the middle of a letter. */
	if (((unsigned char)*base & 0xc0) == 0x80) {
		while (n && ((unsigned char)stem[n - 1] & 0xc0) == 0x80)
			n--;
		n -= n > 0;
	}
	stem[n] = '\0';
	snprintf(out, 64, "%s", n ? stem : "store");
	if (uuid_valid(out))
		snprintf(out, 64, "store");
	for (unsigned int i = 2; name_taken(c, out); i++)
		snprintf(out, 64, "%s-%u", n ? stem : "store", i);
}

static int take_name(struct volume_check *c, struct volume_place *p,
		     const char *name)
{
	char text[PATH_TEXT];
	const char *fault;

	if (!name || !name[0]) {
		default_name(c, p->path, p->name);
		return 0;
	}
	fault = name_fault(name);
	if (fault)
		return volume_refuse(c, -EINVAL, "the store name %s %s",
				     path_quote(text, sizeof(text), name),
				     fault);
	if (name_taken(c, name))
		return volume_refuse(c, -EINVAL,
				     "two stores are to be named %s", name);
	snprintf(p->name, sizeof(p->name), "%s", name);
	return 0;
}

/* ---- places ---- */

static int refuse_place(struct volume_check *c, int err, const char *path,
			const char *what)
{
	char text[PATH_TEXT];

	return volume_refuse(c, err, "%s %s",
			     path_quote(text, sizeof(text), path), what);
}

static int check_directory(struct volume_check *c, const char *path,
			   struct volume_place *p)
{
	_cleanup_free_ char *real = realpath(path, NULL);
	struct stat st;

	if (!real)
		return refuse_place(c, -errno, path,
				    errno == ENOENT ? "is not there"
						    : strerror(errno));
	if (strlen(real) >= sizeof(p->path) - sizeof(STORE_PRIVATE) - 64)
		return refuse_place(c, -ENAMETOOLONG, path,
				    "has too long a path");
	if (stat(real, &st))
		return refuse_place(c, -errno, path, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return refuse_place(c, -ENOTDIR, path, "is not a directory");
	if (access(real, R_OK | W_OK | X_OK))
		return refuse_place(c, -errno, path,
				    errno == EROFS
					    ? "lies on a read-only filesystem"
					    : "is not writable");
	snprintf(p->path, sizeof(p->path), "%s", real);
	p->dev = st.st_dev;
	p->ino = st.st_ino;
	return 0;
}

/* A map without any history: one that cannot be read is another matter. */
static bool is_unfinished(const char *path)
{
	char priv[4200];
	struct meta *meta = NULL;
	bool begun;

	snprintf(priv, sizeof(priv), "%s/%s", path, STORE_PRIVATE);
	if (meta_open(priv, META_OPEN_RO, &meta, NULL))
		return false;
	begun = lineage_is_begun(meta);
	meta_close(meta);
	return !begun;
}

static int check_fresh(struct volume_check *c, const char *path)
{
	struct store_identity id;
	char text[PATH_TEXT];
	struct stat st;
	char priv[4200];
	int err = store_probe_identity(path, &id);

	if (!err && is_unfinished(path))
		return refuse_place(c, -EEXIST, path,
				    "has a " STORE_PRIVATE
				    " that was never finished; if an init or "
				    "add was interrupted, remove it");
	if (!err)
		return volume_refuse(c, -EEXIST,
				     "%s is a store already (%s of volume %s)",
				     path_quote(text, sizeof(text), path),
				     id.name, id.volume_uuid);
	snprintf(priv, sizeof(priv), "%s/%s", path, STORE_PRIVATE);
	if (lstat(priv, &st)) {
		if (errno == ENOENT)
			return 0;
		return refuse_place(c, -errno, path, strerror(errno));
	}
	return refuse_place(c, -EEXIST, path,
			    "has a " STORE_PRIVATE
			    " directory that is no whole store; if it was left "
			    "by an interrupted init or add, remove it");
}

/* Is a parent of @path a store? Then this would be mirrored too. */
static int check_parents(struct volume_check *c, const char *path)
{
	struct store_identity id;
	char parent[4096];
	char *slash;
	int err;

	snprintf(parent, sizeof(parent), "%s", path);
	while ((slash = strrchr(parent, '/'))) {
		if (slash == parent && !slash[1])
			break;
		slash[slash == parent ? 1 : 0] = '\0';
		err = store_probe_identity(parent, &id);
		if (err && err != -EUCLEAN && err != -EPROTO && err != -EPERM)
			continue;
		return refuse_place(c, -EINVAL, path,
				    "lies inside another store");
	}
	return 0;
}

static bool lies_below(const char *path, const char *above)
{
	size_t len = strlen(above);

	if (!strcmp(above, "/"))
		return true;
	return !strncmp(path, above, len) && path[len] == '/';
}

static int check_others(struct volume_check *c, const struct volume_place *p)
{
	char text[PATH_TEXT];

	for (size_t i = 0; i < c->count; i++) {
		const struct volume_place *q = &c->v[i];

		if (p->dev == q->dev && p->ino == q->ino)
			return refuse_place(c, -EINVAL, p->path,
					    "is given twice");
		if (!lies_below(p->path, q->path) &&
		    !lies_below(q->path, p->path))
			continue;
		return volume_refuse(
			c, -EINVAL, "%s and %s lie one inside the other",
			path_quote(text, sizeof(text), q->path), p->path);
	}
	return 0;
}

static int look_inside(struct volume_check *c, struct volume_place *p)
{
	_cleanup_closedir_ DIR *dir = opendir(p->path);
	struct dirent *e;

	if (!dir)
		return refuse_place(c, -errno, p->path, strerror(errno));
	p->empty = true;
	errno = 0;
	while (p->empty && (e = readdir(dir)))
		p->empty = !strcmp(e->d_name, ".") || !strcmp(e->d_name, "..");
	if (p->empty && errno)
		return refuse_place(c, -errno, p->path, strerror(errno));
	return 0;
}

int volume_check_place(struct volume_check *c, const char *path,
		       const char *name)
{
	struct volume_place *p;
	int err;

	if (c->count == META_STORE_MAX)
		return volume_refuse(c, -EINVAL,
				     "a volume has %d stores at most",
				     META_STORE_MAX);
	p = &c->v[c->count];
	memset(p, 0, sizeof(*p));
	err = check_directory(c, path, p);
	if (!err)
		err = check_others(c, p);
	if (!err)
		err = check_fresh(c, p->path);
	if (!err)
		err = check_parents(c, p->path);
	if (!err)
		err = take_name(c, p, name);
	if (!err)
		err = look_inside(c, p);
	if (!err)
		c->count++;
	return err;
}

/* ---- warnings ---- */

void volume_check_devices(const struct volume_check *c,
			  void (*warn)(void *arg, const char *sentence),
			  void *arg)
{
	char text[256];

	for (size_t i = 0; warn && i < c->count; i++) {
		for (size_t k = 0; k < i; k++) {
			if (c->v[i].dev != c->v[k].dev)
				continue;
			snprintf(text, sizeof(text),
				 "stores %s and %s lie on one device: its loss "
				 "would take both",
				 c->v[k].name, c->v[i].name);
			warn(arg, text);
			break;
		}
	}
}

static size_t add_lack(char *list, size_t size, size_t len, bool has,
		       const char *what)
{
	int n;

	if (has || len + 1 >= size)
		return len;
	n = snprintf(list + len, size - len, "%s%s", len ? ", " : "", what);
	return n < 0 ? len : MIN(len + (size_t)n, size - 1);
}

int volume_check_caps(struct volume_check *c, const struct store *s,
		      void (*warn)(void *arg, const char *sentence), void *arg)
{
	const struct store_caps *caps = store_caps(s);
	const char *name = store_identity(s)->name;
	char list[256] = "", text[400];
	size_t n = 0;

	n = add_lack(list, sizeof(list), n, caps->hard_links, "hard links");
	n = add_lack(list, sizeof(list), n, caps->symlinks, "symbolic links");
	n = add_lack(list, sizeof(list), n, caps->specials, "named pipes");
	n = add_lack(list, sizeof(list), n, caps->case_sensitive,
		     "names that differ in case");
	n = add_lack(list, sizeof(list), n, caps->long_names,
		     "names of 255 bytes");
	n = add_lack(list, sizeof(list), n, caps->any_bytes,
		     "names of any bytes");
	n = add_lack(list, sizeof(list), n, caps->xattr_user,
		     "extended attributes");
	if (n)
		return volume_refuse(c, -EOPNOTSUPP,
				     "the filesystem of store %s lacks %s",
				     name, list);
	n = add_lack(list, sizeof(list), n, caps->punch_hole, "hole punching");
	n = add_lack(list, sizeof(list), n, caps->seek_hole, "finding holes");
	if (n && warn) {
		snprintf(text, sizeof(text),
			 "the filesystem of store %s lacks %s: works, but less "
			 "well",
			 name, list);
		warn(arg, text);
	}
	return 0;
}
