/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A live volume where two things happen at once, or one happens half: a store
 * leaves while something is recorded, names go while a file is in use, a write
 * is cut by a full disk.
 */
#include "tests/unit/three_fixture.h"

TestSuite(mirror_faults, .init = setup, .fini = teardown, .timeout = 300);

/* ---- departures ---- */

static int call_mkdir(const struct call *c)
{
	struct mirror_entry made;

	(void)c;
	return mirror_mkdir(m, META_ROOT_ID, "d", 0755, &cred, &made);
}

Test(mirror_faults, a_departure_during_a_record_is_not_taken_for_recorded)
{
	struct call mk = {.fn = call_mkdir};
	struct call sync = {.fn = call_fsync, .id = META_ROOT_ID};
	size_t before = epochs(0);

	cr_assert_eq(fault_configure("mirror.record.after:delay=400:1"), 0);
	begin(&mk); /* the epoch of all three is being committed */
	WAIT_UNTIL(epochs(0) > before && epochs(1) > before);
	store_fail_inject(store[2], "store.fsync", EIO);
	begin(&sync);
	cr_assert_eq(end(&sync), 0);
	cr_expect_eq(recorded_state(0, 2), META_STORE_FAILED);
	cr_expect_eq(epoch_members(0), 2);
	cr_expect_eq(epoch_members(1), 2);
	cr_assert_eq(end(&mk), 0);
	cr_expect_eq(epoch_members(0), 2);
}

Test(mirror_faults, an_fsync_waits_for_the_record_of_who_left_before)
{
	struct call first = {.fn = call_fsync, .id = file("f")};
	struct call second = {.fn = call_fsync, .id = file("g")};

	cr_assert_eq(fault_configure("mirror.record.before:delay=400:1"), 0);
	store_fail_inject(store[1], "store.fsync", EIO);
	begin(&first);
	WAIT_UNTIL(state_of(1) == META_STORE_FAILED);
	begin(&second); /* on the stores that stay alone */
	cr_assert_eq(end(&second), 0);
	cr_expect_eq(recorded_state(0, 1), META_STORE_FAILED);
	cr_assert_eq(end(&first), 0);
}

/* ---- maps ---- */

/* At which of all transactions one map does not even begin. */
ParameterizedTestParameters(mirror_faults, a_map_that_cannot_begin_is_out)
{
	static int at[24];

	for (int i = 0; i < 24; i++)
		at[i] = i + 1;
	return cr_make_param_array(int, at, 24);
}

ParameterizedTest(int *at, mirror_faults, a_map_that_cannot_begin_is_out)
{
	unsigned int online = 0;
	struct mirror_entry made;
	char spec[64];
	uint64_t id;

	snprintf(spec, sizeof(spec), "meta.begin:eio:%d", *at);
	cr_assert_eq(fault_configure(spec), 0);
	cr_assert_eq(mirror_mkdir(m, META_ROOT_ID, "d", 0755, &cred, &made), 0);
	id = file("f");
	cr_assert_eq(mirror_write(m, id, "abc", 3, 0, false), 0);
	cr_assert_eq(mirror_rename(m, META_ROOT_ID, "f", made.id, "g", 0), 0);
	cr_assert_eq(mirror_fsync(m, id, false), 0);
	cr_assert_eq(mirror_checkpoint(m, NULL), 0);
	cr_assert_eq(mirror_write(m, id, "d", 1, 3, false), 0);
	for (int k = 0; k < STORES; k++)
		online += state_of(k) == META_STORE_ONLINE;
	cr_assert_geq(online, STORES - 1);
}

/* ---- contents ---- */

