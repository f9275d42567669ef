#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A large directory is read while it changes, with a store away, and while the
# store that answers leaves: what stays is seen exactly once, and positions
# hold.
#
#	ENTRIES		that stay (default 20000; the soak: 60000)
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

# An inode each.
image a 700 ext4 -N 250000
image b 700 ext4 -N 250000
sm init --name a,b "$work/a" "$work/b" >/dev/null
mount_volume "$work/a" "$work/b"
coproc READER {
	exec python3 "$lib_dir/largedir.py" "$mnt/large" "${ENTRIES:-20000}"
}
# shellcheck disable=SC2153
helpers+=("$READER_PID")

tell()
{
	echo "$*" >&"${READER[1]}"
}

answered()
{
	local answer

	read -r -t 400 answer <&"${READER[0]}" || fail "$1: no answer"
	[[ $answer == ok ]] || fail "$*: $answer"
}

reader()
{
	tell "$@"
	answered "$@"
}

reader fill
reader churn
reader read 3
reader seek 200
# The one that answers leaves in the middle of it.
tell read 6
detach a
answered "read while a leaves"
reader seek 200
tell read 6
attach a
answered "read while a returns"
tell read 6
detach b
answered "read while b leaves"
reader seek 200
attach b
reader read 1
reader calm
reader seek 200
reader names
unmount_volume
mount_volume "$work/b"
reader seek 100
reader names
unmount_volume
mount_volume "$work/a" "$work/b"
reader read 1
unmount_volume
same_tree "$work/a" "$work/b"
