/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/text.h"
#include "fs/cli/cli.h"
#include "fs/cli/diff.h"
#include "fs/cli/json_util.h"
#include "fs/cli/target.h"
#include "fs/cli/ui.h"
#include "fs/cli/waits.h"

#define PATH_TEXT_MAX 8300
#define NAME_TEXT_MAX 4200 /* or a path, of a copy */

struct show {
	bool json;
	bool asked;   /* a daemon, ... */
	bool swapped; /* ... whose side was named second */
	bool begun;   /* the head was seen */
	bool foreign;
	size_t items;
	char names[2][NAME_TEXT_MAX]; /* in the order of the words */
	char group[NAME_TEXT_MAX + 8];
};

/* ---- in words ---- */

static const json_t *side_of(const struct show *s, const json_t *list, int i)
{
	return json_array_get(list, (size_t)(s->swapped ? !i : i));
}

static const char *other_name(const struct show *s, const char *name)
{
	return s->names[strcmp(s->names[0], name) == 0];
}

static void print_behind(const struct show *s, const json_t *behind)
{
	const char *late = json_text(behind, "store");
	double seconds = json_seconds(behind, "seconds");
	char count[UI_WORDS_MAX];
	char bytes[SIZE_TEXT_MAX];
	char time[UI_NUMBER_MAX];
	char name[NAME_TEXT_MAX];

	(void)text_escape(name, sizeof(name), late);
	(void)printf(
		"no fork: %s is merely behind %s by %s%s, %s%s%s\n", name,
		other_name(s, name),
		json_flag(behind, "exact") ? "" : "more than ",
		ui_count(count, json_number(behind, "nodes"), "node", "nodes"),
		size_format(bytes, json_number(behind, "bytes")),
		seconds >= 0.0 ? ", " : "",
		seconds >= 0.0 ? ui_seconds(time, seconds) : "");
}

/* Of a mounted volume it is one at work, else one that was cut. */
static void print_resyncing(const struct show *s, const json_t *head)
{
	const json_t *complete = json_object_get(head, "complete");
	const char *store = json_text(head, "store");
	const char *other;
	char name[NAME_TEXT_MAX];

	(void)text_escape(name, sizeof(name), store);
	other = other_name(s, name);
	if (!complete)
		(void)printf("no fork: %s is being resynced\n", name);
	else if (json_is_null(complete))
		(void)printf("%s is half overwritten: a resync of it was not "
			     "finished, and %s is not what it came from; what "
			     "%s has is a mixture, of which no list can be "
			     "made\n",
			     name, other, name);
	else
		(void)printf("%s is half overwritten: a resync of it was not "
			     "finished, and what it had alone may be gone; %s "
			     "is complete, finish with 'seqmirror resync "
			     "--prefer %s STORE STORE'\n",
			     name, other, other);
}

static void print_cut(const struct show *s, const json_t *head)
{
	const json_t *stores = json_object_get(head, "stores");

	for (int i = 0; i < 2; i++)
		if (json_flag(side_of(s, stores, i), "resyncing"))
			(void)printf("note: a resync of %s was not finished; "
				     "the next one goes on with it\n",
				     s->names[i]);
}

static void print_fork(const struct show *s, const json_t *head)
{
	const json_t *stores = json_object_get(head, "stores");

	(void)printf("fork: %s and %s were changed without each other after "
		     "seq %" PRIu64 "\n",
		     s->names[0], s->names[1], json_number(head, "from_seq"));
	for (int i = 0; i < 2; i++)
		if (json_flag(side_of(s, stores, i), "in_doubt"))
			(void)printf("note: %s was not left cleanly; what it "
				     "changed last may be missing below until "
				     "it was mounted alone\n",
				     s->names[i]);
}

static void print_head(struct show *s, const json_t *head)
{
	const char *relation = json_text(head, "relation");

	if (!strcmp(relation, "equal"))
		(void)printf("equal: both stores are in step\n");
	else if (!strcmp(relation, "resyncing"))
		print_resyncing(s, head);
	else if (!strcmp(relation, "doubt"))
		(void)printf("no fork: %s and %s are through the same number, "
			     "but a crash or a store that failed left "
			     "something in doubt, which the next mount or "
			     "resync compares\n",
			     s->names[0], s->names[1]);
	else if (!strcmp(relation, "behind"))
		print_behind(s, json_object_get(head, "behind"));
	else if (!strcmp(relation, "fork"))
		print_fork(s, head);
	if (strcmp(relation, "resyncing"))
		print_cut(s, head);
}

