/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes, holes and what is mapped, on filesystems that can and, by taking the
 * capability away, on such that cannot.
 */
#include "test_store.h"

#include <linux/falloc.h>
#include <linux/magic.h>

enum {
	KIB = 1024,
	UNIT = 64 * KIB, /* a multiple of every block size */
};

static int file_fd;

static void data_init(void)
{
	store_init();
	file_fd = make_file("file", 0644);
}

static void data_done(void)
{
	close(file_fd);
	store_done();
}

TestSuite(store_file, .init = data_init, .fini = data_done);

static void fill(uint64_t off, size_t len)
{
	char *buf = malloc(len);
	size_t done;

	memset(buf, 'x', len);
	cr_assert_eq(store_write(store, file_fd, buf, len, off, &done), 0);
	cr_assert_eq(done, len);
	free(buf);
}

static uint64_t size_now(void)
{
	struct store_stat st;

	cr_assert_eq(store_fstat(store, file_fd, 0, &st), 0);
	return (uint64_t)st.st.st_size;
}

static bool all_are(char c, uint64_t off, size_t len)
{
	char *buf = malloc(len);
	bool all = true;
	size_t i;

	cr_assert_eq(store_read(store, file_fd, buf, len, off), (ssize_t)len);
	for (i = 0; i < len; i++)
		all = all && buf[i] == c;
	free(buf);
	return all;
}

static uint64_t blocks_now(void)
{
	struct store_stat st;

	cr_assert_eq(store_fsync(store, file_fd, false), 0);
	cr_assert_eq(store_fstat(store, file_fd, 0, &st), 0);
	return (uint64_t)st.st.st_blocks;
}

/* The next mapped range is [start, end). */
static void expect_mapped(uint64_t off, uint64_t start, uint64_t end)
{
	uint64_t s = 1, e = 1;

	cr_expect_eq(store_next_mapped(store, file_fd, off, &s, &e), 1);
	cr_expect_eq(s, start, "from %lu: %lu", off, s);
	cr_expect_eq(e, end, "from %lu: %lu", off, e);
}

static void expect_unmapped(uint64_t off)
{
	uint64_t s, e;

	cr_expect_eq(store_next_mapped(store, file_fd, off, &s, &e), 0);
}

Test(store_file, what_a_file_gives_back_is_never_more_than_it_has)
{
	uint64_t all = 1, part = 1, none = 1;

	fill(0, 64 << 10);
	cr_assert_eq(store_allocate(store, file_fd, 0, 1 << 20, 64 << 10), 0);
	cr_assert_geq(blocks_now(), 256);
	cr_assert_eq(store_freeable(store, file_fd, 0, UINT64_MAX, &all), 0);
	cr_assert_leq(all, blocks_now() * 512);
	cr_assert_eq(store_freeable(store, file_fd, 4096, 8192, &part), 0);
	cr_assert_leq(part, 8192);
	cr_assert_eq(store_freeable(store, file_fd, 128 << 10, 8192, &none), 0);
	cr_assert_eq(none, 0);
	switch (store_caps(store)->fs_type) {
	case EXT4_SUPER_MAGIC:
	case XFS_SUPER_MAGIC:
		cr_assert_eq(all, 128 << 10);
		cr_assert_eq(part, 8192);
	}
}

Test(store_file, reads_are_short_only_at_the_end)
{
	char buf[16];

	fill(0, 10);
	cr_assert_eq(store_read(store, file_fd, buf, 16, 0), 10);
	cr_assert_eq(store_read(store, file_fd, buf, 4, 0), 4);
	cr_assert_eq(store_read(store, file_fd, buf, 16, 10), 0);
	cr_assert_eq(store_read(store, file_fd, buf, 16, 1 << 30), 0);
	cr_assert_eq(store_read(store, file_fd, buf, 0, 0), 0);
}

Test(store_file, a_failed_write_says_how_much_was_done)
{
	size_t done = 99;
	int fd = store_openat(store, rootfd, "file", O_RDONLY);

	cr_assert_geq(fd, 0);
	cr_assert_eq(store_write(store, fd, "abc", 3, 0, &done), -EBADF);
	cr_assert_eq(done, 0);
	cr_assert_eq(store_write(store, file_fd, "abc", 3, 7, &done), 0);
	cr_assert_eq(done, 3);
	cr_assert_eq(store_write(store, file_fd, "abc", 0, 7, NULL), 0);
	cr_assert_eq(size_now(), 10);
	close(fd);
}

