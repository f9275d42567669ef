#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A store on a server that calls everything stale for a while (ESTALE): that says
# nothing of what lies there. A resync moves nothing out of the way, and a
# recovery takes nothing for gone.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

stale()
{
	faults b fail "$1" ESTALE '[dg]*'
}

struck()
{
	(($(fault_hits b) > 0))
}

nothing_found()
{
	[[ -z $(ls -A a/.seqmirror/found b/.seqmirror/found 2>/dev/null |
		grep -v :) ]] || fail "found: $(ls -A {a,b}/.seqmirror/found)"
}

mkdir a
faulty b
sm init --name a,b "$work/a" "$work/b" >/dev/null
mount_volume "$work/a" "$work/b"
mkdir -p "$mnt"/d{1..4}/d
for dir in "$mnt"/d{1..4}; do
	echo old >"$dir/g1"
	echo old >"$dir/g2"
done

# As the target of a resync.
for call in opendir open getattr lookup; do
	detach b
	for dir in "$mnt"/d{1..4}; do
		echo "new with $call" >"$dir/g1"
		ln -f "$dir/g1" "$dir/d/link"
		mv "$dir/g2" "$dir/g3"
		mv "$dir/g3" "$dir/g2"
	done
	stale "$call"
	sm attach "$mnt" b >/dev/null 2>&1 || :
	wait_until 20 struck
	faults b clear
	nothing_found
	poll_until 10 store_is b online || attach b
	nothing_found
done

# As the only one that knows what a crash left in doubt.
detach a
for call in opendir open getattr lookup; do
	for dir in "$mnt"/d{1..4}; do
		echo "newer with $call" >"$dir/g1"
		mv "$dir/g2" "$dir/g-$call"
		cp "$dir/g-$call" "$dir/g2"
	done
	cp -a "$mnt" "$work/want"
	kill_daemon
	stale "$call"
	# It is refused, or nothing of it is asked for yet.
	start_mount "$work/b"
	poll_until 60 mount_settled || fail "the mount hangs"
	if is_alive "$daemon_pid"; then
		sm unmount "$mnt" || :
	fi
	kill_daemon
	struck || fail "$call was not asked for"
	faults b clear
	mount_volume "$work/b"
	same_tree --no-root --no-times "$mnt" "$work/want"
	rm -r "$work/want"
done
unmount_volume
mount_volume "$work/a" "$work/b"
attach a
nothing_found
unmount_volume
same_tree a b
