#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Far more files are open than the daemon may have descriptors, also such as
# have no name any more: nothing fails, here or for others, whichever store
# leaves and returns, and nothing is left of them afterwards.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

image a 300
image b 300
sm init --name a,b "$work/a" "$work/b" >/dev/null

# With fewer descriptors for the daemon alone.
start_mount()
{
	echo "--- mount $*" >>"$daemon_log"
	prlimit --nofile=400:400 "$SEQMIRROR" mount -f "$@" "$mnt" \
		>>"$daemon_log" 2>&1 &
	daemon_pid=$!
}

holder()
{
	local answer

	echo "$*" >&"${HOLDER[1]}"
	read -r -t 100 answer <&"${HOLDER[0]}" || fail "$1: no answer"
	[[ $answer == ok ]] || fail "$*: $answer"
}

# holders COUNT
holders()
{
	coproc HOLDER { exec python3 "$lib_dir/openfiles.py" "$mnt" "$1"; }
	# shellcheck disable=SC2153
	holder_pid=$HOLDER_PID
	helpers+=("$holder_pid")
}

others_work()
{
	mkdir "$mnt/d"
	echo x >"$mnt/d/x"
	mv "$mnt/d/x" "$mnt/d/y"
	eq "contents" "$(cat "$mnt/d/y")" x
	rm -r "$mnt/d"
}

stores_are_clean()
{
	local store

	for store in a b; do
		eq "limbo of $store" \
			"$(ls -A "$work/$store/.seqmirror/limbo")" ""
		eq "found of $store" \
			"$(ls -A "$work/$store/.seqmirror/found")" ""
	done
}

mount_volume "$work/a" "$work/b"
holders 1500
holder open
holder check
others_work
holder unlink
holder check
others_work
detach b
eq "limbo of b" "$(ls -A "$work/b/.seqmirror/limbo")" ""
holder write
attach b
detach a
holder check
holder write
attach a
holder check
others_work
holder close
wait "$holder_pid"
unmount_volume
stores_are_clean
same_tree "$work/a" "$work/b"

all_durable()
{
	[[ $(status_of '.seq as $s | all(.stores[]; .durable_seq == $s)') == true ]]
}

# After a kill nobody has them open; whether anything is in doubt or not.
for durable in false true; do
	mount_volume -o checkpoint=1 "$work/a" "$work/b"
	holders 500
	holder open
	holder unlink
	[[ -n $(ls -A "$work/a/.seqmirror/limbo") ]] || fail "nothing in limbo"
	if [[ $durable == true ]]; then
		wait_until 20 all_durable
	fi
	kill_daemon
	kill "$holder_pid"
	wait "$holder_pid" || :
	mount_volume "$work/a" "$work/b"
	wait_until 60 volume_is healthy
	unmount_volume
	stores_are_clean
	same_tree "$work/a" "$work/b"
done
