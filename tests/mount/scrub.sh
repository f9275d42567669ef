#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# What was changed behind the mirror's back is found by a scrub, and nothing
# else is; --repair makes the stores equal where it is plain who is right, and
# with a named winner where it is not. Nothing foreign is deleted.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq setfattr

# scrub OPTIONS...: its status in $rc, its findings in scrub.json.
scrub()
{
	rc=0
	timeout 120 "$SEQMIRROR" scrub --wait --json "$@" "$mnt" \
		>scrub.json 2>scrub.err || rc=$?
	jq -e . scrub.json >/dev/null || fail "scrub: $(cat scrub.err)"
}

clean()
{
	scrub
	((rc == 0)) || fail "status $rc: $(cat scrub.err scrub.json)"
	eq "found" "$(jq .found scrub.json)" 0
}

# finds KIND PATH STORES BY
finds()
{
	local line

	line=$(jq -r --arg p "$2" '.findings[] | select(.path == $p) |
		"\(.kind) \(.stores | sort | join(",")) \(.decided_by)"' scrub.json |
		grep "^$1 " || :)
	grep -qxF "$1 $3 $4" <<<"$line" || fail \
		"$2: '$line', wanted '$1 $3 $4': $(jq -c .findings[] scrub.json)"
	[[ $1 == linked ]] || grep -qF "differ: path=$2 what=$1" "$daemon_log" ||
		fail "$2 is not in the log: $(tail "$daemon_log")"
}

repaired()
{
	((rc == 0)) || fail "status $rc: $(cat scrub.err scrub.json)"
	eq "repaired of $(jq .found scrub.json)" \
		"$(jq .repaired scrub.json)" "$(jq .found scrub.json)"
	wait_until 20 volume_is healthy
	same_tree a b
	clean
}

# The last number's checkpoint must lie before what comes behind its back.
settle()
{
	sync -f "$mnt/tree"
	"$SEQMIRROR" changes --since 0 "$mnt" >/dev/null
	local then=$((SECONDS + 3))
	wait_until 10 eval "((SECONDS >= $then))"
}

# poke FILE OFFSET: another byte there, times as they were.
poke()
{
	touch -r "$1" stamp
	printf '\xa5\x5a\xa5' |
		dd of="$1" bs=1 seek="$2" conv=notrunc status=none
	touch -r stamp "$1"
}

image a 300
image b 300
sm init --name a,b "$work/a" "$work/b" >/dev/null
mount_volume -o checkpoint=1 "$work/a" "$work/b"
mkdir "$mnt/tree"
head -c 3000000 /dev/urandom >"$mnt/tree/data"
head -c 50000 /dev/urandom >"$mnt/tree/size"
for name in mode xattr missing foreign; do
	echo "$name" >"$mnt/tree/$name"
done
ln "$mnt/tree/xattr" "$mnt/tree/xattr2"
ln -s target "$mnt/tree/link"
mkdir "$mnt/tree/sub"
echo x >"$mnt/tree/sub/x"
truncate -s 2M "$mnt/tree/hole"
printf 'x' | dd of="$mnt/tree/hole" bs=1 seek=1500000 conv=notrunc status=none
settle
echo "-- nothing"
clean
eq "nodes" "$(jq '.nodes > 9' scrub.json)" true
eq "bytes" "$(jq '.bytes > 3000000' scrub.json)" true
eq "last" "$(status_of .scrub.last.found)" 0
sm status "$mnt" | grep -q '^last scrub: ' || fail "$(sm status "$mnt")"

echo "-- bytes, with size and times as before: nobody knows who is right"
poke b/tree/data 1000000
scrub
((rc == 1)) || fail "status $rc"
finds contents tree/data a,b ""
scrub --repair
((rc == 1)) || fail "repaired without knowing: $(cat scrub.json)"
cmp -s a/tree/data b/tree/data && fail "overwritten"
seq_before=$(status_of .seq)
scrub --repair --prefer a
finds contents tree/data b preference
repaired
eq "numbered" "$(($(status_of .seq) > seq_before))" 1
cmp a/tree/data "$mnt/tree/data"

echo "-- the other one is preferred, and the mount shows it"
poke b/tree/data 2000000
cp b/tree/data wanted
scrub --repair --prefer b
repaired
cmp wanted "$mnt/tree/data"

echo "-- edited: the map speaks against it"
settle
echo edited >>b/tree/size
poke a/tree/data 0
touch a/tree/data
echo bytes | dd of=a/tree/data bs=1 seek=5000 conv=notrunc status=none
chmod 700 b/tree/mode
setfattr -n user.new -v 1 b/tree/xattr
cp a/tree/data edited
scrub
finds attributes tree/size b map
finds attributes tree/mode b map
finds attributes tree/xattr b map
finds contents tree/data a map
cmp -s edited a/tree/data || fail "a scrub without --repair wrote"
scrub --repair
repaired
[[ $(stat -c %a a/tree/mode) == 644 ]] || fail "mode"
eq "mtime" "$(stat -c %y a/tree/size)" "$(stat -c %y b/tree/size)"

