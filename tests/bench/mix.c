/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mix DIR SECONDS: four threads do what people do at once, and how long each
 * call takes is counted.
 *
 *	two	make, read, rename and remove files of up to 64 KiB
 *	one	writes 4 KiB at random into a file of 256 MiB, fsync after 16
 *	one	reads 64 KiB at random from a file of 256 MiB
 *
 * Prints JSON: for each kind of call its count, and p50, p99, p99.9 and the
 * longest in microseconds. The histogram's steps are 1/16 of a power of two, so
 * a percentile is at most 6 % too high.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define STEPS	16u
#define BUCKETS (64u * STEPS)
#define BIG	(256u << 20)
#define FILES	2000u
#define THREADS 4u

enum kind {
	CREATE,
	WRITE,
	READ,
	FSYNC,
	STAT,
	RENAME,
	UNLINK,
	KINDS
};

static const char *const kind_names[] = {"create", "write",  "read",  "fsync",
					 "stat",   "rename", "unlink"};

struct tally {
	uint64_t count[KINDS][BUCKETS];
	uint64_t longest[KINDS]; /* ns */
};

struct worker {
	pthread_t thread;
	unsigned int no;
	unsigned int seed;
	struct tally tally;
	char buf[64 << 10];
};

static const char *dir;
static atomic_bool stop;

