#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The daemon dies at its fault points in turn, under load, with a store leaving
# and coming back: what was fsynced is there after the next mount, and the stores
# are equal. Needs -Dfault_injection=true. (unit/mirror_crash dies at each of the
# mirror's.)
#
#	ROUNDS	how often each point; without it half of them once, at random
#	POINTS	only these
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

grep -q SEQMIRROR_FAULT "$SEQMIRROR" || skip "no fault points in this build"
source_dir=$lib_dir/../..
mapfile -t points < <(grep -rhoE 'FAULT_POINT\("[^"]+' \
	"$source_dir"/{meta,fs,resync} --include='*.c' | cut -d '"' -f 2 |
	sort -u)
if [[ -n ${POINTS:-} ]]; then
	read -ra points <<<"$POINTS"
elif [[ -z ${ROUNDS:-} ]]; then
	mapfile -t points < <(shuf -n $(((${#points[@]} + 1) / 2)) -e "${points[@]}")
	echo "POINTS='${points[*]}'"
fi

# What the daemon is kept busy with; all of it may fail from some moment on.
# A process of its own, in a directory that only the mount has.
exercise()
{
	"$SEQMIRROR" detach "$mnt" b
	cd "$mnt/top"
	mkdir "dir$1"
	dd if=/dev/urandom of="dir$1/data" bs=64K count=20
	cp -r /etc/default "dir$1/etc"
	mv "dir$1" "moved$1"
	setfattr -n user.a -v b "moved$1/data"
	truncate -s 100K "moved$1/data"
	fallocate -p -o 8K -l 16K "moved$1/data"
	timeout 10 "$SEQMIRROR" attach --wait "$mnt" b
	rm -r "moved$(($1 - 3))"
	sync -f .
} >/dev/null 2>&1

image a 300
image b 300
sm init --name a,b "$work/a" "$work/b" >/dev/null
mount_volume "$work/a" "$work/b"
# Below it, so that nothing is done where no mount is any more.
mkdir "$mnt/top"
unmount_volume

serial=0
reached=0
for ((round = 0; round < ${ROUNDS:-1}; round++)); do
	for point in "${points[@]}"; do
		serial=$((serial + 1))
		export SEQMIRROR_FAULT=$point:kill:$((1 + RANDOM % 4))
		start_mount "$work/a" "$work/b"
		unset SEQMIRROR_FAULT
		poll_until 60 mount_settled || fail "$point: mount hangs"
		start_helper python3 "$lib_dir/writer.py" "$mnt/top/busy" - \
			--endless --seed "$serial" --pause-ms 0.5 \
			--first $((serial * 1000000)) --log log
		start_helper exercise "$serial"
		exercise_pid=$helper_pid
		# The checkpoint timer alone needs five seconds.
		poll_until 2 is_dead "$daemon_pid" && reached=$((reached + 1))
		kill_daemon
		wait "$exercise_pid" || :
		for pid in "${helpers[@]}"; do
			kill -KILL "$pid" 2>/dev/null || :
			wait "$pid" 2>/dev/null || :
		done
		helpers=()

		mount_volume "$work/a" "$work/b"
		wait_until 60 store_is b online
		wait_until 20 volume_is healthy
		if [[ -e log && -d $mnt/top/busy ]]; then
			python3 "$lib_dir/writer.py" --check log \
				"$mnt/top/busy" >verdict ||
				fail "$point: $(cat verdict)"
		fi
		unmount_volume
		same_tree "$work/a" "$work/b"
	done
done
echo "$reached of ${#points[@]} points were reached"
