#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A store that was taken out stays out until somebody names it, also when the
# map of another, older one still calls it online.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

mkdir a b c
"$SEQMIRROR" init --name a,b,c "$work/a" "$work/b" "$work/c" >/dev/null 2>&1
mount_volume "$work/a" "$work/b" "$work/c"
"$SEQMIRROR" detach "$mnt" b >/dev/null
echo one >"$mnt/f"
"$SEQMIRROR" detach "$mnt" c >/dev/null
echo two >"$mnt/f"
unmount_volume
mount_volume "$work/a" "$work/b"
eq "state of c" "$("$SEQMIRROR" status --json "$mnt" |
	jq -r '.stores[] | select(.name == "c") | .state')" detached
eq "what c has" "$(cat c/f)" one

# Nor is it kept from who wants it back: it was opened only to be looked at.
sm attach --wait "$mnt" c >/dev/null
store_is c online || fail "c is $(store_state c)"
unmount_volume
same_tree "$work/b" "$work/c"
