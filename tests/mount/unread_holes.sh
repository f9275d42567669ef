#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A store that cannot say where a file has holes (EIO of lseek): what becomes of
# a block that a change takes a part of is asked of another store, or counts as
# written; the application sees nothing of it, and a store that was away gets the
# block.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

struck()
{
	(($(fault_hits a) > 0))
}

# Cuts and punches within blocks, and what lay behind a cut must stay away.
change()
{
	truncate -s 10000 "$mnt/file" || fail "truncate: $1"
	fallocate -p -o 1000 -l 500 "$mnt/file" || fail "punch: $1"
	fallocate -z -o 5000 -l 100 "$mnt/file" || fail "zero: $1"
	struck || fail "nobody asked: $1"
	truncate -s 40000 "$mnt/file"
}

# zeros OFFSET LENGTH: in what the file should be.
zeros()
{
	dd if=/dev/zero of=want bs=1 seek="$1" count="$2" conv=notrunc \
		status=none
}

# with TEXT STORE...: c is away meanwhile.
with()
{
	mount_volume "${@:2}"
	[[ $1 != nobody* ]] || eq "stores online" \
		"$(status_of '[.stores[] | select(.state == "online")] | length')" 1
	head -c 40000 /dev/zero | tr '\0' x >"$mnt/file"
	sync "$mnt/file"
	cp "$mnt/file" want
	truncate -s 10000 want
	zeros 1000 500
	zeros 5000 100
	truncate -s 40000 want
	[[ $1 == nobody* ]] || detach c
	faults a fail lseek EIO file
	change "$1"
	faults a clear
	cmp want "$mnt/file" || fail "contents: $1"
	[[ $1 == nobody* ]] || attach c
	unmount_volume
	cmp want a.below/file || fail "contents of a: $1"
}

# Neither can tell what is preallocated, so the lead is asked first.
faulty a
faulty b
mkdir c
sm init --name a,b,c "$work"/{a,b,c} >/dev/null
with "another one can say it" "$work/a" "$work/b" "$work/c"
same_tree --no-holes a.below b.below
same_tree --no-holes a.below c
# The others are found where they were, so they go away.
faults b fail open ENODEV
mv c away
with "nobody can" -o degraded,no_auto_attach "$work/a"
faults b clear
mv away c
mount_volume "$work"/{a,b,c}
wait_until 60 volume_is healthy
unmount_volume
for store in a b c; do
	sm check "$work/$store" >/dev/null || fail "check of $store"
	cmp want "$store/file" || fail "contents of $store at the end"
done
