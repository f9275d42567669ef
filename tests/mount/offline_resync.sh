#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Two unmounted stores, on any machine, are brought in step by one command.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

image a 500
image b 500
sm init --name a,b "$work/a" "$work/b" >/dev/null
mount_volume "$work/a" "$work/b"
python3 "$lib_dir/scenario.py" fill "$mnt" --image-mib 64 \
	--mapped-mib 40 --files 500
detach b
python3 "$lib_dir/scenario.py" change "$mnt" >change.json
unmount_volume

cp -a b b.before
sm resync --dry-run --json "$work/a" "$work/b" >forecast.json
same_tree b.before b
# The order in which they are named says nothing.
sm resync --json "$work/b" "$work/a" >result.json
cat forecast.json result.json
same_tree "$work/a" "$work/b"

# of FILE KEY: from an object, or from the only one in a list.
of()
{
	jq "[.. | objects | select(has(\"bytes_copied\"))][0].$2" "$1"
}
blocks=$(jq .blocks_bytes change.json)
copied=$(of result.json bytes_copied)
((copied * 10 <= blocks * 11 && copied > 0)) ||
	fail "$copied bytes copied for $blocks"
eq "bytes_unmapped" "$(of result.json bytes_unmapped)" \
	"$(jq .punched_bytes change.json)"
for key in nodes entries_created entries_removed bytes_copied; do
	eq "forecast of $key" "$(of forecast.json "$key")" \
		"$(of result.json "$key")"
done

sm resync --json "$work/a" "$work/b" >again.json
eq "copied the second time" "$(of again.json bytes_copied)" 0
mount_volume "$work/a" "$work/b"
wait_until 20 volume_is healthy
unmount_volume
same_tree "$work/a" "$work/b"

# After an unclean end one that is missing may have gone on alone, as f did: what
# is made without it would be a fork of what is merely stale.
faulty d
faulty e
mkdir f
sm init --name d,e,f d e f >/dev/null
mount_volume -o no_auto_attach d e f
echo one >"$mnt/one"
sync -f "$mnt"
faults d fail modify EIO
faults e fail modify EIO
echo acked >"$mnt/acked"
sync "$mnt/acked"
kill_daemon
faults d clear
faults e clear
mv f f.away
refused "$SEQMIRROR" resync d e
[[ $refusal == *"store f "*"newer data"*"--prefer "[de]* ]] || fail "$refusal"
refused "$SEQMIRROR" resync --dry-run d e
sm resync d e f.away >/dev/null
eq "d, e" "$(cat d/acked e/acked | xargs)" "acked acked"
mv f.away f
mount_volume d e f
wait_until 20 volume_is healthy

# Unless it is said to go on without it.
echo two >"$mnt/two"
sync -f "$mnt"
kill_daemon
mv f f.away
refused "$SEQMIRROR" resync d e
best=${refusal##*--prefer }
sm resync --prefer "$best" d e >/dev/null
same_tree d e
for store in d e; do
	eq "f as $store knows it" "$(status_of '.stores[] |
		select(.name == "f") | "\(.state) \(.behind.nodes > 0)"' $store)" \
		"missing true"
done

# A store that lies elsewhere now is known to do so, also where nothing was to do.
mkdir g h
sm init --name g,h g h >/dev/null 2>&1
mount_volume g
unmount_volume
mv h elsewhere
sm resync g elsewhere >/dev/null
mount_volume g
wait_until 20 volume_is healthy
unmount_volume

# Some of them may have heard of it before.
mkdir i j k
sm init --name i,j,k i j k >/dev/null 2>&1
mv k elsewhere2
sm resync j elsewhere2 >/dev/null
sm resync j elsewhere2 i >/dev/null
mv j j.away
mount_volume i
wait_until 20 store_is k online
unmount_volume

# A directory that was lost with those below it, all of which have changed since, is
# made anew in several rounds: the one above keeps its times.
mkdir l m
sm init --name l,m l m >/dev/null 2>&1
mount_volume l m
mkdir -p "$mnt/above/lost/below"
touch -d 2001-01-01 "$mnt/above"
detach m
chmod 700 "$mnt/above/lost" "$mnt/above/lost/below"
unmount_volume
rm -r m/above/lost
sm resync l m >/dev/null
same_tree l m

# A file that ends earlier on the side to keep: where the rest of its last block cannot
# be cleared, what lies before that in the block is not lost with it, zeros neither.
# cut_and_kept FAULT [CONTENTS]
cut_and_kept()
{
	rm -rf r s
	mkdir r s
	sm init --name r,s r s >/dev/null 2>&1
	mount_volume r s
	head -c 20000 "${2:-/dev/urandom}" >"$mnt/file"
	unmount_volume
	mv s s.away
	mount_volume -o degraded r
	touch "$mnt/here"
	unmount_volume
	mv s.away s
	mv r r.away
	mount_volume -o degraded s
	echo longer >>"$mnt/file"
	unmount_volume
	mv r.away r
	sm resync --dry-run --json --prefer r r s >forecast.json
	SEQMIRROR_FAULT=${1-} sm resync --json --prefer r r s >result.json
	same_tree r s
}
cut_and_kept
eq "copied, as foreseen" "$(of result.json bytes_copied)" \
	"$(of forecast.json bytes_copied)"
if grep -q SEQMIRROR_FAULT "$SEQMIRROR"; then
	cut_and_kept store.write:eio:1
	cut_and_kept store.write:eio:2
	cut_and_kept store.write:eio:1 /dev/zero
fi
