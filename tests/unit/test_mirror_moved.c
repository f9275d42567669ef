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
