#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Blocks that a store cannot read: the application gets the other store's, the
# bad ones are rewritten, once, and the status says so. Where they cannot be
# rewritten, or are too many, the store is put out. What no store can read is
# an error for that range alone.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

repaired_is()
{
	[[ $(status_of ".stores[] | select(.name == \"$1\") | .errors.repaired") == "$2" ]]
}

remount()
{
	unmount_volume
	mount_volume -o prefer=b,no_auto_attach "$work/a" "$work/b"
}

no_rules()
{
	[[ -z $(<"$work/$1/.faultyfs") ]]
}

faulty a
faulty b
sm init --name a,b "$work/a" "$work/b" >/dev/null
mount_volume "$work/a" "$work/b"
dd if=/dev/urandom of="$mnt/file" bs=64k count=16 status=none
printf 'short' >"$mnt/small"
cp "$mnt/file" file
remount

# Two bad ranges, one of them at an odd place, and a read over all of it.
touch -d '2020-02-02 02:02:02' "$mnt/file"
faults b bad file 12288 4096
faults b bad file 700000 100
cmp file "$mnt/file" || fail "the application saw a bad block"
wait_until 20 no_rules b
wait_until 20 repaired_is b 2
store_is b online || fail "b is out for two bad blocks"
eq "mtime" "$(stat -c %y b/file)" "$(stat -c %y "$mnt/file")"
(($(status_of '.stores[] | select(.name == "b") | .errors.read') >= 2)) ||
	fail "not counted"
sm status "$mnt" | grep -q 'repaired: 2 bad ranges' || fail "status is silent"
eq "lines of the log" "$(grep -c 'cannot read bytes' "$daemon_log")" 2
cmp file b.below/file || fail "not rewritten"
cmp file a.below/file || fail "the good copy was touched"

# Every block is somewhere, but no store has all of them.
remount
faults b bad file 0 4096
faults a bad file 65536 4096
dd if="$mnt/file" of=part bs=128k count=1 iflag=direct status=none
cmp -n 131072 file part || fail "a block that is on one store only"
wait_until 20 no_rules b
wait_until 20 no_rules a
volume_is healthy || fail "somebody is out"

# No store has one block: an error for that one alone, nobody is put out.
remount
faults b fail read EIO file 40960 4096
faults a fail read EIO file 40960 4096
dd if="$mnt/file" of=part bs=4096 count=10 status=none
cmp -n 40960 file part || fail "what is before"
dd if="$mnt/file" of=/dev/null bs=4096 skip=10 count=1 status=none 2>err &&
	fail "read what nobody has"
grep -q 'Input/output error' err || fail "$(<err)"
dd if="$mnt/file" of=part bs=4096 skip=11 status=none
cmp -i 45056:0 file part || fail "what is behind"
volume_is healthy || fail "put out for what nobody can read"
faults a clear

# The rewriting fails: out.
faults b clear
faults b fail read,write EIO file
cmp file "$mnt/file" || fail "reading when b cannot"
wait_until 20 store_is b failed
sm status "$mnt" | grep -q 'repair' || fail "why is not told"
faults b clear
attach b

# The daemon dies in the middle of it.
for point in written done; do
	unmount_volume
	export SEQMIRROR_FAULT=mirror.repair.$point:kill
	mount_volume -o prefer=b "$work/a" "$work/b"
	unset SEQMIRROR_FAULT
	faults b bad file 8192 4096
	cmp file "$mnt/file" 2>/dev/null || : # it may be cut off
	if grep -q SEQMIRROR_FAULT "$SEQMIRROR"; then
		wait_until 20 is_dead "$daemon_pid"
	fi
	kill_daemon
	mount_volume -o prefer=b "$work/a" "$work/b"
	cmp file "$mnt/file" || fail "contents after a crash in $point"
	wait_until 20 no_rules b
	wait_until 60 volume_is healthy
	cmp file b.below/file || fail "b after a crash in $point"
	cmp file a.below/file || fail "a after a crash in $point"
done

# A file that ends too early is like a bad range.
remount
eq size "$(stat -c %s "$mnt/file")" 1048576
truncate -s 500000 b.below/file
cmp file "$mnt/file" || fail "the end is missing"
whole()
{
	cmp -s file b.below/file
}
wait_until 20 whole
store_is b online || fail "b is out"

# A resync reads elsewhere what its source cannot.
remount
mkdir c
faults b bad file 65536 4096
sm add --wait "$mnt" "$work/c" >/dev/null || fail "c was not filled"
store_is b online || fail "b is out"
cmp file c/file || fail "c differs"
wait_until 20 no_rules b
sm remove "$mnt" c >/dev/null

# What it cannot read of attributes is no fault of the target's.
remount
rm -rf c
mkdir c
faults b fail listxattr EIO file
sm add --wait "$mnt" "$work/c" >/dev/null ||
	fail "c is blamed for what b cannot read"
store_is c online || fail "c is out"
store_is b online || fail "b is out"
grep -q 'begins again: store=c source=a' "$daemon_log" ||
	fail "the log does not say who was read instead"
faults b clear
sm remove "$mnt" c >/dev/null

# What nobody can read does not keep the rest from being copied; it is said what
# it is, and when that was seen to the store comes in step at once.
remount
rm -rf c
mkdir c
dd if=/dev/urandom of="$mnt/second" bs=64k count=16 status=none
cp "$mnt/second" second
remount
for s in a b; do faults $s bad file 65536 8192; done
sm add --wait "$mnt" "$work/c" >/dev/null 2>why &&
	fail "c is in step without what nobody can read"
grep -q '8.0 KiB can be read on no store that was asked' why || fail "why: $(<why)"
grep -q 'no store can read a block: path=file .*offset=65536' "$daemon_log" ||
	fail "the log does not name the file"
store_is c online && fail "c is online"
store_is a online && store_is b online || fail "a source is out"
cmp second c/second || fail "the other file was not copied"
cmp -n 65536 file c/file || fail "what is before the bad blocks"
cmp -i 73728 file c/file || fail "what is behind the bad blocks"
dd if=file of="$mnt/file" bs=8192 skip=8 seek=8 count=1 conv=notrunc,fsync \
	status=none
sm attach --wait --json "$mnt" c >json || fail "c cannot be attached: $(<json)"
(($(jq .bytes_copied json) <= 65536)) ||
	fail "more was copied than was missing: $(<json)"
store_is c online || fail "c is not online"
cmp file c/file || fail "c differs"
for s in a b; do wait_until 20 no_rules $s; done
sm remove "$mnt" c >/dev/null

# Too many.
names=$(seq -w 1 80)
for i in $names; do echo "$i" >"$mnt/n$i"; done
remount
faults b clear
faults b fail read EIO 'n*'
for i in $names; do
	eq "n$i" "$(<"$mnt/n$i")" "$i"
done
wait_until 20 store_is b failed
faults b clear
unmount_volume
