/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/cli/cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "fs/cli/ui.h"

static const struct cli_command *const commands[] = {
	&cmd_init,   &cmd_mount, &cmd_unmount, &cmd_status, &cmd_detach,
	&cmd_attach, &cmd_add,	 &cmd_remove,  &cmd_resync, &cmd_check,
	&cmd_scrub,  &cmd_diff,	 &cmd_changes, &cmd_map,
};

int cli_help(const struct cli_command *self)
{
	(void)printf("usage: seqmirror %s %s\n\n%s\n", self->name,
		     self->synopsis, self->help);
	return CLI_DONE;
}

/* Of what getopt_long() refused: the word as it was written. */
static void bad_option(const struct cli_command *self, char **argv)
{
	const char *word = optind > 0 ? argv[optind - 1] : "";
	char letter[3] = {'-', (char)optopt, '\0'};

	if (strncmp(word, "--", 2) != 0 && optopt > 0 && optopt < 256)
		word = letter;
	ui_error(self->name,
		 "option %s is unknown or lacks its value (`seqmirror %s "
		 "--help`)",
		 word, self->name);
}

int cli_wrong(const struct cli_command *self, char **argv, const char *fmt, ...)
{
	char text[256];
	va_list args;

	if (!fmt) {
		bad_option(self, argv);
		return CLI_USAGE;
	}
	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	ui_error(self->name, "%s (`seqmirror %s --help`)", text, self->name);
	return CLI_USAGE;
}

static int help(FILE *out)
{
	(void)fputs("usage: seqmirror COMMAND [OPTIONS] ...\n"
		    "       seqmirror STORE[:STORE...] MOUNTPOINT [-o "
		    "OPTIONS]\n"
		    "\n"
		    "A mirrored filesystem: every file whole and plain on each "
		    "of several stores.\n"
		    "\n",
		    out);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		(void)fprintf(out, "  %-8s %s\n", commands[i]->name,
			      commands[i]->summary);
	(void)fputs("\n"
		    "`seqmirror COMMAND --help` says more, seqmirror(1) "
		    "everything.\n",
		    out);
	return CLI_DONE;
}

static const struct cli_command *find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (strcmp(commands[i]->name, name) == 0)
			return commands[i];
	return NULL;
}

/* `seqmirror SOURCE MOUNTPOINT -o ...`: a source has a slash or a colon, or
 * is at least no word that could have been meant as a command. */
static bool is_helper_call(int argc, char **argv)
{
	return argc >= 3 && (strchr(argv[1], '/') || strchr(argv[1], ':')) &&
	       argv[1][0] != '-';
}

/* A full disk behind a redirected stdout is a failure. */
static int finish(int status)
{
	if (fflush(stdout) || ferror(stdout)) {
		if (status == CLI_DONE)
			ui_error("stdout", "%s", strerror(errno));
		return status == CLI_DONE ? CLI_FAILED : status;
	}
	return status;
}

int cli_main(int argc, char **argv)
{
	const struct cli_command *command;

	log_open(LOG_SINK_STDERR, LOG_LEVEL_WARN);
	opterr = 0;
	if (argc < 2) {
		ui_error("usage", "a command is missing (`seqmirror --help`)");
		return CLI_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
	    strcmp(argv[1], "help") == 0)
		return finish(help(stdout));
	if (strcmp(argv[1], "--version") == 0) {
		(void)printf("seqmirror %s\n", SEQMIRROR_VERSION);
		return finish(CLI_DONE);
	}
	command = find(argv[1]);
	if (command)
		return finish(command->run(command, argc - 1, argv + 1));
	if (is_helper_call(argc, argv))
		return mount_helper_main(argc, argv);
	ui_error(argv[1], "no such command (`seqmirror --help` lists them)");
	return CLI_USAGE;
}
