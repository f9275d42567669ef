#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Stores, and words of the user's, that are no text (not UTF-8): what is asked
# about them is answered, and what is refused is refused with the reason.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

a=$work/$'a\xff' b=$work/$'b\xfe' c=$work/$'c\xfd' full=$work/$'full\xff'
mkdir "$a" "$b" "$c" "$full"
touch "$full/file"
sm init "$a" "$b" >/dev/null 2>&1
mount_volume "$a" "$b"
echo one >"$mnt/one"
uuid_b=$(sm status --json "$mnt" | jq -r '.stores[1].uuid')

# refused_with WORDS COMMAND...: the reason has these words.
refused_with()
{
	refused "${@:2}"
	[[ $refusal == *"$1"* ]] || fail "'$refusal' does not say '$1'"
}

# A refusal names the reason.
refused_with 'is not empty' "$SEQMIRROR" add "$mnt" "$full"
refused_with 'no such store' "$SEQMIRROR" attach "$mnt" "$work/"$'none\xff'
refused_with 'no such store' "$SEQMIRROR" detach "$mnt" $'none\xff'
refused_with 'neither a number, a time nor a store' \
	"$SEQMIRROR" changes --since $'none\xff' "$mnt"
refused_with 'neither a number, a time nor a store' \
	"$SEQMIRROR" changes --since '2026-02-30 12:00' "$mnt"
# One that is cut in the middle of a letter is text as well.
long=$(printf 'é%.0s' {1..120})
for pad in '' x; do
	mkdir -p "$work/$pad$long/$long/$long"
	touch "$work/$pad$long/$long/$long/file"
	refused_with 'not empty' "$SEQMIRROR" add "$mnt" "$work/$pad$long/$long/$long"
done

# Nor is a name: a directory's own is cut where a letter ends, and one that was
# asked for is not cut at all.
mkdir "$work/third" "$work/y$long" "$work/yy$long"
refused_with 'longer than 63 bytes' "$SEQMIRROR" add \
	--name "$(printf 'n%.0s' {1..64})" "$mnt" "$work/third"
for dir in "y$long" "yy$long"; do
	sm add --wait --json "$mnt" "$work/$dir" >result.json 2>/dev/null
	jq -e '.store_hex == null' result.json >/dev/null ||
		fail "a name that is no text: $(<result.json)"
	sm remove "$mnt" "$work/$dir" >/dev/null
done

# Who waits for a resync gets its result.
sm detach "$mnt" "$b" >/dev/null
echo two >"$mnt/two"
sm attach --wait --json "$mnt" "$b" >result.json
eq 'entries made by attach' "$(jq .entries_created result.json)" 1
sm detach "$mnt" "$uuid_b" >/dev/null
echo three >"$mnt/three"
sm resync --wait --json "$mnt" "$b" >result.json
eq 'entries made by resync' "$(jq .entries_created result.json)" 1
sm add --wait --json "$mnt" "$c" >result.json 2>/dev/null
eq 'entries made by add' "$(jq .entries_created result.json)" 3

# A scrub tells whom it compared, and so does the status from then on.
echo edited >"$b/one"
! sm scrub --wait --json "$mnt" >result.json 2>/dev/null ||
	fail "the scrub did not see that a file was edited"
jq -e '.stores | length == 3' result.json >/dev/null
jq -e '.findings[0].stores == ["b\\xfe"]' result.json >/dev/null ||
	fail "the scrub blames $(jq -c '.findings' result.json)"
sm status --json "$mnt" | jq -e '.scrub.last.stores | length == 3' >/dev/null
sm scrub --repair --wait "$mnt" >/dev/null
unmount_volume
sm status "$a" >/dev/null
same_tree "$a" "$b"
same_tree "$a" "$c"
