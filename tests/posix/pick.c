/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operations by chance. Names are few, so that they meet, and those that were
 * made lately are asked for more often; some are what no program should say.
 */
#include "differ.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum {
	KNOWN = 160,	 /* paths that were made */
	KNOWN_MAX = 400, /* longer ones are forgotten */
	DEEP = 50,	 /* directories above here are asked for more often */
};

struct picker {
	uint64_t state;
	bool is_user, plain_modes;
	unsigned int sum; /* of all weights */
	char known[KNOWN][KNOWN_MAX + 1];
	unsigned int count, next;
	char dirs[KNOWN][KNOWN_MAX + 1];
	unsigned int dir_count, dir_next;
	bool is_open[SLOTS];
};

static const struct {
	const char *name;
	unsigned int weight;
} kinds[KIND_COUNT] = {
#define X(name, weight, after) [K_##name] = {#name, weight},
	KINDS(X)
#undef X
};

const char *kind_name(unsigned int kind)
{
	static const char *const own[] = {"walk", "inos", "close_all", "quit"};

	return kind < KIND_COUNT ? kinds[kind].name
				 : own[kind - KIND_COUNT - 1];
}

static uint64_t draw(struct picker *p)
{
	uint64_t z = p->state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static unsigned int below(struct picker *p, unsigned int limit)
{
	return (unsigned int)(draw(p) % limit);
}

static bool chance(struct picker *p, unsigned int percent)
{
	return below(p, 100) < percent;
}

struct picker *picker_new(uint64_t seed, bool is_user, bool plain_modes)
{
	struct picker *p = calloc(1, sizeof(*p));

	if (!p)
		abort();
	p->state = seed;
	p->is_user = is_user;
	p->plain_modes = plain_modes;
	for (unsigned int i = 0; i < KIND_COUNT; i++)
		p->sum += kinds[i].weight;
	return p;
}

void picker_free(struct picker *p)
{
	free(p);
}

/* ---- paths ---- */

static const char *pick_name(struct picker *p)
{
	static const char *const names[] = {
		"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l",
	};
	static const char *const odd[] = {
		"\xff\xfe\x80", "two words\n", ".seqmirror", "-",
		"\xc3\xbc",	"\\",	       "...",	     "con ",
		"\x7f\x01",
	};

	if (chance(p, 4))
		return odd[below(p, 9)];
	return names[below(p, 12)];
}

static const char *pick_known(struct picker *p)
{
	if (p->dir_count && chance(p, 25))
		return p->dirs[below(p, p->dir_count)];
	return p->count ? p->known[below(p, p->count)] : "a";
}

static void pick_hostile(struct picker *p, char out[SPEC_MAX])
{
	static const char *const some[] = {
		"",	    ".",	  "..",		"/",
		"//",	    "./.",	  "\1b",	"\1n 255",
		"\1n 256",  "\1n 255",	  "\1x 4095",	"\1x 4096",
		"\1x 4097", "\1d 4095 a", "\1d 4096 a", "\1d 4094 b/c",
		"../../a",  "/a/../b",
	};
	static const char *const tails[] = {"/",    "/.",    "/..", "//b",
					    "/./c", "/../d", "/\1"};

	if (chance(p, 50)) {
		(void)snprintf(out, SPEC_MAX, "%s", some[below(p, 18)]);
		return;
	}
	(void)snprintf(out, SPEC_MAX, "%s%s", pick_known(p),
		       tails[below(p, 7)]);
}

static void pick_dir(struct picker *p, char out[SPEC_MAX])
{
	(void)snprintf(out, SPEC_MAX, "%s",
		       p->dir_count ? p->dirs[below(p, p->dir_count)] : ".");
}

/* @fresh: percent that name something new in a directory. */
static void pick_path(struct picker *p, unsigned int fresh, char out[SPEC_MAX])
{
	unsigned int r = below(p, 100);

	if (r < 90 && chance(p, fresh)) {
		pick_dir(p, out);
		(void)snprintf(out + strlen(out), SPEC_MAX - strlen(out), "/%s",
			       pick_name(p));
	} else if (r < 66) {
		(void)snprintf(out, SPEC_MAX, "%s", pick_known(p));
	} else if (r < 80) {
		(void)snprintf(out, SPEC_MAX, "%s/%s",
			       p->dir_count && chance(p, 80)
				       ? p->dirs[below(p, p->dir_count)]
				       : pick_known(p),
			       pick_name(p));
	} else if (r < 90) {
		(void)snprintf(out, SPEC_MAX, "%s", pick_name(p));
	} else if (r < 95) {
		(void)snprintf(out, SPEC_MAX, "%s/%s", pick_name(p),
			       pick_name(p));
	} else {
		pick_hostile(p, out);
	}
}

static void remember(char (*ring)[KNOWN_MAX + 1], unsigned int *count,
		     unsigned int *next, const char *path)
{
	if (strlen(path) > KNOWN_MAX)
		return;
	(void)snprintf(ring[*next], KNOWN_MAX + 1, "%s", path);
	*next = (*next + 1) % KNOWN;
	if (*count < KNOWN)
		(*count)++;
}

static void forget(char (*ring)[KNOWN_MAX + 1], unsigned int *count,
		   unsigned int *next, const char *path)
{
	for (unsigned int i = 0; i < *count;) {
		if (strcmp(ring[i], path) != 0) {
			i++;
			continue;
		}
		--*count;
		memcpy(ring[i], ring[*count], sizeof(ring[i]));
		*next = *count;
	}
}

static void learn_slots(struct picker *p, const struct op *op,
			const struct outcome *out)
{
	if (op->kind == K_close)
		p->is_open[op->fd] = false;
	else if (out->good && (op->kind == K_open || op->kind == K_openat2))
		p->is_open[op->fd] = true;
	else if (out->good && op->kind == K_dup)
		p->is_open[op->fd2] = true;
	else if (op->kind == K_close_all)
		memset(p->is_open, 0, sizeof(p->is_open));
}

void pick_learn(struct picker *p, const struct op *op,
		const struct outcome *out)
{
	const char *path = op->a;
	bool is_dir = out->is_dir;

	learn_slots(p, op, out);
	if (op->at >= 0)
		return;
	if (out->is_absent) {
		forget(p->known, &p->count, &p->next, path);
		forget(p->dirs, &p->dir_count, &p->dir_next, path);
	}
	if (!out->good)
		return;
	switch (op->kind) {
	case K_rename:
		path = op->b;
		break;
	case K_link:
		path = op->b;
		is_dir = false;
		break;
	case K_open:
	case K_mkdir:
	case K_mknod:
	case K_symlink:
		break;
	default:
		return;
	}
	if (path[0] == '\0' || path[0] == '\1' || path[0] == '/')
		return;
	remember(p->known, &p->count, &p->next, path);
	if (is_dir && strlen(path) < DEEP)
		remember(p->dirs, &p->dir_count, &p->dir_next, path);
}

/* ---- numbers ---- */

static int64_t pick_off(struct picker *p)
{
	static const int64_t edges[] = {
		0,
		1,
		4095,
		4096,
		4097,
		65536,
		(1ll << 31) - 1,
		1ll << 31,
		1ll << 32,
		(1ll << 32) + 12345,
		(1ll << 40) + 4095,
		15ll << 40,
		-1,
		-4096,
		INT64_MIN,
	};
	unsigned int r = below(p, 100);

	if (r < 45)
		return below(p, 20000);
	if (r < 75)
		return below(p, 250000);
	if (r < 90)
		return (int64_t)below(p, 60) * 4096;
	return edges[below(p, 15)];
}

static int64_t pick_len(struct picker *p)
{
	unsigned int r = below(p, 100);

	if (r < 3)
		return 0;
	if (r < 40)
		return 1 + below(p, 300);
	if (r < 65)
		return 1 + below(p, 9000);
	if (r < 85)
		return 4096 * (int64_t)(1 + below(p, 4));
	return 1 + below(p, 70000);
}

static uint32_t pick_mode(struct picker *p)
{
	static const uint32_t usual[] = {0777, 0755,  0644,  0666, 0700,
					 0775, 01777, 02775, 0770, 0640};
	static const uint32_t bits[] = {04755, 02755, 06777, 04644, 02644,
					0,     0111,  0444,  01000, 07777};

	if (chance(p, 75))
		return usual[below(p, 10)];
	if (chance(p, 70))
		return bits[below(p, 10)];
	return below(p, 010000);
}

static uint32_t pick_open_flags(struct picker *p)
{
	static const uint32_t ways[] = {O_RDONLY, O_WRONLY, O_RDWR,
					O_RDWR,	  O_RDWR,   O_ACCMODE};
	static const uint32_t more[] = {
		O_TRUNC,     O_APPEND,	 O_EXCL,   O_DIRECTORY,
		O_NOFOLLOW,  O_SYNC,	 O_DSYNC,  O_PATH,
		O_NOATIME,   O_TRUNC,	 O_APPEND, O_CREAT | O_EXCL,
		O_DIRECTORY, 0x40000000,
	};
	uint32_t flags = ways[below(p, chance(p, 3) ? 6 : 5)];

	if (chance(p, 55))
		flags |= O_CREAT;
	while (chance(p, 35))
		flags |= more[below(p, 14)];
	return flags;
}

static uint32_t pick_flags(struct picker *p, unsigned int kind)
{
	static const uint32_t renames[] = {1, 1, 2, 2, 2, 3, 0, 8};
	static const uint32_t links[] = {
		0, 0, 0, 0, AT_SYMLINK_FOLLOW, AT_EMPTY_PATH, 1};

	switch (kind) {
	case K_open:
	case K_openat2:
	case K_tmpfile:
		return pick_open_flags(p);
	case K_renameat2:
		return renames[below(p, 8)];
	case K_link:
		return links[below(p, 7)];
	default:
		return below(p, 1u << 16);
	}
}

static unsigned int pick_kind(struct picker *p)
{
	unsigned int r = below(p, p->sum), kind = 0;

	while (r >= kinds[kind].weight)
		r -= kinds[kind++].weight;
	return kind;
}

/* The slot of what is made, or one that a bad number stands in. */
static int pick_slot(struct picker *p, unsigned int kind)
{
	bool fills = kind == K_open || kind == K_openat2;
	unsigned int first;

	if (fills)
		return (int)below(p, SLOTS);
	if (chance(p, 5))
		return (int)below(p, SLOTS + 1);
	first = below(p, SLOTS);
	for (unsigned int i = 0; i < SLOTS; i++)
		if (p->is_open[(first + i) % SLOTS])
			return (int)((first + i) % SLOTS);
	return (int)first;
}

static void pick_link_target(struct picker *p, struct op *op)
{
	unsigned int r = below(p, 10);

	if (r == 0)
		(void)snprintf(op->b, SPEC_MAX, "%s", op->a); /* a loop */
	else if (r == 1)
		(void)snprintf(op->b, SPEC_MAX, "/%s", pick_known(p));
	else if (r == 2)
		(void)snprintf(op->b, SPEC_MAX, "../%s", pick_name(p));
	else if (r < 6)
		(void)snprintf(op->b, SPEC_MAX, "%s", pick_name(p));
}

static void pick_sizes(struct picker *p, struct op *op)
{
	op->off = pick_off(p);
	op->off2 = pick_off(p);
	op->len = pick_len(p);
	if (op->kind == K_readlink)
		op->len = chance(p, 80) ? 5000 : (int64_t)below(p, 9) - 1;
	if (op->kind == K_fallocate && chance(p, 2))
		op->len = -op->len;
	if (op->kind == K_utimens || op->kind == K_futimens) {
		op->off = (int64_t)draw(p);
		op->off2 = (int64_t)draw(p);
	}
	/* Nothing to be gained from sizes that no filesystem has. */
	if (op->kind == K_lseek && op->off < 0)
		op->off = -(op->off % 5000);
}

static void pick_paths(struct picker *p, struct op *op)
{
	unsigned int fresh_a = 0, fresh_b = 60;

	switch (op->kind) {
	case K_mkdir:
	case K_mknod:
	case K_symlink:
		fresh_a = 85;
		break;
	case K_open:
		fresh_a = op->flags & O_CREAT ? 30 : 0;
		break;
	default:
		break;
	}
	pick_path(p, fresh_a, op->a);
	pick_path(p, fresh_b, op->b);
	if ((op->kind == K_rmdir || op->kind == K_list ||
	     op->kind == K_seek_dir) &&
	    chance(p, 80))
		pick_dir(p, op->a);
	if (op->kind == K_setacl && op->val % 3 == 0)
		pick_dir(p, op->a);
	if (op->kind == K_symlink)
		pick_link_target(p, op);
}

void pick(struct picker *p, struct op *op)
{
	memset(op, 0, offsetof(struct op, a));
	op->kind = pick_kind(p);
	op->who = p->is_user || chance(p, 70)
			  ? ROOT
			  : (enum who)(1 + below(p, WHO_COUNT - 1));
	op->fd = pick_slot(p, op->kind);
	op->fd2 = pick_slot(p, op->kind);
	if (op->kind == K_dup)
		op->fd2 %= SLOTS;
	if (op->kind == K_close)
		op->fd %= SLOTS;
	op->at = chance(p, 7) ? pick_slot(p, op->kind) : -1;
	op->flags = pick_flags(p, op->kind);
	op->mode = pick_mode(p);
	if (p->plain_modes)
		op->mode = op->kind == K_umask ? op->mode & 077
					       : (op->mode & 01777) | 0100;
	op->val = (uint32_t)draw(p);
	if (op->kind == K_umask && chance(p, 70))
		op->mode = 022;
	pick_sizes(p, op);
	pick_paths(p, op);
}

static void print_path(FILE *to, const char *path)
{
	(void)fputs(" \"", to);
	for (; *path; path++) {
		unsigned char c = (unsigned char)*path;

		(void)fprintf(to, c >= 32 && c < 127 ? "%c" : "\\%03o", c);
	}
	(void)fputc('"', to);
}

void op_print(FILE *to, const struct op *op)
{
	(void)fprintf(to, "%s", kind_name(op->kind));
	if (op->kind >= KIND_COUNT)
		return;
	(void)fprintf(to,
		      " who %u at %d fd %d %d flags %#o mode %#o val %u off"
		      " %lld %lld len %lld",
		      (unsigned int)op->who, op->at, op->fd, op->fd2, op->flags,
		      op->mode, op->val, (long long)op->off,
		      (long long)op->off2, (long long)op->len);
	print_path(to, op->a);
	print_path(to, op->b);
}
