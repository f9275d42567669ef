/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A live volume where two things happen at once, or one happens half: a store
 * leaves while something is recorded, names go while a file is in use, a write
 * is cut by a full disk.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/log.h"
#include "fs/mirror/mirror.h"
#include "resync/volume_make.h"

#define STORES 3

static char base[2048], dirs[STORES][2100];
static struct mirror *m;
static struct store *store[STORES];
static unsigned int slot_of[STORES];
static char uuids[STORES][META_UUID_LEN + 1]; /* who is out is closed */
static const struct mirror_cred cred = {.umask = 022};
static struct mirror_entry e;

static void volume_open(unsigned int fd_limit)
{
	const char *paths[STORES];
	struct resync_assembly *a = calloc(1, sizeof(*a));
	struct mirror_options o = {.checkpoint_ms = 60000,
				   .prefer_slot = -1,
				   .fd_limit = fd_limit};

	for (int k = 0; k < STORES; k++)
		paths[k] = dirs[k];
	cr_assert_eq(resync_assemble(paths, STORES, true, a), 0, "%s", a->why);
	for (size_t i = 0; i < a->count; i++)
		for (int k = 0; k < STORES; k++) {
			struct store *s = a->members[i].store;

			if (!s || strcmp(store_path(s), dirs[k]))
				continue;
			store[k] = s;
			memcpy(uuids[k], store_identity(s)->store_uuid,
			       sizeof(uuids[k]));
			slot_of[k] = (unsigned int)i;
			if (k == 0)
				o.prefer_slot = (int)i; /* the lead */
		}
	cr_assert_eq(mirror_open(a->members, a->count, a->lead, &o, &m), 0);
	free(a);
}

static void volume_reopen(unsigned int fd_limit)
{
	cr_assert_eq(mirror_close(m), 0);
	volume_open(fd_limit);
}

static void setup(void)
{
	const char *paths[STORES];
	struct volume_make_result *made = calloc(1, sizeof(*made));
	const char *tmp = getenv("TMPDIR");

	(void)log_open(LOG_SINK_STDERR, LOG_LEVEL_ERR);
	(void)signal(SIGXFSZ, SIG_IGN);
	snprintf(base, sizeof(base), "%s/seqmirror-unit-XXXXXX",
		 tmp ? tmp : "/tmp");
	cr_assert(mkdtemp(base));
	for (int k = 0; k < STORES; k++) {
		snprintf(dirs[k], sizeof(dirs[k]), "%s/s%d", base, k);
		cr_assert(!mkdir(dirs[k], 0755));
		paths[k] = dirs[k];
	}
	cr_assert_eq(
		volume_make(&(struct volume_make_args){.paths = paths,
						       .path_count = STORES},
			    made),
		0, "%s", made->why);
	free(made);
	volume_open(0);
}

/* A path in it may be longer than PATH_MAX. */
static void remove_tree(const char *path)
{
	const char *const argv[] = {"rm", "-rf", "--", path, NULL};
	int status;
	pid_t pid;

	cr_assert_eq(posix_spawnp(&pid, "rm", NULL, NULL,
				  (char *const *)(uintptr_t)argv, environ),
		     0);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert_eq(status, 0);
}

static void teardown(void)
{
	cr_assert_eq(fault_configure(""), 0);
	if (m)
		(void)mirror_close(m);
	remove_tree(base);
}

TestSuite(mirror_faults, .init = setup, .fini = teardown, .timeout = 300);

/* ---- helpers ---- */

static uint64_t file(const char *name)
{
	cr_assert_eq(mirror_create(m, META_ROOT_ID, name, 0644, &cred, &e), 0);
	return e.id;
}

