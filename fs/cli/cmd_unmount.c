/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unmount - and wait until the daemon is gone and the stores are free.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"
#include "fs/cli/cli.h"
#include "fs/cli/control.h"
#include "fs/cli/json_util.h"
#include "fs/cli/mountinfo.h"
#include "fs/cli/ui.h"
#include "fs/mirror/mirror.h"

/* The last checkpoint writes what is dirty, at most some hundred MiB. Longer than
 * a store that does not answer is waited for, and than that takes to be seen. */
#define WAIT_SECONDS ((MIRROR_CLOSE_MS + 2 * MIRROR_LATE_MS) / 1000)
#define POLL_MS	     100
/* After that long it is said what is waited for. */
#define PATIENCE_POLLS 20
/* It takes a moment to end all threads of a process. */
#define STUCK_POLLS 20
#define STATUS_MS   5000
#define HELD_MAX    256

static int open_pidfd(pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	return fd < 0 ? -errno : fd;
}

/* What <linux/pidfd.h> has from Linux 6.15 on. */
struct pidfd_exit {
	uint64_t mask;
	uint64_t cgroup;
	uint32_t ids[11];
	int32_t exit_code;
};
#define EXIT_MASK UINT64_C(8)
#define EXIT_INFO _IOWR(0xff, 11, struct pidfd_exit)

/* Of one that its parent has not waited for: the last number of the line. */
static int remnant_status(pid_t pid)
{
	_cleanup_fclose_ FILE *f = NULL;
	char line[1024] = "";
	char path[64];
	const char *last;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	if (!f || !fgets(line, sizeof(line), f))
		return -1;
	last = strrchr(line, ' ');
	return last ? atoi(last) : -1;
}

/* As wait(2) has it; 0 if an older kernel does not tell. */
static int exit_status(int pidfd, pid_t pid)
{
	int status = -1;

	/* Its parent may come in between. */
	for (unsigned int i = 0; i < 2 && status < 0; i++) {
		struct pidfd_exit info = {.mask = EXIT_MASK};

		if (ioctl(pidfd, EXIT_INFO, &info) == 0 &&
		    (info.mask & EXIT_MASK))
			return info.exit_code;
		status = remnant_status(pid);
	}
	return MAX(status, 0);
}

/* Somebody else has unmounted it since it was looked up. */
static bool is_gone(const struct mount_entry *entry)
{
	struct mount_entry now;
	int err = mountinfo_find(entry->point, &now);

	return err ? err == -ENOENT
		   : now.major != entry->major || now.minor != entry->minor;
}

