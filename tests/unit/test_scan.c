/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows from files: trees of every shape, and what a second look does.
 */
#include "resync/scan.h"

#include <sys/socket.h>
#include <sys/un.h>

#include "tests/unit/volume_fixture.h"

/* Make a volume over what lies in the first directory and look at its map. */
static void scan_and_check(struct fixture *f)
{
	struct resync_side a;

	fixture_volume(f);
	fixture_open(&a, f->path[0]);
	check_map(&a);
	fixture_close(&a);
}

Test(scan, empty)
{
	struct fixture f;

	fixture_init(&f, 1);
	scan_and_check(&f);
	cr_expect_eq(f.made.counts.entries, 0);
	fixture_done(&f);
}

static void put_socket(const char *store, const char *name)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	must(fd);
	cr_assert_lt(strlen(store) + strlen(name) + 2, sizeof(addr.sun_path));
	stpcpy(stpcpy(stpcpy(addr.sun_path, store), "/"), name);
	must(bind(fd, (const struct sockaddr *)&addr, sizeof(addr)));
	must(close(fd));
}

Test(scan, every_kind)
{
	struct resync_side a;
	struct fixture f;
	char path[FIXTURE_PATH];

	fixture_init(&f, 1);
	put_dir(f.path[0], "dir");
	put_file(f.path[0], "dir/file", 0, 10000);
	put_file(f.path[0], "empty", 0, 0);
	path_of(path, f.path[0], "link");
	must(symlink("dir/file", path));
	path_of(path, f.path[0], "fifo");
	must(mkfifo(path, 0600));
	put_socket(f.path[0], "sock");
	scan_and_check(&f);
	cr_expect_eq(f.made.counts.entries, 6);
	cr_expect_eq(f.made.counts.nodes, 6);

	fixture_open(&a, f.path[0]);
	cr_expect_eq(row_of(&a, "link").kind, META_SYMLINK);
	cr_expect_eq(row_of(&a, "fifo").kind, META_FIFO);
	cr_expect_eq(row_of(&a, "sock").kind, META_SOCK);
	cr_expect_eq(row_of(&a, "dir").kind, META_DIR);
	cr_expect_eq(number_of(&a, META_NUM_NODE_RESERVED),
		     META_FIRST_ID + 6 - 1);
	cr_expect_geq(number_of(&a, META_NUM_SEQ_RESERVED), row_of(&a, "").seq);
	fixture_close(&a);
	fixture_done(&f);
}

Test(scan, holes)
{
	struct resync_side a;
	struct fixture f;
	char path[FIXTURE_PATH];

	fixture_init(&f, 1);
	put_file(f.path[0], "sparse", 100000, 50);
	put_file(f.path[0], "sparse", 5000000, 70000);
	put_file(f.path[0], "all-hole", 0, 0);
	path_of(path, f.path[0], "all-hole");
	must(truncate(path, 1 << 20));
	scan_and_check(&f);

	fixture_open(&a, f.path[0]);
	cr_expect_gt(node_of(&a, "sparse"), 0);
	fixture_close(&a);
	fixture_done(&f);
}

Test(scan, hard_links_are_one_node)
{
	struct resync_side a;
	struct fixture f;

	fixture_init(&f, 1);
	put_dir(f.path[0], "d");
	put_file(f.path[0], "one", 0, 9000);
	link_file(f.path[0], "one", "two");
	link_file(f.path[0], "one", "d/three");
	scan_and_check(&f);
	cr_expect_eq(f.made.counts.entries, 4);
	cr_expect_eq(f.made.counts.nodes, 2);

	fixture_open(&a, f.path[0]);
	cr_expect_eq(node_of(&a, "one"), node_of(&a, "two"));
	cr_expect_eq(node_of(&a, "one"), node_of(&a, "d/three"));
	fixture_close(&a);
	fixture_done(&f);
}

