#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Requests by io_uring: the same files as by /dev/fuse, no request waits for
# one that waits for it, nothing turns idly, and every kind of end is one.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq fusermount3

switch=/sys/module/fuse/parameters/enable_uring
[[ -e $switch ]] || skip "the kernel has no FUSE over io_uring"
before=$(cat "$switch")
at_end()
{
	echo "$before" >"$switch"
}
echo Y 2>/dev/null >"$switch" || skip "$switch cannot be written"

by_ring()
{
	tail -n 2 "$daemon_log" | grep -q "requests come by io_uring" &&
		[[ $(status_of .transport) == io_uring ]]
}

by_device()
{
	tail -n 2 "$daemon_log" | grep -q "requests come by /dev/fuse" &&
		[[ $(status_of .transport) == /dev/fuse ]]
}

ring_threads()
{
	local dir

	for dir in "/proc/$daemon_pid/task/"*; do
		! grep -q '^fuse-ring' "$dir/comm" || echo "$dir"
	done
}

# free_threads NAME: there are some, and all run where the process may.
free_threads()
{
	local dir all count=0

	all=$(grep Cpus_allowed: "/proc/$daemon_pid/status")
	for dir in "/proc/$daemon_pid/task/"*; do
		[[ $(cat "$dir/comm") == "$1" ]] || continue
		count=$((count + 1))
		eq "a thread of $1" "$(grep Cpus_allowed: "$dir/status")" "$all"
	done
	((count)) || fail "no thread of $1"
}

ring_switches()
{
	local dir

	for dir in $(ring_threads); do
		grep ctxt_switches "$dir/status"
	done
}

image a 300
image b 300
sm init --name a,b "$work/a" "$work/b" >/dev/null

# ---- which of the two ----

mount_volume -o io_uring=auto "$work/a" "$work/b"
if ! poll_until 10 by_ring; then
	grep -q 'by /dev/fuse: io_uring: .*forbidden' "$daemon_log" &&
		skip "io_uring is forbidden here"
	fail "io_uring=auto: $(tail -n 1 "$daemon_log")"
fi
unmount_volume
mount_volume -o io_uring=off "$work/a" "$work/b"
poll_until 10 by_device || fail "io_uring=off: $(tail -n 1 "$daemon_log")"
((!$(ring_threads | wc -l))) || fail "io_uring=off has threads for rings"
unmount_volume

echo N >"$switch"
refused "$SEQMIRROR" mount -o io_uring=on "$work/a" "$work/b" "$mnt"
[[ $refusal == *"echo Y > $switch"* ]] || fail "no hint: $refusal"
mount_volume "$work/a" "$work/b"
poll_until 10 by_device || fail "by ring, though it is switched off"
echo x >"$mnt/x"
unmount_volume
echo Y >"$switch"

# ---- what is done through it ----

for cache in writeback writethrough; do
	mount_volume -o "io_uring=on,cache=$cache" "$work/a" "$work/b"
	poll_until 10 by_ring || fail "io_uring=on: $(tail -n 1 "$daemon_log")"
	mkdir "$mnt/$cache"
	python3 "$lib_dir/ops.py" "$mnt/$cache" || fail "with cache=$cache"
	# More at once than a queue may have threads.
	mkdir "$mnt/$cache.load"
	python3 "$lib_dir/uring_load.py" "$mnt/$cache.load" 48 4 ||
		fail "many at once, with cache=$cache"
	# What a ring's thread began is bound to no processor.
	free_threads pool
	dd if=/dev/urandom of="$work/big" bs=1M count=24 status=none
	cp "$work/big" "$mnt/$cache.big"
	echo 3 >/proc/sys/vm/drop_caches
	cmp "$work/big" "$mnt/$cache.big" || fail "large requests"
	volume_is healthy || fail "the volume is $(status_of .state)"
	unmount_volume
	same_tree "$work/a" "$work/b"
done

# ---- what fails falls back ----

# A ring that cannot be made; an entry that the kernel does not take; one that
# it does not take later, when a queue grows.
faults=(open:eio:1 register:eio:1 register:eio:4)
grep -q SEQMIRROR_FAULT "$SEQMIRROR" || faults=()
for fault in "${faults[@]}"; do
	export SEQMIRROR_FAULT=mount.ring.$fault
	mount_volume -o io_uring=auto "$work/a" "$work/b"
	unset SEQMIRROR_FAULT
	mkdir "$mnt/$fault"
	timeout 60 python3 "$lib_dir/ops.py" "$mnt/$fault" || fail "$fault"
	timeout 60 python3 "$lib_dir/uring_load.py" "$mnt/$fault" 8 4 ||
		fail "$fault: many at once"
	unmount_volume
	same_tree "$work/a" "$work/b"
done

# ---- idle ----

mount_volume -o io_uring=on "$work/a" "$work/b"
count=$(ring_threads | wc -l)
((count >= 1 && count <= 32 * $(getconf _NPROCESSORS_CONF) + 32)) ||
	fail "$count threads for rings"
was=
same=0
# Looked at 20 times in a row, about a second: no thread has run.
idle_all_along()
{
	local now

	now=$(ring_switches)
	[[ $now == "$was" ]] && same=$((same + 1)) || same=0
	was=$now
	((same >= 20))
}
poll_until 20 idle_all_along || fail "threads turn although nobody asks"

# ---- ends ----

# Somebody has it open.
exec 7>"$mnt/held"
echo held >&7
kill -TERM "$daemon_pid"
daemon_ended
exec 7>&-
eq "what was written before the end" "$(cat "$work/b/held")" held
same_tree "$work/a" "$work/b"

mount_volume -o io_uring=on "$work/a" "$work/b"
echo unmounted >"$mnt/by_hand"
fusermount3 -u "$mnt"
daemon_ended
eq "what was written before fusermount3" "$(cat "$work/b/by_hand")" unmounted
same_tree "$work/a" "$work/b"

# The connection is broken off in the middle of work.
mkdir connections
mount -t fusectl fusectl connections || skip "no fusectl"
mount_volume -o io_uring=on "$work/a" "$work/b"
connection=connections/$(mountpoint -d "$mnt" | cut -d: -f2)
echo kept >"$mnt/kept"
sync "$mnt/kept"
mkdir "$mnt/cut"
start_helper python3 "$lib_dir/uring_load.py" "$mnt/cut" 4 1000 2>load.err
poll_until 20 test -e "$mnt/cut/0-3" || fail "no load: $(cat load.err)"
echo 1 >"$connection/abort"
wait_until 20 is_dead "$helper_pid"
daemon_ended
not_mounted "$mnt" || umount -l "$mnt"
same_tree "$work/a" "$work/b"

# The daemon dies in the middle of work.
mount_volume -o io_uring=on "$work/a" "$work/b"
eq "what was synced before it was broken off" "$(cat "$mnt/kept")" kept
mkdir "$mnt/killed"
start_helper python3 "$lib_dir/uring_load.py" "$mnt/killed" 4 1000 no-seek \
	2>load.err
poll_until 20 test -e "$mnt/killed/0-3" || fail "no load: $(cat load.err)"
kill_daemon
wait_until 20 is_dead "$helper_pid"
mount_volume -o io_uring=on "$work/a" "$work/b"
wait_until 60 volume_is healthy
[[ -e $mnt/killed/0-3 ]] || fail "what was synced is lost"
unmount_volume
same_tree "$work/a" "$work/b"
