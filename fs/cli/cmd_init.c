/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "base/vec.h"
#include "fs/cli/cli.h"
#include "fs/cli/interrupt.h"
#include "fs/cli/json_util.h"
#include "fs/cli/ui.h"
#include "fs/cli/waits.h"
#include "resync/volume_make.h"

enum {
	OPT_NAME = CLI_OPT_FIRST,
	OPT_ADOPT,
};

struct words {
	VEC(const char *) names;
	char *names_text; /* owned, cut at the commas */
	bool adopt;
	bool json;
};

static void words_done(struct words *w)
{
	vec_done(&w->names);
	free(w->names_text);
}

static void say(void *arg, const char *sentence)
{
	(void)arg;
	ui_warn("%s", sentence);
}

/* "a,b": one per store; --name stands once. */
static int add_names(struct words *w, const char *text)
{
	char *rest;
	char *name;

	if (w->names_text)
		return -EINVAL;
	w->names_text = strdup(text);
	if (!w->names_text)
		return -ENOMEM;
	rest = w->names_text;
	while ((name = strsep(&rest, ","))) {
		if (!*name)
			return -EINVAL;
		if (vec_push(&w->names, (const char *)name))
			return -ENOMEM;
	}
	return 0;
}

static int print_json(const struct volume_make_result *made)
{
	_cleanup_json_ json_t *report = json_object();
	json_t *stores = json_array();

	if (json_object_set_new(report, "stores", stores) ||
	    json_put_text(report, "volume", made->volume_uuid) ||
	    json_put_number(report, "adopted_nodes", made->counts.nodes) ||
	    json_put_number(report, "adopted_bytes", made->counts.bytes))
		return -ENOMEM;
	for (size_t i = 0; i < made->store_count; i++) {
		const struct volume_made *store = &made->stores[i];
		json_t *row = json_object();

		if (json_put_bytes(row, "name", store->name) ||
		    json_put_text(row, "uuid", store->uuid) ||
		    json_put_bytes(row, "path", store->path) ||
		    json_object_set_new(row, "in_step",
					json_boolean(store->in_step)) ||
		    json_put_number(row, "compared", store->compared) ||
		    json_put_number(row, "found", store->found)) {
			json_decref(row);
			return -ENOMEM;
		}
		if (json_array_append_new(stores, row))
			return -ENOMEM;
	}
	return json_print(report);
}

static int store_row(struct ui_table *t, const struct volume_made *store)
{
	char path[UI_CELL_MAX];
	char text[2][UI_WORDS_MAX];
	int err;

	err = ui_table_cell(t, UI_BOLD, "%s", store->name);
	if (!err)
		err = ui_table_cell(t, UI_PLAIN, "%s",
				    store->in_step ? "in step"
						   : "filled when mounted");
	if (!err)
		err = ui_table_cell(
			t, UI_PLAIN, "%s",
			path_quote(path, sizeof(path), store->path));
	if (!err && (store->compared || store->found))
		err = ui_table_note(
			t, "%s to be compared, %s moved to .seqmirror/found",
			ui_count(text[0], store->compared, "entry", "entries"),
			ui_count(text[1], store->found, "entry", "entries"));
	return err;
}

static int print_text(const struct volume_make_result *made)
{
	_cleanup_ui_table_ struct ui_table *t = ui_table_new(3, 0);
	char count[UI_WORDS_MAX];
	char size[SIZE_TEXT_MAX];

	if (!t)
		return -ENOMEM;
	(void)printf("volume %s\n", made->volume_uuid);
	for (size_t i = 0; i < made->store_count; i++)
		if (store_row(t, &made->stores[i]))
			return -ENOMEM;
	ui_table_print(t);
	/* The root directory alone is nothing to speak of. */
	if (made->counts.entries)
		(void)printf("adopted %s with %s in %s, where they lie\n",
			     ui_count(count, made->counts.entries, "entry",
				      "entries"),
			     size_format(size, made->counts.bytes),
			     made->stores[0].name);
	return 0;
}

static int make(const struct words *w, char **paths, int count)
{
	_cleanup_free_ struct volume_make_result *made =
		calloc(1, sizeof(*made));
	struct volume_make_args args = {
		.paths = (const char *const *)paths,
		.path_count = (size_t)count,
		.names = w->names.data,
		.name_count = w->names.count,
		.adopt = w->adopt,
		.should_stop = interrupt_stop,
		.warn = say,
	};
	int err;

	/* What was made by then is taken away again, or half a store would be
	 * left. */
	interrupt_prepare(true);
	waits_for_any(args.paths, args.path_count);
	err = made ? volume_make(&args, made) : -ENOMEM;
	if (err) {
		ui_error("init", "%s",
			 made && *made->why ? made->why : ui_why(err));
		return err;
	}
	err = w->json ? print_json(made) : print_text(made);
	if (err)
		ui_error("init", "%s", ui_why(err));
	return err;
}

static int parse(const struct cli_command *self, int argc, char **argv,
		 struct words *w)
{
	static const struct option options[] = {
		CLI_COMMON_OPTIONS,
		{"name", required_argument, NULL, OPT_NAME},
		{"adopt", no_argument, NULL, OPT_ADOPT},
		{0},
	};
	int opt;

	while ((opt = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (opt) {
		case CLI_OPT_HELP:
			return cli_help(self);
		case CLI_OPT_JSON:
			w->json = true;
			break;
		case OPT_NAME:
			if (add_names(w, optarg))
				return cli_wrong(self, argv,
						 "--name once, as NAME,NAME, "
						 "none empty");
			break;
		case OPT_ADOPT:
			w->adopt = true;
			break;
		default:
			return cli_wrong(self, argv, NULL);
		}
	}
	if (argc == optind)
		return cli_wrong(self, argv, "at least one STORE, please");
	if (argc - optind > META_STORE_MAX)
		return cli_wrong(self, argv, "%d stores at most",
				 META_STORE_MAX);
	if (w->names.count > (size_t)(argc - optind))
		return cli_wrong(self, argv, "more names than stores");
	return -1;
}

static int run(const struct cli_command *self, int argc, char **argv)
{
	struct words words = {0};
	int status = parse(self, argc, argv, &words);

	if (status < 0)
		status = make(&words, argv + optind, argc - optind) ? CLI_FAILED
								    : CLI_DONE;
	words_done(&words);
	return status;
}

const struct cli_command cmd_init = {
	.name = "init",
	.synopsis = "[--name NAME[,NAME...]] [--adopt] [--json] STORE...",
	.summary = "make a volume of directories",
	.help = "      --name NAMES  what the stores are called, in their "
		"order (default: as\n"
		"                    their directories)\n"
		"      --adopt       the others hold copies of the first: "
		"compare, do not copy\n"
		"      --json        one JSON object\n"
		"  -h, --help        this text\n"
		"\n"
		"The first STORE may hold files: they are adopted where they "
		"lie. The others are\n"
		"empty, or hold copies with --adopt.\n",
	.run = run,
};
