-- SPDX-License-Identifier: Apache-2.0
--
-- The map of one store, format version 4 (PRAGMA user_version).
--
-- Numbers are unsigned 64-bit values below 2^63, except backing_ino and
-- backing_gen, which are any 64 bits read as a signed number. Offsets are
-- bytes, multiples of 4096. What a number stands for is in meta/format.h.

-- Every file, directory, symlink and special file. id is never reused. ctime is
-- what applications see as the time of the last change for as long as the store's
-- own file says backing_ctime: nobody but we changed it since (fs/mirror/times.h).
-- Nanoseconds since 1970; both 0: nothing is known.
CREATE TABLE node (
	id INTEGER PRIMARY KEY,
	kind INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 7),
	backing_ino INTEGER NOT NULL,
	backing_gen INTEGER NOT NULL,
	attr_seq INTEGER NOT NULL CHECK (attr_seq >= 0),
	seq INTEGER NOT NULL CHECK (seq >= attr_seq),
	ctime INTEGER NOT NULL DEFAULT 0,
	backing_ctime INTEGER NOT NULL DEFAULT 0
) STRICT;

-- The delta of nodes. The id stands behind seq in every entry.
CREATE INDEX node_by_seq ON node (seq);
CREATE INDEX node_by_backing ON node (backing_ino);

CREATE TABLE dentry (
	parent INTEGER NOT NULL,
	name BLOB NOT NULL CHECK (length(name) BETWEEN 1 AND 255),
	node INTEGER NOT NULL,
	seq INTEGER NOT NULL CHECK (seq > 0),
	cookie INTEGER NOT NULL,
	PRIMARY KEY (parent, name)
) STRICT, WITHOUT ROWID;

-- The names of a node; (parent, name) stand behind.
CREATE INDEX dentry_by_node ON dentry (node);
-- The order of readdir. The cookie is the number under which the name came to be,
-- and stays when it is given to another node: a name that is replaced while
-- somebody reads the directory keeps its place.
CREATE UNIQUE INDEX dentry_by_cookie ON dentry (parent, cookie);

-- Mapped ranges. What lies between them is a hole. Rows of one node never
-- overlap.
CREATE TABLE extent (
	node INTEGER NOT NULL,
	start INTEGER NOT NULL CHECK (start >= 0 AND start % 4096 = 0),
	end INTEGER NOT NULL CHECK (end > start AND end % 4096 = 0),
	seq INTEGER NOT NULL CHECK (seq >= 0),
	PRIMARY KEY (node, start)
) STRICT, WITHOUT ROWID;

-- The delta of data: covers, so that the table itself is not touched.
CREATE INDEX extent_by_seq ON extent (seq, node, start, end);

-- Where a crash would leave doubt.
CREATE TABLE intent (
	node INTEGER NOT NULL,
	kind INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 3),
	start INTEGER NOT NULL CHECK (start >= 0 AND start % 4096 = 0),
	end INTEGER NOT NULL CHECK (end >= start AND end % 4096 = 0),
	generation INTEGER NOT NULL CHECK (generation >= 0),
	PRIMARY KEY (node, kind, start, end, generation)
) STRICT, WITHOUT ROWID;

-- The members of the volume, this store among them.
CREATE TABLE store (
	uuid TEXT PRIMARY KEY,
	name TEXT NOT NULL,
	state INTEGER NOT NULL CHECK (state BETWEEN 1 AND 6),
	durable_seq INTEGER NOT NULL CHECK (durable_seq >= 0),
	path_hint BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- The lineage of this store. members: UUIDs, a blank between them.
CREATE TABLE epoch (
	ordinal INTEGER PRIMARY KEY,
	id TEXT NOT NULL UNIQUE,
	first_seq INTEGER NOT NULL CHECK (first_seq >= 0),
	first_node INTEGER NOT NULL CHECK (first_node >= 0),
	base INTEGER NOT NULL CHECK (base >= 0),
	members TEXT NOT NULL,
	confirmed INTEGER NOT NULL CHECK (confirmed IN (0, 1)),
	by_copy INTEGER NOT NULL CHECK (by_copy IN (0, 1))
) STRICT;

-- The lineages of the sources of laps that changed this store and were not
-- closed: one list for each value of lap.
CREATE TABLE lap_epoch (
	lap INTEGER NOT NULL CHECK (lap > 0),
	ordinal INTEGER NOT NULL CHECK (ordinal > 0),
	id TEXT NOT NULL,
	first_seq INTEGER NOT NULL CHECK (first_seq >= 0),
	first_node INTEGER NOT NULL CHECK (first_node >= 0),
	base INTEGER NOT NULL CHECK (base >= 0),
	members TEXT NOT NULL,
	confirmed INTEGER NOT NULL CHECK (confirmed IN (0, 1)),
	by_copy INTEGER NOT NULL CHECK (by_copy IN (0, 1)),
	PRIMARY KEY (lap, ordinal)
) STRICT, WITHOUT ROWID;

-- UUIDs as text, numbers as integers; the keys are in meta/volume.c.
CREATE TABLE volume (
	key TEXT PRIMARY KEY,
	value ANY NOT NULL
) STRICT, WITHOUT ROWID;

-- When a sequence number was reached.
CREATE TABLE moment (
	seq INTEGER PRIMARY KEY,
	time_ns INTEGER NOT NULL CHECK (time_ns >= 0)
) STRICT;
