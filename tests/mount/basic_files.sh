#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Everything that an ordinary program does to files works on the mount, with
# either way of caching, and both stores are equal afterwards.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

image a 300
image b 300
sm init --name a,b "$work/a" "$work/b" >/dev/null

for cache in writeback writethrough; do
	mount_volume -o "cache=$cache" "$work/a" "$work/b"
	mkdir "$mnt/$cache"
	python3 "$lib_dir/ops.py" "$mnt/$cache" || fail "with cache=$cache"
	volume_is healthy || fail "the volume is $(status_of .state)"
	unmount_volume
	same_tree "$work/a" "$work/b"
done
