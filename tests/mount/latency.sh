#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# While requests come fast, and only then, idle processors poll: what the kernel
# is asked for by the option low_latency=.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq fusermount3

device=/dev/cpu_dma_latency
[[ -w $device ]] || skip "no $device"
(($(getconf _NPROCESSORS_ONLN) > 1)) || skip "one processor: nobody is woken"

# device_is_open: by the daemon.
device_is_open()
{
	find "/proc/$daemon_pid/fd" -lname "$device" | grep -q .
}

# What the whole machine has to bear with, in us.
latency_is()
{
	(($(od -An -td4 -N4 "$device") == $1))
}
before=$(od -An -td4 -N4 "$device")
((before > 0)) || skip "somebody else keeps processors from halting"

load()
{
	while [[ ! -e $work/enough ]]; do
		(cd "$mnt" && seq 500 | xargs touch && rm -f [0-9]*) || break
	done
}

image a 100
image b 100
sm init --name a,b "$work/a" "$work/b" >/dev/null

mount_volume -o low_latency=off "$work/a" "$work/b"
! device_is_open || fail "low_latency=off has $device open"
unmount_volume

mount_volume -o low_latency=auto "$work/a" "$work/b"
driver=$(cat /sys/devices/system/cpu/cpuidle/current_driver 2>/dev/null)
if [[ $driver == haltpoll ]]; then
	device_is_open || fail "auto: $device is not open"
else
	! device_is_open || fail "auto: $device is open with ${driver:-no driver}"
fi
unmount_volume

mount_volume -o low_latency=on "$work/a" "$work/b"
device_is_open || fail "on: $device is not open"
latency_is "$before" || fail "processors poll before any request"
load &
load=$!
poll_until 10 latency_is 0 || fail "requests come, and processors may halt"
touch "$work/enough"
wait "$load"
poll_until 10 latency_is "$before" || fail "processors poll without requests"

rm "$work/enough"
load 2>/dev/null &
load=$!
poll_until 10 latency_is 0 || fail "the second time processors may halt"
kill -9 "$daemon_pid"
wait "$load"
poll_until 10 latency_is "$before" || fail "polling outlives the daemon"
fusermount3 -u "$mnt"

refused "$SEQMIRROR" mount -o low_latency=1 "$work/a" "$work/b" "$mnt"
[[ $refusal == *low_latency=1* ]] || fail "$refusal"
