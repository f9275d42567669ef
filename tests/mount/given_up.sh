#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A store whose resync was given up, or cut, is half of what it was and half of
# what it was to become: nobody calls it safe to remove before one is done,
# whoever is asked, also after a mount without it. It comes back when it is asked
# for, not by itself, and says what it is to a volume that it does not belong to.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

# The first bytes of what it lacks are there, the rest takes some seconds more.
begun()
{
	[[ -f b/more ]] && (($(stat -c %b b/more) * 512 >= 1 << 20))
}

is_safe()
{
	sm status "$mnt" >shown
	grep -q '^  b .*safe to remove' shown || fail "not safe: $(cat shown)"
	eq "complete" "$(complete "$mnt")" true
}

# left_stale: b is detached, and then a gets what takes a while to copy.
left_stale()
{
	rm -rf a b away
	mkdir a b
	sm init --name a,b a b >/dev/null 2>&1
	mount_volume -o resync_rate=4M a b
	echo old >"$mnt/file"
	detach b
	is_safe
	head -c 24M /dev/urandom >"$mnt/more"
	echo new >"$mnt/file"
}

# complete PLACE: what is said there of b.
complete()
{
	status_of '.stores[] | select(.name == "b") | .complete' "$1"
}

# is_half PLACE STATE: said there of b, in both kinds of words.
is_half()
{
	sm status "$1" >shown
	! grep -q 'safe to remove\|^  b  *detached' shown ||
		fail "half overwritten, and said to be complete: $(cat shown)"
	[[ $(complete "$1") != true ]] ||
		fail "said to be complete: $(sm status --json "$1")"
	eq "state of b" "$(status_of \
		'.stores[] | select(.name == "b") | .state' "$1")" "$2"
}

# is_given_up PLACE: the same, and why.
is_given_up()
{
	is_half "$1" detached
	grep -q '^  b  *resync given up' shown || fail "state: $(cat shown)"
	grep -q 'no complete copy' shown || fail "not explained: $(cat shown)"
	eq "complete" "$(complete "$1")" false
}

echo "-- given up by the user"
left_stale
sm attach "$mnt" b >/dev/null
wait_until 20 begun
eq "complete, in its resync" "$(complete "$mnt")" false
sm resync --cancel "$mnt" b >/dev/null
wait_until 20 store_is b detached
is_given_up "$mnt"
refused "$SEQMIRROR" detach "$mnt" b
[[ $refusal == *"no complete copy: its resync was not finished" ]] ||
	fail "$refusal"
unmount_volume
is_given_up a
is_half b resyncing
for there in yes no; do
	[[ $there == yes ]] || mv b away
	mount_volume a
	is_given_up "$mnt"
	refused "$SEQMIRROR" detach "$mnt" b
	[[ $refusal == *"no complete copy: its resync was not finished" ]] ||
		fail "$refusal"
	# Not by itself, and a checkpoint keeps that.
	echo "$there" >"$mnt/other"
	unmount_volume
	is_given_up a
done
mv away b
grep -q 'b stays out until it is attached' "$daemon_log" ||
	fail "the mount does not tell"
mount_volume a
attach b
eq "complete, and done" "$(complete "$mnt")" true
detach b
is_safe
unmount_volume
same_tree a b

echo "-- given up just before a crash"
left_stale
sm attach "$mnt" b >/dev/null
wait_until 20 begun
sm resync --cancel "$mnt" b >/dev/null
wait_until 20 store_is b detached
wait_until 20 grep -q 'resync ended early' "$daemon_log"
kill_daemon
mount_volume a
is_given_up "$mnt"
unmount_volume
# Named it is asked for.
mount_volume a b
wait_until 60 store_is b online
unmount_volume
same_tree a b

echo "-- cut by a crash: it goes on when it is there, and is not safe before"
left_stale
sm attach "$mnt" b >/dev/null
wait_until 20 begun
kill_daemon
mv b away
is_half a resyncing
mount_volume a
is_half "$mnt" missing
unmount_volume
is_half a missing
mv away b
mount_volume a
wait_until 60 store_is b online
unmount_volume
same_tree a b

echo "-- unmounted, and cut"
left_stale
unmount_volume
start_helper "$SEQMIRROR" resync --bwlimit 4M a b
wait_until 20 begun
kill -KILL "$helper_pid"
wait "$helper_pid" && fail "done before it was cut"
is_half a resyncing
mv b away
mount_volume a
is_half "$mnt" missing
unmount_volume
mv away b
sm resync a b >/dev/null
same_tree a b
eq "state of b" "$(status_of '.stores[] | select(.name == "b") | .state' a)" \
	online

echo "-- half overwritten by the other side of a fork, it has not changed alone"
left_stale
unmount_volume
mv a away
mount_volume b
echo mine >"$mnt/mine"
unmount_volume
mv away a
start_helper "$SEQMIRROR" resync --bwlimit 4M --prefer a a b
wait_until 20 begun
kill -KILL "$helper_pid"
wait "$helper_pid" && fail "done before it was cut"
mv b away
mount_volume -o no_auto_attach a
mv away b
for words in attach resync; do
	refused "$SEQMIRROR" "$words" --wait "$mnt" b
	[[ $refusal == *"half overwritten by a resync that was not finished"*"--prefer"* &&
		$refusal != *"on its own"* ]] || fail "$words: $refusal"
done
unmount_volume
sm resync --prefer a a b >/dev/null
same_tree a b
