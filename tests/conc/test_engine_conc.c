/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A store leaves and comes back again and again while threads change names,
 * contents and attributes without a pause.  Resyncs are paused, cancelled,
 * limited, and their target fails at times.  At the end both stores are equal,
 * in files and in maps.
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
#include "resync/side.h"
#include "resync/volume_make.h"

#define THREADS 3
#define ROUNDS	12
#define DIRS	6

static char base[2048];
static char paths[2][4096];
static struct mirror *m;
static struct resync_engine *engine;
static uint64_t dirs[DIRS];
static atomic_uint done; /* operations so far */
static atomic_bool stop;

static const struct mirror_cred cred = {.umask = 022};

static void expect(int r)
{
	if (r >= 0 || r == -ENOENT || r == -EEXIST || r == -ENOTEMPTY ||
	    r == -ESTALE || r == -EISDIR || r == -ENOTDIR || r == -EINVAL)
		return;
	fprintf(stderr, "unexpected result %d (%s)\n", r, strerror(-r));
	abort();
}

/* ---- those who work ---- */

static void change_file(unsigned int *seed, uint64_t id)
{
	char buf[20000];
	size_t len = (size_t)rand_r(seed) % sizeof(buf) + 1;
	uint64_t off = (uint64_t)(rand_r(seed) % 60) * 1500;
	struct stat st = {0};

	memset(buf, rand_r(seed), len);
	switch (rand_r(seed) % 6) {
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
		st.st_mode = 0600 | (mode_t)(rand_r(seed) % 077);
		expect(mirror_setattr(m, id, &st, MIRROR_SET_MODE, &st));
		break;
	default:
		expect(mirror_write(m, id, buf, len, off, false));
	}
}

static uint64_t any_dir(unsigned int *seed)
{
	return dirs[rand_r(seed) % DIRS];
}

static void make_one(unsigned int *seed, const char *name)
{
	uint64_t dir = any_dir(seed);
	struct mirror_entry e;
	int r;

	switch (rand_r(seed) % 5) {
	case 0:
		r = mirror_mkdir(m, dir, name, 0755, &cred, &e);
		break;
	case 1:
		r = mirror_symlink(m, dir, name, "nowhere", &cred, &e);
		break;
	default:
		r = mirror_create(m, dir, name, 0644, &cred, &e);
		if (r == 0)
			change_file(seed, e.id);
	}
	expect(r);
	if (r == 0)
		mirror_forget(m, e.id, 1);
}

static void change_one(unsigned int *seed, const char *name, const char *link)
{
	uint64_t dir = any_dir(seed);
	struct mirror_entry e;
	int r = mirror_lookup(m, dir, name, &e);

	expect(r);
	if (r)
		return;
	if (S_ISREG(e.st.st_mode))
		change_file(seed, e.id);
	if (S_ISREG(e.st.st_mode) && rand_r(seed) % 3 == 0) {
		r = mirror_link(m, e.id, any_dir(seed), link,
				&(struct mirror_entry){0});
		expect(r);
		mirror_forget(m, e.id, r ? 0 : 1);
	}
	mirror_forget(m, e.id, 1);
}

static void *work(void *arg)
{
	unsigned int seed = *(unsigned int *)arg;
	unsigned int own = seed; /* names of its own, in all directories */
	char a[32], b[32];

	while (!atomic_load(&stop)) {
		snprintf(a, sizeof(a), "%u-%d", own, rand_r(&seed) % 12);
		snprintf(b, sizeof(b), "%u-%d", own, rand_r(&seed) % 12);
		switch (rand_r(&seed) % 8) {
		case 0:
		case 1:
			expect(mirror_rename(m, any_dir(&seed), a,
					     any_dir(&seed), b, 0));
			break;
		case 2:
			expect(mirror_unlink(m, any_dir(&seed), a));
			break;
		case 3:
			expect(mirror_rmdir(m, any_dir(&seed), a));
			break;
		case 4:
		case 5:
			make_one(&seed, a);
			break;
		default:
			change_one(&seed, a, b);
		}
		atomic_fetch_add(&done, 1);
	}
	return NULL;
}

/* Until so many more operations have been done. */
static void wait_for(unsigned int count)
{
	unsigned int until = atomic_load(&done) + count;

	while ((int)(until - atomic_load(&done)) > 0)
		assert(!mirror_checkpoint(m, NULL));
}

