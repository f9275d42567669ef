/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scrub - every replica of a node against the others and against the maps,
 * while the volume is in use.
 *
 *	scrub.c		one node; who is right
 *	scrub_data.c	contents and mapped ranges, in slices
 *	scrub_attr.c	attributes, symlinks, link counts
 *	scrub_name.c	the entries of a directory
 *	scrub_fix.c	what a repair needs of the volume
 *
 * Files are read without locks first.  What seems to differ is looked at again
 * under the lock that keeps operations away from it (the byte range, the node,
 * the directory), after a checkpoint where memory was ahead of the maps, and
 * only then is it a finding.  What stays busy is counted, not found.
 *
 * Who is right, in this order: the store that the user named; where one cannot
 * be read, the others; the majority of three or more; the one whose files agree
 * with its map, where all others' do not.  Else nobody is, and no repair is
 * made.  A store's file disagrees with its map when it has data where the map
 * has a hole, or was written (its times say so) after the last change that has
 * a number.
 */
#pragma once

#include "fs/mirror/mirror.h"

#define SCRUB_SLICE	(1u << 20)
#define SCRUB_WHY_BYTES 200

enum scrub_kind {
	SCRUB_DATA,    /* contents of [start,end) differ */
	SCRUB_READ,    /* [start,end) cannot be read on some */
	SCRUB_MAP,     /* data where the store's map has a hole */
	SCRUB_ATTR,    /* attributes differ: see what */
	SCRUB_MISSING, /* a name that the map has is not there */
	SCRUB_OTHER,   /* something else lies under the name */
	SCRUB_EXTRA,   /* a name that the map has not */
	SCRUB_LINKED,  /* no difference: a hard link lies outside of the tree */
};

#define SCRUB_WHAT_MODE	 (1u << 0)
#define SCRUB_WHAT_OWNER (1u << 1)
#define SCRUB_WHAT_SIZE	 (1u << 2)
#define SCRUB_WHAT_MTIME (1u << 3)
#define SCRUB_WHAT_XATTR (1u << 4) /* ACLs too */
#define SCRUB_WHAT_VALUE (1u << 5) /* a symlink's target, a device's number */
#define SCRUB_WHAT_LINKS (1u << 6)

enum scrub_by {
	SCRUB_BY_NOBODY,
	SCRUB_BY_PREFERENCE,
	SCRUB_BY_READING, /* the others can be read */
	SCRUB_BY_MAJORITY,
	SCRUB_BY_MAP,
};

struct scrub_finding {
	enum scrub_kind kind;
	unsigned int what; /* ATTR: SCRUB_WHAT_* */
	uint64_t node;	   /* names: of the entry; 0 for EXTRA */
	uint64_t dir;	   /* names: the directory */
	char name[META_NAME_MAX + 1];
	uint64_t start; /* in whole blocks; ATTR with SIZE: the sizes' */
	uint64_t end;
	/* Slots: to be repaired; undecided: all of them; LINKED: with links. */
	uint32_t losers;
	enum scrub_by by;
};

struct mirror_scrub {
	/* set by the caller */
	int prefer; /* slot that is right, -1 */
	/* @bytes were read of each replica; nonzero ends it with that. */
	int (*pace)(void *arg, uint64_t bytes);
	/* No locks held; nonzero ends it with that. */
	int (*found)(void *arg, const struct scrub_finding *f);
	void *arg;
	/* what was done */
	uint64_t nodes;
	uint64_t entries;
	uint64_t bytes;	 /* compared; of one replica */
	uint64_t busy;	 /* nodes and slices that never rested, or were shut */
	uint64_t unseen; /* nodes not under their name on some store */
	uint32_t missed; /* slots that some node was not compared on */
	char why[SCRUB_WHY_BYTES]; /* in words, of some of what it returns */
	/* private */
	char *buffer[META_STORE_MAX];
	unsigned int unread[META_STORE_MAX]; /* ranges */
};

void mirror_scrub_done(struct mirror_scrub *s);

/**
 * mirror_scrub_node - compare @node on all stores that are online.
 * @offset: of a file: where to begin; how far it got, when it was ended.
 * Return: 0 (also: there is no such node any more), what a callback gave,
 * -EAGAIN (a store was put out: again without it), -ENOMEM, else the map of the
 * last store cannot be read.
 */
MUST_CHECK int mirror_scrub_node(struct mirror *m, struct mirror_scrub *s,
				 uint64_t node, uint64_t *offset);

/* The map of @slot gave @err: put out as one whose map others cannot read. 0:
 * ask another one; else @err, with a sentence in @s. */
MUST_CHECK int mirror_scrub_map(struct mirror *m, struct mirror_scrub *s,
				unsigned int slot, int err);

/* ---- repair ---- */

/**
 * mirror_scrub_set_aside - move what lies under a name that no map has to
 * found/ of @slot's store (a further link to a file of the volume is only
 * unlinked).  Return: 0 (also: it is gone), -errno.
 */
MUST_CHECK int mirror_scrub_set_aside(struct mirror *m, unsigned int slot,
				      uint64_t dir, const char *name);

/*
 * Have what @f's losers cannot read rewritten there from the others, by the
 * thread that does so for every reader. Ranges of files only.
 */
MUST_CHECK int mirror_scrub_rewrite(struct mirror *m,
				    const struct scrub_finding *f);
/* Is that thread at work, for whomever? */
bool mirror_scrub_rewriting(struct mirror *m);

/**
 * mirror_scrub_put_out - put @losers out with everything of @v that they are
 * to lose in doubt in their maps, and give it fresh numbers on the others, so
 * that those who are away get it too.  A resync then brings them back equal.
 * Returns when their stores are closed.
 * Return: 0, -EBUSY (fewer than min_stores, or none, would stay), -EREMOTEIO
 * (a map did not take the note: that store is not to be brought back, nothing
 * would be repaired), -EIO, ...
 */
MUST_CHECK int mirror_scrub_put_out(struct mirror *m, uint32_t losers,
				    const struct scrub_finding *v,
				    size_t count);
