#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# With fewer stores online than min_stores nothing is acknowledged: at mount,
# when a store leaves, and for what is under way then. It ends when a store
# returns. Two of three may go on without the third, and when that one comes
# back with what it had not acknowledged, nobody speaks of a split brain.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

# erofs COMMAND...: it fails, and for this reason.
erofs()
{
	"$@" 2>erofs.err && fail "done: $*"
	grep -q 'Read-only file system' erofs.err || fail "$*: $(<erofs.err)"
}

read_only()
{
	[[ $(status_of .read_only) == "$1" ]]
}

mkdir a
faulty b
faulty c
sm init --name a,b,c "$work/a" "$work/b" "$work/c" >/dev/null
mount_volume -o min_stores=2,no_auto_attach,prefer=a "$work/a" "$work/b" "$work/c"
echo one >"$mnt/one"
read_only false || fail "read-only with three"

# Three, two.
faults c fail modify EIO
echo two >"$mnt/two"
sync "$mnt/two"
wait_until 10 store_is c failed
read_only false || fail "read-only with two"

# One: what is under way has been done on a alone, and is not acknowledged.
faults b fail modify EIO
erofs mkdir "$mnt/lone"
wait_until 10 store_is b failed
erofs touch "$mnt/more"
erofs rm "$mnt/one"
erofs chmod 600 "$mnt/one"
eq "reading" "$(cat "$mnt/one" "$mnt/two")" "$(printf 'one\ntwo')"
read_only true || fail "status does not say read-only"
sm status "$mnt" | grep -q 'read-only: 1 of min_stores=2' || fail "nor in words"

# It comes back with a store.
faults b clear
attach b
read_only false || fail "still read-only"
echo three >"$mnt/three"
sync "$mnt/three"

# Once more, and a is left with what nobody else has.
faults b fail modify EIO
erofs mkdir "$mnt/lonely"
wait_until 10 store_is b failed
faults b clear
faults c clear
kill_daemon

# The majority goes on without it.
mv a away
mount_volume -o min_stores=2,degraded "$work/b" "$work/c"
wait_until 60 store_is c online
echo four >"$mnt/four"
unmount_volume

# With fewer it is read-only, not refused.
umount "$work/c"
mount_volume -o min_stores=2 "$work/b"
erofs touch "$mnt/alone"
eq "four" "$(<"$mnt/four")" four
unmount_volume
faulty c

# And a is stale, no more.
mv away a
mount_volume -o min_stores=2 "$work/a" "$work/b" "$work/c"
wait_until 60 volume_is healthy
eq "four" "$(<"$mnt/four")" four
unmount_volume
same_tree "$work/a" "$work/b"
same_tree "$work/a" "$work/c"

# A repair puts the wrong store out for a moment: not where that is one too few.
mkdir d e
sm init --name d,e "$work/d" "$work/e" >/dev/null
mount_volume "$work/d" "$work/e"
echo right >"$mnt/file"
unmount_volume
touch -r e/file stamp
printf 'wrong' | dd of=e/file conv=notrunc status=none
touch -r stamp e/file
mount_volume -o min_stores=2 "$work/d" "$work/e"
rc=0
sm scrub --repair --prefer d --wait "$mnt" >scrub.out 2>&1 || rc=$?
eq "status of a scrub that may not repair" "$rc" 1
grep -q 'not repaired: .*min_stores.*mount without' scrub.out ||
	fail "$(<scrub.out)"
volume_is healthy || fail "a store is out"
echo more >"$mnt/more" || fail "it is read-only"
eq "what differs" "$(<e/file)" wrong
unmount_volume
mount_volume "$work/d" "$work/e"
sm scrub --repair --prefer d --wait "$mnt" >scrub.out || fail "$(<scrub.out)"
unmount_volume
eq "repaired" "$(<e/file)" right
same_tree "$work/d" "$work/e"
