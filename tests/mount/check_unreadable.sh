#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A disk cannot read one directory of a store, or look at one file: a check says
# which, and goes on beside it.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

faulty b
mkdir a
sm init --name a,b "$work/a" "$work/b" >/dev/null
mount_volume "$work/a" "$work/b"
mkdir "$mnt/bad" "$mnt/good"
echo x >"$mnt/bad/f"
echo y >"$mnt/good/file"
unmount_volume
echo z >b.below/good/unknown

# found FINDING...: these and no others, "KIND PATH" each.
found()
{
	local rc=0

	"$SEQMIRROR" check --json "$work/b" >check.json 2>check.log || rc=$?
	eq "status" "$rc" 1
	eq "findings" "$(jq -r '.findings[] | "\(.kind) \(.path)"' check.json |
		sort)" "$(printf '%s\n' "$@" | sort)"
}

faults b fail readdir EIO bad
found "unreadable bad" "unknown good/unknown"
faults b clear
faults b fail getattr,lookup EIO file
found "unreadable good/file" "unknown good/unknown"
faults b clear
found "unknown good/unknown"

# A repair writes the map, and so ends the evidence of what it could not read before.
if grep -q SEQMIRROR_FAULT "$SEQMIRROR"; then
	told=
	mkdir p
	sm init p >/dev/null 2>&1
	mount_volume p
	mkdir "$mnt/dir"
	echo one >"$mnt/dir/file"
	unmount_volume
	for ((i = 2; i < 9; i++)); do
		echo more >>p/dir/file
		touch "p/unknown$i"
		rc=0
		SEQMIRROR_FAULT=store.list:eio:$i sm check --repair p \
			>out 2>&1 || rc=$?
		if [[ $(<out) == *"cannot be read"*"repaired: "* ]]; then
			eq "status of a repair that could not read all" "$rc" 1
			grep -q "a scrub compares" out || fail "$(cat out)"
			told=1
		fi
	done
	[[ -n $told ]] || fail "no directory was met"
fi
