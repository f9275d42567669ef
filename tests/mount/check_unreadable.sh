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