Test(store_file, truncate_and_sync)
{
	fill(0, 100);
	cr_assert_eq(store_truncate(store, file_fd, 50), 0);
	cr_assert_eq(store_truncate(store, file_fd, 100), 0);
	cr_assert(all_are('x', 0, 50) && all_are(0, 50, 50));
	cr_assert_eq(store_fsync(store, file_fd, false), 0);
	cr_assert_eq(store_fsync(store, file_fd, true), 0);
}

/* ---- holes ---- */

static void punch_cases(bool can)
{
	bool punched = !can;

	fill(0, 4 * UNIT);
	cr_assert_eq(store_punch(store, file_fd, UNIT, UNIT, &punched), 0);
	cr_assert_eq(punched, can);
	cr_assert(all_are('x', 0, UNIT) && all_are(0, UNIT, UNIT));
	cr_assert(all_are('x', 2 * UNIT, 2 * UNIT));
	/* parts of blocks */
	cr_assert_eq(store_punch(store, file_fd, 10, 20, NULL), 0);
	cr_assert(all_are('x', 0, 10) && all_are(0, 10, 20));
	cr_assert(all_are('x', 30, 100));
	/* across the end and behind it: the size stays */
	cr_assert_eq(store_punch(store, file_fd, 3 * UNIT, 9 * UNIT, NULL), 0);
	cr_assert_eq(store_punch(store, file_fd, 99 * UNIT, UNIT, NULL), 0);
	cr_assert_eq(size_now(), 4 * UNIT);
	cr_assert(all_are(0, 3 * UNIT, UNIT));
	cr_assert(all_are('x', 2 * UNIT, UNIT));
}

Test(store_file, punch)
{
	if (!store_caps(store)->punch_hole)
		skip("cannot punch");
	punch_cases(true);
	expect_mapped(0, 0, UNIT);
	expect_mapped(UNIT, 2 * UNIT, 3 * UNIT);
	expect_unmapped(3 * UNIT);
}

Test(store_file, punch_where_it_cannot)
{
	store->caps.punch_hole = false;
	punch_cases(false);
}

Test(store_file, zeros_are_not_written_into_holes)
{
	uint64_t blocks;

	store->caps.punch_hole = false;
	cr_assert_eq(store_truncate(store, file_fd, UINT64_C(1) << 40), 0);
	fill(UINT64_C(1) << 39, UNIT);
	blocks = blocks_now();
	cr_assert_eq(store_punch(store, file_fd, 0, UINT64_C(1) << 40, NULL),
		     0);
	cr_assert_eq(blocks_now(), blocks);
	cr_assert(all_are(0, UINT64_C(1) << 39, UNIT));
}

static void zero_cases(void)
{
	fill(0, 2 * UNIT);
	cr_assert_eq(store_zero(store, file_fd, 5, UNIT, true), 0);
	cr_assert(all_are('x', 0, 5) && all_are(0, 5, UNIT));
	cr_assert(all_are('x', 5 + UNIT, 100));
	expect_mapped(0, 0, 2 * UNIT);
	/* across the end */
	cr_assert_eq(store_zero(store, file_fd, UNIT, 2 * UNIT, true), 0);
	cr_assert_eq(size_now(), 2 * UNIT);
	cr_assert(all_are(0, UNIT, UNIT));
	cr_assert_eq(store_zero(store, file_fd, UNIT, 2 * UNIT, false), 0);
	cr_assert_eq(size_now(), 3 * UNIT);
	expect_mapped(0, 0, 3 * UNIT);
	/* behind it, over a gap */
	cr_assert_eq(store_zero(store, file_fd, 5 * UNIT, UNIT, false), 0);
	cr_assert_eq(size_now(), 6 * UNIT);
	cr_assert(all_are(0, UNIT, 5 * UNIT));
	expect_mapped(3 * UNIT, 5 * UNIT, 6 * UNIT);
	cr_assert_eq(store_zero(store, file_fd, 9 * UNIT, UNIT, true), 0);
	cr_assert_eq(size_now(), 6 * UNIT);
}

Test(store_file, zero)
{
	zero_cases();
}

Test(store_file, zero_where_it_cannot)
{
	store->caps.zero_range = false;
	zero_cases();
}

Test(store_file, seek)
{
	uint64_t off;

	if (!store_caps(store)->seek_hole)
		skip("cannot seek holes");
	cr_assert_eq(store_seek(store, file_fd, 0, SEEK_DATA, &off), -ENXIO);
	fill(2 * UNIT, UNIT);
	cr_assert_eq(store_seek(store, file_fd, 0, SEEK_HOLE, &off), 0);
	cr_assert_eq(off, 0);
	cr_assert_eq(store_seek(store, file_fd, 1, SEEK_DATA, &off), 0);
	cr_assert_eq(off, 2 * UNIT);
	cr_assert_eq(store_seek(store, file_fd, 2 * UNIT, SEEK_HOLE, &off), 0);
	cr_assert_eq(off, 3 * UNIT);
	cr_assert_eq(store_seek(store, file_fd, 3 * UNIT, SEEK_DATA, &off),
		     -ENXIO);
}

