#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A store is put back by a copy that knows no hard links: its names are one file
# again, whether it follows another store, is in step, or is all there is; a copy
# that differs is kept.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root

mkdir a b
sm init --name a,b "$work/a" "$work/b" >/dev/null
mount_volume "$work/a" "$work/b"
mkdir -p "$mnt/d/sub" "$mnt/e"
head -c 300000 /dev/urandom >"$mnt/d/one"
ln "$mnt/d/one" "$mnt/d/sub/two"
ln "$mnt/d/one" "$mnt/e/three"
ln -s nowhere "$mnt/e/link"
ln "$mnt/e/link" "$mnt/d/link2"
mknod "$mnt/d/pipe" p
ln "$mnt/d/pipe" "$mnt/e/pipe2"
echo alone >"$mnt/d/single"
touch -d @1000000000 "$mnt/d" "$mnt/d/sub" "$mnt/e"
unmount_volume

# put_back [STORE]: b as cp -r with all attributes makes it.
put_back()
{
	local store=${1:-b}

	mv "$store" old
	cp -r --preserve=mode,ownership,timestamps,xattr --no-dereference \
		old "$store"
	rm -rf old
	eq "links of the copy" \
		"$(stat -c %h "$store/d/one" "$store/e/three")" $'1\n1'
}

linked()
{
	eq "inodes of the file" \
		"$(stat -c %i b/d/one b/d/sub/two b/e/three | uniq | wc -l)" 1
	eq "inodes of the symlink" \
		"$(stat -c %i b/e/link b/d/link2 | uniq | wc -l)" 1
	eq "inodes of the pipe" \
		"$(stat -c %i b/d/pipe b/e/pipe2 | uniq | wc -l)" 1
	eq "left in limbo" "$(ls b/.seqmirror/limbo)" ""
	same_tree "$work/a" "$work/b"
}

# What check says of it, as notes: each name but the first of its node.
lost_links()
{
	jq -r '.findings[] | select(.kind == "lost_link" and .class == "note") |
		.path' "$report" | sort | xargs
}

# told_lost STORE PATHS
told_lost()
{
	sound "$work/$1"
	eq "hard links that check misses in $1" "$(lost_links)" "$2"
}

told_lost b ""

# In step.
put_back
told_lost b "d/sub/two e/link e/pipe2 e/three"
mount_volume "$work/a" "$work/b"
wait_until 60 volume_is healthy
linked
echo more >>"$mnt/e/three"
unmount_volume
linked
eq "kept" "$(ls b/.seqmirror/found)" ""

# Behind: the resync writes under one name.
mv b away
mount_volume -o degraded "$work/a"
echo again >>"$mnt/d/sub/two"
chmod 600 "$mnt/d/single"
unmount_volume
mv away b
put_back
mount_volume "$work/a" "$work/b"
wait_until 60 volume_is healthy
unmount_volume
linked
eq "kept of one behind" "$(ls b/.seqmirror/found)" ""

# Behind, and the names themselves were changed: what happens to one of them
# happens to that name of the file, whichever is met first.
exchange()
{
	python3 -c 'import ctypes, sys
a, b = (name.encode() for name in sys.argv[1:])
if ctypes.CDLL(None).renameat2(-100, a, -100, b, 2):
    sys.exit("exchange")' "$1" "$2"
}

change_names()
{
	echo another >"$mnt/g/another"
	mv "$mnt/g/another" "$mnt/g/1/replaced" # the file is not in the delta
	mv "$mnt/g/1/moved" "$mnt/g/2/moved3"
	exchange "$mnt/g/1/exchanged" "$mnt/g/1/other"
	rm "$mnt/g/1/removed"
	printf head | dd of="$mnt/g/2/removed2" conv=notrunc status=none
	ln "$mnt/g/2/linked2" "$mnt/g/1/before"
	rm "$mnt/g/1/linked"
	printf tail >>"$mnt/g/1/before"
}

mount_volume "$work/a" "$work/b"
mkdir -p "$mnt"/g/{1,2}
for name in replaced moved exchanged removed linked; do
	echo "$name" >"$mnt/g/1/$name"
	ln "$mnt/g/1/$name" "$mnt/g/2/${name}2"
done
echo other >"$mnt/g/1/other"
unmount_volume
mv b away
mount_volume -o degraded "$work/a"
change_names
unmount_volume
mv away b
put_back
sm resync "$work/a" "$work/b" >/dev/null
sound "$work/b"
mount_volume "$work/a" "$work/b"
echo more >>"$mnt/g/2/replaced2"
unmount_volume
same_tree "$work/a" "$work/b"
eq "kept of what the names were" "$(ls b/.seqmirror/found)" ""
mount_volume "$work/a" "$work/b"
rm -r "$mnt/g"
unmount_volume

