/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether options are those that a mount has.
 *
 * mount(8) hands all that stands in fstab over to a remount, so that most of
 * what is named there is no change.
 */
#include <errno.h>
#include <fuse_opt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "fs/mount/options.h"

static __attribute__((__format__(__printf__, 2, 3))) int add(char **text,
							     const char *fmt,
							     ...)
{
	_cleanup_free_ char *one = NULL;
	va_list args;
	int n;

	va_start(args, fmt);
	n = vasprintf(&one, fmt, args);
	va_end(args);
	if (n < 0) {
		one = NULL;
		return -ENOMEM;
	}
	return fuse_opt_add_opt_escaped(text, one) ? -ENOMEM : 0;
}

static int add_if(char **text, bool is, const char *option)
{
	return is ? add(text, "%s", option) : 0;
}

static const char *choice_word(enum mount_choice choice)
{
	return choice == MOUNT_ON ? "on" : choice == MOUNT_OFF ? "off" : "auto";
}

int mount_options_text(const struct mount_options *o, char **ret_text)
{
	const struct mirror_options *m = &o->mirror;
	_cleanup_free_ char *text = NULL;

	if (add(&text, "min_stores=%u", m->min_stores) ||
	    add(&text, "timeout=%u", o->timeout_s) ||
	    add(&text, "io_uring=%s", choice_word(o->uring)) ||
	    add(&text, "low_latency=%s", choice_word(o->low_latency)) ||
	    (*o->prefer && add(&text, "prefer=%s", o->prefer)) ||
	    add(&text, "cache=%s",
		o->writeback ? "writeback" : "writethrough") ||
	    add(&text, "checkpoint=%u.%03u", m->checkpoint_ms / 1000,
		m->checkpoint_ms % 1000) ||
	    (m->budget_bytes &&
	     add(&text, "budget=%llu", (unsigned long long)m->budget_bytes)) ||
	    add(&text, "resync_rate=%llu",
		(unsigned long long)o->resync_rate) ||
	    add(&text, "%s",
		o->auto_attach ? "auto_attach" : "no_auto_attach") ||
	    (*o->name && add(&text, "name=%s", o->name)) ||
	    add_if(&text, o->allow_other, "allow_other") ||
	    add_if(&text, o->allow_root, "allow_root") ||
	    add_if(&text, o->auto_unmount, "auto_unmount") ||
	    add_if(&text, o->debug, "debug"))
		return -ENOMEM;
	*ret_text = steal_pointer(&text);
	return 0;
}

/* The name of an option and whether @now has it as @was; NULL: no such. */
static const char *compare(enum option_key key, const struct mount_options *now,
			   const struct mount_options *was, bool *ret_same)
{
	const struct mirror_options *n = &now->mirror, *w = &was->mirror;

	switch (key) {
	case KEY_ALLOW_OTHER: /* the kernel shows the other one as this */
		*ret_same = was->allow_other || was->allow_root;
		return "allow_other";
	case KEY_ALLOW_ROOT:
		*ret_same = was->allow_root;
		return "allow_root";
	case KEY_AUTO_UNMOUNT:
		*ret_same = was->auto_unmount;
		return "auto_unmount";
	case KEY_DEBUG:
		*ret_same = was->debug;
		return "debug";
	case KEY_FSNAME:
		*ret_same = strcmp(now->fsname, was->fsname) == 0;
		return "fsname=";
	case KEY_MIN_STORES:
		*ret_same = n->min_stores == w->min_stores;
		return "min_stores=";
	case KEY_TIMEOUT:
		*ret_same = now->timeout_s == was->timeout_s;
		return "timeout=";
	case KEY_URING:
		*ret_same = now->uring == was->uring;
		return "io_uring=";
	case KEY_LATENCY:
		*ret_same = now->low_latency == was->low_latency;
		return "low_latency=";
	case KEY_READ:
	case KEY_PREFER:
		*ret_same = strcmp(now->prefer, was->prefer) == 0;
		return "read=";
	case KEY_CACHE:
		*ret_same = now->writeback == was->writeback;
		return "cache=";
	case KEY_CHECKPOINT:
		*ret_same = n->checkpoint_ms == w->checkpoint_ms;
		return "checkpoint=";
	case KEY_BUDGET:
		*ret_same = n->budget_bytes == w->budget_bytes;
		return "budget=";
	case KEY_RATE:
		*ret_same = now->resync_rate == was->resync_rate;
		return "resync_rate=";
	case KEY_ATTACH:
	case KEY_NO_ATTACH:
		*ret_same = now->auto_attach == was->auto_attach;
		return now->auto_attach ? "auto_attach" : "no_auto_attach";
	case KEY_NAME:
		*ret_same = strcmp(now->name, was->name) == 0;
		return "name=";
	case KEY_CONTEXT: /* mount(8) leaves them out */
		*ret_same = false;
		return "context=";
	default:
		return NULL;
	}
}

int mount_options_differ(const struct mount_options *options, const char *text,
			 const char *source, const char **ret_name)
{
	char why[MOUNT_WHY_MAX];
	struct mount_options was;
	int err = 0;

	mount_options_init(&was);
	was.allow_other = false;
	was.fsname = strdup(source);
	if (!was.fsname)
		err = -ENOMEM;
	if (!err && text)
		err = mount_options_parse(&was, text, why);
	*ret_name = NULL;
	for (unsigned int key = 0; !err && key <= KEY_NAME && !*ret_name;
	     key++) {
		const char *name;
		bool same;

		if (!(options->given & OPTION_BIT(key)))
			continue;
		if (!text && key < KEY_CONTEXT) /* as the kernel shows it */
			continue;
		name = compare((enum option_key)key, options, &was, &same);
		if (name && (!same || (!text && key != KEY_FSNAME)))
			*ret_name = name;
	}
	mount_options_done(&was);
	return err;
}
