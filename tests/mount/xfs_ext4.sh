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
# Over the end of a file, whose last block ext4 frees and xfs keeps.
for name in over_end before_end; do
	head -c 9000 /dev/zero | tr '\0' x >"$mnt/$name"
done
fallocate --punch-hole --offset 3000 --length 6500 "$mnt/over_end"
fallocate --punch-hole --offset 3000 --length 5500 "$mnt/before_end"
eq "left of the one" "$(tr -d '\0' <"$mnt/over_end" | wc -c)" 3000
eq "left of the other" "$(tr -d '\0' <"$mnt/before_end" | wc -c)" 3500
unmount_volume
same_tree "$work/a" "$work/b"
