/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A volume whose process dies at each of its fault points, in the middle of a
 * fixed series of operations.  It is assembled again, and healed; then the two
 * stores are equal, and whatever an fsync had answered for is there.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/log.h"
#include "fs/mirror/mirror.h"
#include "resync/volume_make.h"
#include "tests/unit/remove_tree.h"

#define ROUNDS	 6u
#define FILE_LEN 20000u

static const char *const points[] = {
	"mirror.numbered",	  "mirror.arm",		  "mirror.arm.before",
	"mirror.arm.after",	  "mirror.make",	  "mirror.make.done",
	"mirror.write.armed",	  "mirror.write",	  "mirror.write.done",
	"mirror.truncate",	  "mirror.truncate.done", "mirror.fallocate",
	"mirror.fallocate.done",  "mirror.setattr",	  "mirror.xattr",
	"mirror.attr.done",	  "mirror.rename",	  "mirror.rename.done",
	"mirror.remove",	  "mirror.remove.done",	  "mirror.remove.fed",
	"mirror.fsync",		  "mirror.leave",	  "mirror.record",
	"mirror.record.before",	  "mirror.record.after",  "mirror.ckpt.times",
	"mirror.ckpt.sync",	  "mirror.ckpt.synced",	  "mirror.ckpt.commit",
	"mirror.detach.recorded", "mirror.confirm",
};

static const struct mirror_cred cred = {.umask = 022};
static char base[128], dirs[2][160];
static _Atomic unsigned int *synced; /* shared: rounds an fsync answered for */

