#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Four stores, each with its own age, one of them restored by cp -a from a
# copy made while it was away: every one comes back by its own delta.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

names=(a b c d)
for name in "${names[@]}"; do
	image "$name" 300
done
sm init --name a,b,c,d "$work/a" "$work/b" "$work/c" "$work/d" >/dev/null
mount_volume "$work/a" "$work/b" "$work/c" "$work/d"
python3 "$lib_dir/scenario.py" fill "$mnt" --image-mib 100 \
	--mapped-mib 40 --files 400

# dirty FIRST COUNT: so many blocks of the image, and some names.
dirty()
{
	dd if=/dev/urandom of="$mnt/disk.img" bs=4096 seek="$1" count="$2" \
		conv=notrunc status=none
	mkdir "$mnt/round$1"
	echo "$1" >"$mnt/round$1/file"
	mv "$mnt/round$1" "$mnt/tree/round$1"
}

detach b
cp -a b b.copy
dirty 0 100
detach c
dirty 1024 100
sm resync --wait "$mnt" b >/dev/null
wait_until 30 store_is b online
dirty 2048 100
detach d
dirty 3072 100
# b is lost; what comes back is the copy from long ago.
detach b
find b -mindepth 1 -delete
cp -a b.copy/. b/
dirty 4096 100

# back NAME ROUNDS [MORE]: it misses so many rounds of 100 blocks.
back()
{
	local copied limit=$(($2 * (100 * 4096 + 4096) * 11 / 10 + ${3:-0}))

	sm resync --wait --json "$mnt" "$1" >"$1.json"
	wait_until 30 store_is "$1" online
	copied=$(jq .bytes_copied "$1.json")
	echo "$1: $2 rounds, $copied bytes copied, $(jq .bytes_compared \
		"$1.json") compared"
	((copied >= $2 * 100 * 4096)) || fail "$1 got too little: $copied"
	((copied <= limit)) || fail "$1 got $copied bytes, limit $limit"
}

back d 2
back c 4
# The map need not remember apart what all its members once had: a copy from
# before that may be sent a neighbouring 4 MiB as well, but not all 40.
back b 5 $((8 << 20))
volume_is healthy || fail "the volume is $(status_of .state)"
unmount_volume
for name in b c d; do
	same_tree "$work/a" "$work/$name"
done
mount_volume "$work/d" "$work/c" "$work/b" "$work/a"
volume_is healthy || fail "after all: $(status_of .state)"
unmount_volume

# One that is being resynced can be removed.
mount_volume -o resync_rate=1M "$work/d" "$work/c" "$work/b" "$work/a"
mkdir e
# Not in the mount itself: it would wait for itself, or fill itself.
mkdir "$mnt/inside" bound
mount --bind "$mnt/inside" bound
for place in "$mnt/inside" bound; do
	refused timeout 60 "$SEQMIRROR" add "$mnt" "$place"
	[[ $refusal == *"cannot lie in one another"* ]] || fail "$refusal"
	[[ -z $(ls -A "$mnt/inside") ]] || fail "something was made in $place"
done
umount bound
rmdir "$mnt/inside"
sm add "$mnt" "$work/e" >/dev/null
wait_until 20 store_is e resyncing
sm remove "$mnt" e >/dev/null || fail "e cannot be removed"
volume_is healthy || fail "without e: $(status_of .state)"
eq "stores" "$(status_of '.stores | length')" 4
unmount_volume
