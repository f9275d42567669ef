/* SPDX-License-Identifier: Apache-2.0 */
/*
 * System calls on what lies beside the database, and the guard of a map.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "meta/db.h"

static void map_call_made(struct guard_call *c)
{
	struct map_call *k = (struct map_call *)c;

	k->result = k->fn(k);
}

static void map_call_late(struct guard_call *c)
{
	struct map_call *k = (struct map_call *)c;
	int fd = k->gives_fd && k->result >= 0 ? k->result : -1;

	close_fd(&fd);
	free(k);
}

int map_call(struct meta *m, struct map_call *k)
{
	struct map_call *copy;
	int err;

	if (!guard_is_on(m->guard))
		return k->result = k->fn(k);
	copy = malloc(sizeof(*copy));
	if (!copy)
		return -ENOMEM;
	*copy = *k;
	copy->base = (struct guard_call){
		.run = map_call_made,
		.late = map_call_late,
		.fd = {k->fd, k->dir_fd},
	};
	copy->result = -1;
	err = guard_run(m->guard, &copy->base);
	if (err)
		return err;
	*k = *copy;
	free(copy);
	return k->result;
}

struct guard *meta_guard(const struct meta *m)
{
	return m->guard;
}
