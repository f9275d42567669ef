/* SPDX-License-Identifier: Apache-2.0 */
#include "base/affinity.h"

#include <sched.h>

static cpu_set_t ours;
static bool known; /* not with more processors than a cpu_set_t has */

/* Before anybody can be bound. */
__attribute__((constructor)) static void affinity_remember(void)
{
	known = !sched_getaffinity(0, sizeof(ours), &ours);
}

void affinity_reset(void)
{
	if (known)
		(void)sched_setaffinity(0, sizeof(ours), &ours);
}

bool affinity_bind(unsigned int cpu)
{
	cpu_set_t one;

	if (!known || cpu >= CPU_SETSIZE || !CPU_ISSET(cpu, &ours))
		return false;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	return !sched_setaffinity(0, sizeof(one), &one);
}
