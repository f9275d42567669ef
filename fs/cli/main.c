/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "fs/cli/cli.h"

/*
 * Whoever started this may have closed the standard descriptors. A store, its map
 * or /dev/fuse would get their numbers then: what is printed would go there, and
 * what goes to the background would lose it. What they get fails as it did.
 */
static bool hold_standard_fds(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 &&
		    open("/dev/null",
			 fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
			return false;
	return true;
}

/* As /sbin/mount.TYPE, called by mount(8), and as a program. */
int main(int argc, char **argv)
{
	const char *name = argc > 0 ? strrchr(argv[0], '/') : NULL;

	if (!hold_standard_fds())
		return CLI_USAGE; /* of a mount, MOUNT_SYSTEM; nobody listens */
	if (argc > 0)
		name = name ? name + 1 : argv[0];
	if (name && (strcmp(name, "mount.seqmirror") == 0 ||
		     strcmp(name, "mount.fuse.seqmirror") == 0))
		return mount_helper_main(argc, argv);
	return cli_main(argc, argv);
}
