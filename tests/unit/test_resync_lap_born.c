/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was born just before a crash of the target is in doubt, with all that
 * lies in it, wherever it was moved to since: into a directory that no row
 * knows of, or by a lap that was cut.
 */
#include "fs/store/internal.h"
#include "resync/lap.h"
#include "tests/unit/lap_run.h"

/* The target's directories change under intents of a crash from now on. */
static void crash_begin(struct world *w)
{
	world_init(w);
	history_begin(&w->a);
	op_make(&w->a, META_ROOT_ID, "old", META_DIR);
	history_end(&w->a);
	must(lap_as(w, 0, (struct lap_how){0}, &(struct resync_counts){0}));
	w->b.seq = w->a.seq;
	w->b.next_id = w->a.next_id;
	must(meta_begin(w->b.side.meta));
	put_intent(&w->b, META_ROOT_ID, META_INTENT_NAME, 0, 0);
	put_intent(&w->b, child(&w->b, META_ROOT_ID, "old"), META_INTENT_NAME,
		   0, 0);
	must(meta_commit(w->b.side.meta));
}

/* Both have the rows of both; the target's file has a block more. */
static void born(struct actor *a, bool more)
{
	uint64_t dir = op_make(a, META_ROOT_ID, "dir", META_DIR);
	uint64_t file = op_make(a, META_ROOT_ID, "file", META_FILE);
	int fd = node_fd(a, file, O_RDWR);

	(void)dir;
	if (more)
		must(store_write(a->side.store, fd, "x", 1, 5 * META_BLOCK,
				 NULL));
	else
		op_write(a, file, 0, 100, 3);
	must(store_truncate(a->side.store, fd, 6 * META_BLOCK));
	close_fd(&fd);
}

Test(resync_lap_born, moved_into_a_directory_that_no_row_knows)
{
	struct resync_counts n;
	struct world w;
	struct store *s;
	uint64_t from, to;
	_cleanup_close_ int root = -1;
	_cleanup_close_ int made = -1;
	_cleanup_close_ int dir = -1;

	crash_begin(&w);
	from = w.a.seq;
	s = w.b.side.store;
	history_begin(&w.a);
	born(&w.a, false);
	to = op_make(&w.a, META_ROOT_ID, "new", META_DIR);
	must(op_rename(&w.a, META_ROOT_ID, "dir", to, "dir"));
	must(op_rename(&w.a, META_ROOT_ID, "file", to, "file"));
	op_make(&w.a, child(&w.a, to, "dir"), "sub", META_DIR);
	op_make(&w.a, child(&w.a, to, "dir"), "f", META_FILE);
	history_end(&w.a);

	/* The same files, and rows as far as they came. */
	must(meta_begin(w.b.side.meta));
	born(&w.b, true);
	root = dir_fd(&w.b, META_ROOT_ID);
	must(meta_commit(w.b.side.meta));
	must(store_mkdir(s, root, "new", 0755, NULL));
	made = must(store_openat(s, root, "new", O_RDONLY | O_DIRECTORY));
	must(store_rename(s, root, "dir", made, "dir", 0));
	must(store_rename(s, root, "file", made, "file", 0));
	dir = must(store_openat(s, made, "dir", O_RDONLY | O_DIRECTORY));
	must(store_mkdir(s, dir, "sub", 0755, NULL));
	must(store_mknod(s, dir, "f", S_IFIFO | 0600, 0, NULL));

	must(lap_as(&w, from, (struct lap_how){.dry = true}, &n));
	must(lap_as(&w, from, (struct lap_how){0}, &n));
	world_equal(&w);
	cr_assert_eq(found_count(&w.b), 0);
	world_done(&w);
}

/* The lap that knew why they are in doubt has moved them, and ends there. */
static void cut_after_names(struct world *w, const struct resync_progress *p)
{
	w->cut_now = w->cut_now || !strcmp(p->phase, "data");
}

Test(resync_lap_born, moved_by_a_lap_that_was_cut)
{
	struct resync_counts n;
	struct world w;
	struct store *s;
	uint64_t from;
	_cleanup_close_ int dir = -1;

	crash_begin(&w);
	from = w.a.seq;
	s = w.b.side.store;
	history_begin(&w.a);
	op_make(&w.a, META_ROOT_ID, "target", META_DIR);
	history_end(&w.a);
	w.b.next_id = w.a.next_id;
	history_begin(&w.a);
	born(&w.a, false);
	must(op_rename(&w.a, META_ROOT_ID, "dir",
		       child(&w.a, META_ROOT_ID, "target"), "dir"));
	must(op_rename(&w.a, META_ROOT_ID, "file",
		       child(&w.a, META_ROOT_ID, "target"), "file"));
	history_end(&w.a);

	must(meta_begin(w.b.side.meta));
	born(&w.b, true);
	dir = dir_fd(&w.b, child(&w.b, META_ROOT_ID, "dir"));
	must(meta_commit(w.b.side.meta));
	must(store_mkdir(s, dir, "sub", 0755, NULL));
	cr_assert_eq(lap_as(&w, from,
			    (struct lap_how){.phase = cut_after_names}, &n),
		     -ECANCELED);
	w.cut_now = false;
	must(lap_as(&w, from, (struct lap_how){0}, &n));
	world_equal(&w);
	cr_assert_eq(found_count(&w.b), 0);
	world_done(&w);
}

/* The end of a file lies within a large block of its filesystem: what was cut off
 * there may show again, up to the end of that. */
Test(resync_lap_born, the_end_is_filled_to_that_of_a_large_block)
{
	static const struct {
		uint32_t block;
		off_t size, want;
	} v[] = {
		{512, 5000, 8192},	{4096, 5000, 8192},
		{4096, 8192, 8192},	{65536, 5000, 65536},
		{65536, 69632, 131072}, {65536, 131072, 131072},
	};
	struct lap *lap = calloc(1, sizeof(*lap));
	struct store *s;
	struct world w;
	struct stat st;
	int fd;

	world_init(&w);
	cr_assert_not_null(lap);
	lap->dst = &w.b.side;
	s = w.b.side.store;
	for (size_t i = 0; i < ARRAY_SIZE(v); i++) {
		s->caps.block_size = v[i].block;
		fd = must(openat(store_root_fd(s), "tail",
				 O_RDWR | O_CREAT | O_TRUNC, 0600));
		must(ftruncate(fd, v[i].size));
		must(pwrite(fd, "x", 1, v[i].size - 1));
		must(fill_tail(lap, fd, 1 << 20));
		must(fstat(fd, &st));
		cr_expect_eq(st.st_size, v[i].want, "%zu: %jd", i,
			     (intmax_t)st.st_size);
		close_fd(&fd);
	}
	free(lap);
	world_done(&w);
}
