/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check: an unmounted store against its own map.
 *
 * A repair may bring to light what it could not see before (the inside of a
 * directory that nobody knew), so it is repeated until a check finds nothing
 * that it could still put right.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "fs/cli/check_print.h"
#include "fs/cli/cli.h"
#include "fs/cli/interrupt.h"
#include "fs/cli/mountinfo.h"
#include "fs/cli/target.h"
#include "fs/cli/ui.h"
#include "fs/cli/waits.h"
#include "resync/rebuild.h"
#include "resync/side.h"

#define ROUNDS_MAX 8

enum {
	OPT_REPAIR = CLI_OPT_FIRST,
	OPT_REBUILD,
};

struct words {
	const char *word;
	char path[PATH_MAX];
	bool json;
	bool repair;
	bool rebuild;
};

struct session {
	const struct words *words;
	struct store *store;
	struct check_print *print;
	struct check_repair *repair; /* NULL: only look */
	uint64_t map_time_ns;
	struct check_result result; /* of the last round */
	bool complete;		    /* that round came to its end */
	bool unread;		    /* something, in a look before a repair */
	bool repaired;		    /* the map, and map_time_ns is as new */
	bool writes;		    /* the map is open for that */
	const char *lost; /* why the map cannot be used at all; NULL: it can */
};

/* ---- opening ---- */

static int open_store(const struct words *w, struct store **ret)
{
	struct store_identity id;
	int err = store_probe_identity(w->path, &id);

	if (!err)
		err = store_open(w->path, NULL, ret);
	if (!err && !w->repair && !w->rebuild)
		store_keep_modes(*ret);
	switch (err) {
	case 0:
		return 0;
	case -ENOENT:
	case -ENOTDIR:
		ui_error(w->word, "not a store");
		break;
	case -EUCLEAN:
		ui_error(w->word, "its identity (.seqmirror/store) is damaged: "
				  "nobody can tell which store this is; copy "
				  "what you need and make it anew");
		break;
	case -EBUSY:
		ui_error(w->word, "in use by another process; unmount the "
				  "volume or detach the store first");
		break;
	default:
		ui_error(w->word, "%s", ui_why(err));
		break;
	}
	return err;
}

static int map_error(const struct words *w, int err, const char *why)
{
	char store[4 * PATH_MAX];

	if (err == -ENOENT || err == -EUCLEAN)
		ui_error(w->word,
			 "the map is %s (%s); if another member of the volume "
			 "is good, take this one back with `seqmirror attach "
			 "--rebuild` or `resync --prefer`; if not, `seqmirror "
			 "check --rebuild %s` makes a new map from its files",
			 err == -ENOENT ? "missing" : "damaged",
			 why ? why : ui_why(err),
			 shell_word(store, sizeof(store), w->word, "STORE"));
	else
		ui_error(w->word, "its map cannot be opened: %s",
			 why ? why : ui_why(err));
	return err;
}

static int open_as(struct session *s, enum meta_open_mode mode,
		   struct meta **ret, char **ret_why)
{
	int err = meta_open(store_privdir(s->store), mode, ret, ret_why);

	s->writes = !err && mode == META_OPEN_RW;
	return err;
}

/* Since when is what is done to the store not ours? The map says it, or the times of
 * its files do, which whoever was killed after he had opened it has moved. */
static int read_left(struct session *s, struct meta *map)
{
	struct meta_reader *rd = meta_reader_get(map);
	uint64_t left = 0;
	int err = rd ? meta_left_get(rd, &left) : -ENOMEM;

	meta_reader_put(rd);
	if (left && (left < s->map_time_ns || !s->map_time_ns))
		s->map_time_ns = left;
	return err;
}

/* To look at it, which changes nothing; one of an older format can only be
 * opened for writing. */
static int open_map(struct session *s, struct meta **ret)
{
	_cleanup_free_ char *why = NULL;
	int err;

	s->map_time_ns = check_map_time(store_privdir(s->store));
	err = open_as(s, META_OPEN_RO, ret, &why);
	if (err == -EPROTO && s->repair) {
		free(steal_pointer(&why));
		err = open_as(s, META_OPEN_RW, ret, &why);
	}
	if (!err)
		err = read_left(s, *ret);
	return err ? map_error(s->words, err, why) : 0;
}

