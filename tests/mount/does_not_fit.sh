#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A store whose filesystem cannot hold one thing that the others can: the resync
# names it, and what of it does not fit; when it is gone the store comes back.
# Inodes are counted before. Mounted and unmounted.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq
need_fs xfs

image a 330 xfs
image b 120 ext4 -N 128
mkdir a/store b/store
sm init --name a,b a/store b/store >/dev/null
mount_volume -o no_auto_attach a/store b/store
long=$(printf 'd%.0s' {1..200})
mkdir -p "$mnt/$long" "$mnt/dir"
echo f >"$mnt/$long/some file"
echo g >"$mnt/dir/g"

# kept_out WORDS COMPLETE: b does not come back, and everyone says it in these words,
# and whether it is a whole copy still.
kept_out()
{
	refused "$SEQMIRROR" attach --wait "$mnt" b
	[[ $refusal == *"$1"* ]] || fail "attach says: $refusal"
	[[ $(status_of '.stores[] | select(.name == "b") | .why') == *"$1"* ]] ||
		fail "status says: $(status_of .stores)"
	[[ $(tail -n 1 "$daemon_log") == *"$1"* ]] ||
		fail "the log says: $(tail -n 1 "$daemon_log")"
	eq "b is complete" "$(status_of \
		'.stores[] | select(.name == "b") | .complete')" "$2"
	sm status "$mnt" >shown
	if [[ $2 == false ]]; then
		grep -q 'no complete copy' shown || fail "shown: $(cat shown)"
	fi
}
kept_out_unmounted()
{
	unmount_volume
	refused "$SEQMIRROR" resync a/store b/store
	[[ $refusal == *"$1"* ]] || fail "resync says: $refusal"
	mount_volume -o no_auto_attach,degraded a/store b/store
	wait_until 20 store_is b failed # which was tried at once
}

detach b
python3 -c 'import os, sys
os.setxattr(sys.argv[1], "user.big", b"x" * 20000)' "$mnt/$long/some file"
words='.../"some file": extended attribute user.big of 20000 bytes: No space'
kept_out "$words" false
grep -q "a store cannot hold this: .*$long/some file" "$daemon_log" ||
	fail "no whole path in the log"
python3 -c 'import os, sys
os.removexattr(sys.argv[1], "user.big")' "$mnt/$long/some file"
attach b

detach b
truncate -s 20T "$mnt/dir/g"
words="dir/g: size of $((20 << 40)) bytes: File too large"
kept_out "$words" false
mv "$mnt/dir/g" "$mnt/dir/h"
cp --sparse=always --attributes-only "$mnt/dir/h" "$mnt/dir/new"
truncate -s 20T "$mnt/dir/new"
rm "$mnt/dir/h"
words="dir/new: size of $((20 << 40)) bytes: File too large"
kept_out "$words" false
kept_out_unmounted "$words"
rm "$mnt/dir/new"
attach b

# As many as there are, less what goes: one too many.
for n in {1..50}; do
	echo "$n" >"$mnt/dir/old.$n"
done
sync -f "$mnt"
detach b
rm "$mnt"/dir/old.*
free=$(($(stat -f -c %d b) - 1)) # an open map has a file more
for ((n = 0; n < free + 50; n++)); do
	echo "$n" >"$mnt/dir/new.$n"
done
eq "inodes short" "$(sm resync --dry-run --json "$mnt" b | jq .inodes_short)" 0
for n in {1..10}; do
	mkdir "$mnt/dir/more.$n"
done
sync -f "$mnt"
eq "inodes short" "$(sm resync --dry-run --json "$mnt" b | jq .inodes_short)" 10
sm resync --dry-run "$mnt" b | grep -q 'too few inodes: 10 more' ||
	fail "not in words"
words='too few inodes: 10 more than are free'
kept_out "$words" true
[[ -e b/store/dir/old.1 ]] || fail "a resync without inodes removed a file"
kept_out_unmounted "$words"
rmdir "$mnt"/dir/more.*
sync -f "$mnt"
attach b
unmount_volume
same_tree a/store b/store
