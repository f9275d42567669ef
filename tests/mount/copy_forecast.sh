#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A dry run says of a store that was put back to an older copy what its resync
# then does, also where all members were in step meanwhile: what was merged in
# the maps since is compared, in files that the copy has under other identities.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

mkdir a b
sm init --name a,b a b >/dev/null 2>&1
mount_volume a b
mkdir "$mnt/dir"
head -c 20480 /dev/urandom >"$mnt/dir/file"
head -c 8192 /dev/urandom >"$mnt/other"
unmount_volume
cp -a b older
mount_volume a b
head -c 100 /dev/urandom |
	dd of="$mnt/dir/file" bs=4096 seek=1 conv=notrunc status=none
head -c 4096 /dev/urandom |
	dd of="$mnt/dir/file" bs=4096 seek=7 conv=notrunc status=none
mv "$mnt/dir/file" "$mnt/moved"
unmount_volume
# All members have it, and their maps know that.
mount_volume a b
echo x >"$mnt/x"
unmount_volume
rm -r b
mv older b

sm resync --dry-run --json a b >forecast.json
sm resync --json a b >result.json
eq "copied" "$(jq .bytes_copied result.json)" 12288
for key in nodes entries_created entries_removed entries_renamed \
	bytes_copied bytes_compared bytes_unmapped found; do
	eq "$key" "$(jq ".$key" forecast.json)" "$(jq ".$key" result.json)"
done
same_tree a b
