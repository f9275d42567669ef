#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# What both of two stores did without each other is shown under both of them by
# diff, whatever one of them named it meanwhile: else one choice of --prefer
# would take away, unseen, what the other side has kept or changed.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

# did PATH A B: what either side did there, or none.
did()
{
	local i side=(a b) want=("$2" "$3")

	for i in 0 1; do
		eq "what ${side[i]} did to $1" "$(jq -r --arg p "$1" \
			--argjson i $i '.changes[] | select(.path == $p) |
			.sides[$i].what // "none"' diff.json)" "${want[i]}"
	done
}

# parted [OPTION...]: a and b are in step, each was mounted alone by a function.
parted()
{
	mv b away
	mount_volume "$@" a
	alone_a
	unmount_volume
	mv away b
	mv a away
	mount_volume "$@" b
	alone_b
	unmount_volume
	mv away a
	sm diff --json a b >diff.json
	eq "relation" "$(jq -r .relation diff.json)" fork
	sm diff a b
}

mkdir a b
sm init --name a,b a b >/dev/null
mount_volume a b
mkdir "$mnt/dir" "$mnt/tree" "$mnt/tree/sub" "$mnt/kept" "$mnt/pulled"
for name in renamed touched saved both_saved swept saved_moved moved_both \
	linked pair apart/away tree/file tree/sub/file kept/other pulled/file \
	chosen unlinked over overwritten dir/old; do
	mkdir -p "$mnt/$(dirname $name)"
	head -c 20000 /dev/urandom >"$mnt/$name"
done
ln "$mnt/pair" "$mnt/pair2"
ln "$mnt/unlinked" "$mnt/unlinked2"
unmount_volume

save()
{
	echo "$1 of $2" >"$mnt/$1.tmp"
	mv "$mnt/$1.tmp" "$mnt/$1"
}

alone_a()
{
	mv "$mnt/renamed" "$mnt/renamed_a"
	mv "$mnt/touched" "$mnt/touched_a"
	chmod 600 "$mnt/touched_a"
	save saved a
	save both_saved a
	mkdir "$mnt/new"
	mv "$mnt/swept" "$mnt/new/swept"
	save saved_moved a
	mv "$mnt/moved_both" "$mnt/moved_a"
	ln "$mnt/linked" "$mnt/linked_a"
	mv "$mnt/pair" "$mnt/pair_a"
	rm "$mnt/unlinked"
	mv "$mnt/tree" "$mnt/tree_a"
	chmod 700 "$mnt/kept"
	touch "$mnt/pulled/new"
	mv "$mnt/over" "$mnt/overwritten"
	mv "$mnt/dir/old" "$mnt/dir/old_a"
}

alone_b()
{
	rm "$mnt/renamed" "$mnt/touched" "$mnt/saved" "$mnt/swept"
	save both_saved b
	mv "$mnt/saved_moved" "$mnt/saved_moved_b"
	mv "$mnt/moved_both" "$mnt/moved_b"
	rm -r "$mnt/tree" "$mnt/kept" "$mnt/pulled"
	rm "$mnt/overwritten" "$mnt/dir/old"
}

parted
did renamed_a "moved here" removed
did touched_a "moved here" removed
did saved replaced "removed or moved away"
did both_saved replaced replaced
did new made none
did new/swept "moved here" removed
did saved_moved replaced "removed or moved away"
did saved_moved_b removed "moved here"
did moved_a "moved here" "moved away"
did moved_b "moved away" "moved here"
did linked_a "linked here" none
did pair "moved away" none
did pair_a "moved here" none
did unlinked removed none
did tree_a "moved here" removed
did kept changed removed
did pulled changed removed
did pulled/new made none
did over "moved away" none
did overwritten replaced "removed or moved away"
did dir/old_a "moved here" removed
did dir "" ""
eq "seen from b" "$(sm diff --json b a | jq -r '.changes[] |
	select(.path == "renamed_a") | .sides[].what')" $'removed\nmoved here'
sm resync --prefer a a b

# An old file of which nothing has its number of then, and the youngest one.
mount_volume a b
mkdir "$mnt/docs"
echo hello >"$mnt/docs/cut"
head -c 50000 /dev/urandom >"$mnt/docs/short"
head -c 50000 /dev/urandom >"$mnt/docs/young"
unmount_volume

alone_a()
{
	mv "$mnt/docs/cut" "$mnt/docs/Cut"
	truncate -s 0 "$mnt/docs/Cut"
	mv "$mnt/docs/short" "$mnt/docs/Short"
	truncate -s 8192 "$mnt/docs/Short"
	mv "$mnt/docs/young" "$mnt/docs/Young"
	echo new >"$mnt/docs/Young"
	echo new >"$mnt/docs/own"
}

alone_b()
{
	rm "$mnt/docs/cut" "$mnt/docs/short" "$mnt/docs/young"
	echo new >"$mnt/docs/other"
}

parted
did docs/Cut "moved here" removed
did docs/Short "moved here" removed
did docs/Young "moved here" removed
did docs/own made none
did docs/other none made
did docs "" ""
sm resync --prefer b a b

# What was adopted is numbered with the volume.
mkdir c d
mkdir c/docs
echo hi >c/docs/a
head -c 5000000 /dev/urandom >c/docs/big
rm -r a b
mv c a
mv d b
sm init --name a,b a b >/dev/null
mount_volume a b
wait_until 30 store_is b online
unmount_volume

alone_a()
{
	mv "$mnt/docs/big" "$mnt/docs/Big"
	truncate -s 3M "$mnt/docs/Big"
}

alone_b()
{
	echo y >"$mnt/docs/a"
	rm "$mnt/docs/big"
}

parted
did docs/Big "moved here" removed
did docs/a none changed
did docs "" ""
sm resync --prefer a a b

# A crash before: what lies in a directory in which something was in doubt is
# numbered anew on each, and has not changed for that.
mount_volume -o checkpoint=1000 a b
mkdir "$mnt/docs/born"
touch "$mnt/docs/born/file"
save docs/a both
kill_daemon

alone_a()
{
	echo new >"$mnt/docs/own"
}

alone_b()
{
	echo new >"$mnt/docs/other"
}

parted -o degraded
did docs/own made none
did docs/other none made
did docs "" ""
did docs/Big "" ""
