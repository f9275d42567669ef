/* SPDX-License-Identifier: Apache-2.0 */
/*
 * usage: differ [OPTION...] MOUNTED PLAIN
 *
 *	-s SEED		otherwise from the clock; printed
 *	-n COUNT	operations (default 10000)
 *	-u UID		as this user, of the group of that number
 *	-p		modes that a daemon without rights can live with
 *	-t		no writeback caching: maps are written out at once
 *	-a		nothing is preallocated; SEEK_HOLE is compared exactly
 *	-w COUNT	compare both trees after so many (default 10000)
 *	-e AT:COMMAND	run this before operation AT; files stay open
 *	-E AT:COMMAND	the same with nothing open (a remount)
 *	-m SECONDS	look so long for a shorter list that fails too
 *	-v		print each operation
 *
 * Fresh directories are made in both places and stay there. Exit status 0 if
 * all agree.
 */
#include "differ.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	EVENTS = 64,
	LAST = 25,	/* operations shown */
	PATIENCE = 120, /* seconds for one call */
};

#define SETTLED_MS 250 /* that times of both sides may lie apart */

struct event {
	unsigned long at;
	bool restart;
	const char *command;
};

struct trace {
	struct op **op;
	size_t count, room;
};

struct run {
	const char *base[2];
	uint64_t seed;
	unsigned long count, walk_every;
	uid_t user;
	bool plain_modes, strict_map, no_alloc, verbose;
	unsigned int minimise_s;
	struct event event[EVENTS];
	unsigned int events;

	struct shared *sh;
	pid_t pid[2];
	FILE *walk[2], *inos;
	char dir[64];
	unsigned int tries;
	struct trace trace;
	uint64_t slowest_ns;
	bool quiet;
};

static uint64_t now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static _Noreturn void die(const char *what)
{
	(void)fprintf(stderr, "differ: %s: %s\n", what, strerror(errno));
	exit(2);
}

/* ---- the sides ---- */

static bool side_answers(struct run *r, unsigned int i)
{
	struct timespec end;

	(void)clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += PATIENCE;
	for (;;) {
		struct timespec step;

		(void)clock_gettime(CLOCK_REALTIME, &step);
		if (step.tv_sec > end.tv_sec)
			return false;
		step.tv_sec += 1;
		if (!sem_timedwait(&r->sh->done[i], &step))
			return true;
		if (waitpid(r->pid[i], NULL, WNOHANG) == r->pid[i]) {
			r->pid[i] = 0;
			return false;
		}
	}
}

static void sides_start(struct run *r)
{
	for (unsigned int i = 0; i < 2; i++) {
		const struct side_options opt = {
			.base = r->base[i],
			.dir = r->dir,
			.user = r->user,
			.no_alloc = r->no_alloc,
			.strict_map = r->strict_map,
			.walk = r->walk[i],
			.inos = i ? NULL : r->inos,
		};

		(void)fflush(NULL);
		r->pid[i] = fork();
		if (r->pid[i] < 0)
			die("fork");
		if (r->pid[i] == 0)
			side_run(r->sh, i, &opt);
	}
	for (unsigned int i = 0; i < 2; i++)
		if (!side_answers(r, i))
			die("a side does not start");
}

static void sides_stop(struct run *r)
{
	r->sh->op.kind = K_quit;
	for (unsigned int i = 0; i < 2; i++)
		(void)sem_post(&r->sh->go[i]);
	for (unsigned int i = 0; i < 2; i++)
		if (r->pid[i])
			(void)waitpid(r->pid[i], NULL, 0);
}

/* ---- comparing ---- */

/* Times that a program set are far from those of now. */
static bool is_set(const struct timespec *t)
{
	return t->tv_sec < 1200000000 || t->tv_sec > 4000000000;
}

static int64_t apart_ns(const struct timespec *a, const struct timespec *b)
{
	return (a->tv_sec - b->tv_sec) * 1000000000 + a->tv_nsec - b->tv_nsec;
}

