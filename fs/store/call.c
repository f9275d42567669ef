/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One call on the files of a store.  Usually it is made where it is wanted;
 * where the store may hang (store_guard()) a helper makes it, on a copy of all
 * that it needs, so that it can be left behind (base/guard.h).
 */
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include "fs/store/internal.h"

void call_set_obj(struct store_call *k, struct store_obj o)
{
	k->fd[0] = o.fd;
	k->fd[1] = o.dirfd;
	k->name[0] = o.name;
	k->obj = o;
}

void call_set_cred(struct store_call *k, const struct store_cred *cred)
{
	k->has_cred = cred != NULL;
	if (cred)
		k->cred = *cred;
}

static ssize_t call_make(struct store_call *k)
{
	ssize_t r = k->fn(k);

	return r == -EACCES && k->lifts ? now_lifted(k) : r;
}

static void call_made(struct guard_call *c)
{
	struct store_call *k = (struct store_call *)c;

	k->result = call_make(k);
}

/* Nobody wants what it gave. */
static void call_late(struct guard_call *c)
{
	struct store_call *k = (struct store_call *)c;
	int fd = k->gives_fd && k->result >= 0 ? (int)k->result : -1;

	close_fd(&fd);
	free(k);
}

static size_t name_bytes(const char *name)
{
	return name ? strlen(name) + 1 : 0;
}

/* The copy, with all that it leads to behind it. NULL: no memory. */
static struct store_call *call_copy(const struct store_call *k)
{
	size_t names[2] = {name_bytes(k->name[0]), name_bytes(k->name[1])};
	size_t head = (sizeof(*k) + 15) & ~(size_t)15;
	size_t out = (k->out_len + 15) & ~(size_t)15;
	struct store_call *c;
	char *at;

	c = malloc(head + out + k->in_len + names[0] + names[1]);
	if (!c)
		return NULL;
	*c = *k;
	at = (char *)c + head;
	if (k->out) {
		c->out = at;
		if (!k->counted) /* the call may leave it as it is */
			memcpy(at, k->out, k->out_len);
	}
	at += out;
	if (k->in_len) {
		memcpy(at, k->in, k->in_len);
		c->in = at;
	}
	at += k->in_len;
	for (int i = 0; i < 2; at += names[i++]) {
		if (!names[i])
			continue;
		memcpy(at, k->name[i], names[i]);
		c->name[i] = at;
	}
	c->obj.name = c->obj.name ? c->name[0] : NULL;
	c->base = (struct guard_call){
		.run = call_made,
		.late = call_late,
		.fd = {k->fd[0], k->fd[1]},
	};
	c->result = -1; /* until it was made: no descriptor */
	return c;
}

ssize_t call_run(const struct store *s, struct store_call *k)
{
	struct store_call *c;
	int err;

	k->s = s;
	if (!guard_is_on(s->guard)) {
		k->result = call_make(k);
		guard_counted();
		return k->result;
	}
	c = call_copy(k);
	if (!c)
		return k->result = -ENOMEM;
	err = guard_run(s->guard, &c->base);
	if (err)
		return k->result = err;
	if (k->out && !k->counted)
		memcpy(k->out, c->out, k->out_len);
	else if (k->out && c->result > 0)
		memcpy(k->out, c->out, MIN(k->out_len, (size_t)c->result));
	k->done = c->done;
	k->flag = c->flag;
	k->result = c->result;
	free(c);
	return k->result;
}

static ssize_t make_close(struct store_call *k)
{
	int fd = (int)k->off;

	close_fd(&fd);
	return 0;
}

void store_close_fd(const struct store *s, int fd)
{
	struct store_call k = STORE_CALL(make_close), *c = NULL;

	k.off = (uint64_t)fd;
	if (guard_is_on(s->guard))
		c = call_copy(&k);
	if (c)
		guard_post(s->guard, &c->base);
	else
		close_fd(&fd);
}

struct guard *store_guard(const struct store *s)
{
	return s->guard;
}
