#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A filesystem with blocks of 1 KiB writes a part of one of ours, and a store that
# is made from it gets the whole one. What a cut or a punch leaves of that, zeros
# on one and a hole on the other, is no difference to anybody afterwards.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq fallocate

image a 200 ext4 -b 1024
image b 200 ext4 -b 1024
mkdir "$work/a/s" "$work/b/s"
sm init --name a "$work/a/s" >/dev/null
mount_volume -o cache=writethrough "$work/a/s"
for name in cut punched cut2 punched2; do
	truncate -s 8192 "$mnt/$name"
	dd if=/dev/urandom of="$mnt/$name" bs=1 seek=1086 count=2000 \
		conv=notrunc status=none
done
sync -f "$mnt"
sm add --wait --name b "$mnt" "$work/b/s" >/dev/null 2>&1

for first in a b; do
	store_is b online || fail "b is $(store_state b)"
	suffix=
	if [[ $first == b ]]; then
		suffix=2
		unmount_volume
		mount_volume -o cache=writethrough "$work/b/s" "$work/a/s"
	fi
	eq "blocks of a" "$(stat -c %b "$work/a/s/cut$suffix")" 6
	eq "blocks of b" "$(stat -c %b "$work/b/s/cut$suffix")" 8
	truncate -s 1000 "$mnt/cut$suffix"
	fallocate -p -o 1024 -l 3072 "$mnt/punched$suffix"
	for name in cut punched; do
		for store in a b; do
			eq "blocks of $name$suffix on $store" \
				"$(stat -c %b "$work/$store/s/$name$suffix")" 0
		done
	done
	sync -f "$mnt"
	sm scrub --wait "$mnt" >out || fail "scrub: $(<out)"
done
unmount_volume
same_tree "$work/a/s" "$work/b/s"
for name in a b; do
	sm check "$work/$name/s" >out || fail "check of $name: $(<out)"
done
