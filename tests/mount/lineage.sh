#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The schedules of the lineage: what is a fork is called one and nothing is
# written; what is none is not.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

relation()
{
	sm diff --json "$@" | jq -r .relation
}

no_fork()
{
	[[ $(relation a b) == @(behind|doubt|equal) ]] ||
		fail "a $(relation a b): $*"
}

# fresh: two stores in step, with a tree; nothing mounted.
fresh()
{
	rm -rf a b away backup clone
	mkdir a b
	sm init --name a,b a b >/dev/null 2>&1
	mount_volume a b
	head -c 3000000 /dev/urandom >"$mnt/big"
	echo both >"$mnt/file"
	unmount_volume
}

# alone NAME COMMAND...: mounted without the other one.
alone()
{
	local other=b

	[[ $1 == a ]] || other=a
	mv "$other" away
	mount_volume "$1"
	"${@:2}"
	unmount_volume
	mv away "$other"
}

together()
{
	mount_volume a b
	wait_until 60 volume_is healthy
	unmount_volume
	same_tree a b
	eq "relation" "$(relation a b)" equal
}

last_lap()
{
	[[ $(status_of .resync.lap) == 2 ]]
}

# Joined, or there is nobody left to join.
c_is_done()
{
	[[ $(status_of .resync) == null ]]
}

say()
{
	echo "$1" >"$mnt/$2"
}

echo "-- a late disk at boot"
fresh
mv b away
mount_volume a
say a file
mv away b
wait_until 60 store_is b online
unmount_volume
same_tree a b
eq "file" "$(cat b/file)" a

echo "-- late, and the volume was not left in good order meanwhile"
fresh
mv b away
mount_volume a
say a file
sync -f "$mnt/file"
kill_daemon
mv away b
no_fork
together
eq "file" "$(cat b/file)" a

echo "-- a restored backup, mounted with the other one"
fresh
cp -a b backup
mount_volume a b
say later file
unmount_volume
rm -r b
mv backup b
eq "relation" "$(relation a b)" behind
together
eq "file" "$(cat b/file)" later

echo "-- a restored backup, mounted alone"
fresh
cp -a b backup
mount_volume a b
say later file
say later other
unmount_volume
rm -r b
mv backup b
alone b say restored file
eq "relation" "$(relation a b)" fork
refused "$SEQMIRROR" mount -f a b "$mnt"
refused "$SEQMIRROR" resync a b
eq "files" "$(cat a/file b/file | xargs)" "later restored"
sm resync --prefer a a b >/dev/null
together
eq "file" "$(cat b/file)" later

echo "-- alone in turn, never at the same time: a fork all the same"
fresh
alone a say a file
alone b say b file
eq "relation" "$(relation a b)" fork
refused "$SEQMIRROR" mount -f a b "$mnt"
# What either side changed is copied, and nothing else.
sm resync --dry-run --json --prefer b a b >forecast.json
sm resync --json --prefer b a b >result.json
for of in forecast result; do
	bytes=$(jq .bytes_copied "$of.json")
	((bytes <= 64 * 1024)) || fail "$of: $bytes bytes for two small files"
done
together
eq "file" "$(cat a/file)" b

echo "-- only one of the two was changed alone: no fork"
fresh
alone a say a file
alone a say again other
eq "relation" "$(relation a b)" behind
together
eq "file" "$(cat b/file)" a

echo "-- mounted alone and only looked at: no fork"
fresh
alone a say a file
alone b cat "$mnt/file" >/dev/null
eq "relation" "$(relation a b)" behind
together
eq "file" "$(cat b/file)" a

echo "-- one left, and the other was unmounted as it was: no fork"
fresh
mount_volume a b
detach b
unmount_volume
alone b say new later
no_fork "it has done nothing on its own"
together
eq contents "$(cat a/later)" new
mount_volume a b
detach b
unmount_volume
alone b say newer later
alone a say mine other
eq "relation when both went on" "$(relation a b)" fork
# The same when it was not unmounted in good order.
fresh
mount_volume a b
detach b
kill_daemon
alone b say new later
no_fork "it has done nothing before it was killed"
together

# idle_backup: of a, which was left alone and unmounted as it was.
idle_backup()
{
	fresh
	mount_volume a b
	detach b
	unmount_volume
	cp -a a backup
}

put_back()
{
	rm -r a
	mv backup a
}

