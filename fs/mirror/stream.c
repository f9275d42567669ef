/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams: a file that is written from one end to the other.
 *
 * The stores' filesystems would keep what comes in until somebody syncs, and
 * then the disks have all of it before them, while they did nothing as long as
 * it came.  So of a stream each part is given to them as soon as the next one
 * has come: the work of the processor and that of the disks overlap, and an
 * fsync or a checkpoint waits for the last part only.
 *
 * Parts come from several threads, so they need not come in order: whatever
 * lies close to those before belongs to the stream.  Writes here and there do
 * not, nor do files of a few megabytes, which may be gone before anybody wants
 * them on a disk.
 */
#include "fs/mirror/room.h"

/* What is given to the disks at once, and how far apart a stream's parts
 * may be. */
#define STREAM_PART ((uint64_t)8 << 20)

/* True: what has gathered, to be given away. */
static bool stream_add(struct node *n, struct range r, struct range *ret_part)
{
	struct range near = {n->stream.start -
				     MIN(n->stream.start, STREAM_PART),
			     n->stream.end + STREAM_PART};

	if (!range_overlaps(near, r)) {
		n->stream = r;
		n->stream_bytes = 0;
	}
	n->stream.start = MIN(n->stream.start, r.start);
	n->stream.end = MAX(n->stream.end, r.end);
	n->stream_bytes += r.end - r.start;
	if (n->stream_bytes < STREAM_PART)
		return false;
	*ret_part = n->stream;
	n->stream = (struct range){r.end, r.end};
	n->stream_bytes = 0;
	return true;
}

void stream_note(struct mirror *m, struct node *n, uint64_t start, uint64_t end)
{
	struct range part;
	slot_mask pin;
	bool due;
	int fd;

	mutex_lock(&n->ranges);
	due = stream_add(n, (struct range){start, end}, &part);
	mutex_unlock(&n->ranges);
	if (!due || n->unlinked)
		return;
	pin = slots_pin(m, NULL);
	for_each_slot(i, pin)
	{
		if (node_fd_get(m, n, i, false, &fd))
			continue; /* a hint: nothing depends on it */
		store_write_behind(m->slot[i].store, fd, part.start,
				   part.end - part.start);
		node_fd_put(m, n, i);
	}
	slots_unpin(m, pin);
}