#define WAIT_UNTIL(condition)                                     \
	for (int tries_ = 0; !(condition); tries_++) {            \
		cr_assert_lt(tries_, 5000, "never: " #condition); \
		(void)poll(NULL, 0, 1);                           \
	}

static enum meta_store_state state_of(int k)
{
	struct mirror_slot_info info;

	mirror_slot_info(m, slot_of[k], &info);
	return info.state;
}

static void all_online(void)
{
	for (int k = 0; k < STORES; k++)
		cr_expect_eq(state_of(k), META_STORE_ONLINE, "store %d", k);
}

/* What the map of store @k says of the state of store @who. */
static enum meta_store_state recorded_state(int k, int who)
{
	static struct meta_member v[META_STORE_MAX];
	enum meta_store_state state = 0;
	struct mirror_ref ref;
	struct meta_reader *rd;
	size_t count;

	cr_assert_eq(mirror_ref_get(m, slot_of[k], &ref), 0);
	rd = meta_reader_get(ref.meta);
	cr_assert_eq(meta_members(rd, v, &count), 0);
	for (size_t i = 0; i < count; i++)
		if (!strcmp(v[i].uuid, uuids[who]))
			state = v[i].state;
	meta_reader_put(rd);
	mirror_ref_put(m, &ref);
	return state;
}

/* Members of the newest epoch in the map of store @k. */
static unsigned int epoch_members(int k)
{
	struct mirror_ref ref;
	struct meta_reader *rd;
	struct meta_epoch *v;
	unsigned int n;
	size_t count;

	cr_assert_eq(mirror_ref_get(m, slot_of[k], &ref), 0);
	rd = meta_reader_get(ref.meta);
	cr_assert_eq(meta_epochs(rd, &v, &count), 0);
	n = v[count - 1].member_count;
	free(v);
	meta_reader_put(rd);
	mirror_ref_put(m, &ref);
	return n;
}

/* How many epochs the map of store @k has. */
static size_t epochs(int k)
{
	struct mirror_ref ref;
	struct meta_reader *rd;
	struct meta_epoch *v;
	size_t count;

	cr_assert_eq(mirror_ref_get(m, slot_of[k], &ref), 0);
	rd = meta_reader_get(ref.meta);
	cr_assert_eq(meta_epochs(rd, &v, &count), 0);
	free(v);
	meta_reader_put(rd);
	mirror_ref_put(m, &ref);
	return count;
}

/* Of the file "f" on store @k: -1 behind its end, -2 there is none. */
static int first_byte(int k, off_t off)
{
	unsigned char byte;
	char path[8192];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/f", dirs[k]);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return -2;
	n = pread(fd, &byte, 1, off);
	close(fd);
	return n == 1 ? byte : -1;
}

static char *slurp(int k, const char *name, size_t *len)
{
	static char buf[STORES][1 << 18];
	char path[8192];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dirs[k], name);
	fd = open(path, O_RDONLY);
	cr_assert_geq(fd, 0, "%s", path);
	n = read(fd, buf[k], sizeof(buf[k]));
	close(fd);
	*len = (size_t)n;
	return buf[k];
}

static void same_on_all(const char *name)
{
	size_t len, other;
	const char *first = slurp(0, name, &len);

	for (int k = 1; k < STORES; k++) {
		const char *it = slurp(k, name, &other);

		cr_assert_eq(len, other, "store %d: %zu, not %zu", k, other,
			     len);
		cr_assert(!memcmp(first, it, len), "store %d", k);
	}
}

struct call {
	pthread_t thread;
	int (*fn)(const struct call *c);
	uint64_t id;
	uint64_t off;
	size_t len;
	int result;
};

static void *call_run(void *arg)
{
	struct call *c = arg;

	c->result = c->fn(c);
	return NULL;
}

static void begin(struct call *c)
{
	cr_assert_eq(pthread_create(&c->thread, NULL, call_run, c), 0);
}

static int end(struct call *c)
{
	cr_assert_eq(pthread_join(c->thread, NULL), 0);
	return c->result;
}

static int call_write(const struct call *c)
{
	static const char text[1 << 16] = "contents";

	return mirror_write(m, c->id, text, c->len, c->off, false);
}

static int call_fsync(const struct call *c)
{
	return mirror_fsync(m, c->id, true);
}

static int call_unlink(const struct call *c)
{
	(void)c;
	return mirror_unlink(m, META_ROOT_ID, "f");
}

static int call_checkpoint(const struct call *c)
{
	(void)c;
	return mirror_checkpoint(m, NULL);
}

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
				    MIRROR_SET_SIZE, &cred, &e.st),
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
	cr_assert_eq(
		mirror_setattr(m, w.id, &want, MIRROR_SET_MTIME, &cred, &st),
		0);
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
	cr_expect_eq(mirror_setattr(m, id, &want, MIRROR_SET_MODE, &cred, &st),
		     -ENOSPC);
	store_fail_inject(store[2], "store.utimens", ENOSPC);
	cr_expect_eq(mirror_setattr(m, id, &want, MIRROR_SET_MTIME, &cred, &st),
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