Test(mirror_faults, two_writes_into_one_block_leave_the_higher_number)
{
	uint64_t id = file("f");
	struct call a = {.fn = call_write, .id = id, .len = 100};
	struct mirror_ref ref;
	struct meta_reader *rd;
	struct meta_iter it = {0};
	struct meta_extent x;
	uint64_t before;

	cr_assert_eq(fault_configure("mirror.write.done:delay=300:1"), 0);
	before = mirror_seq(m);
	begin(&a);
	WAIT_UNTIL(mirror_seq(m) > before);
	cr_assert_eq(mirror_write(m, id, "y", 1, 200, false), 0);
	cr_assert_eq(end(&a), 0);
	cr_assert_eq(mirror_checkpoint(m, NULL), 0);
	cr_assert_eq(mirror_ref_get(m, slot_of[0], &ref), 0);
	rd = meta_reader_get(ref.meta);
	cr_assert_eq(meta_iter_extents(rd, id, 0, META_RANGE_MAX, &it), 0);
	cr_assert_eq(meta_next_extent(&it, &x), 1);
	cr_expect_eq(x.seq, mirror_seq(m));
	meta_iter_done(&it);
	meta_reader_put(rd);
	mirror_ref_put(m, &ref);
}

static void limit_files(rlim_t bytes)
{
	struct rlimit lim;

	cr_assert_eq(getrlimit(RLIMIT_FSIZE, &lim), 0);
	lim.rlim_cur = bytes;
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &lim), 0);
}

Test(mirror_faults, a_write_that_fits_in_part_leaves_all_stores_equal)
{
	static char data[32768];
	rlim_t limit = (64u << 20) + 8192;
	uint64_t id = file("f");
	struct stat st[STORES];
	char path[8192];

	memset(data, 'x', sizeof(data));
	cr_assert_eq(mirror_write(m, id, "a", 1, 0, false), 0);
	limit_files(limit); /* the lead takes 8 KiB of it and no more */
	cr_expect_eq(mirror_write(m, id, data, sizeof(data), 64u << 20, false),
		     -EFBIG);
	limit_files(RLIM_INFINITY);
	all_online();
	cr_assert_eq(mirror_checkpoint(m, NULL), 0);
	for (int k = 0; k < STORES; k++) {
		snprintf(path, sizeof(path), "%s/f", dirs[k]);
		cr_assert_eq(stat(path, &st[k]), 0);
		cr_expect_eq(st[k].st_size, st[0].st_size, "store %d: %lld", k,
			     (long long)st[k].st_size);
	}
}

Test(mirror_faults, a_full_store_does_not_cut_off_what_others_append)
{
	uint64_t id = file("f");
	struct call far = {
		.fn = call_write, .id = id, .off = 1 << 16, .len = 4096};
	struct call near = {.fn = call_write, .id = id, .len = 4096};

	/* The lead has the far write, the second store not yet. */
	cr_assert_eq(fault_configure("mirror.write:delay=300:2"), 0);
	begin(&far);
	WAIT_UNTIL(first_byte(0, 1 << 16) == 'c');
	store_fail_inject(store[1], "store.write", ENOSPC);
	begin(&near);
	WAIT_UNTIL(first_byte(0, 0) == 'c');
	(void)poll(NULL, 0, 50); /* refused by the second store */
	store_fail_inject(store[1], "", 0);
	cr_expect_eq(end(&near), -ENOSPC);
	cr_expect_eq(end(&far), 0);
	all_online();
	cr_assert_eq(mirror_checkpoint(m, NULL), 0);
	same_on_all("f");
	{
		size_t len;

		(void)slurp(0, "f", &len);
		cr_expect_eq(len, (1u << 16) + 4096);
	}
}

Test(mirror_faults, what_one_store_cannot_do_at_all_is_undone_on_the_others)
{
	uint64_t id = file("f");

	cr_assert_eq(mirror_write(m, id, "abc", 3, 0, false), 0);
	store_fail_inject(store[1], "store.allocate", EOPNOTSUPP);
	cr_expect_eq(mirror_fallocate(m, id, 0, 0, 1 << 16, false),
		     -EOPNOTSUPP);
	store_fail_inject(store[1], "store.truncate", EFBIG);
	cr_expect_eq(mirror_setattr(m, id, &(struct stat){.st_size = 1 << 17},
				    MIRROR_SET_SIZE, &e.st),
		     -EFBIG);
	store_fail_inject(store[1], "store.link", EMLINK);
	cr_expect_eq(mirror_link(m, id, META_ROOT_ID, "g", &e), -EMLINK);
	store_fail_inject(store[1], "", 0);
	all_online();
	cr_assert_eq(mirror_checkpoint(m, NULL), 0);
	same_on_all("f");
	cr_expect_eq(mirror_lookup(m, META_ROOT_ID, "g", &e), -ENOENT);
}

