/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <criterion/criterion.h>
#include <spawn.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

/* A path in it may be longer than PATH_MAX. */
static inline void remove_tree(const char *path)
{
	const char *const argv[] = {"rm", "-rf", "--", path, NULL};
	int status;
	pid_t pid;

	cr_assert_eq(posix_spawnp(&pid, "rm", NULL, NULL,
				  (char *const *)(uintptr_t)argv, environ),
		     0);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert_eq(status, 0);
}
