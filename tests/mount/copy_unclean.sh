#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A copy (cp -a) of a store in use has files from one moment and a map from another.
# Nothing tells it from one of a store that crashed: either is compared as a whole,
# unasked where its map says that it may follow, and is no source.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root

mkdir a b
sm init --name a,b "$work/a" "$work/b" >/dev/null
mount_volume -o checkpoint=1 "$work/a" "$work/b"
mkdir -p "$mnt/d/sub" "$mnt/e"
for file in d/one d/sub/two e/three e/gone d/swapped; do
	head -c 300000 /dev/urandom >"$mnt/$file"
done
ln "$mnt/d/one" "$mnt/e/link"
ln -s before "$mnt/d/symlink"
truncate -s 2M "$mnt/e/sparse"
sync "$mnt/d/one"

# What changes between the two moments: the map of the one fits no file of the other.
change()
{
	head -c 200000 /dev/urandom |
		dd of="$mnt/d/one" bs=4096 seek=3 conv=notrunc status=none
	fallocate -p -o 0 -l 65536 "$mnt/d/sub/two"
	head -c 65536 /dev/urandom |
		dd of="$mnt/e/sparse" bs=4096 seek=64 conv=notrunc status=none
	fallocate -p -o 262144 -l 4096 "$mnt/e/sparse"
	rm "$mnt/e/gone"
	ln -sfn after "$mnt/d/symlink"
	mv "$mnt/d/swapped" "$mnt/e/three"
	rm "$mnt/e/link"
	head -c 300000 /dev/urandom >"$mnt/e/link"
	ln "$mnt/e/link" "$mnt/d/swapped"
	chmod 700 "$mnt/d/sub"
	mkdir "$mnt/new"
	echo new >"$mnt/new/file"
	sync "$mnt/new/file"
	wait_until 30 is_settled
}