/* As an ordinary user only the set-uid helper may; it says why not. */
static int run_fusermount(const char *point, int said_fd)
{
	int status;
	pid_t pid = fork();

	if (pid < 0)
		return -errno;
	if (pid == 0) {
		if (dup2(said_fd, STDERR_FILENO) < 0)
			_exit(127);
		(void)execlp("fusermount3", "fusermount3", "-u", "--", point,
			     (char *)NULL);
		ui_error("fusermount3", "%s", strerror(errno));
		_exit(127);
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EPERM;
}

/* What the helper said of a mount that is gone meanwhile is nothing to tell. */
static int detach_by_helper(const struct mount_entry *entry, bool *ret_gone)
{
	_cleanup_close_ int said_fd = memfd_create("said", MFD_CLOEXEC);
	char said[1024];
	ssize_t len = -1;
	int err = said_fd < 0 ? -errno : run_fusermount(entry->point, said_fd);

	*ret_gone = err && is_gone(entry);
	if (!err || *ret_gone)
		return 0;
	if (err == -EPERM)
		len = pread(said_fd, said, sizeof(said), 0);
	if (len > 0)
		(void)fwrite(said, 1, (size_t)len, stderr);
	else
		ui_error(entry->point, "%s", ui_why(err));
	return err;
}

/* @ret_gone: somebody else was faster. */
static int detach_mount(const struct mount_entry *entry, bool *ret_gone)
{
	const char *point = entry->point;
	char word[4 * PATH_MAX];
	int err;

	if (geteuid() != 0)
		return detach_by_helper(entry, ret_gone);
	*ret_gone = false;
	if (umount2(point, UMOUNT_NOFOLLOW) == 0)
		return 0;
	err = -errno;
	*ret_gone = is_gone(entry);
	if (*ret_gone)
		return 0;
	if (err == -EBUSY)
		ui_error(point, "in use (`fuser -vm %s` says by whom)",
			 shell_word(word, sizeof(word), point, "MOUNTPOINT"));
	else
		ui_error(point, "%s", ui_why(err));
	return err;
}

/* Without a look at the process: the socket goes before the stores do. */
static int wait_socket(const struct mount_entry *entry, uint64_t until_ns)
{
	char dir[CONTROL_PATH_MAX];
	char path[CONTROL_PATH_MAX + 32];

	for (unsigned int i = 0; control_dir(entry->owner, i, dir) == 1; i++) {
		(void)snprintf(path, sizeof(path), "%s/%u-%u", dir,
			       entry->major, entry->minor);
		while (access(path, F_OK) == 0) {
			if (clock_mono_ns() > until_ns)
				return -ETIMEDOUT;
			clock_sleep_ms(POLL_MS);
		}
	}
	return 0;
}

/* What a daemon that died has left behind. */
static void forget_socket(const struct mount_entry *entry)
{
	char dir[CONTROL_PATH_MAX];
	char path[CONTROL_PATH_MAX + 32];

	for (unsigned int i = 0; control_dir(entry->owner, i, dir) == 1; i++) {
		(void)snprintf(path, sizeof(path), "%s/%u-%u", dir,
			       entry->major, entry->minor);
		if (control_dir_check(dir, entry->owner) == 0)
			(void)unlink(path);
	}
}

/* Its main thread has ended, others are stuck in the kernel. */
static bool is_remnant(pid_t pid)
{
	_cleanup_fclose_ FILE *f = NULL;
	char path[64], state = 0;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	/* The name in between has 15 bytes at most, blanks among them. */
	return f && fscanf(f, "%*d (%*15[^)]) %c", &state) == 1 && state == 'Z';
}

/* The daemon goes on as long as anybody has it mounted. */
static void say_elsewhere(const struct mount_entry *entry)
{
	struct mount_holder h;

	if (!mountinfo_elsewhere(entry, &h))
		ui_warn("%s: waiting for process %d (%s): it has the volume "
			"mounted in a mount namespace of its own",
			entry->point, (int)h.pid, h.name);
}

/* @ret_stuck: it is gone but for threads that a store holds. */
static int wait_daemon(const struct mount_entry *entry, int pidfd, pid_t pid,
		       bool *ret_stuck)
{
	uint64_t until_ns = clock_mono_ns() + WAIT_SECONDS * CLOCK_NS_PER_SEC;
	struct pollfd p = {.fd = pidfd, .events = POLLIN};
	struct ui_progress progress;
	struct ui_progress_state state = {
		.what = "waiting for the last checkpoint",
		.eta_seconds = -1.0,
	};
	unsigned int seen = 0, polls = 0;
	int n;

	if (pidfd < 0)
		return wait_socket(entry, until_ns);
	ui_progress_begin(&progress);
	do {
		n = poll(&p, 1, POLL_MS);
		if (n == 0 && ++polls == PATIENCE_POLLS) {
			ui_progress_end(&progress);
			say_elsewhere(entry);
			ui_progress_begin(&progress);
		}
		ui_progress_draw(&progress, &state);
		seen = n == 0 && is_remnant(pid) ? seen + 1 : 0;
		*ret_stuck = seen > STUCK_POLLS;
	} while ((n == 0 || (n < 0 && errno == EINTR)) && !*ret_stuck &&
		 clock_mono_ns() < until_ns);
	ui_progress_end(&progress);
	return n > 0 ? 0 : -ETIMEDOUT;
}

/* Those that do not answer now: "store b was", "stores b c were". */
struct held {
	char names[HELD_MAX - 16];
	unsigned int count;
};

static int add_held(void *arg, const json_t *item)
{
	struct held *h = arg;
	size_t len = strlen(h->names);

	if (!json_flag(item, "hangs") && !json_number(item, "waits_seconds"))
		return 0;
	(void)snprintf(h->names + len, sizeof(h->names) - len, " %s",
		       json_text(item, "name"));
	h->count++;
	return 0;
}

static void find_held(struct client *client, char text[HELD_MAX])
{
	_cleanup_json_ json_t *reply = NULL;
	struct held h = {0};

	/* Only for what is said in the end, which tells of a daemon that dies. */
	client_hush(client);
	if (client_call(client, json_pack("{s:s}", "op", "status"), STATUS_MS,
			add_held, &h, &reply) ||
	    !h.count)
		return;
	(void)snprintf(text, HELD_MAX, "store%s%s %s", h.count > 1 ? "s" : "",
		       h.names, h.count > 1 ? "were" : "was");
}

/* Whether what was written last is safe is for the user to know. */
static int tell_end(const char *word, int pidfd, pid_t pid)
{
	int status = pidfd < 0 ? 0 : exit_status(pidfd, pid);

	if (!status)
		return 0;
	ui_error(word,
		 WIFSIGNALED(status)
			 ? "unmounted, but its daemon died before the last "
			   "checkpoint was complete: the next mount repairs "
			   "the volume"
			 : "unmounted, but not in good order, as the log of "
			   "its daemon says: the next mount repairs the "
			   "volume");
	return -EIO;
}

static int unmount(const char *word, const struct mount_entry *entry)
{
	_cleanup_client_ struct client *client = NULL;
	_cleanup_close_ int pidfd = -1;
	char held[HELD_MAX] = "";
	bool stuck = false, gone = false;
	pid_t pid = 0;
	int err = client_try_mount(word, &client);

	/* Of a daemon that is gone, the mount remains and nothing to wait
	 * for; a pid of 0 is one in another namespace. */
	if (!err)
		pid = client_pid(client);
	if (pid > 0)
		pidfd = open_pidfd(pid);
	if (!err)
		find_held(client, held);
	client_close(client);
	client = NULL;
	if (detach_mount(entry, &gone))
		return -EIO;
	if (err && gone) {
		ui_error(word, "another unmount was faster, and is the one "
			       "that says when the stores are released");
		return err;
	}
	if (err) {
		if (err == -ENOENT || err == -ECONNREFUSED)
			forget_socket(entry);
		return 0;
	}
	err = wait_daemon(entry, pidfd, pid, &stuck);
	if (stuck) {
		ui_error(word,
			 "unmounted, but %s not released: calls on it do not "
			 "end; leave it plugged in",
			 *held ? held : "a store was");
		return -EBUSY;
	}
	if (err)
		ui_error(word,
			 "unmounted, but its daemon still holds the "
			 "stores after %u s: leave them plugged in",
			 (unsigned int)WAIT_SECONDS);
	return err ? err : tell_end(word, pidfd, pid);
}

static int run(const struct cli_command *self, int argc, char **argv)
{
	static const struct option options[] = {CLI_COMMON_OPTIONS, {0}};
	struct mount_entry entry;
	bool json = false;
	int opt;
	int err;

	while ((opt = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (opt) {
		case CLI_OPT_HELP:
			return cli_help(self);
		case CLI_OPT_JSON:
			json = true;
			break;
		default:
			return cli_wrong(self, argv, NULL);
		}
	}
	if (argc - optind != 1)
		return cli_wrong(self, argv, "one MOUNTPOINT, please");
	err = mountinfo_find(argv[optind], &entry);
	if (err) {
		ui_error(argv[optind], "no seqmirror volume is mounted there");
		return CLI_FAILED;
	}
	if (unmount(argv[optind], &entry))
		return CLI_FAILED;
	if (json)
		return printf("{}\n") < 0 ? CLI_FAILED : CLI_DONE;
	return CLI_DONE;
}

const struct cli_command cmd_unmount = {
	.name = "unmount",
	.synopsis = "[--json] MOUNTPOINT",
	.summary = "unmount and wait until the stores are released",
	.help = "      --json  {} when it is done\n"
		"  -h, --help  this text\n"
		"\n"
		"umount(8) and fusermount3(1) unmount too; they return while "
		"the last checkpoint\n"
		"is still being written.\n",
	.run = run,
};
