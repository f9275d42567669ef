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

# A disk that is late, or answers nothing but errors, beside one that left before
# it: the older copy is not taken for the volume.
mount_volume "$work/a" "$work/b" "$work/c"
"$SEQMIRROR" detach "$mnt" c >/dev/null
"$SEQMIRROR" detach "$mnt" b >/dev/null
echo newest >"$mnt/f"
unmount_volume
mv a a.late
(cd b && find . -type f -exec sha256sum {} + | sort) >before
for others in "$work/b" "$work/b $work/c"; do
	# shellcheck disable=SC2086
	refused "$SEQMIRROR" mount -f "$work/a" $others "$mnt"
	[[ $refusal == *"store b left the volume before the others"*"store a "*"may have newer data"* ]] ||
		fail "$refusal"
done
(cd b && find . -type f -exec sha256sum {} + | sort) >after
diff before after || fail "the store was changed"
# A map that is damaged tells no more than a disk that is away.
mv a.late a
cp -a a a.sound
dd if=/dev/zero of=a/.seqmirror/meta.db bs=4096 count=1 conv=notrunc status=none
for named in "$work/a $work/b" "$work/b"; do
	# shellcheck disable=SC2086
	refused "$SEQMIRROR" mount -f $named "$mnt"
	[[ $refusal == *"the map of store a is damaged"*"may have newer data"* ]] ||
		fail "$refusal"
done
rm -r a
mv a.sound a.late
# Who names it alone wants it; so does who says so.
mount_volume "$work/b"
eq "what b has" "$(cat "$mnt/f")" two
unmount_volume
mount_volume -o degraded "$work/a" "$work/c"
eq "what c has" "$(cat "$mnt/f")" two
unmount_volume
