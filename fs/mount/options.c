/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/mount/options.h"

#include <errno.h>
#include <fuse_lowlevel.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"

enum {
	CHECKPOINT_MS_MIN = 100,
	CHECKPOINT_MS_MAX = 3600 * 1000,
	SECONDS_MAX = 24 * 3600,
	BUDGET_MIN = 64 << 20,
};

/* FUSE_OPT_KEY() with the type that the field has. */
#define OPTION(text, key)             \
	{                             \
		text, UINT_MAX, (key) \
	}

static const struct fuse_opt table[] = {
	OPTION("min_stores=", KEY_MIN_STORES),
	OPTION("degraded", KEY_DEGRADED),
	OPTION("wait=", KEY_WAIT),
	OPTION("timeout=", KEY_TIMEOUT),
	OPTION("io_uring=", KEY_URING),
	OPTION("low_latency=", KEY_LATENCY),
	OPTION("read=", KEY_READ),
	OPTION("prefer=", KEY_PREFER),
	OPTION("cache=", KEY_CACHE),
	OPTION("checkpoint=", KEY_CHECKPOINT),
	OPTION("budget=", KEY_BUDGET),
	OPTION("resync_rate=", KEY_RATE),
	OPTION("auto_attach", KEY_ATTACH),
	OPTION("no_auto_attach", KEY_NO_ATTACH),
	OPTION("name=", KEY_NAME),

	/* FUSE's own */
	OPTION("allow_other", KEY_ALLOW_OTHER),
	OPTION("allow_root", KEY_ALLOW_ROOT),
	OPTION("default_permissions", KEY_DROP), /* always on */
	OPTION("fsname=", KEY_FSNAME),
	OPTION("subtype=", KEY_SUBTYPE),
	OPTION("debug", KEY_DEBUG),
	OPTION("auto_unmount", KEY_AUTO_UNMOUNT),
	OPTION("context=", KEY_CONTEXT),
	OPTION("fscontext=", KEY_CONTEXT),
	OPTION("defcontext=", KEY_CONTEXT),
	OPTION("rootcontext=", KEY_CONTEXT),

	/* what the kernel shows of a mount: mount(8) hands it over again */
	OPTION("user_id=", KEY_SHOWN),
	OPTION("group_id=", KEY_SHOWN),
	OPTION("rootmode=", KEY_SHOWN),
	OPTION("max_read=", KEY_SHOWN),
	OPTION("blksize=", KEY_SHOWN),
	OPTION("seclabel", KEY_SHOWN),

	/* flags of mount(2): see also options_flags.c */
	OPTION("ro", KEY_RO),
	OPTION("rw", KEY_RW),
	OPTION("suid", KEY_PASS),
	OPTION("nosuid", KEY_PASS),
	OPTION("dev", KEY_PASS),
	OPTION("nodev", KEY_PASS),
	OPTION("exec", KEY_PASS),
	OPTION("noexec", KEY_PASS),
	OPTION("sync", KEY_PASS),
	OPTION("async", KEY_PASS),
	OPTION("dirsync", KEY_PASS),
	OPTION("noatime", KEY_NOATIME),
	OPTION("symfollow", KEY_DROP),	 /* set by the session: the library */
	OPTION("nosymfollow", KEY_DROP), /* does not know it */
	/* Access times are kept by the stores, as their own mounts say. */
	OPTION("atime", KEY_DROP),
	OPTION("diratime", KEY_DROP),
	OPTION("nodiratime", KEY_DROP),
	OPTION("relatime", KEY_DROP),
	OPTION("norelatime", KEY_DROP),
	OPTION("strictatime", KEY_DROP),
	OPTION("nostrictatime", KEY_DROP),
	OPTION("lazytime", KEY_DROP),
	OPTION("nolazytime", KEY_DROP),

	/* for mount(8) and those around it */
	OPTION("remount", KEY_DROP), /* found before all others */
	OPTION("defaults", KEY_DROP),
	OPTION("auto", KEY_DROP),
	OPTION("noauto", KEY_DROP),
	OPTION("nofail", KEY_DROP),
	OPTION("_netdev", KEY_DROP),
	OPTION("owner", KEY_DROP),
	OPTION("noowner", KEY_DROP),
	OPTION("group", KEY_DROP),
	OPTION("nogroup", KEY_DROP),
	OPTION("user", KEY_DROP),
	OPTION("user=", KEY_DROP),
	OPTION("nouser", KEY_DROP),
	OPTION("users", KEY_DROP),
	OPTION("nousers", KEY_DROP),
	OPTION("silent", KEY_DROP),
	OPTION("loud", KEY_DROP),
	OPTION("iversion", KEY_DROP),
	OPTION("noiversion", KEY_DROP),
	OPTION("mand", KEY_DROP),
	OPTION("nomand", KEY_DROP),
	OPTION("comment=", KEY_DROP),
	OPTION("helper=", KEY_DROP),
	OPTION("uhelper=", KEY_DROP),
	FUSE_OPT_END,
};

