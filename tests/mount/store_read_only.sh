#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The filesystem below a store turns read-only: that store is put out, whatever
# the call that finds it, and comes back when it can be written again. The last
# store never is put out: there the error is the application's.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

# What ext4 does to itself (errors=remount-ro) when it finds damage. `mount -o
# remount,ro` is refused by the kernel while files are open for writing.
turn_read_only()
{
	local loop trigger

	mount -o remount,errors=remount-ro "$work/$1"
	loop=$(findmnt -n -o SOURCE "$work/$1")
	trigger=/sys/fs/ext4/${loop#/dev/}/trigger_fs_error
	[[ -w $trigger ]] || skip "no $trigger"
	echo "a test" >"$trigger"
}

image a 200
image b 200
sm init --name a,b "$work/a" "$work/b" >/dev/null
mount_volume -o prefer=b "$work/a" "$work/b"
echo one >"$mnt/one"
sync "$mnt/one"
turn_read_only b
echo two >"$mnt/two" || fail "the application saw it: create"
wait_until 20 store_is b failed
echo more >>"$mnt/one" || fail "the application saw it: write"
sync "$mnt/one" || fail "the application saw it: fsync"
eq "reading" "$(cat "$mnt/one" "$mnt/two")" "$(printf 'one\nmore\ntwo')"
sm status "$mnt" | grep -Ei 'why: .*(read-only|input/output|map)' >/dev/null ||
	fail "status does not say why"

# Looked after, it is taken back.
image_umount b || fail "still held"
e2fsck -fy "$work/b.img" >/dev/null 2>&1 || :
image_mount b
wait_until 60 store_is b online
unmount_volume
same_tree "$work/a" "$work/b"

# It is read-only before the volume is mounted: as when it is away.
mount -o remount,ro "$work/b"
mount_volume "$work/a" "$work/b"
store_is b missing || fail "b is $(store_state b)"
grep -q "cannot open store $work/b: Read-only.*going on without it" \
	"$daemon_log" || fail "the log does not say why"
echo alone >"$mnt/alone"
mount -o remount,rw "$work/b"
wait_until 60 store_is b online
unmount_volume
same_tree "$work/a" "$work/b"
# It lies elsewhere, besides: it still says who it is.
mkdir "$work/elsewhere" "$work/other"
umount "$work/b"
mount -o loop,noatime "$work/b.img" "$work/elsewhere"
mount -o remount,ro "$work/elsewhere"
mount_volume "$work/a" "$work/elsewhere"
store_is b missing || fail "b is $(store_state b)"
grep -q "cannot open store $work/elsewhere: Read-only.*going on without it" \
	"$daemon_log" || fail "the log does not say why"
echo alone >"$mnt/alone2"
mount -o remount,rw "$work/elsewhere"
sm attach --wait "$mnt" "$work/elsewhere" >/dev/null
unmount_volume
same_tree "$work/a" "$work/elsewhere"

# And one that was removed.
mount_volume "$work/a" "$work/elsewhere"
sm add --wait --name c "$mnt" "$work/other" >/dev/null 2>&1
sm remove "$mnt" c >/dev/null
unmount_volume
mkdir "$work/ro"
mount --bind "$work/other" "$work/ro"
mount -o remount,bind,ro "$work/ro"
refused "$SEQMIRROR" mount "$work/a" "$work/ro" "$mnt"
[[ $refusal == *"Read-only"*"no member of this volume"* ]] || fail "$refusal"
umount "$work/ro" "$work/elsewhere"
mount -o loop,noatime "$work/b.img" "$work/b"
mount_volume "$work/a" "$work/b"
wait_until 60 volume_is healthy
unmount_volume

mount -o remount,ro "$work/a"
mount -o remount,ro "$work/b"
refused "$SEQMIRROR" mount "$work/a" "$work/b" "$mnt"
[[ $refusal == *"Read-only file system"* ]] || fail "mount says: $refusal"
mount -o remount,rw "$work/a"
mount -o remount,rw "$work/b"

# A file that is open, and nothing but writes to it.
mount_volume -o prefer=b,cache=writethrough "$work/a" "$work/b"
exec 3<>"$mnt/one"
echo x >&3
turn_read_only b
for i in 1 2 3; do
	echo "$i" >&3 || fail "the application saw it: write $i"
done
wait_until 20 store_is b failed
exec 3>&-

# The last one.
turn_read_only a
(echo three >"$mnt/three") 2>err && fail "created on a read-only store"
grep -Eq 'Read-only|Input/output' err || fail "$(<err)"
store_is a online || fail "the last store was put out"
eq "reading the last" "$(cat "$mnt/two")" two
sm unmount "$mnt" || :
wait_until 60 not_mounted "$mnt"
wait_until 60 is_dead "$daemon_pid"
wait "$daemon_pid" && fail "the last checkpoint cannot have succeeded"
daemon_pid=
