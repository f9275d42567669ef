/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "fs/mirror/room.h"
#include "tests/unit/mirror_fixture.h"

TestSuite(mirror_room, .init = setup, .fini = teardown, .timeout = 300);

static uint64_t free_bytes(void)
{
	struct statvfs v;

	cr_assert_eq(statvfs(dir_a, &v), 0);
	return (uint64_t)v.f_bavail * v.f_frsize;
}

/* What the stores have free, two of them may not both be given. */
Test(mirror_room, what_is_under_way_is_not_free)
{
	uint64_t part = free_bytes() / 5 * 2;
	struct op first, second, third;

	cr_assert_eq(op_enter_room(m, &first, part), 0);
	cr_assert_eq(op_enter_room(m, &second, part), 0);
	cr_assert_eq(op_enter_room(m, &third, part), -ENOSPC);
	cr_assert_eq(op_end(&third, -ENOSPC), -ENOSPC);
	cr_assert_eq(op_end(&first, 0), 0);
	cr_assert_eq(op_enter_room(m, &third, part), 0);
	cr_assert_eq(op_end(&second, 0), 0);
	cr_assert_eq(op_end(&third, 0), 0);
	cr_assert_eq(atomic_load(&m->room_busy), 0);
}

/* Who was refused hears of it until there is room. */
Test(mirror_room, a_refused_page_is_remembered)
{
	uint64_t part = free_bytes() / 5 * 2;
	struct op first, second;
	struct mirror_entry e;

	cr_assert_eq(mirror_create(m, META_ROOT_ID, "f", 0644, &cred, &e), 0);
	cr_assert_eq(mirror_refused(m, e.id), 0);
	mirror_refuse(m, e.id, -EDQUOT, 4096);
	cr_assert_eq(mirror_refused(m, e.id), -EDQUOT);
	cr_assert_eq(mirror_refused(m, e.id), 0);
	mirror_refuse(m, e.id, -ENOSPC, 4096);
	cr_assert_eq(op_enter_room(m, &first, part), 0);
	cr_assert_eq(op_enter_room(m, &second, part), 0);
	atomic_store(&m->room, 0);
	atomic_fetch_add(&m->room_busy, part); /* all of it */
	cr_assert_eq(mirror_refused(m, e.id), -ENOSPC);
	cr_assert_eq(mirror_refused(m, e.id), -ENOSPC);
	room_done(m, part);
	cr_assert_eq(op_end(&first, 0), 0);
	cr_assert_eq(op_end(&second, 0), 0);
	cr_assert_eq(mirror_refused(m, e.id), 0);
	cr_assert_eq(mirror_refused(m, 999999), 0);
}

struct wanting {
	unsigned int failures; /* so often there is no room */
	unsigned int tries;
	pthread_t other;
	bool with_other, entered;
};

static void *enter_other(void *arg)
{
	struct wanting *w = arg;
	struct op op;

	cr_assert_eq(op_enter(m, &op), 0);
	mutex_lock(&m->lock);
	w->entered = true;
	cond_broadcast(&m->ended);
	mutex_unlock(&m->lock);
	op_leave(&op);
	return NULL;
}

/* Has the other one got past the gate, in the time in which it could? */
static bool other_entered(struct wanting *w)
{
	bool entered;

	mutex_lock(&m->lock);
	while (!w->entered && !cond_timedwait(&m->ended, &m->lock, 200))
		;
	entered = w->entered;
	mutex_unlock(&m->lock);
	return entered;
}

static int want(struct mirror *mirror, unsigned int i, const void *arg)
{
	struct wanting *w = *(struct wanting *const *)arg;

	(void)mirror;
	(void)i;
	w->tries++;
	if (w->tries == 2 && w->with_other) {
		cr_assert_eq(pthread_create(&w->other, NULL, enter_other, w),
			     0);
		cr_expect_not(other_entered(w));
	}
	return w->tries > w->failures ? 0 : -ENOSPC;
}

static int try_with(struct wanting *w, unsigned int i)
{
	return room_try(m, i, want, &w);
}

/* What others take away costs a btrfs room at first: they wait, and what was under
 * way may have taken what was made the first time. */
Test(mirror_room, nothing_begins_while_a_map_looks_for_room)
{
	struct wanting w = {.failures = 3, .with_other = true};

	cr_assert_eq(try_with(&w, 0), 0);
	cr_expect_eq(w.tries, 4);
	cr_assert_eq(pthread_join(w.other, NULL), 0);
	cr_expect(w.entered);
	w = (struct wanting){.failures = UINT_MAX};
	cr_expect_eq(try_with(&w, 0), -ENOSPC);
	cr_expect_eq(m->hunts, 0);
}

/* A quota that statvfs(3) says nothing of: what the map got is the map's. */
Test(mirror_room, what_a_map_found_no_room_for_is_not_granted)
{
	unsigned int a = m->slot[0].store == store_a ? 0 : 1;
	struct wanting w = {.failures = 1};
	char path[8192];

	cr_assert_eq(room_take(m, 4096), 0);
	room_done(m, 4096);
	cr_assert_gt(atomic_load(&m->room), 4096);
	cr_assert_eq(try_with(&w, a), 0);
	/* It is not had again. */
	snprintf(path, sizeof(path), "%s/.seqmirror/ballast", dir_a);
	cr_assert(unlink(path) == 0 || errno == ENOENT);
	cr_assert_eq(mkdir(path, 0700), 0);
	cr_expect_eq(room_take(m, 4096), -ENOSPC);
	cr_assert_eq(rmdir(path), 0);
	cr_expect_eq(room_take(m, 4096), 0);
	room_done(m, 4096);
}