static void setup(void)
{
	(void)log_open(LOG_SINK_STDERR, LOG_LEVEL_ERR);
	synced = mmap(NULL, sizeof(*synced), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	cr_assert_neq((void *)synced, MAP_FAILED);
}

TestSuite(mirror_crash, .init = setup, .timeout = 550);

static void volume_new(void)
{
	const char *paths[] = {dirs[0], dirs[1]};
	struct volume_make_result *made = calloc(1, sizeof(*made));

	snprintf(base, sizeof(base), "/tmp/seqmirror-crash-XXXXXX");
	cr_assert(mkdtemp(base));
	for (int k = 0; k < 2; k++) {
		snprintf(dirs[k], sizeof(dirs[k]), "%s/s%d", base, k);
		cr_assert(!mkdir(dirs[k], 0755));
	}
	cr_assert_eq(volume_make(&(struct volume_make_args){.paths = paths,
							    .path_count = 2},
				 made),
		     0, "%s", made->why);
	free(made);
	*synced = 0;
}

/* ---- the child ---- */

#define DO(call)                                                            \
	do {                                                                \
		int do_ = (call);                                           \
		if (do_ < 0) {                                              \
			fprintf(stderr, "%s: %s\n", #call, strerror(-do_)); \
			_exit(1);                                           \
		}                                                           \
	} while (0)

static void fill(char *buf, unsigned int round)
{
	for (unsigned int k = 0; k < FILE_LEN; k++)
		buf[k] = (char)('a' + (k / 97 + round) % 26);
}

static void contents(struct mirror *m, uint64_t shared, unsigned int round)
{
	struct stat st = {.st_size = 5000 + 3000 * round};
	char byte = (char)round;

	DO(mirror_write(m, shared, &byte, 1, 7000ull * round, false));
	DO(mirror_fallocate(m, shared,
			    FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			    4096ull * round, 9000, false));
	DO(mirror_setattr(m, shared, &st, MIRROR_SET_SIZE, &st));
	st.st_mode = 0600 + round;
	DO(mirror_setattr(m, shared, &st, MIRROR_SET_MODE, &st));
	DO(mirror_setxattr(m, shared, "user.round", &byte, 1, 0));
}

static void names(struct mirror *m, unsigned int round)
{
	char from[16], to[16], dir[16];
	struct mirror_entry e;

	snprintf(dir, sizeof(dir), "d%u", round);
	DO(mirror_mkdir(m, META_ROOT_ID, dir, 0755, &cred, &e));
	DO(mirror_create(m, e.id, "inner", 0644, &cred,
			 &(struct mirror_entry){0}));
	if (!round)
		return;
	snprintf(from, sizeof(from), "f%u", round - 1);
	snprintf(to, sizeof(to), "g%u", round - 1);
	DO(mirror_rename(m, META_ROOT_ID, from, e.id, to, 0));
	DO(mirror_whiteout(m, e.id, "inner", e.id, "outer", 0, &cred));
	DO(mirror_whiteout(m, e.id, "outer", META_ROOT_ID, "out", 0, &cred));
	DO(mirror_unlink(m, e.id, "inner"));
	DO(mirror_symlink(m, e.id, "link", to, &cred, &e));
}

static void child_run(struct mirror *m)
{
	static char buf[FILE_LEN];
	struct mirror_entry shared, e;
	char name[16];

	DO(mirror_create(m, META_ROOT_ID, "shared", 0644, &cred, &shared));
	for (unsigned int k = 0; k < ROUNDS; k++) {
		snprintf(name, sizeof(name), "f%u", k);
		fill(buf, k);
		DO(mirror_create(m, META_ROOT_ID, name, 0644, &cred, &e));
		DO(mirror_write(m, e.id, buf, 9000, 0, false));
		DO(mirror_write(m, e.id, buf + 9000, FILE_LEN - 9000, 9000,
				false));
		DO(mirror_fsync(m, e.id, true));
		DO(mirror_fsync(m, META_ROOT_ID, true));
		*synced = k + 1;
		contents(m, shared.id, k);
		names(m, k);
		if (k % 2)
			DO(mirror_checkpoint(m, NULL));
	}
	DO(mirror_detach(m, 1 - (unsigned int)mirror_lead(m)));
	DO(mirror_setattr(m, shared.id, &shared.st, MIRROR_SET_MODE,
			  &shared.st));
}

static struct mirror *volume_open(struct resync_assembly *a)
{
	const char *paths[] = {dirs[0], dirs[1]};
	struct mirror_options o = {.checkpoint_ms = 60000, .prefer_slot = -1};
	struct mirror *m;

	if (resync_assemble(paths, 2, true, a)) {
		fprintf(stderr, "%s\n", a->why);
		return NULL;
	}
	return mirror_open(a->members, a->count, a->lead, &o, &m) ? NULL : m;
}

static void child(const char *spec)
{
	struct resync_assembly *a = calloc(1, sizeof(*a));
	struct mirror *m = a ? volume_open(a) : NULL;

	if (!m || fault_configure(spec))
		_exit(1);
	child_run(m);
	DO(mirror_close(m));
	_exit(0);
}

/* ---- afterwards ---- */

static void heal(const char *spec)
{
	struct resync_assembly *a = calloc(1, sizeof(*a));
	struct mirror *m = volume_open(a);
	struct resync_engine *engine;
	int r;

	cr_assert_not_null(m, "%s", spec);
	r = resync_engine_start(m, &(struct resync_engine_options){0}, &engine);
	cr_assert_eq(r, 0);
	for (unsigned int i = 0; i < a->count; i++) {
		struct mirror_slot_info info;

		if (a->late_store[i]) {
			r = resync_engine_attach_open(
				engine, i, a->late_store[i], a->late_meta[i]);
			cr_assert_eq(r, 0, "%s: %s", spec, strerror(-r));
			r = resync_engine_wait(engine, i, 20000);
			cr_assert_eq(r, 0, "%s: %s", spec, strerror(-r));
		}
		mirror_slot_info(m, i, &info);
		cr_assert_eq(info.state, META_STORE_ONLINE, "%s: slot %u: %s",
			     spec, i, info.why);
	}
	resync_engine_stop(engine);
	cr_assert_eq(mirror_close(m), 0, "%s", spec);
	free(a);
}

static ssize_t slurp(const char *path, char *buf, size_t len)
{
	int fd = open(path, O_RDONLY);
	ssize_t n;

	if (fd < 0)
		return -1;
	n = read(fd, buf, len);
	close(fd);
	return n;
}

static void same_object(const char *spec, const char *a, const char *b,
			const struct stat *x)
{
	static char one[1 << 16], two[1 << 16];
	struct stat y;
	ssize_t n;

	cr_assert_eq(lstat(b, &y), 0, "%s: %s is missing", spec, b);
	cr_assert_eq(x->st_mode, y.st_mode, "%s: mode of %s", spec, b);
	cr_assert_eq(x->st_mtim.tv_nsec, y.st_mtim.tv_nsec, "%s: time of %s",
		     spec, b);
	if (S_ISLNK(x->st_mode)) {
		n = readlink(a, one, sizeof(one));
		cr_assert_eq(n, readlink(b, two, sizeof(two)));
		cr_assert(n > 0 && !memcmp(one, two, (size_t)n));
	}
	if (!S_ISREG(x->st_mode))
		return;
	n = slurp(a, one, sizeof(one));
	cr_assert_eq(n, slurp(b, two, sizeof(two)), "%s: size of %s", spec, b);
	cr_assert(!memcmp(one, two, (size_t)n), "%s: %s differs", spec, b);
	n = getxattr(a, "user.round", one, sizeof(one));
	cr_assert_eq(n, getxattr(b, "user.round", two, sizeof(two)));
	cr_assert(n < 1 || one[0] == two[0], "%s: xattr of %s", spec, b);
}

static unsigned int same_tree(const char *spec, const char *a, const char *b)
{
	DIR *d = opendir(a);
	unsigned int count = 0;
	const struct dirent *e;

	cr_assert_not_null(d, "%s: %s", spec, a);
	while ((e = readdir(d))) {
		char x[1024], y[1024];
		struct stat st;

		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") ||
		    !strcmp(e->d_name, STORE_PRIVATE))
			continue;
		snprintf(x, sizeof(x), "%.700s/%.255s", a, e->d_name);
		snprintf(y, sizeof(y), "%.700s/%.255s", b, e->d_name);
		cr_assert_eq(lstat(x, &st), 0);
		same_object(spec, x, y, &st);
		count++;
		if (S_ISDIR(st.st_mode))
			count += same_tree(spec, x, y);
	}
	closedir(d);
	return count;
}

/* The file of each round that an fsync answered for, wherever it is now. */
static void has_synced(const char *spec, const char *dir)
{
	static char want[FILE_LEN], got[FILE_LEN + 1];
	char path[512];

	for (unsigned int k = 0; k < *synced; k++) {
		ssize_t n;

		snprintf(path, sizeof(path), "%s/f%u", dir, k);
		n = slurp(path, got, sizeof(got));
		if (n < 0) {
			snprintf(path, sizeof(path), "%s/d%u/g%u", dir, k + 1,
				 k);
			n = slurp(path, got, sizeof(got));
		}
		fill(want, k);
		cr_assert_eq(n, (ssize_t)FILE_LEN, "%s: %s: %zd", spec, path,
			     n);
		cr_assert(!memcmp(want, got, FILE_LEN), "%s: %s", spec, path);
	}
}

static void crash_at(const char *point, unsigned int hit)
{
	char spec[64];
	unsigned int there;
	int status;
	pid_t pid;

	snprintf(spec, sizeof(spec), "%s:kill:%u", point, hit);
	volume_new();
	pid = fork();
	if (!pid)
		child(spec);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert((WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) ||
			  (WIFEXITED(status) && !WEXITSTATUS(status)),
		  "%s: status %x", spec, status);
	heal(spec);
	there = same_tree(spec, dirs[0], dirs[1]);
	cr_assert_eq(there, same_tree(spec, dirs[1], dirs[0]), "%s", spec);
	has_synced(spec, dirs[0]);
	remove_tree(base);
}

static void crash_everywhere(unsigned int hit)
{
	/* With TEST_SHARE another part of them for each hit. */
	for (size_t k = hit % TEST_SHARE; k < sizeof(points) / sizeof(*points);
	     k += TEST_SHARE)
		crash_at(points[k], hit);
}

Test(mirror_crash, at_the_first_hit_of_each_point)
{
	crash_everywhere(1);
}

Test(mirror_crash, at_the_second_hit_of_each_point)
{
	crash_everywhere(2);
}

Test(mirror_crash, at_a_later_hit_of_each_point)
{
	crash_everywhere(5);
	crash_everywhere(9);
}