Test(mirror_faults, no_descriptor_left_puts_nobody_out)
{
	uint64_t id = file("f");

	volume_reopen(0);
	cr_assert_eq(mirror_lookup(m, META_ROOT_ID, "f", &e), 0);
	store_fail_inject(store[1], "store.open", EMFILE);
	cr_expect_eq(mirror_write(m, id, "x", 1, 0, false), -EMFILE);
	cr_expect_eq(mirror_unlink(m, META_ROOT_ID, "f"), -EMFILE);
	store_fail_inject(store[1], "", 0);
	all_online();
	cr_expect_eq(mirror_write(m, id, "x", 1, 0, false), 0);
}

Test(mirror_faults, no_descriptor_for_the_other_directory_undoes_no_rename)
{
	struct mirror_entry d, over;
	uint64_t id = file("f");

	cr_assert_eq(mirror_mkdir(m, META_ROOT_ID, "d", 0755, &cred, &d), 0);
	cr_assert_eq(mirror_create(m, d.id, "g", 0644, &cred, &over), 0);
	/* No last name: the file itself is not opened before. */
	cr_assert_eq(mirror_link(m, over.id, META_ROOT_ID, "h", &e), 0);
	volume_reopen(0);
	cr_assert_eq(mirror_lookup(m, META_ROOT_ID, "f", &e), 0);
	cr_assert_eq(mirror_lookup(m, META_ROOT_ID, "d", &e), 0);
	cr_assert_eq(mirror_lookup(m, d.id, "g", &e), 0);
	ignore_result(file("x")); /* the one directory is open, not the other */
	store_fail_inject(store[1], "store.open", EMFILE);
	cr_expect_eq(mirror_rename(m, META_ROOT_ID, "f", d.id, "g", 0),
		     -EMFILE);
	store_fail_inject(store[1], "", 0);
	all_online();
	cr_assert_eq(mirror_lookup(m, d.id, "g", &e), 0);
	cr_expect_eq(e.id, over.id);
	cr_expect_eq(mirror_rename(m, META_ROOT_ID, "f", d.id, "g", 0), 0);
	cr_assert_eq(mirror_lookup(m, d.id, "g", &e), 0);
	cr_expect_eq(e.id, id);
	all_online();
}

/* Pages that could not be written are told to who has the file open, and to
 * nobody when its inode has left memory: but to the filesystem, always. */
Test(mirror_faults, an_fsync_asks_for_what_was_lost_when_a_file_was_closed)
{
	uint64_t id = file("f");

	cr_assert_eq(mirror_write(m, id, "abc", 3, 0, false), 0);
	store_fail_inject(store[1], "store.syncfs", EIO);
	cr_expect_eq(mirror_fsync(m, id, true), 0);
	all_online(); /* its descriptor was there all the time */
	store_fail_inject(store[1], "", 0);
	volume_reopen(1); /* none is kept that is not used */
	cr_assert_eq(mirror_lookup(m, META_ROOT_ID, "f", &e), 0);
	cr_assert_eq(mirror_write(m, id, "def", 3, 0, false), 0);
	ignore_result(file("g"));
	cr_assert_eq(mirror_checkpoint(m, NULL), 0);
	store_fail_inject(store[1], "store.syncfs", EIO);
	cr_expect_eq(mirror_fsync(m, id, true), 0);
	all_online(); /* it was synced with the checkpoint */
	store_fail_inject(store[1], "", 0);
	cr_assert_eq(mirror_write(m, id, "ghi", 3, 0, false), 0);
	ignore_result(file("h"));
	store_fail_inject(store[1], "store.syncfs", EIO);
	cr_expect_eq(mirror_fsync(m, id, true), 0);
	cr_expect_eq(recorded_state(0, 1), META_STORE_FAILED);
}

