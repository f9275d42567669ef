/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli - the program: one table of subcommands, and what they have in common.
 *
 * A command gets its own words (argv[0] is the command's name) and returns
 * the exit status. It reports errors itself, with ui_error(): below that,
 * functions return -errno. What a mounted volume is asked goes through the
 * control socket (control.h); what an unmounted store is asked is read from
 * its map (offline.h).
 */
#pragma once

#include <getopt.h>
#include <stdbool.h>

enum cli_exit {
	CLI_DONE = 0,
	CLI_FAILED = 1,
	CLI_USAGE = 2,
};

/* What mount(8) expects of its helpers. */
enum mount_exit {
	MOUNT_DONE = 0,
	MOUNT_USAGE = 1,
	MOUNT_SYSTEM = 2,
	MOUNT_FAILED = 32,
};

struct cli_command {
	const char *name;
	const char *synopsis; /* without "seqmirror NAME" */
	const char *summary;  /* one line of `seqmirror --help` */
	const char *help;     /* options and words, after the synopsis */
	int (*run)(const struct cli_command *self, int argc, char **argv);
};

extern const struct cli_command cmd_init;
extern const struct cli_command cmd_mount;
extern const struct cli_command cmd_unmount;
extern const struct cli_command cmd_status;
extern const struct cli_command cmd_detach;
extern const struct cli_command cmd_attach;
extern const struct cli_command cmd_add;
extern const struct cli_command cmd_remove;
extern const struct cli_command cmd_resync;
extern const struct cli_command cmd_changes;
extern const struct cli_command cmd_check;
extern const struct cli_command cmd_scrub;
extern const struct cli_command cmd_diff;
extern const struct cli_command cmd_map;

/* Values of long options that have no letter. */
enum cli_option {
	CLI_OPT_HELP = 'h',
	CLI_OPT_JSON = 1000,
	CLI_OPT_FIRST, /* a command's own begin here */
};

#define CLI_COMMON_OPTIONS                              \
	{"help", no_argument, NULL, CLI_OPT_HELP},      \
	{                                               \
		"json", no_argument, NULL, CLI_OPT_JSON \
	}

/** cli_help - print the help of a command to stdout. Return: CLI_DONE. */
int cli_help(const struct cli_command *self);

/**
 * cli_wrong - a usage error on stderr: "seqmirror: NAME: ..." with a hint.
 * @fmt: NULL after getopt_long() has failed: it knows which word it was.
 * Return: CLI_USAGE
 */
int cli_wrong(const struct cli_command *self, char **argv, const char *fmt, ...)
	__attribute__((__format__(__printf__, 3, 4)));

/** cli_main - main(), without the name of the process being special. */
int cli_main(int argc, char **argv);

/** mount_helper_main - as mount(8) calls it: SOURCE MOUNTPOINT [-sfnv] -o. */
int mount_helper_main(int argc, char **argv);

/** resync_mounted, resync_unmounted - the two halves of `resync`. */
struct resync_request {
	bool dry_run;
	bool wait;
	bool json;
	bool pause;
	bool resume;
	bool cancel;
	const char *bwlimit; /* NULL: leave as it is */
	const char *prefer;
};
int resync_mounted(const struct resync_request *request, const char *mountpoint,
		   const char *store);
int resync_unmounted(const struct resync_request *request, char **paths,
		     int count);
