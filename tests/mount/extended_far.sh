#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A file that is extended far behind its end: a filesystem that loses its power
# then may show again, where zeros are to be, what was cut off once (btrfs does).
# One store's copy is made to look like that after a crash: the next mount has to
# know that the block may differ.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root

end=3001000 # within a block, and far from the next window

mkdir a b
sm init --name a,b a b >/dev/null
shown=$end # where

# crash_after NAME COMMAND...: it extends the file NAME; b shows old bytes then.
crash_after()
{
	local name="$1"

	shift
	mount_volume a b
	head -c 4M /dev/urandom >"$mnt/$name"
	truncate -s "$end" "$mnt/$name"
	unmount_volume
	mount_volume -o checkpoint=60 a b
	"$@"
	kill_daemon
	(($(stat -c %s "b/$name") > end)) || fail "$name was not extended"
	printf 'what was cut off' |
		dd of="b/$name" bs=1 seek="$shown" conv=notrunc status=none
	mount_volume a b
	wait_until 20 volume_is healthy
	cmp "a/$name" "b/$name" || fail "$name differs"
	unmount_volume
}

# Past the page cache: the daemon has it when this returns.
crash_after written dd if=/dev/zero of="$mnt/written" bs=4k count=1 \
	seek=20000 conv=notrunc oflag=direct status=none
crash_after truncated truncate -s 80M "$mnt/truncated"
crash_after allocated fallocate -o 64M -l 1M "$mnt/allocated"

# A store that was away: its copy gets zeros up to the block's end, and they are
# synced, before it goes on further behind. Else a lap that ends in between leaves
# a block that no other lap looks at.
mount_volume a b
head -c 4M /dev/urandom >"$mnt/away"
truncate -s "$end" "$mnt/away"
unmount_volume
mv b elsewhere
mount_volume -o degraded,no_auto_attach a
dd if=/dev/urandom of="$mnt/away" bs=4k count=1 seek=20000 conv=notrunc \
	status=none
unmount_volume
mv elsewhere b
SEQMIRROR_FAULT=resync.copy.write:kill sm resync a b >/dev/null 2>&1 &&
	fail "it lived"
eq "size" "$(stat -c %s b/away)" $(((end + 4095) / 4096 * 4096))
sm resync a b >/dev/null
same_tree a b

# In the block of the filesystem's own, where that is a larger one.
rm -r a b
mkdir a
why="no mkfs.xfs"
if ! can_make xfs || ! (image b 320 xfs -b size=64k) >/dev/null 2>&1; then
	echo "not with large blocks: $why"
	exit 0
fi
sm init --name a,b a b >/dev/null
shown=$((end + 8192))
crash_after written dd if=/dev/zero of="$mnt/written" bs=4k count=1 \
	seek=20000 conv=notrunc oflag=direct status=none
crash_after truncated truncate -s 80M "$mnt/truncated"
