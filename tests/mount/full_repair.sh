#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# What is done to a store's map has the room of its ballast, where others have filled
# the disk: a resync between unmounted stores from a full one, a scrub that repairs
# a full one, check --repair there.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

# fill NAME: by other people's files, to the last byte; the ballast is there.
fill()
{
	local ballast=$1/store/.seqmirror/ballast

	(($(stat -c %b "$ballast") >= 8192)) || fail "no ballast on $1"
	dd if=/dev/zero of="$1/large" bs=64k status=none 2>/dev/null || :
	dd if=/dev/zero of="$1/small" bs=1k status=none 2>/dev/null || :
	(($(stat -f -c %a "$1") == 0)) || fail "$1 is not full"
}

free()
{
	rm "$1/large" "$1/small"
	sync -f "$1"
}

# edit N: file N of b is changed behind the volume's back, in the room that it has.
edit()
{
	printf zz | dd of="b/store/$1" bs=1 seek=5000 conv=notrunc status=none
}

image a 100
image b 100
mkdir a/store b/store
sm init --name a,b a/store b/store >/dev/null
mount_volume a/store b/store
for n in {1..30}; do
	head -c 100000 /dev/urandom >"$mnt/$n"
done
detach b
rm "$mnt/1"
echo new >"$mnt/2"
unmount_volume

echo "-- resync from a full store"
fill a
sm resync a/store b/store >/dev/null || fail "no resync from a full store"
same_tree a/store b/store
free a

echo "-- scrub --repair of a full store"
mount_volume a/store b/store
edit 3
fill b
sm scrub --repair --prefer a --wait "$mnt" >scrubbed ||
	fail "not repaired: $(cat scrubbed)"
wait_until 30 volume_is healthy
free b
unmount_volume
same_tree a/store b/store

echo "-- check --repair of a full store"
mount_volume a/store b/store
unmount_volume
edit 5
rm b/store/6
fill b
sm check --repair b/store >checked || fail "not repaired: $(cat checked)"
free b
mount_volume a/store b/store
wait_until 30 volume_is healthy
unmount_volume
same_tree a/store b/store
[[ ! -e a/store/6 ]] || fail "the repair is not taken over"
