/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The budget: how many bytes may be armed at once, which is what a crash makes
 * the next mount compare at most.
 *
 * What people mind is the time that takes, so the budget is a time: as much as
 * the stores write in BUDGET_SECONDS, the slowest of them included, between
 * BUDGET_MIN, which any disk reads in half a minute, and BUDGET_MAX.  How fast
 * they are is learnt from checkpoints: what a generation changed was durable
 * everywhere when its checkpoint had synced, so these bytes over the time
 * since its first operation are a speed that was really reached, reading back
 * is no slower, and idle disks prove nothing.  It begins at BUDGET_MIN with
 * each mount and whenever a store joins.  (DRBD's activity log, which bounds
 * the same, covers 4.8 GiB unless told otherwise: al-extents in drbd.conf(5).)
 *
 * It matters to files that are written at random and larger than half of it:
 * each write outside of what is armed waits for a commit (arm.c).
 *
 * All under mirror.lock.
 */
#include "fs/mirror/room.h"

#include "base/clock.h"

#define BUDGET_SECONDS 8u
#define BUDGET_MIN     ((uint64_t)2048 << 20)
#define BUDGET_MAX     ((uint64_t)4096 << 20)
/* Less than this in a generation says nothing about a disk. */
#define LEARN_BYTES ((uint64_t)64 << 20)

void budget_reset(struct mirror *m)
{
	m->budget = m->opt.budget_bytes ? m->opt.budget_bytes : BUDGET_MIN;
}

void budget_learn(struct mirror *m, uint64_t bytes, uint64_t ns)
{
	uint64_t ms = ns / CLOCK_NS_PER_MS + 1, budget;

	if (m->opt.budget_bytes || bytes < LEARN_BYTES)
		return;
	budget = bytes * 1000 / ms * BUDGET_SECONDS;
	m->budget = MAX(m->budget, MIN(budget, BUDGET_MAX));
}

uint64_t budget_spare(const struct mirror *m)
{
	uint64_t armed = m->armed_bytes[0] + m->armed_bytes[1];

	return m->budget / 2 - MIN(armed, m->budget / 2);
}