static bool times_agree(struct run *r)
{
	const struct outcome *a = &r->sh->out[0], *b = &r->sh->out[1];
	int64_t slack = SETTLED_MS * 1000000 + (int64_t)r->slowest_ns;

	for (unsigned int i = 0; i < a->stats; i++) {
		const struct timespec *m = &a->time[i].m, *p = &b->time[i].m;
		int64_t gap;

		if (is_set(m) || is_set(p)) {
			if (m->tv_sec != p->tv_sec || m->tv_nsec != p->tv_nsec)
				return false;
			continue;
		}
		gap = apart_ns(m, p);
		if (gap > slack || gap < -slack)
			return false;
		/* It cannot be set, and later ones are the stores' own. */
		if (apart_ns(&a->time[i].c, &b->time[i].c) < -slack)
			return false;
	}
	return true;
}

static void print_times(const struct run *r)
{
	for (unsigned int i = 0; i < r->sh->out[0].stats; i++)
		for (unsigned int k = 0; k < 2; k++) {
			const struct outcome *o = &r->sh->out[k];

			(void)printf("  %s %u: mtime %lld.%09ld ctime "
				     "%lld.%09ld\n",
				     k ? "plain" : "mount", i,
				     (long long)o->time[i].m.tv_sec,
				     o->time[i].m.tv_nsec,
				     (long long)o->time[i].c.tv_sec,
				     o->time[i].c.tv_nsec);
		}
}

static bool same_walks(const struct run *r)
{
	char line[2][8192];
	unsigned long number = 0;

	rewind(r->walk[0]);
	rewind(r->walk[1]);
	for (;;) {
		char *a = fgets(line[0], sizeof(line[0]), r->walk[0]);
		char *b = fgets(line[1], sizeof(line[1]), r->walk[1]);

		number++;
		if (!a && !b)
			return true;
		if (a && b && strcmp(a, b) == 0)
			continue;
		if (!r->quiet)
			(void)printf("the trees differ in line %lu:\n  mount  "
				     "%s  plain  %s",
				     number, a ? a : "\n", b ? b : "\n");
		return false;
	}
}

static void show_difference(struct run *r, unsigned long number)
{
	size_t first = r->trace.count > LAST ? r->trace.count - LAST : 0;

	if (r->quiet)
		return;
	for (size_t i = first; i < r->trace.count; i++) {
		(void)printf("%zu ", i);
		op_print(stdout, r->trace.op[i]);
		(void)fputc('\n', stdout);
	}
	(void)printf("operation %lu differs:\n  mount %s\n  plain %s\n", number,
		     r->sh->out[0].text, r->sh->out[1].text);
	print_times(r);
}

/* One operation on both sides, and the verdict. */
static bool step(struct run *r, unsigned long number)
{
	uint64_t began = now_ns(), took;

	for (unsigned int i = 0; i < 2; i++)
		(void)sem_post(&r->sh->go[i]);
	for (unsigned int i = 0; i < 2; i++)
		if (!side_answers(r, i)) {
			(void)snprintf(r->sh->out[i].text, TEXT_MAX,
				       " no answer");
			show_difference(r, number);
			return false;
		}
	took = now_ns() - began;
	if (took > r->slowest_ns)
		r->slowest_ns = took;
	if (r->verbose && !r->quiet) {
		op_print(stdout, &r->sh->op);
		(void)printf("\n    %s\n", r->sh->out[1].text);
	}
	if (strcmp(r->sh->out[0].text, r->sh->out[1].text) != 0 ||
	    !times_agree(r) || (r->sh->op.kind == K_walk && !same_walks(r))) {
		show_difference(r, number);
		return false;
	}
	return true;
}

static bool own_step(struct run *r, unsigned int kind, unsigned long number)
{
	memset(&r->sh->op, 0, sizeof(r->sh->op));
	r->sh->op.kind = kind;
	return step(r, number);
}

/* ---- events ---- */

