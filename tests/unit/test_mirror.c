/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A live volume of two stores in a temporary directory, without a kernel in
 * front: what happens when one of them fails, is full, or leaves.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "fs/mirror/mirror.h"
#include "resync/volume_make.h"

static char base[2048], dir_a[4096], dir_b[4096];
static struct mirror *m;
static struct store *store_a, *store_b;
static const struct mirror_cred cred = {.umask = 022};

static void volume_open(void)
{
	const char *paths[] = {dir_a, dir_b};
	struct resync_assembly *a = calloc(1, sizeof(*a));
	struct mirror_options o = {.checkpoint_ms = 60000, .prefer_slot = -1};

	cr_assert_eq(resync_assemble(paths, 2, true, a), 0, "%s", a->why);
	store_a = store_b = NULL;
	for (size_t i = 0; i < a->count; i++) {
		struct store *s = a->members[i].store;

		if (!s)
			continue;
		if (!strcmp(store_path(s), dir_a)) {
			store_a = s;
			o.prefer_slot = (int)i; /* the lead */
		} else {
			store_b = s;
		}
	}
	for (size_t i = 0; i < META_STORE_MAX; i++) {
		meta_close(a->late_meta[i]);
		store_close(a->late_store[i]);
	}
	cr_assert_eq(mirror_open(a->members, a->count, a->lead, &o, &m), 0);
	free(a);
}

static void setup(void)
{
	static const char *const paths[] = {dir_a, dir_b};
	struct volume_make_result *made = calloc(1, sizeof(*made));
	const char *tmp = getenv("TMPDIR");

	(void)log_open(LOG_SINK_STDERR, LOG_LEVEL_ERR);
	snprintf(base, sizeof(base), "%s/seqmirror-unit-XXXXXX",
		 tmp ? tmp : "/tmp");
	cr_assert(mkdtemp(base));
	snprintf(dir_a, sizeof(dir_a), "%s/a", base);
	snprintf(dir_b, sizeof(dir_b), "%s/b", base);
	cr_assert(!mkdir(dir_a, 0755) && !mkdir(dir_b, 0755));
	cr_assert_eq(volume_make(&(struct volume_make_args){.paths = paths,
							    .path_count = 2},
				 made),
		     0, "%s", made->why);
	free(made);
	volume_open();
	cr_assert(store_a && store_b);
}

