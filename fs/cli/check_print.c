/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/cli/check_print.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"
#include "fs/cli/json_util.h"
#include "fs/cli/ui.h"

#define PATH_TEXT_MAX 4096

static const char *const class_names[] = {
	[CHECK_WRONG] = "wrong",
	[CHECK_DOUBT] = "in_doubt",
	[CHECK_NOTE] = "note",
};

struct check_print {
	const struct store *store;
	bool json;
	bool begun;
	uint64_t repaired_seq; /* 0: nothing was */
	uint64_t rounds;
	uint64_t begun_ns;
	bool drawn; /* a progress line is on the terminal */
};

struct check_print *check_print_new(const struct store *store, bool json)
{
	struct check_print *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->store = store;
	p->json = json;
	p->begun_ns = clock_mono_ns();
	return p;
}

void check_print_free(struct check_print *p)
{
	free(p);
}

/* ---- a finding ---- */

static bool has_range(const struct check_finding *f)
{
	return f->range.end > f->range.start && f->kind == CHECK_DATA;
}

static int found_json(struct check_print *p, const struct check_finding *f)
{
	_cleanup_json_ json_t *item = json_object();
	_cleanup_free_ char *text = NULL;

	if (json_put_text(item, "class", class_names[f->class]) ||
	    json_put_text(item, "kind", check_kind_name(f->kind)) ||
	    json_put_text(item, "text", check_kind_text(f->kind)) ||
	    json_put_number(item, "round", p->rounds))
		return -ENOMEM;
	if ((f->path && json_put_bytes(item, "path", f->path)) ||
	    (f->node && json_put_number(item, "node", f->node)) ||
	    (f->detail && json_put_text(item, "detail", f->detail)) ||
	    (f->count && json_put_number(item, "count", f->count)))
		return -ENOMEM;
	if (has_range(f) && (json_put_number(item, "start", f->range.start) ||
			     json_put_number(item, "end", f->range.end)))
		return -ENOMEM;
	text = json_dumps(item, JSON_COMPACT);
	if (!text)
		return -ENOMEM;
	(void)printf("%s\n  %s", p->begun ? "," : "{\"findings\": [", text);
	p->begun = true;
	return 0;
}

static void found_what(const struct check_finding *f)
{
	char path[PATH_TEXT_MAX];
	char size[SIZE_TEXT_MAX];

	if (f->path)
		(void)printf("%s: ", path_quote(path, sizeof(path),
						*f->path ? f->path : "/"));
	else if (f->node)
		(void)printf("node %" PRIu64 ": ", f->node);
	(void)fputs(check_kind_text(f->kind), stdout);
	if (f->detail)
		(void)printf(" (%s)", f->detail);
	if (has_range(f))
		(void)printf(" (bytes %" PRIu64 " to %" PRIu64 ")",
			     f->range.start, f->range.end);
	if (f->kind == CHECK_HOLES)
		(void)printf(" (%" PRIu64 " in all, %s)", f->count,
			     size_format(size, f->range.end));
	if (f->kind == CHECK_FOUND)
		(void)printf(" (%" PRIu64 " in all)", f->count);
	(void)putchar('\n');
}

int check_print_found(struct check_print *p, const struct check_finding *f)
{
	check_print_progress_end(p);
	if (p->json)
		return found_json(p, f);
	if (f->class == CHECK_DOUBT)
		return 0; /* counted at the end */
	(void)printf("%s%s%s ",
		     ui_paint(f->class == CHECK_WRONG ? UI_RED : UI_YELLOW),
		     f->class == CHECK_WRONG ? "wrong:" : "note:",
		     ui_paint(UI_PLAIN));
	found_what(f);
	return 0;
}

void check_print_repaired(struct check_print *p, uint64_t seq)
{
	p->repaired_seq = seq;
	p->rounds++;
	if (!p->json)
		(void)printf("repaired: the map follows the files, numbered "
			     "up to seq %" PRIu64 "; looking again\n",
			     seq);
}

/* ---- the end ---- */

bool check_print_is_open(const struct check_print *p)
{
	return p->json && p->begun;
}

