/* SPDX-License-Identifier: Apache-2.0 */
/*
 * First whether the map can be believed at all, then its rows, then the tree.
 */
#include "resync/check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "resync/check_internal.h"
#include "resync/side.h"

/* Some filesystems have whole seconds. */
#define TICK_NS_MAX  (2 * CLOCK_NS_PER_SEC)
#define TICK_LOOK_MS 1

/* ---- words ---- */

static const struct {
	const char *name;
	const char *text;
} kinds[] = {
	[CHECK_INTEGRITY] = {"integrity", "the map's pages are damaged"},
	[CHECK_NOT_ITS_MAP] = {"not_its_map", "the map is another store's"},
	[CHECK_UNFINISHED] = {"unfinished", "the map was never finished"},
	[CHECK_NO_MEMBER] = {"no_member",
			     "the map does not name its own store"},
	[CHECK_COPY] = {"copy", "this store was copied from where its map was "
				"made; its files are found by their paths"},
	[CHECK_NO_BALLAST] = {"no_ballast",
			      "no room is reserved for a full disk; a mount "
			      "does that with its next checkpoint"},
	[CHECK_LIMBO] = {"limbo", "left over in .seqmirror/limbo"},
	[CHECK_FOUND] = {"found", "kept in .seqmirror/found: it lay where "
				  "nothing of the volume could lie; move it "
				  "into the mounted volume, or delete it"},
	[CHECK_UNKNOWN] = {"unknown", "not in the map"},
	[CHECK_MISSING] = {"missing", "in the map, but no such file"},
	[CHECK_KIND] = {"kind", "another kind of file than in the map"},
	[CHECK_IDENTITY] = {"identity", "not the file that the map knows under "
					"this name"},
	[CHECK_OUTSIDE_LINK] = {"outside_link",
				"a hard link to it lies outside of the volume; "
				"whoever writes there writes here"},
	[CHECK_LOST_LINK] = {"lost_link",
			     "a file of its own, where the map has a hard "
			     "link"},
	[CHECK_MOUNTED] = {"mounted", "another filesystem is mounted there"},
	[CHECK_UNREADABLE] = {"unreadable", "it cannot be read"},
	[CHECK_DATA] = {"data", "data where the map has a hole"},
	[CHECK_CHANGED] = {"changed",
			   "changed after the store was last in use"},
	[CHECK_HOLES] = {"holes", "ranges of zeros that the map has and the "
				  "files have as holes"},
	[CHECK_DANGLING] = {"dangling", "the map has the name, but no node"},
	[CHECK_NO_DIRECTORY] = {"no_directory",
				"the map has entries in what is no directory"},
	[CHECK_NO_NAME] = {"no_name", "the map has a node without a name"},
	[CHECK_TWO_PARENTS] = {"two_parents",
			       "the map has one directory at several places"},
	[CHECK_CYCLE] = {"cycle", "the map has a directory below itself"},
	[CHECK_ONE_FILE] = {"one_file", "the map has one file for two nodes"},
	[CHECK_EXTENT] = {"extent", "the map's extents make no sense"},
	[CHECK_NUMBER] = {"number", "a number that cannot be"},
	[CHECK_RESERVED] = {"reserved", "a number that was never given away"},
};

const char *check_kind_name(enum check_kind kind)
{
	return kinds[kind].name;
}

const char *check_kind_text(enum check_kind kind)
{
	return kinds[kind].text;
}

/* ---- telling ---- */

int check_tell(struct check *c, const struct check_finding *f)
{
	uint64_t *const counts[] = {
		[CHECK_WRONG] = &c->n->wrong,
		[CHECK_DOUBT] = &c->n->in_doubt,
		[CHECK_NOTE] = &c->n->notes,
	};

	++*counts[f->class];
	return c->args->found ? c->args->found(c->args->arg, f) : 0;
}

static int tell_kind(struct check *c, enum check_class class,
		     enum check_kind kind)
{
	return check_tell(
		c, &(struct check_finding){.kind = kind, .class = class});
}

int check_poll(struct check *c, uint64_t names, uint64_t rows)
{
	uint64_t before = c->n->names + c->n->rows;

	c->n->names += names;
	c->n->rows += rows;
	if (!c->args->poll ||
	    before / 1024 == (c->n->names + c->n->rows) / 1024)
		return 0;
	return c->args->poll(c->args->arg, c->n->names + c->n->rows)
		       ? -ECANCELED
		       : 0;
}