static int remove_one(const char *path, const struct stat *st, int flag,
		      struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static void teardown(void)
{
	if (m)
		(void)mirror_close(m);
	(void)nftw(base, remove_one, 32, FTW_PHYS | FTW_DEPTH);
}

TestSuite(mirror, .init = setup, .fini = teardown, .timeout = 60);

static uint64_t file(const char *name)
{
	struct mirror_entry e;

	cr_assert_eq(mirror_create(m, META_ROOT_ID, name, 0644, &cred, &e), 0);
	return e.id;
}

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

Test(mirror, a_read_error_is_served_by_the_other_store)
{
	uint64_t id = file("f");
	char buf[16] = {0};

	cr_assert_eq(mirror_write(m, id, "hello", 5, 0, false), 0);
	store_fail_inject(store_a, "store.read", EIO);
	cr_assert_eq(mirror_read(m, id, buf, sizeof(buf), 0), 5);
	cr_assert(!memcmp(buf, "hello", 5));
	cr_assert_eq(state_of(slot_of(store_a)), META_STORE_ONLINE);
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

static int name_add(void *arg, const char *name, uint64_t id,
		    unsigned char type, uint64_t next, const struct stat *st)
{
	char *list = arg;

	(void)id;
	(void)type;
	(void)next;
	(void)st;
	if (name[0] != '.')
		snprintf(list + strlen(list), 64, "%s ", name);
	return 0;
}

static void names_are(const char *want)
{
	char list[256] = "";

	cr_assert_eq(mirror_readdir(m, META_ROOT_ID, 0, false, name_add, list),
		     0);
	cr_assert_str_eq(list, want);
}

static void move_to(const char *from, const char *to, unsigned int flags)
{
	cr_assert_eq(
		mirror_rename(m, META_ROOT_ID, from, META_ROOT_ID, to, flags),
		0);
}

/* Both maps know so many nodes, and as many entries that lead to one. */
static void maps_hold(uint64_t nodes, uint64_t entries)
{
	struct mirror_ref ref;
	struct meta_reader *rd;
	struct meta_iter it;
	struct meta_node n;
	struct meta_dentry d;

	cr_assert_eq(mirror_checkpoint(m, NULL), 0);
	for (unsigned int i = 0; i < 2; i++) {
		uint64_t count = 0, names = 0;

		cr_assert_eq(mirror_ref_get(m, i, &ref), 0);
		rd = meta_reader_get(ref.meta);
		cr_assert_eq(meta_iter_nodes(rd, META_FIRST_ID - 1, &it), 0);
		while (meta_next_node(&it, &n) > 0)
			count++;
		meta_iter_done(&it);
		cr_assert_eq(meta_iter_dentries(rd, META_ROOT_ID, 0, &it), 0);
		while (meta_next_dentry(&it, &d) > 0) {
			names++;
			cr_assert_eq(meta_node_get(rd, d.node, &n), 0);
		}
		meta_iter_done(&it);
		meta_reader_put(rd);
		mirror_ref_put(m, &ref);
		cr_assert_eq(count, nodes);
		cr_assert_eq(names, entries);
	}
}

/* With each listing, what was done before it is in the maps; without, it is
 * still on its way and may be taken back. */
static void names_come_and_go(bool written)
{
	const struct {
		const char *from, *to; /* to NULL: removed */
		unsigned int flags;
		const char *left;
	} v[] = {
		{"a", "t", 0, "b c t "},
		{"t", "b", 0, "c b "}, /* over another */
		{"b", "a", 0, "c a "},
		{"a", "c", RENAME_EXCHANGE, "c a "},
		{"c", NULL, 0, "a "},
		{"a", "c", 0, "c "},
		{"c", "a", RENAME_NOREPLACE, "a "},
	};
	struct mirror_entry e;
	uint64_t id;

	(void)file("a");
	(void)file("b");
	(void)file("c");
	for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		if (v[i].to)
			move_to(v[i].from, v[i].to, v[i].flags);
		else
			cr_assert_eq(mirror_unlink(m, META_ROOT_ID, v[i].from),
				     0);
		if (written)
			names_are(v[i].left);
	}
	id = file("x");
	cr_assert_eq(mirror_link(m, id, META_ROOT_ID, "y", &e), 0);
	if (written)
		names_are("a x y ");
	cr_assert_eq(mirror_unlink(m, META_ROOT_ID, "y"), 0);
	cr_assert_eq(mirror_link(m, id, META_ROOT_ID, "y", &e), 0);
	cr_assert_eq(mirror_unlink(m, META_ROOT_ID, "x"), 0);
	names_are("a y ");
	maps_hold(2, 2);
}

Test(mirror, names_that_come_and_go_before_they_are_written)
{
	names_come_and_go(false);
}

Test(mirror, names_that_come_and_go_after_they_were_written)
{
	names_come_and_go(true);
}

Test(mirror, many_names_are_written_in_their_order)
{
	char name[32];

	for (int i = 0; i < 1500; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		(void)file(name);
		if (i % 3)
			move_to(name, "last", 0);
		else
			cr_assert_eq(mirror_unlink(m, META_ROOT_ID, name), 0);
	}
	names_are("last ");
	maps_hold(1, 1);
}

struct armed {
	unsigned int rows;
	uint64_t bytes;
};

static struct armed armed_now(enum meta_intent_kind kind)
{
	struct armed a = {0};
	struct meta_intent in;
	struct meta_reader *rd;
	struct mirror_ref ref;
	struct meta_iter it;

	cr_assert_eq(mirror_ref_get(m, 1, &ref), 0);
	rd = meta_reader_get(ref.meta);
	cr_assert_eq(meta_iter_intents(rd, &it), 0);
	while (meta_next_intent(&it, &in) > 0) {
		if (in.kind != kind)
			continue;
		a.rows++;
		a.bytes += in.end - in.start;
	}
	meta_iter_done(&it);
	meta_reader_put(rd);
	mirror_ref_put(m, &ref);
	return a;
}

Test(mirror, directories_that_follow_are_armed_along)
{
	static const unsigned int want[] = {1, 3, 3, 7, 7, 7, 7, 15};
	struct mirror_entry e;
	uint64_t dir[20];
	char name[16];

	for (int i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "d%d", i);
		cr_assert_eq(
			mirror_mkdir(m, META_ROOT_ID, name, 0755, &cred, &e),
			0);
		dir[i] = e.id;
	}
	cr_assert_eq(mirror_checkpoint(m, NULL), 0);
	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		cr_assert_eq(mirror_create(m, dir[i], "f", 0644, &cred, &e), 0);
		cr_assert_eq(armed_now(META_INTENT_NAME).rows, want[i],
			     "%zu: %u", i, armed_now(META_INTENT_NAME).rows);
	}
	cr_assert_eq(mirror_rmdir(m, META_ROOT_ID, "d19"), 0);
	cr_assert_eq(mirror_checkpoint(m, NULL), 0);
	cr_assert_eq(armed_now(META_INTENT_NAME).rows, 0);
}

