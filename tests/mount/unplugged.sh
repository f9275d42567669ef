#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# An unplugged disk leaves its empty mount-point directory behind: nothing is
# ever written there.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

nothing_in_b()
{
	not_mounted "$work/b" || fail "b is mounted"
	eq "what lies under the mount point ($1)" "$(ls -A b)" ""
}

image a 200
image b 200
sm init --name a,b "$work/a" "$work/b" >/dev/null

# Away before the mount.
image_umount b
if timeout 30 "$SEQMIRROR" mount "$work/a" "$work/b" "$mnt" 2>err; then
	echo one >"$mnt/one"
	sm unmount "$mnt"
fi
nothing_in_b "named, mounted without"
mount_volume "$work/a"
nothing_in_b "mounted without"
echo two >"$mnt/two"
sync -f "$mnt"
refused "$SEQMIRROR" attach --wait "$mnt" b
nothing_in_b "attach of what is not there"
image_mount b
wait_until 60 store_is b online

# Away while it is in use.
image_umount_lazily b
nothing_in_b "unplugged in use"
mkdir "$mnt/dir"
dd if=/dev/urandom of="$mnt/dir/data" bs=1M count=2 conv=fsync status=none
sync -f "$mnt"
nothing_in_b "written after that"
detach b
nothing_in_b "detached"
echo three >"$mnt/three"
refused "$SEQMIRROR" attach --wait "$mnt" b
nothing_in_b "attach after that"
image_mount b
attach b
unmount_volume
same_tree "$work/a" "$work/b"
