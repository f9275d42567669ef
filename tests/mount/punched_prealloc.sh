#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A part of a preallocated block is punched, and one of the stores cannot tell what
# is preallocated from a hole (FUSE: no FIEMAP): the block stays, on all stores and
# in their maps.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
[[ -x $FAULTYFS ]] || skip "no faultyfs"

image b 200 ext4 -b 1024
image below 400 xfs -b size=1024
faulty a "$work/below"
sm init --name a,b a b >/dev/null
mount_volume a b
fallocate -l 64K "$mnt/f"
fallocate -p -o 5000 -l 20000 "$mnt/f"
sm map "$mnt/f" >map.txt
grep -q '^ *8192 *24576 .* hole$' map.txt || fail "$(<map.txt)"
unmount_volume
mount_volume a b
sm scrub --wait "$mnt" >scrub.txt || fail "$(<scrub.txt)"
unmount_volume
for store in a b; do
	sm check "$store" >check.txt || fail "$store: $(<check.txt)"
done
