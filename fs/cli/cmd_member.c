/* SPDX-License-Identifier: Apache-2.0 */
/*
 * detach and remove: one request, one sentence.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/text.h"
#include "fs/cli/cli.h"
#include "fs/cli/json_util.h"
#include "fs/cli/target.h"
#include "fs/cli/ui.h"

struct words {
	const char *mountpoint;
	const char *store;
	bool json;
};

/* Return: -1 to go on, or the exit status. */
static int parse(const struct cli_command *self, int argc, char **argv,
		 struct words *ret)
{
	static const struct option options[] = {CLI_COMMON_OPTIONS, {0}};
	int opt;

	while ((opt = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (opt) {
		case CLI_OPT_HELP:
			return cli_help(self);
		case CLI_OPT_JSON:
			ret->json = true;
			break;
		default:
			return cli_wrong(self, argv, NULL);
		}
	}
	if (argc - optind != 2)
		return cli_wrong(self, argv, "MOUNTPOINT and STORE, please");
	ret->mountpoint = argv[optind];
	ret->store = argv[optind + 1];
	return -1;
}

static int ask(const char *op, const struct words *words, bool sync,
	       json_t **ret_reply)
{
	_cleanup_client_ struct client *client = NULL;
	json_t *request;
	int err = target_open_mount(words->mountpoint, &client);

	/* What the kernel still holds is to be on the store as well. */
	if (!err && sync)
		err = client_sync(client);
	if (err)
		return err;
	request = json_pack("{s:s}", "op", op);
	err = target_put_store(request, words->store);
	if (err) {
		json_decref(request);
		return err;
	}
	return client_call(client, request, -1, NULL, NULL, ret_reply);
}

static int run_detach(const struct cli_command *self, int argc, char **argv)
{
	_cleanup_json_ json_t *reply = NULL;
	struct words words = {0};
	char name[256];
	char seq[UI_WORDS_MAX];
	int status = parse(self, argc, argv, &words);

	if (status >= 0)
		return status;
	if (ask("detach", &words, true, &reply))
		return CLI_FAILED;
	if (words.json)
		return json_object_del(reply, "ok") || json_print(reply)
			       ? CLI_FAILED
			       : CLI_DONE;
	(void)text_escape(name, sizeof(name), json_text(reply, "store"));
	(void)printf("%s is detached at seq %s: safe to remove\n", name,
		     ui_count(seq, json_number(reply, "seq"), "", ""));
	return CLI_DONE;
}

static int run_remove(const struct cli_command *self, int argc, char **argv)
{
	_cleanup_json_ json_t *reply = NULL;
	struct words words = {0};
	char name[256];
	int status = parse(self, argc, argv, &words);

	if (status >= 0)
		return status;
	if (ask("remove", &words, true, &reply))
		return CLI_FAILED;
	if (words.json)
		return json_object_del(reply, "ok") || json_print(reply)
			       ? CLI_FAILED
			       : CLI_DONE;
	(void)text_escape(name, sizeof(name), json_text(reply, "store"));
	(void)printf("%s is no member any more; its files are as they were\n",
		     name);
	return CLI_DONE;
}

const struct cli_command cmd_detach = {
	.name = "detach",
	.synopsis = "[--json] MOUNTPOINT STORE",
	.summary = "take a store out in good order",
	.help = "      --json  one JSON object\n"
		"  -h, --help  this text\n"
		"\n"
		"STORE is a member's name, its UUID or where it lies. When the "
		"command returns,\n"
		"the store is a complete copy and safe to remove.\n",
	.run = run_detach,
};

const struct cli_command cmd_remove = {
	.name = "remove",
	.synopsis = "[--json] MOUNTPOINT STORE",
	.summary = "forget a member for good",
	.help = "      --json  one JSON object\n"
		"  -h, --help  this text\n"
		"\n"
		"The files in the store stay as they are. It can only come "
		"back "
		"as a new member.\n",
	.run = run_remove,
};
