#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A million files: mounting reads no tree, a renamed directory of 100,000
# files is one rename, and a resync takes time for what changed only. Too long
# for every day: scripts/soak --million runs it.
#
#	FILES	how many (default 1000000)
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

files=${FILES:-1000000}
image a $((files / 150 + 600))
image b $((files / 150 + 600))

# timed COMMAND...: in this shell; leaves the seconds in $took.
timed()
{
	local begun=$EPOCHREALTIME

	"$@"
	took=$(awk -v a="$begun" -v b="$EPOCHREALTIME" 'BEGIN { print b - a }')
}

below()
{
	awk -v a="$2" -v b="$3" 'BEGIN { exit !(a < b) }' ||
		fail "$1: $2 s, at most $3"
}

python3 - "$work/a" "$files" <<'END'
import os
import sys
root, count = sys.argv[1], int(sys.argv[2])
for i in range(10):
    for j in range(100):
        folder = f"{root}/t{i}/d{j}"
        os.makedirs(folder)
        for k in range(count // 1000):
            os.mknod(f"{folder}/file{k}")
END
sm init --name a,b "$work/a" "$work/b" >/dev/null
mount_volume "$work/a" "$work/b"
poll_until 3000 store_is b online || fail "b is not built in 3000 s"
unmount_volume

timed mount_volume "$work/a" "$work/b"
echo "mounting takes $took s"
below "mounting $files files" "$took" 3
unmount_volume
mount_volume "$work/a" "$work/b"
detach b
mv "$mnt/t3" "$mnt/t4/moved"
echo one >"$mnt/t5/new"
timed sm resync --wait --json "$mnt" b >result.json
cat result.json
echo "the resync takes $took s"
below "the resync of three changes" "$took" 5
eq "entries created" "$(jq .entries_created result.json)" 1
unmount_volume
same_tree "$work/a" "$work/b"