/* Such a word comes once, and may be about any file: a checkpoint that follows
 * must not find that all is well. */
Test(mirror_faults, what_an_fsync_hears_of_a_filesystem_counts_for_all_files)
{
	uint64_t id;

	volume_reopen(1);
	id = file("f");
	cr_assert_eq(mirror_write(m, id, "abc", 3, 0, false), 0);
	ignore_result(file("g"));
	cr_assert_eq(mirror_unlink(m, META_ROOT_ID, "f"), 0);
	store_fail_inject(store[1], "store.syncfs", EIO);
	cr_expect_eq(mirror_fsync(m, id, true), 0); /* others have it */
	cr_expect_eq(state_of(1), META_STORE_FAILED);
	store_fail_inject(store[2], "store.fsync", EIO);
	id = file("h");
	cr_assert_eq(mirror_fsync(m, id, true), 0);
	cr_assert_eq(state_of(2), META_STORE_FAILED);
	/* The last one: read-only, as if a checkpoint had heard it. */
	cr_assert_eq(mirror_write(m, id, "abc", 3, 0, false), 0);
	ignore_result(file("i"));
	store_fail_inject(store[0], "store.syncfs", EIO);
	cr_expect_eq(mirror_fsync(m, id, true), -EIO);
	store_fail_inject(store[0], "", 0);
	cr_expect_lt(mirror_write(m, id, "x", 1, 0, false), 0);
	cr_expect_neq(mirror_checkpoint(m, NULL), 0);
}

Test(mirror_faults, a_checkpoint_waits_for_descriptors)
{
	struct call c = {.fn = call_checkpoint};
	struct stat st[STORES];
	char path[8192];
	uint64_t id;

	volume_reopen(1); /* none is kept that is not used */
	id = file("f");
	cr_assert_eq(mirror_write(m, id, "abc", 3, 0, false), 0);
	ignore_result(file("g"));
	store_fail_inject(store[1], "store.open", EMFILE);
	begin(&c);
	(void)poll(NULL, 0, 50); /* it has found none by now */
	all_online();
	store_fail_inject(store[1], "", 0);
	cr_assert_eq(end(&c), 0);
	all_online();
	for (int k = 0; k < STORES; k++) {
		snprintf(path, sizeof(path), "%s/f", dirs[k]);
		cr_assert_eq(stat(path, &st[k]), 0);
		cr_expect_eq(st[k].st_mtim.tv_sec, st[0].st_mtim.tv_sec);
		cr_expect_eq(st[k].st_mtim.tv_nsec, st[0].st_mtim.tv_nsec);
	}
}

/* Files are opened anew, and slot @none finds no descriptor for that. */
static void no_descriptor_on(int none)
{
	volume_reopen(0);
	cr_assert_eq(mirror_lookup(m, META_ROOT_ID, "f", &e), 0);
	store_fail_inject(store[none], "store.open", EMFILE);
}

Test(mirror_faults, a_failed_fsync_counts_beside_one_that_was_not_tried)
{
	uint64_t id = file("f");

	no_descriptor_on(0);
	store_fail_inject(store[1], "store.fsync", EIO);
	cr_expect_eq(mirror_fsync(m, id, false), -EMFILE);
	store_fail_inject(store[0], "", 0); /* the other one is closed */
	cr_expect_eq(mirror_fsync(m, id, false), 0);
	cr_expect_eq(state_of(0), META_STORE_ONLINE);
	cr_expect_eq(state_of(1), META_STORE_FAILED);
	cr_expect_eq(recorded_state(0, 1), META_STORE_FAILED);
}

Test(mirror_faults, a_failed_fsync_counts_when_nobody_else_was_tried)
{
	uint64_t id = file("f");

	no_descriptor_on(1);
	store_fail_inject(store[0], "store.fsync", EIO);
	store_fail_inject(store[2], "store.fsync", EIO);
	cr_expect_eq(mirror_fsync(m, id, false), -EMFILE);
	cr_expect_eq(state_of(0), META_STORE_FAILED);
	cr_expect_eq(state_of(2), META_STORE_FAILED);
	store_fail_inject(store[1], "", 0);
	cr_expect_eq(mirror_fsync(m, id, false), 0);
	cr_expect_eq(state_of(1), META_STORE_ONLINE);
}

