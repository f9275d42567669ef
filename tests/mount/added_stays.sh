#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A member that was added while another one was away is one for that one as well
# when it is back, also where that one has gone on alone: nothing was done by who
# added it, so it follows. Who was removed does not come in that way, and what is
# not known to be the volume's is left as it is.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

members()
{
	status_of '[.stores[].name] | sort | join(" ")' "$1"
}

known()
{
	local name

	for name; do
		eq "members, as $name knows it" "$(members "$name")" "a b c"
	done
}

# added: c is added to a while b is away, and b goes on alone.
added()
{
	with_c a b
	alone b
	echo 2 >"$mnt/file"
	unmount_volume
	mv away/* .
}

# with_c WITH AWAY: c is added while AWAY is.
with_c()
{
	rm -rf a b c away
	mkdir a b c away
	sm init --name a,b a b >/dev/null 2>&1
	mount_volume a b
	echo 1 >"$mnt/file"
	unmount_volume
	mv "$2" away
	mount_volume "$1"
	sm add --wait --name c "$mnt" c >/dev/null 2>&1
	unmount_volume
	mv away/* .
}

# alone STORE...: only these can be found, and are mounted.
alone()
{
	local name

	for name in a b c; do
		[[ " $* " == *" $name "* ]] || mv "$name" away
	done
	mount_volume "$@"
}

in_step()
{
	wait_until 20 volume_is healthy
	eq "members, mounted" "$(members "$mnt")" "a b c"
	unmount_volume
	known a b c
	same_tree a b
	same_tree b c
	eq "file" "$(cat c/file)" "$1"
}

echo "-- all are named"
added
mount_volume a b c
in_step 2

echo "-- the new one is found where it was last"
added
mount_volume b a
in_step 2

echo "-- it comes later"
added
mv c away
mount_volume a b
wait_until 20 store_is a online
eq "members, mounted" "$(members "$mnt")" "a b c"
mv away/c .
in_step 2

echo "-- later still"
added
mv c away
mount_volume b a
wait_until 20 store_is a online
unmount_volume
known a b
mv away/c .
mount_volume b a c
in_step 2

echo "-- who added it comes back to a volume that is mounted"
added
mv a c away
mount_volume b
mv away/* .
sm attach --wait "$mnt" a >/dev/null
in_step 2

echo "-- unmounted, all at once"
added
sm resync --dry-run a b c >/dev/null
eq "members, as b knows it" "$(members b)" "a b"
sm resync a b c >/dev/null
known a b c
same_tree b c
mount_volume a
in_step 2

echo "-- unmounted, one after the other"
added
sm resync b a >/dev/null
known a b
sm resync a b c >/dev/null
known a b c
same_tree b c

echo "-- a kill while who added it is brought in step"
if grep -q SEQMIRROR_FAULT "$SEQMIRROR"; then
	for point in resync.marked resync.close.before resync.close.after; do
		added
		mv c away
		SEQMIRROR_FAULT=$point:kill "$SEQMIRROR" mount -f b a "$mnt" \
			>>"$daemon_log" 2>&1 && fail "not killed at $point"
		umount -l "$mnt" 2>/dev/null || :
		mv away/c .
		mount_volume -o degraded a b c
		in_step 2
	done
fi

echo "-- the new one and who has never heard of it"
added
mv a away
before=$(find c -name .seqmirror -prune -o -type f -exec cat {} +)
refused "$SEQMIRROR" mount -f b c "$mnt"
[[ $refusal == *"has heard of"* ]] || fail "$refusal"
refused "$SEQMIRROR" resync b c
[[ $refusal == *"has heard of"* ]] || fail "$refusal"
eq "the new one's file" "$(cat c/file)" "$before"

echo "-- who has done nothing follows the new one"
with_c a b
mv a away
mount_volume b c
wait_until 20 store_is b online
eq "members, mounted" "$(members "$mnt")" "a b c"
unmount_volume

echo "-- removed again: no member, and not touched"
with_c a b
alone a c
sm remove "$mnt" c >/dev/null
unmount_volume
mv away/* .
echo "the user's own" >c/file
refused "$SEQMIRROR" mount -f a b c "$mnt"
[[ $refusal == *"any more"* ]] || fail "$refusal"
mount_volume b a
wait_until 20 volume_is healthy
eq "members, mounted" "$(members "$mnt")" "a b"
unmount_volume
eq "file of the removed store" "$(cat c/file)" "the user's own"

echo "-- removed where it was known, while others go on with it"
with_c a b
mount_volume a b c
wait_until 20 volume_is healthy
unmount_volume
alone b
sm remove "$mnt" c >/dev/null
unmount_volume
mv away/* .
alone a c
unmount_volume
mv away/* .
echo "the user's own" >c/file
mount_volume a b
wait_until 20 volume_is healthy
eq "members, mounted" "$(members "$mnt")" "a b"
unmount_volume
eq "file of the removed store" "$(cat c/file)" "the user's own"

echo "-- an addition that is finished on one side, and given up on the other"
rm -rf a b c away
mkdir a b c away
sm init --name a,b a b >/dev/null 2>&1
mount_volume a b
sm resync --pause "$mnt" >/dev/null
sm add --name c "$mnt" c >/dev/null 2>&1
unmount_volume
alone b
sm remove "$mnt" c >/dev/null
unmount_volume
mv away/* .
alone a c
wait_until 20 store_is c online
unmount_volume
mv away/* .
mount_volume a b
wait_until 20 volume_is healthy
eq "members, mounted" "$(members "$mnt")" "a b"
unmount_volume

# The two sides have parted: who is a member is what the one says that is kept. What
# the refusal says to do is done.
for name in c d; do
	echo "-- $name is added on one side of a fork, where c was removed before"
	rm -rf a b c d away
	mkdir a b c d away
	sm init --name a,b,c a b c >/dev/null 2>&1
	mount_volume a b c
	echo 1 >"$mnt/file"
	unmount_volume
	mv b away
	mount_volume a c
	sm remove "$mnt" c >/dev/null
	[[ $name == d ]] || find c -mindepth 1 -delete
	sm add --wait --name "$name" "$mnt" "$name" >/dev/null 2>&1
	echo 2 >"$mnt/file2"
	unmount_volume
	mv a c d away
	mv away/b .
	mount_volume b
	echo 3 >"$mnt/file3"
	unmount_volume
	mv away/* .
	refused "$SEQMIRROR" resync --prefer b a b "$name"
	[[ $refusal == *"store $name was added where store a was"*"leave it out"* &&
		$refusal == *"empty its directory and add it again"* &&
		$refusal == *"--prefer a" ]] || fail "$refusal"
	sm resync --dry-run --prefer a a b "$name" >/dev/null
	sm resync --prefer b a b >/dev/null
	mv c away
	mount_volume a b
	sm remove "$mnt" c >/dev/null
	[[ $name == d ]] || mv away/c .
	find "$name" -mindepth 1 -delete
	sm add --wait --name "$name" "$mnt" "$name" >/dev/null 2>&1
	volume_is healthy || fail "$(status_of .)"
	eq "members, mounted" "$(members "$mnt")" "a b $name"
	unmount_volume
	same_tree b "$name"
	[[ -e $name/file3 && ! -e $name/file2 ]] || fail "the other side"
done
