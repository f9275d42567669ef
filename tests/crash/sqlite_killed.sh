#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The daemon is killed under a database, in each mode of its journal, with a
# store leaving and coming back in between: every transaction that was said to be
# committed is there, the database is whole, and on both stores the same.
#
#	KILLS	how often in each mode (default 2)
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq sqlite3

cat >commit.py <<'E2'
# commit.py DB MODE LOG: commits until it fails; a number in LOG for each.
import sqlite3
import sys

path, mode, log = sys.argv[1:]
db = sqlite3.connect(path, isolation_level=None)
db.execute("PRAGMA journal_mode=" + mode)
db.execute("PRAGMA synchronous=FULL")
db.execute("CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, x BLOB)")
db.execute("CREATE TABLE IF NOT EXISTS sum(n INTEGER)")
db.execute("INSERT INTO sum SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM sum)")
n = db.execute("SELECT coalesce(max(id), 0) FROM t").fetchone()[0]
with open(log, "ab", buffering=0) as out:
    while True:
        n += 1
        db.execute("BEGIN IMMEDIATE")
        db.execute("INSERT INTO t VALUES (?, randomblob(?))", (n, n % 3000))
        db.execute("UPDATE sum SET n = n + 1")
        db.execute("COMMIT")
        out.write(b"%d\n" % n)
E2

# more_than LOG LINES
more_than()
{
	[[ -e $1 ]] && (($(wc -l <"$1") > $2))
}

# whole DB: and the number of its rows
whole()
{
	eq "$1" "$(sqlite3 "$1" 'PRAGMA integrity_check')" ok
	eq "$1: rows" "$(sqlite3 "$1" 'SELECT count(*) FROM t')" \
		"$(sqlite3 "$1" 'SELECT n FROM sum')"
}

image a 300
image b 300 "$(can_make xfs && echo xfs || echo ext4)"
sm init --name a,b "$work/a" "$work/b" >/dev/null
mount_volume "$work/a" "$work/b"
for mode in delete wal; do
	for ((kill = 0; kill < ${KILLS:-2}; kill++)); do
		log=$work/$mode.log
		before=$([[ ! -e $log ]] || wc -l <"$log")
		start_helper python3 commit.py "$mnt/$mode" "$mode" "$log" \
			2>/dev/null
		wait_until 30 more_than "$log" $((before + 20))
		if ((kill % 2)); then
			detach b
			wait_until 30 more_than "$log" $((before + 40))
			sm attach "$mnt" b >/dev/null
			wait_until 30 more_than "$log" $((before + 60))
		fi
		kill_daemon
		wait_until 20 is_dead "$helper_pid"
		mount_volume "$work/a" "$work/b"
		wait_until 60 volume_is healthy
		whole "$mnt/$mode"
		rows=$(sqlite3 "$mnt/$mode" 'SELECT count(*) FROM t')
		((rows >= $(tail -n 1 "$log"))) ||
			fail "$mode: $rows rows of $(tail -n 1 "$log") committed"
	done
done
unmount_volume
same_tree "$work/a" "$work/b"
for mode in delete wal; do
	for store in a b; do
		mkdir "copy.$store.$mode"
		cp "$store/$mode"* "copy.$store.$mode"
		whole "copy.$store.$mode/$mode"
	done
done
