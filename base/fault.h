/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Named places where a test can make things go wrong. They are nothing at all
 * unless the build option fault_injection is true.
 *
 *	FAULT_POINT("mirror.write.before");
 *	err = FAULT_ERR("store.fsync");
 *	if (!err)
 *		err = store_fsync(...);
 *
 * The environment variable SEQMIRROR_FAULT, read at the first place that is
 * passed, holds one or more of
 *
 *	name:action[:count[+]]		separated by ','
 *
 *	kill		the process dies by SIGKILL
 *	stop		the process stops by SIGSTOP: whoever waits for that
 *			does to its files what must find no thread at work,
 *			and kills it; left to go on, it dies
 *	eio, enospc	FAULT_ERR() is -EIO, -ENOSPC; FAULT_POINT() ignores it
 *	delay=MS	the thread sleeps
 *	is=N		FAULT_NUMBER() is N, where a test cannot wait for what
 *			it is else; not a fault, and no hit
 *
 * With a count the action is taken at that hit of the place only (the first
 * is 1), with a '+' behind it from that hit on; without a count at each hit.
 * Hits of all threads count together. A text that cannot be read ends the
 * process: a test with a spelling mistake must not pass.
 *
 * Names are area.operation.moment, and stay: tests in tests/crash name them.
 */
#pragma once

#include <stdint.h>

#include "base/cleanup.h"

#ifdef SEQMIRROR_FAULT_INJECTION

/**
 * fault_configure - replace what SEQMIRROR_FAULT said; counts begin anew.
 * @spec: as above; "" or NULL for no faults
 *
 * No other thread may be at a fault point meanwhile.
 * Return: 0, -EINVAL (nothing changed), -ENOMEM
 */
MUST_CHECK int fault_configure(const char *spec);

/** fault_hit - a place was passed. Return: 0 or the -errno to fail with. */
int fault_hit(const char *name);

/** fault_number - what "is" says for @name, or @number. */
uint64_t fault_number(const char *name, uint64_t number);

#define FAULT_POINT(name)	   ((void)fault_hit(name))
#define FAULT_ERR(name)		   fault_hit(name)
#define FAULT_NUMBER(name, number) fault_number(name, number)

#else

#define FAULT_POINT(name)	   ((void)0)
#define FAULT_ERR(name)		   0
#define FAULT_NUMBER(name, number) ((uint64_t)(number))

#endif
