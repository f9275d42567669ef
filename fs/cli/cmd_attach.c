/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "fs/cli/cli.h"
#include "fs/cli/follow.h"
#include "fs/cli/json_util.h"
#include "fs/cli/target.h"
#include "fs/cli/ui.h"

struct words {
	const char *mountpoint;
	const char *store;
	bool json;
	bool wait;
	bool rebuild;
};

enum {
	OPT_REBUILD = CLI_OPT_FIRST,
};

static int begin(const struct words *words, struct client **ret_client,
		 json_t **ret_reply)
{
	json_t *request;
	int err = target_open_mount(words->mountpoint, ret_client);

	if (err)
		return err;
	request = json_pack("{s:s, s:b}", "op", "attach", "rebuild",
			    (int)words->rebuild);
	err = target_put_store(request, words->store);
	if (err) {
		json_decref(request);
		return err;
	}
	return client_call(*ret_client, request, -1, NULL, NULL, ret_reply);
}

static int finish(struct client *client, const json_t *begun, bool json)
{
	_cleanup_json_ json_t *counts = NULL;
	int err = follow_resync(client, begun, &counts);

	if (err)
		return err;
	if (json && json_is_object(counts))
		return json_print(counts);
	if (json_is_object(counts))
		follow_print(counts, false);
	else if (!json)
		(void)printf("%s was in step already\n",
			     json_text(begun, "store"));
	return 0;
}

/* Nothing was begun: @counts says so. */
static int print_already(const json_t *reply, const json_t *counts,
			 const struct words *words)
{
	char name[256];

	if (words->json && words->wait)
		return json_print(counts);
	if (words->json)
		return json_print(reply);
	(void)text_escape(name, sizeof(name), json_text(reply, "store"));
	(void)printf("%s is online already\n", name);
	return 0;
}

static int attach(const struct words *words)
{
	_cleanup_json_ json_t *already = NULL;
	_cleanup_client_ struct client *client = NULL;
	_cleanup_json_ json_t *reply = NULL;
	char until[FOLLOW_TEXT_MAX];
	char name[256];
	int err = begin(words, &client, &reply);

	if (err)
		return err;
	already = json_incref(json_object_get(reply, "already"));
	if (already)
		return json_object_del(reply, "ok") ||
				       json_object_del(reply, "already")
			       ? -ENOMEM
			       : print_already(reply, already, words);
	if (words->wait)
		return finish(client, reply, words->json);
	if (words->json)
		return json_object_del(reply, "ok") ? -ENOMEM
						    : json_print(reply);
	(void)text_escape(name, sizeof(name), json_text(reply, "store"));
	if (strcmp(json_text(reply, "state"), "online") == 0)
		(void)printf("%s is online\n", name);
	else if (json_flag(reply, "paused"))
		(void)printf("%s is back, and resyncs are paused %s\n", name,
			     follow_until_resume(until, client));
	else
		(void)printf("%s is back and is being resynced\n", name);
	return 0;
}

static int run(const struct cli_command *self, int argc, char **argv)
{
	static const struct option options[] = {
		CLI_COMMON_OPTIONS,
		{"wait", no_argument, NULL, 'w'},
		{"rebuild", no_argument, NULL, OPT_REBUILD},
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
		case 'w':
			words.wait = true;
			break;
		case OPT_REBUILD:
			words.rebuild = true;
			break;
		default:
			return cli_wrong(self, argv, NULL);
		}
	}
	if (argc - optind != 2)
		return cli_wrong(self, argv, "MOUNTPOINT and STORE, please");
	words.mountpoint = argv[optind];
	words.store = argv[optind + 1];
	return attach(&words) ? CLI_FAILED : CLI_DONE;
}

const struct cli_command cmd_attach = {
	.name = "attach",
	.synopsis = "[--wait] [--rebuild] [--json] MOUNTPOINT STORE",
	.summary = "take a member back and resync it",
	.help = "  -w, --wait     return when the store is in step\n"
		"      --rebuild  take it back although its map is lost: "
		"compare all of it\n"
		"                 with the volume, which wins\n"
		"      --json     one JSON object\n"
		"  -h, --help     this text\n"
		"\n"
		"STORE is the member's name, its UUID, or the directory where "
		"it lies now.\n",
	.run = run,
};
