#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A write-back that failed can leave a page that is clean and not on the disk:
# equal in memory is not equal. After a crash a resync compares what the disks
# have, and heals such a block (docs/model.md, 8).
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need filefrag

# block_of STORE FILE: where the first block of a file lies on the disk.
block_of()
{
	filefrag -b4096 -v "$work/$1/$2" |
		awk '$1 == "0:" { sub(/\.\..*/, "", $4); print $4 }'
}

# on_disk STORE BLOCK: a block of the image, whatever is cached above it.
on_disk()
{
	dd if="$work/$1.img" bs=4096 skip="$2" count=1 status=none
}

image a 100 ext4 -b 4096
image b 100 ext4 -b 4096
sm init --name a,b "$work/a" "$work/b" >/dev/null
mount_volume "$work/a" "$work/b"
head -c 4096 /dev/zero | tr '\0' o >old
head -c 4096 /dev/zero | tr '\0' n >new
dd if=old of="$mnt/file" bs=4096 conv=fsync status=none
unmount_volume
# The crash comes before any checkpoint.
mount_volume -o checkpoint=1000 "$work/a" "$work/b"
dd if=new of="$mnt/file" bs=4096 conv=fsync,notrunc status=none
kill_daemon

# What the disk of b would have, had it dropped the write and said nothing.
sync -f "$work/b"
at=$(block_of b file)
[[ -n $at ]] || fail "cannot tell where the file lies"
on_disk b "$at" | cmp - new || fail "another block than the file's"
dd if=old of=b.img bs=4096 seek="$at" conv=notrunc,fsync status=none
cmp "$work/b/file" new || fail "the page is not in memory any more"

mount_volume "$work/a" "$work/b"
wait_until 60 volume_is healthy
unmount_volume
sync -f "$work/b"
on_disk b "$at" | cmp - new || fail "b has the old block"
image_umount b
image_mount b
same_tree "$work/a" "$work/b"

# The same for a map: a sync of b's log fails, its pages are clean all the same.
# What is appended to a log that only memory has would be lost with the next loss
# of power, and the map with it.
log_blocks() # of b's log, on the disk: FIRST_IN_FILE FIRST_ON_DISK COUNT
{
	filefrag -b4096 -e "$work/b/.seqmirror/meta.db-wal" | tr -s ' .:' ' ' |
		awk '$1 ~ /^[0-9]+$/ { print $2, $4, $6 }'
}

mount_volume "$work/a" "$work/b"
for i in {1..60}; do echo "$i" >"$mnt/$i"; done
unmount_volume
mount_volume -o checkpoint=1000 "$work/a" "$work/b"
for i in {1..20}; do chmod 600 "$mnt/$i"; done # an intent each
sync -f "$work/b"
cp b/.seqmirror/meta.mark mark
cp b/.seqmirror/meta.db-wal wal.before
for i in {21..40}; do chmod 600 "$mnt/$i"; done
kill_daemon
sync -f "$work/b"
cat mark >b/.seqmirror/meta.mark
[[ $(stat -c %s wal.before) == "$(stat -c %s b/.seqmirror/meta.db-wal)" ]] ||
	fail "the log has grown"
cmp -s wal.before b/.seqmirror/meta.db-wal && fail "nothing was committed"
while read -r first at count; do
	dd if=wal.before of=b.img bs=4096 skip="$first" seek="$at" \
		count="$count" conv=notrunc,fsync status=none
done < <(log_blocks)
cmp -s wal.before b/.seqmirror/meta.db-wal &&
	fail "the log is not in memory any more"

mount_volume -o checkpoint=1000 "$work/a" "$work/b"
wait_until 60 volume_is healthy
for i in {41..60}; do chmod 600 "$mnt/$i"; done
kill_daemon
image_umount b
image_mount b
mount_volume "$work/a" "$work/b"
wait_until 60 volume_is healthy
unmount_volume
same_tree "$work/a" "$work/b"
sm check "$work/b" >/dev/null
