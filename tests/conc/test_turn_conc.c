/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads that take turns in reading requests (fs/mount/turn.h): every request
 * is answered once, whoever leads; one that waits does not hold up the others;
 * the end, and cancelled threads, leave nobody waiting.
 */
#include "fs/mount/turn.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	WORKERS = 6,
	CLIENTS = 4,
	REQUESTS = 3000,
	STUCK_ROUNDS = 30,
};

struct request {
	int client;
	bool waits; /* until the gate is opened */
};

static struct turn turn;
static int requests[2];
static int replies[CLIENTS][2];
static int gate[2];
static atomic_uint answered;
static pthread_t workers[WORKERS];

static void *worker(void *arg)
{
	struct request r;

	(void)arg;
	for (;;) {
		int state;
		char byte;

		/* As the library's threads: nowhere else. */
		pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &state);
		ssize_t got = turn_read(&turn, requests[1], &r, sizeof(r));
		pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
		if (got <= 0)
			return NULL;
		assert(got == sizeof(r));
		if (r.waits) {
			got = read(gate[0], &byte, 1);
			assert(got == 1);
		}
		atomic_fetch_add(&answered, 1);
		turn_answer(&turn);
		got = write(replies[r.client][1], "", 1);
		assert(got == 1);
	}
}

static void ask(int client, bool waits)
{
	struct request r = {.client = client, .waits = waits};
	ssize_t put = write(requests[0], &r, sizeof(r));

	assert(put == sizeof(r));
}

static void answer_wait(int client)
{
	char byte;
	ssize_t got = read(replies[client][0], &byte, 1);

	assert(got == 1);
}

static void call(int client)
{
	ask(client, false);
	answer_wait(client);
}

static void *client_run(void *arg)
{
	int client = *(int *)arg;

	for (int i = 0; i < REQUESTS; i++)
		call(client);
	return NULL;
}

static void all_at_once(void)
{
	pthread_t threads[CLIENTS];
	int ids[CLIENTS];
	int err = 0;

	for (int i = 0; i < CLIENTS; i++) {
		ids[i] = i;
		err |= pthread_create(&threads[i], NULL, client_run, &ids[i]);
	}
	for (int i = 0; i < CLIENTS; i++)
		err |= pthread_join(threads[i], NULL);
	assert(!err);
}

/* Whoever leads is at a request that waits for what another one is to do. */
static void stuck(void)
{
	ssize_t put;

	for (int i = 0; i < STUCK_ROUNDS; i++) {
		for (int k = 0; k < 100; k++)
			call(0);
		ask(1, true);
		call(2);
		call(3);
		put = write(gate[1], "", 1);
		assert(put == 1);
		answer_wait(1);
	}
}

static void start(void)
{
	int err = socketpair(AF_UNIX, SOCK_SEQPACKET, 0, requests) | pipe(gate);

	turn_init(&turn);
	atomic_store(&answered, 0);
	for (int i = 0; i < CLIENTS; i++)
		err |= pipe(replies[i]);
	for (int i = 0; i < WORKERS; i++)
		err |= pthread_create(&workers[i], NULL, worker, NULL);
	assert(!err);
}

static void end(bool cancel)
{
	int err = 0;

	if (cancel)
		for (int i = 0; i < WORKERS; i++)
			err |= pthread_cancel(workers[i]);
	else
		close(requests[0]);
	for (int i = 0; i < WORKERS; i++)
		err |= pthread_join(workers[i], NULL);
	assert(!err);
	turn_done(&turn);
	if (cancel)
		close(requests[0]);
	close(requests[1]);
	for (int i = 0; i < 2; i++) {
		close(gate[i]);
		for (int k = 0; k < CLIENTS; k++)
			close(replies[k][i]);
	}
}

int main(void)
{
	int one = 0;
	uint64_t led = 0;

	for (int i = 0; i < 4; i++) {
		start();
		client_run(&one);
		stuck();
		all_at_once();
		client_run(&one);
		assert(atomic_load(&answered) ==
		       (CLIENTS + 2) * REQUESTS + STUCK_ROUNDS * 103);
		led += atomic_load(&turn.reign) - 1;
		end(i % 2);
	}
	printf("one thread led %llu times\n", (unsigned long long)led);
	assert(led > 0 || turn.off); /* or nothing was tested */
	return 0;
}