Test(scan, odd_names)
{
	struct fixture f;
	char longest[256];

	fixture_init(&f, 1);
	memset(longest, 'n', 255);
	longest[255] = '\0';
	{
		int fd = open(f.path[0], O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		must(fd);
		must(mkdirat(fd, longest, 0755));
		must(mkdirat(fd, "\xff\xfe broken \x01", 0755));
		must(mkdirat(fd, "two\nlines", 0755));
		must(mkdirat(fd, " ", 0755));
		must(mkdirat(fd, "...", 0755));
		/* Only the one at the root is ours. */
		must(mkdirat(fd, "d", 0755));
		must(mkdirat(fd, "d/.seqmirror", 0755));
		must(close(fd));
	}
	scan_and_check(&f);
	cr_expect_eq(f.made.counts.entries, 7);
	fixture_done(&f);
}

/* Deeper than descriptors are kept, longer than a path may be, and at every
 * tenth level a second way down. */
Test(scan, deep)
{
	enum {
		LEVELS = 600
	};
	struct scan_numbers numbers = {.next_node = 100, .next_seq = 100};
	struct scan_counts counts = {0};
	struct resync_side a;
	struct fixture f;
	int fd, made = 0;

	fixture_init(&f, 1);
	fixture_volume(&f);
	fd = open(f.path[0], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(fd);
	for (int i = 0; i < LEVELS; i++) {
		int next;

		must(mkdirat(fd, "a-directory", 0755));
		made++;
		if (i % 10 == 0) {
			must(mkdirat(fd, "another", 0755));
			must(mkdirat(fd, "another/below", 0755));
			made += 2;
		}
		next = openat(fd, "a-directory",
			      O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		must(next);
		must(close(fd));
		fd = next;
	}
	must(close(fd));

	fixture_open(&a, f.path[0]);
	must(meta_begin(a.meta));
	must(scan_tree(a.store, a.meta, store_root_fd(a.store), META_ROOT_ID,
		       &numbers, 50, &counts));
	must(meta_commit(a.meta));
	cr_expect_eq(counts.entries, (uint64_t)made);
	cr_expect_eq(numbers.next_node, 100u + (unsigned int)made);
	check_map(&a);
	fixture_close(&a);
	fixture_done(&f);
}

Test(scan, many_in_one_directory)
{
	enum {
		FILES = 3000
	};
	struct fixture f;
	char name[32];

	fixture_init(&f, 1);
	put_dir(f.path[0], "big");
	for (int i = 0; i < FILES; i++) {
		char path[FIXTURE_PATH];
		int fd;

		snprintf(name, sizeof(name), "big/%d", i);
		path_of(path, f.path[0], name);
		fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
		must(fd);
		must(close(fd));
	}
	scan_and_check(&f);
	cr_expect_eq(f.made.counts.entries, FILES + 1);
	fixture_done(&f);
}

Test(scan, a_range_only)
{
	struct resync_side a;
	struct fixture f;
	struct meta_reader *rd;
	struct meta_extent e;
	struct meta_iter it;
	char path[FIXTURE_PATH];
	uint64_t node;
	int fd;

	fixture_init(&f, 1);
	put_file(f.path[0], "file", 0, 10 * META_BLOCK);
	fixture_volume(&f);
	fixture_open(&a, f.path[0]);
	node = node_of(&a, "file");
	path_of(path, f.path[0], "file");
	fd = open(path, O_RDWR | O_CLOEXEC);
	must(fd);
	must(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		       4 * META_BLOCK, 2 * META_BLOCK));
	must(meta_begin(a.meta));
	must(scan_file_range(a.store, a.meta, fd, node, 2 * META_BLOCK,
			     5 * META_BLOCK, 500));
	must(meta_commit(a.meta));
	must(close(fd));

	rd = meta_reader_get(a.meta);
	must(meta_iter_extents_since(rd, 499, 0, 0, &it));
	cr_assert_eq(meta_next_extent(&it, &e), 1);
	cr_expect_eq(e.start, 2 * META_BLOCK);
	cr_expect_eq(e.end, 4 * META_BLOCK);
	cr_expect_eq(meta_next_extent(&it, &e), 0);
	meta_iter_done(&it);
	/* [5, 6) is a hole too by now, but was not asked about. */
	must(meta_iter_extents(rd, node, 4 * META_BLOCK, META_RANGE_MAX, &it));
	cr_assert_eq(meta_next_extent(&it, &e), 1);
	cr_expect_eq(e.start, 5 * META_BLOCK);
	cr_expect_eq(e.end, 10 * META_BLOCK);
	meta_iter_done(&it);
	meta_reader_put(rd);
	fixture_close(&a);
	fixture_done(&f);
}

static uint64_t told;

static int tell(void *arg, uint64_t dir)
{
	(void)arg;
	told = dir;
	return 0;
}

/* What is met again: settled rows stay, doubtful ones are read again. */
Test(scan, met_again)
{
	struct resync_side a;
	struct fixture f;
	struct scan_numbers n;
	uint64_t file, dir, got;
	uint64_t before;
	bool is_new;
	int fd;

	fixture_init(&f, 1);
	put_file(f.path[0], "file", 0, 5000);
	put_dir(f.path[0], "dir");
	fixture_volume(&f);
	fixture_open(&a, f.path[0]);
	file = node_of(&a, "file");
	dir = node_of(&a, "dir");
	before = row_of(&a, "file").seq;
	fd = store_root_fd(a.store);
	n = (struct scan_numbers){
		.next_node = 50,
		.next_seq = 1000,
		.settled_seq = 900,
		.fresh_seq = 1000,
		.doubtful_dir = tell,
	};
	must(meta_begin(a.meta));
	must(scan_object(a.store, a.meta, fd, META_ROOT_ID, "file", &n, &got,
			 &is_new));
	must(meta_commit(a.meta));
	cr_expect_eq(got, file);
	cr_expect_not(is_new);
	cr_expect_eq(row_of(&a, "file").seq, before);
	cr_expect_geq(entry_of(&a, "file").seq, 1000);

	n.settled_seq = 1;
	must(meta_begin(a.meta));
	must(scan_object(a.store, a.meta, fd, META_ROOT_ID, "file", &n, &got,
			 &is_new));
	must(scan_object(a.store, a.meta, fd, META_ROOT_ID, "dir", &n, &got,
			 &is_new));
	must(meta_commit(a.meta));
	cr_expect_eq(told, dir);
	cr_expect_geq(row_of(&a, "file").seq, 1000);
	cr_expect_geq(row_of(&a, "file").attr_seq, 1000);
	fixture_close(&a);
	fixture_done(&f);
}
