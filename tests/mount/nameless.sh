#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Files that are open and have no name any more are not lost with a store: one
# that comes back gets a copy of them, and one that alone has them stays.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

image a 300
image b 100
sm init --name a,b "$work/a" "$work/b" >/dev/null
mount_volume "$work/a" "$work/b"

# The programs that hold them open; it does what it is told and says so.
coproc HOLDER { exec python3 "$lib_dir/nameless.py" "$mnt"; }
# shellcheck disable=SC2153
helpers+=("$HOLDER_PID")

holder()
{
	local answer

	echo "$*" >&"${HOLDER[1]}"
	read -r -t 60 answer <&"${HOLDER[0]}" || fail "$1: no answer"
	[[ $answer == ok ]] || fail "$*: $answer"
}

# Made with both, changed while one is away, and then with the other alone.
holder make 1
detach b
holder change 2
attach b
detach a
holder check
holder change 3
# What is removed while the store is away, was on it under a name.
holder remove
attach a
detach b
holder check
holder change 4
attach b

# Changed all the time while it comes back.
detach a
holder busy
attach a
holder quiet
detach b
holder check

# No room for one: then the store that has it stays, until it is closed.
holder large 120
attach b
refused "$SEQMIRROR" detach "$mnt" a
[[ $refusal == *"lie on it alone"* ]] || fail "$refusal"
holder check
holder close
wait_until 20 sm detach "$mnt" a
attach a

stores_are_clean()
{
	local store

	unmount_volume
	same_tree "$work/a" "$work/b"
	for store in a b; do
		eq "limbo of $store" \
			"$(ls -A "$work/$store/.seqmirror/limbo")" ""
		eq "found of $store" \
			"$(ls -A "$work/$store/.seqmirror/found")" ""
	done
}

stores_are_clean

# Nor does a name stay there that could not be removed at once.
mkdir c
faulty d
sm init --name c,d "$work/c" "$work/d" >/dev/null 2>&1
mount_volume "$work/c" "$work/d"
coproc HOLDER { exec python3 "$lib_dir/nameless.py" "$mnt"; }
helpers+=("$HOLDER_PID")
holder make 9
detach d
faults d times 1 fail unlink EIO 'gone*'
attach d
(($(fault_hits d) > 0)) || fail "nothing was to be removed"
grep -q 'could not be copied' "$daemon_log" || fail "nothing failed"
faults d clear
holder close
unmount_volume
eq "limbo of d" "$(ls -A d.below/.seqmirror/limbo)" ""
umount d

# A kill while such a file still has its name in limbo.
grep -q SEQMIRROR_FAULT "$SEQMIRROR" || exit 0
export SEQMIRROR_FAULT=mirror.nameless.made:kill
mount_volume "$work/a" "$work/b"
unset SEQMIRROR_FAULT
detach b
holder make 9
sm attach "$mnt" b >/dev/null 2>&1 || :
wait_until 60 is_dead "$daemon_pid"
kill_daemon
[[ -n $(ls -A "$work/b/.seqmirror/limbo") ]] || fail "nothing was made"
mount_volume "$work/a" "$work/b"
wait_until 60 store_is b online
stores_are_clean
