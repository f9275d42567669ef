/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Options that are flags of mount(2).
 *
 * Ref: mount(2) "mountflags", mount(8) "FILESYSTEM-INDEPENDENT MOUNT OPTIONS"
 */
#include <string.h>
#include <sys/mount.h>

#include "base/text.h"
#include "fs/mount/options.h"

#define ATIMES (MS_NOATIME | MS_RELATIME | MS_STRICTATIME)

static const struct {
	const char *name;
	unsigned long set, clear;
} flags_table[] = {
	{"ro", MS_RDONLY, 0},
	{"rw", 0, MS_RDONLY},
	{"nosuid", MS_NOSUID, 0},
	{"suid", 0, MS_NOSUID},
	{"nodev", MS_NODEV, 0},
	{"dev", 0, MS_NODEV},
	{"noexec", MS_NOEXEC, 0},
	{"exec", 0, MS_NOEXEC},
	{"nosymfollow", MS_NOSYMFOLLOW, 0},
	{"symfollow", 0, MS_NOSYMFOLLOW},
	{"sync", MS_SYNCHRONOUS, 0},
	{"async", 0, MS_SYNCHRONOUS},
	{"dirsync", MS_DIRSYNC, 0},
	{"noatime", MS_NOATIME, ATIMES},
	/* A remount that names none of them keeps what is. */
	{"atime", MS_RELATIME, ATIMES},
	{"relatime", MS_RELATIME, ATIMES},
	{"norelatime", 0, MS_RELATIME},
	{"strictatime", MS_STRICTATIME, ATIMES},
	{"nostrictatime", 0, MS_STRICTATIME},
	{"nodiratime", MS_NODIRATIME, 0},
	{"diratime", 0, MS_NODIRATIME},
	{"lazytime", MS_LAZYTIME, 0},
	{"nolazytime", 0, MS_LAZYTIME},
};

void mount_flag_apply(const char *name, unsigned long *flags)
{
	for (size_t i = 0; i < ARRAY_SIZE(flags_table); i++)
		if (strcmp(flags_table[i].name, name) == 0)
			*flags = (*flags & ~flags_table[i].clear) |
				 flags_table[i].set;
}