static void print_side(const json_t *side)
{
	const char *mtime = json_text(side, "mtime");
	uint64_t bytes = json_number(side, "bytes");
	char text[2][SIZE_TEXT_MAX];
	bool is_file = !strcmp(json_text(side, "kind"), "file");

	(void)fputs(json_text(side, "what"), stdout);
	if (is_file && *mtime)
		(void)printf(", %s",
			     size_format(text[0], json_number(side, "size")));
	if (is_file && bytes)
		(void)printf(" (%s written)", size_format(text[1], bytes));
	if (*mtime)
		(void)printf(", %s", mtime);
}

static void print_group(struct show *s, const char *in)
{
	char name[NAME_TEXT_MAX];

	if (!strcmp(s->group, in))
		return;
	(void)memccpy(s->group, in, '\0', sizeof(s->group) - 1);
	(void)text_escape(name, sizeof(name), in);
	(void)printf("\n%s%s:\n", strcmp(in, "both") ? "only in " : "in ",
		     name);
}

static int print_item(struct show *s, const json_t *item)
{
	const json_t *sides = json_object_get(item, "sides");
	bool both = json_is_object(json_array_get(sides, 0)) &&
		    json_is_object(json_array_get(sides, 1));
	char shown[4 * PATH_TEXT_MAX];
	char path[PATH_TEXT_MAX];

	if (json_get_bytes(item, "path", path, sizeof(path)))
		return -EINVAL;
	print_group(s, json_text(item, "in"));
	(void)printf("  %s", path_quote(shown, sizeof(shown), path));
	for (int i = 0; i < 2; i++) {
		const json_t *side = side_of(s, sides, i);

		if (!json_is_object(side))
			continue;
		if (both)
			(void)printf("\n    %s: ", s->names[i]);
		else
			(void)fputs(": ", stdout);
		print_side(side);
	}
	return putchar('\n') == EOF ? -EIO : 0;
}

/* ---- as JSON: item by item, a long list is not kept in memory ---- */

static int swap_lists(const json_t *item)
{
	static const char *const keys[] = {"sides", "stores"};

	for (size_t k = 0; k < ARRAY_SIZE(keys); k++) {
		json_t *list = json_object_get(item, keys[k]);
		json_t *first = json_array_get(list, 0);

		if (json_array_size(list) == 2 &&
		    (json_array_append(list, first) ||
		     json_array_remove(list, 0)))
			return -ENOMEM;
	}
	return 0;
}

static int print_json(struct show *s, const json_t *item)
{
	bool head = !s->begun;
	const char *key;
	json_t *value;

	if (s->swapped && swap_lists(item))
		return -ENOMEM;
	if (!head) {
		(void)printf("%s\n    ", s->items++ ? "," : "");
		return json_dumpf(item, stdout, JSON_COMPACT) ? -EIO : 0;
	}
	(void)fputs("{\n", stdout);
	json_object_foreach((json_t *)item, key, value)
	{
		(void)printf("  \"%s\": ", key);
		if (json_dumpf(value, stdout, JSON_COMPACT | JSON_ENCODE_ANY))
			return -EIO;
		(void)fputs(",\n", stdout);
	}
	return fputs("  \"changes\": [", stdout) == EOF ? -EIO : 0;
}

static void keep_name(struct show *s, int i, const char *name)
{
	(void)text_escape(s->names[i], sizeof(s->names[i]), name);
}

/* The other store's: a disk that hangs is not asked here for its name. */
static void learn_name(struct show *s, const json_t *head)
{
	const json_t *stores = json_object_get(head, "stores");

	keep_name(s, !s->swapped,
		  stores ? json_text(json_array_get(stores, 1), "name")
			 : json_text(head, "store"));
}

static int on_item(void *arg, const json_t *item)
{
	struct show *s = arg;
	int err = 0;

	if (!s->begun && s->asked)
		learn_name(s, item);
	if (!s->begun && !strcmp(json_text(item, "relation"), "foreign")) {
		s->foreign = true;
		return -EXDEV;
	}
	if (s->json)
		err = print_json(s, item);
	else if (s->begun)
		err = print_item(s, item);
	else
		print_head(s, item);
	s->begun = true;
	return err;
}

/* ---- whom to ask ---- */

static bool is_same_directory(char **words)
{
	struct stat st[2];

	for (int i = 0; i < 2; i++)
		if (store_peek(words[i], "", &st[i]))
			return false;
	return st[0].st_dev == st[1].st_dev && st[0].st_ino == st[1].st_ino;
}

