/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The child of one side: who it is, where it is, and what it tells.
 */
#include "differ.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

const uid_t uids[WHO_COUNT] = {0, 12001, 12002, 12003};
const gid_t gids[WHO_COUNT] = {0, 12011, 12012, 12011};

/* ---- words ---- */

void say(struct outcome *o, const char *format, ...)
{
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(o->text + o->used, TEXT_MAX - o->used, format, ap);
	va_end(ap);
	if (n > 0)
		o->used += (size_t)n;
	if (o->used >= TEXT_MAX)
		o->used = TEXT_MAX - 1;
}

void say_result(struct outcome *o, long r)
{
	o->good = r >= 0;
	if (r >= 0)
		say(o, " = %ld", r);
	else
		say(o, " %s", strerrorname_np(errno));
}

uint64_t hash_bytes(uint64_t h, const void *data, size_t len)
{
	const unsigned char *c = data;

	for (size_t i = 0; i < len; i++)
		h = (h ^ c[i]) * UINT64_C(0x100000001b3);
	return h;
}

void say_bytes(struct outcome *o, const void *data, size_t len)
{
	say(o, " bytes %016llx",
	    (unsigned long long)hash_bytes(HASH_START, data, len));
}

void fill_data(char *buf, size_t len, uint32_t val)
{
	uint32_t x = val | 1;

	for (size_t i = 0; i < len; i++) {
		x = x * 1664525 + 1013904223;
		buf[i] = (char)(x >> 24);
	}
}

/* ---- paths and slots ---- */

static const char *expand(const char *spec, char out[PATH_BUF])
{
	size_t len = 0;
	char *end;

	if (spec[0] != '\1')
		return spec;
	if (spec[1] == 'b')
		return (const char *)8;
	len = strtoul(spec + 3, &end, 10);
	if (len >= PATH_BUF)
		abort();
	memset(out, 'x', len);
	out[len] = '\0';
	if (spec[1] == 'x')
		for (size_t i = 1; i + 1 < len; i += 2)
			out[i] = '/';
	if (spec[1] == 'd') {
		size_t tail = strlen(end + 1), head = len - tail;

		for (size_t i = 0; i < head; i++)
			out[i] = i % 2 || i + 1 == head ? '/' : '.';
		memcpy(out + head, end + 1, tail);
	}
	return out;
}

const char *path_a(struct side *s, const struct op *op)
{
	return expand(op->a, s->path_a);
}

const char *path_b(struct side *s, const struct op *op)
{
	return expand(op->b, s->path_b);
}

int at_of(const struct side *s, const struct op *op)
{
	return op->at < 0 ? AT_FDCWD : s->fd[op->at];
}

void slot_put(struct side *s, int slot, int fd)
{
	struct stat st;

	if (s->fd[slot] >= 0)
		(void)close(s->fd[slot]);
	s->fd[slot] = fd;
	s->ino[slot] = fd >= 0 && !fstat(fd, &st) ? st.st_ino : 0;
}

/* ---- identity ---- */

static void must(int r, const char *what)
{
	if (r) {
		perror(what);
		_exit(3);
	}
}

/* System calls: the C library would tell other threads, and there are none. */
static void become(enum who who)
{
	const gid_t extra[] = {12050};

	if (who == ROOT)
		return;
	must((int)syscall(SYS_setgroups, who == ALICE ? 1 : 0, extra),
	     "groups");
	must((int)syscall(SYS_setresgid, -1, gids[who], -1), "setresgid");
	must((int)syscall(SYS_setresuid, -1, uids[who], -1), "setresuid");
}

static void be_root(enum who who)
{
	if (who == ROOT)
		return;
	must((int)syscall(SYS_setresuid, -1, 0, -1), "setresuid back");
	must((int)syscall(SYS_setresgid, -1, 0, -1), "setresgid back");
	must((int)syscall(SYS_setgroups, 0, NULL), "groups back");
}

static void set_caps(uint32_t caps)
{
	struct __user_cap_header_struct head = {
		.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {
		{.effective = caps, .permitted = caps}};

	must((int)syscall(SYS_capset, &head, data), "capset");
}

/* An ordinary user, who may only still change his root. */
static void be_user_for_good(uid_t user)
{
	const gid_t extra[] = {12050};

	must(prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0), "keep capabilities");
	must(setgroups(1, extra), "setgroups");
	must(setresgid(user, user, user), "setresgid");
	must(setresuid(user, user, user), "setresuid");
	set_caps(1u << CAP_SYS_CHROOT);
}

