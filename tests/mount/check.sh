#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# check finds every kind of disagreement between a store and its map that can
# be made by hand behind our back, says nothing about a sound store, changes
# nothing; check --repair takes the files over, and the other store follows.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq debugfs

# A repair of a, which b then gets.
repaired()
{
	checked --repair "$work/a"
	sound "$work/a"
	eq "who has heard of it" "$(status_of '[.state, (.stores[] |
		"\(.name) \(.state) \(.behind.nodes > 0)")] | join(", ")' \
		"$work/a")" "degraded, a online false, b missing true"
	mount_volume "$work/a" "$work/b"
	wait_until 60 volume_is healthy
	unmount_volume
	same_tree "$work/a" "$work/b"
}

# wrong KIND PATH: exactly so, once.
wrong()
{
	local count

	count=$(jq --arg kind "$1" --arg path "$2" '[.findings[] |
		select(.class == "wrong" and .kind == $kind and
		       .path == $path)] | length' "$report")
	((count == 1)) || fail "$1 $2 is told $count times: $(jq -c \
		'.findings[]' "$report")"
}

# Changes from here on have a later time than the map.
later_than_map()
{
	touch "$work/clock"
	[[ $(stat -c %.Z "$work/clock") > $(stat -c %.Y a/.seqmirror/meta.db) ]]
}

image a 200
image b 200
sm init --name a,b "$work/a" "$work/b" >/dev/null
mount_volume "$work/a" "$work/b"
mkdir -p "$mnt/d/sub/deep" "$mnt/dir"
for i in $(seq 100); do
	echo "$i" >"$mnt/d/n$i"
done
truncate -s 8M "$mnt/sparse"
echo data | dd of="$mnt/sparse" bs=1 seek=5000000 conv=notrunc status=none
dd if=/dev/urandom of="$mnt/big" bs=1M count=2 status=none
ln "$mnt/big" "$mnt/d/hard"
ln -s somewhere "$mnt/symlink"
mkfifo "$mnt/fifo"
unmount_volume
sound "$work/a"
sound "$work/b"
eq "names" "$(jq .names "$report")" 109

# ---- a clock that was set back since: the files' times are in the future ----

