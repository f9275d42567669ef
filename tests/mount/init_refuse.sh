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
