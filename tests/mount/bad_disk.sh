#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Bad sectors below a real filesystem, which cannot write a part of a block
# that it cannot read: in the middle of a file they are rewritten in place; at
# its end the store leaves for the moment that a lap needs; and a lap writes
# over those that it meets. What cannot be opened there comes from the other
# store. The application sees none of it.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq debugfs

of_b()
{
	status_of ".stores[] | select(.name == \"$disk\") | $1"
}

repaired()
{
	(($(of_b .errors.repaired) == 1))
}

# Counted, also after a lap.
seen()
{
	(($(of_b .errors.read) > 0))
}

healed()
{
	volume_is healthy && cmp -s file "$disk/file"
}

cold()
{
	unmount_volume
	mount_volume -o "prefer=$disk" "$work/$image" "$work/$disk"
}

on()
{
	image=a_$1 disk=b_$1
	image "$image" 200
	disk "$disk" 300 "$1"
	sm init --name "$image,$disk" "$work/$image" "$work/$disk" >/dev/null
	mount_volume "$work/$image" "$work/$disk"
	dd if=/dev/urandom of="$mnt/file" bs=1000 count=100 status=none
	cp "$mnt/file" file
	cold

	bad_sector "$disk" file 3
	cmp file "$mnt/file" || fail "the application saw a bad sector"
	wait_until 20 repaired
	store_is "$disk" online || fail "out for one bad sector"

	# The last block of the file is not a whole one.
	cold
	bad_sector "$disk" file 24
	cmp file "$mnt/file" || fail "the application saw a bad sector"
	wait_until 20 seen
	wait_until 30 healed
	seen || fail "the errors are forgotten"
	grep -q 'is in step again' "$daemon_log" || fail "it was not a lap"

	# In what a lap looks at after a crash, on the store that is no source.
	for block in 5 24; do
		printf 'new' | dd of="$mnt/file" bs=1 seek=50000 conv=notrunc \
			status=none
		sync "$mnt/file"
		cp "$mnt/file" file
		kill_daemon
		bad_sector "$disk" file "$block"
		mount_volume "$work/$image" "$work/$disk"
		wait_until 30 healed
		cmp file "$mnt/file" || fail "after a crash"
	done

	# Where writing fails, too, it is out.
	faults "$disk.disk" fail write EIO "$disk.img"
	dd if=/dev/urandom of="$mnt/more" bs=64k count=4 conv=fsync status=none ||
		fail "the application saw a dead disk"
	wait_until 20 store_is "$disk" failed
	faults "$disk.disk" clear
	unmount_volume
	umount "$work/$disk"
	disk_mount "$disk"
	mount_volume "$work/$image" "$work/$disk"
	wait_until 60 volume_is healthy
	unmount_volume
	same_tree "$image" "$disk"
}

for type in ${TYPES:-ext4 xfs btrfs}; do
	if can_make "$type"; then
		echo "-- $type"
		on "$type"
	else
		echo "-- left out: $why"
	fi
done

# An inode that cannot be read.
image=a_ext4 disk=b_ext4
mount_volume -o "prefer=$disk" "$work/$image" "$work/$disk"
mkdir "$mnt/d"
for i in {1..200}; do echo "$i" >"$mnt/d/$i"; done
unmount_volume
umount "$work/$disk" # and nothing is cached
disk_mount "$disk"
device=$(findmnt -n -o SOURCE "$work/$disk")
block=$(debugfs -R "imap d/150" "$device" 2>/dev/null |
	sed -n 's/.*located at block \([0-9]*\).*/\1/p')
mount_volume -o "prefer=$disk" "$work/$image" "$work/$disk"
faults "$disk.disk" fail read EIO "$disk.img" $((block * 4096)) 4096
echo 3 >/proc/sys/vm/drop_caches
for i in {140..160}; do
	eq "file $i" "$(cat "$mnt/d/$i")" "$i"
done
told()
{
	grep -q 'cannot be opened there' "$daemon_log"
}
wait_until 20 told
# The filesystem goes read-only with the first change of such a file; what the
# store cannot be told at the end is no failure of the volume.
echo new >"$mnt/d/150"
eq "changed" "$(cat "$mnt/d/150")" new
unmount_volume
faults "$disk.disk" clear
umount "$work/$disk"
disk_mount "$disk"
mount_volume "$work/$image" "$work/$disk"
wait_until 60 volume_is healthy
eq "changed" "$(cat "$mnt/d/150")" new
unmount_volume
same_tree "$image" "$disk"
