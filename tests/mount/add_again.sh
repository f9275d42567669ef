#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# add: not before it is a member is a store taken in by the daemon itself, and
# where an add was cut short the next one says what is in its way.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq
grep -q SEQMIRROR_FAULT "$SEQMIRROR" || skip "a build without faults"

mkdir a b
sm init --name a,b a b >/dev/null 2>&1

echo "-- while its row is being recorded the daemon looks for stores"
mkdir c
SEQMIRROR_FAULT=mirror.record.before:delay=2500 mount_volume a b
sm add "$mnt" c >/dev/null 2>&1 || fail "add: status $?"
wait_until 60 store_is c online
unmount_volume

# cut FAULT: an add of d that ends so.
cut()
{
	rm -rf d
	mkdir d
	SEQMIRROR_FAULT=$1 mount_volume a b
	echo "$1" >"$mnt/file"
	sm add "$mnt" d >/dev/null 2>&1 && fail "d was added ($1)"
	wait_until 10 is_dead "$daemon_pid"
	kill_daemon
	mount_volume a b
}

echo "-- killed before anybody knows of it"
cut mirror.record.before:kill:3
refused "$SEQMIRROR" add "$mnt" d
[[ $refusal == *"no member"*"rm -r "*"/d/.seqmirror"* ]] || fail "$refusal"
rm -r d/.seqmirror
sm add --wait "$mnt" d >/dev/null 2>&1
store_is d online || fail "d is $(store_state d)"

echo "-- one with files is not said to be in the way"
sm remove "$mnt" d >/dev/null
refused "$SEQMIRROR" add "$mnt" d
[[ $refusal == *"is a store already"* ]] || fail "$refusal"
unmount_volume

echo "-- killed afterwards: a member"
cut mirror.record.after:kill:3
wait_until 60 store_is d online
refused "$SEQMIRROR" add "$mnt" d
[[ $refusal != *"rm -r"* ]] || fail "$refusal"
unmount_volume
same_tree a d

echo "-- the name of one that comes back to a map made anew has been given away"
rm -rf a b d
mkdir a b d
sm init --name a,b a b >/dev/null 2>&1
rm a/.seqmirror/meta.db*
sm check --rebuild a >/dev/null
mv b away
mount_volume a
sm add --wait --name b "$mnt" d >/dev/null 2>&1
unmount_volume
refused "$SEQMIRROR" resync --prefer a a away
[[ $refusal == *"store b cannot become a member: another member"* ]] ||
	fail "$refusal"
eq members "$(status_of '[.stores[].name] | join(" ")' a)" "a b"

echo "-- as many in one mount as a volume can have, while it is used"
rm -rf a b
mkdir a b
sm init --name a,b a b >/dev/null 2>&1
mount_volume a b
mkdir "$mnt/d"
for i in $(seq 100); do
	echo "$i" >"$mnt/d/n$i"
done
exec 7<>"$mnt/nameless"
echo before >&7
rm "$mnt/nameless"
# Files that were there, new ones, and names that go, all the while.
while [[ ! -e enough ]]; do
	for i in $(seq 20); do
		echo "$i" >>"$mnt/d/n$i"
		echo "$i" >"$mnt/d/new"
		mv "$mnt/d/new" "$mnt/d/moved$((i % 3))"
	done
done &
writer=$!
for i in $(seq 14); do
	mkdir "s$i"
	sm add --wait "$mnt" "s$i" >/dev/null 2>&1 ||
		fail "member $((i + 2)) was not added"
done
mkdir s15
refused "$SEQMIRROR" add "$mnt" s15
[[ $refusal == *"16 stores at most"* ]] || fail "$refusal"
detach s9
echo 17 >"$mnt/d/n17"
attach s9
sm remove "$mnt" s12 >/dev/null
sm add --wait --name s12 "$mnt" s15 >/dev/null 2>&1
: >enough
wait "$writer" || fail "what was written meanwhile failed"
echo after >&7
exec 7>&-
volume_is healthy || fail "$(status_of .)"
sm scrub --wait "$mnt" >scrubbed || fail "$(<scrubbed)"
unmount_volume
for i in b $(seq -f s%g 11) s13 s14 s15; do
	same_tree a "$i"
	sound "$i"
done
