/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "fs/cli/cli.h"
#include "fs/cli/follow.h"
#include "fs/cli/json_util.h"
#include "fs/cli/report.h"
#include "fs/cli/target.h"
#include "fs/cli/ui.h"

#define ANSWER_MS     30000
#define PATH_TEXT_MAX 8300

enum {
	OPT_REPAIR = CLI_OPT_FIRST,
	OPT_PREFER,
	OPT_RATE,
	OPT_RESTART,
	OPT_CANCEL,
};

struct words {
	bool repair;
	bool restart;
	bool cancel;
	bool wait;
	bool json;
	const char *prefer;
	const char *rate;
};

/* ---- begin ---- */

static int put_words(const struct words *w, json_t *request)
{
	uint64_t rate;

	if (w->rate && size_parse(w->rate, &rate)) {
		ui_error(w->rate, "not a rate, such as 20M");
		return -EINVAL;
	}
	if (json_object_set_new(request, "repair", json_boolean(w->repair)) ||
	    json_object_set_new(request, "restart", json_boolean(w->restart)) ||
	    (w->rate && json_put_number(request, "rate", rate)) ||
	    (w->prefer && target_put_store(request, w->prefer)))
		return -ENOMEM;
	return 0;
}

static int begin(struct client *client, const struct words *w)
{
	_cleanup_json_ json_t *reply = NULL;
	json_t *request =
		json_pack("{s:s}", "op", w->cancel ? "scrub-cancel" : "scrub");
	int err = w->cancel ? 0 : put_words(w, request);

	if (err) {
		json_decref(request);
		return err;
	}
	return client_call(client, request, -1, NULL, NULL, &reply);
}

/* ---- watch ---- */

static int collect(void *arg, const json_t *item)
{
	return json_array_append(arg, (json_t *)item) ? -ENOMEM : 0;
}

static int state_get(struct client *client, json_t *findings, json_t **ret)
{
	return client_call(client,
			   json_pack("{s:s, s:b}", "op", "scrub-state",
				     "findings", findings != NULL),
			   ANSWER_MS, findings ? collect : NULL, findings, ret);
}

static void draw(struct ui_progress *p, const json_t *state)
{
	struct ui_progress_state line = {
		.what = "scrub",
		.phase = json_text(state, "phase"),
		.done_bytes = json_number(state, "bytes"),
		.rate_bytes = (double)json_number(state, "rate_bytes"),
		.eta_seconds = -1.0,
	};

	ui_progress_draw(p, &line);
}

static int follow(struct client *client, json_t **ret_state)
{
	uint64_t begun_ns = clock_mono_ns();
	struct ui_progress progress;
	bool running = true;
	int err = 0;

	ui_progress_begin(&progress);
	while (!err && running) {
		json_t *state = NULL;

		err = state_get(client, NULL, &state);
		running = !err && json_flag(state, "running");
		if (running) {
			draw(&progress, state);
			json_decref(state);
			follow_rest(begun_ns);
		} else {
			*ret_state = state;
		}
	}
	ui_progress_end(&progress);
	return err;
}

/* ---- tell ---- */

static void print_finding(const json_t *item)
{
	const char *by = json_text(item, "decided_by");
	const char *why = json_text(item, "why");
	char shown[4 * PATH_TEXT_MAX];
	char path[PATH_TEXT_MAX];

	if (json_get_bytes(item, "path", path, sizeof(path)))
		(void)snprintf(path, sizeof(path), "node %" PRIu64,
			       json_number(item, "node"));
	(void)printf("%s: %s", path_quote(shown, sizeof(shown), path),
		     json_text(item, "kind"));
	report_list(json_object_get(item, "what"), " ");
	if (json_number(item, "end"))
		(void)printf(", bytes %" PRIu64 " to %" PRIu64,
			     json_number(item, "start"),
			     json_number(item, "end"));
	if (!strcmp(json_text(item, "kind"), "linked")) {
		report_list(json_object_get(item, "stores"), " on ");
		(void)printf(", no difference: a hard link to it lies outside "
			     "of the volume; whoever writes there writes "
			     "here\n");
		return;
	}
	report_list(json_object_get(item, "stores"),
		    *by ? ", wrong on " : ", undecided, differs on ");
	if (*by)
		(void)printf(" (by %s)", by);
	if (json_flag(item, "repaired"))
		(void)printf(", repaired");
	else if (*why)
		(void)printf(", not repaired: %s", why);
	(void)putchar('\n');
}