static int end_json(struct check_print *p, const struct check_result *n,
		    bool complete)
{
	const struct store_identity *id = store_identity(p->store);
	_cleanup_json_ json_t *o = json_object();
	_cleanup_free_ char *text = NULL;

	if (json_put_bytes(o, "store", id->name) ||
	    json_put_text(o, "uuid", id->store_uuid) ||
	    json_put_text(o, "volume", id->volume_uuid) ||
	    json_put_bytes(o, "path", store_path(p->store)) ||
	    json_put_number(o, "names", n->names) ||
	    json_put_number(o, "rows", n->rows) ||
	    json_put_number(o, "intents", n->intents) ||
	    json_put_number(o, "wrong", n->wrong) ||
	    json_put_number(o, "in_doubt", n->in_doubt) ||
	    json_put_number(o, "notes", n->notes) ||
	    json_object_set_new(o, "complete", json_boolean(complete)) ||
	    json_object_set_new(o, "clean", json_boolean(n->clean)) ||
	    json_object_set_new(o, "resyncing", json_boolean(n->resyncing)) ||
	    json_object_set_new(o, "copied", json_boolean(n->copied)) ||
	    json_object_set_new(o, "unclean_copy",
				json_boolean(n->unclean_copy)) ||
	    json_put_number(o, "repaired_seq", p->repaired_seq))
		return -ENOMEM;
	text = json_dumps(o, JSON_INDENT(1));
	if (!text)
		return -ENOMEM;
	(void)printf("%s],\n%s\n", p->begun ? "" : "{\"findings\": [",
		     text + 2);
	return 0;
}

static void end_doubt(const struct check_result *n)
{
	char count[UI_WORDS_MAX];

	if (n->unclean_copy)
		(void)printf("A copy of a store that was in use, or was not "
			     "left cleanly: its files may not be\nwhat its map "
			     "says. All of it is compared when it is brought "
			     "in step.\n");
	else if (n->resyncing)
		(void)printf("A resync of this store was not finished; the "
			     "next one settles what is left.\n");
	else if (n->clean && n->intents && !n->armed)
		(void)printf("A store failed in a way that leaves %s in doubt; "
			     "the next mount or resync compares that.\n",
			     ui_count(count, n->intents, "place", "places"));
	else if (n->intents || !n->clean)
		(void)printf("The store was not left cleanly; the next mount "
			     "compares what was in work then.\n");
	if (n->in_doubt)
		(void)printf(
			"%s in doubt for that reason, not wrong\n",
			ui_count(count, n->in_doubt, "place is", "places are"));
}

static void end_text(struct check_print *p, const struct check_result *n,
		     const char *word)
{
	char count[3][UI_WORDS_MAX];
	char store[4 * PATH_TEXT_MAX];

	end_doubt(n);
	(void)printf("%s: %s and %s compared: %s\n",
		     store_identity(p->store)->name,
		     ui_count(count[0], n->names, "name", "names"),
		     ui_count(count[1], n->rows, "row", "rows"),
		     n->wrong ? ui_count(count[2], n->wrong, "disagreement",
					 "disagreements")
			      : "nothing is wrong");
	/* Nothing was compared: the map cannot be used, as the caller says. */
	if (!n->wrong || p->rounds || !n->names)
		return;
	(void)printf("If the files of this store are right, `seqmirror check "
		     "--repair %s` numbers them\nanew, and the other members "
		     "take them over. If another member is right, a scrub\n"
		     "compares them, and `seqmirror map` tells who has what.\n",
		     shell_word(store, sizeof(store), word, "STORE"));
}

int check_print_end(struct check_print *p, const struct check_result *result,
		    bool complete, const char *word)
{
	if (p->json)
		return end_json(p, result, complete);
	end_text(p, result, word);
	return 0;
}

int check_print_rebuilt(const struct store *store,
			const struct rebuild_counts *n)
{
	const struct store_identity *id = store_identity(store);
	_cleanup_json_ json_t *o = json_object();

	if (json_put_bytes(o, "store", id->name) ||
	    json_put_text(o, "uuid", id->store_uuid) ||
	    json_put_text(o, "volume", id->volume_uuid) ||
	    json_put_number(o, "nodes", n->nodes) ||
	    json_put_number(o, "entries", n->entries) ||
	    json_put_number(o, "bytes", n->bytes) ||
	    json_put_number(o, "found", n->found))
		return -ENOMEM;
	return json_print(o);
}

/* ---- progress, on a terminal only ---- */

void check_print_progress(struct check_print *p, uint64_t places)
{
	double seconds = (double)(clock_mono_ns() - p->begun_ns) / 1e9;

	if (seconds < 1 || !isatty(STDERR_FILENO))
		return;
	(void)fprintf(stderr, "\rchecking: %" PRIu64 " (%.0f/s)   ", places,
		      (double)places / seconds);
	p->drawn = true;
}

void check_print_progress_end(struct check_print *p)
{
	if (!p->drawn)
		return;
	(void)fprintf(stderr, "\r%40s\r", "");
	p->drawn = false;
}
