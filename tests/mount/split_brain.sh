#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Both stores were mounted alone and written: that is refused with a clear
# message, and nothing is changed. What a crash of one side hides is said, and a
# side is kept once or twice.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

# The trees and the rows of both maps.
fingerprint()
{
	local name

	for name in a b; do
		(cd "$work/$name" && find . -path ./.seqmirror -prune -o \
			-printf '%P %i %m %s %T@\n' | sort)
		cat "$work/$name/.seqmirror/store"
		rm -rf map
		mkdir map
		cp "$work/$name"/.seqmirror/meta.db* map
		python3 - <<-'END'
			import sqlite3
			db = sqlite3.connect("map/meta.db")
			for table in ("node", "dentry", "extent", "intent",
			              "epoch", "store", "volume"):
			    for row in db.execute(f"SELECT * FROM {table}"):
			        print(table, row)
		END
	done
}

image a 200
image b 200
sm init --name a,b "$work/a" "$work/b" >/dev/null
mount_volume "$work/a" "$work/b"
echo both >"$mnt/file"
unmount_volume

for name in a b; do
	other=$([[ $name == a ]] && echo b || echo a)
	image_umount "$other"
	mount_volume "$work/$name"
	echo "$name alone" >"$mnt/file"
	echo "$name" >"$mnt/only_$name"
	unmount_volume
	image_mount "$other"
done

fingerprint >before
refused "$SEQMIRROR" mount -f "$work/a" "$work/b" "$mnt"
echo "$refusal"
grep -qiE 'alone|split|diverge|both' <<<"$refusal" ||
	fail "that does not tell what happened: $refusal"
not_mounted "$mnt" || fail "mounted"
# What it says to do can be done as it stands there.
# advice: the command, as it would be pasted.
advice()
{
	sed -n 's/.*`seqmirror \(resync --prefer STORE [^`]*\)`.*/\1/p' \
		<<<"$refusal"
}
followed()
{
	local command

	command=$(advice)
	eval "sm ${command/STORE/a} --dry-run" >followed.out ||
		fail "advice that does not work: $refusal"
}
followed
eq "advice" "$(advice)" "resync --prefer STORE $work/a $work/b"
# Also where a shell would take the paths for something else.
odd=("$work/it's \$(a)" "$work/b "$'\n\377')
mkdir "${odd[@]}"
mount --bind "$work/a" "${odd[0]}"
mount --bind "$work/b" "${odd[1]}"
refused "$SEQMIRROR" mount -f "${odd[@]}" "$mnt"
followed
umount "${odd[@]}"
for words in resync "resync --dry-run"; do
	# shellcheck disable=SC2086
	refused "$SEQMIRROR" $words "$work/a" "$work/b"
	grep -q 'seqmirror diff' <<<"$refusal" ||
		fail "$words does not say where to look: $refusal"
	grep -qe --prefer <<<"$refusal" ||
		fail "$words does not say how to choose: $refusal"
done
sm diff "$work/a" "$work/b" >shown
cat shown
grep -q '^fork: a and b' shown || fail "diff does not say fork"
fingerprint >after
diff before after || fail "a refusal changed something"

# Paths of any length leave what is to be done whole.
deep=$work/$(printf 'n%.0s' {1..200})
for depth in 1 2 3; do
	mkdir -p "$deep"
	for name in a b; do
		mkdir "$deep/$name"
		mount --bind "$work/$name" "$deep/$name"
	done
	refused "$SEQMIRROR" mount -f "$deep/a" "$deep/b" "$mnt"
	[[ $refusal == *"--prefer STORE "*'`' ]] ||
		fail "cut, at depth $depth: $refusal"
	umount "$deep/a" "$deep/b"
	deep=$deep/$(printf 'n%.0s' {1..200})
done

# Also when one of them is mounted and the other reappears.
image_umount b
mount_volume "$work/a"
image_mount b
refused "$SEQMIRROR" attach --wait "$mnt" b
eq "file on b" "$(cat b/file)" "b alone"
unmount_volume
eq "files" "$(cat a/file b/file | xargs)" "a alone b alone"

# A side that was not left cleanly: its map lacks what it did last, and whoever
# shows or forecasts from it says so.
image_umount b
mount_volume -o checkpoint=3600 "$work/a"
echo later >"$mnt/later"
sync "$mnt/later"
kill_daemon
image_mount b
# remark STORE: on a dry run that keeps it.
remark()
{
	sm resync --dry-run --json --prefer "$1" "$work/a" "$work/b" |
		jq -r .remark
}
sm diff "$work/a" "$work/b" >shown
grep -q '^note: a was not left cleanly' shown ||
	fail "diff does not tell of the crash: $(cat shown)"
eq "in doubt" "$(sm diff --json "$work/b" "$work/a" |
	jq -c '[.stores[] | .in_doubt]')" "[false,true]"
[[ $(remark a) == "store a was not left cleanly"* ]] ||
	fail "the forecast does not tell of the crash: $(remark a)"
# Under its own intents a target is compared.
eq "remark on b" "$(remark b)" null
sm resync --dry-run --prefer a "$work/a" "$work/b" >shown
grep -q '^note: store a was not left cleanly' shown ||
	fail "not said in words: $(cat shown)"
image_umount b
mount_volume -o degraded "$work/a"
unmount_volume
image_mount b
sm diff "$work/a" "$work/b" >shown
grep -q '^  later: made' shown || fail "not in the list: $(cat shown)"
! grep -q '^note:' shown || fail "still a note: $(cat shown)"
eq "remark on a" "$(remark a)" null

# Done again, as after a kill that came too late, it is a success; one that is
# merely stale still cannot be kept.
sm resync --prefer b "$work/a" "$work/b" >/dev/null
for name in a b; do
	sm resync --prefer "$name" "$work/a" "$work/b" >shown
	grep -q '^note: the stores are in step' shown ||
		fail "nothing to do for $name, and not said: $(cat shown)"
done
eq "files" "$(cat a/file b/file | xargs)" "b alone b alone"
image_umount b
mount_volume "$work/a"
echo more >"$mnt/more"
unmount_volume
image_mount b
refused "$SEQMIRROR" resync --prefer b "$work/a" "$work/b"
grep -q 'nothing to prefer' <<<"$refusal" || fail "not said: $refusal"

# Both sides ended in a crash, and under the name of what one had in work the
# other has another file: a forecast is made all the same. Of a directory only the
# attributes were changed.
sm resync "$work/a" "$work/b" >/dev/null
mount_volume "$work/a" "$work/b"
mkdir "$mnt/mode" "$mnt/time" "$mnt/xattr"
unmount_volume
image_umount b
mount_volume -o checkpoint=3600 "$work/a"
mv "$mnt/more" "$mnt/file"
sync -f "$mnt"
kill_daemon
image_mount b
image_umount a
mount_volume -o checkpoint=3600 "$work/b"
echo late >"$mnt/file"
chmod 700 "$mnt/mode"
touch -d 2001-02-03 "$mnt/time"
python3 -c 'import os, sys; os.setxattr(sys.argv[1], "user.b", b"b")' \
	"$mnt/xattr"
sync -f "$mnt"
kill_daemon
image_mount a
[[ $(remark a) == "store a was not left cleanly"* ]] ||
	fail "the forecast does not tell of the crash: $(remark a)"
sm resync --prefer a "$work/a" "$work/b" >/dev/null
same_tree "$work/a" "$work/b"
eq "file" "$(<b/file)" more
