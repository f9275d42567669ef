#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The target's filesystem goes away in the middle of a resync, and what was
# not synced there is lost: the volume works on, and the store is brought in
# step when it is back, with no more than one batch copied twice.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

image a 1000
image b 1000
sm init --name a,b "$work/a" "$work/b" >/dev/null
mount_volume -o resync_rate=400M,no_auto_attach "$work/a" "$work/b"
python3 "$lib_dir/scenario.py" fill "$mnt" --image-mib 128 \
	--mapped-mib 40 --files 500
batch=$(batch_bytes)

seed=${SEED:-$((RANDOM << 15 | RANDOM))}
echo "SEED=$seed"
RANDOM=$seed
for round in 1 2 3; do
	detach b
	python3 "$lib_dir/scenario.py" change "$mnt" --image-only \
		--seed "$round" >change.json
	# A large file, changed or new, and such as are copied together.
	dd if=/dev/urandom of="$mnt/more" bs=1M count=100 conv=notrunc \
		status=none
	for i in {1..8}; do
		dd if=/dev/urandom of="$mnt/new$round.$i" bs=1M count=12 \
			status=none
	done
	sync -f "$mnt"
	delta=$(($(jq .blocks_bytes change.json) + (196 << 20)))
	begun=$(written_by "$daemon_pid")
	goal=$((begun + RANDOM % 80 * (2 << 20) + (20 << 20)))
	sm attach "$mnt" b
	written()
	{
		(($(written_by "$daemon_pid") > goal))
	}
	wait_until 20 written
	python3 "$lib_dir/scenario.py" shutdown "$work/b"
	echo "round $round" >"$mnt/round$round"
	out()
	{
		[[ $(store_state b) =~ ^(failed|missing|detached)$ ]]
	}
	wait_until 30 out
	eq "the volume goes on" "$(cat "$mnt/round$round")" "round $round"
	image_power b
	attach b
	sum=$(($(written_by "$daemon_pid") - begun))
	echo "$delta bytes changed, $sum written, with one cut"
	((sum <= delta + batch + (12 << 20))) ||
		fail "more than a batch was copied twice"
	((sum >= delta - (4 << 20))) || fail "fewer bytes than the delta has"
done
volume_is healthy || fail "the volume is $(status_of .state)"
unmount_volume
same_tree "$work/a" "$work/b"