static int show(const struct words *w, json_t *state, json_t *findings)
{
	uint64_t found = json_number(state, "found");
	uint64_t fixed = json_number(state, "repaired");
	char count[3][UI_WORDS_MAX];
	char size[SIZE_TEXT_MAX];

	if (w->json) {
		if (json_object_set(state, "findings", findings) ||
		    json_object_del(state, "ok"))
			return -ENOMEM;
		return json_print(state);
	}
	for (size_t i = 0; i < json_array_size(findings); i++)
		print_finding(json_array_get(findings, i));
	(void)printf("%s compared, %s: %s found, %s repaired\n",
		     ui_count(count[0], json_number(state, "nodes"), "node",
			      "nodes"),
		     size_format(size, json_number(state, "bytes")),
		     ui_count(count[1], found, "difference", "differences"),
		     ui_count(count[2], fixed, "", ""));
	report_scrub_stores(state, "");
	if (json_number(state, "busy"))
		(void)printf("%s not at rest, or shut, and left out\n",
			     ui_count(count[0], json_number(state, "busy"),
				      "place was", "places were"));
	return 0;
}

static int result(const struct words *w, struct client *client)
{
	_cleanup_json_ json_t *findings = json_array();
	_cleanup_json_ json_t *state = NULL;
	uint64_t left;
	int err = follow(client, &state);

	json_decref(state);
	state = NULL;
	if (!err)
		err = state_get(client, findings, &state);
	if (!err)
		err = show(w, state, findings);
	if (err)
		return err;
	if (*json_text(state, "failed")) {
		ui_error("scrub", "%s", json_text(state, "failed"));
		return -EIO;
	}
	left = json_number(state, "found") - json_number(state, "repaired");
	if (left)
		ui_error("scrub", "the stores differ in %" PRIu64 " %s%s", left,
			 left == 1 ? "place" : "places",
			 w->repair ? "; name the store that is right with "
				     "--prefer"
				   : "; --repair makes them equal");
	return left ? -EIO : 0;
}

static int scrub(const struct words *w, const char *mountpoint)
{
	_cleanup_client_ struct client *client = NULL;
	int err = target_open_mount(mountpoint, &client);

	if (!err)
		err = begin(client, w);
	if (err)
		return err;
	if (w->wait)
		return result(w, client);
	if (w->json)
		return printf("{}\n") < 0 ? -EIO : 0;
	(void)printf(w->cancel
			     ? "the scrub is ended; the next one goes on from "
			       "there\n"
			     : "a scrub is running; `seqmirror status` shows "
			       "it\n");
	return 0;
}

static int run(const struct cli_command *self, int argc, char **argv)
{
	static const struct option options[] = {
		CLI_COMMON_OPTIONS,
		{"wait", no_argument, NULL, 'w'},
		{"repair", no_argument, NULL, OPT_REPAIR},
		{"prefer", required_argument, NULL, OPT_PREFER},
		{"rate", required_argument, NULL, OPT_RATE},
		{"restart", no_argument, NULL, OPT_RESTART},
		{"cancel", no_argument, NULL, OPT_CANCEL},
		{0},
	};
	struct words w = {0};
	int opt;

	while ((opt = getopt_long(argc, argv, "hw", options, NULL)) != -1) {
		switch (opt) {
		case CLI_OPT_HELP:
			return cli_help(self);
		case CLI_OPT_JSON:
			w.json = true;
			break;
		case 'w':
			w.wait = true;
			break;
		case OPT_REPAIR:
			w.repair = true;
			break;
		case OPT_PREFER:
			w.prefer = optarg;
			break;
		case OPT_RATE:
			w.rate = optarg;
			break;
		case OPT_RESTART:
			w.restart = true;
			break;
		case OPT_CANCEL:
			w.cancel = true;
			break;
		default:
			return cli_wrong(self, argv, NULL);
		}
	}
	if (argc - optind != 1)
		return cli_wrong(self, argv, "one MOUNTPOINT, please");
	if (w.prefer && !w.repair)
		return cli_wrong(self, argv, "--prefer goes with --repair");
	if (w.cancel && (w.repair || w.wait || w.restart || w.rate))
		return cli_wrong(self, argv, "options that exclude each other");
	return scrub(&w, argv[optind]) ? CLI_FAILED : CLI_DONE;
}

const struct cli_command cmd_scrub = {
	.name = "scrub",
	.synopsis = "[OPTIONS] MOUNTPOINT",
	.summary = "compare every replica, and repair",
	.help = "      --repair        make the stores equal where it is plain "
		"who is right: the\n"
		"                      others where one cannot be read, the "
		"majority of three or\n"
		"                      more, or the store that its own map "
		"does "
		"not speak against\n"
		"      --prefer STORE  with --repair: this store is right "
		"wherever contents or\n"
		"                      attributes differ\n"
		"      --rate RATE     at most RATE per second of each store, "
		"as "
		"in 20M; 0: no\n"
		"                      limit; else as it was, at first "
		"resync_rate\n"
		"      --restart       from the beginning, not where the last "
		"one was ended\n"
		"  -w, --wait          return when it is done; status 1 if the "
		"stores differ then\n"
		"      --cancel        end the scrub that runs\n"
		"      --json          one JSON object\n"
		"  -h, --help          this text\n",
	.run = run,
};
