/* SPDX-License-Identifier: Apache-2.0 */
/*
 * side - finding the files of nodes on one end of a resync.
 *
 * A node's place is what the map of that store says: its names, up to the
 * root or to limbo/.  Whatever is found there must be the node: kind and
 * backing identity are compared after the open.  A row whose backing.ino is 0
 * (a restored copy: identities void) takes the identity of what lies at its
 * place, if the kind agrees and no directory on the way is in doubt
 * (side->unproved).  On a live source mirror_node_open() is asked
 * instead, since the map may lag behind names there.
 */
#pragma once

#include "resync/resync.h"

/**
 * side_open_node - a fresh descriptor of @node (the caller closes it).
 * @rd: a reader (or the writer's view) of this side's map.
 * @flags: O_RDONLY, O_RDWR, O_PATH, plus O_DIRECTORY.
 * @ret_row (may be NULL): the node's row; for a void identity with the
 * identity found (the caller stores it with meta_node_set_backing()).
 * Return: fd, -ENOENT (no row, no name, or nothing at the place), -ESTALE
 * (something else lies at its place), -ELOOP (map has a cycle), -EIO...
 */
MUST_CHECK int side_open_node(const struct resync_side *side,
			      struct meta_reader *rd, uint64_t node, int flags,
			      struct meta_node *ret_row);

/**
 * side_open_parent - the directory that holds some name of @node, and that
 * name: what attribute calls on symlinks and special files need.
 * Return: fd of the directory, or as side_open_node.
 */
MUST_CHECK int side_open_parent(const struct resync_side *side,
				struct meta_reader *rd, uint64_t node,
				struct meta_dentry *ret_dentry);

/* Is what was found the node of this row? A void identity matches by kind,
 * but not what is mounted there. */
bool side_matches(const struct meta_node *row, const struct store_stat *st);

/* Would a name in @dir prove nothing about the node of @row? */
bool side_is_unproved(const struct resync_side *side, uint64_t dir,
		      const struct meta_node *row);

/** side_poll - is it to go on? Return: 0, -ECANCELED */
MUST_CHECK int side_poll(const struct resync_side *side);

/**
 * side_open_dir - as side_open_node() of a directory, to list it or to work
 * in it; META_LIMBO_ID is limbo/.
 */
MUST_CHECK int side_open_dir(const struct resync_side *side,
			     struct meta_reader *rd, uint64_t dir);

/** side_is_hidden - is another filesystem mounted on @dir, or above it? 1, 0,
 * -errno */
MUST_CHECK int side_is_hidden(const struct resync_side *side,
			      struct meta_reader *rd, uint64_t dir);

/**
 * side_stat_entry - identity of what lies under a name, and whether it is
 * the node of @row: 1 yes, 0 something else lies there, -ENOENT, -errno.
 */
MUST_CHECK int side_stat_entry(const struct resync_side *side, int dirfd,
			       const char *name, const struct meta_node *row,
			       struct store_stat *ret);

/**
 * side_forget_if_copied - a store whose identity file is not the one that its
 * map was made beside is a copy: all identities in its map become void, and it
 * is marked as a copy, in a transaction of its own.
 * Return: 1 it was a copy, 0, -errno
 */
MUST_CHECK int side_forget_if_copied(const struct resync_side *side);
/* Only the question. */
MUST_CHECK int side_is_copied(const struct resync_side *side,
			      struct meta_reader *rd);

/**
 * side_is_unclean_copy - is it a copy of a store that was not left in good order?
 *
 * One that was in use while it was copied has files from one moment and a map from
 * another, or is torn within either, and looks like one that was copied after a
 * crash. Nothing that the map says of the files is to be believed; what it says of
 * the store's past is, for that only grows. So it is no source, and is brought in
 * step by a new map and a look at all of it (rebuild_like()).
 * Return: 1, 0, -errno
 */
MUST_CHECK int side_is_unclean_copy(const struct resync_side *side,
				    struct meta_reader *rd);

/* The same of a store that is not open: is it @copied, and what does its map say? */
MUST_CHECK int side_is_unclean(struct meta_reader *rd, bool copied);

/**
 * side_settle - in a store that is marked as a copy, find by path all nodes
 * without an identity (settle.c). What is not at its place stays without one,
 * as does what lies in a directory in doubt. Before a lap arms anything there.
 * Reads those nodes alone, commits softly now and then.
 */
MUST_CHECK int side_settle(const struct resync_side *side);

/**
 * side_settle_links - the first half of it: the names of one such node become
 * one file again (settle_links.c).
 */
MUST_CHECK int side_settle_links(const struct resync_side *side,
				 struct meta_reader *rd);
/* Is this what it leaves in limbo/ when it is cut: one more link of a file? */
bool side_is_aside(const char *limbo_name);
/**
 * side_drop_leftovers - of a store whose map is lost: remove such links from limbo/,
 * and the files that had lost their last name and were only open. No file of the user's
 * is known by them alone. What else lies there is kept.
 */
MUST_CHECK int side_drop_leftovers(const struct store *s);
