/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A live volume of two stores in a temporary directory, without a kernel in
 * front: what happens when one of them fails, is full, or leaves.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "mirror_fixture.h"

TestSuite(mirror, .init = setup, .fini = teardown, .timeout = 300);

static ssize_t slurp(const char *dir, const char *name, char *buf, size_t len)
{
	char path[8192];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return -errno;
	n = read(fd, buf, len);
	close(fd);
	return n;
}

static void same_on_both(const char *name)
{
	static char x[1 << 16], y[1 << 16];
	ssize_t n = slurp(dir_a, name, x, sizeof(x));

	cr_assert_eq(n, slurp(dir_b, name, y, sizeof(y)));
	if (n > 0)
		cr_assert(!memcmp(x, y, (size_t)n));
}

static int slot_of(const struct store *s)
{
	struct mirror_slot_info info;

	for (unsigned int i = 0; i < mirror_slot_count(m); i++) {
		mirror_slot_info(m, i, &info);
		if (!strcmp(info.uuid, store_identity(s)->store_uuid))
			return (int)i;
	}
	return -1;
}

static enum meta_store_state state_of(int slot)
{
	struct mirror_slot_info info;

	mirror_slot_info(m, (unsigned int)slot, &info);
	return info.state;
}

Test(mirror, a_write_is_on_both_stores_and_in_both_maps)
{
	uint64_t id = file("f");

	cr_assert_eq(mirror_write(m, id, "hello", 5, 3, false), 0);
	cr_assert_eq(mirror_checkpoint(m, NULL), 0);
	same_on_both("f");
	for (unsigned int i = 0; i < 2; i++) {
		struct mirror_ref ref;
		struct meta_reader *rd;
		struct meta_iter it = {0};
		struct meta_extent e;

		cr_assert_eq(mirror_ref_get(m, i, &ref), 0);
		rd = meta_reader_get(ref.meta);
		cr_assert_eq(meta_iter_extents(rd, id, 0, META_RANGE_MAX, &it),
			     0);
		cr_assert_eq(meta_next_extent(&it, &e), 1);
		cr_assert(e.start == 0 && e.end == META_BLOCK && e.seq > 0);
		cr_assert_eq(meta_next_extent(&it, &e), 0);
		meta_iter_done(&it);
		meta_reader_put(rd);
		mirror_ref_put(m, &ref);
	}
}

Test(mirror, a_store_that_fails_a_write_is_out_and_nobody_notices)
{
	uint64_t id = file("f");
	int slot = slot_of(store_b);
	char buf[16];

	store_fail_inject(store_b, "store.write", EIO);
	cr_assert_eq(mirror_write(m, id, "hello", 5, 0, false), 0);
	cr_assert_eq(state_of(slot), META_STORE_FAILED);
	cr_assert_eq(mirror_read(m, id, buf, sizeof(buf), 0), 5);
	cr_assert_eq(mirror_close(m), 0);
	m = NULL;
}

Test(mirror, the_lead_fails_and_the_other_goes_on)
{
	uint64_t id = file("f");
	int slot = slot_of(store_a);
	char buf[16];

	store_fail_inject(store_a, "store.", EIO);
	cr_assert_eq(mirror_write(m, id, "hello", 5, 0, false), 0);
	cr_assert_eq(state_of(slot), META_STORE_FAILED);
	cr_assert_eq(mirror_read(m, id, buf, sizeof(buf), 0), 5);
	cr_assert_eq(mirror_create(m, META_ROOT_ID, "g", 0644, &cred,
				   &(struct mirror_entry){0}),
		     0);
}

Test(mirror, a_departure_is_recorded_before_the_answer)
{
	uint64_t id = file("f");
	struct meta_epoch *v;
	struct mirror_ref ref;
	struct meta_reader *rd;
	size_t count;

	store_fail_inject(store_b, "store.write", EIO);
	cr_assert_eq(mirror_write(m, id, "x", 1, 0, false), 0);
	cr_assert_eq(mirror_ref_get(m, (unsigned int)mirror_lead(m), &ref), 0);
	rd = meta_reader_get(ref.meta);
	cr_assert_eq(meta_epochs(rd, &v, &count), 0);
	cr_assert_gt(count, 1);
	cr_assert_eq(v[count - 1].member_count, 1);
	cr_assert_leq(v[count - 1].first_seq, mirror_seq(m));
	free(v);
	meta_reader_put(rd);
	mirror_ref_put(m, &ref);
}