uint64_t check_map_time(const char *privdir)
{
	static const char *const names[] = {"meta.db", "meta.db-wal"};
	uint64_t newest = 0;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		_cleanup_free_ char *path = NULL;
		struct stat st;

		if (asprintf(&path, "%s/%s", privdir, names[i]) < 0) {
			path = NULL;
			return 0;
		}
		if (stat(path, &st) < 0)
			continue;
		newest = MAX(newest,
			     (uint64_t)st.st_mtim.tv_sec * CLOCK_NS_PER_SEC +
				     (uint64_t)st.st_mtim.tv_nsec);
	}
	return newest;
}

uint64_t check_time_now(const char *privdir)
{
	_cleanup_free_ char *path = NULL;
	struct stat st;

	if (asprintf(&path, "%s/lock", privdir) < 0) {
		path = NULL;
		return 0;
	}
	if (utimensat(AT_FDCWD, path, NULL, AT_SYMLINK_NOFOLLOW) < 0 ||
	    lstat(path, &st) < 0)
		return 0;
	return clock_timespec_ns(&st.st_ctim);
}

uint64_t check_time_tick(const char *privdir)
{
	const uint64_t until_ns = clock_mono_ns() + TICK_NS_MAX;
	const uint64_t first = check_time_now(privdir);
	uint64_t now = first;

	while (now && now == first && clock_mono_ns() < until_ns) {
		clock_sleep_ms(TICK_LOOK_MS);
		now = check_time_now(privdir);
	}
	return now == first ? now : now - 1;
}

/* ---- the map as a whole, and the store's own files ---- */

static int own_member(struct check *c, bool *ret_there)
{
	_cleanup_free_ struct meta_member *v =
		calloc(META_STORE_MAX, sizeof(*v));
	size_t count = 0;
	int r = v ? meta_members(c->rd, v, &count) : -ENOMEM;

	*ret_there = false;
	for (size_t i = 0; !r && i < count; i++)
		*ret_there |= !strcmp(
			v[i].uuid, store_identity(c->side->store)->store_uuid);
	return r;
}

static int read_numbers(struct check *c)
{
	uint64_t clean = 0, resyncing = 0, copy = 0;
	int r = meta_number_get(c->rd, META_NUM_SEQ_RESERVED, &c->seq_reserved);

	if (!r)
		r = meta_number_get(c->rd, META_NUM_NODE_RESERVED,
				    &c->node_reserved);
	if (!r)
		r = meta_number_get(c->rd, META_NUM_CLEAN, &clean);
	if (!r)
		r = meta_number_get(c->rd, META_NUM_RESYNCING, &resyncing);
	if (!r)
		r = meta_number_get(c->rd, META_NUM_COPY, &copy);
	if (!r)
		r = side_is_unclean_copy(c->side, c->rd);
	c->n->unclean_copy = r > 0;
	if (r >= 0)
		r = side_is_copied(c->side, c->rd);
	if (r < 0)
		return r;
	c->n->copied = r > 0;
	c->unsettled = r > 0 || copy;
	c->n->clean = clean;
	c->n->resyncing = resyncing;
	return 0;
}

/* Is it worth looking at the rows? 1 yes, 0 no (told). */
static int check_map(struct check *c)
{
	const struct store_identity *id = store_identity(c->side->store);
	_cleanup_free_ struct meta_epoch *epochs = NULL;
	size_t count = 0;
	bool member;
	int r = meta_integrity(c->rd);

	if (r < 0)
		return r;
	if (r == 0)
		return tell_kind(c, CHECK_WRONG, CHECK_INTEGRITY);
	if (strcmp(meta_volume_uuid(c->side->meta), id->volume_uuid) ||
	    strcmp(meta_store_uuid(c->side->meta), id->store_uuid))
		return tell_kind(c, CHECK_WRONG, CHECK_NOT_ITS_MAP);
	r = meta_epochs(c->rd, &epochs, &count);
	if (r)
		return r;
	if (!count)
		return tell_kind(c, CHECK_WRONG, CHECK_UNFINISHED);
	r = own_member(c, &member);
	if (!r && !member)
		r = tell_kind(c, CHECK_WRONG, CHECK_NO_MEMBER);
	if (!r)
		r = read_numbers(c);
	if (!r)
		r = check_doubt_load(c);
	c->n->intents = c->doubt.intents.count;
	if (!r && c->n->copied)
		r = tell_kind(c, CHECK_NOTE, CHECK_COPY);
	return r ? r : 1;
}

static int tell_limbo(void *arg, const struct store_dirent *e)
{
	struct check *c = arg;
	/* What was open at a crash, or a link of a copy that was being made; the
	 * next mount removes it. */
	bool gone = !strncmp(e->name, STORE_GONE, strlen(STORE_GONE)) ||
		    side_is_aside(e->name);

	return check_tell(
		c, &(struct check_finding){
			   .kind = CHECK_LIMBO,
			   .class = gone || c->n->resyncing || c->n->intents
					    ? CHECK_DOUBT
					    : CHECK_WRONG,
			   .path = e->name,
		   });
}

