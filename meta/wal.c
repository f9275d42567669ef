/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The WAL as SQLite will read it, read before SQLite does.
 *
 * See "The Write-Ahead Log" in the file format of SQLite.  A WAL ends at the
 * first frame whose salts or checksum do not fit, and SQLite takes what lies
 * before it, through the last commit, for all there ever was.  So damage in
 * the middle, or the WAL of another map, is taken without a word; mark.c
 * compares this with what it knows.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "meta/mark.h"

#define WAL_MAGIC	 0x377f0682u /* the last bit: big-endian sums */
#define WAL_HEADER_BYTES 32u
#define FRAME_HEAD_BYTES 24u
#define FRAME_BYTES	 (FRAME_HEAD_BYTES + META_PAGE_BYTES)

struct sum {
	uint32_t a;
	uint32_t b;
	bool big; /* words are read big-endian */
};

static uint32_t word_big(const unsigned char *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 |
	       (uint32_t)p[2] << 8 | p[3];
}

static uint32_t word_little(const unsigned char *p)
{
	return (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 |
	       (uint32_t)p[1] << 8 | p[0];
}

static void sum_add(struct sum *s, const unsigned char *p, size_t len)
{
	for (size_t i = 0; i < len; i += 8) {
		uint32_t x = s->big ? word_big(p + i) : word_little(p + i);
		uint32_t y = s->big ? word_big(p + i + 4)
				    : word_little(p + i + 4);

		s->a += x + s->b;
		s->b += y + s->a;
	}
}

static bool sum_is(const struct sum *s, const unsigned char *p)
{
	return s->a == word_big(p) && s->b == word_big(p + 4);
}

bool wal_parse_header(const unsigned char *h, struct wal_state *ret)
{
	uint32_t magic = word_big(h);
	struct sum sum = {.big = magic & 1};

	if ((magic & ~1u) != WAL_MAGIC || word_big(h + 8) != META_PAGE_BYTES)
		return false;
	sum_add(&sum, h, 24);
	if (!sum_is(&sum, h + 24))
		return false;
	ret->header = true;
	ret->restarts = word_big(h + 12);
	ret->base = word_big(h + 16) - ret->restarts;
	return true;
}

/* Frames through the last commit that is whole. */
static int count_frames(int fd, const unsigned char *header,
			struct wal_state *ret)
{
	struct sum sum = {.big = word_big(header) & 1};
	unsigned char *frame = malloc(FRAME_BYTES);
	off_t at = WAL_HEADER_BYTES;
	uint64_t frames = 0;
	ssize_t len;

	if (!frame)
		return -ENOMEM;
	sum_add(&sum, header, 24);
	for (;;) {
		len = pread(fd, frame, FRAME_BYTES, at);
		if (len != (ssize_t)FRAME_BYTES)
			break;
		guard_progress();
		sum_add(&sum, frame, 8);
		sum_add(&sum, frame + FRAME_HEAD_BYTES, META_PAGE_BYTES);
		if (memcmp(frame + 8, header + 16, 8) != 0 ||
		    word_big(frame) == 0 || !sum_is(&sum, frame + 16))
			break;
		frames++;
		at += FRAME_BYTES;
		if (word_big(frame + 4))
			ret->frames = frames;
	}
	free(frame);
	return len < 0 ? -errno : 0;
}

int wal_look(int dir_fd, struct wal_state *ret)
{
	_cleanup_close_ int fd = -1;
	unsigned char header[WAL_HEADER_BYTES];
	struct stat st;
	ssize_t len;

	*ret = (struct wal_state){0};
	fd = openat(dir_fd, META_DB_NAME "-wal",
		    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EUCLEAN;
	len = pread(fd, header, sizeof(header), 0);
	if (len < 0)
		return -errno;
	if (len < (ssize_t)sizeof(header) || !wal_parse_header(header, ret))
		return 0;
	return count_frames(fd, header, ret);
}
