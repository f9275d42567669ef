#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The daemon is killed during a resync, at random points: the next mount goes
# on with it, copies no more than one batch twice for each kill, and it ends
# with equal stores.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

image a 1100
image b 1100
sm init --name a,b "$work/a" "$work/b" >/dev/null
mount_volume "$work/a" "$work/b"
python3 "$lib_dir/scenario.py" fill "$mnt" --image-mib 192 \
	--mapped-mib 96 --files 500
dd if=/dev/urandom of="$mnt/old" bs=1M count=160 status=none
detach b
python3 "$lib_dir/scenario.py" change "$mnt" >change.json
# Ranges of an old file, new small files, new large ones.
dd if=/dev/urandom of="$mnt/old" bs=1M count=150 conv=notrunc status=none
for i in {1..8}; do
	dd if=/dev/urandom of="$mnt/new$i" bs=1M count=16 status=none
done
dd if=/dev/urandom of="$mnt/large" bs=1M count=160 status=none
cp -r /etc/default "$mnt/etc"
unmount_volume
# The new names' own blocks, and of the directories, come on top.
delta=$(($(jq .blocks_bytes change.json) + ((150 + 128 + 160) << 20) + (1 << 20)))
batch=$(batch_bytes)

seed=${SEED:-$((RANDOM << 15 | RANDOM))}
echo "SEED=$seed"
RANDOM=$seed
sum=0
cuts=0
for _ in 1 2 3 4 5; do
	mount_volume -o no_auto_attach "$work/a"
	# What was cut goes on with the mount: all that this daemon writes counts.
	goal=$((RANDOM % 60 * (2 << 20) + (40 << 20)))
	sm attach "$mnt" "$work/b" >/dev/null 2>&1 || :
	written()
	{
		store_is b online || (($(written_by "$daemon_pid") > goal))
	}
	poll_until 60 written || fail "the resync stands still"
	kill -STOP "$daemon_pid"
	sum=$((sum + $(written_by "$daemon_pid")))
	cuts=$((cuts + 1))
	kill_daemon
done
mount_volume -o no_auto_attach "$work/a"
sm attach "$mnt" "$work/b" >/dev/null 2>&1 || :
wait_until 90 store_is b online
sum=$((sum + $(written_by "$daemon_pid")))
unmount_volume
echo "$delta bytes changed, $sum written in $cuts attempts that were" \
	"killed and the last"
# The maps and the kernel's answers are written, too.
((sum <= delta + cuts * batch + (cuts + 1) * (6 << 20))) ||
	fail "more than a batch was copied twice for a kill"
((sum >= delta - (4 << 20))) || fail "fewer bytes than the delta has"
same_tree "$work/a" "$work/b"
