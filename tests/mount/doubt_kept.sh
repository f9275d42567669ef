#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A read finds that a store's file is not what its map says, and that map cannot
# be told: no number says so, and the store is healed all the same, whether it
# comes back to this mount, to the next one, or after a kill.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

options=read=prefer=b,no_auto_attach

# Unmounted, and b has another file where "file" should be.
make_wrong()
{
	: >"$daemon_log"
	rm -rf a
	mkdir a
	faulty b
	sm init --name a,b "$work/a" "$work/b" >/dev/null
	mount_volume "$work/a" "$work/b"
	mkdir "$mnt/d"
	echo right >"$mnt/d/file"
	echo other >"$mnt/d/other"
	unmount_volume
	echo wrong >b.below/d/new
	mv b.below/d/new b.below/d/file
}

# begin: that is seen, and b's map fails then.
begin()
{
	make_wrong
	mount_volume -o "$options" "$work/a" "$work/b"
	faults b fail write,sync EIO 'meta.*'
	eq contents "$(cat "$mnt/d/file")" right
	wait_until 20 store_is b failed
	(($(fault_hits b) > 0)) || fail "its map was not asked"
	eq "b still has" "$(cat b.below/d/file)" wrong
	faults b clear
}

end()
{
	store_is b online || fail "b is $(store_state b)"
	eq "b has" "$(cat b.below/d/file)" right
	eq contents "$(cat "$mnt/d/file")" right
	unmount_volume
	same_tree "$work/a" b.below
	sm check "$work/a" >check.log || fail "check: $(cat check.log)"
	sm check "$work/b" >check.log || fail "check: $(cat check.log)"
	umount b
	rm -rf a b b.below
}

begin
attach b
end

# It has become full besides, and still has its ballast.
begin
faults b times 1 fail write ENOSPC 'meta.db-wal'
attach b
(($(fault_hits b) > 0)) || fail "its map found room"
faults b clear
end

# It is slow to read, and changes do not wait until all in doubt is compared.
begin
dd if=/dev/urandom of="$mnt/d/file" bs=1M count=8 status=none
sync "$mnt/d/file"
faults b delay read 50 '[f0-9]*'
attach b
faults b clear
grep -q 'in step again: store=b laps=[23] ' "$daemon_log" ||
	fail "laps: $(grep 'in step again' "$daemon_log")"
echo right >"$mnt/d/file"
end

begin
unmount_volume
mount_volume -o "$options" "$work/a" "$work/b"
wait_until 60 store_is b online
end

begin
kill_daemon
mount_volume -o "$options" "$work/a" "$work/b"
wait_until 60 store_is b online
end

# The one that knows it goes alone for a while.
begin
unmount_volume
mv b.below gone
mkdir b.below
mount_volume -o "$options" "$work/a"
echo more >"$mnt/d/other"
unmount_volume
rmdir b.below
mv gone b.below
mount_volume -o "$options" "$work/a" "$work/b"
wait_until 60 store_is b online
end

# A third one, which was away then, is the only one left when it comes back.
for way in detach unmount; do
	mkdir a c
	faulty b
	sm init --name a,b,c "$work/a" "$work/b" "$work/c" >/dev/null 2>&1
	mount_volume "$work/a" "$work/b" "$work/c"
	mkdir "$mnt/d"
	echo right >"$mnt/d/file"
	unmount_volume
	echo wrong >b.below/d/new
	mv b.below/d/new b.below/d/file
	mount_volume -o "$options" "$work/a" "$work/b" "$work/c"
	detach c
	faults b fail write,sync EIO 'meta.*'
	eq contents "$(cat "$mnt/d/file")" right
	wait_until 20 store_is b failed
	faults b clear
	attach c
	if [[ $way == detach ]]; then
		detach a
		attach b
	else
		unmount_volume
		mv a gone
		mount_volume -o "degraded,$options" "$work/b" "$work/c"
		wait_until 60 store_is b online
		mv gone a
	fi
	eq "b has, a away ($way)" "$(cat b.below/d/file)" right
	attach a
	unmount_volume
	mount_volume "$work/a" "$work/b" "$work/c"
	wait_until 60 volume_is healthy
	unmount_volume
	same_tree "$work/a" b.below
	same_tree "$work/a" "$work/c"
	for name in a b c; do
		sm check "$work/$name" >check.log ||
			fail "check: $(cat check.log)"
	done
	umount b
	rm -rf a b b.below c
done

# The daemon dies before the others know that it is out: it is not the one that
# they follow, though it is named first.
#
# dead FAULT: the read is the last thing that daemon does
dead()
{
	make_wrong
	SEQMIRROR_FAULT=$1:kill mount_volume -o "$options" "$work/a" "$work/b"
	[[ $1 != mirror.suspect.told ]] || faults b fail write,sync EIO 'meta.*'
	! cat "$mnt/d/file" 2>/dev/null || fail "not killed at $1"
	wait_until 20 is_dead "$daemon_pid"
	kill_daemon
	faults b clear
}

if grep -q SEQMIRROR_FAULT "$SEQMIRROR"; then
	for point in mirror.record.before mirror.suspect.told; do
		dead "$point"
		mount_volume "$work/b" "$work/a"
		wait_until 60 volume_is healthy
		eq "kept, $point" "$(cat b.below/.seqmirror/found/*)" wrong
		end
	done
fi

# Unmounted, the volume is said to be left in good order, with something in doubt;
# a store whose map is lost is taken back all the same, and then b.
begin
mkdir c
sm add --wait --name c "$mnt" c >/dev/null 2>&1
unmount_volume
eq "clean" "$(status_of .clean a)" true
sm status a >shown
grep -q 'closed in good order$' shown || fail "status: $(cat shown)"
grep -q 'leaves 1 place in doubt' shown || fail "status: $(cat shown)"
! grep -q 'in use at a crash' shown || fail "status: $(cat shown)"
sm check a >shown
grep -q 'leaves 1 place in doubt' shown || fail "check: $(cat shown)"
sm resync --dry-run a b >shown
grep -q '^note: what store a has in doubt' shown || fail "note: $(cat shown)"
rm c/.seqmirror/meta.db*
sm resync --prefer a a c >/dev/null
eq "in doubt" "$(status_of .intents a)" 0
faults b clear
sm resync a b >/dev/null 2>&1
eq "b has" "$(cat b.below/d/file)" right
same_tree a b.below
same_tree a c
umount b
rm -rf a b b.below c

# What is in doubt is no change: who has done nothing follows.
begin
mkdir c
sm add --wait --name c "$mnt" c >/dev/null 2>&1
detach a
unmount_volume
mv c gone
mount_volume -o "degraded,$options" "$work/a"
echo more >"$mnt/d/more"
unmount_volume
mv gone c
sm resync a c >/dev/null
same_tree a c
umount b
