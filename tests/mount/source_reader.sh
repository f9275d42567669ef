#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A resync whose source cannot read its own map for a moment begins again, and is
# not the end of the store that comes back.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq
grep -q SEQMIRROR_FAULT "$SEQMIRROR" || skip "a build without faults"

mkdir a b c
sm init --name a,b,c a b c >/dev/null 2>&1
for members in "a b" "a b c"; do
	# shellcheck disable=SC2086 # names
	SEQMIRROR_FAULT=resync.reader:eio:1 mount_volume $members
	wait_until 10 store_is b online
	detach b
	echo "$members" >"$mnt/file"
	sm attach --wait "$mnt" b >/dev/null 2>attach.log ||
		fail "attach: $(cat attach.log)"
	store_is b online || fail "$(sm status "$mnt")"
	grep -q 'the resync begins again' "$daemon_log" ||
		fail "nothing failed"
	: >"$daemon_log"
	unmount_volume
	eq "file" "$(cat b/file)" "$members"
done
