/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "fs/cli/cli.h"

/* As /sbin/mount.TYPE, called by mount(8), and as a program. */
int main(int argc, char **argv)
{
	const char *name = argc > 0 ? strrchr(argv[0], '/') : NULL;

	if (argc > 0)
		name = name ? name + 1 : argv[0];
	if (name && (strcmp(name, "mount.seqmirror") == 0 ||
		     strcmp(name, "mount.fuse.seqmirror") == 0))
		return mount_helper_main(argc, argv);
	return cli_main(argc, argv);
}
