/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/cli/wire.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"

int wire_init(struct wire *w, int fd)
{
	int flags = fcntl(fd, F_GETFL);

	*w = (struct wire){.fd = fd, .buf = malloc(WIRE_MESSAGE_MAX)};
	if (w->buf && flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0)
		return 0;
	wire_done(w);
	return -ENOMEM;
}

void wire_done(struct wire *w)
{
	close_fd(&w->fd);
	free(w->buf);
	w->buf = NULL;
	w->have = 0;
}

/* Wait for @events until @until_ns (0: for ever). */
static int wait_for(int fd, short events, uint64_t until_ns)
{
	struct pollfd p = {.fd = fd, .events = events};
	int n;

	do {
		uint64_t now_ns = clock_mono_ns();
		int wait_ms = -1;

		if (until_ns)
			wait_ms = until_ns <= now_ns
					  ? 0
					  : (int)((until_ns - now_ns) /
							  CLOCK_NS_PER_MS +
						  1);
		n = poll(&p, 1, wait_ms);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return n == 0 ? -ETIMEDOUT : 0;
}

static uint64_t deadline(int wait_ms)
{
	if (wait_ms < 0)
		return 0;
	return clock_mono_ns() + (uint64_t)wait_ms * CLOCK_NS_PER_MS;
}

/* More bytes into the buffer. Return: 0, -ENODATA at the end, -errno. */
static int fill(struct wire *w, uint64_t until_ns)
{
	ssize_t n;

	for (;;) {
		n = recv(w->fd, w->buf + w->have, WIRE_MESSAGE_MAX - w->have,
			 0);
		if (n > 0) {
			w->have += (size_t)n;
			return 0;
		}
		if (n == 0)
			return -ENODATA;
		if (errno == EAGAIN) {
			int err = wait_for(w->fd, POLLIN, until_ns);

			if (err)
				return err;
		} else if (errno != EINTR) {
			return -errno;
		}
	}
}

static int parse(const char *line, size_t len, json_t **ret_message)
{
	json_t *message = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);

	if (!json_is_object(message)) {
		json_decref(message);
		return -EBADMSG;
	}
	*ret_message = message;
	return 0;
}

int wire_receive(struct wire *w, int first_ms, json_t **ret_message)
{
	uint64_t until_ns = deadline(first_ms);
	size_t looked = 0;
	char *end;
	int err = 0;

	if (!w->have)
		err = fill(w, until_ns);
	until_ns = deadline(WIRE_REST_MS);
	while (!err) {
		end = memchr(w->buf + looked, '\n', w->have - looked);
		if (end) {
			size_t len = (size_t)(end - w->buf);

			err = parse(w->buf, len, ret_message);
			w->have -= len + 1;
			memmove(w->buf, end + 1, w->have);
			return err;
		}
		looked = w->have;
		if (w->have == WIRE_MESSAGE_MAX)
			return -EMSGSIZE;
		err = fill(w, until_ns);
		if (err == -ENODATA)
			return -EBADMSG;
	}
	return err;
}

int wire_send(struct wire *w, const json_t *message)
{
	_cleanup_free_ char *line = json_dumps(message, JSON_COMPACT);
	uint64_t until_ns = deadline(WIRE_REST_MS);
	size_t len;
	size_t done = 0;

	if (!line)
		return -ENOMEM;
	len = strlen(line);
	if (len >= WIRE_MESSAGE_MAX)
		return -EMSGSIZE;
	line[len++] = '\n'; /* in place of the final NUL */
	while (done < len) {
		ssize_t n = send(w->fd, line + done, len - done, MSG_NOSIGNAL);

		if (n >= 0) {
			done += (size_t)n;
		} else if (errno == EAGAIN) {
			int err = wait_for(w->fd, POLLOUT, until_ns);

			if (err)
				return err;
		} else if (errno != EINTR) {
			return -errno;
		}
	}
	return 0;
}

bool wire_peer_gone(const struct wire *w)
{
	struct pollfd p = {.fd = w->fd, .events = POLLRDHUP};

	return poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP));
}
