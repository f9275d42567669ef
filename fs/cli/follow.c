/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/cli/follow.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "fs/cli/json_util.h"
#include "fs/cli/ui.h"

#define ANSWER_MS 30000
/* Between two looks a twentieth of what it has lasted, and no more than: */
#define POLL_MS	 200
#define FIRST_MS 5
#define PATIENCE 20

static void draw(struct ui_progress *p, const char *what,
		 const json_t *progress, bool paused)
{
	struct ui_progress_state state = {
		.what = what,
		.phase = paused ? "paused" : json_text(progress, "phase"),
		.lap = json_number(progress, "lap"),
		.done_bytes = json_number(progress, "bytes_done"),
		.total_bytes = json_number(progress, "bytes_total"),
		.rate_bytes = (double)json_number(progress, "rate_bytes"),
		.eta_seconds = json_seconds(progress, "eta_seconds"),
	};

	ui_progress_draw(p, &state);
}

void follow_rest(uint64_t begun_ns)
{
	uint64_t ms = (clock_mono_ns() - begun_ns) / CLOCK_NS_PER_MS / PATIENCE;

	clock_sleep_ms(MIN(MAX(ms, (uint64_t)FIRST_MS), (uint64_t)POLL_MS));
}

char *follow_until_resume(char buf[static FOLLOW_TEXT_MAX],
			  const struct client *client)
{
	char path[FOLLOW_TEXT_MAX - 40];

	(void)snprintf(buf, FOLLOW_TEXT_MAX,
		       "until `seqmirror resync --resume %s`",
		       shell_word(path, sizeof(path), client_mountpoint(client),
				  "MOUNTPOINT"));
	return buf;
}

/* Once each time: it may be for ever, and a terminal is not always there. */
static void say_paused(const struct client *client, const char *what,
		       struct ui_progress *p, bool paused, bool *said)
{
	char until[FOLLOW_TEXT_MAX];

	if (paused && !*said) {
		ui_progress_end(p);
		ui_warn("%s: paused %s", what,
			follow_until_resume(until, client));
	}
	*said = paused;
}

/* What the daemon knows no more was removed: it names what it was asked for, which
 * is a UUID. */
static void tell_refusal(const json_t *refusal, const char *uuid,
			 const char *what)
{
	const char *text = json_text(refusal, "error");

	if (strncmp(text, uuid, strlen(uuid)) == 0)
		ui_error(what, "ended: the store was removed from the volume "
			       "meanwhile");
	else
		ui_error_line(*text ? text : "control socket: bad reply");
}

/* Return: 1 ended, 0 still at it, -errno (reported). */
static int look(struct client *client, const char *uuid, const char *what,
		struct ui_progress *p, bool *said, json_t **ret_state)
{
	_cleanup_json_ json_t *refusal = NULL;
	_cleanup_json_ json_t *state = NULL;
	int err = client_ask(
		client,
		json_pack("{s:s, s:s}", "op", "resync-state", "store", uuid),
		ANSWER_MS, &state, &refusal);

	if (refusal) {
		ui_progress_end(p);
		tell_refusal(refusal, uuid, what);
	}
	if (err)
		return err;
	/* One that waits for its turn runs not, and is at it all the same. */
	if (json_flag(state, "running") ||
	    strcmp(json_text(state, "state"), "resyncing") == 0) {
		say_paused(client, what, p, json_flag(state, "paused"), said);
		draw(p, what, json_object_get(state, "progress"),
		     json_flag(state, "paused"));
		return 0;
	}
	*ret_state = steal_pointer(&state);
	return 1;
}

int follow_resync(struct client *client, const json_t *begun,
		  json_t **ret_counts)
{
	/* Its name may be no text. */
	const char *uuid = json_text(begun, "uuid");
	_cleanup_json_ json_t *state = NULL;
	struct ui_progress progress;
	const char *failed;
	uint64_t begun_ns = clock_mono_ns();
	bool said = false;
	char what[300];
	int r;

	(void)snprintf(what, sizeof(what), "resync of %s",
		       json_text(begun, "store"));
	ui_progress_begin(&progress);
	while ((r = look(client, uuid, what, &progress, &said, &state)) == 0)
		follow_rest(begun_ns);
	ui_progress_end(&progress);
	if (r < 0)
		return r;
	if (strcmp(json_text(state, "state"), "online") == 0) {
		*ret_counts = json_incref(json_object_get(state, "result"));
		return 0;
	}
	failed = json_text(state, "failed");
	ui_error(what, "%s",
		 *failed ? failed : "ended before the store was in step");
	return -EIO;
}

void follow_print(const json_t *counts, bool forecast)
{
	char name[256];
	char text[3][SIZE_TEXT_MAX];
	char count[4][UI_WORDS_MAX];
	char time[UI_NUMBER_MAX];

	(void)text_escape(name, sizeof(name), json_text(counts, "store"));
	(void)printf("%s: seq %" PRIu64 " -> %" PRIu64 ", %s %s\n", name,
		     json_number(counts, "from_seq"),
		     json_number(counts, "to_seq"),
		     ui_count(count[0], json_number(counts, "nodes"), "node",
			      "nodes"),
		     forecast ? "to be brought in step" : "brought in step");
	(void)printf("  entries: %s made, %s removed, %s renamed\n",
		     ui_count(count[1], json_number(counts, "entries_created"),
			      "", ""),
		     ui_count(count[2], json_number(counts, "entries_removed"),
			      "", ""),
		     ui_count(count[3], json_number(counts, "entries_renamed"),
			      "", ""));
	(void)printf(
		"  data: %s copied, %s compared, %s unmapped\n",
		size_format(text[0], json_number(counts, "bytes_copied")),
		size_format(text[1], json_number(counts, "bytes_compared")),
		size_format(text[2], json_number(counts, "bytes_unmapped")));
	if (json_number(counts, "found"))
		(void)printf("  %s that the volume does not have: kept in "
			     ".seqmirror/found\n",
			     ui_count(count[0], json_number(counts, "found"),
				      "object", "objects"));
	if (json_number(counts, "bytes_short"))
		(void)printf("  its disk is too small: %s more than is free "
			     "are needed\n",
			     size_format(text[0],
					 json_number(counts, "bytes_short")));
	if (json_number(counts, "inodes_short"))
		(void)printf("  its filesystem has too few inodes: %" PRIu64
			     " more than are free are needed\n",
			     json_number(counts, "inodes_short"));
	if (!forecast)
		(void)printf("  in %s, %s\n",
			     ui_seconds(time, json_seconds(counts, "seconds")),
			     ui_count(count[0], json_number(counts, "laps"),
				      "lap", "laps"));
}

int follow_print_json(json_t *results)
{
	_cleanup_json_ json_t *many = NULL;

	if (json_array_size(results) == 1)
		return json_print(json_array_get(results, 0));
	many = json_pack("{s:O}", "results", results);
	return many ? json_print(many) : -ENOMEM;
}