static char *file_text(FILE *f)
{
	size_t len, room = 1 << 20;
	char *text = malloc(room + 1);

	if (!text)
		die("memory");
	rewind(f);
	for (len = 0;;) {
		size_t n = fread(text + len, 1, room - len, f);

		len += n;
		if (n == 0)
			break;
		if (len == room) {
			room *= 2;
			text = realloc(text, room + 1);
			if (!text)
				die("memory");
		}
	}
	text[len] = '\0';
	return text;
}

/* Its status, as the shell has it. */
static int command_run(const char *command)
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		die("fork");
	if (pid == 0) {
		(void)execl("/bin/sh", "sh", "-c", command, NULL);
		_exit(127);
	}
	if (waitpid(pid, &status, 0) != pid)
		die("waitpid");
	return status;
}

static bool event_run(struct run *r, const struct event *e,
		      unsigned long number)
{
	char *before, *after;
	bool same;

	if (!r->quiet)
		(void)printf("operation %lu: %s\n", number, e->command);
	if (e->restart && !own_step(r, K_close_all, number))
		return false;
	if (!own_step(r, K_walk, number) || !own_step(r, K_inos, number))
		return false;
	before = file_text(r->inos);
	if (e->restart)
		sides_stop(r);
	(void)fflush(NULL);
	if (command_run(e->command)) {
		(void)printf("failed: %s\n", e->command);
		exit(1);
	}
	if (e->restart)
		sides_start(r);
	if (!own_step(r, K_inos, number) || !own_step(r, K_walk, number))
		return false;
	after = file_text(r->inos);
	same = strcmp(before, after) == 0;
	if (!same)
		(void)printf("inode numbers have changed\n");
	free(before);
	free(after);
	return same;
}

/* ---- a run ---- */

static void trace_add(struct run *r, const struct op *op)
{
	struct trace *t = &r->trace;

	if (t->count == t->room) {
		t->room = t->room ? 2 * t->room : 1024;
		t->op = realloc(t->op, t->room * sizeof(struct op *));
		if (!t->op)
			die("memory");
	}
	t->op[t->count] = malloc(sizeof(*op));
	if (!t->op[t->count])
		die("memory");
	*t->op[t->count++] = *op;
}

static void fresh_dir(struct run *r)
{
	(void)snprintf(r->dir, sizeof(r->dir), "differ.%" PRIu64 ".%u", r->seed,
		       r->tries++);
}

/* False: the sides differ at the last of the trace. */
static bool run_all(struct run *r)
{
	struct picker *p = picker_new(r->seed, r->user != 0, r->plain_modes);
	bool good = true;

	fresh_dir(r);
	sides_start(r);
	for (unsigned long i = 0; good && i < r->count; i++) {
		for (unsigned int e = 0; good && e < r->events; e++)
			if (r->event[e].at == i)
				good = event_run(r, &r->event[e], i);
		if (!good)
			break;
		pick(p, &r->sh->op);
		trace_add(r, &r->sh->op);
		good = step(r, i);
		pick_learn(p, &r->sh->op, &r->sh->out[1]);
		if (good && (i + 1) % r->walk_every == 0)
			good = own_step(r, K_walk, i);
	}
	if (good)
		good = own_step(r, K_close_all, r->count) &&
		       own_step(r, K_walk, r->count);
	sides_stop(r);
	picker_free(p);
	return good;
}

/* ---- a shorter list ---- */

static bool fails_too(struct run *r, struct op **list, size_t count)
{
	bool good = true;

	fresh_dir(r);
	sides_start(r);
	for (size_t i = 0; good && i < count; i++) {
		r->sh->op = *list[i];
		good = step(r, i);
	}
	if (good)
		good = own_step(r, K_walk, count);
	sides_stop(r);
	return !good;
}

