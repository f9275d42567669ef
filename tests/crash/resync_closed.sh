#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A resync is killed when its lap is closed and the store not yet in step: it has
# what its source had, and follows another store that has that as well, though the
# source had an epoch of its own, in which it did nothing.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq
grep -q SEQMIRROR_FAULT "$SEQMIRROR" || skip "no fault points in this build"

# closed POINT: c has what a had; b has it too, and a is gone.
closed()
{
	local rc=0

	rm -rf a b c gone away
	mkdir a b c
	sm init --name a,b,c a b c >/dev/null 2>&1
	mount_volume a b c
	echo one >"$mnt/first"
	sync -f "$mnt"
	detach c
	echo two >"$mnt/second"
	sync -f "$mnt"
	detach b
	unmount_volume
	mv b away
	SEQMIRROR_FAULT=$1:kill:1 "$SEQMIRROR" resync a c || rc=$?
	eq "status of a resync killed at $1" "$rc" 137
	mv a gone
	mv away b
}

closed resync.close.after
eq relation "$(sm diff --json b c | jq -r .relation)" doubt
sm resync b c >/dev/null
same_tree b c
eq contents "$(cat c/first c/second)" $'one\ntwo'

# So it is where the other one went on.
closed resync.close.after
mount_volume -o degraded b
echo three >"$mnt/third"
unmount_volume
mount_volume b c
wait_until 60 store_is c online
unmount_volume
same_tree b c

# Not before it was closed: then it is a mixture.
closed resync.close.before
refused "$SEQMIRROR" resync b c
grep -q mixture <<<"$refusal" || fail "said: $refusal"
