/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the fast paths leave out must not be missed: rows that are merged while
 * they wait, intents ahead of what is touched, times that are told again.
 */
#include <stdio.h>

#include "fs/store/internal.h"
#include "mirror_commits.h"

TestSuite(mirror_hot, .init = setup, .fini = teardown, .timeout = 300);

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
		{"t", "b", 0, "b c "}, /* over another */
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

Test(mirror_hot, names_that_come_and_go_before_they_are_written)
{
	names_come_and_go(false);
}

Test(mirror_hot, names_that_come_and_go_after_they_were_written)
{
	names_come_and_go(true);
}

Test(mirror_hot, many_names_are_written_in_their_order)
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

Test(mirror_hot, directories_that_follow_are_armed_along)
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

static void chmod_to(uint64_t id, mode_t mode)
{
	struct stat want = {.st_mode = mode}, st;

	cr_assert_eq(mirror_setattr(m, id, &want, MIRROR_SET_MODE, &st), 0);
}

/* chmod -R, chown -R, rsync -a: one commit for many, twice as many each time. */
Test(mirror_hot, attributes_that_follow_are_armed_along)
{
	struct mirror_entry e;
	uint64_t file[600], before;
	char name[16];

	for (int i = 0; i < 600; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		cr_assert_eq(
			mirror_create(m, META_ROOT_ID, name, 0644, &cred, &e),
			0);
		file[i] = e.id;
	}
	cr_assert_eq(mirror_checkpoint(m, NULL), 0);
	before = commits();
	for (int i = 0; i < 600; i++)
		chmod_to(file[i], 0600);
	/* 2, 4, 8 .. 256, and what is left */
	cr_assert_leq(commits() - before, 10, "%llu",
		      (unsigned long long)(commits() - before));
	cr_assert_eq(armed_now(META_INTENT_ATTR).rows, 600);
	cr_assert_eq(mirror_checkpoint(m, NULL), 0);
	cr_assert_eq(armed_now(META_INTENT_ATTR).rows, 0);

	/* Backwards: what was armed along in vain soon comes to an end. */
	for (int i = 599; i > 0; i -= 20)
		chmod_to(file[i], 0640);
	cr_assert_eq(mirror_checkpoint(m, NULL), 0);
	for (int i = 599; i > 0; i -= 20)
		chmod_to(file[i], 0644);
	cr_assert_leq(armed_now(META_INTENT_ATTR).rows, 60, "%u rows",
		      armed_now(META_INTENT_ATTR).rows);
	cr_assert_eq(mirror_checkpoint(m, NULL), 0);
}

static void write_at(uint64_t id, uint64_t off)
{
	cr_assert_eq(mirror_write(m, id, "x", 1, off, false), 0);
}

/* What was cut off may show again up to the end of the filesystem's own block. */
Test(mirror_hot, the_block_that_a_file_ended_in_is_armed_when_it_goes_on)
{
	const uint64_t far = 80 << 20;
	struct stat want = {.st_size = 3000000}, st;
	uint64_t small = file("small"), large = file("large");
	uint64_t before;

	cr_assert_eq(mirror_setattr(m, small, &want, MIRROR_SET_SIZE, &st), 0);
	want.st_size = 3002368; /* whole blocks of the map */
	cr_assert_eq(mirror_setattr(m, large, &want, MIRROR_SET_SIZE, &st), 0);
	cr_assert_eq(mirror_checkpoint(m, NULL), 0);
	write_at(small, far);
	before = armed_now(META_INTENT_DATA).bytes;
	cr_assert_eq(before % (1 << 20), 4096);
	store_b->caps.block_size = 65536;
	write_at(large, far);
	/* From its end on, to that of the block of 64 KiB. */
	cr_expect_eq((armed_now(META_INTENT_DATA).bytes - before) % (1 << 20),
		     3014656 - 3002368);
}

Test(mirror_hot, windows_follow_what_is_written)
{
	const uint64_t mib = 1 << 20;
	struct stat want = {.st_size = 128 << 20}, st;
	uint64_t small = file("small"), large = file("large");
	uint64_t huge = file("huge");
	struct armed a;

	write_at(small, 9000);
	cr_assert_eq(mirror_setattr(m, large, &want, MIRROR_SET_SIZE, &st), 0);
	want.st_size = (off_t)(4000 * mib);
	cr_assert_eq(mirror_setattr(m, huge, &want, MIRROR_SET_SIZE, &st), 0);
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
		write_at(huge, i * 397 * mib);
	a = armed_now(META_INTENT_DATA);
	cr_assert(a.rows == 10 && a.bytes == 10 * mib, "%u", a.rows);
	/* One after the other, with gaps: further and further ahead. */
	cr_assert_eq(mirror_checkpoint(m, NULL), 0);
	for (uint64_t i = 0; i < 240; i++)
		write_at(huge, i * mib + 5000);
	a = armed_now(META_INTENT_DATA);
	cr_assert(a.rows <= 10, "%u", a.rows);
}

/* The kernel does it with every rename. */
Test(mirror_hot, a_time_that_is_told_again_is_no_change)
{
	struct mirror_entry e;
	char path[8192];
	uint64_t before;
	struct stat st;

	mirror_set_kernel_times(m, true);
	cr_assert_eq(mirror_create(m, META_ROOT_ID, "f", 0644, &cred, &e), 0);
	cr_assert_eq(mirror_write(m, e.id, "x", 1, 0, false), 0);
	before = mirror_seq(m);
	cr_assert_eq(mirror_setattr(m, e.id, &e.st, MIRROR_SET_MTIME, &st), 0);
	cr_assert_eq(mirror_seq(m), before);
	cr_assert_eq(mirror_checkpoint(m, NULL), 0);
	cr_assert_eq(mirror_setattr(m, e.id, &e.st, MIRROR_SET_MTIME, &st), 0);
	cr_assert_eq(mirror_seq(m), before);
	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/f", i ? dir_b : dir_a);
		cr_assert_eq(stat(path, &st), 0);
		cr_assert_eq(st.st_mtim.tv_sec, e.st.st_mtim.tv_sec);
		cr_assert_eq(st.st_mtim.tv_nsec, e.st.st_mtim.tv_nsec);
	}
}
