/* SPDX-License-Identifier: Apache-2.0 */
/*
 * differ - random system calls at once in two directories, one on the mount
 * and one on a plain filesystem, compared one by one.
 *
 * The parent draws an operation (pick.c) and puts it into shared memory; a
 * child per side, whose root is its directory, makes the call there (do_*.c,
 * with system calls only) and writes down in words what came of it. Words that
 * differ end the run. Times are compared by the parent: those that were set
 * must be the same, others close to each other.
 *
 * An operation holds all that it needs, and random numbers are drawn by the
 * parent alone from the seed and from what the plain side answered; the same
 * seed does the same again.
 */
#pragma once

#include <semaphore.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "kinds.h"

enum {
	SLOTS = 14,	/* open files; slot SLOTS is never open */
	SPEC_MAX = 700, /* of a path before it is expanded */
	PATH_BUF = 4200,
	TEXT_MAX = 1000,
	DATA_MAX = 128 << 10,
	HANDLES = 6,
};

enum kind {
#define X(name, weight, after) K_##name,
	KINDS(X)
#undef X
	KIND_COUNT,
	/* Not drawn: the parent's own. */
	K_walk,
	K_inos, /* write down paths and inode numbers */
	K_close_all,
	K_quit,
};

enum who {
	ROOT,
	ALICE,
	BOB,
	CAROL,
	WHO_COUNT
};

/*
 * Paths are written as they are, but for those that begin with '\1':
 *	\1n LEN	    one component of that length
 *	\1d LEN NAME a path of LEN bytes to NAME: ./././NAME
 *	\1x LEN	    the same of components that are not there
 *	\1b	    no address of this process
 */
struct op {
	unsigned int kind;
	enum who who;
	int at;	     /* slot of the directory, or -1: the working directory */
	int fd, fd2; /* slots */
	uint32_t flags;
	uint32_t mode;
	uint32_t val; /* seeds data, chooses names and values */
	int64_t off, off2, len;
	char a[SPEC_MAX], b[SPEC_MAX];
};

/* What came of it. */
struct outcome {
	char text[TEXT_MAX];
	size_t used;
	bool good;		/* the call succeeded */
	bool is_dir, is_absent; /* what @a names afterwards */
	unsigned int stats;	/* entries of the following */
	struct {
		struct timespec m, c;
	} time[3];
};

struct shared {
	sem_t go[2], done[2];
	struct op op;
	struct outcome out[2];
};

struct side_options {
	const char *base; /* directory of this side */
	const char *dir;  /* made below it, the root of the side */
	uid_t user;	  /* an ordinary one all along; 0: root and others */
	bool no_alloc;
	bool strict_map;
	FILE *walk, *inos;
};

/* One side's open files and more; the child's alone. */
struct side {
	const struct side_options *opt;
	int root;
	int fd[SLOTS + 1];
	uint64_t ino[SLOTS + 1];
	struct {
		unsigned char bytes[200]; /* a struct file_handle */
		bool taken;
	} handle[HANDLES];
	char *buf; /* DATA_MAX, aligned */
	char path_a[PATH_BUF], path_b[PATH_BUF];
};

extern const uid_t uids[WHO_COUNT];
extern const gid_t gids[WHO_COUNT];

/* ---- pick.c ---- */

struct picker;
struct picker *picker_new(uint64_t seed, bool is_user, bool plain_modes);
void picker_free(struct picker *p);
void pick(struct picker *p, struct op *op);
/* What the plain side said of the last one. */
void pick_learn(struct picker *p, const struct op *op,
		const struct outcome *out);

/* ---- side.c ---- */

_Noreturn void side_run(struct shared *sh, unsigned int which,
			const struct side_options *opt);
int at_of(const struct side *s, const struct op *op);
/* The address of a path as the system call gets it. */
const char *path_a(struct side *s, const struct op *op);
const char *path_b(struct side *s, const struct op *op);
void say(struct outcome *o, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* "= N" or the error's name; @r < 0 means errno. */
void say_result(struct outcome *o, long r);
void say_bytes(struct outcome *o, const void *data, size_t len);
uint64_t hash_bytes(uint64_t h, const void *data, size_t len);
#define HASH_START UINT64_C(0xcbf29ce484222325)
void slot_put(struct side *s, int slot, int fd);
void fill_data(char *buf, size_t len, uint32_t val);

/* ---- walk.c ---- */

void walk_tree(struct side *s, struct outcome *o, FILE *to);
void walk_inos(struct side *s, FILE *to);

/* ---- do_*.c ---- */

#define X(name, weight, after) \
	void do_##name(struct side *s, const struct op *op, struct outcome *o);
KINDS(X)
#undef X

const char *kind_name(unsigned int kind);
void op_print(FILE *to, const struct op *op);
