#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Somebody keeps hard links to files of a store outside of it, as snapshots made
# by cp -al are: what loses its last name in the volume is gone there all the
# same, and who goes on writing to it puts nobody out.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

mkdir disk disk/a disk/snapshot b
sm init --name a,b "$work/disk/a" "$work/b" >/dev/null
mount_volume -o checkpoint=1 "$work/disk/a" "$work/b"
cd "$mnt"
for name in log removed replaced two_names; do
	head -c 100K /dev/urandom >"$name"
done
echo new >new
ln two_names second
sync -f .
cp -al "$work/disk/a/"[lrt]* "$work/disk/snapshot"
exec 7>>log 8<removed 9<replaced
rm log removed two_names
mv new replaced
eq "of what was removed" "$(cat <&8 | wc -c)" 102400
eq "of what was replaced" "$(cat <&9 | wc -c)" 102400
eq "links" "$(stat -Lc %h /dev/fd/8)" 0
eq "names that are left" "$(echo *)" "replaced second"
cmp second "$work/disk/snapshot/two_names"
eq "what replaced it" "$(cat replaced)" new

# A program that goes on writing.
for ((i = 0; i < 20; i++)); do
	echo "$i" >&7
done
detach b
echo more >&7
attach b
detach a
echo and more >&7
attach a
volume_is healthy || fail "the volume is $(status_of .state)"
# In another directory, moved, and renamed before it goes.
mkdir d
mv second d/third
ln d/third d/fourth
rm d/third
cmp d/fourth "$work/disk/snapshot/two_names"
rm d/fourth
exec 7>&- 8<&- 9<&-
cd /
unmount_volume
if grep " is out" "$daemon_log" | grep -v "detached, safe"; then
	fail "a store was put out"
fi
for store in disk/a b; do
	sm check "$work/$store" >checked || fail "$(cat checked)"
done
same_tree "$work/disk/a" "$work/b"
