/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A scrub, and whoever opens by name, beside those who remove directories: what
 * has no name any more is no difference and no store's fault.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>

#include "base/fault.h"
#include "fs/mirror/internal.h"
#include "fs/mirror/scrub.h"
#include "mirror_fixture.h"

TestSuite(mirror_scrub, .init = setup, .fini = teardown, .timeout = 300);

static uint64_t dir_id;

static void make_dir(uint64_t *ret_file)
{
	struct mirror_entry e;

	cr_assert_eq(mirror_mkdir(m, META_ROOT_ID, "d", 0755, &cred, &e), 0);
	dir_id = e.id;
	cr_assert_eq(mirror_create(m, dir_id, "f", 0644, &cred, &e), 0);
	*ret_file = e.id;
	feed_drain(m);
}

/* As from the kernel: whoever removed it forgets it. */
static void remove_dir(void)
{
	cr_assert_eq(mirror_rmdir(m, META_ROOT_ID, "d"), 0);
	mirror_forget(m, dir_id, 1);
}

static void nobody_is_blamed(void)
{
	for (unsigned int i = 0; i < 2; i++) {
		struct mirror_slot_info info;

		mirror_slot_info(m, i, &info);
		cr_assert_eq(info.state, META_STORE_ONLINE, "slot %u", i);
		cr_assert_eq(info.errors_read, 0, "slot %u", i);
		cr_assert_eq(info.errors_write, 0, "slot %u", i);
	}
}

/* From d on the first store to beside it, or back, and nothing else changes. */
static void displace(bool back)
{
	char in[8192], out[8192], dir[8192];
	struct timespec times[2];
	struct stat st;

	snprintf(dir, sizeof(dir), "%s/d", dir_a);
	snprintf(in, sizeof(in), "%s/d/f", dir_a);
	snprintf(out, sizeof(out), "%s/f", base);
	cr_assert_eq(stat(dir, &st), 0);
	cr_assert_eq(back ? rename(out, in) : rename(in, out), 0);
	times[0] = st.st_atim;
	times[1] = st.st_mtim;
	cr_assert_eq(utimensat(AT_FDCWD, dir, times, 0), 0);
}

struct scrubbing {
	bool remove;	    /* the entry, before the second look */
	sem_t looked, held; /* once */
	unsigned int found;
	struct scrub_finding last;
	int result;
};

/* Between the two looks: all entries were asked for, and one is missing. */
static int on_pace(void *arg, uint64_t bytes)
{
	struct scrubbing *k = arg;

	(void)bytes;
	if (!k->remove)
		return 0;
	k->remove = false;
	displace(true);
	cr_assert_eq(mirror_unlink(m, dir_id, "f"), 0);
	cr_assert_eq(sem_post(&k->looked), 0);
	while (sem_wait(&k->held))
		;
	return 0;
}

static int on_found(void *arg, const struct scrub_finding *f)
{
	struct scrubbing *k = arg;

	k->found++;
	k->last = *f;
	return 0;
}

static void *scrub_run(void *arg)
{
	struct scrubbing *k = arg;
	struct mirror_scrub s = {
		.prefer = -1,
		.pace = on_pace,
		.found = on_found,
		.arg = k,
	};
	uint64_t offset = 0;

	k->result = mirror_scrub_node(m, &s, dir_id, &offset);
	cr_assert_eq(s.busy, 0);
	mirror_scrub_done(&s);
	return NULL;
}

/* Does somebody wait for all that was put? */
static bool feed_is_wanted(void)
{
	bool wanted;

	mutex_lock(&m->feed.lock);
	wanted = m->feed.wanted_count == m->feed.put_count &&
		 m->feed.done_count < m->feed.put_count;
	mutex_unlock(&m->feed.lock);
	return wanted;
}

static void *remove_run(void *arg)
{
	(void)arg;
	while (!feed_is_wanted())
		(void)sched_yield();
	remove_dir();
	return NULL;
}

/* Else the scrub may find the directory's times to differ by a tick of the clock,
 * and makes a checkpoint: the top is to be armed as long as a map is held. */
static void settle(void)
{
	struct mirror_entry e;

	cr_assert_eq(mirror_checkpoint(m, NULL), 0);
	cr_assert_eq(mirror_mkdir(m, META_ROOT_ID, "e", 0755, &cred, &e), 0);
	feed_drain(m);
}

/*
 * The second look has the directory's lock, found that it has a name, and waits
 * for the maps, one of which is held here. Then the directory goes.
 */