# Whichever name was edited, the file is what the others have; of two, what was
# there before.
mount_volume "$work/a" "$work/b"
echo pair >"$mnt/d/1pair"
ln "$mnt/d/1pair" "$mnt/e/2pair"
unmount_volume
for edited in d/one d/sub/two e/three d/1pair e/2pair; do
	put_back
	echo "edited $edited" >"b/$edited"
	mount_volume "$work/a" "$work/b"
	wait_until 60 volume_is healthy
	unmount_volume
	linked
	eq "kept" "$(cat "b/.seqmirror/found/link-${edited##*/}-0")" \
		"edited $edited"
	find b/.seqmirror/found -mindepth 1 -delete
done

# Alone, and one of them edited: what was edited is kept.
put_back
mv a away
echo edited >b/e/three
# Killed in the middle of it: the name is never gone, what is kept is kept once,
# and no link that was to take over a name stays in limbo.
settle_killed()
{
	(SEQMIRROR_FAULT=$1:kill "$SEQMIRROR" mount -f \
		-o degraded "$work/b" "$mnt" >/dev/null 2>&1) && fail "not killed"
	[[ -e b/e/three ]] || fail "the name is gone after a kill"
	umount -l "$mnt" 2>/dev/null || :
}

in_limbo()
{
	ls b/.seqmirror/limbo | grep -qx 'link-[0-9]*'
}

aside_left()
{
	settle_killed resync.link.aside
	in_limbo || fail "no link is left"
	sound "$work/b"
}

aside_gone()
{
	eq "left in limbo $1" "$(ls b/.seqmirror/limbo)" ""
	eq "kept $1" "$(ls b/.seqmirror/found)" "$2"
}

if grep -q SEQMIRROR_FAULT "$SEQMIRROR"; then
	# What stood on a directory stands there again, whoever comes next.
	settle_killed store.utimens
	[[ $(stat -c %y b/d/sub) != "$(stat -c %y away/d/sub)" ]] ||
		fail "killed elsewhere"
	settle_killed resync.link.kept
	eq "time of the directory" "$(stat -c %y b/d/sub)" \
		"$(stat -c %y away/d/sub)"
	aside_left
	# Somebody makes all links himself.
	cp -a b made
	ln -f made/d/one made/d/sub/two
	ln -f made/d/one made/e/three
	ln -f made/d/link2 made/e/link
	ln -f made/d/pipe made/e/pipe2
	mv b whole
	mv made b
	mount_volume -o degraded "$work/b"
	unmount_volume
	aside_gone "after links of somebody else" link-three-0
	rm -r b
	mv whole b

	# A repair of it finishes that first: nobody would do it afterwards.
	told_lost b "e/2pair e/link e/pipe2 e/three"
	echo unknown >b/d/unknown
	rm b/.seqmirror/limbo/*
	SEQMIRROR_FAULT=resync.link.aside:delay=2000:1 env --default-signal=INT \
		"$SEQMIRROR" check --repair "$work/b" >said 2>&1 &
	asked=$!
	wait_until 20 in_limbo
	kill -INT "$asked"
	! wait "$asked" || fail "it went on: $(cat said)"
	grep -q "b: interrupted while .* nothing is repaired" said ||
		fail "$(cat said)"
	ln b/d/single b/.seqmirror/limbo/link-99
	checked --repair "$work/b"
	eq "wrong after the repair" "$(jq .wrong "$report")" 0
	told_lost b ""
	aside_gone "after a repair" link-three-0
fi
mount_volume -o degraded "$work/b"
eq "links" "$(stat -c %h "$mnt/d/one")" 3
cmp "$mnt/d/one" away/d/one
echo new >"$mnt/e/three"
eq "the other name" "$(cat "$mnt/d/one")" new
unmount_volume
eq "kept" "$(cat b/.seqmirror/found/link-three-0)" edited
mv away a
mount_volume "$work/a" "$work/b"
wait_until 60 volume_is healthy
unmount_volume
linked

# Holes are not read, and what lies in a hole of the other is seen: one copy is
# equal, one is not.
read_by()
{
	sed -n 's/^rchar: //p' "/proc/$1/io"
}

mount_volume "$work/a" "$work/b"
mkdir "$mnt/s"
truncate -s 4G "$mnt/s/1"
printf x | dd of="$mnt/s/1" bs=1 seek=1G conv=notrunc status=none
printf y | dd of="$mnt/s/1" bs=1 seek=3G conv=notrunc status=none
ln "$mnt/s/1" "$mnt/s/2"
ln "$mnt/s/1" "$mnt/s/3"
unmount_volume
put_back
printf z | dd of=b/s/3 bs=1 seek=2G conv=notrunc status=none
# It reads as what the hole beside it is.
dd if=/dev/zero of=b/s/2 bs=4096 seek=1000 count=1 conv=notrunc status=none
mount_volume "$work/a" "$work/b"
wait_until 60 volume_is healthy
read=$(read_by "$daemon_pid")
((read < 64 << 20)) || fail "$read bytes read for three blocks of data"
eq "links of the sparse file" "$(stat -c %h "$mnt/s/1")" 3
rm -r "$mnt/s"
unmount_volume
eq "kept of the sparse file" "$(ls b/.seqmirror/found | grep link-[123])" \
	link-3-0
eq "what was kept" "$(dd if=b/.seqmirror/found/link-3-0 bs=1 skip=2G count=1 \
	status=none)" z
rm b/.seqmirror/found/link-3-0
linked

# Whoever interrupts that waits for the file that is compared, and for no other.
put_back
faulty slow "$work/b"
faults_pin slow
hangs()
{
	(($(fault_waits slow) > 0))
}
faults slow hang read one
env --default-signal=INT "$SEQMIRROR" resync "$work/a" "$work/slow" \
	>said 2>&1 &
asked=$!
wait_until 20 hangs
kill -INT "$asked"
faults slow clear
! wait "$asked" || fail "it went on: $(cat said)"
grep -q "interrupted before store b was in step" said || fail "$(cat said)"
eq "links that were made after that" "$(stat -c %h b/d/pipe b/e/link | xargs)" \
	"1 1"
faults_unpin slow
umount slow
sm resync "$work/a" "$work/b" >/dev/null
linked
# By this way its files have other numbers than by that: like a copy of a store whose
# resync was not finished.
find b/.seqmirror/found -mindepth 1 ! -name link-three-0 -delete

# Where another filesystem hides some of the names, the rest is no file of its own.
put_back
mkdir other
mount --bind other b/e
! sm resync "$work/a" "$work/b" >said 2>&1 || fail "in step: $(cat said)"
grep -q "mounted.*unmount it: store=$work/b name=e/" said ||
	fail "said: $(cat said)"
umount b/e
sm resync "$work/a" "$work/b" >/dev/null
linked

# The copy was left cleanly and is followed by one that was not: what that has in
# doubt is no doubt about the copy.
numbers()
{
	(cd "$mnt" && find . -type f -printf '%p %i %n\n' | sort)
}

mount_volume -o checkpoint=1000 "$work/a" "$work/b"
touch "$mnt"/{d,d/sub,e}/meanwhile
kill_daemon
mv b away
mount_volume -o degraded "$work/a"
numbers >before
unmount_volume
put_back a
mv away b
mount_volume "$work/a" "$work/b"
wait_until 60 volume_is healthy
numbers | diff before - || fail "other files than before"
unmount_volume
linked
eq "kept" "$(ls a/.seqmirror/found)" ""

a_is_back()
{
	mv away a
	mount_volume "$work/a" "$work/b"
	wait_until 60 volume_is healthy
	unmount_volume
	same_tree "$work/a" "$work/b"
}

# Of a store that was not left cleanly: what a rename had put over one of the
# names, before the map said so, is no copy of the link.
mv a away
mount_volume "$work/b"
echo precious >"$mnt/e/new"
unmount_volume
mount_volume -o checkpoint=1000 "$work/b"
touch "$mnt/e/doubt"
kill_daemon
mv b/e/new b/e/three
mount_volume "$work/b"
eq "the renamed one" "$(cat "$mnt/e/three")" precious
eq "what it replaced" "$(cat "$mnt/d/one" "$mnt/d/sub/two")" $'new\nnew'
eq "links" "$(stat -c %h "$mnt/d/one" "$mnt/e/three" | xargs)" "2 1"
unmount_volume
eq "kept" "$(ls b/.seqmirror/found)" link-three-0
a_is_back

# Once they are one again, what somebody puts over a name is no link that the copy
# had lost: it stays, and a repair takes it over.
mv a away
put_back
mount_volume "$work/b"
eq "links" "$(stat -c %h "$mnt/d/one")" 2
unmount_volume
echo edited >edited
mv edited b/d/sub/two
mount_volume "$work/b"
unmount_volume
eq "after a mount" "$(<b/d/sub/two)" edited
checked --repair "$work/b"
mount_volume "$work/b"
eq "after the repair" "$(cat "$mnt/d/sub/two" "$mnt/d/one")" $'edited\nnew'
unmount_volume
eq "kept" "$(ls b/.seqmirror/found)" link-three-0
a_is_back