/* ---- the store that comes and goes ---- */

static unsigned int slot_b(void)
{
	struct mirror_slot_info info;
	char real[4096];

	assert(realpath(paths[1], real));
	for (unsigned int i = 0; i < mirror_slot_count(m); i++) {
		mirror_slot_info(m, i, &info);
		if (info.used && !strcmp(info.path, real))
			return i;
	}
	abort();
}

static void attach(unsigned int slot)
{
	char why[256] = "";
	int r;

	/* Its descriptors are closed a moment after it left. */
	do
		r = resync_engine_attach(engine, slot, paths[1], why,
					 sizeof(why));
	while (r == -EBUSY);
	if (r)
		fprintf(stderr, "attach: %s\n", why);
	assert(r == 0);
}

static void disturb(unsigned int slot, unsigned int round)
{
	struct resync_engine_state state;
	struct resync_counts counts;
	struct mirror_ref ref;
	char why[256];

	switch (round % 5) {
	case 1:
		assert(!resync_engine_pause(engine, true));
		wait_for(30);
		resync_engine_state(engine, slot, &state);
		assert(!state.running || state.paused);
		assert(!resync_engine_pause(engine, false));
		break;
	case 2:
		if (resync_engine_cancel(engine, slot) == 0)
			assert(resync_engine_wait(engine, slot, -1) <= 0);
		wait_for(30);
		break;
	case 3:
		resync_engine_set_rate(engine, 4 << 20);
		wait_for(30);
		resync_engine_set_rate(engine, 0);
		break;
	case 4:
		if (mirror_ref_get(m, slot, &ref))
			break;
		store_fail_inject(ref.store, "store.fsync", EIO);
		store_fail_inject(ref.store, "store.syncfs", EIO);
		mirror_ref_put(m, &ref);
		assert(resync_engine_wait(engine, slot, -1) <= 0);
		break;
	default:
		assert(resync_engine_forecast(engine, slot, NULL, &counts, why,
					      sizeof(why)) <= 0);
	}
}

static bool is_online(unsigned int slot)
{
	struct mirror_slot_info info;

	mirror_slot_info(m, slot, &info);
	return info.state == META_STORE_ONLINE;
}

static void come_and_go(unsigned int round)
{
	struct resync_engine_state state;
	unsigned int slot = slot_b();
	int r;

	if (is_online(slot))
		assert(!mirror_detach(m, slot));
	wait_for(150);
	attach(slot);
	disturb(slot, round);
	r = resync_engine_wait(engine, slot, -1);
	if (!is_online(slot)) {
		attach(slot);
		r = resync_engine_wait(engine, slot, -1);
	}
	resync_engine_state(engine, slot, &state);
	if (r)
		fprintf(stderr, "round %u: %s\n", round, state.last_why);
	assert(r == 0 && !state.running && state.last_result == 0);
	wait_for(50);
	/* A store with an error injected is put out by what follows. */
	assert(is_online(slot) || round % 5 == 4);
}

/* ---- life ---- */

static void open_volume(void)
{
	const char *named[] = {paths[0], paths[1]};
	struct resync_assembly *a = calloc(1, sizeof(*a));
	struct mirror_options o = {.checkpoint_ms = 50, .prefer_slot = -1};
	struct resync_engine_options eo = {0};
	int r = resync_assemble(named, 2, true, a);

	if (r)
		fprintf(stderr, "assemble: %s\n", a->why);
	assert(!r);
	assert(!mirror_open(a->members, a->count, a->lead, &o, &m));
	assert(!resync_engine_start(m, &eo, &engine));
	for (unsigned int i = 0; i < META_STORE_MAX; i++)
		if (a->late_store[i]) {
			assert(!resync_engine_attach_open(
				engine, i, a->late_store[i], a->late_meta[i]));
			assert(!resync_engine_wait(engine, i, -1));
		}
	free(a);
	assert(is_online(slot_b()));
}

static void make_dirs(void)
{
	for (unsigned int i = 0; i < DIRS; i++) {
		struct mirror_entry e;
		char name[16];

		snprintf(name, sizeof(name), "d%u", i);
		assert(!mirror_mkdir(m, i % 3 ? dirs[i - 1] : META_ROOT_ID,
				     name, 0755, &cred, &e));
		dirs[i] = e.id;
	}
}

