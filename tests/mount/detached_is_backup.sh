#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A detached store is a plain, consistent copy of that moment.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq sqlite3

image a 300
image b 300
sm init --name a,b "$work/a" "$work/b" >/dev/null
mount_volume "$work/a" "$work/b"
python3 "$lib_dir/scenario.py" fill "$mnt" --image-mib 64 \
	--mapped-mib 20 --files 300
echo unsynced >"$mnt/late"
cp -a "$mnt/." copy
detach b
same_tree --no-root copy "$work/b"
python3 "$lib_dir/scenario.py" change "$mnt" >/dev/null
same_tree --no-root copy "$work/b"
attach b

# In the middle of transactions: as a power cut would leave it, whole.
cat >transactions.py <<'END'
import itertools
import sqlite3
import sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
for i in itertools.count():
    db.execute("BEGIN")
    db.execute("INSERT INTO t VALUES(?, randomblob(9000))", (i,))
    db.execute("UPDATE sum SET n = n + 1")
    db.execute("COMMIT")
END
sqlite3 "$mnt/db" 'CREATE TABLE t(a, b); CREATE TABLE sum(n);
	INSERT INTO sum VALUES(0)'
start_helper python3 transactions.py "$mnt/db"
grown()
{
	[[ $(stat -c %s "$mnt/db") -gt 500000 ]]
}
wait_until 20 grown
detach b
mkdir backup
cp -a b/db* backup
attach b
kill "$helper_pid"
wait "$helper_pid" 2>/dev/null || :
eq "integrity" "$(sqlite3 backup/db 'PRAGMA integrity_check')" ok
eq "sum" "$(sqlite3 backup/db 'SELECT n = (SELECT count(*) FROM t) FROM sum')" 1
unmount_volume
same_tree "$work/a" "$work/b"
