#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Stores whose filesystems keep modification times less exactly, or not as far,
# are no different for that; where the time is another one, a scrub says so.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

# Seconds until 2038; nanoseconds until 2446.
image b 200 ext4 -I 128
image a 200
sm init --name a,b "$work/a" "$work/b" >/dev/null
mount_volume "$work/a" "$work/b"
mkdir "$mnt/dir"
echo now >"$mnt/now"
ln -s now "$mnt/link"
for time in '1800-01-01' '1901-12-14 00:00:00.7' '1969-12-31 23:59:59.5' \
	'2020-01-01 00:00:00.123456789' '2040-01-01' '2400-01-01 00:00:00.5' \
	'2500-01-01'; do
	touch -d "$time UTC" "$mnt/$time" "$mnt/dir"
done
sm scrub --wait "$mnt" >scrub.out || fail "$(cat scrub.out)"

# Brought back by a lap as well.
detach b
touch -d '2030-01-01 00:00:00.5 UTC' "$mnt/now" "$mnt/dir"
attach b
sm scrub --wait "$mnt" >scrub.out || fail "$(cat scrub.out)"

# Behind our back: a second is a difference.
touch -d '2030-01-01 00:00:01 UTC' b/now
rc=0
sm scrub --wait "$mnt" >scrub.out 2>&1 || rc=$?
eq "the scrub of another time" "$rc" 1
grep -q '^now: attributes mtime' scrub.out || fail "$(cat scrub.out)"
sm scrub --wait --repair --prefer a "$mnt" >/dev/null || :
wait_until 30 store_is b online
sm scrub --wait "$mnt" >scrub.out || fail "$(cat scrub.out)"
unmount_volume
same_tree --no-times "$work/a" "$work/b"
