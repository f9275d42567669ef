/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads on a live volume: names, contents and attributes change in private
 * and shared places while checkpoints run and one store fails.  At the end the
 * stores that stayed are equal, and the volume opens again.  Meanwhile every
 * state that a map can be seen in has a name for each of its nodes: who is
 * killed leaves one of them.
 *
 * A plain program with assert(), so that it runs under ThreadSanitizer.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "fs/mirror/mirror.h"
#include "resync/volume_make.h"

#define THREADS 4
#define ROUNDS	400

static char dir_a[4096], dir_b[4096];
static struct mirror *m;
static uint64_t shared_file;
static struct store *store_b;

struct worker {
	pthread_t thread;
	unsigned int seed;
	uint64_t dir;
};

static const struct mirror_cred cred = {.umask = 022};

/* Results depend on what other threads did; only I/O errors are wrong. */
static void expect(int r)
{
	if (r >= 0 || r == -ENOENT || r == -EEXIST || r == -ENOTEMPTY ||
	    r == -ESTALE || r == -EISDIR || r == -ENOTDIR)
		return;
	fprintf(stderr, "unexpected result %d (%s)\n", r, strerror(-r));
	abort();
}

static uint64_t make_file(uint64_t dir, const char *name)
{
	struct mirror_entry e;
	int r = mirror_create(m, dir, name, 0644, &cred, &e);

	expect(r);
	if (r)
		return 0;
	return e.id;
}

static void change_contents(struct worker *w, uint64_t id)
{
	char buf[9000];
	size_t len = (size_t)rand_r(&w->seed) % sizeof(buf) + 1;
	uint64_t off = (uint64_t)(rand_r(&w->seed) % 40) * 1500;
	struct stat st = {0};

	memset(buf, rand_r(&w->seed), len);
	switch (rand_r(&w->seed) % 5) {
	case 0:
		st.st_size = (off_t)off;
		expect(mirror_setattr(m, id, &st, MIRROR_SET_SIZE, &st));
		break;
	case 1:
		expect(mirror_fallocate(
			m, id, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off,
			len, false));
		break;
	case 2:
		expect(mirror_fsync(m, id, true));
		break;
	default:
		expect(mirror_write(m, id, buf, len, off, false));
	}
}

static void change_names(struct worker *w)
{
	struct mirror_entry e;
	char a[16], b[16];
	int r;

	snprintf(a, sizeof(a), "n%d", rand_r(&w->seed) % 8);
	snprintf(b, sizeof(b), "n%d", rand_r(&w->seed) % 8);
	switch (rand_r(&w->seed) % 6) {
	case 0:
		expect(mirror_rename(m, w->dir, a, w->dir, b, 0));
		break;
	case 5:
		expect(mirror_rename(m, w->dir, a, w->dir, b, RENAME_EXCHANGE));
		break;
	case 1:
		expect(mirror_unlink(m, w->dir, a));
		break;
	case 2:
		r = mirror_lookup(m, w->dir, a, &e);
		expect(r);
		if (r)
			break;
		r = mirror_link(m, e.id, w->dir, b, &(struct mirror_entry){0});
		expect(r);
		mirror_forget(m, e.id, r ? 1 : 2);
		break;
	default:
		r = mirror_create(m, w->dir, a, 0644, &cred, &e);
		expect(r);
		if (r)
			break;
		change_contents(w, e.id);
		mirror_forget(m, e.id, 1);
	}
}

static int count_entry(void *arg, const char *name, uint64_t id,
		       unsigned char type, uint64_t next, const struct stat *st)
{
	(void)name;
	(void)type;
	(void)next;
	if (st)
		mirror_forget(m, id, 0);
	++*(unsigned int *)arg;
	return 0;
}

static void *work(void *arg)
{
	struct worker *w = arg;
	unsigned int seen = 0;
	struct stat st;

	for (int i = 0; i < ROUNDS; i++) {
		switch (rand_r(&w->seed) % 8) {
		case 0:
			change_contents(w, shared_file);
			break;
		case 1:
			expect(mirror_readdir(m, w->dir, 0, false, count_entry,
					      &seen));
			break;
		case 2:
			expect(mirror_getattr(m, shared_file, &st));
			break;
		default:
			change_names(w);
		}
	}
	return NULL;
}

struct looker {
	pthread_t thread;
	const struct worker *workers;
	_Atomic bool stop;
	unsigned int looked;
};

static void all_have_names(struct meta *meta)
{
	struct meta_reader *rd = meta_reader_get(meta);
	struct meta_iter it = {0};
	struct meta_node row;
	uint64_t names;

	assert(rd && !meta_read_begin(rd));
	assert(!meta_iter_nodes(rd, META_FIRST_ID - 1, &it));
	while (meta_next_node(&it, &row) > 0) {
		assert(!meta_dentry_count(rd, row.id, &names));
		if (!names)
			fprintf(stderr, "node %llu has no name\n",
				(unsigned long long)row.id);
		assert(names);
	}
	meta_iter_done(&it);
	meta_read_end(rd);
	meta_reader_put(rd);
}

/* A listing has the rows that are on their way written, wherever the others
 * stand just then. */
static void *look(void *arg)
{
	struct looker *l = arg;
	struct mirror_ref ref;
	unsigned int seen = 0;

	while (!atomic_load(&l->stop)) {
		uint64_t dir = l->workers[l->looked++ % THREADS].dir;

		expect(mirror_readdir(m, dir, 0, false, count_entry, &seen));
		if (mirror_ref_get(m, 0, &ref))
			continue;
		all_have_names(ref.meta);
		mirror_ref_put(m, &ref);
	}
	return NULL;
}