Test(mirror, no_room_on_one_store_is_the_applications_error)
{
	uint64_t id = file("f");
	int slot = slot_of(store_b);

	cr_assert_eq(mirror_write(m, id, "before", 6, 0, false), 0);
	store_fail_inject(store_b, "store.write", ENOSPC);
	cr_assert_eq(mirror_write(m, id, "after....", 9, 0, false), -ENOSPC);
	store_fail_inject(store_b, "store.create", ENOSPC);
	cr_assert_eq(mirror_create(m, META_ROOT_ID, "g", 0644, &cred,
				   &(struct mirror_entry){0}),
		     -ENOSPC);
	store_fail_inject(store_b, "", 0);
	cr_assert_eq(state_of(slot), META_STORE_ONLINE);
	cr_assert_eq(mirror_checkpoint(m, NULL), 0);
	same_on_both("f");
	same_on_both("g");
	cr_assert_eq(slurp(dir_a, "g", (char[1]){0}, 1), -ENOENT);
}

#ifdef SEQMIRROR_FAULT_INJECTION

Test(mirror, a_read_error_is_served_by_the_other_store)
{
	uint64_t id = file("f");
	char buf[16] = {0};

	cr_assert_eq(mirror_write(m, id, "hello", 5, 0, false), 0);
	/* Once: what is read again when it was rewritten is right. */
	cr_assert_eq(fault_configure("store.read:eio:1"), 0);
	cr_assert_eq(mirror_read(m, id, buf, sizeof(buf), 0), 5);
	cr_assert(!memcmp(buf, "hello", 5));
	cr_assert_eq(state_of(slot_of(store_a)), META_STORE_ONLINE);
	cr_assert_eq(state_of(slot_of(store_b)), META_STORE_ONLINE);
}

/* As ext4 says it for a disk that does not answer any more. */
Test(mirror, no_room_on_a_store_that_writes_nothing_is_its_own_fault)
{
	uint64_t id = file("f");

	store_fail_inject(store_b, "store.still_runs", EIO);
	cr_assert_eq(fault_configure("store.create:enospc:2"), 0);
	cr_expect_eq(mirror_create(m, META_ROOT_ID, "g", 0644, &cred,
				   &(struct mirror_entry){0}),
		     0);
	cr_expect_eq(state_of(slot_of(store_b)), META_STORE_FAILED);
	/* Of the last one it is the application's error, whatever it is. */
	cr_assert_eq(fault_configure("store.write:enospc:1"), 0);
	cr_expect_eq(mirror_write(m, id, "x", 1, 0, false), -ENOSPC);
	store_fail_inject(store_a, "store.still_runs", EIO);
	cr_assert_eq(fault_configure("store.write:enospc:1"), 0);
	cr_expect_eq(mirror_write(m, id, "x", 1, 0, false), -EIO);
	cr_assert_eq(fault_configure(""), 0);
	cr_expect_eq(state_of(slot_of(store_a)), META_STORE_ONLINE);
	cr_expect_eq(slurp(dir_a, "g", (char[1]){0}, 1), 0);
}

Test(mirror, a_write_with_no_room_on_a_lead_that_writes_nothing)
{
	uint64_t id = file("f");

	store_fail_inject(store_a, "store.still_runs", EIO);
	cr_assert_eq(fault_configure("store.write:enospc:1"), 0);
	cr_expect_eq(mirror_write(m, id, "x", 1, 0, false), 0);
	cr_assert_eq(fault_configure(""), 0);
	cr_expect_eq(state_of(slot_of(store_a)), META_STORE_FAILED);
	cr_expect_eq(slurp(dir_b, "f", (char[1]){0}, 1), 1);
}