static void die(const char *what)
{
	fprintf(stderr, "mix: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static unsigned int bucket_of(uint64_t ns)
{
	unsigned int log = 63u - (unsigned int)__builtin_clzll(ns | STEPS);

	return (log - 4) * STEPS + (unsigned int)(ns >> (log - 4)) - STEPS;
}

static uint64_t bucket_end(unsigned int b)
{
	return (uint64_t)(b % STEPS + STEPS + 1) << (b / STEPS);
}

static void tell(struct worker *w, enum kind kind, uint64_t start)
{
	uint64_t ns = now_ns() - start;

	w->tally.count[kind][bucket_of(ns)]++;
	if (ns > w->tally.longest[kind])
		w->tally.longest[kind] = ns;
}

#define TIMED(w, kind, what, call)          \
	({                                  \
		uint64_t start_ = now_ns(); \
		long r_ = (long)(call);     \
                                            \
		if (r_ < 0)                 \
			die(what);          \
		tell(w, kind, start_);      \
		r_;                         \
	})

/* ---- small files ---- */

static void file_name(char *ret, size_t size, const struct worker *w,
		      unsigned int file, char suffix)
{
	snprintf(ret, size, "%s/%u/%02u/f%u%c", dir, w->no, file % 20, file,
		 suffix);
}

static void make_file(struct worker *w, const char *path)
{
	size_t len = (size_t)rand_r(&w->seed) % sizeof(w->buf) + 1;
	int fd = (int)TIMED(w, CREATE, "create",
			    open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644));

	(void)TIMED(w, WRITE, "write", write(fd, w->buf, len));
	if (close(fd))
		die("close");
}

static void read_file(struct worker *w, const char *path)
{
	int fd = open(path, O_RDONLY);

	if (fd < 0)
		die("open");
	(void)TIMED(w, READ, "read", read(fd, w->buf, sizeof(w->buf)));
	close(fd);
}

static void small_files(struct worker *w)
{
	static __thread char there[FILES]; /* 0, or the suffix of its name */
	char path[512], other[512];

	while (!atomic_load(&stop)) {
		unsigned int f = (unsigned int)rand_r(&w->seed) % FILES;
		struct stat st;

		if (!there[f]) {
			there[f] = 'a';
			file_name(path, sizeof(path), w, f, 'a');
			make_file(w, path);
			continue;
		}
		file_name(path, sizeof(path), w, f, there[f]);
		switch (rand_r(&w->seed) % 4) {
		case 0:
			there[f] = there[f] == 'a' ? 'b' : 'a';
			file_name(other, sizeof(other), w, f, there[f]);
			(void)TIMED(w, RENAME, "rename", rename(path, other));
			break;
		case 1:
			there[f] = 0;
			(void)TIMED(w, UNLINK, "unlink", unlink(path));
			break;
		case 2:
			(void)TIMED(w, STAT, "stat", stat(path, &st));
			break;
		default:
			read_file(w, path);
		}
	}
}

/* ---- large files ---- */

static int big_file(struct worker *w)
{
	char path[512];
	int fd;

	snprintf(path, sizeof(path), "%s/big%u", dir, w->no);
	fd = open(path, O_RDWR | O_CREAT, 0644);
	if (fd < 0)
		die(path);
	for (unsigned int at = 0; at < BIG; at += sizeof(w->buf))
		if (write(fd, w->buf, sizeof(w->buf)) != sizeof(w->buf))
			die(path);
	if (fsync(fd))
		die(path);
	return fd;
}

static off_t somewhere(struct worker *w, size_t len)
{
	return (off_t)((size_t)rand_r(&w->seed) % (BIG / len) * len);
}

static void database(struct worker *w, int fd)
{
	for (unsigned int n = 1; !atomic_load(&stop); n++) {
		(void)TIMED(w, WRITE, "write",
			    pwrite(fd, w->buf, 4096, somewhere(w, 4096)));
		if (n % 16 == 0)
			(void)TIMED(w, FSYNC, "fsync", fsync(fd));
	}
}

static void reader(struct worker *w, int fd)
{
	while (!atomic_load(&stop))
		(void)TIMED(w, READ, "read",
			    pread(fd, w->buf, sizeof(w->buf),
				  somewhere(w, sizeof(w->buf))));
}

/* ---- all ---- */

static void prepare(struct worker *w)
{
	char path[512];

	for (size_t i = 0; i < sizeof(w->buf); i++)
		w->buf[i] = (char)rand_r(&w->seed);
	if (w->no >= 2)
		return;
	snprintf(path, sizeof(path), "%s/%u", dir, w->no);
	if (mkdir(path, 0755))
		die(path);
	for (unsigned int i = 0; i < 20; i++) {
		snprintf(path, sizeof(path), "%s/%u/%02u", dir, w->no, i);
		if (mkdir(path, 0755))
			die(path);
	}
}

static void *work(void *arg)
{
	struct worker *w = arg;
	int fd;

	if (w->no < 2) {
		small_files(w);
		return NULL;
	}
	fd = big_file(w);
	if (w->no == 2)
		database(w, fd);
	else
		reader(w, fd);
	close(fd);
	return NULL;
}

static double percentile(const uint64_t *count, uint64_t all, double part)
{
	uint64_t want = (uint64_t)((double)all * part), seen = 0;

	for (unsigned int b = 0; b < BUCKETS; b++) {
		seen += count[b];
		if (seen > want)
			return (double)bucket_end(b) / 1000;
	}
	return 0;
}

static void report(const struct worker *w)
{
	for (unsigned int k = 0; k < KINDS; k++) {
		static uint64_t sum[BUCKETS];
		uint64_t all = 0, longest = 0;

		memset(sum, 0, sizeof(sum));
		for (unsigned int i = 0; i < THREADS; i++) {
			for (unsigned int b = 0; b < BUCKETS; b++) {
				sum[b] += w[i].tally.count[k][b];
				all += w[i].tally.count[k][b];
			}
			if (w[i].tally.longest[k] > longest)
				longest = w[i].tally.longest[k];
		}
		printf("%s\"%s\": {\"count\": %llu, \"p50\": %.1f, "
		       "\"p99\": %.1f, \"p99.9\": %.1f, \"max\": %.1f}",
		       k ? ",\n " : "{", kind_names[k], (unsigned long long)all,
		       percentile(sum, all, 0.5), percentile(sum, all, 0.99),
		       percentile(sum, all, 0.999), (double)longest / 1000);
	}
	puts("}");
}

int main(int argc, char **argv)
{
	static struct worker workers[THREADS];
	struct timespec end;

	if (argc != 3) {
		fputs("usage: mix DIR SECONDS\n", stderr);
		return 2;
	}
	dir = argv[1];
	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += atoi(argv[2]);
	for (unsigned int i = 0; i < THREADS; i++) {
		workers[i].no = workers[i].seed = i;
		prepare(&workers[i]);
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]))
			die("thread");
	}
	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, NULL);
	atomic_store(&stop, true);
	for (unsigned int i = 0; i < THREADS; i++)
		pthread_join(workers[i].thread, NULL);
	report(workers);
	return 0;
}
