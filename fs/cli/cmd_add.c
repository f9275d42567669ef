/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "base/text.h"
#include "fs/cli/cli.h"
#include "fs/cli/follow.h"
#include "fs/cli/json_util.h"
#include "fs/cli/mountinfo.h"
#include "fs/cli/target.h"
#include "fs/cli/ui.h"

enum {
	OPT_NAME = CLI_OPT_FIRST,
};

struct words {
	const char *mountpoint;
	const char *dir;
	const char *name;
	bool json;
	bool wait;
};

static int on_item(void *arg, const json_t *item)
{
	const char *warning = json_text(item, "warning");

	(void)arg;
	if (*warning)
		ui_warn("%s", warning);
	return 0;
}

static int begin(const struct words *words, struct client **ret_client,
		 json_t **ret_reply)
{
	char path[PATH_MAX];
	json_t *request;
	int err = path_absolute(words->dir, path);

	if (err) {
		ui_error(words->dir, "%s", ui_why(err));
		return err;
	}
	err = target_open_mount(words->mountpoint, ret_client);
	if (err)
		return err;
	request = json_pack("{s:s}", "op", "add");
	err = json_put_bytes(request, "path", path);
	if (!err && words->name)
		err = json_put_text(request, "name", words->name);
	if (err) {
		json_decref(request);
		return err;
	}
	return client_call(*ret_client, request, -1, on_item, NULL, ret_reply);
}

static int finish(struct client *client, const json_t *begun, bool json)
{
	_cleanup_json_ json_t *counts = NULL;
	int err = follow_resync(client, begun, &counts);

	if (err || !json_is_object(counts))
		return err;
	if (json)
		return json_print(counts);
	follow_print(counts, false);
	return 0;
}

static int add(const struct words *words)
{
	_cleanup_client_ struct client *client = NULL;
	_cleanup_json_ json_t *reply = NULL;
	char until[FOLLOW_TEXT_MAX];
	char name[256];
	int err = begin(words, &client, &reply);

	if (err)
		return err;
	if (words->wait)
		return finish(client, reply, words->json);
	if (words->json)
		return json_object_del(reply, "ok") ? -ENOMEM
						    : json_print(reply);
	(void)text_escape(name, sizeof(name), json_text(reply, "store"));
	if (json_flag(reply, "paused"))
		(void)printf("%s is a member, and resyncs are paused %s\n",
			     name, follow_until_resume(until, client));
	else
		(void)printf("%s is a member and is being filled\n", name);
	return 0;
}

static int run(const struct cli_command *self, int argc, char **argv)
{
	static const struct option options[] = {
		CLI_COMMON_OPTIONS,
		{"name", required_argument, NULL, OPT_NAME},
		{"wait", no_argument, NULL, 'w'},
		{0},
	};
	struct words words = {0};
	int opt;

	while ((opt = getopt_long(argc, argv, "hw", options, NULL)) != -1) {
		switch (opt) {
		case CLI_OPT_HELP:
			return cli_help(self);
		case CLI_OPT_JSON:
			words.json = true;
			break;
		case OPT_NAME:
			words.name = optarg;
			break;
		case 'w':
			words.wait = true;
			break;
		default:
			return cli_wrong(self, argv, NULL);
		}
	}
	if (argc - optind != 2)
		return cli_wrong(self, argv, "MOUNTPOINT and DIR, please");
	words.mountpoint = argv[optind];
	words.dir = argv[optind + 1];
	return add(&words) ? CLI_FAILED : CLI_DONE;
}

const struct cli_command cmd_add = {
	.name = "add",
	.synopsis = "[--name NAME] [--wait] [--json] MOUNTPOINT DIR",
	.summary = "add a new member, filled in the background",
	.help = "      --name NAME  what the store is called (default: as its "
		"directory)\n"
		"  -w, --wait       return when the store is in step\n"
		"      --json       one JSON object\n"
		"  -h, --help       this text\n"
		"\n"
		"DIR is an existing, empty directory.\n",
	.run = run,
};
