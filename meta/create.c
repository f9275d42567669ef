/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making a map: under another name until it is whole and on the disk, so that
 * there is never half a map.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "meta/mark.h"

#define NEW_NAME META_DB_NAME ".new"

/* What an interrupted attempt has left, and what would be taken for the WAL
 * of the new map. */
static int create_clear(struct meta *m)
{
	static const char *const names[] = {
		NEW_NAME,
		NEW_NAME "-wal",
		NEW_NAME "-journal",
		META_DB_NAME "-wal",
		META_DB_NAME "-journal",
		META_DB_NAME "-shm",
	};
	struct stat st;

	if (fstatat(m->dir_fd, META_DB_NAME, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return -EEXIST;
	if (errno != ENOENT)
		return -errno;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (unlinkat(m->dir_fd, names[i], 0) < 0 && errno != ENOENT)
			return -errno;
	return 0;
}

static int create_schema(struct conn *c)
{
	int r = conn_exec(c, "BEGIN IMMEDIATE");

	if (r == 0)
		r = conn_exec(c, sql_schema());
	if (r == 0)
		r = conn_pragma_set(c, "application_id", META_APPLICATION_ID);
	if (r == 0)
		r = conn_pragma_set(c, "user_version", META_FORMAT_VERSION);
	if (r == 0)
		r = conn_exec(c, "COMMIT");
	return r;
}

static int create_rows(struct meta *m, const char *volume_uuid,
		       const char *store_uuid, const struct meta_node *root)
{
	int r;

	assert(strlen(volume_uuid) <= META_UUID_LEN);
	assert(strlen(store_uuid) <= META_UUID_LEN);
	assert(root->id == META_ROOT_ID && root->kind == META_DIR);
	r = mark_token(&m->mark_token);
	if (r == 0)
		r = meta_begin(m);
	if (r < 0)
		return r;
	r = volume_u64_put(m, VOLUME_KEY_MARK, m->mark_token);
	if (r == 0)
		r = volume_text_put(m, VOLUME_KEY_VOLUME_UUID, volume_uuid);
	if (r == 0)
		r = volume_text_put(m, VOLUME_KEY_STORE_UUID, store_uuid);
	if (r == 0)
		r = meta_number_set(m, META_NUM_NODE_RESERVED,
				    META_FIRST_ID - 1);
	if (r == 0)
		r = meta_node_put(m, root);
	if (r < 0) {
		meta_rollback(m);
		return r;
	}
	return meta_commit(m);
}

/* The finished file gets its name, unless somebody was faster. */
static int create_publish(struct meta *m)
{
	_cleanup_close_ int fd = -1;

	fd = openat(m->dir_fd, NEW_NAME, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fsync(fd) < 0)
		return -errno;
	if (renameat2(m->dir_fd, NEW_NAME, m->dir_fd, META_DB_NAME,
		      RENAME_NOREPLACE) < 0) {
		if (errno != EINVAL && errno != ENOSYS)
			return -errno;
		/* A file system without the flag: create_clear() has looked,
		 * and the directory is ours. */
		if (renameat(m->dir_fd, NEW_NAME, m->dir_fd, META_DB_NAME) < 0)
			return -errno;
	}
	return fsync(m->dir_fd) < 0 ? -errno : 0;
}

static int create_file(struct meta *m, const char *volume_uuid,
		       const char *store_uuid, const struct meta_node *root)
{
	_cleanup_close_ int fd = -1;
	int r;

	fd = openat(m->dir_fd, NEW_NAME,
		    O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	close_fd(&fd);
	r = writer_open(m, CONN_CREATE);
	if (r == 0)
		r = create_schema(&m->writer.conn);
	if (r == 0)
		r = create_rows(m, volume_uuid, store_uuid, root);
	if (r < 0) {
		m->failed = r;
		return r;
	}
	writer_close(m);
	r = m->failed ? m->failed : mark_create(m, m->mark_token);
	return r < 0 ? r : create_publish(m);
}

int meta_create(const char *privdir, const char *volume_uuid,
		const char *store_uuid, const struct meta_node *root)
{
	_cleanup_meta_ struct meta *m = NULL;
	int r;

	r = meta_new(privdir, META_OPEN_RW, NEW_NAME, &m);
	if (r < 0)
		return r;
	r = create_clear(m);
	if (r < 0)
		return r;
	r = create_file(m, volume_uuid, store_uuid, root);
	if (r < 0) {
		writer_close(m);
		(void)unlinkat(m->dir_fd, NEW_NAME, 0);
		(void)unlinkat(m->dir_fd, NEW_NAME "-wal", 0);
	}
	return r;
}