void mount_options_init(struct mount_options *options)
{
	*options = (struct mount_options){
		.mirror.min_stores = 1,
		.mirror.checkpoint_ms = 5000,
		.mirror.prefer_slot = -1,
		.auto_attach = true,
		.writeback = true,
		.allow_other = geteuid() == 0,
	};
}

void mount_options_done(struct mount_options *options)
{
	free(options->fsname);
	free(options->passed);
	options->fsname = NULL;
	options->passed = NULL;
}

/* ---- values ---- */

/* Digits only: no sign, no blanks, no empty text. */
static int parse_count(const char *text, unsigned int min, unsigned int max,
		       unsigned int *ret)
{
	unsigned long n;
	char *end;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	n = strtoul(text, &end, 10);
	if (errno || *end || n < min || n > max)
		return -EINVAL;
	*ret = (unsigned int)n;
	return 0;
}

/* "5", "0.25": what lies behind the third decimal place is dropped. */
static int parse_seconds_ms(const char *text, unsigned int *ret_ms)
{
	unsigned int scale = 1000;
	uint64_t ms = 0;
	const char *p;

	for (p = text; *p >= '0' && *p <= '9' && ms < UINT32_MAX; p++)
		ms = ms * 10 + (uint64_t)(*p - '0') * 1000;
	if (p == text)
		return -EINVAL;
	if (*p == '.') {
		if (!p[1])
			return -EINVAL;
		for (p++; *p >= '0' && *p <= '9'; p++) {
			scale /= 10;
			ms += (uint64_t)(*p - '0') * scale;
		}
	}
	if (*p || ms < CHECKPOINT_MS_MIN || ms > CHECKPOINT_MS_MAX)
		return -EINVAL;
	*ret_ms = (unsigned int)ms;
	return 0;
}

static int parse_rate(const char *text, uint64_t *ret)
{
	char size[SIZE_TEXT_MAX * 2];
	size_t len = strlen(text);

	if (len > 2 && strcmp(text + len - 2, "/s") == 0)
		len -= 2;
	if (len >= sizeof(size))
		return -EINVAL;
	memcpy(size, text, len);
	size[len] = '\0';
	return size_parse(size, ret) ? -EINVAL : 0;
}

/* Less than the widest window (fs/mirror/arm.c) would serve nobody. */
static int parse_budget(const char *text, uint64_t *ret)
{
	uint64_t bytes;

	if (size_parse(text, &bytes) || bytes < BUDGET_MIN)
		return -EINVAL;
	*ret = bytes;
	return 0;
}

static int parse_name(const char *text, char ret[static MOUNT_NAME_MAX])
{
	size_t len = strlen(text);

	if (!len || len >= MOUNT_NAME_MAX || strchr(text, '/'))
		return -EINVAL;
	memcpy(ret, text, len + 1);
	return 0;
}

static int parse_read(struct mount_options *o, const char *text)
{
	if (strcmp(text, "balance") == 0) {
		o->prefer[0] = '\0';
		return 0;
	}
	if (strncmp(text, "prefer=", strlen("prefer=")) == 0)
		return parse_name(text + strlen("prefer="), o->prefer);
	return -EINVAL;
}

static int parse_cache(struct mount_options *o, const char *text)
{
	o->writeback = strcmp(text, "writeback") == 0;
	return o->writeback || strcmp(text, "writethrough") == 0 ? 0 : -EINVAL;
}

static int parse_choice(const char *text, enum mount_choice *ret)
{
	if (strcmp(text, "auto") == 0)
		*ret = MOUNT_AUTO;
	else if (strcmp(text, "off") == 0)
		*ret = MOUNT_OFF;
	else if (strcmp(text, "on") == 0)
		*ret = MOUNT_ON;
	else
		return -EINVAL;
	return 0;
}

static int set_text(char **to, const char *text)
{
	char *copy;

	if (!*text)
		return -EINVAL;
	copy = strdup(text);
	if (!copy)
		return -ENOMEM;
	free(*to);
	*to = copy;
	return 0;
}