Test(mirror_scrub, directory_goes_under_the_second_look)
{
	struct scrubbing k = {.remove = true};
	pthread_t scrub, remover;
	struct mirror_ref ref;
	uint64_t id;

	cr_assert(!sem_init(&k.looked, 0, 0) && !sem_init(&k.held, 0, 0));
	make_dir(&id);
	settle();
	displace(false);
	cr_assert_eq(mirror_ref_get_now(m, 1, &ref), 0);
	cr_assert_eq(pthread_create(&scrub, NULL, scrub_run, &k), 0);
	while (sem_wait(&k.looked))
		;
	cr_assert_eq(meta_begin(ref.meta), 0);
	cr_assert_eq(sem_post(&k.held), 0);
	cr_assert_eq(pthread_create(&remover, NULL, remove_run, NULL), 0);
	cr_assert_eq(pthread_join(remover, NULL), 0);
	meta_rollback(ref.meta);
	cr_assert_eq(pthread_join(scrub, NULL), 0);
	mirror_ref_put(m, &ref);
	cr_assert_eq(k.result, 0);
	cr_assert_eq(k.found, 0, "kind %d, losers %#x", (int)k.last.kind,
		     k.last.losers);
	nobody_is_blamed();
}

/* The same, but that nobody removes anything. */
Test(mirror_scrub, what_is_missing_is_found)
{
	struct scrubbing k = {.found = 0};
	uint64_t id;

	make_dir(&id);
	displace(false);
	(void)scrub_run(&k);
	cr_assert_eq(k.result, 0);
	cr_assert_eq(k.found, 1);
	cr_assert_eq(k.last.kind, SCRUB_MISSING);
	cr_assert_eq(k.last.node, id);
	cr_assert_eq(k.last.dir, dir_id);
	cr_assert_str_eq(k.last.name, "f");
	cr_assert_eq(k.last.by, SCRUB_BY_MAP);
	cr_assert_eq(__builtin_popcount(k.last.losers), 1);
	displace(true);
}

/* ---- a repair beside those who make files ---- */

static void *put_out_run(void *arg)
{
	struct scrub_finding f = {
		.kind = SCRUB_MISSING,
		.dir = dir_id,
		.name = "f",
		.by = SCRUB_BY_MAP,
	};
	struct mirror_slot_info info;

	for (unsigned int i = 0; i < 2; i++) {
		mirror_slot_info(m, i, &info);
		if (!strcmp(info.path, dir_b))
			f.losers = SLOT_BIT(i);
	}
	f.node = *(uint64_t *)arg;
	cr_expect_eq(mirror_scrub_put_out(m, f.losers, &f, 1), 0);
	return NULL;
}

static bool has_ended(pthread_t thread)
{
	return pthread_tryjoin_np(thread, NULL) == 0;
}

/* What was made too late for the map of the store that is put out is nothing
 * that nobody knows. */
Test(mirror_scrub, new_files_do_not_go_to_found)
{
	struct mirror_entry e;
	char path[8192], name[32];
	pthread_t thread;
	uint64_t id;

	make_dir(&id);
	snprintf(path, sizeof(path), "%s/d/alien", dir_b);
	cr_assert_eq(mkdir(path, 0755), 0);
	cr_assert_eq(pthread_create(&thread, NULL, put_out_run, &id), 0);
	for (unsigned int k = 0; !has_ended(thread); k++) {
		snprintf(name, sizeof(name), "new%u", k);
		cr_assert_eq(mirror_create(m, dir_id, name, 0644, &cred, &e),
			     0);
	}
	snprintf(path, sizeof(path), "%s/.seqmirror/found/1-alien", dir_b);
	cr_expect_eq(rmdir(path), 0);
	snprintf(path, sizeof(path), "%s/.seqmirror/found", dir_b);
	cr_expect_eq(rmdir(path), 0, "it is not empty");
}

#ifdef SEQMIRROR_FAULT_INJECTION

static void *fsync_run(void *arg)
{
	const uint64_t *id = arg;

	cr_assert_eq(mirror_fsync(m, *id, false), 0);
	return NULL;
}

static unsigned int refs_of(struct node *n)
{
	unsigned int refs;

	mutex_lock(&m->table);
	refs = n->refs;
	mutex_unlock(&m->table);
	return refs;
}

/* It is moved and its old directory removed, while it is opened there. */
Test(mirror_scrub, moved_out_of_a_removed_directory)
{
	struct node *n, *dir;
	pthread_t thread;
	unsigned int refs;
	uint64_t id;

	make_dir(&id);
	cr_assert_eq(mirror_checkpoint(m, NULL), 0);
	cr_assert_eq(node_get(m, id, &n), 0);
	node_fds_close_idle(m, n);
	cr_assert_eq(node_get(m, dir_id, &dir), 0);
	refs = refs_of(dir);
	cr_assert_eq(fault_configure("mirror.open.named:delay=1000:1"), 0);
	cr_assert_eq(pthread_create(&thread, NULL, fsync_run, &id), 0);
	while (refs_of(dir) == refs)
		(void)sched_yield();
	cr_assert_eq(mirror_rename(m, dir_id, "f", META_ROOT_ID, "g", 0), 0);
	remove_dir();
	cr_assert_eq(pthread_join(thread, NULL), 0);
	cr_assert_eq(fault_configure(NULL), 0);
	nobody_is_blamed();
	node_put(m, dir);
	node_put(m, n);
}

#endif
