-- SPDX-License-Identifier: Apache-2.0
--
-- Every statement of the map. A name is noun_verb_or_purpose; the line below
-- it says what for and through which index. tests/unit/test_query_plan.c has
-- each explained: none may read node, dentry or extent from end to end, and
-- none of the delta (names with "since") may sort.

-- ---- transactions ----

-- name: txn_begin_write
BEGIN IMMEDIATE;

-- name: txn_begin_read
BEGIN DEFERRED;

-- name: txn_commit
COMMIT;

-- name: txn_rollback
ROLLBACK;

-- ---- node ----

-- name: node_put
-- Hot: one per created file.
INSERT INTO node (id, kind, backing_ino, backing_gen, attr_seq, seq,
	ctime, backing_ctime)
VALUES (:id, :kind, :backing_ino, :backing_gen, :attr_seq, :seq,
	:ctime, :backing_ctime)
ON CONFLICT (id) DO UPDATE SET
	kind = excluded.kind,
	backing_ino = excluded.backing_ino,
	backing_gen = excluded.backing_gen,
	attr_seq = excluded.attr_seq,
	seq = excluded.seq,
	ctime = excluded.ctime,
	backing_ctime = excluded.backing_ctime;

-- name: node_raise_seq
-- Writes nothing when both are high enough already.
UPDATE node
SET attr_seq = max(attr_seq, :attr_seq), seq = max(seq, :seq)
WHERE id = :id AND (attr_seq < :attr_seq OR seq < :seq);

-- name: node_raise_all
-- A checkpoint, once per node that changed. Writes nothing that is there.
UPDATE node
SET attr_seq = max(attr_seq, :attr_seq), seq = max(seq, :seq),
	ctime = :ctime, backing_ctime = :backing_ctime
WHERE id = :id AND (attr_seq < :attr_seq OR seq < :seq
	OR ctime <> :ctime OR backing_ctime <> :backing_ctime);

-- name: node_set_backing
UPDATE node
SET backing_ino = :backing_ino, backing_gen = :backing_gen
WHERE id = :id;

-- name: node_forget_backing
-- A copied store: once, over the whole table.
UPDATE node SET backing_ino = 0, backing_gen = 0 WHERE backing_ino <> 0;

-- name: node_del
DELETE FROM node WHERE id = :id;

-- name: node_get
SELECT id, kind, backing_ino, backing_gen, attr_seq, seq, ctime, backing_ctime
FROM node WHERE id = :id;

-- name: node_find_backing
-- Index node_by_backing. Of several the youngest: the older ones are gone.
SELECT id, kind, backing_ino, backing_gen, attr_seq, seq, ctime, backing_ctime
FROM node INDEXED BY node_by_backing
WHERE backing_ino = :backing_ino
AND (:backing_gen = 0 OR backing_gen = :backing_gen)
ORDER BY id DESC
LIMIT 1;

-- name: node_iter_id
SELECT id, kind, backing_ino, backing_gen, attr_seq, seq, ctime, backing_ctime
FROM node WHERE id > :id ORDER BY id;

-- name: node_iter_unknown
-- Those without an identity. Index node_by_backing.
SELECT id, kind, backing_ino, backing_gen, attr_seq, seq, ctime, backing_ctime
FROM node INDEXED BY node_by_backing
WHERE backing_ino = 0 AND id > :id ORDER BY id;

-- name: node_iter_linked
-- Of those, what has several names.
-- Indexes node_by_backing, dentry_by_node.
SELECT id FROM node INDEXED BY node_by_backing
WHERE backing_ino = 0 AND id > :node
AND EXISTS (SELECT 1 FROM dentry INDEXED BY dentry_by_node
WHERE dentry.node = node.id LIMIT 1 OFFSET 1)
ORDER BY id;

-- name: node_below
SELECT id, kind, backing_ino, backing_gen, attr_seq, seq, ctime, backing_ctime
FROM node WHERE id < :id ORDER BY id DESC LIMIT 1;