static int open_for_writing(struct session *s, struct meta **map)
{
	_cleanup_free_ char *why = NULL;
	int err;

	if (s->writes)
		return 0;
	meta_close(steal_pointer(map));
	err = open_as(s, META_OPEN_RW, map, &why);
	return err ? map_error(s->words, err, why) : 0;
}

/* ---- one check ---- */

static int on_found(void *arg, const struct check_finding *f)
{
	struct session *s = arg;
	int err = check_print_found(s->print, f);

	if (f->kind == CHECK_INTEGRITY || f->kind == CHECK_NOT_ITS_MAP ||
	    f->kind == CHECK_UNFINISHED)
		s->lost = check_kind_text(f->kind);
	if (!err && s->repair && f->class == CHECK_WRONG) {
		s->unread = s->unread || f->kind == CHECK_UNREADABLE;
		err = check_repair_note(s->repair, f);
	}
	return err;
}

static int on_poll(void *arg, uint64_t places)
{
	struct session *s = arg;

	check_print_progress(s->print, places);
	return interrupt_asked();
}

static int check_once(struct session *s, struct meta *map)
{
	const struct check_args args = {
		.side = {.store = s->store, .meta = map},
		.map_time_ns = s->map_time_ns,
		.found = on_found,
		.poll = on_poll,
		.arg = s,
	};
	_cleanup_free_ char *at = NULL;
	int err = check_store(&args, &s->result, &at);

	s->complete = !err;
	check_print_progress_end(s->print);
	if (err == -ECANCELED)
		ui_error("check", "interrupted");
	else if (err && at && *at)
		ui_error(s->words->word, "%s: %s", at, ui_why(err));
	else if (err)
		ui_error(s->words->word, "%s", ui_why(err));
	return err;
}

static int verdict(const struct session *s)
{
	if (s->lost)
		return map_error(s->words, -EUCLEAN, s->lost);
	return s->result.wrong ? 1 : 0;
}

/* What was printed is one object also where an error follows. */
static int print_end(struct session *s, int err)
{
	int printed;

	if (err < 0 && !check_print_is_open(s->print))
		return err;
	printed = check_print_end(s->print, &s->result, s->complete,
				  s->words->word);
	return err < 0 ? err : printed;
}

static int look(struct session *s)
{
	struct meta *map = NULL;
	int err = open_map(s, &map);

	if (!err)
		err = check_once(s, map);
	meta_close(map);
	err = print_end(s, err);
	return err ? err : verdict(s);
}

/* ---- repair ---- */

static int repair_refused(const struct words *w, int err)
{
	if (err == -EBUSY)
		ui_error(w->word,
			 "not repaired: the volume was not left cleanly or a "
			 "resync was not finished; mount it first, which "
			 "settles that, then unmount and repair");
	else if (err == -ESTALE)
		ui_error(w->word,
			 "not repaired: this store is a copy; mount it first, "
			 "which finds its files by their paths, then unmount "
			 "and repair");
	else if (err == -ECANCELED) /* of all this only that is polled */
		ui_error(w->word,
			 "interrupted while the files of this copy were found "
			 "and its hard links made again; nothing is repaired "
			 "yet, the same command or a mount goes on from here");
	else
		ui_error(w->word, "cannot be repaired: %s", ui_why(err));
	return err;
}

static int read_number(struct meta *map, enum meta_number what, uint64_t *ret)
{
	struct meta_reader *rd = meta_reader_get(map);
	int err = rd ? meta_number_get(rd, what, ret) : -ENOMEM;

	meta_reader_put(rd);
	return err;
}

/* Before which nothing is ours, but for what this has moved itself: a mode that was
 * lifted, and the links of a copy. */
static uint64_t look_time(const struct session *s, uint64_t begun_ns, bool copy)
{
	return copy || store_has_lifted(s->store) ? 0 : begun_ns;
}

/*
 * From now on the map is newer than all that was changed behind it, what somebody
 * changes while this looks and repairs among it. So the next look takes for changed
 * what is younger than the one before it (@begun_ns): but for what this has moved
 * itself, a mode that was lifted, and the links of a copy. To close a map writes it:
 * that comes before the look, since what is changed during the last one is for the
 * next check to find.
 */