#endif

Test(mirror, a_write_beyond_the_largest_file_puts_nobody_out)
{
	uint64_t id = file("f");
	int r = mirror_write(m, id, "x", 1, 1ull << 44, false);

	/* Some filesystems have room there. */
	cr_assert(r == -EFBIG || r == 0, "%d", r);
	cr_assert_eq(state_of(0), META_STORE_ONLINE);
	cr_assert_eq(state_of(1), META_STORE_ONLINE);
	if (!r)
		return;
	cr_assert_eq(mirror_write(m, id, "y", 1, 0, false), 0);
	same_on_both("f");
}

Test(mirror, the_last_store_is_never_put_out)
{
	uint64_t id = file("f");

	store_fail_inject(store_b, "store.", EIO);
	cr_assert_eq(mirror_write(m, id, "x", 1, 0, false), 0);
	store_fail_inject(store_a, "store.write", EIO);
	cr_assert_eq(mirror_write(m, id, "y", 1, 0, false), -EIO);
	cr_assert_eq(state_of(mirror_lead(m)), META_STORE_ONLINE);
	store_fail_inject(store_a, "", 0);
	cr_assert_eq(mirror_write(m, id, "z", 1, 0, false), 0);
}

Test(mirror, a_failed_fsync_puts_the_store_out)
{
	uint64_t id = file("f");
	int slot = slot_of(store_b);

	cr_assert_eq(mirror_write(m, id, "x", 1, 0, false), 0);
	store_fail_inject(store_b, "store.fsync", EIO);
	cr_assert_eq(mirror_fsync(m, id, true), 0);
	cr_assert_eq(state_of(slot), META_STORE_FAILED);
}

Test(mirror, an_fsync_of_a_store_that_shut_itself_down_is_not_believed)
{
	uint64_t id = file("f");

	cr_assert_eq(mirror_write(m, id, "x", 1, 0, false), 0);
	/* Its fsync says 0, and a file can be opened no more. */
	store_fail_inject(store_a, "store.still_runs", EIO);
	cr_assert_eq(mirror_fsync(m, id, false), 0);
	cr_assert_eq(state_of(slot_of(store_a)), META_STORE_FAILED);
	cr_assert_eq(state_of(slot_of(store_b)), META_STORE_ONLINE);
	store_fail_inject(store_b, "store.still_runs", EIO);
	cr_assert_eq(mirror_fsync(m, id, false), -EIO);
}

Test(mirror, a_node_without_a_name_concerns_nobody)
{
	uint64_t id = file("f");
	struct stat st;
	char buf[8];

	cr_assert_eq(mirror_write(m, id, "x", 1, 0, false), 0);
	cr_assert_eq(mirror_unlink(m, META_ROOT_ID, "f"), 0);
	cr_assert_eq(mirror_write(m, id, "yz", 2, 1, false), 0);
	cr_assert_eq(mirror_read(m, id, buf, sizeof(buf), 0), 3);
	cr_assert_eq(mirror_getattr(m, id, &st), 0);
	cr_assert_eq(st.st_size, 3);
	cr_assert_eq(mirror_checkpoint(m, NULL), 0);
	mirror_forget(m, id, 1);
	cr_assert_eq(mirror_getattr(m, id, &st), -ESTALE);
}

Test(mirror, detach_leaves_an_equal_copy_and_goes_on)
{
	uint64_t id = file("f");
	unsigned int slot = (unsigned int)slot_of(store_b);
	char buf[8];

	cr_assert_eq(mirror_write(m, id, "x", 1, 0, false), 0);
	cr_assert_eq(mirror_detach(m, slot), 0);
	same_on_both("f");
	cr_assert_eq(mirror_write(m, id, "y", 1, 0, false), 0);
	cr_assert_eq(slurp(dir_b, "f", buf, sizeof(buf)), 1);
	cr_assert_eq(buf[0], 'x');
	cr_assert_eq(state_of((int)slot), META_STORE_DETACHED);
	cr_assert_eq(mirror_detach(m, (unsigned int)mirror_lead(m)), -EBUSY);
}

