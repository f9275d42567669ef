/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/cli/interrupt.h"

#include <signal.h>
#include <stddef.h>

static volatile sig_atomic_t asked;

static void on_interrupt(int number)
{
	(void)number;
	asked = 1;
}

void interrupt_prepare(bool always)
{
	struct sigaction action = {.sa_handler = on_interrupt};

	if (!always)
		action.sa_flags = (int)SA_RESETHAND;
	(void)sigaction(SIGINT, &action, NULL);
	(void)sigaction(SIGTERM, &action, NULL);
	if (always) /* its terminal was closed */
		(void)sigaction(SIGHUP, &action, NULL);
}

bool interrupt_asked(void)
{
	return asked;
}

int interrupt_stop(void *arg)
{
	(void)arg;
	return asked;
}