Test(store_file, seek_where_it_cannot)
{
	uint64_t off;

	store->caps.seek_hole = false;
	cr_assert_eq(store_truncate(store, file_fd, UNIT), 0);
	cr_assert_eq(store_seek(store, file_fd, 5, SEEK_DATA, &off), 0);
	cr_assert_eq(off, 5);
	cr_assert_eq(store_seek(store, file_fd, 5, SEEK_HOLE, &off), 0);
	cr_assert_eq(off, UNIT);
	cr_assert_eq(store_seek(store, file_fd, UNIT, SEEK_HOLE, &off), -ENXIO);
}

/* ---- mapped ---- */

Test(store_file, mapped_before_it_reached_the_disk)
{
	/* nothing syncs here: these are delayed allocations */
	fill(UNIT, UNIT);
	fill(4 * UNIT, 10);
	expect_mapped(0, UNIT, 2 * UNIT);
	expect_mapped(UNIT + 10, UNIT + 10, 2 * UNIT);
	expect_mapped(2 * UNIT, 4 * UNIT,
		      4 * UNIT + store_caps(store)->block_size);
	expect_unmapped(5 * UNIT);
	cr_assert_eq(store_fsync(store, file_fd, false), 0);
	expect_mapped(0, UNIT, 2 * UNIT);
	expect_mapped(2 * UNIT, 4 * UNIT,
		      4 * UNIT + store_caps(store)->block_size);
}

Test(store_file, preallocated_is_mapped)
{
	int err = store_allocate(store, file_fd, 0, UNIT, UNIT);

	if (err == -EOPNOTSUPP)
		skip("cannot allocate");
	cr_assert_eq(err, 0);
	cr_assert_eq(size_now(), 2 * UNIT);
	expect_mapped(0, UNIT, 2 * UNIT);
	/* behind the size it is not, before the next block it is */
	cr_assert_eq(store_allocate(store, file_fd, FALLOC_FL_KEEP_SIZE,
				    4 * UNIT, UNIT),
		     0);
	cr_assert_eq(size_now(), 2 * UNIT);
	expect_unmapped(2 * UNIT);
	cr_assert_eq(store_truncate(store, file_fd, 6 * UNIT), 0);
	cr_assert(all_are(0, 0, 6 * UNIT));
}

Test(store_file, many_fragments)
{
	uint64_t off = 0, start, end;
	int i, n = 0;

	for (i = 0; i < 100; i++)
		fill((uint64_t)i * 2 * UNIT, 4 * KIB);
	cr_assert_eq(store_truncate(store, file_fd, 200 * UNIT), 0);
	while (store_next_mapped(store, file_fd, off, &start, &end) > 0) {
		cr_assert_eq(start, (uint64_t)n * 2 * UNIT);
		cr_assert_eq(end - start, 4 * KIB);
		off = end;
		n++;
	}
	cr_assert_eq(n, 100);
}

Test(store_file, an_empty_file_and_one_hole)
{
	expect_unmapped(0);
	cr_assert_eq(store_truncate(store, file_fd, UNIT), 0);
	expect_unmapped(0);
	expect_unmapped(INT64_MAX);
}

/* A filesystem in memory has no FIEMAP. */
Test(store_memory, mapped_by_seeking)
{
	umask(022);
	if (access("/dev/shm", W_OK))
		cr_skip_test("no /dev/shm");
	box_init_in("/dev/shm");
	store_up();
	file_fd = make_file("file", 0644);
	expect_unmapped(0);
	fill(UNIT, UNIT);
	fill(4 * UNIT, 10);
	expect_mapped(0, UNIT, 2 * UNIT);
	expect_mapped(2 * UNIT, 4 * UNIT,
		      4 * UNIT + store_caps(store)->block_size);
	expect_unmapped(5 * UNIT);
	cr_assert_eq(store_truncate(store, file_fd, 0), 0);
	punch_cases(true);
	cr_assert_eq(store_truncate(store, file_fd, 0), 0);
	cr_assert_eq(store_zero(store, file_fd, 0, 2 * UNIT, false), 0);
	cr_assert_eq(size_now(), 2 * UNIT);
	cr_assert(all_are(0, 0, 2 * UNIT));
	store->caps.seek_hole = false;
	expect_mapped(5, 5, 2 * UNIT);
	data_done();
}