static void write_at(uint64_t id, uint64_t off)
{
	cr_assert_eq(mirror_write(m, id, "x", 1, off, false), 0);
}

Test(mirror, windows_follow_what_is_written)
{
	const uint64_t mib = 1 << 20;
	struct stat want = {.st_size = 128 << 20}, st;
	uint64_t small = file("small"), large = file("large");
	uint64_t huge = file("huge");
	struct armed a;

	write_at(small, 9000);
	cr_assert_eq(
		mirror_setattr(m, large, &want, MIRROR_SET_SIZE, &cred, &st),
		0);
	want.st_size = (off_t)(1000 * mib);
	cr_assert_eq(
		mirror_setattr(m, huge, &want, MIRROR_SET_SIZE, &cred, &st), 0);
	cr_assert_eq(mirror_checkpoint(m, NULL), 0);
	/* A small file as far as it goes. */
	write_at(small, 100);
	cr_assert_eq(armed_now(META_INTENT_DATA).bytes, 12288);
	/* Here and there: 1, 4, 16, 64 MiB, until all of it is armed. */
	for (uint64_t i = 0; i < 128; i++)
		write_at(large, i * 37 % 128 * mib);
	a = armed_now(META_INTENT_DATA);
	cr_assert(a.rows <= 8, "%u", a.rows);
	/* More than the budget has room for: no further than it was written. */
	cr_assert_eq(mirror_checkpoint(m, NULL), 0);
	for (uint64_t i = 0; i < 10; i++)
		write_at(huge, i * 97 * mib);
	a = armed_now(META_INTENT_DATA);
	cr_assert(a.rows == 10 && a.bytes == 10 * mib, "%u", a.rows);
	/* One after the other, with gaps: further and further ahead. */
	cr_assert_eq(mirror_checkpoint(m, NULL), 0);
	for (uint64_t i = 0; i < 240; i++)
		write_at(huge, i * mib + 5000);
	a = armed_now(META_INTENT_DATA);
	cr_assert(a.rows <= 10, "%u", a.rows);
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
	cr_assert_eq(mirror_setattr(m, id, &want, MIRROR_SET_MTIME, &cred, &st),
		     0);
	cr_assert_eq(mirror_write(m, id, "y", 1, 0, false), 0);
	cr_assert_eq(mirror_getattr(m, id, &st), 0);
	cr_assert_eq(st.st_mtim.tv_nsec, 77);
	cr_assert_eq(mirror_checkpoint(m, NULL), 0);
	cr_assert_eq(stat(path, &st), 0);
	cr_assert(st.st_mtim.tv_sec == 1000 && st.st_mtim.tv_nsec == 77);
}

/* The kernel does it with every rename. */
Test(mirror, a_time_that_is_told_again_is_no_change)
{
	struct mirror_entry e;
	char path[8192];
	uint64_t before;
	struct stat st;

	mirror_set_kernel_times(m, true);
	cr_assert_eq(mirror_create(m, META_ROOT_ID, "f", 0644, &cred, &e), 0);
	cr_assert_eq(mirror_write(m, e.id, "x", 1, 0, false), 0);
	before = mirror_seq(m);
	cr_assert_eq(
		mirror_setattr(m, e.id, &e.st, MIRROR_SET_MTIME, &cred, &st),
		0);
	cr_assert_eq(mirror_seq(m), before);
	cr_assert_eq(mirror_checkpoint(m, NULL), 0);
	cr_assert_eq(
		mirror_setattr(m, e.id, &e.st, MIRROR_SET_MTIME, &cred, &st),
		0);
	cr_assert_eq(mirror_seq(m), before);
	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/f", i ? dir_b : dir_a);
		cr_assert_eq(stat(path, &st), 0);
		cr_assert_eq(st.st_mtim.tv_sec, e.st.st_mtim.tv_sec);
		cr_assert_eq(st.st_mtim.tv_nsec, e.st.st_mtim.tv_nsec);
	}
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
