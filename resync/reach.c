/* SPDX-License-Identifier: Apache-2.0 */
#include "resync/reach.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

static struct {
	struct guard *guard; /* these two: set once, then read-only */
	uint64_t limit_ms;
	pthread_mutex_t lock; /* a leaf; taken alone */
	struct reach_path *first;
} reach = {.lock = PTHREAD_MUTEX_INITIALIZER};

int reach_limit(uint64_t ms)
{
	if (ms && !reach.guard)
		reach.guard = guard_new();
	if (ms && !reach.guard)
		return -ENOMEM;
	reach.limit_ms = ms;
	return 0;
}

uint64_t reach_limit_ms(void)
{
	return reach.limit_ms;
}

/* ---- paths ---- */

static void path_add(struct reach_path *at)
{
	lock_must_(pthread_mutex_lock(&reach.lock));
	at->next = reach.first;
	reach.first = at;
	lock_must_(pthread_mutex_unlock(&reach.lock));
}

static struct reach_path **path_find(const struct reach_path *at)
{
	struct reach_path **p = &reach.first;

	while (*p && *p != at)
		p = &(*p)->next;
	return p;
}

static void path_drop(struct reach_path *at)
{
	struct reach_path **p;

	lock_must_(pthread_mutex_lock(&reach.lock));
	p = path_find(at);
	if (*p)
		*p = at->next;
	lock_must_(pthread_mutex_unlock(&reach.lock));
}

/* It may have ended since, and @at with it. */
static void path_stick(const struct reach_path *at)
{
	struct reach_path **p;

	lock_must_(pthread_mutex_lock(&reach.lock));
	p = path_find(at);
	if (*p)
		(*p)->stuck = true;
	lock_must_(pthread_mutex_unlock(&reach.lock));
}

bool reach_is_stuck(const char *path)
{
	bool stuck = false;

	lock_must_(pthread_mutex_lock(&reach.lock));
	for (const struct reach_path *p = reach.first; p && !stuck; p = p->next)
		stuck = p->stuck && !strcmp(p->path, path);
	lock_must_(pthread_mutex_unlock(&reach.lock));
	return stuck;
}

/* ---- jobs ---- */

static void job_made(struct guard_call *c)
{
	struct reach_job *j = (struct reach_job *)c;

	j->result = j->run(j);
}

/* Until all that it got is closed, the path is stuck. */
static void job_late(struct guard_call *c)
{
	struct reach_job *j = (struct reach_job *)c;

	if (j->drop)
		j->drop(j);
	path_drop(&j->at);
	free(j);
}

int reach_job_init(struct reach_job *j, const char *path,
		   int (*run)(struct reach_job *j),
		   void (*drop)(struct reach_job *j))
{
	if (strlen(path) >= sizeof(j->at.path))
		return -ENAMETOOLONG;
	memcpy(j->at.path, path, strlen(path) + 1);
	j->run = run;
	j->drop = drop;
	return 0;
}

int reach_run(struct reach_job *j)
{
	int err;

	if (!reach.limit_ms) {
		j->result = j->run(j);
		return 0;
	}
	if (reach_is_stuck(j->at.path)) {
		job_late(&j->base);
		return -ETIMEDOUT;
	}
	j->base = (struct guard_call){
		.run = job_made,
		.late = job_late,
		.fd = {-1, -1},
		.patience_ms = reach.limit_ms,
	};
	path_add(&j->at);
	err = guard_run(reach.guard, &j->base);
	if (err) {
		path_stick(&j->at);
		return err == -ENOMEM ? err : -ETIMEDOUT;
	}
	path_drop(&j->at);
	return 0;
}

int reach_run_on(const struct store *store, struct reach_job *j)
{
	struct guard *g = store_guard(store);

	if (!guard_is_on(g)) {
		j->result = j->run(j);
		return 0;
	}
	j->base = (struct guard_call){
		.run = job_made,
		.late = job_late,
		.fd = {-1, -1},
	};
	return guard_run(g, &j->base);
}

/* ---- questions ---- */

struct question {
	struct reach_job base; /* first */
	struct store_identity id;
	struct stat st;
	uint64_t hash;
	uint64_t ino, gen;
	char real[PATH_MAX];
	char below[]; /* what is asked about */
};