static void run_threads(bool fail_b)
{
	static unsigned int round;
	struct worker w[THREADS];
	struct looker looker = {.workers = w};

	round++;
	for (unsigned int i = 0; i < THREADS; i++) {
		struct mirror_entry e;
		char name[32];

		snprintf(name, sizeof(name), "d%u-%u", i, round);
		assert(!mirror_mkdir(m, META_ROOT_ID, name, 0755, &cred, &e));
		w[i] = (struct worker){.seed = i + 17, .dir = e.id};
		assert(!pthread_create(&w[i].thread, NULL, work, &w[i]));
	}
	assert(!pthread_create(&looker.thread, NULL, look, &looker));
	for (int i = 0; i < 20; i++) {
		assert(!mirror_checkpoint(m, NULL));
		if (fail_b && i == 10)
			store_fail_inject(store_b, "store.write", EIO);
	}
	for (unsigned int i = 0; i < THREADS; i++)
		assert(!pthread_join(w[i].thread, NULL));
	atomic_store(&looker.stop, true);
	assert(!pthread_join(looker.thread, NULL));
	assert(looker.looked);
}

/* @timeout_ms: all calls are made by helpers, and watched. */
static void open_volume(uint64_t timeout_ms)
{
	const char *paths[] = {dir_a, dir_b};
	struct resync_assembly *a = calloc(1, sizeof(*a));
	struct mirror_options o = {.checkpoint_ms = 20,
				   .prefer_slot = -1,
				   .timeout_ms = timeout_ms};
	int r = resync_assemble(paths, 2, true, a);

	if (r)
		fprintf(stderr, "assemble: %s\n", a->why);
	assert(!r);
	store_b = NULL;
	for (size_t i = 0; i < a->count; i++)
		if (a->members[i].store &&
		    !strcmp(store_path(a->members[i].store), dir_b))
			store_b = a->members[i].store;
	for (size_t i = 0; i < META_STORE_MAX; i++) {
		meta_close(a->late_meta[i]);
		store_close(a->late_store[i]);
	}
	assert(!mirror_open(a->members, a->count, a->lead, &o, &m));
	free(a);
}

/* ---- comparing, cleaning up ---- */

static unsigned int entries[2];
static bool counting_b;

static void same_bytes(const char *path, const char *other)
{
	FILE *x = fopen(path, "r"), *y = fopen(other, "r");
	int c;

	assert(x && y);
	do {
		c = getc(x);
		assert(c == getc(y));
	} while (c != EOF);
	(void)fclose(x);
	(void)fclose(y);
}

static int compare_one(const char *path, const struct stat *st, int flag,
		       struct FTW *ftw)
{
	char other[8192];
	struct stat so;

	(void)flag;
	if (strstr(path, "/.seqmirror"))
		return 0;
	entries[counting_b]++;
	if (counting_b || !ftw->level)
		return 0;
	snprintf(other, sizeof(other), "%s%s", dir_b, path + strlen(dir_a));
	assert(!lstat(other, &so));
	assert(so.st_mode == st->st_mode && so.st_nlink == st->st_nlink);
	assert(so.st_mtim.tv_sec == st->st_mtim.tv_sec &&
	       so.st_mtim.tv_nsec == st->st_mtim.tv_nsec);
	if (S_ISREG(st->st_mode)) {
		assert(so.st_size == st->st_size);
		same_bytes(path, other);
	}
	return 0;
}

static void compare_stores(void)
{
	entries[0] = entries[1] = 0;
	counting_b = false;
	assert(!nftw(dir_a, compare_one, 32, FTW_PHYS));
	counting_b = true;
	assert(!nftw(dir_b, compare_one, 32, FTW_PHYS));
	assert(entries[0] == entries[1] && entries[0] > 10);
}

static int remove_one(const char *path, const struct stat *st, int flag,
		      struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static void find_shared(void)
{
	struct mirror_entry e;

	assert(!mirror_lookup(m, META_ROOT_ID, "shared", &e));
	shared_file = e.id;
}

int main(void)
{
	static const char *const paths[] = {dir_a, dir_b};
	struct volume_make_result *made = calloc(1, sizeof(*made));
	const char *tmp = getenv("TMPDIR");
	char base[2048];
	int r;

	log_open(LOG_SINK_STDERR, LOG_LEVEL_WARN);
	snprintf(base, sizeof(base), "%s/seqmirror-conc-XXXXXX",
		 tmp ? tmp : "/tmp");
	assert(mkdtemp(base));
	snprintf(dir_a, sizeof(dir_a), "%s/a", base);
	snprintf(dir_b, sizeof(dir_b), "%s/b", base);
	assert(!mkdir(dir_a, 0755) && !mkdir(dir_b, 0755));
	r = volume_make(
		&(struct volume_make_args){.paths = paths, .path_count = 2},
		made);
	if (r)
		fprintf(stderr, "volume_make: %s\n", made->why);
	assert(!r);
	free(made);

	open_volume(0);
	assert(store_b);
	shared_file = make_file(META_ROOT_ID, "shared");
	assert(shared_file);
	run_threads(false);
	assert(!mirror_close(m));
	compare_stores();

	open_volume(600000);
	assert(store_b);
	find_shared();
	run_threads(false);
	assert(!mirror_close(m));
	compare_stores();

	open_volume(600000);
	assert(store_b);
	find_shared();
	run_threads(true);
	assert(!mirror_close(m));
	assert(!nftw(base, remove_one, 32, FTW_PHYS | FTW_DEPTH));
	puts("mirror_conc: ok");
	return 0;
}
