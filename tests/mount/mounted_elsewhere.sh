#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Somebody has copied all mounts into a mount namespace of his own: an unmount says
# who keeps the volume mounted, and ends when he does.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root

mkdir a b
sm init --name a,b "$work/a" "$work/b" >/dev/null
mount_volume "$work/a" "$work/b"
echo contents >"$mnt/file"

mkfifo inside
start_helper unshare -m sh -c 'echo >inside; exec sleep 300'
holder=$helper_pid
read -r _ <inside
"$SEQMIRROR" unmount "$mnt" 2>said &
unmounting=$!
is_said()
{
	grep -q "waiting for process $holder (s.*): it has the volume mounted in a" said
}
wait_until 30 is_said
is_alive "$daemon_pid" || fail "the daemon is gone, and it is mounted there"
is_alive "$unmounting" || fail "an unmount that did not wait"
kill "$holder"
wait "$unmounting" || fail "unmount: $(cat said)"
wait "$daemon_pid" || fail "the daemon: $?"
daemon_pid=
same_tree "$work/a" "$work/b"
eq contents "$(cat b/file)" contents
