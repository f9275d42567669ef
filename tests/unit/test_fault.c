/* SPDX-License-Identifier: Apache-2.0 */
/* Fault points: nothing in an ordinary build, exact in the other kind. */
#include "base/fault.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"

#ifndef SEQMIRROR_FAULT_INJECTION

Test(fault, is_nothing)
{
	FAULT_POINT("test.point");
	cr_assert_eq(FAULT_ERR("test.point"), 0);
}

#else

Test(fault, fails_at_the_nth_hit_only)
{
	cr_assert_eq(fault_configure("a.b.c:eio:2,other:enospc"), 0);
	cr_assert_eq(FAULT_ERR("a.b.c"), 0);
	cr_assert_eq(FAULT_ERR("a.b.c"), -EIO);
	cr_assert_eq(FAULT_ERR("a.b.c"), 0);
	cr_assert_eq(FAULT_ERR("other"), -ENOSPC);
	cr_assert_eq(FAULT_ERR("other"), -ENOSPC);
	cr_assert_eq(FAULT_ERR("a.b"), 0);
}

Test(fault, fails_from_the_nth_hit_on)
{
	cr_assert_eq(fault_configure("a:eio:2+"), 0);
	cr_assert_eq(FAULT_ERR("a"), 0);
	cr_assert_eq(FAULT_ERR("a"), -EIO);
	cr_assert_eq(FAULT_ERR("a"), -EIO);
	cr_assert_eq(fault_configure(""), 0);
	cr_assert_eq(FAULT_ERR("a"), 0);
}

Test(fault, is_a_number)
{
	cr_assert_eq(fault_configure("a:is=20,b:eio"), 0);
	cr_expect_eq(FAULT_NUMBER("a", 3), 20);
	cr_expect_eq(FAULT_NUMBER("b", 3), 3);
	cr_expect_eq(FAULT_NUMBER("c", 3), 3);
	cr_expect_eq(FAULT_ERR("a"), 0);
}

Test(fault, delays)
{
	uint64_t before_ns = clock_mono_ns();

	cr_assert_eq(fault_configure("a:delay=20"), 0);
	FAULT_POINT("a");
	cr_assert_geq(clock_mono_ns() - before_ns, 20 * CLOCK_NS_PER_MS);
}

Test(fault, kills, .signal = SIGKILL)
{
	cr_assert_eq(fault_configure("a:kill:3"), 0);
	for (int i = 0; i < 3; i++)
		FAULT_POINT("a");
}

Test(fault, stops_and_goes_no_further)
{
	pid_t child = fork();
	int status;

	cr_assert_geq(child, 0);
	if (child == 0) {
		if (!fault_configure("a:stop:2")) {
			FAULT_POINT("a");
			FAULT_POINT("a");
		}
		_exit(1);
	}
	cr_assert_eq(waitpid(child, &status, WUNTRACED), child);
	cr_assert(WIFSTOPPED(status));
	cr_assert_eq(kill(child, SIGCONT), 0);
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

Test(fault, refuses_what_it_cannot_read)
{
	static const char *const bad[] = {
		"a",	    "a:",	"a:stopx", ":eio",
		"a:eioo",   "a:eio:",	"a:eio:0", "a:eio:x",
		"a:eio:-1", "a:delay=", "a:is=",   "a:eio b:eio",
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		cr_assert_eq(fault_configure(bad[i]), -EINVAL, "%s", bad[i]);
}

#endif
