#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Resyncs that are disturbed in every way, between filesystems of all kinds and
# block sizes, one of which cannot punch; see resync_exerciser.py.
#
# usage: resync_exerciser.sh [--seeds N] [--first SEED] [--rounds M] ...
#
# Without arguments as many seeds as SEQMIRROR_SEEDS says, or 12.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq
need_fs xfs
need_fs btrfs
[[ -x $FAULTYFS ]] || skip "no faultyfs"
export FAULTYFS

(($# > 0)) || set -- --seeds "${SEQMIRROR_SEEDS:-12}"
image r 500 ext4 -b 4096
image a 500 ext4 -b 4096
image b 500 ext4 -b 4096
image small 500 ext4 -b 1024
image clusters 500 ext4 -b 4096 -O bigalloc -C 65536
image x 500 xfs
image xsmall 500 xfs -b size=1024
image bt 500 btrfs
image n 500 ext4 -b 4096
places=ext4:$work/a,ext4:$work/b,ext4s:$work/small,big:$work/clusters
places+=,xfs:$work/x,xfss:$work/xsmall,btrfs:$work/bt,nopunch:$work/n
python3 "$lib_dir/../mount/resync_exerciser.py" --work "$work" \
	--reference "$work/r" --places "$places" "$@" || fail "see above"
