/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The numbers that stand on disk. They are never renumbered: a map written by
 * any version must mean the same to every later one. What has to change gets
 * a new number here, a step in meta/sql/migrate/ and a higher format version.
 */
#pragma once

#include <assert.h>
#include <stdint.h>

#include "meta/meta.h"

/* PRAGMA application_id: "SQMR". Tells our database from any other. */
#define META_APPLICATION_ID 0x53514d52

/* PRAGMA user_version: the steps of meta/sql/migrate/ lead up to it. A map
 * with a higher one is refused. */
#define META_FORMAT_VERSION 4

#define META_PAGE_BYTES	    4096

/* Names in the private directory of a store. */
#define META_DB_NAME	   "meta.db"
#define META_BALLAST_NAME  "ballast"
#define META_MARK_NAME	   "meta.mark"

#define META_BALLAST_BYTES (4u << 20)

static_assert(META_BLOCK == 4096, "also in the CHECKs of schema.sql");
static_assert(META_ROOT_ID == 1 && META_LIMBO_ID == 2 && META_FIRST_ID == 16,
	      "node ids are the same on every store of a volume");

static_assert(META_FILE == 1 && META_DIR == 2 && META_SYMLINK == 3 &&
		      META_FIFO == 4 && META_SOCK == 5 && META_CHR == 6 &&
		      META_BLK == 7,
	      "node.kind");
static_assert(META_INTENT_DATA == 1 && META_INTENT_NAME == 2 &&
		      META_INTENT_ATTR == 3,
	      "intent.kind");
static_assert(META_STORE_ONLINE == 1 && META_STORE_DETACHED == 2 &&
		      META_STORE_MISSING == 3 && META_STORE_FAILED == 4 &&
		      META_STORE_RESYNCING == 5 && META_STORE_GIVEN_UP == 6,
	      "store.state");
