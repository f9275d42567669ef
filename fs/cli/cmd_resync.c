/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "fs/cli/cli.h"
#include "fs/cli/mountinfo.h"
#include "fs/cli/ui.h"
#include "fs/cli/waits.h"

enum {
	OPT_DRY_RUN = CLI_OPT_FIRST,
	OPT_BWLIMIT,
	OPT_PREFER,
	OPT_PAUSE,
	OPT_RESUME,
	OPT_CANCEL,
};

static const struct option options[] = {
	CLI_COMMON_OPTIONS,
	{"wait", no_argument, NULL, 'w'},
	{"dry-run", no_argument, NULL, OPT_DRY_RUN},
	{"bwlimit", required_argument, NULL, OPT_BWLIMIT},
	{"prefer", required_argument, NULL, OPT_PREFER},
	{"pause", no_argument, NULL, OPT_PAUSE},
	{"resume", no_argument, NULL, OPT_RESUME},
	{"cancel", no_argument, NULL, OPT_CANCEL},
	{0},
};

/* Return: -1 to go on, or the exit status. */
static int parse(const struct cli_command *self, int argc, char **argv,
		 struct resync_request *ret)
{
	int opt;

	while ((opt = getopt_long(argc, argv, "hw", options, NULL)) != -1) {
		switch (opt) {
		case CLI_OPT_HELP:
			return cli_help(self);
		case CLI_OPT_JSON:
			ret->json = true;
			break;
		case 'w':
			ret->wait = true;
			break;
		case OPT_DRY_RUN:
			ret->dry_run = true;
			break;
		case OPT_BWLIMIT:
			ret->bwlimit = optarg;
			break;
		case OPT_PREFER:
			ret->prefer = optarg;
			break;
		case OPT_PAUSE:
			ret->pause = true;
			break;
		case OPT_RESUME:
			ret->resume = true;
			break;
		case OPT_CANCEL:
			ret->cancel = true;
			break;
		default:
			return cli_wrong(self, argv, NULL);
		}
	}
	return -1;
}

static bool excluded(const struct resync_request *r)
{
	return r->dry_run + r->wait + r->cancel > 1 ||
	       r->pause + r->resume + r->cancel + r->dry_run > 1 ||
	       (r->wait && r->pause);
}

static int run(const struct cli_command *self, int argc, char **argv)
{
	struct resync_request request = {0};
	struct mount_entry entry;
	int status = parse(self, argc, argv, &request);
	int count;

	if (status >= 0)
		return status;
	count = argc - optind;
	argv += optind;
	if (count < 1)
		return cli_wrong(self, argv, "what? MOUNTPOINT or STORE STORE");
	if (excluded(&request))
		return cli_wrong(self, argv, "options that exclude each other");
	waits_for(argv[0]);
	if (mountinfo_find(argv[0], &entry) == 0) {
		if (count > 2)
			return cli_wrong(self, argv,
					 "one STORE of the volume at most");
		if (request.prefer)
			return cli_wrong(self, argv,
					 "--prefer is for unmounted stores");
		return resync_mounted(&request, argv[0],
				      count == 2 ? argv[1] : NULL);
	}
	if (count < 2) {
		ui_error(argv[0], "no seqmirror volume is mounted there (and "
				  "unmounted stores take two)");
		return CLI_FAILED;
	}
	if (request.pause || request.resume || request.cancel)
		return cli_wrong(self, argv,
				 "--pause, --resume and --cancel are for a "
				 "mounted volume");
	return resync_unmounted(&request, argv, count);
}

const struct cli_command cmd_resync = {
	.name = "resync",
	.synopsis = "[OPTIONS] MOUNTPOINT [STORE]\n"
		    "       seqmirror resync [OPTIONS] STORE STORE...",
	.summary = "bring stale stores in step",
	.help = "      --dry-run       show what would be done, do nothing\n"
		"  -w, --wait          return when all is in step (mounted; "
		"unmounted stores\n"
		"                      are always waited for)\n"
		"      --bwlimit RATE  at most RATE per second, as in 20M; 0: "
		"no limit\n"
		"      --pause         let all resyncs rest, also those that "
		"have not begun\n"
		"      --resume        let them go on\n"
		"      --cancel        give up what runs\n"
		"      --prefer STORE  of unmounted stores after a split "
		"brain: "
		"keep this one\n"
		"      --json          one JSON object\n"
		"  -h, --help          this text\n",
	.run = run,
};
