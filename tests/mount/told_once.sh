#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# What is in the way is said once, and by name.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

echo "-- another filesystem inside of what becomes a store"
mkdir -p a/sub/other b c d
mount -t tmpfs none a/sub/other
refused "$SEQMIRROR" init a
[[ $refusal == *"mounted inside a store, on other;"* ]] || fail "$refusal"
umount a/sub/other
rmdir -p a/sub/other
mkdir a
sm init --name a,b,c,d a b c d >/dev/null 2>&1

echo "-- or inside of one whose map is made anew"
mkdir d/other
mount -t tmpfs none d/other
mv d/.seqmirror/meta.db kept
refused "$SEQMIRROR" check --rebuild d
[[ $refusal == *"mounted inside it, on other" ]] || fail "$refusal"
umount d/other
mv kept d/.seqmirror/meta.db
rm -r d/other

echo "-- a store that the maps of all others lead to"
echo damaged >d/.seqmirror/store
mount_volume a
eq "lines that leave it out" "$(grep -c "going on without" "$daemon_log")" 1
store_is d missing || fail "d is $(store_state d)"
unmount_volume

echo "-- no free space is a number"
image e 24 ext4 -m 50
mkdir e/s f
sm init --name e,f e/s f >/dev/null
mount_volume "$work/e/s" f
fallocate -l 6M e/filler
free()
{
	sm status "$mnt" | awk -v n="$1" '$1 == n { print $4, $5 }'
}
eq "free in e" "$(stat -f -c %a e)" 0
eq "said of e" "$(free e)" "0 B"
detach f
eq "said of one that is away" \
	"$(sm status "$mnt" | awk '$1 == "f" { print $(NF - 1) }')" -
unmount_volume
