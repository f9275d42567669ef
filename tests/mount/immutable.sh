#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A store where somebody made a file or a directory immutable: the resync says
# which, and comes to its end when it is mutable again. Contents, attributes, a
# name that goes, one that is new. Mounted and unmounted.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq chattr lsattr

image b 64 ext4
mkdir a b/store
at_end()
{
	chattr -R -i b/store/dir 2>/dev/null
}
sm init --name a,b a b/store >/dev/null
mount_volume -o no_auto_attach a b/store
mkdir "$mnt/dir" "$mnt/dir/sub"
for f in written chmodded renamed removed; do
	echo "$f" >"$mnt/dir/$f"
done
sync -f "$mnt"

# kept_out OBJECT CHANGE WORDS: b/store/OBJECT is immutable while CHANGE is made.
kept_out()
{
	local object=$1 words=$3

	detach b
	chattr +i "b/store/$object"
	(cd "$mnt/dir" && eval "$2")
	sync -f "$mnt"
	refused "$SEQMIRROR" attach --wait "$mnt" b
	[[ $refusal == *"its resync failed: $words: Operation not permitted (is it immutable? lsattr)"* ]] ||
		fail "attach says: $refusal"
	[[ $(status_of '.stores[] | select(.name == "b") | .why') == *"$words"* ]] ||
		fail "status says: $(status_of .stores)"
	unmount_volume
	refused "$SEQMIRROR" resync a b/store
	[[ $refusal == *"$words"* ]] || fail "resync says: $refusal"
	chattr -i "b/store/$object"
	mount_volume -o degraded a b/store
	wait_until 30 is_healthy
	remount_as_before
}
remount_as_before()
{
	unmount_volume
	same_tree a b/store
	mount_volume -o no_auto_attach a b/store
}
is_healthy()
{
	[[ $(status_of .state) == healthy ]]
}

kept_out dir/written 'echo new >written' 'dir/written: contents'
kept_out dir/chmodded 'chmod 600 chmodded' 'dir/chmodded: attributes'
kept_out dir/renamed 'mv renamed sub/' 'dir/renamed: its name'
kept_out dir/removed 'rm removed' 'dir/removed: its name'
kept_out dir/sub 'echo new >sub/new' 'dir/sub/new: its name and inode'
unmount_volume

# What is immutable, or can only be appended to, is read as ever, synced and compared:
# on all stores (an adopted tree may have such files), and where one alone has it.
image a2 64 ext4
at_end()
{
	chattr -R -ia b/store a2 2>/dev/null
}
rm -rf b/store
mkdir b/store
sm init --name a2,b a2 b/store >/dev/null
mount_volume a2 b/store
for f in fixed log one; do
	echo "$f" >"$mnt/$f"
	truncate -s 1M "$mnt/$f"
done
unmount_volume
chattr +i a2/fixed b/store/fixed b/store/one
chattr +a a2/log b/store/log
for lead in a2 b; do
	mount_volume -o "read=prefer=$lead" a2 b/store
	for f in fixed log one; do
		sync "$mnt/$f" || fail "fsync of $f, $lead first"
		eq "$f, $lead first" "$(tr -d '\0' <"$mnt/$f")" "$f"
		python3 -c 'import os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
assert os.lseek(fd, 4096, os.SEEK_HOLE) == 4096' "$mnt/$f"
	done
	sm scrub --wait "$mnt" >scrub.out || fail "$(<scrub.out)"
	volume_is healthy || fail "$(sm status "$mnt")"
	eq "errors" "$(status_of '[.stores[].errors[]] | add')" 0
	unmount_volume
done
mount_volume a2 b/store
eq "read" "$(tr -d '\0' <"$mnt/fixed")" fixed
! { echo no >>"$mnt/fixed" && sync "$mnt/fixed"; } 2>/dev/null || fail "written"
chattr -i a2/fixed b/store/fixed b/store/one
chattr -a a2/log b/store/log
for f in fixed log one; do
	echo again >"$mnt/$f"
done
volume_is healthy || fail "$(sm status "$mnt")"
unmount_volume
same_tree a2 b/store
