#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# What nobody knows in a directory in doubt is a leftover and removed, however
# deep it goes.
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
