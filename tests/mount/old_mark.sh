#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The mark beside a map can be neither written nor removed: an old one stays, which
# asks for what was there then. The map is not called lost for that afterwards.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

faulty a
mkdir b
sm init --name a,b "$work/a" "$work/b" >/dev/null

# strike CALLS: those fail for the mark of store a, and did when it ends.
strike()
{
	faults a fail "$1" EIO meta.mark
}
struck()
{
	(($(fault_hits a) >= 2)) || fail "$1: nothing was asked of the mark"
	faults a clear
	grep -q 'nor can the old one be removed' "$daemon_log" ||
		fail "$1: nothing is said"
	: >"$daemon_log"
}

# While the volume is in use, as the last store and beside another one.
for rest in "" b; do
	mount_volume "$work/a" "$work/b"
	echo "before ${rest:-alone}" >"$mnt/file"
	sync -f "$mnt"
	[[ $rest ]] || detach b
	strike write,unlink
	echo "in use ${rest:-alone}" >"$mnt/file"
	sync "$mnt/file"
	unmount_volume
	struck "in use"
	[[ -e a.below/.seqmirror/meta.mark ]] || fail "the mark is gone"
	mount_volume "$work/a" "$work/b"
	eq "file" "$(cat "$mnt/file")" "in use ${rest:-alone}"
	[[ $rest ]] || attach b
	wait_until 20 store_is a online
	unmount_volume
	same_tree a.below b
	sm check "$work/a" >check.log || fail "check: $(cat check.log)"
	[[ ! -e a.below/.seqmirror/meta.db-wal ]] || fail "the log stays for good"
done

# From the mount on: that store cannot be written, which the first change finds out,
# and is not lost.
strike write,unlink
mount_volume "$work/a" "$work/b"
grep -q "store a cannot note that it is mounted" "$daemon_log" ||
	fail "nothing is said at the mount"
echo "without a" >"$mnt/file"
sync "$mnt/file"
wait_until 20 store_is a failed
unmount_volume
struck "first change"
mount_volume "$work/a" "$work/b"
eq "file" "$(cat "$mnt/file")" "without a"
wait_until 20 store_is a online
unmount_volume
same_tree a.below b
sm check "$work/a" >check.log || fail "check: $(cat check.log)"
