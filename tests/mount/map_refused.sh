#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The map of the last store cannot be written any more: the volume is read-only,
# and what was acknowledged before is there after the next mount. Until then the
# directory that the map does not know well is an error, not an old listing that
# a backup would take for the truth; all else can be read.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

faulty a
sm init "$work/a" >/dev/null
mount_volume -o checkpoint=1000 "$work/a"
mkdir "$mnt/d" "$mnt/e"
echo one >"$mnt/d/one"
echo one >"$mnt/e/one"
ls "$mnt/d" "$mnt/e" >/dev/null # the map has it
faults a fail write,fsync EIO 'meta.db*'
echo two >"$mnt/d/two" || fail "the directory is armed: no need of the map"
rm "$mnt/d/one" || fail "the directory is armed: no need of the map"
# As who comes with nothing in memory sees it.
listed=$(find "$mnt/d" -mindepth 1 -printf '%f ' 2>errors) || :
[[ $listed == 'two ' || -s errors ]] ||
	fail "listed '$listed', though 'two' was made and 'one' removed"
eq "what the map knows" "$(cat "$mnt/e/one")" one
eq "what the map knows" "$(ls "$mnt/e")" one
! echo three 2>/dev/null >"$mnt/e/three" || fail "a change after that"
sm status "$mnt" | grep -qi 'read-only' || fail "status: $(sm status "$mnt")"
! sm unmount "$mnt" 2>/dev/null || fail "unmounted well"
wait_until 20 not_mounted "$mnt"
kill_daemon
faults a clear
mount_volume "$work/a"
eq "after the next mount" "$(ls "$mnt/d")" two
eq "after the next mount" "$(cat "$mnt/d/two")" two
unmount_volume
sm check "$work/a" >/dev/null || fail "check"
