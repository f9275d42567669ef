/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "fs/cli/control.h"
#include "fs/cli/json_util.h"
#include "fs/cli/mountinfo.h"
#include "fs/cli/ui.h"
#include "fs/cli/waits.h"
#include "fs/cli/wire.h"

enum {
	START_MS = 2000, /* between a mount and its socket, at most */
	START_STEP_MS = 20,
};

struct client {
	struct wire wire;
	pid_t pid;
	bool by_note; /* and nothing has shown yet that it is the right one */
	bool quiet;   /* errors are for the caller alone */
	char mountpoint[PATH_MAX];
};

const char *client_mountpoint(const struct client *c)
{
	return c->mountpoint;
}

pid_t client_pid(const struct client *c)
{
	return c->pid;
}

void client_close(struct client *c)
{
	if (!c)
		return;
	wire_done(&c->wire);
	free(c);
}

/* A socket is believed when its other end is @owner, we, or root. */
static int connect_to(const char *path, uid_t owner, struct client **ret_client)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd = -1;
	_cleanup_client_ struct client *c = NULL;
	uid_t uid;
	int err;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 ||
	    connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->wire.fd = -1;
	err = control_peer(fd, &uid, &c->pid);
	if (err)
		return err;
	if (uid != 0 && uid != owner && uid != geteuid())
		return -EPERM;
	err = wire_init(&c->wire, steal_fd(&fd));
	if (err)
		return err;
	*ret_client = steal_pointer(&c);
	return 0;
}

static int try_entry(const struct mount_entry *entry,
		     struct client **ret_client)
{
	char dir[CONTROL_PATH_MAX];
	char path[CONTROL_PATH_MAX + 32];
	int err = -ENOENT;

	for (unsigned int i = 0; control_dir(entry->owner, i, dir) == 1; i++) {
		int one = control_dir_check(dir, entry->owner);

		if (!one) {
			(void)snprintf(path, sizeof(path), "%s/%u-%u", dir,
				       entry->major, entry->minor);
			one = connect_to(path, entry->owner, ret_client);
		}
		if (!one) {
			(void)snprintf((*ret_client)->mountpoint, PATH_MAX,
				       "%s", entry->point);
			return 0;
		}
		if (one != -ENOENT || err == -ENOENT)
			err = one;
	}
	return err;
}

/* A volume is mounted a moment before its socket is there. */
static int try_entry_starting(const struct mount_entry *entry,
			      struct client **ret_client)
{
	int err = try_entry(entry, ret_client);

	for (unsigned int waited = 0;
	     (err == -ENOENT || err == -ECONNREFUSED) && waited < START_MS;
	     waited += START_STEP_MS) {
		clock_sleep_ms(START_STEP_MS);
		err = try_entry(entry, ret_client);
	}
	return err;
}

static int open_entry(const struct mount_entry *entry, const char *what,
		      struct client **ret_client)
{
	int err = try_entry_starting(entry, ret_client);

	if (!err)
		return 0;
	if (entry->owner != geteuid() && geteuid() != 0)
		ui_error(what, "mounted by another user, who alone (or root) "
			       "may ask");
	else if (err == -ENOENT || err == -ECONNREFUSED)
		ui_error(what, "its daemon is gone (`seqmirror unmount` clears "
			       "the mount away)");
	else
		ui_error(what, "control socket: %s", ui_why(err));
	return err == -ENOENT ? -ECONNREFUSED : err;
}

int client_open_mount(const char *mountpoint, struct client **ret_client)
{
	struct mount_entry entry;
	int err = mountinfo_find(mountpoint, &entry);

	if (err == -ENOENT || err == -ENOTDIR)
		return -ENOENT;
	if (err) {
		ui_error(mountpoint, "%s", ui_why(err));
		return err;
	}
	return open_entry(&entry, mountpoint, ret_client);
}

int client_try_mount(const char *mountpoint, struct client **ret_client)
{
	struct mount_entry entry;
	int err = mountinfo_find(mountpoint, &entry);

	return err ? err : try_entry(&entry, ret_client);
}

int client_open_dev(unsigned int major, unsigned int minor, const char *what,
		    struct client **ret_client)
{
	struct mount_entry entry;
	int err = mountinfo_find_dev(major, minor, &entry);

