#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The target's filesystem goes away in the middle of a resync: the volume
# works on, and the store is brought in step when it is back.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

image a 700
image b 700
sm init --name a,b "$work/a" "$work/b" >/dev/null
mount_volume -o resync_rate=40M,no_auto_attach "$work/a" "$work/b"
python3 "$lib_dir/scenario.py" fill "$mnt" --image-mib 128 \
	--mapped-mib 40 --files 500

moved()
{
	(($(status_of '.resync.bytes_done // 0') > $1))
}
for round in 1 2 3; do
	detach b
	python3 "$lib_dir/scenario.py" change "$mnt" --image-only \
		--seed "$round" >/dev/null
	dd if=/dev/urandom of="$mnt/more$round" bs=1M count=48 status=none
	sm attach "$mnt" b
	wait_until 20 moved $((RANDOM % 30 * 1000000))
	python3 "$lib_dir/scenario.py" shutdown "$work/b"
	echo "round $round" >"$mnt/round$round"
	out()
	{
		[[ $(store_state b) =~ ^(failed|missing|detached)$ ]]
	}
	wait_until 30 out
	eq "the volume goes on" "$(cat "$mnt/round$round")" "round $round"
	umount "$work/b" || fail "the dead filesystem is still held"
	image_mount b
	attach b
done
volume_is healthy || fail "the volume is $(status_of .state)"
unmount_volume
same_tree "$work/a" "$work/b"
