#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A mount point is no store of its volume, and neither lies in the other: of those
# that nobody named as well. Of who forgets the mount point, the last store is it.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

mkdir a shelf shelf/b
ln -s shelf door
sm init --name a,b "$work/a" "$work/shelf/b" >/dev/null
mount_volume "$work/a" "$work/shelf/b"
mkdir "$mnt/below"
unmount_volume

# not_here POINT STORE...
not_here()
{
	refused "$SEQMIRROR" mount "${@:2}" "$1"
	not_mounted "$(readlink -f "$1")" || fail "mounted at $1"
	[[ $refusal == *"cannot lie in one another ($work/"* ]] || fail "$refusal"
}

for point in shelf/b shelf/b/ shelf/b/below shelf door door/b/below; do
	not_here "$work/$point" "$work/a"
	not_here "$work/$point" "$work/a" "$work/shelf/b"
done
not_here "$work/a/below" "$work/shelf/b"
not_here "$work/shelf/b" "$work/a:$work/shelf/b"

mount_volume "$work/a"
volume_is healthy || fail "the volume is $(status_of .state)"
unmount_volume
same_tree a shelf/b
