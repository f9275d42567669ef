/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A live volume in which names are moved about while what has them is read: the
 * kernel orders the changes of an inode, but nobody who reads it waits for them.
 */
#include <stdatomic.h>

#include "tests/unit/three_fixture.h"

TestSuite(mirror_moved, .init = setup, .fini = teardown, .timeout = 300);

static atomic_bool enough;

/* "one" and "two" change places until it is enough: an even number of times. */
static int call_exchange(const struct call *c)
{
	int r = 0;

	(void)c;
	for (bool back = false; !r && (back || !atomic_load(&enough));
	     back = !back) {
		r = mirror_rename(m, META_ROOT_ID, "one", META_ROOT_ID, "two",
				  RENAME_EXCHANGE);
	}
	return r;
}

static uint64_t link_to(const char *name, const char *target)
{
	cr_assert_eq(mirror_symlink(m, META_ROOT_ID, name, target, &cred, &e),
		     0);
	return e.id;
}

static void stop(struct call *c)
{
	atomic_store(&enough, true);
	cr_assert_eq(end(c), 0);
	all_online();
}

Test(mirror_moved, a_symlink_keeps_its_target)
{
	struct call swap = {.fn = call_exchange};
	uint64_t one = link_to("one", "first");
	unsigned int wrong = 0;
	char target[16];

	link_to("two", "second place");
	begin(&swap);
	for (unsigned int k = 0; k < 20000; k++) {
		ssize_t len = mirror_readlink(m, one, target, sizeof(target));

		wrong += len != 5 || memcmp(target, "first", 5) != 0;
	}
	stop(&swap);
	cr_expect_eq(wrong, 0, "%u", wrong);
}

/* From one name to the next, that it never had. */
static int call_wander(const struct call *c)
{
	char from[32] = "one", to[32];
	int r = 0;

	for (size_t k = 0; !r && k < c->len; k++) {
		snprintf(to, sizeof(to), "name%zu", k);
		r = mirror_rename(m, META_ROOT_ID, from, META_ROOT_ID, to, 0);
		memcpy(from, to, sizeof(from));
	}
	return r;
}

/* Whenever its name is known, it has another one when that is opened. */
Test(mirror_moved, a_file_that_does_not_rest_is_no_fault_of_a_store)
{
	struct call wander = {.fn = call_wander, .len = 4000};
	uint64_t one = file("one");
	uint64_t before;
	char buf[8];

	cr_assert_eq(mirror_write(m, one, "xyz", 3, 0, 0), 0);
	volume_reopen(0); /* no descriptors are known */
	cr_assert_eq(mirror_lookup(m, META_ROOT_ID, "one", &e), 0);
	before = mirror_seq(m);
	begin(&wander);
	WAIT_UNTIL(mirror_seq(m) > before + 4);
	cr_assert_eq(fault_configure("mirror.open.named:delay=3"), 0);
	cr_expect_eq(mirror_read(m, one, buf, sizeof(buf), 0), 3);
	cr_assert_eq(end(&wander), 0);
	all_online();
}
