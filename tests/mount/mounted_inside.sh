#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Another filesystem is mounted inside of a store: it is none of the volume's,
# and nothing in it is touched when the directory it lies in is in doubt, on the
# source and on the target; one that hides something of the volume is named.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need btrfs

image a 300 btrfs
image b 300 btrfs
image other 20
mkdir a/s b/s near
for place in other near; do
	mkdir "$place/dir"
	echo precious | tee "$place/file" >"$place/dir/file"
done
sm init --name a,b "$work/a/s" "$work/b/s" >/dev/null

# Below it another device, a directory of the same one, and a subvolume.
place_all()
{
	local store

	for store in a b; do
		mkdir -p $store/s/{device,near}
		mount --bind other "$store/s/device"
		mount --bind near "$store/s/near"
		btrfs subvolume create "$store/s/subvolume" >/dev/null
		echo precious >"$store/s/subvolume/file"
	done
}

untouched()
{
	local path

	for path in {other,near}/{file,dir/file} {a,b}/s/subvolume/file; do
		eq "$path" "$(cat "$path")" precious
	done
}

# A crash puts the directory in doubt on both.
mount_volume "$work/a/s" "$work/b/s"
mkdir "$mnt/d"
echo old >"$mnt/d/file"
sync -f "$mnt"
place_all
echo new >"$mnt/file"
kill_daemon
mount_volume "$work/a/s" "$work/b/s"
wait_until 60 volume_is healthy
untouched
eq "the volume" "$(cat b/s/file a/s/d/file)" $'new\nold'

# An error puts one store out: it comes back by a lap over that directory.
unmount_volume
SEQMIRROR_FAULT="mirror.write:eio:4" mount_volume "$work/a/s" "$work/b/s"
for i in {1..4}; do
	echo "$i" >"$mnt/$i"
	sync "$mnt/$i"
done
wait_until 60 volume_is healthy
unmount_volume
untouched

# A check names them, and finds nothing wrong.
for store in a b; do
	sm check "$work/$store/s" >text || fail "$(cat text)"
	for place in device near subvolume; do
		grep -q "note: $place: another filesystem" text ||
			fail "$place is not named: $(cat text)"
	done
done

# What hides something of the volume is not taken for its end.
mount --bind other a/s/d
mount --bind other b/s/d
mount_volume "$work/a/s" "$work/b/s"
touch "$mnt/newer"
kill_daemon
timeout 60 "$SEQMIRROR" mount "$work/a/s" "$work/b/s" "$mnt" 2>said &&
	fail "mounted"
grep -q 'unmount it: .*path=d' said || fail "said: $(cat said)"
untouched
umount a/s/d b/s/d
mount_volume "$work/a/s" "$work/b/s"
wait_until 60 volume_is healthy
eq "what was hidden" "$(cat "$mnt/d/file")" old

# Nor is a resync let there, which has something to change: it says where.
detach b
mount --bind other b/s/d
rm "$mnt/d/file"
echo old >"$mnt/d/again"
refused timeout 60 "$SEQMIRROR" attach --wait "$mnt" b
[[ $refusal == *": d: "*"is another filesystem mounted there? unmount it"* ]] ||
	fail "said: $refusal"
umount b/s/d
attach b
unmount_volume
same_tree a/s/d b/s/d
untouched
umount {a,b}/s/{device,near}

# A copy finds its files by path: not in what is mounted there, on another device
# or on the same one, whether it is behind or not.
for place in other near; do
	mkdir c d
	sm init --name c,d "$work/c" "$work/d" >/dev/null
	mount_volume "$work/c" "$work/d"
	mkdir -p "$mnt/e/dir"
	echo old | tee "$mnt/e/file" "$mnt/e/dir/file" >"$mnt/file"
	unmount_volume
	for step in same behind; do
		if [[ $step == behind ]]; then
			mv d away
			mount_volume -o degraded "$work/c"
			echo new >"$mnt/e/file"
			rm "$mnt/e/dir/file"
			unmount_volume
			mv away d
		fi
		mv d old
		cp -a old d
		rm -r old
		mount --bind "$place" d/e
		timeout 60 "$SEQMIRROR" resync "$work/c" "$work/d" >said 2>&1 ||
			grep -q 'unmount it' said || fail "$place: $(cat said)"
		if [[ $step == same ]]; then
			mount_volume -o no_auto_attach "$work/c" "$work/d"
			echo online >"$mnt/e/file"
			touch "$mnt/e/dir/more"
			eq "a file" "$(cat "$mnt/e/dir/file")" old
			unmount_volume
		fi
		untouched
		umount d/e
		sound "$work/d"
		sm resync "$work/c" "$work/d" >/dev/null
		sound "$work/d"
		same_tree c d
	done
	rm -r c d
done

# On an overlay, files lie on another device than their directories: no mount.
mkdir overlay upper c
mount -t tmpfs none upper
mkdir upper/{up,work}
if mount -t overlay -o lowerdir=near,upperdir=upper/up,workdir=upper/work \
	none overlay 2>said; then
	mkdir overlay/d
	sm init --name c,d "$work/c" "$work/overlay/d" >/dev/null
	mount_volume "$work/c" "$work/overlay/d"
	echo one >"$mnt/file"
	detach d
	echo two >"$mnt/file"
	attach d
	unmount_volume
	cp -a overlay/d overlay/copy
	rm -r overlay/d
	mv overlay/copy overlay/d
	sm resync "$work/c" "$work/overlay/d" >/dev/null
	same_tree c overlay/d
	eq "kept" "$(ls overlay/d/.seqmirror/found)" ""
	umount overlay
fi
umount upper