/* The kernel tells once of a write that it had no memory for. */
Test(mirror_faults, an_fsync_without_memory_has_failed)
{
	uint64_t id = file("f");

	store_fail_inject(store[1], "store.fsync", ENOMEM);
	cr_expect_eq(mirror_fsync(m, id, false), 0);
	cr_expect_eq(state_of(0), META_STORE_ONLINE);
	cr_expect_eq(state_of(1), META_STORE_FAILED);
	cr_expect_eq(recorded_state(0, 1), META_STORE_FAILED);
}

/* ---- names that go ---- */

Test(mirror_faults, a_file_that_loses_a_name_meanwhile_is_no_fault_of_a_store)
{
	struct call rm = {.fn = call_unlink};
	uint64_t id = file("f");
	char buf[8];

	cr_assert_eq(mirror_link(m, id, META_ROOT_ID, "g", &e), 0);
	volume_reopen(0); /* no descriptors are known */
	cr_assert_eq(mirror_lookup(m, META_ROOT_ID, "f", &e), 0);
	cr_assert_eq(fault_configure("mirror.remove.done:delay=300:1"), 0);
	begin(&rm);
	for (int k = 0; k < STORES; k++)
		WAIT_UNTIL(first_byte(k, 0) < -1);
	cr_expect_eq(mirror_write(m, id, "xyz", 3, 0, false), 0);
	cr_expect_eq(mirror_read(m, id, buf, sizeof(buf), 0), 3);
	cr_assert_eq(end(&rm), 0);
	all_online();
	cr_assert_eq(mirror_checkpoint(m, NULL), 0);
	same_on_all("g");
}

Test(mirror_faults, a_file_that_loses_its_last_name_can_still_be_written)
{
	struct call rm = {.fn = call_unlink};
	uint64_t id = file("f");
	char buf[8];

	volume_reopen(0);
	cr_assert_eq(mirror_lookup(m, META_ROOT_ID, "f", &e), 0);
	cr_assert_eq(fault_configure("mirror.remove.done:delay=300:1"), 0);
	begin(&rm);
	for (int k = 0; k < STORES; k++)
		WAIT_UNTIL(first_byte(k, 0) < -1);
	cr_expect_eq(mirror_write(m, id, "xyz", 3, 0, false), 0);
	cr_assert_eq(end(&rm), 0);
	cr_expect_eq(mirror_read(m, id, buf, sizeof(buf), 0), 3);
	all_online();
}

Test(mirror_faults, what_is_open_without_a_name_stays_when_descriptors_are_few)
{
	uint64_t id = file("f"), id2 = file("g");
	char buf[8];

	cr_assert_eq(mirror_write(m, id, "abc", 3, 0, false), 0);
	cr_assert_eq(mirror_write(m, id2, "abc", 3, 0, false), 0);
	volume_reopen(1);
	cr_assert_eq(mirror_lookup(m, META_ROOT_ID, "f", &e), 0);
	cr_assert_eq(mirror_lookup(m, META_ROOT_ID, "g", &e), 0);
	cr_assert_eq(mirror_unlink(m, META_ROOT_ID, "f"), 0);
	cr_expect_eq(mirror_read(m, id, buf, sizeof(buf), 0), 3);
	cr_assert_eq(mirror_create(m, META_ROOT_ID, "h", 0644, &cred, &e), 0);
	cr_assert_eq(mirror_rename(m, META_ROOT_ID, "h", META_ROOT_ID, "g", 0),
		     0);
	cr_expect_eq(mirror_read(m, id2, buf, sizeof(buf), 0), 3);
}

