#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# What seqmirror reads for itself moves no access time on a store: scrub, resync
# (source and target), recovery, check. What an application reads does, unless
# the mount says noatime.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq losetup

image a 64
image b 64
# Every read moves the time, and at once.
for s in a b; do
	mount -o remount,strictatime "$work/$s"
done
sm init --name a,b "$work/a" "$work/b" >/dev/null

drop_caches()
{
	sync
	echo 3 >/proc/sys/vm/drop_caches
}

# old FILE...: last read in 1999, as the application says.
old()
{
	touch -a -d "1999-01-02 03:04:05" "${@/#/$mnt/}"
}

# year STORE FILE
year()
{
	date -d "@$(stat -c %X "$work/$1/$2")" +%Y
}

# unread WHAT FILE...: on both stores still.
unread()
{
	local file

	for file in "${@:2}"; do
		eq "$1: $file on a was read in" "$(year a "$file")" 1999
		eq "$1: $file on b was read in" "$(year b "$file")" 1999
	done
}

files=(f g d/h d)
scrub()
{
	sm scrub --wait --restart "$mnt" >scrub.out || fail "$(cat scrub.out)"
}

mount_volume "$work/a" "$work/b"
mkdir "$mnt/d"
head -c 300000 /dev/urandom | tee "$mnt/f" "$mnt/g" >"$mnt/d/h"
scrub # of files that it was the first to open
old "${files[@]}"
unmount_volume
mount_volume "$work/a" "$work/b"
drop_caches
scrub
unread scrub "${files[@]}"

detach b
printf changed | dd of="$mnt/g" bs=1 seek=5000 conv=notrunc status=none
head -c 100000 /dev/urandom >"$mnt/new"
old g new
drop_caches
attach b
unread resync "${files[@]}" new

# ---- an application ----

drop_caches
cat "$mnt/f" >/dev/null
[[ $(year a f)$(year b f) != 19991999 ]] || fail "reading is not seen"
# Its descriptors are open now, and the scrub reads through others.
old f
drop_caches
scrub
unread "scrub after reading" f

# ---- recovery compares what was being written ----

echo more >>"$mnt/g"
old "${files[@]}" new
sync -f "$mnt"
kill_daemon
drop_caches
mount_volume "$work/a" "$work/b"
wait_until 60 volume_is healthy
unread recovery "${files[@]}" new
unmount_volume
drop_caches
sm check "$work/a" >/dev/null
sm check "$work/b" >/dev/null
unread check "${files[@]}" new

# ---- noatime ----

mount_volume -o noatime "$work/a" "$work/b"
echo made >"$mnt/made"
old made
drop_caches
cat "$mnt/f" "$mnt/g" "$mnt/d/h" "$mnt/made" >/dev/null
ls -lR "$mnt" >/dev/null
unread noatime "${files[@]}" made
unmount_volume
same_tree "$work/a" "$work/b"
