/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mount -o remount: the kernel changes its flags of what is mounted, the daemon
 * goes on as it is.  Made read-only, the kernel writes out first what it has, and
 * refuses while a file is open for writing; what it writes even later the daemon
 * takes, since it knows nothing of these flags.
 *
 * Ref: mount(2) MS_REMOUNT, mount(8) "remount"
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "fs/cli/cli.h"
#include "fs/cli/control.h"
#include "fs/cli/json_util.h"
#include "fs/cli/mount_run.h"
#include "fs/cli/mountinfo.h"
#include "fs/cli/ui.h"

#define ANSWER_MS 5000
#define TEXT_MAX  4096

/* The mount itself, if nothing lies over it. */
static int open_point(const struct mount_entry *entry, int *ret_fd)
{
	_cleanup_close_ int fd =
		open(entry->point, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct statx st;

	if (fd < 0)
		return -errno;
	/* Who asks for nothing waits for no daemon. */
	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, 0, &st) < 0)
		return -errno;
	if (st.stx_dev_major != entry->major ||
	    st.stx_dev_minor != entry->minor)
		return -ENOENT;
	*ret_fd = steal_fd(&fd);
	return 0;
}

/* Return: 0 with the text, or none if there is no daemon to be asked. */
static int ask_options(const char *point, char text[static TEXT_MAX],
		       bool *ret_known)
{
	_cleanup_client_ struct client *client = NULL;
	_cleanup_json_ json_t *reply = NULL;
	int err;

	*ret_known = client_try_mount(point, &client) == 0;
	if (!*ret_known)
		return 0;
	err = client_call(client, json_pack("{s:s}", "op", "options"),
			  ANSWER_MS, NULL, NULL, &reply);
	if (err)
		return err;
	err = json_get_bytes(reply, "options", text, TEXT_MAX);
	if (err)
		ui_error(point, "%s", ui_why(err));
	return err;
}

static int check_options(const struct mount_request *r,
			 const struct mount_entry *entry)
{
	const char *name;
	char text[TEXT_MAX];
	bool known;
	int err = ask_options(entry->point, text, &known);

	if (err)
		return err;
	err = mount_options_differ(&r->options, known ? text : NULL,
				   entry->source, &name);
	if (err) {
		ui_error(entry->point, "%s", ui_why(err));
		return err;
	}
	if (!name)
		return 0;
	ui_error(entry->point,
		 known ? "%s cannot be changed in place: unmount and mount "
			 "again"
		       : "its daemon cannot be asked for %s: unmount and mount "
			 "again",
		 name);
	return -EINVAL;
}

static int set_flags(const struct mount_entry *entry, int fd,
		     unsigned long flags)
{
	char path[64];
	int err;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (mount(NULL, path, NULL, MS_REMOUNT | flags, NULL) == 0)
		return 0;
	err = -errno;
	if (err == -EBUSY)
		ui_error(entry->point, "files on it are open for writing "
				       "(`fuser -vm` says by whom)");
	else
		ui_error(entry->point, "cannot be remounted: %s", ui_why(err));
	return err;
}

int mount_remount(const struct mount_request *r)
{
	_cleanup_close_ int fd = -1;
	struct mount_entry entry;
	int err = mountinfo_find(r->mountpoint, &entry);

	if (!err)
		err = open_point(&entry, &fd);
	if (err) {
		ui_error(r->mountpoint, "%s",
			 err == -ENOENT ? "no seqmirror volume is mounted there"
					: ui_why(err));
		return MOUNT_FAILED;
	}
	if (check_options(r, &entry))
		return MOUNT_FAILED;
	if (r->fake)
		return MOUNT_DONE;
	return set_flags(&entry, fd, r->options.flags) ? MOUNT_FAILED
						       : MOUNT_DONE;
}
