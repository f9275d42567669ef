/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mount, in its two forms: as a subcommand, and as mount(8) calls helpers.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "fs/cli/cli.h"
#include "fs/cli/mount_run.h"
#include "fs/cli/mountinfo.h"
#include "fs/cli/ui.h"

static int add_options(struct mount_request *r, const char *text)
{
	char why[MOUNT_WHY_MAX];
	int err = mount_options_parse(&r->options, text, why);

	if (err) {
		ui_error("mount", "%s", err == -ENOMEM ? ui_why(err) : why);
		return err;
	}
	r->options.mirror.timeout_ms = (uint64_t)r->options.timeout_s * 1000;
	return 0;
}

/*
 * The words that are no options: stores, and the mount point last. Of a remount
 * the stores do not matter: it is whatever is mounted there.
 */
static int add_words(struct mount_request *r, int count, char **words)
{
	int err = 0;

	for (int i = 0; !err && i < count - 1 && !r->options.remount; i++)
		err = mount_request_add(r, words[i]);
	if (err)
		return err;
	if (r->stores.count > META_STORE_MAX) {
		ui_error("mount", "%d stores at most", META_STORE_MAX);
		return -EINVAL;
	}
	err = path_absolute(words[count - 1], r->mountpoint);
	if (err)
		ui_error(words[count - 1], "%s", ui_why(err));
	return err;
}

/* "/a:/b": what mount(8) shows as the source. */
static int name_source(struct mount_request *r)
{
	size_t size = 1;
	char *name;

	vec_for_each (path, &r->stores)
		size += strlen(*path) + 1;
	name = calloc(1, size);
	if (!name)
		return -ENOMEM;
	vec_for_each (path, &r->stores) {
		size_t len = strlen(name);

		(void)snprintf(name + len, size - len, "%s%s", len ? ":" : "",
			       *path);
	}
	r->fsname = name;
	return 0;
}

static int run(const struct cli_command *self, int argc, char **argv)
{
	static const struct option options[] = {
		{"help", no_argument, NULL, CLI_OPT_HELP},
		{"foreground", no_argument, NULL, 'f'},
		{"options", required_argument, NULL, 'o'},
		{0},
	};
	struct mount_request request = {0};
	int status = -1;
	int opt;

	mount_options_init(&request.options);
	while (status < 0 &&
	       (opt = getopt_long(argc, argv, "hfo:", options, NULL)) != -1) {
		if (opt == CLI_OPT_HELP) {
			status = cli_help(self);
		} else if (opt == 'f') {
			request.foreground = true;
		} else if (opt != 'o') {
			(void)cli_wrong(self, argv, NULL);
			status = MOUNT_USAGE;
		} else if (add_options(&request, optarg)) {
			status = MOUNT_USAGE;
		}
	}
	if (status < 0 && argc - optind < (request.options.remount ? 1 : 2)) {
		(void)cli_wrong(self, argv, "STORE and MOUNTPOINT, please");
		status = MOUNT_USAGE;
	}
	if (status < 0 && (add_words(&request, argc - optind, argv + optind) ||
			   name_source(&request)))
		status = MOUNT_USAGE;
	if (status < 0)
		status = mount_run(&request);
	mount_request_done(&request);
	return status;
}

static int helper_option(struct mount_request *r, int opt)
{
	switch (opt) {
	case 'o':
		return add_options(r, optarg);
	case 'f':
		r->fake = true;
		return 0;
	case 's': /* sloppy: as strict as ever, a typing mistake in fstab
		   * must not go unseen */
	case 'n': /* there is no mtab */
	case 'v':
	case 't': /* "fuse.seqmirror" */
		return 0;
	default:
		ui_error("mount", "usage: seqmirror STORE[:STORE...] "
				  "MOUNTPOINT [-o OPTIONS]");
		return -EINVAL;
	}
}

int mount_helper_main(int argc, char **argv)
{
	struct mount_request request = {0};
	int status = -1;
	int opt;

	log_open(LOG_SINK_STDERR, LOG_LEVEL_WARN);
	opterr = 0;
	optind = 1;
	mount_options_init(&request.options);
	while (status < 0 && (opt = getopt(argc, argv, "o:fsnvt:")) != -1)
		if (helper_option(&request, opt))
			status = MOUNT_USAGE;
	if (status < 0 && argc - optind != 2) {
		(void)helper_option(&request, '?');
		status = MOUNT_USAGE;
	}
	if (status < 0 && add_words(&request, 2, argv + optind))
		status = MOUNT_USAGE;
	if (status < 0) {
		request.fsname = strdup(argv[optind]);
		status = request.fsname ? mount_run(&request) : MOUNT_SYSTEM;
	}
	mount_request_done(&request);
	return status;
}

const struct cli_command cmd_mount = {
	.name = "mount",
	.synopsis = "[-f] [-o OPTIONS] STORE... MOUNTPOINT",
	.summary = "mount a volume; returns when it serves",
	.help = "  -o OPTIONS        comma separated, see below and mount(8)\n"
		"  -f, --foreground  stay here, log to stderr\n"
		"  -h, --help        this text\n"
		"\n"
		"Members that are not named are looked for where they were "
		"last.\n"
		"\n"
		"  min_stores=N        read-only with fewer stores online "
		"(default 1)\n"
		"  degraded            mount although a member that was online "
		"at a crash\n"
		"                      is missing\n"
		"  wait=SECONDS        for late disks\n"
		"  read=balance|prefer=NAME  which store reads are asked of\n"
		"  cache=writeback|writethrough\n"
		"  timeout=SECONDS     a store that does not answer for so "
		"long is put out\n"
		"  checkpoint=SECONDS  longest time between two (default 5)\n"
		"  budget=SIZE         what a crash makes the next mount "
		"compare at most\n"
		"  resync_rate=RATE    at most, per second, as in 20M\n"
		"  auto_attach, no_auto_attach  take members back when they "
		"reappear\n"
		"  io_uring=auto|on|off  how requests come from the kernel\n"
		"  low_latency=auto|on|off  idle processors poll while requests "
		"come fast\n"
		"  name=NAME           what people call this mount\n"
		"  remount             other flags (ro, nosuid, ...) for what "
		"is mounted\n"
		"\n"
		"Exit status as mount(8): 0, 1 wrong usage, 2 system error, 32 "
		"mount failure.\n",
	.run = run,
};
