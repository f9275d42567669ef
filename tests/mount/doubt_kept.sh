#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A read finds that a store's file is not what its map says, and that map cannot
# be told: no number says so, and the store is healed all the same, whether it
# comes back to this mount, to the next one, or after a kill.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

options=read=prefer=b,no_auto_attach

# begin: b has another file where "file" should be, and its map fails when that
# is seen.
begin()
{
	rm -rf a
	mkdir a
	faulty b
	sm init --name a,b "$work/a" "$work/b" >/dev/null
	mount_volume "$work/a" "$work/b"
	mkdir "$mnt/d"
	echo right >"$mnt/d/file"
	echo other >"$mnt/d/other"
	unmount_volume
	echo wrong >b.below/d/new
	mv b.below/d/new b.below/d/file
	mount_volume -o "$options" "$work/a" "$work/b"
	faults b fail write,sync EIO 'meta.*'
	eq contents "$(cat "$mnt/d/file")" right
	wait_until 20 store_is b failed
	(($(fault_hits b) > 0)) || fail "its map was not asked"
	eq "b still has" "$(cat b.below/d/file)" wrong
	faults b clear
}

end()
{
	store_is b online || fail "b is $(store_state b)"
	eq "b has" "$(cat b.below/d/file)" right
	eq contents "$(cat "$mnt/d/file")" right
	unmount_volume
	same_tree "$work/a" b.below
	sm check "$work/a" >check.log || fail "check: $(cat check.log)"
	sm check "$work/b" >check.log || fail "check: $(cat check.log)"
	umount b
	rm -rf a b b.below
}

begin
attach b
end

begin
unmount_volume
mount_volume -o "$options" "$work/a" "$work/b"
wait_until 60 store_is b online
end

begin
kill_daemon
mount_volume -o "$options" "$work/a" "$work/b"
wait_until 60 store_is b online
end

# The one that knows it goes alone for a while.
begin
unmount_volume
mv b.below gone
mkdir b.below
mount_volume -o "$options" "$work/a"
echo more >"$mnt/d/other"
unmount_volume
rmdir b.below
mv gone b.below
mount_volume -o "$options" "$work/a" "$work/b"
wait_until 60 store_is b online
end
