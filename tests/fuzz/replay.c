/* SPDX-License-Identifier: Apache-2.0 */
/*
 * usage: fuzz_<name>_replay CORPUS_DIR MUTATIONS [SEED]
 *
 * Runs every file of the corpus, then as many mutations of them. The seed is
 * printed; with SEQMIRROR_FUZZ_KEEP set each mutation is written to
 * fuzz-last-input before it is run.
 */
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "tests/fuzz/fuzz.h"

#define INPUT_MAX  (256u << 10)
#define CORPUS_MAX 1024u

struct input {
	uint8_t *data;
	size_t size;
};

static uint64_t rng_state;

/* splitmix64 */
static uint64_t below(uint64_t limit)
{
	uint64_t z = rng_state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return (z ^ (z >> 31)) % limit;
}

static struct input load(int dirfd, const char *name)
{
	_cleanup_close_ int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC);
	struct input in = {.data = malloc(INPUT_MAX)};
	ssize_t n;

	FUZZ_CHECK(fd >= 0 && in.data);
	while ((n = read(fd, in.data + in.size, INPUT_MAX - in.size)) > 0)
		in.size += (size_t)n;
	FUZZ_CHECK(n == 0);
	return in;
}

static size_t load_all(const char *path, struct input *ret)
{
	DIR *dir = opendir(path);
	struct dirent *d;
	size_t count = 0;

	FUZZ_CHECK(dir);
	while ((d = readdir(dir)))
		if (d->d_name[0] != '.' && count < CORPUS_MAX)
			ret[count++] = load(dirfd(dir), d->d_name);
	(void)closedir(dir);
	return count;
}

/* A few small changes: bits, bytes, runs taken out, doubled, put elsewhere. */
static void mutate(struct input *in)
{
	static const uint8_t likely[] = {0,   1,   0x7f, 0x80, 0xff,
					 '0', '9', ',',	 '=',  '"',
					 '{', '[', '\\', '\n', ' '};

	for (uint64_t todo = 1 + below(8); todo && in->size; todo--) {
		size_t at = below(in->size);
		size_t len = 1 + below(MIN(in->size - at, (size_t)64));

		switch (below(6)) {
		case 0:
			in->data[at] ^= (uint8_t)(1u << below(8));
			break;
		case 1:
			in->data[at] = likely[below(sizeof(likely))];
			break;
		case 2:
			in->size = at;
			break;
		case 3:
			memmove(in->data + at, in->data + at + len,
				in->size - at - len);
			in->size -= len;
			break;
		case 4:
			if (in->size + len > INPUT_MAX)
				break;
			memmove(in->data + at + len, in->data + at,
				in->size - at);
			in->size += len;
			break;
		default:
			memmove(in->data + below(in->size - len + 1),
				in->data + at, len);
			break;
		}
	}
}

/* So that what killed the run is there to be looked at. */
static void keep(const struct input *in)
{
	_cleanup_close_ int fd = open("fuzz-last-input",
				      O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
				      0644);

	FUZZ_CHECK(fd >= 0 &&
		   write(fd, in->data, in->size) == (ssize_t)in->size);
}

int main(int argc, char **argv)
{
	static struct input corpus[CORPUS_MAX];
	struct input in = {.data = malloc(INPUT_MAX)};
	unsigned long mutations;
	size_t count;

	if (argc < 3 || !in.data)
		return 2;
	count = load_all(argv[1], corpus);
	FUZZ_CHECK(count);
	mutations = strtoul(argv[2], NULL, 10);
	rng_state = argc > 3 ? strtoull(argv[3], NULL, 0) : clock_real_ns();
	(void)printf("seed %" PRIu64 ", %zu inputs, %lu mutations\n", rng_state,
		     count, mutations);
	(void)fflush(stdout);
	for (size_t i = 0; i < count; i++)
		(void)LLVMFuzzerTestOneInput(corpus[i].data, corpus[i].size);
	for (unsigned long k = 0; k < mutations; k++) {
		const struct input *from = &corpus[below(count)];

		memcpy(in.data, from->data, from->size);
		in.size = from->size;
		mutate(&in);
		if (getenv("SEQMIRROR_FUZZ_KEEP"))
			keep(&in);
		(void)LLVMFuzzerTestOneInput(in.data, in.size);
	}
	for (size_t i = 0; i < count; i++)
		free(corpus[i].data);
	free(in.data);
	return 0;
}