static int count_found(void *arg, const struct store_dirent *e)
{
	(void)e;
	++*(uint64_t *)arg;
	return 0;
}

static int check_private(struct check *c)
{
	const struct store *s = c->side->store;
	_cleanup_free_ char *ballast = NULL;
	uint64_t found = 0;
	struct stat st;
	int r;

	if (asprintf(&ballast, "%s/ballast", store_privdir(s)) < 0) {
		ballast = NULL;
		return -ENOMEM;
	}
	r = stat(ballast, &st) < 0 || !st.st_blocks
		    ? tell_kind(c, CHECK_NOTE, CHECK_NO_BALLAST)
		    : 0;
	if (!r)
		r = store_list(s, store_limbo_fd(s), tell_limbo, c);
	if (!r)
		r = store_list(s, store_found_fd(s), count_found, &found);
	if (!r && found)
		r = check_tell(c, &(struct check_finding){
					  .kind = CHECK_FOUND,
					  .class = CHECK_NOTE,
					  .count = found,
				  });
	return r;
}

/* ---- the tree ---- */

int check_tell_place(struct check *c, const struct check_place *p,
		     enum check_class class, enum check_kind kind,
		     const char *detail)
{
	if (class == CHECK_WRONG)
		c->dir_differs = true;
	return check_tell(c, &(struct check_finding){
				     .kind = kind,
				     .class = class,
				     .path = p->path,
				     .detail = detail,
				     .node = p->row ? p->row->id : 0,
				     .parent = p->parent,
			     });
}

/* The two do not agree about a name. */
static int name_differs(struct check *c, const struct check_place *p)
{
	enum check_class class = p->doubt ? CHECK_DOUBT : CHECK_WRONG;

	if (!p->st)
		return check_tell_place(c, p, class, CHECK_MISSING, NULL);
	/* Not the volume's, unless it hides something that is. */
	if (p->st->foreign)
		return check_tell_place(c, p,
					p->dentry ? CHECK_WRONG : CHECK_NOTE,
					CHECK_MOUNTED, NULL);
	if (!p->dentry)
		return check_tell_place(
			c, p, class, CHECK_UNKNOWN,
			p->moved ? "a directory that the map has elsewhere"
			: S_ISDIR(p->st->st.st_mode)
				? "with all that lies in it"
				: NULL);
	if (!p->row)
		return 0; /* dangling: told by the rows */
	if (meta_kind_of(p->st->st.st_mode) != p->row->kind)
		return check_tell_place(c, p, class, CHECK_KIND, NULL);
	return check_tell_place(c, p, class, CHECK_IDENTITY, NULL);
}

/*
 * Was it changed behind our back? The clock of files ticks coarsely, and the
 * map is written after them. A clock that was set back since puts files into
 * the future: what the map knows to have this very time has not changed. That
 * it knows another says nothing, it is not kept up through a crash. In a copy the
 * times are those of the copying, and of links that are made again.
 */
static bool is_later(const struct check *c, const struct meta_node *row,
		     const struct store_stat *st)
{
	uint64_t changed = (uint64_t)st->st.st_ctim.tv_sec * CLOCK_NS_PER_SEC +
			   (uint64_t)st->st.st_ctim.tv_nsec;

	return c->args->map_time_ns && !c->n->copied && row->backing.ino &&
	       changed > c->args->map_time_ns &&
	       changed != (uint64_t)row->ctime.backing;
}

/*
 * To rename the store's directory itself changes nothing of what is the volume's,
 * and moves the time. What that directory has of its own is what it was when the
 * store was left?  1 yes, 0 no or not known.
 */
static int is_renamed_root(struct check *c, const struct check_place *p)
{
	uint64_t clean, known, look;
	int r;

	if (p->row->id != META_ROOT_ID)
		return 0;
	r = meta_number_get(c->rd, META_NUM_CLEAN, &clean);
	if (!r)
		r = meta_number_get(c->rd, META_NUM_ROOT_LOOK, &known);
	if (!r)
		r = store_root_look(c->side->store, &look);
	return r ? r : clean && known == look;
}

static int check_changed(struct check *c, const struct check_place *p)
{
	bool doubt = p->doubt || check_doubt_any(&c->doubt, p->row->id);
	int r = is_later(c, p->row, p->st) ? is_renamed_root(c, p) : 1;

	if (r)
		return MIN(r, 0);
	return check_tell(
		c,
		&(struct check_finding){
			.kind = CHECK_CHANGED,
			.class = doubt ? CHECK_DOUBT : CHECK_WRONG,
			.path = p->path,
			.ctime = clock_timespec_ns(&p->st->st.st_ctim),
			.node = p->row->id,
			.range = {0, p->row->kind == META_FILE ? META_RANGE_MAX
							       : 0},
		});
}