struct seen {
	unsigned int count;
	uint64_t cookie;
	unsigned int stop_after;
};

static int see(void *arg, const char *name, uint64_t id, unsigned char type,
	       uint64_t next, const struct stat *st)
{
	struct seen *s = arg;

	(void)id;
	(void)st;
	cr_assert(strcmp(name, ".seqmirror"));
	cr_assert(type == DT_REG || type == DT_DIR);
	if (s->stop_after && s->count % s->stop_after == s->stop_after - 1) {
		s->count++; /* this one does not fit; asked for again */
		return 1;
	}
	s->count++;
	s->cookie = next;
	return 0;
}

Test(mirror, a_listing_goes_on_where_it_stopped)
{
	struct seen s = {.stop_after = 4};
	unsigned int full = 0;
	char name[16];

	for (int i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		(void)file(name);
	}
	for (unsigned int before = 1; before != s.count;) {
		before = s.count;
		cr_assert_eq(mirror_readdir(m, META_ROOT_ID, s.cookie, false,
					    see, &s),
			     0);
		if (s.count != before && s.count % 4 == 0)
			full++;
	}
	cr_assert_eq(s.count - full, 22); /* and "." and ".." */
}

Test(mirror, the_private_directory_is_not_there)
{
	struct mirror_entry e;

	cr_assert_eq(mirror_lookup(m, META_ROOT_ID, ".seqmirror", &e), -ENOENT);
	cr_assert_eq(
		mirror_mkdir(m, META_ROOT_ID, ".seqmirror", 0755, &cred, &e),
		-EPERM);
	cr_assert_eq(mirror_rename(m, META_ROOT_ID, ".seqmirror", META_ROOT_ID,
				   "x", 0),
		     -ENOENT);
	cr_assert_eq(mirror_rmdir(m, META_ROOT_ID, ".seqmirror"), -ENOENT);
}

Test(mirror, modification_times_agree_after_a_checkpoint)
{
	uint64_t id = file("f");
	char path[8192];
	struct stat a, b;

	cr_assert_eq(mirror_write(m, id, "x", 1, 0, false), 0);
	cr_assert_eq(mirror_checkpoint(m, NULL), 0);
	snprintf(path, sizeof(path), "%s/f", dir_a);
	cr_assert_eq(stat(path, &a), 0);
	snprintf(path, sizeof(path), "%s/f", dir_b);
	cr_assert_eq(stat(path, &b), 0);
	cr_assert_eq(a.st_mtim.tv_sec, b.st_mtim.tv_sec);
	cr_assert_eq(a.st_mtim.tv_nsec, b.st_mtim.tv_nsec);
	cr_assert_eq(stat(dir_a, &a), 0);
	cr_assert_eq(stat(dir_b, &b), 0);
	cr_assert_eq(a.st_mtim.tv_nsec, b.st_mtim.tv_nsec);
}

Test(mirror, pages_that_come_late_do_not_move_the_kernels_time)
{
	struct stat want = {.st_mtim = {.tv_sec = 1000, .tv_nsec = 77}};
	struct mirror_entry e;
	char path[8192];
	struct stat st;
	uint64_t id;

	mirror_set_kernel_times(m, true);
	cr_assert_eq(mirror_create(m, META_ROOT_ID, "f", 0644, &cred, &e), 0);
	id = e.id;
	cr_assert_eq(mirror_write(m, id, "x", 1, 0, false), 0);
	cr_assert_eq(mirror_checkpoint(m, NULL), 0);
	snprintf(path, sizeof(path), "%s/f", dir_b);
	cr_assert_eq(stat(path, &st), 0);
	cr_assert_eq(st.st_mtim.tv_nsec, e.st.st_mtim.tv_nsec);
	cr_assert_eq(mirror_setattr(m, id, &want, MIRROR_SET_MTIME, &st), 0);
	cr_assert_eq(mirror_write(m, id, "y", 1, 0, false), 0);
	cr_assert_eq(mirror_getattr(m, id, &st), 0);
	cr_assert_eq(st.st_mtim.tv_nsec, 77);
	cr_assert_eq(mirror_checkpoint(m, NULL), 0);
	cr_assert_eq(stat(path, &st), 0);
	cr_assert(st.st_mtim.tv_sec == 1000 && st.st_mtim.tv_nsec == 77);
}