echo "-- names: missing, unknown, another file, a renamed directory"
rm b/tree/missing
echo mine >a/tree/unknown
mkdir b/tree/dir
echo deep >b/tree/dir/deep
cp b/tree/foreign x
mv x b/tree/foreign
rm b/tree/link
ln -s elsewhere b/tree/link
rm b/tree/xattr2
mv b/tree/sub b/tree/bus
scrub
finds missing tree/missing b map
finds unknown tree/unknown a map
finds unknown tree/dir b map
finds replaced tree/foreign b map
finds replaced tree/link b map
finds missing tree/xattr2 b map
finds missing tree/sub b map
finds unknown tree/bus b map
scrub --repair
jq -c '.findings[] | select(.repaired | not)' scrub.json
repaired
grep -qx mine a/.seqmirror/found/*unknown || fail "unknown is gone"
grep -qx deep b/.seqmirror/found/*dir/deep || fail "dir is gone"
grep -qx foreign b/.seqmirror/found/*foreign || fail "foreign is gone"
eq "links" "$(stat -c %h b/tree/xattr)" 2
eq "in the tree" "$(cat "$mnt/tree/sub/x")" x

echo "-- directories with something in them: gone, replaced, renamed"
for name in gone file link new old; do
	mkdir -p "$mnt/full/$name/sub"
	echo "$name" >"$mnt/full/$name/x"
	echo "$name" >"$mnt/full/$name/sub/y"
done
ln "$mnt/full/old/x" "$mnt/tree/old_x"
echo plain >"$mnt/full/plain"
settle
rm -r b/full/{gone,file,link,new}
echo mine >b/full/file
ln -s /nonexistent b/full/link
mkdir b/full/new
echo mine >b/full/new/mine
cp b/full/plain x
mv x b/full/plain
chmod 700 b/tree/mode
# Nothing in it has its name there, so none of it can be compared at first.
mv b/full/old b/full/other
chmod 600 b/full/other/sub/y
rm b/full/other/x
touch -d @1 b/tree/old_x
# Through a mount that has forgotten it it is compared at once: under its other
# name. Its links are equal when that directory has been repaired, too.
cat "$mnt/tree/old_x" >/dev/null
echo 2 >/proc/sys/vm/drop_caches
scrub --repair
jq -c '.findings[] | select(.repaired | not)' scrub.json
finds missing full/gone b map
finds replaced full/file b map
finds attributes full/old/sub/y b map
repaired
grep -qx mine b/.seqmirror/found/*-file || fail "file is gone"
grep -qx mine b/.seqmirror/found/*-new/mine || fail "new is gone"

echo "-- a foreign directory takes a link of a file to found/"
echo live >"$mnt/tree/live"
settle
mkdir b/alien
ln b/tree/live b/alien/extra
echo mine >b/alien/mine
scrub --repair
((rc == 0)) || fail "status $rc: $(cat scrub.err scrub.json)"
wait_until 20 volume_is healthy
clean
eq "linked" "$(jq -r '.findings[] | "\(.kind) \(.path) \(.stores[])"' scrub.json)" \
	"linked tree/live b"
sm scrub --wait "$mnt" | grep -q 'tree/live: linked on b, no difference' ||
	fail "the link is not told of"
# What else differs is judged without it.
settle
chmod 711 b/tree/live
scrub --repair
finds attributes tree/live b map
eq "repaired" "$(jq .repaired scrub.json)" 1
rm b/.seqmirror/found/*-alien/extra
same_tree a b
clean
eq "linked" "$(jq .linked scrub.json)" 0

echo "-- a hole filled with zeros"
dd if=/dev/zero of=b/tree/hole bs=4096 count=4 conv=notrunc status=none
touch -r a/tree/hole b/tree/hole
scrub
finds hole tree/hole b map
scrub --repair
repaired

echo "-- nothing of it is lost by a remount"
unmount_volume
same_tree a b
mount_volume "$work/a" "$work/b"
eq "last" "$(status_of .scrub.last.found)" 0
clean
unmount_volume

echo "-- why a store did not come back is told in full"
long=$work/$(printf 'x%.0s' {1..120})
mkdir c "$long"
sm init --name c,d "$work/c" "$long" >/dev/null
mount_volume -o checkpoint=1,no_auto_attach "$work/c" "$long"
mkdir "$mnt/tree"
echo x >"$mnt/tree/x"
settle
touch -d @1 "$long/tree/x"
mv "$long" moved
scrub --repair --prefer c
((rc == 1)) || fail "status $rc"
jq -r '.findings[].why' scrub.json | grep -q "no store at $long: No such" ||
	fail "$(jq -c '.findings[]' scrub.json)"
unmount_volume