static int next_look(struct session *s, struct meta **map, uint64_t begun_ns,
		     bool copy)
{
	_cleanup_free_ char *why = NULL;
	int err;

	s->map_time_ns = look_time(s, begun_ns, copy);
	s->repaired = true;
	meta_close(steal_pointer(map));
	err = open_as(s, META_OPEN_RO, map, &why);
	return err ? map_error(s->words, err, why) : 1;
}

/* 1: something was put right, look again; 0: nothing is left to do. The time of
 * the map is evidence, so it is not touched before it is to be changed. */
static int repair_once(struct session *s, struct meta **map)
{
	struct resync_side side = {
		.store = s->store,
		.meta = *map,
		.should_stop = interrupt_stop,
	};
	uint64_t begun_ns = check_time_tick(store_privdir(s->store));
	uint64_t seq = 0, copy = 0;
	int err = check_once(s, *map);

	if (err || !s->result.wrong)
		return err;
	err = check_repair_may(s->repair, &side);
	if (err <= 0)
		return err ? repair_refused(s->words, err) : 0;
	err = open_for_writing(s, map);
	if (err)
		return err;
	side.meta = *map;
	err = read_number(*map, META_NUM_COPY, &copy);
	if (!err)
		err = check_repair_run(s->repair, &side,
				       look_time(s, begun_ns, copy), &seq);
	if (err <= 0)
		return err ? repair_refused(s->words, err) : 0;
	check_print_repaired(s->print, seq);
	return next_look(s, map, begun_ns, copy);
}

/*
 * To look at what shuts its owner out, the mode was lifted, and that moves the
 * time by which the next check would know a change. All of it has just been
 * compared: the map is as new. Only then: what somebody else changes before this
 * is over would be as old.
 */
static int renew_time(struct session *s, struct meta **map)
{
	uint64_t clean = 0;
	int err = open_for_writing(s, map);

	if (err)
		return err;
	err = read_number(*map, META_NUM_CLEAN, &clean);
	if (!err)
		err = meta_begin(*map);
	if (!err) {
		err = meta_number_set(*map, META_NUM_CLEAN, clean);
		if (!err)
			err = meta_commit(*map);
		else
			meta_rollback(*map);
	}
	if (err)
		ui_error(s->words->word, "the map cannot be written: %s",
			 ui_why(err));
	return err;
}

static int repair(struct session *s)
{
	struct meta *map = NULL;
	uint64_t before = UINT64_MAX;
	int err = 1;

	for (int round = 0; err > 0 && round < ROUNDS_MAX; round++) {
		s->repair = check_repair_new();
		if (!s->repair)
			return -ENOMEM;
		if (round == 0)
			err = open_map(s, &map);
		if (err >= 0)
			err = repair_once(s, &map);
		check_repair_free(s->repair);
		s->repair = NULL;
		/* It does not get better; but once, for what was changed during
		 * the first look. */
		if (round > 1 && s->result.wrong >= before)
			break;
		before = s->result.wrong;
	}
	if (!err && !s->result.wrong && store_has_lifted(s->store))
		err = renew_time(s, &map);
	meta_close(map);
	err = print_end(s, err);
	if (!err && s->unread && s->repaired && !s->result.wrong) {
		ui_error(s->words->word,
			 "something could not be read before the map was "
			 "repaired, and whether it had been changed is not "
			 "known any more; a scrub compares it with the other "
			 "stores");
		return -EIO;
	}
	return err < 0 ? err : verdict(s);
}

static int check(const struct words *w)
{
	struct session s = {.words = w};
	int err = open_store(w, &s.store);

	if (err)
		return err;
	s.print = check_print_new(s.store, w->json);
	if (!s.print)
		err = -ENOMEM;
	else
		err = w->repair ? repair(&s) : look(&s);
	check_print_free(s.print);
	store_close(s.store);
	return err;
}

/* ---- rebuild ---- */

