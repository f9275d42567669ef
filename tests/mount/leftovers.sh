#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# What nobody knows in a directory in doubt is a leftover and removed, however
# deep it goes. What has its place in limbo/ stays there, where it has another name
# in a leftover.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq
need python3

image a 200
image b 200
mkdir a/s b/s
sm init --name a,b "$work/a/s" "$work/b/s" >/dev/null
mount_volume "$work/a/s" "$work/b/s"
echo new >"$mnt/new"
sync "$mnt/new"
python3 - "$work/b/s" <<'PY'
import os, sys
os.chdir(sys.argv[1])
for i in range(20000):
    os.mkdir("deep")
    os.chdir("deep")
open("file", "w").close()
PY
kill_daemon
mount_volume "$work/a/s" "$work/b/s"
wait_until 120 volume_is healthy
unmount_volume
[[ ! -e b/s/deep ]] || fail "the leftover is there"
eq "in limbo" "$(ls b/s/.seqmirror/limbo)" ""
eq "in found" "$(ls b/s/.seqmirror/found)" ""
same_tree a/s b/s

mkdir n o
sm init --name n,o n o >/dev/null 2>&1
mount_volume n o
mkdir "$mnt/d"
declare -A ids=()
for i in {1..8}; do
	echo "$i" >"$mnt/d/$i"
	ids[$i]=$(stat -c %i "$mnt/d/$i")
done
detach o
rm "$mnt"/d/[1-4]
unmount_volume
mkdir o/.seqmirror/limbo/scrap-5
for i in "${!ids[@]}"; do
	ln "o/d/$i" "o/.seqmirror/limbo/scrap-5/$i"
	ln "o/d/$i" "o/.seqmirror/limbo/${ids[$i]}"
done
sm resync n o >/dev/null
eq "in limbo" "$(ls o/.seqmirror/limbo)" ""
eq "in found" "$(ls o/.seqmirror/found)" ""
same_tree n o