/* Leave out a part, keep what fails, with smaller and smaller parts. */
static void minimise(struct run *r)
{
	uint64_t end = now_ns() + (uint64_t)r->minimise_s * 1000000000;
	size_t count = r->trace.count, part = count / 2;
	struct op **list = malloc(count * sizeof(struct op *));
	struct op **less = malloc(count * sizeof(struct op *));

	if (!list || !less)
		die("memory");
	memcpy(list, r->trace.op, count * sizeof(struct op *));
	r->quiet = true;
	for (; part && now_ns() < end; part /= 2)
		for (size_t at = 0; at < count && now_ns() < end;) {
			size_t cut = at + part < count ? part : count - at;

			memcpy(less, list, at * sizeof(struct op *));
			memcpy(less + at, list + at + cut,
			       (count - at - cut) * sizeof(struct op *));
			if (fails_too(r, less, count - cut)) {
				memcpy(list, less,
				       (count - cut) * sizeof(struct op *));
				count -= cut;
			} else {
				at += cut;
			}
		}
	(void)printf("these %zu do it too:\n", count);
	r->quiet = false;
	r->verbose = true;
	r->trace.count = 0;
	(void)fails_too(r, list, count);
	free(list);
	free(less);
}

/* ---- start ---- */

static void parse_event(struct run *r, const char *text, bool restart)
{
	const char *colon = strchr(text, ':');

	if (!colon || r->events == EVENTS) {
		(void)fprintf(stderr, "differ: bad event %s\n", text);
		exit(2);
	}
	r->event[r->events++] = (struct event){
		.at = strtoul(text, NULL, 10),
		.restart = restart,
		.command = colon + 1,
	};
}

static void parse(struct run *r, int argc, char **argv)
{
	int c;

	while ((c = getopt(argc, argv, "s:n:u:ptaw:e:E:m:v")) != -1)
		switch (c) {
		case 's':
			r->seed = strtoull(optarg, NULL, 10);
			break;
		case 'n':
			r->count = strtoul(optarg, NULL, 10);
			break;
		case 'u':
			r->user = (uid_t)strtoul(optarg, NULL, 10);
			break;
		case 'p':
			r->plain_modes = true;
			break;
		case 't':
			r->strict_map = true;
			break;
		case 'a':
			r->no_alloc = true;
			break;
		case 'w':
			r->walk_every = strtoul(optarg, NULL, 10);
			break;
		case 'e':
		case 'E':
			parse_event(r, optarg, c == 'E');
			break;
		case 'm':
			r->minimise_s = (unsigned int)strtoul(optarg, NULL, 10);
			break;
		case 'v':
			r->verbose = true;
			break;
		default:
			exit(2);
		}
	if (argc - optind != 2) {
		(void)fprintf(stderr,
			      "usage: differ [OPTION...] MOUNTED PLAIN\n");
		exit(2);
	}
	r->base[0] = argv[optind];
	r->base[1] = argv[optind + 1];
}

static void prepare(struct run *r)
{
	r->sh = mmap(NULL, sizeof(*r->sh), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (r->sh == MAP_FAILED)
		die("mmap");
	for (unsigned int i = 0; i < 2; i++) {
		if (sem_init(&r->sh->go[i], 1, 0) ||
		    sem_init(&r->sh->done[i], 1, 0))
			die("sem_init");
		r->walk[i] = tmpfile();
		if (!r->walk[i])
			die("tmpfile");
	}
	r->inos = tmpfile();
	if (!r->inos)
		die("tmpfile");
}

int main(int argc, char **argv)
{
	struct run r = {.count = 10000, .walk_every = 10000};
	uint64_t began = now_ns();

	r.seed = (uint64_t)time(NULL);
	parse(&r, argc, argv);
	prepare(&r);
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	(void)printf("differ: seed %" PRIu64 ", %lu operations\n", r.seed,
		     r.count);
	if (run_all(&r)) {
		(void)printf("all agree, %.1f s\n",
			     (double)(now_ns() - began) / 1e9);
		return 0;
	}
	if (r.minimise_s)
		minimise(&r);
	(void)printf("differ: again with -s %" PRIu64 "\n", r.seed);
	return 1;
}
