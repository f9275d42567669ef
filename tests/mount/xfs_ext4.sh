#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The stores may lie on different filesystems: an ext4 and an XFS mirror each
# other, and each comes back from the other.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq
need_fs xfs

image a 500 ext4
image b 500 xfs
sm init --name a,b "$work/a" "$work/b" >/dev/null
mount_volume "$work/a" "$work/b"
python3 "$lib_dir/scenario.py" fill "$mnt" --image-mib 64 \
	--mapped-mib 40 --files 500
mkdir "$mnt/ops"
python3 "$lib_dir/ops.py" "$mnt/ops"
detach b
python3 "$lib_dir/scenario.py" change "$mnt" --seed 1 >/dev/null
attach b
detach a
mkdir "$mnt/ops2"
python3 "$lib_dir/ops.py" "$mnt/ops2"
rm -r "$mnt/ops"
attach a
volume_is healthy || fail "the volume is $(status_of .state)"
unmount_volume
same_tree "$work/a" "$work/b"