-- name: node_iter_since
-- The delta of nodes. Index node_by_seq.
SELECT id, kind, backing_ino, backing_gen, attr_seq, seq, ctime, backing_ctime
FROM node INDEXED BY node_by_seq
WHERE (seq, id) > (:seq, :id) ORDER BY seq, id;

-- ---- dentry ----

-- name: dentry_put
-- Hot: one per created file. With cookie 0 a name keeps its own, and a new one
-- gets its number.
INSERT INTO dentry (parent, name, node, seq, cookie)
VALUES (:parent, :name, :node, :seq, coalesce(nullif(:cookie, 0), :seq))
ON CONFLICT (parent, name) DO UPDATE SET
	node = excluded.node,
	seq = excluded.seq,
	cookie = coalesce(nullif(:cookie, 0), cookie);

-- name: dentry_del
DELETE FROM dentry WHERE parent = :parent AND name = :name;

-- name: dentry_get
SELECT parent, name, node, seq, cookie
FROM dentry WHERE parent = :parent AND name = :name;

-- name: dentry_iter_cookie
-- readdir. Index dentry_by_cookie.
SELECT parent, name, node, seq, cookie
FROM dentry INDEXED BY dentry_by_cookie
WHERE parent = :parent AND cookie > :cookie ORDER BY cookie;

-- name: dentry_iter_name
SELECT parent, name, node, seq, cookie
FROM dentry WHERE parent = :parent ORDER BY name;

-- name: dentry_iter_all
-- Check: every entry once, from any on.
SELECT parent, name, node, seq, cookie
FROM dentry WHERE (parent, name) > (:parent, :name) ORDER BY parent, name;

-- name: dentry_iter_node
-- The names of a node. Index dentry_by_node.
SELECT parent, name, node, seq, cookie
FROM dentry INDEXED BY dentry_by_node
WHERE node = :node ORDER BY parent, name;

-- name: dentry_iter_node_beyond
-- The same, in directories with higher numbers. Index dentry_by_node.
SELECT parent, name, node, seq, cookie
FROM dentry INDEXED BY dentry_by_node
WHERE node = :node AND parent > :parent ORDER BY parent, name;

-- name: dentry_count_node
SELECT count(*) FROM dentry INDEXED BY dentry_by_node WHERE node = :node;

-- ---- extent ----

-- name: extent_iter_back
-- What overlaps or touches a range, from its end backwards.
SELECT start, end, seq
FROM extent WHERE node = :node AND start <= :end ORDER BY start DESC;

-- name: extent_put
-- Hot: one per written range.
INSERT INTO extent (node, start, end, seq)
VALUES (:node, :start, :end, :seq)
ON CONFLICT (node, start) DO UPDATE SET
	end = excluded.end,
	seq = excluded.seq;

-- name: extent_cut_end
UPDATE extent SET end = :end WHERE node = :node AND start = :start;

-- name: extent_del_starts
-- The rows that start in [:start, :end).
DELETE FROM extent
WHERE node = :node AND start >= :start AND start < :end;

-- name: extent_del_node
DELETE FROM extent WHERE node = :node;

-- name: extent_iter_since
-- The delta of data. Covering index extent_by_seq.
SELECT node, start, end, seq
FROM extent INDEXED BY extent_by_seq
WHERE (seq, node, start) > (:seq, :node, :start) ORDER BY seq, node, start;

-- name: extent_iter_range
-- What overlaps [:start, :end). The subquery finds the one row that may
-- begin before it.
SELECT node, start, end, seq
FROM extent
WHERE node = :node AND start < :end AND end > :start AND start >= coalesce((
	SELECT start FROM extent
	WHERE node = :node AND start <= :start ORDER BY start DESC LIMIT 1
), 0)
ORDER BY start;

-- ---- intent ----

