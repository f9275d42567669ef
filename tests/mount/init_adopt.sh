#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# init adopts a tree where it lies: nothing is copied, inode numbers stay; the
# empty second store is built from it.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

inodes()
{
	(cd "$1" && find . -path ./.seqmirror -prune -o \
		-printf '%i %T@ %s %P\n' | sort)
}

image a 400
image b 400
python3 "$lib_dir/scenario.py" fill "$work/a" --image-mib 64 \
	--mapped-mib 16 --files 500
ln a/disk.img a/tree/disk.link
mkfifo a/tree/fifo
touch -d @1000000000 a/tree/d00 a/tree/d01
inodes a | grep -v ' $' >before
used=$(df --output=used a | tail -n 1)

sm init --name left,right "$work/a" "$work/b" >/dev/null
inodes a | grep -v ' $' >after
diff before after || fail "init changed the adopted tree"

mount_volume "$work/a" "$work/b"
wait_until 60 volume_is healthy
eq "state of right" "$(store_state right)" online
same_tree --no-root "$work/a" "$mnt"
unmount_volume
inodes a | grep -v ' $' >after
diff before after || fail "building the other store changed the adopted tree"
grown=$(($(df --output=used a | tail -n 1) - used))
((grown < 14000)) || fail "the adopted store grew by $grown KiB"
same_tree "$work/a" "$work/b"