/* Of several names the lowest stands for the file. 1 yes, 0 no. */
static int is_first_name(struct check *c, const struct check_place *p)
{
	struct meta_dentry d;
	int r;

	if (p->st->st.st_nlink < 2)
		return 1;
	r = meta_dentry_of(c->rd, p->row->id, &d);
	return r ? r : d.parent == p->parent && !strcmp(d.name, p->name);
}

static int check_links(struct check *c, const struct check_place *p)
{
	uint64_t names;
	int r;

	if (p->st->st.st_nlink < 2)
		return 0;
	r = meta_dentry_count(c->rd, p->row->id, &names);
	if (r || p->st->st.st_nlink <= names)
		return r;
	return check_tell_place(c, p, CHECK_NOTE, CHECK_OUTSIDE_LINK, NULL);
}

static int check_object(struct check *c, const struct check_place *p)
{
	int r = check_lost_link(c, p);

	if (!r)
		r = is_first_name(c, p);
	if (r <= 0)
		return r;
	r = check_changed(c, p);
	if (!r)
		r = check_links(c, p);
	if (!r && p->row->kind == META_FILE)
		r = check_file(c, p);
	if (r == -EIO || r == -EACCES || r == -EPERM)
		r = check_tell_place(c, p, CHECK_WRONG, CHECK_UNREADABLE,
				     strerror(-r));
	return r;
}

/* Of what is in doubt as a whole: born after the last checkpoint. */
static bool born_in_doubt(const struct check *c, const struct check_place *p)
{
	return p->doubt && p->row && p->row->seq > c->doubt.durable;
}

static int on_place(void *arg, const struct check_place *p, bool *ret_doubt)
{
	struct check *c = arg;
	struct check_place place = *p;
	bool is_dir = p->row && p->row->kind == META_DIR;

	free(c->at);
	c->at = strdup(p->path);
	if (!c->at)
		return -ENOMEM;
	if (p->error)
		return check_tell_place(c, p, CHECK_WRONG, CHECK_UNREADABLE,
					strerror(-p->error));
	*ret_doubt = is_dir &&
		     (born_in_doubt(c, p) ||
		      check_doubt_has(&c->doubt, p->row->id, META_INTENT_NAME));
	if (p->parent || !p->match) {
		int r = check_poll(c, 1, 0);

		if (r)
			return r;
	}
	if (!p->match)
		return name_differs(c, p);
	if (is_dir)
		return 0; /* when it was listed */
	place.doubt = born_in_doubt(c, p);
	return check_object(c, &place);
}

static int on_listed(void *arg, const struct check_place *dir)
{
	struct check *c = arg;
	bool differs = c->dir_differs;

	c->dir_differs = false;
	/* What was found in it explains the time. */
	return differs ? 0 : check_changed(c, dir);
}

static int check_tree(struct check *c)
{
	const struct check_walk walk = {
		.side = c->side,
		.rd = c->rd,
		.copied = c->n->copied,
		.place = on_place,
		.listed = on_listed,
		.arg = c,
	};
	int r = check_walk(&walk);

	if (!r && c->hole_files)
		r = check_tell(c, &(struct check_finding){
					  .kind = CHECK_HOLES,
					  .class = CHECK_NOTE,
					  .count = c->hole_files,
					  .range = {0, c->hole_bytes},
				  });
	return r;
}

/* ---- all of it ---- */

static int check_all(struct check *c)
{
	int r = check_map(c);

	if (r <= 0)
		return r;
	r = check_private(c);
	if (!r)
		r = check_rows(c);
	return r ? r : check_tree(c);
}

int check_store(const struct check_args *args, struct check_result *ret,
		char **error_path)
{
	struct check c = {.args = args, .side = &args->side, .n = ret};
	int r = -ENOMEM;

	*ret = (struct check_result){0};
	c.buffer = malloc(CHECK_BUFFER);
	c.rd = meta_reader_get(args->side.meta);
	if (c.buffer && c.rd)
		r = check_all(&c);
	/* A page that nobody could read before this. */
	if (r == -EUCLEAN)
		r = tell_kind(&c, CHECK_WRONG, CHECK_INTEGRITY);
	meta_reader_put(c.rd);
	check_doubt_done(&c.doubt);
	free(c.buffer);
	if (r < 0 && error_path)
		*error_path = c.at;
	else
		free(c.at);
	return r;
}