static int rebuild_print(const struct words *w, const struct store *store,
			 const struct rebuild_counts *n)
{
	char entries[UI_WORDS_MAX];
	char size[SIZE_TEXT_MAX];
	const char *name = store_identity(store)->name;

	if (w->json)
		return check_print_rebuilt(store, n);
	(void)printf("%s has a new map: %s, %s\n", name,
		     ui_count(entries, n->entries, "entry", "entries"),
		     size_format(size, n->bytes));
	(void)printf("It shares no history with other members of its volume. "
		     "To have them as well,\nlet one side win: `seqmirror "
		     "resync --prefer STORE STORE STORE` compares all.\n");
	if (n->found)
		(void)printf("%s moved from .seqmirror/limbo to "
			     ".seqmirror/found\n",
			     ui_count(entries, n->found, "object", "objects"));
	return 0;
}

/* 1: it has a map, which says nothing about its files. */
static int is_unclean_copy(struct store *store)
{
	struct resync_side side = {.store = store};
	struct meta_reader *rd = NULL;
	int r = meta_open(store_privdir(store), META_OPEN_RO, &side.meta, NULL);

	if (!r) {
		rd = meta_reader_get(side.meta);
		r = rd ? side_is_unclean_copy(&side, rd) : -EIO;
	}
	meta_reader_put(rd);
	meta_close(side.meta);
	return r;
}

static int rebuild(const struct words *w)
{
	struct rebuild_counts counts = {0};
	_cleanup_free_ char *lost = NULL;
	struct store *store = NULL;
	char why[RESYNC_WHY_MAX] = "";
	int err = open_store(w, &store);

	if (err)
		return err;
	err = rebuild_is_lost(store, true, &lost);
	if (err == 0)
		err = is_unclean_copy(store);
	if (err == 0) {
		ui_error(w->word, "the map is sound, nothing is rebuilt; "
				  "`--repair` takes over what disagrees");
		err = -EINVAL;
	} else if (err < 0) {
		err = map_error(w, err, lost);
	} else {
		err = rebuild_alone(store, &counts, why, sizeof(why));
		if (err)
			ui_error(w->word, "%s", *why ? why : ui_why(err));
		else
			err = rebuild_print(w, store, &counts);
	}
	store_close(store);
	return err;
}

/* ---- words ---- */

static int parse(const struct cli_command *self, int argc, char **argv,
		 struct words *w)
{
	static const struct option options[] = {
		CLI_COMMON_OPTIONS,
		{"repair", no_argument, NULL, OPT_REPAIR},
		{"rebuild", no_argument, NULL, OPT_REBUILD},
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
		case OPT_REPAIR:
			w->repair = true;
			break;
		case OPT_REBUILD:
			w->rebuild = true;
			break;
		default:
			return cli_wrong(self, argv, NULL);
		}
	}
	if (argc - optind != 1)
		return cli_wrong(self, argv, "one STORE, please");
	if (w->repair && w->rebuild)
		return cli_wrong(self, argv, "--repair or --rebuild, not both");
	w->word = argv[optind];
	return -1;
}

static int run(const struct cli_command *self, int argc, char **argv)
{
	struct words words = {0};
	int status = parse(self, argc, argv, &words);
	int err;

	if (status >= 0)
		return status;
	err = path_absolute(words.word, words.path);
	if (err) {
		ui_error(words.word, "%s", ui_why(err));
		return CLI_FAILED;
	}
	interrupt_prepare(false);
	waits_for(words.word);
	err = words.rebuild ? rebuild(&words) : check(&words);
	return err ? CLI_FAILED : CLI_DONE;
}

const struct cli_command cmd_check = {
	.name = "check",
	.synopsis = "[--repair|--rebuild] [--json] STORE",
	.summary = "compare an unmounted store with its own map",
	.help = "      --repair   the files of this store are right: number "
		"anew what\n"
		"                 disagrees; the other members take it over\n"
		"      --rebuild  make a lost map anew from the files\n"
		"      --json     one JSON object\n"
		"  -h, --help     this text\n"
		"\n"
		"The status is 1 if anything is wrong. What lies in "
		".seqmirror/found was put\n"
		"there because nothing of the volume could lie where it was; "
		"it is yours.\n",
	.run = run,
};
