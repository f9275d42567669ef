#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A store that is in use is refused to everybody else.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

mkdir a b other
sm init --name a,b "$work/a" "$work/b" >/dev/null
mount_volume "$work/a" "$work/b"
echo before >"$mnt/file"
mkdir fresh

refused "$SEQMIRROR" mount -f "$work/a" "$work/b" "$work/other"
refused "$SEQMIRROR" mount "$work/b" "$work/other"
refused "$SEQMIRROR" mount -f "$work/a" "$work/b" "$mnt"
refused "$SEQMIRROR" resync "$work/a" "$work/b"
refused "$SEQMIRROR" init "$work/a" "$work/fresh"
not_mounted "$work/other" || fail "mounted twice"
eq "names in fresh" "$(ls -A fresh)" ""
eq "the file" "$(cat "$mnt/file")" before
volume_is healthy || fail "the volume is $(status_of .state)"
unmount_volume
same_tree "$work/a" "$work/b"

# Whoever asks as soon as it is mounted is answered.
SEQMIRROR_FAULT=control.start:delay=500 start_mount "$work/a" "$work/b"
wait_until 20 is_mounted "$mnt"
sm status "$mnt" >text || fail "the daemon is said to be gone"
grep -q healthy text || fail "$(cat text)"
unmount_volume
