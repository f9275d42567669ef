/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "fs/cli/json_util.h"
#include "fs/cli/report.h"
#include "fs/cli/ui.h"
#include "fs/mirror/mirror.h"

#define PATH_TEXT_MAX 4200

struct state_word {
	const char *state;
	const char *word;
	const char *unmounted;
	enum ui_colour colour;
};

/* What a report says of all stores. */
struct told {
	bool mounted;
	bool clean;	/* unmounted: closed in good order */
	const char *by; /* unmounted: the store whose map was asked */
};

static const struct state_word state_words[] = {
	{"online", "online", "in step", UI_GREEN},
	{"detached", MIRROR_DETACHED, "detached", UI_YELLOW},
	{"missing", "missing", "missing", UI_RED},
	{"failed", "failed", "failed", UI_RED},
	{"resyncing", "resyncing", "to be resynced", UI_YELLOW},
};

/* What was being written at a crash may be on one store and not on another. */
static const struct state_word in_use = {"online", "online",
					 "in use at a crash", UI_YELLOW};

/* Perhaps a mixture. */
static const struct state_word given_up = {"detached", "resync given up",
					   "resync given up", UI_RED};

static const struct state_word *state_word(const json_t *store,
					   const struct told *told)
{
	const char *state = json_text(store, "state");
	static const struct state_word unknown = {"", "unknown", "unknown",
						  UI_RED};

	if (!told->mounted && !told->clean && !strcmp(state, "online"))
		return &in_use;
	if (!strcmp(state, "detached") && !json_flag(store, "complete"))
		return &given_up;

	for (size_t i = 0; i < ARRAY_SIZE(state_words); i++)
		if (strcmp(state_words[i].state, state) == 0)
			return &state_words[i];
	return &unknown;
}

static bool is_at_most(const json_t *store)
{
	return json_flag(json_object_get(store, "behind"), "at_most");
}

/* "behind by 12 nodes, 3.4 MiB, 2 h 10 min", or nothing to say. */
static int behind_note(struct ui_table *t, const json_t *store)
{
	const json_t *behind = json_object_get(store, "behind");
	double seconds = json_seconds(behind, "seconds");
	uint64_t nodes = json_number(behind, "nodes");
	bool exact = json_flag(behind, "exact");
	uint64_t bytes = json_number(behind, "bytes");
	char count[UI_WORDS_MAX];
	char size[SIZE_TEXT_MAX + 2] = "";
	char time[UI_NUMBER_MAX];

	if (!nodes && exact)
		return 0;
	if (!nodes || (!exact && is_at_most(store)))
		return ui_table_note(t, "behind: not known");
	/* Nodes are counted first; then it was given up. */
	if (bytes || exact)
		(void)snprintf(size, sizeof(size), ", %s",
			       size_format((char[SIZE_TEXT_MAX]){0}, bytes));
	return ui_table_note(t, "behind by %s%s%s%s%s",
			     is_at_most(store) ? "at most "
			     : exact	       ? ""
					       : "more than ",
			     ui_count(count, nodes, "node", "nodes"), size,
			     seconds >= 0.0 ? ", " : "",
			     seconds >= 0.0 ? ui_seconds(time, seconds) : "");
}

/* Not of one that is being resynced: that it is not done is what it says. */
static bool is_half(const json_t *store)
{
	return json_is_false(json_object_get(store, "complete")) &&
	       strcmp(json_text(store, "state"), "resyncing") != 0;
}

static int store_notes(struct ui_table *t, const json_t *store,
		       const char *word)
{
	const json_t *errors = json_object_get(store, "errors");
	uint64_t reads = json_number(errors, "read");
	uint64_t writes = json_number(errors, "write");
	uint64_t repaired = json_number(errors, "repaired");
	const char *why = json_text(store, "why");
	char count[2][UI_WORDS_MAX];
	int err = behind_note(t, store);

	if (!err && json_number(store, "waits_seconds"))
		err = ui_table_note(t, "does not answer since %" PRIu64 " s",
				    json_number(store, "waits_seconds"));
	if (!err && json_flag(store, "hangs"))
		err = ui_table_note(t, "calls on it have not ended: it comes "
				       "back when they have");
	/* What the state says already is not said twice. */
	if (!err && *why && strcmp(why, word) != 0)
		err = ui_table_note(t, "why: %s", why);
	if (!err && is_half(store))
		err = ui_table_note(t, "may be half overwritten: no complete "
				       "copy before a resync is done");
	if (!err && (reads || writes))
		err = ui_table_note(
			t, "errors: %s, %s",
			ui_count(count[0], reads, "read", "reads"),
			ui_count(count[1], writes, "write", "writes"));
	if (!err && repaired)
		err = ui_table_note(t, "repaired: %s from another store",
				    ui_count(count[0], repaired, "bad range",
					     "bad ranges"));
	return err;
}

/* Nothing is known of one that is away, or that does not answer; whoever was
 * asked has an answer, and it may be 0. */
