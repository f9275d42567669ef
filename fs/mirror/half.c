/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the last store did and called an error.
 *
 * Nobody else has it, so the store is asked what is the case now: what is as it
 * was to become is done, and is told as that, so that its files, the maps, the
 * kernel and the application know the same. What is as it was before is an
 * error, and nothing else. Where the store does not answer, or has done a part,
 * only the next mount will know.
 *
 * Whatever the answer, the names stay in doubt until then (change_in_doubt()): a
 * filesystem that fails may show something else when it has been opened again.
 */
#include "fs/mirror/internal.h"

#include <errno.h>
#include <string.h>

#include "base/log.h"

bool err_is_doubt(int err)
{
	return err && !err_is_answer(err) && !store_error_is_space(err) &&
	       !store_error_is_ours(err);
}

static int settle(struct op *op, slot_fn look, void *arg, const char *what,
		  int r, bool *ret_known)
{
	slot_mask mask = op_slots(op);
	unsigned int i;
	int found;

	*ret_known = true;
	/* Of several the others know better than who failed. */
	if (!err_is_doubt(r) || !mask || (mask & (mask - 1)))
		return r;
	i = (unsigned int)__builtin_ctz(mask);
	found = look(op->m, i, arg);
	*ret_known = found >= 0;
	if (found != HALF_DONE)
		return r;
	atomic_fetch_add(&op->m->slot[i].errors_write, 1);
	log_warn("store %s called an error what it has done: %s: %s",
		 op->m->slot[i].row.name, what, strerror(-r));
	return 0;
}

int settle_change(struct op *op, slot_fn look, void *arg, const char *what,
		  int r)
{
	bool known;

	return settle(op, look, arg, what, r, &known);
}

int settle_names(struct op *op, slot_fn look, void *arg, const char *what,
		 int r)
{
	bool known;

	r = settle(op, look, arg, what, r, &known);
	if (known)
		return r;
	if (!atomic_exchange(&op->m->by_half, true))
		log_err("the last store does not say what it has done: %s: %s; "
			"names may be old or new until the volume is unmounted "
			"and mounted again",
			what, strerror(-r));
	return r;
}

/* 0: so it is; -ESTALE: it leads to something else. */
static int leads_to(struct mirror *m, unsigned int i, int dirfd,
		    const char *name, const struct meta_backing *want)
{
	struct store_stat st;
	int r = store_statat(m->slot[i].store, dirfd, name,
			     STORE_STAT_GEN | STORE_STAT_NO_TIMES, &st);

	if (r)
		return r;
	return want->ino == st.st.st_ino && want->gen == st.gen ? 0 : -ESTALE;
}

int name_leads_to(struct mirror *m, unsigned int i, int dirfd, const char *name,
		  struct node *n)
{
	struct meta_backing want;
	int r;

	if (!atomic_load(&m->by_half))
		return 0;
	r = node_backing_load(m, n, i, &want);
	if (r || !want.ino)
		return r;
	return leads_to(m, i, dirfd, name, &want);
}

int name_now(struct mirror *m, unsigned int i, struct node *dir,
	     const char *name, struct node *n)
{
	struct meta_backing want;
	int dirfd, r = node_backing_load(m, n, i, &want);

	if (!r && !want.ino)
		r = -EIO;
	if (!r)
		r = node_fd_get(m, dir, i, false, &dirfd);
	if (r)
		return r == -ENOENT ? -EIO : r;
	r = leads_to(m, i, dirfd, name, &want);
	node_fd_put(m, dir, i);
	if (r == -ESTALE)
		return NAME_OF_ANOTHER;
	if (r == -ENOENT)
		return NAME_ABSENT;
	return r ? r : NAME_OF_IT;
}