static void open_side(struct resync_side *side, const char *path)
{
	*side = (struct resync_side){0};
	assert(!store_open(path, NULL, &side->store));
	assert(!meta_open(store_privdir(side->store), META_OPEN_RW, &side->meta,
			  NULL));
}

/* Nothing is to be done from the very beginning on: the maps are equal. Nor
 * after everything was put in doubt: the files are. */
static void compare_stores(void)
{
	struct resync_control control = {.dry_run = true};
	struct resync_lap_args args = {.last = true, .control = &control};
	struct resync_counts n = {0};
	struct meta_reader *rd;
	struct meta_node row;
	struct meta_iter it;

	open_side(&args.source, paths[0]);
	open_side(&args.target, paths[1]);
	rd = meta_reader_get(args.source.meta);
	assert(!meta_number_get(rd, META_NUM_DURABLE_SEQ, &args.cut));
	assert(!meta_begin(args.target.meta));
	assert(!meta_iter_nodes(rd, 0, &it));
	while (meta_next_node(&it, &row) > 0) {
		struct meta_intent in = {
			.node = row.id,
			.kind = row.kind == META_DIR	? META_INTENT_NAME
				: row.kind == META_FILE ? META_INTENT_DATA
							: META_INTENT_ATTR,
			.end = row.kind == META_FILE ? META_RANGE_MAX : 0,
		};

		assert(!meta_intent_put(args.target.meta, &in));
	}
	meta_iter_done(&it);
	meta_reader_put(rd);
	assert(!meta_commit(args.target.meta));
	assert(!resync_lap(&args, &n));
	fprintf(stderr,
		"compared: nodes=%d bytes=%d copied=%d unmapped=%d "
		"made=%d gone=%d moved=%d\n",
		(int)n.nodes, (int)n.bytes_compared, (int)n.bytes_copied,
		(int)n.bytes_unmapped, (int)n.entries_created,
		(int)n.entries_removed, (int)n.entries_renamed);
	assert(n.bytes_copied == 0 && n.bytes_unmapped == 0);
	assert(n.entries_created == 0 && n.entries_removed == 0 &&
	       n.entries_renamed == 0 && n.bytes_compared > 0);
	meta_close(args.source.meta);
	store_close(args.source.store);
	meta_close(args.target.meta);
	store_close(args.target.store);
}

static int remove_one(const char *path, const struct stat *st, int flag,
		      struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

/* argv[1]: the seed. */
int main(int argc, char **argv)
{
	static struct volume_make_result made;
	const char *both[] = {paths[0], paths[1]};
	unsigned int seeds[THREADS];
	pthread_t threads[THREADS];
	const char *tmp = getenv("TMPDIR");
	int seed = argc > 1 ? atoi(argv[1]) : 23;
	int r;

	fprintf(stderr, "seed %d\n", seed);
	log_open(LOG_SINK_STDERR, LOG_LEVEL_WARN);
	snprintf(base, sizeof(base), "%s/seqmirror-conc-XXXXXX",
		 tmp ? tmp : "/tmp");
	assert(mkdtemp(base));
	for (unsigned int i = 0; i < 2; i++) {
		snprintf(paths[i], sizeof(paths[i]), "%s/%c", base, 'a' + i);
		assert(!mkdir(paths[i], 0755));
	}
	r = volume_make(
		&(struct volume_make_args){.paths = both, .path_count = 2},
		&made);
	if (r)
		fprintf(stderr, "volume_make: %s\n", made.why);
	assert(!r);
	open_volume();
	make_dirs();
	for (unsigned int i = 0; i < THREADS; i++) {
		seeds[i] = i + (unsigned int)seed;
		assert(!pthread_create(&threads[i], NULL, work, &seeds[i]));
	}
	for (unsigned int round = 0; round < ROUNDS; round++)
		come_and_go(round);
	atomic_store(&stop, true);
	for (unsigned int i = 0; i < THREADS; i++)
		assert(!pthread_join(threads[i], NULL));
	resync_engine_stop(engine);
	assert(!mirror_close(m));
	compare_stores();
	assert(!nftw(base, remove_one, 32, FTW_PHYS | FTW_DEPTH));
	puts("engine_conc: ok");
	return 0;
}