/* NULL: @ret_err says why there is no answer. */
static struct question *question_ask(const char *path, const char *below,
				     int (*run)(struct reach_job *j),
				     int *ret_err)
{
	size_t len = strlen(below) + 1;
	struct question *q = calloc(1, sizeof(*q) + len);

	*ret_err = -ENOMEM;
	if (!q)
		return NULL;
	memcpy(q->below, below, len);
	*ret_err = reach_job_init(&q->base, path, run, NULL);
	if (*ret_err) {
		free(q);
		return NULL;
	}
	*ret_err = reach_run(&q->base);
	return *ret_err ? NULL : q;
}

static int ask_identity(struct reach_job *j)
{
	return store_probe_identity(j->at.path, &((struct question *)j)->id);
}

int reach_identity(const char *path, struct store_identity *ret_id)
{
	_cleanup_free_ struct question *q = NULL;
	int err;

	q = question_ask(path, "", ask_identity, &err);
	if (!q)
		return err;
	if (!q->base.result)
		*ret_id = q->id;
	return q->base.result;
}

static int ask_peek(struct reach_job *j)
{
	struct question *q = (struct question *)j;

	return store_peek(j->at.path, q->below, &q->st);
}

static int ask_peek_xattrs(struct reach_job *j)
{
	struct question *q = (struct question *)j;

	return store_peek_xattrs(j->at.path, q->below, &q->hash);
}

int reach_peek(const char *root, const char *path, struct stat *ret)
{
	_cleanup_free_ struct question *q = NULL;
	int err;

	q = question_ask(root, path, ask_peek, &err);
	if (!q)
		return err;
	if (!q->base.result)
		*ret = q->st;
	return q->base.result;
}

int reach_peek_xattrs(const char *root, const char *path, uint64_t *ret_hash)
{
	_cleanup_free_ struct question *q = NULL;
	int err;

	q = question_ask(root, path, ask_peek_xattrs, &err);
	if (!q)
		return err;
	if (!q->base.result)
		*ret_hash = q->hash;
	return q->base.result;
}

static int ask_backing(struct reach_job *j)
{
	struct question *q = (struct question *)j;

	return store_peek_backing(j->at.path, q->below, &q->ino, &q->gen);
}

int reach_is_copied(const char *path, struct meta_reader *rd)
{
	_cleanup_free_ struct question *q = NULL;
	uint64_t ino = 0, gen = 0;
	int err = meta_number_get(rd, META_NUM_ROOT_INO, &ino);

	if (!err || err == -ENOENT)
		err = meta_number_get(rd, META_NUM_ROOT_GEN, &gen);
	if (err && err != -ENOENT)
		return err;
	q = question_ask(path, STORE_PRIVATE "/store", ask_backing, &err);
	if (!q)
		return err;
	return q->base.result ? q->base.result : ino != q->ino || gen != q->gen;
}

static int ask_stat(struct reach_job *j)
{
	struct question *q = (struct question *)j;

	if (!realpath(j->at.path, q->real) || stat(q->real, &q->st))
		return -errno;
	return 0;
}

int reach_stat(const char *path, struct stat *ret, char ret_real[PATH_MAX])
{
	_cleanup_free_ struct question *q = NULL;
	int err;

	q = question_ask(path, "", ask_stat, &err);
	if (!q)
		return err;
	if (q->base.result)
		return q->base.result;
	if (ret_real)
		memcpy(ret_real, q->real, sizeof(q->real));
	*ret = q->st;
	return 0;
}

bool reach_absolute(const char *path, char *buf, size_t size)
{
	_cleanup_free_ char *cwd = NULL;
	char real[PATH_MAX] = "";
	struct stat st;
	bool found = !reach_stat(path, &st, real);
	size_t len;
	int n;

	if (found || path[0] == '/') {
		n = snprintf(buf, size, "%s", found ? real : path);
	} else {
		cwd = getcwd(NULL, 0);
		n = snprintf(buf, size, "%s/%s", cwd ? cwd : "", path);
	}
	if (n < 0 || (size_t)n >= size)
		return false;
	for (len = (size_t)n; len > 1 && buf[len - 1] == '/'; len--)
		buf[len - 1] = '\0';
	return true;
}

/* ---- a map that is only read ---- */

struct map_opening {
	struct reach_job base; /* first */
	struct meta *meta;
	char *why;
};