-- name: intent_put
-- Hot. The key is the whole row: one of another generation stays beside it.
INSERT INTO intent (node, kind, start, end, generation)
VALUES (:node, :kind, :start, :end, :generation)
ON CONFLICT DO NOTHING;

-- name: intent_drop_through
-- Reads the table, which holds what one checkpoint covers.
DELETE FROM intent WHERE generation <= :generation;

-- name: intent_drop_one
DELETE FROM intent
WHERE node = :node AND kind = :kind AND start = :start AND end = :end
AND generation = :generation;

-- name: intent_drop_all
DELETE FROM intent;

-- name: intent_iter_all
SELECT node, kind, start, end, generation
FROM intent ORDER BY node, kind, start, end, generation;

-- name: intent_count_all
SELECT count(*) FROM intent;

-- name: intent_count_generation
SELECT count(*) FROM intent WHERE generation = :generation;

-- ---- volume, store, moment ----

-- name: volume_put
INSERT INTO volume (key, value) VALUES (:key, :value)
ON CONFLICT (key) DO UPDATE SET value = excluded.value;

-- name: volume_get
SELECT value FROM volume WHERE key = :key;

-- name: store_put
INSERT INTO store (uuid, name, state, durable_seq, path_hint)
VALUES (:uuid, :name, :state, :durable_seq, :path_hint)
ON CONFLICT (uuid) DO UPDATE SET
	name = excluded.name,
	state = excluded.state,
	durable_seq = excluded.durable_seq,
	path_hint = excluded.path_hint;

-- name: store_del
DELETE FROM store WHERE uuid = :uuid;

-- name: store_iter_all
SELECT uuid, name, state, durable_seq, path_hint FROM store ORDER BY uuid;

-- name: moment_put
INSERT INTO moment (seq, time_ns) VALUES (:seq, :time_ns)
ON CONFLICT (seq) DO UPDATE SET time_ns = excluded.time_ns;

-- name: moment_iter_behind
SELECT seq, time_ns FROM moment WHERE seq <= :seq
ORDER BY seq DESC LIMIT 3 OFFSET :newer;

-- name: moment_del
DELETE FROM moment WHERE seq = :seq;

-- name: moment_get_at
SELECT time_ns FROM moment WHERE seq <= :seq ORDER BY seq DESC LIMIT 1;

-- name: moment_get_from
SELECT time_ns FROM moment WHERE seq >= :seq ORDER BY seq LIMIT 1;

-- ---- epoch ----

-- name: epoch_append
INSERT INTO epoch
	(ordinal, id, first_seq, first_node, base, members, confirmed, by_copy)
VALUES (
	(SELECT coalesce(max(ordinal), 0) + 1 FROM epoch),
	:id, :first_seq, :first_node, :base, :members, :confirmed, :by_copy
);

-- name: epoch_confirm
UPDATE epoch SET confirmed = 1 WHERE id = :id;

-- name: epoch_del_all
DELETE FROM epoch;

-- name: epoch_count_all
SELECT count(*) FROM epoch;

-- name: epoch_iter_all
SELECT ordinal, id, first_seq, first_node, base, members, confirmed, by_copy
FROM epoch ORDER BY ordinal;

-- name: lap_epoch_put
INSERT INTO lap_epoch
	(lap, ordinal, id, first_seq, first_node, base, members, confirmed,
	by_copy)
VALUES (:lap, :ordinal, :id, :first_seq, :first_node, :base, :members,
	:confirmed, :by_copy);

-- name: lap_epoch_del_all
DELETE FROM lap_epoch;

-- name: lap_epoch_count_all
SELECT count(*) FROM lap_epoch;

-- name: lap_epoch_iter_all
SELECT ordinal, id, first_seq, first_node, base, members, confirmed, by_copy
FROM lap_epoch ORDER BY lap, ordinal;

-- ---- the database itself ----

-- name: database_check_pages
-- Whole tables, as asked.
PRAGMA integrity_check(20);
