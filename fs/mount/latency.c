/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/mount/latency.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "fs/mount/session.h"

#define DEVICE "/dev/cpu_dma_latency"
#define DRIVER "/sys/devices/system/cpu/cpuidle/current_driver"

enum {
	TICK_MS = 4,
	MANY = 12, /* requests in a tick: 3,000 a second */
	FEW = 4,
	CALM_TICKS = 5,	 /* with few, until it is taken back */
	SLEEP_TICKS = 2, /* with none, until the thread sleeps */
};

/* In us, as the device takes them. ANY is the kernel's PM_QOS_DEFAULT_VALUE. */
#define POLL INT32_C(0)
#define ANY  INT32_C(-1)

void latency_init(struct latency *l)
{
	*l = (struct latency){.fd = -1};
	mutex_init(&l->lock, LOCK_RANK_LEAF);
	cond_init(&l->changed);
}

void latency_done(struct latency *l)
{
	close_fd(&l->fd);
	cond_done(&l->changed);
	mutex_done(&l->lock);
}

/* The idle driver is that of a virtual machine that can poll. */
static bool is_guest(void)
{
	static const char guest[] = "haltpoll\n";
	char driver[sizeof(guest)];
	_cleanup_close_ int fd = open(DRIVER, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, driver, sizeof(driver));

	return n == (ssize_t)strlen(guest) &&
	       memcmp(driver, guest, (size_t)n) == 0;
}

static int ask(struct latency *l, int32_t us)
{
	return write(l->fd, &us, sizeof(us)) == sizeof(us) ? 0 : -errno;
}

const char *mount_latency_missing(void)
{
	_cleanup_close_ int fd = open(DEVICE, O_WRONLY | O_CLOEXEC);

	if (fd >= 0)
		return NULL;
	return errno == EACCES || errno == EPERM ? DEVICE
		       " may not be opened: it takes root"
						 : DEVICE " cannot be opened";
}

void latency_open(struct latency *l, enum mount_choice wanted)
{
	if (wanted == MOUNT_OFF || (wanted == MOUNT_AUTO && !is_guest()) ||
	    sysconf(_SC_NPROCESSORS_ONLN) < 2)
		return;
	l->fd = open(DEVICE, O_WRONLY | O_CLOEXEC);
	if (l->fd < 0)
		log_debug("idle processors may halt: %s: %s", DEVICE,
			  strerror(errno));
}

/* ---- the thread ---- */

static void hold(struct latency *l, bool polling)
{
	int err;

	if (polling == l->held)
		return;
	l->held = polling;
	log_debug("idle processors %s", polling ? "poll" : "may halt");
	err = ask(l, polling ? POLL : ANY);
	/* Nothing is wrong then but the speed. */
	if (err)
		log_debug("%s: %s", DEVICE, strerror(-err));
}

/* Return: the count that it was woken with. */
static uint64_t sleep_locked(struct latency *l, uint64_t seen) REQUIRES(l->lock)
{
	atomic_store(&l->asleep, true);
	while (!l->ending && atomic_load(&l->count) == seen)
		cond_wait(&l->changed, &l->lock);
	atomic_store(&l->asleep, false);
	return atomic_load(&l->count);
}

static void *latency_thread(void *arg)
{
	struct latency *l = arg;
	uint64_t seen = 0;
	unsigned int calm = 0;

	mutex_lock(&l->lock);
	while (!l->ending) {
		uint64_t count, came;

		if (!l->held && calm >= SLEEP_TICKS) {
			seen = sleep_locked(l, seen);
			calm = 0;
		}
		if (!l->ending &&
		    !cond_timedwait(&l->changed, &l->lock, TICK_MS))
			continue;
		count = atomic_load(&l->count);
		came = count - seen;
		seen = count;
		calm = came < FEW ? calm + 1 : 0;
		if (came >= MANY)
			hold(l, true);
		else if (calm >= CALM_TICKS)
			hold(l, false);
	}
	hold(l, false);
	mutex_unlock(&l->lock);
	return NULL;
}

int latency_start(struct latency *l)
{
	int err;

	if (l->fd < 0)
		return 0;
	err = session_thread_start(&l->thread, latency_thread, l);
	l->running = !err;
	return err;
}

void latency_stop(struct latency *l)
{
	if (!l->running)
		return;
	mutex_lock(&l->lock);
	l->ending = true;
	cond_signal(&l->changed);
	mutex_unlock(&l->lock);
	(void)pthread_join(l->thread, NULL);
	l->running = false;
}

void latency_wake(struct latency *l)
{
	mutex_lock(&l->lock);
	cond_signal(&l->changed);
	mutex_unlock(&l->lock);
}
