/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reply - answers, and the one place where -errno becomes errno.
 *
 * Each function answers its request exactly once and takes it over. No lock is
 * held: the kernel may forget a node before the call returns.
 */
#pragma once

#include "fs/mount/session.h"

/* How long the kernel may keep what it was told, in seconds: all changes go
 * through it, or are told to it. A year. */
#define REPLY_KEEP 31536000.0

/** reply_err - @err is 0 or -errno. */
void reply_err(fuse_req_t req, int err);

/**
 * reply_unsupported - ENOSYS: never send me this kind of request again.
 *
 * reply_err() never says so: an ENOSYS that came up from a store means this
 * one file only and is turned into EOPNOTSUPP.
 */
void reply_unsupported(fuse_req_t req);

/** reply_entry - @err, or the entry, whose lookup count the kernel now holds.
 * If the reply does not reach it, the count is given back. */
void reply_entry(fuse_req_t req, int err, const struct mirror_entry *entry);

/** reply_absent - there is no such name; @keep: and the kernel may rely on it
 * until one is made through it. */
void reply_absent(fuse_req_t req, bool keep);

/** reply_attr - @err, or attributes. */
void reply_attr(fuse_req_t req, int err, const struct stat *st);

/** reply_count - -errno, or the number of bytes taken. */
void reply_count(fuse_req_t req, ssize_t count);

/** reply_buf - -errno, or that many bytes of @buf. */
void reply_buf(fuse_req_t req, const void *buf, ssize_t len);

/** reply_entry_param - an entry as the library wants it. */
struct fuse_entry_param reply_entry_param(uint64_t id, const struct stat *st);

/**
 * reply_buffer - memory of this thread, page-aligned, for what is about to be
 * answered. Contents are undefined; valid until the next call.
 * Return: NULL when there is no memory
 */
void *reply_buffer(size_t len);
