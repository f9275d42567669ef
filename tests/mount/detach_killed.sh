#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A process that is killed while it waits for the daemon leaves an error behind in
# the kernel (Linux 5.17 and later: of the file's times), and nothing that was not
# written: a store is detached all the same.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

mkdir a b
sm init --name a,b "$work/a" "$work/b" >/dev/null
mount_volume "$work/a" "$work/b"
mkfifo go
at_end()
{
	[[ -z $daemon_pid ]] || kill -CONT "$daemon_pid"
}
start_helper python3 -c '
import os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
os.write(fd, b"content")
open(sys.argv[2]).read()
os.posix_fallocate(fd, 0, 65536)
' "$mnt/file" go
killed=$helper_pid

# stands_in FUNCTION: of the kernel, for the daemon.
stands_in()
{
	grep -q "$1" "/proc/$killed/stack"
}

all_stopped()
{
	[[ -z $(grep -L '^State:[[:space:]]*T' "/proc/$daemon_pid/task/"*/status) ]]
}

grep -q . /proc/self/stack || skip "no stacks in /proc"
exec 7>go # when it has written
kill -STOP "$daemon_pid"
wait_until 20 all_stopped
exec 7>&-
wait_until 20 stands_in fuse_file_fallocate
kill -KILL "$killed"
# It goes on to the file's times, is told that it was killed, and closes.
wait_until 20 stands_in fuse_flush
kill -CONT "$daemon_pid"
wait "$killed" || :
detach b
eq "what was written" "$(cat b/file)" content
attach b
unmount_volume
same_tree "$work/a" "$work/b"
