#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A pause holds for resyncs that have not begun: who asks for it is told, and so
# is everybody who looks at the volume or waits for a store meanwhile.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

resume="until \`seqmirror resync --resume $mnt\`"

mkdir a b
sm init --name a,b a b >/dev/null 2>&1
mount_volume a b
sm status "$mnt" | grep -q paused && fail "paused from the beginning"
eq "paused" "$(status_of .resync_paused)" false

echo "-- with nothing running"
eq "said of a pause" "$(sm resync --pause "$mnt")" \
	"no resync is running, and none begins $resume"
eq "as JSON" "$(sm resync --pause --json "$mnt" | jq -c .)" \
	'{"running":false,"paused":true}'
eq "paused" "$(status_of .resync_paused)" true
eq "the line of the status" "$(sm status "$mnt" | grep paused)" \
	"resyncs are paused $resume"
volume_is healthy || fail "the volume is $(status_of .state)"

echo "-- a store comes back meanwhile"
detach b
echo file >"$mnt/file"
eq "said by attach" "$(sm attach "$mnt" b)" \
	"b is back, and resyncs are paused $resume"
eq "state" "$(store_state b)" resyncing
eq "said by resync" "$(sm resync "$mnt" b)" \
	"b is back, and resyncs are paused $resume"
eq "lines of the status" "$(sm status "$mnt" | grep -c paused)" 2
eq "said of a second pause" "$(sm resync --pause "$mnt")" \
	"resyncs are paused $resume"

# One that waits says what for, and goes on.
warned()
{
	[[ $(cat waits.err) == *"resync of b: paused $resume" ]]
}
"$SEQMIRROR" attach --wait "$mnt" b >waits.out 2>waits.err &
first=$!
wait_until 10 warned
is_alive "$first" || fail "attach --wait has ended"
eq "said by resume" "$(sm resync --resume "$mnt")" ""
wait "$first" || fail "attach --wait: status $?"
grep -q "brought in step" waits.out || fail "$(cat waits.out)"
eq "lines of the warning" "$(wc -l <waits.err)" 1
store_is b online || fail "b is $(store_state b)"
sm status "$mnt" | grep -q paused && fail "paused still"

echo "-- what is given up does not end the pause"
detach b
echo more >"$mnt/file"
sm resync --pause "$mnt" >/dev/null
sm attach "$mnt" b >/dev/null
# Until something may have been changed there, b is as complete as it was.
begun()
{
	[[ $(status_of '.stores[] | select(.name == "b") | .complete') == false ]]
}
wait_until 20 begun
# Before or after the one that is given up has ended.
said=$(sm resync --cancel "$mnt" b)
[[ $said == "resyncs are paused $resume" ||
	$said == "no resync is running, and none begins $resume" ]] ||
	fail "said by cancel: $said"
mkdir c
wait_until 20 store_is b detached
sm status "$mnt" >status.out
! grep -q 'safe to remove' status.out ||
	fail "one that was given up in its resync is said to be complete"
refused "$SEQMIRROR" detach "$mnt" b
[[ $refusal == *"no complete copy: its resync was not finished" ]] ||
	fail "$refusal"
eq "said by add" "$(sm add "$mnt" c 2>/dev/null)" \
	"c is a member, and resyncs are paused $resume"
sm resync --resume "$mnt"
attach c
attach b

echo "-- nor does an unmount keep it"
sm resync --pause "$mnt" >/dev/null
unmount_volume
mount_volume a b c
eq "paused" "$(status_of .resync_paused)" false
unmount_volume
same_tree a b
same_tree a c

echo "-- who waits for one that is removed is told that"
is_stopped()
{
	grep -q '^State:.T' "/proc/$1/status"
}

mount_volume a b c
sm detach "$mnt" b >/dev/null
sm resync --pause "$mnt" >/dev/null
rm -f waits.err # or the warning of before may still be there
"$SEQMIRROR" attach --wait "$mnt" b >waits.out 2>waits.err &
first=$!
wait_until 10 warned
kill -STOP "$first"
wait_until 10 is_stopped "$first"
sm remove "$mnt" b >/dev/null
kill -CONT "$first"
! wait "$first" || fail "a success: $(cat waits.out)"
eq "said" "$(tail -n 1 waits.err)" "seqmirror: resync of b: ended: the store was \
removed from the volume meanwhile"
unmount_volume
