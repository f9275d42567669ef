/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scope exit for the few things that every function opens: descriptors, heap
 * memory, directory streams and stdio streams.
 *
 *	_cleanup_close_ int fd = -1;
 *	_cleanup_free_ char *name = NULL;
 *
 *	fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC);
 *	if (fd < 0)
 *		return -errno;
 *	...
 *	*ret_fd = steal_fd(&fd);
 *	return 0;
 *
 * A variable so marked is initialised where it is declared, to -1 or NULL,
 * and holds its resource alone. What leaves the function is stolen from the
 * variable. None of the handlers changes errno, so that
 * "return -errno" says what the failed call said.
 *
 * One resource is released either by its scope or by a goto, never by both.
 */
#pragma once

#include <dirent.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(f) __attribute__((__cleanup__(f)))

/* For functions whose result says whether the thing was done. */
#define MUST_CHECK __attribute__((__warn_unused_result__))

/**
 * ignore_result - call a MUST_CHECK function and drop what it says.
 *
 * A comment beside it says why that is right. A cast to void would do, if gcc
 * did not warn all the same.
 */
#define ignore_result(call)                    \
	do {                                   \
		__auto_type ignored_ = (call); \
		(void)ignored_;                \
	} while (0)

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* Each argument is evaluated once. Both must have the same type, which the
 * comparison of the two addresses makes the compiler verify. The counter
 * keeps a MIN inside a MIN from hiding the outer one's variables. */
#undef MIN
#undef MAX
#define MIN(a, b)		PICK_(<, a, b, __COUNTER__)
#define MAX(a, b)		PICK_(>, a, b, __COUNTER__)
#define PICK_(op, a, b, unique) PICK_AS_(op, a, b, unique)
#define PICK_AS_(op, a, b, unique) \
	PICK_OF_(op, a, b, pick_a_##unique, pick_b_##unique)
#define PICK_OF_(op, a, b, pick_a, pick_b)          \
	__extension__({                             \
		__auto_type pick_a = (a);           \
		__auto_type pick_b = (b);           \
		(void)(&pick_a == &pick_b);         \
		pick_a op pick_b ? pick_a : pick_b; \
	})

/**
 * close_fd - close *fd unless it is negative, and make it -1.
 *
 * errno stays as it was. The result of close(2) is dropped on purpose: data
 * that matters was made durable by fsync(2) before, and after EINTR the
 * descriptor is gone on Linux. One that a call which hangs still works on is
 * closed when that call has ended (base/guard.h).
 */
void close_fd(int *fd);

/* The handlers of the attributes below; not called by name. */
static inline void cleanup_free_(void *p)
{
	int saved_errno = errno;

	free(*(void **)p);
	errno = saved_errno;
}

static inline void cleanup_closedir_(DIR **dir)
{
	int saved_errno = errno;

	if (*dir)
		(void)closedir(*dir);
	errno = saved_errno;
}

static inline void cleanup_fclose_(FILE **file)
{
	int saved_errno = errno;

	if (*file)
		(void)fclose(*file);
	errno = saved_errno;
}

#define _cleanup_close_	   _cleanup_(close_fd)
#define _cleanup_free_	   _cleanup_(cleanup_free_)
#define _cleanup_closedir_ _cleanup_(cleanup_closedir_)
#define _cleanup_fclose_   _cleanup_(cleanup_fclose_)

/** steal_fd - hand a descriptor over: returns *fd and leaves -1 behind. */
static inline int steal_fd(int *fd)
{
	int stolen = *fd;

	*fd = -1;
	return stolen;
}

/**
 * steal_pointer - hand a pointer over: returns *pp and leaves NULL behind.
 *
 * Called as steal_pointer(&name), like steal_fd().
 */
#define steal_pointer(pp)                         \
	__extension__({                           \
		__auto_type steal_pp_ = (pp);     \
		__auto_type stolen_ = *steal_pp_; \
		*steal_pp_ = NULL;                \
		stolen_;                          \
	})
