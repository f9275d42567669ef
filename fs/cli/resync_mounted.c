/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `resync` of a mounted volume: its daemon does it.
 */
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "fs/cli/cli.h"
#include "fs/cli/follow.h"
#include "fs/cli/json_util.h"
#include "fs/cli/target.h"
#include "fs/cli/ui.h"

static int collect(void *arg, const json_t *item)
{
	return json_array_append(arg, (json_t *)item) ? -ENOMEM : 0;
}

/* Those of the members asked for that cannot be reached: a line each. */
static size_t report_failed(const json_t *items)
{
	size_t failed = 0;

	for (size_t i = 0; i < json_array_size(items); i++) {
		const json_t *item = json_array_get(items, i);
		const char *why = json_text(item, "error");

		if (!*why)
			continue;
		ui_error(json_text(item, "store"), "%s", why);
		failed++;
	}
	return failed;
}

static int call(struct client *client, const char *op, const char *store,
		json_t *items)
{
	_cleanup_json_ json_t *reply = NULL;
	json_t *request = json_pack("{s:s}", "op", op);

	if (store && target_put_store(request, store)) {
		json_decref(request);
		return -ENOMEM;
	}
	return client_call(client, request, -1, collect, items, &reply);
}

static int set(struct client *client, const struct resync_request *r,
	       const char *store, json_t **ret_reply)
{
	json_t *request = json_pack("{s:s}", "op", "resync-set");
	uint64_t rate;
	int err = request ? 0 : -ENOMEM;

	if (!err && r->bwlimit) {
		err = size_parse(r->bwlimit, &rate);
		if (err)
			ui_error(r->bwlimit, "not a rate, such as 20M");
		else
			err = json_put_number(request, "rate", rate);
	}
	if (!err && (r->pause || r->resume))
		err = json_object_set_new(request, "paused",
					  json_boolean(r->pause));
	if (!err && r->cancel)
		err = json_object_set_new(request, "cancel", json_true());
	if (!err && r->cancel && store)
		err = target_put_store(request, store);
	if (err) {
		json_decref(request);
		return err;
	}
	return client_call(client, request, -1, NULL, NULL, ret_reply);
}

/* What holds from now on: a pause, for those that have not begun too. */
static int print_set(const struct client *client, json_t *reply, bool json)
{
	char until[FOLLOW_TEXT_MAX];

	if (json)
		return json_object_del(reply, "ok") ? -ENOMEM
						    : json_print(reply);
	if (json_flag(reply, "paused"))
		(void)printf("%s %s\n",
			     json_flag(reply, "running")
				     ? "resyncs are paused"
				     : "no resync is running, and none begins",
			     follow_until_resume(until, client));
	return 0;
}

static int forecast(struct client *client, const char *store, bool json)
{
	_cleanup_json_ json_t *items = json_array();
	size_t failed;
	int err = call(client, "resync-forecast", store, items);

	if (err)
		return err;
	failed = report_failed(items);
	if (json)
		return follow_print_json(items) || failed ? -EIO : 0;
	if (!json_array_size(items))
		(void)printf("all stores are in step\n");
	for (size_t i = 0; i < json_array_size(items); i++) {
		const json_t *item = json_array_get(items, i);
		if (!json_object_get(item, "error"))
			follow_print(item, true);
	}
	return failed ? -EIO : 0;
}

/* What came of it; @already: nothing was to be done. Return: 0, -errno */
static int show_result(json_t *counts, bool already, bool json, json_t *results)
{
	char name[256];

	if (!json && already) {
		(void)text_escape(name, sizeof(name),
				  json_text(counts, "store"));
		(void)printf("%s is in step already\n", name);
	} else if (!json && json_is_object(counts)) {
		follow_print(counts, false);
	}
	return json_is_object(counts) && json_array_append(results, counts)
		       ? -ENOMEM
		       : 0;
}

/* Wait for each that was begun. */
static int follow_all(struct client *client, const json_t *items, bool json)
{
	_cleanup_json_ json_t *results = json_array();
	int worst = 0;

	for (size_t i = 0; i < json_array_size(items); i++) {
		const json_t *item = json_array_get(items, i);
		json_t *already = json_object_get(item, "already");
		_cleanup_json_ json_t *counts = json_incref(already);
		int err = 0;

		if (json_object_get(item, "error"))
			continue;
		if (!already)
			err = follow_resync(client, item, &counts);
		if (!err)
			err = show_result(counts, already, json, results);
		if (err)
			worst = err;
	}
	if (json && follow_print_json(results))
		worst = -EIO;
	return worst;
}

static void print_begun(const struct client *client, const json_t *items)
{
	char until[FOLLOW_TEXT_MAX];
	char name[256];

	if (!json_array_size(items))
		(void)printf("all stores are in step\n");
	for (size_t i = 0; i < json_array_size(items); i++) {
		const json_t *item = json_array_get(items, i);
		if (json_object_get(item, "error"))
			continue;
		(void)text_escape(name, sizeof(name), json_text(item, "store"));
		if (strcmp(json_text(item, "state"), "online") == 0)
			(void)printf("%s is in step\n", name);
		else if (json_flag(item, "paused"))
			(void)printf("%s is back, and resyncs are paused %s\n",
				     name, follow_until_resume(until, client));
		else
			(void)printf("%s is being resynced\n", name);
	}
}

static int print_begun_json(json_t *items)
{
	for (size_t i = 0; i < json_array_size(items); i++)
		/* Most have none. */
		(void)json_object_del(json_array_get(items, i), "already");
	return follow_print_json(items);
}

static int begin(struct client *client, const struct resync_request *r,
		 const char *store)
{
	_cleanup_json_ json_t *items = json_array();
	size_t failed;
	int err = call(client, "resync", store, items);

	if (err)
		return err;
	failed = report_failed(items);
	if (r->wait)
		err = follow_all(client, items, r->json);
	else if (r->json)
		err = print_begun_json(items);
	else
		print_begun(client, items);
	return err || failed ? -EIO : 0;
}

int resync_mounted(const struct resync_request *request, const char *mountpoint,
		   const char *store)
{
	_cleanup_client_ struct client *client = NULL;
	_cleanup_json_ json_t *reply = NULL;
	bool steers = request->pause || request->resume || request->cancel;
	int err = target_open_mount(mountpoint, &client);

	if (!err && (steers || request->bwlimit))
		err = set(client, request, store, &reply);
	if (err)
		return CLI_FAILED;
	if (steers)
		return print_set(client, reply, request->json) ? CLI_FAILED
							       : CLI_DONE;
	err = request->dry_run ? forecast(client, store, request->json)
			       : begin(client, request, store);
	return err ? CLI_FAILED : CLI_DONE;
}
