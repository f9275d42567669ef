/* SPDX-License-Identifier: Apache-2.0 */
/* Private to the files that scrub.h lists. */
#pragma once

#include <errno.h>

#include "fs/mirror/internal.h"
#include "fs/mirror/nameless.h"
#include "fs/mirror/scrub.h"

/* How often something is looked at that does not rest. */
#define SCRUB_TRIES 3u

struct scan {
	struct mirror *m;
	struct mirror_scrub *s;
	struct node *n;
	slot_mask mask;	  /* pinned */
	bool unseen;	  /* it is not under its name on some store */
	bool restless;	  /* so often was it, or what it lies in, moved */
	int map_error;	  /* a map failed, and its store: what ends the node */
	slot_mask linked; /* it has more links there than names: not compared */
};

/* How the stores vote on one thing. */
struct scrub_votes {
	slot_mask all;
	slot_mask unreadable;
	slot_mask edited;		     /* disagree with their own map */
	unsigned char group[META_STORE_MAX]; /* equal where it is the same */
};

bool scrub_agrees(const struct scrub_votes *v);
void scrub_judge(const struct scan *c, const struct scrub_votes *v,
		 struct scrub_finding *f);

/* There is no such node under its name on the store, perhaps since the name
 * went meanwhile. */
static inline bool scrub_is_gone(int r)
{
	return r == -ENOENT || r == -ESTALE || r == -ELOOP || r == -ENOTDIR ||
	       r == -ENODE_ELSEWHERE;
}

/* Not the store fails: what lies there is not the node, or an ordinary user
 * has shut oneself out of the directory it lies in. */
static inline bool scrub_is_answer(int r)
{
	return scrub_is_gone(r) || r == -ENXIO || r == -EACCES || r == -EPERM;
}

/* Stores of the scan that are online still. */
slot_mask scrub_online(const struct scan *c);

/*
 * What the map of slot @i gave, if that ends the node: -EAGAIN (its store is
 * out now), -errno; it is also kept in the scan. 0 for answers.
 */
MUST_CHECK int scrub_map(struct scan *c, unsigned int i, int r);
/* Slot @i could not read: counted as for whoever reads. True: it is out now. */
bool scrub_blame(struct scan *c, unsigned int i, int err);
/* The same of contents. */
bool scrub_blame_range(struct scan *c, unsigned int i);

/*
 * The real time by which the last numbered change of the node was over.
 * -ENOENT: not known.
 */
MUST_CHECK int scrub_settled_ns(struct scan *c, uint64_t *ret_ns);
/* Was it changed after that? */
bool scrub_is_later(const struct timespec *t, uint64_t settled_ns);

/* Nothing of the node waits for a checkpoint. */
bool scrub_is_settled(struct node *n, struct range r);

MUST_CHECK int scrub_data(struct scan *c, uint64_t *offset);
MUST_CHECK int scrub_attr(struct scan *c);
MUST_CHECK int scrub_names(struct scan *c);
