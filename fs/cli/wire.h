/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire - one JSON object per line over a stream socket, bounded both ways.
 *
 * Neither side trusts the other: a line that is too long, is not one JSON
 * object, stops half way or comes too slowly is an error, after which the
 * connection is of no use and is closed. Nothing is read past a line that
 * failed.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"

enum {
	WIRE_MESSAGE_MAX = 65536, /* bytes of a line, newline included */
	WIRE_REST_MS = 10000,	  /* from its first byte to its last */
};

struct wire {
	int fd;	     /* owned; non-blocking */
	size_t have; /* bytes received and not used */
	char *buf;   /* WIRE_MESSAGE_MAX */
};

/** wire_init - takes @fd over (closed on failure too). Return: 0, -ENOMEM. */
MUST_CHECK int wire_init(struct wire *w, int fd);
void wire_done(struct wire *w);

/**
 * wire_receive - the next message.
 * @first_ms: how long to wait for its first byte, -1: for ever
 *
 * Return: 0, -ENODATA (closed between messages), -ETIMEDOUT, -EMSGSIZE,
 * -EBADMSG (not an object, or closed within a message), -errno
 */
MUST_CHECK int wire_receive(struct wire *w, int first_ms, json_t **ret_message);

/** wire_send - Return: 0, -EMSGSIZE, -ETIMEDOUT (nobody reads), -errno. */
MUST_CHECK int wire_send(struct wire *w, const json_t *message);

/** wire_peer_gone - the other side has closed; nothing is read. */
bool wire_peer_gone(const struct wire *w);
