#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# What the filesystem below a store lacks: one without links, attributes and the
# like is refused with the list of it, and nothing changed; one that cannot
# punch holes works, with zeros in their place, and its map knows the holes.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

# lacks WORDS FAULT...: a new volume and a new member are refused.
lacks()
{
	faults b "${@:2}"
	refused "$SEQMIRROR" init "$work/a" "$work/b"
	[[ $refusal == *"lacks"*"$1"* ]] || fail "no word of $1: $refusal"
	eq "left in a" "$(ls -A a)" ''
	eq "left in b" "$(ls -A b)" ''
	refused "$SEQMIRROR" add "$mnt" "$work/b"
	[[ $refusal == *"lacks"*"$1"* ]] || fail "add: no word of $1: $refusal"
	eq "left in b" "$(ls -A b)" ''
	faults b clear
}

mkdir a c d
faulty b
sm init --name c "$work/c" >/dev/null
mount_volume "$work/c"
lacks "hard links" fail link 1
lacks "hard links" uncounted # the first of two names would be the last
lacks "symbolic links" fail symlink 1
lacks "named pipes" fail mknod 1
lacks "extended attributes" fail setxattr 95
unmount_volume

# ---- a size ----

# A filesystem that does not tell its size is not one that is full.
mkdir unlimited
mount -t tmpfs -o size=0 none unlimited
eq "blocks of a tmpfs without limit" "$(stat -f -c %b unlimited)" 0
mkdir d/two unlimited/two
sm init --name c,u "$work/d/two" "$work/unlimited/two" >/dev/null
mount_volume "$work/d/two" "$work/unlimited/two"
head -c 3M /dev/urandom >"$mnt/file" || fail "no room on a tmpfs without limit"
detach u
head -c 3M /dev/urandom >"$mnt/file2"
attach u
unmount_volume
same_tree d/two unlimited/two
umount unlimited

# ---- holes ----

# mapped FILE: its ranges as the map has them, those that touch joined.
mapped()
{
	sm map --json "$1" | jq -c '[.extents[] | [.start, .end]] |
		reduce .[] as $e ([]; if length > 0 and last[1] == $e[0]
			then last[1] = $e[1] else . + [$e] end)'
}

faults b fail fallocate 95
sm init --name a,b "$work/a" "$work/b" >warnings 2>&1
grep -q 'b lacks hole punching' warnings || fail "no warning: $(<warnings)"
mount_volume "$work/a" "$work/b"
head -c 1M /dev/urandom >"$mnt/file"
cp "$mnt/file" want
for range in "8192 65536" "200001 7" "4095 4098" "1040000 8576"; do
	read -r off len <<<"$range"
	fallocate -p -o "$off" -l "$len" "$mnt/file"
	fallocate -p -o "$off" -l "$len" want
done
cmp want "$mnt/file" || fail "what is read after a punch"
sync -f "$mnt"
eq "what is mapped" "$(mapped "$mnt/file")" '[[0,4096],[73728,1040384]]'

# The same by a resync.
detach b
fallocate -p -o 131072 -l 131072 "$mnt/file"
fallocate -p -o 131072 -l 131072 want
attach b
volume_is healthy || fail "the volume is $(status_of .state)"
unmount_volume
for store in a b; do
	cmp want "$store/file" || fail "contents of $store"
done

# And so it says alone.
mount_volume -o degraded,no_auto_attach "$work/b"
eq "what is mapped in b" "$(mapped "$mnt/file")" \
	'[[0,4096],[73728,131072],[262144,1040384]]'
cmp want "$mnt/file" || fail "b alone"
unmount_volume
