/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "fs/cli/changes.h"
#include "fs/cli/cli.h"
#include "fs/cli/json_util.h"
#include "fs/cli/mountinfo.h"
#include "fs/cli/target.h"
#include "fs/cli/ui.h"

/* Longer than what the daemon sends. */
#define PATH_TEXT_MAX 8300

#define JSON_HEAD     "{\n  \"changes\": ["

enum {
	OPT_SINCE = CLI_OPT_FIRST,
	OPT_UNTIL,
	OPT_BLOCKS,
};

struct words {
	const char *target;
	const char *since;
	const char *until;
	bool blocks;
	bool zero;
	bool json;
	size_t printed;
};

static int print_text(const struct words *w, const struct change *c)
{
	char shown[4 * PATH_TEXT_MAX];
	char number[64];
	const char *path = c->path;

	if (!path) {
		(void)snprintf(number, sizeof(number),
			       "(node %" PRIu64 ": path too long)", c->node);
		path = number;
	} else if (!w->zero) {
		path = path_quote(shown, sizeof(shown), path);
	}
	if (w->blocks)
		(void)printf("%" PRIu64 " %" PRIu64 " ", c->start,
			     c->end - c->start);
	(void)fputs(path, stdout);
	return putchar(w->zero ? '\0' : '\n') == EOF ? -EIO : 0;
}

/* Item by item: a long list is not kept in memory. What is refused has none. */
static int print_json(struct words *w, const json_t *item)
{
	(void)printf("%s\n    ", w->printed++ ? "," : JSON_HEAD);
	return json_dumpf(item, stdout, JSON_COMPACT) ? -EIO : 0;
}

static int on_item(void *arg, const json_t *item)
{
	struct words *w = arg;
	char path[PATH_TEXT_MAX];
	struct change change = {
		.node = json_number(item, "node"),
		.start = json_number(item, "start"),
		.end = json_number(item, "end"),
	};

	if (w->json)
		return print_json(w, item);
	if (json_get_bytes(item, "path", path, sizeof(path)) == 0)
		change.path = path;
	return print_text(w, &change);
}

static int on_change(void *arg, const struct change *c)
{
	struct words *w = arg;
	_cleanup_json_ json_t *item = NULL;
	int err = 0;

	if (!w->json)
		return print_text(w, c);
	item = json_object();
	if (c->path)
		err = json_put_bytes(item, "path", c->path);
	if (err || json_put_number(item, "node", c->node) ||
	    json_put_text(item, "kind", changes_kind_name(c->kind)) ||
	    json_put_number(item, "seq", c->seq) ||
	    (w->blocks && (json_put_number(item, "start", c->start) ||
			   json_put_number(item, "end", c->end))))
		return -ENOMEM;
	return print_json(w, item);
}

/* The daemon looks who lies there, if it is a path: it has a limit for what
 * hangs. */
static int put_word(json_t *request, const char *key, const char *path_key,
		    const char *word)
{
	char path[PATH_MAX];
	int err = json_put_text(request, key, word);

	if (err || !strchr(word, '/') || path_absolute(word, path) < 0)
		return err;
	return json_put_bytes(request, path_key, path);
}

static int ask_daemon(struct words *w, struct target *t, uint64_t *ret_since,
		      uint64_t *ret_until)
{
	_cleanup_json_ json_t *reply = NULL;
	json_t *request;
	int err = client_sync(t->client);

	if (err)
		return err;
	request = json_pack("{s:s, s:b}", "op", "changes", "blocks", w->blocks);
	if (put_word(request, "since", "since_path", w->since) ||
	    (w->until && put_word(request, "until", "until_path", w->until))) {
		json_decref(request);
		return -ENOMEM;
	}
	err = client_call(t->client, request, -1, on_item, w, &reply);
	if (err)
		return err;
	*ret_since = json_number(reply, "since");
	*ret_until = json_number(reply, "until");
	return 0;
}

static int durable_seq(struct meta *map, uint64_t *ret)
{
	struct meta_reader *rd = meta_reader_get(map);
	int err = rd ? meta_number_get(rd, META_NUM_DURABLE_SEQ, ret) : -EIO;

	meta_reader_put(rd);
	return err;
}

static int point(struct meta *map, const char *word, uint64_t *ret_seq)
{
	int err = changes_point(map, word, ret_seq);

	if (err)
		ui_error(word, "%s",
			 err == -EINVAL ? "neither a number, a time nor a store"
					: ui_why(err));
	return err;
}

