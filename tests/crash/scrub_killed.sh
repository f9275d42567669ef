#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The daemon dies in the middle of a repair, at each of its steps: the right
# side is never lost, and the next scrub finishes. Needs -Dfault_injection=true.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

grep -q SEQMIRROR_FAULT "$SEQMIRROR" || skip "no fault points in this build"

image a 200
image b 200
sm init --name a,b "$work/a" "$work/b" >/dev/null
mount_volume "$work/a" "$work/b"
head -c 3000000 /dev/urandom >"$mnt/file"
echo name >"$mnt/name"
unmount_volume
cp a/file file

for point in mirror.scrub.out mirror.scrub.marked mirror.record.after:kill:2 \
	mirror.ckpt.commit:kill:2; do
	echo "-- $point"
	[[ $point == *:* ]] || point+=:kill:1
	touch -r b/file stamp
	printf 'rotten' | dd of=b/file bs=1 seek=777777 conv=notrunc status=none
	touch -r stamp b/file
	rm b/name
	export SEQMIRROR_FAULT=$point
	start_mount "$work/a" "$work/b"
	unset SEQMIRROR_FAULT
	poll_until 60 mount_settled || fail "mount hangs"
	timeout 60 "$SEQMIRROR" scrub --repair --prefer a --wait "$mnt" \
		>scrub.log 2>&1 || :
	kill_daemon
	cmp a/file file || fail "$point: the right side is lost"
	mount_volume "$work/a" "$work/b"
	wait_until 60 volume_is healthy
	cmp a/file file || fail "$point: the right side is lost"
	sm scrub --repair --prefer a --wait "$mnt" >scrub.log 2>&1 ||
		fail "$point: $(cat scrub.log)"
	wait_until 20 volume_is healthy
	unmount_volume
	cmp b/file file || fail "$point: not repaired"
	same_tree a b
done