static bool free_is_known(const json_t *store, const struct told *told)
{
	const char *state = json_text(store, "state");

	if (json_number(store, "free_bytes"))
		return true;
	if (!told->mounted)
		return !strcmp(json_text(store, "name"), told->by);
	return !json_number(store, "waits_seconds") &&
	       (!strcmp(state, "online") || !strcmp(state, "resyncing"));
}

static int store_row(struct ui_table *t, const json_t *store,
		     const struct told *told)
{
	const struct state_word *word = state_word(store, told);
	uint64_t free_bytes = json_number(store, "free_bytes");
	char path[PATH_TEXT_MAX];
	char shown[UI_CELL_MAX];
	char size[SIZE_TEXT_MAX];
	char seq[UI_WORDS_MAX];

	if (json_get_bytes(store, "path", path, sizeof(path)) < 0)
		*path = '\0';
	if (ui_table_cell(t, UI_BOLD, "%s", json_text(store, "name")) ||
	    ui_table_cell(t, word->colour, "%s",
			  told->mounted ? word->word : word->unmounted) ||
	    ui_table_cell(
		    t, UI_PLAIN, "%s%s",
		    ui_count(seq, json_number(store, "durable_seq"), "", ""),
		    is_at_most(store) ? " or more" : "") ||
	    ui_table_cell(t, UI_PLAIN, "%s",
			  free_is_known(store, told)
				  ? size_format(size, free_bytes)
				  : "-") ||
	    ui_table_cell(t, UI_PLAIN, "%s",
			  path_quote(shown, sizeof(shown), path)))
		return -ENOMEM;
	return store_notes(t, store, word->word);
}

static bool is_online(const json_t *store)
{
	return strcmp(json_text(store, "state"), "online") == 0;
}

static void print_read_only(const json_t *report, size_t online)
{
	uint64_t min_stores = json_number(report, "min_stores");

	if (!json_flag(report, "read_only"))
		(void)putchar('\n');
	else if (online < min_stores)
		(void)printf("%sread-only%s: %zu of min_stores=%" PRIu64
			     " stores are online\n\n",
			     ui_paint(UI_RED), ui_paint(UI_PLAIN), online,
			     min_stores);
	else
		(void)printf("%sread-only%s: nothing can be recorded any "
			     "more; unmount and mount again\n\n",
			     ui_paint(UI_RED), ui_paint(UI_PLAIN));
}

static void print_head(const json_t *report, const struct told *told)
{
	const json_t *stores = json_object_get(report, "stores");
	const char *state = json_text(report, "state");
	const char *name = json_text(report, "name");
	enum ui_colour colour = UI_YELLOW;
	size_t online = 0;
	char path[PATH_TEXT_MAX];
	char shown[PATH_TEXT_MAX];
	char seq[UI_WORDS_MAX];

	for (size_t i = 0; i < json_array_size(stores); i++)
		online += is_online(json_array_get(stores, i));
	if (strcmp(state, "healthy") == 0)
		colour = UI_GREEN;
	else if (strcmp(state, "degraded") == 0)
		colour = UI_RED;
	(void)text_escape(shown, sizeof(shown),
			  *name ? name : json_text(report, "volume"));
	(void)printf("volume %s: %s%s%s, %zu of %zu stores %s\n", shown,
		     ui_paint(colour), state, ui_paint(UI_PLAIN), online,
		     json_array_size(stores),
		     told->mounted ? "online"
		     : told->clean ? "in step"
				   : "in use at a crash");
	if (*name)
		(void)printf("%s\n", json_text(report, "volume"));
	(void)ui_count(seq, json_number(report, "seq"), "", "");
	if (told->mounted &&
	    json_get_bytes(report, "mountpoint", path, sizeof(path)) == 0) {
		(void)printf("mounted at %s, seq %s, requests by %s\n",
			     path_quote(shown, sizeof(shown), path), seq,
			     json_text(report, "transport"));
		print_read_only(report, online);
		return;
	}
	(void)text_escape(shown, sizeof(shown), told->by);
	(void)printf("not mounted, seq %s, as %s knows it: %s\n", seq, shown,
		     told->clean ? "closed in good order"
		     : json_flag(report, "unclean_copy")
			     ? "NOT closed in good order"
			     : "NOT closed in good order, the next mount "
			       "repairs it");
	if (json_flag(report, "unclean_copy"))
		(void)printf("It is a copy of a store that was in use, or was "
			     "not left cleanly: its files may not\nbe what its "
			     "map says. All of it is compared when it is "
			     "brought in step.\n");
	if (told->clean && json_number(report, "intents"))
		(void)printf("A store failed in a way that leaves %s in doubt; "
			     "the next mount or resync compares that.\n",
			     ui_count(seq, json_number(report, "intents"),
				      "place", "places"));
	(void)printf("\n");
}

