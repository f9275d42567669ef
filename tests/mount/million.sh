#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A million files: mounting reads no tree and takes no longer than with ten
# files, nor does the daemon need more memory for it; a renamed directory of
# 100,000 files is one rename, and a resync takes time for what changed only.
# Too long for every day: scripts/soak --million runs it.
#
#	FILES	how many (default 1000000)
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

files=${FILES:-1000000}
for name in a b; do
	# An inode for each file, and for the directories.
	image "$name" $((files / 150 + 600)) ext4 -N $((files + files / 50 + 5000))
done
image c 100
image d 100

# timed COMMAND...: in this shell; leaves the milliseconds in $took.
timed()
{
	local begun=$EPOCHREALTIME

	"$@"
	took=$(awk -v a="$begun" -v b="$EPOCHREALTIME" \
		'BEGIN { printf "%d", (b - a) * 1000 }')
}

# at_most WHAT NUMBER LIMIT UNIT
at_most()
{
	(($2 <= $3)) || fail "$1: $2 $4, at most $3"
}

# The fastest of five mounts, in $took, and in $memory the most memory (KiB)
# that the daemon ever had meanwhile; nothing is cached at the last one.
mounting()
{
	local best=

	for _ in 1 2 3 4 5; do
		echo 3 >/proc/sys/vm/drop_caches
		timed mount_volume "$@"
		if [[ -z $best ]] || ((took < best)); then
			best=$took
		fi
		memory=$(awk '/VmHWM/ { print $2 }' "/proc/$daemon_pid/status")
		unmount_volume
	done
	took=$best
}

for i in {1..10}; do
	echo "$i" >"$work/c/file$i"
done
sm init --name c,d "$work/c" "$work/d" >/dev/null
mount_volume "$work/c" "$work/d"
wait_until 60 store_is d online
unmount_volume
mounting "$work/c" "$work/d"
few_took=$took
few_memory=$memory
echo "ten files: mounting takes $took ms, the daemon $memory KiB"

python3 - "$work/a" "$files" <<'END'
import os
import sys
root, count = sys.argv[1], int(sys.argv[2])
for i in range(10):
    for j in range(100):
        folder = f"{root}/t{i}/d{j}"
        os.makedirs(folder)
        for k in range(count // 1000):
            os.mknod(f"{folder}/file{k}")
END
timed sm init --name a,b "$work/a" "$work/b" >/dev/null
echo "adopting $files files takes $took ms"
mount_volume "$work/a" "$work/b"
built()
{
	poll_until 3000 store_is b online || fail "b is not built in 3000 s"
}
timed built
memory=$(awk '/VmHWM/ { print $2 }' "/proc/$daemon_pid/status")
echo "building the second store takes $took ms, the daemon $memory KiB"
unmount_volume

mounting "$work/a" "$work/b"
echo "$files files: mounting takes $took ms, the daemon $memory KiB"
# As long as with ten; what a busy machine adds is no matter of files.
at_most "mounting $files files" "$took" $((few_took * 2 + 200)) ms
at_most "memory after mounting" "$memory" $((few_memory + 4096)) KiB

mount_volume "$work/a" "$work/b"
detach b
mv "$mnt/t3" "$mnt/t4/moved"
echo one >"$mnt/t5/new"
timed sm resync --wait --json "$mnt" b >result.json
cat result.json
echo "the resync takes $took ms"
at_most "the resync of three changes" "$took" 5000 ms
eq "entries created" "$(jq .entries_created result.json)" 1
unmount_volume
same_tree "$work/a" "$work/b"
