-- What applications see as the time of the last change, and when it holds.
ALTER TABLE node ADD COLUMN ctime INTEGER NOT NULL DEFAULT 0;
ALTER TABLE node ADD COLUMN backing_ctime INTEGER NOT NULL DEFAULT 0;
