#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# attach for a store that somebody is just attaching, or that is still being
# closed: what was asked for is done, or the reason is the true one.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

waits()
{
	(($(fault_waits b) > 0))
}

mkdir a
faulty b
sm init --name a,b a b >/dev/null
mount_volume -o read=prefer=b a b
echo file >"$mnt/file"

echo "-- the daemon is opening it by itself"
faults b hang open meta.db
faults b fail mkdir EIO
mkdir "$mnt/one"
wait_until 20 waits
rc=0
timeout 2 "$SEQMIRROR" attach "$mnt" b || rc=$?
eq "status of one that waits for that" "$rc" 124
faults b clear
sm attach "$mnt" b >/dev/null
wait_until 30 store_is b online
unmount_volume

echo "-- a read there has not ended"
mount_volume -o no_auto_attach,read=prefer=b a b
echo 3 >/proc/sys/vm/drop_caches
faults b hang read file
start_helper cat "$mnt/file"
wait_until 10 waits
faults b fail mkdir EIO
mkdir "$mnt/two"
wait_until 10 store_is b failed
refused "$SEQMIRROR" attach "$mnt" b
[[ $refusal == *"still being closed"* ]] || fail "$refusal"

# It ends while somebody waits for that.
sm attach "$mnt" b >/dev/null &
first=$!
faults b clear
wait "$first" || fail "refused although it was closed in time"
wait_until 30 store_is b online
wait "$helper_pid" || fail "the reader met an error"
unmount_volume
same_tree a b
