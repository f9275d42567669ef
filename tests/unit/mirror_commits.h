/* SPDX-License-Identifier: Apache-2.0 */
/* How many requests to arm were committed: each is waited for by somebody. */
#pragma once

#include "fs/mirror/room.h"
#include "mirror_fixture.h"

static uint64_t commits(void)
{
	uint64_t count;

	mutex_lock(&m->lock);
	count = m->arm_done;
	mutex_unlock(&m->lock);
	return count;
}
