/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/mount/uring_cpus.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/log.h"
#include "fs/mount/mount.h"
#include "fs/mount/ring.h"

#define POSSIBLE "/sys/devices/system/cpu/possible"

/* Return: 'Y' or 'N', or 0 if the kernel has no such switch. */
static char read_switch(void)
{
	_cleanup_close_ int fd = open(URING_SWITCH, O_RDONLY | O_CLOEXEC);
	char c;

	if (fd < 0 || read(fd, &c, 1) != 1)
		return 0;
	return c == 'Y' || c == '1' ? 'Y' : 'N';
}

static int try_ring(void)
{
	_cleanup_close_ int stop_fd = eventfd(0, EFD_CLOEXEC);
	struct ring ring;
	int err;

	if (stop_fd < 0)
		return -errno;
	err = ring_open(&ring, stop_fd);
	if (!err)
		ring_close(&ring);
	return err;
}

const char *mount_uring_missing(void)
{
	char on = read_switch();

	if (!on)
		return "the kernel has no FUSE over io_uring (Linux 6.14, "
		       "CONFIG_FUSE_IO_URING)";
	if (on != 'Y')
		return "switched off: echo Y > " URING_SWITCH;
	switch (try_ring()) {
	case 0:
		return NULL;
	case -EPERM:
	case -EACCES:
		return "io_uring is forbidden here (kernel.io_uring_disabled, "
		       "or a container)";
	default:
		return "io_uring does not work here";
	}
}

/* "0-3,8-11" */
static int count_list(FILE *f, unsigned int *ret_count)
{
	unsigned int first, last, count = 0;
	int c = ',';

	while (c == ',') {
		if (fscanf(f, "%u", &first) != 1)
			return -EINVAL;
		last = first;
		c = fgetc(f);
		if (c == '-') {
			if (fscanf(f, "%u", &last) != 1)
				return -EINVAL;
			c = fgetc(f);
		}
		if (last < first || last > UINT16_MAX)
			return -EINVAL;
		count += last - first + 1;
	}
	if (c != '\n' && c != EOF)
		return -EINVAL;
	*ret_count = count;
	return 0;
}

int uring_cpus_possible(unsigned int *ret_count)
{
	_cleanup_fclose_ FILE *f = fopen(POSSIBLE, "re");

	if (!f)
		return -errno;
	return count_list(f, ret_count);
}
