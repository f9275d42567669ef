#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A store that is full: the application gets ENOSPC and nothing else, nobody
# is put out, the stores stay equal, deleting works with 0 bytes free, and
# what is there can be changed in place.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

all_online()
{
	[[ $(status_of '[.stores[].state] | unique | join(" ")') == online ]]
}

# full_with CACHE TYPE SIZE_MB USED_MB: the second store is the small one.
full_with()
{
	local a=a_$1_$2 b=b_$1_$2 way

	image "$a" 600
	image "$b" "$3" "$2"
	mkdir "$a/store" "$b/store"
	fallocate -l "$4M" "$b/used"
	sm init --name a,b "$work/$a/store" "$work/$b/store" >/dev/null
	mount_volume -o "cache=$1" "$work/$a/store" "$work/$b/store"

	# The least of all stores is what the volume has.
	eq "blocks of the volume" "$(stat -f -c %b "$mnt")" \
		"$(stat -f -c %b "$b")"
	cp -r /etc/default "$mnt/before"
	for way in big small sparse append; do
		mkdir "$mnt/$way"
		python3 "$lib_dir/fill.py" "$way" "$mnt/$way" ||
			fail "filling with $way"
		all_online || fail "put out by $way: $(sm status "$mnt")"
		in_place
		rm -r "${mnt:?}/$way" || fail "no delete when full"
		written_back
		all_online || fail "put out by deleting $way"
	done
	endless
	filled_by_others "$b"
	unmount_volume
	same_tree "$a/store" "$b/store"
	umount "$a" "$b"
}

# What is there can be changed where it lies.
in_place()
{
	printf '%s' "$way" | dd of="$mnt/before/useradd" conv=notrunc,fsync \
		status=none || fail "no change in place"
	eq "what was changed" "$(head -c ${#way} "$mnt/before/useradd")" "$way"
}

# Who only writes, and never asks whether it has arrived, hears of it too, and
# goes on with the same open file when there is room again.
endless()
{
	local rc=0

	exec 7>"$mnt/endless"
	LC_ALL=C timeout 100 dd if=/dev/zero bs=1M >&7 2>dd.log || rc=$?
	((rc == 1)) || fail "dd without end on a full volume: status $rc"
	grep -q 'No space left' dd.log || fail "dd: $(cat dd.log)"
	! head -c 64M /dev/zero >&7 2>/dev/null ||
		fail "a write without room goes on"
	rm -r "$mnt/before"
	truncate -s 0 "$mnt/endless"
	written_back
	echo again >&7 || fail "no write where there is room again"
	exec 7>&-
	cp -r /etc/default "$mnt/before"
	rm "$mnt/endless"
	written_back
	all_online || fail "put out by a writer without end"
}

# The kernel's pages are with the stores. The first to ask hears of pages that
# found no room; a second time there are none.
written_back()
{
	sync -f "$mnt" 2>/dev/null || sync -f "$mnt" || fail "syncfs"
}

# Others take the disk's last byte, of which the volume knows nothing.
filled_by_others()
{
	mkdir "$mnt/small"
	python3 "$lib_dir/fill.py" small "$mnt/small" >/dev/null
	cat /dev/zero >"$1/others" 2>/dev/null || :
	mv "$mnt/before" "$mnt/after" || fail "no rename when full"
	rm -r "$mnt/small" || fail "no delete when the disk is full"
	all_online || fail "put out by a disk that others filled"
	cp -r /etc/default "$mnt/again" || fail "no room after the delete"
	written_back
	all_online || fail "put out at the end"
}

full_with writeback ext4 80 30
full_with writethrough ext4 80 30
if can_make xfs; then
	full_with writeback xfs 360 220
fi
