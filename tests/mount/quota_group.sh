#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A btrfs at the limit of its quota group. It counts as taken what each change
# might take, those that remove something as well, until it commits; it refuses the
# times of a file, and to cut one. As with any full store: the application gets an
# error and nothing else, nobody is put out, the stores stay equal, deleting works,
# and there is room again.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq btrfs
need_fs btrfs

# all_online WHEN
all_online()
{
	[[ $(status_of '[.stores[].state] | unique | join(" ")') == online ]] ||
		fail "put out $1: $(sm status "$mnt")"
}

# The first to ask hears of pages that found no room; a second time there are
# none.
written_back()
{
	sync -f "$mnt" 2>/dev/null || sync -f "$mnt" || fail "syncfs"
}

image a 400
image b 400 btrfs
btrfs quota enable b || skip "no quota groups"
btrfs qgroup limit 56M b
sm init --name a,b "$work/a" "$work/b" >/dev/null
for options in cache=writeback cache=writethrough; do
	mount_volume -o "$options" "$work/a" "$work/b"
	for way in small append small; do
		mkdir "$mnt/$way"
		python3 "$lib_dir/fill.py" "$way" "$mnt/$way" ||
			fail "filling with $way"
		all_online "by $way"
		rm -r "${mnt:?}/$way" || fail "no delete at the quota"
		all_online "by deleting $way"
		written_back
		all_online "after deleting $way"
		cp -r /etc/default "$mnt/again" ||
			fail "no room after the delete of $way"
		rm -r "$mnt/again"
	done
	unmount_volume
	same_tree "$work/a" "$work/b"
	sm check "$work/b" >check.log || fail "check: $(cat check.log)"
done
