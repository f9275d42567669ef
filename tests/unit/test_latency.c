/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When idle processors are asked to poll (fs/mount/latency.h). A socket stands
 * for /dev/cpu_dma_latency; each wait is a read of what was asked for.
 */
#include "fs/mount/latency.h"

#include <criterion/criterion.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { POLLS = 0, MAY_HALT = -1 };

static struct latency latency;
static int device;

static void begin(void)
{
	int fds[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds), 0);
	latency_init(&latency);
	latency.fd = fds[0];
	device = fds[1];
	cr_assert_eq(latency_start(&latency), 0);
}

static void end(void)
{
	latency_stop(&latency);
	latency_done(&latency);
	close(device);
}

static bool is_asked(int wait_ms)
{
	struct pollfd p = {.fd = device, .events = POLLIN};

	return poll(&p, 1, wait_ms) > 0;
}

static int32_t asked(void)
{
	int32_t us;

	cr_assert_eq(read(device, &us, sizeof(us)), (ssize_t)sizeof(us));
	return us;
}

static void requests_until_asked(void)
{
	while (!is_asked(0))
		latency_request(&latency);
}

Test(latency, holds_while_requests_come, .init = begin, .fini = end)
{
	for (int i = 0; i < 3; i++) {
		requests_until_asked();
		cr_assert_eq(asked(), POLLS);
		/* No request any more. */
		cr_assert_eq(asked(), MAY_HALT);
	}
}

Test(latency, a_request_now_and_then_is_none, .init = begin, .fini = end)
{
	for (int i = 0; i < 8; i++) {
		latency_request(&latency);
		cr_assert_not(is_asked(10));
	}
}

Test(latency, sleeps_without_requests, .init = begin, .fini = end)
{
	requests_until_asked();
	cr_assert_eq(asked(), POLLS);
	cr_assert_eq(asked(), MAY_HALT);
	while (!atomic_load(&latency.asleep))
		(void)is_asked(1);
	requests_until_asked();
	cr_assert_eq(asked(), POLLS);
}

Test(latency, the_end_takes_it_back)
{
	begin();
	requests_until_asked();
	cr_assert_eq(asked(), POLLS);
	latency_stop(&latency);
	cr_assert_eq(asked(), MAY_HALT);
	end();
}

Test(latency, without_the_device_nothing_runs)
{
	latency_init(&latency);
	latency_open(&latency, MOUNT_OFF);
	cr_assert_eq(latency_start(&latency), 0);
	cr_assert_not(latency.running);
	latency_request(&latency);
	cr_assert_eq(atomic_load(&latency.count), 0);
	latency_stop(&latency);
	latency_done(&latency);
}