static int option_value(struct mount_options *o, enum option_key key,
			const char *value)
{
	switch (key) {
	case KEY_MIN_STORES:
		return parse_count(value, 1, META_STORE_MAX,
				   &o->mirror.min_stores);
	case KEY_WAIT:
		return parse_count(value, 0, SECONDS_MAX, &o->wait_s);
	case KEY_TIMEOUT:
		return parse_count(value, 0, SECONDS_MAX, &o->timeout_s);
	case KEY_CHECKPOINT:
		return parse_seconds_ms(value, &o->mirror.checkpoint_ms);
	case KEY_BUDGET:
		return parse_budget(value, &o->mirror.budget_bytes);
	case KEY_URING:
		return parse_choice(value, &o->uring);
	case KEY_LATENCY:
		return parse_choice(value, &o->low_latency);
	case KEY_READ:
		return parse_read(o, value);
	case KEY_PREFER:
		return parse_name(value, o->prefer);
	case KEY_CACHE:
		return parse_cache(o, value);
	case KEY_RATE:
		return parse_rate(value, &o->resync_rate);
	case KEY_NAME:
		return parse_name(value, o->name);
	case KEY_FSNAME:
		return set_text(&o->fsname, value);
	case KEY_SUBTYPE:
		return strcmp(value, "seqmirror") == 0 ? 0 : -EINVAL;
	default:
		return -EINVAL;
	}
}

static void option_flag(struct mount_options *o, enum option_key key)
{
	if (key == KEY_RO || key == KEY_RW)
		o->read_only = key == KEY_RO;
	else if (key == KEY_ATTACH || key == KEY_NO_ATTACH)
		o->auto_attach = key == KEY_ATTACH;
	else if (key == KEY_DEGRADED)
		o->degraded = true;
	else if (key == KEY_ALLOW_OTHER)
		o->allow_other = true;
	else if (key == KEY_ALLOW_ROOT)
		o->allow_root = true;
	else if (key == KEY_DEBUG)
		o->debug = true;
	else if (key == KEY_AUTO_UNMOUNT)
		o->auto_unmount = true;
	else if (key == KEY_NOATIME)
		o->mirror.noatime = true;
}

/* ---- one -o ---- */

struct parse {
	struct mount_options *options;
	char *why; /* MOUNT_WHY_MAX */
	int err;
};

static int parse_fail(struct parse *p, int err, const char *arg)
{
	const char *what = "bad value in mount option";

	if (err == -ENOMEM)
		what = "no memory for mount option";
	else if (err == -ENOENT)
		what = "unknown mount option";
	(void)snprintf(p->why, MOUNT_WHY_MAX, "%s: %s", what, arg);
	p->err = err == -ENOENT ? -EINVAL : err;
	return -1;
}

static bool is_passed(int key)
{
	return key == KEY_PASS || key == KEY_NOATIME || key == KEY_CONTEXT ||
	       key == KEY_AUTO_UNMOUNT;
}

static int option_apply(struct mount_options *o, enum option_key key,
			const char *arg)
{
	const char *value = strchr(arg, '=');

	o->given |= OPTION_BIT(key);
	if (is_passed(key) && fuse_opt_add_opt_escaped(&o->passed, arg))
		return -ENOMEM;
	if (value && !is_passed(key))
		return option_value(o, key, value + 1);
	option_flag(o, key);
	return 0;
}

/* Called for each option. 0: done with it, -1: stop. */
static int parse_one(void *data, const char *arg, int key,
		     struct fuse_args *out)
{
	struct parse *p = data;
	int err;

	(void)out;
	if (key == FUSE_OPT_KEY_OPT || key == FUSE_OPT_KEY_NONOPT) {
		/* Nothing between two commas; and whole families that are
		 * somebody else's by convention. */
		if (!*arg || strncmp(arg, "x-", 2) == 0 ||
		    strncmp(arg, "X-", 2) == 0)
			return 0;
		return parse_fail(p, -ENOENT, arg);
	}
	if (key == KEY_SHOWN && !p->options->remount)
		return parse_fail(p, -ENOENT, arg);
	mount_flag_apply(arg, &p->options->flags);
	if (key == KEY_DROP || key == KEY_SHOWN)
		return 0;
	err = option_apply(p->options, (enum option_key)key, arg);
	return err ? parse_fail(p, err, arg) : 0;
}

static bool has_word(const char *text, const char *word)
{
	size_t len = strlen(word);

	for (const char *at = text;; at++) {
		if (strncmp(at, word, len) == 0 && (!at[len] || at[len] == ','))
			return true;
		while (*at && *at != ',')
			at += at[0] == '\\' && at[1] ? 2 : 1;
		if (!*at)
			return false;
	}
}

int mount_options_parse(struct mount_options *options, const char *text,
			char ret_why[static MOUNT_WHY_MAX])
{
	struct parse p = {.options = options, .why = ret_why};
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);

	if (!*text)
		return 0;
	/* It says how to take those before it, too. */
	options->remount |= has_word(text, "remount");
	if (fuse_opt_add_arg(&args, "seqmirror") ||
	    fuse_opt_add_arg(&args, "-o") || fuse_opt_add_arg(&args, text) ||
	    (fuse_opt_parse(&args, &p, table, parse_one) && !p.err))
		(void)parse_fail(&p, -ENOMEM, text);
	fuse_opt_free_args(&args);
	return p.err;
}