static int ask_map(struct words *w, struct target *t, uint64_t *ret_since,
		   uint64_t *ret_until)
{
	struct changes_query query = {.blocks = w->blocks};
	int err = durable_seq(t->map, &query.until);

	if (err) {
		ui_error(t->path, "%s", ui_why(err));
		return err;
	}
	err = point(t->map, w->since, &query.since);
	if (!err && w->until)
		err = point(t->map, w->until, &query.until);
	if (err)
		return err;
	err = changes_walk(t->map, &query, on_change, w);
	if (err && !ferror(stdout))
		ui_error(t->path, "%s", ui_why(err));
	*ret_since = query.since;
	*ret_until = query.until;
	return err;
}

/* --since may be a store's directory: then its UUID is what is meant. */
static const char *since_word(const char *word, struct store_identity *id)
{
	if (strchr(word, '/') && store_probe_identity(word, id) == 0)
		return id->store_uuid;
	return word;
}

static int show(struct words *w)
{
	_cleanup_target_ struct target t = {0};
	struct store_identity since_id;
	struct store_identity until_id;
	uint64_t since = 0;
	uint64_t until = 0;
	int err = target_open(w->target, &t);

	if (err)
		return err;
	if (!t.client)
		w->since = since_word(w->since, &since_id);
	if (!t.client && w->until)
		w->until = since_word(w->until, &until_id);
	err = t.client ? ask_daemon(w, &t, &since, &until)
		       : ask_map(w, &t, &since, &until);
	if (w->json && !err)
		(void)printf("%s],\n  \"since\": %" PRIu64
			     ",\n  \"until\": %" PRIu64 "\n}\n",
			     w->printed ? "\n  " : JSON_HEAD, since, until);
	else if (w->json && w->printed) /* broken off */
		(void)fputs("\n  ]\n}\n", stdout);
	return err;
}

static int run(const struct cli_command *self, int argc, char **argv)
{
	static const struct option options[] = {
		CLI_COMMON_OPTIONS,
		{"since", required_argument, NULL, OPT_SINCE},
		{"until", required_argument, NULL, OPT_UNTIL},
		{"blocks", no_argument, NULL, OPT_BLOCKS},
		{"null", no_argument, NULL, '0'},
		{0},
	};
	struct words words = {0};
	int opt;

	while ((opt = getopt_long(argc, argv, "h0", options, NULL)) != -1) {
		switch (opt) {
		case CLI_OPT_HELP:
			return cli_help(self);
		case CLI_OPT_JSON:
			words.json = true;
			break;
		case OPT_SINCE:
			words.since = optarg;
			break;
		case OPT_UNTIL:
			words.until = optarg;
			break;
		case OPT_BLOCKS:
			words.blocks = true;
			break;
		case '0':
			words.zero = true;
			break;
		default:
			return cli_wrong(self, argv, NULL);
		}
	}
	if (!words.since)
		return cli_wrong(self, argv, "--since SEQ|TIME|STORE, please");
	if (argc - optind != 1)
		return cli_wrong(self, argv, "one MOUNTPOINT or STORE, please");
	if (words.json && words.zero)
		return cli_wrong(self, argv,
				 "--json and -0 exclude each other");
	words.target = argv[optind];
	/* That stdout takes no more is told at the end. */
	return show(&words) && !ferror(stdout) ? CLI_FAILED : CLI_DONE;
}

const struct cli_command cmd_changes = {
	.name = "changes",
	.synopsis = "--since SEQ|TIME|STORE [OPTIONS] MOUNTPOINT|STORE",
	.summary = "list what has changed since then",
	.help = "      --since WHEN  after this sequence number, this time "
		"(2025-02-03,\n"
		"                    \"2025-02-03 14:30\", RFC 3339, or an "
		"age: "
		"90s 30m 2h 3d 1w),\n"
		"                    or since this store was last in step\n"
		"      --until WHEN  and not after this\n"
		"      --blocks      ranges of files: START LENGTH PATH, in "
		"bytes\n"
		"  -0, --null        end each path with a NUL byte, quote "
		"nothing\n"
		"      --json        one JSON object\n"
		"  -h, --help        this text\n"
		"\n"
		"A deletion shows as a change of its directory. With --until, "
		"what has changed\n"
		"again since is left out: the map keeps the last change "
		"only.\n",
	.run = run,
};