# No intent of the map covers what has changed.
is_settled()
{
	[[ $(status_of '.seq as $seq | [.stores[] |
		.durable_seq >= $seq] | all') == true ]]
}

copy_files()
{
	mkdir -p "$1/.seqmirror"
	tar -C b --xattrs --exclude=./.seqmirror -cf - . | tar -C "$1" --xattrs -xpf -
}

copy_private()
{
	cp -a b/.seqmirror/. "$1/.seqmirror/"
}

mkdir files_first map_first
copy_files files_first
copy_private map_first
change
copy_private files_first
copy_files map_first
unmount_volume
same_tree "$work/a" "$work/b"
mv b original

# put_back COPY: it lies where b was.
put_back()
{
	rm -rf b
	cp -a "$1" b
}

is_whole()
{
	same_tree "$work/a" "$work/b"
	eq "in limbo" "$(ls b/.seqmirror/limbo)" ""
	sound "$work/b"
	eq "says of itself" "$(status_of '[.unclean_copy, .clean] | @json' \
		"$work/b")" "[false,true]"
}

# told WHAT PATTERN
told()
{
	grep -q "$2" <<<"$1" || fail "'$2' is not in: $1"
}

use="copy of a store that was in use"
whole="all of it would be compared"
for copy in files_first map_first; do
	put_back "$copy"
	told "$(sm status "$work/b")" "$use"
	told "$(sm check "$work/b" || :)" "$use"

	# Unmounted.
	refused "$SEQMIRROR" resync --dry-run "$work/a" "$work/b"
	told "$refusal" "$whole"
	sm resync "$work/a" "$work/b" >out 2>&1 || fail "$(cat out)"
	is_whole
	[[ ! $(ls b/.seqmirror/found) ]] || told "$(cat out)" seqmirror/found
	[[ $copy != files_first ]] || told "$(cat out)" "further hard links.*links=1"
	sm resync "$work/a" "$work/b" >out 2>&1 || fail "$(cat out)"
	told "$(cat out)" "in step"

	# By whoever mounts both, whichever is named first, though it had left.
	mount_volume "$work/a" "$work/b"
	detach b
	unmount_volume
	put_back "$copy"
	mount_volume -o no_auto_attach "$work/b" "$work/a"
	wait_until 60 volume_is healthy
	unmount_volume
	is_whole

	# By attach, to a volume that goes on.
	put_back "$copy"
	mv b aside
	mount_volume -o degraded,no_auto_attach "$work/a"
	echo more >>"$mnt/new/file"
	mv aside b
	refused "$SEQMIRROR" resync --dry-run "$mnt" b
	told "$refusal" "$whole"
	attach b
	unmount_volume
	is_whole
done

# Cut anywhere, it is still such a copy.
for point in resync.rebuild.begun:kill:1 store.rename:kill:1 store.rename:kill:2 \
	store.unlink:kill:1 resync.rebuild.finish:kill:1 resync.marked:kill:1 \
	store.write:kill:1 resync.close.before:kill:1; do
	rc=0
	put_back files_first
	SEQMIRROR_FAULT=$point sm resync "$work/a" "$work/b" \
		>out 2>&1 || rc=$?
	eq "killed at $point" "$rc" 137
	sm resync "$work/a" "$work/b" >out 2>&1 || fail "$point: $(cat out)"
	is_whole
done

# What cannot be moved away is named.
put_back files_first
mkdir b/d/mounted
mount -t tmpfs none b/d/mounted
rc=0
sm resync "$work/a" "$work/b" >out 2>&1 || rc=$?
eq "status" "$rc" 1
told "$(cat out)" "cannot be moved to .seqmirror/found: d/mounted: Device or resource busy"
umount b/d/mounted
sm resync "$work/a" "$work/b" >out 2>&1 || fail "$(cat out)"
is_whole

# Its map was copied before the first change of a mount, and says of none.
mount_volume "$work/a" "$work/b"
mkdir idle
copy_private idle
head -c 65536 /dev/urandom |
	dd of="$mnt/e/sparse" bs=4096 seek=64 conv=notrunc status=none
sync "$mnt/e/sparse"
copy_files idle
fallocate -p -o 262144 -l 65536 "$mnt/e/sparse"
unmount_volume
put_back idle
told "$(sm status "$work/b")" "$use"
sm resync "$work/a" "$work/b" >out 2>&1 || fail "$(cat out)"
is_whole
# Not one of a store that had been unmounted.
mount_volume "$work/a" "$work/b"
unmount_volume
cp -a b clean
put_back clean
told "$(sm status "$work/b")" "closed in good order"

# Alone it is nothing that anybody could vouch for.
put_back files_first
mv a away
refused "$SEQMIRROR" mount -o degraded "$work/b" "$mnt"
told "$refusal" "copy of one that was in use"
mv away a
refused "$SEQMIRROR" resync --prefer b "$work/a" "$work/b"
told "$refusal" "copy of one that was in use"
refused "$SEQMIRROR" check --repair "$work/b"
sm check --rebuild "$work/b" >/dev/null
sound "$work/b"
sm resync --prefer b "$work/a" "$work/b" >out 2>&1 || fail "$(cat out)"
is_whole
cmp -s original/new/file b/new/file && fail "the copy has what came later"

# One that has what the other has not is not overwritten unasked.
mount_volume "$work/a" "$work/b"
wait_until 60 volume_is healthy
detach a
echo alone >"$mnt/alone"
sync "$mnt/alone"
copy_private map_first
unmount_volume
put_back map_first
refused "$SEQMIRROR" mount "$work/a" "$work/b" "$mnt"
told "$refusal" "has what store a has not"
refused "$SEQMIRROR" resync "$work/a" "$work/b"
told "$refusal" "has what store a has not"
refused "$SEQMIRROR" resync --dry-run --prefer a "$work/a" "$work/b"
told "$refusal" "$whole"
sm resync --prefer a "$work/a" "$work/b" >out 2>&1 || fail "$(cat out)"
is_whole

# Cut while it was taken back from another one that is gone now: it may be all that is
# left of what came last, and a member that has it not does not overwrite it.
mkdir c
sm resync "$work/a" "$work/b" >/dev/null
mount_volume "$work/a" "$work/b"
sm add "$mnt" "$work/c" >/dev/null
wait_until 60 volume_is healthy
detach c
echo late >"$mnt/late"
sync "$mnt/late"
rm -rf map_first
mkdir map_first
copy_files map_first
copy_private map_first
unmount_volume
for point in resync.rebuild.begun resync.rebuild.finish resync.marked; do
	rc=0
	put_back map_first
	SEQMIRROR_FAULT=$point:kill:1 sm resync "$work/a" "$work/b" \
		>out 2>&1 || rc=$?
	eq "killed at $point" "$rc" 137
	mv a away
	refused "$SEQMIRROR" resync "$work/b" "$work/c"
	refused "$SEQMIRROR" mount -o degraded "$work/c" "$work/b" "$mnt"
	eq "kept" "$(cat b/late)" late
	mv away a
done
# Where there is no room for the new map the old one stays, also that of a sound copy
# where an attempt was cut before.
for cut in "" resync.rebuild.begun:kill:1; do
	put_back map_first
	[[ ! $cut ]] || SEQMIRROR_FAULT=$cut sm resync "$work/a" "$work/b" \
		>out 2>&1 || :
	SEQMIRROR_FAULT=resync.rebuild.create:enospc refused "$SEQMIRROR" \
		resync "$work/a" "$work/b"
	told "$refusal" "No space left"
	told "$(sm status "$work/b")" "$use"
	mv a away
	refused "$SEQMIRROR" resync "$work/b" "$work/c"
	told "$refusal" "has what store c has not"
	mv away a
done
sm resync "$work/a" "$work/b" "$work/c" >out 2>&1 || fail "$(cat out)"
is_whole
same_tree "$work/a" "$work/c"

# The map's reserve is for that, on a full disk that is attached as well.
image full 40
cp -a map_first/. full/
rm -f full/.seqmirror/*.old*
for size in 1M 64k 1k; do
	dd if=/dev/zero of="full/d/fill.$size" bs="$size" status=none 2>/dev/null || :
	sync -f full
done
rm -rf b
mount_volume -o degraded,no_auto_attach "$work/a" "$work/c"
sm attach "$mnt" "$work/full" >/dev/null
wait_until 60 volume_is healthy
unmount_volume
same_tree "$work/a" "$work/full"
sound "$work/full"
image_umount full

# A btrfs snapshot has the same inode numbers, under handles of its own.
can_make btrfs || exit 0
image fs 400 btrfs
btrfs -q subvolume create fs/g >/dev/null
mkdir h
sm init --name g,h fs/g h >/dev/null
mount_volume fs/g h
echo file >"$mnt/file"
btrfs -q subvolume snapshot fs/g fs/snapshot >/dev/null
unmount_volume
told "$(sm check fs/snapshot)" "$use"
told "$(sm status fs/snapshot)" "$use"
mv fs/g fs/away
mv h away.h
refused "$SEQMIRROR" mount -o degraded fs/snapshot "$mnt"
told "$refusal" "copy of one that was in use"
mv away.h h
mount_volume fs/snapshot h
wait_until 60 volume_is healthy
unmount_volume
same_tree "$work/fs/snapshot" "$work/h"
