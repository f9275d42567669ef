-- What a name had as its place in a listing was the number of its last change.
ALTER TABLE dentry ADD COLUMN cookie INTEGER NOT NULL DEFAULT 0;
UPDATE dentry SET cookie = seq;
DROP INDEX dentry_by_seq;
CREATE UNIQUE INDEX dentry_by_cookie ON dentry (parent, cookie);
