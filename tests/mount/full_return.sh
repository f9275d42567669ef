#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A store that is as full as the others comes back although it has missed as
# much as it has: what went meanwhile makes room for what came. Mounted and
# unmounted, after a resync that was cut, and refused by the byte where it does
# not fit all the same.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

mib=1048576
free_of()
{
	stat -f -c '%a %S' "$1" | awk '{ printf "%d", $1 * $2 }'
}
# forecast WANT: what b lacks by the forecast, in bytes, is about that.
forecast()
{
	local lacks

	if is_mounted "$mnt"; then
		lacks=$(sm resync --dry-run --json "$mnt" b | jq .bytes_short)
	else
		lacks=$(sm resync --dry-run --json a/store b/store |
			jq .bytes_short)
	fi
	(($1 - lacks < mib && lacks - $1 < mib)) ||
		fail "the forecast: b lacks $lacks, wanted about $1"
	[[ $1 != 0 || $lacks == 0 ]] || fail "the forecast: b lacks $lacks"
}
# random MIB FILE: xfs would take more than it needs, were it not told how much.
random()
{
	wait_until 20 fallocate -l "$1M" "$2" 2>/dev/null
	dd if=/dev/urandom of="$2" bs=1M count="$1" conv=notrunc,fsync \
		status=none
}

# volume TYPE: on two disks with about 140 MiB each.
volume()
{
	local disk size=150

	[[ $1 != xfs ]] || size=360
	for disk in a b; do
		image "$disk" "$size" "$1"
		fallocate -l $(($(free_of "$disk") - 145 * mib)) \
			"$disk/others" 2>/dev/null || :
	done
	mkdir a/store b/store
	sm init --name a,b a/store b/store >/dev/null
	mount_volume -o no_auto_attach a/store b/store
}
volume_ends()
{
	unmount_volume
	same_tree a/store b/store
	umount a b
	rm -r a b a.img b.img
}

replaced()
{
	local left

	random 90 "$mnt/dump.1"
	detach b
	rm "$mnt/dump.1"
	sync -f "$mnt"
	random 90 "$mnt/dump.2"
	# Others have filled the disk: nothing can be written before something goes.
	left=65536
	[[ $type != xfs ]] || left=$((4 * mib)) # it counts what it keeps, too
	fallocate -l $(($(free_of b) - left)) b/used
	forecast 0
	attach b
	rm b/used
}

unmapped()
{
	detach b
	fallocate -p -l 80M "$mnt/dump.2"
	sync -f "$mnt"
	random 70 "$mnt/other"
	forecast 0
	unmount_volume
	forecast 0
	sm resync a/store b/store >/dev/null || fail "no resync unmounted"
	same_tree a/store b/store
	mount_volume -o no_auto_attach a/store b/store
}

# What is moved out of a tree that goes, and what has a name elsewhere, stays.
tree_goes()
{
	rm "$mnt/other" "$mnt/dump.2"
	mkdir -p "$mnt/tree/a/b" "$mnt/keep"
	random 20 "$mnt/tree/moved"
	for _ in 1 2 3; do
		random 20 "$mnt/tree/a/b/goes.$_"
	done
	echo linked >"$mnt/tree/a/linked"
	ln "$mnt/tree/a/linked" "$mnt/keep/linked"
	ln "$mnt/tree/moved" "$mnt/tree/a/too"
	detach b
	mv "$mnt/tree/moved" "$mnt/keep/moved"
	mv "$mnt/tree/a/too" "$mnt/keep/too"
	rm -r "$mnt/tree"
	sync -f "$mnt"
	mkdir "$mnt/new"
	for _ in 1 2 3 4; do
		random 15 "$mnt/new/small.$_"
	done
	forecast 0
	attach b
	eq "links of what was moved" "$(stat -c %h b/store/keep/moved)" 2
}

# A name that no map knows keeps the blocks, or another file that shares them.
kept_by_another_name()
{
	rm -r "$mnt/new" "$mnt/keep"
	random 90 "$mnt/dump"
	detach b
	if [[ $type == xfs ]]; then
		cp --reflink=always b/store/dump b/shares
	else
		ln b/store/dump b/store/.seqmirror/found/dump
	fi
	rm "$mnt/dump"
	sync -f "$mnt"
	random 80 "$mnt/dump.2"
	forecast $((80 * mib - $(free_of b)))
	refused "$SEQMIRROR" attach --wait "$mnt" b
	grep -q 'too small' <<<"$refusal" || fail "the refusal: $refusal"
	[[ -e b/store/dump ]] || fail "a resync without room removed a file"
	rm -f b/store/.seqmirror/found/dump b/shares
}

# With all that goes it is still too much, and nothing goes.
too_much()
{
	random 25 "$mnt/more"
	fallocate -l $(($(free_of b) - 8 * mib)) b/used
	forecast $((105 * mib - 90 * mib - $(free_of b)))
	refused "$SEQMIRROR" attach --wait "$mnt" b
	grep -q 'too small' <<<"$refusal" || fail "the refusal: $refusal"
	[[ -e b/store/dump ]] || fail "a resync without room removed a file"
	rm "$mnt/more" b/used
	sync -f "$mnt"
}

# What a resync that was cut has copied is not needed once more.
cut()
{
	local n before

	unmount_volume
	for n in unmapped batch.copied close.before; do
		! SEQMIRROR_FAULT=resync.$n:kill sm resync a/store b/store \
			>/dev/null 2>&1 || fail "not killed at $n"
		forecast 0
	done
	sm resync a/store b/store >/dev/null || fail "no resync after a cut"
	same_tree a/store b/store
	mount_volume -o no_auto_attach a/store b/store
	rm "$mnt/dump.2"
	sync -f "$mnt"
	detach b
	before=$(free_of b)
	for ((n = 0; n < before / (13 * mib) - 2; n++)); do
		random 13 "$mnt/many.$n"
	done
	unmount_volume
	! SEQMIRROR_FAULT=resync.fill.synced:kill sm resync a/store b/store \
		>/dev/null 2>&1 || fail "not killed"
	(($(free_of b) < before - 50 * mib)) || fail "nothing was left over"
	forecast 0
	sm resync a/store b/store >/dev/null || fail "no resync after a cut"
	mount_volume -o no_auto_attach a/store b/store
}

for type in ext4 xfs; do
	can_make "$type" || continue
	volume "$type"
	replaced
	unmapped
	tree_goes
	kept_by_another_name
	too_much
	cut
	volume_ends
done
