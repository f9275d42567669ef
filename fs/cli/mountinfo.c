/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/cli/mountinfo.h"

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int path_absolute(const char *path, char ret[static PATH_MAX])
{
	char cwd[PATH_MAX];
	char joined[2 * PATH_MAX];
	size_t out = 0;

	if (!*path)
		return -ENOENT;
	if (*path != '/' && !getcwd(cwd, sizeof(cwd)))
		return -errno;
	(void)snprintf(joined, sizeof(joined), "%s/%s", *path == '/' ? "" : cwd,
		       path);
	if (strlen(path) >= PATH_MAX)
		return -ENAMETOOLONG;
	for (const char *at = joined; *at;) {
		size_t len;

		at += strspn(at, "/");
		len = strcspn(at, "/");
		if (len && !(len == 1 && *at == '.')) {
			if (out + len + 2 > PATH_MAX)
				return -ENAMETOOLONG;
			ret[out++] = '/';
			memcpy(ret + out, at, len);
			out += len;
		}
		at += len;
	}
	if (!out)
		ret[out++] = '/';
	ret[out] = '\0';
	return 0;
}

/* The kernel writes blanks, tabs, newlines and backslashes as \ooo. */
static void unescape(char *text)
{
	char *out = text;

	for (const char *in = text; *in;) {
		if (in[0] == '\\' && in[1] >= '0' && in[1] <= '3' &&
		    in[2] >= '0' && in[2] <= '7' && in[3] >= '0' &&
		    in[3] <= '7') {
			*out++ = (char)((in[1] - '0') * 64 + (in[2] - '0') * 8 +
					(in[3] - '0'));
			in += 4;
		} else {
			*out++ = *in++;
		}
	}
	*out = '\0';
}

static int copy_field(const char *field, size_t len, char *buf, size_t size)
{
	if (len >= size)
		len = size - 1;
	memcpy(buf, field, len);
	buf[len] = '\0';
	unescape(buf);
	return 0;
}

/* 36 35 98:0 /root /point opts [tags...] - type source superopts */
int mountinfo_parse_line(const char *line, struct mount_entry *ret_entry)
{
	struct mount_entry entry = {0};
	const char *field[5];
	size_t len[5];
	const char *at = line;
	const char *owner;

	for (int i = 0; i < 5; i++) {
		at += strspn(at, " ");
		field[i] = at;
		len[i] = strcspn(at, " \n");
		at += len[i];
	}
	if (!len[4] ||
	    sscanf(field[2], "%u:%u ", &entry.major, &entry.minor) != 2)
		return -EINVAL;
	at = strstr(at, " - ");
	if (!at)
		return -EINVAL;
	at += 3;
	if (strncmp(at, MOUNT_TYPE " ", strlen(MOUNT_TYPE) + 1) != 0)
		return 0;
	at += strlen(MOUNT_TYPE) + 1;
	copy_field(field[4], len[4], entry.point, sizeof(entry.point));
	copy_field(at, strcspn(at, " \n"), entry.source, sizeof(entry.source));
	owner = strstr(at, "user_id=");
	if (owner)
		entry.owner = (uid_t)strtoul(owner + 8, NULL, 10);
	*ret_entry = entry;
	return 1;
}

#define OWN_MOUNTS "/proc/self/mountinfo"

struct search {
	const char *point; /* NULL: by number */
	unsigned int major;
	unsigned int minor;
};

static int search_mounts(const char *path, const struct search *want,
			 struct mount_entry *ret)
{
	_cleanup_fclose_ FILE *file = fopen(path, "re");
	_cleanup_free_ char *line = NULL;
	struct mount_entry entry;
	size_t size = 0;
	int found = -ENOENT;

