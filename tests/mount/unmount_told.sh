#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# unmount says it, and fails, when the daemon ended without its last checkpoint:
# killed in it, or because no store could be written any more. Two at once tell
# both what became of the mount.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq
# Before, nobody but its parent learns how a process ended.
printf '%s\n' 6.15 "$(uname -r)" | sort -CV || skip "needs Linux 6.15"

# tells_of WORDS: what unmount said in the file out, and left.
tells_of()
{
	grep -q "^seqmirror: .*unmounted, but $1.*the next mount repairs" out ||
		fail "not said: $(<out)"
	not_mounted "$mnt" || fail "still mounted"
	eq "left in good order" "$(status_of .clean a)" false
}

in_step()
{
	mount_volume a b
	wait_until 20 volume_is healthy
}

faulty a
faulty b
sm init --name a,b a b >/dev/null 2>&1

# Killed in the last checkpoint, where the program is built so.
SEQMIRROR_FAULT=mirror.ckpt.times:kill mount_volume -o checkpoint=3600 a b
echo one >"$mnt/one"
sync "$mnt/one"
if sm unmount "$mnt" >out 2>&1; then
	daemon_ended
else
	! wait "$daemon_pid" 2>/dev/null || fail "the daemon ended well"
	daemon_pid=
	tells_of "its daemon died before the last checkpoint"
fi
in_step
eq "what was written" "$(<"$mnt/one")" one

# One store of two: the other has it all, and was left in good order.
echo two >"$mnt/two"
faults b fail modify EIO
sm unmount "$mnt" >out 2>&1 || fail "$(<out)"
daemon_ended
faults b clear
eq "left in good order" "$(status_of .clean a)" true

# Somebody else unmounts it while this one asks the daemon: it is unmounted, and
# that is what it waits for and says.
asks_daemon()
{
	find "/proc/$1/fd" -lname '*pidfd*' 2>/dev/null | grep -q .
}

in_step
kill -STOP "$daemon_pid"
"$SEQMIRROR" unmount "$mnt" >out 2>&1 &
second=$!
wait_until 10 asks_daemon "$second"
# umount(8) would ask the daemon first.
python3 -c 'import ctypes, sys
if ctypes.CDLL(None).umount2(sys.argv[1].encode(), 8):
    sys.exit("umount2")' "$mnt"
kill -CONT "$daemon_pid"
wait "$second" || fail "not unmounted: $(<out)"
eq "what it said" "$(<out)" ""
is_dead "$daemon_pid" || fail "it did not wait for the daemon"
daemon_ended

# The daemon is killed while this one asks it: that is said once.
in_step
echo four >"$mnt/four"
sync "$mnt/four"
kill -STOP "$daemon_pid"
"$SEQMIRROR" unmount "$mnt" >out 2>&1 &
second=$!
wait_until 10 asks_daemon "$second"
kill -KILL "$daemon_pid"
! wait "$daemon_pid" 2>/dev/null || fail "the daemon ended well"
daemon_pid=
! wait "$second" || fail "a success"
tells_of "its daemon died before the last checkpoint"
eq "lines" "$(wc -l <out)" 1

# Both.
in_step
echo three >"$mnt/three"
faults a fail modify EIO
faults b fail modify EIO
! sm unmount "$mnt" >out 2>&1 || fail "a success"
! wait "$daemon_pid" || fail "the daemon ended well"
daemon_pid=
faults a clear
faults b clear
tells_of "not in good order"
in_step
unmount_volume
same_tree a.below b.below