/* What the map of slot @i has mapped of [0, 8 blocks): a bit for each block. */
static unsigned int mapped_blocks(unsigned int i, uint64_t id)
{
	struct meta_iter it = {0};
	unsigned int blocks = 0;
	struct mirror_ref ref;
	struct meta_reader *rd;
	struct meta_extent e;
	int r;

	cr_assert_eq(mirror_ref_get(m, i, &ref), 0);
	rd = meta_reader_get(ref.meta);
	cr_assert_eq(meta_iter_extents(rd, id, 0, 8ull * META_BLOCK, &it), 0);
	while ((r = meta_next_extent(&it, &e)) > 0)
		for (uint64_t at = e.start; at < e.end; at += META_BLOCK)
			blocks |= 1u << (at / META_BLOCK);
	cr_assert_eq(r, 0);
	meta_iter_done(&it);
	meta_reader_put(rd);
	mirror_ref_put(m, &ref);
	return blocks;
}

/* xfs allocates ahead of a file that grows; of the rest of it the map has
 * nothing, and a punch over parts of such blocks is to leave it so. */
Test(mirror, what_the_lead_allocated_by_itself_is_no_data)
{
	static const char zeros[2 * META_BLOCK], data[META_BLOCK] = "data";
	const int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	uint64_t id = file("f");
	char path[8192];
	struct stat st;
	int fd;

	cr_assert_eq(mirror_write(m, id, data, META_BLOCK, 0, false), 0);
	cr_assert_eq(
		mirror_write(m, id, data, META_BLOCK, 4ull * META_BLOCK, false),
		0);
	snprintf(path, sizeof(path), "%s/f", dir_a);
	fd = open(path, O_WRONLY);
	cr_assert_eq(pwrite(fd, zeros, sizeof(zeros), META_BLOCK),
		     (ssize_t)sizeof(zeros));
	close(fd);
	/* Parts of two holes, parts of a hole and of what was written. */
	cr_assert_eq(
		mirror_fallocate(m, id, punch, META_BLOCK + 100, META_BLOCK, 0),
		0);
	cr_assert_eq(
		mirror_fallocate(m, id, punch, 4ull * META_BLOCK - 100, 300, 0),
		0);
	cr_assert_eq(mirror_checkpoint(m, NULL), 0);
	for (unsigned int i = 0; i < 2; i++)
		cr_expect_eq(mapped_blocks(i, id), 0x11, "store %u: %x", i,
			     mapped_blocks(i, id));
	st.st_size = 2 * META_BLOCK - 7;
	cr_assert_eq(mirror_setattr(m, id, &st, MIRROR_SET_SIZE, &st), 0);
	cr_assert_eq(mirror_checkpoint(m, NULL), 0);
	for (unsigned int i = 0; i < 2; i++)
		cr_expect_eq(mapped_blocks(i, id), 0x01);
	same_on_both("f");
}

Test(mirror, it_opens_again_with_both_in_step)
{
	uint64_t id = file("f");
	struct mirror_entry e;

	cr_assert_eq(mirror_write(m, id, "x", 1, 0, false), 0);
	cr_assert_eq(mirror_close(m), 0);
	m = NULL;
	volume_open();
	cr_assert_eq(state_of(0), META_STORE_ONLINE);
	cr_assert_eq(state_of(1), META_STORE_ONLINE);
	cr_assert_eq(mirror_lookup(m, META_ROOT_ID, "f", &e), 0);
	cr_assert_eq(e.id, id);
	cr_assert_eq(mirror_rename(m, META_ROOT_ID, "f", META_ROOT_ID, "g", 0),
		     0);
	cr_assert_eq(mirror_lookup(m, META_ROOT_ID, "f", &e), -ENOENT);
}
