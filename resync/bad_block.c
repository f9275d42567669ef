/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks that a disk cannot read.
 *
 * The source's may be readable on another store. Those that are nowhere are
 * left as the target has them, which may be the last that is left of them
 * (zeros where its disk cannot read them either), under an intent that stays.
 * All else is copied, and then the lap ends without being closed (lap_run()):
 * whoever is told may restore or remove the files, and the next lap has little
 * left to do. A source with too many of them is broken.
 *
 * The target's are in doubt like all that the lap looks at, and the source has
 * them: what cannot be read differs and is written anew, which is what heals a
 * bad sector. Part of a block (the end of a file) can only be written once the
 * block could be read, or is gone: so it is punched out first. A crash in
 * between finds intents over it and a store that is never a source.  A store
 * where writing fails too is no use.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "resync/lap.h"
#include "resync/map_path.h"

#define UNREADABLE_MAX (1024u * META_BLOCK)

/* ---- the source ---- */

/* -EREMOTEIO: nobody can read it; -ENOENT: the mounted volume has no such file
 * any more, which is no answer while it is held still. */
static ssize_t read_anywhere(struct lap *lap, uint64_t node, int sfd, char *buf,
			     size_t len, uint64_t off)
{
	ssize_t got = store_read(lap->src->store, sfd, buf, len, off);

	if (got != -EIO)
		return got;
	if (lap->src->live && !lap->in_txn)
		got = mirror_read(lap->src->live, node, buf, len, off);
	if (got == -ESTALE && !lap->args->last)
		return -ENOENT;
	return got == -EIO ? -EREMOTEIO : got;
}

static int note_unreadable(struct lap *lap, uint64_t node, uint64_t off)
{
	_cleanup_free_ char *path = NULL;

	lap->n->bytes_unreadable += META_BLOCK;
	if (map_node_path(lap->s, node, &path) <= 0)
		free(steal_pointer(&path));
	log_err("no store can read a block: path=%s node=%llu offset=%llu",
		path ? path : "?", (unsigned long long)node,
		(unsigned long long)off);
	return lap->n->bytes_unreadable > UNREADABLE_MAX ? -EIO : 0;
}

/* One block; it stays in doubt, as the target has it, where nobody else does. */
static int read_block(struct lap *lap, uint64_t node, int sfd, int tfd,
		      size_t at, size_t len, uint64_t off)
{
	struct range block = {off + at, off + at + META_BLOCK};
	char *buf = lap->buffer[0] + at;
	ssize_t got = read_anywhere(lap, node, sfd, buf, len, block.start);
	int r;

	if (got == -EREMOTEIO || got == -ENOENT) {
		/* The removal of one that is gone may yet be lost. */
		r = got == -ENOENT ? 0
				   : note_unreadable(lap, node, block.start);
		if (r < 0)
			return lap_source_err(lap, r);
		r = keep_skipped(lap, node, block);
		if (r < 0)
			return r;
		got = store_read(lap->dst->store, tfd, buf, len, block.start);
		if (got < 0 && got != -EIO)
			return (int)got;
		got = MAX(got, (ssize_t)0);
	}
	if (got < 0)
		return lap_source_err(lap, (int)got);
	memset(buf + got, 0, len - (size_t)got);
	return 0;
}

int source_read(struct lap *lap, uint64_t node, int sfd, int tfd, size_t len,
		uint64_t off)
{
	ssize_t got = read_anywhere(lap, node, sfd, lap->buffer[0], len, off);
	int r = 0;

	if (got >= 0)
		memset(lap->buffer[0] + got, 0, len - (size_t)got);
	if (got != -EREMOTEIO && got != -ENOENT)
		return lap_source_err(lap, (int)MIN(got, (ssize_t)0));
	for (size_t at = 0; r == 0 && at < len; at += META_BLOCK)
		r = read_block(lap, node, sfd, tfd, at,
			       MIN(len - at, (size_t)META_BLOCK), off);
	return r;
}

/* ---- the target ---- */

/* Whole blocks into the second buffer, zeros behind the end. */
static int read_padded(struct lap *lap, int tfd, size_t at, size_t len,
		       uint64_t off)
{
	char *buf = lap->buffer[1] + at;
	ssize_t got = store_read(lap->dst->store, tfd, buf, len, off + at);

	if (got < 0)
		return (int)got;
	memset(buf + got, 0, len - (size_t)got);
	return 0;
}

int target_read(struct lap *lap, int tfd, size_t len, uint64_t off)
{
	int r = read_padded(lap, tfd, 0, len, off);

	if (r != -EIO)
		return r;
	for (size_t at = 0; at < len; at += META_BLOCK) {
		r = read_padded(lap, tfd, at, META_BLOCK, off);
		if (r == -EIO) /* anything but what the source has */
			for (size_t i = at; i < at + META_BLOCK; i++)
				lap->buffer[1][i] = (char)~lap->buffer[0][i];
		else if (r < 0)
			return r;
	}
	return 0;
}

int target_write(struct lap *lap, int tfd, const char *buf, size_t len,
		 uint64_t off)
{
	const struct store *s = lap->dst->store;
	size_t part = len % META_BLOCK;
	int r = store_write(s, tfd, buf, len, off, NULL);

	if (r != -EIO || part == 0)
		return r;
	r = store_punch(s, tfd, off + len - part, META_BLOCK, NULL);
	return r < 0 ? r : store_write(s, tfd, buf, len, off, NULL);
}