touch -d '2 days ago' a/.seqmirror/meta.db*
sound "$work/a"
eq "unchanged, whatever the clock says" "$(jq -c .findings "$report")" "[]"
echo 17 >a/d/n17
before=$(stat -c '%y %z' a/.seqmirror/*)
checked "$work/a"
wrong changed d/n17
eq "what a look has touched" "$(stat -c '%y %z' a/.seqmirror/*)" "$before"
repaired

# A time in the future is no later one when a repair looks once more, nor for those
# who look after it; what is done to it is. What the map has not is as it is found.
in_future()
{
	local path

	image_umount a
	for path in "$@"; do
		debugfs -w -R "set_inode_field $path ctime 20380101" a.img \
			2>/dev/null
	done
	image_mount a
}
echo new >a/d/n18new
in_future /d/n18 /dir /d/n18new
checked --repair "$work/a"
wrong changed d/n18
wrong changed dir
wrong unknown d/n18new
eq "wrong after the repair" "$(jq .wrong "$report")" 0
sound "$work/a"
wait_until 10 later_than_map
echo 18, edited >a/d/n18
checked "$work/a"
wrong changed d/n18
in_future /d/n18
repaired
sound "$work/a"
mount_volume "$work/a" "$work/b"
wait_until 60 volume_is healthy
chmod u+x "$mnt/d/n18"
unmount_volume
same_tree "$work/a" "$work/b"
wait_until 10 later_than_map

# Each kind, in store a.
echo unknown >a/d/unknown
mkdir -p a/newdir/inside
echo deep >a/newdir/inside/file
rm a/d/n1
rm a/fifo
echo file >a/fifo
mv a/d/n2 a/d/n3
echo longer >>a/d/n4
chmod 600 a/d/n5
echo hole | dd of=a/sparse bs=1 seek=100000 conv=notrunc status=none
ln a/d/n6 a/link
rm a/d/hard
cp a/big a/d/hard
mv a/d/sub a/moved
ln -sf elsewhere a/symlink
fallocate -p -o 0 -l 4096 a/big
touch -h -d @1000000000 a/dir
setfattr -n user.changed -v 1 a/d/n7
echo left >a/.seqmirror/limbo/4711
echo kept >a/.seqmirror/found/kept
(cd a && find . -type f ! -name lock -exec sha256sum {} + | sort) >before
checked "$work/a"
(cd a && find . -type f ! -name lock -exec sha256sum {} + | sort) >after
diff before after || fail "check changed something"
wrong unknown d/unknown
wrong unknown newdir
wrong missing d/n1
wrong kind fifo
wrong identity d/n3
wrong missing d/n2
wrong changed d/n4
wrong changed d/n5
wrong changed sparse
wrong data sparse
wrong unknown link
wrong identity d/hard
wrong missing d/sub
wrong unknown moved
wrong changed moved
wrong identity symlink
wrong changed big
wrong changed dir
wrong changed d/n7
wrong changed d/n6
wrong limbo 4711
eq "wrong in all" "$(jq .wrong "$report")" 21
eq "start of the data" "$(jq '.findings[] | select(.kind == "data") | .start' \
	"$report")" 98304
eq "found" "$(jq '.findings[] | select(.kind == "found") | .count' \
	"$report")" 1
if sm check "$work/a" >text; then
	fail "wrong, and status 0"
fi
grep -q "d/unknown: not in the map" text || fail "$(cat text)"
grep -q "found: it lay where" text || fail "found/ is not explained"

# The files of a are right: b takes them over.
checked --repair "$work/a"
eq "wrong after the repair" "$(jq .wrong "$report")" 0
sound "$work/a"
mount_volume "$work/a" "$work/b"
wait_until 60 volume_is healthy
eq "unknown" "$(cat "$mnt/newdir/inside/file")" deep
eq "moved" "$(ls "$mnt/moved")" deep
unmount_volume
same_tree "$work/a" "$work/b"
eq "times of dir" "$(stat -c %Y b/dir)" 1000000000
sound "$work/a"
sound "$work/b"
eq "from limbo" "$(cat a/.seqmirror/found/*4711*)" left

# Renamed, and changed as well: nothing tells a change from the rename.
mount_volume "$work/a" "$work/b"
mkdir -p "$mnt/t/dir" "$mnt/t/other"
for name in mode write longer xattr linked from onto x y dir/in other/up; do
	echo old >"$mnt/t/$name"
done
unmount_volume
wait_until 10 later_than_map
(
	cd a/t
	mv mode mode2
	chmod 600 mode2
	mv write write2
	echo new >write2
	mv longer longer2
	echo more >>longer2
	mv xattr xattr2
	setfattr -n user.k -v v xattr2
	ln linked linked2
	echo new >linked
	mv from onto
	echo new >onto
	mv x z
	mv y x
	mv z y
	echo new >x
	mv dir dir2
	echo new >dir2/in
	touch dir2/unknown
	chmod 700 dir2
	mv other/up up
	echo new >up
)
checked "$work/a"
wrong unknown t/dir2
wrong changed t/dir2/in
wrong unknown t/dir2/unknown
repaired
eq "the contents" "$(cd b/t && cat write2 longer2 linked2 onto x dir2/in up)" \
	$'new\nold\nmore\nnew\nnew\nnew\nnew\nnew'
sound "$work/b"

# Longer behind our back, and mounted since: the map is later than the file, and
# tells nothing of the block in which it ended before.
head -c 10000 /dev/urandom >>a/d/n12
mount_volume "$work/a" "$work/b"
echo later >"$mnt/later"
unmount_volume
checked "$work/a"
wrong data d/n12
repaired

# A repair that is killed once it has opened the map for writing, and before what it
# has found is in doubt, leaves it for the next one to find.
points=()
if grep -q SEQMIRROR_FAULT "$SEQMIRROR"; then
	points=(meta.begin meta.mark.open meta.commit.before)
fi
for point in "${points[@]}"; do
	wait_until 10 later_than_map
	echo "$point" >a/d/n13
	rc=0
	SEQMIRROR_FAULT=$point:kill:1 "$SEQMIRROR" check --repair "$work/a" \
		>/dev/null 2>&1 || rc=$?
	eq "killed at $point" "$rc" 137
	for _ in 1 2; do
		checked "$work/a"
		wrong changed d/n13
	done
	repaired
done

# Killed: what was in work is in doubt, not wrong; a repair waits for the
# mount.
mount_volume -o checkpoint=1000 "$work/a" "$work/b"
echo in doubt >"$mnt/doubt"
echo more >>"$mnt/d/n9"
rm "$mnt/d/n10"
kill_daemon
sound "$work/a"
[[ $(jq .clean "$report") == false ]] || fail "clean after a kill"
wait_until 10 later_than_map
chmod 700 a/d/n11
checked "$work/a"
wrong changed d/n11
refused "$SEQMIRROR" check --repair "$work/a"
# Nothing was changed: not the time of the map either, which is the evidence. What
# was found before it was refused is an object, too.
refused "$SEQMIRROR" check --repair --json "$work/a"
cp refused.out "$report"
wrong changed d/n11
eq "complete" "$(jq .complete "$report")" true
# Nor does what looks, or is refused.
sm resync --dry-run "$work/a" "$work/b" >/dev/null
refused "$SEQMIRROR" mount "$work/a" "$work/none" "$mnt"
checked "$work/a"
wrong changed d/n11
mount_volume "$work/a" "$work/b"
wait_until 60 volume_is healthy
unmount_volume
sound "$work/a"
sound "$work/b"

# Repaired, but the other one went on alone: a fork, nobody is overwritten.
image_umount a
mount_volume "$work/b"
echo b alone >"$mnt/file"
unmount_volume
image_mount a
echo a alone >a/file
checked --repair "$work/a"
refused "$SEQMIRROR" mount -f "$work/a" "$work/b" "$mnt"
eq "files" "$(cat a/file b/file | xargs)" "a alone b alone"
# Of which only the two sides' changes are copied.
sm resync --json --prefer "$work/a" "$work/a" "$work/b" >prefer.json ||
	fail "the fork was not healed"
copied=$(jq .bytes_copied prefer.json)
((copied < 100000)) || fail "copied $copied bytes for one small file"
eq "file" "$(<b/file)" "a alone"

# A copy of a store is one, and not a heap of disagreements.
mkdir copy
cp -a a/. copy
sound "$work/copy"
eq "copied" "$(jq .copied "$report")" true
# None of its files is the one that the map means: a mount finds them first.
mv copy/d/n12 copy/moved12
refused "$SEQMIRROR" check --repair "$work/copy"
checked "$work/copy"
wrong missing d/n12
wrong unknown moved12
image_umount a
image_umount b
mount_volume "$work/copy"
unmount_volume
checked --repair "$work/copy"
sound "$work/copy"
mount_volume "$work/copy"
[[ -f $mnt/moved12 && ! -e $mnt/d/n12 ]] || fail "not as in the copy"
unmount_volume
image_mount a
image_mount b

# Not for a store in use, and not for what is none.
image_umount a
mount_volume "$work/b"
refused "$SEQMIRROR" check "$work/b"
unmount_volume
mkdir nothing
refused "$SEQMIRROR" check "$work/nothing"

# What is edited in place after it was looked at, and before the repair writes the
# map, is younger than the look and older than the map. This filesystem gives times
# in whole seconds.
image seconds 20 ext4 -I 128
faulty c "$work/seconds/c"
sm init c >/dev/null
mount_volume c
mkdir "$mnt/d" "$mnt/z"
echo old >"$mnt/edited"
echo late >"$mnt/d/late"
echo last >"$mnt/z/last"
unmount_volume
echo unknown >seconds/c/unknown
echo 3 >/proc/sys/vm/drop_caches
faults_pin c
faults c hang lookup late
"$SEQMIRROR" check --repair --json c >"$report" 2>&1 &
looks=$!
hangs()
{
	(($(fault_waits c) > 0))
}
wait_until 20 hangs
printf new | dd of=seconds/c/edited conv=notrunc status=none
faults c clear
wait "$looks" || fail "wrong after the repair: $(cat "$report")"
eq "what the second look found" "$(jq -r '.findings[] |
	select(.class == "wrong" and .round == 1) | "\(.kind) \(.path)"' \
	"$report")" "changed edited"
sound "$work/c"

# Nor is it lost where the repair is killed: what was found is in doubt then, and what
# was not seen is found by the next one.
if grep -q SEQMIRROR_FAULT "$SEQMIRROR"; then
	echo unknown >seconds/c/later
	faults c hang lookup late
	SEQMIRROR_FAULT=meta.commit.after:kill:1 \
		"$SEQMIRROR" check --repair --json c >"$report" 2>&1 &
	looks=$!
	wait_until 20 hangs
	printf NeW | dd of=seconds/c/edited conv=notrunc status=none
	faults c clear
	rc=0
	wait "$looks" || rc=$?
	eq "killed" "$rc" 137
	checked "$work/c"
	wrong changed edited
	checked --repair "$work/c"
	sound "$work/c"
fi

# What is edited during the last look is younger than the map.
is_stopped()
{
	grep -q '^State:.[Tt]' "/proc/$looks/status"
}

echo unknown >seconds/c/another
faults c hang lookup last
"$SEQMIRROR" check --repair --json c >"$report" 2>&1 &
looks=$!
wait_until 20 hangs
kill -STOP "$looks"
faults c clear
wait_until 20 is_stopped
faults c hang lookup late
kill -CONT "$looks"
wait_until 20 hangs
printf NEW | dd of=seconds/c/edited conv=notrunc status=none
faults c clear
wait "$looks" || fail "wrong after the repair: $(cat "$report")"
eq "what it found" "$(jq -r '.findings[] | select(.class == "wrong") |
	"\(.kind) \(.path)"' "$report")" "unknown another"
checked "$work/c"
wrong changed edited
faults_unpin c
