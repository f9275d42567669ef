#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A member that was removed while another one was away is none for that one
# either, when it is back: also where nothing else was done meanwhile. Where that
# one has gone on alone, the two have gone apart: what was removed is the user's
# own, and is not overwritten.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

members()
{
	status_of '[.stores[].name] | sort | join(" ")' "$1"
}

# without_c STORE...: c is removed while these are away.
without_c()
{
	rm -rf a b c away
	mkdir a b c
	sm init --name a,b,c a b c >/dev/null 2>&1
	mount_volume a b c
	echo 1 >"$mnt/file"
	unmount_volume
	mkdir away
	mv "$@" away
	mount_volume a
	sm remove "$mnt" c >/dev/null
	eq "members" "$(members "$mnt")" "a b"
	unmount_volume
	mv away/* .
}

without_c b c
mount_volume b a
wait_until 20 volume_is healthy
eq "members, mounted" "$(members "$mnt")" "a b"
unmount_volume
for name in a b; do
	eq "members, as $name knows it" "$(members "$name")" "a b"
done

without_c b c
sm resync b a >/dev/null
for name in a b; do
	eq "members, as $name knows it" "$(members "$name")" "a b"
done

without_c b
echo "the user's own" >c/file
mkdir gone
mv a c gone
mount_volume b
echo 2 >"$mnt/file"
unmount_volume
mv gone/* .
refused "$SEQMIRROR" mount -f a b "$mnt"
eq "file of the removed store" "$(cat c/file)" "the user's own"
sm resync --prefer b b a >/dev/null
eq "file of the removed store" "$(cat c/file)" "the user's own"