	if (err) {
		ui_error(what, "not on a mounted seqmirror volume");
		return err;
	}
	return open_entry(&entry, what, ret_client);
}

int client_open_store(const char *path, struct client **ret_client)
{
	char note[CONTROL_PATH_MAX];
	struct mount_entry entry;
	unsigned int major;
	unsigned int minor;

	if (store_lock_note_read(path, note, sizeof(note)) < 0 || *note != '/')
		return -ENOENT;
	if (sscanf(strrchr(note, '/'), "/%u-%u", &major, &minor) != 2)
		return -ENOENT;
	/* The note of a daemon that died leads nowhere, or to another mount,
	 * which does not know this store: status says so. */
	if (mountinfo_find_dev(major, minor, &entry) < 0 ||
	    connect_to(note, entry.owner, ret_client) < 0)
		return -ENOENT;
	(void)snprintf((*ret_client)->mountpoint, PATH_MAX, "%s", entry.point);
	(*ret_client)->by_note = true;
	return 0;
}

void client_hush(struct client *c)
{
	c->quiet = true;
}

void client_proved(struct client *c)
{
	c->by_note = false;
}

static bool is_hang_up(int err)
{
	return err == -ENODATA || err == -ECONNRESET || err == -EPIPE;
}

/* One message of the answer. Return: 1 the last, 0 an item, -errno. */
static int receive(struct client *c, int wait_ms, client_item_fn fn, void *arg,
		   json_t **ret_reply, json_t **ret_refusal)
{
	_cleanup_json_ json_t *message = NULL;
	const json_t *item;
	int err = wire_receive(&c->wire, wait_ms, &message);

	if (err) {
		message = NULL;
		if (c->by_note && is_hang_up(err))
			return -ENOENT;
		if (!c->quiet)
			ui_error(c->mountpoint, "%s",
				 err == -ETIMEDOUT
					 ? "its daemon does not answer"
				 : is_hang_up(err) ? "its daemon hung up"
						   : ui_why(err));
		return err;
	}
	item = json_object_get(message, "item");
	if (item)
		return fn ? fn(arg, item) : 0;
	if (!json_flag(message, "ok")) {
		const char *text = json_text(message, "error");

		if (ret_refusal)
			*ret_refusal = steal_pointer(&message);
		else if (!c->quiet)
			ui_error_line(*text ? text
					    : "control socket: bad reply");
		return -EREMOTEIO;
	}
	*ret_reply = steal_pointer(&message);
	return 1;
}

static int call(struct client *c, json_t *request, int wait_ms,
		client_item_fn fn, void *arg, json_t **ret_reply,
		json_t **ret_refusal)
{
	int err = request ? wire_send(&c->wire, request) : -ENOMEM;

	waits_end(); /* the daemon knows what its stores do */
	json_decref(request);
	/* Who hangs up at once may have said why: it is there to be read. */
	if (err && !is_hang_up(err)) {
		if (!c->quiet)
			ui_error(c->mountpoint, "%s", ui_why(err));
		return err;
	}
	do
		err = receive(c, wait_ms, fn, arg, ret_reply, ret_refusal);
	while (!err);
	return err < 0 ? err : 0;
}

int client_call(struct client *c, json_t *request, int wait_ms,
		client_item_fn fn, void *arg, json_t **ret_reply)
{
	return call(c, request, wait_ms, fn, arg, ret_reply, NULL);
}

int client_ask(struct client *c, json_t *request, int wait_ms,
	       json_t **ret_reply, json_t **ret_refusal)
{
	return call(c, request, wait_ms, NULL, NULL, ret_reply, ret_refusal);
}

static int sync_once(const struct client *c)
{
	_cleanup_close_ int fd = -1;

	fd = open(c->mountpoint, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 || syncfs(fd) < 0 ? -errno : 0;
}

int client_sync(const struct client *c)
{
	int err = sync_once(c);

	/* No call of ours was interrupted: the kernel tells of a process that
	 * was killed while it told a file's times, once, and to whoever asks
	 * first. All pages have been written. */
	if (err == -EINTR)
		err = sync_once(c);
	if (err)
		ui_error(c->mountpoint, "cannot write its files out: %s%s",
			 ui_why(err),
			 err == -EACCES ? "; ask as the user who mounted it, "
					  "who has to be let into its root"
					: "");
	return err;
}
