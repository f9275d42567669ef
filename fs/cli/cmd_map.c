/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/text.h"
#include "fs/cli/cli.h"
#include "fs/cli/control.h"
#include "fs/cli/json_util.h"
#include "fs/cli/ui.h"
#include "fs/cli/waits.h"

struct file {
	uint64_t node;
	uint64_t size;
	unsigned int major;
	unsigned int minor;
};

/* Dirty pages go out first: the map knows what was written, not what the
 * kernel still holds. */
static int file_look(const char *path, struct file *ret)
{
	_cleanup_close_ int fd =
		open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
	if (fsync(fd) < 0)
		return -errno;
	*ret = (struct file){
		.node = st.st_ino,
		.size = (uint64_t)st.st_size,
		.major = major(st.st_dev),
		.minor = minor(st.st_dev),
	};
	return 0;
}

static int collect(void *arg, const json_t *item)
{
	return json_array_append(arg, (json_t *)item) ? -ENOMEM : 0;
}

static int ask(const char *path, const struct file *file, json_t **ret_map)
{
	_cleanup_client_ struct client *client = NULL;
	_cleanup_json_ json_t *extents = json_array();
	_cleanup_json_ json_t *reply = NULL;
	_cleanup_json_ json_t *map = NULL;
	int err = client_open_dev(file->major, file->minor, path, &client);

	if (err)
		return err;
	err = client_call(client,
			  json_pack("{s:s, s:I}", "op", "map", "node",
				    (json_int_t)file->node),
			  -1, collect, extents, &reply);
	if (err)
		return err;
	map = json_object();
	if (json_put_bytes(map, "path", path) ||
	    json_put_number(map, "node", file->node) ||
	    json_put_number(map, "size", file->size) ||
	    json_object_update(map, reply) || json_object_del(map, "ok") ||
	    json_object_set(map, "extents", extents))
		return -ENOMEM;
	*ret_map = steal_pointer(&map);
	return 0;
}

/* What lies between the extents, up to the size: under the key "holes". */
static int put_holes(json_t *map, uint64_t size)
{
	const json_t *extents = json_object_get(map, "extents");
	json_t *holes = json_array();
	uint64_t at = 0;

	if (json_object_set_new(map, "holes", holes))
		return -ENOMEM;
	for (size_t i = 0; i < json_array_size(extents); i++) {
		const json_t *extent = json_array_get(extents, i);
		uint64_t start = MIN(json_number(extent, "start"), size);

		if (start > at &&
		    json_array_append_new(holes,
					  json_pack("{s:I, s:I}", "start",
						    (json_int_t)at, "end",
						    (json_int_t)start)))
			return -ENOMEM;
		at = json_number(extent, "end");
	}
	if (at < size &&
	    json_array_append_new(holes, json_pack("{s:I, s:I}", "start",
						   (json_int_t)at, "end",
						   (json_int_t)size)))
		return -ENOMEM;
	return 0;
}

static int row(struct ui_table *t, uint64_t start, uint64_t end,
	       const char *seq)
{
	char size[SIZE_TEXT_MAX];

	return ui_table_cell(t, UI_PLAIN, "%" PRIu64, start) ||
			       ui_table_cell(t, UI_PLAIN, "%" PRIu64, end) ||
			       ui_table_cell(t, UI_PLAIN, "%s",
					     size_format(size, end - start)) ||
			       ui_table_cell(t, UI_PLAIN, "%s", seq)
		       ? -ENOMEM
		       : 0;
}

/* Extents and holes in the order of the file. */
static int rows(struct ui_table *t, const json_t *map, uint64_t size)
{
	const json_t *extents = json_object_get(map, "extents");
	uint64_t at = 0;
	char seq[UI_WORDS_MAX];
	int err = 0;

	for (size_t i = 0; i < json_array_size(extents); i++) {
		const json_t *extent = json_array_get(extents, i);
		uint64_t start = json_number(extent, "start");
		uint64_t end = json_number(extent, "end");

		if (start > at && at < size)
			err = row(t, at, MIN(start, size), "hole");
		if (!err)
			err = row(t, start, end,
				  ui_count(seq, json_number(extent, "seq"), "",
					   ""));
		if (err)
			return err;
		at = end;
	}
	return at < size ? row(t, at, size, "hole") : 0;
}

static int print_map(const json_t *map)
{
	_cleanup_ui_table_ struct ui_table *t = ui_table_new(4, 0xf);
	const char *heads[] = {"START", "END", "LENGTH", "SEQ"};
	const json_t *stores = json_object_get(map, "stores");
	uint64_t size = json_number(map, "size");
	char text[SIZE_TEXT_MAX];
	char name[256];

	if (!t)
		return -ENOMEM;
	(void)printf("node %" PRIu64 ", %s, last changed under seq %" PRIu64
		     "\n",
		     json_number(map, "node"), size_format(text, size),
		     json_number(map, "seq"));
	for (size_t i = 0; i < ARRAY_SIZE(heads); i++)
		if (ui_table_cell(t, UI_BOLD, "%s", heads[i]))
			return -ENOMEM;
	if (rows(t, map, size))
		return -ENOMEM;
	ui_table_print(t);
	for (size_t i = 0; i < json_array_size(stores); i++) {
		const json_t *store = json_array_get(stores, i);
		(void)text_escape(name, sizeof(name), json_text(store, "name"));
		(void)printf("%s: %s\n", name,
			     json_flag(store, "current") ? "current"
							 : "has an older one");
	}
	return 0;
}

static int show(const char *path, bool json)
{
	_cleanup_json_ json_t *map = NULL;
	struct file file = {0};
	int err;

	waits_for(path);
	err = file_look(path, &file);

	if (err) {
		ui_error(path, "%s",
			 err == -EINVAL || err == -EISDIR || err == -ELOOP ||
					 err == -ENXIO
				 ? "not an ordinary file"
				 : ui_why(err));
		return err;
	}
	err = ask(path, &file, &map);
	if (err)
		return err;
	err = put_holes(map, file.size);
	if (!err)
		err = json ? json_print(map) : print_map(map);
	if (err)
		ui_error(path, "%s", ui_why(err));
	return err;
}

static int run(const struct cli_command *self, int argc, char **argv)
{
	static const struct option options[] = {CLI_COMMON_OPTIONS, {0}};
	bool json = false;
	int opt;

	while ((opt = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (opt) {
		case CLI_OPT_HELP:
			return cli_help(self);
		case CLI_OPT_JSON:
			json = true;
			break;
		default:
			return cli_wrong(self, argv, NULL);
		}
	}
	if (argc - optind != 1)
		return cli_wrong(self, argv, "one FILE, please");
	return show(argv[optind], json) ? CLI_FAILED : CLI_DONE;
}

const struct cli_command cmd_map = {
	.name = "map",
	.synopsis = "[--json] FILE",
	.summary = "show a file's extents, holes and who has it current",
	.help = "      --json  one JSON object\n"
		"  -h, --help  this text\n"
		"\n"
		"FILE lies on a mounted volume.\n",
	.run = run,
};