static int map_opening_run(struct reach_job *j)
{
	struct map_opening *o = (struct map_opening *)j;
	_cleanup_free_ char *privdir = NULL;

	if (asprintf(&privdir, "%s/%s", j->at.path, STORE_PRIVATE) < 0) {
		privdir = NULL;
		return -ENOMEM;
	}
	return meta_open(privdir, META_OPEN_RO, &o->meta, &o->why);
}

static void map_opening_drop(struct reach_job *j)
{
	struct map_opening *o = (struct map_opening *)j;

	meta_close(o->meta);
	free(o->why);
}

int reach_map_open(const char *path, struct meta **ret_meta, char **ret_why)
{
	struct map_opening *o = calloc(1, sizeof(*o));
	int err;

	*ret_why = NULL;
	if (!o)
		return -ENOMEM;
	err = reach_job_init(&o->base, path, map_opening_run, map_opening_drop);
	if (err) {
		free(o);
		return err;
	}
	err = reach_run(&o->base);
	if (err)
		return err;
	err = o->base.result;
	*ret_meta = o->meta;
	*ret_why = o->why;
	free(o);
	if (!err)
		reach_opened(NULL, *ret_meta);
	return err;
}

/* ---- what was opened ---- */

void reach_opened(struct store *store, struct meta *meta)
{
	if (!reach.limit_ms)
		return;
	if (store)
		guard_on_within(store_guard(store), reach.limit_ms);
	if (meta)
		guard_on_within(meta_guard(meta), reach.limit_ms);
}

bool reach_hangs(const struct store *store, const struct meta *meta)
{
	struct guard_state of_store = {0}, of_map = {0};

	if (store)
		guard_look(store_guard(store), &of_store);
	if (meta)
		guard_look(meta_guard(meta), &of_map);
	return of_store.given_up || of_map.given_up;
}

struct closing {
	struct store *store;
	struct meta *meta;
	struct reach_path at[2]; /* as asked for, and where it lies */
};

static void *closing_thread(void *arg)
{
	struct closing *c = arg;

	meta_close(c->meta);
	store_close(c->store);
	for (size_t i = 0; i < ARRAY_SIZE(c->at); i++)
		path_drop(&c->at[i]);
	free(c);
	return NULL;
}

/* False: it could not be begun. */
static bool close_aside(struct store *store, struct meta *meta,
			const char *path, bool hangs)
{
	struct closing *c = calloc(1, sizeof(*c));
	const char *lies = store ? store_path(store) : path;
	const char *at[] = {path ? path : lies, lies};
	uint64_t end_ns = clock_mono_ns() +
			  (hangs ? 0 : 2 * reach.limit_ms) * CLOCK_NS_PER_MS;
	struct timespec end = {
		.tv_sec = (time_t)(end_ns / CLOCK_NS_PER_SEC),
		.tv_nsec = (long)(end_ns % CLOCK_NS_PER_SEC),
	};
	struct reach_path *paths;
	pthread_t thread;

	if (!c)
		return false;
	c->store = store;
	c->meta = meta;
	paths = c->at;
	for (size_t i = 0; i < ARRAY_SIZE(c->at); i++) {
		(void)snprintf(paths[i].path, sizeof(paths[i].path), "%s",
			       at[i]);
		paths[i].stuck = hangs;
		path_add(&paths[i]);
	}
	if (pthread_create(&thread, NULL, closing_thread, c)) {
		for (size_t i = 0; i < ARRAY_SIZE(c->at); i++)
			path_drop(&paths[i]);
		free(c);
		return false;
	}
	if (!pthread_clockjoin_np(thread, NULL, CLOCK_MONOTONIC, &end))
		return true;
	for (size_t i = 0; i < ARRAY_SIZE(c->at); i++)
		path_stick(&paths[i]); /* only looked for */
	(void)pthread_detach(thread);
	return true;
}

void reach_close(struct store *store, struct meta *meta, const char *path)
{
	bool hangs = reach_hangs(store, meta);

	if ((store || (meta && path)) && reach.limit_ms &&
	    close_aside(store, meta, path, hangs))
		return;
	if (hangs)
		return; /* it stays open: to wait for it may take for ever */
	meta_close(meta);
	store_close(store);
}

int reach_map_check_format(const char *privdir, char **ret_why)
{
	struct meta *meta = NULL;
	int r = meta_open(privdir, META_OPEN_RO, &meta, ret_why);

	meta_close(meta);
	if (r == -EPROTO)
		return r;
	free(*ret_why);
	*ret_why = NULL;
	return 0;
}