static int ask_daemon(struct show *s, struct client *client, const char *other)
{
	_cleanup_json_ json_t *reply = NULL;
	json_t *request = json_pack("{s:s}", "op", "diff");

	if (target_put_store(request, other)) {
		json_decref(request);
		return -ENOMEM;
	}
	return client_call(client, request, -1, on_item, s, &reply);
}

static int ask_maps(struct show *s, struct target t[2])
{
	struct diff_end ends[2];
	/* Two copies of one store have one name: they are told by their paths. */
	bool copies = !strcmp(t[0].id.store_uuid, t[1].id.store_uuid);
	int err;

	for (int i = 0; i < 2; i++) {
		const char *name = copies ? t[i].path : t[i].id.name;

		ends[i] = (struct diff_end){
			.path = t[i].path,
			.name = name,
			.map = t[i].map,
		};
		keep_name(s, i, name);
	}
	err = diff_report(ends, on_item, s);

	if (err && !s->foreign && !ferror(stdout))
		ui_error("diff", "%s", ui_why(err));
	return err;
}

/* The first word that a daemon answers for, -1: none. The other word may be a
 * name then. */
static int open_ends(struct show *s, char **words, struct target ends[2])
{
	struct store_identity id;
	bool is_store[2];
	int err;

	for (int i = 0; i < 2; i++)
		keep_name(s, i, words[i]);
	/* With a limit for stores that hang, which we have not. */
	for (int i = 0; i < 2; i++) {
		waits_for(words[i]);
		if (client_try_mount(words[i], &ends[i].client) == 0)
			return i;
	}
	for (int i = 0; i < 2; i++) {
		waits_for(words[i]);
		is_store[i] = store_probe_identity(words[i], &id) == 0;
		if (is_store[i])
			keep_name(s, i, id.name);
	}
	if (is_store[0] && is_same_directory(words)) {
		ui_error("diff", "%s is named twice: both are the same store",
			 s->names[0]);
		return -EINVAL;
	}
	for (int i = 0; i < 2; i++) {
		if (!is_store[i] && is_store[!i])
			continue; /* perhaps a name: the other one knows */
		err = target_open(words[i], &ends[i]);
		if (err)
			return err;
		if (ends[i].client)
			return i;
	}
	for (int i = 0; i < 2; i++) {
		if (is_store[i])
			continue;
		ui_error(words[i], "not a store");
		return -ENOENT;
	}
	return 2;
}

static int compare(struct show *s, char **words)
{
	struct target ends[2] = {0};
	int at = open_ends(s, words, ends);
	int err = at < 0 ? at : 0;

	if (at == 2) {
		waits_for_any((const char *const *)words, 2);
		err = ask_maps(s, ends);
	} else if (at >= 0) {
		s->asked = true;
		s->swapped = at == 1;
		err = ask_daemon(s, ends[at].client, words[!at]);
	}
	target_done(&ends[0]);
	target_done(&ends[1]);
	if (s->foreign)
		ui_error("diff",
			 "%s and %s have no history in common: they are "
			 "stores of two volumes, or a map was made anew with "
			 "'check --rebuild'",
			 s->names[0], s->names[1]);
	if (s->json && s->begun && !s->foreign)
		(void)printf("%s]\n}\n", s->items ? "\n  " : "");
	return err;
}

static int run(const struct cli_command *self, int argc, char **argv)
{
	static const struct option options[] = {CLI_COMMON_OPTIONS, {0}};
	struct show show = {0};
	int opt;

	while ((opt = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (opt) {
		case CLI_OPT_HELP:
			return cli_help(self);
		case CLI_OPT_JSON:
			show.json = true;
			break;
		default:
			return cli_wrong(self, argv, NULL);
		}
	}
	if (argc - optind != 2)
		return cli_wrong(self, argv, "two STOREs, please");
	/* That stdout takes no more is told at the end. */
	return compare(&show, argv + optind) && !ferror(stdout) ? CLI_FAILED
								: CLI_DONE;
}

const struct cli_command cmd_diff = {
	.name = "diff",
	.synopsis = "[--json] STORE STORE",
	.summary = "show what two stores did without each other",
	.help = "      --json  one JSON object\n"
		"  -h, --help  this text\n"
		"\n"
		"After a split brain: what was changed on one side only, on "
		"the other only, and\n"
		"on both, with sizes and times. Otherwise: which of the two is "
		"behind, and how\n"
		"far. Where a volume is mounted, its mount point stands for "
		"what is online, and a\n"
		"STORE that is away may be named. Nothing is changed.\n",
	.run = run,
};