echo "-- a backup of one that was left alone and unmounted as it was: no fork"
idle_backup
alone b say new later
put_back
no_fork "it has done nothing on its own"
together
eq contents "$(cat a/later)" new
# The same as an image, and unmounted.
idle_backup
alone b say new later
put_back
sm resync --dry-run --json a b >forecast.json
sm resync --json a b >result.json
for key in nodes entries_created bytes_copied; do
	eq "$key" "$(jq ".$key" forecast.json)" "$(jq ".$key" result.json)"
done
same_tree a b
# Nor does what a did later speak against it, which the backup has not.
idle_backup
alone b say new later
alone a say mine other
put_back
together
eq "other, of what was given up" "$(cat b/other 2>&1)" \
	"cat: b/other: No such file or directory"
# Its own word counts from the first change on.
idle_backup
alone b say new later
put_back
alone a say mine other
eq "relation when both went on" "$(relation a b)" fork
refused "$SEQMIRROR" mount -f a b "$mnt"
eq "what the copy did" "$(cat a/other)" mine
# Taken back by a volume that is mounted.
idle_backup
alone b say new later
put_back
mv a away
mount_volume b
mv away a
attach a
unmount_volume
same_tree a b

echo "-- a copy of one that was in use at a crash: diff says what mount says"
fresh
mount_volume a b
detach b
kill_daemon
cp -a a backup
alone b say new later
put_back
eq "relation" "$(relation a b)" fork
refused "$SEQMIRROR" mount -f a b "$mnt"

echo "-- a member cloned: two with one UUID"
fresh
cp -a b clone
refused "$SEQMIRROR" mount -f a b clone "$mnt"
refused "$SEQMIRROR" resync a b clone
refused "$SEQMIRROR" resync b clone
together
rm -r clone

# The daemon dies while it records who has left, or that a mount has begun,
# before that is on any map, or when it is on some and not on others.
if grep -q SEQMIRROR_FAULT "$SEQMIRROR"; then
	for fault in before:kill:1 after:kill:1 before:kill:2 after:kill:2; do
		echo "-- a crash while an epoch is recorded ($fault)"
		fresh
		export SEQMIRROR_FAULT=mirror.record.$fault
		start_mount a b
		unset SEQMIRROR_FAULT
		poll_until 60 mount_settled || fail "mount hangs"
		(say one file && sync -f "$mnt/file" && sm detach "$mnt" b) \
			>/dev/null 2>&1 || :
		kill_daemon
		no_fork "$fault"
		together
	done

	echo "-- the source fails when the last lap is closed, another one in the join"
	rm -rf a b c
	mkdir c
	faulty a
	faulty b
	sm init --name a,b,c a b c >/dev/null 2>&1
	export SEQMIRROR_FAULT=resync.close.after:delay=3000:2
	mount_volume -o no_auto_attach a b c
	unset SEQMIRROR_FAULT
	head -c 100000 /dev/urandom >"$mnt/g"
	detach c
	say x other
	sm attach "$mnt" c >/dev/null
	wait_until 30 last_lap
	faults a fail read,getattr,statfs,lookup,open EIO
	echo 3 >/proc/sys/vm/drop_caches
	cat "$mnt/g" >/dev/null
	wait_until 10 store_is a failed
	faults b fail write,fsync EIO "meta.db*"
	wait_until 60 c_is_done
	kill_daemon
	faults b clear
	[[ $(relation b c) == @(behind|doubt|equal) ]] || fail "c $(relation b c)"
	umount a b

	echo "-- on one map and not on the other"
	fresh
	cp -a b backup
	mount_volume a b
	say x other
	kill_daemon
	# b lost power before anything of that mount reached it.
	rm -r b
	mv backup b
	no_fork
	together
fi

echo "-- a backup is kept, over what went on long after it"
fresh
head -c 8192 /dev/urandom >of_backup
mount_volume a b
cp of_backup "$mnt/file"
unmount_volume
cp -a a backup
mount_volume a b
head -c 20480 /dev/urandom >"$mnt/file"
sync -f "$mnt"
unmount_volume
mount_volume a b
say more other
unmount_volume
rm -rf a
mv backup a
alone a say mine other
# A forecast from a copy of which no file has been found anew.
cp -a a copied
rm -rf a
mv copied a
sm resync --dry-run --json --prefer a a b >forecast.json ||
	fail "no forecast from a copy"
[[ $(jq -r .remark forecast.json) == "store a is a copy"* ]] ||
	fail "the forecast does not tell of the copy: $(cat forecast.json)"
sm resync --prefer a a b >/dev/null
same_tree a b
cmp b/file of_backup
for name in a b; do
	sm check "$name" >shown || fail "$name: $(cat shown)"
done
alone a say later other
no_fork "b had nothing of its own"
together
