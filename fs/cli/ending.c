/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/cli/ending.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/guard.h"
#include "base/log.h"
#include "fs/cli/cli.h"

#define LOOK_MS	 500u
#define CLOSE_MS 1000u

struct ending {
	int fuse_fd;
	unsigned int wait_ms;
};

/* To close a file of the store that hangs may hang as well. */
static void *close_thread(void *arg)
{
	(void)arg;
	(void)close_range(3, ~0u, 0);
	return NULL;
}

void ending_now(unsigned int waited_ms)
{
	pthread_t thread;

	log_err("unmounted, but a store does not answer since %u s: left as "
		"after a crash, the next mount checks it",
		waited_ms / 1000);
	/* A thread that is stuck keeps all descriptors of the process. */
	if (!pthread_create(&thread, NULL, close_thread, NULL))
		clock_sleep_ms(CLOSE_MS);
	_exit(MOUNT_FAILED);
}

static void *ending_thread(void *arg)
{
	struct ending e = *(struct ending *)arg;
	struct pollfd cut = {.fd = e.fuse_fd};
	uint64_t count, since_ns;

	free(arg);
	while (poll(&cut, 1, -1) < 0)
		;
	count = guard_count();
	since_ns = clock_mono_ns();
	for (;;) {
		uint64_t now = clock_mono_ns(), ended;

		clock_sleep_ms(LOOK_MS);
		ended = guard_count();
		if (ended != count)
			since_ns = now;
		count = ended;
		if (now - since_ns > (uint64_t)e.wait_ms * CLOCK_NS_PER_MS)
			ending_now(e.wait_ms);
	}
	return NULL;
}

int ending_watch(int fuse_fd, unsigned int wait_ms)
{
	struct ending *e = malloc(sizeof(*e));
	sigset_t all, old;
	pthread_t thread;
	int err;

	if (!e)
		return -ENOMEM;
	*e = (struct ending){fuse_fd, wait_ms};
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&thread, NULL, ending_thread, e);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err)
		free(e);
	else
		(void)pthread_detach(thread);
	return -err;
}
