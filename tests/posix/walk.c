/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All that can be seen of a side, a line per name.
 */
#include "differ.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
	SHORT = 4 << 20, /* read whole */
	LINKS = 4096,
};

struct walk {
	struct side *s;
	FILE *to;
	bool inos; /* numbers alone */
	unsigned long lines;
	uint64_t hash;
	struct {
		uint64_t ino;
		unsigned long line;
	} link[LINKS];
	unsigned int links;
};

static void put_name(struct walk *w, const char *name)
{
	for (; *name; name++) {
		unsigned char c = (unsigned char)*name;

		(void)fprintf(w->to, c > 32 && c < 127 ? "%c" : "\\%03o", c);
	}
}

/* Blocks that are not all zero, by their places. */
static uint64_t hash_range(struct walk *w, int fd, off_t from, off_t to,
			   uint64_t h)
{
	static const char zeros[4096];

	for (from &= ~(off_t)4095; from < to; from += 4096) {
		ssize_t n = pread(fd, w->s->buf, 4096, from);

		if (n < 0)
			return (uint64_t)errno;
		if (memcmp(w->s->buf, zeros, (size_t)n) == 0)
			continue;
		h = hash_bytes(h, &from, sizeof(from));
		h = hash_bytes(h, w->s->buf, (size_t)n);
	}
	return h;
}

static void put_data(struct walk *w, const char *name, off_t size)
{
	int fd = openat(AT_FDCWD, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	uint64_t h = HASH_START;
	off_t pos = 0;

	if (fd < 0) {
		(void)fprintf(w->to, " %s", strerrorname_np(errno));
		return;
	}
	if (size <= SHORT)
		h = hash_range(w, fd, 0, size, h);
	else
		while (pos < size && (pos = lseek(fd, pos, SEEK_DATA)) >= 0) {
			off_t end = lseek(fd, pos, SEEK_HOLE);

			h = hash_range(w, fd, pos, end, h);
			pos = end;
		}
	(void)close(fd);
	(void)fprintf(w->to, " data %016llx", (unsigned long long)h);
}

static void put_xattrs(struct walk *w, const char *name)
{
	char names[16384], *value = w->s->buf;
	ssize_t len = syscall(SYS_llistxattr, name, names, sizeof(names));
	uint64_t sum = 0;

	for (ssize_t i = 0; i < len; i += (ssize_t)strlen(names + i) + 1) {
		ssize_t n = syscall(SYS_lgetxattr, name, names + i, value,
				    DATA_MAX);
		uint64_t h =
			hash_bytes(HASH_START, names + i, strlen(names + i));

		sum += n < 0 ? (uint64_t)errno
			     : hash_bytes(h, value, (size_t)n);
	}
	if (len)
		(void)fprintf(w->to, " xattrs %016llx",
			      (unsigned long long)sum);
}

/* The line where the same file was met first. */
static void put_links(struct walk *w, const struct stat *st)
{
	if (S_ISDIR(st->st_mode) || st->st_nlink < 2)
		return;
	for (unsigned int i = 0; i < w->links; i++)
		if (w->link[i].ino == st->st_ino) {
			(void)fprintf(w->to, " is line %lu", w->link[i].line);
			return;
		}
	if (w->links < LINKS) {
		w->link[w->links].ino = st->st_ino;
		w->link[w->links++].line = w->lines;
	}
}

static void put_stat(struct walk *w, const char *name, const struct stat *st)
{
	char target[4097];
	ssize_t n;

	(void)fprintf(w->to, " %o %lu %u %u", st->st_mode,
		      (unsigned long)st->st_nlink, st->st_uid, st->st_gid);
	if (!S_ISFIFO(st->st_mode) && (st->st_mtim.tv_sec < 1200000000 ||
				       st->st_mtim.tv_sec > 4000000000))
		(void)fprintf(w->to, " time %lld.%09ld",
			      (long long)st->st_mtim.tv_sec,
			      st->st_mtim.tv_nsec);
	if (!S_ISDIR(st->st_mode))
		(void)fprintf(w->to, " size %lld", (long long)st->st_size);
	put_links(w, st);
	put_xattrs(w, name);
	if (S_ISREG(st->st_mode))
		put_data(w, name, st->st_size);
	if (S_ISLNK(st->st_mode)) {
		n = readlinkat(AT_FDCWD, name, target, sizeof(target) - 1);
		target[n < 0 ? 0 : n] = '\0';
		(void)fputs(" to ", w->to);
		put_name(w, target);
	}
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorted names of a directory; NULL ends them. */
static char **names_in(int fd)
{
	DIR *dir = fdopendir(dup(fd));
	char **names = NULL;
	size_t count = 0;
	struct dirent *e;

	if (dir)
		rewinddir(dir); /* the descriptors share their position */
	while (dir && (e = readdir(dir)) != NULL) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		names = realloc(names, (count + 2) * sizeof(*names));
		if (!names)
			abort();
		names[count++] = strdup(e->d_name);
	}
	if (dir)
		(void)closedir(dir);
	if (count) {
		qsort(names, count, sizeof(*names), by_name);
		names[count] = NULL;
	}
	return names;
}

static void walk_dir(struct walk *w, const char *prefix, int up);

static void walk_one(struct walk *w, const char *prefix, const char *name,
		     int here)
{
	struct stat st;
	char *path;
	int fd;

	w->lines++;
	if (asprintf(&path, "%s/%s", prefix, name) < 0)
		abort();
	put_name(w, path);
	if (fstatat(AT_FDCWD, name, &st, AT_SYMLINK_NOFOLLOW)) {
		(void)fprintf(w->to, " %s\n", strerrorname_np(errno));
		free(path);
		return;
	}
	if (w->inos)
		(void)fprintf(w->to, " %llu", (unsigned long long)st.st_ino);
	else
		put_stat(w, name, &st);
	(void)fputc('\n', w->to);
	if (S_ISDIR(st.st_mode)) {
		fd = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd >= 0 && !fchdir(fd))
			walk_dir(w, path, fd);
		if (fd >= 0)
			(void)close(fd);
		if (fchdir(here))
			abort();
	}
	free(path);
}

static void walk_dir(struct walk *w, const char *prefix, int here)
{
	char **names = names_in(here);

	for (size_t i = 0; names && names[i]; i++) {
		walk_one(w, prefix, names[i], here);
		free(names[i]);
	}
	free(names);
}

static void walk_start(struct walk *w)
{
	mode_t mask = umask(0);

	rewind(w->to);
	/* A user cannot come back into what he has shut. */
	if (ftruncate(fileno(w->to), 0) ||
	    (w->s->opt->user && fchmod(w->s->root, 0777)))
		abort();
	walk_dir(w, "", w->s->root);
	(void)fflush(w->to);
	(void)umask(mask);
	if (fchdir(w->s->root))
		abort();
}

void walk_tree(struct side *s, struct outcome *o, FILE *to)
{
	struct walk *w = calloc(1, sizeof(*w));

	if (!w)
		abort();
	w->s = s;
	w->to = to;
	walk_start(w);
	say(o, " %lu names", w->lines);
	o->good = true;
	free(w);
}

void walk_inos(struct side *s, FILE *to)
{
	struct walk *w = calloc(1, sizeof(*w));

	if (!w)
		abort();
	w->s = s;
	w->to = to;
	w->inos = true;
	walk_start(w);
	free(w);
}
