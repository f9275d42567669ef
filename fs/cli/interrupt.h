/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A command that works on unmounted stores by itself and is asked to end: it is
 * polled between two steps, so that what was begun is left as after a step.
 */
#pragma once

#include <stdbool.h>

/**
 * interrupt_prepare - from now on SIGINT and SIGTERM only ask.
 * @always: however often, and SIGHUP as well, where half of the work would be
 * left; else the second one ends the process as it always does.
 */
void interrupt_prepare(bool always);

/** interrupt_asked - has it been asked to end? */
bool interrupt_asked(void);

/** interrupt_stop - the same, as should_stop() of what the command has done. */
int interrupt_stop(void *arg);