Test(mirror_faults, a_store_that_missed_a_write_to_an_open_file_is_not_read)
{
	uint64_t id = file("f");
	char buf[8] = "";

	cr_assert_eq(mirror_write(m, id, "old", 3, 0, false), 0);
	cr_assert_eq(mirror_unlink(m, META_ROOT_ID, "f"), 0);
	store_fail_inject(store[0], "store.write", ENOSPC);
	cr_assert_eq(mirror_write(m, id, "new", 3, 0, false), 0);
	store_fail_inject(store[0], "", 0);
	cr_assert_eq(mirror_read(m, id, buf, 3, 0), 3);
	cr_expect_str_eq(buf, "new");
	all_online();
}

Test(mirror_faults, a_half_made_file_is_taken_back)
{
	char path[8192];

	store_fail_inject(store[0], "store.fstat", ENOMEM);
	cr_assert_lt(mirror_create(m, META_ROOT_ID, "f", 0644, &cred, &e), 0);
	store_fail_inject(store[0], "", 0);
	for (int k = 0; k < STORES; k++) {
		snprintf(path, sizeof(path), "%s/f", dirs[k]);
		cr_expect_eq(access(path, F_OK), -1, "store %d", k);
	}
	all_online();
}

/* ---- attributes ---- */

Test(mirror_faults, times_put_back_too_early_are_put_back_again)
{
	struct stat want = {.st_mtim = {.tv_sec = 1000, .tv_nsec = 5}};
	struct call w = {.fn = call_write, .len = 1};
	char path[8192];
	uint64_t before;
	struct stat st;

	mirror_set_kernel_times(m, true);
	w.id = file("f");
	cr_assert_eq(mirror_write(m, w.id, "x", 1, 0, false), 0);
	cr_assert_eq(mirror_setattr(m, w.id, &want, MIRROR_SET_MTIME, &st), 0);
	cr_assert_eq(fault_configure("mirror.write:delay=300:1"), 0);
	before = mirror_seq(m);
	begin(&w);
	WAIT_UNTIL(mirror_seq(m) >
		   before); /* numbered; its pages move the times afterwards */
	{
		struct call c = {.fn = call_checkpoint};

		begin(&c);
		cr_assert_eq(end(&w), 0);
		cr_assert_eq(end(&c), 0);
	}
	cr_assert_eq(mirror_checkpoint(m, NULL), 0);
	for (int k = 0; k < STORES; k++) {
		snprintf(path, sizeof(path), "%s/f", dirs[k]);
		cr_assert_eq(stat(path, &st), 0);
		cr_expect_eq(st.st_mtim.tv_sec, 1000, "store %d", k);
	}
}

/* What the kernel was told of a new file was the time of a store that is gone. */
Test(mirror_faults, the_time_of_a_store_that_leaves_stays_the_files)
{
	struct timespec told;
	char path[8192];
	struct stat st;
	uint64_t id;

	mirror_set_kernel_times(m, true);
	cr_assert_eq(fault_configure("mirror.make:delay=30:2"), 0);
	id = file("f");
	told = e.st.st_mtim;
	store_fail_inject(store[0], "store.fsync", EIO);
	cr_assert_eq(mirror_fsync(m, id, false), 0);
	cr_assert_eq(state_of(0), META_STORE_FAILED);
	cr_assert_eq(mirror_checkpoint(m, NULL), 0);
	for (int k = 1; k < STORES; k++) {
		snprintf(path, sizeof(path), "%s/f", dirs[k]);
		cr_assert_eq(stat(path, &st), 0);
		cr_expect_eq(st.st_mtim.tv_sec, told.tv_sec, "store %d", k);
		cr_expect_eq(st.st_mtim.tv_nsec, told.tv_nsec, "store %d", k);
	}
}

