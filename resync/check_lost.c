/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The names of one node are links of one file, and of nothing else.
 *
 * A row with an identity proves that by itself. In a copy there is none yet, and
 * any file of the kind is taken for the node: a copy made without hard links has
 * one for each name. Who made it lost nothing by that, and a mount makes them one
 * file again (settle_links.c); till then each but the first is told.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "resync/check_internal.h"
#include "resync/map_path.h"

#define PATH_TEXT 4200

/* What cannot be looked at, the walk tells. */
static bool is_absence(int r)
{
	return r == -EACCES || r == -EPERM || r == -EIO || r == -ENOENT ||
	       r == -ENOTDIR || r == -ELOOP || r == -EXDEV ||
	       r == -ENAMETOOLONG || r == -EINVAL;
}

/* Is there a file of the kind under @d? 1 yes: @ret_path is to be freed; 0 no, or
 * nothing that proves anything. */
static int look(struct check *c, const struct meta_dentry *d,
		const struct check_place *p, struct store_stat *ret,
		char **ret_path)
{
	const struct store *s = c->side->store;
	_cleanup_free_ char *path = NULL;
	_cleanup_close_ int fd = -1;
	int r;

	if (check_doubt_has(&c->doubt, d->parent, META_INTENT_NAME))
		return 0;
	r = map_path(c->rd, d, &path);
	if (r <= 0)
		return r;
	fd = store_open_path(s, path, O_PATH | O_NOFOLLOW);
	r = fd < 0 ? fd : store_fstat(s, fd, STORE_STAT_GEN, ret);
	if (r)
		return is_absence(r) ? 0 : r;
	if (ret->foreign || meta_kind_of(ret->st.st_mode) != p->row->kind)
		return 0;
	*ret_path = steal_pointer(&path);
	return 1;
}

static int tell_lost(struct check *c, const struct check_place *p,
		     const char *other)
{
	enum check_class class = p->doubt	? CHECK_DOUBT
				 : c->unsettled ? CHECK_NOTE
						: CHECK_WRONG;
	char quoted[PATH_TEXT];
	char detail[PATH_TEXT + 128];

	(void)snprintf(detail, sizeof(detail), "to %s%s",
		       path_quote(quoted, sizeof(quoted), other),
		       c->unsettled ? "; the next mount or resync makes them "
				      "one again, and keeps what differs in "
				      ".seqmirror/found"
				    : "");
	return check_tell_place(c, p, class, CHECK_LOST_LINK, detail);
}

/* The first of its names that leads to anything stands for the file. */
int check_lost_link(struct check *c, const struct check_place *p)
{
	_cleanup_meta_iter_ struct meta_iter it = {0};
	_cleanup_free_ char *path = NULL;
	struct store_stat st;
	struct meta_dentry d;
	int r;

	if (!c->n->copied && p->row->backing.ino)
		return 0;
	r = meta_iter_names(c->rd, p->row->id, &it);
	while (r == 0 && (r = meta_next_dentry(&it, &d)) > 0) {
		if (d.parent == p->parent && !strcmp(d.name, p->name))
			return 0;
		r = look(c, &d, p, &st, &path);
		if (r > 0)
			break;
	}
	if (r <= 0)
		return r;
	if (st.st.st_ino == p->st->st.st_ino && st.gen == p->st->gen)
		return 0;
	return tell_lost(c, p, path);
}
