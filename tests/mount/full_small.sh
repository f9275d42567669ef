#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Small stores that somebody writes to without ever asking whether it arrives:
# what the maps need stays free, nobody is put out, and deleting helps.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq timeout

image a 100 ext4 -b 1024
image b 100 ext4
sm init --name a,b "$work/a" "$work/b" >/dev/null
mount_volume -o checkpoint=1 "$work/a" "$work/b"
# The kernel takes more than there is room for, and tells later. What is too
# little for a megabyte may be enough for a page; and what was kept for pages on
# their way may come back when they have arrived.
fill()
{
	local size

	for size in 1M 4k; do
		timeout 20 dd if=/dev/zero of="$mnt/big.$1.$size" bs=$size \
			status=none 2>/dev/null || :
	done
}
for round in {1..10}; do
	fill "$round"
	dd if=/dev/zero of="$mnt/more" bs=1M count=1 conv=fsync 2>/dev/null ||
		break
done
((round < 10)) || fail "it does not get full"
volume_is healthy || fail "the volume is $(status_of .state)"
# What is left for the maps: free, or in the ballast that they may give up.
kept()
{
	local store

	for store in a b; do
		(($(stat -f -c '%a * %S' "$work/$store") + 1024 * \
			$(du -k "$work/$store/.seqmirror/ballast" | cut -f 1) \
			>= 2 << 20)) || return 1
	done
}
wait_until 10 kept
rm -f "$mnt/big."* "$mnt/more"
works()
{
	echo again >"$mnt/again" && sync "$mnt/again"
}
wait_until 20 works 2>/dev/null
volume_is healthy || fail "the volume is $(status_of .state)"
unmount_volume
same_tree "$work/a" "$work/b"
