/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "fs/cli/cli.h"
#include "fs/cli/json_util.h"
#include "fs/cli/report.h"
#include "fs/cli/target.h"
#include "fs/cli/ui.h"

#define ANSWER_MS 30000

static int add_store(void *arg, const json_t *item)
{
	json_t *stores = arg;

	return json_array_append(stores, (json_t *)item) ? -ENOMEM : 0;
}

static int report_mounted(struct client *client, json_t **ret_report)
{
	_cleanup_json_ json_t *stores = json_array();
	_cleanup_json_ json_t *reply = NULL;
	json_t *request = json_pack("{s:s}", "op", "status");
	int err = client_call(client, request, ANSWER_MS, add_store, stores,
			      &reply);

	if (err)
		return err;
	if (json_object_set(reply, "stores", stores) ||
	    json_object_del(reply, "ok"))
		return -ENOMEM;
	*ret_report = steal_pointer(&reply);
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(json_text(*(json_t *const *)a, "name"),
		      json_text(*(json_t *const *)b, "name"));
}

/* Members come in the order of their UUIDs; people know their names. */
static int sort_stores(json_t *report)
{
	json_t *stores = json_object_get(report, "stores");
	json_t *sorted = json_array();
	json_t *list[META_STORE_MAX];
	size_t count = MIN(json_array_size(stores), ARRAY_SIZE(list));
	int err = 0;

	for (size_t i = 0; i < count; i++)
		list[i] = json_array_get(stores, i);
	qsort(list, count, sizeof(*list), by_name);
	for (size_t i = 0; !err && i < count; i++)
		err = json_array_append(sorted, list[i]);
	if (json_object_set_new(report, "stores", sorted))
		err = -1;
	return err ? -ENOMEM : 0;
}

static int report_read(const char *word, json_t **ret_report)
{
	_cleanup_target_ struct target t = {0};
	int err = target_open(word, &t);

	if (err)
		return err;
	if (t.client)
		return report_mounted(t.client, ret_report);
	err = report_unmounted(t.path, t.map, t.id.name, ret_report);
	if (err)
		ui_error(word, "%s", ui_why(err));
	return err;
}

static int report_get(const char *word, json_t **ret_report)
{
	int err = report_read(word, ret_report);

	return err ? err : sort_stores(*ret_report);
}

static int show_once(const char *word, bool json)
{
	_cleanup_json_ json_t *report = NULL;
	int err = report_get(word, &report);

	if (err)
		return err;
	err = json ? json_print(report) : status_print(report);
	if (err)
		ui_error(word, "%s", ui_why(err));
	return err;
}

static int watch(const char *word)
{
	bool terminal = isatty(STDOUT_FILENO);
	int err;

	do {
		_cleanup_json_ json_t *report = NULL;

		err = report_get(word, &report);
		if (err)
			break;
		/* From the top; what was there before goes line by line. */
		if (terminal)
			(void)fputs("\x1b[H\x1b[2J", stdout);
		err = status_print(report);
		if (!terminal)
			(void)putchar('\n');
		if (fflush(stdout))
			err = -EIO;
		if (!err)
			clock_sleep_ms(1000);
	} while (!err);
	return err;
}

static int run(const struct cli_command *self, int argc, char **argv)
{
	static const struct option options[] = {
		CLI_COMMON_OPTIONS,
		{"watch", no_argument, NULL, 'w'},
		{0},
	};
	bool json = false;
	bool again = false;
	int opt;

	while ((opt = getopt_long(argc, argv, "hw", options, NULL)) != -1) {
		switch (opt) {
		case CLI_OPT_HELP:
			return cli_help(self);
		case CLI_OPT_JSON:
			json = true;
			break;
		case 'w':
			again = true;
			break;
		default:
			return cli_wrong(self, argv, NULL);
		}
	}
	if (argc - optind != 1)
		return cli_wrong(self, argv, "one MOUNTPOINT or STORE, please");
	if (json && again)
		return cli_wrong(self, argv,
				 "--json and --watch exclude each other");
	if (again)
		return watch(argv[optind]) ? CLI_FAILED : CLI_DONE;
	return show_once(argv[optind], json) ? CLI_FAILED : CLI_DONE;
}

const struct cli_command cmd_status = {
	.name = "status",
	.synopsis = "[--watch | --json] MOUNTPOINT|STORE",
	.summary = "show a volume and its stores",
	.help = "  -w, --watch  redraw each second until interrupted\n"
		"      --json   one JSON object\n"
		"  -h, --help   this text\n"
		"\n"
		"Of a store that is not mounted, its own map is asked; nothing "
		"is changed.\n",
	.run = run,
};