Test(mirror_faults, no_room_for_attributes_is_the_applications_error)
{
	uint64_t id = file("f");
	struct stat want = {.st_mode = 0600, .st_mtim = {.tv_sec = 7}}, st;
	char path[8192], buf[8];

	cr_assert_eq(mirror_setxattr(m, id, "user.a", "old", 3, 0), 0);
	store_fail_inject(store[2], "store.setxattr", ENOSPC);
	cr_expect_eq(mirror_setxattr(m, id, "user.a", "new", 3, 0), -ENOSPC);
	cr_expect_eq(mirror_setxattr(m, id, "user.b", "new", 3, 0), -ENOSPC);
	store_fail_inject(store[2], "store.removexattr", EDQUOT);
	cr_expect_eq(mirror_removexattr(m, id, "user.a"), -EDQUOT);
	store_fail_inject(store[2], "store.chmod", ENOSPC);
	cr_expect_eq(mirror_setattr(m, id, &want, MIRROR_SET_MODE, &st),
		     -ENOSPC);
	store_fail_inject(store[2], "store.utimens", ENOSPC);
	cr_expect_eq(mirror_setattr(m, id, &want, MIRROR_SET_MTIME, &st),
		     -ENOSPC);
	store_fail_inject(store[2], "", 0);
	all_online();
	for (int k = 0; k < STORES; k++) {
		snprintf(path, sizeof(path), "%s/f", dirs[k]);
		cr_assert_eq(stat(path, &st), 0);
		cr_expect_eq(st.st_mode & 07777, 0644, "store %d", k);
		cr_expect_neq(st.st_mtim.tv_sec, 7, "store %d", k);
		cr_expect_eq(getxattr(path, "user.a", buf, sizeof(buf)), 3);
		cr_expect(!memcmp(buf, "old", 3), "store %d", k);
		cr_expect_eq(getxattr(path, "user.b", buf, sizeof(buf)), -1);
	}
}

/* ---- deep trees ---- */

Test(mirror_faults, a_tree_deeper_than_a_stack_is_only_deep)
{
	const unsigned int depth = 12000;
	uint64_t dir = META_ROOT_ID, middle = 0;
	struct stat st;

	for (unsigned int k = 0; k < depth; k++) {
		cr_assert_eq(mirror_mkdir(m, dir, "d", 0755, &cred, &e), 0);
		dir = e.id;
		if (k == depth - 20)
			middle = dir;
	}
	volume_reopen(4); /* the way up is in no memory */
	cr_assert_eq(mirror_getattr(m, middle, &st), 0);
	all_online();
}

static void there(const char *name, bool is)
{
	char path[8192];

	for (int k = 0; k < STORES; k++) {
		snprintf(path, sizeof(path), "%s/%s", dirs[k], name);
		cr_expect_eq(access(path, F_OK), is ? 0 : -1, "store %d: %s", k,
			     name);
	}
}

Test(mirror_faults, a_whiteout_that_is_not_known_is_taken_back)
{
	uint64_t id = file("f");
	struct stat st;

	for (int k = 0; k < STORES; k++) {
		store_fail_inject(store[k], "store.removexattr", ENOMEM);
		cr_expect_eq(mirror_whiteout(m, META_ROOT_ID, "f", META_ROOT_ID,
					     "g", 0, &cred),
			     -ENOMEM);
		store_fail_inject(store[k], "", 0);
		there("f", true);
		there("g", false);
	}
	cr_assert_eq(mirror_lookup(m, META_ROOT_ID, "f", &e), 0);
	cr_expect_eq(e.id, id);
	all_online();
	cr_assert_eq(mirror_whiteout(m, META_ROOT_ID, "f", META_ROOT_ID, "g",
				     RENAME_NOREPLACE, &cred),
		     0);
	cr_assert_eq(mirror_lookup(m, META_ROOT_ID, "f", &e), 0);
	cr_expect(S_ISCHR(e.st.st_mode) && !e.st.st_rdev);
	cr_expect_eq(e.st.st_mode & 07777, 0);
	cr_assert_eq(mirror_getattr(m, id, &st), 0);
	cr_assert_eq(mirror_checkpoint(m, NULL), 0);
	all_online();
}

Test(mirror_faults,
     a_whiteout_that_is_not_known_and_replaced_puts_the_store_out)
{
	ignore_result(file("f"));
	ignore_result(file("g"));
	store_fail_inject(store[1], "store.removexattr", ENOMEM);
	cr_expect_eq(mirror_whiteout(m, META_ROOT_ID, "f", META_ROOT_ID, "g", 0,
				     &cred),
		     0);
	cr_expect_eq(state_of(1), META_STORE_FAILED);
}