static void enter(struct side *s)
{
	if (s->opt->user)
		be_user_for_good(s->opt->user);
	must(chdir(s->opt->base), s->opt->base);
	if (mkdir(s->opt->dir, 0777) && errno != EEXIST)
		must(-1, s->opt->dir);
	must(chdir(s->opt->dir), s->opt->dir);
	must(chmod(".", 0777), s->opt->dir);
	must(chroot("."), "chroot");
	if (s->opt->user)
		set_caps(0);
	s->root = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->root < 0)
		must(-1, "open .");
}

/* ---- afterwards ---- */

static void note_stat(struct outcome *o, const char *label,
		      const struct stat *st)
{
	say(o, " | %s %o %lu %u %u", label, st->st_mode,
	    (unsigned long)st->st_nlink, st->st_uid, st->st_gid);
	if (!S_ISDIR(st->st_mode))
		say(o, " %lld", (long long)st->st_size);
	if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode))
		say(o, " %llx", (unsigned long long)st->st_rdev);
	/* The kernel keeps no times of fifos on FUSE. */
	if (S_ISFIFO(st->st_mode))
		return;
	o->time[o->stats].m = st->st_mtim;
	o->time[o->stats].c = st->st_ctim;
	o->stats++;
}

static void after_path(struct side *s, const struct op *op, struct outcome *o,
		       const char *path, const char *label)
{
	struct stat st;

	if (syscall(SYS_newfstatat, at_of(s, op), path, &st,
		    AT_SYMLINK_NOFOLLOW)) {
		o->is_absent |= label[0] == 'a' &&
				(errno == ENOENT || errno == ENOTDIR);
		say(o, " | %s %s", label, strerrorname_np(errno));
		return;
	}
	o->is_dir = label[0] == 'a' && S_ISDIR(st.st_mode);
	note_stat(o, label, &st);
}

static void after_slot(struct side *s, const struct op *op, struct outcome *o)
{
	struct stat st;

	if (s->fd[op->fd] < 0)
		return;
	if (fstat(s->fd[op->fd], &st)) {
		say(o, " | fstat %s", strerrorname_np(errno));
		return;
	}
	if (s->ino[op->fd] != st.st_ino)
		say(o, " | inode number %llu was %llu",
		    (unsigned long long)st.st_ino,
		    (unsigned long long)s->ino[op->fd]);
	note_stat(o, "f", &st);
}

static void after(struct side *s, const struct op *op, struct outcome *o,
		  char what)
{
	if (what == 'f') {
		after_slot(s, op, o);
		return;
	}
	if (what == 'n')
		return;
	after_path(s, op, o, path_a(s, op), "a");
	if (what == 'b')
		after_path(s, op, o, path_b(s, op), "b");
}

/* ---- the loop ---- */

static const struct {
	void (*run)(struct side *s, const struct op *op, struct outcome *o);
	char after;
} kinds[KIND_COUNT] = {
#define X(name, weight, after) [K_##name] = {do_##name, after},
	KINDS(X)
#undef X
};

static void run_one(struct side *s, const struct op *op, struct outcome *o)
{
	if (op->kind < KIND_COUNT) {
		become(op->who);
		kinds[op->kind].run(s, op, o);
		be_root(op->who);
		after(s, op, o, kinds[op->kind].after);
	} else if (op->kind == K_walk) {
		walk_tree(s, o, s->opt->walk);
	} else if (op->kind == K_inos) {
		if (s->opt->inos)
			walk_inos(s, s->opt->inos);
	} else {
		for (int i = 0; i < SLOTS; i++)
			slot_put(s, i, -1);
	}
}

_Noreturn void side_run(struct shared *sh, unsigned int which,
			const struct side_options *opt)
{
	struct side s = {.opt = opt};

	for (int i = 0; i <= SLOTS; i++)
		s.fd[i] = -1;
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGXFSZ, SIG_IGN);
	umask(022);
	if (posix_memalign((void **)&s.buf, 4096, DATA_MAX))
		_exit(3);
	enter(&s);
	/* Changing the user took it back. */
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)sem_post(&sh->done[which]);
	for (;;) {
		while (sem_wait(&sh->go[which]))
			;
		if (sh->op.kind == K_quit)
			break;
		memset(&sh->out[which], 0, offsetof(struct outcome, stats));
		sh->out[which].stats = 0;
		run_one(&s, &sh->op, &sh->out[which]);
		(void)sem_post(&sh->done[which]);
	}
	free(s.buf);
	_exit(0);
}
