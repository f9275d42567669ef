#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# init refuses what cannot become a volume: one line, nothing changed.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

listing()
{
	find "$work/d" -printf '%P %i %m %s %T@ %C@\n' | sort
}

# no_init WORDS...
no_init()
{
	local before

	before=$(listing)
	refused "$SEQMIRROR" init "$@"
	eq "the directories after a refused init" "$(listing)" "$before"
}

mkdir -p d/{full,one,two,three,four} d/full/inside d/one/below
echo text >d/full/file
echo text >d/plain
ln -s one d/link
mkdir d/two/sub

no_init
no_init d/missing d/three
no_init d/three d/missing
no_init d/plain d/three
no_init d/three d/plain
no_init d/three d/three
no_init d/one d/link
no_init d/three d/../d/three
no_init d/one d/one/below
no_init d/two/sub d/two
no_init d/three d/full
no_init --name same,same d/three d/four
no_init --name a/b,c d/three d/four
no_init --name '' d/three d/four
no_init --name ,second d/three d/four
no_init --unknown d/three

sm init --name x,y d/three d/four >/dev/null
no_init d/three
no_init d/three d/one
mkdir d/new
no_init d/full d/four
no_init d/new d/three

# What an ordinary user could give to no second store.
as_user=(setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all)

# It is found when the files are read: the times of the directory tell.
files()
{
	find "$work/d" -printf '%P %i %m %U %G %s\n' | sort
}

no_init_of_others()
{
	local before

	before=$(files)
	refused "${as_user[@]}" "$SEQMIRROR" init "$@"
	[[ $refusal == *"owner or group"* ]] || fail "$refusal"
	eq "the directories after a refused init" "$(files)" "$before"
}

if ((EUID == 0)) && command -v setpriv >/dev/null; then
	chmod 755 "$work"
	"${as_user[@]}" test -x "$SEQMIRROR" || skip "others cannot reach the program"
	mkdir -p d/{theirs/sub,theirs2,grouped}
	echo text >d/theirs/sub/file
	echo text >d/grouped/file
	chown -R 65534:65534 d/theirs d/theirs2 d/grouped
	chown 0 d/theirs/sub/file
	chgrp 0 d/grouped/file
	no_init_of_others "$work/d/theirs"
	no_init_of_others "$work/d/grouped"
	chown 0 d/theirs2
	chmod 777 d/theirs2
	no_init_of_others "$work/d/theirs2"
	chown 65534:65534 d/theirs/sub/file
	"${as_user[@]}" "$SEQMIRROR" init "$work/d/theirs" >/dev/null ||
		fail "own files are refused"
	# Root can.
	chown 0 d/theirs2
	sm init "$work/d/theirs2" >/dev/null
	sm init "$work/d/grouped" >/dev/null
fi
