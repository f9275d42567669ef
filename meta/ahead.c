/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pages of a map that are about to be wanted here and there.
 *
 * SQLite reads one page after the other, and each that is not in memory is a wait
 * for the disk. Asked for as a whole they come in the order in which they lie.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "meta/db.h"

/* The kernel takes no more of one call than the disk takes of one request. */
#define AHEAD_STEP (128 << 10)

/* The descriptor, or -errno. */
static int ask(struct map_call *k)
{
	int fd = openat(k->dir_fd, META_DB_NAME,
			O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	/* From here on it is never closed, whatever comes: see below. */
	if (fstat(fd, &k->st) < 0 || (uint64_t)k->st.st_size > k->len)
		return fd;
	for (off_t at = 0; at < k->st.st_size; at += AHEAD_STEP)
		(void)posix_fadvise(fd, at, AHEAD_STEP, POSIX_FADV_WILLNEED);
	return fd;
}

/* To close any descriptor of the file would drop the locks that SQLite has on it
 * for this process: it is kept until the connections are gone. */
void meta_read_ahead(struct meta *m, uint64_t bytes_max)
{
	struct map_call k = {
		.fn = ask,
		.dir_fd = m->dir_fd,
		.fd = -1,
		.gives_fd = true,
		.len = (size_t)bytes_max,
	};

	if (m->ahead_fd < 0)
		m->ahead_fd = MAX(map_call(m, &k), -1);
}
