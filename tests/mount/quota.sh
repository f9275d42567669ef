#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A store that has met a quota, of which statfs(2) says nothing: as one that is
# full. The application gets an error and nothing else, nobody is put out, the
# stores stay equal, deleting works, and there is room again.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

all_online()
{
	[[ $(status_of '[.stores[].state] | unique | join(" ")') == online ]]
}

# The first to ask hears of pages that found no room; a second time there are
# none.
written_back()
{
	sync -f "$mnt" 2>/dev/null || sync -f "$mnt" || fail "syncfs"
}

begin()
{
	image a 600
	image disk 80
	faulty b "$work/disk"
	faults b quota
	sm init --name a,b "$work/a" "$work/b" >/dev/null
	mount_volume -o "$1" "$work/a" "$work/b"
	cp -r /etc/default "$mnt/before"
}

end()
{
	unmount_volume
	same_tree "$work/a" "$work/b"
	sm check "$work/b" >check.log || fail "check: $(cat check.log)"
	umount "$work/b"
	umount "$work/a" "$work/disk"
	rmdir a b disk
	rm a.img disk.img
}

for options in cache=writeback cache=writethrough timeout=60; do
	begin "$options"
	for way in big small sparse append; do
		mkdir "$mnt/$way"
		python3 "$lib_dir/fill.py" "$way" "$mnt/$way" ||
			fail "filling with $way"
		all_online || fail "put out by $way: $(sm status "$mnt")"
		printf '%s' "$way" | dd of="$mnt/before/useradd" status=none \
			conv=notrunc,fsync || fail "no change in place"
		rm -r "${mnt:?}/$way" || fail "no delete at the quota"
		written_back
		all_online || fail "put out by deleting $way"
		cp -r /etc/default "$mnt/again" ||
			fail "no room after the delete of $way"
		rm -r "$mnt/again"
	done
	end
done
