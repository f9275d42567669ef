#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A store on xfs whose files share blocks with a copy (cp --reflink, as a
# snapshot of a store would). What is written beside a shared block is hidden
# from FIEMAP until it is on the disk: the map must know it all the same, or
# the next resync would leave it out.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need_fs xfs

image x 400 xfs
image e 400
mkdir x/s e/s
sm init --name x,e "$work/x/s" "$work/e/s" >/dev/null
mount_volume "$work/x/s" "$work/e/s"
for i in {1..8}; do
	head -c 8192 /dev/urandom >"$mnt/f$i"
	truncate -s 200000 "$mnt/f$i"
done
unmount_volume
cp -a --reflink=always x/s x/copy || skip "this xfs shares no blocks"
mount_volume "$work/x/s" "$work/e/s"
detach e
for i in {1..8}; do
	head -c 4096 /dev/urandom |
		dd of="$mnt/f$i" conv=notrunc status=none
	head -c 4096 /dev/urandom |
		dd of="$mnt/f$i" bs=4096 seek=20 oflag=direct conv=notrunc \
			status=none
	# The end lies in the block that is not on the disk as yet.
	truncate -s 82849 "$mnt/f$i"
done
attach e
unmount_volume
for i in {1..8}; do
	cmp "x/s/f$i" "e/s/f$i" || fail "f$i was not copied whole"
done
sm check "$work/x/s" || fail "the map of x"
same_tree "$work/x/s" "$work/e/s"
