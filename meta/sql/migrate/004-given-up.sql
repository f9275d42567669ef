-- A member whose resync was given up has a state of its own.
CREATE TABLE store_now (
	uuid TEXT PRIMARY KEY,
	name TEXT NOT NULL,
	state INTEGER NOT NULL CHECK (state BETWEEN 1 AND 6),
	durable_seq INTEGER NOT NULL CHECK (durable_seq >= 0),
	path_hint BLOB NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO store_now SELECT uuid, name, state, durable_seq, path_hint FROM store;
DROP TABLE store;
ALTER TABLE store_now RENAME TO store;
