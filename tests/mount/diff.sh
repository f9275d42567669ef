#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# diff tells what each of two stores did without the other: made, changed,
# removed, moved, replaced; on one side or on both; and without a fork who is
# behind. It changes nothing.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

# of SIDE PATH: what that side did there.
of()
{
	jq -r --arg p "$2" --argjson i "$1" \
		'.changes[] | select(.path == $p) | .sides[$i].what // "none"' \
		diff.json
}

# did PATH A B
did()
{
	eq "what a did to $1" "$(of 0 "$1")" "$2"
	eq "what b did to $1" "$(of 1 "$1")" "$3"
}

tell()
{
	sm diff --json "$@" >diff.json
	jq -e . diff.json >/dev/null || fail "no JSON: $(cat diff.json)"
	jq -r .relation diff.json
}

mkdir a b
sm init --name a,b a b >/dev/null
mount_volume a b
mkdir "$mnt/dir" "$mnt/gone" "$mnt/mode" "$mnt/xattr" "$mnt/entry" "$mnt/hidden"
for name in both one two removed lost dir/deep "gone/file" moved swapped; do
	head -c 20000 /dev/urandom >"$mnt/$name"
done
unmount_volume
eq "in step" "$(tell a b)" equal
eq "words" "$(sm diff a b)" "equal: both stores are in step"

# One left in good order, and nothing was changed since: nothing is in doubt.
mount_volume a b
head -c 100 /dev/urandom >"$mnt/before"
detach b
eq "detached, mounted" "$(tell "$mnt" b)" equal
unmount_volume
eq "detached" "$(tell a b)" equal
eq "the other way about" "$(tell b a)" equal
# But after a crash it is.
mount_volume -o checkpoint=1000 a
echo in doubt >"$mnt/before"
kill_daemon
eq "after a crash" "$(tell a b)" doubt
sm diff a b | grep -q 'a crash or a store that failed left something in doubt' ||
	fail "not said in words: $(sm diff a b)"
mount_volume -o degraded a b
attach b
unmount_volume
eq "in step again" "$(tell a b)" equal

# b is away for a while: no fork.
mv b away
mount_volume a
head -c 10000 /dev/zero >"$mnt/one"
unmount_volume
mv away b
eq "relation" "$(tell a b)" behind
eq "who" "$(jq -r .behind.store diff.json)" b
eq "the other way about" "$(tell b a; jq -r .behind.store diff.json)" \
	$'behind\nb'
sm diff b a | grep -q '^no fork: b is merely behind a by ' ||
	fail "not said in words: $(sm diff b a)"
eq "changes" "$(jq '.changes | length' diff.json)" 0

# Two copies of one store have one name, and are told by where they lie.
cp -a a kept
mv b away
mount_volume a
echo later >"$mnt/later"
unmount_volume
sm diff kept a | grep -q "^no fork: $work/kept is merely behind $work/a by " ||
	fail "not said in words: $(sm diff kept a)"
eq "who" "$(tell a kept; jq -r .behind.store diff.json)" \
	$'behind\n'"$work/kept"
rm -r kept

# From the mount, too, by name.
mount_volume -o no_auto_attach a
mv away b
eq "mounted" "$(tell "$mnt" b)" behind
eq "mounted, swapped" "$(tell b a)" behind
attach b
eq "online" "$(tell "$mnt" b)" equal
unmount_volume

# Each alone.
mv b away
mount_volume a
echo a >"$mnt/both"
echo a >"$mnt/only_a"
rm "$mnt/removed"
rm -r "$mnt/gone"
mv "$mnt/moved" "$mnt/dir/moved"
rm "$mnt/lost"
echo a >"$mnt/new"
chmod 600 "$mnt/two"
mv "$mnt/dir" "$mnt/renamed"
# Attributes of directories in which an entry changes as well.
chmod 700 "$mnt/mode" "$mnt/hidden"
python3 -c 'import os, sys; os.setxattr(sys.argv[1], "user.own", b"a")' \
	"$mnt/xattr"
touch "$mnt/mode/new" "$mnt/xattr/new" "$mnt/entry/new"
unmount_volume
mv away b
mv a away
mount_volume b
echo b >"$mnt/both"
echo b >"$mnt/dir/deep"
echo b >>"$mnt/lost"
echo b >"$mnt/new"
rm "$mnt/swapped"
mkdir "$mnt/swapped"
touch "$mnt/entry/other" "$mnt/hidden/new"
unmount_volume
mv away a

find a b -printf '%p %s %T@ %C@\n' | grep -v meta.db | sort >before
eq "relation" "$(tell a b)" fork
sm diff a b
did both changed changed
did only_a made none
did removed removed none
did gone removed none
did moved "moved away" none
did renamed/moved "moved here" none
did dir "moved away" none
did renamed "moved here" none
did renamed/deep none changed
did lost removed changed
did new made made
did two changed none
did swapped none replaced
did mode changed none
did xattr changed none
did hidden changed changed
did entry/new made none
did entry "" ""
did . "" ""
eq "size of both in a" \
	"$(jq '.changes[] | select(.path == "both") | .sides[0].size' diff.json)" 2
eq "in" "$(jq -r '.changes[] | select(.path == "only_a") | .in' diff.json)" a
eq "swapped words" "$(tell b a; jq -r \
	'.changes[] | select(.path == "only_a") | .sides[1].what' diff.json)" \
	$'fork\nmade'
find a b -printf '%p %s %T@ %C@\n' | grep -v meta.db | sort >after
diff before after || fail "diff changed something"

# A fork beside a mount.
mv b away
mount_volume a
mv away b
eq "mounted" "$(tell "$mnt" b)" fork
did only_a made none
eq "swapped" "$(tell b "$mnt")" fork
unmount_volume

mkdir c
sm init --name c c >/dev/null
refused "$SEQMIRROR" diff a c
refused "$SEQMIRROR" diff a nothing
refused "$SEQMIRROR" diff a ./a
grep -q 'the same store' <<<"$refusal" || fail "not said: $refusal"
refused "$SEQMIRROR" diff a
