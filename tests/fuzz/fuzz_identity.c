/* SPDX-License-Identifier: Apache-2.0 */
/* The file .seqmirror/store, by which everything on a store is believed. */
#include <fcntl.h>
#include <unistd.h>

#include "fs/store/internal.h"
#include "tests/fuzz/fuzz.h"

static char path[] = "/tmp/fuzz-identity-XXXXXX";
static int dir_fd = -1;

static void directory_remove(void)
{
	(void)unlinkat(dir_fd, STORE_FILE, 0);
	(void)rmdir(path);
}

static int directory(void)
{
	if (dir_fd < 0) {
		FUZZ_CHECK(mkdtemp(path));
		dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		FUZZ_CHECK(dir_fd >= 0 && !atexit(directory_remove));
	}
	return dir_fd;
}

static void put(int dirfd, const uint8_t *data, size_t size)
{
	_cleanup_close_ int fd =
		openat(dirfd, STORE_FILE,
		       O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	FUZZ_CHECK(fd >= 0 && write(fd, data, size) == (ssize_t)size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct store_identity id, again;
	int dirfd = directory();
	int err;

	put(dirfd, data, size);
	err = identity_read(dirfd, &id);
	FUZZ_CHECK(!err || err == -EUCLEAN || err == -EPROTO);
	if (err)
		return 0;
	/* What is believed can be written and says the same. */
	FUZZ_CHECK(identity_valid(&id));
	FUZZ_CHECK(!identity_write(dirfd, &id));
	FUZZ_CHECK(!identity_read(dirfd, &again));
	FUZZ_CHECK(!strcmp(id.volume_uuid, again.volume_uuid) &&
		   !strcmp(id.store_uuid, again.store_uuid) &&
		   !strcmp(id.name, again.name));
	return 0;
}