	if (!file)
		return -errno;
	/* Of several at one place the last in the list is the visible one. */
	while (getline(&line, &size, file) > 0) {
		if (mountinfo_parse_line(line, &entry) != 1)
			continue;
		if (want->point ? strcmp(entry.point, want->point) != 0
				: entry.major != want->major ||
					  entry.minor != want->minor)
			continue;
		*ret = entry;
		found = 0;
	}
	return ferror(file) ? -EIO : found;
}

int mountinfo_find_dev(unsigned int major, unsigned int minor,
		       struct mount_entry *ret_entry)
{
	struct search want = {.major = major, .minor = minor};

	return search_mounts(OWN_MOUNTS, &want, ret_entry);
}

int mountinfo_find(const char *path, struct mount_entry *ret_entry)
{
	_cleanup_free_ char *parent = NULL;
	char plain[PATH_MAX];
	char whole[PATH_MAX];
	struct search want = {.point = plain};
	char *last;
	int n;
	int err = path_absolute(path, plain);

	if (err)
		return err;
	err = search_mounts(OWN_MOUNTS, &want, ret_entry);
	if (err != -ENOENT)
		return err;
	last = strrchr(plain, '/') + 1;
	/* ".." can only be resolved through what it leads out of. */
	if (!*last || strcmp(last, "..") == 0) {
		parent = realpath(plain, NULL);
		want.point = parent;
		return parent ? search_mounts(OWN_MOUNTS, &want, ret_entry)
			      : -errno;
	}
	(void)snprintf(whole, sizeof(whole), "%s", last);
	/* A link to a mount is no mount: reading it asks nobody. */
	if (readlink(plain, (char[1]){0}, 1) > 0) {
		parent = realpath(plain, NULL);
		want.point = parent;
		return parent ? search_mounts(OWN_MOUNTS, &want, ret_entry)
			      : -errno;
	}
	*last = '\0';
	parent = realpath(plain, NULL);
	if (!parent)
		return -errno;
	n = snprintf(plain, sizeof(plain), "%s/%s",
		     strcmp(parent, "/") == 0 ? "" : parent, whole);
	if (n < 0 || (size_t)n >= sizeof(plain))
		return -ENAMETOOLONG;
	return search_mounts(OWN_MOUNTS, &want, ret_entry);
}

/* Which mount namespace, as text. */
static bool namespace_of(const char *pid, char ret[64])
{
	char path[64];
	ssize_t len;

	(void)snprintf(path, sizeof(path), "/proc/%s/ns/mnt", pid);
	len = readlink(path, ret, 63);
	if (len > 0)
		ret[len] = '\0';
	return len > 0;
}

static void name_of(const char *pid, char ret[static 16])
{
	_cleanup_fclose_ FILE *f = NULL;
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/%s/comm", pid);
	f = fopen(path, "re");
	if (!f || !fgets(ret, 16, f))
		*ret = '\0';
	ret[strcspn(ret, "\n")] = '\0';
}

int mountinfo_elsewhere(const struct mount_entry *entry,
			struct mount_holder *ret_holder)
{
	struct search want = {.major = entry->major, .minor = entry->minor};
	char ours[64], theirs[64], path[64];
	DIR *proc = opendir("/proc");
	const struct dirent *d;
	struct mount_entry found;
	int r = -ENOENT;

	if (!proc)
		return -errno;
	if (!namespace_of("self", ours))
		*ours = '\0';
	while (r && (d = readdir(proc))) {
		/* "self" and the like are not numbers. */
		if (!isdigit((unsigned char)d->d_name[0]) ||
		    strlen(d->d_name) > 10 ||
		    !namespace_of(d->d_name, theirs) || !strcmp(ours, theirs))
			continue;
		(void)snprintf(path, sizeof(path), "/proc/%.10s/mountinfo",
			       d->d_name);
		if (search_mounts(path, &want, &found))
			continue;
		ret_holder->pid = (pid_t)strtol(d->d_name, NULL, 10);
		name_of(d->d_name, ret_holder->name);
		r = 0;
	}
	(void)closedir(proc);
	return r;
}