static void print_resync(const json_t *resync)
{
	uint64_t done = json_number(resync, "bytes_done");
	uint64_t total = json_number(resync, "bytes_total");
	uint64_t rate = json_number(resync, "rate_bytes");
	double eta = json_seconds(resync, "eta_seconds");
	char name[SIZE_TEXT_MAX * 4 + 256];
	char text[3][SIZE_TEXT_MAX];
	char time[UI_NUMBER_MAX];
	char bar[40];

	(void)text_escape(name, sizeof(name), json_text(resync, "store"));
	(void)printf("\nresync of %s: lap %" PRIu64 "%s%s%s\n", name,
		     json_number(resync, "lap"),
		     *json_text(resync, "phase") ? ", " : "",
		     json_text(resync, "phase"),
		     json_flag(resync, "paused") ? ", paused" : "");
	if (total)
		(void)printf("  %s %3.0f %%  %s of %s",
			     ui_bar(bar, 24, done, total),
			     100.0 * MIN((double)done / (double)total, 1.0),
			     size_format(text[0], done),
			     size_format(text[1], total));
	if (total && rate)
		(void)printf(", %s/s", size_format(text[2], rate));
	if (total && eta >= 0.0)
		(void)printf(", %s left", ui_seconds(time, eta));
	if (total)
		(void)putchar('\n');
}

/* Those that have not begun, too. */
static void print_paused(const json_t *report)
{
	char path[PATH_TEXT_MAX];
	char shown[4 * PATH_TEXT_MAX];

	if (!json_flag(report, "resync_paused") ||
	    json_get_bytes(report, "mountpoint", path, sizeof(path)) < 0)
		return;
	(void)printf("\nresyncs are paused until `seqmirror resync --resume "
		     "%s`\n",
		     shell_word(shown, sizeof(shown), path, "MOUNTPOINT"));
}

void report_list(const json_t *list, const char *before)
{
	char name[256];

	for (size_t i = 0; i < json_array_size(list); i++) {
		(void)text_escape(name, sizeof(name),
				  json_string_value(json_array_get(list, i)));
		(void)printf("%s%s", i ? ", " : before, name);
	}
}

void report_scrub_stores(const json_t *counts, const char *indent)
{
	const json_t *stores = json_object_get(counts, "stores");
	const json_t *others = json_object_get(counts, "not_compared");
	bool any = json_array_size(stores) != 0;

	if (!any && !json_array_size(others))
		return;
	(void)fputs(indent, stdout);
	report_list(stores, "stores compared: ");
	report_list(others, any ? "; not compared: " : "not compared: ");
	(void)putchar('\n');
}

static void print_scrub_counts(const json_t *s)
{
	char count[3][UI_WORDS_MAX];
	char size[SIZE_TEXT_MAX];

	(void)printf(
		"%s, %s, %s found, %s repaired",
		ui_count(count[0], json_number(s, "nodes"), "node", "nodes"),
		size_format(size, json_number(s, "bytes")),
		ui_count(count[1], json_number(s, "found"), "difference",
			 "differences"),
		ui_count(count[2], json_number(s, "repaired"), "", ""));
	if (json_number(s, "busy"))
		(void)printf(", %s left out",
			     ui_count(count[0], json_number(s, "busy"),
				      "busy place", "busy places"));
	(void)putchar('\n');
	report_scrub_stores(s, "  ");
}

static void print_scrub(const json_t *scrub)
{
	const json_t *last = json_object_get(scrub, "last");
	uint64_t rate = json_number(scrub, "rate_bytes");
	char size[SIZE_TEXT_MAX];

	if (json_flag(scrub, "running")) {
		(void)printf("\nscrub: %s", json_text(scrub, "phase"));
		if (rate)
			(void)printf(", %s/s", size_format(size, rate));
		(void)fputs("\n  ", stdout);
		print_scrub_counts(scrub);
	}
	if (!json_is_object(last))
		return;
	(void)printf("\nlast scrub: %s to %s\n  ", json_text(last, "begun"),
		     json_text(last, "ended"));
	print_scrub_counts(last);
}

int status_print(const json_t *report)
{
	_cleanup_ui_table_ struct ui_table *t =
		ui_table_new(5, 1u << 2 | 1u << 3);
	const char *heads[] = {"STORE", "STATE", "SEQ", "FREE", "PATH"};
	const json_t *resync = json_object_get(report, "resync");
	const json_t *stores = json_object_get(report, "stores");
	char by[PATH_TEXT_MAX] = "";
	const struct told told = {
		.mounted = json_flag(report, "mounted"),
		.clean = json_flag(report, "clean"),
		.by = by,
	};

	if (!t)
		return -ENOMEM;
	if (json_get_bytes(report, "told_by", by, sizeof(by)) < 0)
		*by = '\0';
	print_head(report, &told);
	for (size_t i = 0; i < ARRAY_SIZE(heads); i++)
		if (ui_table_cell(t, UI_BOLD, "%s", heads[i]))
			return -ENOMEM;
	for (size_t i = 0; i < json_array_size(stores); i++)
		if (store_row(t, json_array_get(stores, i), &told))
			return -ENOMEM;
	ui_table_print(t);
	if (json_is_object(resync))
		print_resync(resync);
	print_paused(report);
	if (told.mounted)
		print_scrub(json_object_get(report, "scrub"));
	return 0;
}
