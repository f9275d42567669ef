#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Call by call the mount does what ext4 does, both stores are equal afterwards,
# and numbers and handles are the same after a remount.
#
# usage: posix_cases.sh [--case NAME] ...	(see posix_cases.py)
#
#	OPTIONS	of the mount
#	AWAY=1	one of the stores is away, and comes back when all is done
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

# From 512 MiB on blocks are of 4 KiB, and files of up to 16 TiB.
image a 600
image b 600
image plain 600
sm init --name a,b "$work/a" "$work/b" >/dev/null
options=()
if [[ -n ${OPTIONS:-} ]]; then options=(-o "$OPTIONS"); fi
mount_volume "${options[@]}" "$work/a" "$work/b"
if [[ -n ${AWAY:-} ]]; then detach b; fi
python3 "$lib_dir/posix_cases.py" "$@" "$mnt" "$work/plain" ||
	fail "the mount is not like ext4"
if [[ -n ${AWAY:-} ]]; then attach b; fi
volume_is healthy || fail "the volume is $(status_of .state)"
python3 "$lib_dir/posix_remount.py" remember "$mnt" "$work/known"
unmount_volume
same_tree "$work/a" "$work/b"

mount_volume "$work/a" "$work/b"
python3 "$lib_dir/posix_remount.py" compare "$mnt" "$work/known" ||
	fail "not the same after a remount"
[[ ! -e $mnt/.seqmirror ]] || fail "the private directory is to be seen"
mkdir "$mnt/.seqmirror" 2>/dev/null && fail "the private name can be taken"
unmount_volume
