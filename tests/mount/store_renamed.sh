#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The directory of a store is renamed, and moved elsewhere: that moves the time of
# its last change and is no change of the volume, so check says nothing. What the
# directory has of its own is one, also when it was renamed after or before.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq setfattr

# Of the store's own directory, and nothing else.
root_changed()
{
	checked "$1"
	eq "found in $1" "$(jq -c '[.findings[] | select(.class == "wrong") |
		[.kind, .path]]' "$report")" '[["changed",""]]'
}

later_than_map_of()
{
	touch "$work/clock"
	[[ $(stat -c %.Z "$work/clock") > $(stat -c %.Y "$1"/.seqmirror/meta.db) ]]
}

in_step()
{
	mount_volume "$work/a/s" "$work/b/s"
	wait_until 60 volume_is healthy
	"$@"
	unmount_volume
}

at_rest()
{
	detach b
	chmod 711 "$mnt"
}

image a 200
image b 200
mkdir a/s b/s a/elsewhere
sm init --name a,b "$work/a/s" "$work/b/s" >/dev/null
in_step chmod 750 "$mnt"
wait_until 10 later_than_map_of a/s
mv a/s a/t
sound "$work/a/t"
mv a/t a/elsewhere/s
sound "$work/a/elsewhere/s"
for change in "chmod 700" "chown 1" "setfattr -n user.x -v y" \
	"touch -d 2001-02-03"; do
	mv a/elsewhere/s a/s
	$change a/s
	root_changed "$work/a/s"
	mv a/s a/elsewhere/s
	root_changed "$work/a/elsewhere/s"
	mv a/elsewhere/s a/s
	checked --repair "$work/a/s"
	in_step true
	wait_until 10 later_than_map_of a/s
	mv a/s a/elsewhere/s
	sound "$work/a/elsewhere/s"
done
# The same of one that was detached, and of those that were brought in step.
mv a/elsewhere/s a/s
in_step at_rest
wait_until 10 later_than_map_of a/s
mv b/s b/t
sound "$work/b/t"
sm resync "$work/a/s" "$work/b/t" >/dev/null
wait_until 10 later_than_map_of b/t
for name in a b; do
	mv $name/? $name/u
	sound "$work/$name/u"
done
