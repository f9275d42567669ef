/* SPDX-License-Identifier: Apache-2.0 */
/*
 * volume_check - may these directories become stores?  Changes nothing.
 */
#pragma once

#include "resync/volume_make.h"

#define VOLUME_WHY_MAX 512

struct volume_place {
	char path[4096]; /* absolute, no symlinks */
	char name[64];
	dev_t dev;
	ino_t ino;
	bool empty;
};

struct volume_check {
	struct volume_place v[META_STORE_MAX];
	size_t count;
	char why[VOLUME_WHY_MAX];
};

/**
 * volume_check_place - look at @path and append it.
 * @name: NULL or "": from the directory's own name, made unique.
 */
MUST_CHECK int volume_check_place(struct volume_check *c, const char *path,
				  const char *name);

/* Warn of places on one device, and of one device with @dev (0: none). */
void volume_check_devices(const struct volume_check *c,
			  void (*warn)(void *arg, const char *sentence),
			  void *arg);

/* What of an open store's filesystem a mirror cannot do without; warns of what
 * it can. -EOPNOTSUPP with why set. */
MUST_CHECK int volume_check_caps(struct volume_check *c, const struct store *s,
				 void (*warn)(void *arg, const char *sentence),
				 void *arg);

/* A sentence for why; @err is returned. */
int volume_refuse(struct volume_check *c, int err, const char *fmt, ...)
	__attribute__((__format__(__printf__, 3, 4)));
