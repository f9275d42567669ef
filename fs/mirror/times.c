/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/mirror/times.h"

#include "base/clock.h"
#include "fs/mirror/room.h"

/* ---- mtime ---- */

bool node_mtime_get(struct node *n, struct timespec *ret)
{
	bool known;

	mutex_lock(&n->ranges);
	known = n->mtime_known;
	if (known)
		*ret = n->mtime;
	mutex_unlock(&n->ranges);
	return known;
}

bool node_mtime_take(struct node *n, struct timespec *ret, slot_mask *ret_given)
{
	bool known = node_mtime_get(n, ret);

	mutex_lock(&n->ranges);
	*ret_given = n->mtime_moved ? 0 : n->mtime_given;
	n->mtime_moved = false;
	mutex_unlock(&n->ranges);
	return known;
}

/* Whatever changed contents before has ended: what it moved is overwritten. */
void node_mtime_giving(struct node *n)
{
	mutex_lock(&n->ranges);
	if (!n->held)
		n->mtime_moved = false;
	mutex_unlock(&n->ranges);
}

static bool mtime_is(const struct node *n, const struct timespec *mtime)
	REQUIRES(n->ranges)
{
	return n->mtime_known && n->mtime.tv_sec == mtime->tv_sec &&
	       n->mtime.tv_nsec == mtime->tv_nsec;
}

void node_mtime_given(struct node *n, const struct timespec *mtime, bool all)
{
	mutex_lock(&n->ranges);
	if (!all)
		n->mtime_moved = true;
	else if (mtime_is(n, mtime))
		n->mtime_given = ALL_SLOTS;
	mutex_unlock(&n->ranges);
}

void node_mtime_set(struct mirror *m, struct node *n,
		    const struct timespec *mtime, slot_mask given)
{
	if (!atomic_load(&m->kernel_times) || n->kind != META_FILE)
		return;
	mutex_lock(&n->ranges);
	if (!mtime_is(n, mtime))
		n->mtime_given = 0;
	n->mtime_given |= given;
	n->mtime_known = true;
	n->mtime = *mtime; /* a write may be at work: mtime_moved stays */
	mutex_unlock(&n->ranges);
}

/* What the kernel has not said, it was told: the time before the change. */
void node_mtime_keep(struct mirror *m, struct node *n)
{
	struct stat st;
	bool known;

	if (!atomic_load(&m->kernel_times))
		return;
	mutex_lock(&n->ranges);
	known = n->mtime_known;
	mutex_unlock(&n->ranges);
	if (!known && node_stat(m, n, 0, &st))
		return; /* the change itself will say what is wrong */
	mutex_lock(&n->ranges);
	if (!n->mtime_known) {
		n->mtime_known = true;
		n->mtime = st.st_mtim;
	}
	mutex_unlock(&n->ranges);
}

/* After the change: a checkpoint during it has put the time back too early. */
void node_mtime_moved(struct mirror *m, struct node *n)
{
	if (!atomic_load(&m->kernel_times))
		return;
	mutex_lock(&n->ranges);
	n->mtime_moved = true;
	n->mtime_given = 0;
	mutex_unlock(&n->ranges);
}

struct times_putting {
	struct store_obj obj;
	const struct timespec *times;
};

static int times_try(struct mirror *m, unsigned int i, const void *arg)
{
	const struct times_putting *p = arg;

	return store_utimens(m->slot[i].store, p->obj, p->times);
}

int times_put(struct mirror *m, unsigned int i, struct store_obj obj,
	      const struct timespec times[2])
{
	return room_try(m, i, times_try, &(struct times_putting){obj, times});
}

void mirror_set_kernel_times(struct mirror *m, bool on)
{
	atomic_store(&m->kernel_times, on);
}

/* ---- ctime ---- */

bool node_kernel_times(struct mirror *m, const struct node *n)
{
	return atomic_load(&m->kernel_times) && n->kind == META_FILE;
}

int64_t ctime_of(const struct stat *st)
{
	return clock_timespec_ns(&st->st_ctim);
}

struct meta_ctime node_ctime_row(struct mirror *m, struct node *n,
				 unsigned int i)
{
	struct meta_ctime known;

	mutex_lock(&m->fds);
	known = node_place(n, i)->ctime;
	mutex_unlock(&m->fds);
	return known;
}

void node_ctime_show(struct mirror *m, struct node *n, unsigned int i,
		     struct stat *st)
{
	const struct meta_ctime known = node_ctime_row(m, n, i);
	int64_t backing = ctime_of(st), shown;

	mutex_lock(&n->ranges);
	shown = n->ctime_by == CTIME_STORES ? meta_ctime_shown(known, backing)
					    : n->ctime;
	mutex_unlock(&n->ranges);
	if (shown != backing)
		st->st_ctim = clock_ns_timespec(shown);
}

void node_ctime_told(struct mirror *m, struct node *n,
		     const struct timespec *ctime)
{
	if (!node_kernel_times(m, n))
		return;
	mutex_lock(&n->ranges);
	n->ctime = clock_timespec_ns(ctime);
	n->ctime_by = CTIME_KERNEL;
	n->ctime_awaited = false;
	mutex_unlock(&n->ranges);
}

bool node_ctime_is_news(struct node *n, const struct timespec *ctime)
{
	bool news;

	if (n->unlinked)
		return false; /* it lost its last name: no row is left */
	mutex_lock(&n->ranges);
	news = !n->ctime_awaited && (n->ctime_by == CTIME_STORES ||
				     n->ctime != clock_timespec_ns(ctime));
	mutex_unlock(&n->ranges);
	return news;
}

void node_ctime_moved(struct mirror *m, struct node *n)
{
	mutex_lock(&n->ranges);
	n->ctime_by = CTIME_STORES;
	n->ctime_awaited = true;
	mutex_unlock(&n->ranges);
	mutex_lock(&m->fds);
	for (unsigned int i = 0; i < node_place_count(n); i++)
		node_place(n, i)->ctime = (struct meta_ctime){0};
	mutex_unlock(&m->fds);
}

void node_ctime_tried(struct mirror *m, struct node *n, int r)
{
	if (!r || !err_is_answer(r) || err_is_limit(r))
		node_ctime_moved(m, n);
}

void node_ctime_keep(struct mirror *m, struct node *n, unsigned int i,
		     const struct stat *st)
{
	const struct meta_ctime known = node_ctime_row(m, n, i);

	mutex_lock(&n->ranges);
	if (n->ctime_by == CTIME_STORES) {
		n->ctime = meta_ctime_shown(known, ctime_of(st));
		n->ctime_by = CTIME_KEPT;
	}
	mutex_unlock(&n->ranges);
}

bool node_ctime_is_kept(struct node *n)
{
	bool kept;

	mutex_lock(&n->ranges);
	kept = n->ctime_by != CTIME_STORES;
	mutex_unlock(&n->ranges);
	return kept;
}

void node_ctime_seal(struct mirror *m, struct node *n, unsigned int i,
		     int64_t backing)
{
	struct meta_ctime known = {0};

	mutex_lock(&n->ranges);
	if (backing && n->ctime_by != CTIME_STORES)
		known = (struct meta_ctime){n->ctime, backing};
	/* Within the other: node_ctime_moved() comes before or after both. */
	mutex_lock(&m->fds);
	node_place(n, i)->ctime = known;
	mutex_unlock(&m->fds);
	mutex_unlock(&n->ranges);
}

void node_ctime_sealed(struct node *n)
{
	mutex_lock(&n->ranges);
	if (n->ctime_by == CTIME_KEPT)
		n->ctime_by = CTIME_STORES;
	mutex_unlock(&n->ranges);
}
