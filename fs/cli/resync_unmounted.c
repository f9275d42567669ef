/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `resync` between unmounted stores: done here, in this process.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "fs/cli/changes.h"
#include "fs/cli/cli.h"
#include "fs/cli/follow.h"
#include "fs/cli/interrupt.h"
#include "fs/cli/json_util.h"
#include "fs/cli/mountinfo.h"
#include "fs/cli/report.h"
#include "fs/cli/target.h"
#include "fs/cli/ui.h"
#include "fs/cli/waits.h"

static void on_progress(void *arg, const struct resync_progress *p)
{
	struct ui_progress_state state = {
		.what = "resync",
		.phase = p->phase,
		.lap = p->counts.laps + 1, /* those that have ended */
		.done_bytes = p->bytes_done,
		.total_bytes = p->bytes_total,
		.rate_bytes = p->rate_bytes,
		.eta_seconds = p->eta_seconds,
	};

	ui_progress_draw(arg, &state);
}

/* ---- the result ---- */

static int store_name(const char *path, char *buf, size_t size)
{
	struct store_identity id;
	int err = store_probe_identity(path, &id);

	(void)snprintf(buf, size, "%s", err ? path : id.name);
	return err;
}

/* @remark is about all of them. */
static int put_remark(json_t *result, const char *remark)
{
	if (*remark)
		return json_put_bytes(result, "remark", remark);
	return json_object_set_new(result, "remark", json_null()) ? -ENOMEM : 0;
}

static int show_results(const char *const *paths, int count,
			unsigned int source, const struct resync_counts *counts,
			const char *remark,
			const struct resync_request *request)
{
	_cleanup_json_ json_t *results = json_array();
	char name[PATH_MAX];
	int err = 0;

	for (int i = 0; !err && i < count; i++) {
		json_t *result;

		if ((unsigned int)i == source)
			continue;
		(void)store_name(paths[i], name, sizeof(name));
		result = json_object();
		err = report_counts(&counts[i], name, result);
		if (!err)
			err = put_remark(result, remark);
		if (!err && !request->json)
			follow_print(result, request->dry_run);
		if (!err && json_array_append(results, result))
			err = -ENOMEM;
		json_decref(result);
	}
	if (!err && request->json)
		err = follow_print_json(results);
	else if (!err && *remark)
		(void)printf("note: %s\n", remark);
	return err;
}

/* Which of the paths --prefer names: as a path, a name or a UUID. */
static int find_prefer(const char *word, const char *const *paths, int count)
{
	char path[PATH_MAX];

	if (path_absolute(word, path) < 0)
		*path = '\0';
	for (int i = 0; i < count; i++) {
		struct store_identity id;

		if (strcmp(paths[i], path) == 0)
			return i;
		if (store_probe_identity(paths[i], &id) == 0 &&
		    (strcmp(id.name, word) == 0 ||
		     strcmp(id.store_uuid, word) == 0))
			return i;
	}
	ui_error(word, "not one of the stores named");
	return -ENOENT;
}

static int resync(const struct resync_request *request,
		  const char *const *paths, int count)
{
	struct resync_counts counts[META_STORE_MAX] = {0};
	struct ui_progress progress;
	struct resync_control control = {
		.dry_run = request->dry_run,
		.should_stop = interrupt_stop,
		.progress = on_progress,
		.arg = &progress,
	};
	unsigned int source = 0;
	char why[RESYNC_WHY_MAX] = "";
	int prefer = -1;
	int err;

	if (request->bwlimit &&
	    size_parse(request->bwlimit, &control.bytes_per_second)) {
		ui_error(request->bwlimit, "not a rate, such as 20M");
		return -EINVAL;
	}
	if (request->prefer) {
		prefer = find_prefer(request->prefer, paths, count);
		if (prefer < 0)
			return prefer;
	}
	ui_progress_begin(&progress);
	err = resync_offline(paths, (size_t)count, prefer, &control, &source,
			     counts, why, sizeof(why));
	ui_progress_end(&progress);
	if (!err)
		return show_results(paths, count, source, counts, why, request);
	ui_error("resync", "%s", *why ? why : ui_why(err));
	return err;
}

static int all_stores(const char *const *paths, int count)
{
	for (int i = 0; i < count; i++) {
		struct store_identity id;
		int err;

		waits_for(paths[i]);
		err = store_probe_identity(paths[i], &id);

		if (!err)
			continue;
		ui_error(paths[i], "%s",
			 err == -ENOENT ? "not a store" : ui_why(err));
		return err;
	}
	return 0;
}

int resync_unmounted(const struct resync_request *request, char **paths,
		     int count)
{
	char absolute[META_STORE_MAX][PATH_MAX];
	const char *list[META_STORE_MAX];
	int err;

	if (count > META_STORE_MAX) {
		ui_error("resync", "%d stores at most", META_STORE_MAX);
		return CLI_USAGE;
	}
	for (int i = 0; i < count; i++) {
		err = path_absolute(paths[i], absolute[i]);
		if (err) {
			ui_error(paths[i], "%s", ui_why(err));
			return CLI_FAILED;
		}
		list[i] = absolute[i];
	}
	interrupt_prepare(false);
	err = all_stores(list, count);
	waits_for_any(list, (size_t)count);
	if (!err)
		err = resync(request, list, count);
	return err ? CLI_FAILED : CLI_DONE;
}
