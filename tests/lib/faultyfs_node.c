/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/faultyfs_node.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUCKETS 4096u

struct node root_node = {.ino = FUSE_ROOT_ID, .nlookup = 1};
static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
static struct node *table[BUCKETS];

static struct node **bucket(uint64_t ino)
{
	return &table[ino % BUCKETS];
}

struct node *node_of(fuse_ino_t ino)
{
	struct node *n;

	if (ino == FUSE_ROOT_ID)
		return &root_node;
	pthread_mutex_lock(&table_lock);
	for (n = *bucket(ino); n && n->ino != ino; n = n->next)
		;
	pthread_mutex_unlock(&table_lock);
	return n;
}

void node_rename(struct node *n, const char *name)
{
	pthread_mutex_lock(&table_lock);
	(void)snprintf(n->name, sizeof(n->name), "%s", name);
	pthread_mutex_unlock(&table_lock);
}

char *name_of(fuse_ino_t ino, char name[256])
{
	const struct node *n = node_of(ino);

	pthread_mutex_lock(&table_lock);
	memcpy(name, n->name, sizeof(n->name));
	pthread_mutex_unlock(&table_lock);
	return name;
}

/* Takes @fd over. */
static int node_find(int fd, const char *name, struct fuse_entry_param *e)
{
	struct node *n;

	*e = (struct fuse_entry_param){0};
	if (fstatat(fd, "", &e->attr, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW)) {
		int err = -errno;

		(void)close(fd);
		return err;
	}
	e->ino = e->attr.st_ino;
	pthread_mutex_lock(&table_lock);
	for (n = *bucket(e->ino); n && n->ino != e->ino; n = n->next)
		;
	if (n) {
		(void)close(fd);
	} else {
		n = calloc(1, sizeof(*n));
		if (!n)
			abort();
		n->ino = e->ino;
		n->fd = fd;
		n->next = *bucket(n->ino);
		*bucket(n->ino) = n;
	}
	n->nlookup++;
	(void)snprintf(n->name, sizeof(n->name), "%s", name);
	pthread_mutex_unlock(&table_lock);
	return 0;
}

int find(fuse_ino_t parent, const char *name, struct fuse_entry_param *e)
{
	int fd = openat(node_of(parent)->fd, name,
			O_PATH | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? -errno : node_find(fd, name, e);
}

void node_forget(fuse_ino_t ino, uint64_t nlookup)
{
	struct node **at, *n;

	if (ino == FUSE_ROOT_ID || ino == CONTROL_INO)
		return;
	pthread_mutex_lock(&table_lock);
	for (at = bucket(ino); *at && (*at)->ino != ino; at = &(*at)->next)
		;
	n = *at;
	if (n && !(n->nlookup -= nlookup)) {
		*at = n->next;
		(void)close(n->fd);
		free(n);
	}
	pthread_mutex_unlock(&table_lock);
}

struct proc_path proc_of(fuse_ino_t ino)
{
	struct proc_path p;

	(void)snprintf(p.text, sizeof(p.text), "/proc/self/fd/%d",
		       node_of(ino)->fd);
	return p;
}

static int done(int r)
{
	return r < 0 ? -errno : 0;
}

static int set_times(fuse_ino_t ino, const struct stat *want, int what)
{
	struct timespec ts[2] = {{.tv_nsec = UTIME_OMIT},
				 {.tv_nsec = UTIME_OMIT}};

	if (what & FUSE_SET_ATTR_ATIME)
		ts[0] = want->st_atim;
	if (what & FUSE_SET_ATTR_MTIME)
		ts[1] = want->st_mtim;
	if (what & FUSE_SET_ATTR_ATIME_NOW)
		ts[0].tv_nsec = UTIME_NOW;
	if (what & FUSE_SET_ATTR_MTIME_NOW)
		ts[1].tv_nsec = UTIME_NOW;
	return done(utimensat(node_of(ino)->fd, "", ts, AT_EMPTY_PATH));
}

int set_attrs(fuse_ino_t ino, const struct stat *want, int what)
{
	int err = 0;

	if (what & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID))
		err = done(fchownat(
			node_of(ino)->fd, "",
			what & FUSE_SET_ATTR_UID ? want->st_uid : (uid_t)-1,
			what & FUSE_SET_ATTR_GID ? want->st_gid : (gid_t)-1,
			AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW));
	if (!err && (what & FUSE_SET_ATTR_MODE))
		err = done(chmod(proc_of(ino).text, want->st_mode));
	if (!err && (what & FUSE_SET_ATTR_SIZE))
		err = done(truncate(proc_of(ino).text, want->st_size));
	if (!err &&
	    (what & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME |
		     FUSE_SET_ATTR_ATIME_NOW | FUSE_SET_ATTR_MTIME_NOW)))
		err = set_times(ino, want, what);
	return err;
}
