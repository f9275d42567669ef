#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The daemon is killed during a resync, at random points: the next mount goes
# on with it, and it ends with equal stores.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

image a 600
image b 600
sm init --name a,b "$work/a" "$work/b" >/dev/null
mount_volume "$work/a" "$work/b"
python3 "$lib_dir/scenario.py" fill "$mnt" --image-mib 128 \
	--mapped-mib 40 --files 500
detach b
python3 "$lib_dir/scenario.py" change "$mnt" >/dev/null
dd if=/dev/urandom of="$mnt/more" bs=1M count=96 status=none
cp -r /etc/default "$mnt/etc"
unmount_volume

# As long as the rate is low, a kill falls into the middle of it.
for _ in 1 2 3 4 5 6; do
	mount_volume -o resync_rate=20M,no_auto_attach "$work/a"
	sm attach "$mnt" "$work/b" >/dev/null 2>&1 || :
	begun=$(status_of '.resync.bytes_done // 0')
	moved()
	{
		store_is b online ||
			(($(status_of '.resync.bytes_done // 0') > begun + $1))
	}
	poll_until 5 moved $((RANDOM % 8 * 1000000)) || :
	kill_daemon
done
mount_volume "$work/a" "$work/b"
wait_until 90 store_is b online
unmount_volume
same_tree "$work/a" "$work/b"
