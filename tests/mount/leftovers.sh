#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# What nobody knows in a directory in doubt: what was made since the last
# checkpoint is taken for a leftover and removed, however deep; what somebody has
# had there before goes to found/.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq
need python3

all_durable()
{
	[[ $(status_of '.seq as $s | all(.stores[]; .durable_seq == $s)') == true ]]
}

image a 200
image b 200
mkdir a/s b/s
sm init --name a,b "$work/a/s" "$work/b/s" >/dev/null
SEQMIRROR_FAULT=mirror.write:eio:6 mount_volume "$work/a/s" "$work/b/s"
echo x >"$mnt/x"
mkdir b/mine
echo precious >b/mine/file
mv b/mine b/s/mine # born before what is durable
mine=$(stat -c %W b/s/mine)
born_before()
{
	rm -f b/now
	touch b/now
	(($(stat -c %W b/now) > mine + 4))
}
wait_until 30 born_before
echo y >"$mnt/y"
sync "$mnt/y"
wait_until 30 all_durable
failed_once()
{
	echo z >"$mnt/$EPOCHREALTIME" # its directory is in doubt
	sync -f "$mnt"
	grep -q 'store b is out: write' "$daemon_log"
}
wait_until 30 failed_once
wait_until 60 volume_is healthy
eq "what somebody had" "$(cat b/s/.seqmirror/found/*mine/file)" precious

# A chain that is deeper than any stack, and a crash.
wait_until 30 all_durable
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
eq "in found" "$(ls b/s/.seqmirror/found | wc -l)" 1
rm -r b/s/.seqmirror/found/*mine
same_tree a/s b/s
