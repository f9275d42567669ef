#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Stores on three kinds of filesystems, and applications that make, move, link,
# cut, grow and preallocate: each filesystem lays files out in its own way, and
# no scrub takes that for a difference.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq setfattr

scrub()
{
	local rc=0

	timeout 120 "$SEQMIRROR" scrub --wait --json "$mnt" >scrub.json \
		2>scrub.err || rc=$?
	((rc == 0)) || fail "found: $(jq -c '.findings[]' scrub.json)"
	jq -c '[.nodes, .bytes, .busy]' scrub.json
}

# Some of it fails, as it would anywhere.
names()
{
	local dir i file

	trap - ERR
	set +eE
	for ((i = 1; ; i++)); do
		dir=$mnt/names/d$((i % 5))
		file=$mnt/names/g$((i % 4))
		mkdir -p "$dir"
		echo "$i" >"$mnt/names/f$((i % 7))"
		ln -f "$mnt/names/f$((i % 7))" "$dir/l$((i % 3))"
		mv "$mnt/names/f$((i % 7))" "$file"
		setfattr -n user.x -v "$i" "$file"
		chmod $((600 + i % 8)) "$file"
		((i % 9)) || rm -rf "$dir"
		printf x | dd of="$mnt/names/s$((i % 3))" bs=1 conv=notrunc \
			seek=$((i * 70000 % 3000000)) status=none
		truncate -s $((i * 12345 % 2000000)) "$mnt/names/s$((i % 3))"
		: >>"$mnt/names/p$((i % 2))"
		fallocate -n -o $((i * 8192 % 1000000)) -l 300000 \
			"$mnt/names/p$((i % 2))"
		fallocate -p -o $((i * 5000 % 1000000)) -l 60000 \
			"$mnt/names/s$(((i + 1) % 3))"
	done
} 2>/dev/null

image a 400 xfs
image b 400 btrfs
image c 300 ext4
sm init --name a,b,c "$work/a" "$work/b" "$work/c" >/dev/null
mount_volume "$work/a" "$work/b" "$work/c"
mkdir "$mnt/busy" "$mnt/names"
start_helper python3 "$lib_dir/writer.py" "$mnt/busy" "$work/stop" \
	--ready "$work/ready" --pause-ms 0.2 >writer.json
writer=$helper_pid
start_helper names
wait_until 30 test -e ready
for _ in 1 2 3 4 5 6; do
	scrub
done
kill "$helper_pid"
wait "$helper_pid" || :
touch stop
wait "$writer" || fail "the writer: $(cat writer.json)"
cat writer.json

echo "-- and after a resync"
detach c
cp -r /etc/default "$mnt/after"
attach c
scrub
unmount_volume
for other in b c; do
	diff -r --no-dereference -x .seqmirror a "$other" ||
		fail "contents differ"
done
