/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Members that one side added while another was away, and nothing else: the
 * epoch in which it did so is void, so it follows, and the one that it follows
 * has never heard of them.
 */
#pragma once

#include "meta/meta.h"

/* The source's members, and those that were added since. */
struct added_rows {
	struct meta_member *rows; /* META_STORE_MAX of them */
	size_t count;
	size_t known; /* of them, the first: the source has them */
};

/**
 * added_since - add to @to the members that @target's side took in after it and
 * @source had parted, as missing. Only for a target that may follow the source.
 * A member that the source's side has ever had is none of them: it was removed
 * there. Return: how many, or -errno.
 */
MUST_CHECK int added_since(struct meta *source, struct meta *target,
			   struct added_rows *to);
