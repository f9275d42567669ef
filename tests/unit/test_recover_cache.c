/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pages that are clean may be on no disk (docs/model.md, correction 8): what a
 * recovery has in doubt is to be read from there from then on.
 */
#include <sys/mman.h>

#include "tests/unit/volume_fixture.h"

/* Is its first page in memory? @drop: it is told to leave before. */
static bool is_cached(const char *store, const char *name, bool drop)
{
	char path[FIXTURE_PATH];
	unsigned char page = 0;
	void *mem;
	int fd;

	path_of(path, store, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	must(fd);
	if (drop)
		must(-posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
	mem = mmap(NULL, META_BLOCK, PROT_READ, MAP_SHARED, fd, 0);
	cr_assert_neq(mem, MAP_FAILED);
	must(mincore(mem, META_BLOCK, &page));
	must(munmap(mem, META_BLOCK));
	must(close(fd));
	return page & 1;
}

/* "born" is numbered above what was durable; "new" has no row at all. */
static void have_been_born(struct resync_side *a, const char *store)
{
	uint64_t seq = number_of(a, META_NUM_DURABLE_SEQ) + 5;

	put_file(store, "dir/new", 0, 5000);
	must(meta_begin(a->meta));
	must(meta_node_raise(a->meta, node_of(a, "dir/born"), seq, seq));
	must(meta_number_set(a->meta, META_NUM_SEQ_RESERVED, seq));
	must(meta_commit(a->meta));
	arm(a, node_of(a, "dir"), META_INTENT_NAME, 0, 0);
	arm(a, node_of(a, "written"), META_INTENT_DATA, 0, META_BLOCK);
}

/* Others may drop caches at any time: so they have what lies beside, as well. */
static bool has_been_kept(const struct fixture *f, const char *name)
{
	return is_cached(f->path[0], name, false) ||
	       !is_cached(f->dir, "beside", false);
}

Test(recover_cache, what_is_in_doubt_is_read_from_the_disk)
{
	static const char *const in_doubt[] = {"dir/born", "dir/new",
					       "written"};
	struct resync_side a;
	struct fixture f;
	uint64_t bytes;

	fixture_init(&f, 1);
	put_dir(f.path[0], "dir");
	put_file(f.path[0], "dir/born", 0, 5000);
	put_file(f.path[0], "dir/stays", 0, 5000);
	put_file(f.path[0], "written", 0, 5000);
	put_file(f.dir, "beside", 0, 5000);
	fixture_volume(&f);
	fixture_open(&a, f.path[0]);
	have_been_born(&a, f.path[0]);
	if (is_cached(f.path[0], "written", true)) {
		fixture_close(&a);
		fixture_done(&f);
		cr_skip_test("a filesystem in memory");
	}
	put_file(f.path[0], "written", 0, 5000);
	for (size_t i = 0; i < ARRAY_SIZE(in_doubt); i++)
		cr_expect(has_been_kept(&f, in_doubt[i]));
	must(resync_recover(&a, NULL, 0, &bytes));
	for (size_t i = 0; i < ARRAY_SIZE(in_doubt); i++)
		cr_expect_not(is_cached(f.path[0], in_doubt[i], false), "%s",
			      in_doubt[i]);
	cr_expect(has_been_kept(&f, "dir/stays"));
	fixture_close(&a);
	fixture_done(&f);
}
