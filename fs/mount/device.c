/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/mount/device.h"

#include <linux/fuse.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fs/mount/session.h"
#include "fs/mount/uring_abi.h"

/* What this thread last read and no operation has asked for yet. */
struct seen {
	uint32_t opcode; /* 0: nothing */
	bool kills;
};

static _Thread_local struct seen seen;

/* Copies one argument of a request, as far as it is there. */
static void argument(void *to, size_t len, const char *message, size_t size)
{
	size_t have = size - sizeof(struct fuse_in_header);

	memset(to, 0, len);
	memcpy(to, message + sizeof(struct fuse_in_header), MIN(have, len));
}

static void see_init(struct device *d, uint64_t unique, const char *message,
		     size_t size)
{
	struct fuse_init_in in;

	argument(&in, sizeof(in), message, size);
	d->init_unique = unique;
	d->killpriv_offered = in.flags & FUSE_HANDLE_KILLPRIV_V2;
	d->uring_offered = (in.flags & FUSE_INIT_EXT) &&
			   (in.flags2 & URING_INIT_FLAG2);
	atomic_store(&d->init_pending, true);
}

static bool request_kills(uint32_t opcode, const char *message, size_t size)
{
	struct fuse_write_in write_in;
	struct fuse_setattr_in setattr_in;

	switch (opcode) {
	case FUSE_WRITE:
		argument(&write_in, sizeof(write_in), message, size);
		return write_in.write_flags & FUSE_WRITE_KILL_SUIDGID;
	case FUSE_SETATTR:
		argument(&setattr_in, sizeof(setattr_in), message, size);
		return setattr_in.valid & FATTR_KILL_SUIDGID;
	default:
		return false;
	}
}

void device_see(struct device *device, const void *message, size_t size)
{
	struct fuse_in_header header;

	memcpy(&header, message, sizeof(header));
	seen.opcode = header.opcode;
	seen.kills = request_kills(header.opcode, message, size);
	if (header.opcode == FUSE_INIT)
		see_init(device, header.unique, message, size);
	latency_request(&device->latency);
	if (header.opcode < DEVICE_OPCODES)
		atomic_fetch_add_explicit(&device->requests[header.opcode], 1,
					  memory_order_relaxed);
}

static ssize_t device_read(int fd, void *buf, size_t len, void *userdata)
{
	struct mount_session *session = userdata;
	ssize_t got = turn_read(&session->device.turn, fd, buf, len);

	/* What is shorter: the library knows what to do about it. */
	if (got >= (ssize_t)sizeof(struct fuse_in_header))
		device_see(&session->device, buf, (size_t)got);
	return got;
}

/* The reply to INIT is a header and a struct fuse_init_out of which newer
 * protocols have made the end longer: flags lie where they always did. */
static bool amend_init(struct device *d, const struct iovec *iov, int count)
{
	struct fuse_out_header header;
	struct fuse_init_out *out;

	memcpy(&header, iov[0].iov_base, sizeof(header));
	if (header.error || count < 2 ||
	    iov[1].iov_len < offsetof(struct fuse_init_out, flags2) +
				     sizeof(out->flags2))
		return false;
	out = iov[1].iov_base;
	if (d->killpriv_wanted)
		out->flags |= FUSE_HANDLE_KILLPRIV_V2;
	if (d->uring_wanted) {
		out->flags |= FUSE_INIT_EXT;
		out->flags2 |= URING_INIT_FLAG2;
	}
	return true;
}

static ssize_t reply_init(struct mount_session *session, int fd,
			  struct iovec *iov, int count)
{
	struct device *d = &session->device;
	bool amended = amend_init(d, iov, count);
	ssize_t sent = writev(fd, iov, count);

	if (d->uring_wanted)
		uring_serve(session, amended && sent > 0);
	return sent;
}

static bool answers_init(struct device *d, const struct iovec *iov)
{
	struct fuse_out_header header;

	if (!atomic_load_explicit(&d->init_pending, memory_order_relaxed))
		return false;
	memcpy(&header, iov[0].iov_base, sizeof(header));
	if (header.unique != d->init_unique)
		return false;
	atomic_store(&d->init_pending, false);
	return true;
}

static ssize_t device_writev(int fd, struct iovec *iov, int count,
			     void *userdata)
{
	struct mount_session *session = userdata;
	ssize_t sent;

	if (answers_init(&session->device, iov))
		return reply_init(session, fd, iov, count);
	if (uring_reply(&session->uring, iov, count, &sent))
		return sent;
	turn_answer(&session->device.turn);
	return writev(fd, iov, count);
}

int device_attach(struct mount_session *session)
{
	/* No splicing: a message in a pipe could not be looked at. */
	static const struct fuse_custom_io io = {
		.read = device_read,
		.writev = device_writev,
	};

	return fuse_session_custom_io(session->fuse, &io,
				      fuse_session_fd(session->fuse));
}

bool device_want_killpriv(struct device *device)
{
	device->killpriv_wanted = device->killpriv_offered &&
				  atomic_load(&device->init_pending);
	return device->killpriv_wanted;
}

bool device_offers_uring(const struct device *device)
{
	return device->uring_offered && atomic_load(&device->init_pending);
}

void device_want_uring(struct device *device)
{
	device->uring_wanted = true;
}

bool device_request_kills(uint32_t opcode, uint32_t uid)
{
	bool read_here = seen.opcode == opcode;

	seen.opcode = 0;
	return read_here ? seen.kills : uid != 0;
}
